/* services.c - what the server gives to Services: cluster addresses and node ports, each to one at a time.
 *
 * What is taken is what the stored Services say; the map only makes it quick to know and holds what is on its way into the store.
 * An entry whose Service does not have it (any more) counts for nothing, so nothing has to be given back, and after a stop
 * of any kind the store alone decides. Source: kube.md 13.10. */
#include <arpa/inet.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/id.h"
#include "cluster/apiserver/internal.h"
#include "kube/fields.h"
#include "kube/rules/service_range.h"
#include "kube/rules/validate.h"

/* A dry run shows node ports from DRY_RUN_PORT on, as upstream: they are no promise. */
enum { PORT_FIRST = 30000, PORT_LAST = 32767, DRY_RUN_PORT = 32769, TRIES = 200000, BAND_MAX = 256 };

/* Who has it, or is about to. */
struct holder {
    char *key;
    bool on_its_way; /* not stored yet: counts whatever the store says */
};
struct services {
    struct service_range range;
    uint32_t band;        /* the lower addresses are for those who choose themselves */
    pthread_mutex_t lock; /* all below */
    bool loaded;
    struct strmap taken; /* "10.96.0.7", "30001" -> struct holder. A node port is one Service's, whatever its protocol */
};

static void holder_free(void *p)
{
    struct holder *h = p;
    free(h->key);
    free(h);
}

struct services *services_new(const char *cidr, struct err *err)
{
    struct service_range range;
    if (service_range_parse(cidr, &range, err) < 0)
        return NULL;
    struct services *s = xcalloc(1, sizeof *s);
    s->range = range;
    s->band = range.size / 16 > BAND_MAX ? BAND_MAX : range.size / 16;
    pthread_mutex_init(&s->lock, NULL);
    s->taken = STRMAP_INIT(holder_free);
    return s;
}

void services_free(struct services *s)
{
    if (!s)
        return;
    strmap_free(&s->taken);
    pthread_mutex_destroy(&s->lock);
    free(s);
}

static bool needs_address(const char *type) { return !str_eq(type, "ExternalName"); }
static bool needs_node_ports(const char *type) { return str_eq(type, "NodePort") || str_eq(type, "LoadBalancer"); }

static bool is_service(const struct op *op) { return str_eq(op->res->full, "services"); }

/* ---- what is taken ------------------------------------------------------------------------------------------------- */

/* A port of a Service, which may be there once for each protocol; and a node port. */
static char *port_name(const char *protocol, int64_t port) { return xasprintf("%s/%" PRId64, protocol ? protocol : "TCP", port); }
static char *number_name(int64_t port) { return xasprintf("%" PRId64, port); }

static bool has(jval *service, const char *what)
{
    jval *spec = service_spec(service), *ports = service_spec_ports(spec);
    if (str_eq(service_spec_cluster_ip(spec), what))
        return true;
    int64_t n;
    jval *p;
    if (!str_to_i64(what, &n))
        return false;
    if (service_spec_health_check_node_port(spec, 0) == n)
        return true;
    for (struct jiter it = jv_iter(ports); jv_next(&it, NULL, &p);)
        if (service_port_node_port(p, 0) == n)
            return true;
    return false;
}

/* Lock held, as in all of this part. */
static void note(struct services *s, const char *what, const char *key, bool on_its_way)
{
    struct holder *h = xcalloc(1, sizeof *h);
    *h = (struct holder){xstrdup(key), on_its_way};
    strmap_put(&s->taken, what, h);
}

static void load(struct services *s, struct store_coll *coll)
{
    struct store_list all = {0};
    if (s->loaded || store_list(coll, &(struct store_query){0}, &all, NULL) < 0)
        return;
    s->loaded = true;
    for (size_t i = 0; i < all.n; i++) {
        jval *spec = service_spec(obj_root(all.v[i])), *ports = service_spec_ports(spec);
        const char *ip = service_spec_cluster_ip(spec);
        if (!str_empty(ip) && !str_eq(ip, "None"))
            note(s, ip, all.v[i]->key, false);
        for (size_t k = 0; k < jv_len(ports); k++) {
            int64_t n = service_port_node_port(jv_at(ports, k), 0);
            AUTOFREE char *name = number_name(n);
            if (n)
                note(s, name, all.v[i]->key, false);
        }
        AUTOFREE char *check = number_name(service_spec_health_check_node_port(spec, 0));
        if (service_spec_health_check_node_port(spec, 0))
            note(s, check, all.v[i]->key, false);
    }
    store_list_free(&all);
}

static bool is_free(struct services *s, struct store_coll *coll, const char *what, const char *key)
{
    struct holder *h = strmap_get(&s->taken, what);
    if (!h)
        return true;
    if (h->on_its_way)
        return false;
    if (str_eq(h->key, key))
        return true;
    OBJ_REF(o) = store_get(coll, h->key);
    return !o || !has(obj_root(o), what);
}

static bool take(struct services *s, struct store_coll *coll, const char *what, const char *key, struct strlist *got)
{
    if (!is_free(s, coll, what, key))
        return false;
    note(s, what, key, true);
    strlist_add(got, what);
    return true;
}

static uint32_t random_below(uint32_t n)
{
    uint32_t v;
    random_bytes(&v, sizeof v);
    return v % n;
}

/* ---- addresses ----------------------------------------------------------------------------------------------------- */

/* One that nobody has: from the upper band first, as those who choose take from the lower one. */
static bool take_any(struct services *s, struct store_coll *coll, const char *key, char out[INET_ADDRSTRLEN], struct strlist *got)
{
    for (int i = 0; i < TRIES; i++) {
        uint32_t size = s->range.size;
        uint32_t part = i < TRIES / 2 ? s->band + random_below(size - s->band - 1) : 1 + random_below(size - 2);
        struct in_addr a = {.s_addr = htonl(s->range.base | part)};
        inet_ntop(AF_INET, &a, out, INET_ADDRSTRLEN);
        if (take(s, coll, out, key, got))
            return true;
    }
    return false;
}

static void set_address(struct jm *m, jmval *spec, const char *ip)
{
    jmval *list = jm_arr(m);
    jm_push(list, jm_str(m, ip));
    service_spec_set_cluster_ip(m, spec, ip);
    service_spec_set_cluster_ips(m, spec, list);
}

/* The first and the last address of the range are nobody's. */
static bool may_be_given(const struct service_range *r, const char *ip)
{
    struct in_addr a;
    return service_range_has(r, ip) && inet_pton(AF_INET, ip, &a) == 1 && ntohl(a.s_addr) != r->base &&
           ntohl(a.s_addr) != r->base + r->size - 1;
}

static void give_address(struct op *op, jval *old, struct jm *m, const char *key, struct strlist *got, struct faults *f)
{
    struct services *s = op->a->services;
    jmval *spec = service_make_spec(m, jm_root(m));
    const char *ip = jmv_str(service_spec_mut_cluster_ip(spec));
    char any[INET_ADDRSTRLEN];
    if (str_empty(ip) && op->o->dry_run) { /* none is taken, and none that is free is shown as if it were */
        struct in_addr a = {.s_addr = htonl(s->range.base)};
        set_address(m, spec, inet_ntop(AF_INET, &a, any, sizeof any));
        return;
    }
    if (str_empty(ip)) {
        if (take_any(s, op->res->coll, key, any, got))
            set_address(m, spec, any);
        else
            fault_forbidden(f, "spec.clusterIPs", "no address of %s is free", s->range.cidr);
        return;
    }
    if (str_eq(ip, "None") || str_eq(ip, service_spec_cluster_ip(service_spec(old))))
        return;
    JSON_REF(shown) = jm_freeze_val(service_spec_mut_cluster_ips(spec));
    bool within = may_be_given(&s->range, ip);
    if (!within && op->o->dry_run)
        fault_invalid(f, "spec.clusterIPs", json_root(shown),
                      "failed to allocate IP %s: the provided IP (%s) is not in the valid range. The range of valid IPs is %s",
                      ip, ip, s->range.cidr);
    else if (!within)
        fault_invalid(f, "spec.clusterIPs", json_root(shown),
                      "failed to allocate IP %s: the provided network does not match the current range", ip);
    else if (!op->o->dry_run && !take(s, op->res->coll, ip, key, got))
        fault_invalid(f, "spec.clusterIPs", json_root(shown), "failed to allocate IP %s: provided IP is already allocated", ip);
}

static void set_families(struct jm *m, struct faults *f)
{
    jmval *spec = service_make_spec(m, jm_root(m)), *families = service_spec_mut_ip_families(spec);
    const char *policy = jmv_str(service_spec_mut_ip_family_policy(spec));
    bool selects = jmv_len(service_spec_mut_selector(spec)) > 0;
    bool headless = str_eq(jmv_str(service_spec_mut_cluster_ip(spec)), "None");
    jmval *family;
    struct jmiter it = jmv_iter(families);
    for (size_t i = 0; jmv_next(&it, NULL, &family); i++)
        if (str_eq(jmv_str(family), "IPv6") && !(headless && !selects)) {
            AUTOFREE char *member = xasprintf("spec.ipFamilies[%zu]", i);
            fault_invalid_str(f, member, "IPv6", "not configured on this cluster");
        }
    if (str_eq(policy, "RequireDualStack") && !(headless && !selects))
        fault_invalid_str(f, "spec.ipFamilyPolicy", policy, "this cluster is not configured for dual-stack services");
    bool both = headless && !selects && !policy && !jmv_len(families); /* whoever writes its endpoints may have any */
    if (!policy)
        service_spec_set_ip_family_policy(m, spec, both ? "RequireDualStack" : "SingleStack");
    if (jmv_len(families))
        return;
    jmval *list = jm_arr(m);
    jm_push(list, jm_str(m, "IPv4"));
    if (both)
        jm_push(list, jm_str(m, "IPv6"));
    service_spec_set_ip_families(m, spec, list);
}

/* ---- node ports ---------------------------------------------------------------------------------------------------- */

/* The node ports of a service, by number: so that each is found at once. */
static struct strmap node_ports(jval *service)
{
    struct strmap out = STRMAP_INIT(NULL);
    struct jiter it = jv_iter(service_spec_ports(service_spec(service)));
    jval *p;
    while (jv_next(&it, NULL, &p)) {
        AUTOFREE char *name = number_name(service_port_node_port(p, 0));
        if (service_port_node_port(p, 0))
            strmap_put(&out, name, NULL);
    }
    return out;
}

/* What the ports of one service get. */
struct port_gift {
    struct op *op;
    const char *key;
    struct strmap had;    /* its node ports until now */
    struct strmap shared; /* port -> node port: TCP and UDP of one port have one node port */
    struct strmap mine;   /* node port -> port: taken by this request */
    bool update;
    int64_t next_shown; /* dry run: ports that nobody can have */
    struct strlist *got;
    struct faults *f;
};

static void gift_free(struct port_gift *g)
{
    strmap_free(&g->had);
    strmap_free(&g->shared);
    strmap_free(&g->mine);
}

static int64_t port_number(jmval *p)
{
    int64_t n = 0;
    jmv_i64(service_port_mut_port(p), &n);
    return n;
}

static int64_t shared_port(const struct port_gift *g, jmval *p)
{
    char port[24];
    snprintf(port, sizeof port, "%" PRId64, port_number(p));
    return (int64_t)(uintptr_t)strmap_get(&g->shared, port);
}

static void share_port(struct port_gift *g, jmval *p, int64_t n)
{
    char port[24];
    snprintf(port, sizeof port, "%" PRId64, port_number(p));
    strmap_put(&g->shared, port, (void *)(uintptr_t)n);
}

/* True when the service has that node port for p now, and had it or gets it. A dry run takes nothing. */
static bool take_port(struct port_gift *g, jmval *p, int64_t n)
{
    AUTOFREE char *name = number_name(n);
    struct services *s = g->op->a->services;
    void *port = strmap_get(&g->mine, name);
    if (strmap_has(&g->had, name) || port)
        return !port || (int64_t)(uintptr_t)port == port_number(p) || g->update;
    if (g->op->o->dry_run ? !is_free(s, g->op->res->coll, name, g->key) : !take(s, g->op->res->coll, name, g->key, g->got))
        return false;
    strmap_put(&g->mine, name, (void *)(uintptr_t)port_number(p));
    return true;
}

/* A node port for a port that names none; 0: none is free. */
static int64_t any_port(struct port_gift *g, jmval *p)
{
    int64_t any = shared_port(g, p);
    if (g->op->o->dry_run)
        return any ? any : g->next_shown++;
    if (any && take_port(g, p, any))
        return any;
    for (int k = 0; k < TRIES; k++) {
        any = PORT_FIRST + random_below(PORT_LAST - PORT_FIRST + 1);
        AUTOFREE char *name = number_name(any);
        if (!strmap_has(&g->had, name) && !strmap_has(&g->mine, name) && take_port(g, p, any))
            return any;
    }
    return 0;
}

static void give_any_port(struct port_gift *g, struct jm *m, jmval *p, const char *member)
{
    int64_t n = any_port(g, p);
    if (!n) {
        fault_forbidden(g->f, member, "no port of %d-%d is free", PORT_FIRST, PORT_LAST);
        return;
    }
    service_port_set_node_port(m, p, n);
    share_port(g, p, n);
}

static void give_port(struct port_gift *g, struct jm *m, jmval *p, size_t i)
{
    AUTOFREE char *member = xasprintf("spec.ports[%zu].nodePort", i);
    int64_t n = 0;
    if (!jmv_i64(service_port_mut_node_port(p), &n) || !n) {
        give_any_port(g, m, p, member);
        return;
    }
    struct faults *f = g->f;
    AUTOFREE char *name = number_name(n);
    if (strmap_has(&g->had, name))
        return;
    if (!g->op->o->dry_run && (n < PORT_FIRST || n > PORT_LAST)) /* a dry run looks only at who has it, as upstream's */
        fault_invalid_i64(f, member, n, "provided port is not in the valid range. The range of valid ports is %d-%d", PORT_FIRST,
                          PORT_LAST);
    else if (!take_port(g, p, n))
        fault_invalid_i64(f, member, n, "provided port is already allocated");
}

static void give_ports(struct op *op, jval *old, struct jm *m, const char *key, struct strlist *got, struct faults *f)
{
    jmval *spec = service_make_spec(m, jm_root(m));
    const char *type = jmv_str(service_spec_mut_type(spec));
    bool wanted = !str_eq(type, "LoadBalancer") || jmv_bool(service_spec_mut_allocate_load_balancer_node_ports(spec), true);
    if (!needs_node_ports(type))
        return;
    CLEANUP(gift_free)
    struct port_gift g = {.op = op,
                          .key = key,
                          .had = node_ports(old),
                          .shared = STRMAP_INIT(NULL),
                          .mine = STRMAP_INIT(NULL),
                          .update = old,
                          .next_shown = DRY_RUN_PORT,
                          .got = got,
                          .f = f};
    jmval *p;
    int64_t n;
    for (struct jmiter it = jmv_iter(service_spec_mut_ports(spec)); jmv_next(&it, NULL, &p);)
        if (jmv_i64(service_port_mut_node_port(p), &n) && n)
            share_port(&g, p, n);
    struct jmiter it = jmv_iter(service_spec_mut_ports(spec));
    for (size_t i = 0; jmv_next(&it, NULL, &p); i++)
        if (wanted || (jmv_i64(service_port_mut_node_port(p), &n) && n))
            give_port(&g, m, p, i);
}

/* Where a load balancer would ask whether there are endpoints here. Nobody answers there, so none is given; who names one has it
 * to himself. */
static int take_check_port(struct op *op, jval *old, struct jm *m, const char *key, struct strlist *got, struct err *err)
{
    struct services *s = op->a->services;
    int64_t n = 0;
    const char *why = NULL;
    jmv_i64(service_spec_mut_health_check_node_port(service_make_spec(m, jm_root(m))), &n);
    if (!n || n == service_spec_health_check_node_port(service_spec(old), 0))
        return 0;
    AUTOFREE char *name = number_name(n);
    if (op->o->dry_run ? !is_free(s, op->res->coll, name, key)
                       : (n >= PORT_FIRST && n <= PORT_LAST && !take(s, op->res->coll, name, key, got)))
        why = "provided port is already allocated";
    else if (!op->o->dry_run && (n < PORT_FIRST || n > PORT_LAST))
        why = "provided port is not in the valid range. The range of valid ports is 30000-32767";
    return why ? fail_internal(err, "Internal error occurred: failed to allocate requested HealthCheck NodePort %" PRId64 ": %s",
                               n, why)
               : 0;
}

/* ---- doors --------------------------------------------------------------------------------------------------------- */

int services_allocate(struct op *op, jval *old, struct jm *m, struct strlist *got, struct err *err)
{
    if (!is_service(op) || op->sub)
        return 0;
    jmval *spec = service_make_spec(m, jm_root(m));
    if (!needs_address(jmv_str(service_spec_mut_type(spec))))
        return 0;
    FAULTS(f);
    const char *name = jmv_str(object_meta_mut_name(jmv_get(jm_root(m), "metadata")));
    AUTOFREE char *key = obj_key_of(op->ns, name);
    {
        LOCK_GUARD(&op->a->services->lock);
        load(op->a->services, op->res->coll);
        give_address(op, old, m, key, got, &f);
        set_families(m, &f);
        give_ports(op, old, m, key, got, &f);
        if (!faults_any(&f) && take_check_port(op, old, m, key, got, err) == 0)
            return 0;
    }
    services_settle(op, got);
    if (!faults_any(&f))
        return -1;
    return faults_done(&f, "", "Service", name, err);
}

void services_settle(struct op *op, const struct strlist *got)
{
    if (!got->n)
        return;
    LOCK_GUARD(&op->a->services->lock);
    for (size_t i = 0; i < got->n; i++) {
        struct holder *h = strmap_get(&op->a->services->taken, got->v[i]);
        if (h)
            h->on_its_way = false;
    }
}

/* What a change of type leaves behind. */
static void drop_node_ports(jval *old, jmval *spec)
{
    CLEANUP(strmap_free) struct strmap had = node_ports(old);
    struct jmiter it = jmv_iter(service_spec_mut_ports(spec));
    jmval *p;
    while (jmv_next(&it, NULL, &p)) {
        int64_t n = 0;
        jmv_i64(service_port_mut_node_port(p), &n);
        AUTOFREE char *name = number_name(n);
        if (n && strmap_has(&had, name))
            service_port_del_node_port(p);
    }
    service_spec_del_external_traffic_policy(spec);
    service_spec_del_health_check_node_port(spec);
}

static void keep_node_ports(jval *old, struct jm *m, jmval *spec)
{
    CLEANUP(strmap_free) struct strmap had = STRMAP_INIT(NULL); /* protocol and port -> node port */
    jval *h;
    for (struct jiter it = jv_iter(service_spec_ports(service_spec(old))); jv_next(&it, NULL, &h);) {
        AUTOFREE char *name = port_name(service_port_protocol(h), service_port_port(h, 0));
        if (service_port_node_port(h, 0))
            strmap_put(&had, name, (void *)(uintptr_t)service_port_node_port(h, 0));
    }
    struct jmiter it = jmv_iter(service_spec_mut_ports(spec));
    jmval *p;
    while (jmv_next(&it, NULL, &p)) {
        int64_t n = 0, port = 0;
        if ((jmv_i64(service_port_mut_node_port(p), &n) && n) || !jmv_i64(service_port_mut_port(p), &port))
            continue;
        AUTOFREE char *name = port_name(jmv_str(service_port_mut_protocol(p)), port);
        int64_t kept = (int64_t)(uintptr_t)strmap_get(&had, name);
        if (kept)
            service_port_set_node_port(m, p, kept);
    }
}

static void normalize_update(jval *old, struct jm *m, jmval *spec)
{
    jval *was = service_spec(old), *ips = service_spec_cluster_ips(was);
    const char *type = jmv_str(service_spec_mut_type(spec)), *old_type = service_spec_type(was),
               *ip = service_spec_cluster_ip(was);
    const char *now = jmv_str(service_spec_mut_cluster_ip(spec));
    bool same_list = ips && service_spec_mut_cluster_ips(spec) && jmv_equal(service_spec_mut_cluster_ips(spec), ips);
    if (needs_address(type) && needs_address(old_type) && str_empty(now) && !jmv_len(service_spec_mut_cluster_ips(spec))) {
        if (!str_empty(ip))
            set_address(m, spec, ip);
    } else if (!str_empty(now) && !str_eq(now, ip) && (same_list || !jmv_len(service_spec_mut_cluster_ips(spec)))) {
        AUTOFREE char *wanted = xstrdup(now);
        set_address(m, spec, wanted);
    }
    if (needs_address(old_type) && !needs_address(type) && str_eq(jmv_str(service_spec_mut_cluster_ip(spec)), ip)) {
        service_spec_del_cluster_ip(spec);
        service_spec_del_cluster_ips(spec);
        service_spec_del_ip_families(spec);
        service_spec_del_ip_family_policy(spec);
        service_spec_del_internal_traffic_policy(spec);
    }
    if (needs_node_ports(old_type) && !needs_node_ports(type))
        drop_node_ports(old, spec);
    else if (needs_node_ports(old_type))
        keep_node_ports(old, m, spec);
    int64_t checked = service_spec_health_check_node_port(was, 0), check = 0;
    bool checks = str_eq(type, "LoadBalancer") && str_eq(jmv_str(service_spec_mut_external_traffic_policy(spec)), "Local");
    jmv_i64(service_spec_mut_health_check_node_port(spec), &check);
    if (checked && checks && !check)
        service_spec_set_health_check_node_port(m, spec, checked);
    else if (checked && !checks && check == checked)
        service_spec_del_health_check_node_port(spec);
    if (!str_eq(type, "LoadBalancer"))
        service_spec_del_allocate_load_balancer_node_ports(spec);
}

void services_normalize(struct op *op, jval *old, struct jm *m)
{
    if (!is_service(op) || op->sub)
        return;
    jmval *spec = service_make_spec(m, jm_root(m));
    if (old) {
        normalize_update(old, m, spec);
        return;
    }
    const char *ip = jmv_str(service_spec_mut_cluster_ip(spec)), *first = jmv_str(jmv_at(service_spec_mut_cluster_ips(spec), 0));
    if (!str_empty(ip) && !first) {
        AUTOFREE char *given = xstrdup(ip);
        set_address(m, spec, given);
    } else if (str_empty(ip) && !str_empty(first)) {
        service_spec_set_cluster_ip(m, spec, first);
    }
}
