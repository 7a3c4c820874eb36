/* The `pip install` prelude that the SDK generates. Source: pipelines-runtime spec 13, 21.6.
 *
 *   sh -c '<make sure pip exists> PIP_DISABLE_PIP_VERSION_CHECK=1 STEP [&& STEP]... && "$0" "$@"' inner...
 *   STEP    := [VENV] python3 -m pip install --quiet --no-warn-script-location [OPTION]... 'requirement'... ['--no-deps']
 *   OPTION  := --index-url U | --extra-index-url U | --trusted-host U
 *   VENV    := makes and enters a virtual environment that sees the image's packages too
 *
 * Only this exact shape is taken for it; anything else runs as it is written.
 *
 * The SDK puts its own version in front ('kfp==2.14.3' '--no-deps'): what the step needs of it is the executor, which later
 * versions of the same major number still are. So an image with a later one has it. A pin that a user wrote has no '--no-deps'
 * behind it, and is taken at its word; so is that of SDK 2.0, whose steps start a module that later versions do not have. */
#include <stdlib.h>

#include "pipelines/engine/live.h"

static const char ENSURE[] = "if ! [ -x \"$(command -v pip)\" ]; then\n"
                             "    python3 -m ensurepip || python3 -m ensurepip --user || apt-get install python3-pip\n"
                             "fi\n";

static const char VENV[] = "export PIP_DISABLE_PIP_VERSION_CHECK=1\n"
                           "tmp=$(mktemp -d)\n"
                           "python3 -m venv \"$tmp/venv\" --system-site-packages\n"
                           ". \"$tmp/venv/bin/activate\"\n";

static void skip_space(const char **p)
{
    while (**p == ' ' || **p == '\n' || **p == '\t')
        (*p)++;
}

static bool eat(const char **p, const char *word)
{
    skip_space(p);
    size_t n = strlen(word);
    if (strncmp(*p, word, n) != 0)
        return false;
    *p += n;
    return true;
}

/* kfp==2.14.3 -> kfp>=2.14.3,<3 */
static void widen_sdk_pin(struct strlist *out)
{
    static const char pin[] = "kfp==";
    char *last = out->n ? out->v[out->n - 1] : NULL;
    if (!last || !str_starts(last, pin))
        return;
    const char *version = last + strlen(pin);
    size_t digits = strspn(version, "0123456789");
    if (!digits || digits > 4 || version[digits] != '.')
        return;
    out->v[out->n - 1] = xasprintf("kfp>=%s,<%d", version, atoi(version) + 1);
    free(last);
}

/* A word in single quotes without quotes inside. */
static bool eat_quoted(const char **p, struct strlist *out)
{
    skip_space(p);
    if (**p != '\'')
        return false;
    const char *start = *p + 1, *end = strchr(start, '\'');
    if (!end || end == start)
        return false;
    AUTOFREE char *word = xstrndup(start, (size_t)(end - start));
    *p = end + 1;
    if (word[0] != '-')
        strlist_add(out, word);
    else if (str_eq(word, "--no-deps"))
        widen_sdk_pin(out);
    else
        return false;
    return true;
}

static bool eat_plain(const char **p)
{
    skip_space(p);
    size_t n = strcspn(*p, " \n\t'\"&|;$`()<>");
    *p += n;
    return n > 0;
}

static bool eat_install(const char **p, struct strlist *out)
{
    if (!eat(p, "python3 -m pip install --quiet") || !eat(p, "--no-warn-script-location"))
        return false;
    size_t before = out->n;
    for (;;) {
        if (eat(p, "--index-url") || eat(p, "--trusted-host") || eat(p, "--extra-index-url")) {
            if (!eat_plain(p))
                return false;
            continue;
        }
        skip_space(p);
        if (**p != '\'')
            return out->n > before;
        if (!eat_quoted(p, out))
            return false;
    }
}

static bool parse(const char *script, struct strlist *out)
{
    const char *p = script;
    eat(&p, ENSURE);
    if (!eat(&p, "PIP_DISABLE_PIP_VERSION_CHECK=1"))
        return false;
    do {
        eat(&p, VENV);
        if (!eat_install(&p, out) || !eat(&p, "&&"))
            return false;
    } while (!eat(&p, "\"$0\" \"$@\""));
    skip_space(&p);
    return *p == 0;
}

int prelude_find(const struct strlist *argv, struct strlist *requirements)
{
    if (argv->n < 4 || !str_eq(argv->v[0], "sh") || !str_eq(argv->v[1], "-c"))
        return 0;
    STRLIST(found);
    if (!parse(argv->v[2], &found))
        return 0;
    for (size_t k = 0; k < found.n; k++)
        strlist_add(requirements, found.v[k]);
    return 3;
}
