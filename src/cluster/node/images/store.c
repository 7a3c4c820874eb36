#include "cluster/node/images/store.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fault.h"
#include "base/fs.h"
#include "base/id.h"
#include "base/thread.h"
#include "cluster/node/helper/proc.h"

#define LOG_ROOM "images"
#include "base/log.h"

enum { INDEX_MAX = 64 << 20, INFO_MAX = 4096, ID_HEX = 64, PREFIX_MIN = 4 };
/* How old the note of an image's last use may get before it is written again. */
#define USED_EVERY (60 * 1000000000LL)

struct image_store {
    char *dir, *pods_dir, *index, *boot;
    pthread_mutex_t lock; /* all below */
    struct image_list known;
    struct stat seen; /* the file that `known` was read from */
    bool has_seen;
};

/* ---- records ------------------------------------------------------------------------------------------------------------ */

void image_record_free(struct image_record *r)
{
    free(r->id);
    strlist_free(&r->names);
    strlist_free(&r->digests);
    strlist_free(&r->layers);
    *r = (struct image_record){0};
}

void image_list_free(struct image_list *l)
{
    for (size_t i = 0; i < l->n; i++)
        image_record_free(&l->v[i]);
    free(l->v);
    *l = (struct image_list){0};
}

static void copy_texts(struct strlist *to, const struct strlist *from)
{
    for (size_t i = 0; i < from->n; i++)
        strlist_add(to, from->v[i]);
}

static void record_copy(struct image_record *to, const struct image_record *from)
{
    *to =
        (struct image_record){.id = xstrdup(from->id), .size = from->size, .since_ns = from->since_ns, .used_ns = from->used_ns};
    copy_texts(&to->names, &from->names);
    copy_texts(&to->digests, &from->digests);
    copy_texts(&to->layers, &from->layers);
}

static struct image_record *list_add(struct image_list *l)
{
    l->v = xreallocarray(l->v, l->n + 1, sizeof *l->v);
    l->v[l->n] = (struct image_record){0};
    return &l->v[l->n++];
}

static void list_remove(struct image_list *l, size_t i)
{
    image_record_free(&l->v[i]);
    memmove(&l->v[i], &l->v[i + 1], (l->n - i - 1) * sizeof *l->v);
    l->n--;
}

static void text_remove(struct strlist *l, const char *text)
{
    size_t n = 0;
    for (size_t i = 0; i < l->n; i++)
        if (str_eq(l->v[i], text))
            free(l->v[i]);
        else
            l->v[n++] = l->v[i];
    l->n = n;
}

/* ---- places --------------------------------------------------------------------------------------------------------------- */

static const char *hex_of(const char *digest) { return str_starts(digest, "sha256:") ? digest + 7 : digest; }
static char *layer_place(struct image_store *s, const char *diff_id)
{
    return xasprintf("%s/layers/%s", s->dir, hex_of(diff_id));
}
static char *blob_place(struct image_store *s, const char *digest) { return xasprintf("%s/blobs/%s", s->dir, hex_of(digest)); }
char *image_store_layer_dir(struct image_store *s, const char *diff_id)
{
    return xasprintf("%s/layers/%s/diff", s->dir, hex_of(diff_id));
}

static int lock_file(struct image_store *s, const char *name, int how, struct err *err)
{
    AUTOFREE char *path = fs_join(s->dir, name);
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0)
        return err_errno(err, "opening %s", path);
    while (flock(fd, how) < 0) {
        if (errno == EINTR)
            continue;
        err_errno(err, "locking %s", path);
        close(fd);
        return -1;
    }
    return fd;
}

int image_store_hold(struct image_store *s, struct err *err) { return lock_file(s, "pulling", LOCK_SH, err); }

/* ---- the index --------------------------------------------------------------------------------------------------------------
 */

static void read_texts(jval *list, struct strlist *out)
{
    for (size_t i = 0; i < jv_len(list); i++)
        if (jv_str(jv_at(list, i)))
            strlist_add(out, jv_str(jv_at(list, i)));
}

static int parse_index(const struct buf *text, struct image_list *out, struct err *err)
{
    JSON_REF(doc) = json_parse(buf_str(text), text->len, NULL, err);
    if (!doc)
        return -1;
    if (jv_i64_or(jv_get(json_root(doc), "version"), 0) != 1)
        return err_set(err, ERR_PRECONDITION, "it was written by another version of tidemill");
    jval *list = jv_get(json_root(doc), "images");
    for (size_t i = 0; i < jv_len(list); i++) {
        jval *v = jv_at(list, i);
        struct image_record *r = list_add(out);
        r->id = xstrdup(jv_str_or(jv_get(v, "id"), ""));
        read_texts(jv_get(v, "names"), &r->names);
        read_texts(jv_get(v, "digests"), &r->digests);
        read_texts(jv_get(v, "layers"), &r->layers);
        r->size = jv_i64_or(jv_get(v, "size"), 0);
        r->since_ns = jv_i64_or(jv_get(v, "sinceNs"), 0);
        r->used_ns = jv_i64_or(jv_get(v, "usedNs"), 0);
        for (size_t k = 0; k < r->layers.n; k++)
            if (!digest_is_sha256(r->layers.v[k]))
                return err_set(err, ERR_INTERNAL, "it is damaged: image %s has layer \"%.80s\"", r->id, r->layers.v[k]);
        if (!digest_is_sha256(r->id))
            return err_set(err, ERR_INTERNAL, "it is damaged: an image has id \"%.80s\"", r->id);
    }
    return 0;
}

/* s->lock held. Reads the index again when it is another file than the one known. */
static int refresh(struct image_store *s, struct err *err)
{
    struct stat st;
    BUF(text);
    if (stat(s->index, &st) < 0) {
        image_list_free(&s->known);
        s->has_seen = false;
        return errno == ENOENT ? 0 : err_errno(err, "looking at %s", s->index);
    }
    if (s->has_seen && st.st_ino == s->seen.st_ino && st.st_size == s->seen.st_size && st.st_dev == s->seen.st_dev &&
        st.st_mtim.tv_sec == s->seen.st_mtim.tv_sec && st.st_mtim.tv_nsec == s->seen.st_mtim.tv_nsec)
        return 0;
    CLEANUP(image_list_free) struct image_list fresh = {0};
    if (fs_read(s->index, INDEX_MAX, &text, err) < 0 || parse_index(&text, &fresh, err) < 0)
        return err_wrap(err, "%s", s->index);
    image_list_free(&s->known);
    s->known = fresh;
    fresh = (struct image_list){0};
    s->seen = st;
    s->has_seen = true;
    return 0;
}

static jmval *texts_value(struct jm *m, const struct strlist *l)
{
    jmval *arr = jm_arr(m);
    for (size_t i = 0; i < l->n; i++)
        jm_push(arr, jm_str(m, l->v[i]));
    return arr;
}

/* s->lock and the file lock held. */
static int save(struct image_store *s, struct err *err)
{
    JM_NEW(m);
    jmval *root = jm_obj(m), *list = jm_arr(m);
    jm_set_root(m, root);
    jm_put(m, root, "version", jm_i64(m, 1));
    jm_put(m, root, "images", list);
    for (size_t i = 0; i < s->known.n; i++) {
        const struct image_record *r = &s->known.v[i];
        jmval *v = jm_obj(m);
        jm_put(m, v, "id", jm_str(m, r->id));
        jm_put(m, v, "names", texts_value(m, &r->names));
        jm_put(m, v, "digests", texts_value(m, &r->digests));
        jm_put(m, v, "layers", texts_value(m, &r->layers));
        jm_put(m, v, "size", jm_i64(m, r->size));
        jm_put(m, v, "sinceNs", jm_i64(m, r->since_ns));
        jm_put(m, v, "usedNs", jm_i64(m, r->used_ns));
        jm_push(list, v);
    }
    BUF(text);
    jmv_write(root, JW_PRETTY, &text);
    s->has_seen = false;
    return fs_write_atomic(s->index, text.data, text.len, 0600, err);
}

/* ---- open ---------------------------------------------------------------------------------------------------------------------
 */

struct image_store *image_store_open(const char *dir, const char *pods_dir, struct err *err)
{
    static const char *const parts[] = {"blobs", "layers", "tmp"};
    for (size_t i = 0; i < ARRAY_LEN(parts); i++) {
        AUTOFREE char *path = fs_join(dir, parts[i]);
        if (fs_mkdir_p(path, 0700, err) < 0)
            return NULL;
    }
    struct image_store *s = xcalloc(1, sizeof *s);
    s->dir = xstrdup(dir);
    s->pods_dir = xstrdup(pods_dir);
    s->index = fs_join(dir, "index.json");
    s->boot = proc_boot_id();
    pthread_mutex_init(&s->lock, NULL);
    int rc;
    {
        LOCK_GUARD(&s->lock);
        rc = refresh(s, err);
    }
    if (rc == 0)
        return s;
    image_store_close(s);
    return NULL;
}

void image_store_close(struct image_store *s)
{
    if (!s)
        return;
    image_list_free(&s->known);
    pthread_mutex_destroy(&s->lock);
    free(s->dir);
    free(s->pods_dir);
    free(s->index);
    free(s->boot);
    free(s);
}

/* ---- reading ------------------------------------------------------------------------------------------------------------------
 */

int image_store_list(struct image_store *s, struct image_list *out, struct err *err)
{
    LOCK_GUARD(&s->lock);
    *out = (struct image_list){0};
    if (refresh(s, err) < 0)
        return -1;
    for (size_t i = 0; i < s->known.n; i++)
        record_copy(list_add(out), &s->known.v[i]);
    return 0;
}

int image_store_find(struct image_store *s, const struct image_ref *ref, struct image_record *out, struct err *err)
{
    AUTOFREE char *repo = image_ref_repo(ref);
    AUTOFREE char *name = ref->digest ? xasprintf("%s@%s", repo, ref->digest) : xasprintf("%s:%s", repo, ref->tag);
    LOCK_GUARD(&s->lock);
    if (refresh(s, err) < 0)
        return -1;
    for (size_t i = 0; i < s->known.n; i++) {
        const struct image_record *r = &s->known.v[i];
        if (strlist_has(ref->digest ? &r->digests : &r->names, name)) {
            record_copy(out, r);
            return 0;
        }
    }
    return err_set(err, ERR_NOT_FOUND, "image \"%s\" is not on this machine", name);
}

int image_store_find_id(struct image_store *s, const char *id, struct image_record *out, struct err *err)
{
    const char *hex = hex_of(id);
    const struct image_record *found = NULL;
    LOCK_GUARD(&s->lock);
    if (refresh(s, err) < 0)
        return -1;
    for (size_t i = 0; i < s->known.n && strlen(hex) >= PREFIX_MIN; i++) {
        if (!str_starts(hex_of(s->known.v[i].id), hex))
            continue;
        if (found)
            return err_set(err, ERR_BAD_REQUEST, "several images have an id that begins with \"%s\"", hex);
        found = &s->known.v[i];
    }
    if (!found)
        return err_set(err, ERR_NOT_FOUND, "no image with id \"%s\" is on this machine", id);
    record_copy(out, found);
    return 0;
}

int image_store_config(struct image_store *s, const struct image_record *r, struct image_config *out, struct err *err)
{
    AUTOFREE char *path = blob_place(s, r->id);
    BUF(text);
    if (fs_read(path, IMAGE_CONFIG_MAX, &text, err) < 0)
        return -1;
    return image_config_parse(buf_str(&text), text.len, out, err);
}

bool image_store_has_layer(struct image_store *s, const char *diff_id)
{
    AUTOFREE char *place = layer_place(s, diff_id);
    return fs_exists(place);
}

/* ---- making -------------------------------------------------------------------------------------------------------------------
 */

char *image_store_tmp(struct image_store *s, struct err *err)
{
    char hex[33];
    AUTOFREE char *tmp = xasprintf("%s/tmp/%s", s->dir, random_hex(hex, 16)), *diff = fs_join(tmp, "diff");
    return fs_mkdir_p(tmp, 0700, err) < 0 || fs_mkdir_p(diff, 0755, err) < 0 ? NULL : TAKE(tmp);
}

int image_store_put_layer(struct image_store *s, const char *tmp, const char *diff_id, int64_t bytes, struct err *err)
{
    AUTOFREE char *place = layer_place(s, diff_id), *info = fs_join(tmp, "info");
    AUTOFREE char *text = xasprintf("{\"bytes\": %" PRId64 ", \"boot\": \"%s\"}\n", bytes, s->boot);
    FAULT("images.layer.unpacked");
    AUTOCLOSE int fd = open(info, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0)
        return err_errno(err, "making %s", info);
    if (fs_write(fd, text, strlen(text), err) < 0)
        return -1;
    /* Somebody else may have been faster, with the same bytes. */
    if (rename(tmp, place) < 0 && errno != EEXIST && errno != ENOTEMPTY)
        return err_errno(err, "moving %s to %s", tmp, place);
    FAULT("images.layer.placed");
    return 0;
}

int image_store_put_blob(struct image_store *s, const char *digest, const void *p, size_t n, struct err *err)
{
    AUTOFREE char *path = blob_place(s, digest);
    return fs_exists(path) ? 0 : fs_write_atomic(path, p, n, 0600, err);
}

static void take_name(struct image_store *s, const char *name)
{
    for (size_t i = 0; i < s->known.n; i++)
        text_remove(&s->known.v[i].names, name);
}

static void merge_texts(struct strlist *to, const struct strlist *from)
{
    for (size_t i = 0; i < from->n; i++)
        if (!strlist_has(to, from->v[i]))
            strlist_add(to, from->v[i]);
}

static struct image_record *with_id(struct image_store *s, const char *id)
{
    for (size_t i = 0; i < s->known.n; i++)
        if (str_eq(s->known.v[i].id, id))
            return &s->known.v[i];
    return NULL;
}

/* An image that lost its last name, and has no digest to be asked for by, stays until it is swept when unused. */
static int put_locked(struct image_store *s, const struct image_record *r, int64_t now_ns, struct err *err)
{
    for (size_t i = 0; i < r->layers.n; i++)
        if (!image_store_has_layer(s, r->layers.v[i]))
            return err_set(err, ERR_CONFLICT, "layer %s was removed while the image was being fetched", r->layers.v[i]);
    for (size_t i = 0; i < r->names.n; i++)
        take_name(s, r->names.v[i]);
    struct image_record *have = with_id(s, r->id);
    if (!have) {
        have = list_add(&s->known);
        record_copy(have, r);
        have->since_ns = now_ns;
    } else {
        merge_texts(&have->names, &r->names);
        merge_texts(&have->digests, &r->digests);
    }
    have->used_ns = now_ns;
    return save(s, err);
}

int image_store_put(struct image_store *s, const struct image_record *r, int64_t now_ns, struct err *err)
{
    AUTOCLOSE int dir = open(s->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    /* Everything that the index will name must be on the disk before it. */
    if (dir < 0 || syncfs(dir) < 0)
        return err_errno(err, "writing %s to the disk", s->dir);
    FAULT("images.synced");
    LOCK_GUARD(&s->lock);
    AUTOCLOSE int lock = lock_file(s, "lock", LOCK_EX, err);
    if (lock < 0 || refresh(s, err) < 0)
        return -1;
    int rc = put_locked(s, r, now_ns, err);
    FAULT("images.known");
    return rc;
}

int image_store_use(struct image_store *s, const char *id, const char *bundle, int64_t now_ns, struct err *err)
{
    AUTOFREE char *path = fs_join(bundle, "image");
    LOCK_GUARD(&s->lock);
    AUTOCLOSE int lock = lock_file(s, "lock", LOCK_EX, err);
    if (lock < 0 || refresh(s, err) < 0)
        return -1;
    struct image_record *r = with_id(s, id);
    if (!r)
        return err_set(err, ERR_NOT_FOUND, "image %s was removed", id);
    AUTOCLOSE int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0)
        return err_errno(err, "making %s", path);
    if (fs_write(fd, id, strlen(id), err) < 0)
        return -1;
    if (now_ns - r->used_ns < USED_EVERY)
        return 0;
    r->used_ns = now_ns;
    return save(s, err);
}

/* ---- what is in use -----------------------------------------------------------------------------------------------------------
 */

/* Files "image" where the levels lead, "" being any name. Calls itself for each level. */
static void find_uses_at(const char *dir, const char *const *levels, struct strmap *out)
{
    if (!*levels) {
        AUTOFREE char *path = fs_join(dir, "image");
        BUF(id);
        if (fs_read(path, INFO_MAX, &id, NULL) == 0)
            strmap_put(out, buf_str(&id), out);
        return;
    }
    if (**levels) {
        AUTOFREE char *below = fs_join(dir, *levels);
        find_uses_at(below, levels + 1, out);
        return;
    }
    DIR *d = opendir(dir);
    for (struct dirent *e; d && (e = readdir(d));)
        if (e->d_name[0] != '.') {
            AUTOFREE char *below = fs_join(dir, e->d_name);
            find_uses_at(below, levels + 1, out);
        }
    if (d)
        closedir(d);
}

/* By attempts of containers, and as volumes. */
static void find_uses(const char *pods_dir, struct strmap *out)
{
    static const char *const containers[] = {"", "containers", "", "", NULL}, *const volumes[] = {"", "images", "", NULL};
    find_uses_at(pods_dir, containers, out);
    find_uses_at(pods_dir, volumes, out);
}

/* ---- removing -----------------------------------------------------------------------------------------------------------------
 */

int image_store_remove(struct image_store *s, const char *id, const char *name, struct err *err)
{
    {
        LOCK_GUARD(&s->lock);
        AUTOCLOSE int lock = lock_file(s, "lock", LOCK_EX, err);
        CLEANUP(strmap_free) struct strmap used = STRMAP_INIT(NULL);
        if (lock < 0 || refresh(s, err) < 0)
            return -1;
        struct image_record *r = with_id(s, id);
        if (!r)
            return err_set(err, ERR_NOT_FOUND, "no image with id %s is on this machine", id);
        find_uses(s->pods_dir, &used);
        bool last = !name || (r->names.n == 1 && strlist_has(&r->names, name));
        if (last && strmap_has(&used, id))
            return err_set(err, ERR_CONFLICT, "image %s is in use by a container", r->names.n ? r->names.v[0] : id);
        if (last)
            list_remove(&s->known, (size_t)(r - s->known.v));
        else
            text_remove(&r->names, name);
        if (save(s, err) < 0)
            return -1;
    }
    return image_store_sweep(s, false, err);
}

/* The unused image that was used the longest ago; NULL when there is none. Lock held. */
static struct image_record *oldest_unused(struct image_store *s, const struct strmap *used, int64_t not_after_ns)
{
    struct image_record *oldest = NULL;
    for (size_t i = 0; i < s->known.n; i++) {
        struct image_record *r = &s->known.v[i];
        if (!strmap_has(used, r->id) && r->used_ns <= not_after_ns && r->since_ns <= not_after_ns &&
            (!oldest || r->used_ns < oldest->used_ns))
            oldest = r;
    }
    return oldest;
}

static int remove_oldest(struct image_store *s, int64_t not_after_ns, bool *found, struct err *err)
{
    LOCK_GUARD(&s->lock);
    AUTOCLOSE int lock = lock_file(s, "lock", LOCK_EX, err);
    CLEANUP(strmap_free) struct strmap used = STRMAP_INIT(NULL);
    if (lock < 0 || refresh(s, err) < 0)
        return -1;
    find_uses(s->pods_dir, &used);
    struct image_record *r = oldest_unused(s, &used, not_after_ns);
    *found = r;
    if (!r)
        return 0;
    log_info("disk: removing image %s", r->names.n ? r->names.v[0] : r->id);
    list_remove(&s->known, (size_t)(r - s->known.v));
    return save(s, err);
}

int image_store_collect(struct image_store *s, bool (*enough)(void *self), void *self, int64_t not_after_ns, size_t *removed,
                        struct err *err)
{
    *removed = 0;
    for (;;) {
        bool found = false;
        if (enough(self))
            return 0;
        if (remove_oldest(s, not_after_ns, &found, err) < 0)
            return -1;
        if (image_store_sweep(s, false, err) < 0)
            return -1;
        if (!found)
            return 0;
        ++*removed;
    }
}

/* Whether a layer that no image names may stay: its bytes are whole unless the machine went down since they were written. */
static bool written_in_this_boot(struct image_store *s, const char *place)
{
    AUTOFREE char *path = fs_join(place, "info");
    BUF(text);
    struct stat st;
    if (fs_read(path, INFO_MAX, &text, NULL) < 0 || stat(path, &st) < 0)
        return false;
    JSON_REF(doc) = json_parse(buf_str(&text), text.len, NULL, NULL);
    return str_eq(jv_str(jv_get(json_root(doc), "boot")), s->boot);
}

static void discard(struct image_store *s, const char *path)
{
    char hex[33];
    AUTOFREE char *out = xasprintf("%s/tmp/%s", s->dir, random_hex(hex, 16));
    ERR(e);
    /* First out of sight: a removal that is interrupted leaves no half of a layer in its place. */
    if (rename(path, out) < 0 || fs_rm_rf(out, &e) < 0)
        log_warn("removing %s: %s", path, e.code ? err_text(&e) : strerror(errno));
}

static void sweep_dir(struct image_store *s, const char *name, const struct strmap *needed, bool keep_fresh)
{
    AUTOFREE char *dir = fs_join(s->dir, name);
    STRLIST(gone);
    DIR *d = opendir(dir);
    for (struct dirent *e; d && (e = readdir(d));) {
        AUTOFREE char *path = fs_join(dir, e->d_name);
        if (e->d_name[0] != '.' && !strmap_has(needed, e->d_name) && !(keep_fresh && written_in_this_boot(s, path)))
            strlist_add(&gone, path);
    }
    if (d)
        closedir(d);
    for (size_t i = 0; i < gone.n; i++)
        discard(s, gone.v[i]);
}

int image_store_sweep(struct image_store *s, bool keep_fresh, struct err *err)
{
    CLEANUP(strmap_free) struct strmap layers = STRMAP_INIT(NULL), blobs = STRMAP_INIT(NULL), none = STRMAP_INIT(NULL);
    AUTOCLOSE int alone = lock_file(s, "pulling", LOCK_EX | LOCK_NB, NULL);
    if (alone < 0)
        return 0; /* at the next occasion */
    {
        LOCK_GUARD(&s->lock);
        if (refresh(s, err) < 0)
            return -1;
        for (size_t i = 0; i < s->known.n; i++) {
            strmap_put(&blobs, hex_of(s->known.v[i].id), s);
            for (size_t k = 0; k < s->known.v[i].layers.n; k++)
                strmap_put(&layers, hex_of(s->known.v[i].layers.v[k]), s);
        }
    }
    sweep_dir(s, "layers", &layers, keep_fresh);
    sweep_dir(s, "blobs", &blobs, false);
    sweep_dir(s, "tmp", &none, false);
    return 0;
}
