#include "cluster/node/images/images.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "base/fs.h"
#include "base/str.h"
#include "base/thread.h"
#include "cluster/node/images/pull.h"

#define LOG_ROOM "images"
#include "base/log.h"

enum { FETCHES = 3, QUEUE_MAX = 10000, GC_HIGH = 85, GC_LOW = 80, GC_EVERY_MS = 300000, CREDENTIALS_MAX = 1 << 20 };
#define GC_MIN_AGE (120 * NS_PER_S)

struct images {
    struct image_store *store;
    struct registries *registries;
    struct puller *puller;
    struct keyring keys;
    const struct clock *clock;
    unsigned (*percent_used)(const char *dir);
    unsigned gc_high, gc_low;
    void (*ended)(void *self, const char *key);
    void (*changed)(void *self);
    void *self;
    char *dir;
    struct pool *pool;
    pthread_t keeper;
    int wake;             /* eventfd that ends the keeper */
    pthread_mutex_t lock; /* jobs, and what their comments say */
    struct strmap jobs;   /* "name credentials" -> a job that runs */
};

/* A fetch. It lives until it is over and everybody who asked has dropped it. */
struct image_job {
    struct images *im;
    char *id; /* its key in jobs */
    struct image_ref ref;
    struct keyring keys;
    struct cancel cancel;
    struct pull_progress progress;
    /* the images' lock: */
    unsigned holders;
    bool over;
    struct strlist waiting;               /* keys to be told */
    int64_t asked_ns, began_ns, ended_ns; /* monotonic */
    int64_t size;
    struct err err;
};

/* ---- the keeper: garbage, and who wants to know of changes
 * ---------------------------------------------------------------------- */

static unsigned percent_used(const char *dir)
{
    struct statvfs v;
    if (statvfs(dir, &v) < 0 || !v.f_blocks)
        return 0;
    /* As df has it: what only root may fill does not count. */
    uint64_t used = v.f_blocks - v.f_bfree, all = used + v.f_bavail;
    return all ? (unsigned)((used * 100 + all - 1) / all) : 0;
}

static bool is_low_enough(void *self)
{
    struct images *im = self;
    return im->percent_used(im->dir) <= im->gc_low;
}

int images_collect(struct images *im, struct err *err)
{
    size_t removed = 0;
    unsigned before = im->percent_used(im->dir);
    if (before < im->gc_high)
        return 0;
    if (image_store_collect(im->store, is_low_enough, im, im->clock->wall_ns(im->clock) - GC_MIN_AGE, &removed, err) < 0)
        return -1;
    if (removed)
        log_warn("the disk of %s is %u%% full; %zu images that nothing uses were removed, now it is %u%%", im->dir, before,
                 removed, im->percent_used(im->dir));
    return 0;
}

static bool index_changed(int fd)
{
    char events[4096] __attribute__((aligned(8)));
    bool yes = false;
    ssize_t n;
    while ((n = read(fd, events, sizeof events)) > 0)
        for (char *at = events; at < events + n;) {
            struct inotify_event e;
            memcpy(&e, at, sizeof e);
            yes |= e.len && str_eq(at + sizeof e, "index.json");
            at += sizeof e + e.len;
        }
    return yes;
}

static void *keeper_main(void *arg)
{
    struct images *im = arg;
    AUTOCLOSE int fd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
    if (fd >= 0 && inotify_add_watch(fd, im->dir, IN_MOVED_TO) < 0)
        log_warn("watching %s: %s", im->dir, strerror(errno));
    int64_t next = im->clock->mono_ns(im->clock) + GC_EVERY_MS * NS_PER_MS;
    for (;;) {
        struct pollfd p[] = {{.fd = im->wake, .events = POLLIN}, {.fd = fd, .events = POLLIN}};
        int64_t left = next - im->clock->mono_ns(im->clock);
        int rc = poll(p, ARRAY_LEN(p), left < 0 ? 0 : (int)(left / NS_PER_MS) + 1);
        if (p[0].revents)
            return NULL;
        bool other = rc > 0 && p[1].revents && index_changed(fd);
        if (other && im->changed)
            im->changed(im->self);
        /* What has just come may have been the last that the disk could take. */
        if (!other && im->clock->mono_ns(im->clock) < next)
            continue;
        ERR(e);
        if (images_collect(im, &e) < 0)
            log_warn("removing images: %s", err_text(&e));
        next = im->clock->mono_ns(im->clock) + GC_EVERY_MS * NS_PER_MS;
    }
}

/* ---- open, close
 * ------------------------------------------------------------------------------------------------------------------ */

static void keys_copy(struct keyring *to, const struct keyring *from)
{
    for (size_t i = 0; from && i < from->n; i++) {
        const struct credential *c = &from->v[i];
        to->v = xreallocarray(to->v, to->n + 1, sizeof *to->v);
        to->v[to->n++] = (struct credential){.place = xstrdup(c->place),
                                             .user = xstrdup(c->user),
                                             .password = xstrdup(c->password),
                                             .identity_token = xstrdup(c->identity_token)};
    }
}

static void images_free(struct images *im)
{
    puller_free(im->puller);
    image_store_close(im->store);
    registries_free(im->registries);
    keyring_free(&im->keys);
    strmap_free(&im->jobs);
    if (im->wake >= 0)
        close(im->wake);
    pthread_mutex_destroy(&im->lock);
    free(im->dir);
    free(im);
}

struct images *images_open(const struct images_config *cfg, struct err *err)
{
    struct images *im = xcalloc(1, sizeof *im);
    AUTOFREE char *pods = fs_join(cfg->data_dir, "node/pods");
    *im = (struct images){.registries = cfg->registries,
                          .clock = cfg->clock,
                          .percent_used = cfg->percent_used ? cfg->percent_used : percent_used,
                          .gc_high = cfg->gc_high ? cfg->gc_high : GC_HIGH,
                          .gc_low = cfg->gc_low ? cfg->gc_low : GC_LOW,
                          .ended = cfg->ended,
                          .changed = cfg->changed,
                          .self = cfg->self,
                          .dir = fs_join(cfg->data_dir, "images"),
                          .wake = eventfd(0, EFD_CLOEXEC),
                          .jobs = STRMAP_INIT(NULL)};
    pthread_mutex_init(&im->lock, NULL);
    keys_copy(&im->keys, cfg->keys);
    im->store = image_store_open(im->dir, pods, err);
    if (!im->store || image_store_sweep(im->store, true, err) < 0) {
        images_free(im);
        return NULL;
    }
    im->puller = puller_new(im->store, im->registries, cfg->unpack ? cfg->unpack : unpack_spawn, cfg->unpack_self);
    im->pool = pool_new("image-fetch", FETCHES, QUEUE_MAX);
    im->keeper = thread_start("images", keeper_main, im);
    return im;
}

void images_close(struct images *im)
{
    uint64_t one = 1;
    if (!im)
        return;
    {
        LOCK_GUARD(&im->lock);
        for (struct strmap_entry *e = strmap_first(&im->jobs); e; e = strmap_next(e))
            cancel_raise(&((struct image_job *)e->value)->cancel);
    }
    ASSERT(write(im->wake, &one, sizeof one) == sizeof one);
    pthread_join(im->keeper, NULL);
    pool_stop(im->pool);
    images_free(im);
}

struct registries *images_registries(const char *data_dir, const char *file, const char *const *mirrors,
                                     const char *const *insecure, struct err *err)
{
    struct registries *r = registries_new();
    AUTOFREE char *usual = fs_join(data_dir, "registries");
    int rc = 0;
    if (file && !fs_exists(file))
        rc = err_set(err, ERR_NOT_FOUND, "the file of registries %s is missing", file);
    for (; rc == 0 && mirrors && *mirrors; mirrors++)
        rc = registries_add_mirror(r, *mirrors, err);
    for (; rc == 0 && insecure && *insecure; insecure++)
        rc = registries_add_insecure(r, *insecure, err);
    if (rc == 0)
        rc = registries_add_file(r, file ? file : usual, err);
    if (rc == 0)
        return r;
    registries_free(r);
    return NULL;
}

int images_credentials(const char *path, struct keyring *out, struct err *err)
{
    BUF(text);
    if (fs_read(path, CREDENTIALS_MAX, &text, err) < 0)
        return -1;
    return keyring_add(out, buf_str(&text), text.len, str_ends(path, ".dockercfg"), err) < 0 ? err_wrap(err, "%s", path) : 0;
}

struct image_store *images_store(struct images *im) { return im->store; }

/* ---- what is here
 * ------------------------------------------------------------------------------------------------------------------- */

static void move_texts(struct strlist *to, struct strlist *from)
{
    strlist_free(to);
    *to = *from;
    *from = (struct strlist){0};
}

/* "repository@digest" of the repository that was asked for, if it came from there. */
static const char *public_id(const struct image_record *r, const char *repo)
{
    size_t n = strlen(repo);
    for (size_t i = 0; i < r->digests.n; i++)
        if (strncmp(r->digests.v[i], repo, n) == 0 && r->digests.v[i][n] == '@')
            return r->digests.v[i];
    return r->digests.n ? r->digests.v[0] : r->id;
}

static int fill_info(struct images *im, const struct image_record *r, const char *repo, struct image_info *out, struct err *err)
{
    CLEANUP(image_config_free) struct image_config c = {0};
    if (image_store_config(im->store, r, &c, err) < 0)
        return -1;
    *out = (struct image_info){.id = xstrdup(public_id(r, repo)),
                               .image = xstrdup(r->id),
                               .cwd = xstrdup(*c.cwd ? c.cwd : "/"),
                               .user = xstrdup(c.user),
                               .stop_signal = image_signal(c.stop_signal),
                               .size = r->size};
    move_texts(&out->env, &c.env);
    move_texts(&out->entrypoint, &c.entrypoint);
    move_texts(&out->cmd, &c.cmd);
    move_texts(&out->volumes, &c.volumes);
    for (size_t i = 0; i < r->layers.n; i++)
        strlist_take(&out->layers, image_store_layer_dir(im->store, r->layers.v[i]));
    return 0;
}

int images_find(struct images *im, const char *name, struct image_info *out, struct err *err)
{
    IMAGE_REF(ref);
    IMAGE_RECORD(r);
    if (image_ref_parse(name, &ref, err) < 0 || image_store_find(im->store, &ref, &r, err) < 0)
        return -1;
    AUTOFREE char *repo = image_ref_repo(&ref);
    return fill_info(im, &r, repo, out, err);
}

int images_recall(struct images *im, const char *bundle, struct image_info *out, struct err *err)
{
    AUTOFREE char *path = fs_join(bundle, "image");
    IMAGE_RECORD(r);
    BUF(id);
    if (fs_read(path, 4096, &id, err) < 0 || image_store_find_id(im->store, buf_str(&id), &r, err) < 0)
        return -1;
    return fill_info(im, &r, "", out, err);
}

int images_use(struct images *im, const char *id, const char *bundle, struct err *err)
{
    return image_store_use(im->store, id, bundle, im->clock->wall_ns(im->clock), err);
}

/* ---- fetches
 * ------------------------------------------------------------------------------------------------------------------------ */

static void job_free(struct image_job *j)
{
    free(j->id);
    image_ref_free(&j->ref);
    keyring_free(&j->keys);
    strlist_free(&j->waiting);
    err_clear(&j->err);
    cancel_close(&j->cancel);
    free(j);
}

/* The waiting are told outside of the lock. */
static void job_over(struct image_job *j, const struct image_record *r, struct err *e)
{
    struct images *im = j->im;
    STRLIST(tell);
    bool unwanted;
    {
        LOCK_GUARD(&im->lock);
        if (strmap_get(&im->jobs, j->id) == j) /* else it was given up, and somebody asked anew */
            strmap_del(&im->jobs, j->id);
        j->over = true;
        j->ended_ns = im->clock->mono_ns(im->clock);
        j->size = r->size;
        if (e->code)
            err_move(&j->err, e);
        move_texts(&tell, &j->waiting);
        unwanted = j->holders == 0;
    }
    if (unwanted)
        job_free(j);
    for (size_t i = 0; i < tell.n && im->ended; i++)
        im->ended(im->self, tell.v[i]);
}

static void job_main(void *arg)
{
    struct image_job *j = arg;
    struct images *im = j->im;
    struct ctx ctx = ctx_background();
    IMAGE_RECORD(r);
    ERR(e);
    ctx.clock = im->clock;
    ctx.cancel = &j->cancel;
    {
        LOCK_GUARD(&im->lock);
        j->began_ns = im->clock->mono_ns(im->clock);
    }
    if (ctx_check(&ctx, &e) == 0)
        image_pull(im->puller, &ctx, &j->ref, &j->keys, &j->progress, &r, &e);
    if (e.code)
        log_info("%s", err_text(&e));
    job_over(j, &r, &e);
}

struct image_job *images_fetch(struct images *im, const char *name, const struct keyring *keys, const char *key)
{
    KEYRING(all);
    IMAGE_REF(ref);
    ERR(e);
    keys_copy(&all, keys);
    keys_copy(&all, &im->keys);
    AUTOFREE char *who = keyring_id(&all), *id = xasprintf("%s %s", name, who);
    LOCK_GUARD(&im->lock);
    struct image_job *j = strmap_get(&im->jobs, id);
    if (j && !j->cancel.raised) {
        j->holders++;
        strlist_add(&j->waiting, key);
        return j;
    }
    j = xcalloc(1, sizeof *j);
    *j = (struct image_job){.im = im, .id = TAKE(id), .keys = all, .holders = 1, .asked_ns = im->clock->mono_ns(im->clock)};
    all = (struct keyring){0};
    strlist_add(&j->waiting, key);
    if (image_ref_parse(name, &j->ref, &j->err) < 0 || cancel_init(&j->cancel, &j->err) < 0) {
        j->over = true;
        j->began_ns = j->ended_ns = j->asked_ns;
        return j;
    }
    strmap_put(&im->jobs, j->id, j);
    if (!pool_submit(im->pool, job_main, j)) {
        strmap_del(&im->jobs, j->id);
        j->over = true;
        j->began_ns = j->ended_ns = j->asked_ns;
        err_set(&j->err, ERR_UNAVAILABLE, "more than %d images are waited for", QUEUE_MAX);
    }
    return j;
}

enum image_job_state image_job_look(struct image_job *j, struct image_job_view *out, struct err *err)
{
    LOCK_GUARD(&j->im->lock);
    *out = (struct image_job_view){.done = j->progress.done, .total = j->progress.total, .size = j->size};
    if (!j->over)
        return IMAGE_JOB_RUNS;
    out->took_ns = j->ended_ns - j->began_ns;
    out->waited_ns = j->ended_ns - j->asked_ns;
    if (!j->err.code)
        return IMAGE_JOB_DONE;
    err_copy(err, &j->err);
    return IMAGE_JOB_FAILED;
}

void image_job_drop(struct image_job *j)
{
    bool last;
    if (!j)
        return;
    {
        LOCK_GUARD(&j->im->lock);
        last = --j->holders == 0 && j->over;
        if (!j->holders && !j->over)
            cancel_raise(&j->cancel);
    }
    if (last)
        job_free(j);
}
