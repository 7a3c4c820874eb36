/* The resolv.conf of a pod. Source: kube.md 18.2. */
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "cluster/node/network/services.h"
#include "kube/fields.h"
#include "kube/object.h"

enum { SERVERS_MAX = 3, SEARCHES_MAX = 32 };

struct resolv {
    struct strlist servers, searches, options; /* options as "name" or "name:value" */
};

static void add(struct strlist *l, const char *s)
{
    if (!str_empty(s) && !strlist_has(l, s))
        strlist_add(l, s);
}

/* Of two options of one name the later one counts. */
static void add_option(struct strlist *l, const char *option)
{
    size_t n = strcspn(option, ":");
    for (size_t i = 0; i < l->n; i++)
        if (strncmp(l->v[i], option, n) == 0 && (l->v[i][n] == 0 || l->v[i][n] == ':')) {
            free(l->v[i]);
            l->v[i] = xstrdup(option);
            return;
        }
    strlist_add(l, option);
}

static void read_line(struct resolv *r, char *line, bool servers, bool options)
{
    char *save = NULL, *word = strtok_r(line, " \t\r", &save);
    if (!word)
        return;
    bool is_server = str_eq(word, "nameserver"), is_search = str_eq(word, "search") || str_eq(word, "domain"),
         is_option = str_eq(word, "options");
    while ((word = strtok_r(NULL, " \t\r", &save))) {
        if (is_server && servers)
            add(&r->servers, word);
        else if (is_search && !str_eq(word, "."))
            add(&r->searches, word);
        else if (is_option && options)
            add_option(&r->options, word);
    }
}

static void read_machine(struct resolv *r, const char *machine, bool servers, bool options)
{
    STRLIST(lines);
    str_split(machine, '\n', &lines);
    for (size_t i = 0; i < lines.n; i++)
        read_line(r, lines.v[i], servers, options);
}

static void add_config(struct resolv *r, jval *cfg)
{
    jval *servers = pod_dns_config_nameservers(cfg), *searches = pod_dns_config_searches(cfg),
         *options = pod_dns_config_options(cfg);
    for (size_t i = 0; i < jv_len(servers); i++)
        add(&r->servers, jv_str(jv_at(servers, i)));
    for (size_t i = 0; i < jv_len(searches); i++)
        add(&r->searches, jv_str(jv_at(searches, i)));
    for (size_t i = 0; i < jv_len(options); i++) {
        const char *name = pod_dns_config_option_name(jv_at(options, i)), *value = pod_dns_config_option_value(jv_at(options, i));
        AUTOFREE char *text = xasprintf("%s%s%s", name ? name : "", value ? ":" : "", value ? value : "");
        add_option(&r->options, text);
    }
}

static char *write_all(const struct resolv *r)
{
    BUF(b);
    for (size_t i = 0; i < r->searches.n && i < SEARCHES_MAX; i++)
        buf_addf(&b, "%s%s", i ? " " : "search ", r->searches.v[i]);
    buf_adds(&b, r->searches.n ? "\n" : "");
    for (size_t i = 0; i < r->servers.n && i < SERVERS_MAX; i++)
        buf_addf(&b, "nameserver %s\n", r->servers.v[i]);
    for (size_t i = 0; i < r->options.n; i++)
        buf_addf(&b, "%s%s", i ? " " : "options ", r->options.v[i]);
    buf_adds(&b, r->options.n ? "\n" : "");
    return xstrdup(buf_str(&b));
}

char *pod_resolv_conf(jval *pod, const char *cluster, const char *machine)
{
    jval *spec = pod_spec(pod);
    const char *policy = pod_spec_dns_policy(spec), *ns = obj_namespace(pod);
    bool host = pod_spec_host_network(spec, false);
    bool wants = str_eq(policy, "ClusterFirstWithHostNet") || ((str_empty(policy) || str_eq(policy, "ClusterFirst")) && !host);
    struct resolv r = {{0}};
    if (str_eq(policy, "None")) {
        /* only what dnsConfig says */
    } else if (wants && cluster) {
        AUTOFREE char *first = xasprintf("%s.svc.cluster.local", ns);
        add(&r.servers, cluster);
        add(&r.searches, first);
        add(&r.searches, "svc.cluster.local");
        add(&r.searches, "cluster.local");
        read_machine(&r, machine, false, false);
        strlist_add(&r.options, "ndots:5");
    } else {
        read_machine(&r, machine, true, true);
    }
    add_config(&r, pod_spec_dns_config(spec));
    char *text = write_all(&r);
    strlist_free(&r.servers);
    strlist_free(&r.searches);
    strlist_free(&r.options);
    return text;
}
