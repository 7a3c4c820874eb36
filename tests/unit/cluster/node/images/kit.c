#include "kit.h"

#include <unistd.h>

#include "base/fs.h"
#include "unit.h"

enum { BYTES_MAX = 64 << 20 };

char *kit_dir(void)
{
    const char *tmp = getenv("TMPDIR");
    char *dir = xasprintf("%s/tm-images-XXXXXX", tmp && *tmp ? tmp : "/tmp");
    assert_non_null(mkdtemp(dir));
    return dir;
}

void kit_rm(char *dir)
{
    ERR(e);
    if (fs_rm_rf(dir, &e) < 0)
        fail_msg("%s", err_text(&e));
    free(dir);
}

void kit_tar_open(struct kit_tar *t, const char *filter)
{
    *t = (struct kit_tar){.a = archive_write_new(), .bytes = xmalloc(BYTES_MAX)};
    archive_write_set_format_pax(t->a);
    if (filter)
        assert_int_equal(archive_write_add_filter_by_name(t->a, filter), ARCHIVE_OK);
    assert_int_equal(archive_write_open_memory(t->a, t->bytes, BYTES_MAX, &t->used), ARCHIVE_OK);
}

struct archive_entry *kit_tar_entry(const char *path, unsigned type)
{
    struct archive_entry *e = archive_entry_new();
    archive_entry_set_pathname(e, path);
    archive_entry_set_filetype(e, type);
    archive_entry_set_perm(e, 0755);
    archive_entry_set_mtime(e, 1700000000, 0);
    archive_entry_set_uid(e, getuid());
    archive_entry_set_gid(e, getgid());
    return e;
}

void kit_tar_put(struct kit_tar *t, struct archive_entry *e, const void *p, size_t n)
{
    if (p)
        archive_entry_set_size(e, (la_int64_t)n);
    assert_true(archive_write_header(t->a, e) >= ARCHIVE_WARN);
    if (p)
        assert_int_equal(archive_write_data(t->a, p, n), n);
    archive_entry_free(e);
}

void kit_tar_add(struct kit_tar *t, const char *path, unsigned type, const char *what)
{
    struct archive_entry *e = kit_tar_entry(path, type);
    if (type == AE_IFLNK)
        archive_entry_set_symlink(e, what);
    kit_tar_put(t, e, type == AE_IFREG ? what : NULL, type == AE_IFREG ? strlen(what) : 0);
}

void kit_tar_link(struct kit_tar *t, const char *path, const char *target)
{
    struct archive_entry *e = kit_tar_entry(path, AE_IFREG);
    archive_entry_set_hardlink(e, target);
    kit_tar_put(t, e, NULL, 0);
}

void kit_tar_end(struct kit_tar *t)
{
    assert_int_equal(archive_write_close(t->a), ARCHIVE_OK);
    archive_write_free(t->a);
    t->a = NULL;
}

void kit_tar_free(struct kit_tar *t)
{
    if (t->a)
        archive_write_free(t->a);
    free(t->bytes);
}
