/* The event recorder, on the fake. */
#include "unit.h"

#include "base/str.h"
#include "fake_kube.h"
#include "kube/events.h"
#include "kube/fields.h"
#include "kube/kinds.h"
#include "kube/object.h"

static struct json *only_event(struct fake_kube *fake)
{
    struct ctx ctx = ctx_background();
    struct kube_list l;
    ERR(e);
    assert_int_equal(kube_list(fake_kube_face(fake), &ctx, &KUBE_EVENTS, NULL, NULL, &l, &e), 0);
    assert_int_equal(l.n, 1);
    struct json *d = json_ref(l.items[0]);
    kube_list_free(&l);
    return d;
}

static void test_same_event_is_counted(void **state)
{
    (void)state;
    struct fake_kube *fake = fake_kube_new();
    struct event_recorder *r = event_recorder_new(fake_kube_face(fake), "kubelet", "node-1", &clock_system);
    JSON_REF(pod) =
        json_parse_str("{\"metadata\":{\"name\":\"p\",\"namespace\":\"s\",\"uid\":\"u\",\"resourceVersion\":\"7\"}}", NULL);
    for (int i = 0; i < 3; i++)
        event_record_field(r, json_root(pod), &KUBE_PODS, "spec.containers{c}", "Warning", "BackOff", "restarting %s", "c");
    assert_true(event_recorder_flush(r, 60000));
    JSON_REF(ev) = only_event(fake);
    jval *v = json_root(ev);
    assert_int_equal(event_count(v, 0), 3);
    assert_string_equal(event_message(v), "restarting c");
    assert_string_equal(event_type(v), "Warning");
    assert_string_equal(event_source_component(event_source(v)), "kubelet");
    assert_string_equal(event_source_host(event_source(v)), "node-1");
    assert_string_equal(object_reference_kind(event_involved_object(v)), "Pod");
    assert_string_equal(object_reference_field_path(event_involved_object(v)), "spec.containers{c}");
    assert_string_equal(obj_namespace(v), "s");
    event_record(r, json_root(pod), &KUBE_PODS, "Normal", "Started", "other");
    assert_true(event_recorder_flush(r, 60000));
    assert_int_equal(fake_count(fake, &KUBE_EVENTS, "s"), 2);
    event_recorder_free(r);
    fake_kube_free(fake);
}

static void test_old_event_is_not_counted_up(void **state)
{
    (void)state;
    struct fake_kube *fake = fake_kube_new();
    struct clock_manual c;
    clock_manual_init(&c, 1000 * NS_PER_S);
    struct event_recorder *r = event_recorder_new(fake_kube_face(fake), "x", NULL, &c.clock);
    JSON_REF(node) = json_parse_str("{\"metadata\":{\"name\":\"n\"}}", NULL);
    event_record(r, json_root(node), &KUBE_NODES, "Normal", "R", "m");
    assert_true(event_recorder_flush(r, 60000));
    clock_manual_advance(&c, 601 * NS_PER_S);
    event_record(r, json_root(node), &KUBE_NODES, "Normal", "R", "m");
    assert_true(event_recorder_flush(r, 60000));
    assert_int_equal(fake_count(fake, &KUBE_EVENTS, "default"), 2);
    event_recorder_free(r);
    fake_kube_free(fake);
}

static void test_action_has_a_series(void **state)
{
    (void)state;
    struct fake_kube *fake = fake_kube_new();
    struct event_recorder *r = event_recorder_new(fake_kube_face(fake), "default-scheduler", NULL, &clock_system);
    JSON_REF(pod) = json_parse_str("{\"metadata\":{\"name\":\"p\",\"namespace\":\"s\",\"uid\":\"u\"}}", NULL);
    JSON_REF(other) = json_parse_str("{\"metadata\":{\"name\":\"o\",\"namespace\":\"s\",\"uid\":\"w\"}}", NULL);
    for (int i = 0; i < 3; i++)
        event_record_action(r, json_root(pod), &KUBE_PODS, json_root(other), "Preempting", "Normal", "Preempted", "by %s", "o");
    assert_true(event_recorder_flush(r, 5000));
    JSON_REF(ev) = only_event(fake);
    jval *v = json_root(ev);
    assert_string_equal(event_action(v), "Preempting");
    assert_string_equal(event_reporting_component(v), "default-scheduler");
    assert_true(str_starts(event_reporting_instance(v), "default-scheduler-"));
    assert_int_equal(strlen(event_event_time(v)), strlen("2026-01-01T00:00:00.000000Z"));
    assert_string_equal(object_reference_name(event_related(v)), "o");
    assert_int_equal(event_series_count(event_series(v), 0), 3);
    assert_null(event_source_component(event_source(v)));
    assert_null(event_first_timestamp(v));
    assert_int_equal(event_count(v, -1), -1);
    event_recorder_free(r);
    fake_kube_free(fake);
}

static void test_flood_is_held_back(void **state)
{
    (void)state;
    struct fake_kube *fake = fake_kube_new();
    struct clock_manual c;
    clock_manual_init(&c, 1000 * NS_PER_S);
    struct event_recorder *r = event_recorder_new(fake_kube_face(fake), "x", NULL, &c.clock);
    JSON_REF(pod) = json_parse_str("{\"metadata\":{\"name\":\"p\",\"namespace\":\"s\"}}", NULL);
    for (int i = 0; i < 100; i++) {
        clock_manual_advance(&c, 1);
        event_record(r, json_root(pod), &KUBE_PODS, "Normal", "R", "m%d", i);
    }
    assert_true(event_recorder_flush(r, 60000));
    assert_int_equal(fake_count(fake, &KUBE_EVENTS, "s"), 25);
    clock_manual_advance(&c, 301 * NS_PER_S);
    for (int i = 0; i < 10; i++)
        event_record(r, json_root(pod), &KUBE_PODS, "Normal", "R", "later");
    assert_true(event_recorder_flush(r, 60000));
    assert_int_equal(fake_count(fake, &KUBE_EVENTS, "s"), 26);
    event_recorder_free(r);
    fake_kube_free(fake);
}

static void test_failure_is_silent(void **state)
{
    (void)state;
    struct fake_kube *fake = fake_kube_new();
    fake_fail(fake, "create", "events", 1, ERR_FORBIDDEN);
    struct event_recorder *r = event_recorder_new(fake_kube_face(fake), "x", NULL, &clock_system);
    JSON_REF(pod) = json_parse_str("{\"metadata\":{\"name\":\"p\",\"namespace\":\"s\"}}", NULL);
    event_record(r, json_root(pod), &KUBE_PODS, "Normal", "R", "m");
    event_record(NULL, json_root(pod), &KUBE_PODS, "Normal", "R", "m");
    assert_true(event_recorder_flush(r, 60000));
    assert_int_equal(fake_count(fake, &KUBE_EVENTS, NULL), 0);
    event_recorder_free(r);
    fake_kube_free(fake);
}

TEST_GROUP(events, cmocka_unit_test(test_same_event_is_counted), cmocka_unit_test(test_old_event_is_not_counted_up),
           cmocka_unit_test(test_flood_is_held_back), cmocka_unit_test(test_action_has_a_series),
           cmocka_unit_test(test_failure_is_silent))
