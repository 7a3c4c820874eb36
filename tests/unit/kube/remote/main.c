#include "unit.h"

/* With a real Kubernetes at hand (tests/real-kubernetes) only that is asked. */
UNIT_MAIN(getenv("TIDEMILL_CONFORMANCE_KUBECONFIG")
              ? RUN_GROUP(conformance_real)
              : RUN_GROUP(kubeconfig) + RUN_GROUP(status) + RUN_GROUP(credential) + RUN_GROUP(oidc) + RUN_GROUP(reach) +
                    RUN_GROUP(request) + RUN_GROUP(conformance))
