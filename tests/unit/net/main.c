#include "unit.h"

UNIT_MAIN(RUN_GROUP(proxy), RUN_GROUP(spdy), RUN_GROUP(route), RUN_GROUP(basic), RUN_GROUP(streams), RUN_GROUP(h2),
          RUN_GROUP(h2_client), RUN_GROUP(h2_limits), RUN_GROUP(h2_streams), RUN_GROUP(websockets), RUN_GROUP(uploads),
          RUN_GROUP(relays), RUN_GROUP(client), RUN_GROUP(limits))
