/* One layer: a pipe, whoever fills it, and the process that unpacks what comes out of it. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/fs.h"
#include "base/thread.h"
#include "cluster/node/images/pull.h"

enum { PIPE_SIZE = 1 << 20 };

struct unpacking {
    unpack_fn *unpack;
    void *self;
    int in;
    char *dir;
    struct unpack_result result;
    int rc;
    struct err err;
};

static void *unpack_main(void *arg)
{
    struct unpacking *u = arg;
    u->rc = u->unpack(u->self, u->in, u->dir, &u->result, &u->err);
    /* Whoever writes must not wait for a reader that is gone. */
    close(u->in);
    return NULL;
}

/* Of the two failures the one that was there first: a reader that gave up breaks the pipe, a writer that gave up cuts the stream.
 */
static int both(int fed, struct err *feed_err, struct unpacking *u, struct err *err)
{
    bool broken_pipe = fed < 0 && feed_err->sys_errno == EPIPE;
    if (fed < 0 && !(broken_pipe && u->rc < 0))
        return err_move(err, feed_err);
    return u->rc < 0 ? err_move(err, &u->err) : 0;
}

static int run(struct unpacking *u, layer_feed *feed, void *self, struct err *err)
{
    int p[2];
    ERR(e);
    if (pipe2(p, O_CLOEXEC) < 0)
        return err_errno(err, "pipe");
    fcntl(p[1], F_SETPIPE_SZ, PIPE_SIZE);
    u->in = p[0];
    pthread_t thread = thread_start("image-layer", unpack_main, u);
    int fed = feed(self, p[1], &e);
    close(p[1]);
    pthread_join(thread, NULL);
    int rc = both(fed, &e, u, err);
    err_clear(&u->err);
    return rc;
}

int image_layer_make(struct image_store *store, unpack_fn *unpack, void *unpack_self, const char *diff_id, layer_feed *feed,
                     void *self, struct err *err)
{
    AUTOFREE char *tmp = image_store_tmp(store, err);
    if (!tmp)
        return -1;
    AUTOFREE char *dir = fs_join(tmp, "diff");
    struct unpacking u = {.unpack = unpack, .self = unpack_self, .dir = dir};
    int rc = run(&u, feed, self, err);
    if (rc == 0 && !str_eq(u.result.diff_id, diff_id))
        rc = err_set(err, ERR_INVALID,
                     "wrong diff id calculated on extraction: the layer is %s, the image's configuration says %s",
                     u.result.diff_id, diff_id);
    if (rc == 0)
        rc = image_store_put_layer(store, tmp, diff_id, u.result.bytes, err);
    ERR(e);
    if (fs_rm_rf(tmp, &e) < 0 && rc == 0)
        rc = err_move(err, &e);
    return rc;
}
