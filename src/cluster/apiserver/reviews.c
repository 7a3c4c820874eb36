/* reviews.c - questions that are posed by creating an object: who am I, whose is this token, may I, may they. */
#include <stdlib.h>

#include "base/timefmt.h"
#include "cluster/apiserver/internal.h"
#include "kube/fields.h"
#include "kube/rules/validate.h"

static struct jm *answer_of(struct op *op, jval *request)
{
    struct jm *m = object_ordered(request);
    object_put_header(m, op->res);
    jm_obj_at(m, jm_root(m), "metadata");
    return m;
}

static void put_user(struct jm *m, jmval *to, const struct identity *who)
{
    jm_put(m, to, "username", jm_str(m, who->user));
    if (!str_empty(who->uid))
        jm_put(m, to, "uid", jm_str(m, who->uid));
    jmval *groups = jm_arr_at(m, to, "groups");
    for (const char *const *g = who->groups; g && *g; g++)
        jm_push(groups, jm_str(m, *g));
    for (const char *const *x = who->extra; x && x[0] && x[1]; x += 2)
        jm_push(jm_arr_at(m, jm_obj_at(m, to, "extra"), x[0]), jm_str(m, x[1]));
}

/* ---- who ------------------------------------------------------------------------------------------------------------------ */

static struct store_obj *self_subject(struct op *op, jval *request)
{
    CLEANUP(jm_freep) struct jm *m = answer_of(op, request);
    char now[TIME_TEXT_MAX];
    object_meta_set_creation_timestamp(m, jm_obj_at(m, jm_root(m), "metadata"),
                                       time_format(now, ctx_now_ns(op->ctx), TIME_SECONDS));
    put_user(m, jm_obj_at(m, jm_obj_at(m, jm_root(m), "status"), "userInfo"), op->who);
    return object_virtual(m);
}

static const char **strings(jval *list, size_t *n)
{
    const char **v = xcalloc(jv_len(list) + 1, sizeof(*v));
    *n = 0;
    struct jiter it = jv_iter(list);
    jval *x;
    while (jv_next(&it, NULL, &x))
        if (jv_str(x))
            v[(*n)++] = jv_str(x);
    return v;
}

static struct store_obj *token_review(struct op *op, jval *request, struct err *err)
{
    jval *spec = token_review_spec(request);
    const char *token = token_review_spec_token(spec);
    if (str_empty(token)) {
        err_set(err, ERR_BAD_REQUEST, "token is required for TokenReview in authentication");
        return NULL;
    }
    size_t n;
    AUTOFREE const char **audiences = strings(token_review_spec_audiences(spec), &n);
    CLEANUP(jm_freep) struct jm *m = answer_of(op, request);
    jmval *status = jm_obj_at(m, jm_root(m), "status");
    jm_clear(status);
    ERR(e);
    JSON_REF(claims) = NULL;
    struct identity *who = authn_claims(op->a, token, n ? audiences : NULL, &claims, &e);
    token_review_spec_del_token(token_review_make_spec(m, jm_root(m))); /* a secret is not repeated */
    if (who) {
        jm_put(m, status, "authenticated", jm_bool(m, true));
        put_user(m, jm_obj_at(m, status, "user"), who);
        jmval *out = jm_arr_at(m, status, "audiences");
        if (!n)
            jm_push(out, jm_str(m, TOKEN_ISSUER));
        for (size_t i = 0; i < n; i++)
            if (!claims || token_for_audience(json_root(claims), audiences[i]))
                jm_push(out, jm_str(m, audiences[i]));
    } else {
        jm_put(m, status, "user", jm_obj(m));
        jm_put(m, status, "error", jm_str(m, err_text(&e)));
    }
    identity_free(who);
    return object_virtual(m);
}

/* ---- may ------------------------------------------------------------------------------------------------------------------- */

static void read_attrs(jval *spec, struct attrs *at)
{
    jval *r = subject_access_review_spec_resource_attributes(spec), *p = subject_access_review_spec_non_resource_attributes(spec);
    if (jv_present(r))
        *at = (struct attrs){.verb = resource_attributes_verb(r),
                             .group = resource_attributes_group(r),
                             .version = resource_attributes_version(r),
                             .resource = resource_attributes_resource(r),
                             .sub = resource_attributes_subresource(r),
                             .ns = resource_attributes_namespace(r),
                             .name = resource_attributes_name(r)};
    else
        *at = (struct attrs){.verb = non_resource_attributes_verb(p), .path = non_resource_attributes_path(p)};
    if (!at->verb)
        at->verb = "";
    if (jv_present(p) && !at->path)
        at->path = "";
}

static int check_review(jval *spec, bool about_others, struct err *err)
{
    jval *r = subject_access_review_spec_resource_attributes(spec), *p = subject_access_review_spec_non_resource_attributes(spec);
    FAULTS(f);
    if (jv_present(r) && jv_present(p)) { /* shown with the names of Go's fields */
        const char *path = non_resource_attributes_path(p), *verb = non_resource_attributes_verb(p);
        JM_NEW(m);
        jmval *o = jm_obj(m);
        jm_set_root(m, o);
        jm_put(m, o, "Path", jm_str(m, path ? path : ""));
        jm_put(m, o, "Verb", jm_str(m, verb ? verb : ""));
        JSON_REF(shown) = jm_freeze(m);
        fault_invalid(&f, "spec.nonResourceAttributes", json_root(shown),
                      "cannot be specified in combination with resourceAttributes");
    }
    if (!jv_present(r) && !jv_present(p))
        fault_invalid(&f, "spec.resourceAttributes", NULL,
                      "exactly one of nonResourceAttributes or resourceAttributes must be specified");
    if (about_others && str_empty(subject_access_review_spec_user(spec)) && !jv_len(subject_access_review_spec_groups(spec)))
        fault_invalid_str(&f, "spec.user", "", "at least one of user or group must be specified");
    return faults_done(&f, "authorization.k8s.io", "", "", err);
}

static struct store_obj *access_review(struct op *op, jval *request, bool about_others, struct err *err)
{
    jval *spec = subject_access_review_spec(request);
    if (check_review(spec, about_others, err) < 0)
        return NULL;
    size_t n;
    AUTOFREE const char **groups = strings(subject_access_review_spec_groups(spec), &n);
    const char *user = subject_access_review_spec_user(spec);
    struct identity other = {.user = user ? user : "", .uid = "", .groups = groups};
    struct attrs at;
    read_attrs(spec, &at);
    jval *r = subject_access_review_spec_resource_attributes(spec);
    if (op->ns && jv_present(r) && !str_eq(at.ns, op->ns)) {
        FAULTS(f);
        fault_invalid_str(&f, "spec.resourceAttributes.namespace", at.ns ? at.ns : "", "must match metadata.namespace");
        faults_done(&f, "authorization.k8s.io", "", "", err);
        return NULL;
    }
    AUTOFREE char *reason = NULL;
    bool allowed = rbac_allows(op->a->rbac, about_others ? &other : op->who, &at, &reason);
    CLEANUP(jm_freep) struct jm *m = answer_of(op, request);
    jmval *status = jm_obj_at(m, jm_root(m), "status");
    jm_clear(status);
    jm_put(m, status, "allowed", jm_bool(m, allowed));
    if (reason)
        jm_put(m, status, "reason", jm_str(m, reason));
    return object_virtual(m);
}

static struct store_obj *rules_review(struct op *op, jval *request, struct err *err)
{
    const char *ns = self_subject_rules_review_spec_namespace(self_subject_rules_review_spec(request));
    if (str_empty(ns)) {
        err_set(err, ERR_BAD_REQUEST, "no namespace on request");
        return NULL;
    }
    CLEANUP(jm_freep) struct jm *m = answer_of(op, request);
    jm_put(m, jm_root(m), "spec", jm_obj(m));
    jmval *status = jm_obj_at(m, jm_root(m), "status");
    jm_clear(status);
    rbac_rules(op->a->rbac, op->who, ns, m, status);
    return object_virtual(m);
}

struct store_obj *review_create(struct op *op, jval *obj, struct err *err)
{
    const char *kind = res_of(op->res)->kind;
    if (strcmp(kind, "Binding") == 0)
        return binding_create(op, obj, err);
    if (strcmp(kind, "SelfSubjectReview") == 0)
        return self_subject(op, obj);
    if (strcmp(kind, "TokenReview") == 0)
        return token_review(op, obj, err);
    if (strcmp(kind, "SelfSubjectAccessReview") == 0)
        return access_review(op, obj, false, err);
    if (strcmp(kind, "SubjectAccessReview") == 0 || strcmp(kind, "LocalSubjectAccessReview") == 0)
        return access_review(op, obj, true, err);
    if (strcmp(kind, "SelfSubjectRulesReview") == 0)
        return rules_review(op, obj, err);
    err_set(err, ERR_METHOD, "the server does not allow this method on the requested resource");
    return NULL;
}
