"""tidemill serve against an API server in another process: our own, so that it needs nothing but tidemill. tests/real-kubernetes has a real one."""
import json
import os
import pathlib
import shutil
import signal
import subprocess
import tempfile
import time

import pytest
import yaml
from conftest import TIDEMILL, VENV, Tidemill, needs_node


def serve(*options, wait=60):
    """A `tidemill serve` that is ready. Returns the process, what its ready file says, and where its log is."""
    data = tempfile.mkdtemp(prefix='tidemill-serve-')
    ready, log = pathlib.Path(data + '.ready'), pathlib.Path(data + '.log')
    with open(log, 'ab') as f:
        p = subprocess.Popen([TIDEMILL, 'serve', '--data', data, '--ready-file', str(ready), *options], stdout=f, stderr=f)
    until = time.monotonic() + wait
    while not ready.exists():
        assert p.poll() is None and time.monotonic() < until, log.read_text()
        time.sleep(0.02)
    return p, json.loads(ready.read_text()), log


def end(p, ready, log):
    p.send_signal(signal.SIGINT)
    try:
        p.wait(60)
    except subprocess.TimeoutExpired:
        p.kill()
        p.wait()
    data = ready['data']
    subprocess.run([TIDEMILL, 'down', '--purge', '--data', data], capture_output=True)
    shutil.rmtree(data, ignore_errors=True)
    for f in (log, pathlib.Path(data + '.ready')):
        f.unlink(missing_ok=True)


@pytest.fixture(scope='module')
def cluster():
    t = Tidemill('--no-node', '--no-engine').start()
    yield t
    t.purge()


def account(t, tmp_path):
    """A kubeconfig with a token of kubeflow/ml-pipeline and nothing else."""
    config = yaml.safe_load(pathlib.Path(t.kubeconfig).read_text())
    config['users'][0]['user'] = {'token': t.kubectl('-n', 'kubeflow', 'create', 'token', 'ml-pipeline').stdout.strip()}
    path = tmp_path / 'ml-pipeline.kubeconfig'
    path.write_text(yaml.safe_dump(config))
    return str(path)


@needs_node
def test_node_and_pipelines_elsewhere(cluster, tmp_path):
    """API server, node and pipelines in three processes."""
    from kfp import client, dsl

    @dsl.component(base_image='python:3.11')
    def add(a: int, b: int) -> int:
        return a + b

    @dsl.pipeline(name='sums')
    def sums(n: int = 1):
        add(a=add(a=n, b=2).output, b=3)

    parts = []
    try:
        parts.append(serve('--only', 'node', '--kubeconfig', cluster.kubeconfig, '--node-listen', '127.0.0.1:0', '--host-image', 'python:*', '--host-env',
                           str(VENV.resolve())))
        parts.append(serve('--kubeconfig', account(cluster, tmp_path), '--listen', '127.0.0.1:0'))
        c = client.Client(host=parts[1][1]['url'])
        made = c.create_run_from_pipeline_func(sums, enable_caching=False)
        r = c.wait_for_run_completion(made.run_id, 240)
        assert r.state == 'SUCCEEDED', f'{r.error}\n{parts[1][2].read_text()}'
        lease = json.loads(cluster.kubectl('-n', 'kubeflow', 'get', 'lease', 'tidemill-pipelines', '-o', 'json').stdout)
        assert lease['spec']['holderIdentity']
        for _, _, log in parts:
            assert 'forbidden' not in log.read_text().lower()
    finally:
        for part in reversed(parts):
            end(*part)
    lease = json.loads(cluster.kubectl('-n', 'kubeflow', 'get', 'lease', 'tidemill-pipelines', '-o', 'json').stdout)
    assert not lease['spec'].get('holderIdentity')   # given back


def test_lost_lease_ends_it(cluster, tmp_path):
    part = serve('--kubeconfig', account(cluster, tmp_path), '--listen', '127.0.0.1:0')
    try:
        cluster.kubectl('-n', 'kubeflow', 'patch', 'lease', 'tidemill-pipelines', '--type=merge', '-p',
                        '{"spec": {"holderIdentity": "somebody", "leaseDurationSeconds": 1}}')
        assert part[0].wait(120) == 1
        assert 'somebody else holds it' in part[2].read_text()
    finally:
        end(*part)


@pytest.mark.parametrize('options, says', [
    (['--only', 'everything'], 'the parts are pipelines, node, scheduler and controllers'),
    (['--in-cluster', '--context', 'x'], 'do not go with it'),
    (['--in-cluster'], 'this is no pod of a cluster'),
    (['--listen', '0.0.0.0:8080'], 'listen on loopback'),
    (['--claim', 'x'], 'say with --shared DIR'),
    (['--agent-image', 'x', '--agent-from-node'], 'only one of them'),
    (['--kubeconfig', '/nowhere/config'], '/nowhere/config'),
    (['--node-cert', 'x'], 'go together'),
    (['--log-level', 'loud'], 'use debug, info, warn or error'),
])
def test_refused(tmp_path, options, says):
    env = {k: v for k, v in os.environ.items() if not k.startswith('KUBE')}
    r = subprocess.run([TIDEMILL, 'serve', '--data', str(tmp_path / 'data'), *options], capture_output=True, text=True, timeout=120, env=env)
    assert r.returncode == 1 and says in r.stderr, r.stderr


def test_wrong_credentials_are_told(cluster, tmp_path):
    config = yaml.safe_load(pathlib.Path(cluster.kubeconfig).read_text())
    config['users'][0]['user'] = {'token': 'expired'}
    path = tmp_path / 'config'
    path.write_text(yaml.safe_dump(config))
    r = subprocess.run([TIDEMILL, 'serve', '--data', str(tmp_path / 'data'), '--kubeconfig', str(path), '--only', 'scheduler'], capture_output=True, text=True,
                       timeout=60)
    assert r.returncode == 1 and 'nauthorized' in r.stderr, r.stderr
