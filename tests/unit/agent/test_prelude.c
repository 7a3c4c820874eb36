/* Unit tests of agent/prelude.c: versions, markers and the lookup of installed distributions. */
#include <sys/stat.h>
#include <unistd.h>

#include "unit.h"

#include "agent/agent.h"
#include "base/fs.h"

static void test_versions(void **state)
{
    static const struct {
        const char *version, *spec;
        int want;
    } cases[] = {
        {"2.17.0", "==2.17.0", 1},    {"2.17", "==2.17.0", 1},
        {"2.17.0", "==2.16.0", 0},    {"2.17.0", ">=2.0,<3", 1},
        {"3.0.0", ">=2.0,<3", 0},     {"4.12.2", ">=3.7.4,<5", 1},
        {"2.17.3", "==2.17.*", 1},    {"2.18.0", "==2.17.*", 0},
        {"2.17.0", "~=2.10", 1},      {"3.1", "~=2.10", 0},
        {"2.9", "~=2.10", 0},         {"1.0", "!=1.0", 0},
        {"1.1", "!=1.0", 1},          {"1.0", "", 1},
        {"1.0", " >= 0.9 , < 2 ", 1}, {"1.0rc1", "==1.0", -1},
        {"1.0", "===1.0", -1},        {"1.0", ">=1.0.dev0", -1},
        {"1.0", "~=1", -1},           {"10.0", ">9.9", 1},
        {"1.0", ">1.0", 0},           {"1.0", ">=1.*", -1},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        if (agent_version_matches(cases[i].version, cases[i].spec) != cases[i].want)
            fail_msg("%s %s", cases[i].version, cases[i].spec);
}

static void test_markers(void **state)
{
    assert_int_equal(agent_marker_true(" python_version<\"3.9\"", "3.11"), 0);
    assert_int_equal(agent_marker_true("python_version >= '3.9'", "3.11"), 1);
    assert_int_equal(agent_marker_true("sys_platform == 'win32'", "3.11"), -1);
    assert_int_equal(agent_marker_true("python_version<\"3.9\" and os_name=='x'", "3.8"), -1);
}

/* A made-up Python: bin/python3 -> python3.11, and distributions in its site-packages. */
static void make_python(const char *root)
{
    static const char *const dists[] = {"kfp-2.17.0.dist-info", "typing_extensions-4.12.2.dist-info", "Foo.Bar-1.0.dist-info"};
    AUTOFREE char *bin = fs_join(root, "bin");
    assert_int_equal(fs_mkdir_p(bin, 0755, NULL), 0);
    AUTOFREE char *exe = fs_join(bin, "python3.11");
    assert_int_equal(fs_write_atomic(exe, "#!", 2, 0755, NULL), 0);
    AUTOFREE char *link = fs_join(bin, "python3");
    assert_int_equal(symlink("python3.11", link), 0);
    for (size_t i = 0; i < ARRAY_LEN(dists); i++) {
        AUTOFREE char *d = xasprintf("%s/lib/python3.11/site-packages/%s", root, dists[i]);
        assert_int_equal(fs_mkdir_p(d, 0755, NULL), 0);
    }
    setenv("PATH", bin, 1);
}

static bool met(const char *a, const char *b)
{
    STRLIST(l);
    strlist_add(&l, a);
    if (b)
        strlist_add(&l, b);
    return agent_requirements_met(&l);
}

static void test_requirements(void **state)
{
    char root[] = "/tmp/tidemill-agent-XXXXXX";
    assert_non_null(mkdtemp(root));
    AUTOFREE char *path = xstrdup(getenv("PATH"));
    make_python(root);
    assert_true(met("kfp==2.17.0", "typing-extensions>=3.7.4,<5; python_version<\"3.9\""));
    assert_true(met("typing-extensions>=3.7.4,<5", "foo_bar"));
    assert_true(met("FOO-BAR == 1.0", NULL));
    assert_false(met("kfp==2.16.0", NULL));
    assert_false(met("kfp==2.17.0", "pandas"));
    assert_false(met("kfp[kubernetes]==2.17.0", NULL));
    assert_false(met("git+https://example.org/x", NULL));
    assert_false(met("--no-deps", NULL));
    /* A wrapper script named python3 tells nothing. */
    AUTOFREE char *link = xasprintf("%s/bin/python3", root);
    unlink(link);
    assert_int_equal(fs_write_atomic(link, "#!", 2, 0755, NULL), 0);
    assert_false(met("kfp==2.17.0", NULL));
    setenv("PATH", path, 1);
    assert_int_equal(fs_rm_rf(root, NULL), 0);
}

TEST_GROUP(prelude, cmocka_unit_test(test_versions), cmocka_unit_test(test_markers), cmocka_unit_test(test_requirements))
