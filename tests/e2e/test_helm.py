"""Helm 3 against us, where there is one ($HELM, or `helm` in the path; `go install helm.sh/helm/v3/cmd/helm@v3.18.6` makes it): a release from its
install over upgrade and rollback to its end, of the kinds that are served."""
import json
import os
import shutil
import subprocess

import pytest
from conftest import needs_node

HELM = os.environ.get('HELM') or shutil.which('helm')
pytestmark = [needs_node, pytest.mark.skipif(not HELM, reason='there is no helm')]

CHART = 'apiVersion: v2\nname: small\nversion: 0.1.0\n'
OBJECTS = """
apiVersion: v1
kind: ConfigMap
metadata: {name: {{ .Release.Name }}-config}
data: {greeting: {{ .Values.greeting | quote }}, minor: {{ .Capabilities.KubeVersion.Minor | quote }}, pods: {{ .Capabilities.APIVersions.Has "v1/Pod" | quote }}}
---
apiVersion: v1
kind: Secret
metadata: {name: {{ .Release.Name }}-secret}
stringData: {key: {{ .Values.greeting | quote }}}
---
apiVersion: v1
kind: Service
metadata: {name: {{ .Release.Name }}}
spec: {selector: {app: {{ .Release.Name }}}, ports: [{port: 80}]}
---
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: {{ .Release.Name }}-data}
spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Mi}}}
---
apiVersion: v1
kind: Pod
metadata: {name: {{ .Release.Name }}, labels: {app: {{ .Release.Name }}}}
spec:
  terminationGracePeriodSeconds: 1
  containers: [{name: c, image: busybox, command: [sleep, "1000"], volumeMounts: [{name: d, mountPath: /d}]}]
  volumes: [{name: d, persistentVolumeClaim: {claimName: {{ .Release.Name }}-data}}]
"""
HOOK = """
apiVersion: v1
kind: ConfigMap
metadata: {name: {{ .Release.Name }}-hook, annotations: {helm.sh/hook: "pre-install,pre-upgrade", helm.sh/hook-delete-policy: before-hook-creation}}
data: {revision: {{ .Release.Revision | quote }}}
"""
TEST = """
apiVersion: v1
kind: Pod
metadata: {name: {{ .Release.Name }}-test, annotations: {helm.sh/hook: test}}
spec: {restartPolicy: Never, containers: [{name: t, image: busybox, command: [sh, -c, "echo tested"]}]}
"""
FOREIGN = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: d}
spec: {selector: {matchLabels: {a: b}}, template: {metadata: {labels: {a: b}}, spec: {containers: [{name: c, image: busybox}]}}}
"""


def write(folder, **templates):
    (folder / 'templates').mkdir(parents=True)
    (folder / 'Chart.yaml').write_text(CHART)
    (folder / 'values.yaml').write_text('greeting: hello\n')
    for name, text in templates.items():
        (folder / 'templates' / f'{name}.yaml').write_text(text)
    return str(folder)


def test_release(tidemill, tmp_path):
    env = {**os.environ, 'KUBECONFIG': tidemill.kubeconfig, **{f'HELM_{x}_HOME': str(tmp_path / x) for x in ('CACHE', 'CONFIG', 'DATA')}}

    def helm(*args, check=True):
        r = subprocess.run([HELM, *args], capture_output=True, text=True, env=env, timeout=180)
        assert not check or r.returncode == 0, (args, r.stdout, r.stderr)
        return r

    data = lambda name: json.loads(tidemill.kubectl('get', 'configmap', name, '-o', 'json').stdout)['data']
    chart = write(tmp_path / 'small', objects=OBJECTS, hook=HOOK, test=TEST)
    wait = ('--wait', '--timeout', '120s')
    helm('install', 'rel', chart, *wait)
    assert data('rel-config') == {'greeting': 'hello', 'minor': '34', 'pods': 'true'} and data('rel-hook') == {'revision': '1'}
    assert tidemill.kubectl('get', 'pod', 'rel', '-o', 'jsonpath={.status.phase}').stdout == 'Running'
    helm('upgrade', 'rel', chart, '--set', 'greeting=bye', *wait)
    assert data('rel-config')['greeting'] == 'bye' and data('rel-hook') == {'revision': '2'}
    [listed] = json.loads(helm('list', '-o', 'json').stdout)
    assert (listed['name'], listed['revision'], listed['status']) == ('rel', '2', 'deployed')
    helm('rollback', 'rel', '1', *wait)
    assert data('rel-config')['greeting'] == 'hello'
    assert [(h['revision'], h['status']) for h in json.loads(helm('history', 'rel', '-o', 'json').stdout)] == [
        (1, 'superseded'), (2, 'superseded'), (3, 'deployed')]
    assert 'greeting: "dry"' in helm('upgrade', 'rel', chart, '--set', 'greeting=dry', '--dry-run=server').stdout
    assert 'tested' in helm('test', 'rel', '--logs', '--timeout', '120s').stdout
    helm('uninstall', 'rel', *wait)
    left = tidemill.kubectl('get', 'configmaps,secrets,services,persistentvolumeclaims,pods', '-o', 'name').stdout.split()
    assert [x for x in left if x.split('/')[1].startswith('rel') and not x.endswith(('-hook', '-test'))] == []
    refused = helm('install', 'bad', write(tmp_path / 'foreign', objects=FOREIGN), check=False)
    assert refused.returncode == 1 and 'no matches for kind "Deployment" in version "apps/v1"' in refused.stderr
    assert json.loads(helm('list', '-a', '-o', 'json').stdout) == []
