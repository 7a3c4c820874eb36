/* LimitRanges: what they fill in, and what they refuse. */
#include <stdarg.h>
#include <stdlib.h>

#include "kube/fields.h"
#include "kube/object.h"
#include "kube/rules/quota.h"

#define ANNOTATION "kubernetes.io/limit-ranger"

/* ---- filling --------------------------------------------------------------------------------------------------------- */

/* Adds what is missing; the names of it, sorted, to set. */
static void fill_map(struct jm *m, jval *dflt, jmval *to, struct strlist *set)
{
    struct strmap members = jm_take_members(to);
    struct jiter it = jv_iter(dflt);
    const char *k;
    jval *v;
    while (jv_next(&it, &k, &v)) {
        if (strmap_has(&members, k))
            continue;
        strmap_put(&members, k, jm_val(m, v));
        strlist_add(set, k);
    }
    jm_put_members(m, to, &members);
    strlist_sort(set);
}

static void tell(struct strlist *told, const struct strlist *set, const char *what, const char *kind, const char *name)
{
    if (!set->n)
        return;
    AUTOFREE char *names = strlist_join(set, ", ");
    strlist_addf(told, "%s %s for %s %s", names, what, kind, name);
}

static void fill_container(struct jm *m, jmval *c, jval *limits, jval *requests, const char *kind, struct strlist *told)
{
    STRLIST(set_requests);
    STRLIST(set_limits);
    jmval *resources = container_make_resources(m, c);
    const char *name = jmv_str(container_mut_name(c));
    if (jv_len(requests))
        fill_map(m, requests, resource_requirements_make_requests(m, resources), &set_requests);
    if (jv_len(limits))
        fill_map(m, limits, resource_requirements_make_limits(m, resources), &set_limits);
    tell(told, &set_requests, "request", kind, name ? name : "");
    tell(told, &set_limits, "limit", kind, name ? name : "");
}

static void merge(struct jm *m, jmval *into, jval *map)
{
    struct strmap members = jm_take_members(into);
    struct jiter it = jv_iter(map);
    const char *k;
    jval *v;
    while (jv_next(&it, &k, &v))
        strmap_put(&members, k, jm_val(m, v));
    jm_put_members(m, into, &members);
}

/* The defaults of all items for containers; the later word counts. */
static struct json *defaults_of(jval *range, bool limits)
{
    jval *items = limit_range_spec_limits(limit_range_spec(range));
    JM_NEW(m);
    jm_set_root(m, jm_obj(m));
    for (size_t i = 0; i < jv_len(items); i++) {
        jval *x = jv_at(items, i);
        if (str_eq(limit_range_item_type(x), "Container"))
            merge(m, jm_root(m), limits ? limit_range_item_default(x) : limit_range_item_default_request(x));
    }
    return jm_freeze(m);
}

bool limits_fill(jval *range, struct jm *m)
{
    JSON_REF(limits) = defaults_of(range, true);
    JSON_REF(requests) = defaults_of(range, false);
    jmval *spec = pod_make_spec(m, jm_root(m)), *containers = pod_spec_mut_containers(spec),
          *inits = pod_spec_mut_init_containers(spec);
    STRLIST(told);
    if (!jv_len(json_root(limits)) && !jv_len(json_root(requests)))
        return false;
    jmval *c;
    for (struct jmiter it = jmv_iter(containers); jmv_next(&it, NULL, &c);)
        fill_container(m, c, json_root(limits), json_root(requests), "container", &told);
    for (struct jmiter it = jmv_iter(inits); jmv_next(&it, NULL, &c);)
        fill_container(m, c, json_root(limits), json_root(requests), "init container", &told);
    if (!told.n)
        return false;
    AUTOFREE char *list = strlist_join(&told, "; ");
    AUTOFREE char *text = xasprintf("LimitRanger plugin set: %s", list);
    jm_put(m, object_meta_make_annotations(m, jm_obj_at(m, jm_root(m), "metadata")), ANNOTATION, jm_str(m, text));
    return true;
}

/* ---- checking ---------------------------------------------------------------------------------------------------------- */

/* What is looked at: a container, a pod or a claim. */
struct subject {
    const char *type;
    const struct amounts *requests, *limits;
    bool claim; /* has requests only */
    struct strlist *out;
};

static void say(const struct subject *s, const char *fmt, ...) PRINTF_LIKE(2, 3);
static void say(const struct subject *s, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    BUF(text);
    buf_addv(&text, fmt, ap);
    va_end(ap);
    for (size_t i = 0; i < s->out->n; i++)
        if (str_eq(s->out->v[i], buf_str(&text)))
            return;
    strlist_add(s->out, buf_str(&text));
}

static void check_min(const struct subject *s, const char *name, const struct quantity *least)
{
    char bound[QUANTITY_TEXT_MAX], text[QUANTITY_TEXT_MAX];
    const struct quantity *request = amounts_find(s->requests, name), *limit = amounts_find(s->limits, name);
    quantity_format(least, bound);
    if (!request)
        say(s, "minimum %s usage per %s is %s.  No request is specified", name, s->type, bound);
    else if (quantity_cmp(request, least) < 0)
        say(s, "minimum %s usage per %s is %s, but request is %s", name, s->type, bound, quantity_format(request, text));
    else if (limit && quantity_cmp(limit, least) < 0)
        say(s, "minimum %s usage per %s is %s, but limit is %s", name, s->type, bound, quantity_format(limit, text));
}

static void check_max(const struct subject *s, const char *name, const struct quantity *most)
{
    char bound[QUANTITY_TEXT_MAX], text[QUANTITY_TEXT_MAX];
    const struct quantity *request = amounts_find(s->requests, name), *limit = amounts_find(s->limits, name);
    quantity_format(most, bound);
    if (s->claim ? !request : !limit)
        say(s, "maximum %s usage per %s is %s.  No %s is specified", name, s->type, bound, s->claim ? "request" : "limit");
    else if (limit && quantity_cmp(limit, most) > 0)
        say(s, "maximum %s usage per %s is %s, but limit is %s", name, s->type, bound, quantity_format(limit, text));
    else if (request && quantity_cmp(request, most) > 0)
        say(s, "maximum %s usage per %s is %s, but request is %s", name, s->type, bound, quantity_format(request, text));
}

static void check_ratio(const struct subject *s, const char *name, const struct quantity *most)
{
    char bound[QUANTITY_TEXT_MAX];
    __int128 request = amounts_get(s->requests, name), limit = amounts_get(s->limits, name);
    quantity_format(most, bound);
    if (request <= 0 || limit <= 0) {
        const char *which = request <= 0 ? "request" : "limit";
        say(s, "%s max limit to request ratio per %s is %s, but no %s is specified or %s is 0", name, s->type, bound, which,
            which);
        return;
    }
    double ratio = (double)limit / (double)request;
    if (ratio * 1000 > (double)quantity_milli(most))
        say(s, "%s max limit to request ratio per %s is %s, but provided ratio is %f", name, s->type, bound, ratio);
}

static void each(const struct subject *s, jval *map, void (*check)(const struct subject *, const char *, const struct quantity *))
{
    CLEANUP(amounts_free) struct amounts bounds = {0};
    amounts_add_map(&bounds, map);
    amounts_sort(&bounds);
    for (size_t i = 0; i < bounds.n; i++)
        check(s, bounds.v[i].name, &bounds.v[i].q);
}

static void check_item(const struct subject *s, jval *item)
{
    each(s, limit_range_item_min(item), check_min);
    each(s, limit_range_item_max(item), check_max);
    if (!s->claim)
        each(s, limit_range_item_max_limit_request_ratio(item), check_ratio);
}

static void check_containers(jval *item, jval *list, struct strlist *out)
{
    for (size_t i = 0; i < jv_len(list); i++) {
        CLEANUP(amounts_free) struct amounts requests = {0}, limits = {0};
        jval *resources = container_resources(jv_at(list, i));
        amounts_add_map(&requests, resource_requirements_requests(resources));
        amounts_add_map(&limits, resource_requirements_limits(resources));
        check_item(&(struct subject){"Container", &requests, &limits, false, out}, item);
    }
}

static void check_pod(jval *item, jval *pod, struct strlist *out)
{
    jval *spec = pod_spec(pod);
    if (str_eq(limit_range_item_type(item), "Container")) {
        check_containers(item, pod_spec_containers(spec), out);
        check_containers(item, pod_spec_init_containers(spec), out);
    } else if (str_eq(limit_range_item_type(item), "Pod")) {
        CLEANUP(amounts_free) struct amounts requests = {0}, limits = {0};
        pod_requests(pod, &requests);
        pod_limits_sum(pod, &limits);
        check_item(&(struct subject){"Pod", &requests, &limits, false, out}, item);
    }
}

static void check_claim(jval *item, jval *claim, struct strlist *out)
{
    CLEANUP(amounts_free) struct amounts requests = {0}, none = {0};
    if (!str_eq(limit_range_item_type(item), "PersistentVolumeClaim"))
        return;
    jval *resources = persistent_volume_claim_spec_resources(persistent_volume_claim_spec(claim));
    amounts_add_map(&requests, volume_resource_requirements_requests(resources));
    check_item(&(struct subject){"PersistentVolumeClaim", &requests, &none, true, out}, item);
}

void limits_check(jval *range, const struct kube_res *res, jval *obj, struct strlist *out)
{
    jval *items = limit_range_spec_limits(limit_range_spec(range));
    for (size_t i = 0; i < jv_len(items) && !*res->group; i++) {
        if (str_eq(res->plural, "pods"))
            check_pod(jv_at(items, i), obj, out);
        else if (str_eq(res->plural, "persistentvolumeclaims"))
            check_claim(jv_at(items, i), obj, out);
    }
}
