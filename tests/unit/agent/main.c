#include "unit.h"

UNIT_MAIN(RUN_GROUP(prelude), RUN_GROUP(launch), RUN_GROUP(models))
