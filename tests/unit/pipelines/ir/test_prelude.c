/* The generated pip prelude (the engine's, but a matter of recognising text). */
#include "unit.h"

#include "pipelines/engine/live.h"

#define ENSURE                                                                                                                   \
    "\nif ! [ -x \"$(command -v pip)\" ]; then\n    python3 -m ensurepip || python3 -m ensurepip --user || apt-get install "     \
    "python3-pip\nfi\n\n"
#define PIP "python3 -m pip install --quiet --no-warn-script-location "
#define KFP "'kfp==2.14.2' '--no-deps' 'typing-extensions>=3.7.4,<5; python_version<\"3.9\"'"
#define RUN_IT " && \"$0\" \"$@\"\n"

static void recognised(void **state)
{
    static const struct {
        const char *script, *want; /* requirements joined with '|', NULL: no prelude */
    } cases[] = {
        {ENSURE "PIP_DISABLE_PIP_VERSION_CHECK=1 " PIP KFP RUN_IT,
         "kfp==2.14.2|typing-extensions>=3.7.4,<5; python_version<\"3.9\""},
        {ENSURE "PIP_DISABLE_PIP_VERSION_CHECK=1 " PIP "'pandas==2.2.0'  &&  " PIP KFP RUN_IT,
         "pandas==2.2.0|kfp==2.14.2|typing-extensions>=3.7.4,<5; python_version<\"3.9\""},
        {ENSURE "PIP_DISABLE_PIP_VERSION_CHECK=1 " PIP
                "--index-url https://i/simple --trusted-host https://i/simple 'yapf'" RUN_IT,
         "yapf"},
        {ENSURE "PIP_DISABLE_PIP_VERSION_CHECK=1 " PIP
                "'yapf' &&  \nexport PIP_DISABLE_PIP_VERSION_CHECK=1\ntmp=$(mktemp -d)\n" PIP KFP RUN_IT,
         NULL},
        {ENSURE "PIP_DISABLE_PIP_VERSION_CHECK=1 " PIP KFP "; rm -rf /" RUN_IT, NULL},
        {ENSURE "PIP_DISABLE_PIP_VERSION_CHECK=1 " PIP "--index-url $(evil) 'x'" RUN_IT, NULL},
        {ENSURE "PIP_DISABLE_PIP_VERSION_CHECK=1 " PIP "'--target' 'x'" RUN_IT, NULL},
        {ENSURE "PIP_DISABLE_PIP_VERSION_CHECK=1 " PIP KFP " && \"$0\" \"$@\" && more", NULL},
        {"echo", NULL},
        {"", NULL},
    };
    for (size_t n = 0; n < ARRAY_LEN(cases); n++) {
        STRLIST(argv);
        STRLIST(req);
        const char *const parts[] = {"sh", "-c", cases[n].script, "sh", "-ec", "inner"};
        for (size_t k = 0; k < ARRAY_LEN(parts); k++)
            strlist_add(&argv, parts[k]);
        assert_int_equal(prelude_find(&argv, &req), cases[n].want ? 3 : 0);
        AUTOFREE char *got = strlist_join(&req, "|");
        assert_string_equal(got, cases[n].want ? cases[n].want : "");
    }
}

TEST_GROUP(prelude, cmocka_unit_test(recognised))
