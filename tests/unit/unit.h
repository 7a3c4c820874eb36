/* unit.h - cmocka with what it needs included, and a way to make one binary of several files. */
#ifndef TM_TESTS_UNIT_H
#define TM_TESTS_UNIT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* Each file ends with TEST_GROUP(name, cmocka_unit_test(a), cmocka_unit_test(b)); main.c calls the groups with
 * RUN_GROUP(name). With an argument only the tests that match it (wildcards) run. */
#define TEST_GROUP(name, ...)                                                                                                    \
    int group_##name(void);                                                                                                      \
    int group_##name(void)                                                                                                       \
    {                                                                                                                            \
        const struct CMUnitTest tests[] = {__VA_ARGS__};                                                                         \
        return cmocka_run_group_tests_name(#name, tests, NULL, NULL);                                                            \
    }
#define RUN_GROUP(name)                                                                                                          \
    ({                                                                                                                           \
        int group_##name(void);                                                                                                  \
        group_##name();                                                                                                          \
    })
#define UNIT_MAIN(...)                                                                                                           \
    int main(int argc, char **argv)                                                                                              \
    {                                                                                                                            \
        if (argc > 1)                                                                                                            \
            cmocka_set_test_filter(argv[1]);                                                                                     \
        int failed = 0;                                                                                                          \
        const int results[] = {__VA_ARGS__};                                                                                     \
        for (size_t i = 0; i < sizeof results / sizeof *results; i++)                                                            \
            failed += results[i];                                                                                                \
        return failed ? 1 : 0;                                                                                                   \
    }

#endif
