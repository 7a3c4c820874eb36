"""Claims and volumes with kubectl: made as directories, bound, kept over restarts, grown, taken back."""
import json
import pathlib
import time

import pytest
import yaml
from conftest import needs_node, start

pytestmark = needs_node


def claim(name, size='1Gi', **spec):
    return {'apiVersion': 'v1', 'kind': 'PersistentVolumeClaim', 'metadata': {'name': name},
            'spec': {'accessModes': ['ReadWriteOnce'], 'resources': {'requests': {'storage': size}}, **spec}}


def pod(name, script, volumes, mounts, **spec):
    return {'apiVersion': 'v1', 'kind': 'Pod', 'metadata': {'name': name},
            'spec': {'restartPolicy': 'Never', 'terminationGracePeriodSeconds': 1,
                     'containers': [{'name': 'c', 'image': 'busybox', 'command': ['sh', '-c', script], 'volumeMounts': mounts}], 'volumes': volumes, **spec}}


def apply(t, *objects):
    t.kubectl('apply', '-f', '-', stdin=yaml.safe_dump_all(objects))


def get(t, *args):
    return json.loads(t.kubectl('get', *args, '-o', 'json').stdout)


def wait(t, what, condition, seconds=60):
    until = time.monotonic() + seconds
    while True:
        r = t.kubectl('get', *what, '-o', 'json', '--ignore-not-found')
        o = json.loads(r.stdout) if r.stdout.strip() else None
        if condition(o):
            return o
        assert time.monotonic() < until, f'{what}: {json.dumps(o, indent=1)}\n{t.kubectl("describe", *what, check=False).stdout}\n{t.tail(30)}'
        time.sleep(0.1)


def phase(*wanted):
    return lambda o: o and o['status'].get('phase') in wanted


def run(t, p, log=None):
    """A pod to its end: its log."""
    apply(t, p)
    name = p['metadata']['name']
    o = wait(t, ('pod', name), phase('Succeeded', 'Failed'))
    text = t.kubectl('logs', name).stdout
    assert o['status']['phase'] == 'Succeeded', text
    return text


CLAIM_VOLUME = [{'name': 'v', 'persistentVolumeClaim': {'claimName': 'data'}}]
MOUNT = [{'name': 'v', 'mountPath': '/data'}]


def test_the_default_class_is_there(tidemill):
    out = tidemill.kubectl('get', 'sc').stdout
    assert 'standard (default)   tidemill.dev/hostpath   Delete          WaitForFirstConsumer   true' in out


def test_a_claim_waits_for_its_first_consumer_and_keeps_data(tidemill):
    t = tidemill
    apply(t, claim('data'))
    o = wait(t, ('events', '--field-selector', 'involvedObject.name=data'), lambda o: o['items'])
    assert o['items'][0]['reason'] == 'WaitForFirstConsumer'
    assert get(t, 'pvc', 'data')['status'] == {'phase': 'Pending'}
    run(t, pod('writer', 'echo kept > /data/file; stat -c %a /data', CLAIM_VOLUME, MOUNT))
    c = wait(t, ('pvc', 'data'), phase('Bound'))
    volume = c['spec']['volumeName']
    assert volume == f'pvc-{c["metadata"]["uid"]}'
    assert c['status'] == {'phase': 'Bound', 'accessModes': ['ReadWriteOnce'], 'capacity': {'storage': '1Gi'}}
    v = wait(t, ('pv', volume), phase('Bound'))
    assert v['spec']['persistentVolumeReclaimPolicy'] == 'Delete'
    assert v['spec']['hostPath']['path'] == f'{t.data}/volumes/{volume}'
    out = t.kubectl('get', 'pvc,pv').stdout
    assert f'persistentvolumeclaim/data   Bound    {volume}   1Gi        RWO            standard       <unset>' in out, out
    assert f'{volume}   1Gi        RWO            Delete           Bound    default/data   standard       <unset>' in out, out
    assert run(t, pod('reader', 'cat /data/file', CLAIM_VOLUME, MOUNT)) == 'kept\n'


def test_a_claim_is_not_deleted_under_its_pods_and_takes_its_data_along(tidemill):
    t = tidemill
    apply(t, claim('gone'), pod('user', 'sleep 1000', [{'name': 'v', 'persistentVolumeClaim': {'claimName': 'gone'}}], MOUNT))
    wait(t, ('pod', 'user'), phase('Running'))
    c = get(t, 'pvc', 'gone')
    path = pathlib.Path(t.data) / 'volumes' / c['spec']['volumeName']
    assert path.is_dir()
    t.kubectl('delete', 'pvc', 'gone', '--wait=false')
    time.sleep(0.5)
    assert 'Terminating' in t.kubectl('get', 'pvc', 'gone').stdout
    t.kubectl('delete', 'pod', 'user')
    wait(t, ('pvc', 'gone'), lambda o: o is None)
    wait(t, ('pv', c['spec']['volumeName']), lambda o: o is None)
    assert not path.exists()


def test_retained_volumes_and_static_binding(tidemill):
    t = tidemill
    host = pathlib.Path(t.data + '.static')
    apply(t, {'apiVersion': 'v1', 'kind': 'PersistentVolume', 'metadata': {'name': 'static'},
              'spec': {'accessModes': ['ReadWriteOnce', 'ReadOnlyMany'], 'capacity': {'storage': '5Gi'}, 'storageClassName': 'manual',
                       'hostPath': {'path': str(host)}}})
    try:
        wait(t, ('pv', 'static'), phase('Available'))
        apply(t, claim('byhand', size='2Gi', storageClassName='manual'), claim('toobig', size='50Gi', storageClassName='manual'))
        c = wait(t, ('pvc', 'byhand'), phase('Bound'))
        assert c['spec']['volumeName'] == 'static' and c['status']['capacity'] == {'storage': '5Gi'}
        assert get(t, 'pvc', 'toobig')['status']['phase'] == 'Pending'
        run(t, pod('static', 'echo x > /data/f', [{'name': 'v', 'persistentVolumeClaim': {'claimName': 'byhand'}}], MOUNT))
        assert (host / 'f').read_text() == 'x\n'
        t.kubectl('delete', 'pod', 'static')
        t.kubectl('delete', 'pvc', 'byhand', 'toobig')
        wait(t, ('pv', 'static'), phase('Released'))
        assert (host / 'f').exists()
        t.kubectl('delete', 'pv', 'static')
    finally:
        import shutil
        shutil.rmtree(host, ignore_errors=True)


def test_a_claim_grows_and_does_not_shrink(tidemill):
    t = tidemill
    apply(t, claim('grows'))
    run(t, pod('grower', 'true', [{'name': 'v', 'persistentVolumeClaim': {'claimName': 'grows'}}], MOUNT))
    t.kubectl('patch', 'pvc', 'grows', '-p', '{"spec":{"resources":{"requests":{"storage":"3Gi"}}}}')
    wait(t, ('pvc', 'grows'), lambda o: o['status']['capacity'] == {'storage': '3Gi'})
    r = t.kubectl('patch', 'pvc', 'grows', '-p', '{"spec":{"resources":{"requests":{"storage":"1Gi"}}}}', check=False)
    assert 'spec.resources.requests.storage: Forbidden: field can not be less than status.capacity' in r.stderr
    r = t.kubectl('patch', 'pvc', 'grows', '-p', '{"spec":{"accessModes":["ReadWriteMany"]}}', check=False)
    assert 'spec is immutable after creation' in r.stderr


def test_an_ephemeral_volume_lives_as_long_as_its_pod(tidemill):
    t = tidemill
    template = {'metadata': {'labels': {'of': 'scratch'}}, 'spec': claim('x', '10Mi')['spec']}
    apply(t, pod('eph', 'echo $((40+2)) > /data/f; cat /data/f; sleep 1000', [{'name': 'scratch', 'ephemeral': {'volumeClaimTemplate': template}}],
                 [{'name': 'scratch', 'mountPath': '/data'}]))
    wait(t, ('pod', 'eph'), phase('Running'))
    c = get(t, 'pvc', 'eph-scratch')
    assert c['metadata']['ownerReferences'][0]['kind'] == 'Pod' and c['metadata']['labels'] == {'of': 'scratch'}
    t.kubectl('delete', 'pod', 'eph')
    wait(t, ('pvc', 'eph-scratch'), lambda o: o is None)
    wait(t, ('pv', c['spec']['volumeName']), lambda o: o is None)


def test_fs_group_owns_the_volume(tidemill):
    t = tidemill
    apply(t, claim('grouped'))
    v = [{'name': 'v', 'persistentVolumeClaim': {'claimName': 'grouped'}}]
    run(t, pod('first', 'mkdir /data/d; echo 1 > /data/d/f; chmod 600 /data/d/f', v, MOUNT))
    out = run(t, pod('second', 'id -G; cat /data/d/f && echo 2 > /data/d/f && stat -c "%a %g" /data /data/d /data/d/f', v, MOUNT,
                     securityContext={'runAsUser': 1234, 'runAsGroup': 1234, 'fsGroup': 4321}))
    assert out.split('\n') == ['1234 4321', '1', '2777 4321', '2775 4321', '660 4321', '']


def test_what_keeps_a_pod_from_its_volume_is_said(tidemill):
    t = tidemill
    apply(t, pod('lost', 'true', [{'name': 'v', 'persistentVolumeClaim': {'claimName': 'nowhere'}}], MOUNT))
    o = wait(t, ('pod', 'lost'), lambda o: o and o['status'].get('conditions'))
    assert o['status']['conditions'][0]['message'] == '0/1 nodes are available: persistentvolumeclaim "nowhere" not found. not found'
    apply(t, claim('nowhere'))
    wait(t, ('pod', 'lost'), phase('Succeeded'))


def test_subpaths_of_a_claim(tidemill):
    t = tidemill
    apply(t, claim('parts'))
    v = [{'name': 'v', 'persistentVolumeClaim': {'claimName': 'parts'}}]
    run(t, pod('parts', 'echo a > /a/f', v, [{'name': 'v', 'mountPath': '/a', 'subPath': 'one/two'}]))
    assert run(t, pod('whole', 'cat /data/one/two/f; ln -s / /data/evil', v, MOUNT)) == 'a\n'
    apply(t, pod('evil', 'ls /a/etc', v, [{'name': 'v', 'mountPath': '/a', 'subPath': 'evil/etc'}]))
    time.sleep(1)
    assert not (pathlib.Path('/') / 'etc' / 'f').exists()
    t.kubectl('delete', 'pod', 'evil', '--wait=false')


def test_readonly_mounts_and_host_paths_by_type(tidemill):
    t = tidemill
    host = pathlib.Path(t.data + '.host')
    (host / 'd').mkdir(parents=True)
    try:
        mounts = [{'name': 'h', 'mountPath': '/ro', 'readOnly': True, 'recursiveReadOnly': 'Enabled', 'mountPropagation': 'HostToContainer'}, {'name': 'new', 'mountPath': '/new'}]
        out = run(t, pod('ro', 'touch /ro/x 2>/dev/null || echo no; echo 1 > /new/f; grep " /ro " /proc/self/mountinfo | cut -d" " -f6 | cut -d, -f1',
                         [{'name': 'h', 'hostPath': {'path': str(host / 'd'), 'type': 'Directory'}}, {'name': 'new', 'hostPath': {'path': str(host / 'n'), 'type': 'DirectoryOrCreate'}}], mounts))
        assert out == 'no\nro\n' and (host / 'n' / 'f').read_text() == '1\n'
        apply(t, pod('wrong', 'true', [{'name': 'h', 'hostPath': {'path': str(host / 'd'), 'type': 'File'}}], [{'name': 'h', 'mountPath': '/x'}]))
        o = wait(t, ('events', '--field-selector', 'involvedObject.name=wrong,reason=FailedMount'), lambda o: o['items'])
        assert f'hostPath type check failed: {host}/d is not a file' in o['items'][0]['message']
        t.kubectl('delete', 'pod', 'wrong', '--wait=false')
    finally:
        import shutil
        shutil.rmtree(host, ignore_errors=True)


def test_changes_are_visible_at_once_but_for_subpaths(tidemill):
    t = tidemill
    t.kubectl('create', 'configmap', 'live', '--from-literal=k=one')
    p = pod('live', 'while [ "$(cat /all/k)" = one ]; do sleep 0.05; done; cat /all/k /part; ls -l /all/..data | wc -l',
            [{'name': 'v', 'configMap': {'name': 'live'}}], [{'name': 'v', 'mountPath': '/all'}, {'name': 'v', 'mountPath': '/part', 'subPath': 'k'}])
    apply(t, p)
    wait(t, ('pod', 'live'), phase('Running'))
    t.kubectl('patch', 'configmap', 'live', '-p', '{"data":{"k":"two"}}')
    wait(t, ('pod', 'live'), phase('Succeeded'), 120)
    assert t.kubectl('logs', 'live').stdout.startswith('twoone')


def test_an_empty_dir_beyond_its_limit_is_evicted(tidemill):
    t = tidemill
    apply(t, pod('greedy', 'head -c 3000000 /dev/zero > /data/f; sleep 1000', [{'name': 'v', 'emptyDir': {'sizeLimit': '1Mi'}}], MOUNT))
    o = wait(t, ('pod', 'greedy'), phase('Failed'), 60)
    assert o['status']['reason'] == 'Evicted' and 'Usage of EmptyDir volume "v" exceeds the limit "1Mi"' in o['status']['message']
    assert run(t, pod('mem', 'df -m /data | tail -1 | cut -c1-5; head -c 3000000 /dev/zero 2>/dev/null > /data/f || echo full', [{'name': 'v', 'emptyDir': {'medium': 'Memory', 'sizeLimit': '1Mi'}}], MOUNT)).endswith('full\n')


def test_volumes_survive_a_power_cut_and_are_made_once():
    t = start()
    try:
        for i in range(3):
            apply(t, claim(f'c{i}'), pod(f'p{i}', 'test -e /data/f || echo first > /data/f; cat /data/f', [{'name': 'v', 'persistentVolumeClaim': {'claimName': f'c{i}'}}], MOUNT))
            t.kill()
            t.start()
        for i in range(3):
            wait(t, ('pod', f'p{i}'), phase('Succeeded'))
        t.kill()
        t.start()
        volumes = get(t, 'pv')['items']
        assert len(volumes) == 3 and {v['spec']['claimRef']['name'] for v in volumes} == {'c0', 'c1', 'c2'}
        assert sorted(p.name for p in (pathlib.Path(t.data) / 'volumes').iterdir()) == sorted(v['metadata']['name'] for v in volumes)
        for i in range(3):
            t.kubectl('delete', 'pod', f'p{i}')
            assert run(t, pod(f'q{i}', 'cat /data/f', [{'name': 'v', 'persistentVolumeClaim': {'claimName': f'c{i}'}}], MOUNT)) == 'first\n'
    finally:
        t.purge()
