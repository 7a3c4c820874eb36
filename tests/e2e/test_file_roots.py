"""Artifacts in a directory that the administrator names: pipeline roots and imports that are file:// URIs below it, and none elsewhere."""
import json
import pathlib
import subprocess
import tempfile

import pytest
from conftest import TIDEMILL, needs_node, start
from kfp import dsl
from kfp.dsl import Dataset, Input, Output
from test_pipelines import expect

IMAGE = 'python:3.11'


@dsl.component(base_image=IMAGE)
def make(d: Output[Dataset]):
    open(d.path, 'w').write('made by a step')


@dsl.component(base_image=IMAGE)
def read(d: Input[Dataset]):
    print('read', d.uri, open(d.path).read())


@pytest.fixture(scope='module')
def kept():
    """A tidemill, and where it keeps artifacts."""
    with tempfile.TemporaryDirectory() as d:
        place = pathlib.Path(d).resolve() / 'kept'
        t = start('--artifacts', str(place))
        yield t, place
        t.purge()
        assert (place / 'mlpipeline').exists() or (place / 'team').exists()   # what people made stays


def run(t, pipeline, **more):
    c = t.kfp()
    r = c.create_run_from_pipeline_func(pipeline, enable_caching=False, **more)
    return c.wait_for_run_completion(r.run_id, timeout=180, sleep_duration=0.2)


def test_the_directory_is_remembered(tmp_path):
    """The next start without --artifacts looks where the last one kept them; one that is not there is told, not made anew."""
    t = start('--no-node')
    try:
        def kept_in(*options):
            t.stop()
            t.options = ['--no-node', *options]
            t.start()
            return json.loads(pathlib.Path(t.data, 'run.json').read_text())['artifacts']
        usual, one, two = f'{t.data}/artifacts', str(tmp_path / 'one'), str(tmp_path / 'two')
        assert kept_in() == usual
        assert kept_in('--artifacts', one) == one
        assert kept_in() == one
        assert kept_in('--artifacts', two) == two and f'artifacts were in {one} until now' in t.tail()
        assert kept_in() == two
        pathlib.Path(two).rename(tmp_path / 'elsewhere')
        with pytest.raises(RuntimeError, match='mount it, or say where they are with --artifacts DIR'):
            kept_in()
        assert kept_in('--artifacts', usual) == usual
        assert kept_in() == usual
    finally:
        t.purge()


@needs_node
def test_a_root_below_it(kept):
    t, place = kept

    @dsl.pipeline(name='rooted')
    def p():
        read(d=make().outputs['d'])

    r = run(t, p, pipeline_root=f'file://{place}/team/runs')
    expect(t, r, 'SUCCEEDED')
    made = list((place / 'team' / 'runs' / 'rooted' / r.run_id / 'make').glob('*/d'))
    assert [f.read_text() for f in made] == ['made by a step']
    assert str(made[0]) in t.cli('artifacts', r.run_id).stdout
    assert 'read minio://team/runs/rooted' in t.cli('logs', r.run_id, 'read').stdout


@needs_node
def test_an_import_from_it(kept):
    t, place = kept
    (place / 'team').mkdir(parents=True, exist_ok=True)
    (place / 'team' / 'given.txt').write_text('laid there')
    uri = f'file://{place}/team/given.txt'

    @dsl.pipeline(name='importing-files')
    def p():
        read(d=dsl.importer(artifact_uri=uri, artifact_class=Dataset).output)

    r = run(t, p)
    expect(t, r, 'SUCCEEDED')
    assert 'read minio://team/given.txt laid there' in t.cli('logs', r.run_id, 'read').stdout


@needs_node
@pytest.mark.parametrize('root', ['file:///etc', 'file://{place}', 'file://{place}/../x', 'azblob://b/k'])
def test_no_root_elsewhere(kept, root):
    t, place = kept

    @dsl.pipeline(name='elsewhere')
    def p():
        make()

    r = run(t, p, pipeline_root=root.format(place=place))
    assert r.state == 'FAILED' and root.split(':')[0] in r.error.message, r
    assert not (place.parent / 'x').exists()


@pytest.mark.parametrize('below', ['', '/engine', '/..', '/../../../../../..'])
def test_not_where_its_own_files_are(below):
    with tempfile.TemporaryDirectory() as data:
        r = subprocess.run([TIDEMILL, 'up', '--data', f'{data}/d', '--artifacts', f'{data}/d{below}', '--listen', '127.0.0.1:0', '--kube-listen', '127.0.0.1:0'],
                           capture_output=True, text=True, timeout=60)
        assert r.returncode != 0 and '--artifacts' in r.stderr, r.stderr
