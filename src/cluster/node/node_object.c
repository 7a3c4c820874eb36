#include "cluster/node/node_object.h"

#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "base/fs.h"
#include "base/timefmt.h"
#include "cluster/node/helper/proc.h"
#include "kube/fields.h"
#include "kube/kinds.h"
#include "kube/object.h"

#define NOT_READY_TAINT "node.kubernetes.io/not-ready"

/* ---- the machine ------------------------------------------------------------------------------------------------------- */

static char *first_line(const char *path)
{
    BUF(b);
    if (fs_read(path, 4096, &b, NULL) < 0)
        return xstrdup("");
    char *text = buf_steal(&b, NULL);
    text[strcspn(text, "\n")] = 0;
    return text;
}

static char *os_name(void)
{
    BUF(b);
    STRLIST(lines);
    if (fs_read("/etc/os-release", 65536, &b, NULL) == 0)
        str_split(buf_str(&b), '\n', &lines);
    for (size_t i = 0; i < lines.n; i++)
        if (str_starts(lines.v[i], "PRETTY_NAME=")) {
            char *v = lines.v[i] + strlen("PRETTY_NAME=");
            size_t n = strlen(v);
            return v[0] == '"' && n >= 2 ? xstrndup(v + 1, n - 2) : xstrdup(v);
        }
    return xstrdup("Linux");
}

void machine_read(struct machine *m, const char *data_dir)
{
    struct utsname u;
    struct statvfs vfs;
    char host[256] = "localhost";
    gethostname(host, sizeof host - 1);
    for (char *s = host; *s; s++)
        if (*s >= 'A' && *s <= 'Z')
            *s += 'a' - 'A';
    ASSERT(uname(&u) == 0);
    *m = (struct machine){
        .cpu_milli = sysconf(_SC_NPROCESSORS_ONLN) * 1000,
        .memory = (int64_t)sysconf(_SC_PHYS_PAGES) * sysconf(_SC_PAGESIZE),
        .disk = statvfs(data_dir, &vfs) == 0 ? (int64_t)(vfs.f_blocks * vfs.f_frsize) : 0,
        .host_name = xstrdup(host),
        .kernel = xstrdup(u.release),
        .os_image = os_name(),
        .arch = xstrdup(str_eq(u.machine, "x86_64")    ? "amd64"
                        : str_eq(u.machine, "aarch64") ? "arm64"
                                                       : u.machine),
        .machine_id = first_line("/etc/machine-id"),
        .boot_id = proc_boot_id(),
        .ip = proc_machine_ip(),
    };
}

void machine_free(struct machine *m)
{
    free(m->host_name);
    free(m->kernel);
    free(m->os_image);
    free(m->arch);
    free(m->machine_id);
    free(m->boot_id);
    free(m->ip);
    *m = (struct machine){0};
}

/* ---- the object -------------------------------------------------------------------------------------------------------------
 */

static void set_labels(struct jm *m, jmval *node, const struct node_facts *f)
{
    jmval *meta = node_make_metadata(m, node), *labels = object_meta_make_labels(m, meta);
    jm_put(m, labels, "kubernetes.io/hostname", jm_str(m, f->machine->host_name));
    jm_put(m, labels, "kubernetes.io/os", jm_str(m, "linux"));
    jm_put(m, labels, "kubernetes.io/arch", jm_str(m, f->machine->arch));
    jm_put(m, labels, "beta.kubernetes.io/os", jm_str(m, "linux"));
    jm_put(m, labels, "beta.kubernetes.io/arch", jm_str(m, f->machine->arch));
    if (f->cgroups)
        jm_put(m, object_meta_make_annotations(m, meta), "tidemill.dev/cgroups", jm_str(m, f->cgroups));
}

/* A new Node comes with the not-ready taint, which Kubernetes' node lifecycle controller takes away and puts back. Here the node
 * does it itself: nobody knows earlier. */
static void set_taint(struct jm *m, jmval *node, const struct node_facts *f)
{
    jmval *spec = node_make_spec(m, node), *taints = node_spec_make_taints(m, spec);
    bool there = false;
    for (size_t i = jmv_len(taints); i-- > 0;) {
        if (!str_eq(jmv_str(taint_mut_key(jmv_at(taints, i))), NOT_READY_TAINT))
            continue;
        there = true;
        if (!f->not_ready)
            jm_remove(taints, i);
    }
    if (f->not_ready && !there) {
        jmval *t = jm_obj(m);
        taint_set_key(m, t, NOT_READY_TAINT);
        taint_set_effect(m, t, "NoSchedule");
        jm_push(taints, t);
    }
    if (!jmv_len(taints))
        node_spec_del_taints(spec);
}

static jmval *resources(struct jm *m, const struct node_facts *f)
{
    jmval *r = jm_obj(m);
    jm_put(m, r, "cpu", jm_strf(m, "%lld", (long long)(f->machine->cpu_milli / 1000)));
    jm_put(m, r, "memory", jm_strf(m, "%lldKi", (long long)(f->machine->memory / 1024)));
    jm_put(m, r, "ephemeral-storage", jm_strf(m, "%lldKi", (long long)(f->machine->disk / 1024)));
    jm_put(m, r, "hugepages-1Gi", jm_str(m, "0"));
    jm_put(m, r, "hugepages-2Mi", jm_str(m, "0"));
    jm_put(m, r, "pods", jm_strf(m, "%u", f->max_pods));
    return r;
}

static void set_condition(struct jm *m, jmval *list, jval *old, const char *type, const char *status, const char *reason,
                          const char *message, const char *now)
{
    jmval *c = jm_obj(m);
    const char *since = now;
    for (size_t i = 0; i < jv_len(old); i++)
        if (str_eq(node_condition_type(jv_at(old, i)), type) && str_eq(node_condition_status(jv_at(old, i)), status))
            since = node_condition_last_transition_time(jv_at(old, i));
    node_condition_set_type(m, c, type);
    node_condition_set_status(m, c, status);
    node_condition_set_last_heartbeat_time(m, c, now);
    node_condition_set_last_transition_time(m, c, since ? since : now);
    node_condition_set_reason(m, c, reason);
    node_condition_set_message(m, c, message);
    jm_push(list, c);
}

static void set_address(struct jm *m, jmval *list, const char *type, const char *address)
{
    jmval *a = jm_obj(m);
    node_address_set_type(m, a, type);
    node_address_set_address(m, a, address);
    jm_push(list, a);
}

static void set_info(struct jm *m, jmval *status, const struct node_facts *f)
{
    jmval *i = jm_obj(m);
    node_system_info_set_machine_id(m, i, f->machine->machine_id);
    node_system_info_set_system_uuid(m, i, f->machine->machine_id);
    node_system_info_set_boot_id(m, i, f->machine->boot_id);
    node_system_info_set_kernel_version(m, i, f->machine->kernel);
    node_system_info_set_os_image(m, i, f->machine->os_image);
    node_system_info_set_container_runtime_version(m, i, f->runtime_version);
    node_system_info_set_kubelet_version(m, i, "v1.34.0+tidemill." TIDEMILL_VERSION);
    node_system_info_set_kube_proxy_version(m, i, "");
    node_system_info_set_operating_system(m, i, "linux");
    node_system_info_set_architecture(m, i, f->machine->arch);
    node_status_set_node_info(m, status, i);
}

static void set_status(struct jm *m, jmval *status, jval *old, const struct node_facts *f, int64_t now_ns)
{
    char now[TIME_TEXT_MAX];
    jmval *conditions = jm_arr(m), *addresses = jm_arr(m);
    time_format(now, now_ns, TIME_SECONDS);
    node_features_set_supplemental_groups_policy(m, node_status_make_features(m, status), true);
    node_status_set_capacity(m, status, resources(m, f));
    node_status_set_allocatable(m, status, resources(m, f));
    jval *before = node_status_conditions(old);
    set_condition(m, conditions, before, "MemoryPressure", "False", "KubeletHasSufficientMemory",
                  "kubelet has sufficient memory available", now);
    set_condition(m, conditions, before, "DiskPressure", "False", "KubeletHasNoDiskPressure", "kubelet has no disk pressure",
                  now);
    set_condition(m, conditions, before, "PIDPressure", "False", "KubeletHasSufficientPID",
                  "kubelet has sufficient PID available", now);
    set_condition(m, conditions, before, "Ready", f->not_ready ? "False" : "True",
                  f->not_ready ? "KubeletNotReady" : "KubeletReady",
                  f->not_ready ? f->not_ready : "kubelet is posting ready status", now);
    node_status_set_conditions(m, status, conditions);
    set_address(m, addresses, "InternalIP", f->machine->ip);
    set_address(m, addresses, "Hostname", f->machine->host_name);
    node_status_set_addresses(m, status, addresses);
    if (f->kubelet_port) {
        jmval *face = node_daemon_endpoints_make_kubelet_endpoint(m, node_status_make_daemon_endpoints(m, status));
        daemon_endpoint_set_port(m, face, f->kubelet_port);
    }
    set_info(m, status, f);
}

static struct json *get_or_create(struct kube *kube, const struct ctx *ctx, const struct node_facts *f, struct err *err)
{
    ERR(e);
    struct json *have = kube_get(kube, ctx, &KUBE_NODES, NULL, f->name, NULL, &e);
    if (!have && e.code != ERR_NOT_FOUND) {
        err_move(err, &e);
        return NULL;
    }
    struct jm *m = have ? jm_copy(json_root(have)) : jm_new();
    if (!have) {
        jm_set_root(m, jm_obj(m));
        jm_put(m, jm_root(m), "apiVersion", jm_str(m, "v1"));
        jm_put(m, jm_root(m), "kind", jm_str(m, "Node"));
        object_meta_set_name(m, node_make_metadata(m, jm_root(m)), f->name);
    }
    set_labels(m, jm_root(m), f);
    set_taint(m, jm_root(m), f);
    JSON_REF(doc) = jm_freeze(m);
    jm_free(m);
    struct json *out;
    if (!have)
        out = kube_create(kube, ctx, &KUBE_NODES, NULL, json_root(doc), NULL, err);
    else if (jv_equal(json_root(doc), json_root(have)))
        return have;
    else
        out = kube_update(kube, ctx, &KUBE_NODES, NULL, f->name, json_root(doc), NULL, err);
    json_unref(have);
    return out;
}

static bool has_not_ready(jval *node)
{
    jval *taints = node_spec_taints(node_spec(node));
    for (size_t i = 0; i < jv_len(taints); i++)
        if (str_eq(taint_key(jv_at(taints, i)), NOT_READY_TAINT))
            return true;
    return false;
}

int node_register(struct kube *kube, const struct ctx *ctx, const struct node_facts *f, struct err *err)
{
    struct kube_opts status = {.subresource = "status"};
    for (int i = 0;; i++) {
        ERR(e);
        JSON_REF(node) = get_or_create(kube, ctx, f, &e);
        if (node && !f->not_ready && has_not_ready(json_root(node)) && i < 5)
            continue; /* just created: admission has put it there */
        if (node) {
            JM(m, json_root(node));
            set_status(m, node_make_status(m, jm_root(m)), node_status(json_root(node)), f, ctx_now_ns(ctx));
            JSON_REF(doc) = jm_freeze(m);
            JSON_REF(now) = kube_update(kube, ctx, &KUBE_NODES, NULL, f->name, json_root(doc), &status, &e);
            if (now)
                return 0;
        }
        if (e.code != ERR_CONFLICT || i == 5) {
            err_wrap(&e, "writing Node %s", f->name);
            return err_move(err, &e);
        }
    }
}

/* ---- images ------------------------------------------------------------------------------------------------------------- */

enum { IMAGES_SHOWN = 50, NAMES_SHOWN = 5 };

static int largest_first(const void *a, const void *b)
{
    int64_t x = ((const struct node_image *)a)->size, y = ((const struct node_image *)b)->size;
    return x > y ? -1 : x < y;
}

static jmval *images_value(struct jm *m, const struct node_image *v, size_t n)
{
    jmval *list = jm_arr(m);
    for (size_t i = 0; i < n && i < IMAGES_SHOWN; i++) {
        const struct strlist *const from[] = {v[i].digests, v[i].names};
        jmval *image = jm_obj(m), *names = container_image_make_names(m, image);
        for (size_t k = 0; k < ARRAY_LEN(from); k++)
            for (size_t j = 0; j < from[k]->n && jmv_len(names) < NAMES_SHOWN; j++)
                jm_push(names, jm_str(m, from[k]->v[j]));
        container_image_set_size_bytes(m, image, v[i].size);
        jm_push(list, image);
    }
    return list;
}

int node_write_images(struct kube *kube, const struct ctx *ctx, const char *name, struct node_image *v, size_t n, struct err *err)
{
    struct kube_opts status = {.subresource = "status"};
    if (n)
        qsort(v, n, sizeof *v, largest_first);
    JM_NEW(m);
    jm_set_root(m, jm_obj(m));
    node_status_set_images(m, node_make_status(m, jm_root(m)), images_value(m, v, n));
    JSON_REF(patch) = jm_freeze(m);
    JSON_REF(now) = kube_patch(kube, ctx, &KUBE_NODES, NULL, name, KUBE_PATCH_MERGE, json_root(patch), &status, err);
    return now ? 0 : -1;
}
