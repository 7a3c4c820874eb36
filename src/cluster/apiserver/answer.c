/* answer.c - objects and lists as bytes: stored bytes where they fit, else tables, metadata, YAML, pretty JSON. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "cluster/apiserver/face.h"
#include "value/yaml.h"

static void answer_bytes(struct http_res *res, struct buf *b) { http_body_buf(res, "application/json", b); }

void answer_json(struct http_res *res, const struct accept *acc, jval *v, int status)
{
    BUF(b);
    http_status(res, status);
    if (acc && acc->yaml) {
        yaml_write(v, &b);
        http_body_buf(res, "application/yaml", &b);
        return;
    }
    jv_write(v, acc && acc->pretty ? JW_PRETTY : JW_COMPACT, &b);
    answer_bytes(res, &b);
}

/* Bytes of JSON that may have to become something else. */
static void answer_text(struct http_res *res, const struct accept *acc, struct buf *b)
{
    if (!acc->yaml && !acc->pretty) {
        answer_bytes(res, b);
        return;
    }
    JSON_REF(d) = json_parse(b->data, b->len, NULL, NULL);
    answer_json(res, acc, json_root(d), 200);
}

static void table_of(const struct op *op, const struct accept *acc, jval *const *items, size_t n,
                     const struct table_list_meta *meta, struct buf *b)
{
    table_write(op->res->columns, items, n, acc->include, meta, true, ctx_now_ns(op->ctx), b);
}

void answer_object(struct http_res *res, const struct op *op, const struct accept *acc, struct store_obj *o, int status)
{
    BUF(b);
    jval *root = obj_root(o);
    struct table_list_meta meta = {.api_version = acc->form_version, .resource_version = obj_rv_text(root), .remaining = -1};
    bool plain = acc->as == AS_OBJECT || strcmp(obj_kind(root), "Status") == 0;
    if (plain) {
        buf_add(&b, o->bytes, o->len);
    } else if (acc->as == AS_TABLE) {
        table_of(op, acc, &root, 1, &meta, &b);
    } else {
        partial_write(root, acc->form_version, &b);
    }
    answer_text(res, acc, &b);
    http_status(res, status);
}

static void write_list_meta(struct buf *b, const struct op *op, const struct listing *l)
{
    AUTOFREE char *api_version = kind_api_version(op->res->kind);
    buf_addf(b, "{\"kind\":\"%s\",\"apiVersion\":\"%s\",\"metadata\":{\"resourceVersion\":\"%" PRId64 "\"",
             op->res->kind->list_kind, api_version, l->list.rv);
    if (l->continue_token || op->res->cv)
        buf_addf(b, ",\"continue\":\"%s\"", l->continue_token ? l->continue_token : "");
    if (l->remaining > 0)
        buf_addf(b, ",\"remainingItemCount\":%" PRId64, l->remaining);
    buf_adds(b, "},\"items\":[");
}

static void write_items(struct buf *b, const struct op *op, const struct listing *l)
{
    for (size_t i = 0; i < l->list.n; i++) {
        const struct store_obj *o = l->list.v[i];
        if (i)
            buf_addc(b, ',');
        if (op->res->cv) { /* custom objects carry kind and apiVersion in lists too */
            buf_add(b, o->bytes, o->len);
        } else {
            buf_addc(b, '{');
            buf_add(b, o->bytes + o->tail, o->len - o->tail);
        }
    }
}

void answer_list(struct http_res *res, const struct op *op, const struct accept *acc, const struct listing *l)
{
    BUF(b);
    if (acc->as == AS_OBJECT) {
        size_t total = 256;
        for (size_t i = 0; i < l->list.n; i++)
            total += l->list.v[i]->len + 1;
        buf_reserve(&b, total);
        write_list_meta(&b, op, l);
        write_items(&b, op, l);
        buf_adds(&b, "]}");
    } else {
        AUTOFREE jval **items = xcalloc(l->list.n + 1, sizeof(*items));
        for (size_t i = 0; i < l->list.n; i++)
            items[i] = obj_root(l->list.v[i]);
        char rv[32];
        snprintf(rv, sizeof(rv), "%" PRId64, l->list.rv);
        struct table_list_meta meta = {.api_version = acc->form_version,
                                       .resource_version = rv,
                                       .continue_token = l->continue_token,
                                       .remaining = l->remaining};
        if (acc->as == AS_TABLE)
            table_of(op, acc, items, l->list.n, &meta, &b);
        else
            partial_list_write(items, l->list.n, &meta, &b);
    }
    answer_text(res, acc, &b);
}
