#!/usr/bin/env python3
"""Measures tidemill: `./dev bench [NAME]`. Each number stands beside what it is compared with, measured in the same run.

  start    `up` to the first answered /readyz, and to Node Ready, on an existing data directory
  idle     a minute of doing nothing: memory, CPU time, bytes written
  pod      a pod of image host, create to the workload's first instruction, against conmon + crun started by hand
  image    a 100 MB image from a registry on loopback: create to first instruction, against curl | tar; then from the store, against image host
  chain    20 no-op container steps one after the other, per step
  python   lightweight Python components one after the other, against kfp.local's SubprocessRunner with and without venv, and the floor
  setups   components with packages_to_install whose set-up is kept, against the same without packages and the floor (setups.py)
  connections  10,000 idle connections on HTTP/1.1 and on HTTP/2: memory of each, and requests meanwhile (connections.py)
  api      the pipelines REST API: durable POST /runs, lists of a million runs (TIDEMILL_BENCH_RUNS), memory beside finished ones
  soak [MINUTES]  mixed load with flat memory and open files (soak.py; 60 minutes when not given; only when it is named)
  crash [KILLS]  SIGKILL at random instants of a mixed load: nothing acknowledged is lost, nothing runs twice (e2e/test_crash_wide.py; 200 when
           not given; only when it is named; TIDEMILL_SEED makes it another series)
  cluster  a real Kubernetes beside ours: durable creates of 1 kB by 32 clients, a list of 10,000 pods, and the chain on our node under both
           control planes (needs the programs that `./dev test real-kubernetes` builds)
  artifact an artifact of a gibibyte from step to step, against one of a byte (artifacts.py)
  engine   the engine alone on its scripted runtime: durable task transitions a second (a fan-out of 1,000)
  tasks10000  the same with 10,000 tasks, the most that a pipeline may have: it ends, in bounded memory
  loop1000 a ParallelFor of 1,000 iterations, each a container that does nothing, as pods; against as many containers by crun alone

Results go to standard output as a table and, with TIDEMILL_BENCH_JSON=FILE, as JSON.
"""
import json
import os
import pathlib
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import warnings

warnings.filterwarnings('ignore')
ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / 'tests' / 'e2e'))
os.environ.setdefault('TIDEMILL', str(ROOT / 'build' / 'tidemill'))
from conftest import Tidemill, node_options  # noqa: E402

RESULTS = []


def note(name, value, unit, peer=None, peer_name=None, aim=None):
    RESULTS.append({'name': name, 'value': value, 'unit': unit, 'peer': peer, 'peer_name': peer_name, 'aim': aim})
    text = f'{name:<44} {value:10.3f} {unit:<14}'
    if peer is not None:
        text += f' {peer_name} {peer:.3f} {unit}, ratio {value / peer if peer else float("nan"):.2f}'
    if aim:
        text += f'   (aim: {aim})'
    print(text, flush=True)


def bench_start():
    import ssl
    import urllib.request
    t = Tidemill(*node_options()).start()
    t.stop()
    context = ssl._create_unverified_context()
    answered, ready = [], []
    for _ in range(7):
        # A fixed port, so that asking can begin before the ready file names it.
        import socket
        with socket.socket() as s:
            s.bind(('127.0.0.1', 0))
            port = s.getsockname()[1]
        file = pathlib.Path(t.data + '.ready2')
        file.unlink(missing_ok=True)
        began = time.monotonic()
        p = subprocess.Popen([os.environ['TIDEMILL'], 'up', '--data', t.data, '--listen', '127.0.0.1:0', '--kube-listen', f'127.0.0.1:{port}', '--ready-file',
                              str(file), *node_options()], stdout=subprocess.DEVNULL)
        while True:
            try:
                urllib.request.urlopen(f'https://127.0.0.1:{port}/readyz', context=context, timeout=1).read()
                break
            except OSError:
                time.sleep(0.001)
        answered.append(time.monotonic() - began)
        while not file.exists():
            time.sleep(0.001)
        ready.append(time.monotonic() - began)
        p.send_signal(2)
        p.wait()
        file.unlink()
    t.purge()
    note('up to answered /readyz', statistics.median(answered) * 1000, 'ms', aim='100 ms')
    note('up to Node Ready', statistics.median(ready) * 1000, 'ms', aim='100 ms')


def proc(pid):
    status = dict(l.split(':', 1) for l in open(f'/proc/{pid}/status'))
    stat = open(f'/proc/{pid}/stat').read().rsplit(')', 1)[1].split()
    io = dict(l.split(':') for l in open(f'/proc/{pid}/io'))
    return {'anon': int(status['RssAnon'].split()[0]) / 1024, 'rss': int(status['VmRSS'].split()[0]) / 1024,
            'cpu': (int(stat[11]) + int(stat[12])) / os.sysconf('SC_CLK_TCK'), 'written': int(io['write_bytes'])}


def bench_idle():
    t = Tidemill(*node_options()).start()
    time.sleep(5)
    a = proc(t.process.pid)
    time.sleep(60)
    b = proc(t.process.pid)
    t.purge()
    note('idle: RssAnon', b['anon'], 'MB', aim='20 MB')
    note('idle: all resident', b['rss'], 'MB')
    note('idle: CPU in a minute', b['cpu'] - a['cpu'], 's', aim='0')
    note('idle: written in a minute', (b['written'] - a['written']) / 1024, 'KiB', aim='0')


def by_hand(n, pause):
    """conmon + crun on a bundle as a person would write it. Milliseconds to the first instruction.

    It does less than we do: /usr is one bind mount (not three overlays), there is no seccomp profile, no capability or limit is set, crun makes a
    network namespace with nothing in it (ours has an address and a route), no volumes, no hosts and resolv.conf, no masked paths, and nobody is told.
    It does more in one thing: crun cannot use this machine's cgroups before the unified hierarchy is unmounted, which costs it `unshare` and a
    shell (some 3 ms) for create and for start; we keep such a mount namespace.
    """
    d = pathlib.Path(tempfile.mkdtemp(prefix='tidemill-hand-'))
    times = []
    root = d / 'root'
    for p in ('usr', 'proc', 'dev', 'sys', 'tmp'):
        (root / p).mkdir(parents=True)
    for link in ('bin', 'lib', 'lib64', 'sbin'):
        if os.path.islink('/' + link):
            os.symlink(os.readlink('/' + link), root / link)
    subprocess.run(['mount', '--bind', '/usr', str(root / 'usr')], check=True)
    spec = {'ociVersion': '1.0.2', 'root': {'path': str(root), 'readonly': False}, 'hostname': 'x',
            'process': {'user': {'uid': 0, 'gid': 0}, 'cwd': '/', 'args': ['date', '+%s.%N'], 'env': ['PATH=/usr/bin:/bin'], 'noNewPrivileges': True},
            'mounts': [{'destination': '/proc', 'type': 'proc', 'source': 'proc'},
                       {'destination': '/dev', 'type': 'tmpfs', 'source': 'tmpfs', 'options': ['nosuid', 'mode=755']}],
            'linux': {'namespaces': [{'type': k} for k in ('pid', 'mount', 'uts', 'ipc', 'network')]}}
    try:
        for i in range(n):
            b = d / f'b{i}'
            b.mkdir()
            (b / 'config.json').write_text(json.dumps(spec))
            (d / 'exits').mkdir(exist_ok=True)
            name = f'hand-{os.getpid()}-{i}'
            time.sleep(pause)
            log = b / 'log'
            began = time.time()
            subprocess.run(['unshare', '-m', 'sh', '-c',
                            'umount /sys/fs/cgroup/unified 2>/dev/null; exec conmon --api-version 1 -c "$0" -u "$0" -n "$0" -r "$(command -v crun)" -b "$1" -p "$1/pid" '
                            '--exit-dir "$2" --persist-dir "$1" --socket-dir-path "$1" -l "k8s-file:$1/log" --no-sync-log', name, str(b), str(d / 'exits')],
                           check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            until = time.time() + 5
            created = False
            while time.time() < until:
                r = subprocess.run(['unshare', '-m', 'sh', '-c', 'umount /sys/fs/cgroup/unified 2>/dev/null; exec crun start "$0"', name], capture_output=True)
                if r.returncode == 0:
                    created = True
                    break
                time.sleep(0.001)
            while created and not (log.exists() and log.read_text().strip()) and time.time() < until:
                time.sleep(0.001)
            if created:
                times.append((float(log.read_text().split()[3]) - began) * 1000)
            subprocess.run(['unshare', '-m', 'sh', '-c', 'umount /sys/fs/cgroup/unified 2>/dev/null; exec crun delete -f "$0"', name], capture_output=True)
    finally:
        subprocess.run(['umount', str(root / 'usr')])
        shutil.rmtree(d, ignore_errors=True)
    return times


class Lean:
    """The Kubernetes API over one kept connection: what is measured is the server, not a client library."""

    def __init__(self, kubeconfig):
        import base64
        import http.client
        import ssl
        import yaml
        config = yaml.safe_load(open(kubeconfig))
        user, context = config['users'][0]['user'], ssl._create_unverified_context()
        with tempfile.NamedTemporaryFile() as f:
            f.write(base64.b64decode(user['client-certificate-data']) + base64.b64decode(user['client-key-data']))
            f.flush()
            context.load_cert_chain(f.name)
        self.c = http.client.HTTPSConnection(config['clusters'][0]['cluster']['server'].split('/')[-1], context=context)

    def ask(self, method, path, body=None):
        self.c.request(method, path, body=json.dumps(body) if body else None, headers={'Content-Type': 'application/json'})
        return self.c.getresponse().read()


def pod_times(kube, prefix, n, pause, image='host'):
    """Milliseconds from before the POST is sent to the workload's first instruction, by its own clock; looked at after pause seconds; the next comes then."""
    pods = '/api/v1/namespaces/default/pods'
    times = []
    for i in range(n):
        name = f'{prefix}{i}'
        body = {'apiVersion': 'v1', 'kind': 'Pod', 'metadata': {'name': name},
                'spec': {'restartPolicy': 'Never', 'containers': [{'name': 'main', 'image': image, 'command': ['date', '+%s.%N']}]}}
        began = time.time()
        kube.ask('POST', pods, body)
        time.sleep(pause)   # not asking meanwhile: questions take the processors from what is measured
        while json.loads(kube.ask('GET', f'{pods}/{name}'))['status'].get('phase') not in ('Succeeded', 'Failed'):
            time.sleep(0.02)
        times.append((float(kube.ask('GET', f'{pods}/{name}/log')) - began) * 1000)
    return times


def bench_pod():
    t = Tidemill(*node_options()).start()
    kube = Lean(t.kubeconfig)
    kube.ask('GET', '/version')
    rest, busy, hand, hand_busy = [], [], [], []
    # In turns, so that whatever else the machine does meets all of them; from rest and in a row both, since processors that have slept start slowly
    # (a virtual machine's may take some milliseconds for the first program after half a second of nothing).
    for i in range(4):
        rest += pod_times(kube, f'rest{i}-', 6, 0.5)
        hand += by_hand(6, 0.5)
        busy += pod_times(kube, f'busy{i}-', 6, 0.07)
        hand_busy += by_hand(6, 0)
    t.purge()
    print(f'  from rest {min(rest):.0f} to {max(rest):.0f} ms, by hand {min(hand):.0f} to {max(hand):.0f} ms; '
          f'in a row {min(busy):.0f} to {max(busy):.0f} ms, by hand {min(hand_busy):.0f} to {max(hand_busy):.0f} ms')
    note('pod: create to first instruction, from rest, p50', statistics.median(rest), 'ms', statistics.median(hand), 'conmon + crun by hand', 'by hand + 10 ms')
    note('one after the other (the pod before is taken away)', statistics.median(busy), 'ms', statistics.median(hand_busy), 'conmon + crun by hand', 'by hand + 10 ms')


def run_chain(t, pipeline, steps):
    c = t.kfp()
    best = []
    for _ in range(3):
        made = c.create_run_from_pipeline_func(pipeline, enable_caching=False)
        r = c.wait_for_run_completion(made.run_id, timeout=300, sleep_duration=0.05)
        assert r.state == 'SUCCEEDED', r.error
        best.append((r.finished_at - r.created_at).total_seconds() / steps * 1000)
    return statistics.median(best)


def chain_of_nothing():
    from kfp import dsl

    @dsl.container_component
    def nothing():
        return dsl.ContainerSpec(image='alpine:3.20', command=['true'])

    @dsl.pipeline(name='chain')
    def chain():
        last = nothing()
        for _ in range(19):
            step = nothing()
            step.after(last)
            last = step
    return chain


def bench_chain():
    t = Tidemill(*node_options()).start()
    note('chain of 20 no-op container steps, per step', run_chain(t, chain_of_nothing(), 20), 'ms', aim='60 ms')
    t.purge()


def bench_python():
    from kfp import dsl, local

    @dsl.component(base_image='python:3.11')
    def plus(n: int) -> int:
        return n + 1

    @dsl.pipeline(name='python-chain')
    def chain():
        x = plus(n=0)
        for _ in range(4):
            x = plus(n=x.output)
    t = Tidemill(*node_options()).start()
    ours = run_chain(t, chain, 5)
    t.purge()
    floor = []
    for _ in range(5):
        began = time.monotonic()
        subprocess.run([sys.executable, '-c', 'import kfp.dsl.executor_main'], env={**os.environ, '_KFP_RUNTIME': 'true'}, check=True)
        floor.append((time.monotonic() - began) * 1000)

    def peer(use_venv):
        with tempfile.TemporaryDirectory() as d:
            local.init(runner=local.SubprocessRunner(use_venv=use_venv), pipeline_root=d)
            began = time.monotonic()
            n, count = 0, 2 if use_venv else 5
            for _ in range(count):
                n = plus(n=n).output
            return (time.monotonic() - began) / count * 1000
    import contextlib
    import io
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        with_venv, without = peer(True), peer(False)
    note('lightweight Python step', ours, 'ms', with_venv, 'kfp.local SubprocessRunner as it comes', 'ratio 0.1')
    note('lightweight Python step', ours, 'ms', without, 'the same with use_venv=False')
    note('lightweight Python step', ours, 'ms', statistics.median(floor), 'the floor (importing kfp.dsl.executor_main)')


def bench_setups():
    import setups
    setups.bench(note, run_chain)


def bench_connections():
    import connections
    t = Tidemill('--no-node', '--no-engine').start()
    try:
        connections.bench(t, note)
    finally:
        t.stop()


def bench_engine():
    exe = next(iter(sorted((ROOT / 'build').rglob('bench_engine'))), None)
    if not exe:
        print('bench_engine is not built: meson configure build -Dtests=true')
        return
    print(subprocess.run([str(exe)], capture_output=True, text=True, check=True).stdout, end='')


def bench_tasks10000():
    exe = next(iter(sorted((ROOT / 'build').rglob('bench_engine'))), None)
    if not exe:
        print('bench_engine is not built: meson configure build -Dtests=true')
        return
    import resource
    print(subprocess.run([str(exe), '10000'], capture_output=True, text=True, check=True).stdout, end='')
    note('10,000 tasks: most memory', resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024, 'MB')


def bare_containers(n):
    """Seconds for n containers by crun alone, two at a time: no pod, no network, no image, no log, nobody told."""
    import concurrent.futures
    d = pathlib.Path(tempfile.mkdtemp(prefix='tidemill-bare-'))
    for p in ('root/usr', 'root/proc', 'root/dev'):
        (d / p).mkdir(parents=True)
    for link in ('bin', 'lib', 'lib64'):
        os.symlink('usr/' + link, d / 'root' / link)
    spec = {'ociVersion': '1.0.2', 'root': {'path': str(d / 'root')}, 'process': {'user': {'uid': 0, 'gid': 0}, 'cwd': '/', 'args': ['true'], 'env': ['PATH=/usr/bin']},
            'mounts': [{'destination': '/proc', 'type': 'proc', 'source': 'proc'}, {'destination': '/dev', 'type': 'tmpfs', 'source': 'tmpfs'}, {'destination': '/usr', 'type': 'bind', 'source': '/usr', 'options': ['rbind', 'ro']}],
            'linux': {'namespaces': [{'type': k} for k in ('pid', 'mount', 'ipc')]}}
    (d / 'config.json').write_text(json.dumps(spec))

    def one(i):
        subprocess.run(['unshare', '-m', 'sh', '-c', 'umount /sys/fs/cgroup/unified 2>/dev/null; exec crun run -b "$0" "$1"', str(d), f'bare-{os.getpid()}-{i}'],
                       check=True, stdout=subprocess.DEVNULL)
    began = time.monotonic()
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(one, range(n)))
    shutil.rmtree(d)
    return time.monotonic() - began


def bench_loop1000():
    from typing import List

    from kfp import dsl

    @dsl.container_component
    def nothing(n: int):
        return dsl.ContainerSpec(image='alpine:3.20', command=['true'], args=[n])

    @dsl.pipeline(name='loop')
    def loop(items: List[int]):
        with dsl.ParallelFor(items) as n:
            nothing(n=n)
    t = Tidemill(*node_options()).start()
    c = t.kfp()
    made = c.create_run_from_pipeline_func(loop, arguments={'items': list(range(1000))}, enable_caching=False)
    r = c.wait_for_run_completion(made.run_id, timeout=900, sleep_duration=1)
    assert r.state == 'SUCCEEDED', r.error
    rss = proc(t.process.pid)['anon']
    t.purge()
    took = (r.finished_at - r.created_at).total_seconds()
    note('ParallelFor of 1,000 containers that do nothing', took, 's', bare_containers(200) * 5, 'crun run alone, two at a time', '30 s')
    note('the same: RssAnon of tidemill', rss, 'MB')


def ask_kube(kubeconfig, *what):
    r = subprocess.run([str(ROOT / 'build' / 'tests' / 'bench' / 'bench_kube'), str(kubeconfig), *map(str, what)], capture_output=True, text=True, check=True)
    return float(r.stdout.split()[0])


def bench_cluster():
    """Both API servers on the same disk, one after the other; then our node under each."""
    sys.path.insert(0, str(ROOT / 'tests' / 'real-kubernetes'))
    import real_kubernetes
    from test_real_kubernetes import Serve
    if not real_kubernetes.is_built():
        print('cluster: skipped: Kubernetes has not been built (./dev test real-kubernetes)')
        return
    with tempfile.TemporaryDirectory(prefix='tidemill-real-') as d:
        real = real_kubernetes.RealKubernetes(d)
        t = Tidemill('--no-node')
        try:
            real.start()
            real.stop_one('controller-manager')   # they would work on what is made here
            real.stop_one('scheduler')
            t.start()
            creates, lists = {}, {}
            for name, config in (('real', real.kubeconfig), ('ours', t.kubeconfig)):
                creates[name] = statistics.median(ask_kube(config, 'creates', 2000) for _ in range(3))
                ask_kube(config, 'fill', 10000)
                lists[name] = ask_kube(config, 'list')
            note('durable creates of 1 kB, 32 clients', creates['ours'], 'a second', creates['real'], 'Kubernetes 1.34 and etcd', '4 times as many')
            note('list of 10,000 pods', lists['ours'], 'ms', lists['real'], 'Kubernetes 1.34 and etcd', 'a quarter')
        finally:
            t.purge()
            real.stop()
    with tempfile.TemporaryDirectory(prefix='tidemill-real-') as d:
        real = real_kubernetes.RealKubernetes(d)
        parts = []
        t = Tidemill(*node_options())
        try:
            real.start()
            real.kubectl('apply', '-k', ROOT / 'deploy' / 'base')
            node = Serve('node', '--only', 'node', '--kubeconfig', str(real.kubeconfig), '--node-listen', '0.0.0.0:0', *node_options())
            pipelines = Serve('pipelines', '--kubeconfig', str(real.kubeconfig), '--listen', '127.0.0.1:0')
            for s in (node, pipelines):
                parts.append(s.start())
            pipelines.kfp = lambda: __import__('kfp').client.Client(host=pipelines.url)
            there = run_chain(pipelines, chain_of_nothing(), 20)
            for s in reversed(parts):
                s.purge()
            parts = []
            here = run_chain(t.start(), chain_of_nothing(), 20)
            note('chain of 20 no-op steps, per step', here, 'ms', there, 'our node under Kubernetes 1.34')
        finally:
            for s in reversed(parts):
                s.purge()
            t.purge()
            real.stop()


def bench_artifact():
    import artifacts
    artifacts.bench(note)


def bench_api():
    import api
    api.bench(note, int(os.environ.get('TIDEMILL_BENCH_RUNS', '1000000')))


def main():
    if sys.argv[1:2] == ['soak']:
        import soak
        sys.modules['run'] = sys.modules['__main__']
        return soak.soak(float(sys.argv[2]) if len(sys.argv) > 2 else 60, note)
    if sys.argv[1:2] == ['crash']:
        import test_crash_wide
        kills = int(sys.argv[2]) if len(sys.argv) > 2 else 200
        said = test_crash_wide.mixed_load(kills, int(os.environ.get('TIDEMILL_SEED', '11')), lambda text: print(text, flush=True))
        print(f'crash: {kills} kills, nothing lost, nothing twice: {said}')
        return 0
    names = [n[6:] for n in globals() if n.startswith('bench_')]
    wanted = sys.argv[1:] or names
    for n in wanted:
        if n not in names:
            print(__doc__)
            return 2
        globals()['bench_' + n]()
    if os.environ.get('TIDEMILL_BENCH_JSON'):
        pathlib.Path(os.environ['TIDEMILL_BENCH_JSON']).write_text(json.dumps(RESULTS, indent=1))
    return 0


if __name__ == '__main__':
    sys.exit(main())
