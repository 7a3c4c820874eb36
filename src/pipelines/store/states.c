#include <strings.h>

#include "base/timefmt.h"
#include "pipelines/store/internal.h"
#include "pipelines/store/store.h"

static const char *const run_states[] = {
    "RUNTIME_STATE_UNSPECIFIED", "PENDING", "RUNNING", "SUCCEEDED", "SKIPPED", "FAILED", "CANCELING", "CANCELED", "PAUSED",
};

const char *run_state_name(enum run_state s) { return run_states[(unsigned)s < ARRAY_LEN(run_states) ? s : 0]; }

bool run_state_parse(const char *s, enum run_state *out)
{
    for (size_t i = 0; s && i < ARRAY_LEN(run_states); i++)
        if (strcasecmp(s, run_states[i]) == 0) {
            *out = (enum run_state)i;
            return true;
        }
    return false;
}

bool run_state_final(enum run_state s) { return s == RUN_SUCCEEDED || s == RUN_SKIPPED || s == RUN_FAILED || s == RUN_CANCELED; }

enum run_state task_state_run(enum task_state s)
{
    switch (s) {
    case TASK_WAITING:
        return RUN_PENDING;
    case TASK_STARTING:
    case TASK_RUNNING:
    case TASK_BACKOFF:
        return RUN_RUNNING;
    case TASK_SUCCEEDED:
        return RUN_SUCCEEDED;
    case TASK_CACHED:
    case TASK_SKIPPED:
    case TASK_NEVER:
        return RUN_SKIPPED;
    case TASK_FAILED:
        return RUN_FAILED;
    case TASK_CANCELED:
        return RUN_CANCELED;
    }
    return RUN_STATE_UNSPECIFIED;
}

char *history_add(const char *history, enum run_state state, int64_t now_ns, int code, const char *message)
{
    JSON_REF(old) = history ? json_parse_str(history, NULL) : NULL;
    CLEANUP(jm_freep) struct jm *m = old ? jm_copy(json_root(old)) : jm_new();
    if (!old)
        jm_set_root(m, jm_arr(m));
    jmval *list = jm_root(m);
    size_t n = jmv_len(list);
    const char *name = run_state_name(state);
    if (n > 0 && str_eq(jmv_str(jmv_get(jmv_at(list, n - 1), "state")), name))
        return xstrdup(history);
    char when[TIME_TEXT_MAX];
    jmval *e = jm_obj(m);
    jm_put(m, e, "update_time", jm_str(m, time_format(when, now_ns, TIME_SECONDS)));
    jm_put(m, e, "state", jm_str(m, name));
    if (code) {
        jmval *error = jm_obj(m);
        jm_put(m, error, "code", jm_i64(m, code));
        jm_put(m, error, "message", jm_str(m, message ? message : ""));
        jm_put(m, e, "error", error);
    }
    jm_push(list, e);
    BUF(b);
    jmv_write(list, JW_COMPACT, &b);
    return buf_steal(&b, NULL);
}
