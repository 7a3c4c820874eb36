"""`tidemill down`, Ctrl-C, and down after SIGKILL, each with everything open at once: sessions, streams, requests half sent, an image half pulled,
volumes, Services, pods that crash, that do not heed SIGTERM, whose hook hangs. It takes bounded time and leaves nothing on the machine.

Other tests and other tidemills use the machine meanwhile: what is ours has our data directory, our instance's name or our mark in it."""
import http.client
import json
import os
import pathlib
import shutil
import signal
import socket
import ssl
import subprocess
import tempfile
import threading
import time
import uuid

import pytest
from conftest import KUBECTL, TIDEMILL, Tidemill, needs_node, node_options
from images_kit import Image, OwnRegistry, layer
from kfp import compiler, dsl

pytestmark = needs_node

LIMIT = 60   # of `down`; at rest it takes some 4 s, of which 3 are the grace of pods


# ---- the machine ----------------------------------------------------------------------------------------------------------


def output(*cmd):
    return subprocess.run(cmd, capture_output=True, text=True, errors='replace').stdout.splitlines()


def read(path):
    try:
        return pathlib.Path(path).read_bytes().decode(errors='replace')
    except OSError:
        return ''


def processes():
    """Of each: command line, environment, control groups, mounts and open files in one text."""
    found = {}
    for p in pathlib.Path('/proc').iterdir():
        if not p.name.isdigit() or int(p.name) == os.getpid():
            continue
        stat = read(p / 'stat')
        if not stat or stat.rsplit(')', 1)[1].split()[0] in 'ZX':
            continue
        files = []
        try:
            files = [os.readlink(f) for f in (p / 'fd').iterdir()]
        except OSError:
            pass
        found[int(p.name)] = '\n'.join([read(p / 'cmdline').replace('\0', ' '), read(p / 'environ'), read(p / 'cgroup'), *files])
    return found


def started(pid):
    """When the process with that number began; None: there is none, or one that has ended."""
    stat = read(f'/proc/{pid}/stat').rsplit(')', 1)[-1].split()
    return stat[19] if stat and stat[0] not in 'ZX' else None


def mounts(pids):
    """Of the machine, and of the mount namespaces that these processes are in. A namespace that somebody else made meanwhile has copies
    of ours, which are that one's."""
    found, seen = [], set()
    for pid in ('self', *pids):
        try:
            ns = os.readlink(f'/proc/{pid}/ns/mnt')
        except OSError:
            continue
        if ns not in seen:
            seen.add(ns)
            found += read(f'/proc/{pid}/mountinfo').splitlines()
    return found


class Machine:
    """What this machine holds that has one of these names in it."""

    def __init__(self, t, mark, tmp):
        self.t, self.mark, self.tmp = t, mark, tmp
        self.instance = None

    def look(self):
        self.instance = self.instance or read(os.path.join(self.t.data, 'node/instance')).split()[0]
        names = (self.t.data, self.mark, self.instance)

        def ours(text):
            return any(n in text for n in names)

        clients = {c.pid for c in CLIENTS}
        ps = {pid: text.splitlines()[0][:200] for pid, text in processes().items() if ours(text) and pid not in clients}
        return {
            'processes': ps,
            'mounts': [m for m in mounts(ps) if ours(m)],
            'links': [x for x in output('ip', '-o', 'link') if ours(x)],
            'routes': [x for x in output('ip', 'route', 'show', 'table', 'all') + output('ip', 'rule') + output('ip', 'neigh') if ours(x)],
            'rules': [x for x in output('nft', 'list', 'ruleset') if ours(x)],
            'control groups': [d for d, _, _ in os.walk('/sys/fs/cgroup') if ours(d)],
            'files': [f for top in ('/run', '/tmp', '/dev/shm', '/var/tmp', '/var/lib') for f in files(top, ours, self.t.data)],
            'claims': claims(self.t),
            'temporary files': [str(p) for p in pathlib.Path(self.tmp).rglob('*')],
        }


def claims(t):
    """The file that says that a range of addresses of Services is ours."""
    f = pathlib.Path('/run/tidemill/services-' + read(os.path.join(t.data, 'service-range')).strip().replace('/', '_'))
    return [str(f)] if f.exists() else []


def files(top, ours, data):
    found = []
    for d, dirs, names in os.walk(top):
        found += [os.path.join(d, n) for n in dirs + names if ours(n) and not os.path.join(d, n).startswith(data)]
        dirs[:] = [n for n in dirs if d.count('/') < 3 and not n.startswith(('tidemill-test-', 'bash_'))]
    return found


# ---- everything open -------------------------------------------------------------------------------------------------------

CLIENTS = []


@dsl.container_component
def long():
    return dsl.ContainerSpec(image='alpine:3.20', command=['sleep', '3600'])


@dsl.pipeline(name='long')
def pipeline():
    long().set_caching_options(False)


def objects(image, mark):
    def pod(name, command, more=None, **spec):
        c = {'name': 'main', 'image': 'host', 'command': command, 'env': [{'name': 'MARK', 'value': mark}], **(more or {})}
        return {'apiVersion': 'v1', 'kind': 'Pod', 'metadata': {'name': name, 'labels': {'app': name}}, 'spec': {'containers': [c], **spec}}
    mounted = [{'name': 'v', 'mountPath': '/data'}, {'name': 'v', 'mountPath': '/part', 'subPath': 'a/b'}, {'name': 'm', 'mountPath': '/memory'},
               {'name': 'c', 'mountPath': '/etc/conf', 'subPath': 'k'}]
    volumes = [{'name': 'v', 'persistentVolumeClaim': {'claimName': 'data'}}, {'name': 'm', 'emptyDir': {'medium': 'Memory'}}, {'name': 'c', 'configMap': {'name': 'conf'}}]
    return [
        {'apiVersion': 'v1', 'kind': 'ConfigMap', 'metadata': {'name': 'conf'}, 'data': {'k': 'v'}},
        {'apiVersion': 'v1', 'kind': 'PersistentVolumeClaim', 'metadata': {'name': 'data'},
         'spec': {'accessModes': ['ReadWriteOnce'], 'resources': {'requests': {'storage': '1Mi'}}}},
        {'apiVersion': 'v1', 'kind': 'Service', 'metadata': {'name': 'web'}, 'spec': {'type': 'NodePort', 'selector': {'app': 'web'}, 'ports': [{'port': 80, 'targetPort': 8000}]}},
        pod('web', ['sh', '-c', 'cd /etc && exec python3 -m http.server 8000'], {'volumeMounts': mounted, 'stdin': True,
            'livenessProbe': {'exec': {'command': ['sleep', '3600']}, 'periodSeconds': 1, 'timeoutSeconds': 3000}}, volumes=volumes),
        pod('many', ['sleep', '3600'], {'lifecycle': {'preStop': {'exec': {'command': ['sleep', '3600']}}}}, terminationGracePeriodSeconds=3600),
        pod('deaf', ['sh', '-c', 'trap "" TERM INT; while :; do sleep 1; done'], terminationGracePeriodSeconds=3600, shareProcessNamespace=True),
        pod('crashes', ['sh', '-c', 'exit 1']),
        pod('pulls', ['true'], {'image': image}),
        pod('shared', ['sh', '-c', 'setsid sleep 3600 & sleep 3600'], hostNetwork=True, hostPID=True),
    ]


def wait(what, seconds=60):
    until = time.monotonic() + seconds
    while not (r := what()):
        assert time.monotonic() < until
        time.sleep(0.1)
    return r


class Open:
    """Everything that a client can have open, and a registry that hangs in the middle of a layer."""

    def __init__(self, t, mark, own):
        self.t, self.sockets = t, []
        self.hangs = threading.Event()
        img = Image([layer([(f'f{n}', os.urandom(3000)) for n in range(100)])])

        def trickle(handler, path):
            if '/blobs/' not in path or path.endswith(json.loads(img.manifest)['config']['digest']):
                return False
            body = img.layers[0]
            handler.send_response(200)
            handler.send_header('Content-Length', str(len(body)))
            handler.end_headers()
            handler.wfile.write(body[:len(body) // 2])
            handler.wfile.flush()
            self.hangs.set()
            time.sleep(300)
            return True
        self.registry = own(trickle)
        many = objects(self.registry.add('half', '1', img), mark)
        t.kubectl('apply', '-f', '-', stdin=json.dumps({'apiVersion': 'v1', 'kind': 'List', 'items': many}))
        t.kubectl('wait', '--for=condition=Ready', 'pod/web', 'pod/many', 'pod/deaf', 'pod/shared', '--timeout=170s')
        self.pipelines()
        self.kubectl_clients()
        self.connections()
        t.kubectl('delete', 'pod', 'many', '--wait=false')
        assert self.hangs.wait(60)
        wait(lambda: 'CrashLoopBackOff' in t.kubectl('get', 'pod', 'crashes').stdout)
        wait(lambda: int(json.loads(t.kubectl('get', 'service', 'web', '-o', 'json').stdout)['spec']['ports'][0]['nodePort']))

    def pipelines(self):
        with tempfile.TemporaryDirectory() as d:
            compiler.Compiler().compile(pipeline, d + '/p.yaml')
            run = self.t.kfp().create_run_from_pipeline_package(d + '/p.yaml')
        wait(lambda: 'Running' in self.t.kubectl('get', 'pods', '-n', 'kubeflow').stdout)
        self.run = run.run_id

    def kubectl_clients(self):
        env = {**os.environ, 'KUBECONFIG': self.t.kubeconfig}
        for args in (['exec', '-i', 'web', '--', 'sh', '-c', 'sleep 3600 & cat'], ['exec', 'deaf', '--', 'sleep', '3600'], ['attach', '-i', 'web'],
                     ['logs', '-f', 'web'], ['get', 'pods', '-A', '-w'], ['port-forward', 'pod/web', ':8000'], ['proxy', '--port=0']):
            p = subprocess.Popen([KUBECTL, *args], env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
            CLIENTS.append(p)
            if args[0] == 'port-forward':
                port = int(p.stdout.readline().split('127.0.0.1:')[1].split()[0])
                s = socket.create_connection(('127.0.0.1', port))
                s.sendall(b'GET / HTTP/1.1\r\n')
                self.sockets.append(s)
        time.sleep(2)

    def connect(self, url):
        host, port = url.split('//')[1].split(':')
        s = socket.create_connection((host, int(port)))
        if url.startswith('https'):
            s = ssl._create_unverified_context().wrap_socket(s)
        self.sockets.append(s)
        return s

    def connections(self):
        """Half of a request, streams, and requests whose answers nobody reads."""
        auth = f'Host: localhost\r\nAuthorization: Bearer {self.t.token()}\r\n'
        for url, text in (
                (self.t.url, ''), (self.t.kubernetes, ''), (self.t.url, 'GET /apis/v2beta1/he'),
                (self.t.url, f'POST /apis/v2beta1/pipelines/upload?name=x HTTP/1.1\r\n{auth}Content-Type: multipart/form-data; boundary=x\r\nContent-Length: 100000\r\n\r\n'
                             '--x\r\nContent-Disposition: form-data; name="uploadfile"; filename="p.yaml"\r\n\r\nabc'),
                (self.t.url, f'POST /apis/v2beta1/runs HTTP/1.1\r\n{auth}Content-Type: application/json\r\nContent-Length: 1000\r\n\r\n{{'),
                (self.t.url, f'GET /apis/v2beta1/runs/{self.run}:watch HTTP/1.1\r\n{auth}\r\n'),
                (self.t.kubernetes, f'POST /api/v1/namespaces/default/configmaps HTTP/1.1\r\n{auth}Content-Type: application/json\r\nContent-Length: 1000\r\n\r\n{{'),
                (self.t.kubernetes, f'GET /api/v1/pods?watch=true HTTP/1.1\r\n{auth}\r\n'),
                (self.t.kubernetes, f'GET /api/v1/namespaces/default/pods/web/proxy/ HTTP/1.1\r\n{auth}\r\n')):
            self.connect(url).sendall(text.encode())
        slow = self.connect(self.t.kubernetes)
        slow.sendall((f'GET /apis/apiextensions.k8s.io/v1/customresourcedefinitions HTTP/1.1\r\n{auth}\r\n' * 200).encode())

    def close(self):
        for p in CLIENTS:
            p.kill()
            p.wait()
        CLIENTS.clear()
        for s in self.sockets:
            s.close()


@pytest.fixture
def own():
    made = []

    def make(tricks=None):
        made.append(OwnRegistry(tricks))
        return made[-1]
    yield make
    for r in made:
        r.close()


def by_command(t):
    r = subprocess.run([TIDEMILL, 'down', '--data', t.data], capture_output=True, text=True, timeout=LIMIT + 30)
    assert r.returncode == 0, r.stderr
    return t.process.wait(10)


def by_signal(t):
    return t.stop(signal.SIGINT, LIMIT + 30)


def after_kill(t):
    t.kill()
    t.start(60)
    return by_command(t)


def killed_while_it_goes_down(t):
    """SIGKILL in the middle of `down`, at an instant when some pods are gone and others are not; then up and down."""
    t.process.send_signal(signal.SIGINT)
    time.sleep(1.5)
    t.kill()
    t.start(60)
    return by_command(t)


@pytest.mark.parametrize('how', [by_command, by_signal, after_kill, killed_while_it_goes_down])
def test_nothing_is_left(how, own):
    mark, tmp = 'mark-' + uuid.uuid4().hex, tempfile.mkdtemp(prefix='tm-down-tmp-')
    t = Tidemill(*node_options(), env={'TIDEMILL_TEST_MARK': mark, 'TMPDIR': tmp}).start(60)
    machine, opened = Machine(t, mark, tmp), None
    try:
        opened = Open(t, mark, own)
        during = machine.look()
        for kind in ('processes', 'mounts', 'links', 'routes', 'rules', 'control groups'):
            assert during[kind], kind
        alive = {p: started(p) for p in during['processes']}
        ports = [int(u.rsplit(':', 1)[1]) for u in (t.url, t.kubernetes)]
        began = time.monotonic()
        code = how(t)
        took = time.monotonic() - began
        after = machine.look()
        assert {k: v for k, v in after.items() if v} == {}, t.tail()
        assert code == 0 and took < LIMIT, took
        assert not [during['processes'][p] for p, since in alive.items() if since and started(p) == since]
        check_data(t)
        for port in ports:
            with socket.socket() as s:
                s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                s.bind(('127.0.0.1', port))
        print(f'{how.__name__}: {took:.1f} s')
    finally:
        if opened:
            opened.close()
        t.purge()
        shutil.rmtree(tmp, ignore_errors=True)
    assert not os.path.exists(t.data)


def check_data(t):
    """The data directory holds what the next `up` reads, and no half of anything."""
    data = pathlib.Path(t.data)
    for d in ('node/pods', 'node/net', 'node/ipc', 'node/run/crun', 'node/run/exits', 'node/stock', 'images/tmp'):
        assert not (data / d).exists() or not list((data / d).iterdir()), (d, list((data / d).iterdir()))
    assert [d.name for d in (data / 'volumes').iterdir()] and (data / 'kube.db').exists()
    special = [p for p in data.rglob('*') if p.is_socket() or p.is_fifo()]
    assert not special


# ---- requests that hang ----------------------------------------------------------------------------------------------------


class Hanging:
    """Listens and takes connections, and never says a word."""

    def __init__(self):
        self.socket = socket.create_server(('127.0.0.1', 0))
        self.port = self.socket.getsockname()[1]
        self.kept = []
        threading.Thread(target=self.take, daemon=True).start()

    def take(self):
        while True:
            try:
                self.kept.append(self.socket.accept()[0])
            except OSError:
                return

    def close(self):
        for s in [self.socket, *self.kept]:
            s.close()


def in_background(*requests_):
    """Sends each request of its own connection, and reads no answer."""
    made = []
    for url, text in requests_:
        host, port = url.split('//')[1].split(':')
        s = socket.create_connection((host, int(port)))
        if url.startswith('https'):
            s = ssl._create_unverified_context().wrap_socket(s)
        s.sendall(text.encode())
        made.append(s)
    return made


@pytest.mark.parametrize('sig', [signal.SIGINT, signal.SIGTERM])
def test_requests_that_hang_do_not_hold_it_up(sig):
    """Slow uploads, a pipeline fetched from where nobody answers, lists that nobody reads, watches: cut at the end of the grace of two seconds."""
    nobody = Hanging()
    t = Tidemill('--no-node', env={'PIPELINE_URL_VALIDATION_ENABLED': 'false', 'PIPELINE_URL_TIMEOUT': '300s'}).start(60)
    held = []
    try:
        auth = f'Host: localhost\r\nAuthorization: Bearer {t.token()}\r\n'
        json_ = auth + 'Content-Type: application/json\r\n'
        for n in range(40):
            t.kubectl('create', 'configmap', f'big{n}', '--from-literal=x=' + 'y' * 100000)
        by_url = json.dumps({'pipeline': {'display_name': 'far'}, 'pipeline_version': {'display_name': 'far', 'package_url': {'pipeline_url': f'http://127.0.0.1:{nobody.port}/p.yaml'}}})
        upload = f'POST /apis/v2beta1/pipelines/upload?name=%s HTTP/1.1\r\n{auth}Content-Type: multipart/form-data; boundary=x\r\nContent-Length: 100000000\r\n\r\n--x\r\n'
        held += in_background(
            *[(t.url, upload % f's{n}') for n in range(20)],
            (t.url, f'POST /apis/v2beta1/pipelines/create HTTP/1.1\r\n{json_}Content-Length: {len(by_url)}\r\n\r\n{by_url}'),
            (t.url, f'POST /apis/v2beta1/runs HTTP/1.1\r\n{json_}Content-Length: 9999\r\n\r\n{{'),
            (t.url, 'GET /apis/v2beta1/he'), (t.url, ''), (t.url, 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n'),
            (t.kubernetes, f'POST /api/v1/namespaces/default/configmaps HTTP/1.1\r\n{json_}Content-Length: 9999\r\n\r\n{{'),
            (t.kubernetes, f'GET /api/v1/configmaps?watch=true HTTP/1.1\r\n{auth}\r\n'),
            (t.kubernetes, f'GET /api/v1/configmaps HTTP/1.1\r\n{auth}\r\n' * 20))
        host, port = t.kubernetes.split('//')[1].split(':')
        held.append(socket.create_connection((host, int(port))))   # no TLS handshake
        upload_in_pieces = threading.Event()

        def drip():
            while not upload_in_pieces.wait(0.2):
                try:
                    held[0].sendall(b'x')
                except OSError:
                    return
        threading.Thread(target=drip, daemon=True).start()
        wait(lambda: nobody.kept, 120)
        time.sleep(1)
        began = time.monotonic()
        code = t.stop(sig, 60)
        took = time.monotonic() - began
        upload_in_pieces.set()
        print(f'{took:.1f} s')
        assert code == 0 and took < 15, (took, t.tail())
    finally:
        for s in held:
            s.close()
        nobody.close()
        t.purge()
