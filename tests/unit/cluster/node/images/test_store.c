/* The store: names, uses, garbage, two at a time, and what a kill leaves. */
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fs.h"
#include "cluster/node/images/pull.h"
#include "cluster/node/images/store.h"
#include "kit.h"
#include "unit.h"

#define CONFIG "{\"config\":{\"Cmd\":[\"%s\"]},\"rootfs\":{\"diff_ids\":[\"%s\"]}}"

#define OK(call)                                                                                                                 \
    do {                                                                                                                         \
        ERR(e_);                                                                                                                 \
        struct err *err = &e_;                                                                                                   \
        if ((call) != 0)                                                                                                         \
            fail_msg("%s: %s", #call, err_text(err));                                                                            \
    } while (0)

struct world {
    char *dir, *images, *pods;
    struct image_store *store;
};

static void world_open(struct world *w)
{
    ERR(e);
    w->dir = kit_dir();
    w->images = fs_join(w->dir, "images");
    w->pods = fs_join(w->dir, "node/pods");
    w->store = image_store_open(w->images, w->pods, &e);
    if (!w->store)
        fail_msg("%s", err_text(&e));
}

static void world_close(struct world *w)
{
    image_store_close(w->store);
    free(w->images);
    free(w->pods);
    kit_rm(w->dir);
}

/* A layer that is not unpacked from anything. */
static char *put_layer(struct image_store *s, const char *what)
{
    AUTOFREE char *digest = digest_of(what, strlen(what));
    ERR(e);
    AUTOFREE char *tmp = image_store_tmp(s, &e), *file = tmp ? fs_join(tmp, "diff/file") : NULL;
    if (!tmp)
        fail_msg("%s", err_text(&e));
    OK(fs_write_atomic(file, what, strlen(what), 0644, err));
    OK(image_store_put_layer(s, tmp, digest, 1, err));
    return TAKE(digest);
}

char *kit_put_image(struct image_store *s, const char *name, const char *layer, int64_t now)
{
    AUTOFREE char *diff_id = put_layer(s, layer), *config = xasprintf(CONFIG, name, diff_id);
    IMAGE_RECORD(r);
    r.id = digest_of(config, strlen(config));
    strlist_add(&r.layers, diff_id);
    strlist_addf(&r.names, "docker.io/library/%s", name);
    strlist_addf(&r.digests, "docker.io/library/x@%s", r.id);
    r.size = 10;
    OK(image_store_put_blob(s, r.id, config, strlen(config), err));
    OK(image_store_put(s, &r, now, err));
    return xstrdup(r.id);
}

static size_t count(struct image_store *s)
{
    CLEANUP(image_list_free) struct image_list l = {0};
    OK(image_store_list(s, &l, err));
    return l.n;
}

static bool knows(struct image_store *s, const char *name, const char *id)
{
    IMAGE_REF(ref);
    IMAGE_RECORD(r);
    OK(image_ref_parse(name, &ref, err));
    return image_store_find(s, &ref, &r, NULL) == 0 && (!id || str_eq(r.id, id));
}

static void names_move(void **state)
{
    struct world w;
    world_open(&w);
    AUTOFREE char *one = kit_put_image(w.store, "a:1", "l1", 1), *two = kit_put_image(w.store, "b:1", "l2", 2);
    assert_true(knows(w.store, "a:1", one) && knows(w.store, "b:1", two) && !knows(w.store, "a:2", NULL));
    AUTOFREE char *by_digest = xasprintf("x@%s", one);
    assert_true(knows(w.store, by_digest, one));
    /* The name now means another image; the first is still here, without a name. */
    IMAGE_RECORD(r);
    OK(image_store_find_id(w.store, two, &r, err));
    strlist_add(&r.names, "docker.io/library/a:1");
    OK(image_store_put(w.store, &r, 3, err));
    assert_true(knows(w.store, "a:1", two) && count(w.store) == 2);
    IMAGE_RECORD(short_id);
    AUTOFREE char *prefix = xstrndup(one + 7, 12);
    OK(image_store_find_id(w.store, prefix, &short_id, err));
    assert_string_equal(short_id.id, one);
    assert_int_equal(image_store_find_id(w.store, "abc", &short_id, NULL), -1);
    CLEANUP(image_config_free) struct image_config c = {0};
    OK(image_store_config(w.store, &short_id, &c, err));
    assert_string_equal(c.cmd.v[0], "a:1");
    world_close(&w);
}

static void two_at_a_time(void **state)
{
    struct world w;
    ERR(e);
    world_open(&w);
    struct image_store *other = image_store_open(w.images, w.pods, &e);
    AUTOFREE char *one = kit_put_image(w.store, "a:1", "l1", 1);
    assert_true(knows(other, "a:1", one));
    AUTOFREE char *two = kit_put_image(other, "b:1", "l2", 2);
    assert_true(knows(w.store, "b:1", two) && count(w.store) == 2);
    OK(image_store_remove(other, one, NULL, err));
    assert_false(knows(w.store, "a:1", NULL));
    image_store_close(other);
    world_close(&w);
}

static char *bundle(struct world *w, const char *pod)
{
    char *dir = xasprintf("%s/%s/containers/main/0", w->pods, pod);
    OK(fs_mkdir_p(dir, 0700, err));
    return dir;
}

static void removal(void **state)
{
    struct world w;
    world_open(&w);
    AUTOFREE char *one = kit_put_image(w.store, "a:1", "shared", 1), *two = kit_put_image(w.store, "b:1", "shared", 2),
                  *dir = bundle(&w, "uid");
    AUTOFREE char *layer = digest_of("shared", 6);
    OK(image_store_use(w.store, one, dir, 5, err));
    ERR(e);
    assert_int_equal(image_store_remove(w.store, one, NULL, &e), -1);
    assert_int_equal(e.code, ERR_CONFLICT);
    OK(image_store_remove(w.store, two, "docker.io/library/b:1", err));
    assert_true(image_store_has_layer(w.store, layer));
    AUTOFREE char *file = fs_join(dir, "image");
    assert_int_equal(unlink(file), 0);
    OK(image_store_remove(w.store, one, "docker.io/library/a:1", err));
    assert_int_equal(count(w.store), 0);
    assert_false(image_store_has_layer(w.store, layer));
    err_clear(&e);
    assert_int_equal(image_store_use(w.store, one, dir, 6, &e), -1);
    assert_int_equal(e.code, ERR_NOT_FOUND);
    world_close(&w);
}

static bool enough_after(void *self) { return --*(int *)self < 0; }

static void collection(void **state)
{
    struct world w;
    world_open(&w);
    AUTOFREE char *a = kit_put_image(w.store, "a:1", "la", 10), *b = kit_put_image(w.store, "b:1", "lb", 20),
                  *c = kit_put_image(w.store, "c:1", "lc", 30), *d = kit_put_image(w.store, "d:1", "ld", 1000),
                  *dir = bundle(&w, "uid");
    OK(image_store_use(w.store, a, dir, 20, err)); /* the oldest is in use, as a volume alone once its container is gone */
    AUTOFREE char *volume = xasprintf("%s/uid/images/v", w.pods), *containers = xasprintf("%s/uid/containers", w.pods);
    OK(fs_mkdir_p(volume, 0700, err));
    OK(image_store_use(w.store, a, volume, 20, err));
    OK(fs_rm_rf(containers, err));
    size_t removed;
    int one = 1, all = 1000;
    OK(image_store_collect(w.store, enough_after, &one, 500, &removed, err));
    assert_int_equal(removed, 1);
    assert_true(knows(w.store, "a:1", a) && !knows(w.store, "b:1", b) && knows(w.store, "c:1", c));
    OK(image_store_collect(w.store, enough_after, &all, 500, &removed, err));
    assert_true(knows(w.store, "a:1", a) && !knows(w.store, "c:1", c) && knows(w.store, "d:1", d)); /* d is too young */
    AUTOFREE char *lc = digest_of("lc", 2), *ld = digest_of("ld", 2);
    assert_true(!image_store_has_layer(w.store, lc) && image_store_has_layer(w.store, ld));
    world_close(&w);
}

static void sweeping(void **state)
{
    struct world w;
    ERR(e);
    world_open(&w);
    AUTOFREE char *orphan = put_layer(w.store, "orphan"), *tmp = image_store_tmp(w.store, &e);
    int hold = image_store_hold(w.store, &e);
    OK(image_store_sweep(w.store, false, err)); /* somebody makes layers */
    assert_true(image_store_has_layer(w.store, orphan) && fs_exists(tmp));
    close(hold);
    OK(image_store_sweep(w.store, true, err)); /* whole for sure: may be needed again */
    assert_true(image_store_has_layer(w.store, orphan) && !fs_exists(tmp));
    AUTOFREE char *diff = image_store_layer_dir(w.store, orphan);
    AUTOFREE char *info = xasprintf("%.*sinfo", (int)(strlen(diff) - 4), diff);
    OK(fs_write_atomic(info, "{\"boot\":\"another\"}", 18, 0600, err));
    OK(image_store_sweep(w.store, true, err)); /* the machine went down since */
    assert_false(image_store_has_layer(w.store, orphan));
    world_close(&w);
}

static void damaged_index(void **state)
{
    static const char *const texts[] = {"",
                                        "{",
                                        "[]",
                                        "{\"version\":2}",
                                        "{\"version\":1,\"images\":[{}]}",
                                        "{\"version\":1,\"images\":[{\"id\":\"sha256:../..\",\"layers\":[\"../../etc\"]}]}"};
    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        struct world w;
        ERR(e);
        world_open(&w);
        AUTOFREE char *index = fs_join(w.images, "index.json");
        OK(fs_write_atomic(index, texts[i], strlen(texts[i]), 0600, err));
        assert_null(image_store_open(w.images, w.pods, &e));
        assert_non_null(strstr(err_text(&e), "index.json"));
        world_close(&w);
    }
}

/* ---- archives, and a kill at each step ----------------------------------------------------------------------------------------
 */

static int feed_bytes(void *self, int fd, struct err *err)
{
    struct kit_tar *t = self;
    return fs_write(fd, t->bytes, t->used, err);
}

static void feed(struct image_store *s, struct kit_tar *t, const char *diff_id, struct err *err)
{
    image_layer_make(s, unpack_spawn, NULL, diff_id, feed_bytes, t, err);
}

static void wrong_layers(void **state)
{
    if (geteuid() != 0)
        skip();
    struct world w;
    struct kit_tar t;
    ERR(e);
    world_open(&w);
    kit_tar_open(&t, NULL);
    kit_tar_add(&t, "f", AE_IFREG, "x");
    kit_tar_end(&t);
    AUTOFREE char *good = digest_of(t.bytes, t.used), *bad = digest_of("other", 5);
    feed(w.store, &t, bad, &e);
    assert_int_equal(e.code, ERR_INVALID);
    assert_non_null(strstr(err_text(&e), "wrong diff id"));
    assert_false(image_store_has_layer(w.store, bad) || image_store_has_layer(w.store, good));
    err_clear(&e);
    feed(w.store, &t, good, &e);
    assert_int_equal(e.code, ERR_OK);
    assert_true(image_store_has_layer(w.store, good));
    kit_tar_free(&t);
    world_close(&w);
}

int kit_put_image_main(const char *images, const char *pods)
{
    struct image_store *s = image_store_open(images, pods, NULL);
    free(kit_put_image(s, "a:1", "layer", 1));
    image_store_close(s);
    return 0;
}

static void killed(void **state)
{
    static const char *const points[] = {"images.layer.unpacked", "images.layer.placed", "images.synced", "images.known"};
    for (size_t i = 0; i < ARRAY_LEN(points); i++) {
        struct world w;
        ERR(e);
        world_open(&w);
        pid_t pid = fork();
        if (pid == 0) {
            setenv("TIDEMILL_FAULT", points[i], 1);
            execl("/proc/self/exe", "unit_images", "put-image", w.images, w.pods, NULL);
            _exit(127);
        }
        int status;
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
        /* The next life finds the image whole or not at all, and can have it again. */
        struct image_store *s = image_store_open(w.images, w.pods, &e);
        assert_non_null(s);
        OK(image_store_sweep(s, true, err));
        bool there = knows(s, "a:1", NULL);
        assert_int_equal(there, i == 3);
        AUTOFREE char *id = kit_put_image(s, "a:1", "layer", 2), *layer = digest_of("layer", 5),
                      *diff = image_store_layer_dir(s, layer), *file = fs_join(diff, "file");
        assert_true(knows(s, "a:1", id) && fs_exists(file));
        image_store_close(s);
        world_close(&w);
    }
}

TEST_GROUP(storing, cmocka_unit_test(names_move), cmocka_unit_test(two_at_a_time), cmocka_unit_test(removal),
           cmocka_unit_test(collection), cmocka_unit_test(sweeping), cmocka_unit_test(damaged_index),
           cmocka_unit_test(wrong_layers), cmocka_unit_test(killed))
