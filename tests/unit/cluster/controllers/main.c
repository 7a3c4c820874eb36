#include "unit.h"

UNIT_MAIN(RUN_GROUP(controllers), RUN_GROUP(storage))
