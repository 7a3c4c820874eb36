"""Pipelines in which the features of the SDK cross, compiled by the unmodified SDK and run by real pods.

All runs of this file are started together and share one tidemill; each test waits for its own and looks at what it left. A pipeline checks
itself where it can: a step that finds something wrong raises, and its run fails.
"""
import concurrent.futures
import json
import pathlib
import threading
from typing import Dict, List, NamedTuple, Optional

import pytest
import requests
import yaml
from conftest import needs_node, start
from kfp import compiler, dsl, kubernetes
from kfp.dsl import Artifact, ClassificationMetrics, Dataset, Input, Metrics, Model, Output, SlicedClassificationMetrics
from test_pipelines import expect

IMAGE = 'python:3.11'


# ---- steps --------------------------------------------------------------------------------------------------------------

@dsl.component(base_image=IMAGE)
def check(got: dict, want: dict):
    assert got == want, f'got {got!r}, want {want!r}'


@dsl.component(base_image=IMAGE)
def equal(got: str, want: str):
    assert got == want, f'got {got!r}, want {want!r}'


@dsl.component(base_image=IMAGE)
def check_list(got: list, want: list):
    assert got == want, f'got {got!r}, want {want!r}'


@dsl.component(base_image=IMAGE)
def add(a: int, b: int) -> int:
    return a + b


@dsl.component(base_image=IMAGE)
def echo(text: str) -> str:
    print('echo', text)
    return text


@dsl.component(base_image=IMAGE)
def rows() -> List[Dict]:
    return [{'name': 'a', 'values': [1, 2], 'on': True}, {'name': 'b', 'values': [], 'on': False}, {'name': 'c', 'values': [3], 'on': True}]


@dsl.component(base_image=IMAGE)
def breaks(message: str = 'on purpose') -> str:
    raise SystemExit(message)


@dsl.component(base_image=IMAGE)
def write(text: str, d: Output[Dataset]):
    with open(d.path, 'w') as f:
        f.write(text)
    d.metadata['text'] = text


@dsl.component(base_image=IMAGE)
def read(d: Input[Dataset]) -> str:
    return f'{open(d.path).read()}:{d.metadata["text"]}'


@dsl.component(base_image=IMAGE)
def read_all(ds: Input[List[Dataset]]) -> str:
    return ','.join(open(d.path).read() for d in ds or [])


@dsl.component(base_image=IMAGE)
def status_is(status: dsl.PipelineTaskFinalStatus, want: str, name: str):
    assert status.state == want, status
    assert status.pipeline_task_name == name, status
    if want == 'FAILED':
        assert status.error_message, status


CASES = {}


def case(want='SUCCEEDED', cache=False, **arguments):
    """A function that makes a pipeline becomes a case; what it returns beside it looks at the run."""
    def register(f):
        CASES[f.__name__] = (f, arguments, want, cache)
        return f
    return register


def named(r, name):
    return [t for t in r.run_details.task_details if t.display_name == name]


def states(r, name):
    return [t.state for t in named(r, name)]


# ---- control flow -------------------------------------------------------------------------------------------------------

@case(n=2)
def loops_in_conditions_in_exit_handlers():
    @dsl.pipeline(name='deep')
    def p(n: int = 1):
        done = status_is(want='COMPLETE', name='exit-handler-1')
        with dsl.ExitHandler(done, name='guard'):
            with dsl.If(n > 1):
                with dsl.ParallelFor(rows().output) as row:
                    with dsl.If(row.on == True):  # noqa: E712
                        with dsl.ParallelFor(row.values) as v:
                            echo(text=v).set_display_name('inner')
            with dsl.Else():
                breaks()

    def look(t, r):
        assert states(r, 'inner') == ['SUCCEEDED'] * 3
        assert states(r, 'status-is') == ['SUCCEEDED'] and states(r, 'breaks') == ['SKIPPED']
    return p, look


@case(want='FAILED')
def exit_handler_sees_a_failure_deep_below():
    @dsl.pipeline(name='sub')
    def sub(x: int):
        with dsl.If(x == 2):
            breaks(message='two is bad')

    @dsl.pipeline(name='deep-failure')
    def p():
        done = status_is(want='FAILED', name='exit-handler-1')
        with dsl.ExitHandler(done, name='guard'):
            with dsl.ParallelFor([1, 2, 3]) as x:
                s = sub(x=x)
                add(a=x, b=1).after(s)

    def look(t, r):
        assert states(r, 'status-is') == ['SUCCEEDED']
        assert sorted(states(r, 'add')) == ['SKIPPED', 'SUCCEEDED', 'SUCCEEDED']
        assert 'two is bad' in r.error.message, r.error
    return p, look


@case()
def collected_over_nested_loops():
    @dsl.component(base_image=IMAGE)
    def shape(lists: List[List[int]]) -> list:
        return lists

    @dsl.pipeline(name='collected')
    def p():
        with dsl.ParallelFor([10, 20]) as a:
            with dsl.ParallelFor([1, 2, 3]) as b:
                s = add(a=a, b=b)
        check_list(got=shape(lists=dsl.Collected(s.output)).output, want=[[11, 12, 13], [21, 22, 23]])
    return p, None


@case()
def collected_with_holes():
    @dsl.pipeline(name='holes')
    def p():
        with dsl.ParallelFor([1, 2, 3, 4]) as a:
            with dsl.If(a > 2):
                s = add(a=a, b=0)
        check_list(got=dsl.Collected(s.output), want=[3, 4])
    return p, None


@case()
def collected_artifacts_through_sub_pipelines():
    @dsl.pipeline(name='makes-one')
    def makes_one(text: str) -> Dataset:
        return write(text=text).outputs['d']

    @dsl.pipeline(name='makes-many')
    def makes_many(texts: List[str]) -> List[Dataset]:
        with dsl.ParallelFor(texts, parallelism=2) as t:
            one = makes_one(text=t)
        return dsl.Collected(one.output)

    @dsl.pipeline(name='artifact-lists')
    def p():
        equal(got=read_all(ds=makes_many(texts=['x', 'y', 'z']).output).output, want='x,y,z')
        equal(got=read_all(ds=makes_many(texts=[]).output).output, want='').set_display_name('none')
    return p, None


@case()
def a_loop_over_artifacts():
    @dsl.pipeline(name='many')
    def many() -> List[Dataset]:
        with dsl.ParallelFor(['x', 'y', 'z']) as t:
            w = write(text=t)
        return dsl.Collected(w.outputs['d'])

    @dsl.pipeline(name='over-artifacts')
    def p():
        with dsl.ParallelFor(many().output, parallelism=2) as d:
            s = read(d=d)
        check_list(got=dsl.Collected(s.output), want=['x:x', 'y:y', 'z:z'])
    return p, lambda t, r: states(r, 'read') == ['SUCCEEDED'] * 3


def one_of():
    @dsl.pipeline(name='branches')
    def branches(n: int) -> str:
        with dsl.If(n == 0):
            a = echo(text='zero')
        with dsl.Elif(n < 0):
            with dsl.If(n < -10):
                breaks()
            b = echo(text='negative')
        with dsl.Else():
            c = echo(text='positive')
        return dsl.OneOf(a.output, b.output, c.output)

    @dsl.pipeline(name='one-of')
    def p(n: int, want: str):
        equal(got=branches(n=n).output, want=want)
    return p, lambda t, r: sorted(states(r, 'echo') + states(r, 'echo-2') + states(r, 'echo-3')) == ['SKIPPED', 'SKIPPED', 'SUCCEEDED']


@case()
def one_of_if():
    p, look = one_of()
    return p, look, {'n': 0, 'want': 'zero'}


@case()
def one_of_elif():
    p, look = one_of()
    return p, look, {'n': -3, 'want': 'negative'}


@case()
def one_of_else():
    p, look = one_of()
    return p, look, {'n': 7, 'want': 'positive'}


@case()
def one_of_artifacts_in_a_loop():
    @dsl.pipeline(name='one-of-artifacts')
    def p():
        with dsl.ParallelFor([1, 2, 3]) as n:
            with dsl.If(n == 2):
                a = write(text='two')
            with dsl.Else():
                b = write(text='other')
            s = read(d=dsl.OneOf(a.outputs['d'], b.outputs['d']))
        check_list(got=dsl.Collected(s.output), want=['other:other', 'two:two', 'other:other'])
    return p, None


@case()
def how_many_at_once_is_data_of_the_pipeline():
    """A limit of one inside a limit of two; iterations of a list made by a step; empty lists in the middle."""
    @dsl.component(base_image=IMAGE)
    def lists(n: int) -> List[List[int]]:
        return [list(range(k)) for k in range(n)]

    @dsl.component(base_image=IMAGE)
    def sums(values: List[List[int]]) -> list:
        return [sum(v) for v in values]

    @dsl.pipeline(name='dynamic')
    def p(n: int = 4):
        with dsl.ParallelFor(lists(n=n).output, parallelism=2) as inner:
            with dsl.ParallelFor(inner, parallelism=1) as x:
                s = add(a=x, b=1)
        check_list(got=sums(values=dsl.Collected(s.output)).output, want=[0, 1, 3, 6])
    return p, lambda t, r: len(named(r, 'add')) == 6


@case()
def retries_in_a_loop():
    """Each iteration fails once and then succeeds; its policy is that of the sub-pipeline."""
    @dsl.container_component
    def flaky(n: int, out: dsl.OutputPath(str)):
        return dsl.ContainerSpec(image='alpine:3.20', command=['sh', '-c', 'test "$KFP_RETRY_INDEX" != 0 || exit 9; mkdir -p "$(dirname "$1")"; printf "%s" "$0-$KFP_RETRY_INDEX" > "$1"'],
                                 args=[n, out])

    @dsl.pipeline(name='inner')
    def inner(n: int) -> str:
        return flaky(n=n).outputs['out']

    @dsl.pipeline(name='retries')
    def p():
        with dsl.ParallelFor([1, 2, 3]) as n:
            s = inner(n=n).set_retry(num_retries=2, backoff_duration='1s', backoff_factor=2, backoff_max_duration='60s')
        check_list(got=dsl.Collected(s.output), want=['1-1', '2-1', '3-1'])

    def look(t, r):
        for task in named(r, 'flaky'):
            assert task.state == 'SUCCEEDED', task
            assert (task.end_time - task.start_time).total_seconds() >= 1, task
    return p, look


@case(want='FAILED')
def ignoring_a_failure_that_gave_no_value():
    @dsl.component(base_image=IMAGE)
    def tidy(text: str = 'nothing') -> str:
        return text

    @dsl.pipeline(name='ignoring')
    def p():
        b = breaks()
        t = tidy(text=b.output).ignore_upstream_failure()
        equal(got=t.output, want='nothing')
        echo(text='never').after(b)
        echo(text='still').after(b).ignore_upstream_failure().set_display_name('still')

    def look(t, r):
        assert states(r, 'equal') == ['SUCCEEDED'] and states(r, 'echo') == ['SKIPPED'] and states(r, 'still') == ['SUCCEEDED']
    return p, look


@case(want='FAILED')
def a_loop_goes_on_after_a_failure_in_it():
    @dsl.pipeline(name='goes-on')
    def p():
        with dsl.ParallelFor([1, 2, 3, 4], parallelism=1) as n:
            with dsl.If(n == 2):
                breaks()
            add(a=n, b=n)
        echo(text='after').set_display_name('apart')
    return p, lambda t, r: states(r, 'add') == ['SUCCEEDED'] * 4 and states(r, 'apart') == ['SUCCEEDED']


@case()
def conditions_of_every_type():
    @dsl.component(base_image=IMAGE)
    def values() -> NamedTuple('V', i=int, f=float, b=bool, s=str):
        return (3, -0.5, False, "it's")

    @dsl.pipeline(name='conditions')
    def p(limit: int = 3, word: str = 'yes', rate: float = 0.25, flag: bool = True):
        v = values()
        with dsl.If(v.outputs['i'] >= limit):
            with dsl.If(v.outputs['f'] < rate):
                with dsl.If(v.outputs['b'] != flag):
                    with dsl.If(word == 'yes'):
                        with dsl.If(v.outputs['s'] != word):
                            echo(text='all')
        with dsl.If(v.outputs['f'] > 0):
            breaks()
        with dsl.If(rate == 0.25):
            echo(text='rate').set_display_name('rate')
    return p, lambda t, r: states(r, 'echo') == ['SUCCEEDED'] and states(r, 'rate') == ['SUCCEEDED'] and states(r, 'breaks') == ['SKIPPED']


@case()
def names_of_people():
    @dsl.pipeline(name='display', display_name='What people see')
    def p():
        echo(text='a').set_display_name('Ünïcode / "quoted" $(x) {{y}}')
        with dsl.ParallelFor([1, 2], name='my-loop') as n:
            add(a=n, b=1).set_display_name('in the loop')

    def look(t, r):
        assert states(r, 'Ünïcode / "quoted" $(x) {{y}}') == ['SUCCEEDED']
        assert states(r, 'in the loop') == ['SUCCEEDED'] * 2
    return p, look


# ---- parameters ---------------------------------------------------------------------------------------------------------

@case()
def defaults_of_all_types():
    @dsl.component(base_image=IMAGE)
    def look_at(s: str = 'a "b" \\', i: int = 0, big: int = 9007199254740991, f: float = -0.0, tiny: float = 5e-324, huge: float = 1.7976931348623157e308,
                b: bool = False, l: list = [], d: dict = {}, ll: List[List[str]] = [[], ['']], dd: Dict[str, Dict] = {'': {'x': 'y'}}) -> dict:
        return {'s': s, 'i': i, 'big': big, 'f': f, 'tiny': tiny, 'huge': huge, 'b': b, 'l': l, 'd': d, 'll': ll, 'dd': dd}

    @dsl.pipeline(name='defaults')
    def p(want: dict, s: str = 'a "b" \\', i: int = 0, big: int = 9007199254740991, f: float = -0.0, tiny: float = 5e-324, huge: float = 1.7976931348623157e308,
          b: bool = False, l: list = [], d: dict = {}, ll: List[List[str]] = [[], ['']], dd: Dict[str, Dict] = {'': {'x': 'y'}}):
        check(got=look_at().output, want=want).set_display_name('own')
        check(got=look_at(s=s, i=i, big=big, f=f, tiny=tiny, huge=huge, b=b, l=l, d=d, ll=ll, dd=dd).output, want=want).set_display_name('given')
    want = {'s': 'a "b" \\', 'i': 0, 'big': 9007199254740991, 'f': 0, 'tiny': 5e-324, 'huge': 1.7976931348623157e308, 'b': False, 'l': [], 'd': {},
            'll': [[], ['']], 'dd': {'': {'x': 'y'}}}
    return p, None, {'want': want}


@case()
def optional_inputs_with_none():
    @dsl.component(base_image=IMAGE)
    def look_at(a: Optional[str] = None, b: Optional[int] = None, c: Optional[list] = None, d: Optional[dict] = None, e: Optional[bool] = None,
                f: Optional[float] = 2.5) -> list:
        return [a, b, c, d, e, f]

    @dsl.pipeline(name='inner')
    def inner(a: Optional[str] = None, b: Optional[int] = 4, d: Optional[dict] = None) -> list:
        return look_at(a=a, b=b, d=d).output

    @dsl.pipeline(name='nones')
    def p(nothing: list, default: list, empty: list, a: Optional[str] = None, b: Optional[int] = None):
        check_list(got=look_at(a=a, b=b).output, want=nothing).set_display_name('nothing')
        check_list(got=inner(a=a).output, want=default).set_display_name('default')
        check_list(got=inner(a='', b=0, d={}).output, want=empty).set_display_name('empty')
    return p, None, {'nothing': [None, None, None, None, None, 2.5], 'default': [None, 4, None, None, None, 2.5], 'empty': ['', 0, None, {}, None, 2.5]}


@case()
def optional_artifacts():
    @dsl.component(base_image=IMAGE)
    def maybe(d: Optional[Input[Dataset]] = None) -> str:
        return 'none' if d is None else open(d.path).read()

    @dsl.pipeline(name='inner')
    def inner(d: Optional[Input[Dataset]] = None) -> str:
        return maybe(d=d).output

    @dsl.pipeline(name='optional-artifacts')
    def p():
        equal(got=inner().output, want='none')
        equal(got=inner(d=write(text='some').outputs['d']).output, want='some')
    return p, None


@case(word='x"\' {{$}} \\')
def texts_that_are_put_together():
    @dsl.pipeline(name='texts')
    def p(word: str, n: int = 3, d: dict = {'k': 'v"'}):
        e = echo(text=f'{word}-{n}')
        check(got={'a': f'<{e.output}>', 'l': [f'{n}', word], 'd': d}, want={'a': '<x"\' {{$}} \\-3>', 'l': ['3', 'x"\' {{$}} \\'], 'd': '{"k":"v\\""}'})
    return p, None


@case()
def placeholders():
    @dsl.component(base_image=IMAGE)
    def look_at(job: str, resource: str, job_id: str, task: str, task_id: str, created: str, scheduled: str, root: str) -> str:
        import datetime
        import re
        uuid = '[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}'
        assert job.startswith('placeholders'), job
        assert re.fullmatch(r'[a-z0-9-]+-[a-z0-9]{5}', resource), resource
        assert re.fullmatch(uuid, job_id) and re.fullmatch(r'\d+', task_id), (job_id, task_id)
        assert task == 'look-at', task
        for t in (created, scheduled):
            datetime.datetime.strptime(t, '%Y-%m-%dT%H:%M:%SZ')
        assert '://' in root, root
        return job_id

    @dsl.container_component
    def in_a_command(out: dsl.OutputPath(str), x: str):
        return dsl.ContainerSpec(image='alpine:3.20', command=['sh', '-c', 'mkdir -p "$(dirname "$0")"; printf "%s" "$1" > "$0"'],
                                 args=[out, dsl.ConcatPlaceholder([dsl.PIPELINE_JOB_ID_PLACEHOLDER, '/', x, '/', dsl.PIPELINE_TASK_NAME_PLACEHOLDER])])

    @dsl.pipeline(name='placeholders')
    def p():
        a = look_at(job=dsl.PIPELINE_JOB_NAME_PLACEHOLDER, resource=dsl.PIPELINE_JOB_RESOURCE_NAME_PLACEHOLDER, job_id=dsl.PIPELINE_JOB_ID_PLACEHOLDER,
                    task=dsl.PIPELINE_TASK_NAME_PLACEHOLDER, task_id=dsl.PIPELINE_TASK_ID_PLACEHOLDER, created=dsl.PIPELINE_JOB_CREATE_TIME_UTC_PLACEHOLDER,
                    scheduled=dsl.PIPELINE_JOB_SCHEDULE_TIME_UTC_PLACEHOLDER, root=dsl.PIPELINE_ROOT_PLACEHOLDER)
        b = in_a_command(x='y')
        equal(got=b.outputs['out'], want=f'{a.output}/y/in-a-command')
    return p, None


@case()
def commands_with_structures():
    @dsl.container_component
    def put(out: dsl.OutputPath(str), a: str, b: Optional[str] = None, c: Optional[int] = None):
        return dsl.ContainerSpec(
            image='alpine:3.20', command=['sh', '-c', 'o=$0; mkdir -p "$(dirname "$o")"; printf "%s|" "$@" > "$o"', out],
            args=[dsl.ConcatPlaceholder(['--a=', a]), dsl.IfPresentPlaceholder(input_name='b', then=['--b', dsl.ConcatPlaceholder(['<', b, '>'])], else_=['--no-b']),
                  dsl.IfPresentPlaceholder(input_name='c', then=[dsl.ConcatPlaceholder(['--c=', c])])])

    @dsl.pipeline(name='structures')
    def p():
        equal(got=put(a='1').outputs['out'], want='--a=1|--no-b|')
        equal(got=put(a='1', b='', c=0).outputs['out'], want='--a=1|--b|<>|--c=0|')
        equal(got=put(a='$(x) "', b='two words', c=5).outputs['out'], want='--a=$(x) "|--b|<two words>|--c=5|')
    return p, None


# ---- artifacts ----------------------------------------------------------------------------------------------------------

@case()
def artifacts_of_every_class_between_sub_pipelines():
    @dsl.component(base_image=IMAGE)
    def make(a: Output[Artifact], d: Output[Dataset], m: Output[Model], h: Output[dsl.HTML], k: Output[dsl.Markdown], n: Output[Metrics],
             c: Output[ClassificationMetrics], s: Output[SlicedClassificationMetrics]):
        for x in (a, d, m, h, k):
            open(x.path, 'w').write(type(x).__name__)
            x.metadata.update({'flag': True, 'list': [1, {'a': None}], 'text': 'ä', 'n': 1.5})
        m.framework = 'none'
        n.log_metric('one', 1)
        n.log_metric('half', 0.5)
        c.log_confusion_matrix(['x', 'y'], [[1, 2], [3, 4]])
        c.log_roc_curve([0.0, 0.5, 1.0], [0.0, 0.7, 1.0], [float('inf'), 0.5, 0.0])
        s.metadata['evaluationSlices'] = [{'slice': 'x', 'sliceClassificationMetrics': {'confusionMatrix': {'rows': [{'row': [1, 0]}]}}}]

    @dsl.component(base_image=IMAGE)
    def look_at(a: Input[Artifact], d: Input[Dataset], m: Input[Model], h: Input[dsl.HTML], k: Input[dsl.Markdown], n: Input[Metrics],
                c: Input[ClassificationMetrics], s: Input[SlicedClassificationMetrics]):
        for x, kind in ((a, 'Artifact'), (d, 'Dataset'), (m, 'Model'), (h, 'HTML'), (k, 'Markdown')):
            assert type(x).__name__ == kind and open(x.path).read() == kind, (x, kind)
            assert x.metadata['flag'] is True and x.metadata['list'] == [1, {'a': None}] and x.metadata['text'] == 'ä' and x.metadata['n'] == 1.5, x.metadata
        assert m.framework == 'none', m.metadata
        assert n.metadata['one'] == 1 and n.metadata['half'] == 0.5, n.metadata
        assert c.metadata['confusionMatrix']['rows'][1]['row'] == [3, 4], c.metadata
        assert len(c.metadata['confidenceMetrics']) == 3, c.metadata
        assert s.metadata['evaluationSlices'][0]['sliceClassificationMetrics']['confusionMatrix']['rows'][0]['row'] == [1, 0], s.metadata

    @dsl.pipeline(name='makes')
    def makes() -> NamedTuple('All', a=Artifact, d=Dataset, m=Model, h=dsl.HTML, k=dsl.Markdown, n=Metrics, c=ClassificationMetrics, s=SlicedClassificationMetrics):
        o = make().outputs
        out = NamedTuple('All', a=Artifact, d=Dataset, m=Model, h=dsl.HTML, k=dsl.Markdown, n=Metrics, c=ClassificationMetrics, s=SlicedClassificationMetrics)
        return out(*(o[x] for x in 'admhkncs'))

    @dsl.pipeline(name='looks')
    def looks(a: Input[Artifact], d: Input[Dataset], m: Input[Model], h: Input[dsl.HTML], k: Input[dsl.Markdown], n: Input[Metrics],
              c: Input[ClassificationMetrics], s: Input[SlicedClassificationMetrics]):
        look_at(a=a, d=d, m=m, h=h, k=k, n=n, c=c, s=s)

    @dsl.pipeline(name='classes')
    def p():
        o = makes().outputs
        looks(**{x: o[x] for x in 'admhkncs'})

    def look(t, r):
        kinds = {a['type'] for a in json.loads(t.cli('artifacts', r.run_id, '--json').stdout)['artifacts']}
        assert {f'system.{k}' for k in ('Artifact', 'Dataset', 'Model', 'HTML', 'Markdown', 'Metrics', 'ClassificationMetrics', 'SlicedClassificationMetrics')} <= kinds
    return p, look


@case()
def artifacts_that_steps_return():
    @dsl.component(base_image=IMAGE)
    def returned() -> NamedTuple('R', d=Dataset, n=int):
        import os
        uri = dsl.get_uri(suffix='mine')
        d = dsl.Dataset(uri=uri, metadata={'k': [1]})
        os.makedirs(os.path.dirname(d.path), exist_ok=True)
        open(d.path, 'w').write('returned')
        return (d, 5)

    @dsl.component(base_image=IMAGE)
    def look_at(d: Input[Dataset]) -> str:
        assert d.uri.endswith('mine') and d.metadata['k'] == [1], (d.uri, d.metadata)
        return open(d.path).read()

    @dsl.component(base_image=IMAGE)
    def custom(d: Output[Dataset]):
        d.custom_path = '/tmp/elsewhere/data'
        import os
        os.makedirs('/tmp/elsewhere')
        open('/tmp/elsewhere/data', 'w').write('custom')

    @dsl.component(base_image=IMAGE)
    def directory(d: Output[Dataset]):
        import os
        os.makedirs(os.path.join(d.path, 'a', 'b'))
        open(os.path.join(d.path, 'a', 'b', 'ä f'), 'w').write('deep')

    @dsl.component(base_image=IMAGE)
    def walk(d: Input[Dataset], c: Input[Dataset]) -> str:
        import os
        return ','.join(os.path.relpath(os.path.join(p, f), d.path) for p, _, fs in os.walk(d.path) for f in fs) + ' ' + open(c.path).read()

    @dsl.pipeline(name='returned')
    def p():
        r = returned()
        equal(got=look_at(d=r.outputs['d']).output, want='returned')
        equal(got=walk(d=directory().outputs['d'], c=custom().outputs['d']).output, want='a/b/ä f custom')
    return p, None


@case()
def imports():
    @dsl.component(base_image=IMAGE)
    def look_at(d: Input[Dataset], uri: str) -> str:
        assert d.uri == uri and d.metadata['language'] == 'de' and d.metadata['nested'] == {'uri': uri}, (d.uri, d.metadata)
        return d.name

    @dsl.component(base_image=IMAGE)
    def differ(a: str, b: str, c: str):
        assert a == b and a != c, (a, b, c)

    @dsl.pipeline(name='imports')
    def p(where: str = 'minio://mlpipeline/imports/data'):
        made = echo(text=where)
        meta = {'language': 'de', 'nested': {'uri': made.output}}
        i = dsl.importer(artifact_uri=made.output, artifact_class=Dataset, reimport=False, metadata=meta)
        j = dsl.importer(artifact_uri=made.output, artifact_class=Dataset, reimport=False, metadata=meta).after(i)
        k = dsl.importer(artifact_uri=made.output, artifact_class=Dataset, reimport=True, metadata=meta).after(j)
        names = [look_at(d=x.output, uri=where) for x in (i, j, k)]
        differ(a=names[0].output, b=names[1].output, c=names[2].output)
    return p, None


@case()
def files_that_travel_in_the_source():
    import tempfile
    d = pathlib.Path(tempfile.mkdtemp())
    (d / 'sub').mkdir()
    (d / 'sub' / 'words.txt').write_text('embedded words')
    (d / 'helper.py').write_text('def shout(x):\n    return x.upper()\n')

    @dsl.component(base_image=IMAGE, embedded_artifact_path=str(d))
    def use(e: dsl.EmbeddedInput[Dataset]) -> str:
        import os
        import sys
        sys.path.insert(0, e.path)
        import helper
        return helper.shout(open(os.path.join(e.path, 'sub', 'words.txt')).read())

    @dsl.pipeline(name='embedded')
    def p():
        equal(got=use().output, want='EMBEDDED WORDS')
    return p, None


# ---- platform -----------------------------------------------------------------------------------------------------------

@case()
def everything_of_kubernetes():
    @dsl.component(base_image=IMAGE)
    def look_at():
        import os
        env = os.environ
        assert env['FROM_SECRET'] == 'word' and env['FROM_MAP'] == 'v', dict(env)
        assert open('/secret/k').read() == 'word' and open('/map/a').read() == 'v'
        assert not os.path.exists('/none/x') and os.path.isdir('/scratch')
        assert env['LABEL'] == 'red' and env['NOTE'] == 'a note' and env['POD'].startswith('kubernetes-'), dict(env)
        open('/scratch/x', 'w').write('1')
        open('/eph/x', 'w').write('1')
        assert os.getuid() == 1234 and os.getgid() == 1234, (os.getuid(), os.getgid())

    @dsl.pipeline(name='kubernetes')
    def p(secret: str = 'wide-secret', sel: dict = {'kubernetes.io/os': 'linux'}):
        s = look_at()
        kubernetes.use_secret_as_env(s, secret_name=secret, secret_key_to_env={'k': 'FROM_SECRET'})
        kubernetes.use_secret_as_volume(s, secret_name=secret, mount_path='/secret')
        kubernetes.use_config_map_as_env(s, config_map_name='wide-map', config_map_key_to_env={'a': 'FROM_MAP'})
        kubernetes.use_config_map_as_volume(s, config_map_name='wide-map', mount_path='/map')
        kubernetes.use_secret_as_volume(s, secret_name='not-there', mount_path='/none', optional=True)
        kubernetes.empty_dir_mount(s, volume_name='scratch', mount_path='/scratch', medium='Memory', size_limit='8Mi')
        kubernetes.add_ephemeral_volume(s, volume_name='eph', mount_path='/eph', access_modes=['ReadWriteOnce'], size='8Mi')
        kubernetes.add_pod_label(s, 'colour', 'red')
        kubernetes.add_pod_annotation(s, 'note', 'a note')
        kubernetes.use_field_path_as_env(s, env_name='LABEL', field_path="metadata.labels['colour']")
        kubernetes.use_field_path_as_env(s, env_name='NOTE', field_path="metadata.annotations['note']")
        kubernetes.use_field_path_as_env(s, env_name='POD', field_path='metadata.name')
        kubernetes.add_node_selector_json(s, sel)
        kubernetes.add_toleration(s, key='k', operator='Exists', effect='NoSchedule', toleration_seconds=None)
        kubernetes.add_toleration_json(s, [{'key': 'other', 'operator': 'Equal', 'value': 'v', 'effect': 'NoExecute'}])
        kubernetes.add_node_affinity(s, match_expressions=[{'key': 'kubernetes.io/os', 'operator': 'In', 'values': ['linux']}])
        kubernetes.add_node_affinity_json(s, {'preferredDuringSchedulingIgnoredDuringExecution': [
            {'weight': 5, 'preference': {'matchExpressions': [{'key': 'disk', 'operator': 'Exists'}]}}]})
        kubernetes.set_image_pull_policy(s, 'IfNotPresent')
        kubernetes.set_image_pull_secrets(s, ['regcred'])
        kubernetes.set_security_context(s, run_as_user=1234, run_as_group=1234, run_as_non_root=True)
        kubernetes.set_timeout(s, 100)

    def look(t, r):
        pod = next(p for p in json.loads(t.kubectl('get', 'pods', '-n', 'kubeflow', '-o', 'json', '-l', f'pipeline/runid={r.run_id}').stdout)['items'])
        spec = pod['spec']
        assert spec['nodeSelector'] == {'kubernetes.io/os': 'linux'} and spec['imagePullSecrets'] == [{'name': 'regcred'}]
        assert {t['key'] for t in spec['tolerations']} >= {'k', 'other'}
        affinity = spec['affinity']['nodeAffinity']
        assert affinity['requiredDuringSchedulingIgnoredDuringExecution'] and affinity['preferredDuringSchedulingIgnoredDuringExecution'][0]['weight'] == 5
        assert spec['activeDeadlineSeconds'] == 100
        main = next(c for c in spec['containers'] if c['name'] == 'main')
        assert main['imagePullPolicy'] == 'IfNotPresent'
    return p, look


@case()
def a_claim_that_a_pipeline_makes_and_removes():
    @dsl.component(base_image=IMAGE)
    def put(n: int):
        open(f'/data/{n}', 'w').write(str(n))

    @dsl.component(base_image=IMAGE)
    def names() -> list:
        import os
        return sorted(os.listdir('/data'))

    @dsl.pipeline(name='claims')
    def p():
        c = kubernetes.CreatePVC(pvc_name_suffix='-wide', access_modes=['ReadWriteMany'], size='16Mi', storage_class_name='standard')
        with dsl.ParallelFor([1, 2, 3]) as n:
            w = put(n=n)
            kubernetes.mount_pvc(w, pvc_name=c.outputs['name'], mount_path='/data')
        r = names().after(w)
        kubernetes.mount_pvc(r, pvc_name=c.outputs['name'], mount_path='/data')
        k = check_list(got=r.output, want=['1', '2', '3'])
        kubernetes.DeletePVC(pvc_name=c.outputs['name']).after(k)

    def look(t, r):
        claims = json.loads(t.kubectl('get', 'pvc', '-n', 'kubeflow', '-o', 'json').stdout)['items']
        assert not [c for c in claims if c['metadata']['name'].endswith('-wide') and not c['metadata'].get('deletionTimestamp')]
    return p, look


@case()
def limits_and_environment_from_parameters():
    @dsl.component(base_image=IMAGE)
    def look_at() -> str:
        import os
        return os.environ['GREETING']

    @dsl.pipeline(name='machine')
    def p(cpu: str = '1', memory: str = '256Mi', word: str = 'hi'):
        s = look_at().set_cpu_limit(cpu).set_cpu_request('50m').set_memory_limit(memory).set_memory_request('16Mi').set_env_variable('GREETING', 'fixed')
        equal(got=s.output, want='fixed')
        with dsl.ParallelFor(['128Mi', '192Mi']) as m:
            echo(text=m).set_memory_limit(m)

    def look(t, r):
        pods = json.loads(t.kubectl('get', 'pods', '-n', 'kubeflow', '-o', 'json', '-l', f'pipeline/runid={r.run_id}').stdout)['items']
        limits = [c['resources'].get('limits', {}) for pod in pods for c in pod['spec']['containers']]
        assert {'cpu': '1', 'memory': '256Mi'} in limits and {'memory': '128Mi'} in limits and {'memory': '192Mi'} in limits, limits
    return p, look


@case()
def what_a_step_would_run_with_is_handed_to_it():
    @dsl.component(base_image=IMAGE, task_config_passthroughs=[dsl.TaskConfigField.RESOURCES, dsl.TaskConfigField.KUBERNETES_TOLERATIONS,
                                                               dsl.TaskConfigPassthrough(field=dsl.TaskConfigField.ENV, apply_to_task=True)])
    def look_at(config: dsl.TaskConfig):
        import os
        assert config.resources['limits'] == {'cpu': '64', 'memory': '999Gi'}, config.resources
        assert config.tolerations[0]['key'] == 'k', config.tolerations
        assert {'name': 'A', 'value': 'b'} in config.env and os.environ['A'] == 'b', config.env

    @dsl.pipeline(name='config')
    def p():
        s = look_at().set_cpu_limit('64').set_memory_limit('999Gi').set_env_variable('A', 'b')
        kubernetes.add_toleration(s, key='k', operator='Exists')
    return p, None


@case()
def a_workspace():
    @dsl.component(base_image=IMAGE)
    def put(path: str) -> str:
        open(path + '/x', 'w').write('shared')
        return path

    @dsl.component(base_image=IMAGE)
    def get(path: str) -> str:
        return open(path).read()

    @dsl.pipeline(name='workspace', pipeline_config=dsl.PipelineConfig(workspace=dsl.WorkspaceConfig(
        size='16Mi', kubernetes=dsl.KubernetesWorkspaceConfig(pvcSpecPatch={'accessModes': ['ReadWriteMany']}))))
    def p():
        w = put(path=dsl.WORKSPACE_PATH_PLACEHOLDER)
        equal(got=get(path=dsl.WORKSPACE_PATH_PLACEHOLDER + '/x').after(w).output, want='shared')
    return p, None


@case(cache=True)
def a_loop_with_equal_items_and_the_cache():
    """Equal items at once: all may run, none may get another's outputs."""
    @dsl.pipeline(name='equal-items')
    def p():
        with dsl.ParallelFor([5, 5, 6], parallelism=1) as n:
            s = add(a=n, b=1)
        check_list(got=dsl.Collected(s.output), want=[6, 6, 7])

    def look(t, r):
        assert [t.state for t in named(r, 'add')].count('SUCCEEDED') >= 2
    return p, look


# ---- running them -------------------------------------------------------------------------------------------------------

SECRET = {'apiVersion': 'v1', 'kind': 'Secret', 'metadata': {'name': 'wide-secret', 'namespace': 'kubeflow'}, 'stringData': {'k': 'word'}}
MAP = {'apiVersion': 'v1', 'kind': 'ConfigMap', 'metadata': {'name': 'wide-map', 'namespace': 'kubeflow'}, 'data': {'a': 'v'}}


COMPILING = threading.Lock()   # the compiler keeps the pipeline that it is at in a variable of its module


class Runs:
    """Runs of cases, all of them started with the first that is asked for by this test."""

    def __init__(self, t, cases, test):
        self.t = t
        self.cases, self.test = cases, test
        self.pool = concurrent.futures.ThreadPoolExecutor(8)
        self.runs = {}

    def run(self, name):
        make, arguments, _, cache = self.cases[name]
        client = self.t.kfp()
        with COMPILING:
            p, look, *more = make()
            for c in p.pipeline_spec.components.values() if not cache else ():  # the client's enable_caching is about the tasks of the root alone
                for task in c.dag.tasks.values():
                    task.caching_options.enable_cache = False
            made = client.create_run_from_pipeline_func(p, arguments=more[0] if more else arguments, enable_caching=cache)
        return client.wait_for_run_completion(made.run_id, timeout=300, sleep_duration=0.3), look

    def result(self, name, request):
        for item in request.session.items:
            n = getattr(item, 'callspec', None) and item.callspec.params.get('name')
            if getattr(item, 'originalname', '') == self.test and n not in self.runs:
                self.runs[n] = self.pool.submit(self.run, n)
        return self.runs[name].result(timeout=600)

    def check(self, name, request):
        r, look = self.result(name, request)
        expect(self.t, r, self.cases[name][2])
        if look:
            assert look(self.t, r) is not False, self.t.cli('runs', r.run_id).stdout


def runs_of(cases, test):
    t = start()
    t.kubectl('apply', '-f', '-', stdin=json.dumps({'apiVersion': 'v1', 'kind': 'List', 'items': [SECRET, MAP]}))
    r = Runs(t, cases, test)
    yield r
    r.pool.shutdown(wait=False, cancel_futures=True)
    t.purge()


@pytest.fixture(scope='module')
def runs():
    yield from runs_of(CASES, 'test_wide')


@needs_node
@pytest.mark.parametrize('name', sorted(CASES))
def test_wide(runs, name, request):
    runs.check(name, request)


@pytest.mark.parametrize('name', sorted(CASES))
def test_every_one_is_accepted(name, accepting, tmp_path):
    """Also where no container can run: uploaded, checked as a whole, and shown as it came."""
    file = tmp_path / 'p.yaml'
    compiler.Compiler().compile(CASES[name][0]()[0], str(file))
    r = requests.post(f'{accepting.url}/apis/v2beta1/pipelines/upload', params={'name': name}, files={'uploadfile': ('p.yaml', file.read_bytes())}, timeout=60)
    assert r.status_code == 200, r.text
    version = requests.get(f'{accepting.url}/apis/v2beta1/pipelines/{r.json()["pipeline_id"]}/versions', timeout=60).json()['pipeline_versions'][0]
    spec = version['pipeline_spec'].get('pipeline_spec') or version['pipeline_spec']
    assert spec['root'] == next(iter(yaml.safe_load_all(file.read_text())))['root']


@pytest.fixture(scope='module')
def accepting():
    t = start(node=False)
    yield t
    t.purge()
