#include "cluster/scheduler/preempt.h"

#include <stdlib.h>

#include "kube/fields.h"
#include "kube/object.h"

void usage_of_pods(jval *const *pods, size_t n, struct usage *out)
{
    for (size_t i = 0; i < n; i++) {
        CLEANUP(amounts_free) struct amounts need = {0};
        pod_requests(pods[i], &need);
        amounts_add(&out->used, &need, 1);
        pod_host_ports(pods[i], &out->ports);
        out->pods++;
    }
}

void usage_clear(struct usage *u)
{
    amounts_free(&u->used);
    strlist_free(&u->ports);
}

/* Whether the pod fits the node where u is taken, when the victims are gone. looks: somebody has rules about others. */
static bool fits_without(jval *pod, jval *node, const struct usage *u, const struct surroundings *around, const bool *victim,
                         bool looks)
{
    struct surroundings left = *around;
    STRLIST(why);
    bool helps = false;
    if (!node_fits(pod, node, u, &why, &helps))
        return false;
    if (!looks)
        return true;
    AUTOFREE struct peer *peers = xcalloc(around->n_peers + 1, sizeof *peers);
    left.peers = peers;
    left.n_peers = 0;
    for (size_t i = 0; i < around->n_peers; i++)
        if (!victim[i])
            peers[left.n_peers++] = around->peers[i];
    return pod_affinity_fits(pod, node, &left, &why, &helps);
}

static void take_out(struct usage *u, jval *pod, size_t ports_before)
{
    CLEANUP(amounts_free) struct amounts need = {0};
    pod_requests(pod, &need);
    amounts_add(&u->used, &need, -1);
    while (u->ports.n > ports_before)
        free(u->ports.v[--u->ports.n]);
    u->pods--;
}

/* More important: a higher priority, then the longer time. */
static bool before(jval *a, jval *b)
{
    int64_t pa = POD_PRIORITY(a), pb = POD_PRIORITY(b);
    const char *ta = pod_status_start_time(pod_status(a)), *tb = pod_status_start_time(pod_status(b));
    return pa != pb ? pa > pb : strcmp(ta ? ta : "~", tb ? tb : "~") < 0;
}

bool preempt_victims(jval *pod, jval *node, const struct surroundings *around, bool *victim)
{
    AUTOFREE size_t *order = xcalloc(around->n_peers + 1, sizeof *order);
    CLEANUP(usage_clear) struct usage u = {0};
    bool looks = pod_looks_at_others(pod);
    size_t n = 0, gone = 0;
    for (size_t i = 0; i < around->n_peers; i++) {
        jval *peer = around->peers[i].pod;
        victim[i] = around->peers[i].node == node && POD_PRIORITY(peer) < POD_PRIORITY(pod);
        if (!victim[i])
            continue;
        size_t at = n++;
        for (; at > 0 && before(peer, around->peers[order[at - 1]].pod); at--)
            order[at] = order[at - 1];
        order[at] = i;
    }
    if (n == 0)
        return false;
    for (size_t i = 0; i < around->n_peers; i++) {
        looks |= pod_looks_at_others(around->peers[i].pod);
        if (around->peers[i].node == node && !victim[i])
            usage_of_pods(&around->peers[i].pod, 1, &u);
    }
    if (!fits_without(pod, node, &u, around, victim, looks))
        return false;
    for (size_t i = 0; i < n; i++) {
        jval *peer = around->peers[order[i]].pod;
        size_t ports = u.ports.n;
        usage_of_pods(&peer, 1, &u);
        victim[order[i]] = false;
        if (fits_without(pod, node, &u, around, victim, looks))
            continue;
        take_out(&u, peer, ports);
        victim[order[i]] = true;
        gone++;
    }
    return gone > 0;
}
