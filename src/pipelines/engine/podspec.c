/* The pod of an attempt. Source: pipelines-runtime spec 13. */
#include "pipelines/engine/podspec.h"

#include <stdlib.h>

#include "kube/fields.h"
#include "pipelines/engine/pods.h"

#define AGENT_IN_IMAGE    "/usr/bin/tidemill-agent"
#define AGENT_VOLUME_PATH "/tidemill/bin"

jmval *pod_volume(struct pod_build *b, const char *name)
{
    jmval *list = pod_spec_make_volumes(b->m, b->spec);
    for (size_t k = 0; k < jmv_len(list); k++)
        if (str_eq(jmv_str(volume_mut_name(jmv_at(list, k))), name))
            return NULL;
    jmval *v = jm_obj(b->m);
    volume_set_name(b->m, v, name);
    jm_push(list, v);
    return v;
}

char *pod_user_volume(const struct pod_build *b, const char *name)
{
    jmval *list = pod_spec_mut_volumes(b->spec);
    for (size_t k = 0; k < b->n_own && k < jmv_len(list); k++)
        if (str_eq(jmv_str(volume_mut_name(jmv_at(list, k))), name))
            return xasprintf("step-%s", name);
    return xstrdup(name);
}

static void mount_in(struct pod_build *b, jmval *container, const char *volume, const char *path, const char *sub_path,
                     bool read_only)
{
    jmval *v = jm_obj(b->m);
    volume_mount_set_name(b->m, v, volume);
    volume_mount_set_mount_path(b->m, v, path);
    if (!str_empty(sub_path))
        volume_mount_set_sub_path(b->m, v, sub_path);
    if (read_only)
        volume_mount_set_read_only(b->m, v, true);
    jm_push(container_make_volume_mounts(b->m, container), v);
}

void pod_mount(struct pod_build *b, const char *volume, const char *path, const char *sub_path, bool read_only)
{
    mount_in(b, b->main, volume, path, sub_path, read_only);
}

static void host_volume(struct pod_build *b, const char *name, const char *host, const char *type)
{
    jmval *v = pod_volume(b, name);
    if (!v)
        return;
    jmval *source = volume_make_host_path(b->m, v);
    host_path_volume_source_set_path(b->m, source, host);
    host_path_volume_source_set_type(b->m, source, type);
}

/* The part of a path below root; NULL when it is not. */
static const char *beneath(const char *root, const char *path)
{
    size_t n = strlen(root);
    return strncmp(path, root, n) == 0 && path[n] == '/' ? path + n + 1 : NULL;
}

/* Steps write into the artifact store, and may put links there at any time: what is mounted of it is named as a part of one
 * volume, which the node looks up without leaving the volume. Nothing else has parents that a step can write to. */
static void on_machine(struct pod_build *b, jmval *container, const char *name, const struct task_mount *of)
{
    const char *part = b->place->artifacts ? beneath(b->place->artifacts, of->host_path) : NULL;
    if (part) {
        host_volume(b, "tidemill-artifacts", b->place->artifacts, "Directory");
        mount_in(b, container, "tidemill-artifacts", of->container_path, part, of->read_only);
    } else {
        host_volume(b, name, of->host_path, of->is_file ? "File" : "Directory");
        mount_in(b, container, name, of->container_path, NULL, of->read_only);
    }
}

/* A file or directory of ours: by its path on the machine, or as a part of the claim that both sides see. */
static int own_mount(struct pod_build *b, jmval *container, const char *name, const struct task_mount *of)
{
    if (!b->place->claim) {
        on_machine(b, container, name, of);
        return 0;
    }
    const char *part = beneath(b->place->root, of->host_path);
    if (!part)
        return err_set(b->err, ERR_INVALID, "%s is not on the volume of claim %s (%s), so that no pod can see it", of->host_path,
                       b->place->claim, b->place->root);
    jmval *v = pod_volume(b, "tidemill-data");
    if (v)
        persistent_volume_claim_volume_source_set_claim_name(b->m, volume_make_persistent_volume_claim(b->m, v), b->place->claim);
    mount_in(b, container, "tidemill-data", of->container_path, part, of->read_only);
    return 0;
}

void pod_drop_privileges(struct jm *m, jmval *c)
{
    jmval *sc = container_make_security_context(m, c);
    security_context_set_allow_privilege_escalation(m, sc, false);
    jm_push(capabilities_make_drop(m, security_context_make_capabilities(m, sc)), jm_str(m, "ALL"));
    seccomp_profile_set_type(m, security_context_make_seccomp_profile(m, sc), "RuntimeDefault");
}

void pod_mount_agent(struct pod_build *b, jmval *c)
{
    if (!b->place->agent_image && !b->place->agent_path)
        return;
    jmval *v = jm_obj(b->m);
    volume_mount_set_name(b->m, v, "tidemill-agent");
    volume_mount_set_mount_path(b->m, v, LAUNCH_AGENT);
    if (b->place->agent_image)
        volume_mount_set_sub_path(b->m, v, "tidemill-agent");
    volume_mount_set_read_only(b->m, v, true);
    jm_push(container_make_volume_mounts(b->m, c), v);
}

/* An init container leaves the agent in a volume that the main one sees. */
static void copy_agent(struct pod_build *b)
{
    static const char *const command[] = {AGENT_IN_IMAGE, "install", AGENT_VOLUME_PATH};
    struct jm *m = b->m;
    jmval *c = jm_obj(m), *mount = jm_obj(m);
    volume_make_empty_dir(m, pod_volume(b, "tidemill-agent"));
    container_set_name(m, c, "tidemill-agent");
    container_set_image(m, c, b->place->agent_image);
    for (size_t k = 0; k < ARRAY_LEN(command); k++)
        jm_push(container_make_command(m, c), jm_str(m, command[k]));
    volume_mount_set_name(m, mount, "tidemill-agent");
    volume_mount_set_mount_path(m, mount, AGENT_VOLUME_PATH);
    jm_push(container_make_volume_mounts(m, c), mount);
    pod_drop_privileges(m, c);
    jm_push(pod_spec_make_init_containers(m, b->spec), c);
    pod_mount(b, "tidemill-agent", LAUNCH_AGENT, "tidemill-agent", true);
}

static void scratch(struct pod_build *b)
{
    static const char *const dirs[][2] = {
        {"gcs-scratch", "/gcs"},           {"s3-scratch", "/s3"},
        {"minio-scratch", "/minio"},       {"dot-local-scratch", "/.local"},
        {"dot-cache-scratch", "/.cache"},  {"dot-config-scratch", "/.config"},
        {"kfp-launcher", "/kfp-launcher"},
    };
    for (size_t k = 0; k < ARRAY_LEN(dirs); k++) {
        volume_make_empty_dir(b->m, pod_volume(b, dirs[k][0]));
        pod_mount(b, dirs[k][0], dirs[k][1], NULL, false);
    }
}

/* Shallow paths first, so that a mount never hides one below it. */
static int by_path(const void *a, const void *b)
{
    return strcmp((*(const struct task_mount *const *)a)->container_path, (*(const struct task_mount *const *)b)->container_path);
}

/* A directory of the pod's own, and the pod's annotation as a file. */
static void task_from_note(struct pod_build *b)
{
    struct jm *m = b->m;
    volume_make_empty_dir(m, pod_volume(b, "tidemill-task"));
    pod_mount(b, "tidemill-task", LAUNCH_DIR, NULL, false);
    jmval *source = volume_make_downward_api(m, pod_volume(b, "tidemill-in")), *file = jm_obj(m);
    downward_api_volume_file_set_path(m, file, LAUNCH_TASK);
    object_field_selector_set_field_path(m, downward_api_volume_file_make_field_ref(m, file),
                                         "metadata.annotations['" TASK_NOTE "']");
    jm_push(downward_api_volume_source_make_items(m, source), file);
    pod_mount(b, "tidemill-in", LAUNCH_IN_DIR, NULL, true);
}

/* The set-up is filled here, once, by the image with nothing of the step's in it, and before anything else of the pod runs: what
 * the step sees of it is read-only. */
static int fill_setup(struct pod_build *b, const struct task_mount *setup)
{
    struct jm *m = b->m;
    const struct task_mount task = {(char *)(uintptr_t)b->t->task_dir, (char[]){LAUNCH_DIR}, .read_only = true};
    struct task_mount to = *setup;
    to.read_only = false;
    jmval *c = b->fill = jm_obj(m);
    container_set_name(m, c, "tidemill-setup");
    container_set_image(m, c, b->t->image);
    jm_push(container_make_command(m, c), jm_str(m, LAUNCH_AGENT));
    jm_push(container_make_command(m, c), jm_str(m, "setup"));
    if (jv_len(b->t->resources) > 0)
        container_set_resources(m, c, jm_val(m, b->t->resources));
    if (jv_len(b->t->fill_env) > 0)
        container_set_env(m, c, jm_val(m, b->t->fill_env));
    pod_drop_privileges(m, c);
    pod_mount_agent(b, c);
    jm_push(pod_spec_make_init_containers(m, b->spec), c);
    return own_mount(b, c, "tidemill-task", &task) < 0 ? -1 : own_mount(b, c, "tidemill-setup", &to);
}

static int mounts(struct pod_build *b)
{
    const struct task_mount task = {(char *)(uintptr_t)b->t->task_dir, (char[]){LAUNCH_DIR}},
                            setup = {(char *)(uintptr_t)b->t->setup, (char[]){LAUNCH_SETUP_DIR}, .read_only = true};
    if (b->place->agent_image) {
        copy_agent(b);
    } else if (b->place->agent_path) {
        host_volume(b, "tidemill-agent", b->place->agent_path, "File");
        pod_mount(b, "tidemill-agent", LAUNCH_AGENT, NULL, true);
    }
    if (b->t->task_text)
        task_from_note(b);
    else if (own_mount(b, b->main, "tidemill-task", &task) < 0)
        return -1;
    if (b->t->setup && ((b->t->fill_env && fill_setup(b, &setup) < 0) || own_mount(b, b->main, "tidemill-setup", &setup) < 0))
        return -1;
    AUTOFREE const struct task_mount **order = xcalloc(b->t->n_mounts + 1, sizeof *order);
    for (size_t k = 0; k < b->t->n_mounts; k++)
        order[k] = &b->t->mounts[k];
    qsort(order, b->t->n_mounts, sizeof *order, by_path);
    for (size_t k = 0; k < b->t->n_mounts; k++) {
        AUTOFREE char *name = xasprintf("artifact-%zu", k);
        if (own_mount(b, b->main, name, order[k]) < 0)
            return -1;
    }
    return 0;
}

/* Keys of object stores that are not mounted: the agent reads them from files. */
static void secrets(struct pod_build *b)
{
    for (size_t k = 0; k < b->t->n_secrets; k++) {
        AUTOFREE char *name = xasprintf("store-%zu", k);
        secret_volume_source_set_secret_name(b->m, volume_make_secret(b->m, pod_volume(b, name)), b->t->secrets[k].name);
        pod_mount(b, name, b->t->secrets[k].path, NULL, true);
    }
}

static void field_env(struct pod_build *b, const char *name, const char *path)
{
    jmval *e = jm_obj(b->m);
    env_var_set_name(b->m, e, name);
    jmval *ref = env_var_source_make_field_ref(b->m, env_var_make_value_from(b->m, e));
    object_field_selector_set_field_path(b->m, ref, path);
    jm_push(container_make_env(b->m, b->main), e);
}

static void env(struct pod_build *b)
{
    jmval *list = container_make_env(b->m, b->main);
    struct jiter it = jv_iter(b->t->env);
    jval *v;
    while (jv_next(&it, NULL, &v))
        jm_push(list, jm_val(b->m, v));
    field_env(b, "KFP_POD_NAME", "metadata.name");
    field_env(b, "KFP_POD_UID", "metadata.uid");
    if (b->t->has_retry) {
        jmval *e = jm_obj(b->m);
        env_var_set_name(b->m, e, "KFP_RETRY_INDEX");
        jm_put(b->m, e, "value", jm_strf(b->m, "%d", b->t->attempt));
        jm_push(list, e);
    }
    jmval *from = jm_obj(b->m);
    jmval *ref = env_from_source_make_config_map_ref(b->m, from);
    config_map_env_source_set_name(b->m, ref, "metadata-grpc-configmap");
    config_map_env_source_set_optional(b->m, ref, true);
    jm_push(container_make_env_from(b->m, b->main), from);
}

static void container(struct pod_build *b)
{
    container_set_name(b->m, b->main, "main");
    container_set_image(b->m, b->main, b->t->image);
    jmval *command = container_make_command(b->m, b->main);
    jm_push(command, jm_str(b->m, LAUNCH_AGENT));
    jm_push(command, jm_str(b->m, "launch"));
    if (b->t->task_text) {
        jm_push(command, jm_str(b->m, "--task"));
        jm_push(command, jm_str(b->m, LAUNCH_IN_DIR));
    }
    if (jv_len(b->t->resources) > 0)
        container_set_resources(b->m, b->main, jm_val(b->m, b->t->resources));
    env(b);
    pod_drop_privileges(b->m, b->main);
}

/* Ours win over the user's. */
static void system_metadata(struct pod_build *b)
{
    struct jm *m = b->m;
    const struct task_start *t = b->t;
    jmval *meta = pod_make_metadata(m, b->pod);
    object_meta_set_name(m, meta, t->pod_name);
    object_meta_set_namespace(m, meta, t->ns);
    jmval *labels = object_meta_make_labels(m, meta), *notes = object_meta_make_annotations(m, meta);
    jm_put(m, labels, RUN_LABEL, jm_str(m, t->run_id));
    jm_put(m, labels, "pipeline/runid", jm_str(m, t->run_id));
    jm_put(m, labels, "pipelines.kubeflow.org/v2_component", jm_str(m, "true"));
    if (t->task_text)
        jm_put(m, notes, TASK_NOTE, jm_str(m, t->task_text));
    jm_put(m, notes, "pipelines.kubeflow.org/v2_component", jm_str(m, "true"));
    jm_put(m, notes, "pipelines.kubeflow.org/runtime-role", jm_str(m, "launcher"));
    jm_put(m, notes, "sidecar.istio.io/inject", jm_str(m, "false"));
    jm_put(m, notes, "pipelines.kubeflow.org/run_name", jm_str(m, t->run_display_name ? t->run_display_name : ""));
    jm_put(m, notes, "pipelines.kubeflow.org/task_name", jm_str(m, t->task_name));
}

struct json *pod_make(const struct task_start *t, const struct pod_place *place, struct err *err)
{
    JM_NEW(m);
    struct pod_build b = {.m = m, .t = t, .place = place, .err = err};
    b.pod = jm_obj(m);
    jm_set_root(m, b.pod);
    pod_set_api_version(m, b.pod, "v1");
    pod_set_kind(m, b.pod, "Pod");
    pod_make_metadata(m, b.pod);
    b.spec = pod_make_spec(m, b.pod);
    b.main = jm_obj(m);
    jm_push(pod_spec_make_containers(m, b.spec), b.main);
    pod_spec_set_restart_policy(m, b.spec, "Never");
    pod_spec_set_service_account_name(m, b.spec, str_empty(t->service_account) ? "pipeline-runner" : t->service_account);
    pod_spec_set_enable_service_links(m, b.spec, false);
    container(&b);
    scratch(&b);
    if (mounts(&b) < 0)
        return NULL;
    secrets(&b);
    pod_images(&b);
    b.n_own = jmv_len(pod_spec_mut_volumes(b.spec));
    if (t->kubernetes && pod_apply_config(&b, t->kubernetes) < 0)
        return NULL;
    system_metadata(&b);
    return jm_freeze(m);
}
