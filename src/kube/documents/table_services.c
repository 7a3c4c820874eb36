/* Rows of Services, what they lead to, and of storage. */
#include <inttypes.h>
#include <stdlib.h>

#include "base/str.h"
#include "kube/documents/table_priv.h"
#include "kube/fields.h"
#include "kube/object.h"

enum { SHOWN = 3 }; /* of a longer list */

static size_t items(jval *list) { return jv_is(list, J_ARRAY) ? jv_len(list) : 0; }

static void cell_more(struct row *r, struct strlist *shown, size_t total, const char *none)
{
    AUTOFREE char *all = strlist_join(shown, ",");
    if (!total)
        cell_str(r, none);
    else if (total > shown->n)
        cell_fmt(r, "%s + %zu more...", all, total - shown->n);
    else
        cell_str(r, all);
}

/* ---- services ------------------------------------------------------------------------------------------------------ */

static void cell_list_or_none(struct row *r, jval *list)
{
    STRLIST(all);
    for (size_t i = 0; i < items(list); i++)
        strlist_add(&all, jv_str_or(jv_at(list, i), ""));
    AUTOFREE char *text = strlist_join(&all, ",");
    cell_or_none(r, text);
}

static void cell_external(struct row *r, jval *o)
{
    jval *spec = service_spec(o), *ingress = load_balancer_status_ingress(service_status_load_balancer(service_status(o)));
    STRLIST(all);
    if (str_eq(service_spec_type(spec), "ExternalName")) {
        cell_str(r, service_spec_external_name(spec));
        return;
    }
    if (!str_eq(service_spec_type(spec), "LoadBalancer")) {
        cell_list_or_none(r, service_spec_external_ips(spec));
        return;
    }
    for (size_t i = 0; i < items(ingress); i++) {
        jval *at = jv_at(ingress, i);
        const char *ip = load_balancer_ingress_ip(at), *host = load_balancer_ingress_hostname(at);
        strlist_add(&all, !str_empty(ip) ? ip : host ? host : "");
    }
    for (size_t i = 0; i < items(service_spec_external_ips(spec)); i++)
        strlist_add(&all, jv_str_or(jv_at(service_spec_external_ips(spec), i), ""));
    AUTOFREE char *text = strlist_join(&all, ",");
    cell_str(r, *text ? text : "<pending>");
}

static void cell_ports(struct row *r, jval *ports)
{
    STRLIST(all);
    for (size_t i = 0; i < items(ports); i++) {
        jval *p = jv_at(ports, i);
        int64_t node = service_port_node_port(p, 0);
        AUTOFREE char *outside = node ? xasprintf(":%" PRId64, node) : xstrdup("");
        strlist_addf(&all, "%" PRId64 "%s/%s", service_port_port(p, 0), outside,
                     service_port_protocol(p) ? service_port_protocol(p) : "");
    }
    AUTOFREE char *text = strlist_join(&all, ",");
    cell_or_none(r, text);
}

static void cell_selector(struct row *r, jval *selector)
{
    STRLIST(all);
    struct jiter it = jv_iter(selector);
    const char *k;
    jval *v;
    while (jv_next(&it, &k, &v))
        strlist_addf(&all, "%s=%s", k, jv_str_or(v, ""));
    strlist_sort(&all);
    AUTOFREE char *text = strlist_join(&all, ",");
    cell_or_none(r, text);
}

void table_service_row(struct row *r, jval *o)
{
    jval *spec = service_spec(o);
    cell_str(r, obj_name(o));
    cell_str(r, service_spec_type(spec));
    cell_or_none(r, jv_str(jv_at(service_spec_cluster_ips(spec), 0)));
    cell_external(r, o);
    cell_ports(r, service_spec_ports(spec));
    cell_since_creation(r, o);
    cell_selector(r, service_spec_selector(spec));
}

static void add_addresses(struct strlist *shown, size_t *total, jval *addresses, int64_t port)
{
    for (size_t i = 0; i < items(addresses); i++, ++*total) {
        const char *ip = jv_str_or(jv_get(jv_at(addresses, i), "ip"), "");
        if (*total < SHOWN && port)
            strlist_addf(shown, "%s:%" PRId64, ip, port);
        else if (*total < SHOWN)
            strlist_add(shown, ip);
    }
}

void table_endpoints_row(struct row *r, jval *o)
{
    STRLIST(shown);
    size_t total = 0;
    jval *subsets = endpoints_subsets(o);
    for (size_t i = 0; i < items(subsets); i++) {
        jval *s = jv_at(subsets, i), *ports = endpoint_subset_ports(s);
        if (!items(ports))
            add_addresses(&shown, &total, endpoint_subset_addresses(s), 0);
        for (size_t k = 0; k < items(ports); k++)
            add_addresses(&shown, &total, endpoint_subset_addresses(s), endpoint_port_port(jv_at(ports, k), 0));
    }
    cell_str(r, obj_name(o));
    cell_more(r, &shown, total, "<none>");
    cell_since_creation(r, o);
}

void table_endpoint_slice_row(struct row *r, jval *o)
{
    STRLIST(ports);
    STRLIST(shown);
    size_t total = 0;
    jval *list = endpoint_slice_ports(o), *endpoints = endpoint_slice_endpoints(o);
    for (size_t i = 0; i < items(list) && i < SHOWN; i++) {
        int64_t port = discovery_endpoint_port_port(jv_at(list, i), 0);
        if (port)
            strlist_addf(&ports, "%" PRId64, port);
        else
            strlist_add(&ports, "*");
    }
    for (size_t i = 0; i < items(endpoints); i++) {
        jval *addresses = endpoint_addresses(jv_at(endpoints, i));
        for (size_t k = 0; k < items(addresses); k++)
            if (total++ < SHOWN)
                strlist_add(&shown, jv_str_or(jv_at(addresses, k), ""));
    }
    cell_str(r, obj_name(o));
    cell_str(r, endpoint_slice_address_type(o));
    cell_more(r, &ports, items(list), "<unset>");
    cell_more(r, &shown, total, "<unset>");
    cell_since_creation(r, o);
}

/* ---- storage ------------------------------------------------------------------------------------------------------- */

static void cell_modes(struct row *r, jval *modes)
{
    static const char *const names[][2] = {
        {"ReadWriteOnce", "RWO"}, {"ReadOnlyMany", "ROX"}, {"ReadWriteMany", "RWX"}, {"ReadWriteOncePod", "RWOP"}};
    STRLIST(all);
    for (size_t k = 0; k < ARRAY_LEN(names); k++)
        for (size_t i = 0; i < items(modes); i++)
            if (str_eq(jv_str(jv_at(modes, i)), names[k][0]) && !strlist_has(&all, names[k][1]))
                strlist_add(&all, names[k][1]);
    AUTOFREE char *text = strlist_join(&all, ",");
    cell_str(r, text);
}

static void cell_unset(struct row *r, const char *s) { cell_str(r, str_empty(s) ? "<unset>" : s); }

static void cell_storage(struct row *r, jval *amounts) { cell_str(r, jv_str(jv_get(amounts, "storage"))); }

static void cell_phase(struct row *r, jval *o, const char *phase) { cell_str(r, obj_deleting(o) ? "Terminating" : phase); }

void table_claim_row(struct row *r, jval *o)
{
    jval *spec = persistent_volume_claim_spec(o), *status = persistent_volume_claim_status(o);
    const char *volume = persistent_volume_claim_spec_volume_name(spec);
    bool has = !str_empty(volume);
    const char *old_class = obj_annotation(o, "volume.beta.kubernetes.io/storage-class");
    cell_str(r, obj_name(o));
    cell_phase(r, o, persistent_volume_claim_status_phase(status));
    cell_str(r, volume);
    cell_storage(r, has ? persistent_volume_claim_status_capacity(status) : NULL);
    cell_modes(r, has ? persistent_volume_claim_status_access_modes(status) : NULL);
    cell_str(r, old_class ? old_class : persistent_volume_claim_spec_storage_class_name(spec));
    cell_unset(r, persistent_volume_claim_spec_volume_attributes_class_name(spec));
    cell_since_creation(r, o);
    cell_unset(r, persistent_volume_claim_spec_volume_mode(spec));
}

void table_volume_row(struct row *r, jval *o)
{
    jval *spec = persistent_volume_spec(o), *status = persistent_volume_status(o),
         *claim = persistent_volume_spec_claim_ref(spec);
    cell_str(r, obj_name(o));
    cell_storage(r, persistent_volume_spec_capacity(spec));
    cell_modes(r, persistent_volume_spec_access_modes(spec));
    cell_str(r, persistent_volume_spec_persistent_volume_reclaim_policy(spec));
    cell_phase(r, o, persistent_volume_status_phase(status));
    if (jv_is(claim, J_OBJECT))
        cell_fmt(r, "%s/%s", object_reference_namespace(claim), object_reference_name(claim));
    else
        cell_str(r, "");
    cell_str(r, persistent_volume_spec_storage_class_name(spec));
    cell_unset(r, persistent_volume_spec_volume_attributes_class_name(spec));
    cell_str(r, persistent_volume_status_reason(status));
    cell_since_creation(r, o);
    cell_unset(r, persistent_volume_spec_volume_mode(spec));
}

void table_storage_class_row(struct row *r, jval *o)
{
    bool dflt = str_eq(obj_annotation(o, "storageclass.kubernetes.io/is-default-class"), "true");
    const char *policy = storage_class_reclaim_policy(o), *mode = storage_class_volume_binding_mode(o);
    JM_NEW(m);
    jm_set_root(m, jm_bool(m, storage_class_allow_volume_expansion(o, false)));
    JSON_REF(expands) = jm_freeze(m);
    cell_fmt(r, "%s%s", obj_name(o), dflt ? " (default)" : "");
    cell_str(r, storage_class_provisioner(o));
    cell_str(r, policy ? policy : "Delete");
    cell_unset(r, mode);
    cell_value(r, json_root(expands));
    cell_since_creation(r, o);
}
