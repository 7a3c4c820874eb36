/* What a client speaks, and what it asks for. */
#include <strings.h>

#include "base/str.h"
#include "kube/streaming/streaming.h"
#include "net/upgrade/websocket.h"

enum { COMMAND_MAX = 4096 };

static const char *const process_ws[] = {"v5.channel.k8s.io", "v4.channel.k8s.io",     "v4.base64.channel.k8s.io",
                                         "channel.k8s.io",    "base64.channel.k8s.io", NULL};
static const char *const process_spdy[] = {"v5.channel.k8s.io", "v4.channel.k8s.io", NULL};
static const char *const forward_ws[] = {"SPDY/3.1+portforward.k8s.io", "v4.channel.k8s.io", "v4.base64.channel.k8s.io", NULL};
static const char *const forward_spdy[] = {"portforward.k8s.io", NULL};

static bool asks_spdy(const struct http_req *req)
{
    const char *connection = http_header_get(req, "connection"), *upgrade = http_header_get(req, "upgrade");
    return connection && upgrade && strcasestr(connection, "upgrade") && strcasecmp(upgrade, "SPDY/3.1") == 0;
}

/* The first of the client's offers, in any number of headers, that we have. */
static const char *spdy_protocol(const struct http_req *req, const char *const *have, struct strlist *offers)
{
    for (size_t i = 0; i < req->n_headers; i++)
        if (str_eq(req->headers[i].name, "x-stream-protocol-version"))
            str_split(req->headers[i].value, ',', offers);
    for (size_t i = 0; i < offers->n; i++) {
        const char *offer = offers->v[i] + strspn(offers->v[i], " \t");
        for (const char *const *p = have; *p; p++)
            if (str_eq(*p, offer))
                return *p;
    }
    return NULL;
}

static int negotiate_spdy(const struct http_req *req, const char *const *have, struct streaming_how *how, struct err *err)
{
    STRLIST(offers);
    how->protocol = spdy_protocol(req, have, &offers);
    if (how->protocol)
        return 0;
    AUTOFREE char *theirs = strlist_join(&offers, " ");
    return err_set(err, ERR_FORBIDDEN, "unable to negotiate protocol: client supports [%s], server accepts [%s]", theirs,
                   have[1] ? "v5.channel.k8s.io v4.channel.k8s.io" : have[0]);
}

int streaming_negotiate(const struct http_req *req, enum streaming_kind kind, struct streaming_how *how, struct err *err)
{
    *how = (struct streaming_how){.websocket = ws_asked(req)};
    if (!how->websocket && asks_spdy(req))
        return negotiate_spdy(req, kind == STREAMING_FORWARD ? forward_spdy : process_spdy, how, err);
    if (!how->websocket)
        return err_set(err, ERR_BAD_REQUEST, "Upgrade request required");
    if (ws_negotiate(req, kind == STREAMING_FORWARD ? forward_ws : process_ws, &how->protocol, err) < 0)
        return -1;
    how->text = how->protocol && strstr(how->protocol, "base64.");
    how->old = kind == STREAMING_PROCESS && (!how->protocol || !str_starts(how->protocol, "v"));
    return 0;
}

int streaming_process_words(struct http_req *req, bool exec, const struct streaming_words *w, struct node_process_opts *out,
                            struct err *err)
{
    size_t n = http_query_count(req, "command");
    *out = (struct node_process_opts){.container = w->container ? w->container : "",
                                      .in = http_query_bool(req, w->in),
                                      .out = http_query_bool(req, w->out),
                                      .err = http_query_bool(req, w->err),
                                      .tty = http_query_bool(req, "tty")};
    if (!out->in && !out->out && !out->err)
        return err_set(err, ERR_BAD_REQUEST, "you must specify at least 1 of stdin, stdout, stderr");
    if (out->tty)
        out->err = false; /* a terminal has one output */
    if (!exec)
        return 0;
    if (n == 0 || n > COMMAND_MAX)
        return err_set(err, ERR_BAD_REQUEST, "you must specify at least one command for the container");
    const char **command = http_alloc(req, (n + 1) * sizeof *command);
    for (size_t i = 0; i < n; i++)
        command[i] = http_query_nth(req, "command", i);
    out->command = command;
    return 0;
}

int streaming_process_opts(struct http_req *req, bool exec, struct node_process_opts *out, struct err *err)
{
    const struct streaming_words words = {http_query(req, "container"), "stdin", "stdout", "stderr"};
    return streaming_process_words(req, exec, &words, out, err);
}
