/* podsec_restricted.c - the checks that the level restricted adds: what is good practice has to be said. */
#include "kube/rules/podsec_priv.h"

static const char *name_of(jval *container)
{
    return jv_str_or(jv_get(container, "name"), ""); /* fields: Container or EphemeralContainer */
}

/* ---- escalation and capabilities ------------------------------------------------------------------------------------------- */

bool podsec_escalation(const struct podsec_pod *p, const char **reason, struct buf *detail)
{
    STRLIST(bad);
    for (size_t i = 0; i < p->n && !p->windows; i++)
        if (security_context_allow_privilege_escalation(container_security_context(p->containers[i]), true))
            strlist_add(&bad, name_of(p->containers[i]));
    podsec_setters(detail, false, &bad);
    buf_adds(detail, " must set securityContext.allowPrivilegeEscalation=false");
    *reason = "allowPrivilegeEscalation != false";
    return !bad.n;
}

static bool drops_all(jval *capabilities)
{
    struct jiter it = jv_iter(capabilities_drop(capabilities));
    jval *v;
    while (jv_next(&it, NULL, &v))
        if (str_eq(jv_str(v), "ALL"))
            return true;
    return false;
}

static bool adds_more(jval *capabilities, struct strlist *values)
{
    bool bad = false;
    struct jiter it = jv_iter(capabilities_add(capabilities));
    jval *v;
    while (jv_next(&it, NULL, &v))
        if (!str_eq(jv_str(v), "NET_BIND_SERVICE")) {
            podsec_set_add(values, jv_str_or(v, ""));
            bad = true;
        }
    return bad;
}

bool podsec_drop_all(const struct podsec_pod *p, const char **reason, struct buf *detail)
{
    STRLIST(missing);
    STRLIST(adding);
    STRLIST(values);
    for (size_t i = 0; i < p->n && !p->windows; i++) {
        jval *c = security_context_capabilities(container_security_context(p->containers[i]));
        if (!drops_all(c))
            strlist_add(&missing, name_of(p->containers[i]));
        if (adds_more(c, &values))
            strlist_add(&adding, name_of(p->containers[i]));
    }
    if (missing.n) {
        podsec_setters(detail, false, &missing);
        buf_adds(detail, " must set securityContext.capabilities.drop=[\"ALL\"]");
    }
    if (adding.n) {
        strlist_sort(&values);
        buf_adds(detail, missing.n ? "; " : "");
        podsec_setters(detail, false, &adding);
        buf_adds(detail, " must not include ");
        podsec_quote(detail, &values);
        buf_adds(detail, " in securityContext.capabilities.add");
    }
    *reason = "unrestricted capabilities";
    return !missing.n && !adding.n;
}

/* ---- volumes ------------------------------------------------------------------------------------------------------------------
 */

/* The member of a volume that says its type; NULL when it is one that is allowed. */
static const char *restricted_type(jval *volume)
{
    static const char *const allowed[] = {
        "configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "image", "persistentVolumeClaim", "projected", "secret"};
    static const char *const known[] = {"hostPath",
                                        "gcePersistentDisk",
                                        "awsElasticBlockStore",
                                        "gitRepo",
                                        "nfs",
                                        "iscsi",
                                        "glusterfs",
                                        "rbd",
                                        "flexVolume",
                                        "cinder",
                                        "cephfs",
                                        "flocker",
                                        "fc",
                                        "azureFile",
                                        "vsphereVolume",
                                        "quobyte",
                                        "azureDisk",
                                        "photonPersistentDisk",
                                        "portworxVolume",
                                        "scaleIO",
                                        "storageos"};
    for (size_t i = 0; i < ARRAY_LEN(allowed); i++)
        if (jv_present(jv_get(volume, allowed[i])))
            return NULL;
    for (size_t i = 0; i < ARRAY_LEN(known); i++)
        if (jv_present(jv_get(volume, known[i])))
            return known[i];
    return "unknown";
}

bool podsec_volumes(const struct podsec_pod *p, const char **reason, struct buf *detail)
{
    STRLIST(bad);
    STRLIST(types);
    struct jiter it = jv_iter(pod_spec_volumes(p->spec));
    jval *v;
    while (jv_next(&it, NULL, &v)) {
        const char *type = restricted_type(v);
        if (!type)
            continue;
        strlist_add(&bad, volume_name(v));
        podsec_set_add(&types, type);
    }
    strlist_sort(&types);
    buf_addf(detail, "%s ", podsec_plural("volume", "volumes", bad.n));
    podsec_quote(detail, &bad);
    buf_addf(detail, " %s %s ", podsec_plural("uses", "use", bad.n),
             podsec_plural("restricted volume type", "restricted volume types", types.n));
    podsec_quote(detail, &types);
    *reason = "restricted volume types";
    return !bad.n;
}

/* ---- users
 * ---------------------------------------------------------------------------------------------------------------------- */

bool podsec_non_root(const struct podsec_pod *p, const char **reason, struct buf *detail)
{
    STRLIST(said);                                     /* containers that say false */
    STRLIST(missing);                                  /* that say nothing, nor does the pod */
    jval *of_pod = jv_get(p->context, "runAsNonRoot"); /* fields: absent and false are two things */
    bool pod_false = jv_present(of_pod) && !jv_bool(of_pod, false), pod_true = jv_bool(of_pod, false);
    for (size_t i = 0; i < p->n; i++) {
        jval *v = jv_get(container_security_context(p->containers[i]), "runAsNonRoot"); /* fields: as above */
        if (jv_present(v) ? !jv_bool(v, false) : !pod_true)
            strlist_add(jv_present(v) ? &said : &missing, name_of(p->containers[i]));
    }
    *reason = "runAsNonRoot != true";
    if (pod_false || said.n) {
        podsec_setters(detail, pod_false, &said);
        buf_adds(detail, " must not set securityContext.runAsNonRoot=false");
        return false;
    }
    buf_adds(detail, "pod or ");
    podsec_setters(detail, false, &missing);
    buf_adds(detail, " must set securityContext.runAsNonRoot=true");
    return !missing.n;
}

bool podsec_run_as_user(const struct podsec_pod *p, const char **reason, struct buf *detail)
{
    STRLIST(bad);
    bool pod = pod_security_context_run_as_user(p->context, 1) == 0;
    for (size_t i = 0; i < p->n; i++)
        if (security_context_run_as_user(container_security_context(p->containers[i]), 1) == 0)
            strlist_add(&bad, name_of(p->containers[i]));
    podsec_setters(detail, pod, &bad);
    buf_adds(detail, " must not set runAsUser=0");
    *reason = "runAsUser=0";
    return !pod && !bad.n;
}

/* ---- seccomp
 * --------------------------------------------------------------------------------------------------------------------- */

bool podsec_seccomp_set(const struct podsec_pod *p, const char **reason, struct buf *detail)
{
    if (p->windows)
        return true;
    STRLIST(missing);
    jval *of_pod = pod_security_context_seccomp_profile(p->context);
    bool pod_good = podsec_seccomp_good(seccomp_profile_type(of_pod));
    if (!podsec_seccomp(p, reason, detail)) /* what is set is bad */
        return false;
    for (size_t i = 0; i < p->n; i++)
        if (!pod_good && !jv_present(security_context_seccomp_profile(container_security_context(p->containers[i]))))
            strlist_add(&missing, name_of(p->containers[i]));
    buf_reset(detail);
    buf_adds(detail, "pod or ");
    podsec_setters(detail, false, &missing);
    buf_adds(detail, " must set securityContext.seccompProfile.type to \"RuntimeDefault\" or \"Localhost\"");
    return !missing.n;
}
