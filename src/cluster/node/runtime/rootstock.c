#include "cluster/node/runtime/rootstock.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/fs.h"
#include "base/str.h"
#include "base/thread.h"
#include "cluster/node/runtime/hostroot.h"

#define LOG_ROOM "node"
#include "base/log.h"

enum { AHEAD = 4, PAUSE_US = 30000 };

struct rootstock {
    const struct hostroot *root;
    char *dir;
    struct pool *worker;
    pthread_mutex_t lock; /* all below */
    struct strlist ready; /* paths */
    uint64_t made;
    bool filling, stopping;
};

static void fill(void *arg)
{
    struct rootstock *s = arg;
    for (;;) {
        AUTOFREE char *path = NULL;
        bool in_stock;
        ERR(e);
        {
            LOCK_GUARD(&s->lock);
            in_stock = s->ready.n > 0 && !s->stopping;
        }
        /* Who took one starts a container now, and wants the processors. */
        if (in_stock)
            usleep(PAUSE_US);
        {
            LOCK_GUARD(&s->lock);
            if (s->stopping || s->ready.n >= AHEAD) {
                s->filling = false;
                return;
            }
            path = xasprintf("%s/%llu", s->dir, (unsigned long long)++s->made);
        }
        int rc = fs_mkdir_p(path, 0700, &e) < 0 ? -1 : hostroot_lay(s->root, path, &e);
        LOCK_GUARD(&s->lock);
        if (rc < 0) {
            log_warn("making a container's root ahead: %s", err_text(&e));
            s->filling = false;
            return;
        }
        strlist_add(&s->ready, path);
    }
}

/* Lock held. */
static void want_fill(struct rootstock *s)
{
    if (!s->filling && !s->stopping && s->ready.n < AHEAD)
        s->filling = pool_submit(s->worker, fill, s);
}

struct rootstock *rootstock_new(const struct hostroot *root, const char *dir, struct err *err)
{
    if (fs_rm_rf(dir, err) < 0 || fs_mkdir_p(dir, 0700, err) < 0)
        return NULL;
    struct rootstock *s = xcalloc(1, sizeof *s);
    s->root = root;
    s->dir = xstrdup(dir);
    s->worker = pool_new("rootstock", 1, 2);
    pthread_mutex_init(&s->lock, NULL);
    LOCK_GUARD(&s->lock);
    want_fill(s);
    return s;
}

int rootstock_take(struct rootstock *s, const char *bundle, struct err *err)
{
    static const char *const parts[] = {"rootfs", "upper", "work"};
    AUTOFREE char *from = NULL;
    {
        LOCK_GUARD(&s->lock);
        if (s->ready.n) {
            from = xstrdup(s->ready.v[--s->ready.n]);
            free(s->ready.v[s->ready.n]);
        }
        want_fill(s);
    }
    if (!from)
        return 0;
    for (size_t i = 0; i < ARRAY_LEN(parts); i++) {
        AUTOFREE char *a = fs_join(from, parts[i]), *b = fs_join(bundle, parts[i]);
        if (rename(a, b) < 0)
            return err_errno(err, "moving %s to %s", a, b);
    }
    rmdir(from);
    return 1;
}

void rootstock_free(struct rootstock *s)
{
    ERR(e);
    if (!s)
        return;
    {
        LOCK_GUARD(&s->lock);
        s->stopping = true;
    }
    pool_stop(s->worker);
    if (fs_rm_rf(s->dir, &e) < 0)
        log_warn("%s", err_text(&e));
    strlist_free(&s->ready);
    pthread_mutex_destroy(&s->lock);
    free(s->dir);
    free(s);
}
