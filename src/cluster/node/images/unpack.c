#include "cluster/node/images/unpack.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/capability.h>
#include <locale.h>
#include <openssl/evp.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fs.h"
#include "base/str.h"
#include "cluster/node/images/ref.h"
#include "cluster/node/images/unpack_priv.h"

enum { CHUNK = 128 << 10, DISK_EVERY = 32 << 20, SAID_MAX = 4096, FILES_MAX = 64 };
#define MEMORY_MAX (2ULL << 30)

const struct unpack_limits unpack_limits = {
    .max_bytes = 256LL << 30, .max_entries = 4000000, .max_ratio = 200, .free_bytes = 1LL << 30, .min_disk = 128LL << 20};

/* The stream in its two forms: what came in, and what it is decompressed. The inner archive is the tar. */
struct stream {
    int fd;
    const struct unpack_limits *limits;
    struct archive *outer, *inner;
    EVP_MD_CTX *hash;
    int64_t in, out, since_disk;
    int root;
    bool is_empty;
    char *buffer;
    size_t begun;    /* bytes of buffer that were read to see how it is packed */
    struct err *err; /* of the callbacks */
};

static la_ssize_t read_fd(struct archive *a, void *self, const void **p)
{
    struct stream *s = self;
    ssize_t n = (ssize_t)s->begun;
    s->begun = 0;
    while (!n && (n = read(s->fd, s->buffer, CHUNK)) < 0 && errno == EINTR)
        n = 0;
    if (n < 0) {
        archive_set_error(a, errno, "reading the layer: %s", strerror(errno));
        return -1;
    }
    s->in += n;
    *p = s->buffer;
    return n;
}

static int check_growth(struct stream *s, size_t n, struct err *err)
{
    const struct unpack_limits *l = s->limits;
    s->out += (int64_t)n;
    s->since_disk += (int64_t)n;
    if (s->out > l->max_bytes)
        return err_set(err, ERR_TOO_LARGE, "the layer is larger than %" PRId64 " bytes when decompressed", l->max_bytes);
    if (s->out > l->free_bytes && s->out / l->max_ratio > s->in)
        return err_set(err, ERR_TOO_LARGE, "the layer grows from %" PRId64 " to more than %" PRId64 " bytes: no layer does",
                       s->in, s->out);
    if (s->since_disk < DISK_EVERY)
        return 0;
    s->since_disk = 0;
    struct statvfs v;
    if (fstatvfs(s->root, &v) == 0 && (int64_t)v.f_bavail * (int64_t)v.f_frsize < l->min_disk) {
        errno = ENOSPC;
        return err_errno(err, "unpacking a layer");
    }
    return 0;
}

/* The next piece of the tar; counted and hashed. > 0, 0 at the end, -1. */
static la_ssize_t next_piece(struct stream *s, const void **p)
{
    size_t n = 0;
    la_int64_t offset;
    int rc;
    if (s->is_empty)
        return 0;
    do
        rc = archive_read_data_block(s->outer, p, &n, &offset);
    while (rc == ARCHIVE_OK && n == 0);
    if (rc == ARCHIVE_EOF)
        return 0;
    if (rc != ARCHIVE_OK)
        return err_set(s->err, ERR_BAD_REQUEST, "the layer cannot be decompressed: %s", archive_error_string(s->outer));
    if (check_growth(s, n, s->err) < 0)
        return -1;
    ASSERT(EVP_DigestUpdate(s->hash, *p, n) == 1);
    return (la_ssize_t)n;
}

static la_ssize_t read_outer(struct archive *a, void *self, const void **p)
{
    la_ssize_t n = next_piece(self, p);
    if (n < 0)
        archive_set_error(a, EIO, "%s", err_text(((struct stream *)self)->err));
    return n;
}

/* gzip, zstd or neither, once: the library would go on with what is packed in what is packed, and see none of the limits. */
static int choose_filter(struct stream *s, struct err *err)
{
    static const unsigned char gzip[] = {0x1f, 0x8b}, zstd[] = {0x28, 0xb5, 0x2f, 0xfd}, skippable[] = {0x2a, 0x4d, 0x18};
    enum { SEEN = 4 };
    ssize_t n = 1;
    while (s->begun < SEEN && n != 0) {
        n = read(s->fd, s->buffer + s->begun, CHUNK - s->begun);
        if (n < 0 && errno != EINTR)
            return err_errno(err, "reading the layer");
        s->begun += n > 0 ? (size_t)n : 0;
    }
    const unsigned char *p = (const unsigned char *)s->buffer;
    if (s->begun < SEEN)
        return 0;
    int filter = memcmp(p, gzip, sizeof gzip) == 0                                                       ? ARCHIVE_FILTER_GZIP
                 : memcmp(p, zstd, SEEN) == 0 || ((p[0] & 0xf0) == 0x50 && !memcmp(p + 1, skippable, 3)) ? ARCHIVE_FILTER_ZSTD
                                                                                                         : ARCHIVE_FILTER_NONE;
    /* The library takes a gzip whose head is wrong for one that holds nothing: method 8, and none of the reserved flags. */
    if (filter == ARCHIVE_FILTER_GZIP && (p[2] != 8 || p[3] & 0xe0))
        return err_set(err, ERR_BAD_REQUEST, "the layer cannot be decompressed: it begins as gzip, and is none");
    if (filter == ARCHIVE_FILTER_NONE || archive_read_append_filter(s->outer, filter) == ARCHIVE_OK)
        return 0;
    return err_set(err, ERR_BAD_REQUEST, "the layer cannot be decompressed: %s", archive_error_string(s->outer));
}

static int open_stream(struct stream *s, struct err *err)
{
    struct archive_entry *e;
    s->outer = archive_read_new();
    s->inner = archive_read_new();
    ASSERT(s->outer && s->inner);
    archive_read_support_format_raw(s->outer);
    archive_read_support_format_empty(s->outer);
    archive_read_support_format_tar(s->inner);
    archive_read_support_format_empty(s->inner);
    if (choose_filter(s, err) < 0)
        return -1;
    int rc = archive_read_open(s->outer, s, NULL, read_fd, NULL);
    if (rc == ARCHIVE_OK)
        rc = archive_read_next_header(s->outer, &e);
    if (rc != ARCHIVE_OK && rc != ARCHIVE_EOF)
        return err_set(err, ERR_BAD_REQUEST, "the layer cannot be decompressed: %s", archive_error_string(s->outer));
    /* Garbage behind a good head counts as an end there; what holds nothing ends with a sum and a length of 0. */
    static const char none[8];
    if (rc == ARCHIVE_EOF && archive_filter_code(s->outer, 0) == ARCHIVE_FILTER_GZIP &&
        (s->in < 18 || s->in > CHUNK || memcmp(s->buffer + s->in - sizeof none, none, sizeof none) != 0))
        return err_set(err, ERR_BAD_REQUEST, "the layer cannot be decompressed: nothing comes out of it");
    s->is_empty = rc == ARCHIVE_EOF;
    if (archive_read_open(s->inner, s, NULL, read_outer, NULL) != ARCHIVE_OK)
        return err_set(err, ERR_BAD_REQUEST, "the layer is no tar archive: %s", archive_error_string(s->inner));
    return 0;
}

/* Sparse files: what they claim to be counts, not what they take. */
static int count_entry(const struct unpack_limits *l, struct archive_entry *e, int64_t *claimed, struct unpack_result *out,
                       struct err *err)
{
    int64_t size = archive_entry_size_is_set(e) ? archive_entry_size(e) : 0;
    if (++out->entries > l->max_entries)
        return err_set(err, ERR_TOO_LARGE, "the layer has more than %" PRId64 " entries", l->max_entries);
    if (size < 0 || size > l->max_bytes || (*claimed += size) > l->max_bytes)
        return err_set(err, ERR_TOO_LARGE, "the layer's files claim more than %" PRId64 " bytes", l->max_bytes);
    return 0;
}

static int unpack_entries(struct stream *s, struct tree *t, struct unpack_result *out, struct err *err)
{
    int64_t claimed = 0;
    for (;;) {
        struct archive_entry *e;
        int rc = archive_read_next_header(s->inner, &e);
        if (rc == ARCHIVE_EOF)
            return tree_finish(t, err);
        /* A warning is about the charset of a name, which stays what it is. */
        if (rc != ARCHIVE_OK && rc != ARCHIVE_WARN)
            return s->err->code
                       ? -1
                       : err_set(err, ERR_BAD_REQUEST, "the layer is no tar archive: %s", archive_error_string(s->inner));
        if (count_entry(s->limits, e, &claimed, out, err) < 0 || tree_add(t, s->inner, e, err) < 0)
            return -1;
    }
}

/* What comes after the archive's end belongs to the digest. */
static int read_rest(struct stream *s, struct unpack_result *out)
{
    const void *p;
    la_ssize_t n;
    while ((n = next_piece(s, &p)) > 0)
        ;
    if (n < 0)
        return -1;
    unsigned char sum[EVP_MAX_MD_SIZE];
    unsigned len = 0;
    ASSERT(EVP_DigestFinal_ex(s->hash, sum, &len) == 1);
    AUTOFREE char *hex = hex_encode(sum, len);
    snprintf(out->diff_id, sizeof out->diff_id, "sha256:%s", hex);
    out->bytes = s->out;
    while (read(s->fd, s->buffer, CHUNK) > 0)
        ; /* whoever feeds us must not be left with a broken pipe */
    return 0;
}

int unpack_layer(int fd, const char *dir, const struct unpack_limits *l, struct unpack_result *out, struct err *err)
{
    struct tree t;
    ERR(own);
    /* Names are bytes to us; libarchive converts those that say they are UTF-8, which must then be ours as well. */
    locale_t utf8 = newlocale(LC_CTYPE_MASK, "C.UTF-8", (locale_t)0), was = utf8 ? uselocale(utf8) : (locale_t)0;
    struct stream s = {.fd = fd, .limits = l, .hash = EVP_MD_CTX_new(), .buffer = xmalloc(CHUNK), .err = &own};
    ASSERT(s.hash && EVP_DigestInit_ex(s.hash, EVP_sha256(), NULL) == 1);
    *out = (struct unpack_result){0};
    int rc = tree_open(&t, dir, &own);
    s.root = t.root;
    if (rc == 0 && (rc = open_stream(&s, &own)) == 0 && (rc = unpack_entries(&s, &t, out, &own)) == 0)
        rc = read_rest(&s, out);
    tree_close(&t);
    archive_read_free(s.inner);
    archive_read_free(s.outer);
    EVP_MD_CTX_free(s.hash);
    free(s.buffer);
    if (utf8) {
        uselocale(was);
        freelocale(utf8);
    }
    return rc < 0 ? err_move(err, &own) : 0;
}

/* ---- the process
 * --------------------------------------------------------------------------------------------------------------- */

/* What remains: giving files to others, writing what they own, set-user bits, whiteouts, capabilities of files. */
static int drop_privileges(struct err *err)
{
    static const int kept[] = {CAP_CHOWN, CAP_DAC_OVERRIDE, CAP_FOWNER, CAP_FSETID, CAP_MKNOD, CAP_SETFCAP};
    struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct have[2], data[2] = {{0}};
    uint64_t mask = 0;
    for (size_t i = 0; i < ARRAY_LEN(kept); i++)
        mask |= 1ULL << kept[i];
    if (syscall(SYS_capget, &head, have) < 0)
        return err_errno(err, "asking for our capabilities");
    for (int cap = 0; cap <= CAP_LAST_CAP; cap++)
        if (!(mask & 1ULL << cap))
            prctl(PR_CAPBSET_DROP, cap, 0, 0, 0);
    for (int i = 0; i < 2; i++)
        data[i].permitted = data[i].effective = have[i].permitted & (uint32_t)(mask >> (32 * i));
    if (syscall(SYS_capset, &head, data) < 0 || prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
        return err_errno(err, "dropping capabilities");
    return 0;
}

static int confine(const char *dir, struct err *err)
{
    struct rlimit UNUSED memory = {MEMORY_MAX, MEMORY_MAX}, files = {FILES_MAX, FILES_MAX}, none = {0, 0};
    umask(0);
    close_range(UNPACK_FD + 1, ~0U, 0);
    /* Loaded before the files it is in can no longer be seen. */
    locale_t utf8 = newlocale(LC_CTYPE_MASK, "C.UTF-8", (locale_t)0);
    if (utf8)
        freelocale(utf8);
    unsigned char sum[EVP_MAX_MD_SIZE];
    unsigned len;
    ASSERT(EVP_Digest("", 0, sum, &len, EVP_sha256(), NULL) == 1);
    if (chdir(dir) < 0)
        return err_errno(err, "entering %s", dir);
    if (geteuid() == 0 && (chroot(".") < 0 || drop_privileges(err) < 0))
        return err->code ? -1 : err_errno(err, "confining ourselves to %s", dir);
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__) /* which reserve terabytes */
    setrlimit(RLIMIT_AS, &memory);
#endif
    setrlimit(RLIMIT_NOFILE, &files);
    setrlimit(RLIMIT_CORE, &none);
    return 0;
}

int image_unpack_main(int argc, char **argv)
{
    ERR(e);
    struct unpack_result r;
    if (argc != 2 || fcntl(UNPACK_FD, F_GETFD) < 0) {
        fprintf(stderr, "tidemill image-unpack: started by tidemill itself, with a directory and a stream on fd %d\n", UNPACK_FD);
        return 2;
    }
    bool failed = confine(argv[1], &e) < 0 || unpack_layer(UNPACK_FD, ".", &unpack_limits, &r, &e) < 0;
    if (failed)
        fprintf(stderr, "%s", err_text(&e));
    else
        fprintf(stderr, "%s %" PRId64 " %" PRId64, r.diff_id, r.bytes, r.entries);
    /* What libraries do at an exit finds nothing of the machine here. */
    err_clear(&e);
    _exit(failed);
}

int unpack_result_parse(const char *text, struct unpack_result *out, struct err *err)
{
    *out = (struct unpack_result){0};
    if (sscanf(text, "%71s %" SCNd64 " %" SCNd64, out->diff_id, &out->bytes, &out->entries) == 3 &&
        digest_is_sha256(out->diff_id))
        return 0;
    return err_set(err, ERR_INTERNAL, "unpacking a layer ended strangely: \"%.200s\"", text);
}

static int wait_for(pid_t pid, int said, struct unpack_result *out, struct err *err)
{
    char text[SAID_MAX + 1] = "";
    int status = 0;
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
        ;
    ssize_t n = pread(said, text, SAID_MAX, 0);
    text[n > 0 ? n : 0] = 0;
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
        return err_set(err, ERR_BAD_REQUEST, "%s", *text ? text : "unpacking a layer was interrupted");
    return unpack_result_parse(text, out, err);
}

int unpack_spawn(void *self, int fd, const char *dir, struct unpack_result *out, struct err *err)
{
    char *const argv[] = {(char *)"tidemill", (char *)"image-unpack", (char *)dir, NULL};
    char *const envp[] = {NULL};
    posix_spawn_file_actions_t files;
    pid_t pid;
    AUTOCLOSE int said = memfd_create("said", MFD_CLOEXEC);
    /* Away from the numbers that the actions use. */
    AUTOCLOSE int in = fcntl(fd, F_DUPFD_CLOEXEC, 10);
    if (said < 0 || in < 0)
        return err_errno(err, "memfd_create");
    posix_spawn_file_actions_init(&files);
    posix_spawn_file_actions_addopen(&files, 0, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_addopen(&files, 1, "/dev/null", O_WRONLY, 0);
    posix_spawn_file_actions_adddup2(&files, said, 2);
    posix_spawn_file_actions_adddup2(&files, in, UNPACK_FD);
    int rc = posix_spawn(&pid, "/proc/self/exe", &files, NULL, argv, envp);
    posix_spawn_file_actions_destroy(&files);
    if (rc != 0) {
        errno = rc;
        return err_errno(err, "starting image-unpack");
    }
    return wait_for(pid, said, out, err);
}
