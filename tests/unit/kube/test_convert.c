/* The two faces of events. */
#include "unit.h"

#include "kube/wire/convert.h"
#include "kube/wire/decode.h"

static struct json *event(const struct kind *k, const char *text)
{
    ERR(e);
    struct json *d = decode_body(k, DECODE_JSON, FIELDS_STRICT, text, strlen(text), NULL, &e);
    assert_string_equal(err_text(&e), "");
    return d;
}

static void expect_text(const struct json *d, const char *want)
{
    AUTOFREE char *have = jv_text(json_root(d), JW_SORTED);
    assert_string_equal(have, want);
}

static void test_events(void **state)
{
    (void)state;
    const struct kind *shown = kind_by_gvk("events.k8s.io", "v1", "Event"), *core = kind_by_gvk("", "v1", "Event");
    assert_true(convert_needed(shown));
    assert_false(convert_needed(core));
    JSON_REF(d) = event(
        shown, "{\"metadata\":{\"name\":\"e\"},\"regarding\":{\"name\":\"x\"},\"eventTime\":\"2001-01-01T00:00:00.000000Z\","
               "\"reportingController\":\"c\",\"reportingInstance\":\"i\",\"action\":\"A\",\"reason\":\"R\",\"note\":\"hello\","
               "\"series\":{\"count\":2,\"lastObservedTime\":\"2001-01-01T00:00:01.000000Z\"}}");
    JSON_REF(stored) = convert_to_stored(shown, json_root(d));
    expect_text(stored,
                "{\"action\":\"A\",\"apiVersion\":\"v1\",\"eventTime\":\"2001-01-01T00:00:00.000000Z\",\"firstTimestamp\":null,"
                "\"involvedObject\":{\"name\":\"x\"},\"kind\":\"Event\",\"lastTimestamp\":null,\"message\":\"hello\","
                "\"metadata\":{\"name\":\"e\"},\"reason\":\"R\",\"reportingComponent\":\"c\",\"reportingInstance\":\"i\","
                "\"series\":{\"count\":2,\"lastObservedTime\":\"2001-01-01T00:00:01.000000Z\"},\"source\":{}}");
    JSON_REF(back) = convert_from_stored(shown, json_root(stored));
    assert_true(jv_equal(json_root(back), json_root(d)));
    JSON_REF(same) = convert_to_stored(core, json_root(stored));
    assert_true(jv_equal(json_root(same), json_root(stored)));
}

/* What was written in the old form, seen through the new one. */
static void test_old_events(void **state)
{
    (void)state;
    const struct kind *shown = kind_by_gvk("events.k8s.io", "v1", "Event"), *core = kind_by_gvk("", "v1", "Event");
    JSON_REF(d) =
        event(core, "{\"involvedObject\":{\"name\":\"x\"},\"message\":\"m\",\"source\":{\"component\":\"c\"},\"count\":3,"
                    "\"firstTimestamp\":\"2001-01-01T00:00:00Z\"}");
    JSON_REF(seen) = convert_from_stored(shown, json_root(d));
    expect_text(
        seen, "{\"apiVersion\":\"events.k8s.io/v1\",\"deprecatedCount\":3,\"deprecatedFirstTimestamp\":\"2001-01-01T00:00:00Z\","
              "\"deprecatedLastTimestamp\":null,\"deprecatedSource\":{\"component\":\"c\"},\"eventTime\":null,\"kind\":\"Event\","
              "\"metadata\":{},\"note\":\"m\",\"regarding\":{\"name\":\"x\"}}");
}

TEST_GROUP(convert, cmocka_unit_test(test_events), cmocka_unit_test(test_old_events))
