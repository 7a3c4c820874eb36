/* unpack_priv.h - what the two halves of unpacking share: unpack.c reads the stream, unpack_tree.c writes the tree. */
#ifndef TM_NODE_IMAGE_UNPACK_PRIV_H
#define TM_NODE_IMAGE_UNPACK_PRIV_H

#include <archive.h>
#include <archive_entry.h>

#include "base/str.h"
#include "cluster/node/images/unpack.h"

struct dir_time {
    char *path;
    struct timespec times[2];
};
struct tree {
    int root;              /* the directory */
    int parent;            /* of the last entry; -1 */
    char *parent_path;     /* which one that is */
    struct dir_time *dirs; /* set at the end: files change them */
    size_t n_dirs;
};
int tree_open(struct tree *t, const char *dir, struct err *err);
void tree_close(struct tree *t);
/* One entry, with its content read from a. */
int tree_add(struct tree *t, struct archive *a, struct archive_entry *e, struct err *err);
/* Times of directories. */
int tree_finish(struct tree *t, struct err *err);
/* A name of an archive as a path below the root: "" is the root itself. NULL when it is refused. The caller frees. */
char *tree_clean_name(const char *name, struct err *err);

#endif
