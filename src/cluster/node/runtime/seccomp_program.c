#include "cluster/node/runtime/seccomp_program.h"

#include <errno.h>
#include <openssl/evp.h>
#include <pthread.h>
#include <seccomp.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/str.h"
#include "base/thread.h"

#define LOG_ROOM "node"
#include "base/log.h"

enum { PROGRAMS_MAX = 32, ARGS_MAX = 6, BINARY_TREE = 2, DEFAULT_ERRNO = EPERM };

static void filter_clean(scmp_filter_ctx *f)
{
    if (*f)
        seccomp_release(*f);
}

static int action_of(const char *name, int64_t number, uint32_t *out, struct err *err)
{
    static const struct {
        const char *name;
        uint32_t action;
    } actions[] = {{"SCMP_ACT_ALLOW", SCMP_ACT_ALLOW},
                   {"SCMP_ACT_KILL", SCMP_ACT_KILL},
                   {"SCMP_ACT_KILL_THREAD", SCMP_ACT_KILL_THREAD},
                   {"SCMP_ACT_KILL_PROCESS", SCMP_ACT_KILL_PROCESS},
                   {"SCMP_ACT_TRAP", SCMP_ACT_TRAP},
                   {"SCMP_ACT_LOG", SCMP_ACT_LOG}};
    for (size_t i = 0; i < ARRAY_LEN(actions); i++)
        if (str_eq(actions[i].name, name)) {
            *out = actions[i].action;
            return 0;
        }
    if (!str_eq(name, "SCMP_ACT_ERRNO") || number < 0 || number > UINT16_MAX)
        return err_set(err, ERR_BAD_REQUEST, "action %s with %lld", name ? name : "(none)", (long long)number);
    *out = SCMP_ACT_ERRNO((uint32_t)number);
    return 0;
}

static int compare_of(jval *arg, struct scmp_arg_cmp *out, struct err *err)
{
    static const struct {
        const char *name;
        enum scmp_compare op;
    } ops[] = {{"SCMP_CMP_NE", SCMP_CMP_NE},
               {"SCMP_CMP_LT", SCMP_CMP_LT},
               {"SCMP_CMP_LE", SCMP_CMP_LE},
               {"SCMP_CMP_EQ", SCMP_CMP_EQ},
               {"SCMP_CMP_GE", SCMP_CMP_GE},
               {"SCMP_CMP_GT", SCMP_CMP_GT},
               {"SCMP_CMP_MASKED_EQ", SCMP_CMP_MASKED_EQ}};
    const char *name = jv_str(jv_get(arg, "op"));
    int64_t index = jv_i64_or(jv_get(arg, "index"), -1), value = jv_i64_or(jv_get(arg, "value"), -1),
            two = jv_i64_or(jv_get(arg, "valueTwo"), 0);
    if (index < 0 || index >= ARGS_MAX || value < 0 || two < 0)
        return err_set(err, ERR_BAD_REQUEST, "an argument with index %lld", (long long)index);
    for (size_t i = 0; i < ARRAY_LEN(ops); i++)
        if (str_eq(ops[i].name, name)) {
            *out = (struct scmp_arg_cmp){
                .arg = (unsigned)index, .op = ops[i].op, .datum_a = (uint64_t)value, .datum_b = (uint64_t)two};
            return 0;
        }
    return err_set(err, ERR_BAD_REQUEST, "comparison %s", name ? name : "(none)");
}

/* One name of a rule. Conditions on one argument twice are alternatives, each a rule of its own; else all must hold. */
static int add_name(scmp_filter_ctx f, const char *name, uint32_t action, const struct scmp_arg_cmp *cmp, unsigned n,
                    struct err *err)
{
    int number = seccomp_syscall_resolve_name(name), rc = 0;
    unsigned seen = 0;
    bool alternatives = false;
    if (number == __NR_SCMP_ERROR)
        return 0; /* newer than the library: the default action covers it */
    for (unsigned i = 0; i < n; i++) {
        alternatives |= seen >> cmp[i].arg & 1;
        seen |= 1U << cmp[i].arg;
    }
    if (!alternatives)
        rc = seccomp_rule_add_array(f, action, number, n, cmp);
    for (unsigned i = 0; alternatives && rc == 0 && i < n; i++)
        rc = seccomp_rule_add_array(f, action, number, 1, &cmp[i]);
    return rc < 0 ? err_set(err, ERR_INTERNAL, "rule for %s: error %d", name, -rc) : 0;
}

static int add_rule(scmp_filter_ctx f, jval *rule, uint32_t usual, struct err *err)
{
    jval *names = jv_get(rule, "names"), *args = jv_get(rule, "args");
    struct scmp_arg_cmp cmp[ARGS_MAX];
    uint32_t action;
    if (action_of(jv_str(jv_get(rule, "action")), jv_i64_or(jv_get(rule, "errnoRet"), DEFAULT_ERRNO), &action, err) < 0)
        return -1;
    if (action == usual)
        return 0; /* says what holds anyway, which the library refuses */
    if (jv_len(args) > ARGS_MAX)
        return err_set(err, ERR_BAD_REQUEST, "%zu conditions", jv_len(args));
    for (size_t i = 0; i < jv_len(args); i++)
        if (compare_of(jv_at(args, i), &cmp[i], err) < 0)
            return -1;
    for (size_t i = 0; i < jv_len(names); i++)
        if (add_name(f, jv_str_or(jv_at(names, i), ""), action, cmp, (unsigned)jv_len(args), err) < 0)
            return -1;
    return 0;
}

static int add_architectures(scmp_filter_ctx f, jval *list, struct err *err)
{
    for (size_t i = 0; i < jv_len(list); i++) {
        /* "SCMP_ARCH_X86_64": the library's names are the lower-case ends. */
        const char *name = jv_str_or(jv_at(list, i), "");
        AUTOFREE char *own = xstrdup(str_starts(name, "SCMP_ARCH_") ? name + 10 : name);
        for (char *s = own; *s; s++)
            *s = *s >= 'A' && *s <= 'Z' ? (char)(*s + 32) : *s;
        uint32_t arch = seccomp_arch_resolve_name(own);
        int rc = arch ? seccomp_arch_add(f, arch) : -EINVAL;
        if (rc < 0 && rc != -EEXIST)
            return err_set(err, ERR_BAD_REQUEST, "architecture %s: error %d", name, -rc);
    }
    return 0;
}

/* The finished program, in base64. */
static char *export_text(scmp_filter_ctx f, struct err *err)
{
    AUTOCLOSE int fd = memfd_create("seccomp", MFD_CLOEXEC);
    struct stat st;
    int rc = fd < 0 ? -errno : seccomp_export_bpf(f, fd);
    if (rc < 0 || fstat(fd, &st) < 0 || st.st_size <= 0) {
        err_set(err, ERR_INTERNAL, "compiling: error %d", rc < 0 ? -rc : errno);
        return NULL;
    }
    AUTOFREE unsigned char *code = xcalloc(1, (size_t)st.st_size);
    if (pread(fd, code, (size_t)st.st_size, 0) != st.st_size) {
        err_errno(err, "reading the compiled program");
        return NULL;
    }
    char *text = xcalloc(1, (size_t)(st.st_size + 2) / 3 * 4 + 1);
    EVP_EncodeBlock((unsigned char *)text, code, (int)st.st_size);
    return text;
}

char *seccomp_compile(jval *rules, struct err *err)
{
    jval *list = jv_get(rules, "syscalls");
    uint32_t usual;
    if (jv_len(jv_get(rules, "flags")) || jv_present(jv_get(rules, "listenerPath"))) {
        err_set(err, ERR_BAD_REQUEST, "flags and listeners are left to crun");
        return NULL;
    }
    if (action_of(jv_str(jv_get(rules, "defaultAction")), jv_i64_or(jv_get(rules, "defaultErrnoRet"), DEFAULT_ERRNO), &usual,
                  err) < 0)
        return NULL;
    CLEANUP(filter_clean) scmp_filter_ctx f = seccomp_init(usual);
    if (!f) {
        err_set(err, ERR_INTERNAL, "seccomp_init failed");
        return NULL;
    }
    /* Found by halving: a system call costs the container some ten comparisons, not hundreds. Older libraries cannot. */
    seccomp_attr_set(f, SCMP_FLTATR_CTL_OPTIMIZE, BINARY_TREE);
    if (add_architectures(f, jv_get(rules, "architectures"), err) < 0)
        return NULL;
    for (size_t i = 0; i < jv_len(list); i++)
        if (add_rule(f, jv_at(list, i), usual, err) < 0)
            return NULL;
    return export_text(f, err);
}

/* ---- cache --------------------------------------------------------------------------------------------------------------- */

struct seccomp_cache {
    pthread_mutex_t lock;
    struct strmap programs; /* text of the rules -> base64, "" when they cannot be compiled */
};

struct seccomp_cache *seccomp_cache_new(void)
{
    struct seccomp_cache *c = xcalloc(1, sizeof *c);
    pthread_mutex_init(&c->lock, NULL);
    c->programs = STRMAP_INIT(free);
    return c;
}

void seccomp_cache_free(struct seccomp_cache *c)
{
    if (!c)
        return;
    strmap_free(&c->programs);
    pthread_mutex_destroy(&c->lock);
    free(c);
}

const char *seccomp_cache_get(struct seccomp_cache *c, jval *rules)
{
    BUF(key);
    ERR(e);
    jv_write(rules, JW_COMPACT, &key);
    LOCK_GUARD(&c->lock);
    const char *have = strmap_get(&c->programs, buf_str(&key));
    if (!have) {
        if (strmap_count(&c->programs) >= PROGRAMS_MAX)
            return NULL;
        char *made = seccomp_compile(rules, &e);
        if (!made)
            log_debug("a seccomp profile is left to crun: %s", err_text(&e));
        have = made ? made : xstrdup("");
        strmap_put(&c->programs, buf_str(&key), (void *)have);
    }
    return *have ? have : NULL;
}
