#include "unit.h"

UNIT_MAIN(RUN_GROUP(types), RUN_GROUP(templates), RUN_GROUP(ir))
