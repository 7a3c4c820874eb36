#include "unit.h"

UNIT_MAIN(RUN_GROUP(sql), RUN_GROUP(writer), RUN_GROUP(touched), RUN_GROUP(blob), RUN_GROUP(stores))
