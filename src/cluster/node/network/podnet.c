#include "cluster/node/network/podnet.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <unistd.h>

#include "base/fs.h"
#include "base/str.h"
#include "base/thread.h"
#include "cluster/node/network/service_claim.h"

#define LOG_ROOM "node"
#include "base/log.h"

enum { AHEAD = 4, FILL_PAUSE_US = 30000, GATEWAY_PART = 1, FIRST_PART = 2 };

struct podnet {
    struct helper *helper;
    struct service_range services;
    char *node_dir, *instance, *kube_addr, *front_addr, *cidr;
    uint32_t base, mask; /* host byte order */
    int prefix, mtu;
    char gateway[INET_ADDRSTRLEN];
    bool we_forward; /* ip_forward was off before us */
    bool reach_metadata;
    struct pool *worker;
    pthread_mutex_t lock; /* all below */
    bool up, stopping, filling, has_services;
    uint8_t *used; /* one bit an address */
    uint32_t next; /* addresses are used in turn: one that just went is not given again at once */
    uint32_t ahead[AHEAD];
    size_t n_ahead;
};

/* ---- what the machine has ------------------------------------------------------------------------------------------ */

static bool cidr_parse(const char *cidr, uint32_t *base, int *prefix)
{
    STRLIST(p);
    struct in_addr a;
    int64_t bits;
    str_split(cidr, '/', &p);
    if (p.n != 2 || inet_pton(AF_INET, p.v[0], &a) != 1 || !str_to_i64(p.v[1], &bits) || bits < 16 || bits > 28)
        return false;
    *prefix = (int)bits;
    *base = ntohl(a.s_addr) & (~0U << (32 - bits));
    return true;
}

/* Calls for each IPv4 route; values of /proc/net/route are hexadecimal in network byte order. */
static void each_route(void (*fn)(void *self, const char *dev, uint32_t dest, uint32_t mask), void *self)
{
    BUF(b);
    STRLIST(lines);
    if (fs_read("/proc/net/route", 8 << 20, &b, NULL) < 0)
        return;
    str_split(buf_str(&b), '\n', &lines);
    for (size_t i = 1; i < lines.n; i++) {
        STRLIST(f);
        str_split(lines.v[i], '\t', &f);
        if (f.n >= 8)
            fn(self, f.v[0], ntohl((uint32_t)strtoul(f.v[1], NULL, 16)), ntohl((uint32_t)strtoul(f.v[7], NULL, 16)));
    }
}

struct overlap {
    uint32_t base, mask;
    const char *own;
    char *found;
};

static void overlap_one(void *self, const char *dev, uint32_t dest, uint32_t mask)
{
    struct overlap *o = self;
    uint32_t both = mask & o->mask;
    if (o->found || mask == 0 || str_eq(dev, o->own) || (dest & both) != (o->base & both))
        return;
    struct in_addr a = {.s_addr = htonl(dest)};
    char text[INET_ADDRSTRLEN];
    o->found = xasprintf("%s/%d on %s", inet_ntop(AF_INET, &a, text, sizeof text), __builtin_popcount(mask), dev);
}

char *podnet_conflict(const char *cidr, const char *own_bridge)
{
    struct overlap o = {.own = own_bridge};
    int prefix;
    if (!cidr_parse(cidr, &o.base, &prefix))
        return xasprintf("\"%s\" is no IPv4 range of /16 to /28", cidr);
    o.mask = ~0U << (32 - prefix);
    each_route(overlap_one, &o);
    return o.found;
}

char *podnet_choose_cidr(const char *instance, const char *claims_dir, int *hold)
{
    *hold = -1;
    uint32_t h = 2166136261U;
    for (const char *c = instance; *c; c++)
        h = (h ^ (uint8_t)*c) * 16777619U;
    for (unsigned i = 0; i < 128; i++) {
        unsigned second = 64 + (h + i) % 128;
        /* 10.96.0.0/12 is where Services have their addresses. */
        AUTOFREE char *cidr = second >> 4 == 96 >> 4 ? NULL : xasprintf("10.%u.0.0/16", second);
        if (!cidr || !range_claim(claims_dir, "pods", cidr, hold))
            continue;
        AUTOFREE char *conflict = podnet_conflict(cidr, NULL);
        if (!conflict)
            return TAKE(cidr);
        service_claim_drop(*hold);
    }
    *hold = -1;
    return NULL;
}

static void default_dev(void *self, const char *dev, uint32_t dest, uint32_t mask)
{
    char **out = self;
    if (dest == 0 && mask == 0 && !*out)
        *out = xstrdup(dev);
}

static int uplink_mtu(void)
{
    AUTOFREE char *dev = NULL;
    BUF(b);
    each_route(default_dev, &dev);
    if (!dev)
        return 1500;
    AUTOFREE char *path = xasprintf("/sys/class/net/%s/mtu", dev);
    int mtu = fs_read(path, 32, &b, NULL) == 0 ? atoi(buf_str(&b)) : 1500;
    return mtu >= 576 && mtu <= 65535 ? mtu : 1500;
}

static bool is_loopback(const char *ip) { return str_starts(ip, "127.") || str_eq(ip, "::1"); }

/* The files in which the machine's real resolvers may be: a forwarder on the loopback knows them from elsewhere. */
int podnet_read_resolv(struct buf *out, struct err *err)
{
    if (fs_read("/etc/resolv.conf", 65536, out, err) < 0)
        return -1;
    if (!strstr(buf_str(out), "127.0.0.53"))
        return 0;
    BUF(real);
    if (fs_read("/run/systemd/resolve/resolv.conf", 65536, &real, NULL) == 0) {
        buf_reset(out);
        buf_add(out, real.data, real.len);
    }
    return 0;
}

char *podnet_resolv_conf(const char *gateway, struct err *err)
{
    BUF(in);
    BUF(out);
    STRLIST(lines);
    ERR(e);
    if (podnet_read_resolv(&in, &e) < 0 && e.sys_errno != ENOENT) {
        err_move(err, &e);
        return NULL;
    }
    str_split(buf_str(&in), '\n', &lines);
    for (size_t i = 0; i < lines.n; i++) {
        char *s = lines.v[i];
        s[strcspn(s, "#;")] = 0;
        if (str_starts(s, "nameserver")) {
            char *ip = s + strlen("nameserver");
            ip += strspn(ip, " \t");
            ip[strcspn(ip, " \t\r")] = 0;
            /* Pods have IPv4 only. */
            if (is_loopback(ip))
                buf_addf(&out, "nameserver %s\n", gateway);
            else if (!strchr(ip, ':'))
                buf_addf(&out, "nameserver %s\n", ip);
        } else if (str_starts(s, "search") || str_starts(s, "domain") || str_starts(s, "options")) {
            buf_addf(&out, "%s\n", s);
        }
    }
    return buf_steal(&out, NULL);
}

/* A resolver on the machine's loopback, to which pods' questions are sent on; NULL when there is none. */
static char *loopback_resolver(void)
{
    BUF(in);
    STRLIST(lines);
    if (podnet_read_resolv(&in, NULL) < 0)
        return NULL;
    str_split(buf_str(&in), '\n', &lines);
    for (size_t i = 0; i < lines.n; i++) {
        const char *ip = lines.v[i] + strcspn(lines.v[i], " \t");
        ip += strspn(ip, " \t");
        if (str_starts(lines.v[i], "nameserver") && str_starts(ip, "127."))
            return xstrndup(ip, strcspn(ip, " \t\r"));
    }
    return NULL;
}

/* ---- rules ------------------------------------------------------------------------------------------------------------ */

/* "127.0.0.1:6443" to its parts. False for what is not IPv4. */
static bool split_addr(const char *addr, char ip[INET_ADDRSTRLEN], int *port)
{
    const char *colon = addr ? strrchr(addr, ':') : NULL;
    struct in_addr a;
    if (!colon || (size_t)(colon - addr) >= INET_ADDRSTRLEN)
        return false;
    memcpy(ip, addr, (size_t)(colon - addr));
    ip[colon - addr] = 0;
    if (str_eq(ip, "localhost"))
        snprintf(ip, INET_ADDRSTRLEN, "127.0.0.1");
    *port = atoi(colon + 1);
    return inet_pton(AF_INET, ip, &a) == 1 && *port > 0 && *port < 65536;
}

static void add_service(const struct podnet *n, struct buf *b, const char *ip, int port, const char *addr)
{
    char to[INET_ADDRSTRLEN];
    int to_port;
    if (!split_addr(addr, to, &to_port))
        return;
    buf_addf(b, "    iifname \"%s\" ip daddr %s tcp dport %d dnat ip to %s:%d\n", n->instance, ip, port ? port : to_port,
             str_eq(to, "0.0.0.0") ? n->gateway : to, to_port);
}

/* Where clouds tell a machine its credentials: the link-local range, Azure's and Alibaba's own. Names may be asked there: on some
 * clouds it is the machine's name server. */
#define METADATA "{ 169.254.0.0/16, 168.63.129.16, 100.100.100.200 }"

static void add_forbidden(const struct podnet *n, struct buf *b)
{
    const char *t = n->instance;
    /* Pods have IPv4 only; one that gives itself an address of IPv6 gets nowhere with it. */
    buf_addf(b, "    iifname \"%s\" meta nfproto ipv6 drop\n", t);
    if (n->reach_metadata)
        return;
    buf_addf(b, "    iifname \"%s\" ip daddr " METADATA " meta l4proto { tcp, udp } th dport 53 accept\n", t);
    buf_addf(b, "    iifname \"%s\" ip daddr " METADATA " reject with icmp type admin-prohibited\n", t);
}

char *podnet_rules(const struct podnet *n, const char *resolver)
{
    BUF(b);
    const char *t = n->instance;
    buf_addf(&b, "table inet %s {}\ndelete table inet %s\ntable inet %s {\n", t, t, t);
    /* route_localnet lets our own DNAT reach the loopback; nobody else may aim there, nor lie about where he is. */
    buf_addf(&b, "  chain early {\n    type filter hook prerouting priority raw; policy accept;\n");
    buf_addf(&b, "    iifname \"%s\" ip daddr 127.0.0.0/8 drop\n    iifname \"%s\" ip saddr != %s drop\n  }\n", t, t, n->cidr);
    buf_addf(&b, "  chain to_services {\n    type nat hook prerouting priority dstnat; policy accept;\n");
    add_service(n, &b, n->services.api, 443, n->kube_addr);
    add_service(n, &b, n->gateway, 0, n->kube_addr);
    add_service(n, &b, n->gateway, 0, n->front_addr);
    for (int udp = 0; resolver && udp < 2; udp++)
        buf_addf(&b, "    iifname \"%s\" ip daddr %s %s dport 53 dnat ip to %s\n", t, n->gateway, udp ? "udp" : "tcp", resolver);
    buf_addf(&b, "  }\n  chain from_pods {\n    type filter hook input priority filter; policy accept;\n");
    buf_addf(&b, "    iifname \"%s\" ct state established,related accept\n", t);
    buf_addf(&b, "    iifname \"%s\" ct status dnat accept\n", t);
    buf_addf(&b, "    iifname \"%s\" icmp type echo-request accept\n    iifname \"%s\" drop\n  }\n", t, t);
    buf_addf(&b, "  chain through {\n    type filter hook forward priority filter; policy accept;\n");
    add_forbidden(n, &b);
    buf_addf(&b,
             "    iifname \"%s\" accept\n    oifname \"%s\" ct state established,related accept\n"
             "    oifname \"%s\" ct status dnat accept\n    oifname \"%s\" drop\n  }\n",
             t, t, t, t);
    /* Pods reach each other through us (helper_net.h); nobody is to tell them of a shorter way. */
    buf_addf(&b, "  chain no_shorter_way {\n    type filter hook output priority filter; policy accept;\n");
    buf_addf(&b, "    oifname \"%s\" icmp type redirect drop\n  }\n", t);
    buf_addf(&b, "  chain outwards {\n    type nat hook postrouting priority srcnat; policy accept;\n");
    buf_addf(&b, "    ip saddr %s oifname != \"%s\" masquerade\n  }\n}\n", n->cidr, t);
    return buf_steal(&b, NULL);
}

/* ---- addresses ---------------------------------------------------------------------------------------------------------- */

static void text_of(const struct podnet *n, uint32_t part, char out[INET_ADDRSTRLEN])
{
    struct in_addr a = {.s_addr = htonl(n->base | part)};
    inet_ntop(AF_INET, &a, out, INET_ADDRSTRLEN);
}

static bool is_used(const struct podnet *n, uint32_t part) { return n->used[part / 8] & (1U << part % 8); }

static void set_used(struct podnet *n, uint32_t part, bool used)
{
    if (used)
        n->used[part / 8] |= (uint8_t)(1U << part % 8);
    else
        n->used[part / 8] &= (uint8_t) ~(1U << part % 8);
}

/* Lock held. */
static int next_free(struct podnet *n, uint32_t *part, struct err *err)
{
    uint32_t last = ~n->mask - 1; /* the broadcast address is above */
    for (uint32_t tries = 0; tries <= last; tries++) {
        uint32_t p = n->next < FIRST_PART || n->next > last ? FIRST_PART : n->next;
        n->next = p + 1;
        if (!is_used(n, p)) {
            set_used(n, p, true);
            *part = p;
            return 0;
        }
    }
    return err_set(err, ERR_UNAVAILABLE, "no free address in %s: %u are in use", n->cidr, last - FIRST_PART + 1);
}

/* The part of the address that a name says; 0 when the name is not one of ours. */
static uint32_t part_of(const struct podnet *n, const char *name)
{
    size_t len = strlen(n->instance);
    if (strncmp(name, n->instance, len) != 0 || name[len] != '-' || strlen(name + len + 1) != 4)
        return 0;
    uint32_t part = (uint32_t)strtoul(name + len + 1, NULL, 16);
    return part >= FIRST_PART && part < ~n->mask ? part : 0;
}

static char *name_of(const struct podnet *n, uint32_t part) { return xasprintf("%s-%04x", n->instance, part); }

static int namespace_add(struct podnet *n, uint32_t part, struct err *err)
{
    char ip[INET_ADDRSTRLEN], mtu[16];
    AUTOFREE char *name = name_of(n, part);
    text_of(n, part, ip);
    snprintf(mtu, sizeof mtu, "%d", n->mtu);
    return helper_ask(n->helper, HELPER_NETNS_ADD, NULL, err, name, ip, n->gateway, n->instance, mtu, NULL);
}

/* The worker: makes namespaces ahead until there are enough. */
static void fill(void *arg)
{
    struct podnet *n = arg;
    for (;;) {
        uint32_t part;
        bool in_stock;
        ERR(e);
        {
            LOCK_GUARD(&n->lock);
            in_stock = n->n_ahead > 0 && !n->stopping;
        }
        /* Who took one starts a pod now, and wants the processors. */
        if (in_stock)
            usleep(FILL_PAUSE_US);
        {
            LOCK_GUARD(&n->lock);
            if (n->stopping || n->n_ahead == AHEAD || next_free(n, &part, &e) < 0) {
                n->filling = false;
                return;
            }
        }
        int rc = namespace_add(n, part, &e);
        LOCK_GUARD(&n->lock);
        if (rc < 0) {
            log_warn("making a network namespace ahead: %s", err_text(&e));
            set_used(n, part, false);
            n->filling = false;
            return;
        }
        n->ahead[n->n_ahead++] = part;
    }
}

/* Lock held. */
static void want_fill(struct podnet *n)
{
    if (!n->filling && !n->stopping && n->up && n->n_ahead < AHEAD)
        n->filling = pool_submit(n->worker, fill, n);
}

/* ---- face --------------------------------------------------------------------------------------------------------------- */

struct podnet *podnet_new(const struct podnet_config *cfg, struct err *err)
{
    uint32_t base;
    int prefix;
    if (!cidr_parse(cfg->cidr, &base, &prefix)) {
        err_set(err, ERR_BAD_REQUEST, "pod network \"%s\" is no IPv4 range of /16 to /28, as 10.87.0.0/16 is", cfg->cidr);
        return NULL;
    }
    struct podnet *n = xcalloc(1, sizeof *n);
    n->helper = cfg->helper;
    n->node_dir = xstrdup(cfg->node_dir);
    n->instance = xstrdup(cfg->instance);
    n->kube_addr = xstrdup(cfg->kube_addr);
    n->front_addr = xstrdup(cfg->front_addr);
    n->cidr = xstrdup(cfg->cidr);
    n->base = base;
    n->prefix = prefix;
    n->services = cfg->services;
    n->reach_metadata = cfg->reach_metadata;
    n->mask = ~0U << (32 - prefix);
    n->mtu = uplink_mtu();
    n->used = xcalloc(1, 65536 / 8);
    text_of(n, GATEWAY_PART, n->gateway);
    pthread_mutex_init(&n->lock, NULL);
    n->worker = pool_new("podnet", 1, 4);
    return n;
}

const char *podnet_gateway(const struct podnet *n) { return n->gateway; }
bool podnet_has_services(struct podnet *n)
{
    LOCK_GUARD(&n->lock);
    return n->has_services;
}

int podnet_up(struct podnet *n, struct err *err)
{
    char prefix[16], mtu[16];
    AUTOFREE char *conflict = podnet_conflict(n->cidr, n->instance);
    if (conflict)
        return err_set(err, ERR_CONFLICT, "the pod network %s overlaps the machine's route %s; choose another with --pod-cidr",
                       n->cidr, conflict);
    AUTOFREE char *taken = podnet_conflict(n->services.cidr, n->instance);
    if (taken)
        log_warn("this machine's own processes and pods of its network do not reach Services of this cluster: %s overlaps the "
                 "route %s",
                 n->services.cidr, taken);
    AUTOFREE char *resolver = loopback_resolver(), *rules = podnet_rules(n, resolver);
    HELPER_ANSWER(a);
    snprintf(prefix, sizeof prefix, "%d", n->prefix);
    snprintf(mtu, sizeof mtu, "%d", n->mtu);
    if (helper_ask(n->helper, HELPER_NET_UP, &a, err, n->instance, n->gateway, prefix, mtu, rules, taken ? "" : n->services.cidr,
                   NULL) < 0)
        return -1;
    /* Remembered beyond our own life: who takes the network back must know what was there before us. */
    AUTOFREE char *mark = fs_join(n->node_dir, "forwarding-was-off");
    if (str_eq(a.text, "0") && fs_write_atomic(mark, "", 0, 0600, err) < 0)
        return -1;
    LOCK_GUARD(&n->lock);
    n->we_forward = fs_exists(mark);
    n->up = true;
    n->has_services = !taken;
    return 0;
}

int podnet_adopt(struct podnet *n, const struct sandbox *const *used, size_t n_used, struct err *err)
{
    AUTOFREE char *dir = fs_join(n->node_dir, "net");
    STRLIST(stale);
    {
        LOCK_GUARD(&n->lock);
        for (size_t i = 0; i < n_used; i++)
            if (part_of(n, used[i]->name))
                set_used(n, part_of(n, used[i]->name), true);
        DIR *d = opendir(dir);
        for (struct dirent *e; d && (e = readdir(d));)
            if (part_of(n, e->d_name) && !is_used(n, part_of(n, e->d_name)))
                strlist_add(&stale, e->d_name);
        if (d)
            closedir(d);
    }
    for (size_t i = 0; i < stale.n; i++)
        if (helper_ask(n->helper, HELPER_NETNS_DEL, NULL, err, stale.v[i], NULL) < 0)
            return -1;
    LOCK_GUARD(&n->lock);
    want_fill(n);
    return 0;
}

int podnet_take(struct podnet *n, struct sandbox *out, struct err *err)
{
    uint32_t part;
    bool ready = false;
    {
        LOCK_GUARD(&n->lock);
        if (n->n_ahead) {
            part = n->ahead[--n->n_ahead];
            ready = true;
        } else if (next_free(n, &part, err) < 0) {
            return -1;
        }
        want_fill(n);
    }
    if (!ready && namespace_add(n, part, err) < 0) {
        LOCK_GUARD(&n->lock);
        set_used(n, part, false);
        return -1;
    }
    char ip[INET_ADDRSTRLEN];
    text_of(n, part, ip);
    char *name = name_of(n, part);
    *out = (struct sandbox){.name = name,
                            .ip = xstrdup(ip),
                            .net_path = xasprintf("%s/net/%s", n->node_dir, name),
                            .ipc_path = xasprintf("%s/ipc/%s", n->node_dir, name)};
    return 0;
}

int podnet_give_back(struct podnet *n, const char *name, struct err *err)
{
    uint32_t part = part_of(n, name);
    if (!part)
        return 0;
    if (helper_ask(n->helper, HELPER_NETNS_DEL, NULL, err, name, NULL) < 0)
        return -1;
    LOCK_GUARD(&n->lock);
    set_used(n, part, false);
    return 0;
}

static void take_down(struct podnet *n)
{
    AUTOFREE char *dir = fs_join(n->node_dir, "net"), *mark = fs_join(n->node_dir, "forwarding-was-off");
    DIR *d = opendir(dir);
    ERR(e);
    for (struct dirent *entry; d && (entry = readdir(d));)
        if (part_of(n, entry->d_name) && helper_ask(n->helper, HELPER_NETNS_DEL, NULL, &e, entry->d_name, NULL) < 0)
            log_warn("%s", err_text(&e));
    if (d)
        closedir(d);
    /* Another tidemill's bridge still needs forwarding, even if it was we who turned it on. */
    bool others = false;
    DIR *links = opendir("/sys/class/net");
    for (struct dirent *entry; links && (entry = readdir(links));)
        others |= str_starts(entry->d_name, "tm") && strlen(entry->d_name) == strlen(n->instance) &&
                  !str_eq(entry->d_name, n->instance);
    if (links)
        closedir(links);
    if (helper_ask(n->helper, HELPER_NET_DOWN, NULL, &e, n->instance, n->instance, fs_exists(mark) && !others ? "1" : "0", NULL) <
        0)
        log_warn("taking back the pod network: %s", err_text(&e));
}

int podnet_services(struct podnet *n, const char *rules, struct err *err)
{
    AUTOFREE char *path = fs_join(n->node_dir, "services.nft");
    HELPER_ANSWER(a);
    if (fs_write_atomic(path, rules, strlen(rules), 0600, err) < 0 ||
        helper_ask(n->helper, HELPER_RUN, &a, err, "/usr/sbin/nft", "-f", path, NULL) < 0)
        return -1;
    return a.rc == 0 ? 0 : err_set(err, ERR_IO, "nft refuses the rules of Services: %s", a.text);
}

void podnet_free(struct podnet *n, bool remove)
{
    if (!n)
        return;
    {
        LOCK_GUARD(&n->lock);
        n->stopping = true;
    }
    pool_stop(n->worker);
    if (remove)
        take_down(n);
    pthread_mutex_destroy(&n->lock);
    free(n->node_dir);
    free(n->instance);
    free(n->kube_addr);
    free(n->front_addr);
    free(n->cidr);
    free(n->used);
    free(n);
}
