/* bootstrap.c - what a server has from its first start: namespaces, roles that everybody counts on, the system's priorities. */
#include "cluster/apiserver/internal.h"
#include "kube/fields.h"
#include "kube/kinds.h"

/* Made of roles.json by tools/embed.py. */
extern const char bootstrap_roles[];
extern const size_t bootstrap_roles_len;

static const char *const masters[] = {"system:masters", "system:authenticated", NULL};
static const struct identity self = {"system:apiserver", "", masters, NULL};

static int ensure(struct apiserver *a, const struct resources *table, const struct kube_res *res, jval *obj, struct err *err)
{
    static const struct kube_opts opts;
    struct ctx ctx = ctx_background();
    ctx.clock = a->clock;
    struct op op = {.a = a,
                    .ctx = &ctx,
                    .who = &self,
                    .res = resource_find(table, res->group, res->version, res->plural),
                    .verb = "create",
                    .o = &opts};
    ASSERT(op.res);
    OBJ_REF(there) = store_get(op.res->coll, obj_name(obj));
    if (there)
        return 0;
    JSON_REF(d) = decode_inproc(&op, obj, err);
    OBJ_REF(made) = d ? verb_create(&op, json_root(d), err) : NULL;
    return made ? 0 : err_wrap(err, "making %s %s", res->kind, obj_name(obj));
}

static int namespaces(struct apiserver *a, const struct resources *table, struct err *err)
{
    static const char *const names[] = {"default", "kube-system", "kube-public", "kube-node-lease", "kubeflow"};
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        JM_NEW(m);
        jm_set_root(m, jm_obj(m));
        object_meta_set_name(m, jm_obj_at(m, jm_root(m), "metadata"), names[i]);
        JSON_REF(d) = jm_freeze(m);
        if (ensure(a, table, &KUBE_NAMESPACES, json_root(d), err) < 0)
            return -1;
    }
    return 0;
}

static int roles(struct apiserver *a, const struct resources *table, struct err *err)
{
    JSON_REF(all) = json_parse(bootstrap_roles, bootstrap_roles_len, NULL, err);
    if (!all)
        return -1;
    struct jiter it = jv_iter(json_root(all));
    jval *o;
    while (jv_next(&it, NULL, &o)) {
        const struct kube_res *res = strcmp(obj_kind(o), "ClusterRole") == 0 ? &KUBE_CLUSTERROLES : &KUBE_CLUSTERROLEBINDINGS;
        if (ensure(a, table, res, o, err) < 0)
            return -1;
    }
    aggregate_roles(a);
    return 0;
}

static int priority_classes(struct apiserver *a, const struct resources *table, struct err *err)
{
    static const struct {
        const char *name, *about;
        int64_t value;
    } classes[] = {{"system-cluster-critical", "For pods that the cluster cannot do without, on whichever node.", 2000000000},
                   {"system-node-critical", "For pods that their node cannot do without.", 2000001000}};
    for (size_t i = 0; i < ARRAY_LEN(classes); i++) {
        JM_NEW(m);
        jm_set_root(m, jm_obj(m));
        object_meta_set_name(m, priority_class_make_metadata(m, jm_root(m)), classes[i].name);
        priority_class_set_value(m, jm_root(m), classes[i].value);
        priority_class_set_description(m, jm_root(m), classes[i].about);
        JSON_REF(d) = jm_freeze(m);
        if (ensure(a, table, &KUBE_PRIORITYCLASSES, json_root(d), err) < 0)
            return -1;
    }
    return 0;
}

int bootstrap(struct apiserver *a, struct err *err)
{
    RESOURCES(table, a);
    return namespaces(a, table, err) < 0 || roles(a, table, err) < 0 || priority_classes(a, table, err) < 0 ? -1 : 0;
}
