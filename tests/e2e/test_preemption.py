"""Priorities: the more important pod gets the room of the less important ones."""
import json
import time

from conftest import needs_node


def put(t, *objects):
    t.kubectl('apply', '-f', '-', stdin=json.dumps({'apiVersion': 'v1', 'kind': 'List', 'items': list(objects)}))


def pod(name, cpu, cls):
    return {'apiVersion': 'v1', 'kind': 'Pod', 'metadata': {'name': name}, 'spec': {
        'priorityClassName': cls, 'terminationGracePeriodSeconds': 2,
        'containers': [{'name': 'main', 'image': 'busybox', 'command': ['sleep', '1000'], 'resources': {'requests': {'cpu': cpu}}}]}}


def get(t, name):
    r = t.kubectl('get', 'pod', name, '-o', 'json', check=False)
    return json.loads(r.stdout) if r.returncode == 0 else None


def wait(t, name, what, seconds=60):
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        p = get(t, name)
        if what(p):
            return p
        time.sleep(0.1)
    raise AssertionError(json.dumps(p, indent=1))


@needs_node
def test_the_more_important_gets_the_room(tidemill):
    t = tidemill
    node = json.loads(t.kubectl('get', 'nodes', '-o', 'json').stdout)['items'][0]
    cpus = int(node['status']['allocatable']['cpu'])
    put(t, *[{'apiVersion': 'scheduling.k8s.io/v1', 'kind': 'PriorityClass', 'metadata': {'name': n}, 'value': v} for n, v in (('low', 1), ('high', 100))])
    half = f'{cpus * 500 - 100}m'
    put(t, pod('one', half, 'low'))
    wait(t, 'one', lambda p: p['status']['phase'] == 'Running')
    time.sleep(1.1)  # the longer one runs, the more it is worth
    put(t, pod('two', half, 'low'))
    wait(t, 'two', lambda p: p['status']['phase'] == 'Running')
    put(t, pod('big', half, 'high'))
    p = wait(t, 'two', lambda p: p is None or 'deletionTimestamp' in p['metadata'])
    if p:
        c = next(c for c in p['status']['conditions'] if c['type'] == 'DisruptionTarget')
        assert c['reason'] == 'PreemptionByScheduler' and c['message'] == 'default-scheduler: preempting to accommodate a higher priority pod'
    big = wait(t, 'big', lambda p: p['status']['phase'] == 'Running')
    assert big['status']['nominatedNodeName'] == node['metadata']['name']
    assert get(t, 'two') is None and get(t, 'one')['status']['phase'] == 'Running'
    events = json.loads(t.kubectl('get', 'events', '-o', 'json').stdout)['items']
    said = {(e['reason'], e['message']) for e in events if e['involvedObject']['name'] in ('two', 'big')}
    assert ('Preempted', f'Preempted by pod {big["metadata"]["uid"]} on node {node["metadata"]["name"]}') in said, said
    assert ('FailedScheduling', '0/1 nodes are available: 1 Insufficient cpu.') in said, said
    t.kubectl('delete', 'pod', 'one', 'big', '--now')
