"""The files of the corpus of compiled pipelines do what its expected.tsv says: refused, run to success or failure, or planned.

The corpus is data that stands beside the repository (or where $TIDEMILL_CORPUS points); without it these tests skip. Runs share
one tidemill, a few at a time; a test waits for its own file only.
"""
import concurrent.futures
import csv
import io
import os
import pathlib
import time
import zipfile

import conftest
import pytest
import requests
import yaml
from conftest import ROOT, needs_node

CORPUS = pathlib.Path(os.environ.get('TIDEMILL_CORPUS') or ROOT.parent / 'shared' / 'corpus') / 'pipelines'
AT_ONCE = 6        # runs in flight
RUN_TIMEOUT = 240  # seconds
ENDED = ('SUCCEEDED', 'FAILED', 'CANCELED', 'SKIPPED')

# Files that cannot do here what is expected of them, each with the reason. They must be accepted all the same.
GCS = 'reads gs://'
NOT_YET = {
    'valid/artifacts_simple.yaml': 'opens the URIs of artifacts as files below /gcs, so needs a gs:// root',
    'valid/critical/modelcar.yaml': 'an OCI image that only a registry has',
    'valid/critical/pipeline_with_artifact_upload_download.yaml': 'package datasets and a data set from the internet',
    'valid/essential/iris_pipeline_compiled.yaml': 'packages pandas==2.2.0 and scikit-learn==1.4.0',
    'valid/gpu-scheduling/nvidia_gpu_scheduling_check.yaml': 'a GPU',
    'valid/local_execution/local_execution_pipeline_with_retry.yaml': 'a file that the tries share on the host',
    'valid/long-running.yaml': 'sleeps for ten minutes',
    'valid/notebook_component_mixed.yaml': 'packages nbclient, jupyter_client and ipykernel',
    'valid/pipeline_with_concat_placeholder.yaml': "busybox's own shell ([[ ]]), so its image",
    'valid/pipeline_with_importer.json': GCS,
    'valid/pipeline_with_importer.yaml': GCS,
    'valid/pipeline_with_string_machine_fields_pipeline_input.yaml': 'a GPU, under a name that Kubernetes refuses as a resource',
    'valid/upload_download_compiled.yaml': 'package minio and a MinIO service',
    'valid/xgboost_sample_pipeline.yaml': 'images byrnedo/alpine-curl and python:3.7 with old packages, internet',
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

# What valid/pvc_mount.yaml is given as the name of its claim.
CLAIM = yaml.safe_dump({'apiVersion': 'v1', 'kind': 'PersistentVolumeClaim', 'metadata': {'name': VALUES['STRING']},
                        'spec': {'accessModes': ['ReadWriteMany'], 'resources': {'requests': {'storage': '1Gi'}}}})


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
    def __init__(self, t):
        self.t = t
        self.url = t.url
        self.pool = concurrent.futures.ThreadPoolExecutor(AT_ONCE)
        self.runs = {}

    def api(self, method, path, **kw):
        return requests.request(method, f'{self.url}/apis/v2beta1/{path}', timeout=60, **kw)

    def upload(self, file):
        """Uploads a file: its pipeline version."""
        r = upload(self.url, file, (CORPUS / file).read_bytes())
        assert r.status_code == 200, f'{file}: {r.status_code} {r.text}'
        version = self.api('GET', f'pipelines/{r.json()["pipeline_id"]}/versions').json()['pipeline_versions'][0]
        assert version['pipeline_spec'], version
        return version

    def create(self, file):
        """Uploads a file and creates a run of it."""
        version = self.upload(file)
        body = {'display_name': file, 'runtime_config': {'parameters': arguments_of(spec_of(file))},
                'pipeline_version_reference': {k: version[k] for k in ('pipeline_id', 'pipeline_version_id')}}
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
            if getattr(item, 'originalname', '') == 'test_runs' and f not in self.runs and f not in NOT_YET:
                self.runs[f] = self.pool.submit(self.run, f)
        return self.runs[file].result(timeout=900)

    def story(self, run_id):
        """What is needed to understand a run."""
        out = self.t.cli('runs', run_id, check=False).stdout
        logs = self.t.cli('logs', run_id, check=False)
        return f'{out}\n{(logs.stdout + logs.stderr)[-6000:]}'


@pytest.fixture(scope='module')
def corpus():
    t = conftest.start('--host-image', '*/python-311*', '--host-image', '*/busybox*')
    for name, data in SECRETS.items():
        t.kubectl('create', 'secret', 'generic', name, '-n', 'kubeflow', *(f'--from-literal={k}={v}' for k, v in data.items()))
    t.kubectl('apply', '-n', 'kubeflow', '-f', '-', stdin=CLAIM)
    c = Corpus(t)
    yield c
    c.pool.shutdown(wait=False, cancel_futures=True)
    t.purge()


@pytest.mark.parametrize('file', files('400'))
def test_refused_at_upload(corpus, file):
    r = upload(corpus.url, file, (CORPUS / file).read_bytes())
    assert r.status_code == 400, r.text
    assert len(r.json()['error_message']) > 20, r.text


@needs_node
@pytest.mark.parametrize('file', files('S', 'F'))
def test_runs(corpus, file, request):
    if file in NOT_YET:
        corpus.upload(file)
        pytest.skip(f'accepted; not run here: {NOT_YET[file]}')
    r = corpus.result(file, request)
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


@pytest.mark.skipif(not FILES, reason='no corpus')
def test_lists_name_files():
    assert set(NOT_YET) | set(OTHERWISE) | set(SHOWS) <= {f for f, _ in FILES}
