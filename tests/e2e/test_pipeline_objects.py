"""Pipelines and their versions as objects of pipelines.kubeflow.org: what kubectl and the REST API see is the same."""
import json
import time

import pytest
from conftest import Tidemill, settles
from test_recurring import HELLO, call, eventually

BASE = '/apis/v2beta1/pipelines'


def objects(t, kind):
    r = t.kubectl('get', f'{kind}.pipelines.kubeflow.org', '-n', 'kubeflow', '-o', 'json')
    return {o['metadata']['name']: o for o in json.loads(r.stdout)['items']}


def pipeline(name, **spec):
    return json.dumps({'apiVersion': 'pipelines.kubeflow.org/v2beta1', 'kind': 'Pipeline', 'metadata': {'name': name, 'namespace': 'kubeflow'}, 'spec': spec})


def version(name, parent, **spec):
    return json.dumps({'apiVersion': 'pipelines.kubeflow.org/v2beta1', 'kind': 'PipelineVersion', 'metadata': {'name': name, 'namespace': 'kubeflow'},
                       'spec': {'pipelineName': parent, 'pipelineSpec': HELLO, **spec}})


def rows(t):
    return {p['name']: p for p in call(t, 'GET', BASE).get('pipelines', [])}


def versions(t, pipeline_id):
    return {v['name']: v for v in call(t, 'GET', f'{BASE}/{pipeline_id}/versions').get('pipeline_versions', [])}


def condition(t, kind, name):
    return (objects(t, kind)[name].get('status', {}).get('conditions') or [{}])[0]


@pytest.fixture(scope='module')
def t():
    t = Tidemill('--no-node', '--no-engine').start()
    yield t
    t.purge()


def upload(t, what, query):
    import urllib.request
    body = (b'--x\r\nContent-Disposition: form-data; name="uploadfile"; filename="p.json"\r\n\r\n' + json.dumps(HELLO).encode() + b'\r\n--x--\r\n')
    request = urllib.request.Request(f'{t.url}{BASE}/{what}?{query}', data=body, headers={'Content-Type': 'multipart/form-data; boundary=x'})
    with urllib.request.urlopen(request, timeout=120) as r:
        return json.loads(r.read())


def test_objects_of_rows(t):
    made = upload(t, 'upload', 'name=hello')
    odd = call(t, 'POST', BASE, {'name': 'Größe & Co', 'display_name': 'Odd', 'tags': {'team': 'ml'}})
    o = eventually('the objects', lambda: len(objects(t, 'pipelines')) == 2 and objects(t, 'pipelines'))
    assert o['hello']['spec'] == {'displayName': 'hello'}
    other = next(x for n, x in o.items() if n != 'hello')
    assert other['metadata']['name'].endswith(odd['pipeline_id'][:8]) and other['spec'] == {'displayName': 'Odd', 'tags': {'team': 'ml'}}
    v = eventually('the version', lambda: objects(t, 'pipelineversions').get('hello'))   # both names are the same
    assert v['spec']['pipelineName'] == 'hello' and v['spec']['pipelineSpec']['root'] == HELLO['root']
    assert v['metadata']['labels']['pipelines.kubeflow.org/pipeline-id'] == made['pipeline_id']
    assert v['status']['conditions'][0]['reason'] == 'READY'
    upload(t, 'upload_version', f'name=v2&pipelineid={made["pipeline_id"]}')
    eventually('the second version', lambda: 'hello-v2' in objects(t, 'pipelineversions'))
    call(t, 'PATCH', f'{BASE}/{made["pipeline_id"]}', {'display_name': 'Hello, World', 'tags': {'a': 'b'}})
    eventually('the edit', lambda: objects(t, 'pipelines')['hello']['spec'] == {'displayName': 'Hello, World', 'tags': {'a': 'b'}})
    # One that went while nobody looked is made again; a pipeline takes the objects of its versions with it.
    t.kill()
    t.start()
    assert len(objects(t, 'pipelines')) == 2
    call(t, 'DELETE', f'{BASE}/{made["pipeline_id"]}?cascade=true')
    eventually('the objects to go', lambda: not objects(t, 'pipelineversions') and list(objects(t, 'pipelines')) != ['hello'])
    call(t, 'DELETE', f'{BASE}/{odd["pipeline_id"]}')
    eventually('the last object to go', lambda: not objects(t, 'pipelines'))


def test_rows_of_objects(t):
    t.kubectl('apply', '-f', '-', stdin=pipeline('mine', displayName='Mine', description='of kubectl'))
    t.kubectl('apply', '-f', '-', stdin=version('mine-v1', 'mine', versionName='v1'))   # at once: its pipeline may be no row yet
    row = eventually('the row', lambda: rows(t).get('mine'))
    assert row['pipeline_id'] == objects(t, 'pipelines')['mine']['metadata']['uid']
    assert row['display_name'] == 'Mine' and row['description'] == 'of kubectl'
    v = eventually('the version', lambda: versions(t, row['pipeline_id']).get('v1'))
    assert v['pipeline_version_id'] == objects(t, 'pipelineversions')['mine-v1']['metadata']['uid'] and v['pipeline_spec']['root'] == HELLO['root']
    eventually('that it is ready', lambda: condition(t, 'pipelineversions', 'mine-v1').get('reason') == 'READY')
    run = call(t, 'POST', '/apis/v2beta1/runs', {'display_name': 'r', 'pipeline_version_reference': {
        'pipeline_id': row['pipeline_id'], 'pipeline_version_id': v['pipeline_version_id']}})
    assert run['state'] == 'PENDING'
    # Edits, of either side.
    t.kubectl('apply', '-f', '-', stdin=pipeline('mine', displayName='Yours', description='of kubectl', tags={'x': 'y'}))
    eventually('the edit', lambda: rows(t)['mine'].get('tags') == {'x': 'y'} and rows(t)['mine']['display_name'] == 'Yours')
    call(t, 'PATCH', f'{BASE}/{row["pipeline_id"]}/versions/{v["pipeline_version_id"]}', {'display_name': 'over REST'})
    eventually('the other edit', lambda: objects(t, 'pipelineversions')['mine-v1']['spec'].get('displayName') == 'over REST')
    settles(lambda: objects(t, 'pipelineversions')['mine-v1']['metadata']['resourceVersion'])   # neither side fights the other
    # What a version is does not change.
    r = t.kubectl('patch', 'pipelineversions.pipelines.kubeflow.org', '-n', 'kubeflow', 'mine-v1', '--type=merge', '-p', '{"spec":{"versionName":"v9"}}', check=False)
    assert r.returncode and 'cannot be changed' in r.stderr, r.stderr
    r = t.kubectl('patch', 'pipelineversions.pipelines.kubeflow.org', '-n', 'kubeflow', 'mine-v1', '--type=merge',
                  '-p', json.dumps({'spec': {'pipelineSpec': {'sdkVersion': 'kfp-9'}}}), check=False)
    assert r.returncode and 'BadRequest' in r.stderr and 'Pipeline spec is immutable' in r.stderr, r.stderr
    t.kubectl('annotate', 'pipelineversions.pipelines.kubeflow.org', '-n', 'kubeflow', 'mine-v1', 'of=mine')
    assert 'sdkVersion' not in versions(t, row['pipeline_id'])['v1']['pipeline_spec']
    # Deleted by REST the object of kubectl goes as well, and is not taken over again; deleted by kubectl the rows go.
    t.kubectl('apply', '-f', '-', stdin=version('mine-v3', 'mine', versionName='v3'))
    third = eventually('the third', lambda: versions(t, row['pipeline_id']).get('v3'))
    call(t, 'DELETE', f'{BASE}/{row["pipeline_id"]}/versions/{third["pipeline_version_id"]}')
    eventually('the object to go', lambda: 'mine-v3' not in objects(t, 'pipelineversions'))
    time.sleep(1)
    assert 'v3' not in versions(t, row['pipeline_id'])
    t.kubectl('delete', 'pipelines.pipelines.kubeflow.org', '-n', 'kubeflow', 'mine')
    eventually('the rows to go', lambda: 'mine' not in rows(t))
    eventually('the version to go', lambda: 'mine-v1' not in objects(t, 'pipelineversions'))


def changed(*path, to):
    """The good pipeline with one member changed; to=None: without it."""
    spec = json.loads(json.dumps(HELLO))
    at = spec
    for p in path[:-1]:
        at = at[p]
    if to is None:
        del at[path[-1]]
    else:
        at[path[-1]] = to
    return spec


IS_NONE = 'The pipeline spec is invalid: '
REFUSED = [
    ({}, 'nobody', "The spec.pipelineName doesn't map to an existing Pipeline object"),
    ({'pipelineSpec': {}}, 'door', IS_NONE + 'no pipeline spec is provided'),
    ({'pipelineSpec': {'root': {}}}, 'door', IS_NONE + 'no pipeline spec is provided'),
    ({'pipelineSpec': changed('root', to=None)}, 'door', IS_NONE + 'no pipeline spec is provided'),
    ({'pipelineSpec': changed('schemaVersion', to='1.0.0')}, 'door', 'KFP only supports schema version 2.1.0, but the pipeline spec has version 1.0.0'),
    ({'pipelineSpec': changed('schemaVersion', to=None)}, 'door', 'KFP only supports schema version 2.1.0'),
    ({'pipelineSpec': changed('pipelineInfo', 'name', to='Not A Name')}, 'door', "pipeline's name must contain only lowercase alphanumeric characters or '-'"),
    ({'pipelineSpec': changed('unknown', to=1)}, 'door', 'invalid v2 pipeline spec: '),
    ({'pipelineSpec': changed('root', 'dag', 'tasks', to=['a list'])}, 'door', 'invalid v2 pipeline spec: '),
    ({'pipelineSpec': changed('components', to={})}, 'door', 'comp'),
    ({'pipelineSpec': {'apiVersion': 'argoproj.io/v1alpha1', 'kind': 'Workflow'}}, 'door', 'V1 pipeline specs are not allowed'),
    ({'platformSpec': {'platforms': {'kubernetes': {'unknown': 1}}}}, 'door', IS_NONE),
    ({'pipelineSpec': 'a text'}, 'door', 'must be of type object'),
    ({'pipelineName': ''}, 'door', 'should be at least 1 chars long'),
    ({'tags': {'a': 1}}, 'door', 'tags'),
]


@pytest.mark.parametrize('spec, parent, text', REFUSED)
def test_refused_at_the_door(t, spec, parent, text):
    """What is no pipeline is refused when it is applied, with the words of upstream's webhook."""
    t.kubectl('apply', '-f', '-', stdin=pipeline('door'))
    r = t.kubectl('apply', '-f', '-', stdin=version('never', parent, **spec), check=False)
    assert r.returncode and text in r.stderr, r.stderr
    assert 'never' not in objects(t, 'pipelineversions')


def test_one_file_with_both(t):
    """The SDK writes pipeline and version into one file: the second has not to wait for the first to become a row. A dry run makes neither."""
    both = '[' + pipeline('both') + ',' + version('both-1', 'both') + ']'
    both = json.dumps({'apiVersion': 'v1', 'kind': 'List', 'items': json.loads(both)})
    t.kubectl('apply', '-f', '-', stdin=both)
    row = eventually('the row', lambda: rows(t).get('both'))
    eventually('the version', lambda: 'both-1' in versions(t, row['pipeline_id']))
    # A name that no object can have is known by its row.
    odd = call(t, 'POST', BASE, {'name': 'Höhe & Tiefe'})
    t.kubectl('apply', '-f', '-', stdin=version('odd-1', 'Höhe & Tiefe', versionName='v1'))
    eventually('its version', lambda: 'v1' in versions(t, odd['pipeline_id']))


def test_manifests_of_the_sdk(t, tmp_path):
    from kfp import compiler, dsl
    from kfp.compiler.compiler_utils import KubernetesManifestOptions

    @dsl.container_component
    def step():
        return dsl.ContainerSpec(image='alpine:3', command=['true'])

    @dsl.pipeline(name='from-sdk')
    def from_sdk():
        step()
    file = tmp_path / 'p.yaml'
    compiler.Compiler().compile(from_sdk, str(file), kubernetes_manifest_format=True, kubernetes_manifest_options=KubernetesManifestOptions(
        pipeline_name='from-sdk', pipeline_version_name='from-sdk-1', namespace='kubeflow', include_pipeline_manifest=True))
    t.kubectl('apply', '-f', str(file))
    row = eventually('the pipeline', lambda: rows(t).get('from-sdk'))
    eventually('its version', lambda: 'from-sdk-1' in versions(t, row['pipeline_id']))
