#include "pipelines/ir/template.h"

#include <string.h>

#include "base/str.h"

#define STRUCTURE_DEPTH 16
#define PLACEHOLDER_MAX 8192 /* longer ones are text: nothing that is to be found has such a name */

/* Placeholders without a key. */
static const struct {
    const char *text;
    enum tmpl_kind kind;
} plain[] = {
    {"$", TMPL_INPUT},
    {"$.outputs.output_file", TMPL_OUTPUT_FILE},
    {"$.outputMetadataUri", TMPL_OUTPUT_FILE},
    {"$.pipeline_job_name", TMPL_JOB_NAME},
    {"$.pipeline_job_resource_name", TMPL_JOB_RESOURCE_NAME},
    {"$.pipeline_job_uuid", TMPL_JOB_UUID},
    {"$.pipeline_task_name", TMPL_TASK_NAME},
    {"$.pipeline_task_uuid", TMPL_TASK_UUID},
    {"$.pipeline_job_create_time_utc", TMPL_CREATE_TIME},
    {"$.pipeline_job_schedule_time_utc", TMPL_SCHEDULE_TIME},
    {"$.pipeline_root", TMPL_PIPELINE_ROOT},
    {"$.workspace_path", TMPL_WORKSPACE_PATH},
};

/* A piece of a placeholder being read. */
struct cursor {
    const char *p, *end;
};

static bool eat(struct cursor *c, const char *s)
{
    size_t n = strlen(s);
    if ((size_t)(c->end - c->p) < n || memcmp(c->p, s, n) != 0)
        return false;
    c->p += n;
    return true;
}

/* ['name'] or [''name'']. */
static bool eat_key(struct cursor *c, const char **key, size_t *len)
{
    if (!eat(c, "['"))
        return false;
    bool twice = eat(c, "'");
    const char *close = twice ? "'']" : "']";
    for (const char *q = c->p; q < c->end; q++) {
        struct cursor at = {q, c->end};
        if (eat(&at, close)) {
            *key = c->p;
            *len = (size_t)(q - c->p);
            c->p = at.p;
            return *len > 0;
        }
    }
    return false;
}

static bool artifact_part(struct arena *a, struct cursor *c, bool input, struct tmpl_seg *seg)
{
    const char *sub;
    size_t n;
    if (c->p == c->end) {
        seg->kind = input ? TMPL_IN_ARTIFACT : TMPL_OUT_ARTIFACT;
    } else if (eat(c, ".uri")) {
        seg->kind = input ? TMPL_IN_ARTIFACT_URI : TMPL_OUT_ARTIFACT_URI;
    } else if (eat(c, ".path")) {
        seg->kind = input ? TMPL_IN_ARTIFACT_PATH : TMPL_OUT_ARTIFACT_PATH;
    } else if (eat(c, ".name")) {
        seg->kind = input ? TMPL_IN_ARTIFACT_NAME : TMPL_OUT_ARTIFACT_NAME;
    } else if (eat(c, ".metadata") || eat(c, ".properties")) {
        seg->kind = input ? TMPL_IN_ARTIFACT_METADATA : TMPL_OUT_ARTIFACT_METADATA;
        if (c->p != c->end) {
            if (!eat_key(c, &sub, &n))
                return false;
            seg->sub = arena_strndup(a, sub, n);
        }
    }
    return c->p == c->end;
}

/* Reads what stands between {{ and }}. False: no placeholder of ours. */
static bool recognise(struct arena *a, const char *s, size_t n, struct tmpl_seg *seg)
{
    for (size_t i = 0; i < ARRAY_LEN(plain); i++)
        if (strlen(plain[i].text) == n && memcmp(plain[i].text, s, n) == 0) {
            seg->kind = plain[i].kind;
            return true;
        }
    struct cursor c = {s, s + n};
    const char *key;
    size_t len;
    if (eat(&c, "$.inputs.parameters")) {
        if (!eat_key(&c, &key, &len) || c.p != c.end)
            return false;
        seg->kind = TMPL_IN_PARAM;
        seg->key = arena_strndup(a, key, len);
        return true;
    }
    if (eat(&c, "$.outputs.parameters")) {
        if (!eat_key(&c, &key, &len) || !eat(&c, ".output_file") || c.p != c.end)
            return false;
        seg->kind = TMPL_OUT_PARAM_FILE;
        seg->key = arena_strndup(a, key, len);
        return true;
    }
    bool input = eat(&c, "$.inputs.artifacts");
    if (!input && !eat(&c, "$.outputs.artifacts"))
        return false;
    if (!eat_key(&c, &key, &len))
        return false;
    seg->key = arena_strndup(a, key, len);
    return artifact_part(a, &c, input, seg);
}

struct seg_list {
    struct tmpl_seg *v;
    size_t n, cap;
};

static void push(struct arena *a, struct seg_list *l, struct tmpl_seg seg)
{
    if (l->n == l->cap) {
        size_t cap = l->cap ? 2 * l->cap : 2;
        struct tmpl_seg *v = arena_alloc(a, cap * sizeof *v);
        if (l->n)
            memcpy(v, l->v, l->n * sizeof *v);
        l->v = v;
        l->cap = cap;
    }
    l->v[l->n++] = seg;
}

static void push_text(struct arena *a, struct seg_list *l, const char *s, size_t n)
{
    if (n)
        push(a, l, (struct tmpl_seg){.kind = TMPL_TEXT, .text = s, .len = n});
}

int tmpl_parse(struct arena *a, const char *s, size_t n, struct tmpl *out, struct err *err)
{
    const char *copy = arena_strndup(a, s, n);
    struct seg_list l = {0};
    const char *close = NULL; /* the first }} behind the last place that was looked at */
    size_t text = 0, i = 0;
    while (i + 3 < n) {
        const char *open = memmem(copy + i, n - i, "{{$", 3);
        if (!open)
            break;
        size_t at = (size_t)(open - copy);
        if (!close || close < open)
            close = memmem(open, n - at, "}}", 2);
        if (!close)
            break;
        size_t len = (size_t)(close - open) - 2;
        struct tmpl_seg seg = {.text = open, .len = len + 4};
        if (len > 14 && memcmp(open + 2, "$.json_escape[", 14) == 0)
            return err_set(err, ERR_BAD_REQUEST, "placeholder %.*s is not supported: components of Vertex AI use it",
                           (int)(len + 4), open);
        if (len <= PLACEHOLDER_MAX && recognise(a, open + 2, len, &seg)) {
            push_text(a, &l, copy + text, at - text);
            push(a, &l, seg);
            i = text = at + len + 4;
        } else {
            i = at + 3;
        }
    }
    push_text(a, &l, copy + text, n - text);
    out->segs = l.v;
    out->n = (int)l.n;
    return 0;
}

int tmpl_too_long(struct err *err)
{
    return err_set(err, ERR_INVALID,
                   "the text has more than %u MiB once its placeholders are replaced; pass larger data as artifacts",
                   TMPL_TEXT_MAX >> 20);
}

int tmpl_eval(const struct tmpl *t, const struct tmpl_scope *sc, struct buf *out, struct err *err)
{
    size_t begin = out->len;
    for (int i = 0; i < t->n; i++) {
        const struct tmpl_seg *s = &t->segs[i];
        int rc = s->kind == TMPL_TEXT ? 0 : sc->value(sc->self, s, out, err);
        if (rc < 0)
            return -1;
        if (rc == 0)
            buf_add(out, s->text, s->len);
        if (out->len - begin > TMPL_TEXT_MAX)
            return tmpl_too_long(err);
    }
    return 0;
}

/* ---- structures ----------------------------------------------------------------------------------------------- */

static int arg_from_json(struct arena *a, jval *v, int depth, struct tmpl_arg *out, struct err *err);

static int args_from(struct arena *a, jval *v, int depth, struct tmpl_arg **out, int *n, struct err *err)
{
    if (!v || jv_is(v, J_NULL))
        return 0;
    bool list = jv_is(v, J_ARRAY);
    size_t count = list ? jv_len(v) : 1;
    *out = arena_alloc(a, (count + 1) * sizeof **out);
    for (size_t i = 0; i < count; i++)
        if (arg_from_json(a, list ? jv_at(v, i) : v, depth + 1, &(*out)[(*n)++], err) < 0)
            return -1;
    return 0;
}

static int if_from(struct arena *a, jval *v, int depth, struct tmpl_arg *out, struct err *err)
{
    const char *input = jv_str(jv_get(v, "InputName"));
    if (!input)
        input = jv_str(jv_get(v, "inputName"));
    if (!input)
        return err_set(err, ERR_BAD_REQUEST, "IfPresent needs InputName, the name of an input");
    out->kind = TMPL_IF;
    out->input = arena_strdup(a, input);
    if (args_from(a, jv_get(v, "Then"), depth, &out->items, &out->n_items, err) < 0)
        return -1;
    return args_from(a, jv_get(v, "Else"), depth, &out->otherwise, &out->n_otherwise, err);
}

static int arg_from_json(struct arena *a, jval *v, int depth, struct tmpl_arg *out, struct err *err)
{
    if (depth > STRUCTURE_DEPTH)
        return err_set(err, ERR_BAD_REQUEST, "IfPresent and Concat are nested more than %d deep", STRUCTURE_DEPTH);
    if (jv_is(v, J_STRING))
        return tmpl_parse(a, jv_str(v), jv_len(v), &out->string, err);
    jval *cond = jv_get(v, "IfPresent"), *concat = jv_get(v, "Concat");
    if (jv_is(cond, J_OBJECT))
        return if_from(a, cond, depth, out, err);
    if (jv_is(concat, J_ARRAY)) {
        for (size_t i = 0; i < jv_len(concat); i++)
            if (jv_is(jv_at(concat, i), J_ARRAY))
                return err_set(err, ERR_BAD_REQUEST, "Concat joins strings; its element %zu is a list", i);
        out->kind = TMPL_CONCAT;
        return args_from(a, concat, depth, &out->items, &out->n_items, err);
    }
    return err_set(err, ERR_BAD_REQUEST, "expected a string, {\"IfPresent\": {..}} or {\"Concat\": [..]}, got %s",
                   jtype_name(jv_type(v)));
}

/* An element is a structure when it is an object text that begins with one of the two names. */
static bool looks_like_structure(const char *s, size_t n)
{
    struct cursor c = {s, s + n};
    while (c.p < c.end && strchr(" \t\r\n", *c.p))
        c.p++;
    if (!eat(&c, "{"))
        return false;
    while (c.p < c.end && strchr(" \t\r\n", *c.p))
        c.p++;
    return eat(&c, "\"IfPresent\"") || eat(&c, "\"Concat\"");
}

int tmpl_arg_parse(struct arena *a, const char *s, size_t n, struct tmpl_arg *out, struct err *err)
{
    *out = (struct tmpl_arg){.kind = TMPL_STRING};
    if (looks_like_structure(s, n)) {
        JSON_REF(d) = json_parse(s, n, NULL, NULL);
        if (d)
            return arg_from_json(a, json_root(d), 0, out, err);
    }
    return tmpl_parse(a, s, n, &out->string, err);
}

/* left: what may still come, for all strings of an element. */
static int eval_into(const struct tmpl_arg *arg, const struct tmpl_scope *sc, struct strlist *out, size_t *left, struct err *err)
{
    BUF(b);
    switch (arg->kind) {
    case TMPL_STRING:
        if (tmpl_eval(&arg->string, sc, &b, err) < 0)
            return -1;
        if (b.len > *left)
            return tmpl_too_long(err);
        *left -= b.len;
        strlist_add(out, buf_str(&b));
        return 0;
    case TMPL_IF: {
        bool there = sc->present(sc->self, arg->input);
        const struct tmpl_arg *v = there ? arg->items : arg->otherwise;
        int n = there ? arg->n_items : arg->n_otherwise;
        for (int i = 0; i < n; i++)
            if (eval_into(&v[i], sc, out, left, err) < 0)
                return -1;
        return 0;
    }
    case TMPL_CONCAT: {
        STRLIST(parts);
        for (int i = 0; i < arg->n_items; i++)
            if (eval_into(&arg->items[i], sc, &parts, left, err) < 0)
                return -1;
        strlist_take(out, strlist_join(&parts, ""));
        return 0;
    }
    }
    return 0;
}

int tmpl_arg_eval(const struct tmpl_arg *arg, const struct tmpl_scope *sc, struct strlist *out, struct err *err)
{
    size_t left = TMPL_TEXT_MAX;
    return eval_into(arg, sc, out, &left, err);
}
