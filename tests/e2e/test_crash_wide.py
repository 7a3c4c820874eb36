"""SIGKILL at random instants under a mixed load: pipelines with loops and retries, recurring runs each second, claims, Services, config maps,
exec. Nothing that was acknowledged is lost, no step and no slot of a schedule runs twice.

TIDEMILL_WIDE_KILLS says how often (20; 200 for a long look), TIDEMILL_SEED makes it another series."""
import http.client
import json
import os
import pathlib
import random
import subprocess
import threading
import time
import urllib.error
import urllib.request

import pytest
from conftest import KUBECTL, Tidemill, needs_node, node_options
from kfp import compiler, dsl
from test_recurring import check_slots, every_second

pytestmark = needs_node

KILLS = int(os.environ.get('TIDEMILL_WIDE_KILLS', '20'))
DEAD = (OSError, http.client.HTTPException, json.JSONDecodeError, urllib.error.URLError)


@dsl.container_component
def once(n: int, out: dsl.OutputPath(int)):
    return dsl.ContainerSpec(image='alpine:3.20', command=['sh', '-c', 'echo "ran $0"; mkdir -p "$(dirname "$1")"; printf %s "$0" > "$1"'], args=[n, out])


@dsl.container_component
def fails():
    return dsl.ContainerSpec(image='alpine:3.20', command=['sh', '-c', 'echo "ran 0"; exit 3'])


@dsl.pipeline(name='wide')
def wide():
    first = once(n=1).set_caching_options(False)
    with dsl.ParallelFor([10, 20]) as n:
        once(n=n).after(first).set_caching_options(False)
    fails().after(first).set_retry(1).set_caching_options(False).ignore_upstream_failure()


def call(t, method, path, body=None):
    req = urllib.request.Request(t.url + path, method=method, data=None if body is None else json.dumps(body).encode(),
                                 headers={'Content-Type': 'application/json'})
    with urllib.request.urlopen(req, timeout=10) as r:
        return json.loads(r.read() or b'{}')


class Load:
    """What is asked of the server while it may die at any moment, and what it said yes to."""

    def __init__(self, t, spec):
        self.t, self.spec, self.over = t, spec, threading.Event()
        self.runs, self.objects, self.n = [], [], 0
        self.threads = [threading.Thread(target=f, daemon=True) for f in (self.submit, self.write, self.look)]
        for x in self.threads:
            x.start()

    def stop(self):
        self.over.set()
        for x in self.threads:
            x.join(60)
            assert not x.is_alive()

    def submit(self):
        while not self.over.is_set():
            try:
                self.runs.append(call(self.t, 'POST', '/apis/v2beta1/runs', {'display_name': 'wide', 'pipeline_spec': self.spec})['run_id'])
            except DEAD:
                pass
            self.over.wait(1.5)

    def write(self):
        """kubectl says "created" when the server has said so."""
        while not self.over.is_set():
            self.n += 1
            name = f'w{self.n}'
            many = [{'apiVersion': 'v1', 'kind': 'ConfigMap', 'metadata': {'name': name}, 'data': {'n': name}},
                    {'apiVersion': 'v1', 'kind': 'Service', 'metadata': {'name': name}, 'spec': {'ports': [{'port': 80}]}},
                    {'apiVersion': 'v1', 'kind': 'PersistentVolumeClaim', 'metadata': {'name': name},
                     'spec': {'accessModes': ['ReadWriteOnce'], 'resources': {'requests': {'storage': '1Mi'}}}}]
            for o in many:
                r = self.kubectl('create', '-f', '-', stdin=json.dumps(o))
                if r and 'created' in r.stdout:
                    self.objects.append((o['kind'].lower(), name))
            self.over.wait(0.3)

    def look(self):
        while not self.over.is_set():
            self.kubectl('exec', 'sleeper', '--', 'true')
            self.over.wait(0.5)

    def kubectl(self, *args, stdin=None):
        try:
            return subprocess.run([KUBECTL, '--request-timeout=10s', *args], capture_output=True, text=True, input=stdin, timeout=30,
                                  env={**os.environ, 'KUBECONFIG': self.t.kubeconfig})
        except subprocess.TimeoutExpired:
            return None


def finish(t, run_id, until):
    while (r := call(t, 'GET', f'/apis/v2beta1/runs/{run_id}'))['state'] not in ('SUCCEEDED', 'FAILED', 'CANCELED'):
        assert time.monotonic() < until, f'the run did not end: {json.dumps(r)[:3000]}\n{t.tail()}'
        time.sleep(0.2)
    return r


def check_run(t, run_id, until):
    """One pod for each attempt, whose command ran once: four steps, of which the one that fails was tried twice."""
    finish(t, run_id, until)
    pods = json.loads(t.kubectl('get', 'pods', '-n', 'kubeflow', '-l', f'pipeline/runid={run_id}', '-o', 'json').stdout)['items']
    assert len(pods) == 5, sorted(p['metadata']['name'] for p in pods)
    for p in pods:
        log = t.kubectl('logs', '-n', 'kubeflow', p['metadata']['name']).stdout
        assert log.count('ran ') == 1 and p['status']['containerStatuses'][0]['restartCount'] == 0, (p['metadata']['name'], log)


def check_objects(t, objects):
    for kind in ('configmap', 'service', 'persistentvolumeclaim'):
        items = json.loads(t.kubectl('get', kind, '-o', 'json').stdout)['items']
        names = {o['metadata']['name'] for o in items}
        assert not [n for k, n in objects if k == kind and n not in names], kind
        if kind == 'service':
            addresses = [o['spec']['clusterIP'] for o in items]
            assert len(set(addresses)) == len(addresses)


def check_volumes(t, seconds=60):
    """Each claim is bound, each volume is one claim's, and each directory one volume's."""
    until = time.monotonic() + seconds
    while True:
        claims = json.loads(t.kubectl('get', 'pvc', '-o', 'json').stdout)['items']
        volumes = json.loads(t.kubectl('get', 'pv', '-o', 'json').stdout)['items']
        waits = [c['metadata']['name'] for c in claims if c['status'].get('phase') == 'Lost']
        refs = [v['spec']['claimRef']['uid'] for v in volumes if v['spec'].get('claimRef')]
        if not waits and len(set(refs)) == len(refs):
            return
        assert time.monotonic() < until, (waits, refs)
        time.sleep(0.5)


def test_mixed_load():
    rng = random.Random(int(os.environ.get('TIDEMILL_SEED', '11')))
    path = None
    t = Tidemill(*node_options()).start(60)
    try:
        path = pathlib.Path(t.data + '.wide.json')
        compiler.Compiler().compile(wide, str(path))
        t.kubectl('run', 'sleeper', '--image=host', '--restart=Never', '--command', '--', 'sleep', '100000')
        ticks = every_second(t, 2)
        load = Load(t, json.loads(path.read_text()))
        for _ in range(KILLS):
            time.sleep(rng.uniform(0.0, 1.5))
            t.kill()
            t.start(60)
        load.stop()
        for i in ticks:
            call(t, 'POST', f'/apis/v2beta1/recurringruns/{i}:disable')
        time.sleep(1)
        until = time.monotonic() + 120 + 20 * len(load.runs)
        for r in load.runs:
            check_run(t, r, until)
        check_slots(t, ticks, 1)
        check_objects(t, load.objects)
        check_volumes(t)
        assert load.runs and load.objects
        assert json.loads(t.kubectl('get', 'pod', 'sleeper', '-o', 'json').stdout)['status']['containerStatuses'][0]['restartCount'] == 0
        t.kubectl('exec', 'sleeper', '--', 'true')
    finally:
        t.purge()
        if path:
            path.unlink(missing_ok=True)
