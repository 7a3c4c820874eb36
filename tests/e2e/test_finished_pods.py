"""Pods of runs that are over go; what they printed stays."""
import os
import pathlib
import signal
import time
import urllib.error
import urllib.request

import conftest
import pytest
from conftest import needs_node
from kfp import dsl
from test_pipelines import run

pytestmark = needs_node
IMAGE = 'python:3.11'


SECONDS = 100000 + os.getpid()   # a command line that no other process has


@dsl.container_component
def say(text: str):
    return dsl.ContainerSpec(image=IMAGE, command=['echo', 'said'], args=[text])


@dsl.container_component
def wait():
    return dsl.ContainerSpec(image=IMAGE, command=['sh', '-c'], args=[f'echo last words; sleep {SECONDS}; true'])


@dsl.pipeline(name='short')
def short():
    first = say(text='two')
    say(text='one').after(first)


@dsl.pipeline(name='fatal')
def fatal():
    wait()


def pods_of(t, run_id):
    return t.kubectl('get', 'pods', '-n', 'kubeflow', '-o', 'name', '-l', f'pipeline/runid={run_id}').stdout.split()


def wait_for_no_pods(t, run_id, seconds=60):
    until = time.monotonic() + seconds
    while pods_of(t, run_id):
        assert time.monotonic() < until, pods_of(t, run_id)
        time.sleep(0.5)


def get(t, path):
    with urllib.request.urlopen(t.url + path, timeout=120) as r:
        return r.read().decode()


def agent_of(seconds):
    """The process above the shell that waits so long: the agent, which is the container's first."""
    until = time.monotonic() + 60
    while time.monotonic() < until:
        for p in pathlib.Path('/proc').glob('[0-9]*'):
            try:
                if (p / 'cmdline').read_bytes() == f'sleep\0{seconds}\0'.encode():
                    shell = (p / 'stat').read_text().rsplit(')', 1)[1].split()[1]
                    return int(pathlib.Path(f'/proc/{shell}/stat').read_text().rsplit(')', 1)[1].split()[1])
            except OSError:
                continue
        time.sleep(0.1)
    raise AssertionError('the step did not start')


@pytest.fixture(scope='module')
def t():
    t = conftest.start(env={'FINISHED_PODS_MAX': '0'})
    yield t
    t.purge()


def test_logs_outlive_their_pods(t):
    r = run(t, short)
    assert r.state == 'SUCCEEDED'
    wait_for_no_pods(t, r.run_id)
    assert sorted(line for line in t.cli('logs', r.run_id).stdout.splitlines() if line.startswith('said')) == ['said one', 'said two']
    assert t.cli('logs', r.run_id, 'say').stdout == 'said two\n'
    task = next(x for x in r.run_details.task_details if x.display_name == 'say')
    path = f'/apis/v2beta1/runs/{r.run_id}/nodes/{task.pod_name}/log'
    assert get(t, path) == get(t, path + '?tail=1') == 'said two\n'
    with pytest.raises(urllib.error.HTTPError) as e:
        get(t, path + '?container=other')
    assert e.value.code == 404
    assert t.kfp().get_run(r.run_id).state == 'SUCCEEDED'


def test_newest_and_young_ones_stay(t):
    t.stop()
    t.env = {'FINISHED_PODS_MAX': '2', 'TTL_SECONDS_AFTER_WORKFLOW_FINISH': '20'}
    t.start()
    first, second = run(t, short), run(t, short)
    wait_for_no_pods(t, first.run_id)
    if time.time() - second.finished_at.timestamp() < 15:
        assert len(pods_of(t, second.run_id)) == 2
    wait_for_no_pods(t, second.run_id)
    for r in first, second:
        assert t.cli('logs', r.run_id, 'say').stdout == 'said two\n'


def test_no_result_but_a_log(t):
    t.stop()
    t.env = {'FINISHED_PODS_MAX': '0'}
    t.start()
    client = t.kfp()
    made = client.create_run_from_pipeline_func(fatal, enable_caching=False)
    os.kill(agent_of(SECONDS), signal.SIGKILL)
    r = client.wait_for_run_completion(made.run_id, timeout=120, sleep_duration=0.2)
    assert r.state == 'FAILED'
    wait_for_no_pods(t, r.run_id)
    assert t.cli('logs', r.run_id, 'wait').stdout == 'last words\n'
    assert '/executor-logs' in t.cli('artifacts', r.run_id).stdout


@pytest.mark.parametrize('env', [{'FINISHED_PODS_MAX': 'many'}, {'TTL_SECONDS_AFTER_WORKFLOW_FINISH': '-1'}])
def test_settings_are_checked(env):
    t = conftest.Tidemill('--no-node', env=env)
    try:
        with pytest.raises(RuntimeError, match=list(env)[0]):
            t.start()
    finally:
        t.purge()


def test_a_pipeline_says_how_long_its_pods_stay(tidemill):
    """ttl_seconds_after_finished and its two sisters (resourceTtl... in the platform spec): the pods go, the run and what they printed stay."""
    kept = run(tidemill, short)

    @dsl.pipeline(name='brief', pipeline_config=dsl.PipelineConfig(ttl_seconds_after_finished=10000, ttl_seconds_after_success=1))
    def brief():
        say(text='brief')
    r = run(tidemill, brief)
    wait_for_no_pods(tidemill, r.run_id)
    assert len(pods_of(tidemill, kept.run_id)) == 2
    assert 'said brief' in tidemill.cli('logs', r.run_id).stdout
    assert tidemill.kfp().get_run(r.run_id).state == 'SUCCEEDED'
