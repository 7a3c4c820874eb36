/* runs.h - what the commands about runs share: finding one, its tasks in order, and how they are shown. */
#ifndef TM_CLI_RUNS_H
#define TM_CLI_RUNS_H

#include "cli/task_names.h"

/* A run by id, by its display name (the newest one of that name), by a unique beginning of an id, or by the beginning of a name
 * (the newest). */
struct json *runs_find(struct front *f, const char *what, struct err *err);
struct json *runs_get(struct front *f, const char *run_id, struct err *err);
const char *run_state_of(jval *run);
bool run_is_final(jval *run);
/* Seconds as "0.42s", "12s", "3m4s" between two RFC 3339 times; "" when one is missing or the epoch. end NULL or epoch: now. */
char *runs_took(const char *start, const char *end);
/* Appends a table of the tasks (parents before children, indented): name, state, how long, message. colour for terminals. Returns
 * the lines. */
int runs_task_table(jval *run, const struct task_names *names, bool colour, struct buf *out);
#endif
