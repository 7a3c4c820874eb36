"""DELETE of a run with delete_artifacts=true: its bytes go, what another run's lineage refers to stays, and a kill anywhere in it is made good."""
import http.client
import pathlib
import sqlite3
import time
import uuid

import pytest

from conftest import Tidemill

ROOT = 'minio://mlpipeline/v2/artifacts'


def add_run(t, name):
    """A run that is over, with files of which another run's artifact names one."""
    run = str(uuid.uuid4())
    own = pathlib.Path(t.data, 'artifacts/mlpipeline/v2/artifacts/p', run)
    for i in range(5):
        (own / f'step/{i}').mkdir(parents=True)
        (own / f'step/{i}/data').write_text('x')
    db = sqlite3.connect(t.data + '/tidemill.db')
    db.execute('INSERT INTO runs (run_id, name, display_name, namespace, pipeline_name, pipeline_root, spec_hash, state, state_history, created_at, scheduled_at, finished_at) '
               "VALUES (?, ?, ?, 'kubeflow', 'p', ?, 'none', 3, '[]', 1, 1, 2)", (run, name, name, ROOT))
    db.execute("INSERT INTO artifacts (name, schema_title, uri, created_at, run_id) VALUES ('d', 'system.Dataset', ?, 1, 'another')", (f'{ROOT}/p/{run}/step/3/data',))
    db.commit()
    db.close()
    return run, own


def delete(t, run):
    c = http.client.HTTPConnection(t.url[7:], timeout=60)
    c.request('DELETE', f'/apis/v2beta1/runs/{run}?delete_artifacts=true')
    status = c.getresponse().status
    c.close()
    return status


def wait_gone(t, own):
    db = sqlite3.connect(f'file:{t.data}/tidemill.db?mode=ro', uri=True)
    until = time.monotonic() + 60
    while db.execute('SELECT count(*) FROM artifact_trash').fetchone()[0]:
        assert time.monotonic() < until, t.tail()
        time.sleep(0.05)
    db.close()
    assert sorted(str(p.relative_to(own)) for p in own.rglob('data')) == ['step/3/data']


def test_killed_anywhere_it_goes_on():
    t = Tidemill('--no-node').start()
    try:
        t.stop()
        for point in ('trash.inside', 'engine.trash.before', 'engine.trash.between', 'engine.trash.between:3', 'engine.trash.after'):
            run, own = add_run(t, point)
            t.env = {'TIDEMILL_FAULT': point}
            t.start()
            try:
                status = delete(t, run)
            except OSError:
                status = None
            except http.client.HTTPException:
                status = None
            assert status in (None, 200)
            t.process.wait(60)
            assert t.process.returncode == -9, point
            assert (own / 'step/3/data').exists()
            t.env = {}
            t.start()
            if point == 'trash.inside':   # died within the transaction: nothing has happened
                assert len(list(own.rglob('data'))) == 5
                assert delete(t, run) == 200
            wait_gone(t, own)
            assert delete(t, run) == 404
            t.stop()
    finally:
        t.purge()


@pytest.mark.parametrize('value', ['', '?delete_artifacts=false'])
def test_nothing_goes_unasked(value):
    t = Tidemill('--no-node').start()
    try:
        t.stop()
        run, own = add_run(t, 'kept')
        t.start()
        c = http.client.HTTPConnection(t.url[7:], timeout=60)
        c.request('DELETE', f'/apis/v2beta1/runs/{run}{value}')
        assert c.getresponse().status == 200
        time.sleep(0.5)
        assert len(list(own.rglob('data'))) == 5
    finally:
        t.purge()


@pytest.mark.parametrize('value,left', [('', ['step/3/data']), ('?delete_artifacts=false', [f'step/{i}/data' for i in range(5)])])
def test_the_default_is_the_servers(value, left):
    """DELETE_ARTIFACTS=true: they go unless the request says otherwise; and a value that is none is told."""
    t = Tidemill('--no-node').start()
    try:
        t.stop()
        run, own = add_run(t, 'goes')
        t.env = {'DELETE_ARTIFACTS': 'perhaps'}
        with pytest.raises(RuntimeError, match='DELETE_ARTIFACTS=perhaps: give true or false'):
            t.start()
        t.env = {'DELETE_ARTIFACTS': 'true'}
        t.start()
        c = http.client.HTTPConnection(t.url[7:], timeout=60)
        c.request('DELETE', f'/apis/v2beta1/runs/{run}{value}')
        assert c.getresponse().status == 200
        until = time.monotonic() + 60
        while sorted(str(p.relative_to(own)) for p in own.rglob('data')) != left:
            assert time.monotonic() < until, t.tail()
            time.sleep(0.05)
    finally:
        t.purge()
