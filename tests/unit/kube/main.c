#include "unit.h"

UNIT_MAIN(RUN_GROUP(apply), RUN_GROUP(convert), RUN_GROUP(decode), RUN_GROUP(defaults), RUN_GROUP(discovery), RUN_GROUP(events),
          RUN_GROUP(informer), RUN_GROUP(kind), RUN_GROUP(leader), RUN_GROUP(object), RUN_GROUP(openapi), RUN_GROUP(podsec),
          RUN_GROUP(protobuf), RUN_GROUP(quota), RUN_GROUP(reviews), RUN_GROUP(schema), RUN_GROUP(selector), RUN_GROUP(services),
          RUN_GROUP(strategic), RUN_GROUP(table), RUN_GROUP(validate), RUN_GROUP(warn), )
