/* What the slices and subsets of a Service should be: pure functions on documents. */
#include <inttypes.h>
#include <stdlib.h>

#include "base/str.h"
#include "cluster/controllers/endpoints.h"
#include "kube/fields.h"
#include "kube/kinds.h"
#include "kube/object.h"

enum { PER_SLICE = 100 };

/* ---- ports --------------------------------------------------------------------------------------------------------- */

static int64_t named_port(jval *pod, const char *name, const char *protocol)
{
    jval *lists[] = {pod_spec_containers(pod_spec(pod)), pod_spec_init_containers(pod_spec(pod))};
    for (size_t l = 0; l < ARRAY_LEN(lists); l++)
        for (size_t i = 0; i < jv_len(lists[l]); i++) {
            jval *c = jv_at(lists[l], i), *ports = container_ports(c);
            if (l == 1 && !str_eq(container_restart_policy(c), "Always"))
                continue;
            for (size_t k = 0; k < jv_len(ports); k++) {
                const char *has = container_port_protocol(jv_at(ports, k));
                if (str_eq(container_port_name(jv_at(ports, k)), name) && str_eq(has ? has : "TCP", protocol))
                    return container_port_container_port(jv_at(ports, k), 0);
            }
        }
    return 0;
}

/* What a port of the Service means in this pod; 0: nothing. */
static int64_t target_of(jval *port, jval *pod)
{
    jval *target = jv_get(port, "targetPort");
    const char *protocol = service_port_protocol(port);
    int64_t n;
    if (jv_i64(target, &n))
        return n ? n : service_port_port(port, 0);
    const char *name = jv_str(target);
    return str_empty(name) ? service_port_port(port, 0) : named_port(pod, name, protocol ? protocol : "TCP");
}

/* As text, by which pods are grouped: "name/protocol/number;". */
static char *ports_key(jval *service, jval *pod)
{
    BUF(b);
    jval *ports = service_spec_ports(service_spec(service));
    for (size_t i = 0; i < jv_len(ports); i++) {
        int64_t n = target_of(jv_at(ports, i), pod);
        if (n)
            buf_addf(&b, "%zu/%" PRId64 ";", i, n);
    }
    return xstrdup(buf_str(&b));
}

static void put_port(struct jm *m, jmval *list, jval *port, int64_t number, bool old)
{
    jmval *p = jm_obj(m);
    const char *name = service_port_name(port), *protocol = service_port_protocol(port), *app = service_port_app_protocol(port);
    if (!old || !str_empty(name))
        jm_put(m, p, "name", jm_str(m, name ? name : ""));
    if (!old)
        jm_put(m, p, "protocol", jm_str(m, protocol ? protocol : "TCP"));
    jm_put(m, p, "port", jm_i64(m, number));
    if (old)
        jm_put(m, p, "protocol", jm_str(m, protocol ? protocol : "TCP"));
    if (app)
        jm_put(m, p, "appProtocol", jm_str(m, app));
    jm_push(list, p);
}

static jmval *ports_of(struct jm *m, jval *service, jval *pod, bool old)
{
    jmval *list = jm_arr(m);
    jval *ports = service_spec_ports(service_spec(service));
    for (size_t i = 0; i < jv_len(ports); i++) {
        int64_t n = target_of(jv_at(ports, i), pod);
        if (n)
            put_port(m, list, jv_at(ports, i), n, old);
    }
    return list;
}

/* ---- pods ---------------------------------------------------------------------------------------------------------- */

static bool selected(jval *service, jval *pod)
{
    jval *selector = service_spec_selector(service_spec(service)), *v;
    struct jiter it = jv_iter(selector);
    const char *k;
    if (!jv_len(selector) || !str_eq(obj_namespace(pod), obj_namespace(service)))
        return false;
    while (jv_next(&it, &k, &v))
        if (!str_eq(obj_label(pod, k), jv_str(v)))
            return false;
    const char *phase = pod_status_phase(pod_status(pod));
    return !str_empty(pod_status_pod_ip(pod_status(pod))) && !str_eq(phase, "Succeeded") && !str_eq(phase, "Failed");
}

static bool publishes_all(jval *service) { return service_spec_publish_not_ready_addresses(service_spec(service), false); }

static bool is_ready(jval *pod) { return obj_condition_is(pod, "Ready", "True"); }

static const char *hostname_in(jval *service, jval *pod)
{
    const char *host = pod_spec_hostname(pod_spec(pod));
    return !str_empty(host) && str_eq(pod_spec_subdomain(pod_spec(pod)), obj_name(service)) ? host : NULL;
}

static jmval *target_ref(struct jm *m, jval *pod)
{
    jmval *ref = jm_obj(m);
    object_reference_set_kind(m, ref, "Pod");
    object_reference_set_namespace(m, ref, obj_namespace(pod));
    object_reference_set_name(m, ref, obj_name(pod));
    object_reference_set_uid(m, ref, obj_uid(pod));
    return ref;
}

static jmval *endpoint_of(struct jm *m, jval *service, jval *pod)
{
    jmval *e = jm_obj(m), *addresses = jm_arr(m), *conditions = jm_obj(m);
    const char *host = hostname_in(service, pod), *node = pod_spec_node_name(pod_spec(pod));
    bool ends = obj_deleting(pod), ready = is_ready(pod);
    jm_push(addresses, jm_str(m, pod_status_pod_ip(pod_status(pod))));
    endpoint_set_addresses(m, e, addresses);
    endpoint_conditions_set_ready(m, conditions, publishes_all(service) || (ready && !ends));
    endpoint_conditions_set_serving(m, conditions, ready);
    endpoint_conditions_set_terminating(m, conditions, ends);
    endpoint_set_conditions(m, e, conditions);
    if (host)
        endpoint_set_hostname(m, e, host);
    endpoint_set_target_ref(m, e, target_ref(m, pod));
    if (!str_empty(node))
        endpoint_set_node_name(m, e, node);
    return e;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(obj_name(json_root(*(struct json *const *)a)), obj_name(json_root(*(struct json *const *)b)));
}

/* The pods that count, by name. Borrowed; the caller frees the array. */
static struct json **chosen(jval *service, struct json *const *pods, size_t n, size_t *count)
{
    struct json **out = xcalloc(n + 1, sizeof *out);
    *count = 0;
    for (size_t i = 0; i < n; i++)
        if (selected(service, json_root(pods[i])))
            out[(*count)++] = pods[i];
    qsort(out, *count, sizeof *out, by_name);
    return out;
}

/* ---- doors --------------------------------------------------------------------------------------------------------- */

/* The slice or subset of a group that still has room; made when there is none. */
static jmval *group_for(struct jm *m, jmval *all, struct strmap *groups, jval *service, jval *pod, const char *list, size_t room,
                        bool old)
{
    AUTOFREE char *key = ports_key(service, pod);
    jmval *g = strmap_get(groups, key);
    if (g && jmv_len(jmv_get(g, list)) < room)
        return g;
    g = jm_obj(m);
    jm_push(all, g);
    strmap_put(groups, key, g);
    jmval *ports = ports_of(m, service, pod, old);
    if (jmv_len(ports))
        jm_put(m, g, "ports", ports);
    return g;
}

struct json *endpoints_want(jval *service, struct json *const *pods, size_t n)
{
    struct strmap groups = STRMAP_INIT(NULL);
    size_t count;
    AUTOFREE struct json **list = chosen(service, pods, n, &count);
    JM_NEW(m);
    jmval *all = jm_arr(m);
    jm_set_root(m, all);
    for (size_t i = 0; i < count; i++) {
        jval *pod = json_root(list[i]);
        jmval *g = group_for(m, all, &groups, service, pod, "endpoints", PER_SLICE, false);
        jm_push(jm_arr_at(m, g, "endpoints"), endpoint_of(m, service, pod));
    }
    strmap_free(&groups);
    return jm_freeze(m);
}

static jmval *address_of(struct jm *m, jval *service, jval *pod)
{
    jmval *a = jm_obj(m);
    const char *host = hostname_in(service, pod), *node = pod_spec_node_name(pod_spec(pod));
    endpoint_address_set_ip(m, a, pod_status_pod_ip(pod_status(pod)));
    if (host)
        endpoint_address_set_hostname(m, a, host);
    if (!str_empty(node))
        endpoint_address_set_node_name(m, a, node);
    endpoint_address_set_target_ref(m, a, target_ref(m, pod));
    return a;
}

struct json *endpoints_subsets_want(jval *service, struct json *const *pods, size_t n)
{
    struct strmap groups = STRMAP_INIT(NULL);
    size_t count;
    AUTOFREE struct json **list = chosen(service, pods, n, &count);
    JM_NEW(m);
    jmval *all = jm_arr(m);
    jm_set_root(m, all);
    bool headless = str_eq(service_spec_cluster_ip(service_spec(service)), "None");
    for (size_t i = 0; i < count; i++) {
        jval *pod = json_root(list[i]);
        AUTOFREE char *key = ports_key(service, pod);
        if ((obj_deleting(pod) && !publishes_all(service)) || (!*key && !headless))
            continue;
        jmval *g = group_for(m, all, &groups, service, pod, "addresses", SIZE_MAX, true);
        bool ready = publishes_all(service) || is_ready(pod);
        jm_push(jm_arr_at(m, g, ready ? "addresses" : "notReadyAddresses"), address_of(m, service, pod));
    }
    strmap_free(&groups);
    return jm_freeze(m);
}

static void mirror_addresses(struct jm *m, jmval *to, jval *list, bool ready)
{
    for (size_t i = 0; i < jv_len(list); i++) {
        jval *a = jv_at(list, i);
        jmval *e = jm_obj(m), *addresses = jm_arr(m), *conditions = jm_obj(m);
        jm_push(addresses, jm_val(m, jv_get(a, "ip")));
        endpoint_set_addresses(m, e, addresses);
        endpoint_conditions_set_ready(m, conditions, ready);
        endpoint_set_conditions(m, e, conditions);
        if (!str_empty(endpoint_address_hostname(a)))
            endpoint_set_hostname(m, e, endpoint_address_hostname(a));
        if (jv_is(endpoint_address_target_ref(a), J_OBJECT))
            endpoint_set_target_ref(m, e, jm_val(m, endpoint_address_target_ref(a)));
        if (endpoint_address_node_name(a))
            endpoint_set_node_name(m, e, endpoint_address_node_name(a));
        jm_push(to, e);
    }
}

struct json *endpoints_mirror(jval *endpoints)
{
    JM_NEW(m);
    jmval *all = jm_arr(m);
    jval *subsets = endpoints_subsets(endpoints);
    jm_set_root(m, all);
    for (size_t i = 0; i < jv_len(subsets); i++) {
        jval *s = jv_at(subsets, i), *ports = endpoint_subset_ports(s);
        jmval *g = jm_obj(m);
        mirror_addresses(m, jm_arr_at(m, g, "endpoints"), endpoint_subset_addresses(s), true);
        mirror_addresses(m, jm_arr_at(m, g, "endpoints"), endpoint_subset_not_ready_addresses(s), false);
        for (size_t k = 0; k < jv_len(ports); k++) {
            jval *p = jv_at(ports, k);
            jmval *to = jm_obj(m);
            const char *name = endpoint_port_name(p), *protocol = endpoint_port_protocol(p);
            jm_put(m, to, "name", jm_str(m, name ? name : ""));
            jm_put(m, to, "protocol", jm_str(m, protocol ? protocol : "TCP"));
            jm_put(m, to, "port", jm_i64(m, endpoint_port_port(p, 0)));
            if (endpoint_port_app_protocol(p))
                jm_put(m, to, "appProtocol", jm_str(m, endpoint_port_app_protocol(p)));
            jm_push(jm_arr_at(m, g, "ports"), to);
        }
        jm_push(all, g);
    }
    return jm_freeze(m);
}
