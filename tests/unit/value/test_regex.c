#include "unit.h"
#include "value/regex.h"

static void matching(void **state)
{
    static const struct {
        const char *pattern, *text;
        int hit;
    } cases[] = {
        {"a", "bab", 1},
        {"^a", "ba", 0},
        {"^a$", "a", 1},
        {"^a$", "a\n", 0},
        {"(?m)^a$", "b\na\n", 1},
        {"a\\z", "a", 1},
        {"a\\z", "a\n", 0},
        {"\\Aa", "a", 1},
        {"(?P<x>a)b", "ab", 1},
        {"(?<x>a)b", "ab", 1},
        {"(?i)AB", "ab", 1},
        {"(?:a|b)+c", "abac", 1},
        {"a.c", "a\nc", 0},
        {"(?s)a.c", "a\nc", 1},
        {"a{2,3}", "a", 0},
        {"a{2,3}", "aa", 1},
        {"a{,3}", "a{,3}", 1},
        {"a{x}", "a{x}", 1},
        {"{", "{", 1},
        {"}", "}", 1},
        {"[a-c]+", "b", 1},
        {"[^a]", "a", 0},
        {"[]a]", "]", 1},
        {"[^]a]", "]", 0},
        {"[[:alpha:]]", "x", 1},
        {"[[:^alpha:]]", "x", 0},
        {"[[]", "[", 1},
        {"\\d+", "12", 1},
        {"^\\w+$", "a_1", 1},
        {"\\pL", "\xc3\xa9", 1},
        {"\\p{Greek}", "\xce\xb1", 1},
        {"^.$", "\xc3\xa9", 1},
        {"\\x41", "A", 1},
        {"\\x{1F600}", "\xf0\x9f\x98\x80", 1},
        {"\\101", "A", 1},
        {"\\Qa.b\\E", "a.b", 1},
        {"\\Qa.b\\E", "axb", 0},
        {"\\s", "\v", 0},
        {"\\S", "\v", 1},
        {"[\\s]", " ", 1},
        {"[\\S]", " ", 0},
        {"^[\\S]$", "\xc3\xa9", 1},
        {"\\v", "\v", 1},
        {"\\v", "\n", 0},
        {"\\bfoo\\b", "a foo b", 1},
        {"", "x", 1},
        {"a|", "", 1},
        {"\\.", "a", 0},
        {"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$", "my-name", 1},
        {"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$", "my-", 0},
        {"a+?", "a", 1},
        {"(?-i)a", "a", 1},
        {"(?i:A)b", "ab", 1},
        {"\\-", "-", 1},
        {"\\\"", "\"", 1},
        {"a\\/b", "a/b", 1},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        ERR(e);
        struct regex *r = regex_compile(cases[i].pattern, &e);
        if (!r)
            fail_msg("%s: %s", cases[i].pattern, err_text(&e));
        if (regex_match(r, cases[i].text, strlen(cases[i].text), &e) != cases[i].hit)
            fail_msg("%s on '%s' %s", cases[i].pattern, cases[i].text, err_text(&e));
        regex_free(r);
    }
}

static void refused(void **state)
{
    static const char *const bad[] = {
        "(",         ")",         "a)",    "[",        "[a",         "*",      "+a",      "a**",         "a++",      "a*+",
        "a?+",       "a{2}{3}",   "a{2}*", "a{1001}",  "a{3,2}",     "(?=a)",  "(?!a)",   "(?<=a)",      "(?<!a)",   "(?>a)",
        "(?#c)",     "(?|a)",     "(?1)",  "(?R)",     "(?P=x)",     "(?P>x)", "(?'x'a)", "(?x)a",       "\\1",      "(a)\\1",
        "\\g1",      "\\k<x>",    "\\K",   "\\R",      "\\X",        "\\h",    "\\H",     "\\V",         "\\N",      "\\Z",
        "\\G",       "\\C",       "\\e",   "\\c",      "\\",         "\\x",    "\\x{}",   "\\x{110000}", "\\p{Foo}", "(*UTF)",
        "(*ACCEPT)", "[[:foo:]]", "[b-a]", "(?P<1>a)", "(?P<a-b>a)", "(?)",    "(?P<>a)", "\xff",        "\\_",
    };
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        ERR(e);
        struct regex *r = regex_compile(bad[i], &e);
        if (r && strcmp(bad[i], "\\_") != 0) /* RE2 takes \_ */
            fail_msg("'%s' was taken", bad[i]);
        if (!r)
            assert_int_equal(e.code, ERR_INVALID);
        regex_free(r);
    }
}

static void limits(void **state)
{
    ERR(e);
    struct regex *r = regex_compile("(a|aa)+[bc]$", &e);
    assert_non_null(r);
    char text[64];
    memset(text, 'a', sizeof text);
    assert_int_equal(regex_match(r, text, sizeof text, &e), -1);
    assert_non_null(strstr(err_text(&e), "steps"));
    regex_free(r);
    r = regex_compile("a", &e);
    assert_int_equal(regex_match(r, "\xff", 1, &e), -1);
    regex_free(r);
}

static void finding(void **state)
{
    ERR(e);
    struct regex *r = regex_compile("[0-9]+", &e);
    size_t s, t;
    assert_int_equal(regex_find(r, "ab12c345", 8, 0, &s, &t, &e), 1);
    assert_int_equal(s, 2);
    assert_int_equal(t, 4);
    assert_int_equal(regex_find(r, "ab12c345", 8, t, &s, &t, &e), 1);
    assert_int_equal(s, 5);
    assert_int_equal(regex_find(r, "ab12c345", 8, 8, &s, &t, &e), 0);
    assert_int_equal(regex_find(r, "ab12c345", 8, 9, &s, &t, &e), 0);
    regex_free(r);
}

/* Each place may begin a match that fails only at the end of the text; and many texts, each within its own bound. */
static void hostile_texts(void **state)
{
    ERR(e);
    struct regex *r = regex_compile("a[ab]*c[0-9]", &e);
    BUF(text);
    for (int i = 0; i < 1000000; i++)
        buf_addc(&text, 'a');
    buf_addc(&text, 'c');
    int64_t before = regex_spent_ns();
    assert_int_equal(regex_match(r, text.data, text.len, &e), -1);
    assert_int_equal(e.code, ERR_INVALID);
    assert_true(regex_spent_ns() - before < 5000000000LL);
    assert_true(regex_spent_ns() > before);
    buf_addc(&text, '7'); /* it matches at the first place */
    assert_int_equal(regex_match(r, text.data, text.len, &e), 1);
    regex_free(r);
}

/* Texts of many portions are searched to their end, and a character is never cut. */
static void long_texts(void **state)
{
    ERR(e);
    struct regex *r = regex_compile("\303\244b$", &e), *none = regex_compile("^x", &e), *end = regex_compile("$", &e);
    BUF(text);
    for (int i = 0; i < 100000; i++)
        buf_adds(&text, i % 3 ? "\xc3\xa4" : "x");
    size_t at = text.len, start, stop;
    assert_int_equal(regex_find(r, text.data, text.len, 0, &start, &stop, &e), 0);
    buf_adds(&text, "\xc3\xa4"
                    "b");
    assert_int_equal(regex_find(r, text.data, text.len, 0, &start, &stop, &e), 1);
    assert_int_equal(start, at);
    assert_int_equal(stop, text.len);
    assert_int_equal(regex_find(none, text.data, text.len, 1, &start, &stop, &e), 0);
    assert_int_equal(regex_find(end, text.data, text.len, 5, &start, &stop, &e), 1);
    assert_int_equal(start, text.len);
    regex_free(r);
    regex_free(none);
    regex_free(end);
}

TEST_GROUP(regex, cmocka_unit_test(hostile_texts), cmocka_unit_test(long_texts), cmocka_unit_test(matching),
           cmocka_unit_test(refused), cmocka_unit_test(limits), cmocka_unit_test(finding))
