/* A log file, whatever is in it, read with options that are taken from it as well. */
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/fs.h"
#include "cluster/node/logs.h"

static char dir[] = "/tmp/tm-fuzz-log-XXXXXX";
static void remove_dir(void) { fs_rm_rf(dir, NULL); }

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct logs *logs;
    static struct json *pod;
    static char *file;
    if (!logs) {
        ASSERT(mkdtemp(dir));
        atexit(remove_dir);
        AUTOFREE char *place = fs_join(dir, "pods/n_p_u/c");
        ASSERT(fs_mkdir_p(place, 0755, NULL) == 0);
        file = fs_join(place, "0.log");
        logs = logs_new(&(struct logs_config){.dir = dir, .clock = &clock_system, .max_bytes = 1 << 20, .max_files = 2});
        pod = json_parse_str(
            "{\"metadata\":{\"name\":\"p\",\"namespace\":\"n\",\"uid\":\"u\"},\"spec\":{\"containers\":[{\"name\":\"c\"}]},"
            "\"status\":{\"containerStatuses\":[{\"name\":\"c\",\"state\":{\"terminated\":{}}}]}}",
            NULL);
    }
    if (size < 3)
        return 0;
    int fd = open(file, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    ASSERT(fd >= 0 && write(fd, data + 3, size - 3) == (ssize_t)size - 3);
    close(fd);
    struct kube_log_opts o = {.container = "c",
                              .tail_lines = data[0] & 1 ? data[1] : -1,
                              .timestamps = data[0] & 2,
                              .limit_bytes = data[0] & 4 ? data[2] : 0,
                              .since_time_ns = data[0] & 8 ? 1 : 0};
    struct ctx ctx = ctx_background();
    BUF(out);
    struct node_log *log = logs_open(logs, &ctx, json_root(pod), &o, NULL, NULL, NULL);
    ASSERT(log);
    while (log->read(log, 1 + data[2], &out, NULL) == 1)
        ;
    ASSERT(!o.limit_bytes || out.len <= (size_t)o.limit_bytes);
    log->close(log);
    return 0;
}
