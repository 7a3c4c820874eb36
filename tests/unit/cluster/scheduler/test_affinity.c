/* Affinity, anti-affinity and spread over three nodes in two zones. */
#include "cluster/scheduler/affinity.h"
#include "unit.h"

#define NODE(name, zone)        "{\"metadata\":{\"name\":\"" name "\",\"labels\":{\"host\":\"" name "\"" zone "}},\"spec\":{}}"
#define IN(z)                   ",\"zone\":\"" z "\""
#define TERM(labels, key, more) "{\"labelSelector\":{\"matchLabels\":{" labels "}},\"topologyKey\":\"" key "\"" more "}"
#define NEAR(t)                 "\"affinity\":{\"podAffinity\":{\"requiredDuringSchedulingIgnoredDuringExecution\":[" t "]}}"
#define FAR(t)                  "\"affinity\":{\"podAntiAffinity\":{\"requiredDuringSchedulingIgnoredDuringExecution\":[" t "]}}"
#define SPREAD(key, more)                                                                                                        \
    "\"topologySpreadConstraints\":[{\"maxSkew\":1,\"topologyKey\":\"" key "\",\"whenUnsatisfiable\":\"DoNotSchedule\","         \
    "\"labelSelector\":{\"matchLabels\":{\"app\":\"a\"}}" more "}]"
#define APP_A "\"app\":\"a\""
#define APP_B "\"app\":\"b\""

static const char *const node_texts[] = {NODE("n1", IN("x")), NODE("n2", IN("x")), NODE("n3", IN("y"))};
static const char *const node_names[] = {"n1", "n2", "n3"};

static jval *labels_of(void *arg, const char *name) { return strcmp(name, "other") == 0 ? json_root(arg) : NULL; }

struct there {
    const char *ns, *labels, *spec, *node;
};

static void run(const char *labels, const char *spec, const struct there *t, size_t n, const char *const want[3], size_t line)
{
    JSON_REF(other) = json_parse_str("{\"team\":\"t\"}", NULL);
    struct json *nodes[3], *pods[4];
    jval *roots[3];
    struct peer peers[4];
    for (size_t i = 0; i < 3; i++)
        roots[i] = json_root(nodes[i] = json_parse_str(node_texts[i], NULL));
    for (size_t i = 0; i < n; i++) {
        AUTOFREE char *text =
            xasprintf("{\"metadata\":{\"namespace\":\"%s\",\"labels\":{%s}},\"spec\":{%s}}", t[i].ns, t[i].labels, t[i].spec);
        pods[i] = json_parse_str(text, NULL);
        assert_non_null(pods[i]);
        size_t k = 0;
        while (strcmp(node_names[k], t[i].node) != 0)
            k++;
        peers[i] = (struct peer){json_root(pods[i]), roots[k]};
    }
    struct surroundings s = {peers, n, roots, 3, labels_of, other};
    AUTOFREE char *text = xasprintf("{\"metadata\":{\"namespace\":\"ns\",\"labels\":{%s}},\"spec\":{%s}}", labels, spec);
    JSON_REF(pod) = json_parse_str(text, NULL);
    assert_non_null(pod);
    for (size_t i = 0; i < 3; i++) {
        STRLIST(why);
        bool helps = false, fits = pod_affinity_fits(json_root(pod), roots[i], &s, &why, &helps);
        const char *got = fits ? "" : why.v[0];
        if (strcmp(got, want[i]) != 0)
            fail_msg("row %zu, node %zu: \"%s\", want \"%s\"", line, i, got, want[i]);
    }
    for (size_t i = 0; i < n; i++)
        json_unref(pods[i]);
    for (size_t i = 0; i < 3; i++)
        json_unref(nodes[i]);
}

#define NO_NEAR  "node(s) didn't match pod affinity rules"
#define NO_FAR   "node(s) didn't match pod anti-affinity rules"
#define NO_THEIR "node(s) didn't satisfy existing pods anti-affinity rules"
#define NO_SKEW  "node(s) didn't match pod topology spread constraints"
#define NO_KEY   "node(s) didn't match pod topology spread constraints (missing required label)"

static void rules(void **state)
{
    static const struct {
        const char *labels, *spec;
        struct there there[3];
        size_t n;
        const char *want[3];
    } t[] = {
        {"", "", {{"ns", APP_A, "", "n1"}}, 1, {"", "", ""}},
        {"", NEAR(TERM(APP_A, "host", "")), {{"ns", APP_A, "", "n1"}}, 1, {"", NO_NEAR, NO_NEAR}},
        {"", NEAR(TERM(APP_A, "zone", "")), {{"ns", APP_A, "", "n1"}}, 1, {"", "", NO_NEAR}},
        {"", NEAR(TERM(APP_A, "rack", "")), {{"ns", APP_A, "", "n1"}}, 1, {NO_NEAR, NO_NEAR, NO_NEAR}},
        {"", NEAR(TERM(APP_A, "host", "")), {{"other", APP_A, "", "n1"}}, 1, {NO_NEAR, NO_NEAR, NO_NEAR}},
        {"", NEAR(TERM(APP_A, "host", ",\"namespaces\":[\"other\"]")), {{"other", APP_A, "", "n1"}}, 1, {"", NO_NEAR, NO_NEAR}},
        {"", NEAR(TERM(APP_A, "host", ",\"namespaceSelector\":{}")), {{"x", APP_A, "", "n2"}}, 1, {NO_NEAR, "", NO_NEAR}},
        {"",
         NEAR(TERM(APP_A, "host", ",\"namespaceSelector\":{\"matchLabels\":{\"team\":\"t\"}}")),
         {{"other", APP_A, "", "n1"}},
         1,
         {"", NO_NEAR, NO_NEAR}},
        {APP_A, NEAR(TERM(APP_A, "host", "")), {{0}}, 0, {"", "", ""}}, /* the first of its kind */
        {APP_B, NEAR(TERM(APP_A, "host", "")), {{0}}, 0, {NO_NEAR, NO_NEAR, NO_NEAR}},
        {"",
         NEAR(TERM(APP_A, "host", "") "," TERM(APP_B, "host", "")),
         {{"ns", APP_A, "", "n1"}, {"ns", APP_B, "", "n1"}},
         2,
         {NO_NEAR, NO_NEAR, NO_NEAR}}, /* one partner has to be all of them */
        {"", FAR(TERM(APP_A, "host", "")), {{"ns", APP_A, "", "n1"}}, 1, {NO_FAR, "", ""}},
        {"", FAR(TERM(APP_A, "zone", "")), {{"ns", APP_A, "", "n1"}}, 1, {NO_FAR, NO_FAR, ""}},
        {APP_A, "", {{"ns", "", FAR(TERM(APP_A, "zone", "")), "n3"}}, 1, {"", "", NO_THEIR}},
        {APP_B, "", {{"ns", "", FAR(TERM(APP_A, "zone", "")), "n3"}}, 1, {"", "", ""}},
        {"\"v\":\"2\"",
         FAR(TERM(APP_A, "host", ",\"matchLabelKeys\":[\"v\"]")),
         {{"ns", APP_A ",\"v\":\"1\"", "", "n1"}},
         1,
         {"", "", ""}},
        {APP_A, SPREAD("host", ""), {{"ns", APP_A, "", "n1"}}, 1, {NO_SKEW, "", ""}},
        {APP_A, SPREAD("zone", ""), {{"ns", APP_A, "", "n1"}}, 1, {NO_SKEW, NO_SKEW, ""}},
        {APP_B, SPREAD("zone", ""), {{"ns", APP_A, "", "n1"}}, 1, {"", "", ""}}, /* it does not count itself */
        {APP_A, SPREAD("zone", ""), {{"other", APP_A, "", "n1"}}, 1, {"", "", ""}},
        {APP_A, SPREAD("rack", ""), {{0}}, 0, {NO_KEY, NO_KEY, NO_KEY}},
        {APP_A,
         SPREAD("zone", ",\"minDomains\":3"),
         {{"ns", APP_A, "", "n1"}, {"ns", APP_A, "", "n3"}},
         2,
         {NO_SKEW, NO_SKEW, NO_SKEW}},
        {APP_A,
         "\"nodeSelector\":{\"zone\":\"x\"}," SPREAD("host", ""),
         {{"ns", APP_A, "", "n1"}, {"ns", APP_A, "", "n2"}},
         2,
         {"", "", ""}}, /* n3 is not one of those that count */
    };
    for (size_t i = 0; i < ARRAY_LEN(t); i++)
        run(t[i].labels, t[i].spec, t[i].there, t[i].n, t[i].want, i);
}

TEST_GROUP(affinity, cmocka_unit_test(rules))
