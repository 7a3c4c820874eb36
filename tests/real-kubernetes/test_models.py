"""Container images as input artifacts where the API server knows no image volumes (1.34 as it comes): side-cars, on our node."""
import json

import pytest
from cluster import Serve, kfp_client, needs_node
import images_kit  # noqa: E402

pytest_plugins = ['cluster']
pytestmark = needs_node


@pytest.fixture(scope='module')
def model():
    """Images that hold nothing but a model, and one that holds none: no shell, no library."""
    registry = images_kit.OwnRegistry()
    registry.add('car', 'full', images_kit.Image([images_kit.layer([('models', None), ('models/weights', 'w' * 1000), ('models/deep/config', '{}')])], {}))
    registry.add('car', 'empty', images_kit.Image([images_kit.layer([('other', 'x')])], {}))
    yield registry
    registry.close()


@pytest.fixture(scope='module')
def pipelines(real):
    s = Serve('models', '--kubeconfig', real.kubeconfig_of('kubeflow', 'ml-pipeline'), '--listen', '127.0.0.1:0')
    try:
        yield s.start()
    finally:
        s.purge()


def run(serve, registry, image, seconds=240):
    from kfp import dsl

    @dsl.component(base_image='python:3.11')
    def files(m: dsl.Input[dsl.Model]) -> str:
        import os
        found = sorted(os.path.relpath(os.path.join(p, f), m.path) for p, _, fs in os.walk(m.path) for f in fs)
        assert os.path.getsize(os.path.join(m.path, 'weights')) == 1000
        return ','.join(found)

    @dsl.component(base_image='python:3.11')
    def equal(got: str, want: str):
        assert got == want, got

    @dsl.pipeline(name='models')
    def models(uri: str):
        i = dsl.importer(artifact_uri=uri, artifact_class=dsl.Model, reimport=True)
        equal(got=files(m=i.output).output, want='deep/config,weights')
    client = kfp_client(serve)
    made = client.create_run_from_pipeline_func(models, arguments={'uri': f'oci://{registry.host}/{image}'}, enable_caching=False)
    return client.wait_for_run_completion(made.run_id, seconds)


def test_a_model_in_an_image(real, node, pipelines, model):
    r = run(pipelines, model, 'car:full')
    assert r.state == 'SUCCEEDED', f'{r.error}\n{pipelines.tail()}\n{node.tail()}'
    pods = json.loads(real.kubectl('get', 'pods', '-n', 'kubeflow', '-l', f'pipeline/runid={r.run_id}', '-o', 'json'))['items']
    pod = next(p for p in pods if 'files' in p['metadata']['name'])
    assert pod['spec']['shareProcessNamespace'] and [c['name'] for c in pod['spec']['initContainers']] == ['tidemill-setup', 'oci-0-check', 'oci-0']


@pytest.mark.parametrize('image, says', [('car:empty', 'init container oci-0-check failed: tidemill-agent: the image holds no model'), ('car:none', 'ImagePull')])
def test_an_image_without_a_model(real, node, pipelines, model, image, says):
    r = run(pipelines, model, image)
    assert r.state == 'FAILED' and says in r.error.message, r.error
