#include "unit.h"

UNIT_MAIN(RUN_GROUP(controllers), )
