#include "unit.h"

UNIT_MAIN(RUN_GROUP(basic), RUN_GROUP(streams))
