#include <signal.h>

#include "cluster/node/images/unpack.h"
#include "kit.h"
#include "unit.h"

/* The process that unpacks is this program started again, as it is tidemill in production. */
int main(int argc, char **argv)
{
    signal(SIGPIPE, SIG_IGN);
    if (argc > 1 && strcmp(argv[1], "image-unpack") == 0)
        return image_unpack_main(argc - 1, argv + 1);
    if (argc > 3 && strcmp(argv[1], "put-image") == 0)
        return kit_put_image_main(argv[2], argv[3]);
    if (argc > 1)
        cmocka_set_test_filter(argv[1]);
    int failed = 0;
    failed += RUN_GROUP(names);
    failed += RUN_GROUP(credentials);
    failed += RUN_GROUP(manifests);
    failed += RUN_GROUP(unpacking);
    failed += RUN_GROUP(storing);
    failed += RUN_GROUP(face);
    return failed ? 1 : 0;
}
