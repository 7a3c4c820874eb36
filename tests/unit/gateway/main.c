#include "unit.h"

UNIT_MAIN(RUN_GROUP(door), RUN_GROUP(page))
