/* What the runtime is told about a container, from the pod's object. */
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fs.h"
#include "cluster/node/images/user.h"
#include "cluster/node/network/podnet.h"
#include "cluster/node/network/services.h"
#include "cluster/node/pod.h"
#include "cluster/node/runtime/oci.h"
#include "cluster/node/volumes/volumes.h"
#include "kube/fields.h"
#include "kube/kinds.h"
#include "kube/object.h"
#include "value/quantity.h"

enum { SHARES_MIN = 2, SHARES_MAX = 262144, OOM_GUARANTEED = -997, OOM_BEST_EFFORT = 1000, HOSTNAME_MAX = 63 };

#define AGENT "/tidemill/agent"

struct pod_facts pod_facts(const struct pod_host *h, const struct pod *p)
{
    return (struct pod_facts){.pod = json_root(p->obj),
                              .pod_ip = p->sandbox.ip,
                              .host_ip = h->host_ip,
                              .node_name = h->node_name,
                              .api_ip = h->service_range.api,
                              .services = h->services,
                              .node_cpu_milli = h->node_cpu_milli,
                              .node_memory = h->node_memory};
}

jval *pod_box_container(const struct pod *p, const struct box *b)
{
    jval *spec = pod_spec(json_root(p->obj));
    jval *list = b->kind == BOX_EPHEMERAL ? pod_spec_ephemeral_containers(spec)
                 : b->init                ? pod_spec_init_containers(spec)
                                          : pod_spec_containers(spec);
    for (size_t i = 0; i < jv_len(list); i++)
        if (str_eq(container_name(jv_at(list, i)), b->name))
            return jv_at(list, i);
    return NULL;
}

/* ---- places ----------------------------------------------------------------------------------------------------------- */

char *pod_dir(const struct pod_host *h, const struct pod *p) { return xasprintf("%s/pods/%s", h->node_dir, p->uid); }
char *pod_mem_dir(const struct pod_host *h, const struct pod *p) { return xasprintf("%s/mem/%s", h->node_dir, p->uid); }

char *pod_bundle(const struct pod_host *h, const struct pod *p, const struct box *b)
{
    return xasprintf("%s/pods/%s/containers/%s/%d", h->node_dir, p->uid, b->name, b->attempt);
}

char *pod_log_dir(const struct pod_host *h, const struct pod *p, const char *container)
{
    return xasprintf("%s/pods/%s_%s_%s%s%s", h->log_dir, p->ns, p->name, p->uid, container ? "/" : "",
                     container ? container : "");
}

char *pod_hostname(const struct pod_host *h, const struct pod *p)
{
    jval *spec = pod_spec(json_root(p->obj));
    const char *given = pod_spec_host_network(spec, false) ? h->node_name : pod_spec_hostname(spec);
    char *name = xstrndup(str_empty(given) ? p->name : given, HOSTNAME_MAX);
    for (size_t n = strlen(name); n > 0 && !isalnum((unsigned char)name[n - 1]); n--)
        name[n - 1] = 0;
    return name;
}

/* ---- files of the pod ----------------------------------------------------------------------------------------------------- */

static int put(const char *dir, const char *name, const char *text, struct err *err)
{
    AUTOFREE char *path = fs_join(dir, name);
    AUTOCLOSE int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    return fd < 0 ? err_errno(err, "writing %s", path) : fs_write(fd, text, strlen(text), err);
}

static void add_hosts(const struct pod_host *h, const struct pod *p, struct buf *b)
{
    jval *spec = pod_spec(json_root(p->obj)), *aliases = pod_spec_host_aliases(spec);
    AUTOFREE char *hostname = pod_hostname(h, p);
    const char *subdomain = pod_spec_subdomain(spec);
    if (!pod_spec_host_network(spec, false)) {
        buf_adds(b, "# Kubernetes-managed hosts file.\n127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n");
        if (str_empty(subdomain))
            buf_addf(b, "%s\t%s\n", p->sandbox.ip, hostname);
        else
            buf_addf(b, "%s\t%s.%s.%s.svc.cluster.local\t%s\n", p->sandbox.ip, hostname, subdomain, p->ns, hostname);
    } else {
        fs_read("/etc/hosts", 1 << 20, b, NULL);
    }
    for (size_t i = 0; i < jv_len(aliases); i++) {
        jval *names = host_alias_hostnames(jv_at(aliases, i));
        buf_addf(b, "%s", host_alias_ip(jv_at(aliases, i)));
        for (size_t j = 0; j < jv_len(names); j++)
            buf_addf(b, "\t%s", jv_str_or(jv_at(names, j), ""));
        buf_addc(b, '\n');
    }
}

static int add_resolv(const struct pod_host *h, const struct pod *p, struct buf *b, struct err *err)
{
    AUTOFREE char *machine = podnet_resolv_conf(h->gateway, err);
    if (!machine)
        return -1;
    AUTOFREE char *text = pod_resolv_conf(json_root(p->obj), h->services ? h->service_range.dns : NULL, machine);
    buf_adds(b, text);
    return 0;
}

int pod_write_etc(const struct pod_host *h, const struct pod *p, struct err *err)
{
    AUTOFREE char *dir = pod_dir(h, p), *etc = fs_join(dir, "etc"), *hostname = pod_hostname(h, p);
    AUTOFREE char *line = xasprintf("%s\n", hostname);
    BUF(hosts);
    BUF(resolv);
    add_hosts(h, p, &hosts);
    if (add_resolv(h, p, &resolv, err) < 0 || fs_mkdir_p(etc, 0755, err) < 0 || put(etc, "hosts", buf_str(&hosts), err) < 0 ||
        put(etc, "resolv.conf", buf_str(&resolv), err) < 0)
        return -1;
    return put(etc, "hostname", line, err);
}

/* ---- resources ---------------------------------------------------------------------------------------------------------------
 */

static bool resource(jval *map, const char *key, struct quantity *q)
{
    const char *s = jv_str(jv_get(map, key));
    return s && quantity_parse(s, q, NULL) == 0;
}

/* Guaranteed: every container has limits of cpu and memory and requests equal to them; BestEffort: nobody has anything. */
const char *pod_qos(jval *pod)
{
    jval *lists[] = {pod_spec_containers(pod_spec(pod)), pod_spec_init_containers(pod_spec(pod))};
    static const char *const names[] = {"cpu", "memory"};
    bool any = false, guaranteed = true;
    for (size_t l = 0; l < ARRAY_LEN(lists); l++)
        for (size_t i = 0; i < jv_len(lists[l]); i++) {
            jval *res = container_resources(jv_at(lists[l], i));
            for (size_t k = 0; k < ARRAY_LEN(names); k++) {
                struct quantity limit, request;
                bool has_limit = resource(resource_requirements_limits(res), names[k], &limit) && limit.nano > 0;
                bool has_request = resource(resource_requirements_requests(res), names[k], &request) && request.nano > 0;
                any |= has_limit || has_request;
                guaranteed &= has_limit && (!has_request || quantity_cmp(&limit, &request) == 0);
            }
        }
    return !any ? "BestEffort" : guaranteed ? "Guaranteed" : "Burstable";
}

void pod_limits(jval *pod, bool *memory, bool *cpu)
{
    jval *lists[] = {pod_spec_init_containers(pod_spec(pod)), pod_spec_containers(pod_spec(pod))};
    struct quantity q;
    *memory = *cpu = false;
    for (size_t l = 0; l < ARRAY_LEN(lists); l++)
        for (size_t i = 0; i < jv_len(lists[l]); i++) {
            jval *limits = resource_requirements_limits(container_resources(jv_at(lists[l], i)));
            *memory |= resource(limits, "memory", &q);
            *cpu |= resource(limits, "cpu", &q);
        }
}

static void set_resources(const struct pod_host *h, const struct pod *p, jval *container, struct container_spec *s)
{
    jval *res = container_resources(container), *limits = resource_requirements_limits(res),
         *requests = resource_requirements_requests(res);
    struct quantity q;
    int64_t milli = 0, bytes = 0;
    const char *qos = pod_qos(json_root(p->obj));
    if (resource(requests, "cpu", &q) || resource(limits, "cpu", &q))
        milli = quantity_milli(&q);
    if (resource(requests, "memory", &q) || resource(limits, "memory", &q))
        bytes = quantity_value(&q);
    s->cpu_shares = milli * 1024 / 1000;
    if (s->cpu_shares < SHARES_MIN)
        s->cpu_shares = SHARES_MIN;
    if (s->cpu_shares > SHARES_MAX)
        s->cpu_shares = SHARES_MAX;
    /* The kernel takes no quota below 1 ms. */
    if (resource(limits, "cpu", &q) && quantity_milli(&q) > 0)
        s->cpu_quota_us = quantity_milli(&q) < 10 ? 1000 : quantity_milli(&q) * 100;
    if (resource(limits, "memory", &q))
        s->memory_limit = quantity_value(&q);
    if (str_eq(qos, "Guaranteed")) {
        s->oom_score_adj = OOM_GUARANTEED;
    } else if (str_eq(qos, "BestEffort")) {
        s->oom_score_adj = OOM_BEST_EFFORT;
    } else {
        int64_t adj = h->node_memory > 0 ? 1000 - (int64_t)((__int128)1000 * bytes / h->node_memory) : 999;
        s->oom_score_adj = adj < 3 ? 3 : adj > 999 ? 999 : (int)adj;
    }
}

/* ---- security
 * -------------------------------------------------------------------------------------------------------------------- */

/* The image's user, unless the pod says who; group and home of whoever it is. */
static int image_user(const struct pod_host *h, const struct pod *p, jval *container, const struct image_info *image,
                      int64_t asked, struct container_spec *s, int64_t *gid, char **home, struct err *err)
{
    CLEANUP(image_user_free) struct image_user u = {0};
    AUTOFREE char *number = asked >= 0 ? xasprintf("%lld", (long long)asked) : NULL;
    if (image_user_find(&image->layers, number ? number : image->user, &u, err) < 0)
        return -1;
    s->uid = u.uid;
    *gid = u.gid;
    *home = TAKE(u.home);
    jval *psc = pod_spec_security_context(pod_spec(json_root(p->obj)));
    bool strict = str_eq(pod_security_context_supplemental_groups_policy(psc), "Strict"); /* the pod alone says which */
    for (size_t i = 0; !strict && i < u.groups.n; i++)
        strlist_add(&s->groups, u.groups.v[i]);
    return 0;
}

/* What cannot be proved not to be root is not run: a name is whatever the image's own file makes of it. */
static int check_non_root(const struct pod *p, jval *container, const struct image_info *image, int64_t asked, int64_t uid,
                          struct err *err)
{
    AUTOFREE char *of = xasprintf("(pod: \"%s_%s(%s)\", container: %s)", p->name, p->ns, p->uid, container_name(container));
    if (asked == 0)
        return err_set(err, ERR_PRECONDITION, "container's runAsUser breaks non-root policy %s", of);
    if (uid == 0)
        return err_set(err, ERR_PRECONDITION, "container has runAsNonRoot and image will run as root %s", of);
    if (asked < 0 && !str_empty(image->user) && (image->user[0] < '0' || image->user[0] > '9'))
        return err_set(err, ERR_PRECONDITION,
                       "container has runAsNonRoot and image has non-numeric user (%.*s), cannot verify user is non-root %s",
                       (int)strcspn(image->user, ":"), image->user, of);
    return 0;
}

static int set_user(const struct pod_host *h, const struct pod *p, jval *container, const struct image_info *image,
                    struct container_spec *s, char **home, struct err *err)
{
    jval *psc = pod_spec_security_context(pod_spec(json_root(p->obj))), *sc = container_security_context(container);
    jval *groups = pod_security_context_supplemental_groups(psc);
    int64_t gid, fs_group = pod_security_context_fs_group(psc, -1);
    int64_t asked = security_context_run_as_user(sc, pod_security_context_run_as_user(psc, -1));
    if (!image->image) {
        s->uid = asked < 0 ? 0 : asked;
        h->runtime->ops->user(h->runtime, container_image(container), s->uid, home, &gid);
    } else if (image_user(h, p, container, image, asked, s, &gid, home, err) < 0) {
        return -1;
    }
    s->gid = security_context_run_as_group(sc, pod_security_context_run_as_group(psc, gid));
    if (security_context_run_as_non_root(sc, pod_security_context_run_as_non_root(psc, false)) &&
        check_non_root(p, container, image, asked, s->uid, err) < 0)
        return -1;
    for (size_t i = 0; i < jv_len(groups); i++)
        strlist_addf(&s->groups, "%lld", (long long)jv_i64_or(jv_at(groups, i), 0));
    if (fs_group >= 0)
        strlist_addf(&s->groups, "%lld", (long long)fs_group);
    return 0;
}

static const char **texts(jval *list)
{
    const char **v = xcalloc(jv_len(list) + 1, sizeof *v);
    for (size_t i = 0; i < jv_len(list); i++)
        v[i] = jv_str_or(jv_at(list, i), "");
    return v;
}

/* Profiles of the machine's own lie in <data>/seccomp, as kubelet's lie in its directory. */
static int read_profile(const struct pod_host *h, const char *name, struct container_spec *s, struct err *err)
{
    AUTOFREE char *path = xasprintf("%s/../seccomp/%s", h->node_dir, name ? name : "");
    BUF(b);
    if (str_empty(name) || name[0] == '/' || strstr(name, ".."))
        return err_set(err, ERR_PRECONDITION, "seccompProfile.localhostProfile \"%s\" must be a path below the directory seccomp",
                       name ? name : "");
    if (fs_read(path, 4 << 20, &b, err) < 0)
        return err_wrap(err, "reading the seccomp profile %s", name);
    JSON_REF(doc) = json_parse(b.data, b.len, NULL, err);
    if (!doc)
        return err_wrap(err, "the seccomp profile %s", name);
    s->seccomp = buf_steal(&b, NULL);
    return 0;
}

/* Only on a machine that has it: a pod that asks for it elsewhere was refused. */
static void set_apparmor(jval *psc, jval *sc, struct container_spec *s)
{
    jval *own = security_context_app_armor_profile(sc), *profile = own ? own : pod_security_context_app_armor_profile(psc);
    if (machine_has_apparmor() && str_eq(app_armor_profile_type(profile), "Localhost"))
        s->apparmor = xstrdup(app_armor_profile_localhost_profile(profile));
}

static int set_security(const struct pod_host *h, const struct pod *p, jval *container, struct container_spec *s, struct err *err)
{
    jval *psc = pod_spec_security_context(pod_spec(json_root(p->obj))), *sc = container_security_context(container);
    jval *caps = security_context_capabilities(sc), *add = capabilities_add(caps), *drop = capabilities_drop(caps);
    AUTOFREE const char **added = texts(add), **dropped = texts(drop);
    jval *profile = security_context_seccomp_profile(sc);
    const char *type = seccomp_profile_type(profile ? profile : pod_security_context_seccomp_profile(psc));
    s->privileged = security_context_privileged(sc, false);
    s->no_new_privs = !security_context_allow_privilege_escalation(sc, true);
    s->readonly_root = security_context_read_only_root_filesystem(sc, false);
    oci_capabilities(added, jv_len(add), dropped, jv_len(drop), s->privileged, &s->caps);
    s->seccomp_default = !str_eq(type, "Unconfined");
    s->proc_unmasked = str_eq(security_context_proc_mount(sc), "Unmasked");
    set_apparmor(psc, sc, s);
    if (!str_eq(type, "Localhost"))
        return 0;
    return read_profile(h, seccomp_profile_localhost_profile(profile ? profile : pod_security_context_seccomp_profile(psc)), s,
                        err);
}

static void set_sysctls(const struct pod *p, struct container_spec *s)
{
    jval *list = pod_security_context_sysctls(pod_spec_security_context(pod_spec(json_root(p->obj))));
    for (size_t i = 0; i < jv_len(list); i++) {
        AUTOFREE char *name = pod_sysctl_name(sysctl_name(jv_at(list, i)));
        strlist_addf(&s->sysctls, "%s=%s", name, sysctl_value(jv_at(list, i)));
    }
}

/* ---- mounts
 * ------------------------------------------------------------------------------------------------------------------------ */

static void add_etc(const struct pod_host *h, const struct pod *p, struct container_spec *s)
{
    static const char *const names[] = {"hosts", "resolv.conf", "hostname"};
    AUTOFREE char *dir = pod_dir(h, p);
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        AUTOFREE char *source = xasprintf("%s/etc/%s", dir, names[i]), *target = fs_join("/etc", names[i]);
        container_spec_mount(s, MOUNT_BIND, source, target, s->readonly_root);
    }
}

/* Containers of one pod share their /dev/shm; a pod of one container has it to itself, with a limit. */
static int add_shm(const struct pod_host *h, const struct pod *p, struct container_spec *s, struct err *err)
{
    if (s->host_ipc) {
        container_spec_mount(s, MOUNT_BIND, "/dev/shm", "/dev/shm", false);
        return 0;
    }
    if (p->n_boxes == 1) {
        container_spec_mount(s, MOUNT_TMPFS, "mode=1777 size=65536k noexec", "/dev/shm", false);
        return 0;
    }
    AUTOFREE char *name = xasprintf("%s/.shm", p->uid), *dir = pod_mem_dir(h, p), *path = fs_join(dir, ".shm");
    if ((mkdirat(h->mem_fd, p->uid, 0755) < 0 && errno != EEXIST) || (mkdirat(h->mem_fd, name, 0777) < 0 && errno != EEXIST) ||
        fchmodat(h->mem_fd, name, 01777, 0) < 0)
        return err_errno(err, "making the pod's shared memory");
    container_spec_mount(s, MOUNT_BIND, path, "/dev/shm", false);
    return 0;
}

static int add_termination_log(jval *container, struct container_spec *s, struct err *err)
{
    const char *path = container_termination_message_path(container);
    AUTOFREE char *file = fs_join(s->bundle, "termination-log");
    AUTOCLOSE int fd = open(file, O_WRONLY | O_CREAT | O_CLOEXEC, 0666);
    if (fd < 0 || fchmod(fd, 0666) < 0)
        return err_errno(err, "making %s", file);
    container_spec_mount(s, MOUNT_BIND, file, str_empty(path) ? "/dev/termination-log" : path, false);
    return 0;
}

/* The agent runs what the image would run, if its task says so; only we know what that is (launch/task.h). */
static int add_image_command(jval *container, const struct image_info *image, struct container_spec *s, struct err *err)
{
    const struct {
        const char *name;
        const struct strlist *list;
    } parts[] = {{"entrypoint", &image->entrypoint}, {"cmd", &image->cmd}};
    if (!str_eq(jv_str(jv_at(container_command(container), 0)), AGENT))
        return 0;
    JM_NEW(m);
    jmval *root = jm_obj(m);
    for (size_t p = 0; p < ARRAY_LEN(parts); p++)
        for (size_t i = 0; i < parts[p].list->n; i++)
            jm_push(jm_arr_at(m, root, parts[p].name), jm_str(m, parts[p].list->v[i]));
    BUF(text);
    AUTOFREE char *path = fs_join(s->bundle, "image.json");
    jmv_write(root, JW_COMPACT, &text);
    AUTOCLOSE int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    if (fd < 0 || fchmod(fd, 0644) < 0)
        return err_errno(err, "making %s", path);
    container_spec_mount(s, MOUNT_BIND, path, "/tidemill/image.json", true);
    return fs_write(fd, text.data, text.len, err);
}

static int add_volumes(const struct volumes_at *at, jval *container, const struct strmap *vars, struct container_spec *s,
                       struct err *err)
{
    jval *mounts = container_volume_mounts(container);
    for (size_t i = 0; i < jv_len(mounts); i++) {
        jval *m = jv_at(mounts, i);
        bool readonly;
        AUTOFREE char *source = volumes_source(at, m, vars, &readonly, err);
        if (!source)
            return -1;
        const char *path = volume_mount_mount_path(m);
        AUTOFREE char *target = path[0] == '/' ? xstrdup(path) : fs_join("/", path);
        container_spec_mount(s, MOUNT_BIND, source, target, readonly);
        struct container_mount *last = &s->mounts[s->n_mounts - 1];
        const char *below = volume_mount_recursive_read_only(m), *others = volume_mount_mount_propagation(m);
        last->readonly_below = str_eq(below, "Enabled") || str_eq(below, "IfPossible");
        last->follows = str_eq(others, "HostToContainer");
        last->noexec = volumes_is_image(at->facts->pod, m);
        /* The node's mounts follow the machine's, not the other way. */
        if (str_eq(others, "Bidirectional"))
            return err_set(err, ERR_PRECONDITION,
                           "mountPropagation Bidirectional of volumeMount \"%s\" is not served by this node",
                           volume_mount_name(m));
    }
    if (jv_len(container_volume_devices(container)))
        return err_set(err, ERR_PRECONDITION, "volumeDevices are not served by this node yet");
    return 0;
}

static int by_depth(const void *a, const void *b)
{
    const struct container_mount *x = a, *y = b;
    size_t dx = 0, dy = 0;
    for (const char *s = x->target; *s; s++)
        dx += *s == '/';
    for (const char *s = y->target; *s; s++)
        dy += *s == '/';
    return dx < dy ? -1 : dx > dy ? 1 : strcmp(x->target, y->target);
}

/* ---- the whole
 * ----------------------------------------------------------------------------------------------------------------------- */

/* What would change the meaning of a pod is refused, not passed over. */
static int check_served(const struct pod *p, jval *container, bool init, struct err *err)
{
    jval *spec = pod_spec(json_root(p->obj));
    const struct {
        bool asked;
        const char *what;
    } checks[] = {
        {!pod_spec_host_users(spec, true), "hostUsers: false"},
        {!str_empty(pod_spec_runtime_class_name(spec)), "runtimeClassName"},
    };
    for (size_t i = 0; i < ARRAY_LEN(checks); i++)
        if (checks[i].asked)
            return err_set(err, ERR_PRECONDITION, "%s is not served by this node yet", checks[i].what);
    return 0;
}

/* An ephemeral container sees the processes of the one that it is to look at. */
static int set_target(const struct pod_host *h, const struct pod *p, const struct box *b, jval *c, struct container_spec *s,
                      struct err *err)
{
    const char *name = b->kind == BOX_EPHEMERAL ? ephemeral_container_target_container_name(c) : NULL;
    if (str_empty(name))
        return 0;
    for (size_t i = 0; i < p->n_boxes; i++)
        if (str_eq(p->boxes[i].name, name) && p->boxes[i].state == BOX_RUNNING)
            s->pids_of = pod_bundle(h, p, &p->boxes[i]);
    return s->pids_of ? 0 : err_set(err, ERR_PRECONDITION, "unable to find target container %s", name);
}

int pod_container_spec(const struct pod_host *h, const struct ctx *ctx, const struct pod *p, const struct box *b,
                       const struct image_info *image, struct container_spec *s, struct err *err)
{
    jval *c = pod_box_container(p, b), *spec = pod_spec(json_root(p->obj));
    if (!c)
        return err_set(err, ERR_PRECONDITION, "container %s is not in the pod", b->name);
    struct pod_facts facts = pod_facts(h, p);
    AUTOFREE char *dir = pod_dir(h, p), *mem = pod_mem_dir(h, p), *home = NULL;
    struct volumes_at at = {.kube = h->kube,
                            .runtime = h->runtime,
                            .ctx = ctx,
                            .facts = &facts,
                            .pod_dir = dir,
                            .mem_dir = mem,
                            .bundle = s->bundle,
                            .mem_fd = h->mem_fd};
    CLEANUP(strmap_free) struct strmap vars = STRMAP_INIT(free);
    STRLIST(skipped);
    s->hostname = pod_hostname(h, p);
    s->own_image = image->image != NULL;
    for (size_t i = 0; i < image->layers.n; i++)
        strlist_add(&s->layers, image->layers.v[i]);
    for (size_t i = 0; i < image->volumes.n; i++)
        strlist_add(&s->volumes, image->volumes.v[i]);
    s->sandbox = &p->sandbox;
    s->host_network = pod_spec_host_network(spec, false);
    s->host_pid = pod_spec_host_pid(spec, false);
    s->host_ipc = pod_spec_host_ipc(spec, false);
    if (pod_spec_share_process_namespace(spec, false))
        s->pid_path = fs_join(dir, "pidns");
    set_sysctls(p, s);
    s->tty = container_tty(c, false);
    s->stdin_open = container_stdin(c, false);
    s->stdin_once = container_stdin_once(c, false);
    if (check_served(p, c, b->init, err) < 0 || set_target(h, p, b, c, s, err) < 0 ||
        set_user(h, p, c, image, s, &home, err) < 0 || set_security(h, p, c, s, err) < 0 ||
        env_build(h->kube, ctx, &facts, c, image, s->hostname, home, &vars, &skipped, err) < 0 ||
        env_command(c, image, &vars, &s->args, err) < 0)
        return -1;
    for (size_t i = 0; i < skipped.n; i++)
        event_record_field(h->events, json_root(p->obj), &KUBE_PODS, NULL, "Warning", "InvalidEnvironmentVariableNames", "%s",
                           skipped.v[i]);
    for (struct strmap_entry *e = strmap_first(&vars); e; e = strmap_next(e))
        strlist_addf(&s->env, "%s=%s", e->key, (const char *)e->value);
    const char *cwd = container_working_dir(c);
    AUTOFREE char *expanded = str_empty(cwd) ? xstrdup(image->cwd ? image->cwd : "/") : env_expand(cwd, &vars);
    s->cwd = TAKE(expanded);
    set_resources(h, p, c, s);
    add_etc(h, p, s);
    if (h->agent_path)
        container_spec_mount(s, MOUNT_BIND, h->agent_path, AGENT, true);
    if (add_image_command(c, image, s, err) < 0)
        return -1;
    if (add_shm(h, p, s, err) < 0 || add_termination_log(c, s, err) < 0 || add_volumes(&at, c, &vars, s, err) < 0)
        return -1;
    qsort(s->mounts, s->n_mounts, sizeof *s->mounts, by_depth);
    return 0;
}
