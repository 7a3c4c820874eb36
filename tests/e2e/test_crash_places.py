"""SIGKILL in the middle of what takes a while: an image is pulled, a claim provisioned or taken back, a set-up made, a file uploaded, a slot of a
schedule started, a log rotated."""
import hashlib
import json
import os
import pathlib
import random
import re
import shutil
import sqlite3
import signal
import subprocess
import threading
import time

import pytest
from conftest import VENV, Tidemill, needs_node, node_options
from images_kit import BUSYBOX, Image, OwnRegistry, busybox_layer, layer
from kfp import dsl
from test_crash_wide import call, claim, crooked, items, pod
from test_recurring import PATH, runs_of, seconds
from test_setups import fan_from, fillers, pipeline_from

pytestmark = needs_node
INDEX = VENV.resolve() / 'tidemill-crash-index'


def until(what, seconds=180):
    end = time.monotonic() + seconds
    while not (r := what()):
        assert time.monotonic() < end, what
        time.sleep(0.1)
    return r


def phase(t, name):
    return lambda: t.kubectl('get', 'pod', name, '-o', 'jsonpath={.status.phase}', '--ignore-not-found').stdout


def dies_at(t, point):
    """Starts with a fault point armed."""
    t.env['TIDEMILL_FAULT'] = point
    return t.start()


def lives_again(t):
    assert t.process.wait(120) == -9
    t.env.pop('TIDEMILL_FAULT')
    return t.start()


@pytest.fixture
def made():
    m = Tidemill(*node_options())
    yield m
    m.purge()


# ---- images ----------------------------------------------------------------------------------------------------------------


@pytest.mark.skipif(not os.path.exists(BUSYBOX), reason='needs busybox-static')
def test_image_is_pulled(made):
    """Killed again and again while layers arrive slowly: the pod gets the whole image, and nothing half stays."""
    files = [(f'd{n}', [(f'd{n}/f{k}', os.urandom(3000)) for k in range(150)]) for n in range(4)]
    img = Image([busybox_layer('sh', 'cat', 'find', 'sort', 'sha256sum')] + [layer([(d, None), *entries]) for d, entries in files])

    def slowly(handler, path):
        body = registry.blobs.get(path.rsplit('/', 1)[-1])
        if '/blobs/' not in path or body is None:
            return False
        start = int(handler.headers['Range'].split('=')[1].split('-')[0]) if handler.headers.get('Range') else 0
        handler.send_response(206 if start else 200)
        if start:
            handler.send_header('Content-Range', f'bytes {start}-{len(body) - 1}/{len(body)}')
        handler.send_header('Content-Length', str(len(body) - start))
        handler.end_headers()
        try:
            for at in range(start, len(body), 40000):
                handler.wfile.write(body[at:min(at + 40000, len(body))])
                time.sleep(0.1)
        except OSError:
            pass
        return True
    registry, t = OwnRegistry(slowly), made
    name = registry.add('slow', '1', img)
    rng = random.Random(5)
    try:
        t.start()
        # The sum of all files by name tells whether each is there as a whole.
        script = 'cd / && find d0 d1 d2 d3 -type f | sort | while read f; do cat $f; done | sha256sum'
        t.kubectl('apply', '-f', '-', stdin=json.dumps({'apiVersion': 'v1', 'kind': 'Pod', 'metadata': {'name': 'p'}, 'spec': {
            'restartPolicy': 'Never', 'containers': [{'name': 'c', 'image': name, 'command': ['/bin/sh', '-c', script]}]}}))
        kills = 0
        for _ in range(6):
            time.sleep(rng.uniform(0.1, 1.2))
            if phase(t, 'p')() not in ('Pending', ''):
                break
            t.kill()
            kills += 1
            t.start()
        assert kills >= 2
        until(lambda: phase(t, 'p')() in ('Succeeded', 'Failed'))
        want = hashlib.sha256(b''.join(data for _, data in sorted(e for _, entries in files for e in entries))).hexdigest()
        assert t.kubectl('logs', 'p').stdout.split()[:1] == [want]
        t.kubectl('delete', 'pod', 'p')
        t.cli('image', 'rm', name)   # takes away what nothing names, too
        images = pathlib.Path(t.data) / 'images'
        assert not list((images / 'tmp').iterdir()) and not list((images / 'layers').iterdir())
        assert not [c for c in pathlib.Path('/proc').glob('[0-9]*/cmdline') if t.data.encode() in read(c) and b'image-unpack' in read(c)]
    finally:
        registry.close()


def read(path):
    try:
        return path.read_bytes()
    except OSError:
        return b''


# ---- claims ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize('point', ['storage.directory.made', 'storage.volume.made'])
def test_claim_is_provisioned(made, point):
    t = dies_at(made, point)
    for o in (claim('c'), pod('p', 'echo kept > /data/f; cat /data/f', 'c')):
        t.kubectl('create', '-f', '-', stdin=json.dumps(o), check=False)
    lives_again(t)
    until(lambda: phase(t, 'p')() == 'Succeeded')
    assert not crooked(t) and len(items(t, 'pv')) == 1
    (d,) = (pathlib.Path(t.data) / 'volumes').iterdir()
    assert (d / 'f').read_text() == 'kept\n'


def test_claim_is_taken_back(made):
    """The directory is gone, its volume is not; and a claim beside it keeps its file."""
    t = dies_at(made, 'storage.directory.removed')
    for name in ('goes', 'stays'):
        for o in (claim(name), pod(name, f'echo {name} > /data/f', name)):
            t.kubectl('create', '-f', '-', stdin=json.dumps(o))
        until(lambda: phase(t, name)() == 'Succeeded')
    t.kubectl('delete', 'pod,pvc', 'goes', '--wait=false')
    lives_again(t)
    until(lambda: not crooked(t) and len(items(t, 'pv')) == 1)
    (d,) = (pathlib.Path(t.data) / 'volumes').iterdir()
    assert (d / 'f').read_text() == 'stays\n'


# ---- set-ups ---------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope='module')
def probe():
    yield pipeline_from(INDEX)
    shutil.rmtree(INDEX, ignore_errors=True)


@pytest.mark.parametrize('point', ['setup.keep.before', 'setup.keep.after', None])
def test_setup_is_made(made, probe, point):
    """None: at an instant while pip runs. It is kept once and whole, and the next step has it without an index."""
    t = dies_at(made, point) if point else made.start()
    run = t.kfp().create_run_from_pipeline_func(probe, enable_caching=False)
    setup = pathlib.Path(t.data) / 'setup'
    if point:
        lives_again(t)
    else:
        until(lambda: setup.is_dir() and any(n.name.startswith('.') for n in setup.iterdir()))
        t.kill()
        t.start()
    assert t.kfp().wait_for_run_completion(run.run_id, timeout=180, sleep_duration=0.3).state == 'SUCCEEDED'
    until(lambda: not [p for p in setup.iterdir() if p.name.startswith('.')])
    assert len(list(setup.iterdir())) == 1
    hidden = INDEX.with_name('tidemill-crash-hidden')
    INDEX.rename(hidden)
    try:
        run = t.kfp().create_run_from_pipeline_func(probe, enable_caching=False)
        assert t.kfp().wait_for_run_completion(run.run_id, timeout=180, sleep_duration=0.3).state == 'SUCCEEDED'
    finally:
        hidden.rename(INDEX)


@pytest.mark.parametrize('victim', ['server', 'pod'])
def test_the_one_that_fills_dies(made, probe, victim):
    """While others wait for it: they go on, with one set-up, and after the server's death it is still one that fills."""
    t = made.start(60)
    run = t.kfp().create_run_from_pipeline_func(fan_from(INDEX, 4), enable_caching=False)
    setup = pathlib.Path(t.data) / 'setup'
    (first,) = until(lambda: fillers(t)[0])
    if victim == 'server':
        t.kill()
        t.start(60)
    else:
        t.kubectl('delete', 'pod', '-n', 'kubeflow', first, '--wait=false', check=False)
    state = t.kfp().wait_for_run_completion(run.run_id, timeout=180, sleep_duration=0.3).state
    fill, see = fillers(t)
    if victim == 'server':
        assert state == 'SUCCEEDED' and fill == [first] and len(see) == 4, (state, fill, see)
    else:
        # It may have been over before it was deleted; else its step failed, and another one filled.
        assert len(see) >= 3 and len(set(fill) - {first}) <= 1, (state, fill, see)
    until(lambda: not [p for p in setup.iterdir() if p.name.startswith('.')])
    assert len(list(setup.iterdir())) == 1


# ---- many tasks ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize('point', ['engine.commit.inside:2', 'engine.commit.after:1', 'engine.commit.after:3'])
def test_a_wide_pipeline_is_written(tmp_path, point):
    """The tasks of one DAG are written in rounds: killed between two, the next process writes the rest, and none twice."""
    n = 1000
    task = {'componentRef': {'name': 'step'}, 'taskInfo': {'name': 't'}}
    ir = {'pipelineInfo': {'name': 'wide'}, 'schemaVersion': '2.1.0', 'sdkVersion': 'kfp-2.13.0', 'components': {'step': {'executorLabel': 'e'}},
          'deploymentSpec': {'executors': {'e': {'container': {'image': 'alpine', 'command': ['true']}}}},
          'root': {'dag': {'tasks': {'first': task, **{f't{i}': {**task, 'dependentTasks': ['first']} for i in range(n)}}}}}
    (tmp_path / 'wide.yaml').write_text(json.dumps(ir))
    t = Tidemill('--no-node', env={'TIDEMILL_FAULT': point})
    try:
        t.start()
        run = t.kfp().create_run_from_pipeline_package(str(tmp_path / 'wide.yaml'), enable_caching=False)
        lives_again(t)

        def rows():
            with sqlite3.connect(f'file:{t.data}/tidemill.db?mode=ro', uri=True) as db:
                return db.execute('SELECT count(*), count(DISTINCT path) FROM tasks WHERE run_id = ?', (run.run_id,)).fetchone()
        until(lambda: rows() == (n + 2, n + 2))
        assert len(items(t, 'pods', '-n', 'kubeflow')) == 1
        t.kfp().terminate_run(run.run_id)
        until(lambda: t.kfp().get_run(run.run_id).state == 'FAILED')
        assert rows() == (n + 2, n + 2)
    finally:
        t.purge()


# ---- uploads ---------------------------------------------------------------------------------------------------------------


def test_upload_is_running(tmp_path):
    """What was acknowledged is there and whole; what was not is there whole or not at all; and no temporary file is left."""
    from kfp import compiler
    import requests

    @dsl.container_component
    def step():
        return dsl.ContainerSpec(image='alpine:3.20', command=['true'])

    @dsl.pipeline(name='uploaded')
    def uploaded():
        step()
    f, scratch = tmp_path / 'p.yaml', tmp_path / 'scratch'
    compiler.Compiler().compile(uploaded, str(f))
    text = f.read_text() + '# ' + 'x' * 2_000_000 + '\n'
    scratch.mkdir()
    t = Tidemill('--no-node', env={'TMPDIR': str(scratch)})
    known, n, over = [], 0, threading.Event()

    def slowly():
        """A body in pieces, so that most kills come in its middle."""
        head = '--b\r\nContent-Disposition: form-data; name="uploadfile"; filename="p.yaml"\r\n\r\n'
        for piece in (head, *(text[i:i + 400_000] for i in range(0, len(text), 400_000)), '\r\n--b--\r\n'):
            time.sleep(0.03)
            yield piece.encode()

    def upload():
        nonlocal n
        while not over.is_set():
            n += 1
            try:
                r = requests.post(f'{t.url}/apis/v2beta1/pipelines/upload?name=u{n}', data=slowly(), timeout=20,
                                  headers={'Content-Type': 'multipart/form-data; boundary=b'})
                if r.status_code == 200:
                    known.append((f'u{n}', r.json()['pipeline_id']))
            except requests.RequestException:
                time.sleep(0.05)
    rng = random.Random(3)
    try:
        t.start()
        worker = threading.Thread(target=upload, daemon=True)
        worker.start()
        for _ in range(10):
            time.sleep(rng.uniform(0.1, 0.9))
            t.kill()
            assert not list(scratch.iterdir())
            t.start()
        time.sleep(1)
        over.set()
        worker.join(120)
        there = {p['display_name']: p['pipeline_id'] for p in call(t, 'GET', '/apis/v2beta1/pipelines?page_size=200').get('pipelines', [])}
        assert known and not set(known) - set(there.items())
        for i in there.values():
            (version,) = call(t, 'GET', f'/apis/v2beta1/pipelines/{i}/versions')['pipeline_versions']
            assert version['pipeline_spec']['pipelineInfo']['name'] == 'uploaded'
    finally:
        over.set()
        t.purge()
    assert not list(scratch.iterdir())


# ---- schedules -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize('point', ['schedule.slot.before:2', 'recurring.slot.inside:2', 'schedule.slot.after:2'])
def test_slot_starts(made, point):
    """With the engine and the node: each slot is one run, and each run one pod that ran once."""
    t = dies_at(made, point)
    spec = {'pipelineInfo': {'name': 'tick'}, 'schemaVersion': '2.1.0', 'components': {'c': {'executorLabel': 'e'}},
            'deploymentSpec': {'executors': {'e': {'container': {'image': 'alpine:3.20', 'command': ['echo', 'ticked']}}}},
            'root': {'dag': {'tasks': {'t': {'componentRef': {'name': 'c'}, 'taskInfo': {'name': 't'}}}}}}
    made_id = call(t, 'POST', PATH, {'display_name': 'tick', 'pipeline_spec': spec, 'max_concurrency': 10, 'mode': 'ENABLE',
                                     'trigger': {'periodic_schedule': {'interval_second': 2}}})['recurring_run_id']
    lives_again(t)
    until(lambda: len(runs_of(t, made_id)) >= 4)
    call(t, 'POST', f'{PATH}/{made_id}:disable')
    runs = until(lambda: (r := runs_of(t, made_id)) and all(x['state'] == 'SUCCEEDED' for x in r) and r)
    slots = [seconds(r['scheduled_at']) for r in runs]
    assert slots == list(range(slots[0], slots[0] + 2 * len(slots), 2))
    for r in runs:
        (p,) = items(t, 'pods', '-n', 'kubeflow', '-l', f'pipeline/runid={r["run_id"]}')
        assert t.kubectl('logs', '-n', 'kubeflow', p['metadata']['name']).stdout == 'ticked\n'


# ---- logs ------------------------------------------------------------------------------------------------------------------

LINES = 'i=0; while [ -e /data/go ]; do seq $i $((i + 9999)) | sed "s/$/ %s/"; i=$((i + 10000)); done; echo end' % ('x' * 90)


def log_lines(d):
    """The numbers of the lines in all files of a log, oldest file first. A line may be cut into records (P), also between two files."""
    text = b''
    for f in [*sorted(d.glob('0.log.*')), d / '0.log']:
        text += subprocess.run(['gzip', '-dc', str(f)], capture_output=True, check=True).stdout if f.suffix == '.gz' else f.read_bytes()
    text = re.sub(rb'(?m)^\S+ stdout P (.*)\n\S+ stdout F ', rb'. stdout F \1', text)
    return [int(n) for n in re.findall(rb'(?m)^\S+ stdout F (\d+) x+$', text)]


@pytest.mark.parametrize('point', ['node.log.named', 'node.log.rotated'])
def test_log_is_rotated(made, point):
    """Killed before and after conmon was told of the new file: it goes on to be rotated, no line is missing between the oldest that is kept and
    the last, and `kubectl logs` shows the end."""
    t = dies_at(made, point)
    for o in (claim('c'), pod('p', 'touch /data/go; ' + LINES, 'c')):
        t.kubectl('create', '-f', '-', stdin=json.dumps(o))
    lives_again(t)
    (d,) = (pathlib.Path(t.data) / 'logs/pods').glob('default_p_*/c')
    until(lambda: len(list(d.glob('0.log.*'))) >= 3)
    volume = next((pathlib.Path(t.data) / 'volumes').iterdir())
    (volume / 'go').unlink()
    until(lambda: phase(t, 'p')() == 'Succeeded')
    assert t.kubectl('logs', 'p', '--tail=1').stdout == 'end\n'
    t.stop(signal.SIGTERM)   # what was being packed is packed by then, and nothing else is begun
    sizes = {f.name: f.stat().st_size for f in d.iterdir()}
    assert max(sizes.values()) < 150 << 20, sizes
    numbers = log_lines(d)
    assert numbers[-1] >= 300000 and numbers == list(range(numbers[0], numbers[0] + len(numbers)))
    assert len({f.stat().st_ino for f in d.iterdir()}) == len(sizes), 'one file has two names'
