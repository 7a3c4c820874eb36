/* internal.h - what the files of the API server share. Reading order: registry.c (what is served), verbs_*.c (what a request
 * does, whatever it came by), inproc.c (struct kube), http.c (HTTP).
 *
 * A `struct op` is one request: parsed, with its resource, before or after authorization. The verb functions know nothing of
 * HTTP; their results are store objects, also where nothing was stored (dry run, reviews). */
#ifndef TM_CLUSTER_APISERVER_INTERNAL_H
#define TM_CLUSTER_APISERVER_INTERNAL_H

#include <poll.h>

#include "base/str.h"
#include "base/thread.h"
#include "cluster/apiserver/apiserver.h"
#include "cluster/apiserver/store/store.h"
#include "kube/amounts.h"
#include "kube/documents/discovery.h"
#include "kube/documents/openapi.h"
#include "kube/documents/table.h"
#include "kube/kind.h"
#include "kube/object.h"
#include "kube/schema/crd.h"
#include "kube/selector.h"
#include "kube/streaming/kubelet_paths.h"
#include "kube/wire/decode.h"

/* ---- what is served -------------------------------------------------------------------------------------------- */

/* One group, version and plural. Immutable; belongs to the table that gave it. */
struct resource {
    const struct kind *kind;      /* built-in, or made of a definition */
    const struct crd_version *cv; /* NULL: built-in */
    struct store_coll *coll;      /* NULL: virtual (reviews) */
    const struct field_labels *fields;
    const struct table_columns *columns;
    int64_t since; /* custom: revision of the definition; older objects are brought up to its schema when read */
    char *full;    /* "deployments.apps", "pods" */
};
/* All that is served at one moment, reference-counted. */
struct resources {
    atomic_int refs;
    int64_t crd_rev; /* of the collection of definitions that it was made from */
    struct resource *v;
    size_t n;
    struct custom { /* owns what the resources of custom kinds point to */
        struct crd_info *info;
        struct store_obj *crd;
        struct kind *kinds; /* one a served version */
        size_t n_kinds;
    } * customs;
    size_t n_customs;
    struct discovery *discovery;
    struct openapi *openapi;
};
struct resources *resources_get(struct apiserver *a); /* a reference to the present table */
void resources_unref(struct resources *r);
static inline void resources_unrefp(struct resources **r) { resources_unref(*r); }
#define RESOURCES(name, a) CLEANUP(resources_unrefp) struct resources *name = resources_get(a)
const struct resource *resource_find(const struct resources *r, const char *group, const char *version, const char *plural);
bool resources_has_group(const struct resources *r, const char *group);
bool resources_has_version(const struct resources *r, const char *group, const char *version);
static inline const struct kube_res *res_of(const struct resource *r) { return &r->kind->res; }
bool resource_has_sub(const struct resource *r, const char *sub);

/* ---- the server ------------------------------------------------------------------------------------------------ */

struct rbac;
struct services;
struct keys {
    char *ca_cert, *ca_key, *server_cert, *server_key; /* PEM */
    char *sa_key;                                      /* PEM, RSA 2048: signs tokens of service accounts; NULL: to be made */
    char *admin_token;
};
struct inproc;
struct apiserver {
    const struct clock *clock;
    char *data_dir;
    struct store *store;
    struct keys keys;
    struct tls_server_config tls;
    struct apiserver_backend *backends;
    size_t n_backends;
    struct apiserver_check *checks;
    size_t n_checks;
    /* Collections that the server itself looks into. */
    struct store_coll *service_objects, *slices;
    struct store_coll *namespaces, *pods, *secrets, *accounts, *nodes, *crds, *roles, *cluster_roles, *role_bindings,
        *cluster_role_bindings, *priority_classes, *storage_classes, *quotas, *limit_ranges;

    pthread_mutex_t quota_lock; /* held from the count of a namespace with quotas to the write that it allows */
    pthread_mutex_t res_lock;
    struct resources *resources;
    struct rbac *rbac;
    struct services *services;
    struct token_signer *signer;

    pthread_rwlock_t node_lock; /* held for reading while the node is asked */
    const struct node_api *node;
    struct node_api node_door; /* the same, with the lock taken: what is asked (node_door.c) */
    struct kubelet_paths node_paths;
    struct http_api node_face; /* nodes/proxy */
    struct pool *log_pool;

    pthread_mutex_t inproc_lock;
    struct inproc *inprocs;
    struct http_face *http;
    void (*kinds_changed)(void *arg); /* res_lock */
    void *kinds_changed_arg;
};

/* ---- one request ----------------------------------------------------------------------------------------------- */

struct op {
    struct apiserver *a;
    const struct ctx *ctx;
    const struct identity *who;
    const struct resource *res;
    const char *verb;            /* "get", "deletecollection", ... as RBAC names it */
    const char *ns, *name, *sub; /* NULL when absent */
    const struct kube_opts *o;   /* never NULL */
    struct strlist *warnings;    /* may be NULL */
    const char *manager;         /* who writes, as the client says; NULL: this process */
    jval *applying;              /* the configuration of a server-side apply; else NULL */
    bool initial_events_given;   /* sendInitialEvents was said, be it false */
    bool orphan_refused;         /* orphanDependents=false: what is still there is answered with 202 */
};
void op_warn(struct op *op, const char *fmt, ...) PRINTF_LIKE(2, 3);
char *op_key(const struct op *op); /* "ns/name" or "name"; caller frees */

/* ERR_FORBIDDEN with Kubernetes' text when who may not. */
int op_authorize(const struct op *op, struct err *err);
int op_check_options(const struct op *op, const char *options_kind, struct err *err); /* dryRun, fieldManager, fieldValidation */

/* options.c: DeleteOptions as they were written, in a query or a body. The strings are the caller's. */
struct delete_words {
    const char *policy;
    bool orphan_given, orphan;
    const char *dry_run[8];
    size_t n_dry_run;
};
/* Out of a body. What needs no check goes to o, which points to *grace and into b. */
void delete_words_of(jval *b, struct delete_words *w, struct kube_opts *o, int64_t *grace);
int delete_words_use(struct op *op, const struct delete_words *w, struct kube_opts *o, struct err *err); /* checks the rest */
struct faults;
void dry_run_check(struct faults *f, const char *const *values, size_t n);

struct listing {
    struct store_list list;
    char *continue_token;
    int64_t remaining; /* -1: do not say */
};
void listing_free(struct listing *l);
struct store_obj *verb_get(struct op *op, struct err *err);
int verb_list(struct op *op, struct listing *out, struct err *err);
struct store_obj *verb_create(struct op *op, jval *obj, struct err *err);
struct store_obj *verb_update(struct op *op, jval *obj, bool *created, struct err *err);
/* type: not an apply. Makes the wanted state from the present one; called again when somebody else was faster. */
typedef struct json *transform_fn(struct op *op, void *arg, jval *old, struct err *err);
struct store_obj *update_loop(struct op *op, transform_fn *fn, void *arg, struct err *err);
int op_check_identity(const struct op *op, jval *now,
                      struct err *err); /* the object's name and namespace are those of the path */
struct store_obj *verb_apply(struct op *op, jval *config, bool *created, struct err *err); /* verbs_apply.c */
struct store_obj *verb_patch(struct op *op, enum kube_patch type, jval *patch, struct err *err);
/* The object when it is (or was, for kinds that answer so) the answer; else NULL with *status filled. accepted: 202. */
struct deletion {
    struct store_obj *obj;
    struct json *status;
    bool accepted;
};
void deletion_free(struct deletion *d);
int verb_delete(struct op *op, struct deletion *out, struct err *err);
/* Is the object the one that the preconditions mean? ERR_CONFLICT */
int delete_check_preconditions(const struct op *op, jval *o, struct err *err);
int verb_delete_collection(struct op *op, struct listing *out, struct err *err);

/* Subresources that are created (binding, token), logs (subresource.c), and reviews (reviews.c). */
struct store_obj *sub_create(struct op *op, jval *body, struct err *err);
struct store_obj *binding_create(struct op *op, jval *binding, struct err *err); /* the collection bindings */
struct store_obj *sub_eviction(struct op *op, jval *eviction, struct err *err);  /* eviction.c */
struct store_obj *created_status(void); /* what POST of a subresource without an object of its own answers */
/* A token of the account that is bound to the secret. m: an empty object to put the claims into. */
char *token_for_secret(struct op *op, struct jm *m, jval *account, jval *secret, struct err *err);
int sub_log_options(struct op *op, const struct kube_log_opts *in, struct kube_log_opts *out, struct store_obj **pod,
                    char **container, struct err *err);
/* The object whose subresource it is. */
struct store_obj *sub_parent(struct op *op, struct err *err);
/* The container that is meant; a pod with several needs a word. */
int sub_container(struct op *op, jval *pod, const char *asked, char **out, struct err *err);
/* connect.c: a program in a container; o->container may be empty. */
bool is_connect(const char *sub);
/* inproc_process.c: takes it. */
struct kube_process *inproc_process(struct node_process *take);
/* Waits until one of the descriptors has what it is asked for, or an error; fds has room for one more. -1: the context ended. */
int inproc_wait(const struct ctx *ctx, struct pollfd *fds, size_t n, struct err *err);
/* inproc_pipe.c */
struct kube_pipe *inproc_log(struct op *op, const struct kube_log_opts *asked, struct err *err);
struct kube_pipe *inproc_port(int fd); /* takes it */
/* connect.c: a connection to a port of the pod of the op, non-blocking; maybe not made yet. */
int sub_dial(struct op *op, int port, int *fd, struct err *err);
int sub_process_open(struct op *op, const struct node_process_opts *o, struct node_process *out, struct err *err);
int sub_log_read(struct op *op, const struct kube_log_opts *lo, size_t max, struct buf *out, struct err *err);
struct store_obj *review_create(struct op *op, jval *obj, struct err *err);

/* scale.c: the subresource scale of custom kinds. Answers are Scales. */
static inline bool op_is_scale(const struct op *op) { return op->res->cv && op->sub && strcmp(op->sub, "scale") == 0; }
struct store_obj *scale_get(struct op *op, struct err *err);
struct store_obj *scale_update(struct op *op, jval *scale, struct err *err);
struct store_obj *scale_patch(struct op *op, enum kube_patch type, jval *patch, struct err *err);

/* Watches: the store's, with selectors. */
struct watch {
    struct store_watch *w;
    struct resources *resources; /* reference */
    const struct resource *res;
    struct label_selector *labels;
    struct field_selector *field_sel;
    bool initial_mark; /* the end of the initial state is to be marked (sendInitialEvents) */
    bool late_mark;    /* no revision was given: the first bookmark that comes by the clock carries the mark */
    bool bookmarks;
};
struct watch *watch_open(struct op *op, void (*notify)(void *), void *arg, struct err *err);
void watch_close(struct watch *w);
/* The document of an event: with the revision of the change, and of custom kinds in the version that was asked for. A reference.
 */
struct store_obj *watch_object(struct watch *w, const struct store_event *ev);

/* ---- parts ----------------------------------------------------------------------------------------------------- */

/* errors.c: Kubernetes' texts. All return -1. */
int fail_not_found(struct err *err, const struct resource *r, const char *name);
int fail_exists(struct err *err, const struct resource *r, const char *name);
int fail_conflict(struct err *err, const struct resource *r, const char *name, const char *why);
int fail_forbidden(struct err *err, const struct resource *r, const char *name, const char *fmt, ...) PRINTF_LIKE(4, 5);
int fail_internal(struct err *err, const char *fmt, ...) PRINTF_LIKE(2, 3); /* 500 without a reason */
#define MODIFIED_TEXT "the object has been modified; please apply your changes to the latest version and try again"

/* object.c: objects as they are stored. */
struct jm *object_ordered(jval *v); /* a copy that starts with kind and apiVersion */
void object_put_header(struct jm *m, const struct resource *r);
/* A stored object as this resource shows it: of custom kinds in its version, pruned and with its defaults. A reference. */
struct store_obj *object_as(const struct resource *r, struct store_obj *o);
/* events_face.c: a kind whose objects are stored as those of another group. */
bool is_face(const struct resource *r);
void face_to_store(const struct resource *r, struct jm *m);
struct json *face_of(const struct resource *r, jval *stored);
/* store_write with the document in the form that is stored; *out is as the resource shows it. */
int object_write(struct op *op, const char *key, int64_t expect, struct jm *m, bool remove, bool soft, struct store_obj **out,
                 struct err *err);
struct store_obj *object_virtual(struct jm *m); /* for answers that are not stored */
struct json *status_success(struct jm *details /* may be NULL */);

/* decode.c: what a client sent becomes an object of the kind, in its normal form: types checked, unknown fields reported as the
 * request wants it. */
struct json *decode_request(struct op *op, enum decode_format format, const char *body, size_t len, struct err *err);
struct json *decode_inproc(struct op *op, jval *obj, struct err *err);
/* The body of a subresource that is created (Binding, TokenRequest, Eviction). */
struct json *decode_sub(struct op *op, enum decode_format format, const char *body, size_t len, struct err *err);
/* What a patch made; ERR_BAD_REQUEST tells what is wrong with it. */
struct json *decode_patched(struct op *op, jval *obj, bool strategic, struct err *err);
int report_unknown(struct op *op, const struct strlist *texts, struct err *err);
int object_default(struct op *op, struct jm *m, struct err *err);

/* prepare.c: what the server owns in metadata, and what the kind does with status and generation. */
int prepare_create(struct op *op, struct jm *m, struct err *err);
int prepare_update(struct op *op, jval *old, struct jm *m, struct err *err);
void pod_conditions_complete(struct jm *m);
bool kind_has_generation(const struct resource *r);

/* admission.c */
int admit_create(struct op *op, struct jm *m, struct err *err);
int admit_update(struct op *op, jval *old, struct jm *m, struct err *err);
int admit_delete(struct op *op, jval *old, struct err *err);
/* priority.c: pods get the number of their class; one class is the default. */
int admit_priority(struct op *op, struct jm *m, struct err *err);
int admit_priority_class(struct op *op, jval *old, jval *now, struct err *err);
/* quota.c: LimitRanges fill in what a new pod leaves open, and refuse; ResourceQuotas are counted anew for each write that would
 * use more of them. Between quota_take and quota_settle nobody else takes of any quota. */
struct quota_hold {
    bool locked;
    struct store_obj **quotas; /* whose status is to show it */
    struct amounts *used;      /* one for each of them */
    size_t n;
};
void limits_admit(struct op *op, struct jm *m);
int limits_refuse(struct op *op, jval *now, struct err *err);
int quota_take(struct op *op, jval *old, jval *now, struct quota_hold *h, struct err *err);
void quota_settle(struct op *op, struct quota_hold *h, bool stored);
/* podsec.c: what a namespace's labels ask of its pods. old NULL: create */
int admit_pod_security(struct op *op, jval *old, jval *now, struct err *err);

/* services.c: addresses and node ports. */
struct services *services_new(const char *cidr, struct err *err);
void services_free(struct services *s);
/* The two names of the address agree, what a change of type leaves behind goes, what was given before is kept. old NULL: new. */
void services_normalize(struct op *op, jval *old, struct jm *m);
/* Gives a valid Service what it lacks. What was taken is added to got; nobody else gets it until services_settle, after
 * which only what is stored counts. */
int services_allocate(struct op *op, jval *old, struct jm *m, struct strlist *got, struct err *err);
void services_settle(struct op *op, const struct strlist *got);

/* storage.c */
void storage_admit_create(struct op *op, struct jm *m);
int storage_admit_update(struct op *op, jval *old, jval *now, struct err *err);

/* rbac.c and authz.c */
struct attrs {
    const char *verb, *group, *version, *resource, *sub, *ns, *name; /* "" or NULL when absent */
    const char *path;                                                /* non-resource request: all else is NULL */
};
struct rbac *rbac_new(struct apiserver *a);
void rbac_free(struct rbac *r);
bool rbac_allows(struct rbac *r, const struct identity *who, const struct attrs *at, char **reason /* may be NULL */);
/* Puts the rules that who has in ns as arrays resourceRules and nonResourceRules into status. */
void rbac_rules(struct rbac *r, const struct identity *who, const char *ns, struct jm *m, jmval *status);
/* Whoever writes a role or a binding must have its rights, or the verb escalate or bind. */
int rbac_check_escalation(struct op *op, jval *old /* NULL: new */, jval *obj, struct err *err);
void aggregate_roles(struct apiserver *a); /* after a cluster role was written */
int rbac_fail(struct err *err, const struct identity *who, const struct attrs *at, const char *full, const char *reason);

/* keys.c, token.c */
int keys_load(struct apiserver *a, const char *const *cert_names, struct err *err);
void keys_free(struct keys *k);
/* Makes the key that signs tokens and keeps it in the data directory: durable before anything is signed with it. PEM; caller
 * frees. */
char *keys_make_signing_key(const char *data_dir, struct err *err);
struct token_signer *token_signer_new(const char *key_pem, struct err *err);
/* Without a key yet: a thread makes one, for 0.1 to 0.4 seconds, and who needs it sooner waits. */
struct token_signer *token_signer_make(const char *data_dir);
void token_signer_free(struct token_signer *t);
const char *token_jwks(struct token_signer *t); /* the public key, as /openid/v1/jwks answers it; NULL: none could be made */
char *token_sign(struct token_signer *t, jmval *claims, struct err *err);
/* The claims of a token with a good signature that is not expired and meant for audience; ERR_UNAUTHENTICATED else. */
struct json *token_verify(struct token_signer *t, const char *token, const char *const *audiences, int64_t now_ns,
                          struct err *err);
bool token_for_audience(jval *claims, const char *audience);
#define TOKEN_ISSUER "https://kubernetes.default.svc"

/* identity.c and authn.c */
struct identity *identity_copy(const struct identity *who); /* with strings of its own; identity_free */
void identity_free(struct identity *who);
/* Who holds this bearer token. The identity is the caller's (identity_free). audiences NULL: the API server. */
struct identity *authn_token(struct apiserver *a, const char *token, struct err *err);
struct identity *authn_claims(struct apiserver *a, const char *token, const char *const *audiences, struct json **claims,
                              struct err *err);

void node_door_init(struct apiserver *a); /* node_door.c; after log_pool is there */

/* inproc.c, http.c */
void inproc_free_all(struct apiserver *a);
struct http_face *http_face_new(struct apiserver *a);
void http_face_free(struct http_face *f);

/* bootstrap.c */
int bootstrap(struct apiserver *a, struct err *err);

/* crd.c: rules of definitions; what follows from a write. old is NULL for a new object; a removed one comes as now with old NULL.
 */
int crd_before_write(struct op *op, struct jm *m, jval *old, struct err *err);
void after_write(struct op *op, jval *old, jval *now);

#endif
