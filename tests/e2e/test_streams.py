"""exec, attach, cp and port-forward with the real clients: kubectl of every version that is here, and the Python client."""
import fcntl
import json
import os
import pathlib
import pty
import re
import select
import socket
import ssl
import struct
import subprocess
import termios
import time
import urllib.error
import urllib.request
import zlib

import pytest
import websocket

from conftest import KUBECTL, needs_node
from test_kubectl import binaries

pytestmark = [needs_node, pytest.mark.skipif(not KUBECTL, reason='there is no kubectl: `./dev test` installs one')]

POD = """
apiVersion: v1
kind: Pod
metadata: {name: %s}
spec:
  terminationGracePeriodSeconds: 1
  restartPolicy: Never
  containers: [{name: main, image: host, command: [sh, -c, %s], %s}]
"""


@pytest.fixture(scope='module')
def pod(tidemill):
    """A pod that sleeps, with a web server on its own loopback."""
    return make(tidemill, 'p', 'cd /etc && python3 -m http.server 8000 --bind 127.0.0.1 & sleep 3600')


def make(tidemill, name, script, more='stdin: false'):
    import json
    tidemill.kubectl('apply', '-f', '-', stdin=POD % (name, json.dumps(script), more))
    tidemill.kubectl('wait', '--for=condition=Ready', 'pod/' + name, '--timeout=60s')
    return name


def popen(tidemill, *args, binary=None, **kw):
    return subprocess.Popen([binary or KUBECTL, *args], env={**os.environ, 'KUBECONFIG': tidemill.kubeconfig}, **kw)


def in_terminal(tidemill, args, keys, rows=40, columns=120, wait=120):
    """Runs kubectl in a terminal of that size and types when it falls silent; what it showed, and its exit code."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack('HHHH', rows, columns, 0, 0))
    p = popen(tidemill, *args, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True)
    os.close(theirs)
    shown, keys, until = b'', list(keys), time.monotonic() + wait
    while time.monotonic() < until:
        if select.select([ours], [], [], 0.7)[0]:
            try:
                piece = os.read(ours, 65536)
            except OSError:
                break
            if not piece:
                break
            shown += piece
        elif keys:
            os.write(ours, keys.pop(0))
    os.close(ours)
    return shown.decode(), p.wait(60)


@pytest.mark.parametrize('binary', binaries())
def test_exec(tidemill, pod, binary):
    r = tidemill.kubectl('exec', '-i', pod, '--', 'sh', '-c', 'cat; echo wrong >&2; exit 5', stdin='text', check=False, binary=binary)
    assert (r.returncode, r.stdout) == (5, 'text')
    assert r.stderr == 'wrong\ncommand terminated with exit code 5\n'
    assert tidemill.kubectl('exec', pod, '--', 'hostname', binary=binary).stdout == 'p\n'


@pytest.mark.parametrize('binary', binaries())
def test_cp_and_port_forward(tidemill, pod, binary, tmp_path):
    (tmp_path / 'a').write_bytes(os.urandom(5_000_000))
    tidemill.kubectl('cp', str(tmp_path / 'a'), f'{pod}:/tmp/a', binary=binary)
    tidemill.kubectl('cp', f'{pod}:/tmp/a', str(tmp_path / 'b'), binary=binary)
    assert (tmp_path / 'a').read_bytes() == (tmp_path / 'b').read_bytes()
    with popen(tidemill, 'port-forward', pod, ':8000', binary=binary, stdout=subprocess.PIPE, text=True) as p:
        try:
            port = int(p.stdout.readline().split('127.0.0.1:')[1].split()[0])
            for _ in range(20):
                assert urllib.request.urlopen(f'http://127.0.0.1:{port}/hostname', timeout=60).read() == b'p\n'
        finally:
            p.kill()


@pytest.mark.parametrize('command,code,text', [
    (['nosuch'], 127, 'not found'),
    (['/etc/passwd'], 126, 'ermission denied|not executable'),
    (['sh', '-c', 'kill -9 $$'], 137, 'exit code 137'),
])
def test_exit_codes(tidemill, pod, command, code, text):
    r = tidemill.kubectl('exec', pod, '--', *command, check=False)
    assert r.returncode == code and re.search(text, r.stderr), r.stderr


def test_refusals(tidemill, pod):
    for args, text in ((['exec', pod, '-c', 'nope', '--', 'ls'], 'container nope is not valid for pod p'),
                       (['exec', 'nopod', '--', 'ls'], 'pods "nopod" not found')):
        r = tidemill.kubectl(*args, check=False)
        assert r.returncode == 1 and text in r.stderr
    r = tidemill.kubectl('get', '--raw', '/api/v1/namespaces/default/pods/p/exec?command=ls&stdout=1', check=False)
    assert 'Upgrade request required' in r.stderr


def test_terminal(tidemill, pod):
    shown, code = in_terminal(tidemill, ['exec', '-it', pod, '--', 'sh'], [b'stty size; tty\n', b'sleep 100\n', b'\x03', b'exit 3\n'])
    assert code == 3 and '40 120' in shown and '/dev/pts/0' in shown, shown


def test_attach(tidemill):
    make(tidemill, 'once', 'cat; echo bye', 'stdin: true, stdinOnce: true')
    r = tidemill.kubectl('attach', '-i', 'once', stdin='hello\n')
    assert r.stdout == 'hello\nbye\n'
    make(tidemill, 'many', 'while read x; do echo got $x; done', 'stdin: true')
    for word in ('a', 'b'):
        p = popen(tidemill, 'attach', '-i', 'many', stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        time.sleep(1)
        p.stdin.write(word + '\n')
        p.stdin.flush()
        assert p.stdout.readline() == f'got {word}\n'
        p.kill()
        p.wait()
    make(tidemill, 'term', 'exec sh', 'stdin: true, tty: true')
    shown, code = in_terminal(tidemill, ['attach', '-it', 'term'],
                              [b'until stty size | grep -q "^40 1[2]0"; do sleep 0.1; done; stty size\n', b'exit 0\n'])  # kubectl resizes twice, so that programs draw anew
    assert code == 0 and '40 120' in shown, shown


def test_gigabyte(tidemill, pod):
    p = popen(tidemill, 'exec', pod, '--', 'head', '-c', '1000000000', '/dev/zero', stdout=subprocess.PIPE)
    n = 0
    while piece := p.stdout.read(1 << 20):
        assert not piece.strip(b'\0')
        n += len(piece)
    assert n == 1_000_000_000 and p.wait() == 0


def test_many_at_once(tidemill, pod):
    procs = [popen(tidemill, 'exec', pod, '--', 'echo', str(i), stdout=subprocess.PIPE, text=True) for i in range(100)]
    assert [p.communicate(timeout=120)[0] for p in procs] == [f'{i}\n' for i in range(100)]


def alive(text):
    return subprocess.run(['pgrep', '-f', text], capture_output=True).returncode == 0


def gone(text, wait=120):
    until = time.monotonic() + wait
    while alive(text) and time.monotonic() < until:
        time.sleep(0.05)
    return not alive(text)


def test_cut(tidemill, pod):
    """Neither a client that is killed nor a tidemill that is leaves the program behind."""
    number = 100000 + os.getpid()
    for tty in (False, True):
        p = popen(tidemill, 'exec', pod, '-it' if tty else '-i', '--', 'sh', '-c', f'sleep {number} & sleep {number}', stdin=subprocess.PIPE,
                  stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        until = time.monotonic() + 120
        while not alive(f'^sleep {number}') and time.monotonic() < until:
            time.sleep(0.05)
        assert alive(f'^sleep {number}')
        p.kill()
        p.wait()
        assert gone(f'^sleep {number}')
    p = popen(tidemill, 'exec', pod, '--', 'sleep', str(number), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    until = time.monotonic() + 120
    while not alive(f'^sleep {number}') and time.monotonic() < until:
        time.sleep(0.05)
    tidemill.kill()
    assert gone(f'^sleep {number}') and p.wait(60) != 0
    tidemill.start()
    assert tidemill.kubectl('exec', pod, '--', 'hostname').stdout == 'p\n'


def test_slow_reader(tidemill, pod):
    """Who does not read stops the program; the server holds no more than its bound meanwhile."""
    p = popen(tidemill, 'exec', pod, '--', 'sh', '-c', 'head -c 200000000 /dev/zero; echo end >&2', stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    time.sleep(2)
    rss = int(next(line for line in open(f'/proc/{tidemill.process.pid}/status') if line.startswith('RssAnon')).split()[1])
    assert rss < 150_000
    out, err = p.communicate(timeout=120)
    assert len(out) == 200_000_000 and err == b'end\n'


def test_python_client(tidemill, pod):
    from kubernetes import client, config, stream
    config.load_kube_config(tidemill.kubeconfig)
    core = client.CoreV1Api()
    out = stream.stream(core.connect_get_namespaced_pod_exec, pod, 'default', command=['sh', '-c', 'echo out; echo err >&2'], stderr=True,
                        stdin=False, stdout=True, tty=False)
    assert sorted(out.split()) == ['err', 'out']
    ws = stream.stream(client.CoreV1Api().connect_get_namespaced_pod_exec, pod, 'default', command=['sh', '-c', 'read x; echo $x; exit 9'],
                       stderr=True, stdin=True, stdout=True, tty=False, _preload_content=False)
    ws.write_stdin('typed\n')
    ws.run_forever(timeout=60)
    assert ws.read_stdout() == 'typed\n' and ws.returncode == 9
    forward = stream.portforward(client.CoreV1Api().connect_get_namespaced_pod_portforward, pod, 'default', ports='8000')
    s = forward.socket(8000)
    s.setblocking(True)
    s.sendall(b'GET /hostname HTTP/1.0\r\n\r\n')
    got = b''
    while piece := s.recv(65536):
        got += piece
    assert got.endswith(b'\r\n\r\np\n')
    s.close()


def test_rights(tidemill, pod):
    """exec needs "create" on pods/exec, by whichever method; who may only read pods may not."""
    tidemill.kubectl('create', 'serviceaccount', 'reader')
    tidemill.kubectl('create', 'rolebinding', 'reader', '--clusterrole=view', '--serviceaccount=default:reader')
    r = tidemill.kubectl('exec', pod, '--as=system:serviceaccount:default:reader', '--', 'ls', check=False)
    assert r.returncode == 1 and 'cannot create resource "pods/exec"' in r.stderr
    # Who may read all there is has "get" on it, which is the method of a WebSocket.
    tidemill.kubectl('create', 'role', 'all-reader', '--verb=get,list,watch', '--resource=pods,pods/exec,pods/attach,pods/portforward')
    tidemill.kubectl('create', 'rolebinding', 'all-reader', '--role=all-reader', '--serviceaccount=default:reader')
    for how in (['exec', pod, '--', 'ls'], ['attach', pod], ['port-forward', pod, '0:80']):
        r = tidemill.kubectl('--as=system:serviceaccount:default:reader', *how, check=False)
        assert r.returncode == 1 and f'cannot create resource "pods/{how[0].replace("-", "")}"' in r.stderr, (how, r.stderr)
    tidemill.kubectl('create', 'role', 'runner', '--verb=create', '--resource=pods/exec')
    tidemill.kubectl('create', 'rolebinding', 'runner', '--role=runner', '--serviceaccount=default:reader')
    assert tidemill.kubectl('exec', pod, '--as=system:serviceaccount:default:reader', '--', 'hostname').stdout == 'p\n'


def test_pod_proxy(tidemill):
    make(tidemill, 'web', 'cd /etc && exec python3 -m http.server 8000')
    path = '/api/v1/namespaces/default/pods/web:8000/proxy'
    until = time.monotonic() + 120
    while (r := tidemill.kubectl('get', '--raw', f'{path}/hostname', check=False)).returncode and time.monotonic() < until:
        time.sleep(0.2)
    assert r.stdout == 'web\n', r.stderr
    assert tidemill.kubectl('get', '--raw', f'{path}/nothing', check=False).returncode == 1
    r = tidemill.kubectl('get', '--raw', '/api/v1/namespaces/default/pods/web:81/proxy/', check=False)
    assert r.returncode == 1 and 'error trying to reach service' in r.stderr
    r = tidemill.kubectl('get', '--raw', '/api/v1/namespaces/default/pods/none:81/proxy/', check=False)
    assert 'pods "none" not found' in r.stderr
    # What a pod says its address is must be one, and not the machine's own.
    tidemill.kubectl('apply', '-f', '-', stdin='{"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "liar"}, "spec": {"schedulerName": "nobody", '
                                               '"containers": [{"name": "main", "image": "host"}]}}')
    def claim(ip):
        patch = json.dumps({'status': {'podIP': ip, 'podIPs': None}})
        return tidemill.kubectl('patch', 'pod', 'liar', '--subresource=status', '--type=merge', '-p', patch, check=False)

    for ip in ('localhost', '2130706433', '0x7f.1', '10.0.0.1/../x'):
        assert 'must be a valid IP address' in claim(ip).stderr, ip
    for ip in ('127.0.0.1', '::1', '169.254.169.254', '0.0.0.0'):
        assert claim(ip).returncode == 0, ip
        r = tidemill.kubectl('get', '--raw', f'/api/v1/namespaces/default/pods/liar:{tidemill.url.split(":")[-1]}/proxy/healthz', check=False)
        assert r.returncode == 1 and 'address not allowed' in r.stderr, (ip, r.stdout, r.stderr)


STREAMS = '''
import http.server, time
class H(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        if self.path == "/big":
            self.send_header("Content-Length", str(200 << 20))
            self.end_headers()
            for _ in range(200): self.wfile.write(b"x" * (1 << 20))
            return
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for i in range(600):
            self.wfile.write(b"8\\r\\ndata: %d\\n\\r\\n" % (i % 10))
            time.sleep(0.1)
http.server.ThreadingHTTPServer(("", 8000), H).serve_forever()
'''


def test_proxied_streams(tidemill):
    """An answer that goes on comes as it is made, a long one is not held: 200 MB leave the server as it was."""
    make(tidemill, 'streams', 'exec python3 -c "$CODE"', 'env: [{name: CODE, value: %s}]' % json.dumps(STREAMS))
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE

    def ask(path):
        request = urllib.request.Request(f'{tidemill.kubernetes}/api/v1/namespaces/default/pods/streams:8000/proxy/{path}',
                                         headers={'Authorization': f'Bearer {tidemill.token()}'})
        return urllib.request.urlopen(request, context=context, timeout=60)

    until = time.monotonic() + 60
    while True:
        try:
            events = ask('events')
            break
        except urllib.error.HTTPError as e:
            assert e.code == 503 and time.monotonic() < until, e.read()
            time.sleep(0.2)
    assert events.headers['content-type'] == 'text/event-stream'
    assert [events.readline() for _ in range(3)] == [b'data: 0\n', b'data: 1\n', b'data: 2\n']
    events.close()
    before, got = memory(tidemill.process.pid), 0
    with ask('big') as big:
        while piece := big.read(1 << 20):
            got += len(piece)
            if got == 20 << 20:
                time.sleep(1)   # a slow reader stops the writer
    assert got == 200 << 20
    assert memory(tidemill.process.pid) < before + 40


def test_node_proxy(tidemill, pod):
    """The kubelet's paths by way of the API server: pods, a log, a program; with the right on nodes/proxy alone."""
    node = tidemill.kubectl('get', 'nodes', '-o', 'name').stdout.strip().removeprefix('node/')
    path = f'/api/v1/nodes/{node}/proxy'
    raw = lambda what, *more, **kw: tidemill.kubectl('get', '--raw', f'{path}/{what}', *more, **kw)
    assert raw('healthz').stdout == 'ok'
    pods = json.loads(raw('pods').stdout)
    assert pods['kind'] == 'PodList' and pod in [p['metadata']['name'] for p in pods['items']]
    make(tidemill, 'talks', 'echo said; sleep 100')
    assert raw('containerLogs/default/talks/main').stdout == 'said\n'
    assert raw('containerLogs/default/talks/other', check=False).returncode == 1
    assert '404' in raw('logs/', check=False).stderr or 'not find' in raw('logs/', check=False).stderr
    run = f'exec/default/{pod}/main?command=hostname&output=1'
    s = websocket.create_connection(tidemill.kubernetes.replace('https', 'wss') + f'{path}/{run}', subprotocols=['v4.channel.k8s.io'], timeout=60,
                                    sslopt={'cert_reqs': ssl.CERT_NONE}, header={'Authorization': f'Bearer {tidemill.token()}'})
    said = b''
    while not said.startswith(b'\x01p\n') and (piece := s.recv()):
        said = piece if piece[:1] == b'\x01' and len(piece) > 1 else said
    s.close()
    assert said == b'\x01p\n'
    tidemill.kubectl('create', 'serviceaccount', 'nodes')
    tidemill.kubectl('create', 'clusterrole', 'node-reader', '--verb=get', '--resource=nodes/proxy')
    tidemill.kubectl('create', 'clusterrolebinding', 'node-reader', '--clusterrole=node-reader', '--serviceaccount=default:nodes')
    account = '--as=system:serviceaccount:default:nodes'
    assert raw('healthz', account).stdout == 'ok'
    assert 'cannot create resource "nodes/proxy"' in raw(run, account, check=False).stderr


WEB = '''
import socket, threading
def serve(c):
    head = b""
    while b"\\r\\n\\r\\n" not in head: head += c.recv(4096)
    first = head.split(b"\\r\\n")[0]
    if b"upgrade: echo" not in head.lower():
        c.sendall(b"HTTP/1.1 200 OK\\r\\nConnection: close\\r\\nContent-Length: %d\\r\\n\\r\\n" % len(first) + first)
        return c.close()
    if b"refuse" in first:
        c.sendall(b"HTTP/1.1 403 No\\r\\nContent-Length: 0\\r\\n\\r\\n")
        return c.close()
    seen = b"secret" if b"authorization" in head.lower() else b"nothing"
    c.sendall(b"HTTP/1.1 101 Switching\\r\\nConnection: Upgrade\\r\\nUpgrade: echo\\r\\nX-Seen: " + seen + b"\\r\\n\\r\\nhello")
    while data := c.recv(65536): c.sendall(data)
    c.close()
l = socket.create_server(("", 8000))
while True: threading.Thread(target=serve, args=(l.accept()[0],)).start()
'''


def upgrade(tidemill, path):
    """The socket and the answer's head of an upgrade through the API server."""
    host, port = tidemill.kubernetes.split('//')[1].split(':')
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    s = context.wrap_socket(socket.create_connection((host, int(port)), 30))
    s.sendall(f'GET {path} HTTP/1.1\r\nHost: {host}:{port}\r\nAuthorization: Bearer {tidemill.token()}\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n'.encode())
    data = b''
    while b'\r\n\r\n' not in data and (piece := s.recv(4096)):
        data += piece
    head, _, rest = data.partition(b'\r\n\r\n')
    return s, head.decode(), rest


def test_service_proxy_and_upgrades(tidemill):
    tidemill.kubectl('apply', '-f', '-', stdin=json.dumps({'apiVersion': 'v1', 'kind': 'List', 'items': [
        {'apiVersion': 'v1', 'kind': 'Pod', 'metadata': {'name': 'echo', 'labels': {'app': 'echo'}}, 'spec': {
            'terminationGracePeriodSeconds': 0, 'containers': [{'name': 'c', 'image': 'python:3.11', 'command': ['python3', '-c', WEB], 'ports': [{'containerPort': 8000}]}]}},
        {'apiVersion': 'v1', 'kind': 'Service', 'metadata': {'name': 'echo'}, 'spec': {'selector': {'app': 'echo'}, 'ports': [{'name': 'web', 'port': 80, 'targetPort': 8000}]}},
        {'apiVersion': 'v1', 'kind': 'Service', 'metadata': {'name': 'void'}, 'spec': {'selector': {'app': 'nobody'}, 'ports': [{'port': 80}]}}]}))
    base = '/api/v1/namespaces/default/services'
    until = time.monotonic() + 120
    while (r := tidemill.kubectl('get', '--raw', f'{base}/echo/proxy/a/b?c=d', check=False)).returncode and time.monotonic() < until:
        time.sleep(0.2)
    assert r.stdout == 'GET /a/b?c=d HTTP/1.1', r.stderr
    for name in ('echo:80', 'echo:web', 'http:echo:web'):
        assert tidemill.kubectl('get', '--raw', f'{base}/{name}/proxy/').stdout == 'GET / HTTP/1.1'
    for name, text in (('void', 'no endpoints available for service "void"'), ('echo:81', 'no service port 81 found for service "echo"'), ('gone', 'services "gone" not found')):
        assert text in tidemill.kubectl('get', '--raw', f'{base}/{name}/proxy/', check=False).stderr
    for path in (f'{base}/echo:web/proxy/ws', '/api/v1/namespaces/default/pods/echo:8000/proxy/ws'):
        s, head, rest = upgrade(tidemill, path)
        assert head.startswith('HTTP/1.1 101') and 'x-seen: nothing' in head.lower() and 'upgrade: echo' in head.lower(), head
        while len(rest) < 5:
            rest += s.recv(100)
        assert rest == b'hello'
        for i in range(30):
            data, got = os.urandom(100000), b''
            s.sendall(data)
            while len(got) < len(data) and (piece := s.recv(1 << 16)):
                got += piece
            assert got == data
        s.close()
    s, head, rest = upgrade(tidemill, f'{base}/echo/proxy/refuse')
    assert head.startswith('HTTP/1.1 403')
    s.close()


def spdy_frame(stream, data):
    return struct.pack('>II', stream, len(data)) + data


def spdy_open(stream, kind, packer):
    pairs = struct.pack('>II', 1, 10) + b'streamtype' + struct.pack('>I', len(kind)) + kind
    block = struct.pack('>IIH', stream, 0, 0) + packer.compress(pairs) + packer.flush(zlib.Z_SYNC_FLUSH)
    return struct.pack('>II', 0x80030001, len(block)) + block


def memory(pid):
    status = pathlib.Path(f'/proc/{pid}/status').read_text()
    return int(next(x for x in status.splitlines() if x.startswith('VmRSS')).split()[1]) // 1024


def test_input_before_its_streams(tidemill, pod):
    """A client that sends input, and never opens the streams without which nothing starts, is not listened to for ever."""
    host, port = tidemill.kubernetes.split('//')[1].split(':')
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    before = memory(tidemill.process.pid)
    with context.wrap_socket(socket.create_connection((host, int(port)))) as s:
        s.sendall((f'POST /api/v1/namespaces/default/pods/{pod}/exec?command=cat&stdin=1&stdout=1 HTTP/1.1\r\nHost: {host}:{port}\r\n'
                   f'Authorization: Bearer {tidemill.token()}\r\nConnection: Upgrade\r\nUpgrade: SPDY/3.1\r\n'
                   'X-Stream-Protocol-Version: v4.channel.k8s.io\r\n\r\n').encode())
        assert b' 101 ' in s.recv(4096)
        s.sendall(spdy_open(1, b'stdin', zlib.compressobj()))
        s.settimeout(2)
        sent = 0
        with pytest.raises(TimeoutError):
            while sent < 200:
                s.sendall(spdy_frame(1, bytes(1 << 20)))
                sent += 1
        assert sent < 64 and memory(tidemill.process.pid) - before < 32
