/* transfer.c - artifacts between object stores and the container, when the stores are not mounted. */
#include <stdio.h>
#include <stdlib.h>

#include "agent/agent.h"
#include "base/ctx.h"
#include "base/fs.h"
#include "data/blob.h"

enum { KEY_FILE_MAX = 1 << 20 };
#define SAY_NS (5 * NS_PER_S)

/* A file of a mounted Secret; a line end behind the key is none of it. */
static int read_key(const char *path, char **out, struct err *err)
{
    BUF(text);
    if (!path)
        return 0;
    if (fs_read(path, KEY_FILE_MAX, &text, err) < 0)
        return err_wrap(err, "the key of the artifact store");
    while (text.len > 0 && (text.data[text.len - 1] == '\n' || text.data[text.len - 1] == '\r'))
        text.data[--text.len] = '\0';
    free(*out);
    *out = buf_steal(&text, NULL);
    return 0;
}

static struct blob_store *open_store(const struct launch_task *t, int n, struct err *err)
{
    const struct launch_store *s = &t->stores[n];
    struct blob_settings set = {0};
    struct blob_store *store = NULL;
    if (blob_settings_from_json(json_root(s->settings), &set, err) == 0 &&
        read_key(s->access_key_file, &set.access_key, err) == 0 && read_key(s->secret_key_file, &set.secret_key, err) == 0 &&
        read_key(s->token_file, &set.token, err) == 0)
        store = blob_store_open(&set, err);
    blob_settings_clear(&set);
    return store;
}

/* ---- progress ------------------------------------------------------------------------------------------------- */

struct progress {
    const char *what;
    int64_t next_ns;
};

/* Long transfers say how far they are, in the pod's log. */
static void say(void *self, int64_t bytes, int64_t files)
{
    struct progress *p = self;
    int64_t now = clock_system.mono_ns(&clock_system);
    if (!p->next_ns)
        p->next_ns = now + SAY_NS;
    if (now < p->next_ns)
        return;
    p->next_ns = now + SAY_NS;
    fprintf(stderr, "tidemill-agent: %s: %lld MiB, %lld files so far\n", p->what, (long long)(bytes >> 20), (long long)files);
}

/* ---- one at a time -------------------------------------------------------------------------------------------- */

/* Stores are opened once for all transfers, so that connections are kept. */
struct stores {
    const struct launch_task *t;
    struct blob_store **v;
};

static struct stores stores_of(const struct launch_task *t)
{
    return (struct stores){t, xcalloc(t->n_stores + 1, sizeof(struct blob_store *))};
}

static void stores_close(struct stores *s)
{
    for (size_t i = 0; i < s->t->n_stores; i++)
        blob_store_free(s->v[i]);
    free(s->v);
}

static struct blob_store *store_at(struct stores *s, int n, struct err *err)
{
    if (!s->v[n])
        s->v[n] = open_store(s->t, n, err);
    return s->v[n];
}

static int fetch(struct stores *s, const struct launch_download *d, struct err *err)
{
    AUTOFREE char *scheme = NULL, *bucket = NULL, *key = NULL;
    struct ctx ctx = ctx_background();
    struct blob_store *store = store_at(s, d->store, err);
    struct progress p = {.what = d->uri};
    struct blob_transfer t = {.progress = say, .self = &p};
    if (!store || blob_uri_split(d->uri, &scheme, &bucket, &key, err) < 0)
        return -1;
    return blob_download(store, &ctx, bucket, key, d->path, &t, err);
}

static int bring(struct stores *s, const struct launch_download *d, struct err *err)
{
    ERR(e);
    return fetch(s, d, &e) == 0 || e.code == ERR_NOT_FOUND ? 0 : err_move(err, &e);
}

static int deliver(struct stores *s, const char *path, const char *uri, int n, struct err *err)
{
    AUTOFREE char *scheme = NULL, *bucket = NULL, *key = NULL;
    struct ctx ctx = ctx_background();
    struct blob_store *store = store_at(s, n, err);
    struct progress p = {.what = uri};
    struct blob_transfer t = {.progress = say, .self = &p};
    if (!store || blob_uri_split(uri, &scheme, &bucket, &key, err) < 0)
        return -1;
    return blob_upload(store, &ctx, bucket, key, path, &t, err);
}

/* ---- the face ------------------------------------------------------------------------------------------------- */

int agent_bring_task(const struct launch_task *t, const char *path, struct err *err)
{
    struct stores s = stores_of(t);
    const struct launch_download d = {.uri = t->task_uri, .path = (char *)(uintptr_t)path, .store = t->task_store};
    int rc = fetch(&s, &d, err);
    stores_close(&s);
    return rc < 0 ? err_wrap(err, "the task") : 0;
}

int agent_bring_inputs(const struct launch_task *t, struct err *err)
{
    struct stores s = stores_of(t);
    int rc = 0;
    for (size_t i = 0; i < t->n_downloads && rc == 0; i++)
        if (bring(&s, &t->downloads[i], err) < 0)
            rc = err_wrap(err, "input artifact %s", t->downloads[i].uri);
    stores_close(&s);
    return rc;
}

int agent_send_outputs(const struct launch_task *t, const struct launch_result *r, struct err *err)
{
    struct stores s = stores_of(t);
    int rc = 0;
    for (size_t i = 0; i < t->n_artifacts && rc == 0; i++) {
        const struct launch_output *o = &t->artifacts[i];
        if (o->uri && i < r->n_artifacts && r->artifacts[i].exists && deliver(&s, o->path, o->uri, o->store, err) < 0)
            rc = err_wrap(err, "output artifact %s", o->key);
    }
    stores_close(&s);
    return rc;
}

int agent_send_log(const struct launch_task *t, struct err *err)
{
    struct stores s = stores_of(t);
    int rc = deliver(&s, t->log_path, t->log_uri, t->log_store, err);
    stores_close(&s);
    return rc < 0 ? err_wrap(err, "the log") : 0;
}

int agent_send_result(const struct launch_task *t, const char *path, struct err *err)
{
    struct stores s = stores_of(t);
    int rc = deliver(&s, path, t->result_uri, t->result_store, err);
    stores_close(&s);
    return rc < 0 ? err_wrap(err, "the result") : 0;
}
