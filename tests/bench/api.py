"""The pipelines REST API under numbers: creating runs durably, lists of many runs, memory beside many finished ones."""
import http.client
import json
import random
import sqlite3
import threading
import time
import urllib.parse
import uuid

from conftest import Tidemill

HISTORY = ('[{"update_time":"2025-11-25T12:00:00Z","state":"PENDING"},{"update_time":"2025-11-25T12:00:00Z","state":"RUNNING"},'
           '{"update_time":"2025-11-25T12:00:05Z","state":"SUCCEEDED"}]')


def spec(size=12000):
    """An IR of about this many bytes."""
    ir = {'pipelineInfo': {'name': 'bench'}, 'schemaVersion': '2.1.0', 'components': {}, 'deploymentSpec': {'executors': {}}, 'root': {'dag': {'tasks': {}}}}
    n = 0
    while len(json.dumps(ir)) < size:
        ir['components'][f'comp-{n}'] = {'executorLabel': f'exec-{n}'}
        ir['deploymentSpec']['executors'][f'exec-{n}'] = {'container': {'image': 'alpine:3.20', 'command': ['sh', '-c', 'echo ' + 'x' * 300]}}
        ir['root']['dag']['tasks'][f'task-{n}'] = {'componentRef': {'name': f'comp-{n}'}, 'taskInfo': {'name': f'task-{n}'}}
        n += 1
    return ir


def fill(path, n):
    """Finished runs, written past the server: indexes and triggers are made again behind them."""
    db = sqlite3.connect(path)
    db.execute('PRAGMA cache_size = -1000000')
    db.execute('PRAGMA synchronous = OFF')
    made = [r[0] for r in db.execute("SELECT sql FROM sqlite_master WHERE sql IS NOT NULL AND tbl_name IN ('runs', 'metrics') AND type IN ('index', 'trigger')")]
    for kind, name in db.execute("SELECT type, name FROM sqlite_master WHERE sql IS NOT NULL AND tbl_name IN ('runs', 'metrics') AND type IN ('index', 'trigger')").fetchall():
        db.execute(f'DROP {kind} {name}')
    rng = random.Random(1)
    base = 1764000000 * 10**9
    experiments = [str(uuid.UUID(int=rng.getrandbits(128), version=4)) for _ in range(50)]
    db.executemany('INSERT INTO experiments (experiment_id, name, created_at) VALUES (?, ?, ?)', [(e, f'e{i}', base + i) for i, e in enumerate(experiments)])
    db.execute("INSERT OR IGNORE INTO pipeline_specs (hash, spec) VALUES ('bench', ?)", (json.dumps(spec(500)),))

    def rows():
        for i in range(n):
            at = base + i * 10**6
            yield (str(uuid.UUID(int=rng.getrandbits(128), version=4)), f'r-{i}', f'run {rng.randrange(n)}', f'about {i % 1000}', experiments[i % 50],
                   'kubeflow', 'bench', 'bench', 0, 'pipeline-runner', i % 10 == 0, 3 if i % 7 else 5, HISTORY, at, at, at, at + 10**9)
    db.executemany('INSERT INTO runs (run_id, name, display_name, description, experiment_id, namespace, pipeline_name, spec_hash, inline_spec, '
                   'service_account, storage_state, state, state_history, created_at, scheduled_at, started_at, finished_at) '
                   'VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)', rows())
    db.execute("INSERT INTO metrics (artifact_id, name, run_id, task_id, value) SELECT rowid, 'acc', run_id, 1, (rowid * 7919 % 100003) / 100003.0 FROM runs WHERE rowid % 3 = 0")
    for sql in made:
        db.execute(sql)
    db.execute('DELETE FROM run_counts')
    db.execute('INSERT INTO run_counts SELECT experiment_id, storage_state, state, count(*) FROM runs GROUP BY 1, 2, 3')
    db.commit()
    db.execute('PRAGMA wal_checkpoint(TRUNCATE)')
    db.close()


def wait_packed(path, n):
    """Until the columns of all full blocks of runs are packed; how many seconds that took."""
    began = time.monotonic()
    db = sqlite3.connect(f'file:{path}?mode=ro', uri=True)
    while db.execute('SELECT count(*) FROM run_packed').fetchone()[0] < n >> 10:
        assert time.monotonic() - began < 900
        time.sleep(0.5)
    db.close()
    return time.monotonic() - began


def ask(c, method, path, body=None):
    began = time.perf_counter()
    c.request(method, path, body)
    r = c.getresponse()
    text = r.read()
    assert r.status == 200, text[:500]
    return (time.perf_counter() - began) * 1000, text


def creates(note, seconds):
    t = Tidemill('--no-node', '--no-engine').start()
    try:
        host = t.url[7:]
        body = json.dumps({'display_name': 'r', 'pipeline_spec': spec()})
        c = http.client.HTTPConnection(host)
        one = sorted(ask(c, 'POST', '/apis/v2beta1/runs', body)[0] for _ in range(300))
        note('POST /runs, 12 kB IR, durable, p50', one[len(one) // 2], 'ms', aim='2 ms')
        note('POST /runs, 12 kB IR, durable, p99', one[len(one) * 99 // 100], 'ms')
        done, until = [], time.monotonic() + seconds

        def client():
            c, n = http.client.HTTPConnection(host), 0
            while time.monotonic() < until:
                ask(c, 'POST', '/apis/v2beta1/runs', body)
                n += 1
            done.append(n)
        threads = [threading.Thread(target=client) for _ in range(16)]
        for x in threads:
            x.start()
        for x in threads:
            x.join()
        note('POST /runs on 16 connections', sum(done) / seconds, 'a second', aim='800 a second')
    finally:
        t.purge()


def predicate(key, op, **value):
    return json.dumps({'predicates': [{'key': key, 'operation': op, **value}]})


def lists(note, n, times):
    t = Tidemill('--no-node', '--no-engine').start()
    t.stop()
    fill(t.data + '/tidemill.db', n)
    t.start()
    try:
        note(f'columns of {n} runs packed, beside everything else, after', wait_packed(t.data + '/tidemill.db', n), 's')
        c = http.client.HTTPConnection(t.url[7:])

        def p99(again=times, **query):
            path = '/apis/v2beta1/runs?' + urllib.parse.urlencode(query)
            got = sorted(ask(c, 'GET', path)[0] for _ in range(again))
            return got[max(0, len(got) * 99 // 100 - 1)]
        note(f'GET /runs of {n}, default page, p99', p99(), 'ms', aim='5 ms')
        fields = ['created_at', 'finished_at', 'scheduled_at', 'display_name', 'description', 'storage_state', 'state', 'run_id', 'experiment_id',
                  'recurring_run_id', 'state_history', 'namespace', 'metric:acc']
        sorts = {f + way: p99(sort_by=f + way) for f in fields for way in ('', ' desc')}
        worst = max(sorts, key=sorts.get)
        note(f'GET /runs, the slowest of {len(sorts)} sorts ({worst}), p99', sorts[worst], 'ms', aim='50 ms')
        middle = '2025-11-24T16:00:10Z'
        filters = {
            'state =': predicate('state', 'EQUALS', string_value='FAILED'),
            'state in': predicate('state', 'IN', string_values={'values': ['FAILED', 'CANCELED']}),
            'storage_state <>': predicate('storage_state', 'NOT_EQUALS', string_value='ARCHIVED'),
            'name =': predicate('name', 'EQUALS', string_value='run 5'),
            'description =': predicate('description', 'EQUALS', string_value='about 7'),
            'run_id =': predicate('run_id', 'EQUALS', string_value='x'),
            'created_at <': predicate('created_at', 'LESS_THAN', timestamp_value=middle),
        }
        for k, v in (('name contains', predicate('name', 'IS_SUBSTRING', string_value='run 55')),
                     ('name contains (nothing)', predicate('name', 'IS_SUBSTRING', string_value='nowhere')),
                     ('name >', predicate('name', 'GREATER_THAN', string_value='run 5')),
                     ('finished_at < (all)', predicate('finished_at', 'LESS_THAN', timestamp_value='2030-01-01T00:00:00Z')),
                     ('finished_at > (the last of them)', predicate('finished_at', 'GREATER_THAN', timestamp_value='2025-11-24T16:16:00Z')),
                     ('run_id contains', predicate('run_id', 'IS_SUBSTRING', string_value='abc1')),
                     ('finished_at <>', predicate('finished_at', 'NOT_EQUALS', timestamp_value='2025-11-24T16:16:00Z')),
                     ('state_history contains', predicate('state_history', 'IS_SUBSTRING', string_value='FAILED'))):
            filters[k] = v
        # Asked for the first time, a filter that no index answers looks at packed columns; what it chose is kept for the next pages and questions.
        first = {k: p99(1, filter=v) for k, v in filters.items()}
        for note_of, got in (('asked again, p99', {k: p99(filter=v) for k, v in filters.items()}), ('asked for the first time', first)):
            worst = max(got, key=got.get)
            note(f'GET /runs, the slowest of {len(got)} predicates ({worst}), {note_of}', got[worst], 'ms', aim='50 ms')
    finally:
        t.purge()


def memory(note, n):
    t = Tidemill('--no-node').start()
    t.stop()
    fill(t.data + '/tidemill.db', n)
    t.start()
    try:
        c = http.client.HTTPConnection(t.url[7:])
        for _ in range(20):
            ask(c, 'GET', '/apis/v2beta1/runs')
        time.sleep(5)
        with open(f'/proc/{t.process.pid}/status') as f:
            kb = next(int(line.split()[1]) for line in f if line.startswith('RssAnon'))
        note(f'idle beside {n} finished runs, RssAnon', kb / 1024, 'MiB', aim='35 MB')
    finally:
        t.purge()


def bench(note, runs=1_000_000):
    creates(note, 10)
    memory(note, 100_000)
    lists(note, runs, 30)
