/* What is asked of the API server about tokens and rights, and for how long its answer counts. */
#include "unit.h"

#include "base/str.h"
#include "kube/kinds.h"
#include "kube/reviews.h"

/* An API server that knows the tokens "good-*" and lets user "admin" do everything, others list. */
struct server {
    struct kube kube; /* first member */
    int asked;
    bool away;
    char last[4096]; /* the last question */
};

static struct json *create(struct kube *k, const struct ctx *ctx, const struct kube_res *res, const char *ns, const char *name,
                           jval *obj, const struct kube_opts *o, struct err *err)
{
    struct server *s = (struct server *)k;
    jval *spec = jv_get(obj, "spec");
    BUF(text);
    jv_write(obj, JW_COMPACT, &text);
    assert_true(text.len < sizeof s->last);
    memcpy(s->last, buf_str(&text), text.len + 1);
    s->asked++;
    if (s->away) {
        err_set(err, ERR_UNAVAILABLE, "away");
        return NULL;
    }
    if (str_eq(res->plural, "subjectaccessreviews")) {
        bool may = str_eq(jv_str(jv_get(spec, "user")), "admin") ||
                   str_eq(jv_str(jv_path(spec, "resourceAttributes", "verb", NULL)), "list");
        return json_parse_str(may ? "{\"status\":{\"allowed\":true}}" : "{\"status\":{\"allowed\":false}}", err);
    }
    const char *token = jv_str_or(jv_get(spec, "token"), "");
    if (str_eq(token, "odd"))
        return json_parse_str("{}", err);
    if (!str_starts(token, "good-"))
        return json_parse_str("{\"status\":{\"error\":\"no such token\"}}", err);
    AUTOFREE char *answer =
        xasprintf("{\"spec\":{\"token\":\"%s\"},\"status\":{\"authenticated\":true,\"user\":{\"username\":\"%s\",\"uid\":\"u1\","
                  "\"groups\":[\"g1\",\"g2\"],\"extra\":{\"a\":[\"1\",\"2\"],\"b\":[\"3\"]}}}}",
                  token, token + 5);
    return json_parse_str(answer, err);
}

static const struct kube_ops ops = {.create = create};

struct bench {
    struct server server;
    struct clock_manual clock;
    struct reviews *reviews;
    struct ctx ctx;
    const char *source;
};

static void bench_open(struct bench *b, bool remember)
{
    *b = (struct bench){.server.kube.ops = &ops, .ctx = ctx_background(), .source = "10.0.0.1"};
    clock_manual_init(&b->clock, NS_PER_S);
    b->reviews = reviews_new(&(struct reviews_config){.kube = &b->server.kube, .clock = &b->clock.clock, .remember = remember});
}

/* How often the server was asked for it; the user's name, or the code of the refusal. */
static int ask_token(struct bench *b, const char *token, const char *user, enum err_code code)
{
    int before = b->server.asked;
    ERR(e);
    JSON_REF(info) = reviews_token(b->reviews, &b->ctx, token, b->source, &e);
    if (user)
        assert_string_equal(jv_str_or(jv_get(json_root(info), "username"), err_text(&e)), user);
    else
        assert_null(info);
    assert_int_equal(e.code, code);
    return b->server.asked - before;
}

static int ask_access(struct bench *b, const char *user, const char *verb, int may)
{
    int before = b->server.asked;
    ERR(e);
    const struct identity who = {.user = user, .uid = ""};
    const struct review what = {.ns = "n", .verb = verb, .resource = "runs"};
    assert_int_equal(reviews_access(b->reviews, &b->ctx, &who, &what, &e), may);
    return b->server.asked - before;
}

static void tokens_last_two_minutes(void **state)
{
    struct bench b;
    bench_open(&b, true);
    assert_int_equal(ask_token(&b, "good-ann", "ann", 0), 1);
    assert_int_equal(ask_token(&b, "good-ann", "ann", 0), 0);
    assert_int_equal(ask_token(&b, "good-bob", "bob", 0), 1);
    clock_manual_advance(&b.clock, 119 * NS_PER_S);
    assert_int_equal(ask_token(&b, "good-ann", "ann", 0), 0);
    clock_manual_advance(&b.clock, NS_PER_S);
    assert_int_equal(ask_token(&b, "good-ann", "ann", 0), 1);
    reviews_free(b.reviews);
}

static void refusals_last_ten_seconds(void **state)
{
    struct bench b;
    bench_open(&b, true);
    assert_int_equal(ask_token(&b, "bad", NULL, ERR_UNAUTHENTICATED), 1);
    assert_int_equal(ask_token(&b, "odd", NULL, ERR_UNAUTHENTICATED), 1);
    assert_int_equal(ask_token(&b, "bad", NULL, ERR_UNAUTHENTICATED), 0);
    clock_manual_advance(&b.clock, 10 * NS_PER_S);
    assert_int_equal(ask_token(&b, "bad", NULL, ERR_UNAUTHENTICATED), 1);
    reviews_free(b.reviews);
}

/* Who sends garbage pushes out garbage, not what is known to be good. */
static void garbage_is_bounded(void **state)
{
    struct bench b;
    bench_open(&b, true);
    ask_token(&b, "good-ann", "ann", 0);
    for (int i = 0; i < 3000; i++) {
        AUTOFREE char *token = xasprintf("bad-%d", i);
        clock_manual_advance(&b.clock, NS_PER_MS);
        AUTOFREE char *from = xasprintf("10.0.%d.%d", i / 250, i % 250); /* none has sent many */
        b.source = from;
        assert_int_equal(ask_token(&b, token, NULL, ERR_UNAUTHENTICATED), 1);
    }
    b.source = "10.0.0.1";
    assert_int_equal(ask_token(&b, "good-ann", "ann", 0), 0);
    assert_int_equal(ask_token(&b, "bad-2999", NULL, ERR_UNAUTHENTICATED), 0);
    assert_int_equal(ask_token(&b, "bad-0", NULL, ERR_UNAUTHENTICATED), 1); /* gone for room */
    reviews_free(b.reviews);
}

/* Ever new garbage costs the cluster a few questions a second; what is good, and others, are served all the same. */
static void unknown_tokens_of_a_source_are_bounded(void **state)
{
    struct bench b;
    bench_open(&b, true);
    int asked = 0;
    for (int i = 0; i < 1000; i++) {
        AUTOFREE char *token = xasprintf("bad-%d", i);
        asked += ask_token(&b, token, NULL, i < 50 ? ERR_UNAUTHENTICATED : ERR_TOO_MANY);
    }
    assert_int_equal(asked, 50);
    assert_int_equal(ask_token(&b, "bad-3", NULL, ERR_UNAUTHENTICATED), 0); /* known to be bad: that costs nobody anything */
    b.source = "10.0.0.2";
    assert_int_equal(ask_token(&b, "good-ann", "ann", 0), 1);
    b.source = "10.0.0.1";
    assert_int_equal(ask_token(&b, "good-ann", "ann", 0), 0); /* known */
    clock_manual_advance(&b.clock, NS_PER_S);
    for (int i = 0; i < 100; i++) { /* good ones cost nothing */
        AUTOFREE char *token = xasprintf("good-%d", i), *user = xasprintf("%d", i);
        assert_int_equal(ask_token(&b, token, user, 0), 1);
    }
    for (int i = 0; i < 100; i++) {
        AUTOFREE char *token = xasprintf("worse-%d", i);
        assert_int_equal(ask_token(&b, token, NULL, i < 5 ? ERR_UNAUTHENTICATED : ERR_TOO_MANY), i < 5);
    }
    /* Whose token could not be looked at has sent no garbage. */
    b.source = "10.0.0.3";
    b.server.away = true;
    for (int i = 0; i < 100; i++)
        assert_int_equal(ask_token(&b, "good-zoe", NULL, ERR_UNAVAILABLE), 1);
    reviews_free(b.reviews);
}

static void access_lasts_five_minutes_or_half_a_minute(void **state)
{
    struct bench b;
    bench_open(&b, true);
    assert_int_equal(ask_access(&b, "admin", "delete", 1), 1);
    assert_int_equal(ask_access(&b, "ann", "delete", 0), 1);
    assert_int_equal(ask_access(&b, "ann", "list", 1), 1); /* each question by itself */
    assert_int_equal(ask_access(&b, "admin", "delete", 1), 0);
    assert_int_equal(ask_access(&b, "ann", "delete", 0), 0);
    clock_manual_advance(&b.clock, 30 * NS_PER_S);
    assert_int_equal(ask_access(&b, "ann", "delete", 0), 1);
    assert_int_equal(ask_access(&b, "admin", "delete", 1), 0);
    clock_manual_advance(&b.clock, 270 * NS_PER_S);
    assert_int_equal(ask_access(&b, "admin", "delete", 1), 1);
    reviews_free(b.reviews);
}

/* What could not be asked is asked again; what is known goes on while the server is away. */
static void trouble_is_not_remembered(void **state)
{
    struct bench b;
    bench_open(&b, true);
    ask_token(&b, "good-ann", "ann", 0);
    b.server.away = true;
    assert_int_equal(ask_token(&b, "good-bob", NULL, ERR_UNAVAILABLE), 1);
    assert_int_equal(ask_token(&b, "good-bob", NULL, ERR_UNAVAILABLE), 1);
    assert_int_equal(ask_access(&b, "ann", "list", -1), 1);
    assert_int_equal(ask_token(&b, "good-ann", "ann", 0), 0);
    b.server.away = false;
    assert_int_equal(ask_token(&b, "good-bob", "bob", 0), 1);
    assert_int_equal(ask_access(&b, "ann", "list", 1), 1);
    reviews_free(b.reviews);
}

static void without_memory_each_is_asked(void **state)
{
    struct bench b;
    bench_open(&b, false);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(ask_token(&b, "good-ann", "ann", 0), 1);
        assert_int_equal(ask_token(&b, "bad", NULL, ERR_UNAUTHENTICATED), 1);
        assert_int_equal(ask_access(&b, "ann", "list", 1), 1);
    }
    reviews_free(b.reviews);
}

static void *alloc(void *arg, size_t n)
{
    struct strlist *all = arg;
    char *p = xcalloc(1, n);
    strlist_take(all, p);
    return p;
}

/* Everything that the token says of its owner goes into the question about rights. */
static void the_whole_identity_is_asked_about(void **state)
{
    struct bench b;
    bench_open(&b, true);
    STRLIST(memory);
    ERR(e);
    JSON_REF(user) = reviews_token(b.reviews, &b.ctx, "good-ann", b.source, &e);
    assert_string_equal(b.server.last,
                        "{\"apiVersion\":\"authentication.k8s.io/v1\",\"kind\":\"TokenReview\",\"spec\":{\"token\":"
                        "\"good-ann\"}}");
    const struct identity *who = reviews_identity(json_root(user), alloc, &memory);
    assert_string_equal(who->user, "ann");
    assert_string_equal(who->uid, "u1");
    assert_string_equal(who->groups[1], "g2");
    assert_null(who->groups[2]);
    const struct review what = {
        .verb = "get", .version = "v1", .resource = "nodes", .subresource = "proxy", .name = "n1", .group = "", .ns = NULL};
    assert_int_equal(reviews_access(b.reviews, &b.ctx, who, &what, &e), 0);
    assert_string_equal(
        b.server.last,
        "{\"apiVersion\":\"authorization.k8s.io/v1\",\"kind\":\"SubjectAccessReview\",\"spec\":{\"user\":\"ann\",\"uid\":\"u1\","
        "\"groups\":[\"g1\",\"g2\"],\"extra\":{\"a\":[\"1\",\"2\"],\"b\":[\"3\"]},\"resourceAttributes\":{\"verb\":\"get\","
        "\"version\":\"v1\",\"resource\":\"nodes\",\"subresource\":\"proxy\",\"name\":\"n1\"}}}");
    reviews_free(b.reviews);
}

TEST_GROUP(reviews, cmocka_unit_test(tokens_last_two_minutes), cmocka_unit_test(refusals_last_ten_seconds),
           cmocka_unit_test(garbage_is_bounded), cmocka_unit_test(unknown_tokens_of_a_source_are_bounded),
           cmocka_unit_test(access_lasts_five_minutes_or_half_a_minute), cmocka_unit_test(trouble_is_not_remembered),
           cmocka_unit_test(without_memory_each_is_asked), cmocka_unit_test(the_whole_identity_is_asked_about))
