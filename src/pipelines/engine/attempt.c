/* Attempts of container tasks: looked at, started, stopped. What is stored was decided before; what is done here can be done
 * again. */
#include <math.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>

#define LOG_ROOM "engine"
#include "base/fault.h"
#include "base/fs.h"
#include "base/log.h"
#include "pipelines/engine/live.h"

/* ---- messages ------------------------------------------------------------------------------------------------- */

/* First cause, last log lines, and what to do about it. */
static char *failure_message(const char *cause, const char *tail, const char *hint)
{
    BUF(b);
    buf_adds(&b, cause);
    if (!str_empty(tail)) {
        buf_adds(&b, "\nlast lines of its log:\n");
        buf_adds(&b, tail);
    }
    while (b.len > 0 && b.data[b.len - 1] == '\n')
        b.len--;
    if (hint)
        buf_addf(&b, "\nhint: %s", hint);
    buf_addc(&b, 0);
    return buf_steal(&b, NULL);
}

/* status.reason of a pod that its node ended because the node itself was going away, as kubelets write it. */
#define POD_REASON_NODE_STOPPED "Terminated"

static const char *hint_for(const char *reason, int exit_code, const char *tail)
{
    if (str_eq(reason, "OOMKilled"))
        return "the step used more memory than its limit; raise it with set_memory_limit()";
    if (str_eq(reason, "DeadlineExceeded"))
        return "the step ran longer than its activeDeadlineSeconds";
    if (str_eq(reason, "ErrImagePull") || str_eq(reason, "ImagePullBackOff") || str_eq(reason, "InvalidImageName"))
        return "check the image's name and that it can be pulled from this machine";
    if (tail && strstr(tail, "ModuleNotFoundError"))
        return "a Python package is missing in the image; list it in packages_to_install or use an image that has it";
    if (exit_code == 126 || exit_code == 127)
        return "the command is not in the image, or cannot be executed there";
    if (exit_code == 137)
        return "the process was killed (signal 9), often because memory ran out";
    return NULL;
}

/* ---- failure -------------------------------------------------------------------------------------------------- */

/* Marks the newest entry of row.pods as failed. */
static void note_failed_pod(struct inst *i)
{
    JSON_REF(d) = i->row.pods ? json_parse_str(i->row.pods, NULL) : NULL;
    if (!d || jv_len(json_root(d)) == 0)
        return;
    JM(m, json_root(d));
    jmval *last = jmv_at(jm_root(m), jmv_len(jm_root(m)) - 1);
    jm_put(m, last, "failed", jm_bool(m, true));
    BUF(b);
    jmv_write(jm_root(m), JW_COMPACT, &b);
    free(i->row.pods);
    i->row.pods = buf_steal(&b, NULL);
}

/* The pod of this attempt joins the list of all. */
static void note_pod(struct inst *i)
{
    JSON_REF(d) = json_parse_str(i->row.pods ? i->row.pods : "[]", NULL);
    JM(m, json_root(d));
    jmval *list = jm_root(m);
    size_t n = jmv_len(list);
    jmval *e = n > 0 && str_eq(jmv_str(jmv_get(jmv_at(list, n - 1), "name")), i->row.pod_name) ? jmv_at(list, n - 1) : NULL;
    if (!e) {
        e = jm_obj(m);
        jm_put(m, e, "name", jm_str(m, i->row.pod_name));
        jm_put(m, e, "attempt", jm_i64(m, i->row.attempt));
        jm_push(list, e);
        e = jmv_at(list, n);
    }
    if (i->row.pod_uid)
        jm_put(m, e, "uid", jm_str(m, i->row.pod_uid));
    BUF(b);
    jmv_write(list, JW_COMPACT, &b);
    free(i->row.pods);
    i->row.pods = buf_steal(&b, NULL);
}

/* How many attempts were ended by their node being stopped: they do not count as tries. */
static int interruptions(const struct inst *i)
{
    JSON_REF(d) = json_parse_str(i->row.pods ? i->row.pods : "[]", NULL);
    int n = 0;
    jval *e;
    for (struct jiter it = jv_iter(json_root(d)); jv_next(&it, NULL, &e);)
        n += jv_bool(jv_get(e, "interrupted"), false);
    return n;
}

static void name_attempt(struct inst *i)
{
    char name[64];
    pod_name_of(i, name);
    inst_set_pod(i, name);
}

void attempt_failed(struct inst *i, int64_t now_ns, int code, const char *message)
{
    const struct ir_retry *r = inst_retry(i);
    struct live *l = i->live;
    note_failed_pod(i);
    if (l->cancelling || l->expired || !r || i->row.attempt - interruptions(i) >= r->max) {
        inst_move(i, TASK_FAILED, now_ns, code, message);
        i->clean_up = true;
        return;
    }
    double delay = (double)r->backoff_ns * pow(r->factor, i->row.attempt);
    if (delay > (double)r->backoff_max_ns)
        delay = (double)r->backoff_max_ns;
    int64_t at = now_ns + (int64_t)delay;
    if (i->first_started_ns && at > i->first_started_ns + r->backoff_max_ns) {
        inst_move(i, TASK_FAILED, now_ns, code, message);
        i->clean_up = true;
        return;
    }
    i->row.next_attempt_ns = at;
    live_wake_at(l, at);
    inst_move(i, TASK_BACKOFF, now_ns, code, message);
}

/* The node was stopped (Ctrl-C, `down`) and took the step with it: nothing is wrong with the step, it starts again. */
static void attempt_interrupted(struct inst *i, int64_t now)
{
    note_failed_pod(i);
    JSON_REF(d) = json_parse_str(i->row.pods ? i->row.pods : "[]", NULL);
    JM(m, json_root(d));
    size_t n = jmv_len(jm_root(m));
    if (n > 0)
        jm_put(m, jmv_at(jm_root(m), n - 1), "interrupted", jm_bool(m, true));
    BUF(b);
    jmv_write(jm_root(m), JW_COMPACT, &b);
    free(i->row.pods);
    i->row.pods = buf_steal(&b, NULL);
    i->row.next_attempt_ns = now;
    live_wake_at(i->live, now);
    inst_move(i, TASK_BACKOFF, now, RPC_UNAVAILABLE, "the node was stopped; the step starts again");
}

static void next_attempt(struct inst *i, int64_t now)
{
    i->row.attempt++;
    i->row.next_attempt_ns = 0;
    inst_set_pod(i, NULL);
    inst_move(i, TASK_STARTING, now, 0, NULL);
}

/* ---- looking -------------------------------------------------------------------------------------------------- */

static void ended_without_result(struct inst *i, const struct ctx *ctx, const struct attempt_view *v, int64_t now)
{
    struct engine *e = i->live->e;
    BUF(tail);
    e->rt.tail(e->rt.self, ctx, i->live->run.ns, i->row.pod_name, LAUNCH_TAIL_LINES, &tail, NULL);
    BUF(cause);
    if (v->phase == ATTEMPT_MISSING)
        buf_addf(&cause, "pod %s is gone, and left no result: it was deleted, or its node was lost", i->row.pod_name);
    else if (v->reason && v->message)
        buf_addf(&cause, "%s: %s", v->reason, v->message);
    else if (v->reason && v->exit_code > 0)
        buf_addf(&cause, "%s (exit status %d)", v->reason, v->exit_code);
    else if (v->reason)
        buf_adds(&cause, v->reason);
    else if (v->exit_code < 0)
        buf_addf(&cause, "pod %s %s, and left no result", i->row.pod_name,
                 v->deleting ? "was deleted" : "ended before its step began");
    else
        buf_addf(&cause, "exit status %d", v->exit_code);
    AUTOFREE char *message = failure_message(buf_str(&cause), buf_str(&tail), hint_for(v->reason, v->exit_code, buf_str(&tail)));
    attempt_failed(i, now, RPC_INTERNAL, message);
}

static void ended_with_result(struct inst *i, const struct ctx *ctx, const struct attempt_view *v, const struct launch_result *r,
                              int64_t now)
{
    if (r->outcome != LAUNCH_EXITED || r->exit_code != 0) {
        BUF(cause);
        /* What the pod knows better than the process that was ended by it. */
        if (str_eq(v->reason, "OOMKilled"))
            buf_adds(&cause, "OOMKilled: the step was stopped because it used more memory than its limit");
        else if (str_eq(v->reason, "DeadlineExceeded") || str_eq(v->reason, "Evicted"))
            buf_addf(&cause, "%s: %s", v->reason, v->message ? v->message : "the step was stopped");
        else if (r->message && r->outcome != LAUNCH_EXITED)
            buf_adds(&cause, r->message);
        else
            buf_addf(&cause, "exit status %d", r->exit_code);
        AUTOFREE char *message = failure_message(buf_str(&cause), r->log_tail, hint_for(v->reason, r->exit_code, r->log_tail));
        attempt_failed(i, now, RPC_INTERNAL, message);
        return;
    }
    ERR(e);
    if (collect_result(i, ctx, r, &e) < 0) {
        AUTOFREE char *message = failure_message(err_text(&e), r->log_tail, NULL);
        attempt_failed(i, now, RPC_INVALID_ARGUMENT, message);
        return;
    }
    inst_move(i, TASK_SUCCEEDED, now, 0, NULL);
    i->clean_up = true;
    live_link_outputs(i);
    cache_remember(i);
}

static int read_result(struct inst *i, const struct ctx *ctx, struct launch_result *r, struct err *err)
{
    if (i->live->e->cfg.apart)
        return apart_result(i, ctx, r, err);
    AUTOFREE char *dir = attempt_dir(i);
    return launch_result_read(dir, r, err);
}

/* A store that does not answer now may do so later: the step's result is not given up for it. */
static bool passes(const struct err *e)
{
    return e->code == ERR_UNAVAILABLE || e->code == ERR_TIMEOUT || e->code == ERR_TOO_MANY || e->code == ERR_CANCELLED;
}

/* Nothing of ours may run twice: a pod that is not there counts as never made only while nothing says otherwise. Where no
 * directory is shared that is its result: one that began, and was deleted while nobody looked, is made once more. 1, 0 or -1. */
static int never_began(struct inst *i, const struct ctx *ctx, struct err *err)
{
    if (i->row.pod_uid)
        return 0;
    if (!i->live->e->cfg.apart) {
        AUTOFREE char *dir = attempt_dir(i);
        AUTOFREE char *started = fs_join(dir, LAUNCH_STARTED);
        return !fs_exists(started);
    }
    struct launch_result r;
    ERR(e);
    launch_result_init(&r);
    int rc = apart_result(i, ctx, &r, &e);
    launch_result_clear(&r);
    return rc < 0 && passes(&e) ? err_move(err, &e) : rc < 0;
}

static int ended(struct inst *i, const struct ctx *ctx, const struct attempt_view *v, int64_t now, struct err *err)
{
    struct live *l = i->live;
    struct launch_result r;
    ERR(e);
    launch_result_init(&r);
    bool have = read_result(i, ctx, &r, &e) == 0;
    if (!have && l->e->cfg.apart && passes(&e))
        return err_move(err, &e);
    bool good = have && r.outcome == LAUNCH_EXITED && r.exit_code == 0;
    setup_settle(i);
    if (have && r.setup_stale)
        setup_drop(i);
    if ((l->cancelling || l->expired) && !good) {
        inst_move(i, TASK_CANCELED, now, l->expired ? RPC_DEADLINE_EXCEEDED : RPC_CANCELLED,
                  l->expired ? "stopped: the run's deadline was exceeded" : "stopped: the run was terminated");
        i->clean_up = true;
    } else if (!good && str_eq(v->reason, POD_REASON_NODE_STOPPED)) {
        attempt_interrupted(i, now);
    } else if (have) {
        ended_with_result(i, ctx, v, &r, now);
    } else if (e.code != ERR_NOT_FOUND) {
        AUTOFREE char *message = failure_message(err_text(&e), NULL, NULL);
        attempt_failed(i, now, RPC_INTERNAL, message);
    } else {
        ended_without_result(i, ctx, v, now);
    }
    ERR(le);
    if (collect_log(i, ctx, have ? &r : NULL, &le) < 0)
        log_warn("run=%s task=%s: its log is not recorded: %s", l->run.run_id, i->row.path, err_text(&le));
    launch_result_clear(&r);
    return 0;
}

/* Why it has not started yet, for people: it goes with the next state. */
static void note_why(struct inst *i, const char *why)
{
    if (str_eq(why, i->row.error_message))
        return;
    free(i->row.error_message);
    i->row.error_message = xstrdup(why);
    inst_dirty(i);
}

static void note_waiting(struct inst *i, const struct attempt_view *v)
{
    AUTOFREE char *why = NULL;
    if (!str_empty(v->message))
        why = str_empty(v->reason) ? xstrdup(v->message) : xasprintf("%s: %s", v->reason, v->message);
    note_why(i, why);
}

static void seen(struct inst *i, struct attempt_view *v, int64_t now)
{
    if (v->pod_uid && !str_eq(v->pod_uid, i->row.pod_uid)) {
        free(i->row.pod_uid);
        i->row.pod_uid = TAKE(v->pod_uid);
        note_pod(i);
        inst_dirty(i);
    }
    /* A pod that waits still is started again when we have no memory of it: its task file may not have outlived a power cut. */
    if (v->phase != ATTEMPT_PENDING)
        i->started = true;
    if (i->row.state == TASK_STARTING && v->phase == ATTEMPT_RUNNING) {
        setup_keep(i);
        inst_move(i, TASK_RUNNING, now, 0, NULL);
    } else if (i->row.state == TASK_STARTING && v->phase == ATTEMPT_PENDING) {
        note_waiting(i, v);
        if (!str_empty(v->message)) /* no node has room for it, its image does not come: nobody else is to wait for that */
            fills_leave(i);
    }
}

/* Whether this attempt has to end now: the run is being ended and it is no exit task with time left. */
static bool must_stop(const struct inst *i, int64_t now)
{
    const struct live *l = i->live;
    if (l->expired)
        return true;
    if (!l->cancelling)
        return false;
    if (now >= l->cancel_ns + l->e->cfg.exit_grace_s * NS_PER_S)
        return true;
    /* An exit task that began before the end was asked for runs on as well. */
    for (; i; i = i->up)
        if (i->t && i->t->run_always)
            return false;
    return true;
}

/* A pod that is as it was seen last says nothing new, but while the run is being ended. */
static bool is_worth_a_look(struct inst *i, int64_t now)
{
    struct live *l = i->live;
    if (i->look || !l->e->rt.tells || l->cancelling || l->expired || (i->look_at_ns && now >= i->look_at_ns))
        return true;
    if (i->look_at_ns)
        live_wake_at(l, i->look_at_ns);
    return false;
}

static int observe(struct inst *i, const struct ctx *ctx, int64_t now, struct err *err)
{
    struct live *l = i->live;
    struct engine *e = l->e;
    if (i->row.state == TASK_BACKOFF) {
        if (must_stop(i, now))
            inst_move(i, TASK_CANCELED, now, l->expired ? RPC_DEADLINE_EXCEEDED : RPC_CANCELLED, "stopped between two attempts");
        else if (now >= i->row.next_attempt_ns)
            next_attempt(i, now);
        else
            live_wake_at(l, i->row.next_attempt_ns);
        return 0;
    }
    if (!i->row.pod_name) {
        if (must_stop(i, now))
            inst_move(i, TASK_CANCELED, now, l->expired ? RPC_DEADLINE_EXCEEDED : RPC_CANCELLED, "stopped before it started");
        return 0;
    }
    if ((i->waits_for && !must_stop(i, now)) || !is_worth_a_look(i, now)) /* who waits has no pod */
        return 0;
    struct attempt_view v = {0};
    if (e->rt.observe(e->rt.self, ctx, l->run.ns, i->row.pod_name, &v, err) < 0)
        return -1;
    int rc = v.phase == ATTEMPT_MISSING ? never_began(i, ctx, err) : 0;
    if (rc < 0) {
        attempt_view_clear(&v);
        return -1;
    }
    if (rc > 0) {
        rc = 0;
        if (must_stop(i, now))
            inst_move(i, TASK_CANCELED, now, l->expired ? RPC_DEADLINE_EXCEEDED : RPC_CANCELLED, "stopped before it started");
        else
            i->started = false; /* to be made (again): a turn died before it was */
    } else if (v.phase == ATTEMPT_MISSING || v.phase == ATTEMPT_ENDED) {
        if (v.phase == ATTEMPT_ENDED)
            seen(i, &v, now);
        rc = ended(i, ctx, &v, now, err);
    } else {
        seen(i, &v, now);
        i->look = false;
        i->look_at_ns = v.hopeless ? 0 : v.hopeless_at_ns;
        if (i->look_at_ns)
            live_wake_at(l, i->look_at_ns);
        if ((v.hopeless || (v.hopeless_at_ns && now >= v.hopeless_at_ns)) && !i->stopping) {
            AUTOFREE char *cause = xasprintf("%s: %s", v.reason ? v.reason : "the pod cannot start", v.message ? v.message : "");
            AUTOFREE char *message = failure_message(cause, NULL, hint_for(v.reason, -1, NULL));
            e->rt.stop(e->rt.self, ctx, l->run.ns, i->row.pod_name, NULL);
            attempt_failed(i, now, RPC_INTERNAL, message);
        }
    }
    attempt_view_clear(&v);
    return rc;
}

int live_observe(struct live *l, const struct ctx *ctx, struct err *err)
{
    int64_t now = engine_now(l->e);
    /* Settling takes an instance out of the table and puts the last one into its place: walk from the end. */
    for (size_t k = l->n_leaves; k-- > 0;) {
        if (k >= l->n_leaves)
            continue;
        if (live_is_full(l)) /* those that were not looked at still are to be */
            return 0;
        if (observe(l->leaves[k], ctx, now, err) < 0)
            return -1;
    }
    return 0;
}

/* ---- doing ---------------------------------------------------------------------------------------------------- */

static int make_attempt_dir(const struct execution *x, struct err *err)
{
    /* Writable for whatever user the container runs as; the directories above are closed to others. */
    if (fs_mkdir_p(x->dir, 0755, err) < 0)
        return -1;
    if (chmod(x->dir, 0777) < 0)
        return err_errno(err, "making %s writable", x->dir);
    return launch_task_write(&x->task, x->dir, err);
}

/* 1: not now, it waits for a set-up. */
static int start_attempt(struct inst *i, const struct ctx *ctx, struct err *err)
{
    struct live *l = i->live;
    struct engine *e = l->e;
    struct execution x;
    int rc = execution_make(i, &x, err);
    if (rc == 0 && !str_eq(i->row.image, x.image)) {
        free(i->row.image);
        i->row.image = xstrdup(x.image);
        inst_dirty(i);
    }
    if (rc == 0 && x.waits) {
        execution_clear(&x);
        note_why(i, "another step installs the same packages: it waits for them");
        return 1;
    }
    BUF(text);
    if (rc == 0)
        rc = e->cfg.apart ? apart_task(i, ctx, &x.task, &text, err) : make_attempt_dir(&x, err);
    if (rc == 0) {
        const struct task_start t = {
            .run_id = l->run.run_id,
            .run_name = l->run.name,
            .run_display_name = l->run.display_name,
            .task_id = i->row.task_id,
            .task_name = i->row.name,
            .ns = l->run.ns,
            .pod_name = i->row.pod_name,
            .service_account = l->run.service_account,
            .attempt = i->row.attempt,
            .has_retry = inst_retry(i) != NULL,
            .image = x.image,
            .env = json_root(x.env),
            .resources = json_root(x.resources),
            .kubernetes = json_root(x.kubernetes),
            .task_dir = x.dir,
            .task_text = e->cfg.apart ? buf_str(&text) : NULL,
            .task = &x.task,
            .mounts = x.mounts,
            .n_mounts = x.n_mounts,
            .secrets = x.secrets,
            .n_secrets = x.n_secrets,
            .images = x.images,
            .n_images = x.n_images,
            .setup = x.setup,
            .fill_env = json_root(x.fill_env),
        };
        FAULT("engine.pod.before");
        rc = e->rt.start(e->rt.self, ctx, &t, err);
        FAULT("engine.pod.after");
    }
    execution_clear(&x);
    return rc;
}

static bool permanent(enum err_code c)
{
    return c == ERR_INVALID || c == ERR_BAD_REQUEST || c == ERR_FORBIDDEN || c == ERR_NOT_FOUND || c == ERR_TOO_LARGE;
}

static int act_on(struct inst *i, const struct ctx *ctx, bool *again, struct err *err)
{
    struct live *l = i->live;
    struct engine *e = l->e;
    int64_t now = engine_now(e);
    if (must_stop(i, now) && (i->started || i->row.pod_uid) && !i->stopping) {
        if (e->rt.stop(e->rt.self, ctx, l->run.ns, i->row.pod_name, err) < 0)
            return -1;
        i->stopping = true;
        *again = true; /* it may be gone already */
        return 0;
    }
    if (i->row.state != TASK_STARTING || i->started || must_stop(i, now))
        return 0;
    if (i->waits_for && fills_is_held(i))
        return 0;
    ERR(e2);
    int rc = start_attempt(i, ctx, &e2);
    if (rc > 0)
        return 0;
    if (rc == 0) {
        i->started = true;
        i->look = true; /* it may have been there before */
        return 0;
    }
    if (!permanent(e2.code))
        return err_move(err, &e2);
    AUTOFREE char *message = failure_message(err_text(&e2), NULL, NULL);
    attempt_failed(i, now, RPC_INVALID_ARGUMENT, message);
    *again = true;
    return 0;
}

/* Attempts get their names before the state that mentions them is written. */
void live_name_attempts(struct live *l)
{
    for (size_t k = 0; k < l->n_leaves; k++) {
        struct inst *i = l->leaves[k];
        if (i->row.state == TASK_STARTING && !i->row.pod_name) {
            name_attempt(i);
            note_pod(i);
            inst_dirty(i);
        }
    }
}

int live_act(struct live *l, const struct ctx *ctx, bool *again, struct err *err)
{
    for (size_t k = l->n_leaves; k-- > 0;) {
        if (k >= l->n_leaves)
            continue;
        if (live_is_full(l))
            return 0;
        if (act_on(l->leaves[k], ctx, again, err) < 0)
            return -1;
    }
    return 0;
}
