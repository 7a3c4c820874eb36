/* Volumes that are images: fetched as a container's image is, mounted once a pod, before the first container that sees them.
 *
 *   <pod dir>/images/<volume>/image   the id, which keeps the image from being removed (images/store.h)
 *   <pod dir>/images/<volume>/root    its content, mounted by the helper; goes with the pod's directory
 *
 * As a kubelet does it, a volume that cannot be had is told in the status of the containers that mount it; what is said of the
 * fetch itself is about the pod. Each volume has a struct box of its own, of which only the fields of fetching are used. */
#include <stdlib.h>

#include "base/fs.h"
#include "cluster/node/images/images.h"
#include "cluster/node/pod.h"
#include "cluster/node/volumes/volumes.h"
#include "kube/fields.h"

#define RETRY_FIRST (1 * NS_PER_S)
#define RETRY_MAX   (120 * NS_PER_S)

void pod_add_image_volumes(struct pod *p)
{
    jval *list = pod_spec_volumes(pod_spec(json_root(p->obj)));
    for (size_t i = 0; i < jv_len(list); i++)
        if (volume_image(jv_at(list, i))) {
            p->image_volumes = xreallocarray(p->image_volumes, p->n_image_volumes + 1, sizeof *p->image_volumes);
            p->image_volumes[p->n_image_volumes++] =
                (struct box){.name = xstrdup(volume_name(jv_at(list, i))), .kind = BOX_VOLUME};
        }
}

jval *pod_image_volume(const struct pod *p, const struct box *v)
{
    jval *list = pod_spec_volumes(pod_spec(json_root(p->obj)));
    for (size_t i = 0; i < jv_len(list); i++)
        if (str_eq(volume_name(jv_at(list, i)), v->name))
            return volume_image(jv_at(list, i));
    return NULL;
}

/* The volume behind the i-th mount of a container; NULL: it is of another kind. */
static struct box *volume_of_mount(const struct pod *p, jval *mounts, size_t i)
{
    for (size_t k = 0; k < p->n_image_volumes; k++)
        if (str_eq(p->image_volumes[k].name, volume_mount_name(jv_at(mounts, i))))
            return &p->image_volumes[k];
    return NULL;
}

static int mount_image(const struct pod_host *h, const struct pod *p, const struct box *v, const struct image_info *image,
                       struct err *err)
{
    AUTOFREE char *dir = pod_dir(h, p), *place = volumes_image_place(dir, v->name);
    AUTOFREE const char **layers = xcalloc(image->layers.n + 1, sizeof *layers);
    if (!image->image)
        return err_set(err, ERR_PRECONDITION,
                       "image \"%s\" is this machine's own file system, which is no volume: use hostPath for a directory of it",
                       image_volume_source_reference(pod_image_volume(p, v)));
    /* Noted down before it is mounted. */
    if (fs_mkdir_p(place, 0700, err) < 0 || images_use(h->images, image->image, place, err) < 0)
        return -1;
    for (size_t i = 0; i < image->layers.n; i++)
        layers[i] = image->layers.v[i];
    return h->runtime->ops->image_volume(h->runtime, place, layers, image->layers.n, err);
}

static bool may_try(const struct pod_host *h, const struct box *v)
{
    int64_t now = h->clock->mono_ns(h->clock);
    return v->pull ? box_pull_is_over(v) || v->tell_mono_ns <= now : v->retry_mono_ns <= now;
}

/* One step of a volume that is not there yet. */
static void bring_on(const struct pod_host *h, const struct ctx *ctx, struct pod *p, struct box *v)
{
    CLEANUP(image_info_free) struct image_info image = {0};
    ERR(e);
    if (v->ready || !may_try(h, v) || !box_have_image(h, ctx, p, v, &image))
        return;
    v->ready = mount_image(h, p, v, &image, &e) == 0;
    if (v->ready)
        box_set_waiting(v, NULL, NULL);
    else
        box_wait(h, v, "CreateContainerError", err_text(&e), RETRY_FIRST, RETRY_MAX);
}

/* What keeps the container waiting is said once for each reason. */
static void hold(const struct pod_host *h, const struct pod *p, struct box *b, const struct box *v)
{
    if (v->wait_reason && !str_eq(b->wait_reason, v->wait_reason)) {
        bool own = str_eq(v->wait_reason, "CreateContainerError");
        AUTOFREE char *text = xasprintf("Error: %s", own ? v->wait_message : v->wait_reason);
        box_event(h, p, b, "Warning", "Failed", text);
    }
    box_set_waiting(b, v->wait_reason, v->wait_message);
    b->held = true;
}

bool box_have_image_volumes(const struct pod_host *h, const struct ctx *ctx, struct pod *p, struct box *b)
{
    jval *mounts = container_volume_mounts(pod_box_container(p, b));
    const struct box *missing = NULL;
    for (size_t i = 0; i < jv_len(mounts); i++) {
        struct box *v = volume_of_mount(p, mounts, i);
        if (v)
            bring_on(h, ctx, p, v);
        if (v && !v->ready && (!missing || !missing->wait_reason))
            missing = v;
    }
    if (missing) {
        hold(h, p, b, missing);
    } else if (b->held) {
        box_set_waiting(b, NULL, NULL);
        b->held = false;
    }
    return !missing;
}

int64_t box_wake(const struct pod_host *h, struct pod *p, struct box *b)
{
    jval *mounts = container_volume_mounts(pod_box_container(p, b));
    int64_t first = 0;
    if (!b->held)
        return box_image_wake(h, p, b);
    for (size_t i = 0; i < jv_len(mounts); i++) {
        struct box *v = volume_of_mount(p, mounts, i);
        if (!v || v->ready)
            continue;
        int64_t at = box_image_wake(h, p, v);
        if (v->wait_reason && !str_eq(v->wait_reason, b->wait_reason))
            hold(h, p, b, v); /* ErrImagePull has become ImagePullBackOff */
        if (at && (!first || at < first))
            first = at;
    }
    return first;
}
