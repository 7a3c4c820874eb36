"""The main road from end to end: starts tidemill, runs examples/cancer_sweep.py on it with the unmodified kfp SDK, and stops it again."""
import argparse
import json
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import time
import warnings

warnings.filterwarnings('ignore')
HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))
STATES = {'SUCCEEDED': '\033[32m', 'FAILED': '\033[31m', 'RUNNING': '\033[36m'}


def start(tidemill, venv, data):
    ready = pathlib.Path(data) / 'ready.json'
    cmd = [tidemill, 'up', '--data', data, '--listen', '127.0.0.1:0', '--kube-listen', '127.0.0.1:0', '--ready-file', str(ready),
           '--host-image', 'python:*', '--host-env', venv]
    print('$ ' + ' '.join(cmd), flush=True)
    process = subprocess.Popen(cmd, stdout=subprocess.DEVNULL)
    while not ready.exists():
        if process.poll() is not None:
            sys.exit(f'tidemill ended with code {process.returncode}')
        time.sleep(0.01)
    return process, json.loads(ready.read_text())


def colour(state):
    return f'{STATES.get(state, "")}{state:<10}\033[0m' if sys.stdout.isatty() else f'{state:<10}'


def follow(client, run_id):
    """Prints each change of a task's state as it comes; returns the finished run."""
    seen = {}
    while True:
        run = client.get_run(run_id)
        for t in (run.run_details.task_details or []) if run.run_details else []:
            if seen.get(t.task_id) != t.state and t.state not in (None, 'PENDING') and t.parent_task_id:
                seen[t.task_id] = t.state
                print(f'  {colour(t.state)} {t.display_name}', flush=True)
        if run.state in ('SUCCEEDED', 'FAILED', 'CANCELED'):
            return run
        time.sleep(0.05)


def artifacts(tidemill, data, run_id):
    out = subprocess.run([tidemill, 'artifacts', run_id, '--json', '--data', data], capture_output=True, text=True, check=True).stdout
    return json.loads(out).get('artifacts', [])


def summary(tidemill, data, run):
    print('\nHow long each step took:')
    for t in run.run_details.task_details:
        if t.start_time and t.end_time and t.pod_name:
            print(f'  {(t.end_time - t.start_time).total_seconds():7.2f} s  {t.display_name}')
    print(f'  {(run.finished_at - run.created_at).total_seconds():7.2f} s  the whole run')
    found = artifacts(tidemill, data, run.run_id)
    model = next((a for a in found if a['type'] == 'system.Model'), None)
    metrics = [a for a in found if a['type'] == 'system.Metrics']
    if model:
        print(f'\nThe chosen model: {model["metadata"].get("framework")}, c={model["metadata"].get("c")}, accuracy {model["metadata"].get("accuracy"):.4f}')
        print(f'  {model["uri"]}')
        print(f'  {data}/artifacts/{model["uri"].split("://", 1)[1]}')
    if metrics:
        print('Metrics:')
        for a in metrics:
            numbers = {k: v for k, v in a['metadata'].items() if isinstance(v, (int, float)) and not isinstance(v, bool)}
            print(f'  {a["task"]:<12} ' + ', '.join(f'{k} {v:.4g}' for k, v in sorted(numbers.items())))


def main():
    p = argparse.ArgumentParser()
    p.add_argument('--tidemill', required=True)
    p.add_argument('--venv', required=True)
    p.add_argument('--keep', action='store_true', help='leave tidemill running and its data in place')
    a = p.parse_args()
    from kfp import client as kfp_client
    import cancer_sweep
    data = tempfile.mkdtemp(prefix='tidemill-demo-')
    began = time.monotonic()
    process, ready = start(a.tidemill, a.venv, data)
    print(f'tidemill is up at {ready["url"]} after {time.monotonic() - began:.2f} s\n', flush=True)
    code = 1
    try:
        client = kfp_client.Client(host=ready['url'])
        result = client.create_run_from_pipeline_func(cancer_sweep.cancer_sweep, arguments={'good_enough': 0.95}, enable_caching=False)
        run = follow(client, result.run_id)
        print(f'\nRun {run.run_id}: {run.state}')
        summary(a.tidemill, data, run)
        code = 0 if run.state == 'SUCCEEDED' else 1
        if run.error:
            print(run.error.message)
    finally:
        if a.keep:
            print(f'\ntidemill goes on: {ready["url"]} (stop it with: {a.tidemill} down --data {data})')
        else:
            subprocess.run([a.tidemill, 'down', '--data', data], check=False)
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.send_signal(signal.SIGKILL)
                process.wait()
    exe = os.path.relpath(a.tidemill)
    env = os.path.relpath(a.venv)
    if not a.keep:
        print(f'Runs and artifacts stay in {data}; {exe} down --purge --data {data} removes them.')
    print(f'''
What to try next:
  sudo {exe} up --host-image 'python:*' --host-env {env}     # and open the URL that it prints
  {env}/bin/python examples/cancer_sweep.py && {exe} run cancer_sweep.yaml -p good_enough=0.999 --watch
  {exe} runs; {exe} artifacts RUN; {exe} logs RUN choose
  export KUBECONFIG=$({exe} kubeconfig --path) && kubectl get pods -A''')
    return code


if __name__ == '__main__':
    sys.exit(main())
