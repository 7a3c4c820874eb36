"""The component inside a Kubernetes with kubelets of its own: deploy/cluster as it stands, artifacts on a claim, the agent out of the component's
image. TIDEMILL_REAL_NODE_KUBECONFIG names an administrator's kubeconfig of such a cluster; its node has the images localhost/tidemill:1 (made with
deploy/Containerfile) and localhost/busybox:1, and lies on this machine."""
import json
import os
import pathlib
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import warnings

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / 'tests' / 'e2e'))
from conftest import KUBECTL  # noqa: E402

warnings.filterwarnings('ignore')
KUBECONFIG = os.environ.get('TIDEMILL_REAL_NODE_KUBECONFIG')
pytestmark = pytest.mark.skipif(not KUBECONFIG, reason='TIDEMILL_REAL_NODE_KUBECONFIG names no cluster with kubelets')
IMAGE = 'localhost/busybox:1'


def kubectl(*args, stdin=None, check=True):
    r = subprocess.run([KUBECTL, '--kubeconfig', KUBECONFIG, *map(str, args)], capture_output=True, text=True, input=stdin, timeout=120)
    if check and r.returncode:
        raise AssertionError(f'kubectl {args}: {r.stdout}{r.stderr}')
    return r.stdout


def volume(name, claim, mode, path):
    return json.dumps({'apiVersion': 'v1', 'kind': 'PersistentVolume', 'metadata': {'name': name},
                       'spec': {'capacity': {'storage': '10Gi'}, 'accessModes': [mode], 'hostPath': {'path': path},
                                'claimRef': {'namespace': 'kubeflow', 'name': claim}}})


@pytest.fixture(scope='module')
def url():
    directory = tempfile.mkdtemp(prefix='tidemill-kubelet-')
    forward = None
    try:
        for name, claim, mode in (('tm-artifacts', 'tidemill-artifacts', 'ReadWriteMany'), ('tm-data', 'tidemill-data', 'ReadWriteOnce')):
            os.mkdir(f'{directory}/{name}')
            kubectl('apply', '-f', '-', stdin=volume(name, claim, mode, f'{directory}/{name}'))
        kubectl('apply', '-k', ROOT / 'deploy' / 'cluster')
        kubectl('-n', 'kubeflow', 'rollout', 'status', 'deployment/ml-pipeline', '--timeout=100s')
        with socket.socket() as s:
            s.bind(('127.0.0.1', 0))
            port = s.getsockname()[1]
        forward = subprocess.Popen([KUBECTL, '--kubeconfig', KUBECONFIG, '-n', 'kubeflow', 'port-forward', 'deployment/ml-pipeline', f'{port}:8888'],
                                   stdout=subprocess.PIPE, text=True)
        assert 'Forwarding' in forward.stdout.readline()
        yield f'http://127.0.0.1:{port}'
    finally:
        if forward:
            forward.kill()
            forward.wait()
        kubectl('delete', '-k', ROOT / 'deploy' / 'cluster', '--wait=true', check=False)
        kubectl('delete', 'pv', 'tm-artifacts', 'tm-data', check=False)
        shutil.rmtree(directory, ignore_errors=True)


def run(url, pipeline, seconds=240):
    from kfp import client
    c = client.Client(host=url)
    made = c.create_run_from_pipeline_func(pipeline, enable_caching=False)
    r = c.wait_for_run_completion(made.run_id, seconds, sleep_duration=0.2)
    assert r.state == 'SUCCEEDED', r.error
    return r


def test_artifacts_on_a_claim(url):
    from kfp import dsl

    @dsl.container_component
    def write(n: int, out: dsl.Output[dsl.Dataset], said: dsl.OutputPath(str)):
        script = 'mkdir -p $(dirname $1) $(dirname $2); head -c $0 /dev/zero > $1; echo -n wrote $0 > $2'
        return dsl.ContainerSpec(image=IMAGE, command=['sh', '-c', script], args=[n, out.path, said])

    @dsl.container_component
    def size(data: dsl.Input[dsl.Dataset], said: str, n: dsl.OutputPath(int)):
        return dsl.ContainerSpec(image=IMAGE, command=['sh', '-c', 'test "$1" = "wrote 4321" && mkdir -p $(dirname $2) && wc -c < $0 > $2'],
                                 args=[data.path, said, n])

    @dsl.container_component
    def check(n: int):
        return dsl.ContainerSpec(image=IMAGE, command=['sh', '-c', 'test $0 = 4321'], args=[n])

    @dsl.pipeline(name='shells')
    def shells():
        w = write(n=4321)
        check(n=size(data=w.outputs['out'], said=w.outputs['said']).outputs['n'])

    run(url, shells)
    log = kubectl('-n', 'kubeflow', 'logs', 'deployment/ml-pipeline')
    assert 'forbidden' not in log.lower(), log


def test_chain(url):
    """How long a step takes there: printed, not judged."""
    from kfp import dsl

    @dsl.container_component
    def nothing():
        return dsl.ContainerSpec(image=IMAGE, command=['true'])

    @dsl.pipeline(name='chain')
    def chain():
        last = nothing()
        for _ in range(19):
            step = nothing()
            step.after(last)
            last = step

    began = time.monotonic()
    r = run(url, chain, 400)
    print(f'chain of 20 no-op steps on kubelets: {(r.finished_at - r.created_at).total_seconds() / 20 * 1000:.0f} ms a step '
          f'({time.monotonic() - began:.0f} s)')
