/* handlers.c - requests for resources: options out of query and body, the verb, the answer. */
#include <stdlib.h>

#include "base/timefmt.h"
#include "cluster/apiserver/face.h"
#include "kube/fields.h"
#include "kube/rules/validate.h"

#define MAX_MANAGER 128

/* Options as they came; the strings live with the request, the grace here. */
struct options {
    struct kube_opts o;
    int64_t grace;
    struct json *body; /* delete: keeps preconditions alive */
};
static void options_free(struct options *o) { json_unref(o->body); }

static int query_i64(struct http_req *req, const char *name, int64_t *out, struct err *err)
{
    const char *text = http_query(req, name);
    if (str_empty(text) || str_to_i64(text, out))
        return 0;
    BUF(q);
    json_quote(&q, text, strlen(text));
    return err_set(err, ERR_BAD_REQUEST, "strconv.ParseInt: parsing %s: invalid syntax", buf_str(&q));
}

/* ---- options of writes -------------------------------------------------------------------------------------------- */

static const char *options_kind(const struct op *op)
{
    switch (op->verb[0]) {
    case 'c':
        return "CreateOptions";
    case 'u':
        return "UpdateOptions";
    case 'p':
        return "PatchOptions";
    default:
        return "DeleteOptions";
    }
}

static void check_manager(struct faults *f, const char *manager)
{
    if (str_empty(manager))
        return;
    if (strlen(manager) > MAX_MANAGER)
        fault_too_long(f, "fieldManager", MAX_MANAGER);
    for (const char *p = manager; *p; p++)
        if ((unsigned char)*p < 0x20 || *p == 0x7f) {
            fault_invalid_str(f, "fieldManager", manager, "invalid character U+%04X (at position %zu)", (unsigned char)*p,
                              (size_t)(p - manager));
            return;
        }
}

static void check_validation(struct faults *f, const char *v)
{
    static const char *const known[] = {"", "Ignore", "Strict", "Warn", NULL};
    for (size_t i = 0; known[i]; i++)
        if (str_empty(v) || strcmp(v, known[i]) == 0)
            return;
    fault_unsupported(f, "fieldValidation", v, known);
}

/* Who writes when no fieldManager is given: what stands before the first slash of the client's name for itself. */
static const char *agent_name(struct http_req *req)
{
    const char *agent = http_header_get(req, "user-agent");
    size_t n = 0;
    char *name = http_alloc(req, MAX_MANAGER + 1);
    for (const char *p = agent ? agent : ""; *p && *p != '/' && n < MAX_MANAGER; p++)
        if ((unsigned char)*p >= 0x20 && (unsigned char)*p < 0x7f)
            name[n++] = *p;
    name[n] = '\0';
    return n ? name : "unknown";
}

static int write_options(struct op *op, struct http_req *req, struct options *out, struct err *err)
{
    struct kube_opts *o = &out->o;
    FAULTS(f);
    size_t n = http_query_count(req, "dryRun");
    AUTOFREE const char **values = xcalloc(n + 1, sizeof(*values));
    for (size_t i = 0; i < n; i++)
        values[i] = http_query_nth(req, "dryRun", i);
    dry_run_check(&f, values, n);
    o->dry_run = n > 0;
    o->field_manager = http_query(req, "fieldManager");
    o->field_validation = http_query(req, "fieldValidation");
    o->force = http_query(req, "force") && http_query_bool(req, "force");
    enum kube_patch type = KUBE_PATCH_JSON;
    bool applies = strcmp(op->verb, "patch") == 0 && patch_type(req, &type, NULL) == 0 && type == KUBE_PATCH_APPLY;
    op->manager = agent_name(req);
    if (applies && str_empty(o->field_manager))
        fault_required(&f, "fieldManager", "is required for apply patch");
    if (!applies && strcmp(op->verb, "patch") == 0 && http_query(req, "force"))
        fault_forbidden(&f, "force", "may not be specified for non-apply patch");
    check_manager(&f, o->field_manager);
    check_validation(&f, o->field_validation);
    return faults_done(&f, "meta.k8s.io", options_kind(op), "", err);
}

/* ---- options of deletes ------------------------------------------------------------------------------------------- */

static void words_of_query(struct http_req *req, struct delete_words *w)
{
    w->policy = http_query(req, "propagationPolicy");
    w->orphan_given = !str_empty(http_query(req, "orphanDependents"));
    w->orphan = w->orphan_given && http_query_bool(req, "orphanDependents");
    for (size_t i = 0; i < http_query_count(req, "dryRun") && i < ARRAY_LEN(w->dry_run); i++)
        w->dry_run[w->n_dry_run++] = http_query_nth(req, "dryRun", i);
}

static int delete_options(struct op *op, struct http_req *req, struct options *out, struct err *err)
{
    struct delete_words w = {0};
    if (req->body_len) {
        enum decode_format format;
        if (body_format(req, true, &format, err) < 0)
            return -1;
        out->body = decode_options("DeleteOptions", format, req->body, req->body_len, err);
        if (!out->body)
            return -1;
        delete_words_of(json_root(out->body), &w, &out->o, &out->grace);
    } else {
        words_of_query(req, &w);
        if (!str_empty(http_query(req, "gracePeriodSeconds"))) {
            if (query_i64(req, "gracePeriodSeconds", &out->grace, err) < 0)
                return -1;
            out->o.grace_seconds = &out->grace;
        }
    }
    return delete_words_use(op, &w, &out->o, err);
}

/* ---- options of reads --------------------------------------------------------------------------------------------- */

static int read_options(struct op *op, struct http_req *req, struct options *out, struct err *err)
{
    struct kube_opts *o = &out->o;
    int64_t seconds = 0;
    o->resource_version = http_query(req, "resourceVersion");
    o->resource_version_match = http_query(req, "resourceVersionMatch");
    o->label_selector = http_query(req, "labelSelector");
    o->field_selector = http_query(req, "fieldSelector");
    o->continue_token = http_query(req, "continue");
    o->bookmarks = http_query_bool(req, "allowWatchBookmarks") && http_query(req, "allowWatchBookmarks");
    op->initial_events_given = !str_empty(http_query(req, "sendInitialEvents"));
    o->send_initial_events = op->initial_events_given && http_query_bool(req, "sendInitialEvents");
    if (query_i64(req, "limit", &o->limit, err) < 0 || query_i64(req, "timeoutSeconds", &seconds, err) < 0)
        return -1;
    if (o->limit < 0)
        o->limit = 0;
    int64_t ns;
    const char *timeout = http_query(req, "timeout");
    if (!str_empty(timeout) && strcmp(op->verb, "watch") != 0 && !duration_parse(timeout, &ns))
        return err_set(err, ERR_BAD_REQUEST, "invalid timeout specified in the request URL - time: invalid duration \"%s\"",
                       timeout);
    return 0;
}

/* ---- verbs -------------------------------------------------------------------------------------------------------- */

static int do_create(struct op *op, struct http_req *req, struct http_res *res, const struct accept *acc, struct err *err)
{
    enum decode_format format;
    if (body_format(req, !op->res->cv, &format, err) < 0)
        return -1;
    OBJ_REF(o) = NULL;
    if (op->sub) {
        JSON_REF(d) = decode_sub(op, format, req->body, req->body_len, err);
        if (d)
            o = sub_create(op, json_root(d), err);
    } else {
        JSON_REF(d) = decode_request(op, format, req->body, req->body_len, err);
        if (d)
            o = verb_create(op, json_root(d), err);
    }
    if (!o)
        return -1;
    answer_object(res, op, acc, o, 201);
    return 0;
}

static int do_update(struct op *op, struct http_req *req, struct http_res *res, const struct accept *acc, struct err *err)
{
    enum decode_format format;
    if (body_format(req, !op->res->cv, &format, err) < 0)
        return -1;
    JSON_REF(d) = decode_request(op, format, req->body, req->body_len, err);
    if (!d)
        return -1;
    bool created = false;
    OBJ_REF(o) = verb_update(op, json_root(d), &created, err);
    if (!o)
        return -1;
    answer_object(res, op, acc, o, created ? 201 : 200);
    return 0;
}

static int do_apply(struct op *op, struct http_req *req, struct http_res *res, const struct accept *acc, struct err *err)
{
    STRLIST(dups);
    ERR(e);
    JSON_REF(config) = decode_parse(DECODE_YAML, req->body, req->body_len, &dups, &e);
    if (!config)
        return err_set(err, ERR_BAD_REQUEST, "error decoding YAML: %s", err_text(&e));
    if (report_unknown(op, &dups, err) < 0)
        return -1;
    bool created;
    OBJ_REF(o) = verb_apply(op, json_root(config), &created, err);
    if (!o)
        return -1;
    answer_object(res, op, acc, o, created ? 201 : 200);
    return 0;
}

static int do_patch(struct op *op, struct http_req *req, struct http_res *res, const struct accept *acc, struct err *err)
{
    enum kube_patch type;
    if (patch_type(req, &type, err) < 0)
        return -1;
    STRLIST(dups);
    ERR(e);
    if (type == KUBE_PATCH_APPLY)
        return do_apply(op, req, res, acc, err);
    JSON_REF(patch) = decode_parse(DECODE_JSON, req->body, req->body_len, &dups, &e);
    if (!patch)
        return err_set(err, ERR_BAD_REQUEST, "error decoding patch: %s", err_text(&e));
    OBJ_REF(o) = verb_patch(op, type, json_root(patch), err);
    if (!o)
        return -1;
    answer_object(res, op, acc, o, 200);
    return 0;
}

static int do_delete(struct op *op, struct http_res *res, const struct accept *acc, struct err *err)
{
    CLEANUP(deletion_free) struct deletion d = {0};
    if (verb_delete(op, &d, err) < 0)
        return -1;
    if (d.obj)
        answer_object(res, op, acc, d.obj, d.accepted ? 202 : 200);
    else
        answer_json(res, acc, json_root(d.status), 200);
    return 0;
}

static int do_list(struct op *op, struct http_res *res, const struct accept *acc, bool delete, struct err *err)
{
    CLEANUP(listing_free) struct listing l = {0};
    if ((delete ? verb_delete_collection(op, &l, err) : verb_list(op, &l, err)) < 0)
        return -1;
    answer_list(res, op, acc, &l);
    return 0;
}

static int do_get(struct op *op, struct http_res *res, const struct accept *acc, struct err *err)
{
    OBJ_REF(o) = verb_get(op, err);
    if (!o)
        return -1;
    answer_object(res, op, acc, o, 200);
    return 0;
}

/* Metadata of one object or of a list: the form must be that of the answer. */
static int check_form(const struct op *op, const struct accept *acc, struct err *err)
{
    const struct kube_res *k = res_of(op->res);
    int n = (int)strcspn(k->group, ".");
    const char *pkg = op->res->cv ? "unstructured" : n ? k->group : "core";
    const char *kind = op->res->cv ? "Unstructured" : k->kind,
               *lists = op->res->cv ? "UnstructuredList" : op->res->kind->list_kind;
    n = op->res->cv || !n ? (int)strlen(pkg) : n;
    bool list = strcmp(op->verb, "list") == 0 || strcmp(op->verb, "deletecollection") == 0;
    if (list && acc->as == AS_PARTIAL)
        return err_set(err, ERR_NOT_ACCEPTABLE,
                       "you requested PartialObjectMetadata, but the requested object is a list (*%.*s.%s)", n, pkg, lists);
    if (!list && acc->as == AS_PARTIAL_LIST)
        return err_set(err, ERR_NOT_ACCEPTABLE,
                       "you requested PartialObjectMetadataList, but the requested object is not a list (*%.*s.%s)", n, pkg,
                       kind);
    return 0;
}

static int run(struct op *op, struct options *opts, struct http_req *req, struct http_res *res, struct err *err)
{
    struct accept acc;
    bool deletes = strncmp(op->verb, "delete", 6) == 0;
    bool reads = strcmp(op->verb, "get") == 0 || strcmp(op->verb, "list") == 0 || strcmp(op->verb, "watch") == 0;
    enum kube_patch type;
    if (is_connect(op->sub))
        return handle_connect(op, req, res, err);
    if (accept_parse(req, &acc, err) < 0 || (strcmp(op->verb, "patch") == 0 && patch_type(req, &type, err) < 0))
        return -1;
    if (strcmp(op->verb, "watch") != 0 && check_form(op, &acc, err) < 0)
        return -1;
    if ((reads || strcmp(op->verb, "deletecollection") == 0) && read_options(op, req, opts, err) < 0)
        return -1;
    if (deletes ? delete_options(op, req, opts, err) < 0 : !reads && write_options(op, req, opts, err) < 0)
        return -1;
    if (str_eq(op->sub, "log"))
        return handle_log(op, req, res, err);
    if (strcmp(op->verb, "get") == 0)
        return do_get(op, res, &acc, err);
    if (strcmp(op->verb, "list") == 0)
        return do_list(op, res, &acc, false, err);
    if (strcmp(op->verb, "watch") == 0)
        return handle_watch(op, req, res, err);
    if (strcmp(op->verb, "create") == 0)
        return do_create(op, req, res, &acc, err);
    if (strcmp(op->verb, "update") == 0)
        return do_update(op, req, res, &acc, err);
    if (strcmp(op->verb, "patch") == 0)
        return do_patch(op, req, res, &acc, err);
    return strcmp(op->verb, "delete") == 0 ? do_delete(op, res, &acc, err) : do_list(op, res, &acc, true, err);
}

/* ---- which verb on which resource ----------------------------------------------------------------------------------- */

static unsigned verb_bit(const char *verb)
{
    static const struct {
        const char *name;
        unsigned bit;
    } bits[] = {{"create", KVERB_CREATE}, {"delete", KVERB_DELETE}, {"deletecollection", KVERB_DELETECOLLECTION},
                {"get", KVERB_GET},       {"list", KVERB_LIST},     {"patch", KVERB_PATCH},
                {"update", KVERB_UPDATE}, {"watch", KVERB_WATCH}};
    for (size_t i = 0; i < ARRAY_LEN(bits); i++)
        if (strcmp(bits[i].name, verb) == 0)
            return bits[i].bit;
    return 0;
}

/* Is the form of the path one that this verb has? POST has no name, PUT has one, objects in namespaces are written there. */
static bool form_fits(const struct resource *r, const struct reqinfo *ri)
{
    bool name = *ri->name, ns = *ri->ns || !res_of(r)->namespaced;
    if (*ri->sub)
        return ns;
    if (strcmp(ri->verb, "create") == 0)
        return !name && ns;
    if (strcmp(ri->verb, "list") == 0 || strcmp(ri->verb, "watch") == 0)
        return true;
    if (strcmp(ri->verb, "deletecollection") == 0)
        return !name && ns;
    return name && ns;
}

static int check_verb(const struct resource *r, const struct reqinfo *ri, struct http_req *req, struct err *err)
{
    unsigned bit = verb_bit(ri->verb);
    if (*ri->sub) {
        const struct kube_sub *s = kind_sub(r->kind, ri->sub);
        if (!s || !s->served || *ri->rest)
            return fail_no_resource(err);
        return (s->verbs & bit) && req->method != HTTP_HEAD && form_fits(r, ri) ? 0 : fail_method(err);
    }
    return (r->kind->verbs & bit) && req->method != HTTP_HEAD && form_fits(r, ri) ? 0 : fail_method(err);
}

static void write_warnings(struct http_res *res, const struct strlist *w)
{
    for (size_t i = 0; i < w->n; i++) {
        BUF(b);
        buf_adds(&b, "299 - \"");
        for (const char *p = w->v[i]; *p; p++) {
            if (*p == '"' || *p == '\\')
                buf_addc(&b, '\\');
            buf_addc(&b, (unsigned char)*p < 0x20 ? ' ' : *p);
        }
        buf_addc(&b, '"');
        http_add_header(res, "Warning", buf_str(&b));
    }
}

static bool builtin_group(const char *group)
{
    for
        KINDS_EACH(k)
    if (k->served && strcmp(k->res.group, group) == 0)
        return true;
    return false;
}

int handle_resource(struct apiserver *a, struct ctx *ctx, struct http_req *req, struct http_res *res, struct reqinfo *ri,
                    struct err *err)
{
    RESOURCES(table, a);
    const struct resource *r = resource_find(table, ri->group, ri->version, ri->plural);
    bool misplaced = r && *ri->ns && !res_of(r)->namespaced && strcmp(ri->plural, "namespaces") != 0;
    if (!r || misplaced) {
        if (*ri->group && !builtin_group(ri->group)) { /* custom groups have no path but those of their kinds */
            http_text(res, 404, "404 page not found\n");
            return 0;
        }
        return fail_no_resource(err);
    }
    if (check_verb(r, ri, req, err) < 0)
        return -1;
    STRLIST(warnings);
    CLEANUP(options_free) struct options opts = {0};
    struct op op = {.a = a,
                    .ctx = ctx,
                    .who = ctx->who,
                    .res = r,
                    .verb = ri->verb,
                    .ns = *ri->ns && res_of(r)->namespaced ? ri->ns : NULL,
                    .name = *ri->name ? ri->name : NULL,
                    .sub = *ri->sub ? ri->sub : NULL,
                    .o = &opts.o,
                    .warnings = &warnings};
    opts.o.subresource = op.sub;
    if (r->cv && r->cv->deprecated && r->cv->deprecation_warning)
        op_warn(&op, "%s", r->cv->deprecation_warning);
    if (str_eq(r->full, "endpoints"))
        op_warn(&op, "v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice");
    ERR(e);
    if (run(&op, &opts, req, res, &e) < 0)
        status_write(res, &e); /* here, so that the warnings go along */
    write_warnings(res, &warnings);
    return 0;
}
