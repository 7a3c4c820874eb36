#include "unit.h"

UNIT_MAIN(RUN_GROUP(sql), RUN_GROUP(writer), RUN_GROUP(blob), RUN_GROUP(stores))
