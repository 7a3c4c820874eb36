/* task_names.h - what the tasks of a run are called by people: the path below the root, with the iteration in brackets:
 * "train", "for-loop-2[0]/train". The end of a path is enough where it is unique. */
#ifndef TM_CLI_TASK_NAMES_H
#define TM_CLI_TASK_NAMES_H

#include <stdlib.h>

#include "base/str.h"
#include "cli/front.h"

struct task_names {
    struct strmap by_id;
};
#define TASK_NAMES(n) CLEANUP(task_names_free) struct task_names n = {.by_id = STRMAP_INIT(free)}
void task_names_free(struct task_names *n);
/* Asks the server for the tasks of a run and names them; again for those that have come meanwhile. */
int task_names_load(struct task_names *n, struct front *f, const char *run_id, struct err *err);
/* The name of an entry of run_details; its display name when nothing else is known. */
const char *task_name(const struct task_names *n, jval *task);
/* Whether what a person wrote means that task: its id, its name, or the end of its name from a slash on. */
bool task_name_means(const struct task_names *n, jval *task, const char *what);

#endif
