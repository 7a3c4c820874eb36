#include "cluster/node/images/manifest.h"

#include <openssl/evp.h>
#include <signal.h>
#include <stdlib.h>
#include <strings.h>
#include <sys/utsname.h>

#include "cluster/node/images/ref.h"

enum { INDEX_MAX = 1000, TEXTS_MAX = 10000 };
#define BLOB_MAX (1LL << 40)

static const char *const index_types[] = {"application/vnd.oci.image.index.v1+json",
                                          "application/vnd.docker.distribution.manifest.list.v2+json", NULL};
static const char *const manifest_types[] = {"application/vnd.oci.image.manifest.v1+json",
                                             "application/vnd.docker.distribution.manifest.v2+json", NULL};
static const char *const layer_types[] = {"application/vnd.oci.image.layer.v1.tar",
                                          "application/vnd.oci.image.layer.v1.tar+gzip",
                                          "application/vnd.oci.image.layer.v1.tar+zstd",
                                          "application/vnd.oci.image.layer.nondistributable.v1.tar",
                                          "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip",
                                          "application/vnd.oci.image.layer.nondistributable.v1.tar+zstd",
                                          "application/vnd.docker.image.rootfs.diff.tar",
                                          "application/vnd.docker.image.rootfs.diff.tar.gzip",
                                          "application/vnd.docker.image.rootfs.diff.tar.zstd",
                                          "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
                                          NULL};
static const char *const config_types[] = {"application/vnd.oci.image.config.v1+json",
                                           "application/vnd.docker.container.image.v1+json", NULL};

static bool is_one_of(const char *s, const char *const *list)
{
    for (; *list; list++)
        if (str_eq(s, *list))
            return true;
    return false;
}

static void blob_ref_clear(struct blob_ref *b) { free(b->digest); }

void manifest_free(struct manifest *m)
{
    blob_ref_clear(&m->chosen);
    blob_ref_clear(&m->config);
    for (size_t i = 0; i < m->n_layers; i++)
        blob_ref_clear(&m->layers[i]);
    free(m->layers);
    *m = (struct manifest){0};
}

char *digest_of(const void *p, size_t n)
{
    unsigned char sum[EVP_MAX_MD_SIZE];
    unsigned len = 0;
    ASSERT(EVP_Digest(p, n, sum, &len, EVP_sha256(), NULL) == 1);
    AUTOFREE char *hex = hex_encode(sum, len);
    return xasprintf("sha256:%s", hex);
}

const char *image_arch(void)
{
    static const struct {
        const char *machine, *arch;
    } names[] = {{"x86_64", "amd64"},    {"aarch64", "arm64"}, {"armv7l", "arm"},      {"i686", "386"},
                 {"ppc64le", "ppc64le"}, {"s390x", "s390x"},   {"riscv64", "riscv64"}, {"loongarch64", "loong64"}};
    static struct utsname u;
    uname(&u);
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        if (str_eq(u.machine, names[i].machine))
            return names[i].arch;
    return u.machine;
}

int image_signal(const char *name)
{
    int64_t number;
    if (str_empty(name))
        return SIGTERM;
    if (str_to_i64(name, &number))
        return number > 0 && number <= SIGRTMAX ? (int)number : 0;
    if (strncasecmp(name, "SIG", 3) == 0)
        name += 3;
    for (int i = 1; i < NSIG; i++)
        if (sigabbrev_np(i) && strcasecmp(sigabbrev_np(i), name) == 0)
            return i;
    int base = strncasecmp(name, "RTMIN", 5) == 0 ? SIGRTMIN : strncasecmp(name, "RTMAX", 5) == 0 ? SIGRTMAX : 0;
    const char *rest = name + (base ? 5 : 0);
    if (!base || (*rest && *rest != '+' && *rest != '-') || (*rest && !str_to_i64(rest + 1, &number)))
        return 0;
    number = !*rest ? 0 : *rest == '-' ? -number : number;
    return number >= -64 && number <= 64 && base + number >= SIGRTMIN && base + number <= SIGRTMAX ? base + (int)number : 0;
}

/* ---- manifests ----------------------------------------------------------------------------------------------------------- */

static int read_blob(jval *d, const char *what, struct blob_ref *out, struct err *err)
{
    const char *digest = jv_str(jv_get(d, "digest"));
    if (!digest_is_sha256(digest))
        return err_set(err, ERR_BAD_REQUEST, "the %s has digest \"%.100s\"; only sha256 is served", what, digest ? digest : "");
    if (!jv_i64(jv_get(d, "size"), &out->size) || out->size < 0 || out->size > BLOB_MAX)
        return err_set(err, ERR_BAD_REQUEST, "the %s %s has no size between 0 and %lld", what, digest, BLOB_MAX);
    out->digest = xstrdup(digest);
    return 0;
}

/* How well an entry of an index fits: 0 not at all. */
static int fit(jval *entry, const char *arch)
{
    jval *p = jv_get(entry, "platform");
    const char *variant = jv_str_or(jv_get(p, "variant"), "");
    if (!p)
        return 1;
    if (!str_eq(jv_str(jv_get(p, "os")), "linux") || !str_eq(jv_str(jv_get(p, "architecture")), arch))
        return 0;
    static const struct {
        const char *arch, *variant;
    } usual[] = {{"amd64", ""}, {"amd64", "v1"}, {"arm64", "v8"}, {"arm64", ""}, {"arm", "v7"}};
    for (size_t i = 0; i < ARRAY_LEN(usual); i++)
        if (str_eq(usual[i].arch, arch) && str_eq(usual[i].variant, variant))
            return 4;
    /* A later variant may use instructions that are not here. */
    return !*variant ? 3 : str_eq(arch, "arm") && strcmp(variant, "v7") < 0 ? 2 : 0;
}

static int parse_index(jval *root, const char *arch, struct manifest *out, struct err *err)
{
    jval *list = jv_get(root, "manifests"), *best = NULL;
    int best_fit = 0;
    if (jv_len(list) > INDEX_MAX)
        return err_set(err, ERR_TOO_LARGE, "an index of more than %d manifests", INDEX_MAX);
    for (size_t i = 0; i < jv_len(list); i++) {
        jval *entry = jv_at(list, i);
        const char *type = jv_str(jv_get(entry, "mediaType"));
        int f = fit(entry, arch);
        if (f > best_fit && (!type || is_one_of(type, manifest_types))) {
            best = entry;
            best_fit = f;
        }
    }
    if (!best)
        return err_set(err, ERR_NOT_FOUND, "no match for platform in manifest: linux/%s is not among its %zu", arch,
                       jv_len(list));
    out->is_index = true;
    return read_blob(best, "manifest", &out->chosen, err);
}

static int parse_layers(jval *list, struct manifest *out, struct err *err)
{
    size_t n = jv_len(list);
    if (n > IMAGE_LAYERS_MAX)
        return err_set(err, ERR_TOO_LARGE, "the image has %zu layers, more than the %d that can be mounted", n, IMAGE_LAYERS_MAX);
    out->layers = xcalloc(n + 1, sizeof *out->layers);
    for (size_t i = 0; i < n; i++) {
        const char *type = jv_str_or(jv_get(jv_at(list, i), "mediaType"), "");
        if (!is_one_of(type, layer_types))
            return err_set(err, ERR_BAD_REQUEST, "layer %zu is \"%.200s\", which is no layer of a Linux image", i, type);
        out->n_layers = i + 1;
        if (read_blob(jv_at(list, i), "layer", &out->layers[i], err) < 0)
            return -1;
    }
    return 0;
}

static int parse_manifest(jval *root, struct manifest *out, struct err *err)
{
    jval *config = jv_get(root, "config");
    const char *type = jv_str_or(jv_get(config, "mediaType"), "");
    if (!is_one_of(type, config_types))
        return err_set(err, ERR_BAD_REQUEST, "it holds \"%.200s\", which is no image", type);
    if (read_blob(config, "configuration", &out->config, err) < 0 || parse_layers(jv_get(root, "layers"), out, err) < 0)
        return -1;
    if (out->config.size > (int64_t)IMAGE_CONFIG_MAX)
        return err_set(err, ERR_TOO_LARGE, "the image's configuration has %lld bytes", (long long)out->config.size);
    return 0;
}

int manifest_parse(const char *text, size_t len, const char *media_type, const char *arch, struct manifest *out, struct err *err)
{
    *out = (struct manifest){0};
    if (len > MANIFEST_MAX)
        return err_set(err, ERR_TOO_LARGE, "a manifest of %zu bytes", len);
    JSON_REF(doc) = json_parse(text, len, NULL, err);
    if (!doc)
        return err_wrap(err, "the manifest");
    jval *root = json_root(doc);
    AUTOFREE char *said = xstrndup(media_type ? media_type : "", strcspn(media_type ? media_type : "", "; "));
    const char *own = jv_str_or(jv_get(root, "mediaType"), "");
    bool known = is_one_of(said, index_types) || is_one_of(said, manifest_types);
    if (*own && known && !str_eq(own, said))
        return err_set(err, ERR_BAD_REQUEST, "the manifest calls itself \"%.200s\" and was sent as \"%.200s\"", own, said);
    const char *type = known ? said : own;
    bool index = jv_is(jv_get(root, "manifests"), J_ARRAY), layers = jv_is(jv_get(root, "layers"), J_ARRAY);
    int rc;
    if (index && layers)
        rc = err_set(err, ERR_BAD_REQUEST, "the manifest is an index and a manifest at the same time");
    else if (index && (!*type || is_one_of(type, index_types)))
        rc = parse_index(root, arch, out, err);
    else if (layers && (!*type || is_one_of(type, manifest_types)))
        rc = parse_manifest(root, out, err);
    else
        rc = err_set(err, ERR_BAD_REQUEST, "a manifest of the kind \"%.200s\" is not served (schema 1 is too old)", type);
    if (rc < 0)
        manifest_free(out);
    return rc;
}

/* ---- configurations ---------------------------------------------------------------------------------------------------- */

void image_config_free(struct image_config *c)
{
    strlist_free(&c->entrypoint);
    strlist_free(&c->cmd);
    strlist_free(&c->env);
    strlist_free(&c->volumes);
    strlist_free(&c->diff_ids);
    free(c->cwd);
    free(c->user);
    free(c->stop_signal);
    free(c->arch);
    free(c->os);
    free(c->created);
    *c = (struct image_config){0};
}

static int read_texts(jval *list, const char *what, struct strlist *out, struct err *err)
{
    if (jv_present(list) && (!jv_is(list, J_ARRAY) || jv_len(list) > TEXTS_MAX))
        return err_set(err, ERR_BAD_REQUEST, "the image's %s is no list of at most %d texts", what, TEXTS_MAX);
    for (size_t i = 0; i < jv_len(list); i++) {
        const char *s = jv_str(jv_at(list, i));
        if (!s || strlen(s) != jv_len(jv_at(list, i)))
            return err_set(err, ERR_BAD_REQUEST, "entry %zu of the image's %s is no text", i, what);
        strlist_add(out, s);
    }
    return 0;
}

static char *text_of(jval *v) { return xstrdup(jv_str_or(v, "")); }

static int read_config(jval *root, struct image_config *out, struct err *err)
{
    jval *c = jv_get(root, "config"), *rootfs = jv_get(root, "rootfs");
    out->cwd = text_of(jv_get(c, "WorkingDir"));
    out->user = text_of(jv_get(c, "User"));
    out->stop_signal = text_of(jv_get(c, "StopSignal"));
    out->arch = text_of(jv_get(root, "architecture"));
    out->os = text_of(jv_get(root, "os"));
    out->created = text_of(jv_get(root, "created"));
    if (read_texts(jv_get(c, "Entrypoint"), "Entrypoint", &out->entrypoint, err) < 0 ||
        read_texts(jv_get(c, "Cmd"), "Cmd", &out->cmd, err) < 0 || read_texts(jv_get(c, "Env"), "Env", &out->env, err) < 0 ||
        read_texts(jv_get(rootfs, "diff_ids"), "diff_ids", &out->diff_ids, err) < 0)
        return -1;
    struct jiter it = jv_iter(jv_get(c, "Volumes"));
    const char *path;
    jval *v;
    while (jv_is(jv_get(c, "Volumes"), J_OBJECT) && out->volumes.n < TEXTS_MAX && jv_next(&it, &path, &v))
        if (path[0] == '/' && path[1])
            strlist_add(&out->volumes, path);
    for (size_t i = 0; i < out->diff_ids.n; i++)
        if (!digest_is_sha256(out->diff_ids.v[i]))
            return err_set(err, ERR_BAD_REQUEST, "layer %zu of the image's configuration has no sha256 digest", i);
    if (out->diff_ids.n > IMAGE_LAYERS_MAX)
        return err_set(err, ERR_TOO_LARGE, "the image has %zu layers, at most %d can be mounted", out->diff_ids.n,
                       IMAGE_LAYERS_MAX);
    if (!str_eq(out->os, "linux") && *out->os)
        return err_set(err, ERR_BAD_REQUEST, "the image is for %.50s, not for Linux", out->os);
    return 0;
}

int image_config_parse(const char *text, size_t len, struct image_config *out, struct err *err)
{
    *out = (struct image_config){0};
    if (len > IMAGE_CONFIG_MAX)
        return err_set(err, ERR_TOO_LARGE, "an image configuration of %zu bytes", len);
    JSON_REF(doc) = json_parse(text, len, NULL, err);
    if (!doc)
        return err_wrap(err, "the image's configuration");
    if (read_config(json_root(doc), out, err) == 0)
        return 0;
    image_config_free(out);
    return -1;
}
