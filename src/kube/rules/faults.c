#include "kube/rules/validate.h"

#include <stdlib.h>

void faults_free(struct faults *f)
{
    err_clear(&f->err);
    buf_free(&f->path);
    strlist_free(&f->texts);
}

/* ---- the path --------------------------------------------------------------------------------------------------------- */

size_t fault_push(struct faults *f, const char *member)
{
    size_t at = f->path.len;
    if (at > 0)
        buf_addc(&f->path, '.');
    buf_adds(&f->path, member);
    return at;
}

size_t fault_push_index(struct faults *f, size_t i)
{
    size_t at = f->path.len;
    buf_addf(&f->path, "[%zu]", i);
    return at;
}

size_t fault_push_key(struct faults *f, const char *key)
{
    size_t at = f->path.len;
    buf_addf(&f->path, "[%s]", key);
    return at;
}

void fault_pop(struct faults *f, size_t at)
{
    ASSERT(at <= f->path.len);
    f->path.len = at;
    if (f->path.data)
        f->path.data[at] = '\0';
}

/* ---- adding ------------------------------------------------------------------------------------------------------------- */

/* Nobody reads more, and each takes many times the bytes of what is wrong: an answer must not be a hundred times its request. */
enum { FAULTS_MAX = 5000, BYTES_MAX = 8 << 20 };

bool faults_full(const struct faults *f) { return f->texts.n >= FAULTS_MAX || f->bytes >= BYTES_MAX; }

void fault_add(struct faults *f, const char *reason, const char *member, const char *text)
{
    if (faults_full(f))
        return;
    f->bytes += strlen(text) + f->path.len;
    size_t at = f->path.len;
    if (member)
        fault_push(f, member);
    const char *path = f->path.len ? f->path.data : "<nil>";
    err_cause(&f->err, reason, path, "%s", text);
    strlist_addf(&f->texts, "%s: %s", path, text);
    fault_pop(f, at);
}

void fault_required(struct faults *f, const char *member, const char *detail)
{
    BUF(b);
    buf_adds(&b, "Required value");
    if (!str_empty(detail))
        buf_addf(&b, ": %s", detail);
    fault_add(f, "FieldValueRequired", member, buf_str(&b));
}

/* "Invalid value: <value>: <text>"; fmt may be empty. */
static void add_invalid(struct faults *f, const char *member, const char *value, const char *fmt, va_list ap)
{
    BUF(detail);
    buf_addv(&detail, fmt, ap);
    BUF(b);
    buf_addf(&b, "Invalid value: %s%s%s", value, detail.len ? ": " : "", buf_str(&detail));
    fault_add(f, "FieldValueInvalid", member, buf_str(&b));
}

void fault_invalid(struct faults *f, const char *member, jval *value, const char *fmt, ...)
{
    va_list ap;
    if (faults_full(f))
        return;
    AUTOFREE char *text = value ? jv_text(value, JW_COMPACT) : xstrdup("null");
    va_start(ap, fmt);
    add_invalid(f, member, text, fmt, ap);
    va_end(ap);
}

void fault_invalid_str(struct faults *f, const char *member, const char *value, const char *fmt, ...)
{
    va_list ap;
    BUF(text);
    json_quote(&text, value, strlen(value));
    va_start(ap, fmt);
    add_invalid(f, member, buf_str(&text), fmt, ap);
    va_end(ap);
}

void fault_invalid_i64(struct faults *f, const char *member, int64_t value, const char *fmt, ...)
{
    va_list ap;
    AUTOFREE char *text = xasprintf("%lld", (long long)value);
    va_start(ap, fmt);
    add_invalid(f, member, text, fmt, ap);
    va_end(ap);
}

void fault_type(struct faults *f, const char *member, const char *value_text, const char *detail)
{
    BUF(b);
    buf_addf(&b, "Invalid value: %s: %s", value_text, detail);
    fault_add(f, "FieldValueTypeInvalid", member, buf_str(&b));
}

void fault_unsupported(struct faults *f, const char *member, const char *value, const char *const *supported)
{
    if (faults_full(f))
        return;
    BUF(b);
    buf_adds(&b, "Unsupported value: ");
    json_quote(&b, value, strlen(value));
    for (size_t i = 0; supported[i]; i++) {
        buf_adds(&b, i ? ", " : ": supported values: ");
        json_quote(&b, supported[i], strlen(supported[i]));
    }
    fault_add(f, "FieldValueNotSupported", member, buf_str(&b));
}

void fault_forbidden(struct faults *f, const char *member, const char *fmt, ...)
{
    va_list ap;
    BUF(b);
    buf_adds(&b, "Forbidden: ");
    va_start(ap, fmt);
    buf_addv(&b, fmt, ap);
    va_end(ap);
    fault_add(f, "FieldValueForbidden", member, buf_str(&b));
}

static void add_with_value(struct faults *f, const char *reason, const char *member, const char *what, const char *value)
{
    BUF(b);
    buf_addf(&b, "%s: ", what);
    json_quote(&b, value, strlen(value));
    fault_add(f, reason, member, buf_str(&b));
}

void fault_duplicate(struct faults *f, const char *member, jval *value)
{
    AUTOFREE char *text = jv_text(value, JW_COMPACT | JW_SORTED);
    BUF(b);
    buf_addf(&b, "Duplicate value: %s", text);
    fault_add(f, "FieldValueDuplicate", member, buf_str(&b));
}

void fault_duplicate_str(struct faults *f, const char *member, const char *value)
{
    add_with_value(f, "FieldValueDuplicate", member, "Duplicate value", value);
}

void fault_not_found(struct faults *f, const char *member, const char *value)
{
    add_with_value(f, "FieldValueNotFound", member, "Not found", value);
}

void fault_too_long(struct faults *f, const char *member, size_t max_bytes)
{
    BUF(b);
    buf_addf(&b, "Too long: may not be more than %zu bytes", max_bytes);
    fault_add(f, "FieldValueTooLong", member, buf_str(&b));
}

void fault_too_many(struct faults *f, const char *member, size_t n, size_t max)
{
    BUF(b);
    buf_addf(&b, "Too many: %zu: must have at most %zu item%s", n, max, max == 1 ? "" : "s");
    fault_add(f, "FieldValueTooMany", member, buf_str(&b));
}

/* ---- the error ---------------------------------------------------------------------------------------------------------- */

int faults_done(struct faults *f, const char *group, const char *kind, const char *name, struct err *err)
{
    if (!faults_any(f))
        return 0;
    STRLIST(distinct); /* one text is said once, as Kubernetes does; the causes hold all */
    CLEANUP(strmap_free) struct strmap said = STRMAP_INIT(NULL);
    for (size_t i = 0; i < f->texts.n; i++)
        if (!strmap_has(&said, f->texts.v[i])) {
            strmap_put(&said, f->texts.v[i], NULL);
            strlist_add(&distinct, f->texts.v[i]);
        }
    AUTOFREE char *all = strlist_join(&distinct, ", ");
    bool many = distinct.n > 1;
    f->err.code = ERR_INVALID;
    free(f->err.message);
    f->err.message = xasprintf("%s%s%s \"%s\" is invalid: %s%s%s", kind, *group ? "." : "", group, name, many ? "[" : "", all,
                               many ? "]" : "");
    err_subject(&f->err, group, kind, name);
    return err_move(err, &f->err);
}
