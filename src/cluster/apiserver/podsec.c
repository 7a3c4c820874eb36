/* podsec.c - Pod Security admission: what the labels of a namespace ask of the pods in it (kube/rules/podsec.h has the rules).
 *
 * enforce refuses pods; warn answers with a warning, for pods and for what makes pods of a template; audit is told to the log. A
 * stricter enforce label warns of the pods that are there already and would not be let in again. */
#include <stdlib.h>

#include "cluster/apiserver/internal.h"
#include "kube/fields.h"
#include "kube/rules/podsec.h"

#define LOG_ROOM "apiserver"
#include "base/log.h"

#define MAX_PODS_CHECKED 3000 /* when a namespace's level changes */

/* ---- pods, and what makes them --------------------------------------------------------------------------------------------- */

static bool policy_of(struct op *op, struct podsec_policy *out)
{
    OBJ_REF(ns) = store_get(op->a->namespaces, op->ns ? op->ns : "");
    if (!ns)
        return false;
    podsec_policy_of(obj_labels(obj_root(ns)), out, NULL);
    return out->enforce.level || out->audit.level || out->warn.level;
}

static int evaluate(struct op *op, const struct podsec_policy *p, bool enforce, const char *name, jval *meta, jval *spec,
                    struct err *err)
{
    BUF(rule);
    BUF(text);
    if (enforce && !podsec_check(&p->enforce, meta, spec, NULL, &text)) {
        podsec_rule_text(&p->enforce, &rule);
        return fail_forbidden(err, op->res, name, "violates PodSecurity \"%s\": %s", buf_str(&rule), buf_str(&text));
    }
    if (!podsec_check(&p->audit, meta, spec, NULL, &text)) {
        podsec_rule_text(&p->audit, &rule);
        log_info("audit: %s \"%s\" in namespace %s by %s would violate PodSecurity \"%s\": %s", op->res->full, name, op->ns,
                 op->who->user, buf_str(&rule), buf_str(&text));
    }
    buf_reset(&rule);
    buf_reset(&text);
    if (!podsec_check(&p->warn, meta, spec, NULL, &text)) {
        podsec_rule_text(&p->warn, &rule);
        op_warn(op, "would violate PodSecurity \"%s\": %s", buf_str(&rule), buf_str(&text));
    }
    return 0;
}

static bool images_differ(jval *a, jval *b)
{
    if (jv_len(a) != jv_len(b))
        return true;
    for (size_t i = 0; i < jv_len(a); i++)
        if (!str_eq(container_image(jv_at(a, i)), container_image(jv_at(b, i))))
            return true;
    return false;
}

/* Of what may change in a pod only its containers and their images matter. */
static bool significant(jval *old, jval *now)
{
    return images_differ(pod_spec_containers(old), pod_spec_containers(now)) ||
           images_differ(pod_spec_init_containers(old), pod_spec_init_containers(now)) ||
           images_differ(pod_spec_ephemeral_containers(old), pod_spec_ephemeral_containers(now));
}

static int admit_pod(struct op *op, jval *old, jval *now, struct err *err)
{
    struct podsec_policy p;
    bool ignored = str_eq(op->sub, "status") || str_eq(op->sub, "binding") || str_eq(op->sub, "eviction");
    if (ignored || !policy_of(op, &p) || (old && !significant(pod_spec(old), pod_spec(now))))
        return 0;
    return evaluate(op, &p, true, obj_name(now), obj_meta(now), pod_spec(now), err);
}

/* The template that a kind makes pods of; NULL for other kinds. */
static jval *template_of(const struct op *op, jval *obj)
{
    const struct kube_res *k = res_of(op->res);
    if (op->res->cv)
        return NULL;
    if (strcmp(k->kind, "CronJob") == 0)
        return job_spec_template(job_template_spec_spec(cron_job_spec_job_template(cron_job_spec(obj))));
    static const char *const kinds[] = {"Deployment", "ReplicaSet", "StatefulSet", "DaemonSet", "Job", "ReplicationController"};
    for (size_t i = 0; i < ARRAY_LEN(kinds); i++)
        if (strcmp(k->kind, kinds[i]) == 0)
            return deployment_spec_template(deployment_spec(obj)); /* at one place in all of them */
    return NULL;
}

static int admit_template(struct op *op, jval *now, struct err *err)
{
    struct podsec_policy p;
    jval *t = op->sub ? NULL : template_of(op, now);
    if (!t || !policy_of(op, &p))
        return 0;
    return evaluate(op, &p, false, obj_name(now), pod_template_spec_metadata(t), pod_template_spec_spec(t), err);
}

/* ---- namespaces --------------------------------------------------------------------------------------------------------------
 */

/* How many pods have one and the same list of reasons, and the first of their names. */
struct finding {
    char *reasons;
    const char *pod;
    size_t n;
};

static void note(struct finding *f, size_t *n, char *reasons, const char *pod)
{
    for (size_t i = 0; i < *n; i++)
        if (strcmp(f[i].reasons, reasons) == 0) {
            free(reasons);
            f[i].n++;
            if (strcmp(pod, f[i].pod) < 0)
                f[i].pod = pod;
            return;
        }
    f[(*n)++] = (struct finding){reasons, pod, 1};
}

static void warn_findings(struct op *op, struct finding *f, size_t n, const char *ns, const struct podsec_rule *r)
{
    STRLIST(lines);
    for (size_t i = 0; i < n; i++) {
        if (f[i].n == 1)
            strlist_addf(&lines, "%s: %s", f[i].pod, f[i].reasons);
        else
            strlist_addf(&lines, "%s (and %zu other pod%s): %s", f[i].pod, f[i].n - 1, f[i].n == 2 ? "" : "s", f[i].reasons);
        free(f[i].reasons);
    }
    BUF(rule);
    podsec_rule_text(r, &rule);
    if (n)
        op_warn(op, "existing pods in namespace \"%s\" violate the new PodSecurity enforce level \"%s\"", ns, buf_str(&rule));
    strlist_sort(&lines);
    for (size_t i = 0; i < lines.n; i++)
        op_warn(op, "%s", lines.v[i]);
}

static void warn_existing(struct op *op, const char *ns, const struct podsec_rule *r)
{
    struct store_list l;
    if (store_list(op->a->pods, &(struct store_query){.ns = ns}, &l, NULL) < 0)
        return;
    size_t n = 0, checked = l.n < MAX_PODS_CHECKED ? l.n : MAX_PODS_CHECKED;
    AUTOFREE struct finding *f = xcalloc(checked + 1, sizeof(*f));
    for (size_t i = 0; i < checked; i++) {
        BUF(reasons);
        jval *pod = obj_root(l.v[i]);
        if (!podsec_check(r, obj_meta(pod), pod_spec(pod), &reasons, NULL))
            note(f, &n, buf_steal(&reasons, NULL), obj_name(pod));
    }
    if (checked < l.n)
        op_warn(op, "new PodSecurity enforce level only checked against the first %zu of %zu existing pods", checked, l.n);
    warn_findings(op, f, n, ns, r);
    store_list_free(&l);
}

static int admit_labels(struct op *op, jval *old, jval *now, struct err *err)
{
    struct podsec_policy p, was;
    FAULTS(f);
    FAULTS(old_faults);
    podsec_policy_of(obj_labels(now), &p, &f);
    podsec_policy_of(old ? obj_labels(old) : NULL, &was, &old_faults);
    AUTOFREE char *texts = strlist_join(&f.texts, "\n"), *old_texts = strlist_join(&old_faults.texts, "\n");
    if (faults_any(&f) && strcmp(texts, old_texts) != 0) /* labels that were bad before do not lock the namespace */
        return faults_done(&f, "", res_of(op->res)->kind, obj_name(now), err);
    bool relaxed = p.enforce.minor == was.enforce.minor && p.enforce.level <= was.enforce.level;
    if (old && p.enforce.level != PODSEC_PRIVILEGED && !relaxed)
        warn_existing(op, obj_name(now), &p.enforce);
    return 0;
}

/* ---- door --------------------------------------------------------------------------------------------------------------------
 */

int admit_pod_security(struct op *op, jval *old, jval *now, struct err *err)
{
    if (op->res->coll == op->a->pods)
        return admit_pod(op, old, now, err);
    if (op->res->coll == op->a->namespaces)
        return op->sub ? 0 : admit_labels(op, old, now, err);
    return admit_template(op, now, err);
}
