/* One container of a pod: start, look, restart, remove. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fault.h"
#include "base/fs.h"
#include "base/id.h"
#include "base/timefmt.h"
#include "cluster/node/images/images.h"
#include "cluster/node/logs.h"
#include "cluster/node/pod.h"
#include "kube/fields.h"
#include "kube/kinds.h"
#include "kube/object.h"

#define LOG_ROOM "node"
#include "base/log.h"

enum { MESSAGE_MAX = 4096, LOG_TAIL_BYTES = 2048, LOG_TAIL_LINES = 80, EXIT_LOST = 137 };
#define BACKOFF_MAX      (300 * NS_PER_S)
#define BACKOFF_FORGIVEN (600 * NS_PER_S) /* who ran this long starts over with a short wait */
#define OWN_RETRY_FIRST  (1 * NS_PER_S)
#define OWN_RETRY_MAX    (120 * NS_PER_S)

static void set_text(char **at, const char *text)
{
    char *copy = xstrdup(text);
    free(*at);
    *at = copy;
}

char *box_field(const struct box *b)
{
    return b->kind == BOX_VOLUME ? NULL
                                 : xasprintf("spec.%s{%s}",
                                             b->kind == BOX_EPHEMERAL ? "ephemeralContainers"
                                             : b->init                ? "initContainers"
                                                                      : "containers",
                                             b->name);
}

void box_event(const struct pod_host *h, const struct pod *p, const struct box *b, const char *type, const char *reason,
               const char *text)
{
    AUTOFREE char *field = box_field(b);
    event_record_field(h->events, json_root(p->obj), &KUBE_PODS, field, type, reason, "%s", text);
}

static void about(const struct pod_host *h, const struct pod *p, const struct box *b, const char *type, const char *reason,
                  const char *fmt, const char *arg)
{
    AUTOFREE char *text = xasprintf(fmt, arg);
    box_event(h, p, b, type, reason, text);
}

int box_save(const struct pod_host *h, const struct pod *p, const struct box *b, struct err *err)
{
    struct container_row r = {.pod_uid = p->uid,
                              .name = b->name,
                              .list = b->kind == BOX_EPHEMERAL ? 2 : b->init,
                              .attempt = b->attempt,
                              .state = b->state,
                              .cid = b->cid,
                              .started_ns = b->started_ns,
                              .finished_ns = b->finished_ns,
                              .exit_code = b->exit_code,
                              .reason = b->reason,
                              .message = b->message,
                              .last = b->last,
                              .backoff_ns = b->backoff_ns};
    return nodedb_put_container(h->db, &r, err);
}

static int move_to(const struct pod_host *h, const struct pod *p, struct box *b, enum box_state state, struct err *err)
{
    b->state = state;
    h->running(h->self, p, b, state == BOX_RUNNING);
    return box_save(h, p, b, err);
}

/* ---- ends ------------------------------------------------------------------------------------------------------------------ */

/* The last lines of a log in CRI form, without their heads. */
static char *log_tail(const char *path)
{
    BUF(b);
    AUTOCLOSE int fd = open(path, O_RDONLY | O_CLOEXEC);
    struct stat st;
    if (fd < 0 || fstat(fd, &st) < 0)
        return NULL;
    enum { WINDOW = 65536 };
    off_t from = st.st_size > WINDOW ? st.st_size - WINDOW : 0;
    AUTOFREE char *text = xcalloc(1, WINDOW + 1);
    ssize_t n = pread(fd, text, WINDOW, from);
    STRLIST(lines);
    if (n > 0)
        str_split(text, '\n', &lines);
    size_t first = lines.n > LOG_TAIL_LINES + 1 ? lines.n - LOG_TAIL_LINES - 1 : 0;
    for (size_t i = first; i < lines.n; i++) {
        const char *s = lines.v[i];
        for (int spaces = 0; s && spaces < 3; spaces++)
            s = strchr(s, ' ') ? strchr(s, ' ') + 1 : NULL;
        if (s)
            buf_addf(&b, "%s\n", s);
    }
    if (b.len > LOG_TAIL_BYTES)
        buf_consume(&b, b.len - LOG_TAIL_BYTES);
    return b.len ? buf_steal(&b, NULL) : NULL;
}

/* What the container left to say: its termination message, or the end of its log if it failed and asked for that. */
static char *termination_message(const struct pod_host *h, const struct pod *p, const struct box *b)
{
    AUTOFREE char *bundle = pod_bundle(h, p, b), *path = fs_join(bundle, "termination-log");
    AUTOCLOSE int fd = open(path, O_RDONLY | O_CLOEXEC);
    AUTOFREE char *text = xcalloc(1, MESSAGE_MAX + 1);
    ssize_t n = fd >= 0 ? read(fd, text, MESSAGE_MAX) : 0;
    if (n > 0) {
        /* Cut in the middle of a character, or no text at all: only what is UTF-8 can be in a status. */
        while (n > 0 && !str_utf8_valid(text, (size_t)n))
            n--;
        text[n] = 0;
        return TAKE(text);
    }
    const char *policy = container_termination_message_policy(pod_box_container(p, b));
    if (b->exit_code == 0 || !str_eq(policy, "FallbackToLogsOnError"))
        return NULL;
    AUTOFREE char *dir = pod_log_dir(h, p, b->name), *log = xasprintf("%s/%d.log", dir, b->attempt);
    AUTOFREE char *tail = log_tail(log);
    return tail && str_utf8_valid(tail, strlen(tail)) ? TAKE(tail) : NULL;
}

static int ended(const struct pod_host *h, struct pod *p, struct box *b, int code, const char *reason, const char *message,
                 int64_t finished_ns, struct err *err)
{
    b->exit_code = code;
    b->finished_ns = finished_ns ? finished_ns : h->clock->wall_ns(h->clock);
    if (!b->started_ns)
        b->started_ns = b->finished_ns;
    set_text(&b->reason, reason);
    set_text(&b->message, message);
    return move_to(h, p, b, BOX_EXITED, err);
}

/* From created to running: the row first, then the start. */
static int begin(const struct pod_host *h, struct pod *p, struct box *b, const struct container_ref *ref, struct err *err)
{
    b->started_ns = h->clock->wall_ns(h->clock);
    if (move_to(h, p, b, BOX_RUNNING, err) < 0)
        return -1;
    FAULT("node.container.starting");
    return h->runtime->ops->start(h->runtime, ref, err);
}

int box_observe(const struct pod_host *h, struct pod *p, struct box *b, struct err *err)
{
    if ((b->state != BOX_RUNNING && b->state != BOX_PREPARED) || !b->cid)
        return 0;
    AUTOFREE char *bundle = pod_bundle(h, p, b);
    struct container_ref ref = {.id = b->cid, .bundle = bundle};
    struct container_state st;
    if (p->adopted && !b->image_id && p->obj)
        box_recall_image(h, p, b);
    if (h->runtime->ops->state(h->runtime, &ref, &st, err) < 0)
        return -1;
    switch (st.run) {
    case RUN_EXITED: {
        b->exit_code = st.exit_code;
        AUTOFREE char *message = termination_message(h, p, b);
        const char *reason = st.oom && st.exit_code == 137 ? "OOMKilled" : st.exit_code ? "Error" : "Completed";
        return ended(h, p, b, st.exit_code, reason, message, st.finished_ns, err);
    }
    case RUN_CREATED: /* we died before its start, with or without having noted that it is about to be started */
        return b->state == BOX_RUNNING ? h->runtime->ops->start(h->runtime, &ref, err) : begin(h, p, b, &ref, err);
    case RUN_RUNNING:
        return b->state == BOX_RUNNING ? 0 : move_to(h, p, b, BOX_RUNNING, err);
    case RUN_ABSENT:
        if (b->state == BOX_PREPARED) { /* we died before it was created: the same attempt again, from the start */
            if (h->runtime->ops->remove(h->runtime, &ref, err) < 0 || h->runtime->ops->remove_tree(h->runtime, bundle, err) < 0)
                return -1;
            h->untrack(h->self, b->cid);
            return move_to(h, p, b, BOX_WAITING, err);
        }
        break;
    case RUN_LOST:
        break;
    }
    return ended(h, p, b, EXIT_LOST, "ContainerStatusUnknown", "The container could not be located when the pod was terminated",
                 0, err);
}

/* ---- start ----------------------------------------------------------------------------------------------------------------- */

void box_set_waiting(struct box *b, const char *reason, const char *message)
{
    set_text(&b->wait_reason, reason);
    set_text(&b->wait_message, message);
}

void box_set_image(struct box *b, const struct image_info *image)
{
    set_text(&b->image_id, image->id);
    b->stop_signal = image->stop_signal;
}

void box_wait(const struct pod_host *h, struct box *b, const char *reason, const char *message, int64_t first, int64_t max)
{
    b->retry_wait_ns = b->retry_wait_ns ? b->retry_wait_ns * 2 : first;
    if (b->retry_wait_ns > max)
        b->retry_wait_ns = max;
    b->retry_mono_ns = h->clock->mono_ns(h->clock) + b->retry_wait_ns;
    box_set_waiting(b, reason, message);
}

static int prepare(const struct pod_host *h, const struct pod *p, struct box *b, const char *bundle, const char *log_dir,
                   struct err *err)
{
    char id[65];
    set_text(&b->cid, random_hex(id, 32));
    b->started_ns = b->finished_ns = 0;
    b->exit_code = 0;
    h->track(h->self, b->cid, p->key);
    if (move_to(h, p, b, BOX_PREPARED, err) < 0)
        return -1;
    FAULT("node.container.prepared");
    return fs_mkdir_p(bundle, 0700, err) < 0 ? -1 : fs_mkdir_p(log_dir, 0755, err);
}

/* The runtime could not start it. What is the image's or the pod's fault is an end with a code, as a shell would give it; else it
 * is ours, and is tried again. */
static int not_started(const struct pod_host *h, struct pod *p, struct box *b, struct err *e, struct err *err)
{
    about(h, p, b, "Warning", "Failed", "Error: %s", err_text(e));
    int code = e->code == ERR_NOT_FOUND ? 127 : e->code == ERR_FORBIDDEN ? 126 : e->code == ERR_PRECONDITION ? 128 : 0;
    if (code && e->sys_errno == 0)
        return ended(h, p, b, code, code == 128 ? "StartError" : "ContainerCannotRun", err_text(e), 0, err);
    log_warn("container %s of pod %s: %s", b->name, p->key, err_text(e));
    if (box_remove(h, p, b, err) < 0)
        return -1;
    box_wait(h, b, "CreateContainerError", err_text(e), OWN_RETRY_FIRST, OWN_RETRY_MAX);
    return move_to(h, p, b, BOX_WAITING, err);
}

int box_start(const struct pod_host *h, const struct ctx *ctx, struct pod *p, struct box *b, struct err *err)
{
    CLEANUP(image_info_free) struct image_info image = {0};
    CLEANUP(container_spec_free) struct container_spec spec = {0};
    AUTOFREE char *bundle = pod_bundle(h, p, b), *log_dir = pod_log_dir(h, p, b->name);
    AUTOFREE char *log = xasprintf("%s/%d.log", log_dir, b->attempt), *shown = xasprintf("%s/%s/%s", p->ns, p->name, b->name);
    struct container_ref ref;
    ERR(e);
    if (!box_have_image_volumes(h, ctx, p, b) || !box_have_image(h, ctx, p, b, &image))
        return 0;
    spec.bundle = bundle;
    if ((fs_exists(bundle) && h->runtime->ops->remove_tree(h->runtime, bundle, err) < 0) ||
        prepare(h, p, b, bundle, log_dir, err) < 0)
        return -1;
    spec.id = b->cid;
    spec.name = shown;
    spec.log_path = log;
    /* Noted down before anything is mounted; an image that was removed this instant is fetched at the next turn. */
    if (image.image && images_use(h->images, image.image, bundle, &e) < 0) {
        box_wait(h, b, "CreateContainerError", err_text(&e), OWN_RETRY_FIRST, OWN_RETRY_MAX);
        h->untrack(h->self, b->cid);
        return move_to(h, p, b, BOX_WAITING, err);
    }
    if (pod_container_spec(h, ctx, p, b, &image, &spec, &e) < 0) {
        about(h, p, b, "Warning", "Failed", "Error: %s", err_text(&e));
        box_wait(h, b, "CreateContainerConfigError", err_text(&e), OWN_RETRY_FIRST, OWN_RETRY_MAX);
        h->untrack(h->self, b->cid);
        return move_to(h, p, b, BOX_WAITING, err);
    }
    if (h->runtime->ops->create(h->runtime, &spec, &e) < 0)
        return not_started(h, p, b, &e, err);
    FAULT("node.container.created");
    ref = (struct container_ref){.id = b->cid, .bundle = bundle};
    if (begin(h, p, b, &ref, &e) < 0)
        return not_started(h, p, b, &e, err);
    FAULT("node.container.started");
    about(h, p, b, "Normal", "Created", "Container created", "");
    about(h, p, b, "Normal", "Started", "Container started", "");
    set_text(&b->wait_reason, NULL);
    set_text(&b->wait_message, NULL);
    b->retry_wait_ns = b->retry_mono_ns = 0;
    return 0;
}

/* ---- the next attempt
 * ---------------------------------------------------------------------------------------------------------- */

int box_remove(const struct pod_host *h, struct pod *p, struct box *b, struct err *err)
{
    AUTOFREE char *bundle = pod_bundle(h, p, b);
    struct container_ref ref = {.id = b->cid, .bundle = bundle};
    if (!b->cid)
        return 0;
    if (h->runtime->ops->remove(h->runtime, &ref, err) < 0 || h->runtime->ops->remove_tree(h->runtime, bundle, err) < 0)
        return -1;
    h->untrack(h->self, b->cid);
    return 0;
}

/* The first restart comes at once, the next after 10 s, then twice as long each time. */
static void back_off(const struct pod_host *h, const struct pod *p, struct box *b)
{
    int64_t wall = h->clock->wall_ns(h->clock), mono = h->clock->mono_ns(h->clock);
    if (b->finished_ns - b->started_ns > BACKOFF_FORGIVEN)
        b->backoff_ns = 0;
    int64_t wait = b->backoff_ns;
    b->backoff_ns = wait ? wait * 2 : h->backoff_base_ns;
    if (b->backoff_ns > BACKOFF_MAX)
        b->backoff_ns = BACKOFF_MAX;
    b->retry_mono_ns = 0;
    if (!wait)
        return;
    int64_t passed = wall - b->finished_ns;
    b->retry_mono_ns = mono + (passed > 0 && passed < wait ? wait - passed : wait);
    char text[TIME_TEXT_MAX];
    AUTOFREE char *message = xasprintf("back-off %s restarting failed container=%s pod=%s_%s(%s)", duration_format(text, wait),
                                       b->name, p->name, p->ns, p->uid);
    set_text(&b->wait_reason, "CrashLoopBackOff");
    set_text(&b->wait_message, message);
    about(h, p, b, "Warning", "BackOff", "Back-off restarting failed container %s in pod", b->name);
}

int box_restart(const struct pod_host *h, const struct ctx *ctx, struct pod *p, struct box *b, struct err *err)
{
    /* The code that is about to be deleted must be durable first: the row holds it from here on, the status from before. */
    if (pod_write_status(h, ctx, p, err) < 0)
        return -1;
    JM_NEW(m);
    jmval *last = jm_obj(m);
    box_terminated(m, last, b);
    BUF(text);
    jmv_write(last, JW_COMPACT, &text);
    set_text(&b->last, buf_str(&text));
    back_off(h, p, b);
    if (box_remove(h, p, b, err) < 0)
        return -1;
    /* Logs of this attempt stay as "previous"; older ones go. */
    if (b->attempt > 0) {
        AUTOFREE char *dir = pod_log_dir(h, p, b->name), *old = xasprintf("%s/%d.log", dir, b->attempt - 1);
        logs_remove(old);
    }
    b->attempt++;
    box_begin_anew(b);
    set_text(&b->cid, NULL);
    set_text(&b->reason, NULL);
    set_text(&b->message, NULL);
    return move_to(h, p, b, BOX_WAITING, err);
}
