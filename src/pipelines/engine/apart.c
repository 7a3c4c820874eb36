/* apart.c - tasks and results where engine and pods share no directory, but for an object store.
 *
 * A task stands in an annotation of its pod, which the pod sees as a file: it comes and goes with the pod. The result comes by
 * the store of the pipeline root, so that it outlives pod and node. Result files stay there, beside the artifacts. */
#include "pipelines/engine/live.h"

enum { NOTE_MAX = 192 << 10 }; /* all annotations of an object together may have 256 KiB */
#define PATIENCE_NS (30 * NS_PER_S)

int apart_task(struct inst *i, const struct ctx *ctx, const struct launch_task *t, struct buf *text, struct err *err)
{
    launch_task_text(t, text);
    if (text->len <= NOTE_MAX)
        return 0;
    struct launch_task there;
    launch_task_init(&there);
    there.run_id = xstrdup(t->run_id);
    there.task_id = xstrdup(t->task_id);
    there.attempt = t->attempt;
    there.task_uri = attempt_uri(i, LAUNCH_TASK);
    const struct launch_store *s = &t->stores[t->result_store];
    there.task_store =
        launch_task_add_store(&there, json_root(s->settings), s->access_key_file, s->secret_key_file, s->token_file);
    struct ctx brief = ctx_with_timeout(ctx, PATIENCE_NS);
    int rc = stores_write(i->live, &brief, there.task_uri, text, err);
    buf_reset(text);
    launch_task_text(&there, text);
    launch_task_clear(&there);
    return rc < 0 ? err_wrap(err, "the task is too long for an annotation, and has to go to its store") : 0;
}

int apart_result(struct inst *i, const struct ctx *ctx, struct launch_result *out, struct err *err)
{
    AUTOFREE char *uri = attempt_uri(i, LAUNCH_RESULT);
    struct ctx brief = ctx_with_timeout(ctx, PATIENCE_NS);
    BUF(text);
    int rc = stores_read(i->live, &brief, uri, LAUNCH_FILE_MAX, &text, err);
    if (rc == 0)
        rc = launch_result_parse(buf_str(&text), text.len, out, err);
    return rc < 0 ? err_wrap(err, "the step's result") : 0;
}
