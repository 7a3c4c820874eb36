/* The node's pods: records by uid and key, what changes concern them, and the rows of an earlier life. */
#include <stdlib.h>
#include <string.h>

#include "cluster/node/node_priv.h"
#include "cluster/node/volumes/volumes.h"
#include "kube/fields.h"
#include "kube/object.h"

/* ---- the controller -------------------------------------------------------------------------------------------------------- */

/* The records that have this key, one for each uid. They are this worker's while it has the key. */
static size_t records_of(struct node *n, const char *key, struct pod ***out)
{
    size_t count = 0;
    *out = NULL;
    LOCK_GUARD(&n->lock);
    for (struct pod *p = strmap_get(&n->by_key, key); p; p = p->next_of_key) {
        *out = xreallocarray(*out, count + 1, sizeof **out);
        (*out)[count++] = p;
    }
    return count;
}

/* Lock held. */
static void add_record(struct node *n, struct pod *p)
{
    p->next_of_key = strmap_get(&n->by_key, p->key);
    strmap_put(&n->by_key, p->key, p);
    strmap_put(&n->records, p->uid, p);
}

static void drop_record(struct node *n, struct pod *p)
{
    {
        LOCK_GUARD(&n->lock);
        for (size_t i = 0; i < p->n_boxes; i++)
            if (p->boxes[i].cid)
                strmap_del(&n->by_cid, p->boxes[i].cid);
        struct pod *first = strmap_get(&n->by_key, p->key);
        if (first != p) {
            while (first->next_of_key != p)
                first = first->next_of_key;
            first->next_of_key = p->next_of_key;
        } else if (p->next_of_key) {
            strmap_put(&n->by_key, p->key, p->next_of_key);
        } else {
            strmap_del(&n->by_key, p->key);
        }
        strmap_del(&n->records, p->uid);
    }
    pod_free(p);
}

static bool is_terminal(jval *pod)
{
    const char *phase = pod_status_phase(pod_status(pod));
    return str_eq(phase, "Succeeded") || str_eq(phase, "Failed");
}

/* Every pod that is bound to us is known by a record but those that ended before this node's memory began. */
static struct pod *record_for(struct node *n, struct json *obj)
{
    struct pod *p = strmap_get(&n->records, obj_uid(json_root(obj)));
    if (!p) {
        p = pod_new(&n->host, obj);
        if (is_terminal(json_root(obj)))
            p->state = POD_GONE;
        add_record(n, p);
    }
    return p;
}

/* Lock held. Whether the cache is behind: that pod has ended and its object is gone, and its record with it. It must not begin
 * anew. */
static bool is_forgotten(struct node *n, const char *key, struct json *obj)
{
    const char *uid = strmap_get(&n->forgotten, key);
    bool yes = uid && obj && str_eq(uid, obj_uid(json_root(obj)));
    if (uid && !yes)
        strmap_del(&n->forgotten, key);
    return yes;
}

/* A ConfigMap or Secret came, changed or went: the pods that need it hear of it. */
static void source_changed(struct node *n, bool secret, struct json *o, struct workqueue *q)
{
    size_t count;
    {
        LOCK_GUARD(&n->lock);
        if (!n->ready)
            return; /* every pod is looked at once it is */
    }
    struct json **pods = informer_list(n->pods, &count);
    for (size_t i = 0; i < count; i++) {
        jval *pod = json_root(pods[i]);
        if (str_eq(obj_namespace(pod), obj_namespace(json_root(o))) && !is_terminal(pod) &&
            volumes_refer(pod, secret, obj_name(json_root(o)))) {
            AUTOFREE char *key = obj_key(pod);
            LOCK_GUARD(&n->lock);
            strmap_put(&n->refresh, key, n);
            workqueue_add(q, key);
        }
        json_unref(pods[i]);
    }
    free(pods);
}

void node_config_map_changed(void *self, struct json *old, struct json *now, struct workqueue *q)
{
    source_changed(self, false, now ? now : old, q);
}

void node_secret_changed(void *self, struct json *old, struct json *now, struct workqueue *q)
{
    source_changed(self, true, now ? now : old, q);
}

int node_sync_pod(struct node *n, const struct ctx *ctx, struct pod **at, struct reconcile_result *res, struct err *err)
{
    int64_t wake;
    bool forget;
    int rc = pod_sync(&n->host, ctx, *at, &wake, &forget, err);
    if (rc == 0 && wake && (!res->again_after_ns || wake < res->again_after_ns))
        res->again_after_ns = wake;
    if (rc == 0 && forget)
        drop_record(n, TAKE(*at));
    return rc;
}

int node_reconcile(void *self, const struct ctx *ctx, const char *key, struct reconcile_result *res, struct err *err)
{
    struct node *n = self;
    {
        LOCK_GUARD(&n->lock);
        if (!n->ready || n->stopping)
            return 0; /* all keys are queued once it is */
    }
    JSON_REF(obj) = informer_get(n->pods, key);
    if (obj && !str_eq(pod_spec_node_name(pod_spec(json_root(obj))), n->name)) {
        json_unref(obj);
        obj = NULL;
    }
    bool refresh;
    {
        LOCK_GUARD(&n->lock);
        refresh = strmap_del(&n->refresh, key);
        if (is_forgotten(n, key, obj))
            return 0;
        if (obj)
            record_for(n, obj);
    }
    AUTOFREE struct pod **records = NULL;
    size_t count = records_of(n, key, &records);
    int rc = 0;
    /* Of two pods of one name the older one goes first: it has lost its object. */
    for (int pass = 0; pass < 2; pass++)
        for (size_t i = 0; i < count && rc == 0; i++) {
            bool current = obj && records[i] && str_eq(records[i]->uid, obj_uid(json_root(obj)));
            if (!records[i] || current != (pass == 1))
                continue;
            pod_set_object(records[i], current ? obj : NULL);
            if (refresh && current)
                pod_sources_changed(&n->host, records[i]);
            rc = node_sync_pod(n, ctx, &records[i], res, err);
            if (current && !records[i]) {
                LOCK_GUARD(&n->lock);
                strmap_put(&n->forgotten, key, xstrdup(obj_uid(json_root(obj))));
            }
        }
    return rc;
}

/* ---- rows of an earlier life
 * ---------------------------------------------------------------------------------------------------- */

static void load_pod(void *self, const struct pod_row *r)
{
    struct node *n = self;
    struct pod *p = pod_from_row(&n->host, r);
    LOCK_GUARD(&n->lock);
    add_record(n, p);
    if (p->state > POD_NEW && p->state < POD_ENDED)
        strmap_put(&n->admitted, p->uid, n);
}

struct loaded_box {
    struct container_row row;
};
struct loaded {
    struct loaded_box *v;
    size_t n;
};

static void load_box(void *self, const struct container_row *r)
{
    struct loaded *l = self;
    l->v = xreallocarray(l->v, l->n + 1, sizeof *l->v);
    struct container_row *c = &l->v[l->n++].row;
    *c = *r;
    c->pod_uid = xstrdup(r->pod_uid);
    c->name = xstrdup(r->name);
    c->cid = xstrdup(r->cid);
    c->reason = xstrdup(r->reason);
    c->message = xstrdup(r->message);
    c->last = xstrdup(r->last);
}

int node_load(struct node *n, struct err *err)
{
    struct loaded l = {0};
    bool new_boot;
    if (nodedb_new_boot(n->db, n->machine.boot_id, &new_boot, err) < 0 || nodedb_each_pod(n->db, load_pod, n, err) < 0 ||
        nodedb_each_container(n->db, load_box, &l, err) < 0)
        return -1;
    for (size_t i = 0; i < l.n; i++) {
        struct container_row *r = &l.v[i].row;
        struct pod *p = strmap_get(&n->records, r->pod_uid);
        if (p)
            pod_add_row(&n->host, p, r);
        free(r->pod_uid);
        free(r->name);
        free(r->cid);
        free(r->reason);
        free(r->message);
        free(r->last);
    }
    free(l.v);
    if (new_boot) {
        /* Networks and memory of before are gone: pods that go on are set up anew. */
        for (struct strmap_entry *e = strmap_first(&n->records); e; e = strmap_next(e)) {
            struct pod *p = e->value;
            p->has_sandbox = false;
            if (p->state == POD_INIT || p->state == POD_RUN)
                p->state = POD_SETUP;
        }
    }
    return 0;
}

int node_adopt_sandboxes(struct node *n, struct err *err)
{
    const struct sandbox **used = xcalloc(strmap_count(&n->records) + 1, sizeof *used);
    size_t count = 0;
    for (struct strmap_entry *e = strmap_first(&n->records); e; e = strmap_next(e)) {
        struct pod *p = e->value;
        if (p->has_sandbox)
            used[count++] = &p->sandbox;
    }
    int rc = n->runtime->ops->sandbox_adopt(n->runtime, used, count, err);
    free(used);
    return rc;
}
