/* node_test.h - what the node's tests share: a temporary node directory, a helper, and a look at the machine before and after. */
#ifndef TM_TESTS_NODE_TEST_H
#define TM_TESTS_NODE_TEST_H

#include "base/base.h"

/* False (and the reason printed) on a machine that cannot run containers; with TIDEMILL_REQUIRE_NODE=1 that fails the test. */
bool node_test_possible(void);
#define NEED_NODE()                                                                                                              \
    do {                                                                                                                         \
        if (!node_test_possible())                                                                                               \
            skip();                                                                                                              \
    } while (0)
/* A new directory below $TMPDIR or /tmp; the caller frees the name. */
char *node_test_dir(void);
void node_test_rm(const char *dir);
/* Mounts, links, nftables tables and control groups of this machine that a node in dir, or one of that instance, left; "" when
 * there is nothing. The caller frees. */
char *node_test_left(const char *dir, const char *instance);
/* Output of a shell command; the caller frees. */
char *node_test_sh(const char *fmt, ...) PRINTF_LIKE(1, 2);

#endif
