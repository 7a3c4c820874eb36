/* Tasks that make a PersistentVolumeClaim: what they ask the cluster for. */
#include "fake_kube.h"
#include "kit.h"
#include "kube/fields.h"
#include "kube/kinds.h"

#define TEXT(name, more) name ": {parameterType: STRING" more "}"
#define OPTIONAL         ", isOptional: true"
#define CLAIMS                                                                                                                   \
    "pipelineInfo: {name: p}\nschemaVersion: 2.1.0\n"                                                                            \
    "deploymentSpec: {executors: {c: {container: {image: argostub/createpvc}}}}\n"                                               \
    "components:\n"                                                                                                              \
    "  c:\n    executorLabel: c\n    inputDefinitions: {parameters: {access_modes: {parameterType: LIST}, " TEXT(                \
        "size", "") ", " TEXT("pvc_name",                                                                                        \
                              OPTIONAL) ", " TEXT("storage_class_name", OPTIONAL                                                 \
                                                  ", defaultValue: ''") "}}\n"                                                   \
                                                                        "    outputDefinitions: {parameters: {name: "            \
                                                                        "{parameterType: STRING}}}\n"                            \
                                                                        "root:\n  inputDefinitions: {parameters: {" TEXT(        \
                                                                            "class",                                             \
                                                                            OPTIONAL) "}}\n"                                     \
                                                                                      "  dag: {tasks: {c: {componentRef: "       \
                                                                                      "{name: c}, inputs: {parameters: {%s"      \
                                                                                      "access_modes: {runtimeValue: {constant: " \
                                                                                      "[ReadWriteOnce]}}, size: {runtimeValue: " \
                                                                                      "{constant: 5Mi}}, "                       \
                                                                                      "pvc_name: {runtimeValue: {constant: "     \
                                                                                      "mine}}}}}}}\n"

/* The SDK's component has "" for a default; a task that says nothing gets the cluster's class. */
static void classes(void **state)
{
    static const struct {
        const char *given, *parameters, *want; /* want NULL: the claim names none */
    } cases[] = {
        {"", NULL, NULL},
        {"storage_class_name: {runtimeValue: {constant: ''}}, ", NULL, ""},
        {"storage_class_name: {runtimeValue: {constant: fast}}, ", NULL, "fast"},
        {"storage_class_name: {componentInputParameter: class}, ", "{\"class\":\"slow\"}", "slow"},
        {"storage_class_name: {componentInputParameter: class}, ", NULL, NULL},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct kit k;
        kit_open(&k, NULL, 0);
        struct fake_kube *f = fake_kube_new();
        k.cfg.kube = fake_kube_face(f);
        kit_restart(&k);
        AUTOFREE char *y = xasprintf(CLAIMS, cases[i].given);
        AUTOFREE char *id = kit_run(&k, y, cases[i].parameters, RUN_SUCCEEDED);
        JSON_REF(claim) = fake_get(f, &KUBE_PERSISTENTVOLUMECLAIMS, "kubeflow", "mine");
        assert_non_null(claim);
        const char *got = persistent_volume_claim_spec_storage_class_name(persistent_volume_claim_spec(json_root(claim)));
        if (!got != !cases[i].want || (got && strcmp(got, cases[i].want) != 0))
            fail_msg("case %zu: class %s", i, got ? got : "(none)");
        kit_close(&k);
        fake_kube_free(f);
    }
}

TEST_GROUP(claims, cmocka_unit_test(classes))
