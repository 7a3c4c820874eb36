#include "unit.h"

UNIT_MAIN(RUN_GROUP(affinity), RUN_GROUP(fit), RUN_GROUP(scheduler))
