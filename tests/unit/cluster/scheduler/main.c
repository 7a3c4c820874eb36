#include "unit.h"

UNIT_MAIN(RUN_GROUP(fit), RUN_GROUP(scheduler))
