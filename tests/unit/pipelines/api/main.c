#include "unit.h"

UNIT_MAIN(RUN_GROUP(bodies), RUN_GROUP(packages), RUN_GROUP(lists), RUN_GROUP(matches), RUN_GROUP(macros), RUN_GROUP(service),
          RUN_GROUP(recurring), RUN_GROUP(lineage), RUN_GROUP(tables), RUN_GROUP(list_tables), RUN_GROUP(run_tables),
          RUN_GROUP(recurring_tables))
