/* prelude.c - decides whether `pip install` of a generated prelude would find everything installed. */
#include <ctype.h>
#include <dirent.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "agent/agent.h"
#include "base/fs.h"
#include "data/blob_crypto.h"

/* ---- versions (PEP 440, the part that is plain release numbers) ---- */

#define MAX_PARTS 8
struct release {
    unsigned long part[MAX_PARTS];
    int n;
};

/* Digits and dots only; anything else (pre-releases, local versions) cannot be told. */
static bool parse_release(const char *s, size_t len, struct release *r)
{
    *r = (struct release){0};
    size_t i = len > 1 && (s[0] == 'v' || s[0] == 'V') ? 1 : 0;
    while (i < len) {
        if (r->n == MAX_PARTS || !isdigit((unsigned char)s[i]))
            return false;
        unsigned long v = 0;
        for (; i < len && isdigit((unsigned char)s[i]); i++) {
            if (v > ULONG_MAX / 100)
                return false;
            v = v * 10 + (unsigned long)(s[i] - '0');
        }
        r->part[r->n++] = v;
        if (i < len && s[i++] != '.')
            return false;
    }
    return r->n > 0;
}

static int compare(const struct release *a, const struct release *b, int parts)
{
    for (int i = 0; i < parts; i++)
        if (a->part[i] != b->part[i])
            return a->part[i] < b->part[i] ? -1 : 1;
    return 0;
}

enum op { OP_EQ, OP_NE, OP_GE, OP_LE, OP_GT, OP_LT, OP_COMPATIBLE };

static size_t parse_op(const char *s, enum op *op)
{
    static const struct {
        const char *text;
        enum op op;
    } ops[] = {{"==", OP_EQ}, {"!=", OP_NE}, {">=", OP_GE}, {"<=", OP_LE}, {"~=", OP_COMPATIBLE}, {">", OP_GT}, {"<", OP_LT}};
    for (size_t i = 0; i < ARRAY_LEN(ops); i++)
        if (str_starts(s, ops[i].text)) {
            *op = ops[i].op;
            return strlen(ops[i].text);
        }
    return 0;
}

static int apply(enum op op, const struct release *v, const struct release *want, bool wildcard)
{
    int c = compare(v, want, wildcard ? want->n : MAX_PARTS);
    switch (op) {
    case OP_EQ:
        return c == 0;
    case OP_NE:
        return c != 0;
    case OP_GE:
        return c >= 0;
    case OP_LE:
        return c <= 0;
    case OP_GT:
        return c > 0;
    case OP_LT:
        return c < 0;
    case OP_COMPATIBLE:
        return want->n < 2 ? -1 : c >= 0 && compare(v, want, want->n - 1) == 0;
    }
    return -1;
}

int agent_version_matches(const char *version, const char *spec)
{
    struct release have, want;
    if (!parse_release(version, strlen(version), &have))
        return -1;
    STRLIST(clauses);
    AUTOFREE char *compact = xcalloc(strlen(spec) + 1, 1);
    for (size_t i = 0, n = 0; spec[i]; i++)
        if (!isspace((unsigned char)spec[i]) && spec[i] != '(' && spec[i] != ')')
            compact[n++] = spec[i];
    str_split(compact, ',', &clauses);
    for (size_t i = 0; i < clauses.n; i++) {
        const char *c = clauses.v[i];
        enum op op;
        size_t skip = parse_op(c, &op);
        if (!*c && clauses.n == 1)
            return 1;
        size_t len = strlen(c + skip);
        bool wildcard = len > 2 && str_ends(c, ".*");
        if (!skip || (wildcard && op != OP_EQ && op != OP_NE) || !parse_release(c + skip, wildcard ? len - 2 : len, &want))
            return -1;
        int ok = apply(op, &have, &want, wildcard);
        if (ok != 1)
            return ok;
    }
    return 1;
}

/* ---- markers: python_version <op> "X.Y", alone ---- */

int agent_marker_true(const char *marker, const char *python_version)
{
    while (isspace((unsigned char)*marker))
        marker++;
    if (!str_starts(marker, "python_version"))
        return -1;
    marker += strlen("python_version");
    while (isspace((unsigned char)*marker))
        marker++;
    enum op op;
    size_t n = parse_op(marker, &op);
    if (!n)
        return -1;
    const char *v = marker + n;
    while (isspace((unsigned char)*v))
        v++;
    char quote = *v;
    const char *end = quote == '"' || quote == '\'' ? strchr(v + 1, quote) : NULL;
    if (!end || end[1 + strspn(end + 1, " ")])
        return -1;
    AUTOFREE char *spec = xasprintf("%.*s%.*s", (int)n, marker, (int)(end - v - 1), v + 1);
    return agent_version_matches(python_version, spec);
}

/* ---- where python3 finds its packages ---- */

static char *find_in_path(const char *name)
{
    const char *path = getenv("PATH");
    STRLIST(dirs);
    str_split(str_empty(path) ? "/usr/local/bin:/usr/bin:/bin" : path, ':', &dirs);
    for (size_t i = 0; i < dirs.n; i++) {
        char *p = fs_join(*dirs.v[i] ? dirs.v[i] : ".", name);
        if (access(p, X_OK) == 0 && !fs_is_dir(p))
            return p;
        free(p);
    }
    return NULL;
}

static void add_dir(struct strlist *dirs, char *path)
{
    if (fs_is_dir(path))
        strlist_take(dirs, path);
    else
        free(path);
}

/* The prefix of a virtual environment: pyvenv.cfg lies beside its bin. */
static char *venv_prefix(const char *python)
{
    const char *slash = strrchr(python, '/');
    if (!slash)
        return NULL;
    AUTOFREE char *cfg = xasprintf("%.*s/../pyvenv.cfg", (int)(slash - python), python);
    return fs_exists(cfg) ? xasprintf("%.*s/..", (int)(slash - python), python) : NULL;
}

bool agent_python_dirs(const char *python, struct strlist *dirs, char version[16])
{
    AUTOFREE char *real = realpath(python, NULL);
    const char *base = real ? strrchr(real, '/') : NULL;
    struct release r;
    /* /usr/bin/python3.11 : version and prefix stand in the path. A wrapper script has another name. */
    if (!base || !str_starts(base, "/python") || !parse_release(base + 7, strlen(base + 7), &r) || r.n != 2 || r.part[0] != 3 ||
        strlen(base + 7) >= 16)
        return false;
    strcpy(version, base + 7);
    AUTOFREE char *venv = venv_prefix(python);
    if (venv) {
        add_dir(dirs, xasprintf("%s/lib/python%s/site-packages", venv, version));
        AUTOFREE char *cfg = fs_join(venv, "pyvenv.cfg");
        BUF(text);
        if (fs_read(cfg, 65536, &text, NULL) < 0 || !strstr(buf_str(&text), "include-system-site-packages = true"))
            return true;
    }
    AUTOFREE char *bin = xstrndup(real, (size_t)(base - real));
    const char *slash = strrchr(bin, '/');
    AUTOFREE char *prefix = xstrndup(bin, slash ? (size_t)(slash - bin) : 0);
    add_dir(dirs, xasprintf("%s/lib/python%s/site-packages", prefix, version));
    if (strcmp(prefix, "/usr") == 0) {
        add_dir(dirs, xasprintf("/usr/local/lib/python%s/dist-packages", version));
        add_dir(dirs, xstrdup("/usr/lib/python3/dist-packages"));
    }
    const char *home = getenv("HOME");
    if (!str_empty(home) && !getenv("PYTHONNOUSERSITE"))
        add_dir(dirs, xasprintf("%s/.local/lib/python%s/site-packages", home, version));
    return true;
}

/* ---- installed distributions ---- */

/* PEP 503: runs of -, _ and . are one -, letters in lower case. */
static char *normalize(const char *name, size_t n)
{
    char *out = xcalloc(n + 1, 1);
    size_t len = 0;
    for (size_t i = 0; i < n; i++) {
        if (strchr("-_.", name[i])) {
            if (len && out[len - 1] != '-')
                out[len++] = '-';
        } else {
            out[len++] = (char)tolower((unsigned char)name[i]);
        }
    }
    return out;
}

/* Version of an installed distribution, from the name of its .dist-info directory; NULL when it is not there. The first directory
 * on Python's path wins, as in an import. */
static char *installed_version(const struct strlist *dirs, const char *name)
{
    for (size_t i = 0; i < dirs->n; i++) {
        DIR *d = opendir(dirs->v[i]);
        if (!d)
            continue;
        struct dirent *e;
        char *found = NULL;
        while (!found && (e = readdir(d))) {
            /* <name>-<version>.dist-info */
            const char *dash =
                str_ends(e->d_name, ".dist-info") ? memrchr(e->d_name, '-', strlen(e->d_name) - strlen("-info")) : NULL;
            if (!dash)
                continue;
            AUTOFREE char *have = normalize(e->d_name, (size_t)(dash - e->d_name));
            if (strcmp(have, name) == 0)
                found = xstrndup(dash + 1, strlen(dash + 1) - strlen(".dist-info"));
        }
        closedir(d);
        if (found)
            return found;
    }
    return NULL;
}

static bool requirement_met(const char *req, const struct strlist *dirs, const char *python_version)
{
    while (isspace((unsigned char)*req))
        req++;
    size_t n = strspn(req, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.");
    const char *semi = strchr(req, ';');
    if (!n)
        return false; /* an option, a URL or a path */
    if (semi) {
        int marker = agent_marker_true(semi + 1, python_version);
        if (marker < 0)
            return false;
        if (marker == 0)
            return true; /* not for this Python */
    }
    AUTOFREE char *spec = semi ? xstrndup(req + n, (size_t)(semi - req) - n) : xstrdup(req + n);
    if (strpbrk(spec, "[@"))
        return false; /* extras and direct references: pip knows */
    AUTOFREE char *name = normalize(req, n);
    AUTOFREE char *version = installed_version(dirs, name);
    return version && agent_version_matches(version, spec) == 1;
}

bool agent_requirements_met(const struct strlist *requirements)
{
    AUTOFREE char *python = find_in_path("python3");
    STRLIST(dirs);
    char version[16];
    if (!python || !agent_python_dirs(python, &dirs, version))
        return false;
    const char *pythonpath = getenv("PYTHONPATH");
    if (!str_empty(pythonpath)) {
        STRLIST(first);
        str_split(pythonpath, ':', &first);
        for (size_t i = 0; i < dirs.n; i++)
            strlist_add(&first, dirs.v[i]);
        struct strlist swap = dirs;
        dirs = first;
        first = swap;
    }
    for (size_t i = 0; i < requirements->n; i++)
        if (!requirement_met(requirements->v[i], &dirs, version))
            return false;
    return true;
}

static int by_name(const void *a, const void *b) { return strcmp(*(char *const *)a, *(char *const *)b); }

/* Python's distributions with their versions, whatever order the directory has. */
static void print_distributions(const char *dir, struct buf *out)
{
    STRLIST(names);
    DIR *d = opendir(dir);
    for (const struct dirent *e; d && (e = readdir(d));)
        if (str_ends(e->d_name, "-info"))
            strlist_add(&names, e->d_name);
    if (d)
        closedir(d);
    if (names.n)
        qsort(names.v, names.n, sizeof *names.v, by_name);
    buf_addf(out, "%s%c", dir, 0);
    for (size_t i = 0; i < names.n; i++)
        buf_addf(out, "%s%c", names.v[i], 0);
}

/* Which system (and so which C library), which machine, which Python to the byte, and what is installed. PYTHONPATH is left out:
 * what is there already may be the set-up itself. */
bool agent_image_print(char out[AGENT_IMAGE_TEXT])
{
    AUTOFREE char *python = find_in_path("python3"), *real = python ? realpath(python, NULL) : NULL;
    STRLIST(dirs);
    char version[16];
    struct stat st;
    struct utsname u;
    BUF(b);
    if (!real || !agent_python_dirs(python, &dirs, version) || stat(real, &st) < 0 || uname(&u) < 0)
        return false;
    buf_addf(&b, "1 %s %s %s %lld %lld%c", u.machine, python, real, (long long)st.st_size, (long long)st.st_mtim.tv_sec, 0);
    fs_read("/etc/os-release", 65536, &b, NULL);
    for (size_t i = 0; i < dirs.n; i++)
        print_distributions(dirs.v[i], &b);
    unsigned char sum[BLOB_SHA256_SIZE];
    blob_digest(BLOB_SHA256, b.data, b.len, sum);
    for (size_t i = 0; i < sizeof sum; i++)
        snprintf(out + 2 * i, 3, "%02x", sum[i]);
    return true;
}

char *agent_setup_path(const char *prefix)
{
    AUTOFREE char *python = find_in_path("python3");
    STRLIST(dirs);
    char version[16];
    if (!python || !agent_python_dirs(python, &dirs, version))
        return NULL;
    /* The second is Debian's. */
    return xasprintf("%s/lib/python%s/site-packages:%s/local/lib/python%s/dist-packages", prefix, version, prefix, version);
}
