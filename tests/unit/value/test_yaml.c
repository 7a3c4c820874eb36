#include "unit.h"
#include "value/yaml.h"

static void check_reads(const char *yaml, const char *json)
{
    ERR(e);
    JSON_REF(d) = yaml_parse_one(yaml, strlen(yaml), NULL, &e);
    if (!d)
        fail_msg("%s: %s", yaml, err_text(&e));
    JSON_REF(want) = json_parse_str(json, &e);
    assert_non_null(want);
    if (jv_equal(json_root(d), json_root(want)))
        return;
    char *got = jv_text(json_root(d), 0);
    fail_msg("%s\nread as %s\nnot as  %s", yaml, got, json);
}

static void check_refused(const char *yaml, const char *part)
{
    ERR(e);
    JSON_REF(d) = yaml_parse_one(yaml, strlen(yaml), NULL, &e);
    if (d)
        fail_msg("%s: was read, but should say '%s'", yaml, part);
    assert_int_equal(e.code, ERR_BAD_REQUEST);
    if (!strstr(err_text(&e), part))
        fail_msg("%s: says '%s', not '%s'", yaml, err_text(&e), part);
}

static void scalars(void **state)
{
    static const struct {
        const char *yaml, *json;
    } cases[] = {
        {"a", "\"a\""},
        {"~", "null"},
        {"null", "null"},
        {"Null", "null"},
        {"nULL", "\"nULL\""},
        {"true", "true"},
        {"True", "true"},
        {"tRue", "\"tRue\""},
        {"yes", "true"},
        {"No", "false"},
        {"on", "true"},
        {"OFF", "false"},
        {"y", "\"y\""},
        {"n", "\"n\""},
        {"Y", "\"Y\""},
        {"N", "\"N\""},
        {"'yes'", "\"yes\""},
        {"\"1\"", "\"1\""},
        {"0", "0"},
        {"-0", "0"},
        {"12", "12"},
        {"+12", "12"},
        {"-12", "-12"},
        {"1_000", "1000"},
        {"0x1F", "31"},
        {"-0x10", "-16"},
        {"0o17", "15"},
        {"017", "15"},
        {"0b101", "5"},
        {"-0b11", "-3"},
        {"08", "8"},
        {"09.5", "9.5"},
        {"9223372036854775807", "9223372036854775807"},
        {"18446744073709551615", "18446744073709551615"},
        {"18446744073709551616", "18446744073709551616"},
        {"1.5", "1.5"},
        {".5", "0.5"},
        {"1.", "1.0"},
        {"-1.25e3", "-1.25e3"},
        {"1e3", "1e3"},
        {"1E+2", "1E+2"},
        {"1_0.5", "10.5"},
        {"1.2.3", "\"1.2.3\""},
        {"1e", "\"1e\""},
        {"0x", "\"0x\""},
        {"0xZZ", "\"0xZZ\""},
        {".", "\".\""},
        {"+", "\"+\""},
        {"-", "[null]"},
        {"_1", "\"_1\""},
        {"._5", "\"._5\""},
        {".5_0", "\".5_0\""},
        {"12:30:45", "\"12:30:45\""},
        {"190:20", "\"190:20\""},
        {"2001-12-14", "\"2001-12-14\""},
        {"2001-12-14t21:59:43.10-05:00", "\"2001-12-14t21:59:43.10-05:00\""},
        {"1.10", "1.10"},
        {"=", "\"=\""},
        {"!!str 12", "\"12\""},
        {"!!int '12'", "12"},
        {"!!float '1'", "1"},
        {"!!bool 'no'", "false"},
        {"!!null ''", "null"},
        {"!foo 12", "\"12\""},
        {"! 12", "\"12\""},
        {"!!binary aGVsbG8=", "\"hello\""},
        {"!!binary |\n  aGVs\n  bG8=", "\"hello\""},
        {"!!timestamp 2001-12-14", "\"2001-12-14\""},
        {"\"\\u00e9\\x41\\U0001F600\"", "\"\\u00e9A\\ud83d\\ude00\""},
        {"|\n  a\n  b\n", "\"a\\nb\\n\""},
        {"|-\n  a\n", "\"a\""},
        {">\n  a\n  b\n", "\"a b\\n\""},
        {"inf", "\"inf\""},
        {"nan", "\"nan\""},
        {"0777", "511"},
        {"0o8", "\"0o8\""},
        {"1__0", "10"},
        {"500m", "\"500m\""},
        {"1Gi", "\"1Gi\""},
        {"10%", "\"10%\""},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        check_reads(cases[i].yaml, cases[i].json);
}

static void structure(void **state)
{
    check_reads("a: 1\nb: [x, 2, {c: d}]\n", "{\"a\":1,\"b\":[\"x\",2,{\"c\":\"d\"}]}");
    check_reads("a:\nb: ''\n", "{\"a\":null,\"b\":\"\"}");
    check_reads("- a\n- - b\n  - c\n-\n", "[\"a\",[\"b\",\"c\"],null]");
    check_reads("{\"a\": 1}", "{\"a\":1}");
    check_reads("{a: 1, 'b': [2,],}", "{\"a\":1,\"b\":[2]}");
    check_reads("{\"a\": yes}", "{\"a\":true}");
    check_reads("1: a\ntrue: b\n0x10: c\n~: d\n1.5: e\n",
                "{\"1\":\"a\",\"true\":\"b\",\"16\":\"c\",\"null\":\"d\",\"1.5\":\"e\"}");
    check_reads("? a\n: b\n", "{\"a\":\"b\"}");
    check_reads("--- # c\na: 1\n---\n", "{\"a\":1}");
    check_reads("%YAML 1.1\n---\na: 1\n...\n", "{\"a\":1}");
    check_reads("\xEF\xBB\xBFk: v\n", "{\"k\":\"v\"}");
    check_reads("---\n", "null");
}

static void anchors(void **state)
{
    check_reads("a: &x {k: 1}\nb: *x\n", "{\"a\":{\"k\":1},\"b\":{\"k\":1}}");
    check_reads("- &a 1\n- *a\n- &a 2\n- *a\n", "[1,1,2,2]");
    check_reads("base: &b {x: 1, y: 2}\nd:\n  <<: *b\n  y: 3\n", "{\"base\":{\"x\":1,\"y\":2},\"d\":{\"x\":1,\"y\":3}}");
    check_reads("base: &b {x: 1, y: 2}\nd:\n  y: 3\n  <<: *b\n", "{\"base\":{\"x\":1,\"y\":2},\"d\":{\"x\":1,\"y\":3}}");
    check_reads("- &a {x: 1}\n- &b {x: 2, y: 2}\n- {<<: [*a, *b], z: 3}\n",
                "[{\"x\":1},{\"x\":2,\"y\":2},{\"x\":1,\"y\":2,\"z\":3}]");
    check_reads("- &a {x: 1}\n- &b {<<: *a, y: 2}\n- <<: *b\n", "[{\"x\":1},{\"x\":1,\"y\":2},{\"x\":1,\"y\":2}]");
    check_reads("- {<<: {a: 1}}\n- {'<<': 2}\n", "[{\"a\":1},{\"<<\":2}]");
    check_refused("a: &a [*a]\n", "contains itself");
    check_refused("a: *nope\n", "unknown anchor 'nope'");
    check_refused("a: {<<: 1}\n", "merge key");
    check_refused("a: {<<: [1]}\n", "merge key");
    check_refused("a: &a {<<: *a}\n", "contains itself");
}

static void alias_bombs(void **state)
{
    BUF(b);
    buf_adds(&b, "a0: &a0 [x,x,x,x,x,x,x,x,x]\n");
    for (int i = 1; i < 12; i++) {
        buf_addf(&b, "a%d: &a%d [", i, i);
        for (int k = 0; k < 9; k++)
            buf_addf(&b, "%s*a%d", k ? "," : "", i - 1);
        buf_adds(&b, "]\n");
    }
    check_refused(b.data, "aliases expand to too much");
    buf_reset(&b);
    buf_adds(&b, "a0: &a0 {");
    for (int i = 0; i < 2000; i++)
        buf_addf(&b, "k%d: v, ", i);
    buf_adds(&b, "}\n");
    for (int i = 1; i < 2000; i++)
        buf_addf(&b, "a%d: &a%d {<<: *a%d, x%d: y}\n", i, i, i - 1, i);
    check_refused(b.data, "expand to too much");
    /* Depth that only comes about by aliases. */
    buf_reset(&b);
    buf_adds(&b, "- &a0 [x]\n");
    for (int i = 1; i < 600; i++)
        buf_addf(&b, "- &a%d [*a%d]\n", i, i - 1);
    check_refused(b.data, "deeper");
    buf_reset(&b);
    buf_adds(&b, "- &a0 {k: x}\n");
    for (int i = 1; i < 600; i++)
        buf_addf(&b, "- &a%d {<<: {k: *a%d}}\n", i, i - 1);
    check_refused(b.data, "deeper");
}

static void errors(void **state)
{
    check_refused("", "empty");
    check_refused("# only a comment\n", "empty");
    check_refused("a: 1\n---\nb: 2\n", "found 2");
    check_refused("a: b: c\n", "line 1, column 5");
    check_refused("a: 1\n b: 2\n", "line 2");
    check_refused("a: [1\n", "line 2");
    check_refused("a: \"x\n", "line");
    check_refused("\tx: 1\n", "line 1");
    check_refused("a: @x\n", "line 1, column 4");
    check_refused("[a]: 1\n", "a key must be a scalar");
    check_refused("\"\\0\": 1\n", "NUL");
    check_refused("a: .inf\n", "no JSON form");
    check_refused("a: \xff\n", "byte 3");
    check_refused("a: \x01\n", "byte 3");
    check_refused("!!int x", "cannot read 'x' as !!int");
    check_refused("!!int 1.5", "as !!int");
    check_refused("!!binary '*'", "base64");
    check_refused("{\"a\": 1,, }", "line 1");
    AUTOFREE char *deep = xmalloc(100001);
    memset(deep, '[', 100000);
    deep[100000] = 0;
    check_refused(deep, "d");
    /* Block sequences nest without libyaml's own limit on flow depth. */
    BUF(b);
    for (int i = 0; i < 3000; i++)
        buf_adds(&b, "- ");
    check_refused(b.data, "deeper than 512");
}

static void note_dup(void *self, const char *path) { buf_addf(self, "%s;", path); }

static void duplicates(void **state)
{
    BUF(seen);
    ERR(e);
    struct json_opts o = {.on_duplicate = note_dup, .self = &seen};
    const char *t = "a: 1\nb:\n- c: 1\n  c: 2\na: 3\n";
    JSON_REF(d) = yaml_parse_one(t, strlen(t), &o, &e);
    assert_non_null(d);
    assert_int_equal(jv_i64_or(jv_get(json_root(d), "a"), 0), 3);
    assert_non_null(strstr(buf_str(&seen), "b[0].c;"));
    assert_non_null(strstr(buf_str(&seen), "a;"));
    buf_reset(&seen);
    const char *merged = "- &a {x: 1}\n- {<<: *a, x: 2}\n";
    JSON_REF(d2) = yaml_parse_one(merged, strlen(merged), &o, &e);
    assert_non_null(d2);
    assert_int_equal(seen.len, 0);
}

static void many_documents(void **state)
{
    ERR(e);
    struct json **docs;
    size_t n;
    const char *t = "a: 1\n---\n- x\n---\n...\n---\nb\n";
    assert_int_equal(yaml_parse(t, strlen(t), NULL, &docs, &n, &e), 0);
    assert_int_equal(n, 4);
    assert_int_equal(jv_type(json_root(docs[2])), J_NULL);
    assert_string_equal(jv_str(json_root(docs[3])), "b");
    for (size_t i = 0; i < n; i++)
        json_unref(docs[i]);
    free(docs);
    const char *json = "{\"a\": \"\\ud83d\\ude00\"}"; /* surrogates are JSON's, not YAML's */
    assert_int_equal(yaml_parse(json, strlen(json), NULL, &docs, &n, &e), 0);
    assert_int_equal(n, 1);
    assert_string_equal(jv_str(jv_get(json_root(docs[0]), "a")), "\xf0\x9f\x98\x80");
    json_unref(docs[0]);
    free(docs);
    assert_int_equal(yaml_parse("", 0, NULL, &docs, &n, &e), 0);
    assert_int_equal(n, 0);
    free(docs);
    assert_int_equal(yaml_parse("a: 1\n---\n]", 10, NULL, &docs, &n, &e), -1);
    assert_non_null(strstr(err_text(&e), "line 3"));
    struct json_opts nan = {.allow_nan = true};
    JSON_REF(d) = yaml_parse_one("[.nan, -.inf]", 13, &nan, &e);
    assert_string_equal(jv_str(jv_at(json_root(d), 0)), "NaN");
    assert_string_equal(jv_str(jv_at(json_root(d), 1)), "-Infinity");
    struct json_opts shorts = {.short_bools = true};
    static const char text[] = "{n: [y, N, 'y', no, yn], Y: !!str n}";
    JSON_REF(s) = yaml_parse_one(text, strlen(text), &shorts, &e);
    BUF(out);
    jv_write(json_root(s), JW_COMPACT, &out);
    assert_string_equal(buf_str(&out), "{\"false\":[true,false,\"y\",false,\"yn\"],\"true\":\"n\"}");
}

static void writes(void **state)
{
    ERR(e);
    JSON_REF(d) = json_parse_str(
        "{\"kind\":\"Pod\",\"num\":1.50,\"l\":[{\"a\":\"x\",\"b\":[]},[1,[2]],\"t\\nu\\n\"],\"e\":{},\"s\":\"yes\"}", &e);
    BUF(out);
    yaml_write(json_root(d), &out);
    assert_string_equal(out.data,
                        "kind: Pod\nnum: 1.50\nl:\n- a: x\n  b: []\n- - 1\n  - - 2\n- |\n  t\n  u\ne: {}\ns: \"yes\"\n");
}

static void written_reads_back(void **state)
{
    static const char *const strings[] = {
        "",
        " ",
        "a",
        " a",
        "a ",
        "a: b",
        "a:",
        "a #b",
        "#a",
        "- a",
        "-",
        "--",
        "---",
        "--- a",
        "...",
        "?",
        "? a",
        ":",
        ": a",
        "!a",
        "&a",
        "*a",
        "%a",
        "@a",
        "`a",
        "[a",
        "{a",
        "|",
        ">",
        "'",
        "\"",
        "\\",
        "a\"b",
        "yes",
        "No",
        "y",
        "null",
        "~",
        "1",
        "1.5",
        "0x1f",
        "012",
        "1e3",
        "12:30",
        "2001-01-01",
        "1_0",
        ".5",
        ".inf",
        "=",
        "<<",
        "a\nb",
        "a\n",
        "a\n\n",
        "a\n\nb",
        "\na",
        " a\nb",
        "a\n b",
        "\n",
        "\n\n",
        "a\tb",
        "\ta\nb",
        "a\n\tb",
        "a\rb",
        "a\r\nb\r\n",
        "\x01",
        "\x7f",
        "\xc2\x85",
        "\xc2\xa0",
        "\xe2\x80\xa8",
        "\xef\xbb\xbf"
        "a",
        "\xc3\xa9",
        "\xf0\x9f\x98\x80",
        "a \nb ",
        "a  b",
        "key: |\n  x",
        "a, b",
        "a]",
        "/usr/bin",
        "x=y",
        "$(VAR)",
        "0o7",
        "a\xe2\x80\xa9\nb",
        "\xef\xbf\xbe",
        "true",
        "-1",
        "+1",
        "- ",
        "-a",
        "a'b",
        "trailing \\",
        "a\nb: c\n# d\n",
    };
    JM_NEW(m);
    jmval *root = jm_obj(m), *arr = jm_arr(m), *nested = jm_obj(m);
    for (size_t i = 0; i < ARRAY_LEN(strings); i++) {
        jm_push(arr, jm_str(m, strings[i]));
        jm_put(m, nested, strings[i], jm_str(m, strings[i]));
    }
    char longkey[1500];
    memset(longkey, 'k', sizeof longkey - 1);
    longkey[sizeof longkey - 1] = 0;
    jm_put(m, nested, longkey, jm_arr(m));
    longkey[0] = 'l';
    jm_push(jm_arr_at(m, nested, longkey), jm_str(m, "in a long key"));
    jm_put(m, root, "list", arr);
    jm_put(m, root, "map", nested);
    jm_set_root(m, root);
    JSON_REF(d) = jm_freeze(m);
    BUF(out);
    yaml_write(json_root(d), &out);
    ERR(e);
    JSON_REF(back) = yaml_parse_one(out.data, out.len, NULL, &e);
    if (!back)
        fail_msg("%s\n%s", err_text(&e), out.data);
    if (!jv_equal(json_root(d), json_root(back)))
        fail_msg("differs: %s\n%s", out.data, jv_text(json_root(back), 0));
    for (size_t i = 0; i < ARRAY_LEN(strings); i++) {
        JSON_REF(one) = json_from(jv_at(jv_get(json_root(d), "list"), i));
        buf_reset(&out);
        yaml_write(json_root(one), &out);
        JSON_REF(again) = yaml_parse_one(out.data, out.len, NULL, &e);
        if (!again || !jv_equal(json_root(one), json_root(again)))
            fail_msg("root string: %s", out.data);
    }
}

TEST_GROUP(yaml, cmocka_unit_test(scalars), cmocka_unit_test(structure), cmocka_unit_test(anchors), cmocka_unit_test(alias_bombs),
           cmocka_unit_test(errors), cmocka_unit_test(duplicates), cmocka_unit_test(many_documents), cmocka_unit_test(writes),
           cmocka_unit_test(written_reads_back))
