/* archive.c - the pipeline file inside what was uploaded (spec 4.3). What an archive may cost is bounded: bytes that come out of
 * all members together, and their number. */
#include <archive.h>
#include <archive_entry.h>
#include <string.h>

#include "pipelines/api/internal.h"

enum { MEMBERS_MAX = 1000 };
static const size_t INFLATED_MAX = 2 * (size_t)PACKAGE_MAX; /* of all members read on the way to the right one */

static bool named_yaml(const char *name) { return str_ends(name, ".yaml") || str_ends(name, ".yml"); }

static int unreadable(struct err *err, const char *why)
{
    return err_set(err, ERR_INVALID, "Failed to read a pipeline spec file: %s", why);
}

static const char *why_not(struct archive *a)
{
    return archive_error_string(a) ? archive_error_string(a) : "the archive is broken";
}

/* Reads one member, into out or (NULL) past it. */
static int read_member(struct archive *a, struct buf *out, size_t *budget, struct err *err)
{
    char piece[16384];
    for (;;) {
        la_ssize_t n = archive_read_data(a, piece, sizeof piece);
        if (n == 0)
            return 0;
        if (n < 0)
            return unreadable(err, why_not(a));
        if ((size_t)n > *budget || (out && out->len + (size_t)n > PACKAGE_MAX))
            return unreadable(err, "it unpacks to more than 32 MiB");
        *budget -= (size_t)n;
        if (out)
            buf_add(out, piece, (size_t)n);
    }
}

/* The member named pipeline.yaml wherever it stands, else the first file, which must be YAML. */
static int pick_member(struct archive *a, struct buf *out, struct err *err)
{
    size_t budget = INFLATED_MAX, files = 0;
    BUF(first);
    bool first_is_yaml = false;
    for (int i = 0; i < MEMBERS_MAX; i++) {
        struct archive_entry *entry;
        int rc = archive_read_next_header(a, &entry);
        if (rc == ARCHIVE_EOF && i > 0) {
            if (!first_is_yaml)
                return unreadable(err, "the archive has no pipeline.yaml, and its first member is no .yaml or .yml file");
            buf_add(out, first.data, first.len);
            return 0;
        }
        if (rc != ARCHIVE_OK && rc != ARCHIVE_WARN)
            return unreadable(err, rc == ARCHIVE_EOF ? "the archive is empty" : why_not(a));
        const char *name = archive_entry_pathname(entry);
        bool file = name && archive_entry_filetype(entry) == AE_IFREG;
        if (file && str_starts(name, "./")) /* as tar(1) names what it finds in "." */
            name += 2;
        if (file && strcmp(name, "pipeline.yaml") == 0)
            return read_member(a, out, &budget, err);
        bool keep = file && files == 0 && named_yaml(name);
        files += file;
        first_is_yaml = first_is_yaml || keep;
        if (read_member(a, keep ? &first : NULL, &budget, err) < 0)
            return -1;
    }
    return unreadable(err, "the archive has more than 1000 members");
}

static void archive_freep(struct archive **a)
{
    if (*a)
        archive_read_free(*a);
}

static int unpack(const char *p, size_t n, bool zip, struct buf *out, struct err *err)
{
    CLEANUP(archive_freep) struct archive *a = archive_read_new();
    if (!a)
        return err_set(err, ERR_INTERNAL, "no memory for an archive");
    if (zip)
        archive_read_support_format_zip(a);
    else {
        archive_read_support_filter_gzip(a);
        archive_read_support_format_tar(a);
    }
    if (archive_read_open_memory(a, p, n) != ARCHIVE_OK)
        return unreadable(err, why_not(a));
    return pick_member(a, out, err);
}

int package_unpack(const char *file_name, const char *p, size_t n, struct buf *out, struct err *err)
{
    if (n > PACKAGE_MAX)
        return unreadable(err, "it has more than 32 MiB");
    if (named_yaml(file_name) || str_ends(file_name, ".json")) {
        buf_add(out, p, n);
        return 0;
    }
    if (n >= 2 && memcmp(p, "PK", 2) == 0)
        return unpack(p, n, true, out, err);
    if (n >= 2 && memcmp(p, "\x1f\x8b", 2) == 0)
        return unpack(p, n, false, out, err);
    return unreadable(err, "unexpected format. Use .yaml, .yml, .json, .zip or .tar.gz");
}
