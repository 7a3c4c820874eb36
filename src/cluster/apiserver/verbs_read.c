/* verbs_read.c - get, list and watch: revisions, selectors, pages. */
#include <inttypes.h>
#include <stdlib.h>

#include "cluster/apiserver/internal.h"
#include "kube/rules/validate.h"

void op_warn(struct op *op, const char *fmt, ...)
{
    if (!op->warnings)
        return;
    BUF(b);
    va_list ap;
    va_start(ap, fmt);
    buf_addv(&b, fmt, ap);
    va_end(ap);
    if (!strlist_has(op->warnings, buf_str(&b)))
        strlist_add(op->warnings, buf_str(&b));
}

char *op_key(const struct op *op) { return obj_key_of(res_of(op->res)->namespaced ? op->ns : NULL, op->name); }

/* ---- revisions ------------------------------------------------------------------------------------------------ */

static bool parse_rv(const char *text, int64_t *rv) { return str_to_i64(text, rv) && *rv >= 0; }

static int bad_rv(const char *text, enum err_code code, struct err *err)
{
    BUF(q);
    json_quote(&q, text, strlen(text));
    if (code == ERR_INTERNAL)
        return fail_internal(err, "resourceVersion: Invalid value: %s: strconv.ParseUint: parsing %s: invalid syntax",
                             buf_str(&q), buf_str(&q));
    return err_set(err, code,
                   "invalid resource version: resourceVersion: Invalid value: %s: strconv.ParseUint: parsing %s: invalid syntax",
                   buf_str(&q), buf_str(&q));
}

static int fail_future(struct err *err, int64_t rv, int64_t now)
{
    err_set(err, ERR_TIMEOUT, "Timeout: Too large resource version: %" PRId64 ", current: %" PRId64, rv, now);
    if (err)
        err->retry_after_s = 1;
    err_cause(err, "ResourceVersionTooLarge", NULL, "Too large resource version");
    return -1;
}

static int not_older_than(struct op *op, int64_t rv, struct err *err)
{
    int64_t now = store_rev(op->a->store);
    return rv > now ? fail_future(err, rv, now) : 0;
}

struct store_obj *verb_get(struct op *op, struct err *err)
{
    int64_t rv;
    if (!str_empty(op->o->resource_version)) {
        if (!parse_rv(op->o->resource_version, &rv)) {
            bad_rv(op->o->resource_version, ERR_INTERNAL, err);
            return NULL;
        }
        if (not_older_than(op, rv, err) < 0)
            return NULL;
    }
    if (op_is_scale(op))
        return scale_get(op, err);
    AUTOFREE char *key = op_key(op);
    OBJ_REF(o) = store_get(op->res->coll, key);
    if (!o) {
        fail_not_found(err, op->res, op->name);
        return NULL;
    }
    return object_as(op->res, o);
}

/* ---- selectors ------------------------------------------------------------------------------------------------ */

struct selectors {
    const struct resource *res;
    struct label_selector *labels;
    struct field_selector *fields;
};

/* Fields are named as the resource shows its objects. */
static bool fields_match(const struct resource *r, const struct field_selector *f, jval *stored)
{
    if (field_selector_all(f) || !is_face(r))
        return field_selector_matches(f, stored);
    JSON_REF(d) = face_of(r, stored);
    return field_selector_matches(f, json_root(d));
}

static void selectors_free(struct selectors *s)
{
    label_selector_free(s->labels);
    field_selector_free(s->fields);
}

static int selectors_parse(struct op *op, struct selectors *s, struct err *err)
{
    s->res = op->res;
    if (!str_empty(op->o->label_selector) && !(s->labels = label_selector_parse(op->o->label_selector, err)))
        return -1;
    if (!str_empty(op->o->field_selector) && !(s->fields = field_selector_parse(op->o->field_selector, op->res->fields, err)))
        return -1;
    return 0;
}

static bool selectors_match(void *arg, const struct store_obj *o)
{
    const struct selectors *s = arg;
    return label_selector_selects(s->labels, obj_root(o)) && fields_match(s->res, s->fields, obj_root(o));
}

static bool selectors_all(const struct selectors *s) { return label_selector_all(s->labels) && field_selector_all(s->fields); }

/* ---- pages: {"v":"meta.k8s.io/v1","rv":N,"start":"key"} in base64url; rv -1 goes on with whatever is there now ------- */

static char *token_make(int64_t rv, const char *last_key)
{
    BUF(b);
    buf_addf(&b, "{\"v\":\"meta.k8s.io/v1\",\"rv\":%" PRId64 ",\"start\":", rv);
    json_quote(&b, last_key, strlen(last_key));
    buf_addc(&b, '}');
    return base64url_encode(b.data, b.len);
}

static int token_read(const char *text, int64_t *rv, char **last_key, struct err *err)
{
    unsigned char *raw = NULL;
    size_t n;
    JSON_REF(d) = NULL;
    if (base64url_decode(text, strlen(text), &raw, &n) == 0)
        d = json_parse((const char *)raw, n, NULL, NULL);
    free(raw);
    const char *start = jv_str(jv_get(json_root(d), "start"));
    if (!start || !str_eq(jv_str(jv_get(json_root(d), "v")), "meta.k8s.io/v1") || !jv_i64(jv_get(json_root(d), "rv"), rv))
        return err_set(err, ERR_BAD_REQUEST, "invalid continue token: continue key is not valid: no token of ours");
    *last_key = xstrdup(start);
    return 0;
}

static void check_watch_options(struct faults *f, const struct op *op)
{
    const char *match = op->o->resource_version_match;
    bool given = op->o->send_initial_events || op->initial_events_given;
    if (!given) {
        if (!str_empty(match))
            fault_forbidden(f, "resourceVersionMatch",
                            "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided");
        return;
    }
    if (str_eq(match, "NotOlderThan"))
        return;
    fault_forbidden(f, "resourceVersionMatch", "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan");
    static const char *const only[] = {"NotOlderThan", NULL};
    if (!str_empty(match))
        fault_unsupported(f, "resourceVersionMatch", match, only);
}

static void check_list_options(struct faults *f, const struct op *op)
{
    const struct kube_opts *o = op->o;
    const char *match = o->resource_version_match;
    if (o->send_initial_events || op->initial_events_given)
        fault_forbidden(f, "sendInitialEvents", "sendInitialEvents is forbidden for list");
    else if (str_empty(match))
        return;
    else if (!str_empty(o->continue_token))
        fault_forbidden(f, "resourceVersionMatch", "resourceVersionMatch is forbidden when continue is provided");
    else if (str_empty(o->resource_version))
        fault_forbidden(f, "resourceVersionMatch", "resourceVersionMatch is forbidden unless resourceVersion is provided");
    else if (!str_eq(match, "Exact") && !str_eq(match, "NotOlderThan"))
        fault_unsupported(f, "resourceVersionMatch", match, (const char *const[]){"Exact", "NotOlderThan", "", NULL});
    else if (str_eq(match, "Exact") && str_eq(o->resource_version, "0"))
        fault_forbidden(f, "resourceVersionMatch", "resourceVersionMatch \"exact\" is forbidden for resourceVersion \"0\"");
}

static int check_options(const struct op *op, bool watch, struct err *err)
{
    FAULTS(f);
    if (watch)
        check_watch_options(&f, op);
    else
        check_list_options(&f, op);
    return faults_done(&f, "meta.k8s.io", "ListOptions", "", err);
}

/* Where a list starts and of which revision it is. */
static int list_position(struct op *op, struct store_query *q, char **after, struct err *err)
{
    const struct kube_opts *o = op->o;
    int64_t rv = 0;
    if (!str_empty(o->resource_version) && !parse_rv(o->resource_version, &rv))
        return bad_rv(o->resource_version, ERR_BAD_REQUEST, err);
    if (!str_empty(o->continue_token)) {
        if (rv > 0)
            return err_set(err, ERR_BAD_REQUEST, "specifying resource version is not allowed when using continue");
        if (token_read(o->continue_token, &rv, after, err) < 0)
            return -1;
        q->at = rv > 0 ? rv : 0;
        q->after = *after;
        return 0;
    }
    if (rv == 0)
        return 0;
    /* With a limit and no word about matching, the page is of exactly that revision. */
    if (str_eq(o->resource_version_match, "Exact") || (o->limit > 0 && str_empty(o->resource_version_match))) {
        q->at = rv;
        return not_older_than(op, rv, err);
    }
    return not_older_than(op, rv, err);
}

#define CONTINUE_EXPIRED                                                                                                         \
    "The provided continue parameter is too old to display a consistent list result. You can start a new list without "          \
    "the continue parameter, or use the continue token in this response to retrieve the remainder of the results. "              \
    "Continuing with the provided token results in an inconsistent list - objects that were created, modified, or deleted "      \
    "between the time the first chunk was returned and now may show up in the list."

static int list_expired(struct op *op, const struct store_query *q, struct err *err)
{
    if (q->after) {
        err_set(err, ERR_GONE, "%s", CONTINUE_EXPIRED);
        if (err)
            err->continue_token = token_make(-1, q->after);
    } else {
        err_set(err, ERR_GONE, "The resourceVersion for the provided list is too old.");
    }
    if (err)
        err->reason = "Expired";
    return -1;
}

void listing_free(struct listing *l)
{
    store_list_free(&l->list);
    free(l->continue_token);
    *l = (struct listing){0};
}

/* "0" is whatever a cache has: Kubernetes answers it as a whole, whatever the limit, but for Events, of which it has none. */
static bool answered_whole(const struct op *op)
{
    return str_eq(op->o->resource_version, "0") && str_empty(op->o->continue_token) &&
           strcmp(res_of(op->res)->plural, "events") != 0;
}

int verb_list(struct op *op, struct listing *out, struct err *err)
{
    *out = (struct listing){.remaining = -1};
    if (check_options(op, false, err) < 0)
        return -1;
    CLEANUP(selectors_free) struct selectors s = {0};
    AUTOFREE char *after = NULL;
    bool all;
    struct store_query q = {.ns = res_of(op->res)->namespaced ? op->ns : NULL,
                            .limit = op->o->limit > 0 ? (size_t)op->o->limit : 0};
    if (selectors_parse(op, &s, err) < 0 || list_position(op, &q, &after, err) < 0)
        return -1;
    if (answered_whole(op))
        q.limit = 0;
    all = selectors_all(&s);
    if ((q.ns || !res_of(op->res)->namespaced) && field_selector_exact(s.fields, "metadata.name"))
        q.limit = 0; /* one object at most: no page follows */
    if (!all) {
        q.match = selectors_match;
        q.arg = &s;
    }
    ERR(e);
    if (store_list(op->res->coll, &q, &out->list, &e) < 0)
        return e.code == ERR_GONE ? list_expired(op, &q, err) : err_move(err, &e);
    struct store_list *l = &out->list;
    if (l->more && l->n) {
        out->continue_token = token_make(l->rv, l->v[l->n - 1]->key);
        if (all)
            out->remaining = l->remaining;
    }
    if (op->res->cv || is_face(op->res))
        for (size_t i = 0; i < l->n; i++) {
            struct store_obj *o = object_as(op->res, l->v[i]);
            store_obj_unref(l->v[i]);
            l->v[i] = o;
        }
    return 0;
}

/* ---- watches -------------------------------------------------------------------------------------------------- */

static bool watch_match(void *arg, const struct store_obj *o)
{
    const struct watch *w = arg;
    return label_selector_selects(w->labels, obj_root(o)) && fields_match(w->res, w->field_sel, obj_root(o));
}

/* Where a watch starts: from < 0 gives the present state first. */
static int watch_start(struct op *op, struct watch *w, int64_t *from, struct err *err)
{
    const struct kube_opts *o = op->o;
    int64_t rv = 0;
    if (!str_empty(o->resource_version) && !parse_rv(o->resource_version, &rv))
        return bad_rv(o->resource_version, ERR_INTERNAL, err);
    w->initial_mark = o->send_initial_events && o->bookmarks;
    w->late_mark = !o->send_initial_events && o->bookmarks && str_empty(o->resource_version);
    *from = rv > 0 && !o->send_initial_events ? rv : -1;
    if (rv > 0 && *from < 0)
        return not_older_than(op, rv, err);
    return 0;
}

struct watch *watch_open(struct op *op, void (*notify)(void *), void *arg, struct err *err)
{
    if (check_options(op, true, err) < 0)
        return NULL;
    CLEANUP(selectors_free) struct selectors s = {0};
    if (selectors_parse(op, &s, err) < 0)
        return NULL;
    struct watch *w = xcalloc(1, sizeof(*w));
    w->res = op->res;
    w->bookmarks = op->o->bookmarks;
    int64_t from;
    if (watch_start(op, w, &from, err) < 0) {
        free(w);
        return NULL;
    }
    w->labels = TAKE(s.labels);
    w->field_sel = TAKE(s.fields);
    w->resources = resources_get(op->a);
    /* The resource belongs to the table of the request; take the one of the table that the watch holds. */
    w->res = resource_find(w->resources, res_of(op->res)->group, res_of(op->res)->version, res_of(op->res)->plural);
    bool all = label_selector_all(w->labels) && field_selector_all(w->field_sel);
    struct store_watch_opts so = {.ns = res_of(op->res)->namespaced ? op->ns : NULL,
                                  .name = op->name,
                                  .from = from,
                                  .match = all ? NULL : watch_match,
                                  .arg = w,
                                  .notify = notify,
                                  .notify_arg = arg};
    if (!so.name)
        so.name = field_selector_exact(w->field_sel, "metadata.name");
    ERR(e);
    if (w->res)
        w->w = store_watch(op->res->coll, &so, &e);
    else
        fail_not_found(&e, op->res, NULL);
    if (w->w)
        return w;
    err_move(err, &e);
    if (err && err->code == ERR_GONE)
        err->reason = "Expired";
    watch_close(w);
    return NULL;
}

void watch_close(struct watch *w)
{
    if (!w)
        return;
    store_watch_close(w->w);
    label_selector_free(w->labels);
    field_selector_free(w->field_sel);
    resources_unref(w->resources);
    free(w);
}

struct store_obj *watch_object(struct watch *w, const struct store_event *ev)
{
    OBJ_REF(o) = object_as(w->res, ev->obj);
    if (ev->rv == ev->obj->rv)
        return TAKE(o);
    JM(m, obj_root(o));
    jm_put(m, jm_obj_at(m, jm_root(m), "metadata"), "resourceVersion", jm_strf(m, "%" PRId64, ev->rv));
    return store_obj_new(o->key, ev->rv, jm_freeze(m));
}
