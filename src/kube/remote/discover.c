/* discover.c - what a server serves, from its own documents: /api, /apis, and one document a group and version. */
#include <stdlib.h>

#include "kube/remote/internal.h"

static bool has_verb(jval *verbs, const char *verb)
{
    struct jiter it = jv_iter(verbs);
    jval *v;
    while (jv_next(&it, NULL, &v))
        if (str_eq(jv_str(v), verb))
            return true;
    return false;
}

/* A group whose server is away (an aggregated one) is passed over: the rest is as good as before. */
static int each_of(struct kube *k, const struct ctx *ctx, const char *group, const char *version,
                   void (*fn)(void *arg, const struct kube_res *res), void *arg, struct err *err)
{
    AUTOFREE char *path = *group ? xasprintf("/apis/%s/%s", group, version) : xasprintf("/api/%s", version);
    ERR(e);
    JSON_REF(d) = kube_remote_get_path(k, ctx, path, &e);
    if (!d && (e.code == ERR_UNAVAILABLE || e.code == ERR_NOT_FOUND) && *group)
        return 0;
    if (!d)
        return err_move(err, &e);
    struct jiter it = jv_iter(jv_get(json_root(d), "resources"));
    jval *r;
    while (jv_next(&it, NULL, &r)) {
        const char *name = jv_str_or(jv_get(r, "name"), ""), *kind = jv_str_or(jv_get(r, "kind"), "");
        jval *verbs = jv_get(r, "verbs");
        if (!*name || strchr(name, '/') || !has_verb(verbs, "list") || !has_verb(verbs, "watch") || !has_verb(verbs, "delete"))
            continue;
        const struct kube_res res = {group, version, name, kind, jv_bool(jv_get(r, "namespaced"), false)};
        fn(arg, &res);
    }
    return 0;
}

int kube_remote_each_kind(struct kube *k, const struct ctx *ctx, void (*fn)(void *arg, const struct kube_res *res), void *arg,
                          struct err *err)
{
    if (each_of(k, ctx, "", "v1", fn, arg, err) < 0)
        return -1;
    JSON_REF(groups) = kube_remote_get_path(k, ctx, "/apis", err);
    if (!groups)
        return -1;
    struct jiter it = jv_iter(jv_get(json_root(groups), "groups"));
    jval *g;
    while (jv_next(&it, NULL, &g)) {
        const char *group = jv_str_or(jv_get(g, "name"), ""), *version = jv_str(jv_path(g, "preferredVersion", "version", NULL));
        /* Events have two faces; the core one is theirs. */
        if (*group && version && !str_eq(group, "events.k8s.io") && each_of(k, ctx, group, version, fn, arg, err) < 0)
            return -1;
    }
    return 0;
}
