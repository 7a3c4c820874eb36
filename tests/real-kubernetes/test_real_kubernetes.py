"""tidemill against a Kubernetes that is not ours: the table of `struct kube`, and pipelines on it with the rights of deploy/ and no more."""
import json
import os
import shutil
import signal
import subprocess
import tempfile
import time

import pytest
from cluster import NODE, ROOT, TIDEMILL, Serve, eventually, kfp_client, needs_node

pytest_plugins = ['cluster']
UNIT = os.environ.get('TIDEMILL_UNIT_KUBE_REMOTE', str(ROOT / 'build' / 'tests' / 'unit' / 'kube' / 'remote' / 'unit_kube_remote'))


@pytest.fixture(scope='module')
def pipelines(real):
    """The pipelines component, with a token of kubeflow/ml-pipeline and nothing else."""
    s = Serve('pipelines', '--kubeconfig', real.kubeconfig_of('kubeflow', 'ml-pipeline'), '--listen', '127.0.0.1:0')
    try:
        yield s.start()
    finally:
        s.purge()


def test_conformance(real, request):
    """The same table of cases that the embedded API server passes, over a restart of this one; with what is asked of a node where there is one."""
    ask, done = real.dir / 'restart', real.dir / 'restarted'
    env = {**os.environ, 'TIDEMILL_CONFORMANCE_KUBECONFIG': str(real.kubeconfig),
           'TIDEMILL_CONFORMANCE_RESTART': f'touch {ask}; while ! test -e {done}; do sleep 0.1; done'}
    if NODE:
        node = request.getfixturevalue('node')
        env['TIDEMILL_CONFORMANCE_NODE'] = real.kubectl('get', 'nodes', '-o', 'jsonpath={.items[0].metadata.name}')
        assert 'forbidden' not in node.news().lower()
    p = subprocess.Popen([UNIT], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=env)
    try:
        until = time.monotonic() + 300
        while p.poll() is None and time.monotonic() < until:
            if ask.exists() and not done.exists():
                real.stop_one('apiserver', signal.SIGKILL)
                time.sleep(2)
                real.start_apiserver()
                done.touch()
            time.sleep(0.1)
    finally:
        p.kill()
        out = p.communicate()[0]
    assert p.returncode == 0, out
    assert 'real_informer_over_a_restart' in out, out
    assert NODE or 'SKIPPED' not in out, out
    if NODE:
        node.news()   # while the API server starts it forbids what it allows a little later


def sums():
    from kfp import dsl

    @dsl.component(base_image='python:3.11')
    def add(a: int, b: int) -> int:
        print('adding', a, 'and', b)
        return a + b

    @dsl.component(base_image='python:3.11')
    def write(n: int, out: dsl.Output[dsl.Dataset]):
        with open(out.path, 'w') as f:
            f.write('x' * n)

    @dsl.component(base_image='python:3.11')
    def size(data: dsl.Input[dsl.Dataset]) -> int:
        with open(data.path) as f:
            return len(f.read())

    @dsl.pipeline(name='sums')
    def pipeline(n: int = 3):
        with dsl.ParallelFor([1, 2]) as x:
            add(a=x, b=n)
        w = write(n=n)
        size(data=w.outputs['out'])

    return pipeline


def run_sums(serve, seconds=240):
    c = kfp_client(serve)
    r = c.create_run_from_pipeline_func(sums(), arguments={'n': 40}, enable_caching=False)
    got = c.wait_for_run_completion(r.run_id, seconds, sleep_duration=0.5)
    assert got.state == 'SUCCEEDED', f'{got.error}\n{serve.tail()}'
    return r.run_id


@needs_node
def test_node_stays_ready(real, node):
    """For longer than the node lifecycle controller waits for a sign of life (real_kubernetes.py)."""
    time.sleep(max(0, node.started + 30 - time.monotonic()))
    conditions = json.loads(real.kubectl('get', 'nodes', '-o', 'json'))['items'][0]
    assert [c['status'] for c in conditions['status']['conditions'] if c['type'] == 'Ready'] == ['True']
    assert not conditions['spec'].get('taints')


@needs_node
def test_pipeline(real, node, pipelines):
    run_id = run_sums(pipelines)
    pods = json.loads(real.kubectl('-n', 'kubeflow', 'get', 'pods', '-l', f'pipelines.tidemill.dev/run={run_id}', '-o', 'json'))['items']
    assert len(pods) == 4 and {p['status']['phase'] for p in pods} == {'Succeeded'}


@needs_node
def test_rights(real, node, pipelines):
    """What the two were given was enough for all of it: nothing was forbidden."""
    for s in (node, pipelines):
        assert 'forbidden' not in s.news().lower(), s.tail()


@needs_node
def test_api_server_away_for_a_minute(real, node, pipelines):
    """A step that runs meanwhile is not lost, and the run goes on."""
    from kfp import dsl

    @dsl.component(base_image='python:3.11')
    def nap() -> str:
        import time
        time.sleep(20)
        return 'slept'

    @dsl.component(base_image='python:3.11')
    def after(s: str) -> str:
        return s + ' well'

    @dsl.pipeline(name='naps')
    def naps():
        after(s=nap().output)

    c = kfp_client(pipelines)
    r = c.create_run_from_pipeline_func(naps, enable_caching=False)
    eventually(lambda: 'Running' in real.kubectl('-n', 'kubeflow', 'get', 'pods', '-l', f'pipelines.tidemill.dev/run={r.run_id}', '--no-headers'), 120)
    real.stop_one('apiserver', signal.SIGKILL)
    time.sleep(60)
    assert pipelines.process.poll() is not None or kfp_client(pipelines).get_run(r.run_id)
    real.start_apiserver()
    if pipelines.process.poll() is not None:   # its lease was lost, as it must be: the next one takes the run up
        assert pipelines.process.returncode == 1
        pipelines.start()
    got = kfp_client(pipelines).wait_for_run_completion(r.run_id, 240, sleep_duration=0.5)
    assert got.state == 'SUCCEEDED', got.error


@needs_node
def test_logs_through_the_api_server(real, node):
    """The API server asks the node's HTTPS face; a follower sees lines as they come."""
    real.kubectl('run', 'talker', '--image=busybox:1', '--restart=Never', '--', 'sh', '-c', 'for i in 1 2 3; do echo line $i; sleep 1; done')
    eventually(lambda: real.kubectl('get', 'pod', 'talker', '-o', 'jsonpath={.status.phase}') in ('Running', 'Succeeded'))
    assert real.kubectl('logs', '-f', 'talker') == 'line 1\nline 2\nline 3\n'
    assert real.kubectl('logs', 'talker', '--tail=1') == 'line 3\n'
    real.kubectl('delete', 'pod', 'talker', '--now')


@needs_node
def test_exec_through_the_api_server(real, node):
    real.kubectl('run', 'shell', '--image=busybox:1', '--restart=Never', '--', 'sleep', '600')
    eventually(lambda: real.kubectl('get', 'pod', 'shell', '-o', 'jsonpath={.status.phase}') == 'Running')
    assert real.kubectl('exec', 'shell', '--', 'sh', '-c', 'echo out; cat', check=True) == 'out\n'
    assert real.kubectl('exec', '-i', 'shell', '--', 'cat', stdin='through and back') == 'through and back'
    r = subprocess.run([str(real.bin / 'kubectl'), '--kubeconfig', str(real.kubeconfig), 'exec', 'shell', '--', 'sh', '-c', 'exit 7'], capture_output=True)
    assert r.returncode == 7
    real.kubectl('delete', 'pod', 'shell', '--now')


@needs_node
def test_own_scheduler_and_controllers(real, node):
    """Ours in the place of theirs: a pod is bound, a namespace gets its account and goes away with what it holds."""
    s = Serve('parts', '--only', 'scheduler,controllers', '--kubeconfig', str(real.kubeconfig)).start()
    real.stop_one('scheduler', signal.SIGKILL)
    real.stop_one('controller-manager', signal.SIGKILL)
    try:
        real.kubectl('create', 'namespace', 'ours')
        eventually(lambda: real.kubectl('-n', 'ours', 'get', 'serviceaccount', 'default', check=False))
        real.kubectl('-n', 'ours', 'run', 'p', '--image=busybox:1', '--restart=Never', '--', 'true')
        eventually(lambda: real.kubectl('-n', 'ours', 'get', 'pod', 'p', '-o', 'jsonpath={.status.phase}') == 'Succeeded')
        real.kubectl('delete', 'namespace', 'ours', '--wait=false')
        eventually(lambda: 'ours' not in real.kubectl('get', 'namespaces', '-o', 'name'))
    finally:
        s.purge()
        real.start_controllers()
        real.start_scheduler()


def test_second_process_waits(real, pipelines):
    """Two of them: the second waits for the lease, and says so; its end is quick."""
    second = tempfile.mkdtemp(prefix='tidemill-second-')
    p = subprocess.Popen([TIDEMILL, 'serve', '--data', second, '--kubeconfig', str(real.dir / 'ml-pipeline.kubeconfig'), '--listen', '127.0.0.1:0',
                          '--ready-file', second + '/ready'], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        assert any('holds' in line for line in p.stdout)   # ends with the process, too
        assert p.poll() is None and not os.path.exists(second + '/ready')
    finally:
        p.terminate()
        p.communicate(timeout=20)
    assert p.returncode == 0
    shutil.rmtree(second, ignore_errors=True)
