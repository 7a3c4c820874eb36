/* limits.c - what one run may take of this process. A pipeline of a few kilobytes can ask for the same megabytes a thousand
 * times, in each round of a loop in a loop: what it grows to ends here, with a task that fails and says so, and not where the
 * machine's memory ends and everybody's runs with it. */
#include <stdlib.h>

#include "pipelines/engine/live.h"

#define RUN_TASKS_MAX  200000        /* instances: tasks, loops and their iterations */
#define RUN_VALUES_MAX (256u << 20)  /* bytes of all their inputs and outputs, as text */
#define VALUES_MEM_MAX (64ULL << 20) /* of the values that one instance is given, or a loop collects, in memory */

int limit_tasks(struct live *l, size_t more, struct err *err)
{
    if (more > RUN_TASKS_MAX - l->n_tasks)
        return err_set(err, ERR_INVALID, "the run would have more than %d tasks, iterations of loops among them", RUN_TASKS_MAX);
    l->n_tasks += more;
    return 0;
}

int limit_run_values(const struct live *l, struct err *err)
{
    if (l->values_len <= RUN_VALUES_MAX)
        return 0;
    return err_set(err, ERR_INVALID,
                   "inputs and outputs of the run's tasks have more than %u MiB together; pass larger data as artifacts",
                   RUN_VALUES_MAX >> 20);
}

int limit_values(const struct json *v, uint64_t *sum, struct err *err)
{
    *sum += v ? json_mem(v) : 0;
    if (*sum <= VALUES_MEM_MAX)
        return 0;
    return err_set(err, ERR_INVALID, "the values have more than %llu MiB together; pass larger data as artifacts",
                   VALUES_MEM_MAX >> 20);
}

static void set(struct live *l, char **field, char *text)
{
    l->values_len -= *field ? strlen(*field) : 0;
    l->values_len += text ? strlen(text) : 0;
    free(*field);
    *field = text;
}

void inst_set_inputs(struct inst *i, char *text) { set(i->live, &i->row.inputs, text); }
void inst_set_outputs(struct inst *i, char *text) { set(i->live, &i->row.outputs, text); }
void inst_count_values(struct inst *i)
{
    i->live->values_len += (i->row.inputs ? strlen(i->row.inputs) : 0) + (i->row.outputs ? strlen(i->row.outputs) : 0);
}
