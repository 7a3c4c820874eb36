/* options.c - what deletes and evictions are told, checked; and dryRun, which all writes have. */
#include "cluster/apiserver/internal.h"
#include "kube/fields.h"
#include "kube/rules/validate.h"

void dry_run_check(struct faults *f, const char *const *values, size_t n)
{
    static const char *const all[] = {"All", NULL};
    for (size_t i = 0; i < n; i++) {
        if (strcmp(values[i], "All") == 0)
            continue;
        BUF(list);
        buf_addc(&list, '[');
        for (size_t k = 0; k < n; k++) {
            if (k)
                buf_addc(&list, ',');
            json_quote(&list, values[k], strlen(values[k]));
        }
        buf_addc(&list, ']');
        BUF(text);
        buf_addf(&text, "Unsupported value: %s: supported values: \"%s\"", buf_str(&list), all[0]);
        fault_add(f, "FieldValueNotSupported", "dryRun", buf_str(&text));
        return;
    }
}

void delete_words_of(jval *b, struct delete_words *w, struct kube_opts *o, int64_t *grace)
{
    w->policy = delete_options_propagation_policy(b);
    jval *orphan = jv_get(b, "orphanDependents");
    w->orphan_given = jv_is(orphan, J_BOOL);
    w->orphan = jv_bool(orphan, false);
    jval *list = delete_options_dry_run(b);
    for (size_t i = 0; i < jv_len(list) && i < ARRAY_LEN(w->dry_run); i++)
        if (jv_str(jv_at(list, i)))
            w->dry_run[w->n_dry_run++] = jv_str(jv_at(list, i));
    jval *seconds = jv_get(b, "gracePeriodSeconds");
    if (jv_i64(seconds, grace))
        o->grace_seconds = grace;
    jval *pre = delete_options_preconditions(b);
    o->precondition_uid = preconditions_uid(pre);
    o->precondition_rv = preconditions_resource_version(pre);
}

int delete_words_use(struct op *op, const struct delete_words *w, struct kube_opts *o, struct err *err)
{
    static const char *const policies[] = {"Foreground", "Background", "Orphan", "nil", NULL};
    static const enum kube_propagation values[] = {KUBE_FOREGROUND, KUBE_BACKGROUND, KUBE_ORPHAN};
    FAULTS(f);
    int found = -1;
    for (int i = 0; i < 3; i++)
        if (str_eq(w->policy, policies[i]))
            found = i;
    if (w->policy && w->orphan_given)
        fault_invalid_str(&f, "propagationPolicy", w->policy, "orphanDependents and deletionPropagation cannot be both set");
    if (w->policy && found < 0)
        fault_unsupported(&f, "propagationPolicy", w->policy, policies);
    dry_run_check(&f, w->dry_run, w->n_dry_run);
    if (faults_done(&f, "meta.k8s.io", "DeleteOptions", "", err) < 0)
        return -1;
    o->dry_run = w->n_dry_run > 0;
    if (found >= 0)
        o->propagation = values[found];
    else if (w->orphan_given)
        o->propagation = w->orphan ? KUBE_ORPHAN : KUBE_BACKGROUND;
    op->orphan_refused = w->orphan_given && !w->orphan;
    return 0;
}
