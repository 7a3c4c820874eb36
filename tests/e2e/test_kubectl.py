"""What real kubectl does with tidemill. Its output is made by kubectl out of our answers, so it proves them. Cheap flows run with every
version that is found beside the plain kubectl (some distributions ship kubectl.1.29 and so on), the rest with the plain one."""
import base64
import json
import os
import pathlib
import re
import stat
import subprocess
import time
import uuid

import pytest
from conftest import KUBECTL, VENV, needs_node

pytestmark = pytest.mark.skipif(not KUBECTL, reason='there is no kubectl: `./dev test` installs one')


def binaries():
    """The plain kubectl, then kubectl.1.29 to kubectl.1.99 beside it, then the one in our Python environment."""
    if not KUBECTL:
        return ['kubectl']
    beside = sorted(pathlib.Path(KUBECTL).resolve().parent.glob('kubectl.1.*'))
    ours = VENV / 'bin' / 'kubectl'
    return list(dict.fromkeys([KUBECTL, *(str(p) for p in beside if re.fullmatch(r'kubectl\.1\.(29|[3-9]\d)', p.name)),
                               *([str(ours)] if ours.exists() else [])]))


@pytest.fixture(params=binaries(), ids=lambda b: 'venv' if b.startswith(str(VENV)) else pathlib.Path(b).name)
def each(request, tidemill, namespace):
    """kubectl of every version, in a namespace of the test's own."""
    return lambda *args, **kw: tidemill.kubectl('-n', namespace, *args, binary=request.param, **kw)


@pytest.fixture
def k(tidemill, namespace):
    """The plain kubectl in a namespace of the test's own."""
    return lambda *args, **kw: tidemill.kubectl('-n', namespace, *args, **kw)


@pytest.fixture
def namespace(tidemill):
    name = 'k-' + uuid.uuid4().hex[:8]
    tidemill.kubectl('create', 'namespace', name)
    tidemill.kubectl('wait', '--for=create', 'serviceaccount/default', '-n', name, '--timeout=120s')
    yield name
    tidemill.kubectl('delete', 'namespace', name, '--wait=false', check=False)


@pytest.fixture
def follow(tidemill, namespace):
    """follow(args) starts a kubectl that goes on; its output as it is so far is .text(), .until(x) waits for x in it."""
    running = []

    class Follow:
        def __init__(self, *args, binary=None):
            self.path = pathlib.Path(f'{tidemill.data}.follow-{uuid.uuid4().hex[:6]}')
            with open(self.path, 'wb') as out:
                self.process = subprocess.Popen([binary or KUBECTL, '-n', namespace, *args], stdout=out, stderr=out,
                                                env={**os.environ, 'KUBECONFIG': tidemill.kubeconfig})
            running.append(self)

        def text(self):
            return self.path.read_text()

        def until(self, what, seconds=120):
            end = time.monotonic() + seconds
            while not re.search(what, self.text()):
                assert time.monotonic() < end, f'no {what!r} in\n{self.text()}'
                time.sleep(0.02)

    yield Follow
    for f in running:
        f.process.kill()
        f.process.wait()
        f.path.unlink()


def pod(name, script='exit 0', **spec):
    labels = spec.pop('labels', {'app': name})
    return json.dumps({'apiVersion': 'v1', 'kind': 'Pod', 'metadata': {'name': name, 'labels': labels},
                       'spec': {'restartPolicy': 'Never', 'terminationGracePeriodSeconds': 1, **spec,
                                'containers': spec.get('containers') or [{'name': 'main', 'image': 'busybox', 'command': ['sh', '-c', script]}]}})


def quota_pod(name, **resources):
    return json.dumps({'apiVersion': 'v1', 'kind': 'Pod', 'metadata': {'name': name},
                       'spec': {'schedulerName': 'none', 'containers': [{'name': 'c', 'image': 'x:1', 'resources': resources}]}})


def until(condition, seconds=120):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, 'it has not come to hold'
        time.sleep(0.1)


def config(name, **data):
    return json.dumps({'apiVersion': 'v1', 'kind': 'ConfigMap', 'metadata': {'name': name}, 'data': data})


def get(k, *what):
    return json.loads(k('get', *what, '-o', 'json').stdout)


# ---- flow 1 and discovery ------------------------------------------------------------------------------------------


def test_version_and_resources(each):
    assert re.search(r'Server Version: v1\.34\.\d+\+tidemill', each('version').stdout)
    rows = {line.split()[0]: line for line in each('api-resources').stdout.splitlines()[1:]}
    for name, short in {'pods': 'po', 'configmaps': 'cm', 'namespaces': 'ns', 'serviceaccounts': 'sa', 'nodes': 'no',
                        'customresourcedefinitions': 'crd,crds'}.items():
        assert rows[name].split()[1] == short
    assert 'v1' in each('api-versions').stdout.split()


# ---- create: protobuf bodies since 1.32, JSON before ---------------------------------------------------------------


def test_create(each, tmp_path):
    (tmp_path / 'f.txt').write_text('from a file\n')
    (tmp_path / 'raw').write_bytes(bytes(range(256)))
    said = each('create', 'configmap', 'c', '--from-literal=a=1', f'--from-file={tmp_path}/f.txt', f'--from-file=bin={tmp_path}/raw').stdout
    assert said == 'configmap/c created\n'
    c = get(each, 'cm', 'c')
    assert c['data'] == {'a': '1', 'f.txt': 'from a file\n'} and base64.b64decode(c['binaryData']['bin']) == bytes(range(256))

    assert each('create', 'secret', 'generic', 's', '--from-literal=p=q', f'--from-file={tmp_path}/raw').stdout == 'secret/s created\n'
    s = get(each, 'secret', 's')
    assert s['type'] == 'Opaque' and base64.b64decode(s['data']['p']) == b'q' and base64.b64decode(s['data']['raw']) == bytes(range(256))
    each('create', 'secret', 'docker-registry', 'd', '--docker-server=r', '--docker-username=u', '--docker-password=p')
    assert get(each, 'secret', 'd')['type'] == 'kubernetes.io/dockerconfigjson'

    assert each('create', 'serviceaccount', 'sa').stdout == 'serviceaccount/sa created\n'
    assert each('create', 'role', 'r', '--verb=get,list', '--resource=pods,configmaps').stdout == 'role.rbac.authorization.k8s.io/r created\n'
    assert get(each, 'role', 'r')['rules'] == [{'apiGroups': [''], 'resources': ['pods', 'configmaps'], 'verbs': ['get', 'list']}]
    namespace = get(each, 'role', 'r')['metadata']['namespace']
    each('create', 'rolebinding', 'rb', '--role=r', f'--serviceaccount={namespace}:sa')
    me = f'--as=system:serviceaccount:{namespace}:sa'
    assert each('auth', 'can-i', 'list', 'pods', me).stdout == 'yes\n'
    no = each('auth', 'can-i', 'delete', 'pods', me, check=False)
    assert (no.returncode, no.stdout) == (1, 'no\n')

    denied = each('get', 'secrets', me, check=False)
    assert denied.returncode == 1
    assert denied.stderr == ('Error from server (Forbidden): secrets is forbidden: User "system:serviceaccount:%s:sa" cannot list resource '
                             '"secrets" in API group "" in the namespace "%s"\n' % (namespace, namespace))
    again = each('create', 'configmap', 'c', check=False)
    assert (again.returncode, again.stderr) == (1, 'error: failed to create configmap: configmaps "c" already exists\n')


def test_create_of_a_file_and_its_mistakes(each):
    assert each('create', '-f', '-', stdin=config('f', a='1')).stdout == 'configmap/f created\n'
    twice = each('create', '-f', '-', stdin=config('f', a='1'), check=False)
    assert twice.returncode == 1 and 'Error from server (AlreadyExists)' in twice.stderr and 'configmaps "f" already exists' in twice.stderr
    unknown = {**json.loads(config('g')), 'datum': {}}
    strict = each('create', '-f', '-', stdin=json.dumps(unknown), check=False)
    assert strict.returncode == 1 and 'strict decoding error: unknown field "datum"' in strict.stderr
    warned = each('create', '--validate=warn', '-f', '-', stdin=json.dumps(unknown))
    assert 'Warning: unknown field "datum"' in warned.stderr and warned.stdout == 'configmap/g created\n'
    assert each('create', '-f', '-', '--dry-run=server', stdin=config('h')).stdout == 'configmap/h created (server dry run)\n'
    missing = each('get', 'cm', 'h', check=False)
    assert missing.stderr == 'Error from server (NotFound): configmaps "h" not found\n'
    bad = each('create', '-f', '-', stdin=config('Not_A_Name'), check=False)
    assert 'is invalid: metadata.name: Invalid value: "Not_A_Name"' in bad.stderr
    unserved = {'apiVersion': 'example.com/v1', 'kind': 'Thing', 'metadata': {'name': 'x'}}
    refused = each('create', '-f', '-', stdin=json.dumps(unserved), check=False)
    assert refused.returncode == 1 and 'no matches for kind "Thing" in version "example.com/v1"' in refused.stderr


def test_token(each, tidemill):
    """Flow 26: the token is good for what its account may do."""
    each('create', 'serviceaccount', 'robot')
    token = each('create', 'token', 'robot', '--duration=20m').stdout.strip()
    claims = json.loads(base64.urlsafe_b64decode(token.split('.')[1] + '=='))
    assert claims['exp'] - claims['iat'] == 1200 and claims['kubernetes.io']['serviceaccount']['name'] == 'robot'
    who = subprocess.run([KUBECTL, '--server', tidemill.kubernetes, '--insecure-skip-tls-verify', '--token', token, 'auth', 'whoami',
                          '-o', 'jsonpath={.status.userInfo.username}'], capture_output=True, text=True, env={**os.environ, 'KUBECONFIG': '/dev/null'})
    assert who.stdout == claims['sub'], who.stderr


def test_who_am_i(each):
    assert re.search(r'^Username +admin$', each('auth', 'whoami').stdout, re.M)
    assert each('auth', 'can-i', '*', '*').stdout == 'yes\n'
    assert '*.*' in each('auth', 'can-i', '--list').stdout


# ---- apply, diff, edit, replace: flows 7 (client side) and 8 -------------------------------------------------------


def test_apply(each):
    apply = lambda body, *more: each('apply', '-f', '-', *more, stdin=body).stdout
    assert apply(config('a', one='1', two='2')) == 'configmap/a created\n'
    first = get(each, 'cm', 'a')
    assert apply(config('a', one='1', two='2')) == 'configmap/a unchanged\n'
    assert get(each, 'cm', 'a')['metadata']['resourceVersion'] == first['metadata']['resourceVersion']
    each('patch', 'cm', 'a', '-p', '{"data":{"theirs":"3"}}')
    assert apply(config('a', one='changed')) == 'configmap/a configured\n'
    # What was applied before and is gone now is taken away; what another wrote stays.
    assert get(each, 'cm', 'a')['data'] == {'one': 'changed', 'theirs': '3'}
    assert apply(config('a', one='dry'), '--dry-run=server') == 'configmap/a configured (server dry run)\n'
    assert get(each, 'cm', 'a')['data']['one'] == 'changed'
    last = each('apply', 'view-last-applied', 'cm', 'a', '-o', 'json').stdout
    assert json.loads(last)['data'] == {'one': 'changed'}


def test_apply_prune(k):
    two = json.dumps({'apiVersion': 'v1', 'kind': 'List', 'items': [json.loads(config('keep', a='1')), json.loads(config('gone', a='1'))]})
    label = lambda text: text.replace('"metadata": {', '"metadata": {"labels": {"set": "x"}, ')
    k('apply', '-f', '-', stdin=label(two))
    said = k('apply', '--prune', '-l', 'set=x', '--prune-allowlist=core/v1/ConfigMap', '-f', '-', stdin=label(config('keep', a='1'))).stdout
    assert said == 'configmap/keep unchanged\nconfigmap/gone pruned\n'
    # Without a list kubectl wants all of the kinds that it prunes by itself, and says which is not there before it asks anything of the server.
    refused = k('apply', '--prune', '-l', 'set=x', '-f', '-', stdin=label(config('keep', a='1')), check=False)
    assert refused.returncode == 1 and 'no matches for kind "ReplicationController" in version "v1"' in refused.stderr


def test_apply_sets(k, monkeypatch):
    """Pruning by a parent object, which names the kinds that it has had."""
    monkeypatch.setenv('KUBECTL_APPLYSET', 'true')
    apply = lambda *names: k('apply', '--prune', '--applyset=secrets/set', '-f', '-', stdin=''.join(config(n, a='1') for n in names)).stdout
    assert apply('keep', 'gone') == 'configmap/keep created\nconfigmap/gone created\n'
    assert apply('keep') == 'configmap/keep unchanged\nconfigmap/gone pruned\n'
    assert k('get', 'configmaps', 'keep', 'gone', '-o', 'name', check=False).stdout == 'configmap/keep\n'


def test_apply_of_a_pod(each):
    """Lists with merge keys: kubectl sends a strategic merge patch with $setElementOrder."""
    base = json.loads(pod('p', schedulerName='nobody'))
    each('apply', '-f', '-', stdin=json.dumps(base))
    base['spec']['containers'][0]['image'] = 'busybox:2'
    base['metadata']['labels'] = {'app': 'other'}
    assert each('apply', '-f', '-', stdin=json.dumps(base)).stdout == 'pod/p configured\n'
    p = get(each, 'pod', 'p')
    assert p['spec']['containers'][0]['image'] == 'busybox:2' and p['metadata']['labels'] == {'app': 'other'}
    base['spec']['containers'][0]['command'] = ['other']
    refused = each('apply', '-f', '-', stdin=json.dumps(base), check=False)
    assert refused.returncode == 1 and 'Forbidden: pod updates may not change fields other than' in refused.stderr
    each('delete', 'pod', 'p', '--now')


def test_apply_server_side(each):
    """Owners of fields, a conflict that names the other one, force, and what is no longer said goes."""
    def ssa(who, *args, check=True, **data):
        return each('apply', '--server-side', '--field-manager', who, *args, '-f', '-', stdin=config('ssa', **data), check=check)

    assert 'serverside-applied' in ssa('one', a='1', b='1').stdout
    refused = ssa('two', check=False, a='2')
    assert refused.returncode == 1 and 'conflict with "one": .data.a' in refused.stderr
    ssa('two', '--force-conflicts', a='2')
    assert json.loads(each('get', 'cm', 'ssa', '-o', 'json').stdout)['data'] == {'a': '2', 'b': '1'}
    ssa('one')
    assert json.loads(each('get', 'cm', 'ssa', '-o', 'json').stdout)['data'] == {'a': '2'}
    shown = json.loads(each('get', 'cm', 'ssa', '-o', 'json', '--show-managed-fields').stdout)
    assert {e['manager']: e['operation'] for e in shown['metadata']['managedFields']} == {'one': 'Apply', 'two': 'Apply'}


def test_apply_server_side_after_client_side(each):
    """kubectl takes over what it applied on its own side before."""
    each('apply', '-f', '-', stdin=config('moved', a='1', b='1'))
    each('apply', '--server-side', '-f', '-', stdin=config('moved', a='2'))
    assert json.loads(each('get', 'cm', 'moved', '-o', 'json').stdout)['data'] == {'a': '2'}


def test_apply_server_side_of_a_pod(each):
    pod = {'apiVersion': 'v1', 'kind': 'Pod', 'metadata': {'name': 'ssa'},
           'spec': {'schedulerName': 'none', 'containers': [{'name': 'c', 'image': 'x:1'}]}}
    for _ in range(2):
        assert 'serverside-applied' in each('apply', '--server-side', '-f', '-', stdin=json.dumps(pod)).stdout
    pod['spec']['containers'][0]['image'] = 'x:2'
    each('apply', '--server-side', '-f', '-', stdin=json.dumps(pod))
    assert each('get', 'pod', 'ssa', '-o', 'jsonpath={.spec.containers[0].image}').stdout == 'x:2'
    each('delete', 'pod', 'ssa', '--now')


def test_pod_security(each, namespace, tidemill):
    """What the labels of a namespace ask for is obeyed, and told."""
    told = each('label', 'namespace', namespace, 'pod-security.kubernetes.io/enforce=baseline',
                'pod-security.kubernetes.io/warn=restricted')
    assert 'labeled' in told.stdout
    bad = {'apiVersion': 'v1', 'kind': 'Pod', 'metadata': {'name': 'bad'},
           'spec': {'schedulerName': 'none', 'hostNetwork': True, 'containers': [{'name': 'c', 'image': 'x:1'}]}}
    refused = each('create', '-f', '-', stdin=json.dumps(bad), check=False)
    assert refused.returncode == 1
    assert 'violates PodSecurity "baseline:latest": host namespaces (hostNetwork=true)' in refused.stderr
    del bad['spec']['hostNetwork']
    warned = each('create', '-f', '-', stdin=json.dumps(bad))
    assert 'Warning: would violate PodSecurity "restricted:latest": allowPrivilegeEscalation != false' in warned.stderr
    each('delete', 'pod', 'bad', '--now')


def test_quota(each):
    """What is used is shown at once, refused in Kubernetes' words, and free again when it goes."""
    each('create', 'quota', 'q', '--hard=pods=1,requests.cpu=1,configmaps=10')
    until(lambda: 'pods: 0/1' in each('get', 'quota', 'q').stdout)
    bad = each('create', '-f', '-', stdin=quota_pod('a'), check=False)
    assert 'failed quota: q: must specify requests.cpu for: c' in bad.stderr
    each('create', '-f', '-', stdin=quota_pod('a', requests={'cpu': '600m'}))
    assert 'requests.cpu: 600m/1' in each('get', 'quota', 'q').stdout
    bad = each('create', '-f', '-', stdin=quota_pod('b', requests={'cpu': '600m'}), check=False)
    assert ('exceeded quota: q, requested: pods=1,requests.cpu=600m, used: pods=1,requests.cpu=600m, limited: pods=1,requests.cpu=1'
            in bad.stderr)
    each('delete', 'pod', 'a', '--now')
    each('create', '-f', '-', stdin=quota_pod('b', requests={'cpu': '600m'}))
    described = each('describe', 'quota', 'q').stdout
    assert re.search(r'requests\.cpu +600m +1', described), described
    each('delete', 'pod', 'b', '--now')
    until(lambda: 'pods: 0/1' in each('get', 'quota', 'q').stdout)
    each('delete', 'quota', 'q')


def test_limit_range(each):
    limits = [{'type': 'Container', 'default': {'cpu': '500m'}, 'max': {'cpu': '2'}}]
    each('apply', '-f', '-', stdin=json.dumps({'apiVersion': 'v1', 'kind': 'LimitRange', 'metadata': {'name': 'l'},
                                               'spec': {'limits': limits}}))
    each('create', '-f', '-', stdin=quota_pod('a'))
    assert each('get', 'pod', 'a', '-o', 'jsonpath={.spec.containers[0].resources.requests.cpu}').stdout == '500m'
    assert each('get', 'pod', 'a', '-o', 'jsonpath={.status.qosClass}').stdout == 'Burstable'
    bad = each('create', '-f', '-', stdin=quota_pod('b', limits={'cpu': '3'}), check=False)
    assert 'maximum cpu usage per Container is 2, but limit is 3' in bad.stderr
    assert re.search(r'Container +cpu +- +2 +500m +500m', each('describe', 'limits', 'l').stdout)
    each('delete', 'pod', 'a', '--now')
    each('delete', 'limits', 'l')


def test_priority_classes(each):
    assert 'system-node-critical' in each('get', 'priorityclasses').stdout
    name = 'high-' + uuid.uuid4().hex[:6]
    each('create', 'priorityclass', name, '--value=1000')
    try:
        pod = {'apiVersion': 'v1', 'kind': 'Pod', 'metadata': {'name': 'p'},
               'spec': {'schedulerName': 'none', 'priorityClassName': name, 'containers': [{'name': 'c', 'image': 'x:1'}]}}
        each('create', '-f', '-', stdin=json.dumps(pod))
        assert each('get', 'pod', 'p', '-o', 'jsonpath={.spec.priority}').stdout == '1000'
        each('delete', 'pod', 'p', '--now')
    finally:
        each('delete', 'pc', name)


def test_diff(each):
    each('apply', '-f', '-', stdin=config('d', a='1'))
    assert each('diff', '-f', '-', stdin=config('d', a='1')).stdout == ''
    changed = each('diff', '-f', '-', stdin=config('d', a='2'), check=False)
    assert changed.returncode == 1 and '\n-  a: "1"\n' in changed.stdout and '\n+  a: "2"\n' in changed.stdout
    fresh = each('diff', '-f', '-', stdin=config('new', a='2'), check=False)
    assert fresh.returncode == 1 and '+kind: ConfigMap' in fresh.stdout
    assert get(each, 'cm', 'd')['data'] == {'a': '1'}


def editor(tmp_path, script):
    path = tmp_path / 'editor'
    path.write_text(f'#!/bin/sh\n{script}\n')
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return str(path)


def test_edit(k, tmp_path, monkeypatch):
    k('create', 'configmap', 'e', '--from-literal=a=before')
    monkeypatch.setenv('KUBE_EDITOR', editor(tmp_path, 'sed -i s/before/after/ "$1"'))
    assert k('edit', 'cm', 'e').stdout == 'configmap/e edited\n'
    assert get(k, 'cm', 'e')['data'] == {'a': 'after'}
    monkeypatch.setenv('KUBE_EDITOR', editor(tmp_path, 'true'))
    assert 'no changes' in k('edit', 'cm', 'e').stderr + k('edit', 'cm', 'e').stdout
    # A value that the server refuses: the editor is opened again with the message, and gives up as nothing changes.
    monkeypatch.setenv('KUBE_EDITOR', editor(tmp_path, 'sed -i "s/^  name: e$/  name: e\\n  labels: {a: -}/" "$1"'))
    refused = k('edit', 'cm', 'e', check=False)
    assert refused.returncode == 1 and 'configmaps "e" is invalid' in refused.stderr
    kept = re.search(r'stored to "(.*)"', refused.stderr).group(1)
    assert 'metadata.labels: Invalid value: "-"' in pathlib.Path(kept).read_text()
    pathlib.Path(kept).unlink()


def test_replace(each):
    each('create', '-f', '-', stdin=config('r', a='1', b='2'))
    uid = get(each, 'cm', 'r')['metadata']['uid']
    assert each('replace', '-f', '-', stdin=config('r', a='3')).stdout == 'configmap/r replaced\n'
    assert get(each, 'cm', 'r')['data'] == {'a': '3'}
    old = get(each, 'cm', 'r')
    each('label', 'cm', 'r', 'x=y')
    conflict = each('replace', '-f', '-', stdin=json.dumps(old), check=False)
    assert conflict.returncode == 1 and 'the object has been modified; please apply your changes to the latest version' in conflict.stderr
    missing = each('replace', '-f', '-', stdin=config('never'), check=False)
    assert 'Error from server (NotFound)' in missing.stderr
    said = each('replace', '--force', '-f', '-', stdin=config('r', a='4')).stdout
    assert 'configmap/r replaced' in said or 'configmap/r created' in said
    assert get(each, 'cm', 'r')['metadata']['uid'] != uid


# ---- flows 9 and 12: patch, label, annotate ------------------------------------------------------------------------


def test_patch(each):
    each('create', 'configmap', 'p', '--from-literal=a=1')
    for kind, patch in (('strategic', '{"data":{"b":"2"}}'), ('merge', '{"data":{"c":"3"}}'), ('json', '[{"op":"remove","path":"/data/a"}]')):
        assert each('patch', 'cm', 'p', '--type', kind, '-p', patch).stdout == 'configmap/p patched\n'
    assert get(each, 'cm', 'p')['data'] == {'b': '2', 'c': '3'}
    assert each('patch', 'cm', 'p', '-p', '{"data":{"b":"2"}}').stdout == 'configmap/p patched (no change)\n'
    failed = each('patch', 'cm', 'p', '--type=json', '-p', '[{"op":"test","path":"/data/b","value":"x"}]', check=False)
    assert failed.returncode == 1 and 'the server rejected our request due to an error in our request' in failed.stderr
    wrong = each('patch', 'cm', 'p', '-p', '{"data":{"b":{"x":1}}}', check=False)
    assert wrong.returncode == 1 and 'patch: Invalid value' in wrong.stderr
    directive = each('patch', 'cm', 'p', '-p', '{"data":{"$patch":"mend"}}', check=False)
    assert directive.returncode == 1 and 'mend' in directive.stderr
    assert get(each, 'cm', 'p')['data'] == {'b': '2', 'c': '3'}


def test_label_and_annotate(each):
    each('create', 'configmap', 'l')
    assert each('label', 'cm', 'l', 'a=1', 'b=2').stdout == 'configmap/l labeled\n'
    refused = each('label', 'cm', 'l', 'a=2', check=False)
    assert refused.returncode == 1 and "already has a value (1), and --overwrite is false" in refused.stderr
    assert each('label', 'cm', 'l', 'a=2', 'b-', '--overwrite').stdout in ('configmap/l labeled\n', 'configmap/l modified\n')  # the second since 1.34 or later
    assert each('annotate', 'cm', 'l', 'note=first').stdout == 'configmap/l annotated\n'
    each('annotate', 'cm', 'l', 'note=second', '--overwrite')
    meta = get(each, 'cm', 'l')['metadata']
    assert meta['labels'] == {'a': '2'} and meta['annotations'] == {'note': 'second'}
    assert each('get', 'cm', '-l', 'a in (2,3)', '-o', 'name').stdout == 'configmap/l\n'
    assert each('get', 'cm', '-l', 'a=2', '-L', 'a', '--no-headers').stdout.split()[:2] == ['l', '0']
    bad = each('label', 'cm', 'l', 'a=not a label', '--overwrite', check=False)
    assert bad.returncode == 1


# ---- get: flow 5, and every way to print ---------------------------------------------------------------------------


def test_print(each):
    each('create', 'configmap', 'one', '--from-literal=a=1')
    each('create', 'configmap', 'two', '--from-literal=a=1', '--from-literal=b=2')
    lines = each('get', 'cm', 'one', 'two').stdout.splitlines()
    assert lines[0].split() == ['NAME', 'DATA', 'AGE'] and [line.split()[:2] for line in lines[1:]] == [['one', '1'], ['two', '2']]
    assert 'kind: ConfigMap' in each('get', 'cm', 'one', '-o', 'yaml').stdout
    listed = get(each, 'cm')
    assert listed['kind'] == 'List' and {i['metadata']['name'] for i in listed['items']} >= {'one', 'two', 'kube-root-ca.crt'}
    assert all(i['kind'] == 'ConfigMap' for i in listed['items'])
    assert each('get', 'cm', 'two', '-o', 'jsonpath={.data.b}').stdout == '2'
    table = each('get', 'cm', '-o', 'custom-columns=N:.metadata.name,A:.data.a', '--sort-by=.metadata.name').stdout.splitlines()
    assert [line.split() for line in table] == [['N', 'A'], ['kube-root-ca.crt', '<none>'], ['one', '1'], ['two', '1']]
    assert each('get', 'cm', 'one', '-o', 'name').stdout == 'configmap/one\n'
    assert each('get', 'cm', 'one', '-o', 'go-template={{.data.a}}').stdout == '1'
    chunks = each('get', 'cm', '--chunk-size=1', '-o', 'name').stdout.split()
    assert sorted(chunks) == ['configmap/kube-root-ca.crt', 'configmap/one', 'configmap/two']
    assert each('get', 'cm', '--field-selector=metadata.name=two', '-o', 'name').stdout == 'configmap/two\n'
    assert each('get', 'secrets').stderr.startswith('No resources found in k-')
    assert 'configmap/one' in each('get', 'cm,sa', '-o', 'name').stdout and 'serviceaccount/default' in each('get', 'cm,sa', '-o', 'name').stdout
    nothing = each('get', 'unicorns', check=False)
    assert nothing.returncode == 1 and 'the server doesn\'t have a resource type "unicorns"' in nothing.stderr


def test_raw(each):
    """Flow 29."""
    assert '[+]ping ok' in each('get', '--raw', '/readyz?verbose').stdout
    assert each('get', '--raw', '/livez').stdout == 'ok'
    assert json.loads(each('get', '--raw', '/api/v1/namespaces/default').stdout)['kind'] == 'Namespace'
    lost = each('get', '--raw', '/nowhere', check=False)
    assert lost.returncode == 1 and 'the server could not find the requested resource' in lost.stderr


def test_explain(each):
    out = each('explain', 'pods.spec.containers', '--recursive').stdout
    assert re.search(r'^KIND: +Pod$', out, re.M) and re.search(r'^  livenessProbe\t<Probe>$', out, re.M)
    assert 'FIELD: restartPolicy <string>' in each('explain', 'pod.spec.restartPolicy').stdout
    missing = each('explain', 'pod.spec.colour', check=False)
    assert missing.returncode == 1 and 'field "colour" does not exist' in missing.stderr


V2 = '--output=plaintext-openapiv2'


def test_explain_by_openapi_v2(each):
    """The older document, which every kubectl still reads."""
    said = each('explain', 'pod.spec.containers', V2, '--recursive').stdout
    assert re.search(r'^   livenessProbe\t<Object>$', said, re.M) and re.search(r'^   +httpGet\t<Object>$', said, re.M)


def test_explain_of_every_kind(k):
    lines = k('api-resources', '--no-headers').stdout.splitlines()
    assert len(lines) > 20
    for line in lines:
        name, api, kind = line.split()[0], line.split()[-3], line.split()[-1]
        for how in ('--output=plaintext', V2):
            said = k('explain', name, how, f'--api-version={api}').stdout
            assert re.search(rf'^KIND: +{kind}$', said, re.M) and 'FIELDS:' in said, said


# ---- custom resources ----------------------------------------------------------------------------------------------


def definition(group, validations=True):
    spec = {'type': 'object', 'required': ['size'],
            'properties': {'size': {'type': 'integer', 'minimum': 1}, 'colour': {'type': 'string', 'enum': ['red', 'blue'], 'default': 'red'}}}
    return {'apiVersion': 'apiextensions.k8s.io/v1', 'kind': 'CustomResourceDefinition', 'metadata': {'name': f'boats.{group}'},
            'spec': {'group': group, 'scope': 'Namespaced',
                     'names': {'plural': 'boats', 'singular': 'boat', 'kind': 'Boat', 'shortNames': ['bt'], 'categories': ['fleet']},
                     'versions': [{'name': 'v1', 'served': True, 'storage': True, 'subresources': {'status': {}},
                                   'additionalPrinterColumns': [{'name': 'Size', 'type': 'integer', 'jsonPath': '.spec.size'},
                                                                {'name': 'Colour', 'type': 'string', 'jsonPath': '.spec.colour', 'priority': 1},
                                                                {'name': 'Age', 'type': 'date', 'jsonPath': '.metadata.creationTimestamp'}],
                                   'schema': {'openAPIV3Schema': {'type': 'object', 'description': 'A boat of the fleet.', 'properties': {
                                       'spec': spec, 'status': {'type': 'object', 'properties': {'afloat': {'type': 'boolean'}}}}}}}]}}


def test_custom_resources(each):
    group = uuid.uuid4().hex[:6] + '.example.com'
    boats = f'boats.{group}'
    boat = lambda name, **spec: json.dumps({'apiVersion': f'{group}/v1', 'kind': 'Boat', 'metadata': {'name': name}, 'spec': spec})
    assert each('create', '-f', '-', stdin=json.dumps(definition(group))).stdout == f'customresourcedefinition.apiextensions.k8s.io/{boats} created\n'
    each('wait', '--for=condition=established', f'crd/{boats}', '--timeout=120s')
    assert each('apply', '-f', '-', stdin=boat('b', size=3)).stdout == f'boat.{group}/b created\n'
    assert each('apply', '-f', '-', stdin=boat('b', size=3)).stdout == f'boat.{group}/b unchanged\n'
    assert each('apply', '-f', '-', stdin=boat('b', size=4)).stdout == f'boat.{group}/b configured\n'
    b = get(each, boats, 'b')
    assert b['spec'] == {'size': 4, 'colour': 'red'} and b['metadata']['generation'] == 2
    rows = [line.split() for line in each('get', boats).stdout.splitlines()]
    assert rows[0] == ['NAME', 'SIZE', 'AGE'] and rows[1][:2] == ['b', '4']
    assert each('get', boats, '-o', 'wide').stdout.splitlines()[0].split() == ['NAME', 'SIZE', 'COLOUR', 'AGE']
    assert f'boat.{group}/b' in each('get', 'fleet', '-o', 'name').stdout
    assert each('patch', boats, 'b', '--type=merge', '-p', '{"spec":{"colour":"blue"}}').stdout == f'boat.{group}/b patched\n'
    each('patch', boats, 'b', '--subresource=status', '--type=merge', '-p', '{"status":{"afloat":true}}')
    assert each('wait', '--for=jsonpath={.status.afloat}=true', f'{boats}/b', '--timeout=120s').stdout == f'boat.{group}/b condition met\n'
    assert 'A boat of the fleet.' in each('explain', f'{boats}').stdout
    assert re.search(r'size\t<integer> -required-', each('explain', f'{boats}.spec').stdout)

    for spec, text in (({}, 'spec.size: Required value'), ({'size': 0}, 'spec.size: Invalid value: 0: spec.size in body should be greater than or equal to 1'),
                       ({'size': 'x'}, 'spec.size: Invalid value: "string": spec.size in body must be of type integer: "string"'),
                       ({'size': 1, 'colour': 'green'}, 'spec.colour: Unsupported value: "green": supported values: "red", "blue"'),
                       ({'size': 1, 'sail': 2}, 'strict decoding error: unknown field "spec.sail"')):
        r = each('create', '-f', '-', stdin=boat('bad', **spec), check=False)
        assert r.returncode == 1 and text in r.stderr, r.stderr
    strategic = each('patch', boats, 'b', '--type=strategic', '-p', '{"spec":{"size":1}}', check=False)
    assert strategic.returncode == 1
    assert each('delete', boats, 'b').stdout.startswith(f'boat.{group} "b" deleted')
    each('create', '-f', '-', stdin=boat('last', size=1))
    each('delete', 'crd', boats)
    gone = each('get', boats, check=False)
    assert gone.returncode == 1 and "the server doesn't have a resource type" in gone.stderr


# ---- watch: flow 6, wait: flow 19 ----------------------------------------------------------------------------------


def test_watch(k, follow):
    k('create', 'configmap', 'w0')
    w = follow('get', 'cm', '-w', '--no-headers', '--output-watch-events')
    w.until('w0')
    k('create', 'configmap', 'w1')
    k('patch', 'cm', 'w1', '-p', '{"data":{"a":"1"}}')
    k('delete', 'cm', 'w1')
    w.until('DELETED')
    seen = [line.split()[:3] for line in w.text().splitlines() if 'kube-root' not in line]
    assert seen == [['ADDED', 'w0', '0'], ['ADDED', 'w1', '0'], ['MODIFIED', 'w1', '1'], ['DELETED', 'w1', '1']]


def test_wait(each, k, follow):
    each('create', 'configmap', 'x')
    w = follow('wait', '--for=delete', 'cm/x', '--timeout=120s')
    w2 = follow('wait', '--for=jsonpath={.data.a}=1', 'cm/x', '--timeout=120s')
    time.sleep(0.3)
    k('patch', 'cm', 'x', '-p', '{"data":{"a":"1"}}')
    w2.until('configmap/x condition met')
    k('delete', 'cm', 'x')
    w.until('configmap/x (condition met|deleted)|^$')
    assert w.process.wait(120) == 0
    late = each('wait', '--for=jsonpath={.data.a}=2', 'cm/kube-root-ca.crt', '--timeout=1s', check=False)
    assert late.returncode == 1 and 'timed out waiting for the condition' in late.stderr


# ---- delete: flow 20 -----------------------------------------------------------------------------------------------


def family(k):
    k('create', 'configmap', 'owner')
    uid = get(k, 'cm', 'owner')['metadata']['uid']
    child = json.loads(config('child'))
    child['metadata']['ownerReferences'] = [{'apiVersion': 'v1', 'kind': 'ConfigMap', 'name': 'owner', 'uid': uid, 'blockOwnerDeletion': True}]
    k('create', '-f', '-', stdin=json.dumps(child))


@pytest.mark.parametrize('cascade', ['background', 'foreground', 'orphan'])
def test_cascades(each, cascade):
    family(each)
    assert each('delete', 'cm', 'owner', f'--cascade={cascade}').stdout.startswith('configmap "owner" deleted')
    if cascade == 'background':
        each('wait', '--for=delete', 'cm/child', '--timeout=120s')
    elif cascade == 'foreground':
        assert each('get', 'cm', 'child', check=False).returncode == 1
    else:
        time.sleep(0.5)
        assert 'ownerReferences' not in get(each, 'cm', 'child')['metadata']


def test_delete(each):
    for name in 'abc':
        each('create', '-f', '-', stdin=config(name).replace('"metadata": {', '"metadata": {"labels": {"g": "x"}, '))
    assert each('delete', 'cm', 'a').stdout.startswith('configmap "a" deleted')
    missing = each('delete', 'cm', 'a', check=False)
    assert missing.stderr == 'Error from server (NotFound): configmaps "a" not found\n'
    assert each('delete', 'cm', 'a', '--ignore-not-found').stdout == ''
    assert '(server dry run)' in each('delete', 'cm', 'b', '--dry-run=server').stdout
    assert get(each, 'cm', 'b')
    assert each('delete', 'cm', '-l', 'g=x').stdout.count('deleted') == 2
    assert each('delete', 'cm', '--all').stdout.count('deleted') >= 1


def test_delete_unscheduled_pods(each):
    """A pod that never reached a node is gone at once, whatever its grace."""
    for how in ([], ['--now'], ['--force', '--grace-period=0']):
        each('create', '-f', '-', stdin=pod('p', schedulerName='nobody'))
        assert 'pod "p"' in each('delete', 'pod', 'p', *how).stdout
        assert each('get', 'pod', 'p', check=False).returncode == 1


# ---- pods on the node: flows 5, 6, 13, 19, 20, 24, 25 --------------------------------------------------------------


@needs_node
def test_pod(each):
    assert each('run', 'p', '--image=busybox', '--restart=Never', '--command', '--', 'sh', '-c', 'echo hello; sleep 100').stdout == 'pod/p created\n'
    assert each('wait', '--for=condition=Ready', 'pod/p', '--timeout=120s').stdout == 'pod/p condition met\n'
    head, row = each('get', 'pods', '-o', 'wide').stdout.splitlines()
    assert re.split('  +', head) == ['NAME', 'READY', 'STATUS', 'RESTARTS', 'AGE', 'IP', 'NODE', 'NOMINATED NODE', 'READINESS GATES']
    assert row.split()[:4] == ['p', '1/1', 'Running', '0'] and re.search(r' \d+\.\d+\.\d+\.\d+ ', row)
    assert each('logs', 'p').stdout == 'hello\n'
    described = each('describe', 'pod', 'p').stdout
    assert re.search(r'^Status: +Running$', described, re.M) and re.search(r'Normal +Scheduled .*Successfully assigned', described)
    events = each('events', '--for', 'pod/p').stdout
    assert re.search(r'Normal +Started +Pod/p', events), events
    assert re.search(r'Started +pod/p', each('get', 'events', '--field-selector=involvedObject.name=p').stdout)
    assert re.search(r'Started', each('get', 'events.events.k8s.io', '--field-selector=regarding.name=p', check=False).stdout)
    assert 'pod "p"' in each('delete', 'pod', 'p', '--now').stdout
    assert each('get', 'pod', 'p', check=False).returncode == 1


@needs_node
def test_drain(each, namespace):
    """cordon, drain (which evicts, since pods/eviction is there) and uncordon, as before the maintenance of a node."""
    node = each('get', 'nodes', '-o', 'name').stdout.strip().removeprefix('node/')
    each('run', 'p', '--image=busybox', '--command', '--', 'sleep', '100')
    each('wait', '--for=condition=Ready', 'pod/p', '--timeout=120s')
    try:
        assert each('cordon', node).stdout == f'node/{node} cordoned\n'
        assert ' Ready,SchedulingDisabled ' in each('get', 'nodes').stdout
        only = ('drain', node, '--ignore-daemonsets', f'--pod-selector=run=p')
        refused = each(*only, check=False)
        assert refused.returncode == 1 and 'cannot delete' in refused.stderr and f'{namespace}/p' in refused.stderr
        planned = each(*only, '--force', '--dry-run=server').stdout
        assert f'evicting pod {namespace}/p (server dry run)' in planned
        assert get(each, 'pod', 'p')['metadata'].get('deletionTimestamp') is None
        drained = each(*only, '--force', '--grace-period=1', '--timeout=60s')
        assert f'evicting pod {namespace}/p' in drained.stdout + drained.stderr and f'node/{node} drained' in drained.stdout
        assert each('get', 'pod', 'p', check=False).returncode == 1
        each('create', '-f', '-', stdin=pod('q'))
        until(lambda: 'node(s) were unschedulable' in each('get', 'events').stdout)
    finally:
        assert each('uncordon', node).stdout == f'node/{node} uncordoned\n'
    each('wait', '--for=jsonpath={.status.phase}=Succeeded', 'pod/q', '--timeout=120s')


@needs_node
def test_pod_watch(k, follow):
    k('create', '-f', '-', stdin=pod('first', schedulerName='nobody'))
    w = follow('get', 'pods', '-w', '--no-headers')
    w.until('first')   # from here on nothing is missed
    k('create', '-f', '-', stdin=pod('p', 'sleep 0.5'))
    w.until('Completed')
    states = [line.split()[2] for line in w.text().splitlines() if line.startswith('p ')]
    changes = [s for i, s in enumerate(states) if i == 0 or s != states[i - 1]]
    assert [s for s in changes if s != 'ContainerCreating'] == ['Pending', 'Running', 'Completed'] # a fast start is not seen creating
    k('delete', 'pod', 'p', 'first')


@needs_node
def test_logs(each, follow):
    two = [{'name': 'a', 'image': 'busybox', 'command': ['sh', '-c', 'for i in 1 2 3 4 5; do echo a$i; sleep 0.1; done']},
           {'name': 'b', 'image': 'busybox', 'command': ['sh', '-c', 'echo b1; echo b2 >&2']}]
    each('create', '-f', '-', stdin=pod('p', containers=two))
    until(lambda: get(each, 'pod', 'p')['status']['phase'] != 'Pending')
    followed = each('logs', '-f', 'p', '-c', 'a').stdout
    assert followed.split() == ['a1', 'a2', 'a3', 'a4', 'a5']
    each('wait', '--for=jsonpath={.status.phase}=Succeeded', 'pod/p', '--timeout=120s')
    stamped = each('logs', 'p', '-c', 'a', '--timestamps', '--tail=2').stdout.splitlines()
    assert [re.sub(r'^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z ', '', line) for line in stamped] == ['a4', 'a5']
    assert each('logs', 'p', '-c', 'a', '--since=1h').stdout.split() == ['a1', 'a2', 'a3', 'a4', 'a5']
    assert each('logs', 'p', '-c', 'a', '--since-time=2100-01-01T00:00:00Z').stdout == ''
    assert each('logs', 'p', '-c', 'a', '--limit-bytes=4').stdout == 'a1\na'
    prefixed = each('logs', '-l', 'app=p', '--all-containers', '--prefix').stdout.splitlines()
    assert '[pod/p/b] b1' in prefixed and '[pod/p/a] a5' in prefixed
    assert sorted(each('logs', '-l', 'app=p', '-c', 'b', '--tail=-1').stdout.split()) == ['b1', 'b2']
    assert 'Defaulted container "a" out of: a, b' in each('logs', 'p').stderr
    for wrong, text in ((['-c', 'x'], 'container x is not valid for pod p'), (['-c', 'a', '--previous'], 'previous terminated container "a" in pod "p" not found')):
        r = each('logs', 'p', *wrong, check=False)
        assert r.returncode == 1 and text in r.stderr, r.stderr
    each('delete', 'pod', 'p', '--now')


@needs_node
def test_previous_logs(k):
    k('create', '-f', '-', stdin=pod('p', 'echo life; exit 3', restartPolicy='OnFailure'))
    k('wait', '--for=jsonpath={.status.containerStatuses[0].restartCount}=1', 'pod/p', '--timeout=120s')
    assert k('logs', 'p', '--previous').stdout == 'life\n'
    status = get(k, 'pod', 'p')['status']['containerStatuses'][0]
    assert (status.get('lastState') or status['state'])['terminated']['exitCode'] == 3
    k('delete', 'pod', 'p', '--force', '--grace-period=0')


@needs_node
def test_grace(k):
    """The workload is asked to end, then it has its grace; --now and --force shorten it."""
    deaf = 'trap "" TERM; while :; do sleep 0.1; done'
    for how in (['--grace-period=1'], ['--now'], ['--force', '--grace-period=0']):
        k('create', '-f', '-', stdin=pod('p', deaf, terminationGracePeriodSeconds=600))
        k('wait', '--for=condition=Ready', 'pod/p', '--timeout=120s')
        k('delete', 'pod', 'p', *how)   # in a small part of 600 seconds
        k('wait', '--for=delete', 'pod/p', '--timeout=120s')


@needs_node
def test_describe_node(k):
    """The node's Lease, which goes on being renewed, and what is told of it."""
    node = k('get', 'nodes', '-o', 'name').stdout.strip()
    until(lambda: f'HolderIdentity:  {node[5:]}' in k('describe', node).stdout)
    renewed = lambda: k('get', 'lease', node[5:], '-n', 'kube-node-lease', '-o', 'jsonpath={.spec.renewTime}').stdout
    first = renewed()
    said = k('describe', node).stdout
    assert re.search(r'Normal +Starting +.* kubelet +Starting kubelet\.', said) and re.search(rf'Normal +NodeReady .*Node {node[5:]} status is now: NodeReady', said)
    until(lambda: renewed() > first, 40)
    k('cordon', node)
    try:
        until(lambda: 'status is now: NodeNotSchedulable' in k('describe', node).stdout, 40)
    finally:
        k('uncordon', node)


@needs_node
def test_describe(k, namespace):
    """Flow 24, of every kind that is served."""
    k('create', 'configmap', 'c', '--from-literal=a=1')
    k('create', 'secret', 'generic', 's', '--from-literal=a=12')
    k('create', 'serviceaccount', 'sa')
    k('create', 'role', 'r', '--verb=get', '--resource=pods')
    k('create', 'rolebinding', 'rb', '--role=r', f'--serviceaccount={namespace}:sa')
    for what, text in (('cm/c', r'^a:\n----\n1$'), ('secret/s', r'^a: +2 bytes$'), ('sa/sa', r'^Name: +sa$'), ('role/r', r'pods +\[\] +\[\] +\[get\]'),
                       ('rolebinding/rb', r'ServiceAccount +sa'), (f'ns/{namespace}', r'^Status: +Active$'), ('nodes', r'^Conditions:$'),
                       ('clusterrole/cluster-admin', r'\*\.\*'), ('clusterrolebinding/cluster-admin', r'system:masters')):
        assert re.search(text, k('describe', what).stdout, re.M), what
