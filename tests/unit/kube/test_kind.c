/* The tables of kinds and types, and the accessors made of them. */
#include "unit.h"

#include "kube/fields.h"
#include "kube/kind.h"
#include "kube/kinds.h"

static void test_lookups(void **state)
{
    (void)state;
    const struct kind *pod = kind_by_plural("", "v1", "pods");
    assert_non_null(pod);
    assert_string_equal(pod->res.kind, "Pod");
    assert_string_equal(pod->list_kind, "PodList");
    assert_string_equal(pod->singular, "pod");
    assert_true(pod->served && pod->res.namespaced && pod->store == KSTORE_DURABLE);
    assert_true(kube_res_equal(&pod->res, &KUBE_PODS));
    assert_ptr_equal(kind_by_gvk("", "v1", "Pod"), pod);
    assert_ptr_equal(kind_by_api_version("v1", "Pod"), pod);
    assert_ptr_equal(kind_by_short_name("po"), pod);
    assert_null(kind_by_plural("apps", "v1", "pods"));
    assert_null(kind_by_plural("", "v2", "pods"));
    assert_null(kind_by_plural("", NULL, ""));
    assert_non_null(kind_by_plural("apps", NULL, "deployments"));
    assert_false(kind_by_short_name("deploy")->served);
    assert_string_equal(kind_by_short_name("ns")->res.plural, "namespaces");
    assert_string_equal(kind_by_short_name("crds")->res.kind, "CustomResourceDefinition");
    assert_null(kind_by_short_name("nonsense"));
    AUTOFREE char *v = kind_api_version(kind_by_short_name("deploy"));
    assert_string_equal(v, "apps/v1");
}

static void test_verbs_and_subresources(void **state)
{
    (void)state;
    const char *names[8];
    assert_int_equal(kverb_names(kind_by_short_name("ns")->verbs, names), 7);
    assert_string_equal(names[2], "get"); /* no deletecollection */
    const struct kind *review = kind_by_gvk("authorization.k8s.io", "v1", "SubjectAccessReview");
    assert_int_equal(review->verbs, KVERB_CREATE);
    assert_int_equal(review->store, KSTORE_NONE);
    assert_false(kind_has_verb(review, KVERB_GET));
    const struct kube_sub *log = kind_sub(kind_by_short_name("po"), "log");
    assert_true(log && log->served && log->verbs == KVERB_GET);
    assert_false(kind_sub(kind_by_short_name("po"), "resize")->served);
    assert_string_equal(kind_sub(kind_by_short_name("sa"), "token")->kind, "TokenRequest");
    assert_null(kind_sub(kind_by_short_name("cm"), "status"));
    const struct kind *ev = kind_by_plural("events.k8s.io", "v1", "events");
    assert_int_equal(ev->store, KSTORE_SOFT);
    assert_string_equal(ev->store_group, "");
    assert_string_equal(KUBE_EVENTS_K8S_IO.group, "events.k8s.io");
}

static void test_types(void **state)
{
    (void)state;
    const struct ktype *spec = ktype_find("io.k8s.api.core.v1.PodSpec");
    const struct kfield *f = ktype_field(spec, "containers");
    assert_true(f && f->shape == KSHAPE_LIST && f->number == 2);
    assert_string_equal(f->merge_key, "name");
    assert_string_equal(f->map_keys[0], "name");
    assert_null(f->map_keys[1]);
    assert_ptr_equal(ktype_field_number(spec, 2), f);
    assert_ptr_equal(ktype_fieldn(spec, "containersX", 10), f);
    assert_null(ktype_field(spec, "Containers"));
    assert_null(ktype_field(spec, "container"));
    assert_null(ktype_field_number(spec, 0));
    assert_null(ktype_find("io.k8s.api.core.v1.Nonsense"));
    /* An embedded message: its fields are here in JSON, and elsewhere in protobuf. */
    const struct ktype *volume = ktype_find("io.k8s.api.core.v1.Volume");
    f = ktype_field(volume, "secret");
    assert_true(f && (f->flags & KFIELD_INLINED) && f->number == 0);
    assert_int_equal(volume->n_embeds, 1);
    assert_true(ktype_find("io.k8s.api.core.v1.LocalObjectReference")->atomic);
}

/* Every table holds together: names sorted, types resolved, kinds complete. */
static void test_tables_whole(void **state)
{
    (void)state;
    for (size_t i = 0; i < kube_n_types; i++) {
        const struct ktype *t = kube_types[i];
        for (size_t j = 0; j < t->n_fields; j++) {
            assert_ptr_equal(ktype_field(t, t->fields[j].name), &t->fields[j]);
            assert_true((t->fields[j].form == KFORM_STRUCT) <= (t->fields[j].type != NULL));
        }
    }
    for
        KINDS_EACH(k)
        {
            assert_non_null(k->type);
            assert_true(k->type->top && ktype_field(k->type, "apiVersion"));
            assert_true(!k->served || *k->res.plural);
        }
}

static void test_accessors(void **state)
{
    (void)state;
    JSON_REF(d) = json_parse_str(
        "{\"metadata\":{\"name\":\"p\"},\"spec\":{\"nodeName\":\"n\",\"hostNetwork\":true,\"priority\":7,"
        "\"containers\":[{\"name\":\"c\",\"ports\":[{\"containerPort\":80}]}]},\"status\":{\"podIPs\":[{\"ip\":\"1.2.3.4\"}]}}",
        NULL);
    jval *pod = json_root(d);
    assert_string_equal(object_meta_name(pod_metadata(pod)), "p");
    assert_string_equal(pod_spec_node_name(pod_spec(pod)), "n");
    assert_true(pod_spec_host_network(pod_spec(pod), false));
    assert_false(pod_spec_host_pid(pod_spec(pod), false));
    assert_int_equal(pod_spec_priority(pod_spec(pod), 0), 7);
    assert_int_equal(container_port_container_port(jv_at(container_ports(jv_at(pod_spec_containers(pod_spec(pod)), 0)), 0), 0),
                     80);
    assert_string_equal(pod_ip_ip(jv_at(pod_status_pod_ips(pod_status(pod)), 0)), "1.2.3.4");
    assert_null(pod_spec_node_name(NULL));
    JM(m, pod);
    jmval *spec = pod_make_spec(m, jm_root(m));
    pod_spec_set_node_name(m, spec, "other");
    pod_spec_set_priority(m, spec, 8);
    assert_true(pod_spec_del_host_network(spec));
    assert_false(pod_spec_del_host_network(spec));
    assert_null(pod_spec_mut_host_network(spec));
    jm_put(m, pod_spec_make_node_selector(m, spec), "a", jm_str(m, "b"));
    JSON_REF(after) = jm_freeze(m);
    assert_string_equal(pod_spec_node_name(pod_spec(json_root(after))), "other");
    assert_int_equal(pod_spec_priority(pod_spec(json_root(after)), 0), 8);
    assert_string_equal(jv_str(jv_get(pod_spec_node_selector(pod_spec(json_root(after))), "a")), "b");
}

TEST_GROUP(kind, cmocka_unit_test(test_lookups), cmocka_unit_test(test_verbs_and_subresources), cmocka_unit_test(test_types),
           cmocka_unit_test(test_tables_whole), cmocka_unit_test(test_accessors))
