#include "kube/reviews.h"

#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <stdlib.h>

#include "base/id.h"
#include "base/str.h"
#include "base/thread.h"
#include "kube/fields.h"
#include "kube/kinds.h"

enum { GOOD_MAX = 4096, BAD_MAX = 1024, SECRET = 32, HASH = 32 };
#define TOKEN_GOOD_NS (120 * NS_PER_S)
#define TOKEN_BAD_NS  (10 * NS_PER_S)
#define MAY_NS        (300 * NS_PER_S)
#define MAY_NOT_NS    (30 * NS_PER_S)
#define ASK_LIMIT_NS  (10 * NS_PER_S)
/* Unknown tokens of one source about which the cluster is asked: so many at once, and so many a second. */
enum { UNKNOWN_BURST = 50, UNKNOWN_PER_S = 5, SOURCES_MAX = 1024 };

/* One kind of answer. All of it lasts equally long, so what came first goes first, by age and for room. */
struct memory {
    struct strmap map; /* hash of the question -> struct remembered */
    size_t max;
    int64_t lasts_ns;
};
struct remembered {
    int64_t until_ns;    /* monotonic */
    struct json *status; /* of the review: not the question, which may hold a token */
};

/* What is left of the patience with somebody who sends tokens that are none. Nobody without a debt is kept. */
struct source {
    int64_t at_ns; /* monotonic */
    double debt;   /* then */
};

struct reviews {
    struct kube *kube;
    const struct clock *clock;
    bool remember;
    unsigned char secret[SECRET];
    pthread_mutex_t lock; /* guards all below */
    struct memory good, bad, may, may_not;
    struct strmap sources; /* struct source; who was charged last stands last */
};

static void remembered_free(void *p)
{
    struct remembered *a = p;
    json_unref(a->status);
    free(a);
}

static struct memory memory_of(size_t max, int64_t lasts_ns)
{
    return (struct memory){.map = STRMAP_INIT(remembered_free), .max = max, .lasts_ns = lasts_ns};
}

struct reviews *reviews_new(const struct reviews_config *cfg)
{
    ASSERT(cfg->kube);
    struct reviews *r = xcalloc(1, sizeof *r);
    r->kube = cfg->kube;
    r->clock = cfg->clock;
    r->remember = cfg->remember;
    random_bytes(r->secret, sizeof r->secret);
    pthread_mutex_init(&r->lock, NULL);
    r->good = memory_of(GOOD_MAX, TOKEN_GOOD_NS);
    r->bad = memory_of(BAD_MAX, TOKEN_BAD_NS);
    r->may = memory_of(GOOD_MAX, MAY_NS);
    r->may_not = memory_of(BAD_MAX, MAY_NOT_NS);
    r->sources = STRMAP_INIT(free);
    return r;
}

void reviews_free(struct reviews *r)
{
    if (!r)
        return;
    strmap_free(&r->good.map);
    strmap_free(&r->bad.map);
    strmap_free(&r->may.map);
    strmap_free(&r->may_not.map);
    strmap_free(&r->sources);
    pthread_mutex_destroy(&r->lock);
    free(r);
}

/* ---- memory ---- */

static char *hash(const struct reviews *r, const char *text)
{
    unsigned char out[EVP_MAX_MD_SIZE];
    unsigned n = 0;
    ASSERT(HMAC(EVP_sha256(), r->secret, SECRET, (const unsigned char *)text, strlen(text), out, &n) && n == HASH);
    return hex_encode(out, n);
}

/* A reference to the status in one of the two, and in which; NULL when it has to be asked. */
static struct json *recall(struct reviews *r, struct memory *yes, struct memory *no, const char *key, bool *was_yes)
{
    if (!r->remember)
        return NULL;
    struct memory *both[] = {yes, no};
    LOCK_GUARD(&r->lock);
    int64_t now = r->clock->mono_ns(r->clock);
    for (size_t i = 0; i < ARRAY_LEN(both); i++) {
        struct remembered *a = strmap_get(&both[i]->map, key);
        if (!a || a->until_ns <= now)
            continue;
        *was_yes = i == 0;
        return json_ref(a->status);
    }
    return NULL;
}

static void keep(struct reviews *r, struct memory *m, const char *key, struct json *status)
{
    if (!r->remember)
        return;
    LOCK_GUARD(&r->lock);
    int64_t now = r->clock->mono_ns(r->clock);
    struct strmap_entry *first;
    strmap_del(&m->map, key); /* an old one stands too far in front */
    while ((first = strmap_first(&m->map)) &&
           (((struct remembered *)first->value)->until_ns <= now || strmap_count(&m->map) >= m->max))
        strmap_del(&m->map, first->key);
    struct remembered *a = xcalloc(1, sizeof *a);
    *a = (struct remembered){.until_ns = now + m->lasts_ns, .status = json_ref(status)};
    strmap_put(&m->map, key, a);
}

/* An answer without a status says no. */
static struct json *status_from(jval *status) { return jv_is(status, J_OBJECT) ? json_from(status) : json_parse_str("{}", NULL); }

/* ---- patience ---- */

/* Charges a source before the cluster is asked about its token, so that many at once are counted as well. False: not now. */
static bool charge(struct reviews *r, const char *from)
{
    if (!r->remember)
        return true;
    LOCK_GUARD(&r->lock);
    int64_t now = r->clock->mono_ns(r->clock);
    struct source *s = strmap_take(&r->sources, from);
    if (!s) {
        if (strmap_count(&r->sources) >= SOURCES_MAX)
            strmap_del(&r->sources, strmap_first(&r->sources)->key);
        s = xcalloc(1, sizeof *s);
    }
    s->debt -= (double)(now - s->at_ns) / NS_PER_S * UNKNOWN_PER_S;
    s->at_ns = now;
    if (s->debt < 0)
        s->debt = 0;
    bool may = s->debt + 1 <= UNKNOWN_BURST;
    s->debt += may;
    strmap_put(&r->sources, from, s);
    return may;
}

/* It was no garbage, or nobody knows. */
static void give_back(struct reviews *r, const char *from)
{
    LOCK_GUARD(&r->lock);
    struct source *s = strmap_get(&r->sources, from);
    if (s && --s->debt <= 0)
        strmap_del(&r->sources, from);
}

/* ---- whose token ---- */

static struct json *token_question(const char *token)
{
    JM_NEW(m);
    jmval *o = jm_obj(m);
    jm_set_root(m, o);
    token_review_set_api_version(m, o, "authentication.k8s.io/v1");
    token_review_set_kind(m, o, "TokenReview");
    token_review_spec_set_token(m, token_review_make_spec(m, o), token);
    return jm_freeze(m);
}

static bool known(jval *status)
{
    return token_review_status_authenticated(status, false) && !str_empty(user_info_username(token_review_status_user(status)));
}

/* The status of a review; NULL when the cluster could not be asked. */
static struct json *ask_whose(struct reviews *r, const struct ctx *ctx, const char *token, struct err *err)
{
    struct ctx brief = ctx_with_timeout(ctx, ASK_LIMIT_NS);
    JSON_REF(ask) = token_question(token);
    JSON_REF(answer) = kube_create(r->kube, &brief, &KUBE_TOKENREVIEWS, NULL, json_root(ask), NULL, err);
    if (answer)
        return status_from(token_review_status(json_root(answer)));
    err_wrap(err, "asking the cluster whose token this is");
    return NULL;
}

struct json *reviews_token(struct reviews *r, const struct ctx *ctx, const char *token, const char *source, struct err *err)
{
    AUTOFREE char *key = hash(r, token);
    bool good = false;
    JSON_REF(status) = recall(r, &r->good, &r->bad, key, &good);
    if (!status) {
        if (!charge(r, source)) {
            err_set(err, ERR_TOO_MANY, "too many tokens that are not valid came from there; this one is looked at later");
            if (err)
                err->retry_after_s = 1;
            return NULL;
        }
        status = ask_whose(r, ctx, token, err);
        good = known(json_root(status));
        if (!status || good)
            give_back(r, source);
        if (!status)
            return NULL;
        keep(r, good ? &r->good : &r->bad, key, status);
    }
    if (good)
        return json_from(token_review_status_user(json_root(status)));
    const char *why = token_review_status_error(json_root(status));
    err_set(err, ERR_UNAUTHENTICATED, "the bearer token is not valid: %s", str_empty(why) ? "unknown token" : why);
    return NULL;
}

static const char *copy(const char *text, void *(*alloc)(void *, size_t), void *arg)
{
    size_t n = strlen(text ? text : "") + 1;
    return memcpy(alloc(arg, n), text ? text : "", n);
}

static const char *const *groups_of(jval *list, void *(*alloc)(void *, size_t), void *arg)
{
    const char **out = alloc(arg, (jv_len(list) + 1) * sizeof *out);
    size_t n = 0;
    jval *v;
    for (struct jiter it = jv_iter(list); jv_next(&it, NULL, &v);)
        if (jv_str(v))
            out[n++] = copy(jv_str(v), alloc, arg);
    out[n] = NULL;
    return out;
}

static const char *const *extra_of(jval *extra, void *(*alloc)(void *, size_t), void *arg)
{
    size_t values = 0, n = 0;
    const char *key;
    jval *list, *v;
    for (struct jiter it = jv_iter(extra); jv_next(&it, &key, &list);)
        values += jv_len(list);
    if (!values)
        return NULL;
    const char **out = alloc(arg, (2 * values + 1) * sizeof *out);
    for (struct jiter it = jv_iter(extra); jv_next(&it, &key, &list);)
        for (struct jiter each = jv_iter(list); jv_next(&each, NULL, &v);)
            if (jv_str(v)) {
                out[n++] = copy(key, alloc, arg);
                out[n++] = copy(jv_str(v), alloc, arg);
            }
    out[n] = NULL;
    return out;
}

const struct identity *reviews_identity(jval *user, void *(*alloc)(void *arg, size_t n), void *arg)
{
    struct identity *who = alloc(arg, sizeof *who);
    *who = (struct identity){.user = copy(user_info_username(user), alloc, arg),
                             .uid = copy(user_info_uid(user), alloc, arg),
                             .groups = groups_of(user_info_groups(user), alloc, arg),
                             .extra = extra_of(user_info_extra(user), alloc, arg)};
    return who;
}

/* ---- may they ---- */

static void put_extra(struct jm *m, jmval *spec, const char *const *extra)
{
    jmval *map = subject_access_review_spec_make_extra(m, spec), *list = NULL;
    for (const char *key = NULL; *extra; extra += 2) {
        if (!str_eq(key, extra[0])) { /* values of one key follow each other */
            list = jm_arr(m);
            jm_put(m, map, extra[0], list);
            key = extra[0];
        }
        jm_push(list, jm_str(m, extra[1]));
    }
}

static struct json *access_question(const struct identity *who, const struct review *w)
{
    JM_NEW(m);
    jmval *o = jm_obj(m);
    jm_set_root(m, o);
    subject_access_review_set_api_version(m, o, "authorization.k8s.io/v1");
    subject_access_review_set_kind(m, o, "SubjectAccessReview");
    jmval *spec = subject_access_review_make_spec(m, o);
    subject_access_review_spec_set_user(m, spec, who->user);
    if (!str_empty(who->uid))
        subject_access_review_spec_set_uid(m, spec, who->uid);
    jmval *groups = subject_access_review_spec_make_groups(m, spec);
    for (const char *const *g = who->groups; g && *g; g++)
        jm_push(groups, jm_str(m, *g));
    if (who->extra && *who->extra)
        put_extra(m, spec, who->extra);
    jmval *what = subject_access_review_spec_make_resource_attributes(m, spec);
    const struct {
        const char *text;
        void (*set)(struct jm *, jmval *, const char *);
    } attributes[] = {{w->ns, resource_attributes_set_namespace},      {w->verb, resource_attributes_set_verb},
                      {w->group, resource_attributes_set_group},       {w->version, resource_attributes_set_version},
                      {w->resource, resource_attributes_set_resource}, {w->subresource, resource_attributes_set_subresource},
                      {w->name, resource_attributes_set_name}};
    for (size_t i = 0; i < ARRAY_LEN(attributes); i++)
        if (!str_empty(attributes[i].text))
            attributes[i].set(m, what, attributes[i].text);
    return jm_freeze(m);
}

int reviews_access(struct reviews *r, const struct ctx *ctx, const struct identity *who, const struct review *what,
                   struct err *err)
{
    JSON_REF(ask) = access_question(who, what);
    BUF(text);
    jv_write(json_root(ask), JW_COMPACT, &text);
    AUTOFREE char *key = hash(r, buf_str(&text));
    bool may = false;
    JSON_REF(known) = recall(r, &r->may, &r->may_not, key, &may);
    if (known)
        return may;
    struct ctx brief = ctx_with_timeout(ctx, ASK_LIMIT_NS);
    JSON_REF(answer) = kube_create(r->kube, &brief, &KUBE_SUBJECTACCESSREVIEWS, NULL, json_root(ask), NULL, err);
    if (!answer)
        return err_wrap(err, "asking the cluster whether user %s may %s %s", who->user, what->verb, what->resource);
    JSON_REF(status) = status_from(subject_access_review_status(json_root(answer)));
    may = subject_access_review_status_allowed(json_root(status), false);
    keep(r, may ? &r->may : &r->may_not, key, status);
    return may;
}
