/* What a task's pod is made of, as an input of the task: for steps that start something else on the cluster. Source:
 * pipelines-runtime spec 16. */
#include "kube/fields.h"
#include "pipelines/engine/live.h"
#include "pipelines/engine/podspec.h"

/* Keys of the platform configuration by the part that they belong to. Volumes that live as long as their pod stay with it. */
static const struct {
    enum ir_config part;
    const char *key;
} keys[] = {
    {IR_CONFIG_ENV, "secretAsEnv"},
    {IR_CONFIG_ENV, "configMapAsEnv"},
    {IR_CONFIG_ENV, "fieldPathAsEnv"},
    {IR_CONFIG_AFFINITY, "nodeAffinity"},
    {IR_CONFIG_AFFINITY, "podAffinity"},
    {IR_CONFIG_TOLERATIONS, "tolerations"},
    {IR_CONFIG_NODE_SELECTOR, "nodeSelector"},
    {IR_CONFIG_VOLUMES, "secretAsVolume"},
    {IR_CONFIG_VOLUMES, "configMapAsVolume"},
    {IR_CONFIG_VOLUMES, "pvcMount"},
};

static unsigned part_of(const char *key)
{
    for (size_t k = 0; k < ARRAY_LEN(keys); k++)
        if (str_eq(keys[k].key, key))
            return keys[k].part;
    return 0;
}

/* The entries of a configuration that belong to these parts, or with `rest` all others. NULL: there is no configuration. */
static struct json *pick(const struct json *config, unsigned parts, bool rest)
{
    if (!config)
        return NULL;
    JM_NEW(m);
    jmval *out = jm_obj(m);
    jm_set_root(m, out);
    struct jiter it = jv_iter(json_root(config));
    const char *key;
    jval *v;
    while (jv_next(&it, &key, &v))
        if (((part_of(key) & parts) != 0) != rest)
            jm_add(m, out, key, jm_val(m, v));
    return jm_freeze(m);
}

static void put(struct jm *m, jmval *out, const char *key, jval *v) { jm_put(m, out, key, v ? jm_val(m, v) : jm_null(m)); }

/* As JSON of Kubernetes: what was not set is null, resources are an object in any case. */
static struct json *config_value(jval *spec, jval *main, const struct execution *x, unsigned parts)
{
    JM_NEW(m);
    jmval *out = jm_obj(m);
    jm_set_root(m, out);
    bool volumes = parts & IR_CONFIG_VOLUMES;
    put(m, out, "affinity", pod_spec_affinity(spec));
    put(m, out, "tolerations", pod_spec_tolerations(spec));
    put(m, out, "nodeSelector", pod_spec_node_selector(spec));
    put(m, out, "env", jv_len(container_env(main)) > 0 ? container_env(main) : NULL);
    put(m, out, "volumes", volumes ? pod_spec_volumes(spec) : NULL);
    put(m, out, "volumeMounts", volumes ? container_volume_mounts(main) : NULL);
    jm_put(m, out, "resources", parts & IR_CONFIG_RESOURCES ? jm_val(m, json_root(x->resources)) : jm_obj(m));
    return jm_freeze(m);
}

/* The workspace comes first, as upstream has it: a claim of the run's there, here a part of what we share with pods. */
static int add_workspace(struct pod_build *b, const struct inst *i)
{
    const struct engine_config *cfg = &i->live->e->cfg;
    AUTOFREE char *host = NULL, *part = xasprintf("workspaces/%s", i->live->run.run_id);
    if (workspace_of(i, &host, b->err) < 0)
        return -1;
    if (!host)
        return 0;
    jmval *v = pod_volume(b, WORKSPACE_VOLUME);
    if (cfg->claim) {
        persistent_volume_claim_volume_source_set_claim_name(b->m, volume_make_persistent_volume_claim(b->m, v), cfg->claim);
    } else {
        jmval *source = volume_make_host_path(b->m, v);
        host_path_volume_source_set_path(b->m, source, host);
        host_path_volume_source_set_type(b->m, source, "Directory");
    }
    pod_mount(b, WORKSPACE_VOLUME, WORKSPACE_PATH, cfg->claim ? part : NULL, false);
    return 0;
}

static int make_config(struct inst *i, const struct execution *x, struct json **out, struct err *err)
{
    unsigned parts = i->c->config;
    JM_NEW(m);
    struct pod_build b = {.m = m, .err = err};
    b.pod = jm_obj(m);
    jm_set_root(m, b.pod);
    b.spec = pod_make_spec(m, b.pod);
    b.main = jm_obj(m);
    jmval *env = container_make_env(m, b.main);
    struct jiter it = jv_iter(parts & IR_CONFIG_ENV ? json_root(x->env) : NULL);
    jval *v;
    while (jv_next(&it, NULL, &v))
        jm_push(env, jm_val(m, v));
    if (parts & IR_CONFIG_VOLUMES && add_workspace(&b, i) < 0)
        return -1;
    JSON_REF(config) = pick(x->kubernetes, parts, false);
    if (config && pod_apply_config(&b, json_root(config)) < 0)
        return -1;
    jm_push(pod_spec_make_containers(m, b.spec), b.main);
    JSON_REF(pod) = jm_freeze(m);
    jval *spec = pod_spec(json_root(pod));
    *out = config_value(spec, jv_at(pod_spec_containers(spec), 0), x, parts);
    return 0;
}

int bind_task_config(struct inst *i, struct err *err)
{
    int at = i->c->config_param;
    if (at == IR_NONE)
        return 0;
    struct execution x;
    struct json *value = NULL;
    int rc = execution_machine(i, &x, err);
    if (rc == 0)
        rc = make_config(i, &x, &value, err);
    execution_clear(&x);
    if (rc < 0)
        return -1;
    json_unref(i->in_params[at]);
    i->in_params[at] = value;
    record_inputs(i);
    return 0;
}

bool hands_on(const struct inst *i, unsigned part) { return i->c->config & ~i->c->config_apply & part; }

void strip_task_config(const struct inst *i, struct execution *x)
{
    unsigned gone = i->c->config & ~i->c->config_apply;
    if (gone & IR_CONFIG_RESOURCES) {
        json_unref(x->resources);
        x->resources = json_parse_str("{}", NULL);
    }
    if (gone & IR_CONFIG_ENV) {
        json_unref(x->env);
        x->env = json_parse_str("[]", NULL);
    }
    struct json *rest = gone ? pick(x->kubernetes, gone, true) : NULL;
    if (rest) {
        json_unref(x->kubernetes);
        x->kubernetes = rest;
    }
}
