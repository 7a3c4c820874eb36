"""SIGKILL at every fault point and at random instants: every run goes on to the same end, and no step runs twice."""
import http.client
import json
import os
import pathlib
import random
import signal
import time
import urllib.request

import pytest
from conftest import NODE, Tidemill, needs_node, node_options
from kfp import compiler, dsl

pytestmark = needs_node


@dsl.container_component
def mark(n: int, out: dsl.OutputPath(int)):
    return dsl.ContainerSpec(image='alpine:3.20', command=['sh', '-c', 'echo "ran $0"; mkdir -p "$(dirname "$1")"; printf %s "$0" > "$1"'], args=[n, out])


@dsl.pipeline(name='crash')
def crash():
    first = mark(n=1).set_caching_options(False)
    with dsl.ParallelFor([10, 20, 30]) as n:
        mark(n=n).after(first).set_caching_options(False)
    mark(n=99).after(first).set_caching_options(False)


@pytest.fixture(scope='module')
def spec(tmp_path_factory):
    f = tmp_path_factory.mktemp('crash') / 'crash.json'
    compiler.Compiler().compile(crash, str(f))
    return json.loads(f.read_text())


def call(t, method, path, body=None):
    req = urllib.request.Request(t.url + path, method=method, data=None if body is None else json.dumps(body).encode(),
                                 headers={'Content-Type': 'application/json'})
    with urllib.request.urlopen(req, timeout=60) as r:
        return json.loads(r.read() or b'{}')


def submit(t, spec):
    return call(t, 'POST', '/apis/v2beta1/runs', {'display_name': 'crash', 'pipeline_spec': spec})['run_id']


def finish(t, run_id, wait=180):
    until = time.monotonic() + wait
    while time.monotonic() < until:
        r = call(t, 'GET', f'/apis/v2beta1/runs/{run_id}')
        if r['state'] in ('SUCCEEDED', 'FAILED', 'CANCELED'):
            return r
        time.sleep(0.05)
    raise AssertionError(f'the run did not end: {json.dumps(r, indent=1)}\n{t.tail()}')


def check(t, run_id):
    r = finish(t, run_id)
    assert r['state'] == 'SUCCEEDED', (json.dumps(r, indent=1), t.tail())
    steps = [x for x in r['run_details']['task_details'] if x.get('pod_name')]
    assert len(steps) == 5
    assert len({s['pod_name'] for s in steps}) == 5
    pods = json.loads(t.kubectl('get', 'pods', '-n', 'kubeflow', '-l', f'pipeline/runid={run_id}', '-o', 'json').stdout)['items']
    # One pod a step, each of which ran its command once.
    assert sorted(p['metadata']['name'] for p in pods) == sorted(s['pod_name'] for s in steps)
    for p in pods:
        log = t.kubectl('logs', '-n', 'kubeflow', p['metadata']['name']).stdout
        assert log.count('ran ') == 1, (p['metadata']['name'], log)
        assert p['status']['containerStatuses'][0]['restartCount'] == 0


def fault_points(spec, tmp_path):
    listing = tmp_path / 'points'
    t = Tidemill(*node_options(), env={'TIDEMILL_FAULT_LIST': str(listing)}).start()
    try:
        check(t, submit(t, spec))
    finally:
        t.purge()
    return [p for p in listing.read_text().split() if p]


def dies(t, spec):
    """Starts, submits a run, and waits for the fault. Returns the run's id (None when the death came first), and whether it died."""
    run_id = None
    try:
        t.start()
        run_id = submit(t, spec)
        finish(t, run_id, wait=120)
        t.process.send_signal(signal.SIGTERM)   # some points are on the way out
    except (RuntimeError, OSError, http.client.HTTPException, json.JSONDecodeError):
        pass
    return run_id, t.process.wait(120) == -9


def test_every_fault_point(spec, tmp_path):
    points = fault_points(spec, tmp_path)
    assert len(points) >= 8, points
    missed = []
    for point in points:
        t = Tidemill(*node_options(), env={'TIDEMILL_FAULT': point})
        try:
            run_id, died = dies(t, spec)
            if not died:
                missed.append(point)
            t.env = {}
            t.start()
            check(t, run_id or submit(t, spec))
        except AssertionError as e:
            raise AssertionError(f'fault point {point}') from e
        finally:
            t.purge()
    print(f'{len(points)} fault points, not reached again: {missed}')
    assert len(missed) <= len(points) // 5, missed


def test_random_instants(spec):
    rng = random.Random(int(os.environ.get('TIDEMILL_SEED', '7')))
    t = Tidemill(*node_options()).start()
    try:
        runs = []
        for _ in range(int(os.environ.get('TIDEMILL_KILLS', '8'))):
            runs.append(submit(t, spec))
            time.sleep(rng.uniform(0.0, 0.6))
            t.kill()
            t.start()
        for r in runs:
            check(t, r)
    finally:
        t.purge()


def test_pods_and_logs_survive(spec):
    t = Tidemill(*node_options()).start()
    try:
        t.kubectl('apply', '-f', '-', stdin='''
apiVersion: v1
kind: Pod
metadata: {name: lives, namespace: default}
spec:
  restartPolicy: Never
  terminationGracePeriodSeconds: 1
  containers:
  - {name: main, image: host, command: [sh, -c, 'i=0; while [ $i -lt 40 ]; do echo line $i; i=$((i+1)); sleep 0.1; [ $i != 20 ] || until [ -e /tmp/go ]; do sleep 0.1; done; done; exit 7']}
''')
        t.kubectl('wait', '--for=condition=Ready', 'pod/lives', '--timeout=120s')
        before = json.loads(t.kubectl('get', 'pod', 'lives', '-o', 'json').stdout)
        t.kill()
        time.sleep(0.5)
        t.start()
        after = json.loads(t.kubectl('get', 'pod', 'lives', '-o', 'json').stdout)
        assert after['metadata']['uid'] == before['metadata']['uid']
        assert after['status']['containerStatuses'][0]['containerID'] == before['status']['containerStatuses'][0]['containerID']
        t.kubectl('exec', 'lives', '--', 'touch', '/tmp/go')
        t.kubectl('wait', '--for=jsonpath={.status.phase}=Failed', 'pod/lives', '--timeout=120s')
        done = json.loads(t.kubectl('get', 'pod', 'lives', '-o', 'json').stdout)
        assert done['status']['containerStatuses'][0]['state']['terminated']['exitCode'] == 7
        assert t.kubectl('logs', 'lives').stdout.split('\n')[:-1] == [f'line {i}' for i in range(40)]
    finally:
        t.purge()
