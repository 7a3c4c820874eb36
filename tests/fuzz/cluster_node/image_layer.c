/* A layer, whatever is in it: into a directory that is emptied each time, beside one that must stay as it is. */
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/fs.h"
#include "cluster/node/images/ref.h"
#include "cluster/node/images/unpack.h"

static char top[] = "/tmp/tm-fuzz-layer-XXXXXX";
static void remove_top(void) { fs_rm_rf(top, NULL); }

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct unpack_limits small = {.max_bytes = 1 << 20, .max_entries = 100, .max_ratio = 100, .free_bytes = 1 << 16};
    static char *dir;
    if (!dir) {
        ASSERT(mkdtemp(top));
        atexit(remove_top);
        dir = fs_join(top, "in");
    }
    AUTOFREE char *other = fs_join(top, "x");
    struct unpack_result r;
    AUTOCLOSE int fd = memfd_create("layer", MFD_CLOEXEC);
    ASSERT(fd >= 0 && write(fd, data, size) == (ssize_t)size && lseek(fd, 0, SEEK_SET) == 0);
    ASSERT(fs_rm_rf(dir, NULL) == 0 && fs_mkdir_p(dir, 0755, NULL) == 0);
    if (unpack_layer(fd, dir, &small, &r, NULL) == 0)
        ASSERT(digest_is_sha256(r.diff_id) && r.entries <= small.max_entries);
    ASSERT(!fs_exists(other));
    return 0;
}
