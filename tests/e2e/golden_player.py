"""Sets the state of a run by hand, as the recordings of upstream's API want it: {run_id, phase, nodes} on standard input, the data directory of a
tidemill without an engine as the argument. It writes the rows that the engine would write; what the API makes of them is what is compared."""
import datetime
import json
import pathlib
import random
import sqlite3
import sys
import time
import uuid

RUN_STATES = {'Running': (2, 'RUNNING'), 'Succeeded': (3, 'SUCCEEDED'), 'Failed': (5, 'FAILED'), 'Error': (5, 'FAILED')}
TASK_STATES = {'Running': 2, 'Succeeded': 4, 'Failed': 8}


def main():
    told = json.load(sys.stdin)
    now, word = time.time_ns(), datetime.datetime.now(datetime.timezone.utc).strftime('%Y-%m-%dT%H:%M:%SZ')
    number, name = RUN_STATES[told['phase']]
    finished = now if number != 2 else 0
    db = sqlite3.connect(pathlib.Path(sys.argv[1]) / 'tidemill.db', timeout=30, isolation_level=None)
    db.execute('BEGIN IMMEDIATE')
    row = db.execute('SELECT state, state_history FROM runs WHERE run_id = ?', (told['run_id'],)).fetchone()
    history = json.loads(row[1])
    if row[0] != number:
        history.append({'update_time': word, 'state': name})
    db.execute('UPDATE runs SET state = ?, state_history = ?, started_at = max(started_at, 1), finished_at = ?, error_message = ? WHERE run_id = ?',
               (number, json.dumps(history), finished, told.get('message'), told['run_id']))
    for node in told.get('nodes') or []:
        state, task = TASK_STATES[node['phase']], node['displayName']
        ended = now if state > 2 else 0
        known = db.execute('SELECT id FROM tasks WHERE run_id = ? AND name = ?', (told['run_id'], task)).fetchone()
        if known:
            db.execute('UPDATE tasks SET state = ?, finished_at = ? WHERE id = ?', (state, ended, known[0]))
        else:
            db.execute('INSERT INTO tasks (id, task_id, run_id, parent, name, display_name, path, type, state, created_at, started_at, finished_at)'
                       ' VALUES (?, ?, ?, 0, ?, ?, ?, 2, ?, ?, ?, ?)',
                       (random.getrandbits(50), str(uuid.uuid4()), told['run_id'], task, task, 'root/' + task, state, now, now, ended))
    db.execute('COMMIT')


main()
