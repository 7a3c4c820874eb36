#include "unit.h"

int store_crash_child(const char *dir);

int main(int argc, char **argv)
{
    if (argc == 3 && strcmp(argv[1], "crash_child") == 0) /* see test_store.c */
        return store_crash_child(argv[2]);
    if (argc > 1)
        cmocka_set_test_filter(argv[1]);
    const int failed = RUN_GROUP(store) + RUN_GROUP(rbac) + RUN_GROUP(deletes) + RUN_GROUP(services) + RUN_GROUP(quotas) +
                       RUN_GROUP(api) + RUN_GROUP(http) + RUN_GROUP(patches);
    return failed ? 1 : 0;
}
