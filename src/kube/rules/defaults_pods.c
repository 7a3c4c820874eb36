#include "base/str.h"
#include "kube/fields.h"
#include "kube/rules/defaults_priv.h"
#include "value/quantity.h"

#define CORE         "io.k8s.api.core.v1."
#define DEFAULT_MODE 0644

/* The tag that decides about pulling: "latest" when there is neither tag nor digest, "" when there is only a digest. */
static char *image_tag(const char *image)
{
    const char *at = strchr(image, '@');
    size_t len = at ? (size_t)(at - image) : strlen(image);
    const char *colon = memrchr(image, ':', len), *slash = memrchr(image, '/', len);
    if (colon && (!slash || slash < colon)) /* else it is a registry's port */
        return xstrndup(colon + 1, len - (size_t)(colon + 1 - image));
    return xstrdup(at || !len ? "" : "latest");
}

static void default_container(struct jm *m, jmval *c)
{
    if (!jmv_len(container_mut_image_pull_policy(c))) {
        const char *image = jmv_str(container_mut_image(c));
        AUTOFREE char *tag = image_tag(image ? image : "");
        container_set_image_pull_policy(m, c, strcmp(tag, "latest") ? "IfNotPresent" : "Always");
    }
    DEFAULT_TEXT(m, c, container, termination_message_path, "/dev/termination-log");
    DEFAULT_TEXT(m, c, container, termination_message_policy, "File");
}

static void default_probe(struct jm *m, jmval *p)
{
    DEFAULT_INT(m, p, probe, timeout_seconds, 1);
    DEFAULT_INT(m, p, probe, period_seconds, 10);
    DEFAULT_INT(m, p, probe, success_threshold, 1);
    DEFAULT_INT(m, p, probe, failure_threshold, 3);
}

static void default_http_get(struct jm *m, jmval *a)
{
    DEFAULT_TEXT(m, a, http_get_action, path, "/");
    DEFAULT_TEXT(m, a, http_get_action, scheme, "HTTP");
}

static void default_grpc(struct jm *m, jmval *a) { DEFAULT_STRING(m, a, grpc_action, service, ""); }

static void default_field_ref(struct jm *m, jmval *r) { DEFAULT_TEXT(m, r, object_field_selector, api_version, "v1"); }

/* ---- resources ------------------------------------------------------------------------------------------------------ */

/* Amounts are kept to a thousandth, rounded up. */
static void round_amounts(struct jm *m, jmval *list)
{
    const __int128 milli = 1000000;
    if (!jmv_len(list))
        return;
    struct strmap amounts = jm_take_members(list);
    for (struct strmap_entry *e = strmap_first(&amounts); e; e = strmap_next(e)) {
        struct quantity q;
        char text[QUANTITY_TEXT_MAX];
        const char *s = jmv_str(e->value);
        if (!s || quantity_parse(s, &q, NULL) < 0 || q.nano % milli == 0)
            continue;
        q.nano += q.nano > 0 ? milli - q.nano % milli : -(milli + q.nano % milli);
        e->value = jm_str(m, quantity_format(&q, text));
    }
    jm_put_members(m, list, &amounts);
}

static void default_resources(struct jm *m, jmval *r)
{
    round_amounts(m, resource_requirements_mut_limits(r));
    round_amounts(m, resource_requirements_mut_requests(r));
}

static void default_volume_resources(struct jm *m, jmval *r)
{
    round_amounts(m, volume_resource_requirements_mut_limits(r));
    round_amounts(m, volume_resource_requirements_mut_requests(r));
}

/* A request that is missing is the limit. */
static void requests_of_limits(struct jm *m, jmval *r)
{
    jmval *limits = resource_requirements_mut_limits(r), *v;
    if (!jmv_len(limits))
        return;
    jmval *requests = resource_requirements_make_requests(m, r);
    struct strmap members = jm_take_members(requests);
    struct jmiter it = jmv_iter(limits);
    const char *key;
    while (jmv_next(&it, &key, &v))
        if (!strmap_has(&members, key))
            strmap_put(&members, key, jm_dup(m, v));
    jm_put_members(m, requests, &members);
}

static bool amount(jmval *container, const char *resource, struct quantity *q)
{
    const char *s = jmv_str(jmv_get(resource_requirements_mut_requests(container_mut_resources(container)), resource));
    return s && quantity_parse(s, q, NULL) == 0;
}

/* What the containers together ask for: init containers run one after the other, beside those sidecars that started before them.
 */
static bool aggregate(jmval *spec, const char *resource, struct quantity *sum)
{
    bool any = false;
    struct quantity q, sidecars = {0}, most = {0};
    jmval *c;
    struct jmiter it = jmv_iter(pod_spec_mut_containers(spec));
    *sum = (struct quantity){0};
    while (jmv_next(&it, NULL, &c))
        if (amount(c, resource, &q)) {
            sum->form = any ? sum->form : q.form;
            quantity_add(sum, &q);
            any = true;
        }
    it = jmv_iter(pod_spec_mut_init_containers(spec));
    while (jmv_next(&it, NULL, &c)) {
        if (!amount(c, resource, &q))
            continue;
        const char *policy = jmv_str(container_mut_restart_policy(c));
        if (policy && !strcmp(policy, "Always")) {
            quantity_add(&sidecars, &q);
            quantity_add(sum, &q);
        } else {
            quantity_add(&q, &sidecars);
        }
        most = quantity_cmp(&q, &most) > 0 ? q : most;
        any = true;
    }
    *sum = quantity_cmp(&most, sum) > 0 ? most : *sum;
    return any;
}

/* Requests of the pod as a whole, where it has limits of its own: those of its containers, else the limit. */
static void pod_requests(struct jm *m, jmval *spec)
{
    jmval *r = pod_spec_mut_resources(spec);
    if (!jmv_len(resource_requirements_mut_limits(r)) && !jmv_len(resource_requirements_mut_requests(r)))
        return;
    static const char *const known[] = {"cpu", "memory"};
    for (size_t i = 0; i < ARRAY_LEN(known); i++) {
        struct quantity q;
        char text[QUANTITY_TEXT_MAX];
        if (!jmv_get(resource_requirements_mut_requests(r), known[i]) && aggregate(spec, known[i], &q))
            jm_put(m, resource_requirements_make_requests(m, r), known[i], jm_str(m, quantity_format(&q, text)));
    }
    requests_of_limits(m, r);
}

/* ---- pods ------------------------------------------------------------------------------------------------------------- */

/* On the host's network, a port of the container is one of the host. */
static void host_ports(struct jm *m, jmval *container)
{
    struct jmiter it = jmv_iter(container_mut_ports(container));
    jmval *p;
    int64_t n;
    while (jmv_next(&it, NULL, &p))
        if (!container_port_mut_host_port(p) && jmv_i64(container_port_mut_container_port(p), &n) && n)
            container_port_set_host_port(m, p, n);
}

static void default_pod_spec(struct jm *m, jmval *s)
{
    DEFAULT_TEXT(m, s, pod_spec, restart_policy, "Always");
    DEFAULT_TEXT(m, s, pod_spec, dns_policy, "ClusterFirst");
    DEFAULT_INT(m, s, pod_spec, termination_grace_period_seconds, 30);
    DEFAULT_TEXT(m, s, pod_spec, scheduler_name, "default-scheduler");
    pod_spec_make_security_context(m, s);
    if (!jmv_bool(pod_spec_mut_host_network(s), false))
        return;
    jmval *const lists[] = {pod_spec_mut_containers(s), pod_spec_mut_init_containers(s)};
    for (size_t i = 0; i < ARRAY_LEN(lists); i++) {
        struct jmiter it = jmv_iter(lists[i]);
        jmval *c;
        while (jmv_next(&it, NULL, &c))
            host_ports(m, c);
    }
}

/* What only pods get, not templates of pods. */
static void default_pod(struct jm *m, jmval *p)
{
    jmval *s = pod_make_spec(m, p);
    jmval *const lists[] = {pod_spec_mut_containers(s), pod_spec_mut_init_containers(s)};
    for (size_t i = 0; i < ARRAY_LEN(lists); i++) {
        struct jmiter it = jmv_iter(lists[i]);
        jmval *c;
        while (jmv_next(&it, NULL, &c))
            requests_of_limits(m, container_make_resources(m, c));
    }
    if (!pod_spec_mut_enable_service_links(s))
        pod_spec_set_enable_service_links(m, s, true);
    pod_requests(m, s);
}

/* ---- volumes ---------------------------------------------------------------------------------------------------------- */

static void default_image_volume(struct jm *m, jmval *v)
{
    if (jmv_len(image_volume_source_mut_pull_policy(v)))
        return;
    const char *image = jmv_str(image_volume_source_mut_reference(v));
    AUTOFREE char *tag = image_tag(image ? image : "");
    image_volume_source_set_pull_policy(m, v, strcmp(tag, "latest") ? "IfNotPresent" : "Always");
}

static void default_volume(struct jm *m, jmval *v)
{
    if (jmv_len(v) == (volume_mut_name(v) ? 1 : 0)) /* no source at all */
        volume_make_empty_dir(m, v);
}

static void default_secret_volume(struct jm *m, jmval *v) { DEFAULT_INT(m, v, secret_volume_source, default_mode, DEFAULT_MODE); }

static void default_config_map_volume(struct jm *m, jmval *v)
{
    DEFAULT_INT(m, v, config_map_volume_source, default_mode, DEFAULT_MODE);
}

static void default_downward_volume(struct jm *m, jmval *v)
{
    DEFAULT_INT(m, v, downward_api_volume_source, default_mode, DEFAULT_MODE);
}

static void default_projected_volume(struct jm *m, jmval *v)
{
    DEFAULT_INT(m, v, projected_volume_source, default_mode, DEFAULT_MODE);
}

static void default_token_projection(struct jm *m, jmval *v)
{
    DEFAULT_INT(m, v, service_account_token_projection, expiration_seconds, 3600);
}

static void default_host_path(struct jm *m, jmval *v) { DEFAULT_STRING(m, v, host_path_volume_source, type, ""); }

static void default_claim_spec(struct jm *m, jmval *v)
{
    DEFAULT_STRING(m, v, persistent_volume_claim_spec, volume_mode, "Filesystem");
}

const struct default_hook defaults_of_pods[] = {
    {CORE "Pod", default_pod},
    {CORE "PodSpec", default_pod_spec},
    {CORE "Container", default_container},
    {CORE "EphemeralContainer", default_container}, /* the fields that matter are the same */
    {CORE "Probe", default_probe},
    {CORE "HTTPGetAction", default_http_get},
    {CORE "GRPCAction", default_grpc},
    {CORE "ObjectFieldSelector", default_field_ref},
    {CORE "ResourceRequirements", default_resources},
    {CORE "VolumeResourceRequirements", default_volume_resources},
    {CORE "Volume", default_volume},
    {CORE "SecretVolumeSource", default_secret_volume},
    {CORE "ConfigMapVolumeSource", default_config_map_volume},
    {CORE "DownwardAPIVolumeSource", default_downward_volume},
    {CORE "ProjectedVolumeSource", default_projected_volume},
    {CORE "ServiceAccountTokenProjection", default_token_projection},
    {CORE "HostPathVolumeSource", default_host_path},
    {CORE "ImageVolumeSource", default_image_volume},
    {CORE "PersistentVolumeClaimSpec", default_claim_spec},
    {NULL, NULL},
};
