#include "cluster/node/images/load.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <openssl/evp.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/fs.h"
#include "cluster/node/images/manifest.h"
#include "cluster/node/images/pull.h"
#include "kube/fields.h"

enum { CHUNK = 128 << 10, IMAGES_MAX = 1000, INDEX_DEPTH = 3 };

/* What is loaded from: a directory in which nothing leads out. */
struct source {
    const struct image_load *l;
    int root;
    struct strlist *loaded;
};

static int open_part(const struct source *s, const char *path, int64_t *size, struct err *err)
{
    struct open_how how = {.flags = O_RDONLY | O_CLOEXEC | O_NONBLOCK, .resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS};
    struct stat st;
    AUTOCLOSE int fd = (int)syscall(SYS_openat2, s->root, path, &how, sizeof how);
    if (fd < 0 || fstat(fd, &st) < 0)
        return err_errno_asked(err, "\"%s\" of the archive", path);
    if (!S_ISREG(st.st_mode))
        return err_set(err, ERR_BAD_REQUEST, "\"%s\" of the archive is no file", path);
    *size = st.st_size;
    int out = fd;
    fd = -1;
    return out;
}

static int read_part(const struct source *s, const char *path, size_t max, struct buf *out, struct err *err)
{
    int64_t size;
    AUTOCLOSE int fd = open_part(s, path, &size, err);
    if (fd < 0)
        return -1;
    if (size > (int64_t)max)
        return err_set(err, ERR_TOO_LARGE, "\"%s\" of the archive has %lld bytes", path, (long long)size);
    buf_reserve(out, (size_t)size + 1);
    for (ssize_t n; out->len <= max && (n = read(fd, out->data + out->len, (size_t)size + 1 - out->len)) != 0;) {
        if (n < 0 && errno != EINTR)
            return err_errno(err, "\"%s\" of the archive", path);
        out->len += n > 0 ? (size_t)n : 0;
        if (out->len > (size_t)size)
            break;
    }
    buf_addc(out, 0);
    out->len--;
    return 0;
}

static char *blob_path(const char *digest) { return xasprintf("blobs/sha256/%s", digest + strlen("sha256:")); }

/* A small blob, which must be what its name says. */
static int read_blob(const struct source *s, const struct blob_ref *b, size_t max, struct buf *out, struct err *err)
{
    AUTOFREE char *path = blob_path(b->digest);
    if (read_part(s, path, max, out, err) < 0)
        return -1;
    AUTOFREE char *digest = digest_of(buf_str(out), out->len);
    return str_eq(digest, b->digest) ? 0 : err_set(err, ERR_INVALID, "\"%s\" of the archive has digest %s", path, digest);
}

/* ---- layers ---------------------------------------------------------------------------------------------------------------- */

struct piece {
    const struct source *s;
    const char *path, *digest; /* digest NULL: not known */
    const char *what;
    int64_t size;
};

static int feed(void *self, int to, struct err *err)
{
    struct piece *p = self;
    AUTOCLOSE int fd = open_part(p->s, p->path, &p->size, err);
    AUTOFREE char *chunk = xmalloc(CHUNK);
    EVP_MD_CTX *hash = EVP_MD_CTX_new();
    int64_t done = 0;
    ssize_t n;
    int rc = fd < 0 ? -1 : 0;
    ASSERT(hash && EVP_DigestInit_ex(hash, EVP_sha256(), NULL) == 1);
    while (rc == 0 && (n = read(fd, chunk, CHUNK)) != 0) {
        if (n < 0) {
            rc = errno == EINTR ? 0 : err_errno(err, "\"%s\" of the archive", p->path);
            continue;
        }
        ASSERT(EVP_DigestUpdate(hash, chunk, (size_t)n) == 1);
        rc = fs_write(to, chunk, (size_t)n, err);
        done += n;
        if (p->s->l->progress)
            p->s->l->progress(p->s->l->self, p->what, done, p->size);
    }
    unsigned char sum[EVP_MAX_MD_SIZE];
    unsigned len = 0;
    ASSERT(EVP_DigestFinal_ex(hash, sum, &len) == 1);
    EVP_MD_CTX_free(hash);
    AUTOFREE char *hex = hex_encode(sum, len);
    if (rc == 0 && p->digest && !str_eq(hex, p->digest + strlen("sha256:")))
        rc = err_set(err, ERR_INVALID, "layer \"%s\" of the archive has digest sha256:%s", p->path, hex);
    return rc;
}

static int load_layer(const struct source *s, const char *path, const char *digest, const char *diff_id, size_t i, size_t n,
                      int64_t *size, struct err *err)
{
    AUTOFREE char *what = xasprintf("layer %zu of %zu", i + 1, n);
    struct piece p = {.s = s, .path = path, .digest = digest, .what = what};
    if (image_store_has_layer(s->l->store, diff_id)) {
        int fd = open_part(s, path, &p.size, NULL);
        if (fd >= 0)
            close(fd);
        *size += fd >= 0 ? p.size : 0;
        return 0;
    }
    if (image_layer_make(s->l->store, s->l->unpack, s->l->unpack_self, diff_id, feed, &p, err) < 0)
        return -1;
    *size += p.size;
    return 0;
}

/* ---- an image ---------------------------------------------------------------------------------------------------------------
 */

/* names are what the archive has; those that are none are refused rather than lost. */
static int name_image(const struct source *s, const struct strlist *names, struct image_record *r, struct err *err)
{
    struct strlist given = {.v = (char *[]){(char *)s->l->name}, .n = 1};
    const struct strlist *use = s->l->name ? &given : names;
    for (size_t i = 0; i < use->n; i++) {
        IMAGE_REF(ref);
        if (image_ref_parse(use->v[i], &ref, err) < 0)
            return -1;
        if (!ref.tag)
            return err_set(err, ERR_BAD_REQUEST, "\"%s\" is no name with a tag", use->v[i]);
        AUTOFREE char *repo = image_ref_repo(&ref);
        strlist_addf(&r->names, "%s:%s", repo, ref.tag);
    }
    return r->names.n
               ? 0
               : err_set(err, ERR_BAD_REQUEST, "the archive does not say what the image is called; give it a name with --name");
}

static int finish(const struct source *s, struct image_record *r, const char *config_text, size_t len,
                  const struct strlist *names, struct err *err)
{
    if (name_image(s, names, r, err) < 0 || image_store_put_blob(s->l->store, r->id, config_text, len, err) < 0 ||
        image_store_put(s->l->store, r, s->l->now_ns, err) < 0)
        return -1;
    strlist_add(s->loaded, r->names.v[0]);
    return 0;
}

/* One image of an OCI layout. */
static int load_manifest(const struct source *s, const struct manifest *m, const char *digest, const struct strlist *names,
                         struct err *err)
{
    BUF(text);
    IMAGE_RECORD(r);
    CLEANUP(image_config_free) struct image_config c = {0};
    if (read_blob(s, &m->config, IMAGE_CONFIG_MAX, &text, err) < 0 || image_config_parse(buf_str(&text), text.len, &c, err) < 0)
        return -1;
    if (c.diff_ids.n != m->n_layers)
        return err_set(err, ERR_BAD_REQUEST, "the image has %zu layers and %zu digests of them", m->n_layers, c.diff_ids.n);
    r.id = xstrdup(m->config.digest);
    r.size = m->config.size;
    for (size_t i = 0; i < m->n_layers; i++) {
        AUTOFREE char *path = blob_path(m->layers[i].digest);
        strlist_add(&r.layers, c.diff_ids.v[i]);
        if (load_layer(s, path, m->layers[i].digest, c.diff_ids.v[i], i, m->n_layers, &r.size, err) < 0)
            return -1;
    }
    for (size_t i = 0; i < names->n; i++) {
        IMAGE_REF(ref);
        if (image_ref_parse(names->v[i], &ref, NULL) == 0) {
            AUTOFREE char *repo = image_ref_repo(&ref);
            strlist_addf(&r.digests, "%s@%s", repo, digest);
        }
    }
    return finish(s, &r, buf_str(&text), text.len, names, err);
}

static int load_descriptor(const struct source *s, const struct blob_ref *b, const char *type, const struct strlist *names,
                           int depth, struct err *err)
{
    BUF(text);
    CLEANUP(manifest_free) struct manifest m = {0};
    if (depth > INDEX_DEPTH)
        return err_set(err, ERR_BAD_REQUEST, "the archive's indexes are nested too deep");
    if (read_blob(s, b, MANIFEST_MAX, &text, err) < 0 ||
        manifest_parse(buf_str(&text), text.len, type, image_arch(), &m, err) < 0)
        return -1;
    return m.is_index ? load_descriptor(s, &m.chosen, NULL, names, depth + 1, err) : load_manifest(s, &m, b->digest, names, err);
}

static void oci_names(jval *descriptor, struct strlist *out)
{
    jval *a = object_meta_annotations(descriptor); /* OCI has given them the same name */
    const char *full = jv_str(jv_get(a, "io.containerd.image.name")),
               *name = jv_str(jv_get(a, "org.opencontainers.image.ref.name"));
    if (full)
        strlist_add(out, full);
    else if (name && strpbrk(name, ":/"))
        strlist_add(out, name); /* a tag alone is no name */
}

static int load_layout(const struct source *s, struct err *err)
{
    BUF(text);
    if (read_part(s, "index.json", MANIFEST_MAX, &text, err) < 0)
        return -1;
    JSON_REF(doc) = json_parse(buf_str(&text), text.len, NULL, err);
    jval *list = jv_get(json_root(doc), "manifests");
    if (!doc || !jv_is(list, J_ARRAY) || jv_len(list) == 0 || jv_len(list) > IMAGES_MAX)
        return doc ? err_set(err, ERR_BAD_REQUEST, "index.json of the archive lists no images") : err_wrap(err, "index.json");
    for (size_t i = 0; i < jv_len(list); i++) {
        jval *d = jv_at(list, i);
        STRLIST(names);
        struct blob_ref b = {.digest = (char *)jv_str(jv_get(d, "digest"))};
        if (!digest_is_sha256(b.digest))
            return err_set(err, ERR_BAD_REQUEST, "manifest %zu of index.json has no sha256 digest", i);
        oci_names(d, &names);
        if (load_descriptor(s, &b, jv_str(jv_get(d, "mediaType")), &names, 0, err) < 0)
            return -1;
    }
    return 0;
}

/* One entry of manifest.json. */
static int load_docker_image(const struct source *s, jval *entry, struct err *err)
{
    const char *config = jv_str(jv_get(entry, "Config"));
    jval *layers = jv_get(entry, "Layers"), *tags = jv_get(entry, "RepoTags");
    BUF(text);
    STRLIST(names);
    IMAGE_RECORD(r);
    CLEANUP(image_config_free) struct image_config c = {0};
    if (str_empty(config))
        return err_set(err, ERR_BAD_REQUEST, "an image of manifest.json has no Config");
    if (read_part(s, config, IMAGE_CONFIG_MAX, &text, err) < 0 || image_config_parse(buf_str(&text), text.len, &c, err) < 0)
        return -1;
    if (jv_len(layers) != c.diff_ids.n)
        return err_set(err, ERR_BAD_REQUEST, "the image has %zu layers and %zu digests of them", jv_len(layers), c.diff_ids.n);
    r.id = digest_of(buf_str(&text), text.len);
    r.size = (int64_t)text.len;
    for (size_t i = 0; i < jv_len(layers); i++) {
        const char *path = jv_str(jv_at(layers, i));
        strlist_add(&r.layers, c.diff_ids.v[i]);
        if (str_empty(path))
            return err_set(err, ERR_BAD_REQUEST, "layer %zu of manifest.json has no name", i);
        if (load_layer(s, path, NULL, c.diff_ids.v[i], i, jv_len(layers), &r.size, err) < 0)
            return -1;
    }
    for (size_t i = 0; i < jv_len(tags); i++)
        if (jv_str(jv_at(tags, i)))
            strlist_add(&names, jv_str(jv_at(tags, i)));
    return finish(s, &r, buf_str(&text), text.len, &names, err);
}

static int load_docker(const struct source *s, const struct buf *text, struct err *err)
{
    JSON_REF(doc) = json_parse(buf_str(text), text->len, NULL, err);
    size_t n = jv_len(json_root(doc));
    if (!doc)
        return err_wrap(err, "manifest.json");
    if (!jv_is(json_root(doc), J_ARRAY) || n == 0 || n > IMAGES_MAX)
        return err_set(err, ERR_BAD_REQUEST, "manifest.json of the archive lists no images");
    if (s->l->name && n > 1)
        return err_set(err, ERR_BAD_REQUEST, "the archive has %zu images, --name is for one", n);
    for (size_t i = 0; i < n; i++)
        if (load_docker_image(s, jv_at(json_root(doc), i), err) < 0)
            return -1;
    return 0;
}

/* ---- the whole ---------------------------------------------------------------------------------------------------------------
 */

static int load_dir(const struct image_load *l, const char *dir, struct strlist *loaded, struct err *err)
{
    AUTOCLOSE int root = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    struct source s = {.l = l, .root = root, .loaded = loaded};
    BUF(manifest);
    ERR(e);
    if (root < 0)
        return err_errno(err, "opening %s", dir);
    if (read_part(&s, "manifest.json", MANIFEST_MAX, &manifest, &e) == 0)
        return load_docker(&s, &manifest, err);
    if (e.code != ERR_NOT_FOUND)
        return err_move(err, &e);
    if (faccessat(root, "index.json", F_OK, 0) == 0)
        return load_layout(&s, err);
    return err_set(err, ERR_BAD_REQUEST, "it holds neither manifest.json (docker save) nor index.json (OCI layout)");
}

static int load_file(const struct image_load *l, const char *path, struct strlist *loaded, struct err *err)
{
    AUTOCLOSE int fd = str_eq(path, "-") ? dup(STDIN_FILENO) : open(path, O_RDONLY | O_CLOEXEC);
    struct unpack_result r;
    if (fd < 0)
        return err_errno(err, "opening %s", path);
    AUTOFREE char *tmp = image_store_tmp(l->store, err);
    if (!tmp)
        return -1;
    AUTOFREE char *dir = fs_join(tmp, "diff");
    if (l->progress)
        l->progress(l->self, "reading the archive", 0, 0);
    int rc = l->unpack(l->unpack_self, fd, dir, &r, err);
    if (rc == 0)
        rc = load_dir(l, dir, loaded, err);
    fs_rm_rf(tmp, NULL);
    return rc;
}

int image_load(const struct image_load *l, const char *path, struct strlist *loaded, struct err *err)
{
    AUTOCLOSE int hold = image_store_hold(l->store, err);
    if (hold < 0)
        return -1;
    int rc = fs_is_dir(path) ? load_dir(l, path, loaded, err) : load_file(l, path, loaded, err);
    return rc < 0 ? err_wrap(err, "loading %s", str_eq(path, "-") ? "standard input" : path) : 0;
}
