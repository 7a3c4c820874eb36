#include "cluster/scheduler/charges.h"

#include <stdlib.h>

#include "cluster/scheduler/affinity.h"
#include "kube/object.h"

void charge_free(void *p)
{
    struct charge *c = p;
    free(c->node);
    json_unref(c->pod);
    amounts_free(&c->need);
    strlist_free(&c->ports);
    free(c);
}

void usage_free(void *p)
{
    struct usage *u = p;
    amounts_free(&u->used);
    strlist_free(&u->ports);
    free(u);
}

struct usage *charges_on(struct charges *cs, const char *node)
{
    struct usage *u = strmap_get(&cs->on_nodes, node);
    if (!u) {
        u = xcalloc(1, sizeof *u);
        strmap_put(&cs->on_nodes, node, u);
    }
    return u;
}

void charges_put(struct charges *cs, struct json *doc, const char *node)
{
    jval *pod = json_root(doc);
    struct charge *there = strmap_get(&cs->of_pods, obj_uid(pod));
    if (there) { /* its labels may be others */
        json_unref(there->pod);
        there->pod = json_ref(doc);
        return;
    }
    struct charge *c = xcalloc(1, sizeof *c);
    struct usage *u = charges_on(cs, node);
    c->node = xstrdup(node);
    c->pod = json_ref(doc);
    c->looks = pod_looks_at_others(pod);
    pod_requests(pod, &c->need);
    pod_host_ports(pod, &c->ports);
    amounts_add(&u->used, &c->need, 1);
    u->pods++;
    for (size_t i = 0; i < c->ports.n; i++)
        strlist_add(&u->ports, c->ports.v[i]);
    strmap_put(&cs->of_pods, obj_uid(pod), c);
}

bool charges_drop(struct charges *cs, const char *uid)
{
    struct charge *c = strmap_get(&cs->of_pods, uid);
    if (!c)
        return false;
    struct usage *u = charges_on(cs, c->node);
    amounts_add(&u->used, &c->need, -1);
    u->pods--;
    for (size_t i = 0; i < c->ports.n; i++)
        for (size_t j = 0; j < u->ports.n; j++)
            if (str_eq(u->ports.v[j], c->ports.v[i])) {
                free(u->ports.v[j]);
                u->ports.v[j] = u->ports.v[--u->ports.n];
                break;
            }
    strmap_del(&cs->of_pods, uid);
    return true;
}

void charges_free(struct charges *cs)
{
    strmap_free(&cs->of_pods);
    strmap_free(&cs->on_nodes);
}
