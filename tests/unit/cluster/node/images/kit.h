/* kit.h - tars made entry by entry, and directories that go away. */
#ifndef TM_TESTS_IMAGES_KIT_H
#define TM_TESTS_IMAGES_KIT_H

#include <archive.h>
#include <archive_entry.h>

#include "base/str.h"

/* A new directory below $TMPDIR; the caller frees the name. */
char *kit_dir(void);
void kit_rm(char *dir); /* and the name */

struct kit_tar {
    struct archive *a;
    char *bytes;
    size_t used;
};
/* gzip, zstd or NULL. At most 64 MiB. */
void kit_tar_open(struct kit_tar *t, const char *filter);
/* type as of archive_entry_set_filetype; what: content or target. */
void kit_tar_add(struct kit_tar *t, const char *path, unsigned type, const char *what);
void kit_tar_link(struct kit_tar *t, const char *path, const char *target);
struct archive_entry *kit_tar_entry(const char *path, unsigned type);
void kit_tar_put(struct kit_tar *t, struct archive_entry *e, const void *p, size_t n); /* frees e */
void kit_tar_end(struct kit_tar *t);
void kit_tar_free(struct kit_tar *t);

/* An image of one layer that was never unpacked, called docker.io/library/<name>; returns its id, the caller frees
 * (test_store.c). */
struct image_store;
char *kit_put_image(struct image_store *s, const char *name, const char *layer, int64_t now);
/* Puts an image into the store there: what a test kills in the middle (test_store.c). */
int kit_put_image_main(const char *images, const char *pods);

#endif
