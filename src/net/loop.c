/* loop.c - a thread with a libuv loop: its inbox, the flush before it sleeps, and its end. */
#define LOG_ROOM "http"
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/log.h"
#include "net/internal.h"

/* The whole of loop_post happens under the lock: when the loop has taken a post, its sender no longer touches the loop. */
void loop_post(struct loop *l, struct post *p)
{
    LOCK_GUARD(&l->lock);
    p->next = NULL;
    *l->inbox_tail = p;
    l->inbox_tail = &p->next;
    uv_async_send(&l->async);
}

static void on_async(uv_async_t *a)
{
    struct loop *l = a->data;
    struct post *p;
    {
        LOCK_GUARD(&l->lock);
        p = l->inbox;
        l->inbox = NULL;
        l->inbox_tail = &l->inbox;
    }
    while (p) {
        struct post *next = p->next;
        p->fn(l, p);
        p = next;
    }
    loop_maybe_finish(l);
}

/* Runs each time before the loop may sleep: what callbacks queued goes out, several writes as one. */
static void on_prepare(uv_prepare_t *h)
{
    struct loop *l = h->data;
    struct conn *c, *last = TAILQ_LAST(&l->dirty, conn_queue);
    for (bool more = last; more && (c = TAILQ_FIRST(&l->dirty));) {
        more = c != last;
        TAILQ_REMOVE(&l->dirty, c, dirty);
        c->is_dirty = false;
        conn_flush(c);
        if (c->state != CONN_CLOSED)
            conn_update(c);
    }
    if (!TAILQ_EMPTY(&l->dirty)) /* these wrote again: after the others had their turn */
        uv_async_send(&l->async);
    loop_maybe_finish(l);
}

int loop_init(struct loop *l, struct http_server *s, unsigned index, struct err *err)
{
    l->server = s;
    l->index = index;
    l->inbox_tail = &l->inbox;
    l->date_s = -1;
    LIST_INIT(&l->conns);
    TAILQ_INIT(&l->dirty);
    pthread_mutex_init(&l->lock, NULL);
    l->spare_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    int rc = uv_loop_init(&l->uv);
    if (rc < 0)
        return err_set(err, ERR_IO, "starting an event loop: %s", uv_strerror(rc));
    rc = uv_async_init(&l->uv, &l->async, on_async);
    if (rc < 0) {
        uv_loop_close(&l->uv);
        return err_set(err, ERR_IO, "starting an event loop: %s", uv_strerror(rc));
    }
    uv_prepare_init(&l->uv, &l->prepare);
    uv_timer_init(&l->uv, &l->grace);
    uv_prepare_start(&l->prepare, on_prepare);
    l->async.data = l->prepare.data = l->grace.data = l;
    return 0;
}

void *loop_main(void *arg)
{
    struct loop *l = arg;
    uv_run(&l->uv, UV_RUN_DEFAULT);
    return NULL;
}

/* A stopping loop ends when its last connection has. */
void loop_maybe_finish(struct loop *l)
{
    if (!l->stopping || l->finished || !LIST_EMPTY(&l->conns))
        return;
    l->finished = true;
    uv_close((uv_handle_t *)&l->async, NULL);
    uv_close((uv_handle_t *)&l->prepare, NULL);
    uv_close((uv_handle_t *)&l->grace, NULL);
}

void loop_free(struct loop *l)
{
    int rc = uv_loop_close(&l->uv);
    ASSERT(rc == 0);
    base_closep(&l->spare_fd);
    pthread_mutex_destroy(&l->lock);
}

bool loop_may_warn(struct loop *l)
{
    uint64_t now = uv_now(&l->uv);
    if (l->warned && now - l->warned < 1000)
        return false;
    l->warned = now;
    return true;
}

const char *loop_date(struct loop *l)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (now.tv_sec != l->date_s) {
        static const char days[] = "SunMonTueWedThuFriSat", months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
        struct tm tm;
        gmtime_r(&now.tv_sec, &tm);
        /* Not strftime: its names follow the locale. */
        snprintf(l->date, sizeof l->date, "%.3s, %02d %.3s %d %02d:%02d:%02d GMT", days + 3 * tm.tm_wday, tm.tm_mday,
                 months + 3 * tm.tm_mon, tm.tm_year + 1900, tm.tm_hour, tm.tm_min, tm.tm_sec);
        l->date_s = now.tv_sec;
    }
    return l->date;
}
