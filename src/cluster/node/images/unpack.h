/* unpack.h - one layer of an image: a tar stream (plain, gzip or zstd) becomes a directory for the overlay.
 *
 * The bytes are somebody else's. This runs in a process of its own, `tidemill image-unpack DIR`, which reads fd 3, shuts itself
 * into the directory and drops what it does not need; besides, no name of an archive is ever looked up outside of the directory.
 *
 *     .wh.NAME           becomes a whiteout (a character device 0:0); .wh..wh..opq makes its directory opaque
 *     names              ".." is refused; a leading '/' means the root of the image; links on the way are followed inside of it
 * only hard links         to files of the same layer devices            below /dev passed over (a container gets its own),
 * elsewhere refused; sockets are passed over xattrs             security.capability and user.* are kept but for user.overlay.*,
 * which would be the overlay's own sizes, counts      bounded; so is how much the stream may grow when decompressed, and the disk
 * is never filled to the brim
 *
 * Whiteouts are in the form that an overlay mounted with `userxattr` takes, so that no privilege over the system is needed to
 * write them. Source: OCI image-spec layer.md; kernel overlayfs.rst; kube.md 17. */
#ifndef TM_NODE_IMAGE_UNPACK_H
#define TM_NODE_IMAGE_UNPACK_H

#include "base/err.h"

#define UNPACK_FD 3

struct unpack_limits {
    int64_t max_bytes; /* decompressed */
    int64_t max_entries;
    int64_t max_ratio;  /* decompressed to compressed, once free_bytes have come out */
    int64_t free_bytes; /* so much may come out whatever the ratio */
    int64_t min_disk;   /* bytes that stay free on the file system */
};
extern const struct unpack_limits unpack_limits;

struct unpack_result {
    char diff_id[72]; /* digest of the tar itself */
    int64_t bytes, entries;
};
/* dir exists and is empty. On failure something may have been left in it. */
int unpack_layer(int fd, const char *dir, const struct unpack_limits *l, struct unpack_result *out, struct err *err);
/* What the process says on its standard error when it ends with 0, and back. */
int unpack_result_parse(const char *text, struct unpack_result *out, struct err *err);
int image_unpack_main(int argc, char **argv);

/* How the process is started: by the helper in the node, by ourselves in the command line. fd is the read end of the stream. */
typedef int unpack_fn(void *self, int fd, const char *dir, struct unpack_result *out, struct err *err);
/* The second way. self: NULL. */
int unpack_spawn(void *self, int fd, const char *dir, struct unpack_result *out, struct err *err);

#endif
