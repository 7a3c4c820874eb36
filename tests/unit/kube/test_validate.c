/* The rules of built-in kinds. The texts were recorded from Kubernetes 1.34. */
#include "unit.h"

#include "base/str.h"
#include "kube/kinds.h"
#include "kube/rules/defaults.h"
#include "kube/rules/validate.h"
#include "kube/wire/decode.h"

static struct json *object(const struct kube_res *res, const char *text)
{
    ERR(e);
    STRLIST(warnings);
    const struct kind *k = kind_by_gvk(res->group, res->version, res->kind);
    JSON_REF(d) = decode_body(k, DECODE_JSON, FIELDS_WARN, text, strlen(text), &warnings, &e);
    if (!d)
        fail_msg("%s: %s", text, err_text(&e));
    JM(m, json_root(d));
    if (res->namespaced)
        jm_put(m, jm_obj_at(m, jm_root(m), "metadata"), "namespace", jm_str(m, "s"));
    defaults_apply(k, m, jm_root(m));
    return jm_freeze(m);
}

struct rule_case {
    const struct kube_res *res;
    const char *body, *message; /* NULL: good */
};

static void test_create(void **state)
{
    (void)state;
#define C         "\"name\":\"c\",\"image\":\"i\""
#define POD(spec) "{\"metadata\":{\"name\":\"p\"},\"spec\":{" spec "}}"
#define BAD(s)    "Pod \"p\" is invalid: " s
    static const struct rule_case cases[] = {
        {&KUBE_PODS, POD("\"containers\":[{" C "}]"), NULL},
        {&KUBE_PODS, POD("\"containers\":[]"), BAD("spec.containers: Required value")},
        {&KUBE_PODS, POD("\"containers\":[{" C "}],\"ephemeralContainers\":[{\"name\":\"e\",\"image\":\"i\"}]"),
         BAD("spec.ephemeralContainers: Forbidden: cannot be set on create")},
        {&KUBE_PODS, POD("\"containers\":[{\"name\":\"c\"}]"), BAD("spec.containers[0].image: Required value")},
        {&KUBE_PODS, POD("\"containers\":[{" C "},{" C "}]"), BAD("spec.containers[1].name: Duplicate value: \"c\"")},
        {&KUBE_PODS, POD("\"containers\":[{" C "}],\"initContainers\":[{" C "}]"),
         BAD("spec.initContainers[0].name: Duplicate value: \"c\"")},
        {&KUBE_PODS, POD("\"containers\":[{" C "}],\"restartPolicy\":\"Sometimes\""),
         BAD("spec.restartPolicy: Unsupported value: \"Sometimes\": supported values: \"Always\", \"OnFailure\", \"Never\"")},
        {&KUBE_PODS, POD("\"containers\":[{" C ",\"ports\":[{\"containerPort\":65536}]}]"),
         BAD("spec.containers[0].ports[0].containerPort: Invalid value: 65536: must be between 1 and 65535, inclusive")},
        {&KUBE_PODS, POD("\"containers\":[{" C ",\"env\":[{\"name\":\"A\",\"valueFrom\":{}}]}]"),
         BAD("spec.containers[0].env[0].valueFrom: Invalid value: \"\": must specify one of: `fieldRef`, `resourceFieldRef`, "
             "`configMapKeyRef` or "
             "`secretKeyRef`")},
        {&KUBE_PODS,
         POD("\"containers\":[{" C
             ",\"volumeMounts\":[{\"name\":\"w\",\"mountPath\":\"/x\"}]}],\"volumes\":[{\"name\":\"v\",\"emptyDir\":{}}]"),
         BAD("spec.containers[0].volumeMounts[0].name: Not found: \"w\"")},
        {&KUBE_PODS, POD("\"containers\":[{" C "}],\"volumes\":[{\"name\":\"v\",\"image\":{\"reference\":\"\"}}]"),
         BAD("spec.volumes[0].image.reference: Required value")},
        {&KUBE_PODS,
         POD("\"containers\":[{" C "}],\"volumes\":[{\"name\":\"v\",\"image\":{\"reference\":\"a:1\",\"pullPolicy\":\"Now\"}}]"),
         BAD("spec.volumes[0].image.pullPolicy: Unsupported value: \"Now\": supported values: \"Always\", \"IfNotPresent\", "
             "\"Never\"")},
        {&KUBE_PODS, POD("\"containers\":[{" C ",\"livenessProbe\":{}}]"),
         BAD("spec.containers[0].livenessProbe: Required value: must specify a handler type")},
        {&KUBE_PODS, POD("\"containers\":[{" C ",\"resources\":{\"requests\":{\"cpu\":\"2\"},\"limits\":{\"cpu\":\"1\"}}}]"),
         BAD("spec.containers[0].resources.requests: Invalid value: \"2\": must be less than or equal to cpu limit of 1")},
        {&KUBE_PODS, POD("\"containers\":[{" C ",\"resources\":{\"limits\":{\"storage\":\"1\"}}}]"),
         BAD("[spec.containers[0].resources.limits[storage]: Invalid value: \"storage\": must be a standard resource for "
             "containers, "
             "spec.containers[0].resources.requests[storage]: Invalid value: \"storage\": must be a standard resource for "
             "containers]")},
        {&KUBE_PODS, POD("\"containers\":[{" C "}],\"tolerations\":[{\"operator\":\"Equal\"}]"),
         BAD("spec.tolerations[0].operator: Invalid value: \"Equal\": operator must be Exists when `key` is empty, which means "
             "\"match all values and all keys\"")},
        {&KUBE_PODS, POD("\"containers\":[{" C "}],\"hostAliases\":[{\"ip\":\"x\",\"hostnames\":[\"a\"]}]"),
         BAD("spec.hostAliases[0].ip: Invalid value: \"x\": must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)")},
        {&KUBE_CONFIGMAPS, "{\"metadata\":{\"name\":\"a\"}}", NULL},
        {&KUBE_CONFIGMAPS, "{\"metadata\":{}}",
         "ConfigMap \"\" is invalid: metadata.name: Required value: name or generateName is required"},
        {&KUBE_CONFIGMAPS, "{\"metadata\":{\"name\":\"a\",\"finalizers\":[\"nope\"]}}",
         "ConfigMap \"a\" is invalid: metadata.finalizers[0]: Invalid value: \"nope\": name is neither a standard finalizer name "
         "nor is it fully qualified"},
        {&KUBE_CONFIGMAPS,
         "{\"metadata\":{\"name\":\"a\",\"ownerReferences\":[{\"apiVersion\":\"v1\",\"kind\":\"Pod\",\"name\":\"x\"}]}}",
         "ConfigMap \"a\" is invalid: metadata.ownerReferences.uid: Invalid value: \"\": must not be empty"},
        {&KUBE_SECRETS, "{\"metadata\":{\"name\":\"e\"},\"type\":\"kubernetes.io/basic-auth\"}",
         "Secret \"e\" is invalid: [data[username]: Required value, data[password]: Required value]"},
        {&KUBE_NAMESPACES, "{\"metadata\":{\"name\":\"a.b\"}}",
         "Namespace \"a.b\" is invalid: metadata.name: Invalid value: \"a.b\": must not contain dots"},
        {&KUBE_EVENTS,
         "{\"metadata\":{\"name\":\"e\"},\"involvedObject\":{\"kind\":\"Pod\",\"namespace\":\"other\",\"name\":\"x\"}}",
         "Event \"e\" is invalid: involvedObject.namespace: Invalid value: \"other\": does not match event.namespace"},
        {&KUBE_NODES, "{\"metadata\":{\"name\":\"n\"},\"spec\":{\"taints\":[{\"key\":\"a\",\"effect\":\"X\"}]}}",
         "Node \"n\" is invalid: metadata.taints[0].effect: Unsupported value: \"X\": supported values: \"NoSchedule\", "
         "\"PreferNoSchedule\", \"NoExecute\""},
        {&KUBE_ROLES, "{\"metadata\":{\"name\":\"a/b\"},\"rules\":[]}",
         "Role.rbac.authorization.k8s.io \"a/b\" is invalid: metadata.name: Invalid value: \"a/b\": may not contain '/'"},
        {&KUBE_ROLEBINDINGS,
         "{\"metadata\":{\"name\":\"r\"},\"roleRef\":{\"apiGroup\":\"rbac.authorization.k8s.io\",\"kind\":\"Pod\",\"name\":\"x\"}"
         "}",
         "RoleBinding.rbac.authorization.k8s.io \"r\" is invalid: roleRef.kind: Unsupported value: \"Pod\": supported values: "
         "\"Role\", \"ClusterRole\""},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        ERR(e);
        JSON_REF(d) = object(cases[i].res, cases[i].body);
        int rc = validate_create(cases[i].res, json_root(d), &e);
        if ((rc < 0) != (cases[i].message != NULL) || !str_eq(err_text(&e), cases[i].message ? cases[i].message : ""))
            fail_msg("%s:\n  want %s\n  got  %s", cases[i].body, cases[i].message, err_text(&e));
        if (rc < 0) {
            assert_int_equal(e.code, ERR_INVALID);
            assert_true(e.n_causes > 0);
            assert_string_equal(e.subject_kind, cases[i].res->kind);
        }
    }
}

/* As many faults as one likes to make: all that is said has an end, and finding doubles takes no square. */
static void test_many_faults(void **state)
{
    FAULTS(f);
    ERR(e);
    for (int i = 0; i < 200000; i++) {
        AUTOFREE char *name = xasprintf("m%d", i);
        fault_required(&f, name, NULL);
    }
    assert_int_equal(f.texts.n, 5000);
    assert_int_equal(faults_done(&f, "", "Thing", "t", &e), -1);
    assert_int_equal(e.n_causes, 5000);
    assert_true(strlen(err_text(&e)) < 200000);
}

static void test_update(void **state)
{
    (void)state;
    static const struct {
        const struct kube_res *res;
        const char *old, *now, *message;
    } cases[] = {
        {&KUBE_PODS, POD("\"containers\":[{" C "}]"),
         POD("\"containers\":[{\"name\":\"c\",\"image\":\"other\"}],\"activeDeadlineSeconds\":5"), NULL},
        {&KUBE_PODS, POD("\"containers\":[{" C "}]"), POD("\"containers\":[{" C "},{\"name\":\"d\",\"image\":\"i\"}]"),
         BAD("spec.containers: Forbidden: pod updates may not add or remove containers")},
        {&KUBE_PODS, POD("\"containers\":[{" C "}]"), POD("\"containers\":[{" C "}],\"hostNetwork\":true"),
         BAD("spec: Forbidden: pod updates may not change*")},
        {&KUBE_PODS, POD("\"containers\":[{" C "}],\"activeDeadlineSeconds\":5"),
         POD("\"containers\":[{" C "}],\"activeDeadlineSeconds\":6"),
         BAD("spec.activeDeadlineSeconds: Invalid value: 6: must be less than or equal to previous value")},
        {&KUBE_PODS, POD("\"containers\":[{" C "}],\"schedulingGates\":[{\"name\":\"b\"}]"),
         POD("\"containers\":[{" C "}],\"schedulingGates\":[{\"name\":\"c\"}]"),
         BAD("spec.schedulingGates[0].name: Forbidden: only deletion is allowed, but found new scheduling gate 'c'")},
        {&KUBE_PODS, POD("\"containers\":[{" C "}],\"schedulingGates\":[{\"name\":\"b\"}],\"nodeSelector\":{\"a\":\"b\"}"),
         POD("\"containers\":[{" C "}],\"nodeSelector\":{\"a\":\"b\",\"c\":\"d\"}"), NULL},
        {&KUBE_PODS, POD("\"containers\":[{" C "}],\"schedulingGates\":[{\"name\":\"b\"}],\"nodeSelector\":{\"a\":\"b\"}"),
         POD("\"containers\":[{" C "}],\"nodeSelector\":{\"c\":\"d\"}"),
         BAD("spec.nodeSelector: Invalid value: {\"c\":\"d\"}: only additions to spec.nodeSelector are allowed (no mutations or "
             "deletions)")},
        {&KUBE_PODS, POD("\"containers\":[{" C "}]"), POD("\"containers\":[{" C "}],\"nodeSelector\":{\"c\":\"d\"}"),
         BAD("spec: Forbidden: pod updates may not change*")},
        {&KUBE_SECRETS, "{\"metadata\":{\"name\":\"s\"}}", "{\"metadata\":{\"name\":\"s\"},\"type\":\"other\"}",
         "Secret \"s\" is invalid: type: Invalid value: \"other\": field is immutable"},
        {&KUBE_CONFIGMAPS, "{\"metadata\":{\"name\":\"m\"},\"immutable\":true,\"data\":{\"a\":\"b\"}}",
         "{\"metadata\":{\"name\":\"m\"},\"immutable\":true,\"data\":{\"a\":\"c\"}}",
         "ConfigMap \"m\" is invalid: data: Forbidden: field is immutable when `immutable` is set"},
        {&KUBE_CONFIGMAPS,
         "{\"metadata\":{\"name\":\"m\",\"deletionTimestamp\":\"2001-01-01T00:00:00Z\",\"finalizers\":[\"a/b\"]}}",
         "{\"metadata\":{\"name\":\"m\",\"deletionTimestamp\":\"2001-01-01T00:00:00Z\",\"finalizers\":[\"a/b\",\"a/c\"]}}",
         "ConfigMap \"m\" is invalid: metadata.finalizers: Forbidden: no new finalizers can be added if the object is being "
         "deleted, found new finalizers "
         "?]string{\"a/c\"}"},
        {&KUBE_CONFIGMAPS, "{\"metadata\":{\"name\":\"m\",\"uid\":\"a\"}}", "{\"metadata\":{\"name\":\"m\",\"uid\":\"b\"}}",
         "ConfigMap \"m\" is invalid: metadata.uid: Invalid value: \"b\": field is immutable"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        ERR(e);
        JSON_REF(old) = object(cases[i].res, cases[i].old);
        JSON_REF(now) = object(cases[i].res, cases[i].now);
        validate_update(cases[i].res, NULL, json_root(old), json_root(now), &e);
        if (!str_glob(cases[i].message ? cases[i].message : "", err_text(&e)))
            fail_msg("%s:\n  want %s\n  got  %s", cases[i].now, cases[i].message, err_text(&e));
    }
}

#define FORM POD("\"containers\":[{" C "}],\"ephemeralContainers\":[%s]")
/* What may be added to a pod that is there, to look into it. */
static void test_ephemeral(void **state)
{
    (void)state;
    static const struct {
        const char *old, *now, *message; /* lists of ephemeral containers */
    } cases[] = {
        {"", "{\"name\":\"e\",\"image\":\"i\",\"stdin\":true,\"tty\":true,\"targetContainerName\":\"c\",\"resources\":{}}", NULL},
        {"{\"name\":\"e\",\"image\":\"i\"}", "{\"name\":\"f\",\"image\":\"i\"},{\"name\":\"e\",\"image\":\"i\"}", NULL},
        {"", "{\"name\":\"c\",\"image\":\"i\"}", "spec.ephemeralContainers[0].name: Duplicate value: \"c\""},
        {"", "{\"name\":\"e\",\"image\":\"i\"},{\"name\":\"e\",\"image\":\"i\"}",
         "spec.ephemeralContainers[1].name: Duplicate value: \"e\""},
        {"", "{\"name\":\"e\",\"image\":\"i\",\"targetContainerName\":\"x\"}",
         "spec.ephemeralContainers[0].targetContainerName: Not found: \"x\""},
        {"{\"name\":\"e\",\"image\":\"i\"}",
         "{\"name\":\"f\",\"image\":\"i\",\"targetContainerName\":\"e\"},{\"name\":\"e\",\"image\":\"i\"}",
         "spec.ephemeralContainers[0].targetContainerName: Not found: \"e\""},
        {"", "{\"name\":\"e\",\"image\":\"i\",\"ports\":[{\"containerPort\":1,\"protocol\":\"TCP\"}]}",
         "spec.ephemeralContainers[0].ports: Forbidden: cannot be set for an Ephemeral Container"},
        {"", "{\"name\":\"e\",\"image\":\"i\",\"restartPolicy\":\"Always\"}",
         "spec.ephemeralContainers[0].restartPolicy: Forbidden: cannot be set for an Ephemeral Container"},
        {"", "{\"name\":\"e\"}", "spec.ephemeralContainers[0].image: Required value"},
        {"{\"name\":\"e\",\"image\":\"i\"}", "",
         "spec.ephemeralContainers: Forbidden: existing ephemeral containers \"e\" may not be removed\n"},
        {"{\"name\":\"e\",\"image\":\"i\"}", "{\"name\":\"e\",\"image\":\"j\"}",
         "spec.ephemeralContainers: Forbidden: existing ephemeral containers \"e\" may not be changed\nchanged: image"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        AUTOFREE char *was = xasprintf(FORM, cases[i].old), *is = xasprintf(FORM, cases[i].now);
        JSON_REF(old) = object(&KUBE_PODS, was);
        JSON_REF(now) = object(&KUBE_PODS, is);
        ERR(e);
        AUTOFREE char *text = cases[i].message ? xasprintf(BAD("%s"), cases[i].message) : xstrdup("");
        validate_update(&KUBE_PODS, "ephemeralcontainers", json_root(old), json_root(now), &e);
        if (strcmp(err_text(&e), text) != 0)
            fail_msg("%s:\n  want %s\n  got  %s", is, text, err_text(&e));
    }
}

TEST_GROUP(validate, cmocka_unit_test(test_create), cmocka_unit_test(test_update), cmocka_unit_test(test_ephemeral),
           cmocka_unit_test(test_many_faults))
