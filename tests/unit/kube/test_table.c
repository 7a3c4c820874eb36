/* Tables: what kubectl shows. The rows were recorded from Kubernetes 1.34. */
#include "unit.h"

#include "base/ctx.h"
#include "base/str.h"
#include "kube/documents/table.h"

static void test_ages(void **state)
{
    (void)state;
    static const struct {
        int64_t seconds;
        const char *text;
    } cases[] = {
        {0, "0s"},
        {95, "95s"},
        {120, "2m"},
        {192, "3m12s"},
        {2700, "45m"},
        {18600, "5h10m"},
        {108000, "30h"},
        {273600, "3d4h"},
        {400 * 86400LL, "400d"},
        {(2 * 365 + 10) * 86400LL, "2y10d"},
        {9 * 365 * 86400LL, "9y"},
    };
    char out[AGE_TEXT];
    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        assert_string_equal(age_format(out, NS_PER_S, (cases[i].seconds + 1) * NS_PER_S), cases[i].text);
    assert_string_equal(age_format(out, 0, NS_PER_S), "<unknown>");
    assert_string_equal(age_format(out, 10 * NS_PER_S, NS_PER_S), "<invalid>");
}

static char *cells(const char *group, const char *kind, const char *object)
{
    BUF(b);
    ERR(e);
    JSON_REF(d) = json_parse_str(object, &e);
    if (!d)
        fail_msg("%s: %s", object, err_text(&e));
    jval *items[] = {json_root(d)};
    struct table_list_meta meta = {.resource_version = "7", .remaining = -1};
    table_write(table_columns_of(group, kind), items, 1, TABLE_NONE, &meta, true, 100 * NS_PER_S, &b);
    JSON_REF(table) = json_parse(b.data, b.len, NULL, &e);
    if (!table)
        fail_msg("%s: %s", buf_str(&b), err_text(&e));
    jval *row = jv_path(json_root(table), "rows", "0", NULL);
    assert_int_equal(jv_len(jv_get(row, "cells")), jv_len(jv_get(json_root(table), "columnDefinitions")));
    assert_true(jv_is(jv_get(row, "object"), J_NULL));
    return jv_text(jv_get(row, "cells"), JW_COMPACT);
}

static void test_rows(void **state)
{
    (void)state;
#define META "\"metadata\":{\"name\":\"p\",\"creationTimestamp\":\"1970-01-01T00:00:40Z\"}"
#define ONE  "\"spec\":{\"nodeName\":\"n\",\"containers\":[{\"name\":\"c\"}]}"
#define TWO  "\"spec\":{\"nodeName\":\"n\",\"containers\":[{\"name\":\"c\"},{\"name\":\"d\"}]}"
#define ROW(ready, status, restarts)                                                                                             \
    "[\"p\",\"" ready "\",\"" status "\",\"" restarts "\",\"60s\",\"<none>\",\"n\",\"<none>\",\"<none>\"]"
    static const struct {
        const char *group, *kind, *object, *cells;
    } cases[] = {
        {"", "Pod", "{" META "," ONE ",\"status\":{\"phase\":\"Pending\"}}", ROW("0/1", "Pending", "0")},
        {"", "Pod",
         "{" META "," ONE ",\"status\":{\"phase\":\"Running\",\"containerStatuses\":[{\"name\":\"c\",\"restartCount\":3,"
         "\"state\":{\"waiting\":{\"reason\":"
         "\"CrashLoopBackOff\"}},\"lastState\":{\"terminated\":{\"finishedAt\":\"1970-01-01T00:01:30Z\"}}}]}}",
         ROW("0/1", "CrashLoopBackOff", "3 (10s ago)")},
        {"", "Pod",
         "{" META "," ONE ",\"status\":{\"phase\":\"Failed\",\"containerStatuses\":[{\"name\":\"c\",\"state\":{\"terminated\":{"
         "\"exitCode\":3}}}]}}",
         ROW("0/1", "ExitCode:3", "0")},
        {"", "Pod",
         "{" META "," TWO
         ",\"status\":{\"phase\":\"Running\",\"conditions\":[{\"type\":\"Ready\",\"status\":\"True\"}],\"containerStatuses\":["
         "{\"name\":\"c\",\"state\":{\"terminated\":{\"exitCode\":0,\"reason\":\"Completed\"}}},{\"name\":\"d\",\"ready\":true,"
         "\"state\":{\"running\":{}}}]}}",
         ROW("1/2", "Running", "0")},
        {"", "Pod",
         "{" META "," TWO ",\"status\":{\"phase\":\"Running\",\"containerStatuses\":[{\"name\":\"c\",\"state\":{\"terminated\":{"
         "\"exitCode\":0,\"reason\":"
         "\"Completed\"}}},{\"name\":\"d\",\"ready\":true,\"state\":{\"running\":{}}}]}}",
         ROW("1/2", "NotReady", "0")},
        {"", "Pod",
         "{" META ",\"spec\":{\"nodeName\":\"n\",\"containers\":[{\"name\":\"c\"}],\"initContainers\":[{\"name\":\"i\"},{"
         "\"name\":\"j\"}]},\"status\":{\"phase\":"
         "\"Pending\",\"initContainerStatuses\":[{\"name\":\"i\",\"state\":{\"terminated\":{\"exitCode\":0}}},{\"name\":\"j\","
         "\"state\":{\"running\":{}}}]}}",
         ROW("0/1", "Init:1/2", "0")},
        {"", "Pod",
         "{" META ",\"spec\":{\"nodeName\":\"n\",\"containers\":[{\"name\":\"c\"}],\"initContainers\":[{\"name\":\"i\"}]},"
         "\"status\":{\"phase\":\"Pending\","
         "\"initContainerStatuses\":[{\"name\":\"i\",\"state\":{\"terminated\":{\"exitCode\":137,\"signal\":9}}}]}}",
         ROW("0/1", "Init:Signal:9", "0")},
        {"", "Pod",
         "{\"metadata\":{\"name\":\"p\",\"creationTimestamp\":\"1970-01-01T00:00:40Z\",\"deletionTimestamp\":\"1970-01-01T00:01:"
         "00Z\"}," ONE ",\"status\":{\"phase\":"
         "\"Running\"}}",
         ROW("0/1", "Terminating", "0")},
        {"", "ConfigMap", "{" META ",\"data\":{\"x\":\"1\",\"y\":\"2\"},\"binaryData\":{\"z\":\"aGk=\"}}", "[\"p\",3,\"60s\"]"},
        {"", "Node",
         "{\"metadata\":{\"name\":\"n\",\"creationTimestamp\":\"1970-01-01T00:00:40Z\",\"labels\":{\"node-role.kubernetes.io/"
         "x\":\"\","
         "\"node-role.kubernetes.io/"
         "worker\":\"\"}},\"spec\":{\"unschedulable\":true},\"status\":{\"conditions\":[{\"type\":\"Ready\",\"status\":\"True\"}]"
         ","
         "\"nodeInfo\":{\"kubeletVersion\":\"v1\"},\"addresses\":[{\"type\":\"InternalIP\",\"address\":\"1.2.3.4\"}]}}",
         "[\"n\",\"Ready,SchedulingDisabled\",\"worker,x\",\"60s\",\"v1\",\"1.2.3.4\",\"<none>\",\"<unknown>\",\"<unknown>\",\"<"
         "unknown>\"]"},
        {"", "Event",
         "{\"metadata\":{\"name\":\"e\"},\"involvedObject\":{\"kind\":\"Pod\",\"name\":\"x\",\"fieldPath\":\"spec.containers{c}"
         "\"},\"reason\":\"R\",\"message\":"
         "\" a message \",\"type\":\"Warning\",\"source\":{\"component\":\"src\",\"host\":\"h\"},\"count\":4}",
         "[\"<unknown>\",\"Warning\",\"R\",\"pod/x\",\"spec.containers{c}\",\"src, h\",\"a message\",\"<unknown>\",4,\"e\"]"},
        {"rbac.authorization.k8s.io", "Role", "{" META "}", "[\"p\",\"1970-01-01T00:00:40Z\"]"},
        {"rbac.authorization.k8s.io", "RoleBinding",
         "{" META ",\"roleRef\":{\"kind\":\"ClusterRole\",\"name\":\"view\"},\"subjects\":[{\"kind\":\"User\",\"name\":\"u\"},"
         "{\"kind\":\"ServiceAccount\",\"namespace\":\"n\",\"name\":\"s\"},{\"kind\":\"User\",\"name\":\"v\"}]}",
         "[\"p\",\"ClusterRole/view\",\"60s\",\"u, v\",\"\",\"n/s\"]"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        AUTOFREE char *got = cells(cases[i].group, cases[i].kind, cases[i].object);
        if (!str_eq(got, cases[i].cells))
            fail_msg("%s:\n  want %s\n  got  %s", cases[i].object, cases[i].cells, got);
    }
}

static void test_custom_columns(void **state)
{
    (void)state;
    JSON_REF(defs) =
        json_parse_str("[{\"name\":\"N\",\"type\":\"integer\",\"jsonPath\":\".spec.n\"},{\"name\":\"S\",\"type\":\"string\","
                       "\"jsonPath\":\".spec.list[*].a\"},"
                       "{\"name\":\"D\",\"type\":\"date\",\"jsonPath\":\".metadata.creationTimestamp\",\"priority\":1},{\"name\":"
                       "\"X\",\"type\":\"integer\","
                       "\"jsonPath\":\".spec.text\"},{\"name\":\"M\",\"type\":\"string\",\"jsonPath\":\".spec.none\"}]",
                       NULL);
    JSON_REF(o) = json_parse_str("{" META ",\"spec\":{\"n\":5,\"text\":\"t\",\"list\":[{\"a\":\"x\"},{\"a\":\"y\"}]}}", NULL);
    struct table_columns *c = table_columns_new(json_root(defs));
    jval *items[] = {json_root(o)};
    struct table_list_meta meta = {.resource_version = "7", .continue_token = "more", .remaining = 3};
    BUF(b);
    table_write(c, items, 1, TABLE_METADATA, &meta, true, 100 * NS_PER_S, &b);
    JSON_REF(table) = json_parse(b.data, b.len, NULL, NULL);
    assert_non_null(table);
    AUTOFREE char *got = jv_text(jv_path(json_root(table), "rows", "0", "cells", NULL), JW_COMPACT);
    assert_string_equal(got, "[\"p\",5,\"x,y\",\"60s\",null,null]");
    assert_string_equal(jv_str(jv_path(json_root(table), "rows", "0", "object", "kind", NULL)), "PartialObjectMetadata");
    assert_string_equal(jv_str(jv_path(json_root(table), "metadata", "continue", NULL)), "more");
    assert_int_equal(jv_i64_or(jv_path(json_root(table), "columnDefinitions", "3", "priority", NULL), 0), 1);
    table_columns_free(c);
    enum table_include inc;
    assert_int_equal(table_include_parse("Object", &inc), 0);
    assert_int_equal(inc, TABLE_OBJECT);
    assert_int_equal(table_include_parse(NULL, &inc), 0);
    assert_int_equal(table_include_parse("Nope", &inc), -1);
}

TEST_GROUP(table, cmocka_unit_test(test_ages), cmocka_unit_test(test_rows), cmocka_unit_test(test_custom_columns))
