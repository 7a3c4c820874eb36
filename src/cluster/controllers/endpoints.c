/* endpoints.c - see endpoints.h. */
#include "cluster/controllers/endpoints.h"

#include <stdlib.h>

#include "base/str.h"
#include "kube/fields.h"
#include "kube/kinds.h"
#include "kube/object.h"

#define MANAGED_BY  "endpointslice.kubernetes.io/managed-by"
#define OURS        "endpointslice-controller.k8s.io"
#define MIRRORED    "endpointslicemirroring-controller.k8s.io"
#define SKIP_MIRROR "endpointslice.kubernetes.io/skip-mirror"
#define HEADLESS    "service.kubernetes.io/headless"
#define OLD_MANAGED "endpoints.kubernetes.io/managed-by"
#define OLD_OURS    "endpoint-controller"

struct endpoints_controller {
    const struct controllers_config *cfg;
    struct informer *services, *slices, *endpoints, *pods;
    struct controller_run *run;
};

/* ---- slices -------------------------------------------------------------------------------------------------------- */

static bool is_headless(jval *service) { return str_eq(service_spec_cluster_ip(service_spec(service)), "None"); }

static void put_labels(struct jm *m, jmval *meta, jval *service, const char *manager)
{
    jmval *labels = object_meta_make_labels(m, meta);
    struct jiter it = jv_iter(obj_labels(service));
    const char *k;
    jval *v;
    while (jv_next(&it, &k, &v))
        jm_put(m, labels, k, jm_val(m, v));
    jm_put(m, labels, MANAGED_BY, jm_str(m, manager));
    jm_put(m, labels, SERVICE_NAME_LABEL, jm_str(m, obj_name(service)));
    if (is_headless(service))
        jm_put(m, labels, HEADLESS, jm_str(m, ""));
}

static struct json *new_slice(jval *service, jval *owner, const struct kube_res *owner_res, const char *manager, jval *want)
{
    JM_NEW(m);
    jmval *o = jm_obj(m), *meta, *owners = jm_arr(m);
    AUTOFREE char *prefix = xasprintf("%s-", obj_name(service));
    jm_set_root(m, o);
    endpoint_slice_set_api_version(m, o, "discovery.k8s.io/v1");
    endpoint_slice_set_kind(m, o, "EndpointSlice");
    meta = endpoint_slice_make_metadata(m, o);
    object_meta_set_generate_name(m, meta, prefix);
    put_labels(m, meta, service, manager);
    jm_push(owners, obj_make_owner_ref(m, owner, owner_res, true));
    object_meta_set_owner_references(m, meta, owners);
    endpoint_slice_set_address_type(m, o, "IPv4");
    if (endpoint_slice_endpoints(want)) /* the same two names */
        endpoint_slice_set_endpoints(m, o, jm_val(m, endpoint_slice_endpoints(want)));
    if (endpoint_slice_ports(want))
        endpoint_slice_set_ports(m, o, jm_val(m, endpoint_slice_ports(want)));
    return jm_freeze(m);
}

/* null, absent and [] are the same. */
static bool same_list(jval *a, jval *b) { return (!jv_len(a) && !jv_len(b)) || (a && b && jv_equal(a, b)); }

static int update_slice(struct endpoints_controller *c, const struct ctx *ctx, jval *have, jval *want, struct json *wanted,
                        struct err *err)
{
    jval *model = json_root(wanted);
    if (same_list(endpoint_slice_endpoints(have), endpoint_slice_endpoints(want)) &&
        same_list(endpoint_slice_ports(have), endpoint_slice_ports(want)) && jv_equal(obj_labels(have), obj_labels(model)))
        return 0;
    JM(m, have);
    jmval *o = jm_root(m);
    object_meta_set_labels(m, endpoint_slice_make_metadata(m, o), jm_val(m, obj_labels(model)));
    endpoint_slice_set_endpoints(m, o,
                                 jv_len(endpoint_slice_endpoints(want)) ? jm_val(m, endpoint_slice_endpoints(want)) : jm_null(m));
    endpoint_slice_set_ports(m, o, jv_len(endpoint_slice_ports(want)) ? jm_val(m, endpoint_slice_ports(want)) : jm_null(m));
    JSON_REF(doc) = jm_freeze(m);
    JSON_REF(now) =
        kube_update(c->cfg->kube, ctx, &KUBE_ENDPOINTSLICES, obj_namespace(have), obj_name(have), json_root(doc), NULL, err);
    return now ? 0 : -1;
}

static int delete_slice(struct endpoints_controller *c, const struct ctx *ctx, jval *o, struct err *err)
{
    struct kube_opts opts = {.precondition_uid = obj_uid(o)};
    ERR(e);
    if (kube_delete(c->cfg->kube, ctx, &KUBE_ENDPOINTSLICES, obj_namespace(o), obj_name(o), &opts, NULL, &e) == 0 ||
        e.code == ERR_NOT_FOUND || e.code == ERR_CONFLICT)
        return 0;
    return err_move(err, &e);
}

/* The index of a slice not used yet with the ports that are wanted, else of any: what moves least. */
static size_t pick(const struct kube_list *have, const bool *used, jval *want)
{
    size_t any = have->n;
    for (size_t i = 0; i < have->n; i++) {
        if (used[i])
            continue;
        if (same_list(endpoint_slice_ports(json_root(have->items[i])), endpoint_slice_ports(want)))
            return i;
        if (any == have->n)
            any = i;
    }
    return any;
}

static int put_one(struct endpoints_controller *c, const struct ctx *ctx, jval *service, jval *owner,
                   const struct kube_res *owner_res, const char *manager, jval *want, const struct kube_list *have, bool *used,
                   struct err *err)
{
    JSON_REF(model) = new_slice(service, owner, owner_res, manager, want);
    size_t at = pick(have, used, want);
    if (at < have->n) {
        used[at] = true;
        return update_slice(c, ctx, json_root(have->items[at]), want, model, err);
    }
    JSON_REF(made) = kube_create(c->cfg->kube, ctx, &KUBE_ENDPOINTSLICES, obj_namespace(service), json_root(model), NULL, err);
    return made ? 0 : -1;
}

/* Brings the slices of one manager to what is wanted (an array). A Service that selects keeps one slice even when it is empty. */
static int put_slices(struct endpoints_controller *c, const struct ctx *ctx, jval *service, jval *owner,
                      const struct kube_res *owner_res, const char *manager, struct json *wanted, bool keep_one, struct err *err)
{
    AUTOFREE char *selector = xasprintf(SERVICE_NAME_LABEL "=%s," MANAGED_BY "=%s", obj_name(service), manager);
    struct kube_opts opts = {.label_selector = selector};
    struct kube_list have = {0};
    jval *list = json_root(wanted);
    /* Asks the API, so that a slice which a cache lacks is not made twice. */
    if (kube_list(c->cfg->kube, ctx, &KUBE_ENDPOINTSLICES, obj_namespace(service), &opts, &have, err) < 0)
        return -1;
    bool *used = xcalloc(have.n + 1, sizeof *used);
    int rc = 0;
    for (size_t i = 0; i < jv_len(list) && rc == 0; i++)
        rc = put_one(c, ctx, service, owner, owner_res, manager, jv_at(list, i), &have, used, err);
    if (!jv_len(list) && keep_one && rc == 0) {
        JSON_REF(empty) = json_parse_str("{}", NULL);
        rc = put_one(c, ctx, service, owner, owner_res, manager, json_root(empty), &have, used, err);
    }
    for (size_t i = 0; i < have.n && rc == 0; i++)
        if (!used[i])
            rc = delete_slice(c, ctx, json_root(have.items[i]), err);
    free(used);
    kube_list_free(&have);
    return rc;
}

/* ---- the old Endpoints --------------------------------------------------------------------------------------------- */

static struct json *new_endpoints(jval *service, jval *have, struct json *subsets)
{
    CLEANUP(jm_freep) struct jm *m = have ? jm_copy(have) : jm_new();
    if (!have)
        jm_set_root(m, jm_obj(m));
    jmval *o = jm_root(m), *meta = endpoints_make_metadata(m, o), *labels = jm_obj(m);
    endpoints_set_api_version(m, o, "v1");
    endpoints_set_kind(m, o, "Endpoints");
    object_meta_set_name(m, meta, obj_name(service));
    struct jiter it = jv_iter(obj_labels(service));
    const char *k;
    jval *v;
    while (jv_next(&it, &k, &v))
        jm_put(m, labels, k, jm_val(m, v));
    jm_put(m, labels, OLD_MANAGED, jm_str(m, OLD_OURS));
    if (is_headless(service))
        jm_put(m, labels, HEADLESS, jm_str(m, ""));
    object_meta_set_labels(m, meta, labels);
    if (jv_len(json_root(subsets)))
        endpoints_set_subsets(m, o, jm_val(m, json_root(subsets)));
    else
        endpoints_del_subsets(o);
    return jm_freeze(m);
}

static int put_endpoints(struct endpoints_controller *c, const struct ctx *ctx, jval *service, struct json *subsets,
                         struct err *err)
{
    struct kube *k = c->cfg->kube;
    const char *ns = obj_namespace(service), *name = obj_name(service);
    ERR(e);
    JSON_REF(have) = kube_get(k, ctx, &KUBE_ENDPOINTS, ns, name, NULL, &e);
    if (!have && e.code != ERR_NOT_FOUND)
        return err_move(err, &e);
    JSON_REF(want) = new_endpoints(service, json_root(have), subsets);
    if (have && jv_equal(json_root(have), json_root(want)))
        return 0;
    JSON_REF(now) = have ? kube_update(k, ctx, &KUBE_ENDPOINTS, ns, name, json_root(want), NULL, err)
                         : kube_create(k, ctx, &KUBE_ENDPOINTS, ns, json_root(want), NULL, err);
    return now ? 0 : -1;
}

static int drop_endpoints(struct endpoints_controller *c, const struct ctx *ctx, const char *key, struct err *err)
{
    JSON_REF(have) = informer_get(c->endpoints, key);
    jval *o = json_root(have);
    if (!have || !str_eq(obj_label(o, OLD_MANAGED), OLD_OURS))
        return 0;
    struct kube_opts opts = {.precondition_uid = obj_uid(o)};
    ERR(e);
    if (kube_delete(c->cfg->kube, ctx, &KUBE_ENDPOINTS, obj_namespace(o), obj_name(o), &opts, NULL, &e) == 0 ||
        e.code == ERR_NOT_FOUND || e.code == ERR_CONFLICT)
        return 0;
    return err_move(err, &e);
}

/* ---- one Service --------------------------------------------------------------------------------------------------- */

static int selecting(struct endpoints_controller *c, const struct ctx *ctx, jval *service, struct err *err)
{
    size_t n;
    struct json **pods = informer_list(c->pods, &n);
    JSON_REF(slices) = endpoints_want(service, pods, n);
    JSON_REF(subsets) = endpoints_subsets_want(service, pods, n);
    for (size_t i = 0; i < n; i++)
        json_unref(pods[i]);
    free(pods);
    if (put_slices(c, ctx, service, service, &KUBE_SERVICES, OURS, slices, true, err) < 0)
        return -1;
    return put_endpoints(c, ctx, service, subsets, err);
}

static int mirroring(struct endpoints_controller *c, const struct ctx *ctx, jval *service, const char *key, struct err *err)
{
    JSON_REF(endpoints) = informer_get(c->endpoints, key);
    jval *o = json_root(endpoints);
    bool mirrors = endpoints && !str_eq(obj_label(o, SKIP_MIRROR), "true") && !str_eq(obj_label(o, OLD_MANAGED), OLD_OURS);
    JSON_REF(none) = json_parse_str("[]", NULL);
    JSON_REF(wanted) = mirrors ? endpoints_mirror(o) : json_ref(none);
    if (put_slices(c, ctx, service, service, &KUBE_SERVICES, OURS, none, false, err) < 0)
        return -1;
    return put_slices(c, ctx, service, mirrors ? o : service, mirrors ? &KUBE_ENDPOINTS : &KUBE_SERVICES, MIRRORED, wanted, false,
                      err);
}

static int reconcile(void *self, const struct ctx *ctx, const char *key, struct reconcile_result *res, struct err *err)
{
    struct endpoints_controller *c = self;
    JSON_REF(service) = informer_get(c->services, key);
    jval *o = json_root(service);
    ERR(e);
    int rc;
    if (!service || obj_deleting(o) || str_eq(service_spec_type(service_spec(o)), "ExternalName")) {
        JSON_REF(none) = json_parse_str("[]", NULL);
        rc = drop_endpoints(c, ctx, key, &e);
        if (rc == 0 && service)
            rc = put_slices(c, ctx, o, o, &KUBE_SERVICES, OURS, none, false, &e);
    } else if (jv_len(service_spec_selector(service_spec(o)))) {
        rc = selecting(c, ctx, o, &e);
    } else {
        rc = mirroring(c, ctx, o, key, &e);
    }
    if (rc == 0 || e.code == ERR_NOT_FOUND || e.code == ERR_FORBIDDEN) /* the namespace goes */
        return 0;
    if (e.code == ERR_CONFLICT || e.code == ERR_EXISTS) {
        res->again_after_ns = 10 * NS_PER_MS;
        return 0;
    }
    return err_move(err, &e);
}

/* ---- what happens -------------------------------------------------------------------------------------------------- */

static bool selects(jval *service, jval *pod)
{
    jval *selector = service_spec_selector(service_spec(service)), *v;
    struct jiter it = jv_iter(selector);
    const char *k;
    if (!jv_len(selector) || !str_eq(obj_namespace(service), obj_namespace(pod)))
        return false;
    while (jv_next(&it, &k, &v))
        if (!str_eq(obj_label(pod, k), jv_str(v)))
            return false;
    return true;
}

/* What of a pod matters here. */
static bool same_pod(jval *a, jval *b)
{
    return str_eq(pod_status_pod_ip(pod_status(a)), pod_status_pod_ip(pod_status(b))) &&
           str_eq(pod_status_phase(pod_status(a)), pod_status_phase(pod_status(b))) &&
           obj_condition_is(a, "Ready", "True") == obj_condition_is(b, "Ready", "True") && obj_deleting(a) == obj_deleting(b) &&
           jv_equal(obj_labels(a), obj_labels(b)) && str_eq(obj_uid(a), obj_uid(b));
}

static void pod_to_services(void *self, struct json *old, struct json *now, struct workqueue *q)
{
    struct endpoints_controller *c = self;
    size_t n;
    if (old && now && same_pod(json_root(old), json_root(now)))
        return;
    struct json **services = informer_list(c->services, &n);
    for (size_t i = 0; i < n; i++) {
        jval *s = json_root(services[i]);
        if ((old && selects(s, json_root(old))) || (now && selects(s, json_root(now)))) {
            AUTOFREE char *key = obj_key(s);
            workqueue_add(q, key);
        }
        json_unref(services[i]);
    }
    free(services);
}

static void slice_to_service(void *self, struct json *old, struct json *now, struct workqueue *q)
{
    jval *o = json_root(now ? now : old);
    const char *manager = obj_label(o, MANAGED_BY), *service = obj_label(o, SERVICE_NAME_LABEL);
    if (!service || (!str_eq(manager, OURS) && !str_eq(manager, MIRRORED)))
        return;
    AUTOFREE char *key = obj_key_of(obj_namespace(o), service);
    workqueue_add(q, key);
}

struct endpoints_controller *endpoints_controller_start(const struct controllers_config *cfg, struct informer *services,
                                                        struct informer *slices, struct informer *endpoints,
                                                        struct informer *pods)
{
    struct endpoints_controller *c = xcalloc(1, sizeof *c);
    *c = (struct endpoints_controller){.cfg = cfg, .services = services, .slices = slices, .endpoints = endpoints, .pods = pods};
    const struct controller_source sources[] = {{.informer = services},
                                                {.informer = endpoints},
                                                {.informer = slices, .map = slice_to_service},
                                                {.informer = pods, .map = pod_to_services}};
    const struct controller def = {
        .name = "endpoints", .sources = sources, .n_sources = ARRAY_LEN(sources), .workers = 2, .reconcile = reconcile};
    c->run = controller_start(&def, c, cfg->clock, NS_PER_MS);
    return c;
}

void endpoints_controller_stop(struct endpoints_controller *c)
{
    if (!c)
        return;
    controller_stop(c->run);
    free(c);
}
