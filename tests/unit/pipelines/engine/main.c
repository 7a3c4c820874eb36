#include "unit.h"

#include "base/log.h"

UNIT_MAIN((log_threshold = LOG_ERROR, RUN_GROUP(dag)), RUN_GROUP(loops), RUN_GROUP(limits), RUN_GROUP(values), RUN_GROUP(life),
          RUN_GROUP(prelude), RUN_GROUP(steps), RUN_GROUP(stores), RUN_GROUP(setups), RUN_GROUP(claims), RUN_GROUP(pods),
          RUN_GROUP(threads), RUN_GROUP(trash))
