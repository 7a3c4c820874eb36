"""Pipelines with the unmodified kfp SDK, run by real pods."""
import json
import pathlib
import subprocess
import sys
import tempfile
from typing import List, NamedTuple

import pytest
from conftest import ROOT, needs_node
from kfp import compiler, dsl

sys.path.insert(0, str(ROOT / 'examples'))
pytestmark = needs_node
IMAGE = 'python:3.11'


def run(t, pipeline, arguments=None, cache=False, timeout=120):
    client = t.kfp()
    made = client.create_run_from_pipeline_func(pipeline, arguments=arguments or {}, enable_caching=cache)
    done = client.wait_for_run_completion(made.run_id, timeout=timeout, sleep_duration=0.1)
    return done


def tasks(r):
    return {t.display_name: t for t in r.run_details.task_details}


def expect(t, r, state):
    if r.state != state:
        logs = t.cli('logs', r.run_id, check=False)
        raise AssertionError(f'{r.state}, expected {state}: {r.error}\n{t.cli("runs", r.run_id, check=False).stdout}\n{logs.stdout}\n{logs.stderr}')
    return r


@dsl.component(base_image=IMAGE)
def add(a: int, b: int) -> int:
    return a + b


@dsl.component(base_image=IMAGE)
def fail(code: int = 3):
    import sys
    print('about to fail')
    sys.exit(code)


@dsl.component(base_image=IMAGE)
def show(text: str) -> str:
    print('text is', text)
    return text


@dsl.component(base_image=IMAGE)
def numbers(n: int) -> List[int]:
    return list(range(n))


@dsl.component(base_image=IMAGE)
def total(values: List[int]) -> int:
    return sum(values)


def test_one_step(tidemill):
    @dsl.pipeline(name='one-step')
    def p(a: int = 2, b: int = 3):
        add(a=a, b=b)
    r = expect(tidemill, run(tidemill, p, {'a': 40}), 'SUCCEEDED')
    assert tasks(r)['add'].state == 'SUCCEEDED'


def test_main_example(tidemill):
    import cancer_sweep
    r = expect(tidemill, run(tidemill, cancer_sweep.cancer_sweep, {'good_enough': 0.5}), 'SUCCEEDED')
    out = json.loads(tidemill.cli('artifacts', r.run_id, '--json').stdout)['artifacts']
    model = [a for a in out if a['type'] == 'system.Model']
    assert len(model) == 1 and model[0]['metadata']['framework'] == 'scikit-learn' and model[0]['metadata']['accuracy'] > 0.9
    path = pathlib.Path(tidemill.data, 'artifacts', model[0]['uri'].split('://')[1])
    assert path.stat().st_size > 100
    report = [a for a in out if a['type'] == 'system.ClassificationMetrics'][0]['metadata']
    assert report['confusionMatrix'] and report['confidenceMetrics']
    assert len([a for a in out if a['type'] == 'system.Metrics']) == 5
    assert 'accepted' in tidemill.cli('logs', r.run_id, 'accept').stdout


def test_chain_loop_collected_and_conditions(tidemill):
    @dsl.pipeline(name='loop')
    def p(n: int = 4):
        xs = numbers(n=n)
        with dsl.ParallelFor(xs.output, parallelism=2) as x:
            y = add(a=x, b=10)
        s = total(values=dsl.Collected(y.output))
        with dsl.If(s.output > 40):
            big = show(text='big')
        with dsl.Else():
            small = show(text='small')
        show(text=dsl.OneOf(big.output, small.output)).set_display_name('after')
    r = expect(tidemill, run(tidemill, p), 'SUCCEEDED')
    assert 'text is big' in tidemill.cli('logs', r.run_id, 'after').stdout


def test_nested_pipeline_and_exit_handler(tidemill):
    @dsl.pipeline(name='inner')
    def inner(a: int) -> int:
        one = add(a=a, b=1)
        return add(a=one.output, b=1).output

    @dsl.component(base_image=IMAGE)
    def last(status: dsl.PipelineTaskFinalStatus):
        print('state', status.state, 'of', status.pipeline_task_name)

    @dsl.pipeline(name='outer')
    def p():
        end = last()
        with dsl.ExitHandler(end, name='guarded'):
            x = inner(a=5)
            add(a=x.output, b=0)
    r = expect(tidemill, run(tidemill, p), 'SUCCEEDED')
    assert 'state COMPLETE' in tidemill.cli('logs', r.run_id, 'last').stdout


def test_exit_handler_runs_after_a_failure(tidemill):
    @dsl.component(base_image=IMAGE)
    def last(status: dsl.PipelineTaskFinalStatus):
        print('state', status.state)

    @dsl.pipeline(name='failing-guarded')
    def p():
        end = last()
        with dsl.ExitHandler(end):
            fail()
    r = expect(tidemill, run(tidemill, p), 'FAILED')
    assert 'state FAILED' in tidemill.cli('logs', r.run_id, 'last').stdout


def test_failure_tells_why(tidemill):
    @dsl.pipeline(name='failing')
    def p():
        fail(code=3)
        add(a=1, b=1)
    r = expect(tidemill, run(tidemill, p), 'FAILED')
    t = tasks(r)
    assert t['add'].state == 'SUCCEEDED'
    assert 'exit status 3' in t['fail'].error.message and 'about to fail' in t['fail'].error.message


def test_retry(tidemill):
    @dsl.component(base_image=IMAGE)
    def flaky():
        import os
        import sys
        print('try', os.environ['KFP_RETRY_INDEX'])
        sys.exit(0 if os.environ['KFP_RETRY_INDEX'] == '2' else 1)

    @dsl.pipeline(name='retry')
    def p():
        flaky().set_retry(num_retries=3, backoff_duration='0s')
    expect(tidemill, run(tidemill, p), 'SUCCEEDED')


def test_cache(tidemill):
    @dsl.pipeline(name='cached')
    def p(a: int = 1):
        add(a=add(a=a, b=1).output, b=5)
    first = expect(tidemill, run(tidemill, p, cache=True), 'SUCCEEDED')
    second = expect(tidemill, run(tidemill, p, cache=True), 'SUCCEEDED')
    assert {t.state for n, t in tasks(first).items() if n.startswith('add')} == {'SUCCEEDED'}
    assert {t.state for n, t in tasks(second).items() if n.startswith('add')} == {'SKIPPED'}


def test_artifacts_through_steps(tidemill):
    @dsl.component(base_image=IMAGE)
    def make(d: dsl.Output[dsl.Dataset], folder: dsl.Output[dsl.Artifact]):
        import os
        open(d.path, 'w').write('hello')
        d.metadata.update({'rows': 10, 'ok': True, 'list': [1, {'a': None}]})
        os.makedirs(folder.path)
        open(folder.path + '/f', 'w').write('in folder')

    @dsl.component(base_image=IMAGE)
    def use(d: dsl.Input[dsl.Dataset], folder: dsl.Input[dsl.Artifact]) -> str:
        assert d.metadata['rows'] == 10 and d.metadata['ok'] is True and d.metadata['list'] == [1, {'a': None}], d.metadata
        return open(d.path).read() + ' ' + open(folder.path + '/f').read()

    @dsl.pipeline(name='artifacts')
    def p():
        m = make()
        show(text=use(d=m.outputs['d'], folder=m.outputs['folder']).output)
    r = expect(tidemill, run(tidemill, p), 'SUCCEEDED')
    assert 'text is hello in folder' in tidemill.cli('logs', r.run_id, 'show').stdout


def test_container_component_and_placeholders(tidemill):
    @dsl.container_component
    def echo(name: str, out: dsl.OutputPath(str), times: int = 2):
        return dsl.ContainerSpec(image='alpine:3.20', command=['sh', '-c', 'mkdir -p "$(dirname "$1")"; printf "%s-%s" "$0" "$2" > "$1"'],
                                 args=[name, out, times])

    @dsl.pipeline(name='container')
    def p():
        show(text=echo(name="it's {{$.odd}} \"quoted\"").outputs['out'])
    r = expect(tidemill, run(tidemill, p), 'SUCCEEDED')
    assert "text is it's {{$.odd}} \"quoted\"-2" in tidemill.cli('logs', r.run_id, 'show').stdout


def test_terminate(tidemill):
    @dsl.component(base_image=IMAGE)
    def sleep():
        import time
        time.sleep(300)

    @dsl.pipeline(name='long')
    def p():
        sleep()
    client = tidemill.kfp()
    made = client.create_run_from_pipeline_func(p, enable_caching=False)
    for _ in range(200):
        r = client.get_run(made.run_id)
        if r.state == 'RUNNING':
            break
    client.terminate_run(made.run_id)
    r = client.wait_for_run_completion(made.run_id, timeout=60, sleep_duration=0.1)
    assert r.state == 'FAILED' and r.error.code == 1, r


def test_cli_run_watch(tidemill, tmp_path):
    @dsl.pipeline(name='from-cli')
    def p(a: int, text: str = 'x'):
        add(a=a, b=1)
        show(text=text)
    f = tmp_path / 'p.yaml'
    compiler.Compiler().compile(p, str(f))
    r = tidemill.cli('run', str(f), '-p', 'a=41', '-p', 'text=a b=c', '--watch')
    assert 'SUCCEEDED' in r.stdout
    r = tidemill.cli('run', str(f), '-p', 'a=x', check=False)
    assert r.returncode == 1 and 'NUMBER_INTEGER' in r.stderr
    r = tidemill.cli('run', str(f), check=False)
    assert r.returncode == 1 and "parameter a is not optional" in r.stderr

    @dsl.pipeline(name='from-cli-failing')
    def bad():
        fail()
    compiler.Compiler().compile(bad, str(f))
    r = tidemill.cli('run', str(f), '--watch', check=False)
    assert r.returncode == 3 and 'exit status 3' in r.stdout


def test_kube_proxy_path(tidemill):
    """kfp.Client with only a kubeconfig, through services/proxy."""
    code = ('import warnings; warnings.filterwarnings("ignore")\n'
            'from kfp import client\n'
            'c = client.Client(namespace="kubeflow")\n'
            'print(c.list_experiments().total_size)\n')
    import os
    r = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, env={**os.environ, 'KUBECONFIG': tidemill.kubeconfig}, timeout=60)
    assert r.returncode == 0, r.stderr
    assert int(r.stdout.split()[-1]) >= 1


def test_importer(tidemill):
    @dsl.component(base_image=IMAGE)
    def look(a: dsl.Input[dsl.Dataset]) -> str:
        return a.uri + ' ' + a.metadata['k']

    @dsl.pipeline(name='importing')
    def p():
        i = dsl.importer(artifact_uri='https://example.org/data.csv', artifact_class=dsl.Dataset, reimport=False, metadata={'k': 'v'})
        show(text=look(a=i.output).output)
    r = expect(tidemill, run(tidemill, p), 'SUCCEEDED')
    assert 'text is https://example.org/data.csv v' in tidemill.cli('logs', r.run_id, 'show').stdout
