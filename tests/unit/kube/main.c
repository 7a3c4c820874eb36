#include "unit.h"

UNIT_MAIN(
    RUN_GROUP(events),
    RUN_GROUP(informer),
    RUN_GROUP(object),
    RUN_GROUP(selector),
)
