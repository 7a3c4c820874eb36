"""The component inside a Kubernetes with a kubelet of its own (kubelet.py): deploy/cluster as it stands, artifacts on a claim, the agent out of the
component's image."""
import json
import os
import shutil
import socket
import subprocess
import tempfile
import time

import kubelet
import pytest
from cluster import ROOT, eventually, is_built
from images_kit import Image, busybox_layer  # found beside conftest.py, whose folder cluster.py adds

pytest_plugins = ['cluster']
IMAGE = 'localhost/busybox:1'


@pytest.fixture(scope='module')
def cluster(image):
    why = kubelet.missing() if is_built() else 'Kubernetes has not been built: tests/real-kubernetes/real_kubernetes.py build'
    if why:
        pytest.skip(why)
    directory = tempfile.mkdtemp(prefix='tidemill-real-')
    k = kubelet.KubeletKubernetes(directory)
    try:
        k.start()
        Image([busybox_layer('sh', 'cat', 'dirname', 'echo', 'head', 'mkdir', 'test', 'true', 'wc')]).docker_archive(f'{directory}/busybox.tar', IMAGE)
        k.import_image(f'{directory}/busybox.tar')
        k.import_image(image.archive())
        yield k
    finally:
        k.stop()
        shutil.rmtree(directory, ignore_errors=True)


def volume(name, claim, mode, path):
    """One that knows groups, as those of provisioners do."""
    here = {'key': 'kubernetes.io/hostname', 'operator': 'In', 'values': [kubelet.NODE]}
    return json.dumps({'apiVersion': 'v1', 'kind': 'PersistentVolume', 'metadata': {'name': name},
                       'spec': {'capacity': {'storage': '10Gi'}, 'accessModes': [mode], 'local': {'path': path},
                                'nodeAffinity': {'required': {'nodeSelectorTerms': [{'matchExpressions': [here]}]}},
                                'claimRef': {'namespace': 'kubeflow', 'name': claim}}})


@pytest.fixture(scope='module')
def component(cluster):
    """deploy/cluster, with two claims that are bound; ends with the cluster."""
    for name, claim, mode in (('tm-artifacts', 'tidemill-artifacts', 'ReadWriteMany'), ('tm-data', 'tidemill-data', 'ReadWriteOnce')):
        os.mkdir(cluster.dir / name)
        cluster.kubectl('apply', '-f', '-', stdin=volume(name, claim, mode, str(cluster.dir / name)))
    cluster.kubectl('apply', '-k', ROOT / 'deploy' / 'cluster')
    try:
        cluster.kubectl('-n', 'kubeflow', 'rollout', 'status', 'deployment/ml-pipeline', '--timeout=170s', timeout=180)
    except AssertionError:
        pods = cluster.kubectl('-n', 'kubeflow', 'describe', 'pods', check=False)
        raise AssertionError(f'{pods}\n{said(cluster)}') from None
    return cluster


def said(cluster):
    return cluster.kubectl('-n', 'kubeflow', 'logs', 'deployment/ml-pipeline', check=False)


@pytest.fixture(scope='module')
def url(component):
    with socket.socket() as s:
        s.bind(('127.0.0.1', 0))
        port = s.getsockname()[1]
    forward = subprocess.Popen([component.bin / 'kubectl', '--kubeconfig', component.kubeconfig, '-n', 'kubeflow', 'port-forward', 'deployment/ml-pipeline',
                                f'{port}:8888'], stdout=subprocess.PIPE, text=True)
    try:
        assert 'Forwarding' in forward.stdout.readline()
        yield f'http://127.0.0.1:{port}'
    finally:
        forward.kill()
        forward.wait()


def test_the_pod_is_nobody(component):
    """What the kernel says of the process, not what the pod's spec says."""
    pod = json.loads(component.kubectl('-n', 'kubeflow', 'get', 'pods', '-l', 'app=ml-pipeline', '-o', 'json'))['items'][0]
    root = next(p for p in component.pids_of('tidemill') if 'serve' in p.read_text())
    status = dict(line.split(':\t', 1) for line in (root.parent / 'status').read_text().splitlines() if ':\t' in line)
    assert set(status['Uid'].split()) == {'65532'} and '65532' in status['Groups'].split()
    assert int(status['CapEff'], 16) == int(status['CapPrm'], 16) == int(status['CapBnd'], 16) == 0 and status['NoNewPrivs'] == '1' and status['Seccomp'] == '2'
    mounts = [line.split() for line in (root.parent / 'mounts').read_text().splitlines()]
    assert 'ro' in next(m for m in mounts if m[1] == '/')[3].split(',')
    assert pod['status']['containerStatuses'][0]['restartCount'] == 0


def run(url, pipeline, seconds=240):
    from kfp import client
    c = client.Client(host=url)
    made = c.create_run_from_pipeline_func(pipeline, enable_caching=False)
    r = c.wait_for_run_completion(made.run_id, seconds, sleep_duration=0.2)
    assert r.state == 'SUCCEEDED', r.error
    return r


def test_artifacts_on_a_claim(component, url):
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
    log = said(component)
    assert 'forbidden' not in log.lower() and 'WARN' not in log, log


def test_what_a_step_leaves_is_removed(component, url):
    """The step is root, and the component, which removes its workspace, is nobody."""
    from kfp import client, dsl

    @dsl.container_component
    def leave(where: str):
        return dsl.ContainerSpec(image=IMAGE, command=['sh', '-c', 'mkdir -p $0/deep/er && echo left > $0/deep/er/file'], args=[where])

    @dsl.pipeline(name='left', pipeline_config=dsl.PipelineConfig(workspace=dsl.WorkspaceConfig(size='1Gi')))
    def left():
        leave(where=dsl.WORKSPACE_PATH_PLACEHOLDER)

    r = run(url, left)
    place = component.dir / 'tm-artifacts' / 'workspaces' / r.run_id
    assert (place / 'deep' / 'er' / 'file').read_text() == 'left\n'
    client.Client(host=url).delete_run(r.run_id)
    eventually(lambda: not place.exists())
    assert 'WARN' not in said(component), said(component)


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
