#include "cluster/node/node.h"
#include "node_test.h"
#include "unit.h"

static int run(int argc, char **argv)
{
    if (argc > 1)
        cmocka_set_test_filter(argv[1]);
    int failed = 0;
    failed += RUN_GROUP(helper);
    failed += RUN_GROUP(parts);
    failed += RUN_GROUP(action);
    failed += RUN_GROUP(face);
    failed += RUN_GROUP(network);
    failed += RUN_GROUP(pod);
    failed += RUN_GROUP(crun);
    return failed ? 1 : 0;
}

/* The helper process is this program started again, as it is tidemill in production. */
int main(int argc, char **argv)
{
    if (argc > 1 && strcmp(argv[1], "node-helper") == 0)
        return node_helper_main(argc, argv);
    return run(argc, argv);
}
