/* Unit tests of the start page: whatever stands in a run's name, it stays text. */
#include "unit.h"

#include "gateway/page.h"

static void test_escapes(void **state)
{
    JSON_REF(d) = json_parse_str("{\"version\":\"1\",\"pid\":7,\"uptime\":\"3s\",\"url\":\"http://x\",\"kubeconfig\":\"/k\","
                                 "\"parts\":[{\"name\":\"Node\",\"state\":\"NotReady\",\"ok\":false,\"detail\":\"a & b\"}],"
                                 "\"runs\":[{\"id\":\"1\",\"name\":\"<script>alert('x')</"
                                 "script>\",\"state\":\"FAILED\",\"created\":\"t\",\"took\":\"1s\"}]}",
                                 NULL);
    BUF(out);
    page_render(json_root(d), &out);
    assert_null(strstr(out.data, "<script"));
    assert_non_null(strstr(out.data, "&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt;"));
    assert_non_null(strstr(out.data, "a &amp; b"));
    assert_non_null(strstr(out.data, "process 7"));
    assert_non_null(strstr(out.data, "class=\"bad\">NotReady"));
}

static void test_no_runs(void **state)
{
    JSON_REF(d) = json_parse_str("{\"runs\":[]}", NULL);
    BUF(out);
    page_render(json_root(d), &out);
    assert_non_null(strstr(out.data, "None yet"));
}

TEST_GROUP(page, cmocka_unit_test(test_escapes), cmocka_unit_test(test_no_runs))
