/* escalate.c - nobody grants more than they hold; aggregated cluster roles. */
#include <stdlib.h>

#include "cluster/apiserver/internal.h"
#include "kube/fields.h"

static bool holds(struct op *op, const struct attrs *at) { return rbac_allows(op->a->rbac, op->who, at, NULL); }

/* One verb of a rule: every group, resource and name of it must be held. */
static bool verb_held(struct op *op, jval *rule, const char *verb, const char *ns)
{
    struct jiter paths = jv_iter(policy_rule_non_resource_urls(rule));
    jval *p, *g, *r;
    while (jv_next(&paths, NULL, &p))
        if (!holds(op, &(struct attrs){.verb = verb, .path = jv_str(p)}))
            return false;
    struct jiter groups = jv_iter(policy_rule_api_groups(rule));
    while (jv_next(&groups, NULL, &g)) {
        struct jiter resources = jv_iter(policy_rule_resources(rule));
        while (jv_next(&resources, NULL, &r)) {
            const char *text = jv_str(r) ? jv_str(r) : "", *slash = strchr(text, '/');
            AUTOFREE char *resource = slash ? xstrndup(text, (size_t)(slash - text)) : xstrdup(text);
            struct attrs at = {.verb = verb, .group = jv_str(g), .resource = resource, .sub = slash ? slash + 1 : NULL, .ns = ns};
            jval *names = policy_rule_resource_names(rule);
            size_t n = jv_len(names);
            for (size_t i = 0; i < (n ? n : 1); i++) {
                at.name = n ? jv_str(jv_at(names, i)) : NULL;
                if (!holds(op, &at))
                    return false;
            }
        }
    }
    return true;
}

static void write_list(struct buf *b, const char *name, jval *list, bool *first)
{
    if (!jv_len(list))
        return;
    buf_addf(b, "%s%s:[", *first ? "" : ", ", name);
    for (size_t i = 0; i < jv_len(list); i++) {
        if (i)
            buf_adds(b, " ");
        jv_write(jv_at(list, i), JW_COMPACT, b);
    }
    buf_addc(b, ']');
    *first = false;
}

/* `{APIGroups:[""], Resources:["pods"], Verbs:["get"]}`, as Kubernetes writes what is missing. */
static void write_rule(struct buf *b, jval *rule, const struct strlist *verbs)
{
    bool first = true;
    buf_adds(b, "\n{");
    write_list(b, "APIGroups", policy_rule_api_groups(rule), &first);
    write_list(b, "Resources", policy_rule_resources(rule), &first);
    write_list(b, "ResourceNames", policy_rule_resource_names(rule), &first);
    write_list(b, "NonResourceURLs", policy_rule_non_resource_urls(rule), &first);
    buf_addf(b, "%sVerbs:[", first ? "" : ", ");
    for (size_t i = 0; i < verbs->n; i++)
        buf_addf(b, "%s\"%s\"", i ? " " : "", verbs->v[i]);
    buf_adds(b, "]}");
}

static int check_rules(struct op *op, jval *rules, const char *ns, const char *name, struct err *err)
{
    BUF(missing);
    struct jiter it = jv_iter(rules);
    jval *rule, *v;
    while (jv_next(&it, NULL, &rule)) {
        STRLIST(verbs);
        struct jiter vi = jv_iter(policy_rule_verbs(rule));
        while (jv_next(&vi, NULL, &v))
            if (jv_str(v) && !verb_held(op, rule, jv_str(v), ns))
                strlist_add(&verbs, jv_str(v));
        if (verbs.n)
            write_rule(&missing, rule, &verbs);
    }
    if (!missing.len)
        return 0;
    BUF(groups);
    for (const char *const *g = op->who->groups; g && *g; g++)
        buf_addf(&groups, "%s\"%s\"", groups.len ? " " : "", *g);
    return fail_forbidden(err, op->res, name,
                          "user \"%s\" (groups=[%s]) is attempting to grant RBAC permissions not currently held:%s",
                          op->who->user, buf_str(&groups), buf_str(&missing));
}

static int check_binding(struct op *op, jval *b, struct err *err)
{
    jval *ref = role_binding_role_ref(b);
    const char *kind = role_ref_kind(ref), *name = role_ref_name(ref);
    bool role = str_eq(kind, "Role");
    const char *ns = op->res->coll == op->a->role_bindings ? op->ns : NULL;
    struct attrs bind = {
        .verb = "bind", .group = res_of(op->res)->group, .resource = role ? "roles" : "clusterroles", .ns = ns, .name = name};
    if (holds(op, &bind) || !name)
        return 0;
    AUTOFREE char *key = role ? obj_key_of(op->ns, name) : xstrdup(name);
    OBJ_REF(target) = store_get(role ? op->a->roles : op->a->cluster_roles, key);
    if (!target) {
        err_set(err, ERR_NOT_FOUND, "%s.%s \"%s\" not found", bind.resource, bind.group, name);
        err_subject(err, bind.group, bind.resource, name);
        return -1;
    }
    return check_rules(op, role_rules(obj_root(target)), ns, obj_name(b), err);
}

static bool aggregates(jval *role)
{
    return jv_len(aggregation_rule_cluster_role_selectors(cluster_role_aggregation_rule(role))) > 0;
}

/* The server fills an aggregated role with whatever fits, now and later: that is for those who may do everything. */
static int check_aggregation(struct op *op, const char *name, struct err *err)
{
    if (holds(op, &(struct attrs){.verb = "*", .group = "*", .resource = "*"}) &&
        holds(op, &(struct attrs){.verb = "*", .path = "*"}))
        return 0;
    return fail_forbidden(err, op->res, name, "must have cluster-admin privileges to use the aggregationRule");
}

int rbac_check_escalation(struct op *op, jval *old, jval *obj, struct err *err)
{
    struct apiserver *a = op->a;
    if (!op->who || identity_in_group(op->who, "system:masters"))
        return 0;
    if (op->res->coll == a->role_bindings || op->res->coll == a->cluster_role_bindings)
        return check_binding(op, obj, err);
    bool role = op->res->coll == a->roles;
    if (!role && op->res->coll != a->cluster_roles)
        return 0;
    const char *ns = role ? op->ns : NULL;
    struct attrs escalate = {.verb = "escalate",
                             .group = res_of(op->res)->group,
                             .resource = res_of(op->res)->plural,
                             .ns = ns,
                             .name = obj_name(obj)};
    if (holds(op, &escalate))
        return 0;
    if (!role && (aggregates(obj) || aggregates(old)) && check_aggregation(op, obj_name(obj), err) < 0)
        return -1;
    return check_rules(op, role_rules(obj), ns, obj_name(obj), err);
}

/* ---- aggregation ------------------------------------------------------------------------------------------------------------
 */

/* True the first time that a rule of this text comes. */
static bool is_new(struct strmap *seen, jval *rule)
{
    AUTOFREE char *text = jv_text(rule, JW_COMPACT | JW_SORTED);
    if (strmap_has(seen, text))
        return false;
    strmap_put(seen, text, NULL);
    return true;
}

static void collect(struct jm *m, jmval *rules, jval *selectors, const struct store_list *roles, const struct store_obj *self)
{
    CLEANUP(strmap_free) struct strmap seen = STRMAP_INIT(NULL);
    struct jiter it = jv_iter(selectors);
    jval *s, *rule;
    while (jv_next(&it, NULL, &s)) {
        struct label_selector *sel = label_selector_from(s, NULL);
        for (size_t i = 0; sel && i < roles->n; i++) {
            if (roles->v[i] == self || !label_selector_selects(sel, obj_root(roles->v[i])))
                continue;
            struct jiter ri = jv_iter(cluster_role_rules(obj_root(roles->v[i])));
            while (jv_next(&ri, NULL, &rule))
                if (is_new(&seen, rule))
                    jm_push(rules, jm_val(m, rule));
        }
        label_selector_free(sel);
    }
}

/* True when a role was changed: another may depend on it. */
static bool aggregate_once(struct apiserver *a)
{
    struct store_list l;
    bool changed = false;
    if (store_list(a->cluster_roles, &(struct store_query){0}, &l, NULL) < 0)
        return false;
    for (size_t i = 0; i < l.n; i++) {
        jval *o = obj_root(l.v[i]);
        jval *selectors = aggregation_rule_cluster_role_selectors(cluster_role_aggregation_rule(o));
        if (!jv_len(selectors))
            continue;
        JM(m, o);
        jmval *rules = jm_arr(m);
        collect(m, rules, selectors, &l, l.v[i]);
        jval *had = cluster_role_rules(o);
        if (jmv_len(rules) == jv_len(had) && (jmv_len(rules) == 0 || jmv_equal(rules, had)))
            continue;
        jm_put(m, jm_root(m), "rules", jmv_len(rules) ? rules : jm_null(m));
        struct store_write w = {.coll = a->cluster_roles, .key = l.v[i]->key, .expect = l.v[i]->rv, .doc = m};
        changed |= store_write(a->store, &w, NULL, NULL) == 0;
    }
    store_list_free(&l);
    return changed;
}

void aggregate_roles(struct apiserver *a)
{
    for (int depth = 0; depth < 8 && aggregate_once(a); depth++)
        ;
}
