/* Pod Security Standards: each check, its versions, and the labels of namespaces. */
#include "kube/rules/podsec.h"
#include "unit.h"

#define GOOD                                                                                                                     \
    "\"securityContext\":{\"runAsNonRoot\":true,\"seccompProfile\":{\"type\":\"RuntimeDefault\"}},\"containers\":[{\"name\":"    \
    "\"c\",\"securityContext\":{\"allowPrivilegeEscalation\":false,\"capabilities\":{\"drop\":[\"ALL\"]}}}]"
#define WITH(x) "{\"spec\":{\"containers\":[{\"name\":\"c\"," x "}]}}"
#define POD(x)  "{\"spec\":{\"containers\":[{\"name\":\"c\"}]," x "}}"

static void test_checks(void **state)
{
    static const struct {
        enum podsec_level level;
        int minor;
        const char *pod, *want; /* NULL: allowed */
    } t[] = {
        {PODSEC_PRIVILEGED, PODSEC_LATEST, POD("\"hostNetwork\":true"), NULL},
        {PODSEC_BASELINE, PODSEC_LATEST, POD("\"hostNetwork\":false"), NULL},
        {PODSEC_BASELINE, PODSEC_LATEST, POD("\"hostPID\":true,\"hostIPC\":true"),
         "host namespaces (hostPID=true, hostIPC=true)"},
        {PODSEC_BASELINE, PODSEC_LATEST, WITH("\"securityContext\":{\"capabilities\":{\"add\":[\"CHOWN\",\"KILL\"]}}"), NULL},
        {PODSEC_BASELINE, PODSEC_LATEST, WITH("\"securityContext\":{\"capabilities\":{\"add\":[\"SYS_TIME\",\"NET_RAW\"]}}"),
         "non-default capabilities (container \"c\" must not include \"NET_RAW\", \"SYS_TIME\" in "
         "securityContext.capabilities.add)"},
        {PODSEC_BASELINE, PODSEC_LATEST,
         POD("\"volumes\":[{\"name\":\"a\",\"hostPath\":{\"path\":\"/\"}},{\"name\":\"b\",\"hostPath\":{\"path\":\"/\"}}]"),
         "hostPath volumes (volumes \"a\", \"b\")"},
        {PODSEC_BASELINE, PODSEC_LATEST, WITH("\"ports\":[{\"hostPort\":90},{\"hostPort\":80}]"),
         "hostPort (container \"c\" uses hostPorts 80, 90)"},
        {PODSEC_BASELINE, PODSEC_LATEST, WITH("\"livenessProbe\":{\"httpGet\":{\"host\":\"1.2.3.4\"}}"),
         "probe or lifecycle host (container \"c\" uses probe or lifecycle host \"1.2.3.4\")"},
        {PODSEC_BASELINE, 33, WITH("\"livenessProbe\":{\"httpGet\":{\"host\":\"1.2.3.4\"}}"), NULL},
        {PODSEC_BASELINE, PODSEC_LATEST, WITH("\"securityContext\":{\"procMount\":\"Unmasked\"}"),
         "procMount (container \"c\" must not set securityContext.procMount to \"Unmasked\")"},
        {PODSEC_BASELINE, PODSEC_LATEST, WITH("\"securityContext\":{\"appArmorProfile\":{\"type\":\"Unconfined\"}}"),
         "forbidden AppArmor profile (container \"c\" must not set AppArmor profile type to \"Unconfined\")"},
        {PODSEC_BASELINE, PODSEC_LATEST,
         "{\"metadata\":{\"annotations\":{\"container.apparmor.security.beta.kubernetes.io/c\":\"x\"}},\"spec\":{}}",
         "forbidden AppArmor profile (annotation must not set AppArmor profile type to "
         "\"container.apparmor.security.beta.kubernetes.io/c=\"x\"\")"},
        {PODSEC_BASELINE, PODSEC_LATEST, POD("\"securityContext\":{\"seLinuxOptions\":{\"type\":\"spc_t\",\"user\":\"u\"}}"),
         "seLinuxOptions (pod set forbidden securityContext.seLinuxOptions: type \"spc_t\"; user may not be set)"},
        {PODSEC_BASELINE, 30, POD("\"securityContext\":{\"seLinuxOptions\":{\"type\":\"container_engine_t\"}}"),
         "seLinuxOptions (pod set forbidden securityContext.seLinuxOptions: type \"container_engine_t\")"},
        {PODSEC_BASELINE, 31, POD("\"securityContext\":{\"seLinuxOptions\":{\"type\":\"container_engine_t\"}}"), NULL},
        {PODSEC_BASELINE, PODSEC_LATEST, POD("\"securityContext\":{\"seccompProfile\":{\"type\":\"Unconfined\"}}"),
         "seccompProfile (pod must not set securityContext.seccompProfile.type to \"Unconfined\")"},
        {PODSEC_BASELINE, PODSEC_LATEST,
         POD("\"securityContext\":{\"sysctls\":[{\"name\":\"net.ipv4.tcp_rmem\"},{\"name\":\"kernel.x\"}]}"),
         "forbidden sysctls (kernel.x)"},
        {PODSEC_BASELINE, 31, POD("\"securityContext\":{\"sysctls\":[{\"name\":\"net.ipv4.tcp_rmem\"}]}"),
         "forbidden sysctls (net.ipv4.tcp_rmem)"},
        {PODSEC_BASELINE, PODSEC_LATEST, POD("\"securityContext\":{\"windowsOptions\":{\"hostProcess\":true}}"),
         "hostProcess (pod must not set securityContext.windowsOptions.hostProcess=true)"},
        {PODSEC_BASELINE, PODSEC_LATEST,
         "{\"spec\":{\"initContainers\":[{\"name\":\"i\",\"securityContext\":{\"privileged\":true}}],\"ephemeralContainers\":[{"
         "\"name\":\"e\",\"securityContext\":{\"privileged\":true}}]}}",
         "privileged (containers \"i\", \"e\" must not set securityContext.privileged=true)"},
        {PODSEC_RESTRICTED, PODSEC_LATEST, "{\"spec\":{" GOOD "}}", NULL},
        {PODSEC_RESTRICTED, PODSEC_LATEST, "{\"spec\":{\"os\":{\"name\":\"windows\"}," GOOD "}}", NULL},
        {PODSEC_RESTRICTED, PODSEC_LATEST, "{\"spec\":{\"volumes\":[{\"name\":\"v\",\"nfs\":{}}]," GOOD "}}",
         "restricted volume types (volume \"v\" uses restricted volume type \"nfs\")"},
        {PODSEC_RESTRICTED, 7, WITH("\"securityContext\":{\"runAsNonRoot\":true,\"runAsUser\":0}"), NULL},
        {PODSEC_RESTRICTED, 7, WITH("\"securityContext\":{\"runAsNonRoot\":false}"),
         "runAsNonRoot != true (container \"c\" must not set securityContext.runAsNonRoot=false)"},
        {PODSEC_RESTRICTED, PODSEC_LATEST,
         "{\"spec\":{\"os\":{\"name\":\"windows\"},\"containers\":[{\"name\":\"c\",\"securityContext\":{\"runAsNonRoot\":true}}]}"
         "}",
         NULL},
    };
    for (size_t i = 0; i < ARRAY_LEN(t); i++) {
        JSON_REF(d) = json_parse_str(t[i].pod, NULL);
        const struct podsec_rule r = {t[i].level, t[i].minor};
        BUF(text);
        assert_non_null(d);
        bool good = podsec_check(&r, jv_get(json_root(d), "metadata"), jv_get(json_root(d), "spec"), NULL, &text);
        if (good != !t[i].want || (t[i].want && strcmp(buf_str(&text), t[i].want) != 0))
            fail_msg("row %zu: %s", i, buf_str(&text));
    }
}

static void test_labels(void **state)
{
#define L "pod-security.kubernetes.io/"
    static const struct {
        const char *labels, *enforce, *warn;
        size_t faults;
    } t[] = {
        {"{}", "privileged:latest", "privileged:latest", 0},
        {"{\"" L "enforce\":\"baseline\"}", "baseline:latest", "baseline:latest", 0},
        {"{\"" L "enforce\":\"baseline\",\"" L "enforce-version\":\"v1.20\"}", "baseline:v1.20", "baseline:v1.20", 0},
        {"{\"" L "enforce\":\"restricted\",\"" L "warn\":\"privileged\"}", "restricted:latest", "privileged:latest", 0},
        {"{\"" L "enforce\":\"baseline\",\"" L "warn\":\"restricted\",\"" L "warn-version\":\"v1.9\"}", "baseline:latest",
         "restricted:v1.9", 0},
        {"{\"" L "enforce\":\"nope\",\"" L "warn\":\"nope\"}", "restricted:latest", "privileged:latest", 2},
        {"{\"" L "enforce-version\":\"v1.01\"}", "privileged:latest", "privileged:latest", 1},
        {"{\"" L "enforce-version\":\"1.2\",\"" L "audit\":\"x\"}", "privileged:latest", "privileged:latest", 2},
        {"{\"" L "enforce-version\":\"v1.99999999999\"}", "privileged:latest", "privileged:latest", 1},
    };
    for (size_t i = 0; i < ARRAY_LEN(t); i++) {
        JSON_REF(d) = json_parse_str(t[i].labels, NULL);
        struct podsec_policy p;
        FAULTS(f);
        BUF(enforce);
        BUF(warn);
        podsec_policy_of(json_root(d), &p, &f);
        podsec_rule_text(&p.enforce, &enforce);
        podsec_rule_text(&p.warn, &warn);
        assert_string_equal(buf_str(&enforce), t[i].enforce);
        assert_string_equal(buf_str(&warn), t[i].warn);
        assert_int_equal(f.texts.n, t[i].faults);
    }
}

TEST_GROUP(podsec, cmocka_unit_test(test_checks), cmocka_unit_test(test_labels))
