/* Values that are filled in. */
#include "unit.h"

#include "kube/rules/defaults.h"
#include "kube/wire/decode.h"

/* What of the defaulted object is looked at: a path, and the JSON there ("" when absent). */
static const struct {
    const char *kind, *in, *path, *out;
} rules[] = {
    {"po", "{}", "spec.restartPolicy", "'Always'"},
    {"po", "{}", "spec.dnsPolicy", "'ClusterFirst'"},
    {"po", "{}", "spec.schedulerName", "'default-scheduler'"},
    {"po", "{}", "spec.terminationGracePeriodSeconds", "30"},
    {"po", "{'spec':{'terminationGracePeriodSeconds':0}}", "spec.terminationGracePeriodSeconds", "0"},
    {"po", "{}", "spec.enableServiceLinks", "true"},
    {"po", "{'spec':{'enableServiceLinks':false}}", "spec.enableServiceLinks", "false"},
    {"po", "{}", "spec.securityContext", "{}"},
    {"deploy", "{}", "spec.template.spec.enableServiceLinks", ""},
    {"deploy", "{}", "spec.template.spec.restartPolicy", "'Always'"},
    {"po", "{'spec':{'containers':[{'image':'a'}]}}", "spec.containers.0.imagePullPolicy", "'Always'"},
    {"po", "{'spec':{'containers':[{'image':'a:latest'}]}}", "spec.containers.0.imagePullPolicy", "'Always'"},
    {"po", "{'spec':{'containers':[{'image':'a:1'}]}}", "spec.containers.0.imagePullPolicy", "'IfNotPresent'"},
    {"po", "{'spec':{'containers':[{'image':'r:5000/a'}]}}", "spec.containers.0.imagePullPolicy", "'Always'"},
    {"po", "{'spec':{'containers':[{'image':'r:5000/a:2'}]}}", "spec.containers.0.imagePullPolicy", "'IfNotPresent'"},
    {"po", "{'spec':{'containers':[{'image':'a@sha256:00'}]}}", "spec.containers.0.imagePullPolicy", "'IfNotPresent'"},
    {"po", "{'spec':{'containers':[{'image':'a:latest@sha256:00'}]}}", "spec.containers.0.imagePullPolicy", "'Always'"},
    {"po", "{'spec':{'containers':[{'image':'a','imagePullPolicy':'Never'}]}}", "spec.containers.0.imagePullPolicy", "'Never'"},
    {"po", "{'spec':{'initContainers':[{}]}}", "spec.initContainers.0.terminationMessagePath", "'/dev/termination-log'"},
    {"po", "{'spec':{'containers':[{}]}}", "spec.containers.0.terminationMessagePolicy", "'File'"},
    {"po", "{'spec':{'containers':[{'ports':[{'containerPort':1}]}]}}", "spec.containers.0.ports",
     "[{'containerPort':1,'protocol':'TCP'}]"},
    {"po", "{'spec':{'hostNetwork':true,'containers':[{'ports':[{}]}]}}", "spec.containers.0.ports.0.hostPort", ""},
    {"po", "{'spec':{'hostNetwork':true,'containers':[{'ports':[{'containerPort':1}]}]}}", "spec.containers.0.ports.0.hostPort",
     "1"},
    {"po", "{'spec':{'containers':[{'resources':{'limits':{'cpu':'1','x':'2'},'requests':{'x':'1'}}}]}}",
     "spec.containers.0.resources.requests", "{'cpu':'1','x':'1'}"},
    {"deploy", "{'spec':{'template':{'spec':{'containers':[{'resources':{'limits':{'cpu':'1'}}}]}}}}",
     "spec.template.spec.containers.0.resources", "{'limits':{'cpu':'1'}}"},
    {"po", "{'spec':{'containers':[{'resources':{'limits':{'memory':'0.0000000001','cpu':'1.5'}}}]}}",
     "spec.containers.0.resources.limits", "{'cpu':'1500m','memory':'1m'}"},
    {"po",
     "{'spec':{'containers':[{'resources':{'requests':{'cpu':'100m'}}}],'resources':{'limits':{'cpu':'2','memory':'1Gi'}}}}",
     "spec.resources.requests", "{'cpu':'100m','memory':'1Gi'}"},
    {"po",
     "{'spec':{'initContainers':[{'resources':{'requests':{'cpu':'3'}}}],'containers':[{'resources':{'requests':{'cpu':'1'}}},"
     "{'resources':{'requests':{'cpu':'1'}}}],'resources':{'limits':{'cpu':'4'}}}}",
     "spec.resources.requests", "{'cpu':'3'}"},
    {"po", "{'spec':{'containers':[{'livenessProbe':{'httpGet':{'port':80}}}]}}", "spec.containers.0.livenessProbe",
     "{'failureThreshold':3,'httpGet':{'path':'/"
     "','port':80,'scheme':'HTTP'},'periodSeconds':10,'successThreshold':1,'timeoutSeconds':1}"},
    {"po", "{'spec':{'containers':[{'livenessProbe':{'grpc':{'port':80}}}]}}", "spec.containers.0.livenessProbe.grpc",
     "{'port':80,'service':''}"},
    {"po", "{'spec':{'containers':[{'env':[{'name':'a','valueFrom':{'fieldRef':{'fieldPath':'x'}}}]}]}}",
     "spec.containers.0.env.0.valueFrom.fieldRef.apiVersion", "'v1'"},
    {"po", "{'spec':{'volumes':[{'name':'a'}]}}", "spec.volumes.0", "{'emptyDir':{},'name':'a'}"},
    {"po", "{'spec':{'volumes':[{'name':'a','secret':{}}]}}", "spec.volumes.0.secret", "{'defaultMode':420}"},
    {"po", "{'spec':{'volumes':[{'name':'a','hostPath':{'path':'/'}}]}}", "spec.volumes.0.hostPath", "{'path':'/','type':''}"},
    {"po", "{'spec':{'volumes':[{'name':'a','projected':{'sources':[{'serviceAccountToken':{'path':'t'}}]}}]}}",
     "spec.volumes.0.projected", "{'defaultMode':420,'sources':[{'serviceAccountToken':{'expirationSeconds':3600,'path':'t'}}]}"},
    {"po", "{'spec':{'volumes':[{'name':'a','ephemeral':{'volumeClaimTemplate':{}}}]}}",
     "spec.volumes.0.ephemeral.volumeClaimTemplate.spec.volumeMode", "'Filesystem'"},
    {"po", "{'spec':{'volumes':[{'name':'a','image':{'reference':'a/b:1'}}]}}", "spec.volumes.0.image.pullPolicy",
     "'IfNotPresent'"},
    {"po", "{'spec':{'volumes':[{'name':'a','image':{'reference':'a/b'}}]}}", "spec.volumes.0.image.pullPolicy", "'Always'"},
    {"po", "{'spec':{'volumes':[{'name':'a','image':{'reference':'h:1/b@sha256:0'}}]}}", "spec.volumes.0.image.pullPolicy",
     "'IfNotPresent'"},
    {"po", "{'spec':{'volumes':[{'name':'a','image':{'reference':'a','pullPolicy':'Never'}}]}}",
     "spec.volumes.0.image.pullPolicy", "'Never'"},
    {"po", "{'spec':{'volumes':[{'name':'a','iscsi':{}}]}}", "spec.volumes.0.iscsi.iscsiInterface", "'default'"},
    {"secret", "{}", "type", "'Opaque'"},
    {"secret", "{'type':'a/b'}", "type", "'a/b'"},
    {"ns", "{'metadata':{'name':'n'}}", "metadata.labels", "{'kubernetes.io/metadata.name':'n'}"},
    {"ns", "{}", "metadata.labels", ""},
    {"ns", "{}", "status.phase", "'Active'"},
    {"no", "{'status':{'capacity':{'cpu':'2'}}}", "status.allocatable", "{'cpu':'2'}"},
    {"rolebinding", "{'roleRef':{'kind':'Role'}}", "roleRef.apiGroup", "'rbac.authorization.k8s.io'"},
    {"rolebinding", "{'subjects':[{'kind':'User'},{'kind':'ServiceAccount'}]}", "subjects.0.apiGroup",
     "'rbac.authorization.k8s.io'"},
    {"rolebinding", "{'subjects':[{'kind':'User'},{'kind':'ServiceAccount'}]}", "subjects.1.apiGroup", ""},
};

static void quotes(char *p)
{
    for (; *p; p++)
        *p = *p == '\'' ? '"' : *p;
}

static jval *at_path(jval *v, const char *path)
{
    STRLIST(parts);
    str_split(path, '.', &parts);
    for (size_t i = 0; i < parts.n; i++) {
        int64_t n;
        v = jv_is(v, J_ARRAY) && str_to_i64(parts.v[i], &n) ? jv_at(v, (size_t)n) : jv_get(v, parts.v[i]);
    }
    return v;
}

static void test_rules(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rules); i++) {
        ERR(e);
        const struct kind *k = kind_by_short_name(rules[i].kind);
        AUTOFREE char *in = xstrdup(rules[i].in), *want = xstrdup(rules[i].out);
        quotes(in);
        quotes(want);
        JSON_REF(d) = decode_body(k, DECODE_JSON, FIELDS_STRICT, in, strlen(in), NULL, &e);
        assert_string_equal(err_text(&e), "");
        JM(m, json_root(d));
        defaults_apply(k, m, jm_root(m));
        JSON_REF(once) = jm_freeze(m);
        jval *v = at_path(json_root(once), rules[i].path);
        AUTOFREE char *have = v ? jv_text(v, JW_SORTED) : xstrdup("");
        assert_string_equal(have, want);
        defaults_apply(k, m, jm_root(m)); /* nothing more the second time */
        assert_true(jmv_equal(jm_root(m), json_root(once)));
        JSON_REF(again) = decode_value(k->type, json_root(once), NULL, &e); /* and it is a decoded object still */
        assert_true(jv_equal(json_root(again), json_root(once)));
    }
}

TEST_GROUP(defaults, cmocka_unit_test(test_rules))
