/* Rules, defaults and rows of Services, claims and volumes: one line a case. */
#include "unit.h"

#include "base/str.h"
#include "kube/kinds.h"
#include "kube/object.h"
#include "kube/rules/validate.h"

static struct json *parse(const char *text)
{
    char *copy = xstrdup(text);
    for (char *c = copy; *c; c++)
        *c = *c == '\'' ? '"' : *c;
    struct json *d = json_parse_str(copy, NULL);
    if (!d)
        fail_msg("no JSON: %s", copy);
    free(copy);
    return d;
}

#define CLAIM(x)   "{'metadata':{'name':'c','namespace':'n'},'spec':{" x "}}"
#define GOOD       "'accessModes':['ReadWriteOnce'],'resources':{'requests':{'storage':'1Gi'}},'volumeMode':'Filesystem'"
#define VOLUME(x)  "{'metadata':{'name':'v'},'spec':{'accessModes':['ReadWriteOnce'],'capacity':{'storage':'1Gi'}," x "}}"
#define SERVICE(x) "{'metadata':{'name':'s','namespace':'n'},'spec':{'type':'ClusterIP','sessionAffinity':'None'," x "}}"
#define PORT       "{'protocol':'TCP','port':80,'targetPort':80}"

static void creates(void **state)
{
    static const struct {
        const struct kube_res *res;
        const char *object, *want; /* want NULL: good */
    } cases[] = {
        {&KUBE_PERSISTENTVOLUMECLAIMS, CLAIM(GOOD), NULL},
        {&KUBE_PERSISTENTVOLUMECLAIMS, CLAIM("'resources':{'requests':{'storage':'1'}}"),
         "spec.accessModes: Required value: at least 1 access mode is required"},
        {&KUBE_PERSISTENTVOLUMECLAIMS, CLAIM("'accessModes':['X'],'resources':{'requests':{'storage':'1'}}"),
         "spec.accessModes: Unsupported value: \"X\""},
        {&KUBE_PERSISTENTVOLUMECLAIMS,
         CLAIM("'accessModes':['ReadWriteOncePod','ReadWriteOnce'],'resources':{'requests':{'storage':'1'}}"),
         "spec.accessModes: Forbidden: may not use ReadWriteOncePod with other access modes"},
        {&KUBE_PERSISTENTVOLUMECLAIMS, CLAIM("'accessModes':['ReadWriteOnce'],'resources':{}"),
         "spec.resources[storage]: Required value"},
        {&KUBE_PERSISTENTVOLUMECLAIMS, CLAIM("'accessModes':['ReadWriteOnce'],'resources':{'requests':{'storage':'0'}}"),
         "spec.resources[storage]: Invalid value: \"0\": must be greater than zero"},
        {&KUBE_PERSISTENTVOLUMES, VOLUME("'hostPath':{'path':'/x'}"), NULL},
        {&KUBE_PERSISTENTVOLUMES, VOLUME("'volumeMode':'Filesystem'"), "spec: Required value: must specify a volume type"},
        {&KUBE_PERSISTENTVOLUMES, VOLUME("'hostPath':{'path':'/a/../b'}"),
         "spec.hostPath.path: Invalid value: \"/a/../b\": must not contain '..'"},
        {&KUBE_PERSISTENTVOLUMES, VOLUME("'hostPath':{'path':'/x'},'nfs':{'server':'a','path':'/b'}"),
         "spec.nfs: Forbidden: may not specify more than 1 volume type"},
        {&KUBE_PERSISTENTVOLUMES, VOLUME("'local':{'path':'/x'}"),
         "spec.nodeAffinity: Required value: Local volume requires node affinity"},
        {&KUBE_STORAGECLASSES, "{'metadata':{'name':'c'},'provisioner':'','volumeBindingMode':'Immediate'}",
         "provisioner: Required value"},
        {&KUBE_STORAGECLASSES, "{'metadata':{'name':'c'},'provisioner':'a.b/c','volumeBindingMode':'X'}",
         "volumeBindingMode: Unsupported value"},
        {&KUBE_SERVICES, SERVICE("'ports':[" PORT "]"), NULL},
        {&KUBE_SERVICES, SERVICE("'ports':[]"), "spec.ports: Required value"},
        {&KUBE_SERVICES, SERVICE("'clusterIP':'None','clusterIPs':['None']"), NULL},
        {&KUBE_SERVICES, SERVICE("'ports':[" PORT "," PORT "]"),
         "spec.ports[0].name: Required value, spec.ports[1].name: Required value"},
        {&KUBE_SERVICES, SERVICE("'ports':[{'protocol':'TCP','port':0,'targetPort':'A_b'}]"),
         "[spec.ports[0].port: Invalid value: 0: must be between 1 and 65535, inclusive, spec.ports[0].targetPort: Invalid "
         "value: \"A_b\""},
        {&KUBE_SERVICES, SERVICE("'ports':[" PORT "],'clusterIP':'x','clusterIPs':['x']"),
         "spec.clusterIPs[0]: Invalid value: \"x\": must be a valid IP address"},
        {&KUBE_SERVICES, SERVICE("'ports':[" PORT "],'externalTrafficPolicy':'Local'"),
         "may only be set for externally-accessible services"},
        {&KUBE_ENDPOINTS,
         "{'metadata':{'name':'e','namespace':'n'},'subsets':[{'addresses':[{'ip':'127.0.0.1'}],'ports':[{'port':1,'protocol':'"
         "TCP'}]}]}",
         "subsets[0].addresses[0].ip: Invalid value: \"127.0.0.1\": may not be in the loopback range"},
        {&KUBE_ENDPOINTSLICES,
         "{'metadata':{'name':'e','namespace':'n'},'addressType':'IPv4','endpoints':[{'addresses':['::1']}]}",
         "endpoints[0].addresses[0]: Invalid value: \"::1\": must be an IPv4 address"},
        {&KUBE_ENDPOINTSLICES, "{'metadata':{'name':'e','namespace':'n'},'addressType':'IPv4','endpoints':[{'addresses':[]}]}",
         "endpoints[0].addresses: Required value: must contain at least 1 address"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        JSON_REF(o) = parse(cases[i].object);
        ERR(e);
        int rc = validate_create(cases[i].res, json_root(o), &e);
        if ((rc == 0) != (cases[i].want == NULL) || (rc && !strstr(err_text(&e), cases[i].want)))
            fail_msg("%s: %s", cases[i].object, rc ? err_text(&e) : "taken");
    }
}

static void updates(void **state)
{
#define BOUND "'status':{'phase':'Bound','capacity':{'storage':'1Gi'}}"
    static const struct {
        const struct kube_res *res;
        const char *old, *now, *want;
    } cases[] = {
        {&KUBE_PERSISTENTVOLUMECLAIMS, "{" BOUND ",'spec':{" GOOD "}}",
         "{" BOUND
         ",'spec':{'accessModes':['ReadWriteOnce'],'resources':{'requests':{'storage':'2Gi'}},'volumeMode':'Filesystem'}}",
         NULL},
        {&KUBE_PERSISTENTVOLUMECLAIMS, "{" BOUND ",'spec':{" GOOD "}}",
         "{" BOUND
         ",'spec':{'accessModes':['ReadWriteOnce'],'resources':{'requests':{'storage':'1Mi'}},'volumeMode':'Filesystem'}}",
         "spec.resources.requests.storage: Forbidden: field can not be less than status.capacity"},
        {&KUBE_PERSISTENTVOLUMECLAIMS, "{" BOUND ",'spec':{" GOOD "}}", "{" BOUND ",'spec':{" GOOD ",'volumeName':'v'}}", NULL},
        {&KUBE_PERSISTENTVOLUMECLAIMS, "{" BOUND ",'spec':{" GOOD ",'volumeName':'v'}}",
         "{" BOUND ",'spec':{" GOOD ",'volumeName':'w'}}",
         "spec: Forbidden: spec is immutable after creation except resources.requests"},
        {&KUBE_SERVICES, "{'spec':{'type':'ClusterIP','sessionAffinity':'None','clusterIPs':['10.96.0.5'],'ports':[" PORT "]}}",
         "{'spec':{'type':'ClusterIP','sessionAffinity':'None','clusterIPs':['10.96.0.6'],'ports':[" PORT "]}}",
         "spec.clusterIPs[0]: Invalid value: [\"10.96.0.6\"]: may not change once set"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        JSON_REF(a) = parse(cases[i].old);
        JSON_REF(b) = parse(cases[i].now);
        JM(old, json_root(a));
        JM(now, json_root(b));
        struct jm *const both[] = {old, now};
        for (size_t k = 0; k < 2; k++) {
            jmval *meta = jm_obj_at(both[k], jm_root(both[k]), "metadata");
            jm_put(both[k], meta, "name", jm_str(both[k], "x"));
            jm_put(both[k], meta, "namespace", jm_str(both[k], "n"));
            jm_put(both[k], meta, "uid", jm_str(both[k], "u"));
            jm_put(both[k], meta, "resourceVersion", jm_str(both[k], "1"));
        }
        JSON_REF(was) = jm_freeze(old);
        JSON_REF(is) = jm_freeze(now);
        ERR(e);
        int rc = validate_update(cases[i].res, NULL, json_root(was), json_root(is), &e);
        if ((rc == 0) != (cases[i].want == NULL) || (rc && !strstr(err_text(&e), cases[i].want)))
            fail_msg("case %zu: %s", i, rc ? err_text(&e) : "taken");
    }
}

TEST_GROUP(services, cmocka_unit_test(creates), cmocka_unit_test(updates))
