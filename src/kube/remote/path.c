/* path.c - where things are: paths and queries. Source: specs kube.md 2. */
#include <stdio.h>
#include <stdlib.h>

#include "kube/remote/internal.h"

static int add_part(struct buf *out, const char *part, const char *what, struct err *err)
{
    if (str_eq(part, ".") || str_eq(part, "..") || strchr(part, '/') || strchr(part, '%'))
        return err_set(err, ERR_BAD_REQUEST, "the %s \"%.253s\" can be no part of a path", what, part);
    AUTOFREE char *encoded = url_encode(part);
    buf_addf(out, "/%s", encoded);
    return 0;
}

int remote_path(const struct kube_res *res, const char *ns, const char *name, const char *sub, struct buf *out, struct err *err)
{
    if (*res->group)
        buf_addf(out, "/apis/%s/%s", res->group, res->version);
    else
        buf_addf(out, "/api/%s", res->version);
    if (res->namespaced && !str_empty(ns)) {
        buf_adds(out, "/namespaces");
        if (add_part(out, ns, "namespace", err) < 0)
            return -1;
    }
    if (add_part(out, res->plural, "resource", err) < 0 || (!str_empty(name) && add_part(out, name, "name", err) < 0))
        return -1;
    if (str_empty(sub))
        return 0;
    STRLIST(parts); /* "proxy/some/path" */
    str_split(sub, '/', &parts);
    for (size_t i = 0; i < parts.n; i++)
        if (add_part(out, parts.v[i], "subresource", err) < 0)
            return -1;
    return 0;
}

void query_add(struct buf *path, const char *name, const char *value)
{
    if (str_empty(value))
        return;
    AUTOFREE char *encoded = url_encode(value);
    buf_addf(path, "%c%s=%s", strchr(buf_str(path), '?') ? '&' : '?', name, encoded);
}

void query_addi(struct buf *path, const char *name, int64_t value)
{
    char text[24];
    snprintf(text, sizeof text, "%lld", (long long)value);
    query_add(path, name, text);
}

void query_selection(struct buf *path, const struct kube_opts *o)
{
    query_add(path, "labelSelector", o->label_selector);
    query_add(path, "fieldSelector", o->field_selector);
    query_add(path, "resourceVersion", o->resource_version);
    query_add(path, "resourceVersionMatch", o->resource_version_match);
    if (o->limit > 0)
        query_addi(path, "limit", o->limit);
    query_add(path, "continue", o->continue_token);
}
