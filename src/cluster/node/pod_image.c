/* The image of a container: is it here, may it be fetched, how is the fetch getting on. Messages and reasons are a kubelet's.
 *
 *   policy          here                          not here
 *   ------          ----                          --------
 *   Always          the registry is asked: what   fetched
 *                   is here may be current
 *   IfNotPresent    used                          fetched
 *   Never           used                          ErrImageNeverPull
 *
 * A fetch that failed shows as ErrImagePull, a moment later as ImagePullBackOff until the next try. */
#include <stdlib.h>

#include "base/timefmt.h"
#include "cluster/node/images/images.h"
#include "cluster/node/pod.h"
#include "kube/fields.h"
#include "kube/kinds.h"
#include "kube/object.h"

#define LOG_ROOM "node"
#include "base/log.h"

#define BACKOFF_MAX      (300 * NS_PER_S)
#define PULL_RETRY_FIRST (10 * NS_PER_S)
#define SHOWN_AS_ERROR   (1 * NS_PER_S)
#define TELL_FIRST       (10 * NS_PER_S)
#define TELL_MAX         (160 * NS_PER_S)

/* ---- credentials -------------------------------------------------------------------------------------------------------- */

static void add_secret(struct keyring *k, jval *secret)
{
    static const struct {
        const char *type, *key;
        bool legacy;
    } kinds[] = {{"kubernetes.io/dockerconfigjson", ".dockerconfigjson", false}, {"kubernetes.io/dockercfg", ".dockercfg", true}};
    for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
        const char *text = jv_str(jv_get(secret_data(secret), kinds[i].key));
        AUTOFREE unsigned char *plain = NULL;
        size_t n;
        ERR(e);
        if (!str_eq(secret_type(secret), kinds[i].type) || !text)
            continue;
        if (base64_decode(text, strlen(text), &plain, &n) < 0)
            log_warn("pull secret %s is not base64", obj_name(secret));
        else if (keyring_add(k, (const char *)plain, n, kinds[i].legacy, &e) < 0)
            log_warn("pull secret %s: %s", obj_name(secret), err_text(&e));
    }
}

/* Those of the pod; the API server has given it those of its service account. */
static void read_secrets(const struct pod_host *h, const struct ctx *ctx, const struct pod *p, struct keyring *k)
{
    jval *refs = pod_spec_image_pull_secrets(pod_spec(json_root(p->obj)));
    STRLIST(missing);
    for (size_t i = 0; i < jv_len(refs); i++) {
        const char *name = object_meta_name(jv_at(refs, i)) /* a LocalObjectReference is a name only */;
        ERR(e);
        if (str_empty(name))
            continue;
        JSON_REF(secret) = kube_get(h->kube, ctx, &KUBE_SECRETS, p->ns, name, NULL, &e);
        if (secret)
            add_secret(k, json_root(secret));
        else
            strlist_add(&missing, name);
    }
    if (!missing.n)
        return;
    AUTOFREE char *list = strlist_join(&missing, ", ");
    event_record(h->events, json_root(p->obj), &KUBE_PODS, "Warning", "FailedToRetrieveImagePullSecret",
                 "Unable to retrieve some image pull secrets (%s); attempting to pull the image may not succeed.", list);
}

/* ---- how it went ---------------------------------------------------------------------------------------------------------- */

static void drop_pull(struct box *b)
{
    image_job_drop(b->pull);
    b->pull = NULL;
}

void box_drop_pull(struct box *b) { drop_pull(b); }

static void here(const struct pod_host *h, struct pod *p, struct box *b, const char *name, const struct image_info *image)
{
    AUTOFREE char *text = xasprintf("Container image \"%s\" already present on machine", name);
    box_event(h, p, b, "Normal", "Pulled", text);
    box_set_image(b, image);
}

/* Of a volume, the containers that mount it say so themselves. */
static void tell_error(const struct pod_host *h, struct pod *p, struct box *b, const char *text)
{
    if (b->kind != BOX_VOLUME)
        box_event(h, p, b, "Warning", "Failed", text);
}

static void failed(const struct pod_host *h, struct pod *p, struct box *b, const char *name, const char *why)
{
    AUTOFREE char *text = xasprintf("Failed to pull image \"%s\": %s", name, why);
    box_event(h, p, b, "Warning", "Failed", text);
    tell_error(h, p, b, "Error: ErrImagePull");
    box_wait(h, b, "ErrImagePull", why, PULL_RETRY_FIRST, BACKOFF_MAX);
}

static void succeeded(const struct pod_host *h, struct pod *p, struct box *b, const char *name, const struct image_job_view *v,
                      const struct image_info *image)
{
    char took[TIME_TEXT_MAX], waited[TIME_TEXT_MAX];
    AUTOFREE char *text = xasprintf("Successfully pulled image \"%s\" in %s (%s including waiting). Image size: %lld bytes.",
                                    name, duration_format(took, v->took_ns / NS_PER_MS * NS_PER_MS),
                                    duration_format(waited, v->waited_ns / NS_PER_MS * NS_PER_MS), (long long)image->size);
    box_event(h, p, b, "Normal", "Pulled", text);
    box_set_image(b, image);
}

/* Long fetches say where they are, less and less often. */
static void tell(const struct pod_host *h, struct pod *p, struct box *b, const char *name, const struct image_job_view *v)
{
    int64_t now = h->clock->mono_ns(h->clock);
    if (now < b->tell_mono_ns)
        return;
    b->tell_wait_ns = b->tell_wait_ns * 2 > TELL_MAX ? TELL_MAX : b->tell_wait_ns * 2;
    b->tell_mono_ns = now + b->tell_wait_ns;
    AUTOFREE char *text = v->total ? xasprintf("Pulling image \"%s\": %lld of %lld MiB", name, (long long)(v->done >> 20),
                                               (long long)((v->total + (1 << 20) - 1) >> 20))
                                   : xasprintf("Pulling image \"%s\": the registry has not answered yet", name);
    box_event(h, p, b, "Normal", "Pulling", text);
}

/* Where no registry can be reached there is another way, which nobody would guess. */
static void add_hint(const char *name, struct err *e)
{
    if (e->code != ERR_UNAVAILABLE && e->code != ERR_IO && e->code != ERR_TIMEOUT)
        return;
    const char *tag = strrchr(name, ':');
    int len = tag && !strchr(tag, '/') && !strchr(name, '@') ? (int)(tag - name) : (int)strlen(name);
    AUTOFREE char *why = xstrdup(err_text(e));
    err_set(e, e->code,
            "%s; without a registry: tidemill image load, or up --host-image '%.*s*' for this machine's own file system", why,
            len, name);
}

static bool look_at_pull(const struct pod_host *h, struct pod *p, struct box *b, const char *name, struct image_info *image)
{
    struct image_job_view v;
    ERR(e);
    switch (image_job_look(b->pull, &v, &e)) {
    case IMAGE_JOB_RUNS:
        tell(h, p, b, name, &v);
        return false;
    case IMAGE_JOB_DONE:
        drop_pull(b);
        if (images_find(h->images, name, image, &e) == 0) {
            succeeded(h, p, b, name, &v, image);
            return true;
        }
        break;
    case IMAGE_JOB_FAILED:
        drop_pull(b);
        add_hint(name, &e);
    }
    failed(h, p, b, name, err_text(&e));
    return false;
}

static void begin_pull(const struct pod_host *h, const struct ctx *ctx, struct pod *p, struct box *b, const char *name)
{
    KEYRING(keys);
    AUTOFREE char *text = xasprintf("Pulling image \"%s\"", name);
    read_secrets(h, ctx, p, &keys);
    box_event(h, p, b, "Normal", "Pulling", text);
    b->pull = images_fetch(h->images, name, &keys, p->key);
    b->tell_wait_ns = TELL_FIRST;
    b->tell_mono_ns = h->clock->mono_ns(h->clock) + TELL_FIRST;
}

static void never(const struct pod_host *h, struct pod *p, struct box *b, const char *name)
{
    AUTOFREE char *text = xasprintf("Container image \"%s\" is not present with pull policy of Never", name);
    box_event(h, p, b, "Warning", "ErrImageNeverPull", text);
    box_wait(h, b, "ErrImageNeverPull", text, PULL_RETRY_FIRST, BACKOFF_MAX);
}

static void invalid(const struct pod_host *h, struct pod *p, struct box *b, const char *why)
{
    box_event(h, p, b, "Warning", "InspectFailed", why);
    box_wait(h, b, "InvalidImageName", why, PULL_RETRY_FIRST, BACKOFF_MAX);
}

static const char *name_of(const struct pod *p, const struct box *b)
{
    const char *name =
        b->kind == BOX_VOLUME ? image_volume_source_reference(pod_image_volume(p, b)) : container_image(pod_box_container(p, b));
    return name ? name : "";
}

static const char *policy_of(const struct pod *p, const struct box *b)
{
    return b->kind == BOX_VOLUME ? image_volume_source_pull_policy(pod_image_volume(p, b))
                                 : container_image_pull_policy(pod_box_container(p, b));
}

bool box_have_image(const struct pod_host *h, const struct ctx *ctx, struct pod *p, struct box *b, struct image_info *image)
{
    const char *name = name_of(p, b), *policy = policy_of(p, b);
    ERR(e);
    if (b->pull)
        return look_at_pull(h, p, b, name, image);
    /* Image `host` and what stands for it. */
    if (h->runtime->ops->image(h->runtime, name, image, &e) == 0) {
        here(h, p, b, name, image);
        return true;
    }
    if (e.code == ERR_NOT_FOUND && h->images) {
        err_clear(&e);
        if (images_find(h->images, name, image, &e) == 0) {
            if (!str_eq(policy, "Always")) {
                here(h, p, b, name, image);
                return true;
            }
            image_info_free(image);
        }
    }
    if (e.code == ERR_BAD_REQUEST) {
        invalid(h, p, b, err_text(&e));
    } else if (str_eq(policy, "Never")) {
        never(h, p, b, name);
    } else if (!h->images) {
        failed(h, p, b, name, err_text(&e));
    } else {
        begin_pull(h, ctx, p, b, name);
        return look_at_pull(h, p, b, name, image);
    }
    return false;
}

void box_recall_image(const struct pod_host *h, const struct pod *p, struct box *b)
{
    CLEANUP(image_info_free) struct image_info image = {0};
    AUTOFREE char *bundle = pod_bundle(h, p, b);
    const char *name = name_of(p, b);
    if ((h->images && images_recall(h->images, bundle, &image, NULL) == 0) ||
        h->runtime->ops->image(h->runtime, name, &image, NULL) == 0)
        box_set_image(b, &image);
}

bool box_pull_is_over(const struct box *b)
{
    struct image_job_view v;
    return b->pull && image_job_look(b->pull, &v, NULL) != IMAGE_JOB_RUNS;
}

int64_t box_image_wake(const struct pod_host *h, struct pod *p, struct box *b)
{
    if (b->pull)
        return b->tell_mono_ns;
    if (!str_eq(b->wait_reason, "ErrImagePull"))
        return b->retry_mono_ns;
    int64_t turn = b->retry_mono_ns - b->retry_wait_ns + SHOWN_AS_ERROR;
    if (h->clock->mono_ns(h->clock) < turn)
        return turn;
    const char *name = name_of(p, b);
    AUTOFREE char *event = xasprintf("Back-off pulling image \"%s\"", name);
    AUTOFREE char *message = xasprintf("%s: ErrImagePull: %s", event, b->wait_message);
    box_event(h, p, b, "Normal", "BackOff", event);
    tell_error(h, p, b, "Error: ImagePullBackOff");
    box_set_waiting(b, "ImagePullBackOff", message);
    return b->retry_mono_ns;
}
