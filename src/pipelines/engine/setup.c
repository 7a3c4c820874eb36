/* setup.c - what a step's generated `pip install` adds is kept, and the next step with the same image and the same script has it
 * at once.
 *
 * The packages lie in a directory of their own (data_dir/setup/<key>), which a step sees at LAUNCH_SETUP_DIR: read-only once it
 * is complete; an empty one to be filled before. The key is made of namespace, image and script, so that nobody gets packages
 * that somebody else's step has chosen. A plain mount, which any Kubernetes can do: no layer of an image has to be made. Source:
 * pipelines-runtime spec 21.6. */
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

#define KEPT_MAX 100                    /* set-ups; the one that was not used for longest goes first */
#define STALE_NS (7 * 86400 * NS_PER_S) /* one that was begun so long ago and not ended: its run was deleted meanwhile */
#define NEEDLESS ".image"               /* a file of this suffix says that the image has everything: there is nothing to keep */

static char *setups_dir(const struct inst *i) { return fs_join(i->live->e->cfg.data_dir, "setup"); }

static char *place_of(const struct inst *i, const char *key)
{
    AUTOFREE char *top = setups_dir(i);
    return fs_join(top, key);
}

/* Where this attempt fills one; the names begin with a dot, so that they are not taken for complete ones. What a step sees is one
 * directory in it, whose name is the key: the step can write to that, but not say whose it is. */
static char *place_to_fill(const struct inst *i)
{
    AUTOFREE char *top = setups_dir(i);
    return xasprintf("%s/.%s.%d", top, i->row.task_id, i->row.attempt);
}

static void key_of(const struct inst *i, const char *image, const char *script, char key[HASH_TEXT])
{
    BUF(b);
    buf_addf(&b, "%s%c%s%c%s", i->live->run.ns ? i->live->run.ns : "", 0, image, 0, script);
    sha256_hex(b.data, b.len, key);
}

int setup_prepare(struct inst *i, struct launch_task *t, const char *image, char **host, bool *ready, struct err *err)
{
    char key[HASH_TEXT];
    *host = NULL;
    if (t->prelude_at <= 0 || i->live->e->cfg.apart)
        return 0;
    key_of(i, image, t->argv.v[2], key);
    AUTOFREE char *kept = place_of(i, key);
    AUTOFREE char *needless = xasprintf("%s" NEEDLESS, kept);
    if (fs_exists(needless))
        return 0;
    *ready = fs_is_dir(kept);
    AUTOFREE char *fill = place_to_fill(i);
    *host = *ready ? TAKE(kept) : fs_join(fill, key);
    if (*ready)
        utimensat(AT_FDCWD, *host, NULL, 0); /* used now: the oldest goes first */
    else if (fs_mkdir_p(*host, 0755, err) < 0 || (chmod(*host, 0777) < 0 && err_errno(err, "making %s writable", *host) < 0))
        return -1;
    t->setup_dir = xstrdup(LAUNCH_SETUP_DIR);
    t->setup_ready = *ready;
    if (!*ready)
        strlist_add(&t->yield, LAUNCH_SETUP_DIR);
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

/* The key under which an attempt fills its place. False: there is none, or, after the image or the script has changed between two
 * starts, more than one, and nobody knows which of them the pod has. */
static bool key_in(const char *place, char key[HASH_TEXT])
{
    DIR *d = opendir(place);
    size_t n = 0;
    for (const struct dirent *entry; d && (entry = readdir(d));)
        if (entry->d_name[0] != '.' && strlen(entry->d_name) == HASH_TEXT - 1 && n++ == 0)
            memcpy(key, entry->d_name, HASH_TEXT);
    if (d)
        closedir(d);
    return n == 1;
}

static void keep(struct inst *i, const char *key, const struct launch_result *r, const char *filled)
{
    AUTOFREE char *kept = place_of(i, key);
    AUTOFREE char *needless = xasprintf("%s" NEEDLESS, kept);
    if (r->setup_needless) {
        int fd = open(needless, O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
        base_closep(&fd);
    } else {
        FAULT("setup.keep.before");
        if (chmod(filled, 0755) < 0 || rename(filled, kept) < 0) {
            if (errno != ENOTEMPTY && errno != EEXIST)
                log_warn("keeping what task %s installed: %s", i->row.path, strerrordesc_np(errno));
            return;
        }
        FAULT("setup.keep.after");
    }
    AUTOFREE char *top = setups_dir(i);
    remove_oldest(i->live->e, top);
}

void setup_settle(struct inst *i, const struct launch_result *r)
{
    AUTOFREE char *place = place_to_fill(i);
    char key[HASH_TEXT];
    if (!fs_exists(place))
        return;
    if (r && (r->setup_made || r->setup_needless) && r->outcome == LAUNCH_EXITED && r->exit_code == 0 && key_in(place, key)) {
        AUTOFREE char *filled = fs_join(place, key);
        keep(i, key, r, filled);
    }
    engine_remove_later(i->live->e, TAKE(place));
}
