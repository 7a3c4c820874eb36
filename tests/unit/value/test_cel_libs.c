/* The extension libraries of Kubernetes. */
#include "cel_check.h"

static const char data[] = "{\"self\":{\"replicas\":3,\"name\":\"a-b\",\"list\":[\"b\",\"a\"],\"port\":\"80\",\"mem\":\"1Gi\","
                           "\"args\":[\"--x=1\",\"--y\"]}}";

static void strings(void **state)
{
    static const struct cel_case cases[] = {
        {"'t\xc3\xa9st'.charAt(1)", "\"\xc3\xa9\"", NULL},
        {"'abc'.charAt(3)", "\"\"", NULL},
        {"'hello mellow'.indexOf('ello')", "1", NULL},
        {"'hello mellow'.indexOf('jello')", "-1", NULL},
        {"'hello mellow'.indexOf('', 2)", "2", NULL},
        {"'hello mellow'.indexOf('ello', 2)", "7", NULL},
        {"'\xc3\xa9\xc3\xa9x'.indexOf('x')", "2", NULL},
        {"'hello mellow'.lastIndexOf('ello')", "7", NULL},
        {"'hello mellow'.lastIndexOf('ello', 6)", "1", NULL},
        {"'abc'.lastIndexOf('')", "3", NULL},
        {"'abc'.lastIndexOf('abcd')", "-1", NULL},
        {"'TacoCat'.lowerAscii()", "\"tacocat\"", NULL},
        {"'TacoC\xc3\xa6t'.upperAscii()", "\"TACOC\xc3\xa6T\"", NULL},
        {"'hello hello'.replace('he', 'we')", "\"wello wello\"", NULL},
        {"'hello hello'.replace('he', 'we', -1)", "\"wello wello\"", NULL},
        {"'hello hello'.replace('he', 'we', 1)", "\"wello hello\"", NULL},
        {"'hello hello'.replace('he', 'we', 0)", "\"hello hello\"", NULL},
        {"'ab'.replace('', '_')", "\"_a_b_\"", NULL},
        {"'hello hello'.split(' ')", "[\"hello\",\"hello\"]", NULL},
        {"'a b c'.split(' ', 2)", "[\"a\",\"b c\"]", NULL},
        {"'a b'.split(' ', 0)", "[]", NULL},
        {"'a b'.split(' ', 1)", "[\"a b\"]", NULL},
        {"'a\xc3\xa9'.split('')", "[\"a\",\"\xc3\xa9\"]", NULL},
        {"''.split(',')", "[\"\"]", NULL},
        {"'a,'.split(',')", "[\"a\",\"\"]", NULL},
        {"['a', 'b'].join()", "\"ab\"", NULL},
        {"['a', 'b'].join('-')", "\"a-b\"", NULL},
        {"[].join('-')", "\"\"", NULL},
        {"'tacocat'.substring(4)", "\"cat\"", NULL},
        {"'tacocat'.substring(0, 4)", "\"taco\"", NULL},
        {"'ta\xc3\xa9ocat'.substring(2, 3)", "\"\xc3\xa9\"", NULL},
        {"'  \\ttrim\\n '.trim()", "\"trim\"", NULL},
        {"'\\u00a0x\\u2003'.trim()", "\"x\"", NULL},
        {"'   '.trim()", "\"\"", NULL},
        {"'ab\xc3\xa9'.reverse()",
         "\"\xc3\xa9"
         "ba\"",
         NULL},
        {"'%s is %d'.format(['x', 3])", "\"x is 3\"", NULL},
        {"'%%'.format([])", "\"%\"", NULL},
        {"'%.2f'.format([3.14159])", "\"3.14\"", NULL},
        {"'%f'.format([1.5])", "\"1.500000\"", NULL},
        {"'%e'.format([1234.5])", "\"1.234500e+03\"", NULL},
        {"'%b %o %x %X'.format([5, 8, 255, 255])", "\"101 10 ff FF\"", NULL},
        {"'%x'.format(['hi'])", "\"6869\"", NULL},
        {"'%s'.format([[1, 'a', true, null]])", "\"[1, a, true, null]\"", NULL},
        {"'%s'.format([{'b': 1, 'a': 2}])", "\"{a: 2, b: 1}\"", NULL},
        {"'%s %s'.format([timestamp(0), duration('1s')])", "\"1970-01-01T00:00:00Z 1s\"", NULL},
        {"'%b'.format([true])", "\"1\"", NULL},
        {"'%d'.format([double('NaN')])", "\"NaN\"", NULL},
        {"strings.quote('a\\n\\\"\xc3\xa9')", "\"\\\"a\\\\n\\\\\\\"\xc3\xa9\\\"\"", NULL},
        {"'abc'.charAt(4)", NULL, "index out of range: 4"},
        {"'abc'.charAt(-1)", NULL, "index out of range"},
        {"'abc'.substring(2, 1)", NULL, "invalid substring range"},
        {"'abc'.indexOf('a', 9)", NULL, "index out of range"},
        {"[1].join()", NULL, "no such overload"},
        {"'%d'.format(['x'])", NULL, "%d cannot write a value of type string"},
        {"'%s'.format([])", NULL, "index 0 out of range"},
        {"'%q'.format([1])", NULL, "unrecognized formatting clause"},
        {"'%'.format([1])", NULL, "formatting clause"},
        {"'%.9999f'.format([1.0])", NULL, "precision"},
        {"'abc'.indexOf(1)", NULL, "no such overload"},
    };
    cel_check(cases, ARRAY_LEN(cases), data, CHECK_KUBERNETES);
}

static void lists(void **state)
{
    static const struct cel_case cases[] = {
        {"[1, 2, 3].isSorted()", "true", NULL},
        {"['b', 'a'].isSorted()", "false", NULL},
        {"[].isSorted()", "true", NULL},
        {"[1, 3].sum()", "4", NULL},
        {"[1.0, 3.0].sum()", "4", NULL},
        {"[].sum()", "0", NULL},
        {"[duration('1s'), duration('2s')].sum()", "\"3s\"", NULL},
        {"[1, 3].min()", "1", NULL},
        {"['a', 'c', 'b'].max()", "\"c\"", NULL},
        {"[1, 2, 2].indexOf(2)", "1", NULL},
        {"[1, 2, 2].lastIndexOf(2)", "2", NULL},
        {"[1].indexOf(9)", "-1", NULL},
        {"self.list.isSorted()", "false", NULL},
        {"self.list.min()", "\"a\"", NULL},
        {"[1, 2, 1].distinct()", "[1,2]", NULL},
        {"[1, 2].reverse()", "[2,1]", NULL},
        {"[1, 2, 3].slice(1, 3)", "[2,3]", NULL},
        {"[3, 1, 2].sort()", "[1,2,3]", NULL},
        {"[].max()", NULL, "max called on empty list"},
        {"[[1]].max()", NULL, "no such overload"},
        {"['a'].sum()", NULL, "no such overload"},
        {"[1].slice(0, 2)", NULL, "cannot slice"},
        {"sets.contains([1, 2], [2])", "true", NULL},
        {"sets.contains([1], [1, 2])", "false", NULL},
        {"sets.equivalent([1, 1, 2], [2, 1])", "true", NULL},
        {"sets.intersects([1], [1, 2])", "true", NULL},
        {"sets.intersects([1], [])", "false", NULL},
        {"[1, 9223372036854775807].sum()", NULL, "integer overflow"},
    };
    cel_check(cases, ARRAY_LEN(cases), data, CHECK_KUBERNETES);
}

static void regexes(void **state)
{
    static const struct cel_case cases[] = {
        {"'abc 123'.find('[0-9]+')", "\"123\"", NULL},
        {"'abc'.find('[0-9]+')", "\"\"", NULL},
        {"'123 abc 456'.findAll('[0-9]+')", "[\"123\",\"456\"]", NULL},
        {"'123 abc 456'.findAll('[0-9]+', 1)", "[\"123\"]", NULL},
        {"'123'.findAll('x')", "[]", NULL},
        {"'aab'.findAll('a*')", "[\"aa\",\"\"]", NULL},
        {"'\xc3\xa9'.findAll('')", "[\"\",\"\"]", NULL},
        {"'abc'.find('(')", NULL, "missing closing"},
    };
    cel_check(cases, ARRAY_LEN(cases), data, CHECK_KUBERNETES);
}

static void quantities(void **state)
{
    static const struct cel_case cases[] = {
        {"isQuantity('1.3Gi')", "true", NULL},
        {"isQuantity('1.3GiB')", "false", NULL},
        {"quantity('1Gi').isGreaterThan(quantity('1G'))", "true", NULL},
        {"quantity('500m').isLessThan(quantity('1'))", "true", NULL},
        {"quantity('200M').compareTo(quantity('0.2G'))", "0", NULL},
        {"quantity('1k') == quantity('1000')", "true", NULL},
        {"quantity('50k').add(20).asInteger()", "50020", NULL},
        {"quantity('1').sub(quantity('2')).sign()", "-1", NULL},
        {"quantity('1.5').isInteger()", "false", NULL},
        {"quantity('50.703k').asApproximateFloat()", "50703.0", NULL},
        {"quantity(self.mem).asInteger()", "1073741824", NULL},
        {"quantity('1.5').asInteger()", NULL, "cannot convert value to integer"},
        {"quantity('x')", NULL, "quantities must match"},
        {"quantity('1').add('1')", NULL, "no such overload"},
        {"quantity('1')", NULL, "no JSON form"},
        {"quantity('1').getHost()", NULL, "no such overload"},
    };
    cel_check(cases, ARRAY_LEN(cases), data, CHECK_KUBERNETES);
}

static void urls_and_addresses(void **state)
{
    static const struct cel_case cases[] = {
        {"url('https://user:pw@example.com:8080/a%20b?k=v&k=w&x').getHost()", "\"example.com:8080\"", NULL},
        {"url('https://example.com:8080/').getHostname()", "\"example.com\"", NULL},
        {"url('https://example.com:8080/').getPort()", "\"8080\"", NULL},
        {"url('https://example.com/').getPort()", "\"\"", NULL},
        {"url('https://[::1]:80/').getHostname()", "\"::1\"", NULL},
        {"url('https://[::1]:80/').getHost()", "\"[::1]:80\"", NULL},
        {"url('https://example.com/a%20b?q').getEscapedPath()", "\"/a%20b\"", NULL},
        {"url('/path').getScheme()", "\"\"", NULL},
        {"url('https://x/').getScheme()", "\"https\"", NULL},
        {"url('https://x/?k=v&k=w&y=a%26b').getQuery()", "{\"k\":[\"v\",\"w\"],\"y\":[\"a&b\"]}", NULL},
        {"url('/p').getQuery()", "{}", NULL},
        {"isURL('https://x')", "true", NULL},
        {"isURL('../a')", "false", NULL},
        {"isURL('x')", "false", NULL},
        {"isURL('https://a b/')", "false", NULL},
        {"isURL('https://x:y/')", "false", NULL},
        {"isURL('')", "false", NULL},
        {"url('x')", NULL, "URL parse error"},
        {"url('/a') == url('/a')", "true", NULL},
        {"isIP('127.0.0.1')", "true", NULL},
        {"isIP('127.0.0.256')", "false", NULL},
        {"isIP('::1')", "true", NULL},
        {"isIP('::ffff:1.2.3.4')", "false", NULL},
        {"isIP('fe80::1%en0')", "false", NULL},
        {"ip('127.0.0.1').family()", "4", NULL},
        {"ip('::1').family()", "6", NULL},
        {"ip('127.0.0.1').isLoopback()", "true", NULL},
        {"ip('0.0.0.0').isUnspecified()", "true", NULL},
        {"ip('224.0.0.1').isLinkLocalMulticast()", "true", NULL},
        {"ip('169.254.1.1').isLinkLocalUnicast()", "true", NULL},
        {"ip('8.8.8.8').isGlobalUnicast()", "true", NULL},
        {"ip('255.255.255.255').isGlobalUnicast()", "false", NULL},
        {"ip('fe80::1').isLinkLocalUnicast()", "true", NULL},
        {"ip.isCanonical('2001:db8::abcd')", "true", NULL},
        {"ip.isCanonical('2001:DB8::ABCD')", "false", NULL},
        {"ip('::1') == ip('0::1')", "true", NULL},
        {"string(ip('0::1'))", "\"::1\"", NULL},
        {"type(ip('::1')) == net.IP", "true", NULL},
        {"isCIDR('10.0.0.0/8')", "true", NULL},
        {"isCIDR('10.0.0.0/33')", "false", NULL},
        {"isCIDR('10.0.0.0')", "false", NULL},
        {"cidr('10.0.0.0/8').containsIP('10.1.2.3')", "true", NULL},
        {"cidr('10.0.0.0/8').containsIP(ip('11.0.0.1'))", "false", NULL},
        {"cidr('10.0.0.0/8').containsCIDR('10.1.0.0/16')", "true", NULL},
        {"cidr('10.0.0.0/16').containsCIDR(cidr('10.0.0.0/8'))", "false", NULL},
        {"cidr('10.0.0.0/8').prefixLength()", "8", NULL},
        {"string(cidr('10.1.2.3/8').masked())", "\"10.0.0.0/8\"", NULL},
        {"cidr('10.1.2.3/8').ip() == ip('10.1.2.3')", "true", NULL},
        {"ip('x')", NULL, "IP Address parse error"},
        {"cidr('10.0.0.0/8').containsIP('x')", NULL, "no IP address"},
        {"ip('1.2.3.4').prefixLength()", NULL, "no such overload"},
    };
    cel_check(cases, ARRAY_LEN(cases), data, CHECK_KUBERNETES);
}

static void semvers(void **state)
{
    static const struct cel_case cases[] = {
        {"semver('1.2.3').major()", "1", NULL},
        {"semver('1.2.3').minor()", "2", NULL},
        {"semver('1.2.3-rc.1+b.2').patch()", "3", NULL},
        {"isSemver('1.2.3')", "true", NULL},
        {"isSemver('1.2.3-alpha.1+build.007')", "true", NULL},
        {"isSemver('0.0.0')", "true", NULL},
        {"isSemver('')", "false", NULL},
        {"isSemver('1')", "false", NULL},
        {"isSemver('1.2')", "false", NULL},
        {"isSemver('1.2.3.4')", "false", NULL},
        {"isSemver('v1.2.3')", "false", NULL},
        {"isSemver('01.2.3')", "false", NULL},
        {"isSemver('1.2.03')", "false", NULL},
        {"isSemver('1.2.-3')", "false", NULL},
        {"isSemver('1..3')", "false", NULL},
        {"isSemver('1.2.3-')", "false", NULL},
        {"isSemver('1.2.3+')", "false", NULL},
        {"isSemver('1.2.3-a..b')", "false", NULL},
        {"isSemver('1.2.3-01')", "false", NULL},
        {"isSemver('1.2.3-0a')", "true", NULL},
        {"isSemver('1.2.3-a_b')", "false", NULL},
        {"isSemver('1.2.3 ')", "false", NULL},
        {"isSemver('18446744073709551616.0.0')", "false", NULL},
        {"isSemver('v1.2.3', true)", "true", NULL},
        {"isSemver('v1', true)", "true", NULL},
        {"isSemver('01.02.03', true)", "true", NULL},
        {"isSemver('1.2-rc', true)", "false", NULL},
        {"isSemver('1.', true)", "false", NULL},
        {"isSemver('v', true)", "false", NULL},
        {"isSemver('v1', false)", "false", NULL},
        {"isSemver('1.2.3', 1)", NULL, "no such overload"},
        {"semver('v01.02', true) == semver('1.2.0')", "true", NULL},
        {"semver('1.2.3+a') == semver('1.2.3+b')", "true", NULL},
        {"semver('1.2.3').isLessThan(semver('1.2.4'))", "true", NULL},
        {"semver('1.10.0').isGreaterThan(semver('1.9.9'))", "true", NULL},
        {"semver('1.0.0-alpha').compareTo(semver('1.0.0'))", "-1", NULL},
        {"semver('1.0.0').compareTo(semver('1.0.0-rc.1'))", "1", NULL},
        {"semver('1.0.0-alpha').compareTo(semver('1.0.0-alpha.1'))", "-1", NULL},
        {"semver('1.0.0-alpha.1').compareTo(semver('1.0.0-alpha.beta'))", "-1", NULL},
        {"semver('1.0.0-2').compareTo(semver('1.0.0-11'))", "-1", NULL},
        {"semver('1.0.0-beta').compareTo(semver('1.0.0-alpha'))", "1", NULL},
        {"semver('1.0.0-a').compareTo(semver('1.0.0-ab'))", "-1", NULL},
        {"semver('1.0.0').compareTo(quantity('1'))", NULL, "no such overload"},
        {"semver('1.0.0').isLessThan('1.0.1')", NULL, "no such overload"},
        {"quantity('1').major()", NULL, "no such overload"},
        {"semver('1.2')", NULL, "three numbers"},
        {"semver('18446744073709551615.0.0').major()", NULL, "overflow"},
        {"type(semver('1.2.3')) == kubernetes.Semver", "true", NULL},
    };
    cel_check(cases, ARRAY_LEN(cases), data, CHECK_KUBERNETES);
}

static void named_formats(void **state)
{
    static const struct cel_case cases[] = {
        {"format.named('dns1123Label').hasValue()", "true", NULL},
        {"format.named('nonsense').hasValue()", "false", NULL},
        {"format.named('dns1123Label').value().validate('abc').hasValue()", "false", NULL},
        {"format.named('dns1123Label').value().validate('a bcd').value()", "[\"too long\",\"has a space\"]", NULL},
        {"format.dns1123Label().validate('abcd').orValue([])", "[\"too long\"]", NULL},
        {"format.dns1123Label() == format.named('dns1123Label').value()", "true", NULL},
        {"format.dns1123Label().validate('a\\u0000b').value()", "[\"must not contain a NUL\"]", NULL},
        {"type(format.dns1123Label()) == kubernetes.NamedFormat", "true", NULL},
        {"format.uri()", NULL, "not known here"},
        {"format.nonsense()", NULL, "undeclared reference"},
        {"format.dns1123Label().validate(1)", NULL, "no such overload"},
        {"quantity('1').validate('1')", NULL, "no such overload"},
    };
    cel_check(cases, ARRAY_LEN(cases), data, CHECK_KUBERNETES);
}

/* The manner of rules in Kubeflow's and JobSet's CRDs. */
static void rules(void **state)
{
    static const struct cel_case cases[] = {
        {"self.replicas >= 1 && self.replicas <= 10", "true", NULL},
        {"!has(self.paused) || self.paused == false", "true", NULL},
        {"self.name.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$')", "true", NULL},
        {"self.list.all(x, self.list.exists_one(y, x == y))", "true", NULL},
        {"type(self.port) == int ? self.port > 0 : self.port.matches('^[0-9]+$')", "true", NULL},
        {"'must be below ' + string(self.replicas + 1)", "\"must be below 4\"", NULL},
        {"self.args.exists(a, a.startsWith('--x'))", "true", NULL},
        {"has(self.replicas) ? self.replicas == 3 : true", "true", NULL},
        {"self.?missing.orValue('none') == 'none'", "true", NULL},
        {"self.replicas in [1, 2, 3]", "true", NULL},
        {"self.args.filter(a, a.contains('=')).map(a, a.split('=')[0])", "[\"--x\"]", NULL},
        {"oldSelf == self", NULL, "undeclared reference to 'oldSelf'"},
    };
    cel_check(cases, ARRAY_LEN(cases), data, CHECK_KUBERNETES);
}

TEST_GROUP(cel_libs, cmocka_unit_test(strings), cmocka_unit_test(lists), cmocka_unit_test(regexes), cmocka_unit_test(quantities),
           cmocka_unit_test(urls_and_addresses), cmocka_unit_test(semvers), cmocka_unit_test(named_formats),
           cmocka_unit_test(rules))
