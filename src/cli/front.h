/* front.h - how the commands talk to a running tidemill: its front door, and its Kubernetes API. Blocking; one thread.
 *
 * Which one: --url (else $TIDEMILL_URL) is the front door of `up` or `serve`, with http or https; --kubeconfig alone means the
 * component in that cluster, behind services/proxy of its API server, as kfp.Client() finds it; else the run file of --data says.
 * Who asks: $TIDEMILL_TOKEN, else --token-file, else the kubeconfig's token; with none of them the owner of the connection
 * counts. */
#ifndef TM_CLI_FRONT_H
#define TM_CLI_FRONT_H

#include "net/client.h"
#include "value/json.h"

/* What the options of a command say; all may be NULL. */
struct front_where {
    const char *url, *data_dir, *ca_file, *token_file, *kubeconfig;
};
#define FRONT_OPTIONS(w)                                                                                                         \
    {"url", 0, OPT_TEXT, &(w).url, "URL", "front door of the tidemill to ask"},                                                  \
        {"data", 0, OPT_TEXT, &(w).data_dir, "DIR", "data directory of the tidemill to ask"},                                    \
        {"ca-file", 0, OPT_TEXT, &(w).ca_file, "FILE", "trust only these authorities for an https URL (PEM)"},                   \
        {"token-file", 0, OPT_TEXT, &(w).token_file, "FILE", "a token of the cluster for the URL [$TIDEMILL_TOKEN]"},            \
    {                                                                                                                            \
        "kubeconfig", 0, OPT_TEXT, &(w).kubeconfig, "FILE", "the cluster that it runs in; its token for the URL"                 \
    }

struct front {
    struct http_client *http;      /* front door; NULL: it is behind the Kubernetes API, and kube_http leads there */
    struct http_client *kube_http; /* Kubernetes API; NULL until front_kube */
    char *url;
    char *token; /* for the front door; NULL: the peer's owner counts */
    char *kube_url, *kube_token;
    struct json *run_file; /* NULL unless the data directory said where it is */
    bool any_ca;           /* the system's authorities are trusted, as none were named */
};
int front_open(struct front *f, const struct front_where *w, struct err *err);
void front_close(struct front *f); /* also after front_open failed */
/* One JSON call: body may be NULL. Answers outside 2xx become an error with the server's message. */
struct json *front_call(struct front *f, enum http_method method, const char *path, jval *body, struct err *err);
/* Whether the Kubernetes API can be asked: there is a kubeconfig, given or in the run file. Makes front_kube_open work. */
int front_kube(struct front *f, struct err *err);
/* A body read in pieces (logs): of the front door, and of the Kubernetes API. */
struct http_body *front_body(struct front *f, const struct ctx *ctx, const char *path, struct err *err);
struct http_body *front_kube_open(struct front *f, const struct ctx *ctx, const char *path, struct err *err);

#endif
