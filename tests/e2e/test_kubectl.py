"""Real kubectl against the Kubernetes API of `tidemill up`: what it prints proves what we answered."""
import json
import subprocess
import textwrap
import time
import uuid

import pytest

from conftest import KUBECTL, needs_node

pytestmark = pytest.mark.skipif(not KUBECTL, reason='kubectl is not installed')


@pytest.fixture
def kubectl(tidemill, tmp_path):
    """kubectl(args...) in a namespace of the test's own; check=False gives the finished process instead of its output."""
    config = tidemill.ready['kubeconfig']
    ns = 'k-' + uuid.uuid4().hex[:8]

    def run(*args, stdin=None, check=True, namespace=ns):
        cmd = [KUBECTL, '--kubeconfig', config, '--cache-dir', str(tmp_path / 'cache'), '-n', namespace, *args]
        p = subprocess.run(cmd, input=stdin, capture_output=True, text=True, timeout=60)
        if not check:
            return p
        assert p.returncode == 0, f'{" ".join(args)}: {p.stdout}{p.stderr}'
        return p.stdout

    run('create', 'namespace', ns)
    until = time.monotonic() + 20
    while run('get', 'serviceaccount', 'default', check=False).returncode:  # pods need the account that a controller makes
        assert time.monotonic() < until, 'the namespace got no service account'
    yield run
    run('delete', 'namespace', ns, '--wait=false', check=False)


POD = textwrap.dedent('''\
    apiVersion: v1
    kind: Pod
    metadata: {name: p, labels: {app: x}}
    spec:
      schedulerName: nobody
      containers: [{name: c, image: 'img:1'}]
    ''')
CM = 'apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c}\ndata: {k: "%s"}\n'


def test_version_and_readyz(kubectl):
    assert 'Server Version: v1.34' in kubectl('version')
    assert 'readyz check passed' in kubectl('get', '--raw', '/readyz?verbose')


def test_apply_diff_replace(kubectl):
    assert kubectl('apply', '-f', '-', stdin=CM % 1) == 'configmap/c created\n'
    assert kubectl('apply', '-f', '-', stdin=CM % 1) == 'configmap/c unchanged\n'
    diff = kubectl('diff', '-f', '-', stdin=CM % 2, check=False)
    assert diff.returncode == 1 and '+  k: "2"' in diff.stdout, diff.stderr
    assert kubectl('apply', '-f', '-', stdin=CM % 2) == 'configmap/c configured\n'
    assert kubectl('replace', '-f', '-', stdin=CM % 3) == 'configmap/c replaced\n'
    assert kubectl('get', 'cm', 'c', '-o', 'jsonpath={.data.k}') == '3'


def test_apply_server_side_is_refused(kubectl):
    p = kubectl('apply', '--server-side', '-f', '-', stdin=CM % 1, check=False)
    assert p.returncode != 0 and 'Unsupported Media Type' in p.stderr


def test_create_forms(kubectl):
    """These send protobuf with kubectl 1.32 and later."""
    assert 'created' in kubectl('create', 'configmap', 'a', '--from-literal=x=y')
    assert 'created' in kubectl('create', 'secret', 'generic', 's', '--from-literal=x=y')
    assert 'created' in kubectl('create', 'serviceaccount', 'sa')
    assert 'created' in kubectl('create', 'role', 'r', '--verb=get', '--resource=pods')
    assert 'created' in kubectl('create', 'rolebinding', 'b', '--role=r', '--user=alice')
    assert kubectl('auth', 'can-i', 'get', 'pods', '--as', 'alice') == 'yes\n'
    assert kubectl('auth', 'can-i', 'delete', 'pods', '--as', 'alice', check=False).stdout == 'no\n'
    assert kubectl('create', 'token', 'sa').count('.') == 2
    assert 'admin' in kubectl('auth', 'whoami')


def test_errors_of_create(kubectl):
    assert 'created' in kubectl('create', 'configmap', 'a')
    assert 'configmaps "a" already exists' in kubectl('create', 'configmap', 'a', check=False).stderr
    assert 'pods "none" not found' in kubectl('get', 'pod', 'none', check=False).stderr
    bad = POD.replace('schedulerName', 'schedlerName')
    assert 'unknown field "spec.schedlerName"' in kubectl('create', '-f', '-', stdin=bad, check=False).stderr


def test_get_patch_label(kubectl):
    kubectl('create', '-f', '-', stdin=POD)
    wide = kubectl('get', 'pods', '-o', 'wide').splitlines()
    assert wide[0].split()[:5] == ['NAME', 'READY', 'STATUS', 'RESTARTS', 'AGE'] and wide[1].split()[:3] == ['p', '0/1', 'Pending']
    assert kubectl('label', 'pod', 'p', 'a=b') == 'pod/p labeled\n'
    assert kubectl('annotate', 'pod', 'p', 'a=b') == 'pod/p annotated\n'
    for kind, patch in (('strategic', '{"metadata":{"labels":{"s":"1"}}}'), ('merge', '{"metadata":{"labels":{"m":"1"}}}'),
                        ('json', '[{"op":"add","path":"/metadata/labels/j","value":"1"}]')):
        assert kubectl('patch', 'pod', 'p', '--type', kind, '-p', patch) == 'pod/p patched\n'
    labels = json.loads(kubectl('get', 'pod', 'p', '-o', 'json'))['metadata']['labels']
    assert labels == {'app': 'x', 'a': 'b', 's': '1', 'm': '1', 'j': '1'}
    assert kubectl('get', 'pods', '-l', 'm=1,j', '-o', 'name') == 'pod/p\n'
    assert 'Name:' in kubectl('describe', 'pod', 'p')
    assert 'pod "p" deleted' in kubectl('delete', 'pod', 'p', '--now')


def test_wait_and_events(kubectl):
    kubectl('create', '-f', '-', stdin=POD)
    assert 'condition met' in kubectl('wait', '--for=jsonpath={.status.phase}=Pending', 'pod/p', '--timeout=5s')
    p = kubectl('wait', '--for=condition=Ready', 'pod/p', '--timeout=1s', check=False)
    assert 'timed out waiting for the condition' in p.stderr
    kubectl('events', '--for', 'pod/p')
    kubectl('delete', 'pod', 'p', '--wait=false')
    kubectl('wait', '--for=delete', 'pod/p', '--timeout=5s')


def test_custom_kinds(kubectl, tmp_path):
    crd = textwrap.dedent('''\
        apiVersion: apiextensions.k8s.io/v1
        kind: CustomResourceDefinition
        metadata: {name: widgets.kubectl.test}
        spec:
          group: kubectl.test
          scope: Namespaced
          names: {plural: widgets, kind: Widget, shortNames: [wd]}
          versions:
          - name: v1
            served: true
            storage: true
            additionalPrinterColumns: [{name: Size, type: integer, jsonPath: .spec.size}]
            schema:
              openAPIV3Schema:
                type: object
                properties:
                  spec: {type: object, properties: {size: {type: integer, minimum: 1, description: how big it is}}}
        ''')
    widget = 'apiVersion: kubectl.test/v1\nkind: Widget\nmetadata: {name: w}\nspec: {size: %s}\n'
    try:
        kubectl('apply', '-f', '-', stdin=crd)
        kubectl('wait', '--for=condition=established', 'crd/widgets.kubectl.test', '--timeout=10s')
        assert 'created' in kubectl('apply', '-f', '-', stdin=widget % 3)
        assert kubectl('get', 'wd').splitlines()[0].split() == ['NAME', 'SIZE']
        assert 'should be greater than or equal to 1' in kubectl('apply', '-f', '-', stdin=widget % 0, check=False).stderr
        assert 'how big it is' in kubectl('explain', 'widget.spec.size')
    finally:
        kubectl('delete', 'crd', 'widgets.kubectl.test', '--timeout=20s', check=False)
    assert kubectl('get', 'widgets', check=False).returncode != 0


@needs_node
def test_logs_of_a_pod_that_runs(kubectl):
    kubectl('run', 'one', '--image=host', '--restart=Never', '--', 'sh', '-c', 'echo first; echo second')
    kubectl('wait', '--for=jsonpath={.status.phase}=Succeeded', 'pod/one', '--timeout=20s')
    assert kubectl('logs', 'one') == 'first\nsecond\n'
    assert kubectl('logs', 'one', '--tail=1') == 'second\n'
    assert kubectl('logs', '-f', 'one') == 'first\nsecond\n'
    assert len(kubectl('logs', 'one', '--timestamps').split()[0]) > 20
