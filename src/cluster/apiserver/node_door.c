/* node_door.c - the node in this process as the rest of the server asks it: under the lock that its coming and going takes; and
 * nodes/{[https:]name[:port]}/proxy/..., the kubelet's paths over it. Nodes elsewhere are not reached: they want to know who asks
 * by a certificate that this server does not have. Source: kube.md 9.6. */
#include <stdlib.h>

#include "cluster/apiserver/proxy_priv.h"
#include "kube/fields.h"

#define KUBELET_PORT "10250"

static int fail_no_node(struct err *err, const char *what)
{
    return err_set(err, ERR_UNAVAILABLE, "there is no node here that %s", what);
}

static struct node_log *log_open(void *self, const struct ctx *ctx, jval *pod, const struct kube_log_opts *opts,
                                 void (*notify)(void *arg), void *arg, struct err *err)
{
    struct apiserver *a = self;
    struct node_log *log = NULL;
    pthread_rwlock_rdlock(&a->node_lock);
    if (a->node)
        log = a->node->log_open(a->node->self, ctx, pod, opts, notify, arg, err);
    else
        fail_no_node(err, "could give logs");
    pthread_rwlock_unlock(&a->node_lock);
    return log;
}

static int process_open(void *self, const struct ctx *ctx, jval *pod, const struct node_process_opts *o, struct node_process *out,
                        struct err *err)
{
    struct apiserver *a = self;
    pthread_rwlock_rdlock(&a->node_lock);
    int rc = a->node && a->node->process_open ? a->node->process_open(a->node->self, ctx, pod, o, out, err)
                                              : fail_no_node(err, "runs pods");
    pthread_rwlock_unlock(&a->node_lock);
    return rc;
}

static int dial(void *self, const struct ctx *ctx, jval *pod, int port, int *fd, struct err *err)
{
    struct apiserver *a = self;
    pthread_rwlock_rdlock(&a->node_lock);
    int rc = a->node && a->node->dial ? a->node->dial(a->node->self, ctx, pod, port, fd, err) : fail_no_node(err, "runs pods");
    pthread_rwlock_unlock(&a->node_lock);
    return rc;
}

/* ---- nodes/proxy ----------------------------------------------------------------------------------------------------- */

/* Its name, or NULL. Caller frees. */
static char *name_of_node(struct apiserver *a)
{
    pthread_rwlock_rdlock(&a->node_lock);
    char *name = a->node ? xstrdup(a->node->name) : NULL;
    pthread_rwlock_unlock(&a->node_lock);
    return name;
}

static struct json *pod_of(void *self, const char *ns, const char *name)
{
    struct apiserver *a = self;
    AUTOFREE char *key = obj_key_of(ns, name), *node = name_of_node(a);
    OBJ_REF(o) = store_get(a->pods, key);
    return o && node && str_eq(pod_spec_node_name(pod_spec(obj_root(o))), node) ? json_ref(o->doc) : NULL;
}

static struct json **pods_of(void *self, size_t *n)
{
    struct apiserver *a = self;
    AUTOFREE char *node = name_of_node(a);
    struct store_list l = {0};
    *n = 0;
    if (store_list(a->pods, &(struct store_query){0}, &l, NULL) < 0)
        return NULL;
    struct json **out = xcalloc(l.n + 1, sizeof *out);
    for (size_t i = 0; i < l.n; i++)
        if (node && str_eq(pod_spec_node_name(pod_spec(obj_root(l.v[i]))), node))
            out[(*n)++] = json_ref(l.v[i]->doc);
    store_list_free(&l);
    return out;
}

void node_door_init(struct apiserver *a)
{
    a->node_door = (struct node_api){.self = a, .log_open = log_open, .process_open = process_open, .dial = dial};
    a->node_paths = (struct kubelet_paths){.node = &a->node_door, .pool = a->log_pool, .self = a, .pod = pod_of, .pods = pods_of};
    a->node_face = (struct http_api){.name = "kubelet",
                                     .routes = kubelet_routes,
                                     .n_routes = kubelet_n_routes,
                                     .self = &a->node_paths,
                                     .write_error = kubelet_write_error};
}

int handle_node_proxy(struct apiserver *a, struct ctx *ctx, struct http_req *req, struct http_res *res, const struct reqinfo *ri,
                      struct err *err)
{
    CLEANUP(relay_target_free) struct relay_target t = {0};
    relay_parse(ri->name, &t);
    if (!str_eq(t.scheme, "http") && !str_eq(t.scheme, "https"))
        return err_set(err, ERR_BAD_REQUEST, "invalid node request \"%s\"", ri->name);
    AUTOFREE char *name = name_of_node(a);
    OBJ_REF(node) = store_get(a->nodes, t.name);
    if (!node) {
        err_set(err, ERR_NOT_FOUND, "nodes \"%s\" not found", t.name);
        err_subject(err, "", "nodes", t.name);
        return -1;
    }
    if (!str_eq(name, t.name))
        return err_set(err, ERR_UNAVAILABLE, "error trying to reach service: node \"%s\" does not run in this process", t.name);
    if (*t.port && !str_eq(t.port, KUBELET_PORT))
        return err_set(err, ERR_BAD_REQUEST, "address not allowed: of a node the kubelet's port %s is passed on to, and no other",
                       KUBELET_PORT);
    char *path = http_alloc(req, strlen(ri->rest) + 2);
    path[0] = '/';
    strcpy(path + 1, ri->rest);
    http_dispatch(&a->node_face, ctx, req, res, path, true);
    return 0;
}
