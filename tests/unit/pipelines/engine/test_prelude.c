/* The generated `pip install` prelude: which scripts are taken for one, and what they ask for. */
#include "unit.h"

#include "pipelines/engine/live.h"

#define ENSURE                                                                                                                   \
    "\nif ! [ -x \"$(command -v pip)\" ]; then\n"                                                                                \
    "    python3 -m ensurepip || python3 -m ensurepip --user || apt-get install python3-pip\n"                                   \
    "fi\n\nPIP_DISABLE_PIP_VERSION_CHECK=1 "
#define VENV                                                                                                                     \
    "\nexport PIP_DISABLE_PIP_VERSION_CHECK=1\n"                                                                                 \
    "tmp=$(mktemp -d)\n"                                                                                                         \
    "python3 -m venv \"$tmp/venv\" --system-site-packages\n"                                                                     \
    ". \"$tmp/venv/bin/activate\"\n "
#define PIP "python3 -m pip install --quiet --no-warn-script-location "
#define SDK PIP "'kfp==2.14.3' '--no-deps' 'typing-extensions>=3.7.4,<5; python_version<\"3.9\"'"
#define GO  " && \"$0\" \"$@\"\n"

static void scripts(void **state)
{
    static const char sdk[] = "kfp>=2.14.3,<3|typing-extensions>=3.7.4,<5; python_version<\"3.9\"";
    static const struct {
        const char *script, *want; /* NULL: not a prelude */
    } cases[] = {
        {ENSURE SDK GO, sdk},
        {ENSURE PIP "'yapf'  &&  " SDK GO, "yapf|kfp>=2.14.3,<3|typing-extensions>=3.7.4,<5; python_version<\"3.9\""},
        {ENSURE PIP "--index-url https://i.example --trusted-host i.example 'yapf'" GO, "yapf"},
        /* in a virtual environment, which sees what the image has */
        {ENSURE PIP "'yapf'  && " VENV SDK GO, "yapf|kfp>=2.14.3,<3|typing-extensions>=3.7.4,<5; python_version<\"3.9\""},
        {ENSURE VENV SDK GO, sdk},
        /* SDK 2.0 to 2.1.2 write it with more spaces, and 2.0 without --no-deps */
        {ENSURE "python3 -m pip install --quiet     --no-warn-script-location 'yapf' 'kfp==2.1.2' '--no-deps'" GO,
         "yapf|kfp>=2.1.2,<3"},
        {ENSURE "python3 -m pip install --quiet     --no-warn-script-location 'kfp==2.0.1'" GO, "kfp==2.0.1"},
        /* a pin of the user's is exact */
        {ENSURE PIP "'kfp==2.10.0' 'yapf'" GO, "kfp==2.10.0|yapf"},
        {ENSURE PIP "'yapf==0.1' '--no-deps'" GO, "yapf==0.1"},
        {ENSURE PIP "'kfp==x' '--no-deps'" GO, "kfp==x"},
        {ENSURE PIP "'--pre' 'yapf'" GO, NULL},
        {ENSURE SDK " && rm -rf x" GO, NULL},
        {ENSURE SDK "; \"$0\" \"$@\"", NULL},
        {ENSURE VENV GO, NULL},
        {ENSURE PIP "'yapf' &&  \nexport PIP_DISABLE_PIP_VERSION_CHECK=1\ntmp=$(mktemp -d)\n" SDK GO, NULL},
        {ENSURE PIP "--index-url $(evil) 'x'" GO, NULL},
        {ENSURE PIP "'--target' 'x'" GO, NULL},
        {ENSURE SDK " && \"$0\" \"$@\" && more", NULL},
        {"pip install yapf && \"$0\" \"$@\"", NULL},
        {"echo", NULL},
        {"", NULL},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        STRLIST(argv);
        STRLIST(found);
        const char *const parts[] = {"sh", "-c", cases[i].script, "sh", "-ec", "inner"};
        for (size_t k = 0; k < ARRAY_LEN(parts); k++)
            strlist_add(&argv, parts[k]);
        int at = prelude_find(&argv, &found);
        AUTOFREE char *got = strlist_join(&found, "|");
        if (at != (cases[i].want ? 3 : 0) || strcmp(got, cases[i].want ? cases[i].want : "") != 0)
            fail_msg("case %zu: at %d, \"%s\"", i, at, got);
    }
}

TEST_GROUP(prelude, cmocka_unit_test(scripts))
