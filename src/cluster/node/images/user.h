/* user.h - who an image's processes are: /etc/passwd and /etc/group of the image, read out of its layers.
 *
 * Source: kube.md 16.5; what containerd makes of USER. */
#ifndef TM_NODE_IMAGE_USER_H
#define TM_NODE_IMAGE_USER_H

#include "base/str.h"

struct image_user {
    int64_t uid, gid;
    struct strlist groups; /* supplementary, decimal: those that /etc/group gives to the user */
    char *home;            /* "/" when it is not known */
};
void image_user_free(struct image_user *u);
/* layers: directories, bottom first. user: "", "1000", "1000:1000", "name", "name:group". ERR_PRECONDITION for a name that the
 * image does not know. */
int image_user_find(const struct strlist *layers, const char *user, struct image_user *out, struct err *err);
/* A file as an overlay of the layers would show it, links followed inside of its layer only; false when there is none. */
bool image_file_read(const struct strlist *layers, const char *dir, const char *name, size_t max, struct buf *out);

#endif
