"""The command line as a person uses it."""
import json
import os
import pathlib
import signal
import socket
import subprocess
import tempfile
import urllib.request

import pytest
import yaml
from conftest import NODE, ROOT, TIDEMILL, Tidemill, needs_node, node_options


def run(*args, **kw):
    return subprocess.run([TIDEMILL, *args], capture_output=True, text=True, timeout=60, **kw)


def test_help_of_every_command():
    listed = run('--help')
    assert listed.returncode == 0
    commands = [line.split()[0] for line in listed.stdout.splitlines() if line.startswith('  ')]
    assert {'up', 'down', 'status', 'run', 'runs', 'logs', 'artifacts', 'kubeconfig', 'doctor', 'version'} <= set(commands)
    for c in commands:
        r = run(c, '--help')
        assert r.returncode == 0 and r.stdout.startswith('usage: tidemill ' + c), (c, r)


@pytest.mark.parametrize('args, says', [
    (['nonsense'], "there is no command 'nonsense'"),
    (['up', '--no-such-option'], 'there is no option --no-such-option'),
    (['up', '--data'], 'a value is missing after --data'),
    (['run'], 'an argument is missing'),
    (['up', '--listen', '8080'], 'give an address and a port'),
    (['up', '--listen', '0.0.0.0:8080'], 'opens on loopback only'),
    (['up', '--log-level', 'loud'], 'use debug, info, warn or error'),
    (['down', '--purge', '--keep-pods'], 'exclude each other'),
])
def test_wrong_usage(args, says):
    r = run(*args)
    assert r.returncode in (1, 2)
    assert says in r.stderr


def test_nothing_runs():
    with tempfile.TemporaryDirectory() as d:
        r = run('status', '--data', d)
        assert r.returncode == 1 and 'tidemill up' in r.stderr


def test_purge_refuses_a_directory_that_is_not_ours():
    with tempfile.TemporaryDirectory() as d:
        (pathlib.Path(d) / 'precious').write_text('x')
        r = run('down', '--purge', '--data', d)
        assert r.returncode == 1 and 'nothing was removed' in r.stderr
        assert (pathlib.Path(d) / 'precious').exists()


def test_ready_file_and_kubeconfig(tidemill):
    assert set(tidemill.ready) == {'pid', 'url', 'kubernetes', 'kubeconfig', 'data'}
    assert tidemill.ready['pid'] == tidemill.process.pid
    assert oct(os.stat(tidemill.kubeconfig).st_mode & 0o777) == '0o600'
    assert oct(os.stat(tidemill.data).st_mode & 0o777) == '0o700'
    text = tidemill.cli('kubeconfig').stdout
    config = yaml.safe_load(text)
    assert config['clusters'][0]['cluster']['server'] == tidemill.kubernetes
    assert tidemill.cli('kubeconfig', '--path').stdout.strip() == tidemill.kubeconfig


def test_status(tidemill):
    out = tidemill.cli('status').stdout
    assert 'Kubernetes API' in out and tidemill.url in out
    if NODE:
        assert tidemill.cli('status', '--wait').returncode == 0


def test_port_in_use(tidemill):
    with socket.socket() as s:
        s.bind(('127.0.0.1', 0))
        s.listen()
        with tempfile.TemporaryDirectory() as d:
            r = run('up', '--no-node', '--data', d + '/x', '--listen', f'127.0.0.1:{s.getsockname()[1]}', '--kube-listen', '127.0.0.1:0')
            assert r.returncode == 1
            assert '--listen' in r.stderr and str(os.getpid()) in r.stderr, r.stderr


def test_data_directory_in_use(tidemill):
    r = run('up', '--no-node', '--data', tidemill.data, '--listen', '127.0.0.1:0', '--kube-listen', '127.0.0.1:0')
    assert r.returncode == 1
    assert str(tidemill.process.pid) in r.stderr, r.stderr


def test_data_directory_of_a_newer_version(fresh):
    import sqlite3
    t = fresh(node=False)
    t.stop()
    db = sqlite3.connect(t.data + '/tidemill.db')
    db.execute('PRAGMA user_version = 9999')
    db.commit()
    db.close()
    r = run('up', '--no-node', '--data', t.data, '--listen', '127.0.0.1:0', '--kube-listen', '127.0.0.1:0')
    assert r.returncode == 1
    assert '9999' in r.stderr, r.stderr


def test_detach_and_down():
    with tempfile.TemporaryDirectory() as d:
        data = d + '/data'
        r = run('up', '--detach', '--no-node', '--data', data, '--listen', '127.0.0.1:0', '--kube-listen', '127.0.0.1:0')
        try:
            assert r.returncode == 0 and 'is up' in r.stdout, r
            assert run('status', '--data', data).returncode == 0
        finally:
            r = run('down', '--purge', '--data', data)
        assert r.returncode == 0, r
        assert not os.path.exists(data)


def test_sigterm_stops_cleanly(fresh):
    t = fresh(node=False)
    assert t.stop(signal.SIGTERM) == 0
    t.start()
    assert t.cli('status').returncode == 0


def test_doctor():
    r = run('doctor', '--listen', '127.0.0.1:0', '--kube-listen', '127.0.0.1:0')
    assert 'images' in r.stdout and 'registries' in r.stdout and 'answer' in r.stdout
    for what in ('crun', 'conmon', 'cgroup', 'python3', 'disk'):
        assert what in r.stdout, r.stdout
    if NODE:
        assert r.returncode == 0, r.stdout


def test_runs_of_an_empty_server(fresh):
    t = fresh(node=False)
    assert 'No runs yet' in t.cli('runs').stdout
    r = t.cli('logs', 'nothing', check=False)
    assert r.returncode == 1 and "'nothing'" in r.stderr


def test_run_refuses_what_is_no_pipeline(tidemill, tmp_path):
    f = tmp_path / 'x.yaml'
    f.write_text('a: 1\n')
    r = tidemill.cli('run', str(f), check=False)
    assert r.returncode == 1 and 'pipelineInfo' in r.stderr
    f.write_text('a: [\n')
    r = tidemill.cli('run', str(f), check=False)
    assert r.returncode == 1 and 'line' in r.stderr
    r = tidemill.cli('run', str(tmp_path / 'missing.yaml'), check=False)
    assert r.returncode == 1 and 'missing.yaml' in r.stderr


def test_names_and_messages_are_no_orders_for_a_terminal(fresh):
    """Whoever makes runs on a server writes what another person's terminal shows."""
    t = fresh('--no-engine', node=False)
    evil = 'a\x1b[2Jb\x9b31mc\u202ed'
    spec = {'pipelineInfo': {'name': 'p'}, 'schemaVersion': '2.1.0', 'sdkVersion': 'kfp-2.14.3',
            'root': {'dag': {'tasks': {'t': {'componentRef': {'name': 'c'}, 'taskInfo': {'name': 't'}}}}},
            'components': {'c': {'executorLabel': 'e'}},
            'deploymentSpec': {'executors': {'e': {'container': {'image': 'host', 'command': ['true']}}}}}
    body = json.dumps({'display_name': evil, 'pipeline_spec': spec}).encode()
    made = json.load(urllib.request.urlopen(urllib.request.Request(t.url + '/apis/v2beta1/runs', body, {'Content-Type': 'application/json'})))
    assert made['display_name'] == evil
    for args in (['runs'], ['runs', made['run_id']], ['status'], ['logs', made['run_id']], ['run', '/\x1b[2J.yaml'], ['runs', evil + 'x']):
        r = t.cli(*args, check=False)
        assert not set(r.stdout + r.stderr) & set('\x1b\x9b\u202e'), args
    assert '[2Jb' in t.cli('runs').stdout


def test_run_goes_into_an_experiment_by_name(fresh, tmp_path):
    from kfp import compiler, dsl

    @dsl.container_component
    def nothing():
        return dsl.ContainerSpec(image='host', command=['true'])

    @dsl.pipeline(name='one')
    def one():
        nothing()
    f = tmp_path / 'one.yaml'
    compiler.Compiler().compile(one, str(f))
    t = fresh('--no-engine', node=False)
    wanted = t.kfp().create_experiment('my "own" sweeps')
    t.kfp().create_experiment('others')
    t.cli('run', str(f), '--experiment', 'my "own" sweeps')
    t.cli('run', str(f), '--experiment', wanted.experiment_id)
    runs = t.kfp().list_runs(experiment_id=wanted.experiment_id).runs
    assert len(runs) == 2
    r = t.cli('run', str(f), '--experiment', 'mine', check=False)
    assert r.returncode == 1 and "--experiment mine: no experiment has this id or name" in r.stderr and "'others'" in r.stderr


@needs_node
def test_tasks_of_loops_are_told_apart(tidemill, tmp_path):
    from kfp import compiler, dsl

    @dsl.container_component
    def step(n: int):
        return dsl.ContainerSpec(image='host', command=['sh', '-c', 'echo item "$0"'], args=[n])

    @dsl.pipeline(name='loop')
    def loop():
        with dsl.ParallelFor([5, 6, 7]) as i:
            step(n=i)
    f = tmp_path / 'loop.yaml'
    compiler.Compiler().compile(loop, str(f))
    out = tidemill.cli('run', str(f), '--watch').stdout
    run_id = out.split()[1]
    assert 'for-loop-2[1]/step' in out
    assert tidemill.cli('logs', run_id, 'for-loop-2[1]/step').stdout == 'item 6\n'
    every = tidemill.cli('logs', run_id, 'step').stdout
    assert [every.index(f'item {n}\n') for n in (5, 6, 7)] == sorted(every.index(f'item {n}\n') for n in (5, 6, 7))
    assert '==> for-loop-2[2]/step (SUCCEEDED) <==' in every
    r = tidemill.cli('logs', run_id, 'for-loop-9', check=False)
    assert r.returncode == 1 and "no task 'for-loop-9'" in r.stderr
    assert 'for-loop-2[0]/step' in tidemill.cli('runs', run_id).stdout
