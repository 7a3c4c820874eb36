"""The command line against a front door that is elsewhere: with TLS and a token of the cluster, and through services/proxy of the API server."""
import http.server
import json
import os
import subprocess
import sys
import threading
import time
import urllib.parse

import pytest
from conftest import TIDEMILL, VENV, Tidemill, needs_node
from test_serve import account, end, serve

PIPELINE = """
pipelineInfo: {name: slow}
schemaVersion: 2.1.0
sdkVersion: kfp-2.14.3
deploymentSpec:
  executors:
    e: {container: {image: 'python:3.11', command: [sh, -c, 'echo early; sleep 4; echo "late $0"; mkdir -p "$(dirname "$1")"; echo bytes > "$1"',
        '{{$.inputs.parameters["word"]}}', '{{$.outputs.artifacts["out"].path}}']}}
components:
  c:
    executorLabel: e
    inputDefinitions: {parameters: {word: {parameterType: STRING}}}
    outputDefinitions: {artifacts: {out: {artifactType: {schemaTitle: system.Dataset, schemaVersion: 0.0.1}}}}
root:
  dag:
    tasks:
      say: {taskInfo: {name: say}, componentRef: {name: c}, inputs: {parameters: {word: {componentInputParameter: word}}}}
  inputDefinitions: {parameters: {word: {parameterType: STRING, defaultValue: nothing}}}
""".replace('["', "['").replace('"]', "']").replace("'{{$.inputs.parameters['word']}}'", '"{{$.inputs.parameters[\'word\']}}"').replace(
    "'{{$.outputs.artifacts['out'].path}}'", '"{{$.outputs.artifacts[\'out\'].path}}"')


def cli(*args, env=None, timeout=120):
    clean = {k: v for k, v in os.environ.items() if not k.startswith('TIDEMILL_') or k == 'TIDEMILL'}
    return subprocess.run([TIDEMILL, *args], capture_output=True, text=True, timeout=timeout, env={**clean, **(env or {})})


@pytest.fixture(scope='module')
def cluster():
    t = Tidemill('--no-engine', '--host-image', 'python:*', '--host-env', str(VENV)).start()
    yield t
    t.purge()


@pytest.fixture(scope='module')
def door(cluster, tmp_path_factory):
    """A front door with a certificate, and what it takes to come in."""
    d = tmp_path_factory.mktemp('door')
    subprocess.run(['openssl', 'req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-days', '2', '-keyout', d / 'key', '-out', d / 'crt',
                    '-subj', '/CN=front', '-addext', 'subjectAltName=IP:127.0.0.1'], check=True, capture_output=True)
    part = serve('--kubeconfig', account(cluster, d), '--listen', '127.0.0.1:0', '--tls-cert', str(d / 'crt'), '--tls-key', str(d / 'key'))
    (d / 'token').write_text(cluster.kubectl('-n', 'kubeflow', 'create', 'token', 'pipeline-runner').stdout)
    (d / 'empty').write_text('\n')
    (d / 'garbage').write_text('garbage')
    (d / 'pipeline.yaml').write_text(PIPELINE)
    yield d, part[1]['url']
    end(*part)


@needs_node
def test_a_run_over_tls(cluster, door):
    d, url = door
    assert url.startswith('https://127.0.0.1:')
    where = ('--url', url, '--ca-file', str(d / 'crt'), '--token-file', str(d / 'token'))
    assert 'No runs yet' in cli('runs', *where).stdout
    made = cli('run', str(d / 'pipeline.yaml'), '-p', 'word=hello', '--name', 'over tls', *where)
    assert made.returncode == 0, made.stderr
    # While it runs, and without the Kubernetes API: the front door is asked until there is no more.
    until = time.monotonic() + 60
    while 'no ' in (logs := cli('logs', 'over tls', 'say', '-f', *where)).stderr and time.monotonic() < until:   # no task, or no pod of it yet
        time.sleep(0.1)
    assert logs.returncode == 0 and logs.stdout == 'early\nlate hello\n', logs
    assert cli('logs', 'over', 'say', *where).stdout == 'early\nlate hello\n'   # the beginning of a name
    shown = cli('runs', 'over tls', *where)
    assert 'say' in shown.stdout, shown
    again = cli('run', str(d / 'pipeline.yaml'), '--watch', *where)
    assert again.returncode == 0 and 'SUCCEEDED' in again.stdout, again
    assert 'over tls' in cli('runs', '--url', url, '--ca-file', str(d / 'crt'), env={'TIDEMILL_TOKEN': (d / 'token').read_text().strip()}).stdout
    artifacts = json.loads(cli('artifacts', 'over tls', '--json', *where).stdout)['artifacts']
    assert 'out' in [a['name'] for a in artifacts], artifacts
    # With a kubeconfig its token counts, and logs come from the pod; its authority is that of the API server alone.
    config = account(cluster, d)
    assert 'over tls' in cli('runs', '--url', url, '--ca-file', str(d / 'crt'), '--kubeconfig', config).stdout
    assert 'late hello' in cli('logs', 'over tls', '--url', url, '--ca-file', str(d / 'crt'), '--kubeconfig', config).stdout


@pytest.mark.parametrize('options, says', [
    (('--token-file', '{d}/garbage'), 'the token that was given is not, or no longer, one that https://127.0.0.1:'),
    (('--token-file', '{d}/empty'), 'empty holds no token'),
    (('--token-file', '/nowhere/token'), '/nowhere/token'),
    (('--kubeconfig', '/nowhere/config'), '/nowhere/config'),
])
def test_who_asks(door, options, says):
    d, url = door
    r = cli('runs', '--url', url, '--ca-file', str(d / 'crt'), *[o.format(d=d) for o in options])
    assert r.returncode == 1 and says in r.stderr, r.stderr


def test_whom_to_trust(door):
    d, url = door
    r = cli('runs', '--url', url)
    assert r.returncode == 1 and '--ca-file FILE names the authorities to trust' in r.stderr, r.stderr
    r = cli('runs', '--url', url, '--ca-file', '/nowhere/ca')
    assert r.returncode == 1 and '--ca-file: ' in r.stderr, r.stderr
    r = cli('runs', '--url', url.removeprefix('https://'))
    assert r.returncode == 1 and 'it begins with http:// or https://' in r.stderr, r.stderr


def test_with_only_a_kubeconfig(cluster, door):
    """As kfp.Client() does it: behind services/proxy of the API server, with the administrator's certificate or an account's token."""
    d, _ = door
    for config in (cluster.kubeconfig, account(cluster, d)):
        made = cli('run', str(d / 'pipeline.yaml'), '--name', 'by proxy', '--kubeconfig', config)
        if config == cluster.kubeconfig:
            assert made.returncode == 0, made.stderr
        assert 'by proxy' in cli('runs', '--kubeconfig', cluster.kubeconfig).stdout
    assert 'PENDING' in cli('runs', 'by proxy', '--kubeconfig', cluster.kubeconfig).stdout   # this one's engine was not started


RUN = '12345678-1234-1234-1234-123456789abc'


def lying_door(tasks):
    """A front door that knows one run, and answers questions for its tasks by tasks(page number)."""
    class Door(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            if '/tasks' not in self.path:
                body = [json.dumps({'run_id': RUN, 'display_name': 'r', 'state': 'SUCCEEDED'}).encode()]
            else:
                page = urllib.parse.parse_qs(urllib.parse.urlparse(self.path).query).get('page_token', ['0'])[0]
                body = tasks(int(page))
            self.send_response(200)
            self.send_header('Content-Type', 'application/json')
            self.end_headers()
            try:
                for piece in body:
                    self.wfile.write(piece)
            except OSError:
                pass

        def log_message(self, *args):
            pass
    server = http.server.ThreadingHTTPServer(('127.0.0.1', 0), Door)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


def measured(url):
    """What `tidemill runs RUN` says, and how many MiB it had at most."""
    code = 'import resource, subprocess, sys; r = subprocess.run(sys.argv[1:], capture_output=True, text=True); ' \
           'print(r.returncode, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss >> 10); print(r.stderr)'
    r = subprocess.run([sys.executable, '-c', code, TIDEMILL, 'runs', RUN, '--url', url], capture_output=True, text=True, timeout=300)
    first, rest = r.stdout.split('\n', 1)
    return (*map(int, first.split()), rest)


def long_names(page):
    task = {'task_id': f't{page}', 'parent_task_id': 'root', 'display_name': 'n' * (8 << 20)}
    return [json.dumps({'tasks': [task], **({'next_page_token': str(page + 1)} if page < 60 else {})}).encode()]


def without_end(page):
    return (b'x' * (1 << 20) for _ in range(1 << 20))


def its_own_parent(page):
    return [json.dumps({'tasks': [{'task_id': f't{i}', 'parent_task_id': f't{i}', 'display_name': 'n' * 1000} for i in range(20000)]}).encode()]


@pytest.mark.parametrize('tasks, says', [(long_names, None), (without_end, 'more than 64 MiB'), (its_own_parent, 'longer than names are')])
def test_a_server_that_sends_too_much(tasks, says):
    server = lying_door(tasks)
    try:
        code, mib, err = measured(f'http://127.0.0.1:{server.server_port}')
    finally:
        server.shutdown()
    assert mib < 400
    assert (code, err.strip()) == (0, '') if says is None else code == 1 and says in err
