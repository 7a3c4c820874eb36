/* cmd_node_helper.c - the node's privileged helper process; started by tidemill itself (cluster/node). */
#include "cli/cli.h"
#include "cluster/node/node.h"

static int helper_main(const struct command *self, int argc, char **argv) { return node_helper_main(argc, argv); }

const struct command cmd_node_helper = {.name = "node-helper",
                                        .summary = "Does what needs root for the node",
                                        .usage = "node-helper --fd N",
                                        .main = helper_main,
                                        .hidden = true};
