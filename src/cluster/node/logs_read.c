/* logs_read.c - see logs_read.h. */
#include "cluster/node/logs_read.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fs.h"
#include "base/timefmt.h"

enum { CHUNK = 65536, HEAD_MAX = 64 };

static bool same_stat(const struct stat *a, const struct stat *b) { return a->st_ino == b->st_ino && a->st_dev == b->st_dev; }

static int by_name(const void *a, const void *b) { return strcmp(*(char *const *)a, *(char *const *)b); }

void log_rotated(const char *path, struct strlist *out)
{
    AUTOFREE char *dir = xstrdup(path);
    char *base = strrchr(dir, '/');
    *base++ = 0;
    DIR *d = opendir(dir);
    for (struct dirent *e; d && (e = readdir(d));)
        if (str_starts(e->d_name, base) && e->d_name[strlen(base)] == '.' && !str_ends(e->d_name, LOG_UNREADY))
            strlist_take(out, fs_join(dir, e->d_name));
    if (d)
        closedir(d);
    if (out->n)
        qsort(out->v, out->n, sizeof *out->v, by_name);
}

bool log_same_file(const char *a, const char *b)
{
    struct stat x, y;
    return stat(a, &x) == 0 && stat(b, &y) == 0 && same_stat(&x, &y);
}

/* ---- records ---- */

/* One record without its newline. Bytes that are no record (a file cut in a crash) are left out. */
static void put_record(struct log_reader *r, const char *s, size_t n, struct buf *out)
{
    const char *end = s + n, *stream = memchr(s, ' ', n < HEAD_MAX ? n : HEAD_MAX);
    const char *tag = stream ? memchr(stream + 1, ' ', (size_t)(end - stream - 1)) : NULL;
    const char *text = tag ? memchr(tag + 1, ' ', (size_t)(end - tag - 1)) : NULL;
    if (!text || text - tag != 2 || (tag[1] != 'F' && tag[1] != 'P'))
        return;
    bool begins = !r->in_line;
    r->in_line = tag[1] == 'P';
    AUTOFREE char *time = xstrndup(s, (size_t)(stream - s));
    if (begins) {
        int64_t at;
        r->skip_line = r->since_ns && time_parse(time, &at) && at < r->since_ns;
    }
    if (r->skip_line)
        return;
    size_t before = out->len;
    if (begins && r->timestamps) {
        int64_t at;
        char z[TIME_TEXT_MAX];
        buf_addf(out, "%s ", time_parse(time, &at) ? time_format(z, at, TIME_NANOS_TRIMMED) : time);
    }
    buf_add(out, text + 1, (size_t)(end - text - 1));
    if (!r->in_line)
        buf_addc(out, '\n');
    if (r->left >= 0) {
        size_t added = out->len - before;
        if ((int64_t)added > r->left) {
            out->len = before + (size_t)r->left;
            out->data[out->len] = 0;
            added = (size_t)r->left;
        }
        r->left -= (int64_t)added;
    }
}

/* Bytes from the file into records. 1: something was read; 0: its end. */
static int read_some(struct log_reader *r, size_t max, struct buf *out, struct err *err)
{
    size_t want = max < CHUNK ? (max ? max : 1) : CHUNK;
    buf_reserve(&r->in, want);
    ssize_t n = r->fd < 0 ? 0 : read(r->fd, r->in.data + r->in.len, want);
    if (n < 0)
        return err_errno(err, "reading %s", r->path);
    r->in.len += (size_t)n;
    size_t used = 0;
    while (r->left != 0) {
        const char *s = r->in.data + used, *nl = memchr(s, '\n', r->in.len - used);
        if (!nl)
            break;
        put_record(r, s, (size_t)(nl - s), out);
        used = (size_t)(nl - r->in.data) + 1;
    }
    buf_consume(&r->in, used);
    return n > 0;
}

/* The file that was begun after the one that is open, which was rotated, or the log itself when it has come to be; NULL: there is
 * none. When the open one is no longer among those that are kept and not packed: the oldest of these. */
static char *next_file(const struct log_reader *r)
{
    struct stat have, st;
    if (stat(r->path, &st) < 0 || (r->fd >= 0 && fstat(r->fd, &have) == 0 && same_stat(&have, &st)))
        return NULL;
    STRLIST(files);
    log_rotated(r->path, &files);
    strlist_add(&files, r->path);
    size_t next = 0;
    for (size_t i = 0; i < files.n; i++)
        if (str_ends(files.v[i], ".gz") || (r->fd >= 0 && stat(files.v[i], &st) == 0 && same_stat(&have, &st)))
            next = i + 1;
    return xstrdup(files.v[next]);
}

/* ---- where reading begins ---- */

/* Whether the record that begins there ends a line (F). */
static bool ends_line(int fd, off_t begin)
{
    char head[HEAD_MAX + 1] = "";
    ssize_t n = pread(fd, head, HEAD_MAX, begin);
    head[n > 0 ? n : 0] = 0;
    head[strcspn(head, "\n")] = 0;
    const char *stream = strchr(head, ' '), *tag = stream ? strchr(stream + 1, ' ') : NULL;
    return tag && tag[1] == 'F';
}

/* Places the file where its last n lines begin, going back from the end: behind the record that ends the line before them.
 * Returns how many lines it lacks. */
static int64_t seek_tail(int fd, int64_t lines)
{
    off_t at = lseek(fd, 0, SEEK_END), record_end = -1, start = 0;
    AUTOFREE char *chunk = xmalloc(CHUNK);
    int64_t seen = 0;
    bool found = lines == 0;
    if (found)
        start = at;
    while (at > 0 && !found) {
        off_t from = at > CHUNK ? at - CHUNK : 0;
        ssize_t n = pread(fd, chunk, (size_t)(at - from), from);
        if (n <= 0)
            break;
        for (ssize_t i = n - 1; i >= 0 && !found; i--) {
            if (chunk[i] != '\n')
                continue;
            if (record_end >= 0 && ends_line(fd, from + i + 1) && ++seen > lines) {
                start = record_end + 1;
                found = true;
            }
            record_end = from + i;
        }
        at = from;
    }
    if (!found && record_end >= 0 && ends_line(fd, 0) && ++seen > lines) {
        start = record_end + 1;
        found = true;
    }
    lseek(fd, start, SEEK_SET);
    return found ? 0 : lines - seen;
}

/* Opens the log where reading begins. A log that was just rotated has few lines, or none: what it lacks is read from the file
 * before it, which is not packed yet. */
int log_reader_open(struct log_reader *r, int64_t tail, struct err *err)
{
    r->fd = open(r->path, O_RDONLY | O_CLOEXEC);
    if (r->fd < 0)
        return errno == ENOENT ? 0 : err_errno(err, "opening the log");
    int64_t lacks = tail < 0 ? -1 : seek_tail(r->fd, tail);
    STRLIST(old);
    log_rotated(r->path, &old);
    if (!lacks || !old.n || str_ends(old.v[old.n - 1], ".gz"))
        return 0;
    struct stat have, st;
    int fd = open(old.v[old.n - 1], O_RDONLY | O_CLOEXEC);
    if (fd < 0 || (fstat(fd, &st) == 0 && fstat(r->fd, &have) == 0 && same_stat(&have, &st))) {
        if (fd >= 0)
            close(fd); /* two names of one file: it is being rotated */
        return 0;
    }
    if (lacks > 0)
        seek_tail(fd, lacks);
    close(r->fd);
    r->fd = fd;
    r->older = true;
    return 0;
}

int log_reader_read(struct log_reader *r, bool go_on, size_t max, struct buf *out, struct err *err)
{
    int rc = read_some(r, max, out, err);
    AUTOFREE char *next = rc == 0 && (go_on || r->older) ? next_file(r) : NULL;
    if (next) /* nothing is written any more to the one that is open; what was written before has to be read */
        rc = read_some(r, max, out, err);
    if (rc < 0 || r->left == 0 || rc > 0 || !next)
        return rc < 0 ? -1 : r->left == 0 ? 2 : rc;
    int fd = open(next, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return errno == ENOENT ? 1 : err_errno(err, "reading %s", next); /* packed meanwhile */
    if (r->fd >= 0)
        close(r->fd);
    r->fd = fd;
    r->older &= !str_eq(next, r->path);
    buf_reset(&r->in);
    return 1;
}

void log_reader_close(struct log_reader *r)
{
    if (r->fd >= 0)
        close(r->fd);
    buf_free(&r->in);
    free(r->path);
}
