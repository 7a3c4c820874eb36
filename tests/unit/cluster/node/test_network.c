/* Names and addresses of Services: messages, the zone, rules, resolv.conf, and the name server with a resolver of our own. */
#include "unit.h"

#include <arpa/inet.h>
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/fs.h"
#include "base/str.h"
#include "cluster/node/network/dns_server.h"
#include "cluster/node/network/service_claim.h"
#include "cluster/node/network/service_rules.h"
#include "cluster/node/network/services.h"
#include "kube/object.h"

/* ---- a little cluster ---------------------------------------------------------------------------------------------- */

static const char *const service_texts[] = {
    "{'metadata':{'name':'web','namespace':'a'},'spec':{'type':'ClusterIP','clusterIP':'10.96.3.4','ports':[{'name':'http','"
    "protocol':"
    "'TCP','port':80,'nodePort':30001},{'name':'dns','protocol':'UDP','port':53}]}}",
    "{'metadata':{'name':'head','namespace':'a'},'spec':{'type':'ClusterIP','clusterIP':'None','ports':[{'name':'db','protocol':'"
    "TCP',"
    "'port':5432}]}}",
    "{'metadata':{'name':'out','namespace':'a'},'spec':{'type':'ExternalName','externalName':'Example.COM.'}}",
    "{'metadata':{'name':'in','namespace':'a'},'spec':{'type':'ExternalName','externalName':'web.a.svc.cluster.local'}}",
    "{'metadata':{'name':'sticky','namespace':'b'},'spec':{'type':'ClusterIP','clusterIP':'10.96.3.5','sessionAffinity':'"
    "ClientIP',"
    "'ports':[{'protocol':'TCP','port':80}]}}",
    "{'metadata':{'name':'api','namespace':'b'},'spec':{'type':'ClusterIP','clusterIP':'10.96.0.1','ports':[{'name':'https','"
    "protocol':"
    "'TCP','port':443}]}}",
    "{'metadata':{'name':'evil','namespace':'b'},'spec':{'type':'ClusterIP','clusterIP':'10.96.3.6; "
    "drop','ports':[{'protocol':'TCP',"
    "'port':80}]}}",
};
static const char *const slice_texts[] = {
    "{'metadata':{'name':'web-1','namespace':'a','labels':{'kubernetes.io/"
    "service-name':'web'}},'addressType':'IPv4','endpoints':["
    "{'addresses':['10.9.0.2'],'conditions':{'ready':true}},{'addresses':['10.9.0.3'],'conditions':{'ready':false}},"
    "{'addresses':['10.9.0.4'],'conditions':{}}],'ports':[{'name':'http','protocol':'TCP','port':8080}]}",
    "{'metadata':{'name':'head-1','namespace':'a','labels':{'kubernetes.io/service-name':'head','service.kubernetes.io/"
    "headless':''}},"
    "'addressType':'IPv4','endpoints':[{'addresses':['10.9.0.5'],'hostname':'db-0','conditions':{'ready':true}},{'addresses':['"
    "10.9.0.6'],"
    "'conditions':{'ready':true}},{'addresses':['10.9.0.7'],'conditions':{'ready':false}}],'ports':[{'name':'db','protocol':'TCP'"
    ","
    "'port':5432}]}",
    "{'metadata':{'name':'s','namespace':'b','labels':{'kubernetes.io/service-name':'sticky'}},'addressType':'IPv4','endpoints':["
    "{'addresses':['10.9.0.8'],'conditions':{'ready':false,'serving':true,'terminating':true}},{'addresses':['10.9.0.9'],'"
    "conditions':{"
    "'ready':false,'serving':true,'terminating':true}}],'ports':[{'name':'','protocol':'TCP','port':80}]}",
    "{'metadata':{'name':'api','namespace':'b','labels':{'kubernetes.io/service-name':'api'}},'addressType':'IPv4','endpoints':["
    "{'addresses':['10.9.0.1']}],'ports':[{'name':'https','protocol':'TCP','port':6443}]}",
};

struct world {
    struct json *services[ARRAY_LEN(service_texts)], *slices[ARRAY_LEN(slice_texts)];
    struct zone_source zone;
};

static struct json *parse(const char *text)
{
    char *copy = xstrdup(text);
    for (char *c = copy; *c; c++)
        *c = *c == '\'' ? '"' : *c;
    struct json *d = json_parse_str(copy, NULL);
    free(copy);
    assert_non_null(d);
    return d;
}

static struct json *find(void *self, const char *ns, const char *name)
{
    struct world *w = self;
    for (size_t i = 0; i < ARRAY_LEN(w->services); i++)
        if (str_eq(obj_namespace(json_root(w->services[i])), ns) && str_eq(obj_name(json_root(w->services[i])), name))
            return json_ref(w->services[i]);
    return NULL;
}

static void slices(void *self, const char *ns, void (*fn)(void *arg, jval *slice), void *arg)
{
    struct world *w = self;
    for (size_t i = 0; i < ARRAY_LEN(w->slices); i++)
        if (!*ns || str_eq(obj_namespace(json_root(w->slices[i])), ns))
            fn(arg, json_root(w->slices[i]));
}

static void services(void *self, void (*fn)(void *arg, jval *service), void *arg)
{
    struct world *w = self;
    for (size_t i = 0; i < ARRAY_LEN(w->services); i++)
        fn(arg, json_root(w->services[i]));
}

static bool has_ns(void *self, const char *ns) { return str_eq(ns, "a") || str_eq(ns, "b"); }

static void world_open(struct world *w)
{
    for (size_t i = 0; i < ARRAY_LEN(service_texts); i++)
        w->services[i] = parse(service_texts[i]);
    for (size_t i = 0; i < ARRAY_LEN(slice_texts); i++)
        w->slices[i] = parse(slice_texts[i]);
    w->zone = (struct zone_source){find, slices, services, has_ns, w};
}

static void world_close(struct world *w)
{
    for (size_t i = 0; i < ARRAY_LEN(service_texts); i++)
        json_unref(w->services[i]);
    for (size_t i = 0; i < ARRAY_LEN(slice_texts); i++)
        json_unref(w->slices[i]);
}

/* ---- reading answers ----------------------------------------------------------------------------------------------- */

static size_t skip_name(const uint8_t *p, size_t at)
{
    while (p[at] && (p[at] & 0xc0) != 0xc0)
        at += 1 + (size_t)p[at];
    return at + (p[at] ? 2 : 1);
}

/* An uncompressed name as text. */
static void name_text(const uint8_t *p, struct buf *out)
{
    for (; *p; p += 1 + *p)
        buf_addf(out, "%.*s.", *p, (const char *)p + 1);
}

/* "rcode answers authorities: A 1.2.3.4 SRV 100 80 x.y." */
static char *answer_text(const uint8_t *p)
{
    BUF(b);
    unsigned n = (unsigned)(p[6] << 8 | p[7]);
    buf_addf(&b, "%d %u %d:", p[3] & 15, n, p[8] << 8 | p[9]);
    size_t at = skip_name(p, 12) + 4;
    for (unsigned i = 0; i < n; i++) {
        at = skip_name(p, at);
        unsigned type = (unsigned)(p[at] << 8 | p[at + 1]), len = (unsigned)(p[at + 8] << 8 | p[at + 9]);
        const uint8_t *data = p + at + 10;
        if (type == DNS_A)
            buf_addf(&b, " A %d.%d.%d.%d", data[0], data[1], data[2], data[3]);
        else if (type == DNS_SRV)
            buf_addf(&b, " SRV %d ", data[4] << 8 | data[5]);
        else
            buf_addf(&b, " %u ", type);
        if (type != DNS_A)
            name_text(data + (type == DNS_SRV ? 6 : 0), &b);
        at += 10 + len;
    }
    return buf_steal(&b, NULL);
}

static void zone(void **state)
{
    static const struct {
        const char *name;
        uint16_t type;
        enum zone_result result;
        const char *want;
    } cases[] = {
        {"web.a.svc.cluster.local", DNS_A, ZONE_ANSWERED, "0 1 0: A 10.96.3.4"},
        {"web.a.svc.cluster.local", DNS_AAAA, ZONE_ANSWERED, "0 0 1:"},
        {"nope.a.svc.cluster.local", DNS_A, ZONE_ANSWERED, "3 0 1:"},
        {"web.c.svc.cluster.local", DNS_A, ZONE_ANSWERED, "3 0 1:"},
        {"x.web.a.svc.cluster.local", DNS_A, ZONE_ANSWERED, "3 0 1:"},
        {"head.a.svc.cluster.local", DNS_A, ZONE_ANSWERED, "0 2 0: A 10.9.0.5 A 10.9.0.6"},
        {"db-0.head.a.svc.cluster.local", DNS_A, ZONE_ANSWERED, "0 1 0: A 10.9.0.5"},
        {"10-9-0-6.head.a.svc.cluster.local", DNS_A, ZONE_ANSWERED, "0 1 0: A 10.9.0.6"},
        {"10-9-0-7.head.a.svc.cluster.local", DNS_A, ZONE_ANSWERED, "3 0 1:"},
        {"_http._tcp.web.a.svc.cluster.local", DNS_SRV, ZONE_ANSWERED, "0 1 0: SRV 80 web.a.svc.cluster.local."},
        {"_http._udp.web.a.svc.cluster.local", DNS_SRV, ZONE_ANSWERED, "3 0 1:"},
        {"web.a.svc.cluster.local", DNS_SRV, ZONE_ANSWERED,
         "0 2 0: SRV 80 web.a.svc.cluster.local. SRV 53 web.a.svc.cluster.local."},
        {"_db._tcp.head.a.svc.cluster.local", DNS_SRV, ZONE_ANSWERED,
         "0 2 0: SRV 5432 db-0.head.a.svc.cluster.local. SRV 5432 10-9-0-6.head.a.svc.cluster.local."},
        {"10-1-2-3.a.pod.cluster.local", DNS_A, ZONE_ANSWERED, "0 1 0: A 10.1.2.3"},
        {"10-1-2-3.nowhere.pod.cluster.local", DNS_A, ZONE_ANSWERED, "3 0 1:"},
        {"a.svc.cluster.local", DNS_A, ZONE_ANSWERED, "0 0 1:"},
        {"svc.cluster.local", DNS_A, ZONE_ANSWERED, "0 0 1:"},
        {"cluster.local", DNS_A, ZONE_ANSWERED, "0 0 1:"},
        {"a.b.c.d.e.f.g.h.i.cluster.local", DNS_A, ZONE_ANSWERED, "3 0 1:"},
        {"notcluster.local", DNS_A, ZONE_FORWARD, NULL},
        {"example.com", DNS_A, ZONE_FORWARD, NULL},
        {"out.a.svc.cluster.local", DNS_A, ZONE_ALIAS, "0 1 0: 5 example.com."},
        {"out.a.svc.cluster.local", DNS_CNAME, ZONE_ANSWERED, "0 1 0: 5 example.com."},
        {"4.3.96.10.in-addr.arpa", DNS_PTR, ZONE_ANSWERED, "0 1 0: 12 web.a.svc.cluster.local."},
        {"5.0.9.10.in-addr.arpa", DNS_PTR, ZONE_ANSWERED, "0 1 0: 12 db-0.head.a.svc.cluster.local."},
        {"9.9.96.10.in-addr.arpa", DNS_PTR, ZONE_ANSWERED, "3 0 1:"},
        {"8.8.8.8.in-addr.arpa", DNS_PTR, ZONE_FORWARD, NULL},
    };
    struct world w;
    world_open(&w);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        uint8_t ask[512], out[4096];
        char target[DNS_NAME_MAX];
        struct dns_question q;
        struct dns_writer writer;
        size_t n = dns_query(ask, sizeof ask, 7, cases[i].name, cases[i].type);
        assert_int_equal(dns_parse(ask, n, &q), DNS_NOERROR);
        assert_string_equal(q.name, cases[i].name);
        enum zone_result r = zone_answer(&w.zone, ask, &q, out, sizeof out, &writer, target);
        if (r != cases[i].result)
            fail_msg("%s: %d", cases[i].name, r);
        if (!cases[i].want)
            continue;
        dns_end(&writer, &q);
        AUTOFREE char *text = answer_text(out);
        if (strcmp(text, cases[i].want) != 0)
            fail_msg("%s: got %s, want %s", cases[i].name, text, cases[i].want);
    }
    world_close(&w);
}

static void messages(void **state)
{
    uint8_t ask[512], out[4096];
    struct dns_question q;
    struct dns_writer w;
    size_t n = dns_query(ask, sizeof ask, 1, "a.example", DNS_A);
    assert_int_equal(dns_parse(ask, 11, &q), -1);
    for (size_t cut = 12; cut < n; cut++)
        assert_int_equal(dns_parse(ask, cut, &q), DNS_FORMERR);
    ask[2] |= 0x80;
    assert_int_equal(dns_parse(ask, n, &q), -1); /* an answer is no question */
    ask[2] = 0x10;
    assert_int_equal(dns_parse(ask, n, &q), DNS_NOTIMP);
    ask[2] = 0;
    ask[12] = 0xc0; /* a name that points to itself */
    ask[13] = 12;
    assert_int_equal(dns_parse(ask, n, &q), DNS_FORMERR);
    assert_int_equal(dns_query(ask, sizeof ask, 1, "a..b", DNS_A), 0);
    /* What does not fit is cut, and says so. */
    n = dns_query(ask, sizeof ask, 1, "a.example", DNS_A);
    assert_int_equal(dns_parse(ask, n, &q), DNS_NOERROR);
    dns_begin(&w, out, q.room, ask, &q, DNS_NOERROR, true);
    for (int i = 0; i < 100; i++)
        dns_a(&w, NULL, 5, (struct in_addr){.s_addr = htonl(0x0a000000u + (uint32_t)i)});
    n = dns_end(&w, &q);
    assert_in_range(n, 400, DNS_UDP_PLAIN);
    assert_true(out[2] & 0x02);
    assert_int_equal(dns_keep_for(out, n, 30), 0);
    dns_begin(&w, out, sizeof out, ask, &q, DNS_NOERROR, true);
    dns_a(&w, NULL, 17, (struct in_addr){.s_addr = 1});
    n = dns_end(&w, &q);
    assert_int_equal(dns_keep_for(out, n, 30), 17);
    assert_true(dns_answers(out, n, &q));
    q.id++;
    assert_false(dns_answers(out, n, &q));
}

/* ---- rules --------------------------------------------------------------------------------------------------------- */

static void rules(void **state)
{
    static const char *const wanted[] = {
        "meta l4proto tcp dnat ip to numgen random mod 2 map { 0 : 10.9.0.2 . 8080, 1 : 10.9.0.4 . 8080 }",
        /* Those that are about to end, when there are no others; always the same one for a client. */
        "meta l4proto tcp dnat ip to jhash ip saddr mod 2 map { 0 : 10.9.0.8 . 80, 1 : 10.9.0.9 . 80 }",
        "meta l4proto tcp dnat ip to 127.0.0.1:16443",
        "10.96.3.4 . tcp . 80 : goto s0",
        "tcp . 30001 : goto s0",
        "dnat ip to 127.0.0.1:5353",
        /* Only who was led to himself gets another's address; what nobody has is refused, for the machine's processes, too. */
        "elements = { 10.9.0.2 . 10.9.0.2, 10.9.0.4 . 10.9.0.4",
        "ip saddr . ip daddr @themselves masquerade",
        "iifname \"br\" ip daddr 10.96.0.0/16 meta l4proto tcp reject with tcp reset",
        "hook output priority -5",
        "    ip daddr 10.96.0.0/16 jump services",
    };
    static const char *const never[] = {"10.9.0.3", "10.96.3.4 . udp . 53", "drop", "10.9.0.5"};
    struct world w;
    world_open(&w);
    const struct rules_local local[] = {{6443, "127.0.0.1:16443"}, {0, NULL}};
    struct rules_config cfg = {
        .table = "t", .bridge = "br", .gateway = "10.9.0.1", .own = true, .local = local, .n_local = 2, .dns_port = 5353};
    assert_int_equal(service_range_parse(NULL, &cfg.range, NULL), 0);
    AUTOFREE char *text = service_rules(&cfg, w.services, ARRAY_LEN(w.services), w.slices, ARRAY_LEN(w.slices));
    for (size_t i = 0; i < ARRAY_LEN(wanted); i++)
        if (!strstr(text, wanted[i]))
            fail_msg("%s is not in\n%s", wanted[i], text);
    for (size_t i = 0; i < ARRAY_LEN(never); i++)
        if (strstr(text, never[i]))
            fail_msg("%s is in\n%s", never[i], text);
    /* Where another cluster of this machine has the range, its processes are left alone. */
    cfg.own = false;
    AUTOFREE char *others = service_rules(&cfg, w.services, ARRAY_LEN(w.services), w.slices, ARRAY_LEN(w.slices));
    assert_null(strstr(others, "hook output priority -5"));
    assert_null(strstr(others, "\n    ip daddr 10.96.0.0/16 jump services"));
    assert_non_null(strstr(others, "iifname \"br\" ip daddr 10.96.0.0/16 jump services"));
    world_close(&w);
}

static void ranges(void **state)
{
    struct service_range r;
    ERR(e);
    assert_int_equal(service_range_parse("10.99.7.0/16", &r, &e), 0);
    assert_string_equal(r.cidr, "10.99.0.0/16");
    assert_string_equal(r.api, "10.99.0.1");
    assert_string_equal(r.dns, "10.99.0.10");
    assert_true(service_range_has(&r, "10.99.255.255") && !service_range_has(&r, "10.98.255.255") && !service_range_has(&r, "x"));
    static const char *const bad[] = {"", "10.96.0.0", "10.96.0.0/8", "10.96.0.0/25", "x/16", "fd00::/16"};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        assert_int_equal(service_range_parse(bad[i], &r, NULL), -1);
}

/* Each data directory of a machine gets a range that no other one has, and keeps it. */
static void claims(void **state)
{
    char dir[] = "/tmp/tidemill-claims-XXXXXX";
    assert_non_null(mkdtemp(dir));
    AUTOFREE char *places = fs_join(dir, "run");
    char *cidr[3];
    int hold[3];
    ERR(e);
    for (int i = 0; i < 3; i++) {
        AUTOFREE char *data = xasprintf("%s/data%d", dir, i);
        assert_int_equal(fs_mkdir_p(data, 0700, &e), 0);
        cidr[i] = service_claim(data, places, NULL, &hold[i], &e);
        assert_non_null(cidr[i]);
        assert_true(hold[i] >= 0);
        for (int k = 0; k < i; k++)
            assert_string_not_equal(cidr[i], cidr[k]);
    }
    AUTOFREE char *first = fs_join(dir, "data0"), *older = fs_join(dir, "older"), *db = fs_join(older, "kube.db");
    close(hold[0]);
    AUTOFREE char *again = service_claim(first, places, NULL, &hold[0], &e);
    assert_string_equal(again, cidr[0]);
    int none;
    assert_null(service_claim(first, places, "10.200.0.0/16", &none, &e));
    assert_int_equal(e.code, ERR_CONFLICT);
    err_clear(&e);
    /* Services that are there from before ranges were chosen have the usual one, whoever has it by now. */
    assert_int_equal(fs_mkdir_p(older, 0700, &e), 0);
    assert_int_equal(fs_write_atomic(db, "", 0, 0600, &e), 0);
    AUTOFREE char *usual = service_claim(older, places, NULL, &none, &e);
    assert_string_equal(usual, SERVICE_RANGE_USUAL);
    service_claim_drop(none);
    for (int i = 0; i < 3; i++) {
        service_claim_drop(hold[i]);
        free(cidr[i]);
    }
    assert_int_equal(rmdir(places), 0); /* no claim leaves a file */
    assert_int_equal(fs_rm_rf(dir, &e), 0);
}

/* ---- resolv.conf --------------------------------------------------------------------------------------------------- */

static void resolv(void **state)
{
    static const char machine[] = "nameserver 8.8.8.8\nsearch corp.example\noptions timeout:1\n";
    static const struct {
        const char *spec;
        bool cluster;
        const char *want;
    } cases[] = {
        {"{}", true,
         "search a.svc.cluster.local svc.cluster.local cluster.local corp.example\nnameserver 10.96.0.10\noptions ndots:5\n"},
        {"{}", false, "search corp.example\nnameserver 8.8.8.8\noptions timeout:1\n"},
        {"{'dnsPolicy':'Default'}", true, "search corp.example\nnameserver 8.8.8.8\noptions timeout:1\n"},
        {"{'hostNetwork':true,'dnsPolicy':'ClusterFirst'}", true, "search corp.example\nnameserver 8.8.8.8\noptions timeout:1\n"},
        {"{'hostNetwork':true,'dnsPolicy':'ClusterFirstWithHostNet'}", true,
         "search a.svc.cluster.local svc.cluster.local cluster.local corp.example\nnameserver 10.96.0.10\noptions ndots:5\n"},
        {"{'dnsPolicy':'None','dnsConfig':{'nameservers':['1.1.1.1']}}", true, "nameserver 1.1.1.1\n"},
        {"{'dnsConfig':{'nameservers':['1.1.1.1','10.96.0.10'],'searches':['x'],'options':[{'name':'ndots','value':'2'},{'name':'"
         "edns0'}]}}",
         true,
         "search a.svc.cluster.local svc.cluster.local cluster.local corp.example x\nnameserver 10.96.0.10\nnameserver 1.1.1.1\n"
         "options ndots:2 edns0\n"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        AUTOFREE char *all = xasprintf("{'metadata':{'namespace':'a','name':'p'},'spec':%s}", cases[i].spec);
        JSON_REF(pod) = parse(all);
        AUTOFREE char *text = pod_resolv_conf(json_root(pod), cases[i].cluster ? "10.96.0.10" : NULL, machine);
        assert_string_equal(text, cases[i].want);
    }
}

/* ---- the server ---------------------------------------------------------------------------------------------------- */

/* A resolver that answers "up." with 1.2.3.4, over UDP "long." cut, and says nothing to "slow.". */
struct upstream {
    int udp, tcp, port;
    atomic_int asked; /* over UDP */
    pthread_t thread;
};

static size_t upstream_answer(const uint8_t *ask, size_t n, uint8_t *out, bool tcp)
{
    struct dns_question q;
    struct dns_writer w;
    if (dns_parse(ask, n, &q) != DNS_NOERROR || str_eq(q.name, "slow"))
        return 0;
    dns_begin(&w, out, 4096, ask, &q, DNS_NOERROR, false);
    if (str_eq(q.name, "long") && !tcp)
        w.truncated = true;
    else
        dns_a(&w, NULL, 60, (struct in_addr){.s_addr = htonl(0x01020304)});
    return dns_end(&w, &q);
}

static void *upstream_main(void *arg)
{
    struct upstream *u = arg;
    uint8_t ask[4096], out[4098];
    for (;;) {
        struct sockaddr_in from;
        socklen_t len = sizeof from;
        ssize_t n = recvfrom(u->udp, ask, sizeof ask, 0, (struct sockaddr *)&from, &len);
        if (n <= 1)
            return NULL;
        atomic_fetch_add(&u->asked, 1);
        size_t m = upstream_answer(ask, (size_t)n, out, false);
        if (m)
            sendto(u->udp, out, m, 0, (struct sockaddr *)&from, len);
        if (!m || !(out[2] & 0x02))
            continue;
        int c = accept(u->tcp, NULL, NULL);
        if (c < 0) /* the client took the cut answer */
            continue;
        n = recv(c, ask, sizeof ask, 0);
        m = n > 2 ? upstream_answer(ask + 2, (size_t)n - 2, out + 2, true) : 0;
        out[0] = (uint8_t)(m >> 8);
        out[1] = (uint8_t)m;
        assert_int_equal(send(c, out, m + 2, 0), m + 2);
        close(c);
    }
}

static void upstream_open(struct upstream *u)
{
    struct sockaddr_in a;
    socklen_t len = sizeof a;
    /* The TCP port of the same number may be somebody else's. */
    for (int tries = 0;; tries++) {
        a = (struct sockaddr_in){.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
        u->udp = socket(AF_INET, SOCK_DGRAM, 0);
        u->tcp = socket(AF_INET, SOCK_STREAM, 0);
        assert_int_equal(bind(u->udp, (struct sockaddr *)&a, sizeof a), 0);
        assert_int_equal(getsockname(u->udp, (struct sockaddr *)&a, &len), 0);
        if (bind(u->tcp, (struct sockaddr *)&a, sizeof a) == 0)
            break;
        assert_true(tries < 50);
        close(u->udp);
        close(u->tcp);
    }
    assert_int_equal(listen(u->tcp, 4), 0);
    struct timeval wait = {.tv_usec = 100000};
    setsockopt(u->tcp, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof wait);
    u->port = ntohs(a.sin_port);
    assert_int_equal(pthread_create(&u->thread, NULL, upstream_main, u), 0);
}

static void upstream_close(struct upstream *u)
{
    struct sockaddr_in a = {
        .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK), .sin_port = htons((uint16_t)u->port)};
    sendto(u->udp, "", 1, 0, (struct sockaddr *)&a, sizeof a);
    pthread_join(u->thread, NULL);
    close(u->udp);
    close(u->tcp);
}

static char *one_resolver(void *self) { return xstrdup("nameserver 10.96.0.10\nnameserver 127.0.0.1\n"); }

/* The answer to a question, as text. */
static char *ask_server(int port, bool tcp, const char *name, uint16_t type)
{
    uint8_t ask[514], out[4098];
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK), .sin_port = htons((uint16_t)port)};
    struct timeval wait = {.tv_sec = 10};
    AUTOCLOSE int fd = socket(AF_INET, tcp ? SOCK_STREAM : SOCK_DGRAM, 0);
    size_t n = dns_query(ask + 2, 512, 99, name, type);
    ask[0] = (uint8_t)(n >> 8);
    ask[1] = (uint8_t)n;
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof wait);
    assert_int_equal(connect(fd, (struct sockaddr *)&a, sizeof a), 0);
    assert_true(send(fd, tcp ? ask : ask + 2, tcp ? n + 2 : n, 0) > 0);
    ssize_t got = tcp ? recv(fd, out, 2, MSG_WAITALL) : recv(fd, out, sizeof out, 0);
    if (tcp && got == 2)
        got += recv(fd, out + 2, (size_t)out[0] << 8 | out[1], MSG_WAITALL);
    if (got <= 12)
        fail_msg("%s over %s: %zd bytes (%s)", name, tcp ? "TCP" : "UDP", got, got < 0 ? strerror(errno) : "cut");
    return answer_text(tcp ? out + 2 : out);
}

static void server(void **state)
{
    static const struct {
        const char *name;
        bool tcp;
        const char *want;
        int asked; /* how often the resolver was, so far; -1: as often as it takes */
    } cases[] = {
        {"web.a.svc.cluster.local", false, "0 1 0: A 10.96.3.4", 0},
        {"web.a.svc.cluster.local", true, "0 1 0: A 10.96.3.4", 0},
        {"up", false, "0 1 0: A 1.2.3.4", 1},
        {"up", false, "0 1 0: A 1.2.3.4", 1}, /* remembered */
        {"UP", true, "0 1 0: A 1.2.3.4", 1},
        {"long", false, "0 0 0:", 2},
        {"long", true, "0 1 0: A 1.2.3.4", 3},
        {"out.a.svc.cluster.local", false, "0 2 0: 5 example.com. A 1.2.3.4", 4},
        {"in.a.svc.cluster.local", false, "0 2 0: 5 web.a.svc.cluster.local. A 10.96.3.4", 4},
        {"slow", false, "2 0 0:", -1},
    };
    struct world w;
    struct upstream u = {0};
    world_open(&w);
    upstream_open(&u);
    struct dns_server_config cfg = {.zone = w.zone,
                                    .listen = "127.0.0.1",
                                    .avoid = "10.96.0.10",
                                    .resolvers = one_resolver,
                                    .resolver_port = (uint16_t)u.port,
                                    .timeout_ms = 200};
    int port = 0;
    ERR(e);
    struct dns_server *s = dns_server_start(&cfg, &port, &e);
    assert_non_null(s);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        AUTOFREE char *text = ask_server(port, cases[i].tcp, cases[i].name, DNS_A);
        if (strcmp(text, cases[i].want) != 0)
            fail_msg("%s over %s: got %s, want %s", cases[i].name, cases[i].tcp ? "TCP" : "UDP", text, cases[i].want);
        if (cases[i].asked >= 0)
            assert_int_equal(atomic_load(&u.asked), cases[i].asked);
    }
    dns_server_stop(s);
    upstream_close(&u);
    world_close(&w);
}

TEST_GROUP(network, cmocka_unit_test(zone), cmocka_unit_test(messages), cmocka_unit_test(rules), cmocka_unit_test(ranges),
           cmocka_unit_test(claims), cmocka_unit_test(resolv), cmocka_unit_test(server))
