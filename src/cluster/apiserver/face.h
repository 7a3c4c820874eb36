/* face.h - what the files of the HTTP face share: a request, parsed; what its client accepts; how answers are written. */
#ifndef TM_CLUSTER_APISERVER_FACE_H
#define TM_CLUSTER_APISERVER_FACE_H

#include "cluster/apiserver/internal.h"
#include "net/http.h"

/* ---- paths.c -------------------------------------------------------------------------------------------------- */

/* A request as Kubernetes reads it. Strings are decoded and live with the request; "" when absent. */
struct reqinfo {
    bool resource; /* else only path and verb have a meaning */
    const char *path;
    const char *verb; /* "get", "list", "watch", "create", ..., "" for a method without one */
    const char *group, *version, *ns, *plural, *name, *sub;
    const char *rest;  /* what follows the subresource, raw, without its leading slash */
    bool watch_prefix; /* /api/v1/watch/... */
};
int reqinfo_parse(struct http_req *req, struct reqinfo *out, struct err *err);

/* ---- negotiate.c ---------------------------------------------------------------------------------------------- */

enum as_form { AS_OBJECT, AS_TABLE, AS_PARTIAL, AS_PARTIAL_LIST };
struct accept {
    bool yaml, pretty;
    enum as_form as;
    const char *form_version; /* static: "meta.k8s.io/v1" */
    enum table_include include;
};
/* What of the Accept header can be answered; ERR_NOT_ACCEPTABLE. */
int accept_parse(const struct http_req *req, struct accept *out, struct err *err);
/* One clause of an Accept header: "type/subtype" in lower case and its parameters. For discovery too. */
struct media {
    const char *type;
    struct http_header params[8];
    size_t n_params;
};
/* Splits text (which is changed) into its clauses; returns how many, at most max. */
size_t media_split(char *text, struct media *out, size_t max);
const char *media_param(const struct media *m, const char *name); /* NULL when absent */
/* The format of a request body, or ERR_MEDIA_TYPE. */
int body_format(const struct http_req *req, bool builtin, enum decode_format *out, struct err *err);
int patch_type(const struct http_req *req, enum kube_patch *out, struct err *err);

/* ---- status.c ------------------------------------------------------------------------------------------------- */

struct json *status_of(const struct err *e);
void status_write(struct http_res *res, const struct err *e);

/* ---- answers (answer.c) ----------------------------------------------------------------------------------------- */

void answer_object(struct http_res *res, const struct op *op, const struct accept *acc, struct store_obj *o, int status);
void answer_list(struct http_res *res, const struct op *op, const struct accept *acc, const struct listing *l);
void answer_json(struct http_res *res, const struct accept *acc, jval *v, int status);

/* ---- handlers --------------------------------------------------------------------------------------------------- */

int handle_resource(struct apiserver *a, struct ctx *ctx, struct http_req *req, struct http_res *res, struct reqinfo *ri,
                    struct err *err);
int handle_watch(struct op *op, struct http_req *req, struct http_res *res, struct err *err);   /* watch_stream.c */
int handle_log(struct op *op, struct http_req *req, struct http_res *res, struct err *err);     /* log_stream.c */
int handle_connect(struct op *op, struct http_req *req, struct http_res *res, struct err *err); /* connect.c */
int handle_proxy(struct apiserver *a, struct ctx *ctx, struct http_req *req, struct http_res *res, const struct reqinfo *ri,
                 struct err *err);
int handle_pod_proxy(struct apiserver *a, struct ctx *ctx, struct http_req *req, struct http_res *res, const struct reqinfo *ri,
                     struct err *err);
int handle_node_proxy(struct apiserver *a, struct ctx *ctx, struct http_req *req, struct http_res *res, const struct reqinfo *ri,
                      struct err *err); /* node_door.c */
int handle_other(struct apiserver *a, struct http_req *req, struct http_res *res, struct err *err);
/* docs.c; path is /api or /apis or below, rest what follows /openapi/v3/ */
int handle_discovery(struct apiserver *a, struct http_req *req, struct http_res *res, const char *path, struct err *err);
int handle_openapi(struct apiserver *a, struct http_req *req, struct http_res *res, const char *rest, struct err *err);
int handle_openapi_v2(struct apiserver *a, struct http_req *req, struct http_res *res, struct err *err);
int handle_root(struct apiserver *a, struct http_req *req, struct http_res *res, struct err *err);

int authenticate(void *self, struct ctx *ctx, struct http_req *req, struct err *err);
int fail_method(struct err *err);
int fail_no_resource(struct err *err);

#endif
