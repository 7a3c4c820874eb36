"""What a user who comes from Kubeflow has: pipelines that use features as the documentation of KFP shows them, each with what it says must come of it."""
import json
import tempfile
from typing import Dict, List, NamedTuple, Optional

import pytest
from conftest import needs_node, node_options, start
from kfp import compiler, components, dsl, kubernetes
from kfp.dsl import (HTML, Artifact, ClassificationMetrics, Dataset, Input, Markdown, Metrics, Model, Output, PipelineTaskFinalStatus,
                     SlicedClassificationMetrics)
from test_pipelines import expect

pytestmark = needs_node

IMG = 'python:3.11'


@dsl.component(base_image=IMG)
def flip(seed: int = 1) -> str:
    return 'heads' if seed % 2 else 'tails'


@dsl.component(base_image=IMG)
def say(text: str) -> str:
    print(text); return text


@dsl.component(base_image=IMG)
def double(n: int) -> int:
    return 2 * n


@dsl.component(base_image=IMG)
def total(ns: List[int]) -> int:
    return sum(ns)


@dsl.component(base_image=IMG)
def check(got: str, want: str):
    assert got == want, (got, want)


@dsl.component(base_image=IMG)
def checki(got: int, want: int):
    assert got == want, (got, want)


# ---- control flow + OneOf


@dsl.pipeline(name='control-flow')
def control_flow(seed: int = 1) -> str:
    f = flip(seed=seed)
    with dsl.If(f.output == 'heads', name='is-heads'):
        a = say(text='got heads')
    with dsl.Elif(f.output == 'tails', name='is-tails'):
        b = say(text='got tails')
    with dsl.Else():
        c = say(text='on its edge')
    one = dsl.OneOf(a.output, b.output, c.output)
    check(got=one, want='got heads')
    return one


# ---- parallel for + collected of artifacts and params, nested loops


@dsl.component(base_image=IMG)
def train(epochs: int, model: Output[Model], metrics: Output[Metrics]):
    model.metadata['epochs'] = epochs
    model.metadata['framework'] = 'none'
    open(model.path, 'w').write(str(epochs))
    metrics.log_metric('acc', epochs / 100)


@dsl.component(base_image=IMG)
def best(models: Input[List[Model]]) -> int:
    print([m.uri for m in models], [m.metadata for m in models])
    return max(int(open(m.path).read()) for m in models)


@dsl.pipeline(name='loops')
def loops(epochs: List[int] = [1, 10, 25]) -> int:
    with dsl.ParallelFor(items=epochs, parallelism=2) as e:
        t = train(epochs=e)
        d = double(n=e)
    s = total(ns=dsl.Collected(d.output))
    checki(got=s.output, want=72)
    with dsl.ParallelFor([{'a': 1, 'b': [1, 2]}, {'a': 2, 'b': [3]}]) as item:
        checki(got=item.a, want=item.a)
        with dsl.ParallelFor(item.b) as x:
            double(n=x)
    return best(models=dsl.Collected(t.outputs['model'])).output


# ---- exit handler, status, ignore upstream failure, retries


@dsl.component(base_image=IMG)
def bye(status: PipelineTaskFinalStatus, who: str):
    print('status', status.state, status.pipeline_task_name, status.error_code, status.error_message, who)
    assert status.state == 'FAILED', status.state


@dsl.component(base_image=IMG)
def clean(text: str = 'default') -> str:
    print('clean', text); return text


@dsl.component(base_image=IMG)
def may_fail() -> str:
    raise SystemExit(3)


@dsl.pipeline(name='exits')
def exits(who: str = 'me'):
    e = bye(who=who)
    with dsl.ExitHandler(e, name='guarded'):
        f = may_fail().set_retry(num_retries=1, backoff_duration='1s', backoff_factor=1.0, backoff_max_duration='10s')
        clean(text=f.output).ignore_upstream_failure()


# ---- caching


@dsl.component(base_image=IMG)
def now(x: int) -> str:
    import time
    return str(time.time())


@dsl.pipeline(name='caching')
def caching():
    now(x=1)
    now(x=1).set_caching_options(enable_caching=False)
    now(x=2)


# ---- importer


@dsl.component(base_image=IMG)
def show(d: Input[Dataset]) -> str:
    print('uri', d.uri, 'meta', d.metadata, 'path', d.path)
    return d.metadata['date']


@dsl.pipeline(name='importing')
def importing(uri: str = 'minio://mlpipeline/some/data.csv', date: str = '2024'):
    i = dsl.importer(artifact_uri='minio://mlpipeline/some/data.csv', artifact_class=dsl.Dataset, reimport=False, metadata={'date': '2022/10/7'})
    check(got=show(d=i.output).output, want='2022/10/7')
    j = dsl.importer(artifact_uri=uri, artifact_class=dsl.Dataset, reimport=True, metadata={'date': date, 'key-' : 'x'})
    check(got=show(d=j.output).output, want='2024')


# ---- containers with f-strings, If/Concat placeholders


@dsl.container_component
def hello(name: str, greeting: dsl.OutputPath(str), log: Output[Artifact], times: int = 1, suffix: Optional[str] = None):
    return dsl.ContainerSpec(image='alpine', command=['sh', '-c', f'''
RESPONSE="Hello, {name}! {times}"
mkdir -p $(dirname {greeting})
printf "$RESPONSE $*" > {greeting}
echo $RESPONSE > {log.path}
''', 'sh'], args=[dsl.IfPresentPlaceholder(input_name='suffix', then=[dsl.ConcatPlaceholder(['--suffix=', suffix])], else_=['--none'])])


@dsl.pipeline(name='containers')
def in_containers(person: str = 'World') -> str:
    a = hello(name=person)
    check(got=a.outputs['greeting'], want='Hello, World! 1 --none')
    b = hello(name=f'{person} & co', suffix='x y', times=3)
    check(got=b.outputs['greeting'], want='Hello, World & co! 3 --suffix=x y')
    say(text=f'first: {a.outputs["greeting"]} then {person}')
    return b.outputs['greeting']


# ---- artifacts of every type


@dsl.component(base_image=IMG)
def every(a: Output[Artifact], d: Output[Dataset], m: Output[Model], me: Output[Metrics], c: Output[ClassificationMetrics], s: Output[SlicedClassificationMetrics], h: Output[HTML], md: Output[Markdown]) -> NamedTuple('o', [('n', int), ('t', str), ('f', float), ('b', bool), ('l', list), ('dd', dict)]):
    for x in (a, d, m):
        open(x.path, 'w').write(x.name); x.metadata['k'] = [1, {'a': None, 'b': True}]
    me.log_metric('accuracy', 0.9)
    c.log_confusion_matrix(['x', 'y'], [[1, 2], [3, 4]])
    c.log_roc_curve([0.0, 0.5, 1.0], [0.0, 0.7, 1.0], [1.0, 0.5, 0.0])

    open(h.path, 'w').write('<b>hi</b>'); open(md.path, 'w').write('# hi')
    from collections import namedtuple
    return namedtuple('o', 'n t f b l dd')(1, 'x', 0.5, True, [1, 'a'], {'k': 1})


@dsl.component(base_image=IMG)
def eat(a: Input[Artifact], d: Input[Dataset], m: Input[Model], me: Input[Metrics], c: Input[ClassificationMetrics], h: Input[HTML], md: Input[Markdown], n: int, t: str, f: float, b: bool, l: list, dd: dict):
    assert open(m.path).read() and m.metadata['k'] == [1, {'a': None, 'b': True}], m.metadata
    assert me.metadata['accuracy'] == 0.9, me.metadata
    assert c.metadata['confusionMatrix'], c.metadata
    assert (n, t, f, b, l, dd) == (1, 'x', 0.5, True, [1, 'a'], {'k': 1}), (n, t, f, b, l, dd)
    assert open(h.path).read() == '<b>hi</b>'


@dsl.pipeline(name='artifacts')
def artifacts():
    e = every()
    eat(**{k: e.outputs[k] for k in ('a', 'd', 'm', 'me', 'c', 'h', 'md', 'n', 't', 'f', 'b', 'l', 'dd')})


# ---- nested, pipeline as component, loaded from yaml


@dsl.pipeline
def inner(n: int = 3) -> NamedTuple('outs', twice=int, model=Model):
    t = train(epochs=n)
    outs = NamedTuple('outs', twice=int, model=Model)
    return outs(twice=double(n=n).output, model=t.outputs['model'])
with tempfile.TemporaryDirectory() as d:
    compiler.Compiler().compile(inner, f'{d}/inner.yaml')
    loaded = components.load_component_from_file(f'{d}/inner.yaml')


@dsl.component(base_image=IMG)
def one(m: Input[Model]) -> int:
    return int(open(m.path).read())


@dsl.pipeline(name='nested')
def nested() -> int:
    i = inner(n=4).set_display_name('the inner one')
    j = loaded(n=5)
    k = inner()
    checki(got=i.outputs['twice'], want=8)
    checki(got=j.outputs['twice'], want=10)
    checki(got=one(m=j.outputs['model']).output, want=5)
    checki(got=k.outputs['twice'], want=6)
    return one(m=i.outputs['model']).output


# ---- PipelineConfig and kubernetes functions one after the other


@dsl.component(base_image=IMG)
def world() -> str:
    import os
    e = os.environ
    assert e['SECRET'] == 'word' and e['MAP'] == 'v', dict(e)
    assert open('/sec/k').read() == 'word' and open('/map/a').read() == 'v'
    assert e['POD'] and e['LABEL'] == 'y', (e.get('POD'), e.get('LABEL'))
    assert e['PLAIN'] == 'plain'
    open('/data/f', 'w').write('x'); open('/scratch/f', 'w').write('x'); open('/dev/shm/x', 'w').write('x')
    return 'ok'


@dsl.component(base_image=IMG)
def again():
    assert open('/data/f').read() == 'x'


@dsl.pipeline(name='platform', pipeline_config=dsl.PipelineConfig())
def platform(secret: str = 'user-secret'):
    pvc = kubernetes.CreatePVC(pvc_name_suffix='-data', access_modes=['ReadWriteOnce'], size='16Mi', storage_class_name='standard')
    w = world().set_cpu_request('100m').set_cpu_limit('1').set_memory_request('64Mi').set_memory_limit('512Mi').set_env_variable('PLAIN', 'plain').set_display_name('the world').set_caching_options(False)
    kubernetes.use_secret_as_env(w, secret_name=secret, secret_key_to_env={'k': 'SECRET'})
    kubernetes.use_secret_as_volume(w, secret_name='user-secret', mount_path='/sec')
    kubernetes.use_config_map_as_env(w, config_map_name='user-map', config_map_key_to_env={'a': 'MAP'})
    kubernetes.use_config_map_as_volume(w, config_map_name='user-map', mount_path='/map')
    kubernetes.use_field_path_as_env(w, env_name='POD', field_path='metadata.name')
    kubernetes.add_pod_label(w, 'x', 'y'); kubernetes.add_pod_annotation(w, 'x/a', 'y')
    kubernetes.use_field_path_as_env(w, env_name='LABEL', field_path="metadata.labels['x']")
    kubernetes.mount_pvc(w, pvc_name=pvc.outputs['name'], mount_path='/data')
    kubernetes.empty_dir_mount(w, volume_name='scratch', mount_path='/scratch')
    kubernetes.set_image_pull_policy(w, 'IfNotPresent')
    kubernetes.set_timeout(w, 300)
    kubernetes.add_toleration(w, key='k', operator='Exists', effect='NoSchedule')
    kubernetes.add_node_selector(w, 'kubernetes.io/os', 'linux')
    kubernetes.add_node_affinity(w, match_expressions=[{'key': 'kubernetes.io/os', 'operator': 'In', 'values': ['linux']}])
    kubernetes.add_ephemeral_volume(w, volume_name='eph', mount_path='/eph', access_modes=['ReadWriteOnce'], size='8Mi')
    if hasattr(kubernetes, 'enable_shared_memory'):
        kubernetes.enable_shared_memory(w)
    if hasattr(kubernetes, 'set_security_context'):
        kubernetes.set_security_context(w, run_as_user=0, run_as_group=0)
    a = again().after(w).set_caching_options(False)
    kubernetes.mount_pvc(a, pvc_name=pvc.outputs['name'], mount_path='/data')
    kubernetes.DeletePVC(pvc_name=pvc.outputs['name']).after(a)


# ---- optional inputs, placeholders, literals


@dsl.component(base_image=IMG)
def opt(a: Optional[str] = None, b: int = 5, c: Optional[List[str]] = None, d: bool = False) -> str:
    return f'{a} {b} {c} {d}'


@dsl.component(base_image=IMG)
def ids(job: str, uid: str, task: str) -> str:
    assert uid and task == 'ids' and '{{' not in job + uid + task, (job, uid, task)
    return job


@dsl.pipeline(name='optional', description='d', display_name='Optional things')
def optional(a: Optional[str] = None, xs: List[str] = ['p', 'q'], cfg: Dict[str, int] = {'k': 1}):
    check(got=opt(a=a).output, want='None 5 None False')
    check(got=opt(a='z', b=1, c=xs, d=True).output, want="z 1 ['p', 'q'] True")
    ids(job=dsl.PIPELINE_JOB_NAME_PLACEHOLDER, uid=dsl.PIPELINE_JOB_ID_PLACEHOLDER, task=dsl.PIPELINE_TASK_NAME_PLACEHOLDER)


# ---- running them


@pytest.fixture(scope='module')
def t():
    t = start('--host-image', 'alpine*', *node_options())
    for o in ({'apiVersion': 'v1', 'kind': 'Secret', 'metadata': {'name': 'user-secret', 'namespace': 'kubeflow'}, 'stringData': {'k': 'word'}},
              {'apiVersion': 'v1', 'kind': 'ConfigMap', 'metadata': {'name': 'user-map', 'namespace': 'kubeflow'}, 'data': {'a': 'v'}}):
        t.kubectl('create', '-f', '-', stdin=json.dumps(o))
    yield t
    t.purge()


def run(t, pipeline, cache=False):
    c = t.kfp()
    made = c.create_run_from_pipeline_func(pipeline, enable_caching=cache)
    return c.wait_for_run_completion(made.run_id, timeout=400, sleep_duration=0.3)


@pytest.mark.parametrize('pipeline', [control_flow, loops, importing, in_containers, artifacts, nested, platform, optional], ids=lambda p: p.name)
def test_it_does_what_is_documented(t, pipeline):
    expect(t, run(t, pipeline), 'SUCCEEDED')


def states(r):
    return {x.display_name: x.state for x in r.run_details.task_details}


def test_exit_tasks_run_and_the_run_fails(t):
    r = expect(t, run(t, exits), 'FAILED')
    assert states(r)['bye'] == states(r)['clean'] == 'SUCCEEDED' and states(r)['may-fail'] == 'FAILED', states(r)
    assert 'exit status 3' in r.error.message, r.error
    assert 'status FAILED' in t.cli('logs', r.run_id, 'bye').stdout and 'exit status 3' in t.cli('logs', r.run_id, 'bye').stdout
    assert 'clean default' in t.cli('logs', r.run_id, 'clean').stdout


def test_the_cache_is_used_where_it_is_wanted(t):
    expect(t, run(t, caching, cache=None), 'SUCCEEDED')
    again = states(expect(t, run(t, caching, cache=None), 'SUCCEEDED'))
    assert again['now'] == again['now-3'] == 'SKIPPED' and again['now-2'] == 'SUCCEEDED', again
    assert 'SKIPPED' not in states(expect(t, run(t, caching, cache=False), 'SUCCEEDED')).values()


@dsl.pipeline(name='no-secret')
def no_secret():
    kubernetes.use_secret_as_env(say(text='x'), secret_name='nobody-made-it', secret_key_to_env={'k': 'K'})


@dsl.container_component
def missing():
    return dsl.ContainerSpec(image='alpine', command=['no-such-program'])


@dsl.pipeline(name='no-program')
def no_program():
    missing()


@dsl.pipeline(name='bad-import')
def bad_import():
    dsl.importer(artifact_uri='ftp://somewhere/x', artifact_class=Dataset)


@pytest.mark.parametrize('pipeline,says', [(no_secret, ['nobody-made-it', 'not found']), (no_program, ['no-such-program', 'not found in PATH']),
                                           (bad_import, ['ftp://somewhere/x', 'gs, s3, minio'])],
                         ids=lambda p: getattr(p, 'name', None))
def test_misuse_is_told(t, pipeline, says):
    r = expect(t, run(t, pipeline), 'FAILED')
    assert all(word in r.error.message for word in says), r.error.message
