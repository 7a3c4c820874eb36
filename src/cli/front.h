/* front.h - how the commands talk to a running tidemill: its front door, and its Kubernetes API. Blocking; one thread. */
#ifndef TM_CLI_FRONT_H
#define TM_CLI_FRONT_H

#include "net/client.h"
#include "value/json.h"

struct front {
    struct http_client *http;      /* front door */
    struct http_client *kube_http; /* Kubernetes API; NULL until front_kube */
    char *url;
    char *token; /* for the front door; NULL: the peer's owner counts */
    char *kube_url, *kube_token;
    struct json *run_file; /* NULL when --url was given */
};
/* url: --url, else $TIDEMILL_URL, else from the run file of data_dir (may be NULL). Token from $TIDEMILL_TOKEN. */
int front_open(struct front *f, const char *url, const char *data_dir, struct err *err);
void front_close(struct front *f);
/* One JSON call: body may be NULL. Answers outside 2xx become an error with the server's message. */
struct json *front_call(struct front *f, enum http_method method, const char *path, jval *body, struct err *err);
/* Reads the kubeconfig that the run file names, so that front_kube_open works. */
int front_kube(struct front *f, struct err *err);
struct json *front_kube_get(struct front *f, const char *path, struct err *err);
/* A body read in pieces (logs): of the front door, and of the Kubernetes API. */
struct http_body *front_body(struct front *f, const struct ctx *ctx, const char *path, struct err *err);
struct http_body *front_kube_open(struct front *f, const struct ctx *ctx, const char *path, struct err *err);

#endif
