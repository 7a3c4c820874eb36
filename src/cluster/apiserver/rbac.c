/* rbac.c - who may do what: an index of roles and bindings, made anew when one of them changed.
 *
 * Subject ("u:alice", "g:system:masters", "s:ns/name") -> grants: the rules of one role, in one namespace or everywhere. A check
 * looks up the user and each group and goes through their grants. */
#include <stdio.h>
#include <stdlib.h>

#include "cluster/apiserver/internal.h"
#include "kube/fields.h"

struct grant {
    const char *ns; /* NULL: everywhere */
    jval *rules;    /* of the role; alive with the object that the index holds */
    const char *role_kind, *role_name, *binding;
};
struct grants {
    struct grant *v;
    size_t n, cap;
};
struct index {
    atomic_int refs;
    int64_t revs[4];
    struct strmap by_subject;   /* -> struct grants */
    struct store_list lists[4]; /* keeps the objects that the grants point into */
};
struct rbac {
    struct apiserver *a;
    pthread_mutex_t lock;
    struct index *index;
};

static void grants_free(void *p)
{
    struct grants *g = p;
    free(g->v);
    free(g);
}

static void index_unref(struct index *x)
{
    if (!x || atomic_fetch_sub(&x->refs, 1) != 1)
        return;
    strmap_free(&x->by_subject);
    for (size_t i = 0; i < ARRAY_LEN(x->lists); i++)
        store_list_free(&x->lists[i]);
    free(x);
}
static void index_unrefp(struct index **x) { index_unref(*x); }

static void colls(struct apiserver *a, struct store_coll *out[4])
{
    out[0] = a->roles;
    out[1] = a->cluster_roles;
    out[2] = a->role_bindings;
    out[3] = a->cluster_role_bindings;
}

static jval *find_rules(const struct store_list *l, const char *key)
{
    size_t lo = 0, hi = l->n;
    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        int d = strcmp(l->v[mid]->key, key);
        if (d == 0)
            return role_rules(obj_root(l->v[mid]));
        if (d < 0)
            lo = mid + 1;
        else
            hi = mid;
    }
    return NULL;
}

static void add_grant(struct index *x, const char *subject, const struct grant *g)
{
    struct grants *gs = strmap_get(&x->by_subject, subject);
    if (!gs) {
        gs = xcalloc(1, sizeof(*gs));
        strmap_put(&x->by_subject, subject, gs);
    }
    if (gs->n == gs->cap) {
        gs->cap = gs->cap ? gs->cap * 2 : 4;
        gs->v = xreallocarray(gs->v, gs->cap, sizeof(*gs->v));
    }
    gs->v[gs->n++] = *g;
}

static void add_binding(struct index *x, jval *b, bool cluster)
{
    jval *ref = role_binding_role_ref(b);
    const char *kind = role_ref_kind(ref) ? role_ref_kind(ref) : "", *name = role_ref_name(ref) ? role_ref_name(ref) : "";
    bool role = strcmp(kind, "Role") == 0;
    AUTOFREE char *key = role ? obj_key_of(obj_namespace(b), name) : xstrdup(name);
    struct grant g = {.ns = cluster ? NULL : obj_namespace(b),
                      .rules = find_rules(&x->lists[role ? 0 : 1], key),
                      .role_kind = kind,
                      .role_name = name,
                      .binding = obj_name(b)};
    if (!g.rules || (cluster && role))
        return;
    struct jiter it = jv_iter(role_binding_subjects(b));
    jval *s;
    while (jv_next(&it, NULL, &s)) {
        const char *sk = subject_kind(s), *sn = subject_name(s);
        if (!sk || !sn)
            continue;
        AUTOFREE char *text = NULL;
        if (strcmp(sk, "User") == 0)
            text = xasprintf("u:%s", sn);
        else if (strcmp(sk, "Group") == 0)
            text = xasprintf("g:%s", sn);
        else if (strcmp(sk, "ServiceAccount") == 0)
            text = xasprintf("u:system:serviceaccount:%s:%s", subject_namespace(s) ? subject_namespace(s) : obj_namespace(b), sn);
        if (text)
            add_grant(x, text, &g);
    }
}

static struct index *index_make(struct apiserver *a)
{
    struct index *x = xcalloc(1, sizeof(*x));
    atomic_init(&x->refs, 1);
    x->by_subject = STRMAP_INIT(grants_free);
    struct store_coll *c[4];
    colls(a, c);
    for (size_t i = 0; i < 4; i++) {
        x->revs[i] = store_coll_rev(c[i]);
        store_list(c[i], &(struct store_query){0}, &x->lists[i], NULL);
    }
    for (size_t b = 2; b < 4; b++)
        for (size_t i = 0; i < x->lists[b].n; i++)
            add_binding(x, obj_root(x->lists[b].v[i]), b == 3);
    return x;
}

static struct index *index_get(struct rbac *r)
{
    struct store_coll *c[4];
    colls(r->a, c);
    LOCK_GUARD(&r->lock);
    bool good = r->index != NULL;
    for (size_t i = 0; good && i < 4; i++)
        good = r->index->revs[i] == store_coll_rev(c[i]);
    if (!good) {
        index_unref(r->index);
        r->index = index_make(r->a);
    }
    atomic_fetch_add(&r->index->refs, 1);
    return r->index;
}

struct rbac *rbac_new(struct apiserver *a)
{
    struct rbac *r = xcalloc(1, sizeof(*r));
    r->a = a;
    pthread_mutex_init(&r->lock, NULL);
    return r;
}

void rbac_free(struct rbac *r)
{
    if (!r)
        return;
    index_unref(r->index);
    pthread_mutex_destroy(&r->lock);
    free(r);
}

/* ---- matching ------------------------------------------------------------------------------------------------- */

static bool list_has(jval *list, const char *s)
{
    struct jiter it = jv_iter(list);
    jval *x;
    while (jv_next(&it, NULL, &x)) {
        const char *v = jv_str(x);
        if (v && (strcmp(v, "*") == 0 || strcmp(v, s) == 0))
            return true;
    }
    return false;
}

/* "pods", "pods/log", "*", "* /scale" (written without the space). */
static bool resource_matches(jval *list, const char *resource, const char *sub)
{
    AUTOFREE char *whole = sub && *sub ? xasprintf("%s/%s", resource, sub) : xstrdup(resource);
    AUTOFREE char *any = sub && *sub ? xasprintf("*/%s", sub) : NULL;
    struct jiter it = jv_iter(list);
    jval *x;
    while (jv_next(&it, NULL, &x)) {
        const char *v = jv_str(x);
        if (v && (strcmp(v, "*") == 0 || strcmp(v, whole) == 0 || (any && strcmp(v, any) == 0)))
            return true;
    }
    return false;
}

static bool path_matches(jval *list, const char *path)
{
    struct jiter it = jv_iter(list);
    jval *x;
    while (jv_next(&it, NULL, &x)) {
        const char *v = jv_str(x);
        if (!v)
            continue;
        size_t n = strlen(v);
        if (strcmp(v, path) == 0 || (n && v[n - 1] == '*' && strncmp(v, path, n - 1) == 0))
            return true;
    }
    return false;
}

static bool rule_allows(jval *rule, const struct attrs *at)
{
    if (!list_has(policy_rule_verbs(rule), at->verb))
        return false;
    if (at->path)
        return path_matches(policy_rule_non_resource_urls(rule), at->path);
    if (!list_has(policy_rule_api_groups(rule), at->group ? at->group : "") ||
        !resource_matches(policy_rule_resources(rule), at->resource ? at->resource : "", at->sub))
        return false;
    /* Of names none stands for all. */
    struct jiter names = jv_iter(policy_rule_resource_names(rule));
    jval *x;
    while (jv_next(&names, NULL, &x))
        if (!str_empty(at->name) && str_eq(jv_str(x), at->name))
            return true;
    return jv_len(policy_rule_resource_names(rule)) == 0;
}

static bool grants_allow(const struct index *x, const char *subject, const struct attrs *at, char **reason)
{
    const struct grants *gs = strmap_get(&x->by_subject, subject);
    for (size_t i = 0; gs && i < gs->n; i++) {
        const struct grant *g = &gs->v[i];
        if (g->ns && (at->path || !at->ns || strcmp(g->ns, at->ns) != 0))
            continue;
        struct jiter it = jv_iter(g->rules);
        jval *rule;
        while (jv_next(&it, NULL, &rule)) {
            if (!rule_allows(rule, at))
                continue;
            if (reason) {
                bool group = subject[0] == 'g', sa = str_starts(subject + 2, "system:serviceaccount:") && !group;
                const char *who = subject + 2;
                AUTOFREE char *account = NULL;
                if (sa) { /* "name/ns" as Kubernetes writes it */
                    const char *rest = who + strlen("system:serviceaccount:"), *colon = strchr(rest, ':');
                    account = colon ? xasprintf("%s/%.*s", colon + 1, (int)(colon - rest), rest) : NULL;
                }
                AUTOFREE char *binding = g->ns ? xasprintf("RoleBinding \"%s/%s\"", g->binding, g->ns)
                                               : xasprintf("ClusterRoleBinding \"%s\"", g->binding);
                *reason = xasprintf("RBAC: allowed by %s of %s \"%s\" to %s \"%s\"", binding, g->role_kind, g->role_name,
                                    group     ? "Group"
                                    : account ? "ServiceAccount"
                                              : "User",
                                    account ? account : who);
            }
            return true;
        }
    }
    return false;
}

bool rbac_allows(struct rbac *r, const struct identity *who, const struct attrs *at, char **reason)
{
    if (reason)
        *reason = NULL;
    if (!who)
        return false;
    if (identity_in_group(who, "system:masters"))
        return true;
    CLEANUP(index_unrefp) struct index *x = index_get(r);
    char subject[512];
    if (snprintf(subject, sizeof(subject), "u:%s", who->user) < (int)sizeof(subject) && grants_allow(x, subject, at, reason))
        return true;
    for (const char *const *g = who->groups; g && *g; g++)
        if (snprintf(subject, sizeof(subject), "g:%s", *g) < (int)sizeof(subject) && grants_allow(x, subject, at, reason))
            return true;
    return false;
}

/* ---- rules of somebody ---------------------------------------------------------------------------------------- */

static void copy_list(struct jm *m, jmval *to, const char *name, jval *list)
{
    if (jv_len(list))
        jm_put(m, to, name, jm_val(m, list));
}

static void put_rule(struct jm *m, jmval *resource, jmval *paths, jval *rule)
{
    jmval *o = jm_obj(m);
    jm_put(m, o, "verbs", jm_val(m, policy_rule_verbs(rule)));
    if (jv_len(policy_rule_non_resource_urls(rule))) {
        copy_list(m, o, "nonResourceURLs", policy_rule_non_resource_urls(rule));
        jm_push(paths, o);
        return;
    }
    copy_list(m, o, "apiGroups", policy_rule_api_groups(rule));
    copy_list(m, o, "resources", policy_rule_resources(rule));
    copy_list(m, o, "resourceNames", policy_rule_resource_names(rule));
    jm_push(resource, o);
}

static void put_grants(const struct index *x, const char *subject, const char *ns, bool cluster, struct jm *m, jmval *resource,
                       jmval *paths)
{
    const struct grants *gs = strmap_get(&x->by_subject, subject);
    for (size_t i = 0; gs && i < gs->n; i++) {
        if (cluster ? gs->v[i].ns != NULL : !gs->v[i].ns || !str_eq(gs->v[i].ns, ns))
            continue;
        struct jiter it = jv_iter(gs->v[i].rules);
        jval *rule;
        while (jv_next(&it, NULL, &rule))
            put_rule(m, resource, paths, rule);
    }
}

void rbac_rules(struct rbac *r, const struct identity *who, const char *ns, struct jm *m, jmval *status)
{
    jmval *resource = jm_arr(m), *paths = jm_arr(m);
    if (identity_in_group(who, "system:masters")) {
        JSON_REF(all) = json_parse_str("[{\"verbs\":[\"*\"],\"apiGroups\":[\"*\"],\"resources\":[\"*\"]},"
                                       "{\"verbs\":[\"*\"],\"nonResourceURLs\":[\"*\"]}]",
                                       NULL);
        put_rule(m, resource, paths, jv_at(json_root(all), 0));
        put_rule(m, resource, paths, jv_at(json_root(all), 1));
    }
    CLEANUP(index_unrefp) struct index *x = index_get(r);
    for (int cluster = 1; cluster >= 0; cluster--) {
        AUTOFREE char *user = xasprintf("u:%s", who->user);
        put_grants(x, user, ns, cluster, m, resource, paths);
        for (const char *const *g = who->groups; g && *g; g++) {
            AUTOFREE char *group = xasprintf("g:%s", *g);
            put_grants(x, group, ns, cluster, m, resource, paths);
        }
    }
    jm_put(m, status, "resourceRules", resource);
    jm_put(m, status, "nonResourceRules", paths);
    jm_put(m, status, "incomplete", jm_bool(m, false));
}
