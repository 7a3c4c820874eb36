#include "cluster/node/runtime/oci.h"

#include <fcntl.h>
#include <linux/capability.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fs.h"
#include "cluster/node/runtime/imageroot.h"

enum { CPU_PERIOD_US = 100000, NOFILE_SOFT = 65536, NOFILE_HARD = 1048576 };

/* By number, as in linux/capability.h. */
static const char *const capability_names[] = {"CHOWN",
                                               "DAC_OVERRIDE",
                                               "DAC_READ_SEARCH",
                                               "FOWNER",
                                               "FSETID",
                                               "KILL",
                                               "SETGID",
                                               "SETUID",
                                               "SETPCAP",
                                               "LINUX_IMMUTABLE",
                                               "NET_BIND_SERVICE",
                                               "NET_BROADCAST",
                                               "NET_ADMIN",
                                               "NET_RAW",
                                               "IPC_LOCK",
                                               "IPC_OWNER",
                                               "SYS_MODULE",
                                               "SYS_RAWIO",
                                               "SYS_CHROOT",
                                               "SYS_PTRACE",
                                               "SYS_PACCT",
                                               "SYS_ADMIN",
                                               "SYS_BOOT",
                                               "SYS_NICE",
                                               "SYS_RESOURCE",
                                               "SYS_TIME",
                                               "SYS_TTY_CONFIG",
                                               "MKNOD",
                                               "LEASE",
                                               "AUDIT_WRITE",
                                               "AUDIT_CONTROL",
                                               "SETFCAP",
                                               "MAC_OVERRIDE",
                                               "MAC_ADMIN",
                                               "SYSLOG",
                                               "WAKE_ALARM",
                                               "BLOCK_SUSPEND",
                                               "AUDIT_READ",
                                               "PERFMON",
                                               "BPF",
                                               "CHECKPOINT_RESTORE"};
static const char *const default_capabilities[] = {"CHOWN",  "DAC_OVERRIDE", "FOWNER",  "FSETID",           "KILL",
                                                   "SETGID", "SETUID",       "SETPCAP", "NET_BIND_SERVICE", "SYS_CHROOT"};

static bool in_list(const char *const *list, size_t n, const char *name)
{
    for (size_t i = 0; i < n; i++) {
        const char *given = str_starts(list[i], "CAP_") ? list[i] + 4 : list[i];
        if (strcasecmp(given, name) == 0 || strcasecmp(given, "ALL") == 0)
            return true;
    }
    return false;
}

static bool named(const char *const *list, size_t n, const char *name)
{
    for (size_t i = 0; i < n; i++)
        if (strcasecmp(str_starts(list[i], "CAP_") ? list[i] + 4 : list[i], name) == 0)
            return true;
    return false;
}

/* An added capability wins over drop ALL, a dropped one by name over add ALL. */
void oci_capabilities(const char *const *add, size_t n_add, const char *const *drop, size_t n_drop, bool all, struct strlist *out)
{
    for (size_t i = 0; i < ARRAY_LEN(capability_names); i++) {
        const char *c = capability_names[i];
        bool have = all || named(default_capabilities, ARRAY_LEN(default_capabilities), c);
        if (!all && in_list(drop, n_drop, c))
            have = false;
        if (in_list(add, n_add, c) && !named(drop, n_drop, c))
            have = true;
        if (have)
            strlist_addf(out, "CAP_%s", c);
    }
}

/* ---- seccomp -------------------------------------------------------------------------------------------------------- */

static bool array_has(jval *arr, const char *s)
{
    for (size_t i = 0; i < jv_len(arr); i++)
        if (str_eq(jv_str(jv_at(arr, i)), s))
            return true;
    return false;
}

static bool any_cap(jval *caps, const struct strlist *have)
{
    for (size_t i = 0; i < jv_len(caps); i++)
        if (strlist_has(have, jv_str_or(jv_at(caps, i), "")))
            return true;
    return false;
}

#if defined(__x86_64__)
#define SECCOMP_ARCH "amd64"
#define SECCOMP_NAME "SCMP_ARCH_X86_64"
#elif defined(__aarch64__)
#define SECCOMP_ARCH "arm64"
#define SECCOMP_NAME "SCMP_ARCH_AARCH64"
#else
#define SECCOMP_ARCH ""
#define SECCOMP_NAME ""
#endif

/* Rules say for which architectures and capabilities they are (includes) or are not (excludes). */
static bool rule_applies(jval *rule, const struct strlist *caps)
{
    jval *in = jv_get(rule, "includes"), *ex = jv_get(rule, "excludes");
    if (jv_len(jv_get(in, "arches")) && !array_has(jv_get(in, "arches"), SECCOMP_ARCH))
        return false;
    if (jv_len(jv_get(in, "caps")) && !any_cap(jv_get(in, "caps"), caps))
        return false;
    return !array_has(jv_get(ex, "arches"), SECCOMP_ARCH) && !any_cap(jv_get(ex, "caps"), caps);
}

jmval *oci_seccomp(struct jm *m, jval *profile, const struct strlist *caps)
{
    static const char *const copied[] = {"names", "action", "args", "errnoRet"};
    jmval *out = jm_obj(m), *arches = jm_arr(m), *rules = jm_arr(m);
    jm_put(m, out, "defaultAction", jm_val(m, jv_get(profile, "defaultAction")));
    if (jv_present(jv_get(profile, "defaultErrnoRet")))
        jm_put(m, out, "defaultErrnoRet", jm_val(m, jv_get(profile, "defaultErrnoRet")));
    jval *map = jv_get(profile, "archMap");
    for (size_t i = 0; i < jv_len(map); i++) {
        jval *a = jv_at(map, i), *sub = jv_get(a, "subArchitectures");
        if (!str_eq(jv_str(jv_get(a, "architecture")), SECCOMP_NAME))
            continue;
        jm_push(arches, jm_str(m, SECCOMP_NAME));
        for (size_t j = 0; j < jv_len(sub); j++)
            jm_push(arches, jm_val(m, jv_at(sub, j)));
    }
    jm_put(m, out, "architectures", arches);
    jval *from = jv_get(profile, "syscalls");
    for (size_t i = 0; i < jv_len(from); i++) {
        jval *rule = jv_at(from, i);
        if (!rule_applies(rule, caps))
            continue;
        jmval *to = jm_obj(m);
        for (size_t k = 0; k < ARRAY_LEN(copied); k++) {
            jval *v = jv_get(rule, copied[k]);
            if (jv_present(v) && !(str_eq(copied[k], "args") && jv_len(v) == 0))
                jm_put(m, to, copied[k], jm_val(m, v));
        }
        jm_push(rules, to);
    }
    jm_put(m, out, "syscalls", rules);
    return out;
}

/* ---- config.json ------------------------------------------------------------------------------------------------------ */

static jmval *strings(struct jm *m, const char *const *v, size_t n)
{
    jmval *arr = jm_arr(m);
    for (size_t i = 0; i < n; i++)
        jm_push(arr, jm_str(m, v[i]));
    return arr;
}

static void add_mount(struct jm *m, jmval *arr, const char *dest, const char *type, const char *source, const char *options)
{
    jmval *mount = jm_obj(m), *o = jm_arr(m);
    STRLIST(list);
    str_split(options, ' ', &list);
    for (size_t i = 0; i < list.n; i++)
        jm_push(o, jm_str(m, list.v[i]));
    jm_put(m, mount, "destination", jm_str(m, dest));
    jm_put(m, mount, "type", jm_str(m, type));
    jm_put(m, mount, "source", jm_str(m, source));
    jm_put(m, mount, "options", o);
    jm_push(arr, mount);
}

static void kernel_mounts(const struct oci_machine *machine, const struct container_spec *spec, struct jm *m, jmval *arr)
{
    add_mount(m, arr, "/proc", "proc", "proc", "nosuid noexec nodev");
    if (spec->privileged) {
        add_mount(m, arr, "/dev", "bind", "/dev", "rbind rw");
        add_mount(m, arr, "/sys", "bind", "/sys", "rbind rw");
        return;
    }
    add_mount(m, arr, "/dev", "tmpfs", "tmpfs", "nosuid strictatime mode=755 size=65536k");
    add_mount(m, arr, "/dev/pts", "devpts", "devpts", "nosuid noexec newinstance ptmxmode=0666 mode=0620 gid=5");
    add_mount(m, arr, "/dev/mqueue", "mqueue", "mqueue", "nosuid noexec nodev");
    add_mount(m, arr, "/sys", "sysfs", "sysfs", "nosuid noexec nodev ro");
    if (machine->cgroup.mode != CGROUP_NONE)
        add_mount(m, arr, "/sys/fs/cgroup", "cgroup", "cgroup", "nosuid noexec nodev relatime ro");
}

/* Volumes of the image need a mount only where the root is not written. */
static void image_volumes(const struct container_spec *spec, struct jm *m, jmval *arr)
{
    for (size_t i = 0; spec->readonly_root && i < spec->volumes.n; i++) {
        AUTOFREE char *source = imageroot_volume(spec, i);
        if (!imageroot_volume_is_taken(spec, spec->volumes.v[i]))
            add_mount(m, arr, spec->volumes.v[i], "bind", source, "rbind rw rprivate");
    }
}

static jmval *mounts(const struct oci_machine *machine, const struct container_spec *spec, struct jm *m, struct err *err)
{
    jmval *arr = jm_arr(m);
    if (!spec->own_image && hostroot_make(machine->root, machine->stock, spec, m, arr, err) < 0)
        return NULL;
    kernel_mounts(machine, spec, m, arr);
    image_volumes(spec, m, arr);
    for (size_t i = 0; i < spec->n_mounts; i++) {
        const struct container_mount *c = &spec->mounts[i];
        if (c->kind == MOUNT_BIND) {
            AUTOFREE char *options =
                xasprintf("rbind %s%s %s%s", c->readonly ? "ro" : "rw", c->readonly && c->readonly_below ? " rro" : "",
                          c->follows ? "rslave" : "rprivate", c->noexec ? " noexec nosuid nodev" : "");
            add_mount(m, arr, c->target, "bind", c->source, options);
        } else {
            AUTOFREE char *options = xasprintf("nosuid nodev %s%s", c->source, c->readonly ? " ro" : "");
            add_mount(m, arr, c->target, "tmpfs", "tmpfs", options);
        }
    }
    return arr;
}

void oci_limits(struct oci_machine *machine)
{
    struct rlimit own;
    BUF(status);
    BUF(score);
    machine->nofile_hard = NOFILE_HARD;
    machine->oom_score_min = -1000;
    const char *caps = fs_read("/proc/self/status", 65536, &status, NULL) == 0 ? strstr(buf_str(&status), "CapEff:") : NULL;
    machine->capabilities = caps ? strtoull(caps + 7, NULL, 16) : ~0ULL;
    machine->no_device_rules = machine->cgroup.mode == CGROUP_NONE;
    if (machine->capabilities & 1ULL << CAP_SYS_RESOURCE)
        return;
    /* In v2 crun enforces them by a program in the kernel, for which it raises a limit: it fails where it may not. */
    if (machine->cgroup.mode == CGROUP_V2 && getrlimit(RLIMIT_MEMLOCK, &own) == 0 && own.rlim_max != RLIM_INFINITY)
        machine->no_device_rules = true;
    if (getrlimit(RLIMIT_NOFILE, &own) == 0 && own.rlim_max < NOFILE_HARD)
        machine->nofile_hard = (int64_t)own.rlim_max;
    if (fs_read("/proc/self/oom_score_adj", 32, &score, NULL) == 0)
        machine->oom_score_min = atoi(buf_str(&score));
}

/* Those of the container that this process has itself. */
static jmval *given_capabilities(const struct oci_machine *machine, const struct container_spec *spec, struct jm *m)
{
    jmval *arr = jm_arr(m);
    for (size_t i = 0; i < ARRAY_LEN(capability_names); i++) {
        AUTOFREE char *name = xasprintf("CAP_%s", capability_names[i]);
        if (machine->no_device_rules && i == CAP_MKNOD && !spec->privileged)
            continue;
        if (machine->capabilities & 1ULL << i && strlist_has(&spec->caps, name))
            jm_push(arr, jm_str(m, name));
    }
    return arr;
}

static jmval *process(const struct oci_machine *machine, const struct container_spec *spec, struct jm *m)
{
    static const char *const sets[] = {"bounding", "effective", "permitted"};
    jmval *p = jm_obj(m), *user = jm_obj(m), *groups = jm_arr(m), *caps = jm_obj(m), *limits = jm_arr(m), *nofile = jm_obj(m);
    jm_put(m, p, "terminal", jm_bool(m, spec->tty));
    jm_put(m, user, "uid", jm_i64(m, spec->uid));
    jm_put(m, user, "gid", jm_i64(m, spec->gid));
    for (size_t i = 0; i < spec->groups.n; i++)
        jm_push(groups, jm_num(m, spec->groups.v[i]));
    jm_put(m, user, "additionalGids", groups);
    jm_put(m, p, "user", user);
    jm_put(m, p, "args", strings(m, (const char *const *)spec->args.v, spec->args.n));
    jm_put(m, p, "env", strings(m, (const char *const *)spec->env.v, spec->env.n));
    jm_put(m, p, "cwd", jm_str(m, spec->cwd));
    for (size_t i = 0; i < ARRAY_LEN(sets); i++)
        jm_put(m, caps, sets[i], given_capabilities(machine, spec, m));
    jm_put(m, p, "capabilities", caps);
    jm_put(m, nofile, "type", jm_str(m, "RLIMIT_NOFILE"));
    jm_put(m, nofile, "hard", jm_i64(m, machine->nofile_hard));
    jm_put(m, nofile, "soft", jm_i64(m, machine->nofile_hard < NOFILE_SOFT ? machine->nofile_hard : NOFILE_SOFT));
    jm_push(limits, nofile);
    jm_put(m, p, "rlimits", limits);
    if (spec->apparmor)
        jm_put(m, p, "apparmorProfile", jm_str(m, spec->apparmor));
    jm_put(m, p, "noNewPrivileges", jm_bool(m, spec->no_new_privs));
    jm_put(m, p, "oomScoreAdj",
           jm_i64(m, spec->oom_score_adj < machine->oom_score_min ? machine->oom_score_min : spec->oom_score_adj));
    return p;
}

static jmval *devices(struct jm *m, bool all)
{
    static const struct {
        int major, minor; /* -1: any */
        const char *type, *access;
    } allowed[] = {{1, 3, "c", "rwm"}, {1, 5, "c", "rwm"}, {1, 7, "c", "rwm"}, {1, 8, "c", "rwm"},   {1, 9, "c", "rwm"},
                   {5, 0, "c", "rwm"}, {5, 1, "c", "rwm"}, {5, 2, "c", "rwm"}, {136, -1, "c", "rwm"}};
    jmval *arr = jm_arr(m), *deny = jm_obj(m);
    jm_put(m, deny, "allow", jm_bool(m, all));
    jm_put(m, deny, "access", jm_str(m, "rwm"));
    jm_push(arr, deny);
    for (size_t i = 0; !all && i < ARRAY_LEN(allowed); i++) {
        jmval *d = jm_obj(m);
        jm_put(m, d, "allow", jm_bool(m, true));
        jm_put(m, d, "type", jm_str(m, allowed[i].type));
        jm_put(m, d, "major", jm_i64(m, allowed[i].major));
        if (allowed[i].minor >= 0)
            jm_put(m, d, "minor", jm_i64(m, allowed[i].minor));
        jm_put(m, d, "access", jm_str(m, allowed[i].access));
        jm_push(arr, d);
    }
    return arr;
}

static jmval *resources(const struct oci_machine *machine, const struct container_spec *spec, struct jm *m)
{
    jmval *r = jm_obj(m);
    if (!machine->no_device_rules)
        jm_put(m, r, "devices", devices(m, spec->privileged));
    unsigned have = machine->cgroup.controllers;
    if (spec->memory_limit > 0 && have & CGROUP_MEMORY) {
        jmval *mem = jm_obj_at(m, r, "memory");
        jm_put(m, mem, "limit", jm_i64(m, spec->memory_limit));
        if (machine->cgroup.swap_limit)
            jm_put(m, mem, "swap", jm_i64(m, spec->memory_limit));
        if (machine->cgroup.mode == CGROUP_V2)
            jm_put(m, jm_obj_at(m, r, "unified"), "memory.oom.group", jm_str(m, "1"));
    }
    if (spec->cpu_shares > 0 && have & CGROUP_CPU)
        jm_put(m, jm_obj_at(m, r, "cpu"), "shares", jm_i64(m, spec->cpu_shares));
    if (spec->cpu_quota_us > 0 && have & CGROUP_CPU) {
        jmval *cpu = jm_obj_at(m, r, "cpu");
        jm_put(m, cpu, "quota", jm_i64(m, spec->cpu_quota_us));
        jm_put(m, cpu, "period", jm_i64(m, CPU_PERIOD_US));
    }
    if (spec->pids_limit > 0 && have & CGROUP_PIDS)
        jm_put(m, jm_obj_at(m, r, "pids"), "limit", jm_i64(m, spec->pids_limit));
    return r;
}

static void add_namespace(struct jm *m, jmval *arr, const char *type, const char *path)
{
    jmval *n = jm_obj(m);
    jm_put(m, n, "type", jm_str(m, type));
    if (path)
        jm_put(m, n, "path", jm_str(m, path));
    jm_push(arr, n);
}

/* The rules, and for a crun that takes it the program made of them, which wins (seccomp_program.h). */
static void add_seccomp(const struct oci_machine *machine, const struct strlist *caps, struct jm *m, jmval *root, jmval *linux_)
{
    JM_NEW(own);
    JSON_REF(rules) = jm_freeze_val(oci_seccomp(own, json_root(machine->seccomp), caps));
    const char *program = machine->compiled ? seccomp_cache_get(machine->compiled, json_root(rules)) : NULL;
    jm_put(m, linux_, "seccomp", jm_val(m, json_root(rules)));
    if (program)
        jm_put(m, jm_obj_at(m, root, "annotations"), "run.oci.seccomp_bpf_data", jm_str(m, program)); /* fields: any kind */
}

void oci_seccomp_ahead(const struct oci_machine *machine)
{
    STRLIST(caps);
    JM_NEW(m);
    if (!machine->seccomp || !machine->compiled)
        return;
    oci_capabilities(NULL, 0, NULL, 0, false, &caps);
    JSON_REF(rules) = jm_freeze_val(oci_seccomp(m, json_root(machine->seccomp), &caps));
    seccomp_cache_get(machine->compiled, json_root(rules));
}

static jmval *linux_part(const struct oci_machine *machine, const struct container_spec *spec, struct jm *m, jmval *root)
{
    static const char *const masked[] = {"/proc/acpi",
                                         "/proc/asound",
                                         "/proc/kcore",
                                         "/proc/keys",
                                         "/proc/latency_stats",
                                         "/proc/timer_list",
                                         "/proc/timer_stats",
                                         "/proc/sched_debug",
                                         "/proc/scsi",
                                         "/sys/firmware",
                                         "/sys/devices/virtual/powercap"};
    static const char *const readonly[] = {"/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"};
    jmval *l = jm_obj(m), *ns = jm_arr(m);
    if (!spec->host_pid)
        add_namespace(m, ns, "pid", spec->pid_path);
    add_namespace(m, ns, "mount", NULL);
    add_namespace(m, ns, "uts", NULL);
    if (!spec->host_ipc)
        add_namespace(m, ns, "ipc", spec->sandbox->ipc_path);
    if (!spec->host_network)
        add_namespace(m, ns, "network", spec->sandbox->net_path);
    if (machine->cgroup.mode == CGROUP_V2)
        add_namespace(m, ns, "cgroup", NULL);
    jm_put(m, l, "namespaces", ns);
    if (machine->cgroup.mode != CGROUP_NONE) {
        jm_put(m, l, "cgroupsPath", jm_strf(m, "/%s/%s", machine->cgroup_parent, spec->id));
        jm_put(m, l, "resources", resources(machine, spec, m));
    }
    for (size_t i = 0; i < spec->sysctls.n; i++) {
        const char *equals = strchr(spec->sysctls.v[i], '=');
        AUTOFREE char *name = xstrndup(spec->sysctls.v[i], (size_t)(equals - spec->sysctls.v[i]));
        jm_put(m, jm_obj_at(m, l, "sysctl"), name, jm_str(m, equals + 1)); /* fields: any kind */
    }
    if (!spec->privileged && spec->seccomp) {
        JSON_REF(profile) = json_parse_str(spec->seccomp, NULL);
        if (profile)
            jm_put(m, l, "seccomp", jm_val(m, json_root(profile)));
    }
    if (!spec->privileged && !spec->proc_unmasked) {
        jm_put(m, l, "maskedPaths", strings(m, masked, ARRAY_LEN(masked)));
        jm_put(m, l, "readonlyPaths", strings(m, readonly, ARRAY_LEN(readonly)));
    }
    if (!spec->privileged && !spec->seccomp && spec->seccomp_default && machine->seccomp)
        add_seccomp(machine, &spec->caps, m, root, l);
    return l;
}

int oci_write(const struct oci_machine *machine, const struct container_spec *spec, struct err *err)
{
    JM_NEW(m);
    jmval *root = jm_obj(m), *rootfs = jm_obj(m);
    jm_set_root(m, root);
    jm_put(m, root, "ociVersion", jm_str(m, "1.0.2"));
    jm_put(m, root, "process", process(machine, spec, m));
    jm_put(m, rootfs, "path", jm_str(m, "rootfs"));
    jm_put(m, rootfs, "readonly", jm_bool(m, spec->readonly_root));
    jm_put(m, root, "root", rootfs);
    jm_put(m, root, "hostname", jm_str(m, spec->hostname));
    jmval *all = mounts(machine, spec, m, err);
    if (!all)
        return -1;
    jm_put(m, root, "mounts", all);
    jm_put(m, root, "linux", linux_part(machine, spec, m, root));
    BUF(text);
    jmv_write(root, JW_COMPACT, &text);
    AUTOFREE char *path = fs_join(spec->bundle, "config.json");
    AUTOCLOSE int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0)
        return err_errno(err, "creating %s", path);
    return fs_write(fd, text.data, text.len, err);
}
