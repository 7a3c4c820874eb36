#include "cluster/node/volumes/volumes.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fs.h"
#include "base/id.h"
#include "base/timefmt.h"
#include "cluster/node/volumes/volume_owner.h"
#include "cluster/node/volumes/volume_write.h"
#include "kube/fields.h"
#include "kube/kinds.h"
#include "kube/object.h"
#include "value/quantity.h"

enum { DEFAULT_MODE = 0644, TOKEN_DEFAULT_S = 3600, SUBPATH_DEPTH = 64 };

typedef int make_fn(const struct volumes_at *at, jval *volume, int64_t *refresh_ns, struct err *err);

static char *disk_path(const struct volumes_at *at, const char *name) { return xasprintf("%s/volumes/%s", at->pod_dir, name); }
static char *mem_path(const struct volumes_at *at, const char *name) { return xasprintf("%s/%s", at->mem_dir, name); }

/* ---- sources of files ---------------------------------------------------------------------------------------------------- */

static int add_key(struct volume_files *files, jval *data, bool secret, const char *key, const char *path, mode_t mode,
                   bool *found)
{
    const char *s = jv_str(jv_get(data, key));
    *found = s != NULL;
    if (!s)
        return 0;
    if (!secret) {
        volume_files_add(files, path, s, jv_len(jv_get(data, key)), mode);
        return 0;
    }
    unsigned char *bytes;
    size_t n;
    if (base64_decode(s, strlen(s), &bytes, &n) < 0)
        return -1;
    volume_files_add(files, path, bytes, n, mode);
    free(bytes);
    return 0;
}

/* data (and binaryData of a ConfigMap), whole or by items. */
static int add_object(struct volume_files *files, jval *o, bool secret, jval *items, mode_t dflt, bool optional, const char *what,
                      struct err *err)
{
    jval *maps[] = {secret ? secret_data(o) : config_map_data(o), secret ? NULL : config_map_binary_data(o)};
    bool encoded[] = {secret, true};
    bool found = false;
    for (size_t m = 0; m < 2 && !jv_len(items); m++) {
        struct jiter it = jv_iter(maps[m]);
        const char *k;
        jval *v;
        while (jv_next(&it, &k, &v))
            if (add_key(files, maps[m], encoded[m], k, k, dflt, &found) < 0)
                return err_set(err, ERR_PRECONDITION, "%s: key %s is no base64", what, k);
    }
    for (size_t i = 0; i < jv_len(items); i++) {
        jval *item = jv_at(items, i);
        const char *key = key_to_path_key(item), *path = key_to_path_path(item);
        mode_t mode = (mode_t)key_to_path_mode(item, dflt) & 07777;
        found = false;
        for (size_t m = 0; m < 2 && !found; m++)
            if (add_key(files, maps[m], encoded[m], key ? key : "", path ? path : "", mode, &found) < 0)
                return err_set(err, ERR_PRECONDITION, "%s: key %s is no base64", what, key);
        if (!found && !optional)
            return err_set(err, ERR_PRECONDITION, "references non-existent %s key: %s", secret ? "secret" : "config", key);
    }
    return 0;
}

static int add_source(const struct volumes_at *at, struct volume_files *files, bool secret, const char *name, jval *items,
                      mode_t dflt, bool optional, struct err *err)
{
    const char *ns = obj_namespace(at->facts->pod);
    ERR(e);
    JSON_REF(o) = kube_get(at->kube, at->ctx, secret ? &KUBE_SECRETS : &KUBE_CONFIGMAPS, ns, name, NULL, &e);
    if (!o && e.code == ERR_NOT_FOUND)
        return optional ? 0 : err_set(err, ERR_PRECONDITION, "%s \"%s\" not found", secret ? "secret" : "configmap", name);
    if (!o)
        return err_move(err, &e);
    return add_object(files, json_root(o), secret, items, dflt, optional, name, err);
}

static int add_downward(const struct volumes_at *at, struct volume_files *files, jval *items, mode_t dflt, struct err *err)
{
    for (size_t i = 0; i < jv_len(items); i++) {
        jval *item = jv_at(items, i), *field = downward_api_volume_file_field_ref(item);
        jval *resource = downward_api_volume_file_resource_field_ref(item);
        const char *path = downward_api_volume_file_path(item);
        AUTOFREE char *text = field ? downward_field(at->facts, jv_str_or(jv_get(field, "fieldPath"), ""), true, err)
                                    : downward_resource(at->facts, resource, NULL, err);
        if (!text)
            return -1;
        volume_files_add(files, path ? path : "", text, strlen(text), (mode_t)downward_api_volume_file_mode(item, dflt) & 07777);
    }
    return 0;
}

/* A token of the pod's ServiceAccount, bound to the pod. It is asked for again at 80% of its life. */
static int add_token(const struct volumes_at *at, struct volume_files *files, jval *src, int64_t *refresh_ns, struct err *err)
{
    jval *pod = at->facts->pod;
    const char *sa = pod_spec_service_account_name(pod_spec(pod)), *audience = service_account_token_projection_audience(src);
    const char *path = service_account_token_projection_path(src);
    int64_t seconds = service_account_token_projection_expiration_seconds(src, TOKEN_DEFAULT_S);
    JM_NEW(m);
    jmval *req = jm_obj(m), *spec = jm_obj(m), *bound = jm_obj(m), *audiences = jm_arr(m);
    jm_set_root(m, req);
    token_request_set_api_version(m, req, "authentication.k8s.io/v1");
    token_request_set_kind(m, req, "TokenRequest");
    token_request_set_spec(m, req, spec);
    if (!str_empty(audience))
        jm_push(audiences, jm_str(m, audience));
    token_request_spec_set_audiences(m, spec, audiences);
    token_request_spec_set_expiration_seconds(m, spec, seconds);
    token_request_spec_set_bound_object_ref(m, spec, bound);
    bound_object_reference_set_kind(m, bound, "Pod");
    bound_object_reference_set_api_version(m, bound, "v1");
    bound_object_reference_set_name(m, bound, obj_name(pod));
    bound_object_reference_set_uid(m, bound, obj_uid(pod));
    JSON_REF(doc) = jm_freeze(m);
    struct kube_opts opts = {.subresource = "token"};
    JSON_REF(answer) = kube_create_sub(at->kube, at->ctx, &KUBE_SERVICEACCOUNTS, obj_namespace(pod),
                                       str_empty(sa) ? "default" : sa, json_root(doc), &opts, err);
    if (!answer)
        return err_wrap(err, "failed to fetch token");
    jval *status = token_request_status(json_root(answer));
    const char *token = token_request_status_token(status), *until = token_request_status_expiration_timestamp(status);
    if (!token)
        return err_set(err, ERR_INTERNAL, "failed to fetch token: the answer holds none");
    volume_files_add(files, path ? path : "token", token, strlen(token), at->fs_group >= 0 ? 0640 : 0600);
    jval *psc = pod_spec_security_context(pod_spec(pod));
    files->v[files->n - 1].uid = pod_security_context_run_as_user(psc, -1);
    if (at->fs_group < 0 && files->v[files->n - 1].uid < 0)
        files->v[files->n - 1].mode = 0644;
    int64_t ends, left = seconds * NS_PER_S;
    if (until && time_parse(until, &ends))
        left = ends - ctx_now_ns(at->ctx);
    left = left / 10 * 8;
    if (left < NS_PER_S)
        left = NS_PER_S;
    if (*refresh_ns == 0 || left < *refresh_ns)
        *refresh_ns = left;
    return 0;
}

/* ---- kinds of volumes ----------------------------------------------------------------------------------------------------- */

static int make_disk_dir(const struct volumes_at *at, const char *name, mode_t mode, struct err *err)
{
    AUTOFREE char *path = disk_path(at, name);
    if (mkdir(path, mode) < 0)
        return errno == EEXIST ? 0 : err_errno(err, "making %s", path);
    if (at->fs_group >= 0 && chown(path, (uid_t)-1, (gid_t)at->fs_group) < 0)
        return err_errno(err, "giving %s to group %lld", path, (long long)at->fs_group);
    return chmod(path, at->fs_group >= 0 ? mode | 02070 : mode) < 0 ? err_errno(err, "chmod %s", path) : 0;
}

static int make_empty_dir(const struct volumes_at *at, jval *volume, int64_t *refresh_ns, struct err *err)
{
    jval *src = volume_empty_dir(volume);
    if (!str_eq(empty_dir_volume_source_medium(src), "Memory"))
        return make_disk_dir(at, volume_name(volume), 0777, err);
    AUTOFREE char *path = disk_path(at, volume_name(volume));
    const char *limit = empty_dir_volume_source_size_limit(src);
    struct quantity q;
    BUF(options);
    buf_adds(&options, at->fs_group >= 0 ? "mode=2777" : "mode=777");
    if (at->fs_group >= 0)
        buf_addf(&options, ",gid=%lld", (long long)at->fs_group);
    if (limit && quantity_parse(limit, &q, NULL) == 0 && quantity_value(&q) > 0)
        buf_addf(&options, ",size=%lld", (long long)quantity_value(&q));
    int fd = -1;
    if (at->runtime->ops->tmpfs(at->runtime, path, buf_str(&options), &fd, err) < 0)
        return -1;
    close(fd);
    return 0;
}

static int write_disk(const struct volumes_at *at, const char *name, const struct volume_files *files, struct err *err)
{
    AUTOFREE char *path = disk_path(at, name);
    if (make_disk_dir(at, name, 0755, err) < 0)
        return -1;
    AUTOCLOSE int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return fd < 0 ? err_errno(err, "opening %s", path) : volume_write(fd, files, at->fs_group, err);
}

static int write_mem(const struct volumes_at *at, const char *name, const struct volume_files *files, struct err *err)
{
    AUTOFREE char *dir = xasprintf("%s/%s", obj_uid(at->facts->pod), name);
    if ((mkdirat(at->mem_fd, obj_uid(at->facts->pod), 0755) < 0 && errno != EEXIST) ||
        (mkdirat(at->mem_fd, dir, 0755) < 0 && errno != EEXIST))
        return err_errno(err, "making %s in memory", dir);
    AUTOCLOSE int fd = openat(at->mem_fd, dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return fd < 0 ? err_errno(err, "opening %s in memory", dir) : volume_write(fd, files, at->fs_group, err);
}

static void files_clean(struct volume_files *f) { volume_files_free(f); }
#define FILES(name) CLEANUP(files_clean) struct volume_files name = {0}

static int make_config_map(const struct volumes_at *at, jval *volume, int64_t *refresh_ns, struct err *err)
{
    jval *src = volume_config_map(volume);
    const char *name = config_map_volume_source_name(src);
    FILES(files);
    if (add_source(at, &files, false, name ? name : "", config_map_volume_source_items(src),
                   (mode_t)config_map_volume_source_default_mode(src, DEFAULT_MODE),
                   config_map_volume_source_optional(src, false), err) < 0)
        return -1;
    return write_disk(at, volume_name(volume), &files, err);
}

static int make_secret(const struct volumes_at *at, jval *volume, int64_t *refresh_ns, struct err *err)
{
    jval *src = volume_secret(volume);
    const char *name = secret_volume_source_secret_name(src);
    FILES(files);
    if (add_source(at, &files, true, name ? name : "", secret_volume_source_items(src),
                   (mode_t)secret_volume_source_default_mode(src, DEFAULT_MODE), secret_volume_source_optional(src, false),
                   err) < 0)
        return -1;
    return write_mem(at, volume_name(volume), &files, err);
}

static int make_downward(const struct volumes_at *at, jval *volume, int64_t *refresh_ns, struct err *err)
{
    jval *src = volume_downward_api(volume);
    FILES(files);
    if (add_downward(at, &files, downward_api_volume_source_items(src),
                     (mode_t)downward_api_volume_source_default_mode(src, DEFAULT_MODE), err) < 0)
        return -1;
    return write_mem(at, volume_name(volume), &files, err);
}

static int make_projected(const struct volumes_at *at, jval *volume, int64_t *refresh_ns, struct err *err)
{
    jval *src = volume_projected(volume), *sources = projected_volume_source_sources(src);
    mode_t mode = (mode_t)projected_volume_source_default_mode(src, DEFAULT_MODE);
    FILES(files);
    for (size_t i = 0; i < jv_len(sources); i++) {
        jval *s = jv_at(sources, i), *p;
        int rc;
        if ((p = volume_projection_secret(s)))
            rc = add_source(at, &files, true, jv_str_or(jv_get(p, "name"), ""), secret_projection_items(p), mode,
                            secret_projection_optional(p, false), err);
        else if ((p = volume_projection_config_map(s)))
            rc = add_source(at, &files, false, jv_str_or(jv_get(p, "name"), ""), config_map_projection_items(p), mode,
                            config_map_projection_optional(p, false), err);
        else if ((p = volume_projection_downward_api(s)))
            rc = add_downward(at, &files, downward_api_projection_items(p), mode, err);
        else if ((p = volume_projection_service_account_token(s)))
            rc = add_token(at, &files, p, refresh_ns, err);
        else
            rc = err_set(err, ERR_PRECONDITION, "volume %s: this node does not serve its projected source %zu yet",
                         volume_name(volume), i);
        if (rc < 0)
            return -1;
    }
    return write_mem(at, volume_name(volume), &files, err);
}

static int check_host_path(jval *src, struct err *err)
{
    const char *path = host_path_volume_source_path(src), *type = host_path_volume_source_type(src);
    struct stat st;
    if (!path || path[0] != '/')
        return err_set(err, ERR_PRECONDITION, "hostPath \"%s\" is no absolute path", path ? path : "");
    bool there = stat(path, &st) == 0;
    if (str_empty(type) || str_eq(type, "DirectoryOrCreate")) {
        if (!there)
            return fs_mkdir_p(path, 0755, err);
        if (!str_empty(type) && !S_ISDIR(st.st_mode))
            return err_set(err, ERR_PRECONDITION, "hostPath type check failed: %s is not a directory", path);
        return 0;
    }
    if (str_eq(type, "FileOrCreate") && !there) {
        AUTOCLOSE int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
        return fd < 0 ? err_errno(err, "making %s", path) : 0;
    }
    static const struct {
        const char *type;
        mode_t mode;
        const char *what;
    } types[] = {{"Directory", S_IFDIR, "directory"},         {"File", S_IFREG, "file"},
                 {"FileOrCreate", S_IFREG, "file"},           {"Socket", S_IFSOCK, "socket file"},
                 {"CharDevice", S_IFCHR, "character device"}, {"BlockDevice", S_IFBLK, "block device"}};
    for (size_t i = 0; i < ARRAY_LEN(types); i++)
        if (str_eq(type, types[i].type))
            return there && (st.st_mode & S_IFMT) == types[i].mode
                       ? 0
                       : err_set(err, ERR_PRECONDITION, "hostPath type check failed: %s is not a %s", path, types[i].what);
    return err_set(err, ERR_PRECONDITION,
                   "hostPath type \"%s\" is none of Directory, DirectoryOrCreate, File, FileOrCreate, Socket", type);
}

static int make_host_path(const struct volumes_at *at, jval *volume, int64_t *refresh_ns, struct err *err)
{
    return check_host_path(volume_host_path(volume), err);
}

/* ---- claims -------------------------------------------------------------------------------------------------------------- */

static bool is_claim(jval *volume) { return volume_persistent_volume_claim(volume) || volume_ephemeral(volume); }

static char *claim_name(const struct volumes_at *at, jval *volume)
{
    const char *name = persistent_volume_claim_volume_source_claim_name(volume_persistent_volume_claim(volume));
    return name ? xstrdup(name) : xasprintf("%s-%s", obj_name(at->facts->pod), volume_name(volume));
}

/* The volume behind a claim that is bound and not going. A reference. */
static struct json *volume_of_claim(const struct volumes_at *at, jval *volume, struct err *err)
{
    AUTOFREE char *name = claim_name(at, volume);
    jval *pod = at->facts->pod;
    ERR(e);
    JSON_REF(claim) = kube_get(at->kube, at->ctx, &KUBE_PERSISTENTVOLUMECLAIMS, obj_namespace(pod), name, NULL, &e);
    if (!claim && e.code == ERR_NOT_FOUND)
        err_set(err, ERR_PRECONDITION, "persistentvolumeclaim \"%s\" not found", name);
    else if (!claim)
        err_move(err, &e);
    if (!claim)
        return NULL;
    jval *c = json_root(claim);
    const char *bound = persistent_volume_claim_spec_volume_name(persistent_volume_claim_spec(c));
    if (volume_ephemeral(volume) && !obj_is_controlled_by(c, obj_uid(pod))) {
        err_set(err, ERR_PRECONDITION, "PVC \"%s/%s\" was not created for pod \"%s/%s\" (pod is not owner)", obj_namespace(pod),
                name, obj_namespace(pod), obj_name(pod));
        return NULL;
    }
    if (str_empty(bound) || !str_eq(persistent_volume_claim_status_phase(persistent_volume_claim_status(c)), "Bound")) {
        err_set(err, ERR_PRECONDITION, "persistentvolumeclaim \"%s\" is not bound", name);
        return NULL;
    }
    struct json *pv = kube_get(at->kube, at->ctx, &KUBE_PERSISTENTVOLUMES, NULL, bound, NULL, &e);
    jval *ref = persistent_volume_spec_claim_ref(persistent_volume_spec(json_root(pv)));
    if (pv && str_eq(object_reference_uid(ref), obj_uid(c)))
        return pv;
    json_unref(pv);
    if (pv || e.code == ERR_NOT_FOUND)
        err_set(err, ERR_PRECONDITION, "persistentvolume \"%s\" of claim \"%s\" is gone or another claim's", bound, name);
    else
        err_move(err, &e);
    return NULL;
}

/* Where the claim's volume is on this machine is kept as a link, so that containers are started without asking again. */
static int note_claim(const struct volumes_at *at, const char *name, const char *path, struct err *err)
{
    AUTOFREE char *link = disk_path(at, name);
    char was[PATH_MAX];
    ssize_t n = readlink(link, was, sizeof was - 1);
    if (n > 0 && (size_t)n == strlen(path) && memcmp(was, path, (size_t)n) == 0)
        return 0;
    if ((n > 0 && unlink(link) < 0) || symlink(path, link) < 0)
        return err_errno(err, "noting where volume %s is", name);
    return 0;
}

static int make_claim(const struct volumes_at *at, jval *volume, int64_t *refresh_ns, struct err *err)
{
    JSON_REF(pv) = volume_of_claim(at, volume, err);
    if (!pv)
        return -1;
    jval *spec = persistent_volume_spec(json_root(pv)), *host = persistent_volume_spec_host_path(spec);
    jval *local = persistent_volume_spec_local(spec);
    const char *path = host_path_volume_source_path(host ? host : local); /* the same name in both */
    if (!host && !local)
        return err_set(err, ERR_PRECONDITION,
                       "persistentvolume \"%s\" is neither hostPath nor local, which is what this node serves",
                       obj_name(json_root(pv)));
    if (str_eq(persistent_volume_spec_volume_mode(spec), "Block"))
        return err_set(err, ERR_PRECONDITION, "persistentvolume \"%s\" is a block device, which this node does not serve",
                       obj_name(json_root(pv)));
    if (host && check_host_path(host, err) < 0)
        return -1;
    if (local && !fs_is_dir(path))
        return err_set(err, ERR_PRECONDITION, "path \"%s\" does not exist", path);
    /* As upstream: a hostPath that somebody wrote keeps its owners. */
    bool ours = local || obj_annotation(json_root(pv), "pv.kubernetes.io/provisioned-by");
    jval *psc = pod_spec_security_context(pod_spec(at->facts->pod));
    bool on_mismatch = str_eq(pod_security_context_fs_group_change_policy(psc), "OnRootMismatch");
    if (ours && at->fs_group >= 0 && volume_give_to(path, at->fs_group, on_mismatch, err) < 0)
        return -1;
    return note_claim(at, volume_name(volume), path, err);
}

/* The path that note_claim kept. The caller frees. */
static char *claim_path(const struct volumes_at *at, jval *volume, struct err *err)
{
    AUTOFREE char *link = disk_path(at, volume_name(volume));
    char path[PATH_MAX];
    ssize_t n = readlink(link, path, sizeof path - 1);
    if (n > 0)
        return xstrndup(path, (size_t)n);
    err_errno(err, "finding volume %s", volume_name(volume));
    return NULL;
}

/* Before the first container that mounts it, not before all: see pod_image_volume.c. */
static int make_image(const struct volumes_at *at, jval *volume, int64_t *refresh_ns, struct err *err) { return 0; }

static make_fn *maker(jval *volume)
{
    if (volume_image(volume))
        return make_image;
    if (is_claim(volume))
        return make_claim;
    if (volume_empty_dir(volume))
        return make_empty_dir;
    if (volume_config_map(volume))
        return make_config_map;
    if (volume_secret(volume))
        return make_secret;
    if (volume_projected(volume))
        return make_projected;
    if (volume_downward_api(volume))
        return make_downward;
    return volume_host_path(volume) ? make_host_path : NULL;
}

static bool in_memory(jval *volume) { return volume_secret(volume) || volume_projected(volume) || volume_downward_api(volume); }

/* ---- face --------------------------------------------------------------------------------------------------------------------
 */

int volumes_check(jval *pod, struct err *err)
{
    jval *list = pod_spec_volumes(pod_spec(pod));
    for (size_t i = 0; i < jv_len(list); i++) {
        jval *v = jv_at(list, i);
        if (maker(v))
            continue;
        struct jiter it = jv_iter(v);
        const char *k, *kind = "of no kind";
        jval *x;
        while (jv_next(&it, &k, &x))
            if (!str_eq(k, "name"))
                kind = k;
        return err_set(
            err, ERR_PRECONDITION,
            "volume \"%s\" is %s, which this node does not serve yet; it serves emptyDir, configMap, secret, projected, "
            "downwardAPI, hostPath, image, persistentVolumeClaim and ephemeral",
            volume_name(v), kind);
    }
    return 0;
}

int volumes_make(const struct volumes_at *at, int64_t *refresh_ns, struct err *err)
{
    jval *list = pod_spec_volumes(pod_spec(at->facts->pod));
    *refresh_ns = 0;
    for (size_t i = 0; i < jv_len(list); i++) {
        ERR(e);
        make_fn *make = maker(jv_at(list, i));
        if (!make || make(at, jv_at(list, i), refresh_ns, &e) < 0) {
            err_wrap(&e, "MountVolume.SetUp failed for volume \"%s\"", volume_name(jv_at(list, i)));
            return make ? err_move(err, &e) : volumes_check(at->facts->pod, err);
        }
    }
    return 0;
}

char *volumes_over_limit(const struct volumes_at *at, bool *watched)
{
    jval *list = pod_spec_volumes(pod_spec(at->facts->pod));
    *watched = false;
    for (size_t i = 0; i < jv_len(list); i++) {
        jval *src = volume_empty_dir(jv_at(list, i));
        const char *limit = empty_dir_volume_source_size_limit(src);
        struct quantity q;
        /* One in memory cannot grow beyond: its tmpfs has that size. */
        if (!limit || str_eq(empty_dir_volume_source_medium(src), "Memory") || quantity_parse(limit, &q, NULL) < 0 || q.nano <= 0)
            continue;
        AUTOFREE char *path = disk_path(at, volume_name(jv_at(list, i)));
        *watched = true;
        if (fs_du(path) > quantity_value(&q))
            return xasprintf("Usage of EmptyDir volume \"%s\" exceeds the limit \"%s\". ", volume_name(jv_at(list, i)), limit);
    }
    return NULL;
}

/* Whether any element of a list holds an object of that name at key (and then below, if given). */
static bool list_refers(jval *list, const char *key, const char *below, const char *name)
{
    for (size_t i = 0; i < jv_len(list); i++) {
        jval *ref = below ? jv_path(jv_at(list, i), key, below, NULL) : jv_get(jv_at(list, i), key);
        if (str_eq(jv_str(jv_get(ref, "name")), name))
            return true;
    }
    return false;
}

bool volumes_refer(jval *pod, bool secret, const char *name)
{
    jval *spec = pod_spec(pod), *list = pod_spec_volumes(spec),
         *lists[] = {pod_spec_init_containers(spec), pod_spec_containers(spec), pod_spec_ephemeral_containers(spec)};
    for (size_t i = 0; i < jv_len(list); i++) {
        jval *v = jv_at(list, i);
        const char *own =
            secret ? secret_volume_source_secret_name(volume_secret(v)) : config_map_volume_source_name(volume_config_map(v));
        if (str_eq(own, name) ||
            list_refers(projected_volume_source_sources(volume_projected(v)), secret ? "secret" : "configMap", NULL, name))
            return true;
    }
    for (size_t l = 0; l < ARRAY_LEN(lists); l++)
        for (size_t i = 0; i < jv_len(lists[l]); i++) {
            jval *c = jv_at(lists[l], i);
            if (list_refers(container_env_from(c), secret ? "secretRef" : "configMapRef", NULL, name) ||
                list_refers(container_env(c), "valueFrom", secret ? "secretKeyRef" : "configMapKeyRef", name))
                return true;
        }
    return false;
}

static jval *volume_named(jval *pod, const char *name)
{
    jval *list = pod_spec_volumes(pod_spec(pod));
    for (size_t i = 0; i < jv_len(list); i++)
        if (str_eq(volume_name(jv_at(list, i)), name))
            return jv_at(list, i);
    return NULL;
}

char *volumes_image_place(const char *pod_dir, const char *volume) { return xasprintf("%s/images/%s", pod_dir, volume); }
bool volumes_is_image(jval *pod, jval *mount) { return volume_image(volume_named(pod, volume_mount_name(mount))); }

static char *image_path(const struct volumes_at *at, jval *volume)
{
    AUTOFREE char *place = volumes_image_place(at->pod_dir, volume_name(volume));
    return fs_join(place, "root");
}

char *volumes_source(const struct volumes_at *at, jval *mount, const struct strmap *vars, bool *readonly, struct err *err)
{
    jval *v = volume_named(at->facts->pod, volume_mount_name(mount));
    /* What we write is ours alone: a pod that could put links there would lead us, and the next container's subPath, out of the
     * volume. */
    *readonly = volume_mount_read_only(mount, false) || (v && (in_memory(v) || volume_config_map(v) || volume_image(v))) ||
                persistent_volume_claim_volume_source_read_only(volume_persistent_volume_claim(v), false);
    if (!v) {
        err_set(err, ERR_PRECONDITION, "volumeMount \"%s\" has no volume", volume_mount_name(mount));
        return NULL;
    }
    const char *host = host_path_volume_source_path(volume_host_path(v));
    AUTOFREE char *base = host              ? xstrdup(host)
                          : in_memory(v)    ? mem_path(at, volume_name(v))
                          : is_claim(v)     ? claim_path(at, v, err)
                          : volume_image(v) ? image_path(at, v)
                                            : disk_path(at, volume_name(v));
    if (!base)
        return NULL;
    const char *plain = volume_mount_sub_path(mount), *expr = volume_mount_sub_path_expr(mount);
    AUTOFREE char *sub = !str_empty(expr) ? env_expand(expr, vars) : xstrdup(plain ? plain : "");
    if (!*sub)
        return TAKE(base);
    STRLIST(parts);
    str_split(sub, '/', &parts);
    for (size_t i = 0; i < parts.n; i++)
        if (str_eq(parts.v[i], "..") || sub[0] == '/' || parts.n > SUBPATH_DEPTH) {
            err_set(err, ERR_PRECONDITION, "subPath \"%s\" must be relative and without \"..\"", sub);
            return NULL;
        }
    /* What we wrote ourselves holds no links of others. */
    if (in_memory(v) || volume_config_map(v))
        return fs_join(base, sub);
    /* In a volume that containers write, a name may become a link at any moment: what it is now is mounted at a place of ours. */
    char hex[17];
    AUTOFREE char *dir = fs_join(at->bundle, "sub"), *target = fs_join(dir, random_hex(hex, 8));
    if (fs_mkdir_p(dir, 0700, err) < 0 || at->runtime->ops->bind_sub(at->runtime, base, sub, target, err) < 0)
        return NULL;
    return TAKE(target);
}
