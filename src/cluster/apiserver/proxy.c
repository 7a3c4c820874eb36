/* proxy.c - services/{[scheme:]name[:port]}/proxy/...: to an API that lives in this process, or to a ready endpoint. */
#include <stdlib.h>

#include "base/id.h"
#include "cluster/apiserver/proxy_priv.h"
#include "kube/fields.h"

#define SERVICE_LABEL "kubernetes.io/service-name"

/* The name of the Service's port that is meant: by its number, or by its name. The only one needs none. */
static int port_name(jval *service, const char *text, const char **name, struct err *err)
{
    jval *ports = service_spec_ports(service_spec(service));
    int64_t n = 0;
    bool number = str_to_i64(text, &n);
    for (size_t i = 0; i < jv_len(ports); i++) {
        jval *p = jv_at(ports, i);
        const char *own = service_port_name(p) ? service_port_name(p) : "";
        if (number ? service_port_port(p, 0) == n : str_eq(own, text) || (!*text && jv_len(ports) == 1)) {
            *name = own;
            return 0;
        }
    }
    return number
               ? err_set(err, ERR_UNAVAILABLE, "no service port %lld found for service \"%s\"", (long long)n, obj_name(service))
               : err_set(err, ERR_UNAVAILABLE, "no endpoints available for service \"%s\"", obj_name(service));
}

struct place {
    char *ip;
    int64_t port;
};

static bool is_slice_of(void *service, jval *slice) { return str_eq(obj_label(slice, SERVICE_LABEL), service); }

static void add_places(jval *slice, const char *port, struct place **out, size_t *n)
{
    jval *ports = endpoint_slice_ports(slice), *list = endpoint_slice_endpoints(slice);
    if (!str_eq(endpoint_slice_address_type(slice), "IPv4"))
        return;
    for (size_t i = 0; i < jv_len(ports); i++) {
        const char *name = discovery_endpoint_port_name(jv_at(ports, i));
        for (size_t k = 0; str_eq(name ? name : "", port) && k < jv_len(list); k++) {
            const char *ip = jv_str(jv_at(endpoint_addresses(jv_at(list, k)), 0));
            if (!ip || !endpoint_conditions_ready(endpoint_conditions(jv_at(list, k)), true))
                continue;
            *out = xreallocarray(*out, *n + 1, sizeof **out);
            (*out)[(*n)++] = (struct place){xstrdup(ip), discovery_endpoint_port_port(jv_at(ports, i), 0)};
        }
    }
}

/* Any of the ready ones. */
static int choose(struct apiserver *a, const char *ns, const char *service, const char *port, struct place *out, struct err *err)
{
    struct store_list slices = {0};
    AUTOFREE struct place *all = NULL;
    size_t n = 0;
    uint32_t any;
    if (store_list(a->slices, &(struct store_query){.ns = ns}, &slices, err) < 0)
        return -1;
    for (size_t i = 0; i < slices.n; i++)
        if (is_slice_of((void *)service, obj_root(slices.v[i])))
            add_places(obj_root(slices.v[i]), port, &all, &n);
    store_list_free(&slices);
    if (!n)
        return err_set(err, ERR_UNAVAILABLE, "no endpoints available for service \"%s\"", service);
    random_bytes(&any, sizeof any);
    *out = all[any % n];
    for (size_t i = 0; i < n; i++)
        if (i != any % n)
            free(all[i].ip);
    return 0;
}

static const struct http_api *backend_of(const struct apiserver *a, const char *ns, const char *name)
{
    for (size_t i = 0; i < a->n_backends; i++)
        if (str_eq(a->backends[i].ns, ns) && str_eq(a->backends[i].name, name))
            return a->backends[i].api;
    return NULL;
}

int handle_proxy(struct apiserver *a, struct ctx *ctx, struct http_req *req, struct http_res *res, const struct reqinfo *ri,
                 struct err *err)
{
    CLEANUP(relay_target_free) struct relay_target t = {0};
    relay_parse(ri->name, &t);
    const struct http_api *api = backend_of(a, ri->ns, t.name);
    if (api) {
        char *path = http_alloc(req, strlen(ri->rest) + 2);
        path[0] = '/';
        strcpy(path + 1, ri->rest);
        http_dispatch(api, ctx, req, res, path, true);
        return 0;
    }
    AUTOFREE char *key = xasprintf("%s/%s", ri->ns, t.name);
    OBJ_REF(service) = store_get(a->service_objects, key);
    if (!service) {
        err_set(err, ERR_NOT_FOUND, "services \"%s\" not found", t.name);
        err_subject(err, "", "services", t.name);
        return -1;
    }
    const char *port = "";
    struct place p = {0};
    if (port_name(obj_root(service), t.port, &port, err) < 0 || choose(a, ri->ns, t.name, port, &p, err) < 0)
        return -1;
    int rc = relay_to(&t, p.ip, p.port, ctx, req, res, ri, err);
    free(p.ip);
    return rc;
}
