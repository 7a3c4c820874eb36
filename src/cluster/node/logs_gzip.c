/* What was rotated out of a log is packed, as kubelet does it: all but the newest, to which conmon may still write. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>
#include <zlib.h>

#include "base/str.h"
#include "cluster/node/logs.h"

#define LOG_ROOM "node"
#include "base/log.h"

enum { PIECE = 256 * 1024 };

static int pack(int from, int to)
{
    /* gzdopen takes a descriptor of its own. */
    gzFile z = gzdopen(dup(to), "wb");
    AUTOFREE char *piece = xmalloc(PIECE);
    ssize_t n = -1;
    if (!z)
        return -1;
    while ((n = read(from, piece, PIECE)) > 0 || (n < 0 && errno == EINTR))
        if (n > 0 && gzwrite(z, piece, (unsigned)n) != n)
            break;
    return gzclose(z) == Z_OK && n == 0 ? 0 : -1;
}

void logs_gzip(const char *path)
{
    AUTOFREE char *packed = xasprintf("%s.gz", path), *tmp = xasprintf("%s.tmp", path);
    AUTOCLOSE int from = open(path, O_RDONLY | O_CLOEXEC);
    AUTOCLOSE int to = open(tmp, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    if (from < 0 || to < 0 || pack(from, to) < 0 || rename(tmp, packed) < 0) {
        log_warn("packing the log %s: %s", path, strerror(errno));
        unlink(tmp);
        return;
    }
    unlink(path);
}
