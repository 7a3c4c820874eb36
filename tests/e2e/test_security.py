"""Security contexts and namespaces of pods, seen from inside."""
import json
import os
import time

import pytest

from conftest import KUBECTL, needs_node

pytestmark = [needs_node, pytest.mark.skipif(not KUBECTL, reason='there is no kubectl: `./dev test` installs one')]


def said(tidemill, name, script, context=None, **spec):
    """What a pod's one container says that ends by itself."""
    container = {'name': 'main', 'image': 'host', 'command': ['sh', '-c', script]}
    if context:
        container['securityContext'] = context
    tidemill.kubectl('apply', '-f', '-', stdin=json.dumps({
        'apiVersion': 'v1', 'kind': 'Pod', 'metadata': {'name': name},
        'spec': {'restartPolicy': 'Never', 'terminationGracePeriodSeconds': 1, 'containers': [container], **spec}}))
    until = time.monotonic() + 60
    while (phase := tidemill.kubectl('get', 'pod', name, '-o', 'jsonpath={.status.phase}').stdout) not in ('Succeeded', 'Failed'):
        assert time.monotonic() < until, tidemill.kubectl('describe', 'pod', name).stdout
        time.sleep(0.1)
    text = tidemill.kubectl('logs', name).stdout
    assert phase == 'Succeeded', text + tidemill.kubectl('describe', 'pod', name).stdout
    return text.strip()


def test_users_and_groups(tidemill):
    assert said(tidemill, 'user', 'id -u; id -g; id -G', {'runAsUser': 1000, 'runAsGroup': 2000},
                securityContext={'supplementalGroups': [3000], 'fsGroup': 4000}).split('\n') == ['1000', '2000', '2000 3000 4000']


@pytest.mark.parametrize('name,context,line', [
    ('default', {}, '00000000000405fb'),
    ('none', {'capabilities': {'drop': ['ALL']}}, '0000000000000000'),
    ('net', {'capabilities': {'drop': ['ALL'], 'add': ['NET_ADMIN']}}, '0000000000001000'),
])
def test_capabilities(tidemill, name, context, line):
    assert said(tidemill, f'caps-{name}', 'grep CapBnd /proc/self/status | cut -f2', context) == line


def test_what_a_container_may(tidemill):
    assert said(tidemill, 'nnp', 'grep NoNewPrivs /proc/self/status', {'allowPrivilegeEscalation': False}).split() == ['NoNewPrivs:', '1']
    assert 'Read-only' in said(tidemill, 'ro', 'touch /x 2>&1; true', {'readOnlyRootFilesystem': True})
    assert said(tidemill, 'seccomp', 'grep ^Seccomp: /proc/self/status', {'seccompProfile': {'type': 'Unconfined'}}).split()[1] == '0'
    assert said(tidemill, 'filtered', 'grep ^Seccomp: /proc/self/status').split()[1] == '2'


def test_own_seccomp_profile(tidemill):
    os.makedirs(f'{tidemill.data}/seccomp/team', exist_ok=True)
    with open(f'{tidemill.data}/seccomp/team/no-mkdir.json', 'w') as f:
        json.dump({'defaultAction': 'SCMP_ACT_ALLOW', 'syscalls': [{'names': ['mkdir', 'mkdirat'], 'action': 'SCMP_ACT_ERRNO', 'errnoRet': 13}]}, f)
    context = {'seccompProfile': {'type': 'Localhost', 'localhostProfile': 'team/no-mkdir.json'}}
    assert 'Permission denied' in said(tidemill, 'profile', 'mkdir /tmp/x 2>&1; touch /tmp/y && true', context)


def test_namespaces_of_the_machine(tidemill):
    ours = {n: os.readlink(f'/proc/self/ns/{n}') for n in ('pid', 'ipc', 'net')}
    show = 'for n in pid ipc net; do readlink /proc/self/ns/$n; done'
    own = dict(zip(ours, said(tidemill, 'own', show).split()))
    assert all(own[n] != ours[n] for n in ours)
    shared = dict(zip(ours, said(tidemill, 'shared', show, hostPID=True, hostIPC=True, hostNetwork=True).split()))
    assert shared == ours


def test_sysctls(tidemill):
    text = said(tidemill, 'sysctl', 'cat /proc/sys/net/ipv4/ip_unprivileged_port_start /proc/sys/kernel/shm_rmid_forced',
                securityContext={'sysctls': [{'name': 'net.ipv4.ip_unprivileged_port_start', 'value': '80'},
                                             {'name': 'kernel.shm_rmid_forced', 'value': '1'}]})
    assert text.split() == ['80', '1']


def pauses(namespace):
    """The processes that hold this process namespace (other tidemills on the machine have their own)."""
    found = []
    for pid in os.popen('pgrep -x tm-pause').read().split():
        try:
            if os.readlink(f'/proc/{pid}/ns/pid') == namespace:
                found.append(pid)
        except FileNotFoundError:
            pass
    return found


def test_shared_process_namespace(tidemill):
    """Containers of the pod see each other's processes; none of them is the first; nothing stays behind."""
    tidemill.kubectl('apply', '-f', '-', stdin=json.dumps({
        'apiVersion': 'v1', 'kind': 'Pod', 'metadata': {'name': 'together'},
        'spec': {'terminationGracePeriodSeconds': 1, 'shareProcessNamespace': True,
                 'containers': [{'name': n, 'image': 'host', 'command': ['sh', '-c', 'sleep 700']} for n in 'ab']}}))
    tidemill.kubectl('wait', '--for=condition=Ready', 'pod/together', '--timeout=60s')
    seen = tidemill.kubectl('exec', 'together', '-c', 'a', '--', 'sh', '-c', 'cat /proc/[0-9]*/comm').stdout.split()
    assert seen.count('sleep') == 2 and 'tm-pause' in seen, seen
    inside = tidemill.kubectl('exec', 'together', '-c', 'a', '--', 'readlink', '/proc/self/ns/pid').stdout.strip()
    assert len(pauses(inside)) == 1
    tidemill.kubectl('delete', 'pod', 'together')
    until = time.monotonic() + 120
    while pauses(inside) and time.monotonic() < until:
        time.sleep(0.1)
    assert not pauses(inside)
