/* server.c - the server as a whole: starting, stopping, its faces. */
#include <stdlib.h>

#include "base/fs.h"
#include "cluster/apiserver/internal.h"
#include "kube/kinds.h"

#define LOG_THREADS 8

static struct store_coll *coll(struct apiserver *a, const struct kube_res *r)
{
    return store_coll(a->store, r->group, r->plural);
}

static void find_colls(struct apiserver *a)
{
    a->namespaces = coll(a, &KUBE_NAMESPACES);
    a->pods = coll(a, &KUBE_PODS);
    a->service_objects = coll(a, &KUBE_SERVICES);
    a->slices = coll(a, &KUBE_ENDPOINTSLICES);
    a->secrets = coll(a, &KUBE_SECRETS);
    a->accounts = coll(a, &KUBE_SERVICEACCOUNTS);
    a->nodes = coll(a, &KUBE_NODES);
    a->crds = coll(a, &KUBE_CUSTOMRESOURCEDEFINITIONS);
    a->roles = coll(a, &KUBE_ROLES);
    a->cluster_roles = coll(a, &KUBE_CLUSTERROLES);
    a->role_bindings = coll(a, &KUBE_ROLEBINDINGS);
    a->cluster_role_bindings = coll(a, &KUBE_CLUSTERROLEBINDINGS);
    a->storage_classes = coll(a, &KUBE_STORAGECLASSES);
    a->priority_classes = coll(a, &KUBE_PRIORITYCLASSES);
    a->quotas = coll(a, &KUBE_RESOURCEQUOTAS);
    a->limit_ranges = coll(a, &KUBE_LIMITRANGES);
}

static int start(struct apiserver *a, const struct apiserver_config *cfg, struct err *err)
{
    if (fs_mkdir_p(a->data_dir, 0700, err) < 0)
        return -1;
    AUTOFREE char *db = fs_join(a->data_dir, "kube.db");
    a->store = store_open(db, a->clock, NULL, err);
    if (!a->store || keys_load(a, cfg->cert_names, err) < 0)
        return -1;
    find_colls(a);
    a->tls = (struct tls_server_config){a->keys.server_cert, a->keys.server_key, a->keys.ca_cert};
    a->signer = a->keys.sa_key ? token_signer_new(a->keys.sa_key, err) : token_signer_make(a->data_dir);
    if (!a->signer)
        return -1;
    a->rbac = rbac_new(a);
    if (!(a->services = services_new(cfg->service_cidr, err)))
        return -1;
    a->log_pool = pool_new("log", LOG_THREADS, 10000);
    node_door_init(a);
    a->http = http_face_new(a);
    return bootstrap(a, err);
}

struct apiserver *apiserver_new(const struct apiserver_config *cfg, struct err *err)
{
    struct apiserver *a = xcalloc(1, sizeof(*a));
    a->clock = cfg->clock ? cfg->clock : &clock_system;
    a->data_dir = xstrdup(cfg->data_dir);
    pthread_mutex_init(&a->res_lock, NULL);
    pthread_mutex_init(&a->quota_lock, NULL);
    pthread_mutex_init(&a->inproc_lock, NULL);
    pthread_rwlock_init(&a->node_lock, NULL);
    a->n_checks = cfg->n_checks;
    a->checks = xcalloc(cfg->n_checks + 1, sizeof(*a->checks));
    for (size_t i = 0; i < cfg->n_checks; i++)
        a->checks[i] = cfg->checks[i];
    a->backends = xcalloc(cfg->n_backends + 1, sizeof(*a->backends));
    for (size_t i = 0; i < cfg->n_backends; i++)
        a->backends[a->n_backends++] =
            (struct apiserver_backend){xstrdup(cfg->backends[i].ns), xstrdup(cfg->backends[i].name), cfg->backends[i].api};
    if (start(a, cfg, err) < 0) {
        err_wrap(err, "starting the API server on %s", cfg->data_dir);
        apiserver_stop(a);
        return NULL;
    }
    return a;
}

void apiserver_stop(struct apiserver *a)
{
    if (!a)
        return;
    if (a->log_pool)
        pool_stop(a->log_pool);
    http_face_free(a->http);
    inproc_free_all(a);
    rbac_free(a->rbac);
    services_free(a->services);
    resources_unref(a->resources);
    token_signer_free(a->signer);
    store_close(a->store);
    keys_free(&a->keys);
    for (size_t i = 0; i < a->n_backends; i++) {
        free((void *)(uintptr_t)a->backends[i].ns);
        free((void *)(uintptr_t)a->backends[i].name);
    }
    free(a->backends);
    free(a->checks);
    free(a->data_dir);
    pthread_mutex_destroy(&a->res_lock);
    pthread_mutex_destroy(&a->inproc_lock);
    pthread_rwlock_destroy(&a->node_lock);
    free(a);
}

void apiserver_set_node(struct apiserver *a, const struct node_api *node)
{
    pthread_rwlock_wrlock(&a->node_lock);
    a->node = node;
    pthread_rwlock_unlock(&a->node_lock);
}

const struct tls_server_config *apiserver_tls(struct apiserver *a) { return &a->tls; }

const char *apiserver_ca_pem(struct apiserver *a) { return a->keys.ca_cert; }

const char *apiserver_admin_token(struct apiserver *a) { return a->keys.admin_token; }

/* A client certificate rather than the token: the SDK of the pipelines loses its path through services/proxy when a kubeconfig's
 * token is refreshed (which its client does before each request), and keeps it with a certificate. */
char *apiserver_kubeconfig(struct apiserver *a, const char *server, struct err *err)
{
    static const char *const masters[] = {"system:masters", NULL}, *const no_names[] = {NULL};
    AUTOFREE char *cert = NULL, *key = NULL;
    if (tls_make_cert(a->keys.ca_cert, a->keys.ca_key, "admin", masters, no_names, true, &cert, &key, err) < 0) {
        err_wrap(err, "making the administrator's certificate");
        return NULL;
    }
    AUTOFREE char *ca64 = base64_encode(a->keys.ca_cert, strlen(a->keys.ca_cert));
    AUTOFREE char *cert64 = base64_encode(cert, strlen(cert)), *key64 = base64_encode(key, strlen(key));
    return xasprintf("apiVersion: v1\n"
                     "kind: Config\n"
                     "clusters:\n"
                     "- name: tidemill\n"
                     "  cluster:\n"
                     "    server: %s\n"
                     "    certificate-authority-data: %s\n"
                     "users:\n"
                     "- name: admin\n"
                     "  user:\n"
                     "    client-certificate-data: %s\n"
                     "    client-key-data: %s\n"
                     "contexts:\n"
                     "- name: tidemill\n"
                     "  context:\n"
                     "    cluster: tidemill\n"
                     "    user: admin\n"
                     "    namespace: default\n"
                     "current-context: tidemill\n",
                     server, ca64, cert64, key64);
}

void apiserver_each_kind(void *self, void (*fn)(void *arg, const struct kube_res *res), void *arg)
{
    struct apiserver *a = self;
    RESOURCES(table, a);
    for (size_t i = 0; i < table->n; i++) {
        const struct resource *r = &table->v[i];
        const unsigned need = KVERB_LIST | KVERB_WATCH | KVERB_DELETE;
        bool again = false; /* another version, or another face, of what was called for */
        for (size_t k = 0; k < i && !again; k++)
            again = table->v[k].coll == r->coll;
        if (r->coll && (r->kind->verbs & need) == need && !again)
            fn(arg, res_of(r));
    }
}
