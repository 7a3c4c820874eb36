#include "cluster/node/network/services.h"

#include <ctype.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/ctx.h"
#include "base/fs.h"
#include "cluster/node/network/dns_server.h"
#include "cluster/node/network/podnet.h"
#include "kube/controller.h"
#include "kube/fields.h"
#include "kube/kinds.h"
#include "kube/object.h"

#define LOG_ROOM "node"
#include "base/log.h"

#define KEY     "rules"
#define SETTLE  (20 * NS_PER_MS) /* changes come in bursts */
#define UNREADY (100 * NS_PER_MS)
#define FIRST   (5 * NS_PER_S)

struct service_net {
    struct service_net_config cfg;
    char *table, *instance, *gateway, *kube_addr, *front_addr, *port_file;
    struct informer *services, *slices, *namespaces;
    struct controller_run *run;
    struct dns_server *dns;
    int dns_port;
    char *applied; /* the script that was run last; belongs to the one worker */
};

/* ---- rules --------------------------------------------------------------------------------------------------------- */

static int port_of(const char *address)
{
    const char *colon = address ? strrchr(address, ':') : NULL;
    return colon ? atoi(colon + 1) : 0;
}

static void unref_all(struct json **v, size_t n)
{
    for (size_t i = 0; i < n; i++)
        json_unref(v[i]);
    free(v);
}

static int by_key(const void *a, const void *b)
{
    jval *x = json_root(*(struct json *const *)a), *y = json_root(*(struct json *const *)b);
    int c = strcmp(obj_namespace(x), obj_namespace(y));
    return c ? c : strcmp(obj_name(x), obj_name(y));
}

static char *make_rules(struct service_net *s)
{
    size_t n_services, n_slices;
    struct json **services = informer_list(s->services, &n_services), **slices = informer_list(s->slices, &n_slices);
    const struct rules_local local[] = {{port_of(s->kube_addr), s->kube_addr}, {port_of(s->front_addr), s->front_addr}};
    const struct rules_config cfg = {.table = s->table,
                                     .bridge = s->instance,
                                     .gateway = s->gateway,
                                     .range = s->cfg.range,
                                     .own = s->cfg.own(s->cfg.self),
                                     .local = local,
                                     .n_local = ARRAY_LEN(local),
                                     .dns_port = s->dns_port};
    /* In one order always: the same state gives the same script. */
    qsort(services, n_services, sizeof *services, by_key);
    qsort(slices, n_slices, sizeof *slices, by_key);
    char *rules = service_rules(&cfg, services, n_services, slices, n_slices);
    unref_all(services, n_services);
    unref_all(slices, n_slices);
    return rules;
}

static int reconcile(void *self, const struct ctx *ctx, const char *key, struct reconcile_result *res, struct err *err)
{
    struct service_net *s = self;
    if (!s->cfg.ready(s->cfg.self)) {
        res->again_after_ns = UNREADY;
        return 0;
    }
    AUTOFREE char *rules = make_rules(s);
    if (str_eq(rules, s->applied))
        return 0;
    if (s->cfg.runtime->ops->services(s->cfg.runtime, rules, err) < 0)
        return -1;
    free(s->applied);
    s->applied = TAKE(rules);
    return 0;
}

static void changed(void *self, struct json *old, struct json *now, struct workqueue *q) { workqueue_add_after(q, KEY, SETTLE); }

/* ---- names --------------------------------------------------------------------------------------------------------- */

static struct json *find_service(void *self, const char *ns, const char *name)
{
    struct service_net *s = self;
    AUTOFREE char *key = obj_key_of(ns, name);
    return informer_get(s->services, key);
}

static void each(struct informer *i, const char *ns, void (*fn)(void *arg, jval *o), void *arg)
{
    size_t n;
    struct json **all = informer_list(i, &n);
    for (size_t k = 0; k < n; k++)
        if (!*ns || str_eq(obj_namespace(json_root(all[k])), ns))
            fn(arg, json_root(all[k]));
    unref_all(all, n);
}

static void each_slice(void *self, const char *ns, void (*fn)(void *arg, jval *slice), void *arg)
{
    each(((struct service_net *)self)->slices, ns, fn, arg);
}

static void each_service(void *self, void (*fn)(void *arg, jval *service), void *arg)
{
    each(((struct service_net *)self)->services, "", fn, arg);
}

static bool has_namespace(void *self, const char *ns)
{
    JSON_REF(o) = informer_get(((struct service_net *)self)->namespaces, ns);
    return o != NULL;
}

static char *resolvers(void *self)
{
    BUF(text);
    return podnet_read_resolv(&text, NULL) == 0 ? buf_steal(&text, NULL) : NULL;
}

/* The port of the last time, when it is free: pods that go on asking from the same port are led to where they were. */
static int start_dns(struct service_net *s, struct err *err)
{
    BUF(last);
    int64_t port = 0;
    if (fs_read(s->port_file, 16, &last, NULL) == 0 && str_to_i64(buf_str(&last), &port) && port > 0 && port < 65536)
        s->dns_port = (int)port;
    struct dns_server_config cfg = {.zone = {.service = find_service,
                                             .slices = each_slice,
                                             .services = each_service,
                                             .namespace_exists = has_namespace,
                                             .self = s},
                                    .listen = "127.0.0.1",
                                    .avoid = s->cfg.range.dns,
                                    .resolvers = resolvers};
    s->dns = dns_server_start(&cfg, &s->dns_port, err);
    if (!s->dns) {
        s->dns_port = 0;
        return -1;
    }
    AUTOFREE char *text = xasprintf("%d", s->dns_port);
    ERR(e);
    if (s->dns_port != port && fs_write_atomic(s->port_file, text, strlen(text), 0600, &e) < 0)
        log_warn("%s", err_text(&e));
    return 0;
}

/* ---- environment --------------------------------------------------------------------------------------------------- */

static char *env_name(const char *service)
{
    char *name = xstrdup(service);
    for (char *c = name; *c; c++)
        *c = *c == '-' ? '_' : (char)toupper((unsigned char)*c);
    return name;
}

static void put(struct strmap *vars, char *value, const char *fmt, ...) PRINTF_LIKE(3, 4);
static void put(struct strmap *vars, char *value, const char *fmt, ...)
{
    va_list ap;
    char name[512];
    va_start(ap, fmt);
    vsnprintf(name, sizeof name, fmt, ap);
    va_end(ap);
    strmap_put(vars, name, value);
}

static void put_port(struct strmap *vars, const char *prefix, const char *ip, jval *port, bool first)
{
    int64_t n = service_port_port(port, 0);
    const char *protocol = service_port_protocol(port) ? service_port_protocol(port) : "TCP";
    AUTOFREE char *lower = xstrdup(protocol);
    for (char *c = lower; *c; c++)
        *c = (char)tolower((unsigned char)*c);
    if (first) {
        put(vars, xasprintf("%" PRId64, n), "%s_SERVICE_PORT", prefix);
        put(vars, xasprintf("%s://%s:%" PRId64, lower, ip, n), "%s_PORT", prefix);
    }
    if (!str_empty(service_port_name(port))) {
        AUTOFREE char *name = env_name(service_port_name(port));
        put(vars, xasprintf("%" PRId64, n), "%s_SERVICE_PORT_%s", prefix, name);
    }
    put(vars, xasprintf("%s://%s:%" PRId64, lower, ip, n), "%s_PORT_%" PRId64 "_%s", prefix, n, protocol);
    put(vars, xstrdup(lower), "%s_PORT_%" PRId64 "_%s_PROTO", prefix, n, protocol);
    put(vars, xasprintf("%" PRId64, n), "%s_PORT_%" PRId64 "_%s_PORT", prefix, n, protocol);
    put(vars, xstrdup(ip), "%s_PORT_%" PRId64 "_%s_ADDR", prefix, n, protocol);
}

static void put_service(void *arg, jval *service)
{
    struct strmap *vars = arg;
    jval *spec = service_spec(service), *ports = service_spec_ports(spec);
    const char *ip = service_spec_cluster_ip(spec);
    if (str_empty(ip) || str_eq(ip, "None"))
        return;
    AUTOFREE char *prefix = env_name(obj_name(service));
    put(vars, xstrdup(ip), "%s_SERVICE_HOST", prefix);
    for (size_t i = 0; i < jv_len(ports); i++)
        put_port(vars, prefix, ip, jv_at(ports, i), i == 0);
}

void service_net_env(struct service_net *s, const char *ns, struct strmap *vars)
{
    if (s)
        each(s->services, ns, put_service, vars);
}

/* ---- life ---------------------------------------------------------------------------------------------------------- */

static struct informer *watch(struct service_net *s, const struct kube_res *res)
{
    return informer_new(&(struct informer_config){.kube = s->cfg.kube, .res = res, .clock = s->cfg.clock});
}

struct service_net *service_net_start(const struct service_net_config *cfg, struct err *err)
{
    struct service_net *s = xcalloc(1, sizeof *s);
    s->cfg = *cfg;
    s->table = xasprintf("%s-services", cfg->instance);
    s->instance = xstrdup(cfg->instance);
    s->gateway = xstrdup(cfg->gateway);
    s->port_file = fs_join(cfg->node_dir, "dns-port");
    s->kube_addr = xstrdup(cfg->kube_addr);
    s->front_addr = xstrdup(cfg->front_addr);
    s->services = watch(s, &KUBE_SERVICES);
    s->slices = watch(s, &KUBE_ENDPOINTSLICES);
    s->namespaces = watch(s, &KUBE_NAMESPACES);
    struct controller_source sources[] = {{.informer = s->services, .map = changed}, {.informer = s->slices, .map = changed}};
    const struct controller def = {
        .name = "services", .sources = sources, .n_sources = ARRAY_LEN(sources), .workers = 1, .reconcile = reconcile};
    if (start_dns(s, err) < 0) /* Services have addresses all the same */
        log_warn("names of Services are not answered: %s", err_text(err));
    err_clear(err);
    s->run = controller_start(&def, s, s->cfg.clock, 10 * NS_PER_MS);
    struct informer *const all[] = {s->services, s->slices, s->namespaces};
    struct ctx base = ctx_background(), ctx = ctx_with_timeout(&base, FIRST);
    for (size_t i = 0; i < ARRAY_LEN(all); i++)
        informer_start(all[i]);
    for (size_t i = 0; i < ARRAY_LEN(all); i++)
        if (informer_wait_synced(all[i], &ctx, err) < 0)
            log_warn("Services are not known yet: %s", err_text(err));
    err_clear(err);
    workqueue_add(controller_queue(s->run), KEY); /* also when there is none */
    return s;
}

void service_net_stop(struct service_net *s)
{
    if (!s)
        return;
    dns_server_stop(s->dns);
    controller_stop(s->run);
    informer_stop(s->services);
    informer_stop(s->slices);
    informer_stop(s->namespaces);
    free(s->applied);
    free(s->table);
    free(s->instance);
    free(s->gateway);
    free(s->port_file);
    free(s->kube_addr);
    free(s->front_addr);
    free(s);
}
