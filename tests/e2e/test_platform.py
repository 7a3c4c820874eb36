"""The Kubernetes platform spec of pipelines, written with kfp's own extension, and kfp.Client() inside a pod."""
import time

import pytest
from conftest import needs_node, start

kubernetes = pytest.importorskip('kfp.kubernetes')
from kfp import dsl  # noqa: E402

pytestmark = needs_node


@pytest.fixture(scope='module')
def t():
    t = start()
    yield t
    t.purge()


def run(t, pipeline, **arguments):
    c = t.kfp()
    r = c.create_run_from_pipeline_func(pipeline, arguments=arguments, enable_caching=False)
    run = c.wait_for_run_completion(r.run_id, timeout=180, sleep_duration=0.2)
    text = t.cli('runs', r.run_id, check=False).stdout + t.cli('logs', r.run_id, check=False).stdout
    return run.state, text


@dsl.component(base_image='python:3.11')
def write(path: str, text: str):
    with open(path, 'w') as f:
        f.write(text)


@dsl.component(base_image='python:3.11')
def read(path: str) -> str:
    with open(path) as f:
        text = f.read()
    print('found', text)
    return text


def test_a_claim_is_made_mounted_and_deleted(t):
    @dsl.pipeline(name='claims')
    def p(size: str = '10Mi'):
        made = kubernetes.CreatePVC(pvc_name_suffix='-data', access_modes=['ReadWriteOnce'], size=size)   # of the cluster's own class
        w = write(path='/data/f', text='kept')
        kubernetes.mount_pvc(w, pvc_name=made.outputs['name'], mount_path='/data')
        r = read(path='/data/f').after(w)
        kubernetes.mount_pvc(r, pvc_name=made.outputs['name'], mount_path='/data')
        kubernetes.DeletePVC(pvc_name=made.outputs['name']).after(r)

    state, text = run(t, p)
    assert state == 'SUCCEEDED' and 'found kept' in text, text


def test_a_claim_that_is_not_there_cannot_be_deleted(t):
    @dsl.pipeline(name='missing')
    def p():
        kubernetes.DeletePVC(pvc_name='nowhere')

    state, text = run(t, p)
    assert state == 'FAILED' and 'persistentvolumeclaims "nowhere" not found' in text, text


def test_volumes_places_and_metadata(t):
    @dsl.component(base_image='python:3.11')
    def look() -> str:
        import os
        open('/scratch/f', 'w').write('1')
        open('/empty/f', 'w').write('1')
        assert os.statvfs('/dev/shm').f_frsize
        print('node', os.environ['NODE'], 'label', os.environ['LABEL'])
        return os.environ['NODE']

    @dsl.pipeline(name='places')
    def p():
        task = look()
        kubernetes.add_ephemeral_volume(task, volume_name='scratch', mount_path='/scratch', access_modes=['ReadWriteOnce'], size='5Mi')
        kubernetes.empty_dir_mount(task, volume_name='empty', mount_path='/empty', size_limit='5Mi')
        kubernetes.use_field_path_as_env(task, env_name='NODE', field_path='spec.nodeName')
        kubernetes.use_field_path_as_env(task, env_name='LABEL', field_path="metadata.labels['team']")
        kubernetes.add_pod_label(task, 'team', 'blue')
        kubernetes.add_pod_annotation(task, 'note', 'x')
        kubernetes.add_toleration(task, key='gpu', operator='Exists', effect='NoSchedule')
        kubernetes.add_node_affinity(task, match_expressions=[{'key': 'kubernetes.io/os', 'operator': 'In', 'values': ['linux']}])
        kubernetes.add_node_affinity(task, match_expressions=[{'key': 'disk', 'operator': 'Exists'}], weight=5)
        kubernetes.set_image_pull_policy(task, 'IfNotPresent')

    state, text = run(t, p)
    assert state == 'SUCCEEDED' and 'label blue' in text, text


def test_kfp_client_inside_a_pod(t):
    import test_network
    import test_volumes
    code = '''
import kfp.client
with open("/var/run/secrets/kubernetes.io/serviceaccount/token") as f:
    c = kfp.client.Client(host="http://ml-pipeline.kubeflow:8888", existing_token=f.read())
print("experiments", len(c.list_experiments(page_size=5).experiments or []))
'''
    t.kubectl('create', 'clusterrolebinding', 'everybody', '--clusterrole=cluster-admin', '--serviceaccount=default:default')
    assert 'experiments' in test_volumes.run(t, test_network.python('inside', code))


def test_a_step_that_pauses_to_be_looked_at(t):
    @dsl.component(base_image='python:3.11')
    def breaks() -> str:
        print('was here')
        raise SystemExit(7)

    @dsl.pipeline(name='paused')
    def p():
        breaks().set_debug_pause(before=True, on_error=True)

    c = t.kfp()
    r = c.create_run_from_pipeline_func(p, enable_caching=False)
    for mark in ('before', 'after'):
        for _ in range(300):
            pods = t.kubectl('get', 'pods', '-n', 'kubeflow', '-l', f'pipeline/runid={r.run_id}', '-o', 'jsonpath={.items[*].metadata.name}').stdout.split()
            log = t.kubectl('logs', '-n', 'kubeflow', pods[0], check=False).stdout if pods else ''
            if f'paused {mark} the command' in log:
                break
            time.sleep(0.2)
        assert ('was here' in log) == (mark == 'after'), log
        assert c.get_run(r.run_id).state == 'RUNNING'
        t.kubectl('exec', '-n', 'kubeflow', pods[0], '-c', 'main', '--', 'touch', log.split('-- touch ')[-1].split()[0])
    run = c.wait_for_run_completion(r.run_id, timeout=120, sleep_duration=0.2)
    assert run.state == 'FAILED' and 'exit status 7' in run.error.message, run
