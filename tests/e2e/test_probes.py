"""Probes, hooks and side-cars on real containers."""
import json
import subprocess
import time

import pytest

from conftest import KUBECTL, needs_node

pytestmark = [needs_node, pytest.mark.skipif(not KUBECTL, reason='there is no kubectl: `./dev test` installs one')]


def pod(tidemill, name, containers, **spec):
    tidemill.kubectl('apply', '-f', '-', stdin=json.dumps({
        'apiVersion': 'v1', 'kind': 'Pod', 'metadata': {'name': name},
        'spec': {'terminationGracePeriodSeconds': 1, 'containers': containers, **spec}}))


def box(script, name='main', **more):
    return {'name': name, 'image': 'host', 'command': ['sh', '-c', script], **more}


def status(tidemill, name):
    return json.loads(tidemill.kubectl('get', 'pod', name, '-o', 'json').stdout)['status']


def wait(tidemill, name, cond, seconds=60):
    until = time.monotonic() + seconds
    while not cond(s := status(tidemill, name)):
        assert time.monotonic() < until, json.dumps(s, indent=1) + tidemill.kubectl('describe', 'pod', name).stdout
        time.sleep(0.1)
    return s


def events(tidemill, name):
    return tidemill.kubectl('get', 'events', '--field-selector', f'involvedObject.name={name}', '-o', 'jsonpath={range .items[*]}{.message}{"\\n"}{end}').stdout


PATIENT = {'periodSeconds': 1, 'timeoutSeconds': 30, 'failureThreshold': 600}   # the machine may be busy


def ready(s):
    return s.get('containerStatuses', [{}])[0].get('ready') is True


HTTP = """
import http.server, ssl, sys
class H(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        good = self.headers['X-Who'] == 'probe' and self.headers['User-Agent'].startswith('kube-probe/') and self.path == '/healthz'
        self.send_response(200 if good else 503)
        self.send_header('Content-Length', '0')
        self.end_headers()
s = http.server.HTTPServer(('', int(sys.argv[1])), H)
if len(sys.argv) > 2:
    c = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    c.load_cert_chain(sys.argv[2])
    s.socket = c.wrap_socket(s.socket, server_side=True)
s.serve_forever()
"""


def test_network_probes(tidemill):
    get = {'path': '/healthz', 'port': 'web', 'httpHeaders': [{'name': 'X-Who', 'value': 'probe'}]}
    cert = subprocess.run('openssl req -x509 -newkey rsa:2048 -nodes -keyout /dev/stdout -subj /CN=x -days 2 2>/dev/null', shell=True,
                          capture_output=True, text=True, check=True).stdout

    def serve(name, port, probe, *args, env=()):
        pod(tidemill, name, [{'name': 'main', 'image': 'host', 'ports': [{'name': 'web', 'containerPort': port}], 'env': list(env),
                              'command': ['sh', '-c', 'printf "%s" "$CERT" > /tmp/c; exec python3 -c "$0" "$@"', HTTP, str(port), *args],
                              'readinessProbe': {**probe, 'periodSeconds': 1}}])
    serve('http', 8080, {'httpGet': get})
    serve('https', 8443, {'httpGet': {**get, 'scheme': 'HTTPS'}}, '/tmp/c', env=[{'name': 'CERT', 'value': cert}])
    serve('tcp', 8080, {'tcpSocket': {'port': 8080}})
    serve('wrong', 8080, {'httpGet': {'path': '/healthz', 'port': 8080}})
    serve('closed', 8080, {'tcpSocket': {'port': 81}})
    for name in ('http', 'https', 'tcp'):
        wait(tidemill, name, ready)
    for name, text in (('wrong', 'Readiness probe failed: HTTP probe failed with statuscode: 503'), ('closed', ':81: connect: connection refused')):
        until = time.monotonic() + 120
        while text not in events(tidemill, name):
            assert time.monotonic() < until, events(tidemill, name)
            time.sleep(0.2)
        assert not ready(status(tidemill, name))


def test_liveness_restarts(tidemill):
    pod(tidemill, 'live', [box('touch /tmp/up; sleep 1; rm /tmp/up; sleep 600', livenessProbe={
        'exec': {'command': ['cat', '/tmp/up']}, 'periodSeconds': 1, 'timeoutSeconds': 30, 'failureThreshold': 1})])
    wait(tidemill, 'live', lambda s: s.get('containerStatuses', [{}])[0].get('restartCount', 0) >= 1)
    text = events(tidemill, 'live')
    assert "Liveness probe failed: cat: /tmp/up: No such file or directory" in text
    assert 'Container main failed liveness probe, will be restarted' in text


def test_startup_gates(tidemill):
    pod(tidemill, 'start', [box('sleep 600', startupProbe={'exec': {'command': ['cat', '/tmp/up']}, **PATIENT}, readinessProbe={'exec': {'command': ['true']}})])
    s = wait(tidemill, 'start', lambda s: s['phase'] == 'Running')
    assert s['containerStatuses'][0]['started'] is False and not ready(s)
    tidemill.kubectl('exec', 'start', '--', 'touch', '/tmp/up')
    wait(tidemill, 'start', lambda s: s['containerStatuses'][0]['started'] and ready(s))


def test_hooks(tidemill, tmp_path):
    volume = {'volumes': [{'name': 'v', 'hostPath': {'path': str(tmp_path)}}]}
    mount = {'volumeMounts': [{'name': 'v', 'mountPath': '/seen'}]}
    pod(tidemill, 'hooks', [box('trap "echo term >> /seen/log; exit 0" TERM; while :; do sleep 0.1; done', **mount, lifecycle={
        'postStart': {'exec': {'command': ['sh', '-c', 'echo post >> /seen/log']}},
        'preStop': {'exec': {'command': ['sh', '-c', 'echo pre >> /seen/log; sleep 1; echo done >> /seen/log']}}})],
        **volume, terminationGracePeriodSeconds=20)
    wait(tidemill, 'hooks', ready)
    assert (tmp_path / 'log').read_text() == 'post\n'
    tidemill.kubectl('delete', 'pod', 'hooks')
    assert (tmp_path / 'log').read_text() == 'post\npre\ndone\nterm\n'
    pod(tidemill, 'nohook', [box('sleep 600', lifecycle={'postStart': {'exec': {'command': ['false']}}})])
    wait(tidemill, 'nohook', lambda s: s.get('containerStatuses', [{}])[0].get('restartCount', 0) >= 1)
    assert 'PostStartHook failed' in events(tidemill, 'nohook')


def test_sidecars(tidemill, tmp_path):
    """Started in order before the rest, ended after it in reverse, and no part of what the pod amounts to."""
    mount = {'volumeMounts': [{'name': 'v', 'mountPath': '/seen'}]}

    def side(name):
        return box(f'trap "echo {name} ends >> /seen/log; exit 9" TERM; echo {name} >> /seen/log; touch /tmp/up; while :; do sleep 0.05; done',
                   name, restartPolicy='Always', **mount, startupProbe={'exec': {'command': ['cat', '/tmp/up']}, **PATIENT})
    pod(tidemill, 'side', [box('echo main >> /seen/log; sleep 2; echo main ends >> /seen/log', **mount)], restartPolicy='Never',
        initContainers=[side('a'), box('echo init >> /seen/log', 'init', **mount), side('b')],
        volumes=[{'name': 'v', 'hostPath': {'path': str(tmp_path)}}], terminationGracePeriodSeconds=20)
    s = wait(tidemill, 'side', lambda s: s['phase'] in ('Succeeded', 'Failed'))
    assert s['phase'] == 'Succeeded'
    assert (tmp_path / 'log').read_text().split('\n')[:-1] == ['a', 'init', 'b', 'main', 'main ends', 'b ends', 'a ends']
    assert [c['name'] for c in s['initContainerStatuses']] == ['a', 'init', 'b']


def test_probes_survive_a_restart(tidemill):
    """A tidemill that is killed and started again goes on probing, and readiness does not flicker."""
    pod(tidemill, 'again', [box('touch /tmp/up; sleep 600', readinessProbe={'exec': {'command': ['cat', '/tmp/up']}, 'periodSeconds': 1, 'timeoutSeconds': 30})])
    s = wait(tidemill, 'again', ready)
    since = [c['lastTransitionTime'] for c in s['conditions'] if c['type'] == 'Ready']
    tidemill.kill()
    tidemill.start()
    time.sleep(2)
    s = status(tidemill, 'again')
    assert [c['lastTransitionTime'] for c in s['conditions'] if c['type'] == 'Ready'] == since and ready(s)
    tidemill.kubectl('exec', 'again', '--', 'rm', '/tmp/up')
    wait(tidemill, 'again', lambda s: not ready(s))
