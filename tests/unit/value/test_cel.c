/* The language and its standard library, after the tables of the CEL specification's conformance tests. */
#include "cel_check.h"

static const char data[] = "{\"x\":{\"a\":1,\"s\":\"text\",\"l\":[1,2,3],\"d\":1.5,\"b\":true,\"n\":null,\"m\":{\"k\":\"v\"},"
                           "\"big\":9223372036854775807,"
                           "\"u\":\"\\u00e9t\\u00e9\",\"namespace\":\"ns\",\"a.b\":1,\"c-d\":2,\"e/"
                           "f\":3,\"g__h\":4},\"y\":[{\"n\":\"a\",\"v\":1},{\"n\":\"b\",\"v\":2}],"
                           "\"i\":7,\"empty\":{}}";

static void literals(void **state)
{
    static const struct cel_case cases[] = {
        {"1", "1", NULL},
        {"-1", "-1", NULL},
        {"--1", "1", NULL},
        {"---1", "-1", NULL},
        {"0x1F", "31", NULL},
        {"-0x10", "-16", NULL},
        {"7u", "7", NULL},
        {"0xFFu", "255", NULL},
        {"1.5", "1.5", NULL},
        {".5", "0.5", NULL},
        {"1e3", "1000", NULL},
        {"-1.5e-3", "-0.0015", NULL},
        {"true", "true", NULL},
        {"null", "null", NULL},
        {"'a'", "\"a\"", NULL},
        {"\"a'b\"", "\"a'b\"", NULL},
        {"'a\\'b'", "\"a'b\"", NULL},
        {"r'a\\n'", "\"a\\\\n\"", NULL},
        {"'''a\n'b'''", "\"a\\n'b\"", NULL},
        {"''''''", "\"\"", NULL},
        {"''", "\"\"", NULL},
        {"'\\x41\\u00e9\\U0001F600\\101'", "\"A\\u00e9\\ud83d\\ude00A\"", NULL},
        {"'\\a\\b\\f\\n\\r\\t\\v\\\\\\?\\`'", "\"\\u0007\\b\\f\\n\\r\\t\\u000b\\\\?`\"", NULL},
        {"b'abc'", "\"YWJj\"", NULL},
        {"b'\\xff'", "\"/w==\"", NULL},
        {"rb'\\x'", "\"XHg=\"", NULL},
        {"[]", "[]", NULL},
        {"[1, 'a', [true],]", "[1,\"a\",[true]]", NULL},
        {"{}", "{}", NULL},
        {"{'a': 1, 'b': [2]}", "{\"a\":1,\"b\":[2]}", NULL},
        {"{1: 'a', true: 'b', 2u: 'c'}", "{\"1\":\"a\",\"true\":\"b\",\"2\":\"c\"}", NULL},
        {"1 // comment\n + 2", "3", NULL},
        {"9223372036854775807", "9223372036854775807", NULL},
        {"-9223372036854775808", "-9223372036854775808", NULL},
        {"18446744073709551615u", "18446744073709551615", NULL},
        {"(((1)))", "1", NULL},
        {"9223372036854775808", NULL, "out of the range of int"},
        {"18446744073709551616u", NULL, "no uint"},
        {"'a", NULL, "1:1: string literal is not closed"},
        {"'\\z'", NULL, "1:2: bad escape"},
        {"'\\ud800'", NULL, "bad escape"},
        {"'\\x4'", NULL, "bad escape"},
        {"b'\\u0041'", NULL, "bad escape"},
        {"1a", NULL, "bad number"},
        {"0x", NULL, "bad number"},
        {"1e", NULL, "bad number"},
        {"", NULL, "empty"},
        {"  ", NULL, "empty"},
        {"1 +", NULL, "1:4: the expression ends"},
        {"1 2", NULL, "1:3: unexpected '2'"},
        {"(1", NULL, "')'"},
        {"[1", NULL, "']'"},
        {"{1", NULL, "':'"},
        {"{'a':1", NULL, "'}'"},
        {"a b", NULL, "undeclared reference to 'a'"},
        {"1 = 2", NULL, "1:3: unexpected '='"},
        {"@", NULL, "unexpected '@'"},
        {"for", NULL, "reserved word"},
        {"x.", NULL, "the name of a field"},
        {"\n\n  bogus", NULL, "3:3: undeclared reference to 'bogus'"},
        {"'\xc3\xa9' + bogus", NULL, "1:7: undeclared"},
        {"{'a': 1, 'a': 2}", NULL, "repeated key"},
        {"{1.5: 1}", NULL, "unsupported key type"},
        {"x{a: 1}", NULL, "messages cannot be built"},
        {"!-1", NULL, "unexpected '-'"},
        {"1 ? 2", NULL, "':'"},
    };
    cel_check(cases, ARRAY_LEN(cases), data, 0);
}

static void operators(void **state)
{
    static const struct cel_case cases[] = {
        {"1 + 2 * 3", "7", NULL},
        {"(1 + 2) * 3", "9", NULL},
        {"10 - 2 - 3", "5", NULL},
        {"7 / 2", "3", NULL},
        {"-7 / 2", "-3", NULL},
        {"7 % 3", "1", NULL},
        {"-7 % 3", "-1", NULL},
        {"7u / 2u", "3", NULL},
        {"1.5 + 1.5", "3", NULL},
        {"1.0 / 4.0", "0.25", NULL},
        {"1.0 / 0.0", "\"Infinity\"", NULL},
        {"'a' + 'b'", "\"ab\"", NULL},
        {"[1] + [2]", "[1,2]", NULL},
        {"b'a' + b'b'", "\"YWI=\"", NULL},
        {"-x.a", "-1", NULL},
        {"!x.b", "false", NULL},
        {"!!x.b", "true", NULL},
        {"!!!x.b", "false", NULL},
        {"1 == 1.0", "true", NULL},
        {"1 == 1u", "true", NULL},
        {"1u == 1.0", "true", NULL},
        {"1 == 'a'", "false", NULL},
        {"1 != 'a'", "true", NULL},
        {"null == null", "true", NULL},
        {"null == 0", "false", NULL},
        {"[1, 2.0] == [1.0, 2]", "true", NULL},
        {"[1] == [1, 2]", "false", NULL},
        {"{'a': 1} == {'a': 1.0}", "true", NULL},
        {"{'a': 1, 'b': 2} == {'b': 2, 'a': 1}", "true", NULL},
        {"{'a': 1} == {'b': 1}", "false", NULL},
        {"x.m == {'k': 'v'}", "true", NULL},
        {"{'k': 'v'} == x.m", "true", NULL},
        {"x.l == [1, 2, 3]", "true", NULL},
        {"0.0/0.0 == 0.0/0.0", "false", NULL},
        {"0.0/0.0 != 0.0/0.0", "true", NULL},
        {"0.0/0.0 < 1.0", "false", NULL},
        {"1 < 2", "true", NULL},
        {"1 < 1.5", "true", NULL},
        {"2u > 1.5", "true", NULL},
        {"-1 < 1u", "true", NULL},
        {"9223372036854775807 < 9223372036854775808.0", "false", NULL},
        {"9223372036854775807 < 9223372036854777856.0", "true", NULL},
        {"-1.0 < 0u", "true", NULL},
        {"0u > -1.0", "true", NULL},
        {"1e300 > 18446744073709551615u", "true", NULL},
        {"9223372036854775807 >= 9223372036854775808.0", "true", NULL},
        {"9007199254740993 == 9007199254740994", "false", NULL},
        {"'a' < 'b'", "true", NULL},
        {"'a' < 'ab'", "true", NULL},
        {"b'a' < b'b'", "true", NULL},
        {"false < true", "true", NULL},
        {"'a' >= 'a'", "true", NULL},
        {"1 <= 1", "true", NULL},
        {"1 in [1, 2]", "true", NULL},
        {"1.0 in [1, 2]", "true", NULL},
        {"3 in [1, 2]", "false", NULL},
        {"'a' in {'a': 1}", "true", NULL},
        {"'k' in x.m", "true", NULL},
        {"'z' in x.m", "false", NULL},
        {"1 in {1: 2}", "true", NULL},
        {"1.0 in {1: 2}", "true", NULL},
        {"true ? 1 : 2", "1", NULL},
        {"false ? 1 : true ? 2 : 3", "2", NULL},
        {"true ? 1 : 1/0", "1", NULL},
        {"true && false", "false", NULL},
        {"true || false", "true", NULL},
        {"false && 1/0 > 0", "false", NULL},
        {"1/0 > 0 && false", "false", NULL},
        {"1/0 > 0 || true", "true", NULL},
        {"true || x.zz", "true", NULL},
        {"1 && false", "false", NULL},
        {"'a' || true", "true", NULL},
        {"true && true && true && false", "false", NULL},
        {"false || false || true", "true", NULL},
        {"true || false && false", "true", NULL},
        {"1 + 1 == 2 && 'a' + 'b' == 'ab'", "true", NULL},
        {"9223372036854775807 + 1", NULL, "integer overflow"},
        {"-9223372036854775808 - 1", NULL, "overflow"},
        {"9223372036854775807 * 2", NULL, "overflow"},
        {"-(-9223372036854775808)", NULL, "overflow"},
        {"-9223372036854775808 / -1", NULL, "overflow"},
        {"0u - 1u", NULL, "unsigned integer overflow"},
        {"1 / 0", NULL, "division by zero"},
        {"1 % 0", NULL, "modulus by zero"},
        {"1u / 0u", NULL, "division by zero"},
        {"1 + 1.0", NULL, "no such overload: int + double"},
        {"1 + 'a'", NULL, "no such overload"},
        {"1.0 % 2.0", NULL, "no such overload"},
        {"'a' < 1", NULL, "no such overload: string < int"},
        {"[1] < [2]", NULL, "no such overload"},
        {"null < null", NULL, "no such overload"},
        {"!1", NULL, "no such overload"},
        {"-'a'", NULL, "no such overload"},
        {"-1u", NULL, "no such overload"},
        {"1 ? 2 : 3", NULL, "no such overload"},
        {"1 && true", NULL, "no such overload"},
        {"1/0 > 0 && true", NULL, "division by zero"},
        {"false || 1/0 > 0", NULL, "division by zero"},
        {"1 in 'abc'", NULL, "no such overload: int in string"},
    };
    cel_check(cases, ARRAY_LEN(cases), data, 0);
}

static void selection(void **state)
{
    static const struct cel_case cases[] = {
        {"x.a", "1", NULL},
        {"x.m.k", "\"v\"", NULL},
        {"x['a']", "1", NULL},
        {"x.l[0]", "1", NULL},
        {"x.l[2u]", "3", NULL},
        {"x.l[1.0]", "2", NULL},
        {"[1, 2][1]", "2", NULL},
        {"{'a': 1}.a", "1", NULL},
        {"{1: 'x'}[1]", "\"x\"", NULL},
        {"{1: 'x'}[1.0]", "\"x\"", NULL},
        {"y[0].n + y[1].n", "\"ab\"", NULL},
        {"has(x.a)", "true", NULL},
        {"has(x.zz)", "false", NULL},
        {"has(x.m.k)", "true", NULL},
        {"has({'a': 1}.a)", "true", NULL},
        {"has(x.n)", "true", NULL},
        {"x.n == null", "true", NULL},
        {"x.namespace", "\"ns\"", NULL},
        {"x.`a.b`", "1", NULL},
        {"has(x.`c-d`)", "true", NULL},
        {".i", "7", NULL},
        {"x.d", "1.5", NULL},
        {"x.big", "9223372036854775807", NULL},
        {"x.l", "[1,2,3]", NULL},
        {"type(x.a) == int", "true", NULL},
        {"type(x.d) == double", "true", NULL},
        {"x.zz", NULL, "no such key: zz"},
        {"x['zz']", NULL, "no such key: zz"},
        {"x.l[3]", NULL, "index out of bounds: 3"},
        {"x.l[-1]", NULL, "index out of bounds: -1"},
        {"x.l[0.5]", NULL, "no integer"},
        {"x.l['a']", NULL, "no such overload"},
        {"x.l.a", NULL, "no such overload: a list has no field 'a'"},
        {"x.a.b", NULL, "no field 'b'"},
        {"x.zz.a", NULL, "no such key: zz"},
        {"has(x.zz.a)", NULL, "no such key: zz"},
        {"has(x)", NULL, "invalid argument to has()"},
        {"has(x['a'])", NULL, "invalid argument to has()"},
        {"has(x.a, 1)", NULL, "')'"},
        {"{1: 2}[3]", NULL, "no such key: 3"},
        {"x.a()", NULL, "1:3: undeclared reference to 'a': there is no such method"},
        {"foo(1)", NULL, "1:1: undeclared reference to 'foo': there is no such function"},
        {"x.foo.bar(1)", NULL, "1:7: undeclared reference to 'bar'"},
        {"size()", NULL, "no matching overload for 'size' with 0 arguments"},
        {"size(1, 2)", NULL, "with 2 arguments"},
        {"size(1)", NULL, "no such overload: size(int)"},
        {"foo.bar", NULL, "undeclared reference to 'foo'"},
        {"foo.bar(1)", NULL, "undeclared reference to 'foo'"},
    };
    cel_check(cases, ARRAY_LEN(cases), data, 0);
    static const struct cel_case escaped[] = {
        {"x.__namespace__", "\"ns\"", NULL}, {"x.a__dot__b", "1", NULL},         {"x.c__dash__d", "2", NULL},
        {"x.e__slash__f", "3", NULL},        {"x.g__underscores__h", "4", NULL}, {"has(x.a__dot__b)", "true", NULL},
    };
    cel_check(escaped, ARRAY_LEN(escaped), data, CHECK_KUBERNETES);
}

static void macros(void **state)
{
    static const struct cel_case cases[] = {
        {"[1, 2, 3].all(v, v > 0)", "true", NULL},
        {"[1, 2, 3].all(v, v > 1)", "false", NULL},
        {"[].all(v, false)", "true", NULL},
        {"[1, 2].exists(v, v == 2)", "true", NULL},
        {"[].exists(v, true)", "false", NULL},
        {"[1, 2, 2].exists_one(v, v == 2)", "false", NULL},
        {"[1, 2].exists_one(v, v == 2)", "true", NULL},
        {"[1, 2].map(v, v * 2)", "[2,4]", NULL},
        {"[1, 2, 3].map(v, v > 1, v * 2)", "[4,6]", NULL},
        {"[1, 2, 3].filter(v, v % 2 == 1)", "[1,3]", NULL},
        {"x.m.map(k, k)", "[\"k\"]", NULL},
        {"{'a': 1, 'b': 2}.all(k, k in ['a', 'b'])", "true", NULL},
        {"{'a': 1, 'b': 2}.filter(k, k == 'a')", "[\"a\"]", NULL},
        {"y.map(e, e.v)", "[1,2]", NULL},
        {"y.exists(e, e.n == 'b' && e.v == 2)", "true", NULL},
        {"y.filter(e, e.v > 1)[0].n", "\"b\"", NULL},
        {"x.l.map(a, x.l.filter(b, b < a))", "[[],[1],[1,2]]", NULL},
        {"x.l.map(v, x.l.map(v, v * 2))[0]", "[2,4,6]", NULL},
        {"[1, 0].exists(v, 1 / v == 1)", "true", NULL},
        {"[0, 1].exists(v, 1 / v == 1)", "true", NULL},
        {"[0, 1].all(v, 1 / v != 1)", "false", NULL},
        {"[1].map(x, x + 1)", "[2]", NULL},
        {"[3, 4].all(i, v, v == i + 3)", "true", NULL},
        {"x.m.exists(k, v, k == 'k' && v == 'v')", "true", NULL},
        {"[1, 1].existsOne(i, v, i == 1)", "true", NULL},
        {"[3, 4].transformList(i, v, i * v)", "[0,4]", NULL},
        {"[3, 4].transformList(i, v, i > 0, v)", "[4]", NULL},
        {"{'a': 1}.transformMap(k, v, v + 1)", "{\"a\":2}", NULL},
        {"{'a': 1, 'b': 2}.transformMap(k, v, v > 1, v)", "{\"b\":2}", NULL},
        {"cel.bind(v, 3, v * v)", "9", NULL},
        {"cel.bind(v, x.l, v.all(w, w in v))", "true", NULL},
        {"[1, 2].all(a, [3].all(b, b > a))", "true", NULL},
        {"[1].all(v, 1)", NULL, "gives int, not bool"},
        {"[0].all(v, 1 / v > 0)", NULL, "division by zero"},
        {"1.all(v, true)", NULL, "ranges over"},
        {"x.a.all(v, true)", NULL, "ranges over a list or a map"},
        {"[1].all(1, true)", NULL, "the name of the macro's variable"},
        {"[1].all(v)", NULL, "','"},
        {"[1].map(v, v, v, v)", NULL, "')'"},
        {"[1].all(v, w)", NULL, "undeclared reference to 'w'"},
        {"[1].map(v, v) + [v]", NULL, "undeclared reference to 'v'"},
        {"[0, 1].exists_one(v, 1 / v == 1)", NULL, "division by zero"},
        {"[1].all(for, true)", NULL, "variable"},
    };
    cel_check(cases, ARRAY_LEN(cases), data, 0);
}

static void conversions(void **state)
{
    static const struct cel_case cases[] = {
        {"int(1.9)", "1", NULL},
        {"int(-1.9)", "-1", NULL},
        {"int('12')", "12", NULL},
        {"int('-12')", "-12", NULL},
        {"int(5u)", "5", NULL},
        {"int(timestamp('1970-01-01T00:01:00Z'))", "60", NULL},
        {"uint(3)", "3", NULL},
        {"uint('7')", "7", NULL},
        {"uint(3.9)", "3", NULL},
        {"double(1)", "1.0", NULL},
        {"double('1.5')", "1.5", NULL},
        {"double('-1e3')", "-1000", NULL},
        {"double('NaN')", "\"NaN\"", NULL},
        {"string(1)", "\"1\"", NULL},
        {"string(-1)", "\"-1\"", NULL},
        {"string(7u)", "\"7\"", NULL},
        {"string(1.5)", "\"1.5\"", NULL},
        {"string(1.0)", "\"1\"", NULL},
        {"string(1e20)", "\"100000000000000000000\"", NULL},
        {"string(0.1)", "\"0.1\"", NULL},
        {"string(1.5e-7)", "\"0.00000015\"", NULL},
        {"string(123.456)", "\"123.456\"", NULL},
        {"string(-0.25)", "\"-0.25\"", NULL},
        {"string(100.0)", "\"100\"", NULL},
        {"string(0.0)", "\"0\"", NULL},
        {"string(true)", "\"true\"", NULL},
        {"string(b'abc')", "\"abc\"", NULL},
        {"string('a')", "\"a\"", NULL},
        {"bytes('abc')", "\"YWJj\"", NULL},
        {"bool('true')", "true", NULL},
        {"bool('False')", "false", NULL},
        {"bool(true)", "true", NULL},
        {"dyn(1)", "1", NULL},
        {"type(1) == int", "true", NULL},
        {"type('') == string", "true", NULL},
        {"type(1u) == uint", "true", NULL},
        {"type([]) == list", "true", NULL},
        {"type({}) == map", "true", NULL},
        {"type(null) == null_type", "true", NULL},
        {"type(type(1)) == type", "true", NULL},
        {"type(1) == double", "false", NULL},
        {"type(timestamp(0)) == google.protobuf.Timestamp", "true", NULL},
        {"type(duration('1s')) == google.protobuf.Duration", "true", NULL},
        {"type(optional.none()) == optional_type", "true", NULL},
        {"type(b'') == bytes", "true", NULL},
        {"size('\xc3\xa9t\xc3\xa9')", "3", NULL},
        {"x.u.size()", "3", NULL},
        {"size(b'\xc3\xa9')", "2", NULL},
        {"size([1, 2])", "2", NULL},
        {"size({'a': 1})", "1", NULL},
        {"x.l.size()", "3", NULL},
        {"size(empty)", "0", NULL},
        {"'abc'.contains('b')", "true", NULL},
        {"'abc'.contains('')", "true", NULL},
        {"'abc'.startsWith('ab')", "true", NULL},
        {"'abc'.endsWith('bc')", "true", NULL},
        {"'abc'.endsWith('abcd')", "false", NULL},
        {"'abc'.matches('^a.c$')", "true", NULL},
        {"matches('abc', 'b')", "true", NULL},
        {"'abc'.matches(x.s)", "false", NULL},
        {"'a' + string(1 + 1)", "\"a2\"", NULL},
        {"9223372036854775807 == int(9223372036854774784.0) + 1023", "true", NULL},
        {"int('a')", NULL, "type conversion error: 'a' is no int"},
        {"int('')", NULL, "no int"},
        {"int(' 1')", NULL, "no int"},
        {"int('1.5')", NULL, "no int"},
        {"int('9223372036854775808')", NULL, "no int"},
        {"int(1e19)", NULL, "range error"},
        {"int(9223372036854775808.0)", NULL, "range error"},
        {"int(0.0 / 0.0)", NULL, "range error"},
        {"int(true)", NULL, "no such overload: int(bool)"},
        {"int(18446744073709551615u)", NULL, "range error"},
        {"uint(-1)", NULL, "range error"},
        {"uint('-1')", NULL, "no uint"},
        {"double('x')", NULL, "no double"},
        {"double('')", NULL, "no double"},
        {"bool('yes')", NULL, "no bool"},
        {"string(b'\\xff')", NULL, "invalid UTF-8"},
        {"string([1])", NULL, "no such overload: string(list)"},
        {"'a'.contains(1)", NULL, "no such overload: contains(string, int)"},
        {"'a'.matches('(')", NULL, "1:13: error parsing regexp: missing closing ): `(`"},
        {"'a'.matches('(?=a)')", NULL, "RE2"},
        {"'a'.matches(x.s + '(')", NULL, "error parsing regexp: missing closing ): `text(`"},
        {"parseJson('1')", NULL, "undeclared reference to 'parseJson'"},
        {"'a'.charAt(0)", NULL, "undeclared reference to 'charAt'"},
    };
    cel_check(cases, ARRAY_LEN(cases), data, 0);
}

static void times(void **state)
{
    static const struct cel_case cases[] = {
        {"timestamp('2009-02-13T23:31:30Z')", "\"2009-02-13T23:31:30Z\"", NULL},
        {"timestamp('2009-02-13T23:31:30.123456789+01:00')", "\"2009-02-13T22:31:30.123456789Z\"", NULL},
        {"timestamp(1234567890)", "\"2009-02-13T23:31:30Z\"", NULL},
        {"timestamp('0001-01-01T00:00:00Z')", "\"0001-01-01T00:00:00Z\"", NULL},
        {"timestamp('9999-12-31T23:59:59.999999999Z')", "\"9999-12-31T23:59:59.999999999Z\"", NULL},
        {"duration('1h1m1.5s')", "\"3661.5s\"", NULL},
        {"duration('-1.5s')", "\"-1.5s\"", NULL},
        {"string(duration('1m'))", "\"60s\"", NULL},
        {"timestamp('2009-02-13T23:31:30Z').getFullYear()", "2009", NULL},
        {"timestamp('2009-02-13T23:31:30Z').getMonth()", "1", NULL},
        {"timestamp('2009-02-13T23:31:30Z').getDate()", "13", NULL},
        {"timestamp('2009-02-13T23:31:30Z').getDayOfMonth()", "12", NULL},
        {"timestamp('2009-02-13T23:31:30Z').getDayOfWeek()", "5", NULL},
        {"timestamp('2009-02-13T23:31:30Z').getDayOfYear()", "43", NULL},
        {"timestamp('2009-02-13T23:31:30Z').getHours()", "23", NULL},
        {"timestamp('2009-02-13T23:31:30Z').getMinutes()", "31", NULL},
        {"timestamp('2009-02-13T23:31:30Z').getSeconds()", "30", NULL},
        {"timestamp('2009-02-13T23:31:30.123Z').getMilliseconds()", "123", NULL},
        {"timestamp('2009-02-13T23:31:30Z').getHours('+02:00')", "1", NULL},
        {"timestamp('2009-02-13T23:31:30Z').getDate('02:00')", "14", NULL},
        {"timestamp('2009-02-13T23:31:30Z').getHours('UTC')", "23", NULL},
        {"timestamp('2009-02-13T02:00:00Z').getDayOfMonth('-02:30')", "11", NULL},
        {"duration('3730s').getHours()", "1", NULL},
        {"duration('3730s').getMinutes()", "62", NULL},
        {"duration('1.5s').getMilliseconds()", "1500", NULL},
        {"duration('90s').getSeconds()", "90", NULL},
        {"timestamp(0) + duration('1s') == timestamp(1)", "true", NULL},
        {"duration('1s') + timestamp(0) == timestamp(1)", "true", NULL},
        {"timestamp(1) - timestamp(0) == duration('1s')", "true", NULL},
        {"timestamp(0) - duration('1.5s')", "\"1969-12-31T23:59:58.5Z\"", NULL},
        {"duration('1s') + duration('1s')", "\"2s\"", NULL},
        {"duration('1s') - duration('2s')", "\"-1s\"", NULL},
        {"timestamp(0) < timestamp(1)", "true", NULL},
        {"duration('1h') > duration('59m')", "true", NULL},
        {"-duration('1s')", "\"-1s\"", NULL},
        {"timestamp('1600-02-29T00:00:00Z').getDayOfYear()", "59", NULL},
        {"timestamp('2009-02-30T00:00:00Z')", NULL, "RFC 3339"},
        {"timestamp('2009-02-13')", NULL, "RFC 3339"},
        {"timestamp('2009-02-13T24:00:00Z')", NULL, "RFC 3339"},
        {"timestamp('0000-01-01T00:00:00Z')", NULL, "RFC 3339"},
        {"timestamp('9999-12-31T23:59:59Z') + duration('1s')", NULL, "overflow"},
        {"timestamp(253402300800)", NULL, "overflow"},
        {"duration('1')", NULL, "no duration"},
        {"duration('x')", NULL, "no duration"},
        {"duration('')", NULL, "no duration"},
        {"timestamp('9999-12-31T23:59:59Z') - timestamp('0001-01-01T00:00:00Z')", NULL, "overflow"},
        {"timestamp(0).getHours('Mars/Base')", NULL, "time zone"},
        {"timestamp(0) + timestamp(0)", NULL, "no such overload"},
    };
    cel_check(cases, ARRAY_LEN(cases), data, 0);
}

static void optionals(void **state)
{
    static const struct cel_case cases[] = {
        {"x.?a.orValue(0)", "1", NULL},
        {"x.?zz.orValue(0)", "0", NULL},
        {"x.?m.k.orValue('')", "\"v\"", NULL},
        {"x.?zz.k.orValue('d')", "\"d\"", NULL},
        {"x[?'a'].hasValue()", "true", NULL},
        {"x.l[?9].hasValue()", "false", NULL},
        {"x.l[?0].value()", "1", NULL},
        {"x.?m.?k.orValue('')", "\"v\"", NULL},
        {"optional.of(1).value()", "1", NULL},
        {"optional.none().or(optional.of(2)).value()", "2", NULL},
        {"optional.of(1).optMap(v, v + 1).value()", "2", NULL},
        {"optional.none().optMap(v, v + 1).hasValue()", "false", NULL},
        {"optional.of(1).optFlatMap(v, optional.of(v + 2)).value()", "3", NULL},
        {"optional.ofNonZeroValue('').hasValue()", "false", NULL},
        {"optional.ofNonZeroValue('a').value()", "\"a\"", NULL},
        {"[1, ?optional.none(), ?optional.of(3)]", "[1,3]", NULL},
        {"{'a': 1, ?'b': optional.none(), ?'c': x.?a}", "{\"a\":1,\"c\":1}", NULL},
        {"optional.of(1) == optional.of(1)", "true", NULL},
        {"optional.of(1) == optional.none()", "false", NULL},
        {"has(x.?zz.a)", "false", NULL},
        {"has(x.?m.k)", "true", NULL},
        {"optional.none().value()", NULL, "optional.none() dereference"},
        {"x.?a", "1", NULL},
        {"optional.none()", NULL, "no JSON form"},
        {"[?1]", NULL, "optional value"},
        {"optional.foo(1)", NULL, "undeclared reference to 'optional'"},
    };
    cel_check(cases, ARRAY_LEN(cases), data, 0);
}

static void pipelines(void **state)
{
    static const char inputs[] =
        "{\"inputs\":{\"parameter_values\":{\"n\":3,\"s\":\"heads\",\"b\":true,\"d\":0.75,\"l\":[1,2],\"st\":{\"k\":{\"j\":5}}},"
        "\"artifacts\":{\"m\":"
        "{\"artifacts\":[{\"uri\":\"s3://x\",\"metadata\":{\"acc\":0.9}}]}}},\"string_value\":\"{\\\"KEY\\\": [1, {\\\"a\\\": "
        "\\\"b\\\"}], \\\"n\\\": 2}\"}";
    static const struct cel_case cases[] = {
        {"inputs.parameter_values['s'] == 'heads'", "true", NULL},
        {"int(inputs.parameter_values['n']) > 1", "true", NULL},
        {"!(int(inputs.parameter_values['n']) == 3)", "false", NULL},
        {"inputs.parameter_values['b'] == true", "true", NULL},
        {"double(int(inputs.parameter_values['n'])) >= 2.5", "true", NULL},
        {"inputs.parameter_values['d'] > 0.5 && inputs.parameter_values['s'] != 'tails'", "true", NULL},
        {"inputs.parameter_values['n'] == 3", "true", NULL},
        {"inputs.parameter_values['n'] < 4", "true", NULL},
        {"inputs.parameter_values['s'] == 3", "false", NULL},
        {"type(inputs.parameter_values['n']) == double", "true", NULL},
        {"inputs.parameter_values.l[0] == 1", "true", NULL},
        {"inputs.artifacts['m'].artifacts[0].uri", "\"s3://x\"", NULL},
        {"inputs.artifacts['m'].artifacts[0].metadata.acc > 0.8", "true", NULL},
        {"parseJson(string_value)[\"KEY\"]", "[1,{\"a\":\"b\"}]", NULL},
        {"parseJson(string_value)[\"KEY\"][1].a == 'b'", "true", NULL},
        {"parseJson(string_value).n + 1.5", "3.5", NULL},
        {"parseJson('null') == null", "true", NULL},
        {"size(parseJson('[1,2,3]'))", "3", NULL},
        {"inputs.parameter_values['zz'] == 1", NULL, "no such key: zz"},
        {"inputs.parameter_values['s'] < 3", NULL, "no such overload: string < int"},
        {"int(inputs.parameter_values['b'])", NULL, "no such overload: int(bool)"},
        {"inputs.parameter_values['s'] == 'it's'", NULL, "1:37: "},
        {"'int(inputs.parameter_values['n'])' == 1", NULL, "1:31: unexpected 'n'"},
        {"parseJson('{')", NULL, "parseJson: "},
        {"parseJson(1)", NULL, "no such overload"},
        {"int('abc')", NULL, "no int"},
        {"string_value == 'a\\q'", NULL, "bad escape"},
    };
    cel_check(cases, ARRAY_LEN(cases), inputs, CHECK_PIPELINES | CHECK_DOUBLES);
}

static void limits(void **state)
{
    ERR(e);
    struct cel_env env = {0};
    BUF(b);
    for (int i = 0; i < 3000; i++)
        buf_addc(&b, '(');
    assert_null(cel_compile(b.data, &env, &e));
    assert_non_null(strstr(err_text(&e), "too deeply"));
    buf_reset(&b);
    buf_adds(&b, "1");
    for (int i = 0; i < 3000; i++)
        buf_adds(&b, "+1");
    assert_null(cel_compile(b.data, &env, &e));
    buf_reset(&b);
    buf_adds(&b, "true");
    for (int i = 0; i < 3000; i++)
        buf_adds(&b, " && true");
    struct cel_program *p = cel_compile(b.data, &env, &e);
    assert_non_null(p);
    bool yes = false;
    assert_int_equal(cel_eval_bool(p, NULL, &yes, &e), 0);
    assert_true(yes);
    struct cel_input poor = {.cost_limit = 100};
    assert_int_equal(cel_eval_bool(p, &poor, &yes, &e), -1);
    assert_non_null(strstr(err_text(&e), "cost limit"));
    cel_free(p);
    /* As deep as it goes within the limits. */
    buf_reset(&b);
    for (int i = 0; i < 99; i++)
        buf_adds(&b, "[");
    buf_adds(&b, "1");
    for (int i = 0; i < 99; i++)
        buf_adds(&b, "]");
    for (int i = 0; i < 190; i++)
        buf_adds(&b, " + []");
    p = cel_compile(b.data, &env, &e);
    assert_non_null(p);
    ARENA(a);
    assert_non_null(cel_eval(p, NULL, &a, &e));
    cel_free(p);
    /* The budget's error is not absorbed by || and what grows by itself ends. */
    static const char *const hungry[] = {
        "[0,1,2,3,4,5,6,7,8,9].map(a,[0,1,2,3,4,5,6,7,8,9].map(b,[0,1,2,3,4,5,6,7,8,9].map(c,[0,1,2,3,4,5,6,7,8,9].map(d,"
        "[0,1,2,3,4,5,6,7,8,9].map(e,[0,1,2,3,4,5,6,7,8,9].map(f,[0,1,2,3,4,5,6,7,8,9].map(g, a))))))) == [] || true",
        "cel.bind(a,'0123456789012345',cel.bind(b,a.replace('',a),cel.bind(c,b.replace('',b),cel.bind(d,c.replace('',c),d."
        "replace('',d))))) == ''",
    };
    env.kubernetes = true;
    for (size_t i = 0; i < ARRAY_LEN(hungry); i++) {
        p = cel_compile(hungry[i], &env, &e);
        assert_non_null(p);
        assert_int_equal(cel_eval_bool(p, NULL, &yes, &e), -1);
        assert_non_null(strstr(err_text(&e), "cost limit"));
        cel_free(p);
    }
    p = cel_compile("1", &env, &e);
    assert_int_equal(cel_eval_bool(p, NULL, &yes, &e), -1);
    assert_non_null(strstr(err_text(&e), "is int, not bool"));
    cel_free(p);
    static const char *const names[] = {"v", NULL};
    env.variables = names;
    p = cel_compile("v", &env, &e);
    assert_int_equal(cel_eval_bool(p, NULL, &yes, &e), -1);
    assert_non_null(strstr(err_text(&e), "no such attribute(s): v"));
    cel_free(p);
}

static void results(void **state)
{
    ERR(e);
    ARENA(a);
    struct cel_env env = {0};
    struct cel_program *p = cel_compile("'abc'", &env, &e);
    const struct cel_value *v = cel_eval(p, NULL, &a, &e);
    assert_int_equal(cel_kind_of(v), CEL_STRING);
    assert_string_equal(cel_string(v), "abc");
    cel_free(p);
    p = cel_compile("1", &env, &e);
    assert_null(cel_string(cel_eval(p, NULL, &a, &e)));
    cel_free(p);
}

TEST_GROUP(cel, cmocka_unit_test(literals), cmocka_unit_test(operators), cmocka_unit_test(selection), cmocka_unit_test(macros),
           cmocka_unit_test(conversions), cmocka_unit_test(times), cmocka_unit_test(optionals), cmocka_unit_test(pipelines),
           cmocka_unit_test(limits), cmocka_unit_test(results))
