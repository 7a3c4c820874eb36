#include "cluster/node/images/pull.h"

#include <stdlib.h>
#include <unistd.h>

#include "base/fs.h"
#include "base/thread.h"

#define LOG_ROOM "images"
#include "base/log.h"

enum { AT_ONCE = 3 };

struct puller {
    struct image_store *store;
    const struct registries *registries;
    unpack_fn *unpack;
    void *self;
    pthread_mutex_t lock; /* busy */
    pthread_cond_t changed;
    struct strmap busy; /* diff ids that are being made */
};

struct puller *puller_new(struct image_store *store, const struct registries *registries, unpack_fn *unpack, void *self)
{
    struct puller *p = xcalloc(1, sizeof *p);
    *p = (struct puller){.store = store, .registries = registries, .unpack = unpack, .self = self, .busy = STRMAP_INIT(NULL)};
    pthread_mutex_init(&p->lock, NULL);
    thread_cond_init(&p->changed);
    return p;
}

void puller_free(struct puller *p)
{
    if (!p)
        return;
    strmap_free(&p->busy);
    pthread_mutex_destroy(&p->lock);
    pthread_cond_destroy(&p->changed);
    free(p);
}

/* ---- layers --------------------------------------------------------------------------------------------------------------- */

/* One pull: what its threads share. */
struct pull {
    struct puller *p;
    struct session *session;
    struct ctx ctx;
    struct manifest manifest;
    struct image_config config;
    struct pull_progress *progress;
    pthread_mutex_t lock; /* all below */
    size_t next;
    bool failed;
    struct err err;
};

struct layer {
    struct pull *pull;
    const struct blob_ref *blob;
    int fd;
};

static int sink(void *self, const void *bytes, size_t n, struct err *err)
{
    struct layer *l = self;
    {
        LOCK_GUARD(&l->pull->lock);
        if (l->pull->failed)
            return err_set(err, ERR_CANCELLED, "another layer of the image failed");
    }
    if (fs_write(l->fd, bytes, n, err) < 0)
        return -1;
    atomic_fetch_add(&l->pull->progress->done, (int64_t)n);
    return 0;
}

static int feed(void *self, int fd, struct err *err)
{
    struct layer *l = self;
    l->fd = fd;
    return session_blob(l->pull->session, &l->pull->ctx, l->blob->digest, l->blob->size, sink, l, err);
}

/* Waits until nobody else makes the layer. True when it is here then; else it is ours to make. */
static bool claim(struct puller *p, const char *diff_id)
{
    LOCK_GUARD(&p->lock);
    while (strmap_has(&p->busy, diff_id))
        pthread_cond_wait(&p->changed, &p->lock);
    if (image_store_has_layer(p->store, diff_id))
        return true;
    strmap_put(&p->busy, diff_id, p);
    return false;
}

static void unclaim(struct puller *p, const char *diff_id)
{
    LOCK_GUARD(&p->lock);
    strmap_del(&p->busy, diff_id);
    pthread_cond_broadcast(&p->changed);
}

static int one_layer(struct pull *u, size_t i, struct err *err)
{
    struct layer l = {.pull = u, .blob = &u->manifest.layers[i]};
    const char *diff_id = u->config.diff_ids.v[i];
    if (claim(u->p, diff_id)) {
        atomic_fetch_add(&u->progress->done, l.blob->size);
        return 0;
    }
    int rc = image_layer_make(u->p->store, u->p->unpack, u->p->self, diff_id, feed, &l, err);
    unclaim(u->p, diff_id);
    return rc;
}

static void *layers_main(void *arg)
{
    struct pull *u = arg;
    for (;;) {
        size_t i;
        ERR(e);
        {
            LOCK_GUARD(&u->lock);
            if (u->failed || u->next == u->manifest.n_layers)
                return NULL;
            i = u->next++;
        }
        if (one_layer(u, i, &e) == 0)
            continue;
        LOCK_GUARD(&u->lock);
        if (!u->failed)
            err_move(&u->err, &e);
        u->failed = true;
        return NULL;
    }
}

static int all_layers(struct pull *u, struct err *err)
{
    pthread_t threads[AT_ONCE - 1];
    size_t n = 0;
    while (n < ARRAY_LEN(threads) && n + 1 < u->manifest.n_layers)
        threads[n++] = thread_start("image-pull", layers_main, u);
    layers_main(u);
    for (size_t i = 0; i < n; i++)
        pthread_join(threads[i], NULL);
    if (!u->failed)
        return 0;
    return err_move(err, &u->err);
}

/* ---- manifest and configuration ----------------------------------------------------------------------------------------------
 */

static int gather(void *self, const void *bytes, size_t n, struct err *err)
{
    buf_add(self, bytes, n);
    return 0;
}

static void add_digest(struct image_record *r, const struct image_ref *ref, const char *digest)
{
    AUTOFREE char *repo = image_ref_repo(ref), *text = xasprintf("%s@%s", repo, digest);
    if (!strlist_has(&r->digests, text))
        strlist_add(&r->digests, text);
}

static int get_manifest(struct pull *u, const struct image_ref *ref, struct image_record *r, struct err *err)
{
    BUF(text);
    AUTOFREE char *type = NULL, *digest = NULL;
    if (session_manifest(u->session, &u->ctx, NULL, &text, &type, &digest, err) < 0)
        return -1;
    add_digest(r, ref, digest);
    if (manifest_parse(buf_str(&text), text.len, type, image_arch(), &u->manifest, err) < 0)
        return -1;
    if (!u->manifest.is_index)
        return 0;
    AUTOFREE char *chosen = xstrdup(u->manifest.chosen.digest), *type2 = NULL, *digest2 = NULL;
    BUF(text2);
    manifest_free(&u->manifest);
    if (session_manifest(u->session, &u->ctx, chosen, &text2, &type2, &digest2, err) < 0)
        return -1;
    add_digest(r, ref, digest2);
    if (manifest_parse(buf_str(&text2), text2.len, type2, image_arch(), &u->manifest, err) < 0)
        return -1;
    return u->manifest.is_index ? err_set(err, ERR_BAD_REQUEST, "the index leads to another index") : 0;
}

static int get_config(struct pull *u, struct image_record *r, struct err *err)
{
    const struct blob_ref *c = &u->manifest.config;
    BUF(text);
    if (session_blob(u->session, &u->ctx, c->digest, c->size, gather, &text, err) < 0 ||
        image_config_parse(buf_str(&text), text.len, &u->config, err) < 0)
        return -1;
    if (u->config.diff_ids.n != u->manifest.n_layers)
        return err_set(err, ERR_BAD_REQUEST, "mismatched image rootfs and manifest layers: %zu and %zu", u->config.diff_ids.n,
                       u->manifest.n_layers);
    if (image_store_put_blob(u->p->store, c->digest, buf_str(&text), text.len, err) < 0)
        return -1;
    r->id = xstrdup(c->digest);
    r->size = c->size;
    for (size_t i = 0; i < u->manifest.n_layers; i++) {
        strlist_add(&r->layers, u->config.diff_ids.v[i]);
        r->size += u->manifest.layers[i].size;
    }
    atomic_store(&u->progress->total, r->size - c->size);
    return 0;
}

/* ---- the whole
 * ------------------------------------------------------------------------------------------------------------------ */

/* True when what the tag means now is here already. */
static bool is_current(struct pull *u, const struct image_ref *ref, struct image_record *out)
{
    IMAGE_RECORD(have);
    AUTOFREE char *digest = NULL, *repo = image_ref_repo(ref);
    if (image_store_find(u->p->store, ref, &have, NULL) < 0 || ref->digest ||
        session_resolve(u->session, &u->ctx, &digest, NULL) < 0 || !digest)
        return false;
    AUTOFREE char *text = xasprintf("%s@%s", repo, digest);
    if (!strlist_has(&have.digests, text))
        return false;
    *out = have;
    have = (struct image_record){0};
    return true;
}

static int fetch(struct pull *u, const struct image_ref *ref, struct image_record *out, struct err *err)
{
    AUTOFREE char *full = image_ref_full(ref);
    IMAGE_RECORD(r);
    if (get_manifest(u, ref, &r, err) < 0)
        return err_wrap(err, "failed to resolve reference \"%s\"", full);
    if (get_config(u, &r, err) < 0 || all_layers(u, err) < 0)
        return -1;
    if (ref->tag) {
        AUTOFREE char *repo = image_ref_repo(ref);
        strlist_addf(&r.names, "%s:%s", repo, ref->tag);
    }
    if (image_store_put(u->p->store, &r, ctx_now_ns(&u->ctx), err) < 0)
        return -1;
    return image_store_find_id(u->p->store, r.id, out, err);
}

int image_pull(struct puller *p, const struct ctx *ctx, const struct image_ref *ref, const struct keyring *keys,
               struct pull_progress *progress, struct image_record *out, struct err *err)
{
    AUTOFREE char *full = image_ref_full(ref);
    AUTOCLOSE int hold = image_store_hold(p->store, err);
    if (hold < 0)
        return -1;
    struct pull u = {.p = p, .session = session_new(p->registries, ref, keys), .ctx = *ctx, .progress = progress};
    pthread_mutex_init(&u.lock, NULL);
    int rc = is_current(&u, ref, out) ? 0 : fetch(&u, ref, out, err);
    manifest_free(&u.manifest);
    image_config_free(&u.config);
    session_free(u.session);
    err_clear(&u.err);
    pthread_mutex_destroy(&u.lock);
    return rc < 0 ? err_wrap(err, "failed to pull and unpack image \"%s\"", full) : 0;
}
