#include "cluster/node/runtime/imageroot.h"

#include <stdlib.h>

#include "base/fs.h"

char *imageroot_volume(const struct container_spec *spec, size_t n) { return xasprintf("%s/volumes/%zu", spec->bundle, n); }

bool imageroot_volume_is_taken(const struct container_spec *spec, const char *path)
{
    size_t n = strlen(path);
    for (size_t i = 0; i < spec->n_mounts; i++) {
        const char *target = spec->mounts[i].target;
        if (strncmp(target, path, n) == 0 && (target[n] == 0 || (target[n] == '/' && target[n + 1] == 0)))
            return true;
    }
    return false;
}

/* What the image has there is seen, and may be written: a mount of its own is not read-only with the root. The helper follows
 * links inside of the image only. */
static int make_volumes(struct helper *helper, const struct container_spec *spec, struct err *err)
{
    AUTOFREE char *dir = fs_join(spec->bundle, "volumes"), *root = fs_join(spec->bundle, "rootfs");
    if (fs_mkdir_p(dir, 0700, err) < 0)
        return -1;
    for (size_t i = 0; i < spec->volumes.n; i++) {
        AUTOFREE char *at = imageroot_volume(spec, i);
        if (!imageroot_volume_is_taken(spec, spec->volumes.v[i]) &&
            helper_ask(helper, HELPER_BIND_SUB, NULL, err, root, spec->volumes.v[i] + 1, at, NULL) < 0)
            return -1;
    }
    return 0;
}

int imageroot_make(struct helper *helper, const struct container_spec *spec, struct err *err)
{
    AUTOFREE char *empty = fs_join(spec->bundle, "empty");
    AUTOFREE const char **v = xcalloc(spec->layers.n + 3, sizeof *v);
    size_t n = 0;
    v[n++] = spec->bundle;
    for (size_t i = spec->layers.n; i-- > 0;)
        v[n++] = spec->layers.v[i];
    if (n == 1) { /* an image without layers */
        if (fs_mkdir_p(empty, 0755, err) < 0)
            return -1;
        v[n++] = empty;
    }
    if (helper_call(helper, HELPER_OVERLAY, v, NULL, 0, NULL, err) < 0)
        return -1;
    return spec->readonly_root && spec->volumes.n ? make_volumes(helper, spec, err) : 0;
}
