#include "kube/amounts.h"

#include <stdlib.h>
#include <string.h>

#include "base/str.h"
#include "kube/fields.h"

void amounts_free(struct amounts *a)
{
    for (size_t i = 0; i < a->n; i++)
        free(a->v[i].name);
    free(a->v);
    strmap_free(&a->index);
    *a = (struct amounts){0};
}

enum { LINEAR = 16 }; /* so many are looked through; more get an index */

static void index_from(struct amounts *a, size_t i)
{
    for (; a->n > LINEAR && i < a->n; i++)
        strmap_put(&a->index, a->v[i].name, (void *)(uintptr_t)(i + 1));
}

static struct quantity *find(const struct amounts *a, const char *name)
{
    if (a->n > LINEAR) {
        uintptr_t at = (uintptr_t)strmap_get(&a->index, name);
        return at ? &a->v[at - 1].q : NULL;
    }
    for (size_t i = 0; i < a->n; i++)
        if (str_eq(a->v[i].name, name))
            return &a->v[i].q;
    return NULL;
}

static struct quantity *slot(struct amounts *a, const char *name)
{
    struct quantity *there = find(a, name);
    if (there)
        return there;
    if ((a->n & (a->n - 1)) == 0) /* none, or a power of two: full */
        a->v = xreallocarray(a->v, a->n ? 2 * a->n : 1, sizeof *a->v);
    a->v[a->n++] = (struct amount){.name = xstrdup(name)};
    index_from(a, a->n == LINEAR + 1 ? 0 : a->n - 1);
    return &a->v[a->n - 1].q;
}

void amounts_add_one(struct amounts *a, const char *name, const struct quantity *q) { quantity_add(slot(a, name), q); }

void amounts_add(struct amounts *a, const struct amounts *b, int sign)
{
    for (size_t i = 0; i < b->n; i++) {
        struct quantity q = b->v[i].q;
        q.nano *= sign;
        amounts_add_one(a, b->v[i].name, &q);
    }
}

const struct quantity *amounts_find(const struct amounts *a, const char *name) { return find(a, name); }

__int128 amounts_get(const struct amounts *a, const char *name)
{
    const struct quantity *q = amounts_find(a, name);
    return q ? q->nano : 0;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const struct amount *)a)->name, ((const struct amount *)b)->name);
}

void amounts_sort(struct amounts *a)
{
    if (a->n)
        qsort(a->v, a->n, sizeof *a->v, by_name);
    index_from(a, 0);
}

static bool read(jval *v, struct quantity *q)
{
    const char *text = jv_is(v, J_NUMBER) ? jv_num_text(v) : jv_str(v);
    return text && quantity_parse(text, q, NULL) == 0;
}

bool amount_of(jval *map, const char *name, struct quantity *q) { return read(jv_get(map, name), q); }

void amounts_add_map(struct amounts *a, jval *map)
{
    struct jiter it = jv_iter(map);
    const char *k;
    jval *v;
    struct quantity q;
    while (jv_next(&it, &k, &v))
        if (read(v, &q))
            amounts_add_one(a, k, &q);
}

/* ---- pods ---------------------------------------------------------------------------------------------------------- */

typedef void part_fn(struct amounts *a, jval *resources);

/* A limit without a request is a request (the API server defaults it so; a pod may come from elsewhere). */
static void add_requests(struct amounts *a, jval *resources)
{
    jval *requests = resource_requirements_requests(resources);
    struct jiter it = jv_iter(resource_requirements_limits(resources));
    const char *k;
    jval *v;
    struct quantity q;
    amounts_add_map(a, requests);
    JFINDER(said, requests);
    while (jv_next(&it, &k, &v))
        if (!jfind(&said, k) && read(v, &q))
            amounts_add_one(a, k, &q);
}

static void add_limits(struct amounts *a, jval *resources) { amounts_add_map(a, resource_requirements_limits(resources)); }

/* Each amount is at least that of the other. */
static void raise_to(struct amounts *a, const struct amounts *least)
{
    for (size_t k = 0; k < least->n; k++) {
        struct quantity *have = slot(a, least->v[k].name);
        if (quantity_cmp(&least->v[k].q, have) > 0)
            *have = least->v[k].q;
    }
}

static void sum_containers(jval *spec, part_fn *add, struct amounts *out)
{
    jval *containers = pod_spec_containers(spec), *inits = pod_spec_init_containers(spec);
    CLEANUP(amounts_free) struct amounts most = {0}, sidecars = {0};
    for (size_t i = 0; i < jv_len(containers); i++)
        add(out, container_resources(jv_at(containers, i)));
    for (size_t i = 0; i < jv_len(inits); i++) {
        CLEANUP(amounts_free) struct amounts one = {0};
        jval *resources = container_resources(jv_at(inits, i));
        if (str_eq(container_restart_policy(jv_at(inits, i)), "Always")) {
            add(&sidecars, resources); /* goes on beside all that come after it */
            raise_to(&most, &sidecars);
            continue;
        }
        add(&one, resources);
        amounts_add(&one, &sidecars, 1);
        raise_to(&most, &one);
    }
    amounts_add(out, &sidecars, 1);
    raise_to(out, &most);
}

static void replace_with(struct amounts *a, const struct amounts *by)
{
    for (size_t i = 0; i < by->n; i++)
        *slot(a, by->v[i].name) = by->v[i].q;
}

static void sum_pod(jval *pod, part_fn *add, struct amounts *out)
{
    CLEANUP(amounts_free) struct amounts whole = {0};
    sum_containers(pod_spec(pod), add, out);
    add(&whole, pod_spec_resources(pod_spec(pod)));
    replace_with(out, &whole);
}

void pod_requests(jval *pod, struct amounts *out)
{
    sum_pod(pod, add_requests, out);
    amounts_add_map(out, pod_spec_overhead(pod_spec(pod)));
}

void pod_limits_sum(jval *pod, struct amounts *out)
{
    sum_pod(pod, add_limits, out);
    struct jiter it = jv_iter(pod_spec_overhead(pod_spec(pod)));
    const char *k;
    jval *v;
    struct quantity q;
    while (jv_next(&it, &k, &v))
        if (amounts_get(out, k) && read(v, &q))
            amounts_add_one(out, k, &q);
}

static bool is_set(jval *map, const char *name, struct quantity *q) { return amount_of(map, name, q) && q->nano > 0; }

/* Adds one container's view: some amount is set, and limits are set and equal to requests. */
static void qos_of(jval *resources, bool *any, bool *guaranteed)
{
    static const char *const what[] = {"cpu", "memory"};
    for (size_t i = 0; i < ARRAY_LEN(what); i++) {
        struct quantity r, l;
        bool has_r = is_set(resource_requirements_requests(resources), what[i], &r);
        bool has_l = is_set(resource_requirements_limits(resources), what[i], &l);
        *any |= has_r || has_l;
        if (!has_l || (has_r && quantity_cmp(&r, &l) != 0))
            *guaranteed = false;
    }
}

const char *pod_qos_class(jval *spec)
{
    bool any = false, guaranteed = true;
    if (jv_len(pod_spec_resources(spec))) {
        qos_of(pod_spec_resources(spec), &any, &guaranteed);
    } else {
        jval *const lists[] = {pod_spec_containers(spec), pod_spec_init_containers(spec)};
        for (size_t i = 0; i < ARRAY_LEN(lists); i++) {
            struct jiter it = jv_iter(lists[i]);
            jval *c;
            while (jv_next(&it, NULL, &c))
                qos_of(container_resources(c), &any, &guaranteed);
        }
    }
    return !any ? "BestEffort" : guaranteed ? "Guaranteed" : "Burstable";
}
