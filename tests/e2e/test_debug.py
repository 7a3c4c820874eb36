"""Ephemeral containers: `kubectl debug` into pods that run, and what the API says to those that ask for more."""
import json
import subprocess
import time

import conftest
import pytest
from conftest import KUBECTL, needs_node

pytestmark = needs_node


@pytest.fixture(scope='module')
def t():
    made = conftest.start()
    yield made
    made.purge()


def apply(t, name, container=None, **spec):
    c = {'name': 'main', 'image': 'busybox', 'command': ['sleep', '1000'], **(container or {})}
    t.kubectl('apply', '-f', '-', stdin=json.dumps({'apiVersion': 'v1', 'kind': 'Pod', 'metadata': {'name': name},
                                                   'spec': {'terminationGracePeriodSeconds': 1, 'containers': [c], **spec}}))


def pod(t, name):
    return json.loads(t.kubectl('get', 'pod', name, '-o', 'json').stdout)


def wait(t, name, what, seconds=60):
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        p = pod(t, name)
        if what(p):
            return p
        time.sleep(0.1)
    raise AssertionError(json.dumps(p['status'], indent=1))


def state(name):
    def of(p):
        return next((s['state'] for s in p['status'].get('ephemeralContainerStatuses', []) if s['name'] == name), {})
    return of


def running(p):
    return p['status'].get('phase') == 'Running'


def debug(t, *args, check=True):
    return t.kubectl('debug', *args, check=check, timeout=90)


def test_looks_into_a_pod_and_ends(t):
    apply(t, 'a', {'command': ['sleep', '4711']})
    wait(t, 'a', running)
    before = pod(t, 'a')
    debug(t, 'a', '--image=busybox', '-c', 'look', '--target=main', '--', 'sh', '-c', 'for p in /proc/[0-9]*; do tr "\\0" " " < $p/cmdline; echo; done; cat /proc/1/root/etc/hostname; exit 3')
    p = wait(t, 'a', lambda p: 'terminated' in state('look')(p))
    assert state('look')(p)['terminated']['exitCode'] == 3 and state('look')(p)['terminated']['reason'] == 'Error'
    said = t.kubectl('logs', 'a', '-c', 'look').stdout
    assert 'sleep 4711' in said and said.endswith('a\n'), said
    (s,) = p['status']['ephemeralContainerStatuses']
    assert s['ready'] is False and s['restartCount'] == 0 and s['containerID'].startswith('crun://')
    # The pod is what it was, but for what was added.
    assert running(p) and p['status']['containerStatuses'] == before['status']['containerStatuses']
    assert p['metadata']['generation'] == before['metadata']['generation'] + 1
    assert all(c['status'] == 'True' for c in p['status']['conditions'])
    events = json.loads(t.kubectl('get', 'events', '-o', 'json').stdout)['items']
    assert any(e['reason'] == 'Started' and e['involvedObject'].get('fieldPath') == 'spec.ephemeralContainers{look}' for e in events)
    time.sleep(1)
    assert pod(t, 'a')['status']['ephemeralContainerStatuses'] == [s]  # once, and never again
    # Without a target it sees its own processes only.
    debug(t, 'a', '--image=busybox', '-c', 'alone', '--', 'sh', '-c', 'cat /proc/1/cmdline | tr "\\0" " "')
    wait(t, 'a', lambda p: 'terminated' in state('alone')(p))
    assert '4711' not in t.kubectl('logs', 'a', '-c', 'alone').stdout
    t.kubectl('delete', 'pod', 'a', '--now')


def test_on_a_terminal_and_by_exec(t):
    apply(t, 'b')
    wait(t, 'b', running)
    p = subprocess.Popen(['script', '-qec', f'{KUBECTL} --kubeconfig {t.kubeconfig} debug -it b --image=busybox --target=main -c sh -- sh', '/dev/null'],
                         stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    wait(t, 'b', lambda p: 'running' in state('sh')(p))
    time.sleep(2)
    p.stdin.write(b'echo $((40+2)) is it; exit\n')
    p.stdin.flush()
    out = p.communicate(timeout=60)[0].decode()
    assert '42 is it' in out, out
    wait(t, 'b', lambda p: 'terminated' in state('sh')(p))
    debug(t, 'b', '--image=busybox', '-c', 'stays', '--target=main', '--', 'sleep', '1000')
    wait(t, 'b', lambda p: 'running' in state('stays')(p))
    assert t.kubectl('exec', 'b', '-c', 'stays', '--', 'echo', 'inside').stdout == 'inside\n'
    was = state('stays')(pod(t, 'b'))
    t.kill()
    t.start()
    assert state('stays')(wait(t, 'b', running)) == was  # goes on, as the others do
    assert t.kubectl('exec', 'b', '-c', 'stays', '--', 'echo', 'again').stdout == 'again\n'
    # It goes with its pod, also when that ends by itself.
    apply(t, 'c', {'command': ['sleep', '8']}, restartPolicy='Never')
    wait(t, 'c', running)
    debug(t, 'c', '--image=busybox', '-c', 'stays', '--', 'sleep', '1000')
    wait(t, 'c', lambda p: 'running' in state('stays')(p))
    p = wait(t, 'c', lambda p: p['status']['phase'] == 'Succeeded')
    assert 'terminated' in state('stays')(p)
    t.kubectl('delete', 'pod', 'b', '--now')


def test_into_a_pod_that_cannot_begin(t):
    """An init container that hangs is just when one wants to look."""
    apply(t, 'd', initContainers=[{'name': 'hangs', 'image': 'busybox', 'command': ['sleep', '1000']}])
    wait(t, 'd', lambda p: 'running' in (p['status'].get('initContainerStatuses') or [{'state': {}}])[0]['state'])
    debug(t, 'd', '--image=busybox', '-c', 'look', '--target=hangs', '--', 'sh', '-c', 'tr "\\0" " " < /proc/1/cmdline')
    wait(t, 'd', lambda p: 'terminated' in state('look')(p))
    assert t.kubectl('logs', 'd', '-c', 'look').stdout == 'sleep 1000 '
    debug(t, 'd', '--image=busybox', '-c', 'early', '--target=main', '--', 'true')
    p = wait(t, 'd', lambda p: state('early')(p).get('waiting', {}).get('reason') == 'CreateContainerConfigError')
    assert state('early')(p)['waiting']['message'] == 'unable to find target container main'
    assert p['status']['phase'] == 'Pending'
    t.kubectl('delete', 'pod', 'd', '--now')


def test_what_is_refused(t):
    apply(t, 'e')
    wait(t, 'e', running)

    def patch(*containers, sub=True, kind='strategic'):
        args = ['--subresource=ephemeralcontainers'] if sub else []
        return t.kubectl('patch', 'pod', 'e', *args, '--type', kind, '-p', json.dumps({'spec': {'ephemeralContainers': list(containers)}}), check=False)
    c = {'name': 'x', 'image': 'busybox', 'command': ['true']}
    path = 'spec.ephemeralContainers[0]'
    cases = [({'targetContainerName': 'nobody'}, f'{path}.targetContainerName: Not found: "nobody"'),
             ({'name': 'main'}, f'{path}.name: Duplicate value: "main"'),
             ({'image': ''}, f'{path}.image: Required value'),
             ({'ports': [{'containerPort': 80}]}, f'{path}.ports: Forbidden: cannot be set for an Ephemeral Container'),
             ({'resources': {'limits': {'cpu': '1'}}}, f'{path}.resources: Forbidden: cannot be set for an Ephemeral Container'),
             ({'livenessProbe': {'exec': {'command': ['true']}}}, f'{path}.livenessProbe: Forbidden: cannot be set for an Ephemeral Container'),
             ({'lifecycle': {'preStop': {'sleep': {'seconds': 1}}}}, f'{path}.lifecycle: Forbidden: cannot be set for an Ephemeral Container')]
    for change, text in cases:
        r = patch({**c, **change})
        assert r.returncode and text in r.stderr, (change, r.stderr)
    assert 'pod updates may not change fields other than' in patch(c, sub=False).stderr
    assert patch(c).returncode == 0
    wait(t, 'e', lambda p: 'terminated' in state('x')(p))
    assert 'existing ephemeral containers "x" may not be changed' in patch({**c, 'image': 'other'}).stderr
    assert 'existing ephemeral containers "x" may not be removed' in patch({**c, 'name': 'y'}, kind='merge').stderr
    # Only that part of the pod is looked at.
    o = pod(t, 'e')
    o['spec']['containers'][0]['image'] = 'alpine'
    o['metadata']['labels'] = {'a': 'b'}
    t.kubectl('replace', '--subresource=ephemeralcontainers', '-f', '-', stdin=json.dumps(o))
    assert pod(t, 'e')['spec']['containers'][0]['image'] == 'busybox' and 'labels' not in pod(t, 'e')['metadata']
    r = t.kubectl('apply', '-f', '-', check=False, stdin=json.dumps({'apiVersion': 'v1', 'kind': 'Pod', 'metadata': {'name': 'f'}, 'spec': {
        'containers': [{'name': 'a', 'image': 'busybox'}], 'ephemeralContainers': [c]}}))
    assert 'spec.ephemeralContainers: Forbidden: cannot be set on create' in r.stderr
    t.kubectl('delete', 'pod', 'e', '--now')
