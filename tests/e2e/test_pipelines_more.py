"""More of what pipelines can say, each compiled by the unmodified kfp SDK and run by real pods."""
import json
import pathlib
import time
from typing import Dict, List, Optional

from conftest import needs_node
from kfp import dsl, kubernetes
from test_pipelines import IMAGE, add, expect, numbers, run, show, tasks, total

pytestmark = needs_node


def all_tasks(r, name):
    return [t for t in r.run_details.task_details if t.display_name == name]


def logs(t, r, name):
    """What the tasks of this name said, of those that ran."""
    return ''.join(t.cli('logs', r.run_id, task.task_id).stdout for task in all_tasks(r, name) if task.state in ('SUCCEEDED', 'FAILED'))


@dsl.component(base_image=IMAGE)
def make_dataset(text: str, d: dsl.Output[dsl.Dataset]):
    open(d.path, 'w').write(text)
    d.metadata['text'] = text


@dsl.component(base_image=IMAGE)
def read_all(ds: dsl.Input[List[dsl.Dataset]]) -> str:
    return ','.join(f'{open(d.path).read()}:{d.metadata["text"]}' for d in ds or [])


def test_every_parameter_type(tidemill):
    @dsl.component(base_image=IMAGE)
    def look(s: str, i: int, f: float, b: bool, l: list, d: dict) -> dict:
        assert isinstance(s, str) and isinstance(i, int) and isinstance(f, (int, float)) and isinstance(b, bool), (s, i, f, b)
        return {'s': s, 'i': i, 'f': f, 'b': b, 'l': l, 'd': d}

    @dsl.component(base_image=IMAGE)
    def compare(made: dict, want: dict):
        assert made == want, made

    @dsl.pipeline(name='types')
    def p(want: dict, s: str = 'ä "q"', i: int = -9007199254740991, f: float = 1e-9, b: bool = False, l: list = [1, 'a', {'k': [True]}],
          d: dict = {'n': {'m': 1.5}}):
        compare(made=look(s=s, i=i, f=f, b=b, l=l, d=d).output, want=want)
    want = {'s': 'ä "q"', 'i': -9007199254740991, 'f': 1e-9, 'b': False, 'l': [1, 'a', {'k': [True]}], 'd': {'n': {'m': 1.5}}}
    expect(tidemill, run(tidemill, p, {'want': want}), 'SUCCEEDED')
    other = {'s': ' line\nline\n', 'i': 0, 'f': 2.0, 'b': True, 'l': [], 'd': {}}
    expect(tidemill, run(tidemill, p, {'want': other, **other}), 'SUCCEEDED')


def test_defaults_and_optional_inputs(tidemill):
    @dsl.component(base_image=IMAGE)
    def look(a: int, given: Optional[int] = None, missing: Optional[str] = None, text: str = 'own', flag: bool = True) -> str:
        return f'{a} {given} {missing} {text} {flag}'

    @dsl.pipeline(name='inner')
    def inner(x: Optional[int] = None, y: int = 7):
        look(a=y, given=x).set_display_name('inside')

    @dsl.pipeline(name='optionals')
    def p(a: int = 1, given: Optional[int] = None, missing: Optional[str] = None):
        show(text=look(a=a, given=given, missing=missing).output)
        inner(x=given)
    r = expect(tidemill, run(tidemill, p, {'given': 5}), 'SUCCEEDED')
    assert 'text is 1 5 None own True' in logs(tidemill, r, 'show')
    r = expect(tidemill, run(tidemill, p), 'SUCCEEDED')
    assert 'text is 1 None None own True' in logs(tidemill, r, 'show')


def test_step_that_takes_too_long(tidemill):
    @dsl.component(base_image=IMAGE)
    def sleep():
        import time
        time.sleep(1200)

    @dsl.pipeline(name='slow')
    def p():
        s = sleep()
        kubernetes.set_timeout(s, 2)
        show(text='after').after(s)
    began = time.monotonic()
    r = expect(tidemill, run(tidemill, p), 'FAILED')
    assert time.monotonic() - began < 600
    assert 'deadline' in tasks(r)['sleep'].error.message.lower(), tasks(r)['sleep'].error
    assert tasks(r)['show'].state in ('SKIPPED', 'CANCELED')


def test_retry_of_a_failed_run(tidemill):
    """The second time only what failed and what came after it runs."""
    @dsl.component(base_image=IMAGE)
    def first() -> str:
        return 'first'

    @dsl.container_component
    def gate(text: str, out: dsl.OutputPath(str)):
        return dsl.ContainerSpec(image='alpine:3.20', command=['sh', '-c', 'test -e /gate/open || exit 3; mkdir -p "$(dirname "$0")"; printf %s "$1" > "$0"'],
                                 args=[out, text])

    @dsl.pipeline(name='second-try')
    def p():
        one = first()
        g = gate(text=one.output)
        g.set_caching_options(False)
        kubernetes.use_config_map_as_volume(g, config_map_name='gate', mount_path='/gate', optional=True)
        show(text=g.outputs['out'])
    client = tidemill.kfp()
    tidemill.kubectl('delete', 'configmap', 'gate', '-n', 'kubeflow', '--ignore-not-found')
    r = expect(tidemill, run(tidemill, p), 'FAILED')
    before = tasks(r)
    assert before['first'].state == 'SUCCEEDED' and before['gate'].state == 'FAILED' and before['show'].state == 'SKIPPED', before
    tidemill.kubectl('create', 'configmap', 'gate', '-n', 'kubeflow', '--from-literal=open=yes')
    client._run_api.run_service_retry_run(r.run_id)
    again = client.wait_for_run_completion(r.run_id, timeout=120, sleep_duration=0.1)
    expect(tidemill, again, 'SUCCEEDED')
    after = tasks(again)
    assert after['first'].end_time == before['first'].end_time, 'a step that had succeeded ran again'
    assert 'text is first' in logs(tidemill, again, 'show')


def test_collected_artifacts(tidemill):
    @dsl.pipeline(name='lists-of-artifacts')
    def p(texts: List[str] = ['a', 'b', 'c']):
        with dsl.ParallelFor(texts) as t:
            d = make_dataset(text=t)
        show(text=read_all(ds=dsl.Collected(d.outputs['d'])).output)
    r = expect(tidemill, run(tidemill, p), 'SUCCEEDED')
    assert 'text is a:a,b:b,c:c' in logs(tidemill, r, 'show')
    r = expect(tidemill, run(tidemill, p, {'texts': []}), 'SUCCEEDED')
    assert 'text is \n' in logs(tidemill, r, 'show')


def test_members_of_loop_items(tidemill):
    @dsl.pipeline(name='members')
    def p(items: list = [{'who': 'x', 'what': 'one', 'l': [{'q': '1'}, {'q': '2'}]}, {'who': 'y', 'what': 'two', 'l': [{'q': '3'}]}]):
        with dsl.ParallelFor(items) as item:
            with dsl.If(item.who == 'y'):
                show(text=item.what)
            with dsl.ParallelFor(item.l) as inner:
                show(text=inner.q).set_display_name('inner')
        with dsl.ParallelFor([{'k': 1, 'v': 10}, {'k': 2, 'v': 20}]) as raw:
            add(a=raw.k, b=raw.v)
    r = expect(tidemill, run(tidemill, p), 'SUCCEEDED')
    said = logs(tidemill, r, 'show')
    assert said.count('text is') == 1 and 'text is two' in said
    said = logs(tidemill, r, 'inner')
    assert all(f'text is {n}\n' in said for n in '123') and said.count('text is') == 3
    assert [t.state for t in all_tasks(r, 'add')] == ['SUCCEEDED', 'SUCCEEDED']


def test_ignore_upstream_failure(tidemill):
    @dsl.component(base_image=IMAGE)
    def breaks() -> str:
        raise SystemExit(4)

    @dsl.pipeline(name='clean-up')
    def p(text: str = 'given'):
        b = breaks()
        show(text=text).after(b).ignore_upstream_failure().set_display_name('clean')
        show(text=text).after(b).set_display_name('not-run')
    r = expect(tidemill, run(tidemill, p), 'FAILED')
    t = tasks(r)
    assert t['clean'].state == 'SUCCEEDED' and t['not-run'].state == 'SKIPPED'
    assert 'text is given' in logs(tidemill, r, 'clean')


def test_nested_loops_with_limits(tidemill):
    @dsl.component(base_image=IMAGE)
    def stamp(a: int, b: int) -> str:
        import time
        began = time.time()
        time.sleep(0.3)
        return f'{began} {time.time()}'

    @dsl.component(base_image=IMAGE)
    def at_once(spans: List[List[str]]) -> int:
        pairs = [tuple(map(float, s.split())) for inner in spans for s in inner]
        assert len(pairs) == 9, spans
        most = max(sum(b <= t < e for b, e in pairs) for t, _ in pairs)
        print('most at once', most)
        return most

    @dsl.pipeline(name='limits')
    def p():
        with dsl.ParallelFor([1, 2, 3], parallelism=1) as a:
            with dsl.ParallelFor([1, 2, 3], parallelism=2) as b:
                s = stamp(a=a, b=b)
        at_once(spans=dsl.Collected(s.output))
    r = expect(tidemill, run(tidemill, p), 'SUCCEEDED')
    assert 'most at once 1' in logs(tidemill, r, 'at-once') or 'most at once 2' in logs(tidemill, r, 'at-once')


def test_sum_over_loops(tidemill):
    @dsl.pipeline(name='sums')
    def p(n: int = 3):
        with dsl.ParallelFor(numbers(n=n).output) as a:
            y = add(a=a, b=1)
        total(values=dsl.Collected(y.output))
    r = expect(tidemill, run(tidemill, p, {'n': 4}), 'SUCCEEDED')
    assert len(all_tasks(r, 'add')) == 4


def test_big_parameters(tidemill):
    """More than one argument of a command may hold."""
    @dsl.component(base_image=IMAGE)
    def make(n: int) -> str:
        return 'x' * n

    @dsl.component(base_image=IMAGE)
    def measure(text: str, given: str) -> int:
        print('lengths', len(text), len(given))
        return len(text)

    @dsl.pipeline(name='big')
    def p(given: str, n: int = 500000):
        measure(text=make(n=n).output, given=given)
    r = expect(tidemill, run(tidemill, p, {'given': 'y' * 200000}), 'SUCCEEDED')
    assert 'lengths 500000 200000' in logs(tidemill, r, 'measure')


def test_environment(tidemill):
    @dsl.component(base_image=IMAGE)
    def look(names: List[str]) -> str:
        import os
        return '|'.join(os.environ.get(n, '-') for n in names)

    @dsl.pipeline(name='env')
    def p():
        task = look(names=['PLAIN', 'EMPTY', 'NONE', 'KFP_POD_NAME'])
        task.set_env_variable('PLAIN', 'a $(b) "c"').set_env_variable('EMPTY', '')
        show(text=task.output).set_display_name('seen')
    r = expect(tidemill, run(tidemill, p), 'SUCCEEDED')
    assert 'text is a $(b) "c"||-|env-' in logs(tidemill, r, 'seen')


def test_resources(tidemill):
    @dsl.pipeline(name='resources')
    def p(cpu: str = '500m', memory: str = '256Mi'):
        show(text='fixed').set_cpu_request('100m').set_cpu_limit('1').set_memory_request('64Mi').set_memory_limit('512M').set_display_name('fixed')
        show(text='given').set_cpu_limit(cpu).set_memory_limit(memory).set_display_name('given')
    r = expect(tidemill, run(tidemill, p), 'SUCCEEDED')
    pods = json.loads(tidemill.kubectl('get', 'pods', '-n', 'kubeflow', '-o', 'json').stdout)['items']
    mine = [c['resources'] for pod in pods if pod['metadata']['name'].startswith('resources-') for c in pod['spec']['containers']]
    assert {'limits': {'cpu': '1', 'memory': '512M'}, 'requests': {'cpu': '100m', 'memory': '64Mi'}} in mine, mine
    assert any(m['limits'] == {'cpu': '500m', 'memory': '256Mi'} for m in mine), mine
    assert r.state == 'SUCCEEDED'


def test_reports(tidemill):
    @dsl.component(base_image=IMAGE)
    def report(m: dsl.Output[dsl.Metrics], h: dsl.Output[dsl.HTML], d: dsl.Output[dsl.Markdown], c: dsl.Output[dsl.ClassificationMetrics]):
        m.log_metric('accuracy', 0.75)
        m.log_metric('rows', 3)
        open(h.path, 'w').write('<h1>hello</h1>')
        open(d.path, 'w').write('# hello')
        c.log_confusion_matrix(['a', 'b'], [[1, 2], [3, 4]])
        c.log_roc_curve([0.0, 1.0], [0.0, 1.0], [1.0, 0.0])

    @dsl.pipeline(name='reports')
    def p():
        report()
    r = expect(tidemill, run(tidemill, p), 'SUCCEEDED')
    made = {a['type']: a for a in json.loads(tidemill.cli('artifacts', r.run_id, '--json').stdout)['artifacts']}
    metrics = made['system.Metrics']['metadata']
    assert metrics['accuracy'] == 0.75 and metrics['rows'] == 3
    classes = made['system.ClassificationMetrics']['metadata']
    assert classes['confusionMatrix'] and classes['confidenceMetrics']
    for kind, text in (('system.HTML', '<h1>hello</h1>'), ('system.Markdown', '# hello')):
        assert pathlib.Path(tidemill.data, 'artifacts', made[kind]['uri'].split('://')[1]).read_text() == text


def test_a_step_that_no_node_takes(tidemill):
    """It waits, and says for what."""
    @dsl.pipeline(name='gpu')
    def p():
        show(text='x').set_accelerator_type('nvidia.com/gpu').set_accelerator_limit(1)
    client = tidemill.kfp()
    made = client.create_run_from_pipeline_func(p, enable_caching=False)
    until = time.monotonic() + 120
    why = None
    while not why and time.monotonic() < until:
        task = tasks(client.get_run(made.run_id)).get('show') if client.get_run(made.run_id).run_details else None
        why = task and task.error and task.error.message
    assert why and 'nvidia.com/gpu' in why, why
    assert client.get_run(made.run_id).state == 'RUNNING'
    client.terminate_run(made.run_id)
    client.wait_for_run_completion(made.run_id, timeout=60, sleep_duration=0.1)
