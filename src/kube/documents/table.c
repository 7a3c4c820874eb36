#include "kube/documents/table.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/str.h"
#include "base/timefmt.h"
#include "kube/documents/table_priv.h"
#include "kube/fields.h"
#include "kube/object.h"
#include "value/jsonpath.h"

/* ---- cells ------------------------------------------------------------------------------------------------------------------
 */

static struct buf *next_cell(struct row *r)
{
    if (r->n++)
        buf_addc(r->out, ',');
    return r->out;
}

void cell_str(struct row *r, const char *s) { json_quote(next_cell(r), s ? s : "", s ? strlen(s) : 0); }

void cell_or_none(struct row *r, const char *s) { cell_str(r, str_empty(s) ? "<none>" : s); }

void cell_fmt(struct row *r, const char *fmt, ...)
{
    va_list ap;
    BUF(b);
    va_start(ap, fmt);
    buf_addv(&b, fmt, ap);
    va_end(ap);
    cell_str(r, buf_str(&b));
}

void cell_i64(struct row *r, int64_t n) { buf_addf(next_cell(r), "%lld", (long long)n); }

void cell_bool(struct row *r, bool b) { buf_adds(next_cell(r), b ? "true" : "false"); }

void cell_null(struct row *r) { buf_adds(next_cell(r), "null"); }

void cell_value(struct row *r, jval *v) { jv_write(v, JW_COMPACT, next_cell(r)); }

void cell_age(struct row *r, const char *rfc3339)
{
    char age[AGE_TEXT];
    int64_t then;
    cell_str(r, rfc3339 && time_parse(rfc3339, &then) ? age_format(age, then, r->now_ns) : "<unknown>");
}

void cell_since_creation(struct row *r, jval *obj) { cell_age(r, object_meta_creation_timestamp(obj_meta(obj))); }

/* As kubectl tells durations: the coarser the longer. */
char *age_format(char out[AGE_TEXT], int64_t then_ns, int64_t now_ns)
{
    if (then_ns == 0)
        return strcpy(out, "<unknown>");
    int64_t s = (now_ns - then_ns) / NS_PER_S;
    if (s < -1)
        return strcpy(out, "<invalid>");
    s = s < 0 ? 0 : s;
    long long m = s / 60, h = s / 3600, d = s / 86400, y = d / 365;
    if (s < 120)
        snprintf(out, AGE_TEXT, "%llds", (long long)s);
    else if (m < 10 && s % 60)
        snprintf(out, AGE_TEXT, "%lldm%llds", m, (long long)(s % 60));
    else if (m < 180)
        snprintf(out, AGE_TEXT, "%lldm", m);
    else if (h < 8 && m % 60)
        snprintf(out, AGE_TEXT, "%lldh%lldm", h, m % 60);
    else if (h < 48)
        snprintf(out, AGE_TEXT, "%lldh", h);
    else if (h < 192 && h % 24)
        snprintf(out, AGE_TEXT, "%lldd%lldh", d, h % 24);
    else if (d < 365 * 2)
        snprintf(out, AGE_TEXT, "%lldd", d);
    else if (y < 8 && d % 365)
        snprintf(out, AGE_TEXT, "%lldy%lldd", y, d % 365);
    else
        snprintf(out, AGE_TEXT, "%lldy", y);
    return out;
}

/* ---- columns -----------------------------------------------------------------------------------------------------------------
 */

static const struct column other_columns[] = {
    {"Name", "string", "name", "Name must be unique within a namespace.", 0},
    {"Created At", "date", "", "When the object was created.", 0},
};

static void other_row(struct row *r, jval *obj)
{
    cell_str(r, obj_name(obj));
    cell_str(r, object_meta_creation_timestamp(obj_meta(obj)));
}

const struct table_columns *table_columns_of(const char *group, const char *kind)
{
    static const struct table_columns other = {.columns = other_columns, .n = ARRAY_LEN(other_columns), .row = other_row};
    for (size_t i = 0; i < table_n_kinds; i++)
        if (str_eq(table_kinds[i].group, group) && str_eq(table_kinds[i].kind, kind))
            return &table_kinds[i].columns;
    return &other;
}

static struct column column_of(jval *c)
{
    return (struct column){
        .name = jv_str_or(jv_get(c, "name"), ""),
        .type = jv_str_or(jv_get(c, "type"), ""),
        .format = jv_str_or(jv_get(c, "format"), ""),
        .description = jv_str_or(jv_get(c, "description"), ""),
        .priority = (int)custom_resource_column_definition_priority(c, 0),
    };
}

struct table_columns *table_columns_new(jval *defs)
{
    static const char by_age[] = "[{\"name\":\"Age\",\"type\":\"date\",\"jsonPath\":\".metadata.creationTimestamp\"}]";
    struct table_columns *c = xcalloc(1, sizeof *c);
    size_t n = jv_is(defs, J_ARRAY) ? jv_len(defs) : 0;
    c->doc = n ? json_from(defs) : json_parse_str(by_age, NULL);
    n = n ? n : 1;
    c->n = n + 1;
    c->owned = xcalloc(c->n, sizeof *c->owned);
    c->paths = xcalloc(c->n, sizeof(struct jsonpath *));
    c->owned[0] = other_columns[0];
    for (size_t i = 0; i < n; i++) {
        jval *def = jv_at(json_root(c->doc), i);
        c->owned[i + 1] = column_of(def);
        c->paths[i + 1] = jsonpath_compile(jv_str_or(jv_get(def, "jsonPath"), ""), NULL);
    }
    c->columns = c->owned;
    return c;
}

void table_columns_free(struct table_columns *c)
{
    if (!c)
        return;
    for (size_t i = 0; i < c->n; i++)
        jsonpath_free(c->paths[i]);
    free(c->paths);
    free(c->owned);
    json_unref(c->doc);
    free(c);
}

static bool add_to_list(void *self, jval *v)
{
    struct buf *b = self;
    if (b->len)
        buf_addc(b, ',');
    if (jv_str(v))
        buf_adds(b, jv_str(v));
    else
        jv_write(v, JW_COMPACT, b);
    return true;
}

/* A value in a column of a type; what does not fit is null. */
static void custom_cell(struct row *r, const struct column *c, const struct jsonpath *path, jval *obj)
{
    jval *v = path ? jsonpath_first(path, obj) : NULL;
    int64_t n;
    double d;
    if (!v)
        cell_null(r);
    else if (str_eq(c->type, "date"))
        cell_age(r, jv_str(v));
    else if (str_eq(c->type, "integer") && jv_i64(v, &n))
        cell_i64(r, n);
    else if (str_eq(c->type, "number") && jv_f64(v, &d))
        cell_value(r, v);
    else if (str_eq(c->type, "boolean") && jv_is(v, J_BOOL))
        cell_value(r, v);
    else if (str_eq(c->type, "string")) {
        BUF(all);
        jsonpath_eval(path, obj, add_to_list, &all);
        cell_str(r, buf_str(&all));
    } else
        cell_null(r);
}

/* ---- tables -------------------------------------------------------------------------------------------------------------------
 */

int table_include_parse(const char *text, enum table_include *out)
{
    *out = str_eq(text, "None") ? TABLE_NONE : str_eq(text, "Object") ? TABLE_OBJECT : TABLE_METADATA;
    return str_empty(text) || str_eq(text, "Metadata") || *out != TABLE_METADATA ? 0 : -1;
}

static void add_member(struct buf *out, const char *name, const char *value)
{
    buf_addf(out, "\"%s\":", name);
    json_quote(out, value, strlen(value));
}

static void write_meta(const struct table_list_meta *meta, struct buf *out)
{
    bool any = false;
    buf_adds(out, "\"metadata\":{");
    if (!str_empty(meta->resource_version)) {
        add_member(out, "resourceVersion", meta->resource_version);
        any = true;
    }
    if (!str_empty(meta->continue_token)) {
        buf_adds(out, any ? "," : "");
        add_member(out, "continue", meta->continue_token);
        any = true;
    }
    if (meta->remaining >= 0 && !str_empty(meta->continue_token))
        buf_addf(out, "%s\"remainingItemCount\":%lld", any ? "," : "", (long long)meta->remaining);
    buf_addc(out, '}');
}

static void write_columns(const struct table_columns *c, struct buf *out)
{
    for (size_t i = 0; i < c->n; i++) {
        buf_adds(out, i ? ",{" : "{");
        add_member(out, "name", c->columns[i].name);
        buf_addc(out, ',');
        add_member(out, "type", c->columns[i].type);
        buf_addc(out, ',');
        add_member(out, "format", c->columns[i].format);
        buf_addc(out, ',');
        add_member(out, "description", c->columns[i].description);
        buf_addf(out, ",\"priority\":%d}", c->columns[i].priority);
    }
}

static void write_row(const struct table_columns *c, jval *obj, enum table_include include, const char *api_version,
                      int64_t now_ns, struct buf *out)
{
    struct row r = {.out = out, .now_ns = now_ns};
    buf_adds(out, "{\"cells\":[");
    if (c->row)
        c->row(&r, obj);
    for (size_t i = 0; i < c->n && !c->row; i++) {
        if (i == 0)
            cell_str(&r, obj_name(obj));
        else
            custom_cell(&r, &c->columns[i], c->paths[i], obj);
    }
    ASSERT(r.n == c->n);
    buf_adds(out, "],\"object\":");
    if (include == TABLE_NONE)
        buf_adds(out, "null");
    else if (include == TABLE_OBJECT)
        jv_write(obj, JW_COMPACT, out);
    else
        partial_write(obj, api_version, out);
    buf_addc(out, '}');
}

static const char *version_of(const char *api_version) { return api_version ? api_version : "meta.k8s.io/v1"; }

void table_write(const struct table_columns *c, jval *const *items, size_t n, enum table_include include,
                 const struct table_list_meta *meta, bool columns, int64_t now_ns, struct buf *out)
{
    buf_addf(out, "{\"kind\":\"Table\",\"apiVersion\":\"%s\",", version_of(meta->api_version));
    write_meta(meta, out);
    buf_adds(out, columns ? ",\"columnDefinitions\":[" : ",\"columnDefinitions\":null");
    if (columns) {
        write_columns(c, out);
        buf_addc(out, ']');
    }
    buf_adds(out, ",\"rows\":[");
    for (size_t i = 0; i < n; i++) {
        if (i)
            buf_addc(out, ',');
        write_row(c, items[i], include, meta->api_version, now_ns, out);
    }
    buf_adds(out, "]}");
}

void partial_write(jval *obj, const char *api_version, struct buf *out)
{
    buf_addf(out, "{\"kind\":\"PartialObjectMetadata\",\"apiVersion\":\"%s\",\"metadata\":", version_of(api_version));
    if (obj_meta(obj))
        jv_write(obj_meta(obj), JW_COMPACT, out);
    else
        buf_adds(out, "{}");
    buf_addc(out, '}');
}

void partial_list_write(jval *const *items, size_t n, const struct table_list_meta *meta, struct buf *out)
{
    buf_addf(out, "{\"kind\":\"PartialObjectMetadataList\",\"apiVersion\":\"%s\",", version_of(meta->api_version));
    write_meta(meta, out);
    if (!n) { /* as Go writes a list that was never begun */
        buf_adds(out, ",\"items\":null}");
        return;
    }
    buf_adds(out, ",\"items\":[");
    for (size_t i = 0; i < n; i++) {
        if (i)
            buf_addc(out, ',');
        partial_write(items[i], meta->api_version, out);
    }
    buf_adds(out, "]}");
}
