/* fake_node.h - a node for tests: its pods' programs run on this machine, their log says "line 1" at once and "line 2" a little
 * later, and their ports are those of this machine. A container that is called "asleep" does not run. */
#ifndef TM_TESTS_FAKE_NODE_H
#define TM_TESTS_FAKE_NODE_H

#include "kube/node_api.h"

extern const struct node_api fake_node;

#endif
