/* data_test.h - a temporary directory per test. */
#ifndef TM_TESTS_DATA_TEST_H
#define TM_TESTS_DATA_TEST_H

#include "unit.h"

#include "base/fs.h"

static inline int make_dir(void **state)
{
    char *dir = xstrdup("/tmp/tm-data-XXXXXX");
    assert_non_null(mkdtemp(dir));
    *state = dir;
    return 0;
}

static inline int remove_dir(void **state)
{
    assert_int_equal(fs_rm_rf(*state, NULL), 0);
    free(*state);
    return 0;
}

#define IN_DIR(test) cmocka_unit_test_setup_teardown(test, make_dir, remove_dir)

#endif
