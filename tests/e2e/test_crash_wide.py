"""SIGKILL at random instants under a mixed load: pipelines with loops and retries, recurring runs each second, claims that pods write to and that
are deleted again, Services, config maps, exec. Nothing that was acknowledged is lost, no step and no slot of a schedule runs twice, and each
directory of a volume is the directory of a claim that lives.

TIDEMILL_WIDE_KILLS says how often (12; `./dev bench crash [KILLS]`: 200), TIDEMILL_SEED makes it another series."""
import collections
import http.client
import json
import os
import pathlib
import random
import ssl
import subprocess
import threading
import time
import urllib.error
import urllib.request

import yaml
from conftest import KUBECTL, Tidemill, needs_node, node_options
from kfp import compiler, dsl, kubernetes
from test_recurring import check_slots, every_second

pytestmark = needs_node

ANYBODY = ssl._create_unverified_context()
DEAD = (OSError, http.client.HTTPException, json.JSONDecodeError, urllib.error.URLError)

# Each step says in a volume that it ran: what is there twice ran twice, whatever became of its pod.
MARK = 'echo "$1 $0" >> /marks/steps; echo "ran $0"; '


@dsl.container_component
def once(n: int, run: str, out: dsl.OutputPath(int)):
    return dsl.ContainerSpec(image='alpine:3.20', command=['sh', '-c', MARK + 'mkdir -p "$(dirname "$2")"; printf %s "$0" > "$2"'], args=[n, run, out])


@dsl.container_component
def fails(run: str):
    return dsl.ContainerSpec(image='alpine:3.20', command=['sh', '-c', MARK + 'exit 3', '0'], args=[run])


def marked(task):
    kubernetes.mount_pvc(task, pvc_name='marks', mount_path='/marks')
    return task.set_caching_options(False)


@dsl.pipeline(name='wide')
def wide():
    first = marked(once(n=1, run=dsl.PIPELINE_JOB_ID_PLACEHOLDER))
    with dsl.ParallelFor([10, 20]) as n:
        marked(once(n=n, run=dsl.PIPELINE_JOB_ID_PLACEHOLDER).after(first))
    marked(fails(run=dsl.PIPELINE_JOB_ID_PLACEHOLDER).after(first)).set_retry(1).ignore_upstream_failure()


def call(t, method, path, body=None):
    req = urllib.request.Request(t.url + path, method=method, data=None if body is None else json.dumps(body).encode(),
                                 headers={'Content-Type': 'application/json'})
    with urllib.request.urlopen(req, timeout=10) as r:
        return json.loads(r.read() or b'{}')


def claim(name, ns='default'):
    return {'apiVersion': 'v1', 'kind': 'PersistentVolumeClaim', 'metadata': {'name': name, 'namespace': ns},
            'spec': {'accessModes': ['ReadWriteOnce'], 'resources': {'requests': {'storage': '1Mi'}}}}


def pod(name, script, claim_name, restart='Never'):
    return {'apiVersion': 'v1', 'kind': 'Pod', 'metadata': {'name': name},
            'spec': {'restartPolicy': restart, 'terminationGracePeriodSeconds': 0, 'volumes': [{'name': 'v', 'persistentVolumeClaim': {'claimName': claim_name}}],
                     'containers': [{'name': 'c', 'image': 'host', 'command': ['sh', '-c', script], 'volumeMounts': [{'name': 'v', 'mountPath': '/data'}]}]}}


class Load:
    """What is asked of the server while it may die at any moment, and what it said yes to."""

    def __init__(self, t, spec):
        self.t, self.spec, self.token, self.over = t, spec, t.token(), threading.Event()
        self.runs, self.objects, self.lines, self.written, self.dropped, self.n = [], [], [], [], [], 0
        self.threads = [threading.Thread(target=f, daemon=True) for f in (self.submit, self.write, self.append, self.volumes)]
        for x in self.threads:
            x.start()

    def stop(self):
        self.over.set()
        for x in self.threads:
            x.join(90)
            assert not x.is_alive()

    def submit(self):
        while not self.over.is_set():
            try:
                self.runs.append(call(self.t, 'POST', '/apis/v2beta1/runs', {'display_name': 'wide', 'pipeline_spec': self.spec})['run_id'])
            except DEAD:
                pass
            self.over.wait(1.5)

    def write(self):
        while not self.over.is_set():
            self.n += 1
            name = f'w{self.n}'
            for kind, o in (('configmaps', {'metadata': {'name': name}, 'data': {'n': name}}), ('services', {'metadata': {'name': name}, 'spec': {'ports': [{'port': 80}]}})):
                if self.ask('POST', kind, o):
                    self.objects.append((kind, name))
            self.over.wait(0.2)

    def append(self):
        """A line in the volume of a pod that runs all the time: exec's exit code says that it is written."""
        n = 0
        while not self.over.is_set():
            n += 1
            if self.kubectl('exec', 'sleeper', '--', 'sh', '-c', f'echo {n} >> /data/lines && echo done') == 'done\n':
                self.lines.append(n)
            self.over.wait(0.5)

    def volumes(self):
        """A claim, a pod that writes to it and ends, and every second time the claim goes again."""
        n = 0
        while not self.over.is_set():
            n += 1
            name = f'v{n}'
            if not (self.ask('POST', 'persistentvolumeclaims', claim(name)) and self.ask('POST', 'pods', pod(name, f'echo {name} > /data/f', name))):
                continue
            until = time.monotonic() + 20
            while time.monotonic() < until and not self.over.is_set():
                if (self.ask('GET', f'pods/{name}') or {'status': {}})['status'].get('phase') == 'Succeeded':
                    self.written.append(name)
                    break
                time.sleep(0.1)
            if n % 2 == 0 and self.ask('DELETE', f'pods/{name}') and self.ask('DELETE', f'persistentvolumeclaims/{name}'):
                self.dropped.append(name)

    def ask(self, method, path, body=None):
        """What the Kubernetes API answers; None when it did not say yes."""
        req = urllib.request.Request(f'{self.t.kubernetes}/api/v1/namespaces/default/{path}', method=method, data=json.dumps(body).encode() if body else None,
                                     headers={'Content-Type': 'application/json', 'Authorization': 'Bearer ' + self.token})
        try:
            with urllib.request.urlopen(req, timeout=10, context=ANYBODY) as r:
                return json.loads(r.read())
        except DEAD:
            time.sleep(0.05)
            return None

    def kubectl(self, *args):
        try:
            return subprocess.run([KUBECTL, '--request-timeout=10s', *args], capture_output=True, text=True, timeout=30,
                                  env={**os.environ, 'KUBECONFIG': self.t.kubeconfig}).stdout
        except subprocess.TimeoutExpired:
            return ''


def items(t, *what):
    return json.loads(t.kubectl('get', *what, '-o', 'json').stdout)['items']


def finish(t, run_id, until):
    while (r := call(t, 'GET', f'/apis/v2beta1/runs/{run_id}'))['state'] not in ('SUCCEEDED', 'FAILED', 'CANCELED'):
        assert time.monotonic() < until, f'the run did not end: {json.dumps(r)[:3000]}\n{t.tail()}'
        time.sleep(0.2)
    return r


def check_run(t, run_id, until, steps):
    """One pod for each attempt, whose command ran once: four steps, of which the one that fails was tried twice."""
    finish(t, run_id, until)
    pods = items(t, 'pods', '-n', 'kubeflow', '-l', f'pipeline/runid={run_id}')
    assert len(pods) == 5, sorted(p['metadata']['name'] for p in pods)
    assert [p['status']['containerStatuses'][0]['restartCount'] for p in pods] == [0] * 5
    assert steps[run_id] == {'1': 1, '10': 1, '20': 1, '0': 2}, (run_id, steps[run_id])


def check_objects(t, objects):
    for kind in ('configmaps', 'services'):
        found = items(t, kind)
        names = {o['metadata']['name'] for o in found}
        assert not [n for k, n in objects if k == kind and n not in names], kind
        if kind == 'services':
            addresses = [o['spec']['clusterIP'] for o in found]
            assert len(set(addresses)) == len(addresses)


def directory(t, claim_uid):
    return pathlib.Path(t.data) / 'volumes' / f'pvc-{claim_uid}'


def crooked(t):
    """What is not as it should be between claims, volumes and directories, once everything has settled."""
    claims = {c['metadata']['uid']: c for c in items(t, 'pvc', '-A')}
    volumes = {v['metadata']['name']: v for v in items(t, 'pv')}
    dirs = {d.name for d in (pathlib.Path(t.data) / 'volumes').iterdir()}
    wrong = [f'directory {d} without a volume' for d in dirs - set(volumes)]
    for name, v in volumes.items():
        uid = v['spec'].get('claimRef', {}).get('uid')
        c = claims.get(uid)
        if not c or v['status'].get('phase') != 'Bound' or c['spec'].get('volumeName') != name or name not in dirs:
            wrong.append(f'volume {name} is {v["status"].get("phase")}, its claim {c and c["metadata"]["name"]}, its directory {name in dirs}')
    for c in claims.values():
        phase, to = c['status'].get('phase'), c['spec'].get('volumeName')
        if phase == 'Lost' or 'deletionTimestamp' in c['metadata'] or (phase == 'Bound') != (to in volumes):
            wrong.append(f'claim {c["metadata"]["name"]} is {phase}, its volume {to}')
    return wrong


def check_volumes(t, load, seconds=60):
    until = time.monotonic() + seconds
    while wrong := crooked(t):
        assert time.monotonic() < until, (wrong, t.tail())
        time.sleep(0.5)
    claims = {c['metadata']['name']: c['metadata']['uid'] for c in items(t, 'pvc')}
    assert not set(load.dropped) & set(claims)
    kept = [n for n in load.written if n not in load.dropped and n in claims]
    assert len(kept) >= len([n for n in load.written if int(n[1:]) % 2]), (load.written, kept)
    for n in kept:
        assert (directory(t, claims[n]) / 'f').read_text() == n + '\n'
    lines = [int(x) for x in (directory(t, claims['lines']) / 'lines').read_text().split()]
    assert not set(load.lines) - set(lines) and max(collections.Counter(lines).values(), default=0) <= 1
    return len(kept)


def steps_of(t):
    """run -> step -> how often it said that it ran."""
    uid = json.loads(t.kubectl('get', 'pvc', 'marks', '-n', 'kubeflow', '-o', 'json').stdout)['metadata']['uid']
    steps = collections.defaultdict(collections.Counter)
    for line in (directory(t, uid) / 'steps').read_text().splitlines():
        run, n = line.split()
        steps[run][n] += 1
    return steps


def check_all(t, load, ticks):
    until = time.monotonic() + 120 + 20 * len(load.runs)
    for r in load.runs:
        finish(t, r, until)
    steps = steps_of(t)
    for r in load.runs:
        check_run(t, r, until, steps)
    check_slots(t, ticks, 1)
    check_objects(t, load.objects)
    kept = check_volumes(t, load)
    sleeper = json.loads(t.kubectl('get', 'pod', 'sleeper', '-o', 'json').stdout)
    assert sleeper['status']['containerStatuses'][0]['restartCount'] == 0
    t.kubectl('exec', 'sleeper', '--', 'true')
    assert load.runs and load.objects and load.lines
    return f'{len(load.runs)} runs, {len(load.objects)} objects, {len(load.lines)} lines, {kept} claims kept, {len(load.dropped)} dropped'


def mixed_load(kills, seed=11, say=lambda text: None):
    rng = random.Random(seed)
    path = None
    # No pod of a run is taken away before it was looked at.
    t = Tidemill(*node_options(), env={'FINISHED_PODS_MAX': '100000'}).start(60)
    try:
        path = pathlib.Path(t.data + '.wide.yaml')
        compiler.Compiler().compile(wide, str(path))
        spec = dict(zip(('pipeline_spec', 'platform_spec'), yaml.safe_load_all(path.read_text())))
        for o in (claim('marks', 'kubeflow'), claim('lines'), pod('sleeper', 'sleep 100000', 'lines')):
            t.kubectl('apply', '-f', '-', stdin=json.dumps(o))
        t.kubectl('wait', '--for=condition=Ready', 'pod/sleeper', '--timeout=60s')
        ticks = every_second(t, 2)
        load = Load(t, spec)
        for i in range(kills):
            time.sleep(rng.uniform(0.0, 2.5))
            t.kill()
            began = time.monotonic()
            t.start(60)
            say(f'kill {i + 1}: up again after {time.monotonic() - began:.2f} s; {len(load.runs)} runs, {len(load.objects)} objects, '
                f'{len(load.written)} claims written')
        load.stop()
        for i in ticks:
            call(t, 'POST', f'/apis/v2beta1/recurringruns/{i}:disable')
        time.sleep(1)
        return check_all(t, load, ticks)
    finally:
        t.purge()
        if path:
            path.unlink(missing_ok=True)


def test_mixed_load():
    print(mixed_load(int(os.environ.get('TIDEMILL_WIDE_KILLS', '12')), int(os.environ.get('TIDEMILL_SEED', '11'))))
