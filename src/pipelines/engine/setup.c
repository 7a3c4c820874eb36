/* setup.c - what a step's generated `pip install` adds is kept, and the next step with the same image and the same script has it
 * at once.
 *
 * The packages lie in a directory of their own (data_dir/setup/<key>), which steps see at LAUNCH_SETUP_DIR, read-only. A plain
 * mount, which any Kubernetes can do: no layer of an image has to be made.
 *
 * Who writes there decides what later steps run, so nobody's code does. An empty directory is filled by an init container of the
 * pod, which is over before anything of the step's begins and sees nothing of the step's but the image, the generated script and
 * that part of its environment in which pip's own settings are: no volumes, no secrets. What it can see is all in the key, beside
 * the namespace, so that nobody gets packages that somebody else's settings have chosen. It says by a mark how that ended; what a
 * step says counts for nothing. Packages that cannot be had in this way (an index that wants a password from a Secret) are not
 * kept: the step installs them for itself, and for a while nobody tries again.
 *
 * Names of images move. A set-up is kept for the image itself where that is known (`image_id` of the configuration), else for its
 * name; and it holds what told the image that filled it from others, so that the agent of a step whose image is another one
 * leaves it alone and says so. Of steps that want the same, one fills it (fills.c). Source: pipelines-runtime spec 21.6. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define LOG_ROOM "engine"
#include "base/fault.h"
#include "base/fs.h"
#include "base/log.h"
#include "pipelines/engine/live.h"
#include "pipelines/store/hash.h"

#define KEPT_MAX         100                    /* set-ups; the one that was not used for longest goes first */
#define STALE_NS         (7 * 86400 * NS_PER_S) /* one that was begun so long ago and not ended: its run was deleted meanwhile */
#define NEEDLESS         ".image" /* a file of this suffix says that the image has everything: there is nothing to keep */
#define ALONE            ".alone" /* and one of this that it cannot be filled; it counts for ALONE_NS */
#define ALONE_NS         (3600 * NS_PER_S)
#define OUTDATED         ".old." /* before the name of one that was made for another image: steps that began with it see it still */
#define IMAGE_NAME       "image" /* in a directory that is being filled: the image that does it */
#define TREE_DEPTH_MAX   64
#define TREE_ENTRIES_MAX 1000000

static char *setups_dir(const struct inst *i) { return fs_join(i->live->e->cfg.data_dir, "setup"); }

/* Of what is the same for each image, and the image. */
static void key_with(const char *recipe, const char *image, char key[HASH_TEXT])
{
    BUF(b);
    buf_addf(&b, "%s%c%s", recipe, 0, image);
    sha256_hex(b.data, b.len, key);
}

/* Where it is kept for the image that this name stands for now. */
static char *place_of(const struct inst *i, const char *recipe, const char *image)
{
    const struct engine_config *cfg = &i->live->e->cfg;
    char key[HASH_TEXT];
    AUTOFREE char *top = setups_dir(i), *id = cfg->image_id ? cfg->image_id(cfg->image_self, image) : NULL;
    key_with(recipe, id ? id : image, key);
    return fs_join(top, key);
}

/* Where this attempt fills one; the names begin with a dot, so that they are not taken for complete ones. What a step sees is one
 * directory in it, whose name is the recipe: the step can write to that, but not say whose it is. */
static char *place_to_fill(const struct inst *i)
{
    AUTOFREE char *top = setups_dir(i);
    return xasprintf("%s/.%s.%lld.%d", top, i->row.task_id, (long long)i->live->run.generation, i->row.attempt);
}

/* What changes what pip installs, and from where. */
static bool is_pips(const char *name)
{
    static const char *const names[] = {"HTTP_PROXY",         "HTTPS_PROXY",    "NO_PROXY",  "ALL_PROXY",       "http_proxy",
                                        "https_proxy",        "no_proxy",       "all_proxy", "SSL_CERT_FILE",   "SSL_CERT_DIR",
                                        "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "PATH",      "LD_LIBRARY_PATH", "PYTHONPATH",
                                        "VIRTUAL_ENV",        "CONDA_PREFIX"};
    for (size_t k = 0; name && k < ARRAY_LEN(names); k++)
        if (strcmp(name, names[k]) == 0)
            return true;
    return name && str_starts(name, "PIP_");
}

static struct json *env_for_pip(jval *env)
{
    JM_NEW(m);
    jmval *list = jm_arr(m);
    jm_set_root(m, list);
    jval *e;
    for (struct jiter it = jv_iter(env); jv_next(&it, NULL, &e);)
        if (is_pips(jv_str(jv_get(e, "name"))))
            jm_push(list, jm_val(m, e));
    return jm_freeze(m);
}

/* All that the filling container sees but for the image. The first word is the version of this list. */
static void recipe_of(const struct inst *i, const struct execution *x, jval *env, char recipe[HASH_TEXT])
{
    BUF(b);
    buf_addf(&b, "3%c%s%c%s%c", 0, i->live->run.ns ? i->live->run.ns : "", 0, x->task.argv.v[2], 0);
    jv_write(env, JW_COMPACT, &b);
    buf_addc(&b, 0);
    if (jv_get(json_root(x->kubernetes), "securityContext"))
        jv_write(jv_get(json_root(x->kubernetes), "securityContext"), JW_COMPACT | JW_SORTED, &b);
    sha256_hex(b.data, b.len, recipe);
}

/* Whether it was found out that there is nothing to keep, or not lately. */
static bool is_settled(struct engine *e, const char *kept)
{
    AUTOFREE char *needless = xasprintf("%s" NEEDLESS, kept), *alone = xasprintf("%s" ALONE, kept);
    struct stat st;
    return fs_exists(needless) || (lstat(alone, &st) == 0 && st.st_mtim.tv_sec * NS_PER_S > engine_now(e) - ALONE_NS);
}

/* An empty directory that the pod's init container writes to, whoever it runs as; and for which image. */
static int make_place(const struct inst *i, const char *image, const char *dir, struct err *err)
{
    AUTOFREE char *place = place_to_fill(i), *name = fs_join(place, IMAGE_NAME);
    if (fs_mkdir_p(dir, 0755, err) < 0 || (chmod(dir, 0777) < 0 && err_errno(err, "making %s writable", dir) < 0))
        return -1;
    return fs_write_atomic(name, image, strlen(image), 0600, err);
}

/* Whoever has a pod already goes on with what it began. */
static bool is_to_wait(struct inst *i, const char *recipe, const char *image)
{
    char key[HASH_TEXT];
    key_with(recipe, image, key);
    return !fills_take(i, key) && !i->row.pod_uid;
}

int setup_prepare(struct inst *i, struct execution *x, struct err *err)
{
    char recipe[HASH_TEXT], key[HASH_TEXT];
    free(TAKE(i->waits_for));
    if (x->task.prelude_at <= 0 || i->live->e->cfg.apart)
        return 0;
    JSON_REF(env) = env_for_pip(json_root(x->env));
    recipe_of(i, x, json_root(env), recipe);
    AUTOFREE char *kept = place_of(i, recipe, x->image), *fill = place_to_fill(i);
    if (fs_is_dir(kept)) {
        key_with(recipe, x->image, key);
        fills_done(i->live->e, key);
        utimensat(AT_FDCWD, kept, NULL, 0); /* used now: the oldest goes first */
        free(i->uses);
        i->uses = xstrdup(kept);
        x->setup = TAKE(kept);
    } else if (is_settled(i->live->e, kept)) {
        return 0;
    } else if (is_to_wait(i, recipe, x->image)) {
        x->waits = true;
        return 0;
    } else {
        x->fill_env = json_ref(env);
        x->setup = fs_join(fill, recipe);
        if (make_place(i, x->image, x->setup, err) < 0)
            return -1;
    }
    x->task.setup_dir = xstrdup(LAUNCH_SETUP_DIR);
    return 0;
}

/* ---- after the attempt ---------------------------------------------------------------------------------------- */

static int by_age(const void *a, const void *b)
{
    const struct stat *x = a, *y = b;
    return (x->st_mtim.tv_sec > y->st_mtim.tv_sec) - (x->st_mtim.tv_sec < y->st_mtim.tv_sec);
}

static void remove_stale(struct engine *e, char *path)
{
    struct stat st;
    if (lstat(path, &st) == 0 && st.st_mtim.tv_sec * NS_PER_S < engine_now(e) - STALE_NS)
        engine_remove_later(e, path);
    else
        free(path);
}

/* Removes those that were used before the KEPT_MAX newest. */
static void remove_oldest(struct engine *e, const char *top)
{
    DIR *d = opendir(top);
    STRLIST(names);
    for (const struct dirent *entry; d && (entry = readdir(d));)
        if (entry->d_name[0] != '.')
            strlist_add(&names, entry->d_name);
        else if (entry->d_name[1] && entry->d_name[1] != '.')
            remove_stale(e, fs_join(top, entry->d_name));
    if (d)
        closedir(d);
    if (names.n <= KEPT_MAX)
        return;
    AUTOFREE struct stat *ages = xcalloc(names.n, sizeof *ages);
    size_t n = 0;
    for (size_t k = 0; k < names.n; k++) {
        AUTOFREE char *path = fs_join(top, names.v[k]);
        n += lstat(path, &ages[n]) == 0;
    }
    qsort(ages, n, sizeof *ages, by_age);
    for (size_t k = 0; k < names.n && n > KEPT_MAX; k++) {
        struct stat st;
        char *path = fs_join(top, names.v[k]);
        if (lstat(path, &st) == 0 && by_age(&st, &ages[n - KEPT_MAX]) < 0)
            engine_remove_later(e, path);
        else
            free(path);
    }
}

/* The recipe by which an attempt fills its place. False: there is none, or, after the script has changed between two starts, more
 * than one, and nobody knows which of them the pod has. */
static bool recipe_in(const char *place, char recipe[HASH_TEXT])
{
    DIR *d = opendir(place);
    size_t n = 0;
    for (const struct dirent *entry; d && (entry = readdir(d));)
        if (entry->d_name[0] != '.' && strlen(entry->d_name) == HASH_TEXT - 1 && n++ == 0)
            memcpy(recipe, entry->d_name, HASH_TEXT);
    if (d)
        closedir(d);
    return n == 1;
}

/* And the image that does it; the caller frees. NULL: it cannot be told. */
static char *image_in(const char *place)
{
    AUTOFREE char *path = fs_join(place, IMAGE_NAME);
    BUF(name);
    return fs_read_plain(path, 4096, &name, NULL) < 0 || name.len == 0 ? NULL : buf_steal(&name, NULL);
}

/* ---- what was filled ---- */

/* Nothing but directories, files that make nobody somebody else, and links. fd is taken over. */
static int check_tree(int fd, int depth, size_t *entries)
{
    DIR *d = fdopendir(fd);
    int rc = d && depth < TREE_DEPTH_MAX ? 0 : -1;
    if (!d)
        close(fd);
    for (const struct dirent *e; rc == 0 && (e = readdir(d));) {
        struct stat st;
        if (str_eq(e->d_name, ".") || str_eq(e->d_name, ".."))
            continue;
        if (++*entries > TREE_ENTRIES_MAX || fstatat(dirfd(d), e->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0)
            rc = -1;
        else if (S_ISDIR(st.st_mode)) {
            int sub = openat(dirfd(d), e->d_name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
            rc = sub < 0 ? -1 : check_tree(sub, depth + 1, entries);
        } else if (!S_ISLNK(st.st_mode) && (!S_ISREG(st.st_mode) || st.st_mode & (S_ISUID | S_ISGID))) {
            rc = -1;
        }
    }
    if (d)
        closedir(d);
    return rc;
}

static enum launch_setup read_mark(const char *filled)
{
    AUTOFREE char *path = fs_join(filled, LAUNCH_SETUP_MARK);
    BUF(word);
    if (fs_read_plain(path, 64, &word, NULL) < 0)
        return LAUNCH_SETUP_NONE;
    return launch_setup_parse(buf_str(&word));
}

static void note(const char *kept, const char *suffix)
{
    AUTOFREE char *path = xasprintf("%s%s", kept, suffix);
    AUTOCLOSE int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd >= 0)
        futimens(fd, NULL);
}

static void keep_tree(const struct inst *i, const char *filled, const char *kept)
{
    size_t entries = 0;
    int fd = open(filled, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0 || check_tree(fd, 0, &entries) < 0) {
        log_warn("what pip installed for task %s is not kept: there is more in it than files", i->row.path);
        return;
    }
    FAULT("setup.keep.before");
    if (chmod(filled, 0755) < 0 || rename(filled, kept) < 0) {
        if (errno != ENOTEMPTY && errno != EEXIST)
            log_warn("keeping what pip installed for task %s: %s", i->row.path, strerrordesc_np(errno));
        return;
    }
    FAULT("setup.keep.after");
    AUTOFREE char *mark = fs_join(kept, LAUNCH_SETUP_MARK);
    unlink(mark);
}

static void keep(struct inst *i, const char *kept, const char *filled)
{
    AUTOFREE char *top = setups_dir(i);
    switch (read_mark(filled)) {
    case LAUNCH_SETUP_NONE:
        return;
    case LAUNCH_SETUP_MADE:
        keep_tree(i, filled, kept);
        break;
    case LAUNCH_SETUP_NEEDLESS:
        note(kept, NEEDLESS);
        break;
    case LAUNCH_SETUP_NOT:
        note(kept, ALONE);
        break;
    }
    remove_oldest(i->live->e, top);
}

void setup_keep(struct inst *i)
{
    AUTOFREE char *place = place_to_fill(i), *image = NULL;
    char recipe[HASH_TEXT];
    if (!recipe_in(place, recipe) || !(image = image_in(place)))
        return;
    /* The image may have come with the pod: it is known now. */
    AUTOFREE char *filled = fs_join(place, recipe), *kept = place_of(i, recipe, image);
    keep(i, kept, filled);
    if (!fs_is_dir(filled)) {
        free(i->uses);
        i->uses = TAKE(kept);
    }
}

void setup_settle(struct inst *i)
{
    AUTOFREE char *place = place_to_fill(i);
    if (!fs_exists(place))
        return;
    setup_keep(i);
    engine_remove_later(i->live->e, TAKE(place));
}

void setup_drop(struct inst *i)
{
    const char *name = i->uses ? strrchr(i->uses, '/') : NULL;
    if (!name)
        return;
    AUTOFREE char *old =
        xasprintf("%.*s/" OUTDATED "%s.%lld", (int)(name - i->uses), i->uses, name + 1, (long long)engine_now(i->live->e));
    if (rename(i->uses, old) == 0)
        log_info("what pip installed for task %s and others was made for another image of that name: it is installed anew",
                 i->row.path);
    free(TAKE(i->uses));
}

void setup_restore(struct engine *e, const char *place, const struct task_row *t)
{
    char recipe[HASH_TEXT], key[HASH_TEXT];
    AUTOFREE char *image = image_in(place);
    if (!image || !recipe_in(place, recipe))
        return;
    key_with(recipe, image, key);
    fills_restore(e, key, t);
}
