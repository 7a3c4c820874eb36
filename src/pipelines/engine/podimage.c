/* Container images whose files a step reads: artifacts oci://, models in "modelcars". Source: pipelines-runtime spec 17.
 *
 * What lies below /models in the image is seen at the artifact's path. Where the API server knows image volumes that is one
 * mount. Elsewhere the image runs beside the step as a side-car that does nothing but be there, in the process namespace that
 * both share, and leaves a link to its root: nothing is copied, however large the model. The side-car runs the agent, so that an
 * image without a shell will do; the kernel lets the step through the link only when both run as the same user. */
#include "kube/fields.h"
#include "pipelines/engine/podspec.h"

#define MODELS       "models"
#define READY_WITHIN 60 /* seconds from the side-car's start */

static jmval *command(struct pod_build *b, jmval *list, const char *what, const char *dir)
{
    jm_push(list, jm_str(b->m, LAUNCH_AGENT));
    jm_push(list, jm_str(b->m, "models"));
    jm_push(list, jm_str(b->m, what));
    if (dir)
        jm_push(list, jm_str(b->m, dir));
    return list;
}

static jmval *add_container(struct pod_build *b, const char *name, const char *image)
{
    jmval *c = jm_obj(b->m);
    container_set_name(b->m, c, name);
    container_set_image(b->m, c, image);
    pod_mount_agent(b, c);
    pod_drop_privileges(b->m, c);
    jm_push(pod_spec_make_init_containers(b->m, b->spec), c);
    return c;
}

static void side_car(struct pod_build *b, const char *volume, const struct task_image *image)
{
    struct jm *m = b->m;
    AUTOFREE char *check = xasprintf("%s-check", volume);
    AUTOFREE char *dir = xstrndup(image->path, strlen(image->path) - strlen("/" MODELS));
    volume_make_empty_dir(m, pod_volume(b, volume));
    pod_mount(b, volume, dir, NULL, true);
    /* By itself the side-car would be started again for ever when its image holds no model. */
    jmval *c = add_container(b, check, image->reference);
    command(b, container_make_command(m, c), "check", NULL);
    container_set_termination_message_policy(m, c, "FallbackToLogsOnError");
    c = add_container(b, volume, image->reference);
    command(b, container_make_command(m, c), "serve", dir);
    container_set_restart_policy(m, c, "Always");
    jmval *mount = jm_obj(m);
    volume_mount_set_name(m, mount, volume);
    volume_mount_set_mount_path(m, mount, dir);
    jm_push(container_make_volume_mounts(m, c), mount);
    jmval *probe = container_make_startup_probe(m, c);
    command(b, exec_action_make_command(m, probe_make_exec(m, probe)), "ready", dir);
    probe_set_period_seconds(m, probe, 1);
    probe_set_failure_threshold(m, probe, READY_WITHIN);
    pod_spec_set_share_process_namespace(m, b->spec, true);
}

void pod_images(struct pod_build *b)
{
    for (size_t k = 0; k < b->t->n_images; k++) {
        const struct task_image *image = &b->t->images[k];
        AUTOFREE char *volume = xasprintf("oci-%zu", k);
        if (b->place->side_cars) {
            side_car(b, volume, image);
            continue;
        }
        image_volume_source_set_reference(b->m, volume_make_image(b->m, pod_volume(b, volume)), image->reference);
        pod_mount(b, volume, image->path, MODELS, true);
    }
}

bool pod_kept_images(jval *pod, size_t n)
{
    jval *list = pod_spec_volumes(pod_spec(pod));
    size_t found = 0;
    for (size_t k = 0; k < jv_len(list); k++)
        found += jv_present(volume_image(jv_at(list, k)));
    return found == n;
}
