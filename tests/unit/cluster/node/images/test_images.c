/* The face: finding, using, fetching from where nobody is, collecting. */
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/fs.h"
#include "base/thread.h"
#include "cluster/node/images/images.h"
#include "kit.h"
#include "unit.h"

struct world {
    char *dir;
    struct images *im;
    struct clock_manual clock;
    pthread_mutex_t lock; /* told */
    struct strlist told;
};

static void ended(void *self, const char *key)
{
    struct world *w = self;
    LOCK_GUARD(&w->lock);
    strlist_add(&w->told, key);
}

static unsigned two_percent(const char *dir) { return 2; }

static void world_open(struct world *w, char *dir, unsigned gc, const struct clock *clock)
{
    ERR(e);
    *w = (struct world){.dir = dir};
    pthread_mutex_init(&w->lock, NULL);
    clock_manual_init(&w->clock, 1000 * NS_PER_S);
    w->im = images_open(&(struct images_config){.data_dir = w->dir,
                                                .registries = registries_new(),
                                                .clock = clock ? clock : &w->clock.clock,
                                                .percent_used = two_percent,
                                                .gc_high = gc,
                                                .gc_low = gc,
                                                .ended = ended,
                                                .self = w},
                        &e);
    if (!w->im)
        fail_msg("%s", err_text(&e));
}

static void world_close(struct world *w)
{
    images_close(w->im);
    strlist_free(&w->told);
    pthread_mutex_destroy(&w->lock);
    kit_rm(w->dir);
}

static void finding(void **state)
{
    struct world w;
    world_open(&w, kit_dir(), 0, NULL);
    AUTOFREE char *id = kit_put_image(images_store(w.im), "app:1", "layer", 1);
    CLEANUP(image_info_free) struct image_info info = {0}, again = {0};
    ERR(e);
    assert_int_equal(images_find(w.im, "app:1", &info, &e), 0);
    assert_string_equal(info.image, id);
    assert_string_equal(info.cwd, "/");
    assert_string_equal(info.cmd.v[0], "app:1");
    assert_int_equal(info.layers.n, 1);
    assert_true(fs_is_dir(info.layers.v[0]));
    assert_int_equal(images_find(w.im, "app:2", &again, &e), -1);
    assert_int_equal(e.code, ERR_NOT_FOUND);
    err_clear(&e);
    assert_int_equal(images_find(w.im, "No Name", &again, &e), -1);
    assert_int_equal(e.code, ERR_BAD_REQUEST);
    err_clear(&e);
    AUTOFREE char *bundle = fs_join(w.dir, "node/pods/u/containers/c/0");
    assert_int_equal(fs_mkdir_p(bundle, 0700, &e), 0);
    assert_int_equal(images_recall(w.im, bundle, &again, &e), -1);
    err_clear(&e);
    assert_int_equal(images_use(w.im, id, bundle, &e), 0);
    assert_int_equal(images_recall(w.im, bundle, &again, &e), 0);
    assert_string_equal(again.image, id);
    world_close(&w);
}

/* Everything that nothing uses goes, but for what is younger than two minutes. */
static void collecting(void **state)
{
    struct world w;
    char *dir = kit_dir();
    AUTOFREE char *place = fs_join(dir, "images"), *pods = fs_join(dir, "node/pods");
    struct image_store *s = image_store_open(place, pods, NULL);
    AUTOFREE char *old = kit_put_image(s, "old:1", "a", 1), *used = kit_put_image(s, "used:1", "b", 1),
                  *young = kit_put_image(s, "young:1", "c", 950 * NS_PER_S), *bundle = fs_join(dir, "node/pods/u/containers/c/0");
    ERR(e);
    assert_int_equal(fs_mkdir_p(bundle, 0700, &e), 0);
    assert_int_equal(image_store_use(s, used, bundle, 2, &e), 0);
    image_store_close(s);
    world_open(&w, dir, 1, NULL); /* the disk is fuller than that, whatever is removed */
    if (images_collect(w.im, &e) < 0)
        fail_msg("%s", err_text(&e));
    CLEANUP(image_info_free) struct image_info a = {0}, b = {0}, c = {0};
    assert_int_equal(images_find(w.im, "old:1", &a, NULL), -1);
    assert_int_equal(images_find(w.im, "used:1", &b, NULL), 0);
    assert_int_equal(images_find(w.im, "young:1", &c, NULL), 0);
    world_close(&w);
}

static enum image_job_state wait_for(struct image_job *j, struct err *err)
{
    struct image_job_view v;
    enum image_job_state st;
    for (int i = 0; i < 3000 && (st = image_job_look(j, &v, err)) == IMAGE_JOB_RUNS; i++)
        usleep(10000);
    return st;
}

static void fetching(void **state)
{
    struct world w;
    KEYRING(none);
    ERR(e);
    ERR(e2);
    world_open(&w, kit_dir(), 0, &clock_system);
    struct image_job *bad = images_fetch(w.im, "No Name", &none, "k");
    assert_int_equal(wait_for(bad, &e), IMAGE_JOB_FAILED);
    assert_int_equal(e.code, ERR_BAD_REQUEST);
    image_job_drop(bad);
    err_clear(&e);
    /* Port 1 of loopback: nobody. Two ask for the same, one fetch serves both. */
    struct image_job *a = images_fetch(w.im, "127.0.0.1:1/x:1", &none, "one"),
                     *b = images_fetch(w.im, "127.0.0.1:1/x:1", &none, "two");
    assert_ptr_equal(a, b);
    assert_int_equal(wait_for(a, &e), IMAGE_JOB_FAILED);
    assert_int_equal(wait_for(b, &e2), IMAGE_JOB_FAILED);
    assert_non_null(strstr(err_text(&e), "failed to resolve reference \"127.0.0.1:1/x:1\""));
    for (int i = 0; i < 30000; i++) {
        LOCK_GUARD(&w.lock);
        if (w.told.n == 2)
            break;
        usleep(1000);
    }
    assert_true(strlist_has(&w.told, "one") && strlist_has(&w.told, "two"));
    image_job_drop(a);
    image_job_drop(b);
    world_close(&w);
}

/* A server that takes connections and says nothing: who gives up does not wait for it, nor does the end of it all. */
static void giving_up(void **state)
{
    struct world w;
    KEYRING(none);
    ERR(e);
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof at;
    AUTOCLOSE int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0 && bind(fd, (struct sockaddr *)&at, len) == 0 && listen(fd, 10) == 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&at, &len), 0);
    AUTOFREE char *name = xasprintf("127.0.0.1:%d/x:1", ntohs(at.sin_port)),
                  *other = xasprintf("127.0.0.1:%d/y:1", ntohs(at.sin_port));
    world_open(&w, kit_dir(), 0, &clock_system);
    int64_t began = clock_system.mono_ns(&clock_system);
    struct image_job *a = images_fetch(w.im, name, &none, "one"), *b = images_fetch(w.im, other, &none, "two");
    usleep(50000);
    image_job_drop(a);
    struct image_job *again = images_fetch(w.im, name, &none, "three");
    usleep(50000);
    image_job_drop(b);
    image_job_drop(again);
    world_close(&w);
    assert_true(clock_system.mono_ns(&clock_system) - began < 50 * NS_PER_S); /* it would be silent for a minute */
}

TEST_GROUP(face, cmocka_unit_test(finding), cmocka_unit_test(collecting), cmocka_unit_test(fetching), cmocka_unit_test(giving_up))
