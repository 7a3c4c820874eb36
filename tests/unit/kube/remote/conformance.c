/* conformance.c - the helpers; see conformance.h. */
#include "conformance.h"

#include <stdarg.h>
#include <unistd.h>

#include "base/id.h"

struct ctx soon(void)
{
    struct ctx bg = ctx_background();
    return ctx_with_timeout(&bg, 60 * NS_PER_S);
}

static struct json *parse(const char *fmt, va_list ap)
{
    BUF(text);
    buf_addv(&text, fmt, ap);
    for (size_t i = 0; i < text.len; i++)
        if (text.data[i] == '\'')
            text.data[i] = '"';
    ERR(e);
    struct json *d = json_parse(text.data, text.len, NULL, &e);
    if (!d)
        fail_msg("%s in %s", err_text(&e), text.data);
    return d;
}

struct json *doc(const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    struct json *d = parse(fmt, ap);
    va_end(ap);
    return d;
}

struct json *make(struct target *t, const struct kube_res *res, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    JSON_REF(d) = parse(fmt, ap);
    va_end(ap);
    ERR(e);
    struct ctx ctx = soon();
    struct json *made = kube_create(t->kube, &ctx, res, res->namespaced ? t->ns : NULL, json_root(d), NULL, &e);
    if (!made)
        fail_msg("creating one of %s: %s", res->plural, err_text(&e));
    return made;
}

struct json *make_map(struct target *t, const char *name, const char *labels)
{
    return make(t, &KUBE_CONFIGMAPS, "{'metadata': {'name': '%s', 'labels': {%s}}, 'data': {'k': 'v'}}", name, labels);
}

struct json *get(struct target *t, const struct kube_res *res, const char *name)
{
    ERR(e);
    struct ctx ctx = soon();
    struct json *d = kube_get(t->kube, &ctx, res, res->namespaced ? t->ns : NULL, name, NULL, &e);
    if (!d)
        fail_msg("getting %s of %s: %s", name, res->plural, err_text(&e));
    return d;
}

const char *text_at(jval *v, const char *dotted)
{
    STRLIST(parts);
    str_split(dotted, '.', &parts);
    for (size_t i = 0; i < parts.n; i++) {
        int64_t at;
        v = jv_is(v, J_ARRAY) && str_to_i64(parts.v[i], &at) ? jv_at(v, (size_t)at) : jv_get(v, parts.v[i]);
    }
    return jv_str_or(v, "");
}

void expect_error(const char *what, const struct err *e, enum err_code code, const char *part)
{
    if (e->code != code || !strstr(err_text(e), part))
        fail_msg("%s: code %d (%s), not %d, \"%s\" where \"%s\" is expected", what, e->code, err_reason(e), code, err_text(e),
                 part);
}

struct kube_event next_event(struct target *t, struct kube_watch *w)
{
    struct ctx ctx = soon();
    struct kube_event ev;
    for (;;) {
        ERR(e);
        int rc = kube_watch_next(t->kube, w, &ctx, &ev, &e);
        if (rc != 1)
            fail_msg("the watch gave %d: %s", rc, err_text(&e));
        if (ev.type != KUBE_BOOKMARK)
            return ev;
        json_unref(ev.object);
    }
}

void expect_event(struct target *t, struct kube_watch *w, enum kube_event_type type, const char *name)
{
    struct kube_event ev = next_event(t, w);
    if (ev.type != type || !str_eq(obj_name(json_root(ev.object)), name))
        fail_msg("event %d of %s, not %d of %s", ev.type, obj_name(json_root(ev.object)), type, name);
    json_unref(ev.object);
}

bool eventually(bool (*cond)(void *arg), void *arg)
{
    for (int i = 0; i < 2000; i++) {
        if (cond(arg))
            return true;
        usleep(10000);
    }
    return false;
}

void target_open(struct target *t)
{
    char part[9];
    snprintf(t->ns, sizeof t->ns, "conformance-%s", random_hex(part, 4));
    json_unref(make(t, &KUBE_NAMESPACES, "{'metadata': {'name': '%s'}}", t->ns));
    /* Pods need it; where a controller makes it, it may come first. */
    JSON_REF(account) = doc("{'metadata': {'name': 'default'}}");
    ERR(e);
    struct ctx ctx = soon();
    JSON_REF(made) = kube_create(t->kube, &ctx, &KUBE_SERVICEACCOUNTS, t->ns, json_root(account), NULL, &e);
    if (!made && e.code != ERR_EXISTS)
        fail_msg("%s", err_text(&e));
}

void target_close(struct target *t)
{
    struct ctx ctx = soon();
    kube_delete(t->kube, &ctx, &KUBE_NAMESPACES, NULL, t->ns, NULL, NULL, NULL);
}
