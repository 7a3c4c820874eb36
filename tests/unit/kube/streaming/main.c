#include "unit.h"

UNIT_MAIN(RUN_GROUP(process) + RUN_GROUP(forward))
