#include "node_test.h"

#include <unistd.h>

#include "base/buf.h"
#include "base/fs.h"
#include "base/str.h"
#include "unit.h"

bool node_test_possible(void)
{
    static int known = -1;
    if (known < 0)
        known = geteuid() == 0 && access("/usr/bin/crun", X_OK) == 0 && access("/usr/bin/conmon", X_OK) == 0 &&
                system("unshare -mn true 2>/dev/null") == 0;
    if (!known && str_eq(getenv("TIDEMILL_REQUIRE_NODE"), "1"))
        fail_msg("this machine cannot run containers (root, crun, conmon and namespaces are needed)");
    if (!known)
        print_message("skipped: needs root, crun, conmon and namespaces\n");
    return known;
}

char *node_test_dir(void)
{
    const char *tmp = getenv("TMPDIR");
    char *dir = xasprintf("%s/tm-node-XXXXXX", tmp && *tmp ? tmp : "/tmp");
    assert_non_null(mkdtemp(dir));
    return dir;
}

void node_test_rm(const char *dir)
{
    ERR(e);
    if (fs_rm_rf(dir, &e) < 0)
        fail_msg("%s", err_text(&e));
}

char *node_test_sh(const char *fmt, ...)
{
    BUF(cmd);
    BUF(out);
    va_list ap;
    va_start(ap, fmt);
    buf_addv(&cmd, fmt, ap);
    va_end(ap);
    FILE *f = popen(buf_str(&cmd), "r");
    assert_non_null(f);
    char chunk[4096];
    size_t n;
    while ((n = fread(chunk, 1, sizeof chunk, f)) > 0)
        buf_add(&out, chunk, n);
    pclose(f);
    return buf_steal(&out, NULL);
}

char *node_test_left(const char *dir, const char *instance)
{
    return node_test_sh(
        "grep -o ' %s[^ ]*' /proc/self/mountinfo; ip -o link | grep -o ' %s[^ :@]*'; nft list tables 2>/dev/null | grep %s; "
        "ls -d /sys/fs/cgroup/%s /sys/fs/cgroup/*/%s 2>/dev/null",
        dir, instance, instance, instance, instance);
}
