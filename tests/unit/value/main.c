#include "unit.h"

UNIT_MAIN(RUN_GROUP(json), RUN_GROUP(yaml), RUN_GROUP(patch), RUN_GROUP(quantity), RUN_GROUP(regex), RUN_GROUP(cel),
          RUN_GROUP(cel_libs), RUN_GROUP(jsonpath), RUN_GROUP(cron))
