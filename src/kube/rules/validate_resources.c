/* Requests and limits, of containers and of whole pods. */
#include "kube/fields.h"
#include "kube/rules/validate_priv.h"
#include "value/quantity.h"

static bool is_hugepage(const char *name) { return str_starts(name, "hugepages-"); }

static bool is_native(const char *name) { return !strchr(name, '/') || strstr(name, "kubernetes.io/"); }

static bool may_overcommit(const char *name) { return is_native(name) && !is_hugepage(name); }

static bool one_of(const char *name, const char *const *list)
{
    for (size_t i = 0; list[i]; i++)
        if (str_eq(list[i], name))
            return true;
    return false;
}

void validate_resource_name(struct faults *f, const char *name)
{
    static const char *const standard[] = {"cpu",
                                           "memory",
                                           "ephemeral-storage",
                                           "storage",
                                           "pods",
                                           "services",
                                           "replicationcontrollers",
                                           "resourcequotas",
                                           "secrets",
                                           "configmaps",
                                           "persistentvolumeclaims",
                                           "services.nodeports",
                                           "services.loadbalancers",
                                           "requests.cpu",
                                           "requests.memory",
                                           "requests.storage",
                                           "requests.ephemeral-storage",
                                           "limits.cpu",
                                           "limits.memory",
                                           "limits.ephemeral-storage",
                                           NULL};
    struct name_faults bad = name_qualified(name);
    validate_name(f, NULL, name, bad);
    if (bad.n || strchr(name, '/'))
        return;
    if (!one_of(name, standard) && !is_hugepage(name) && !str_starts(name, "requests.hugepages-"))
        fault_invalid_str(f, NULL, name, "must be a standard resource type or fully qualified");
}

void validate_container_resource_name(struct faults *f, const char *name)
{
    static const char *const container[] = {"cpu", "memory", "ephemeral-storage", NULL};
    validate_resource_name(f, name);
    if (name_qualified(name).n || strchr(name, '/'))
        return;
    if (!one_of(name, container) && !is_hugepage(name))
        fault_invalid_str(f, NULL, name, "must be a standard resource for containers");
}

/* A quantity, and its canonical text; false when it is none (the decoder has refused it then). */
static bool read(jval *v, struct quantity *q, char text[QUANTITY_TEXT_MAX])
{
    const char *s = jv_is(v, J_NUMBER) ? jv_num_text(v) : jv_str(v);
    if (!s || quantity_parse(s, q, NULL) < 0)
        return false;
    quantity_format(q, text);
    return true;
}

static void check_quantity(struct faults *f, const char *name, const struct quantity *q, const char *text)
{
    struct quantity page;
    if (q->nano < 0)
        fault_invalid_str(f, NULL, text, "must be greater than or equal to 0");
    if (!is_native(name) && q->nano % 1000000000 != 0)
        fault_invalid_str(f, NULL, text, "must be an integer");
    if (is_hugepage(name) && quantity_parse(name + strlen("hugepages-"), &page, NULL) == 0 && page.nano > 0 &&
        q->nano % page.nano != 0)
        fault_invalid_str(f, NULL, text, "%s is not positive integer multiple of %s", text, name);
}

struct seen {
    bool hugepages, cpu_or_memory;
};

static void check_one(struct faults *f, const char *name, jval *v, struct seen *seen)
{
    struct quantity q;
    char text[QUANTITY_TEXT_MAX];
    size_t at = fault_push_key(f, name);
    validate_container_resource_name(f, name);
    if (read(v, &q, text))
        check_quantity(f, name, &q, text);
    seen->hugepages |= is_hugepage(name);
    seen->cpu_or_memory |= str_eq(name, "cpu") || str_eq(name, "memory");
    fault_pop(f, at);
}

static void check_against_limit(struct faults *f, const char *name, jval *request, jval *limit)
{
    struct quantity r, l;
    char rt[QUANTITY_TEXT_MAX], lt[QUANTITY_TEXT_MAX];
    if (!limit) {
        if (!may_overcommit(name))
            fault_required(f, "limits", "Limit must be set for non overcommitable resources");
        return;
    }
    if (!read(request, &r, rt) || !read(limit, &l, lt))
        return;
    int cmp = quantity_cmp(&r, &l);
    if (cmp != 0 && !may_overcommit(name))
        fault_invalid_str(f, "requests", rt, "must be equal to %s limit of %s", name, lt);
    else if (cmp > 0)
        fault_invalid_str(f, "requests", rt, "must be less than or equal to %s limit of %s", name, lt);
}

static void claim_not_found(struct faults *f, const char *name, const struct buf *names)
{
    BUF(text);
    buf_adds(&text, "Not found: ");
    json_quote(&text, name, strlen(name));
    buf_adds(&text, ": must be one of the names in pod.spec.resourceClaims");
    if (!names->len)
        buf_adds(&text, " which is empty");
    else
        buf_addf(&text, ": %s", buf_str(names));
    fault_add(f, "FieldValueNotFound", NULL, buf_str(&text));
}

static void check_claims(struct faults *f, jval *wanted, jval *claims)
{
    CLEANUP(strmap_free) struct strmap known = STRMAP_INIT(NULL);
    BUF(names);
    jval *x;
    for (struct jiter it = jv_iter(claims); jv_next(&it, NULL, &x);) {
        const char *name = jv_str_or(jv_get(x, "name"), "");
        buf_addf(&names, "%s%s", strmap_count(&known) ? ", " : "", name);
        strmap_put(&known, name, NULL);
    }
    struct jiter it = jv_iter(jv_is(wanted, J_ARRAY) ? wanted : NULL);
    for (size_t i = 0; jv_next(&it, NULL, &x) && !faults_full(f); i++) {
        const char *name = jv_str_or(jv_get(x, "name"), "");
        size_t at = validate_push_item(f, "claims", i);
        if (!*name)
            fault_required(f, "name", NULL);
        else if (!strmap_has(&known, name))
            claim_not_found(f, name, &names);
        fault_pop(f, at);
    }
}

void validate_resources(struct faults *f, jval *resources, jval *claims)
{
    struct seen limits = {0}, requests = {0};
    jval *lim = resource_requirements_limits(resources), *req = resource_requirements_requests(resources), *v;
    const char *k;
    size_t at = fault_push(f, "resources"), part = fault_push(f, "limits");
    struct jiter it = jv_iter(lim);
    while (jv_next(&it, &k, &v))
        check_one(f, k, v, &limits);
    fault_pop(f, part);
    JFINDER(limit, lim);
    it = jv_iter(req);
    while (jv_next(&it, &k, &v)) {
        part = fault_push(f, "requests");
        check_one(f, k, v, &requests);
        fault_pop(f, part);
        check_against_limit(f, k, v, jfind(&limit, k));
    }
    if ((limits.hugepages || requests.hugepages) && !limits.cpu_or_memory && !requests.cpu_or_memory)
        fault_forbidden(f, NULL, "HugePages require cpu or memory");
    check_claims(f, resource_requirements_claims(resources), claims);
    fault_pop(f, at);
}

/* A pod's own requests cover the sum of its containers'. */
void validate_pod_resources(struct faults *f, jval *spec)
{
    jval *resources = pod_spec_resources(spec), *req = resource_requirements_requests(resources), *v, *c;
    const char *k;
    if (!jv_is(resources, J_OBJECT))
        return;
    validate_resources(f, resources, pod_spec_resource_claims(spec));
    struct jiter it = jv_iter(req);
    while (jv_next(&it, &k, &v)) {
        struct quantity total = {0}, q;
        char text[QUANTITY_TEXT_MAX], sum[QUANTITY_TEXT_MAX];
        bool any = false;
        struct jiter ci = jv_iter(pod_spec_containers(spec));
        while (jv_next(&ci, NULL, &c)) {
            if (!read(jv_get(resource_requirements_requests(container_resources(c)), k), &q, text))
                continue;
            if (!any)
                total.form = q.form;
            quantity_add(&total, &q);
            any = true;
        }
        if (!any || !read(v, &q, text) || quantity_cmp(&q, &total) >= 0)
            continue;
        size_t at = fault_push(f, "resources.requests");
        fault_push_key(f, k);
        fault_invalid_str(f, NULL, text, "must be greater than or equal to aggregate container requests of %s",
                          quantity_format(&total, sum));
        fault_pop(f, at);
    }
}
