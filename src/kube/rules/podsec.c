/* podsec.c - the levels, their checks in the order in which Kubernetes tells them, and the labels of namespaces. */
#include <limits.h>
#include <stdlib.h>

#include "kube/rules/podsec_priv.h"

#define PREFIX "pod-security.kubernetes.io/"

/* ---- checks --------------------------------------------------------------------------------------------------------------- */

static const struct check {
    podsec_fn *fn;
    enum podsec_level level;
    int since;          /* the first minor version that has it */
    int replaced_since; /* under restricted, a stricter check stands for it from this version on; 0: none does */
} checks[] = {
    {podsec_app_armor, PODSEC_BASELINE, 0, 0},       {podsec_capabilities, PODSEC_BASELINE, 0, 22},
    {podsec_host_namespaces, PODSEC_BASELINE, 0, 0}, {podsec_host_paths, PODSEC_BASELINE, 0, -1},
    {podsec_host_ports, PODSEC_BASELINE, 0, 0},      {podsec_probe_hosts, PODSEC_BASELINE, 34, 0},
    {podsec_privileged, PODSEC_BASELINE, 0, 0},      {podsec_proc_mount, PODSEC_BASELINE, 0, 0},
    {podsec_se_linux, PODSEC_BASELINE, 0, 0},        {podsec_seccomp, PODSEC_BASELINE, 0, 19},
    {podsec_sysctls, PODSEC_BASELINE, 0, 0},         {podsec_host_process, PODSEC_BASELINE, 0, 0},
    {podsec_escalation, PODSEC_RESTRICTED, 8, 0},    {podsec_drop_all, PODSEC_RESTRICTED, 22, 0},
    {podsec_volumes, PODSEC_RESTRICTED, 0, 0},       {podsec_non_root, PODSEC_RESTRICTED, 0, 0},
    {podsec_run_as_user, PODSEC_RESTRICTED, 23, 0},  {podsec_seccomp_set, PODSEC_RESTRICTED, 19, 0},
};

static bool applies(const struct check *c, const struct podsec_rule *r)
{
    if (c->level > r->level || r->minor < c->since)
        return false;
    return r->level != PODSEC_RESTRICTED || !c->replaced_since || r->minor < c->replaced_since;
}

static jval **all_containers(jval *spec, size_t *n)
{
    jval *const lists[] = {pod_spec_init_containers(spec), pod_spec_containers(spec), pod_spec_ephemeral_containers(spec)};
    *n = 0;
    jval **v = xcalloc(jv_len(lists[0]) + jv_len(lists[1]) + jv_len(lists[2]) + 1, sizeof(jval *));
    for (size_t i = 0; i < ARRAY_LEN(lists); i++) {
        struct jiter it = jv_iter(lists[i]);
        jval *c;
        while (jv_next(&it, NULL, &c))
            v[(*n)++] = c;
    }
    return v;
}

bool podsec_check(const struct podsec_rule *r, jval *metadata, jval *spec, struct buf *reasons, struct buf *details)
{
    bool good = true;
    if (r->level == PODSEC_PRIVILEGED)
        return true;
    struct podsec_pod p = {.annotations = object_meta_annotations(metadata),
                           .spec = spec,
                           .context = pod_spec_security_context(spec),
                           .minor = r->minor,
                           .windows = r->minor >= 25 && str_eq(pod_os_name(pod_spec_os(spec)), "windows")};
    AUTOFREE jval **containers = p.containers = all_containers(spec, &p.n);
    for (size_t i = 0; i < ARRAY_LEN(checks); i++) {
        const char *reason = "";
        BUF(detail);
        if (!applies(&checks[i], r) || checks[i].fn(&p, &reason, &detail))
            continue;
        if (reasons)
            buf_addf(reasons, "%s%s", good ? "" : ", ", reason);
        if (details)
            buf_addf(details, "%s%s (%s)", good ? "" : ", ", reason, buf_str(&detail));
        good = false;
    }
    return good;
}

/* ---- what the checks share ---------------------------------------------------------------------------------------------------
 */

const char *podsec_plural(const char *one, const char *many, size_t n) { return n == 1 ? one : many; }

void podsec_quote(struct buf *out, const struct strlist *items)
{
    for (size_t i = 0; i < items->n; i++)
        buf_addf(out, "%s\"%s\"", i ? ", " : "", items->v[i]);
}

void podsec_setters(struct buf *out, bool pod, const struct strlist *containers)
{
    if (pod)
        buf_adds(out, containers->n ? "pod and " : "pod");
    if (!containers->n)
        return;
    buf_addf(out, "%s ", podsec_plural("container", "containers", containers->n));
    podsec_quote(out, containers);
}

void podsec_set_add(struct strlist *l, const char *s)
{
    if (!strlist_has(l, s))
        strlist_add(l, s);
}

/* ---- labels ------------------------------------------------------------------------------------------------------------------
 */

static const char *const level_names[] = {"privileged", "baseline", "restricted"};

static void label_fault(struct faults *f, const char *label, const char *value, const char *text)
{
    if (!f)
        return;
    size_t at = fault_push(f, "metadata"), labels = fault_push(f, "labels"), key = fault_push_key(f, label);
    fault_invalid_str(f, NULL, value, "%s", text);
    fault_pop(f, key);
    fault_pop(f, labels);
    fault_pop(f, at);
}

static bool parse_level(const char *text, enum podsec_level *out)
{
    for (size_t i = 0; i < ARRAY_LEN(level_names); i++)
        if (strcmp(text, level_names[i]) == 0) {
            *out = (enum podsec_level)i;
            return true;
        }
    return false;
}

/* "latest" or "v1.x", x without leading zeros. */
static bool parse_version(const char *text, int *minor)
{
    int64_t n;
    *minor = PODSEC_LATEST;
    if (strcmp(text, "latest") == 0)
        return true;
    if (!str_starts(text, "v1.") || strspn(text + 3, "0123456789") != strlen(text + 3) || (text[3] == '0' && text[4]) ||
        !str_to_i64(text + 3, &n) || n >= PODSEC_LATEST)
        return false;
    *minor = (int)n;
    return true;
}

/* One mode's two labels. Returns whether a level was said, and well. */
static bool read_mode(jval *labels, const char *mode, enum podsec_level when_bad, struct podsec_rule *r, bool *versioned,
                      struct faults *f)
{
    AUTOFREE char *level_label = xasprintf(PREFIX "%s", mode), *version_label = xasprintf(PREFIX "%s-version", mode);
    const char *level = jv_str(jv_get(labels, level_label)), *version = jv_str(jv_get(labels, version_label));
    *r = (struct podsec_rule){PODSEC_PRIVILEGED, PODSEC_LATEST};
    *versioned = version != NULL;
    bool good = level && parse_level(level, &r->level);
    if (level && !good) {
        r->level = when_bad;
        label_fault(f, level_label, level, "must be one of privileged, baseline, restricted");
    }
    if (version && !parse_version(version, &r->minor))
        label_fault(f, version_label, version, "must be \"latest\" or \"v1.x\"");
    return good;
}

void podsec_policy_of(jval *labels, struct podsec_policy *out, struct faults *f)
{
    bool versioned;
    bool enforces = read_mode(labels, "enforce", PODSEC_RESTRICTED, &out->enforce, &versioned, f);
    read_mode(labels, "audit", PODSEC_PRIVILEGED, &out->audit, &versioned, f);
    read_mode(labels, "warn", PODSEC_PRIVILEGED, &out->warn, &versioned, f);
    if (enforces && !jv_get(labels, PREFIX "warn") && out->enforce.level > out->warn.level) {
        out->warn.level = out->enforce.level;
        if (!versioned)
            out->warn.minor = out->enforce.minor;
    }
}

void podsec_rule_text(const struct podsec_rule *r, struct buf *out)
{
    buf_addf(out, "%s:", level_names[r->level]);
    if (r->minor == PODSEC_LATEST)
        buf_adds(out, "latest");
    else
        buf_addf(out, "v1.%d", r->minor);
}
