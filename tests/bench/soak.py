"""Mixed load for a long time with flat memory and open files: `./dev bench soak [MINUTES]` (60 when not given).

Six kinds of callers work at once: pipelines with loops, conditions, retries and failing steps, some terminated and some deleted; objects made,
patched, listed, watched and deleted; pods that end, fail, cannot start or are deleted while they run; uploads of pipelines; readers of logs; connections
that say nothing or half a request. A row is printed every so often. It fails when, once warmed up, memory or open files go on growing, when the server
ends, or when a caller gets an answer that it must not get.
"""
import collections
import json
import os
import pathlib
import random
import socket
import statistics
import sys
import threading
import time
import traceback

from conftest import Tidemill, node_options

GROWTH_MB = 10          # of RssAnon between the second quarter and the last
GROWTH_FILES = 8        # of open files, at rest before and after


class Load:
    def __init__(self, t, seconds):
        self.t, self.until = t, time.monotonic() + seconds
        self.counts = collections.Counter()
        self.problems = []
        self.lock = threading.Lock()

    def on(self):
        return time.monotonic() < self.until and self.t.process.poll() is None and len(self.problems) < 5

    def count(self, what):
        with self.lock:
            self.counts[what] += 1

    def guarded(self, work, i):
        def forever():
            rng = random.Random(f'{work.__name__} {i}')
            while self.on():
                try:
                    work(self, rng)
                except Exception:
                    self.problems.append(f'{work.__name__}: {traceback.format_exc()[-1500:]}')
        return threading.Thread(target=forever, name=work.__name__)


def lean(load):
    from run import Lean
    return Lean(load.t.kubeconfig)


def expect(answer, *wanted):
    body = json.loads(answer)
    if body.get('kind') == 'Status' and body.get('status') == 'Failure' and body.get('code') not in wanted:
        raise AssertionError(f'{body.get("code")} {body.get("message")}')
    return body


def compile_pipelines():
    from kfp import dsl

    @dsl.container_component
    def step(n: int):
        return dsl.ContainerSpec(image='alpine:3.20', command=['sh', '-c', 'echo step "$0"; seq 200'], args=[n])

    @dsl.container_component
    def fails():
        return dsl.ContainerSpec(image='alpine:3.20', command=['sh', '-c', 'echo no; exit 3'])

    @dsl.container_component
    def slow():
        return dsl.ContainerSpec(image='alpine:3.20', command=['sleep', '20'])

    @dsl.pipeline(name='soak-loop')
    def loop(n: int = 1):
        with dsl.ParallelFor([1, 2, 3, 4], parallelism=2) as i:
            step(n=i)
        with dsl.If(n == 1):
            step(n=9)

    @dsl.pipeline(name='soak-fails')
    def failing():
        first = fails()
        first.set_retry(1, backoff_duration='1s')
        step(n=1).after(first)

    @dsl.pipeline(name='soak-slow')
    def slowly():
        slow()
    return loop, failing, slowly


PIPELINES = None


def runs(load, rng):
    client = load.t.kfp()
    kind = rng.choice([0, 0, 0, 1, 2])
    made = client.create_run_from_pipeline_func(PIPELINES[kind], enable_caching=rng.random() < 0.3)
    if kind == 2:
        time.sleep(rng.random() * 2)
        client.terminate_run(made.run_id)
    r = client.wait_for_run_completion(made.run_id, timeout=300, sleep_duration=0.3)
    want = ('SUCCEEDED', 'FAILED', 'FAILED')[kind]
    if r.state not in (want, 'CANCELED' if kind == 2 else want):
        raise AssertionError(f'{PIPELINES[kind].name}: {r.state} {r.error}')
    load.count('runs')
    if rng.random() < 0.5:
        client.archive_run(made.run_id)
        client.delete_run(made.run_id)
    client.list_runs(page_size=20, sort_by='created_at desc')


def objects(load, rng):
    kube, ns = lean(load), '/api/v1/namespaces/default/configmaps'
    for _ in range(50):
        name = f'soak-{rng.randrange(1 << 40):x}'
        expect(kube.ask('POST', ns, {'apiVersion': 'v1', 'kind': 'ConfigMap', 'metadata': {'name': name}, 'data': {'x': 'y' * rng.randrange(4000)}}))
        expect(kube.ask('PUT', f'{ns}/{name}', {'apiVersion': 'v1', 'kind': 'ConfigMap', 'metadata': {'name': name}, 'data': {'x': 'z'}}))
        expect(kube.ask('GET', ns + '?limit=50'))
        expect(kube.ask('DELETE', f'{ns}/{name}'))
        load.count('objects')
    kube.c.close()


def watches(load, rng):
    kube = lean(load)
    kube.c.request('GET', f'/api/v1/{rng.choice(["pods", "configmaps", "events"])}?watch=true&timeoutSeconds={rng.randrange(1, 8)}')
    answer = kube.c.getresponse()
    if rng.random() < 0.5:
        answer.read()
    else:
        answer.read(100)
    kube.c.close()
    load.count('watches')


POD = {'apiVersion': 'v1', 'kind': 'Pod', 'metadata': {}, 'spec': {'restartPolicy': 'Never', 'containers': [{'name': 'main', 'image': 'host'}]}}


def pods(load, rng):
    kube, ns = lean(load), '/api/v1/namespaces/default/pods'
    command = rng.choice([['true'], ['sh', '-c', 'exit 3'], ['no-such-program'], ['sleep', '30'], ['sh', '-c', 'yes | head -c 3000000']])
    pod = json.loads(json.dumps(POD))
    pod['metadata']['name'] = name = f'soak-{rng.randrange(1 << 40):x}'
    pod['spec']['containers'][0]['command'] = command
    expect(kube.ask('POST', ns, pod))
    until = time.monotonic() + (2 if command[0] == 'sleep' else 60)
    while time.monotonic() < until:
        if expect(kube.ask('GET', f'{ns}/{name}'))['status'].get('phase') in ('Succeeded', 'Failed'):
            break
        time.sleep(0.1)
    else:
        if command[0] != 'sleep':
            raise AssertionError(f'pod {command} does not end')
    kube.ask('GET', f'{ns}/{name}/log')
    expect(kube.ask('DELETE', f'{ns}/{name}?gracePeriodSeconds=1'))
    kube.c.close()
    load.count('pods')


def uploads(load, rng):
    import tempfile
    from kfp import compiler
    client = load.t.kfp()
    with tempfile.TemporaryDirectory() as d:
        f = pathlib.Path(d) / 'p.yaml'
        compiler.Compiler().compile(PIPELINES[0], str(f))
        p = client.upload_pipeline(str(f), pipeline_name=f'soak-{rng.randrange(1 << 40):x}')
        v = client.upload_pipeline_version(str(f), pipeline_version_name='second', pipeline_id=p.pipeline_id)
        client.list_pipeline_versions(p.pipeline_id)
        for version in client.list_pipeline_versions(p.pipeline_id).pipeline_versions:
            client.delete_pipeline_version(p.pipeline_id, version.pipeline_version_id)
        assert v.pipeline_version_id
        client.delete_pipeline(p.pipeline_id)
    load.count('uploads')
    time.sleep(1)


def idlers(load, rng):
    host, port = load.t.url.split('//')[1].split(':')
    held = []
    for _ in range(40):
        s = socket.create_connection((host, int(port)))
        s.sendall(rng.choice([b'', b'GET /apis/v2beta1/he', b'POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\nabc', b'\x16\x03\x01\x00', b'PRI * HTTP/2.0\r\n']))
        held.append(s)
    time.sleep(rng.random() * 5)
    for s in held:
        s.close()
    load.count('idle connections')


def look(pid):
    status = dict(l.split(':', 1) for l in open(f'/proc/{pid}/status'))
    children = []
    for task in os.listdir(f'/proc/{pid}/task'):
        try:
            children += pathlib.Path(f'/proc/{pid}/task/{task}/children').read_text().split()
        except OSError:   # a thread that ended meanwhile
            pass
    return {'anon': int(status['RssAnon'].split()[0]) / 1024, 'files': len(os.listdir(f'/proc/{pid}/fd')), 'threads': int(status['Threads']),
            'helper files': sum(len(os.listdir(f'/proc/{c}/fd')) for c in children if os.path.exists(f'/proc/{c}/fd'))}


def at_rest(t, wait=20):
    """Open files once what was asked for has been answered and old connections are closed."""
    best = None
    until = time.monotonic() + wait
    while time.monotonic() < until:
        now = look(t.process.pid)
        best = now if best is None or now['files'] < best['files'] else best
        time.sleep(0.5)
    return best


def work(load):
    workers = [load.guarded(w, i) for i, w in enumerate((runs, runs, objects, watches, watches, pods, pods, uploads, idlers))]
    for w in workers:
        w.start()
    return workers


def soak(minutes, note):
    global PIPELINES
    PIPELINES = compile_pipelines()
    seconds = minutes * 60
    t = Tidemill(*node_options()).start()
    code = 1
    try:
        # What is opened when it is first needed, and kept (readers of databases, descriptors that wake a worker), is no growth.
        for w in work(warm := Load(t, min(120, seconds / 5))):
            w.join()
        before = at_rest(t)
        load = Load(t, seconds)
        load.problems += warm.problems
        workers = work(load)
        rows = []
        print(f'{"minute":>7} {"RssAnon MB":>11} {"files":>6} {"helper":>7} {"threads":>8}  work done', flush=True)
        began = time.monotonic()
        while load.on():
            time.sleep(min(max(seconds / 40, 1), 60))
            if t.process.poll() is not None:
                break
            now = look(t.process.pid)
            rows.append(now)
            print(f'{(time.monotonic() - began) / 60:7.1f} {now["anon"]:11.1f} {now["files"]:6} {now["helper files"]:7} {now["threads"]:8}  '
                  + ', '.join(f'{n} {w}' for w, n in sorted(load.counts.items())), flush=True)
        for w in workers:
            w.join(120)
        for p in load.problems:
            print(p)
        if t.process.poll() is not None:
            print(f'the server ended with {t.process.returncode}\n{t.tail()}')
        else:
            after = at_rest(t)
            quarter = max(len(rows) // 4, 1)
            early, late = (statistics.median(r['anon'] for r in part) for part in (rows[quarter:2 * quarter] or rows, rows[-quarter:]))
            note(f'soak, {minutes:g} minutes: RssAnon in the last quarter', late, 'MB', early, 'in the second quarter', f'+{GROWTH_MB} MB')
            note('soak: open files at rest afterwards', after['files'], 'files', before['files'], 'before', f'+{GROWTH_FILES}')
            note('soak: the same of the helper', after['helper files'], 'files', before['helper files'], 'before', '+2')
            flat = late <= early + GROWTH_MB and after['files'] <= before['files'] + GROWTH_FILES and after['helper files'] <= before['helper files'] + 2
            code = 0 if flat and not load.problems else 1
            print('soak: ' + ('flat' if flat else 'NOT FLAT') + f', {len(load.problems)} problems')
    finally:
        t.purge()
    return code


if __name__ == '__main__':
    print('run through tests/bench/run.py soak')
    sys.exit(2)
