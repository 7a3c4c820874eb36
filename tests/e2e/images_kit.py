"""What the tests of images share: images made of nothing but Python, Debian's docker-registry on loopback, and a registry of our own
that can be told to lie."""
import base64
import gzip
import hashlib
import http.server
import io
import json
import pathlib
import shutil
import socket
import ssl
import subprocess
import tarfile
import tempfile
import threading
import time
import urllib.request

ARCH = {'x86_64': 'amd64', 'aarch64': 'arm64'}[__import__('platform').machine()]
OCI_MANIFEST = 'application/vnd.oci.image.manifest.v1+json'
OCI_INDEX = 'application/vnd.oci.image.index.v1+json'
DOCKER_MANIFEST = 'application/vnd.docker.distribution.manifest.v2+json'
DOCKER_LIST = 'application/vnd.docker.distribution.manifest.list.v2+json'
BUSYBOX = '/bin/busybox'


def digest(data):
    return 'sha256:' + hashlib.sha256(data).hexdigest()


def free_port():
    with socket.socket() as s:
        s.bind(('127.0.0.1', 0))
        return s.getsockname()[1]


# ---- images -------------------------------------------------------------------------------------------------------------


def layer(entries, fmt=tarfile.PAX_FORMAT):
    """A tar of (name, what): bytes is a file, None a directory, '->x' a link, '=x' a hard link; or a TarInfo with its bytes."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode='w', format=fmt) as t:
        for name, what in entries:
            if isinstance(name, tarfile.TarInfo):
                t.addfile(name, io.BytesIO(what) if what else None)
                continue
            info = tarfile.TarInfo(name)
            info.mode = 0o755
            info.mtime = 1700000000
            if what is None:
                info.type = tarfile.DIRTYPE
            elif isinstance(what, str) and what.startswith('->'):
                info.type, info.linkname = tarfile.SYMTYPE, what[2:]
            elif isinstance(what, str) and what.startswith('='):
                info.type, info.linkname = tarfile.LNKTYPE, what[1:]
            else:
                data = what.encode() if isinstance(what, str) else what
                info.size = len(data)
                t.addfile(info, io.BytesIO(data))
                continue
            t.addfile(info)
    return out.getvalue()


def special(name, kind, **kw):
    info = tarfile.TarInfo(name)
    info.type = kind
    for k, v in kw.items():
        setattr(info, k, v)
    return info


def busybox_layer(*applets):
    names = applets or ('sh', 'cat', 'echo', 'id', 'ls', 'sleep', 'test', 'mkdir', 'touch', 'env', 'pwd', 'stat', 'true', 'trap', 'wc', 'find', 'readlink', 'mount')
    entries = [('bin', None), ('etc', None), ('tmp', None), ('bin/busybox', pathlib.Path(BUSYBOX).read_bytes())]
    entries += [(f'bin/{n}', '->busybox') for n in names]
    entries += [('etc/passwd', 'root:x:0:0:root:/root:/bin/sh\napp:x:1000:1001:App:/home/app:/bin/sh\n'),
                ('etc/group', 'root:x:0:\napp:x:1001:\nextra:x:1234:app\n')]
    return layer(entries)


class Image:
    """layers: tars. compress: gzip, zstd or none."""

    def __init__(self, layers, config=None, compress='gzip', docker=False, blobs=None):
        self.tars = layers
        pack = {'gzip': lambda d: gzip.compress(d, 1, mtime=0), 'none': lambda d: d, 'zstd': zstd}[compress]
        self.layers = blobs or [pack(t) for t in layers]
        kind = 'application/vnd.docker.image.rootfs.diff.tar' + {'gzip': '.gzip', 'none': '', 'zstd': '.zstd'}[compress] if docker else \
            'application/vnd.oci.image.layer.v1.tar' + {'gzip': '+gzip', 'none': '', 'zstd': '+zstd'}[compress]
        self.config = json.dumps({'architecture': ARCH, 'os': 'linux', 'config': config or {'Cmd': ['/bin/sh']},
                                  'rootfs': {'type': 'layers', 'diff_ids': [digest(t) for t in layers]}}).encode()
        self.media_type = DOCKER_MANIFEST if docker else OCI_MANIFEST
        self.manifest = json.dumps({
            'schemaVersion': 2, 'mediaType': self.media_type,
            'config': {'mediaType': 'application/vnd.docker.container.image.v1+json' if docker else 'application/vnd.oci.image.config.v1+json',
                       'size': len(self.config), 'digest': digest(self.config)},
            'layers': [{'mediaType': kind, 'size': len(b), 'digest': digest(b)} for b in self.layers]}).encode()

    @property
    def blobs(self):
        return {digest(b): b for b in [self.config, *self.layers]}

    def docker_archive(self, path, *names):
        with tarfile.open(path, 'w') as t:
            def add(name, data):
                info = tarfile.TarInfo(name)
                info.size = len(data)
                t.addfile(info, io.BytesIO(data))
            files = [f'{i}/layer.tar' for i in range(len(self.tars))]
            for f, data in zip(files, self.tars):
                add(f, data)
            add('config.json', self.config)
            add('manifest.json', json.dumps([{'Config': 'config.json', 'RepoTags': list(names), 'Layers': files}]).encode())

    def oci_layout(self, path, name=None):
        d = pathlib.Path(path)
        (d / 'blobs/sha256').mkdir(parents=True)
        (d / 'oci-layout').write_text('{"imageLayoutVersion": "1.0.0"}')
        for data in [*self.blobs.values(), self.manifest]:
            (d / 'blobs/sha256' / digest(data)[7:]).write_bytes(data)
        entry = {'mediaType': self.media_type, 'size': len(self.manifest), 'digest': digest(self.manifest)}
        if name:
            entry['annotations'] = {'io.containerd.image.name': name}
        (d / 'index.json').write_text(json.dumps({'schemaVersion': 2, 'manifests': [entry]}))


def zstd(data):
    return subprocess.run(['zstd', '-q', '-1', '-c'], input=data, capture_output=True, check=True).stdout


def index_of(entries, docker=False):
    """entries: (Image, platform)."""
    return json.dumps({'schemaVersion': 2, 'mediaType': DOCKER_LIST if docker else OCI_INDEX,
                       'manifests': [{'mediaType': i.media_type, 'size': len(i.manifest), 'digest': digest(i.manifest), 'platform': p}
                                     for i, p in entries]}).encode()


# ---- registries ------------------------------------------------------------------------------------------------------------


class DockerRegistry:
    """Debian's docker-registry. auth: (user, password) by htpasswd."""

    def __init__(self, auth=None, tls=None):
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix='tm-registry-'))
        self.port = free_port()
        self.host = f'127.0.0.1:{self.port}'
        self.auth = auth
        self.scheme = 'https' if tls else 'http'
        config = f'version: 0.1\nlog: {{level: error, accesslog: {{disabled: true}}}}\nstorage: {{filesystem: {{rootdirectory: {self.dir}/data}}}}\nhttp:\n  addr: {self.host}\n'
        if tls:
            config += f'  tls: {{certificate: {tls[0]}, key: {tls[1]}}}\n'
        if auth:
            (self.dir / 'htpasswd').write_text(subprocess.run(['htpasswd', '-nbB', *auth], capture_output=True, text=True, check=True).stdout.strip() + '\n')
            config += f'auth: {{htpasswd: {{realm: test, path: {self.dir}/htpasswd}}}}\n'
        (self.dir / 'config.yml').write_text(config)
        self.process = subprocess.Popen(['docker-registry', 'serve', str(self.dir / 'config.yml')], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        for _ in range(200):
            try:
                socket.create_connection(('127.0.0.1', self.port), 1).close()
                return
            except OSError:
                time.sleep(0.05)
        raise RuntimeError('docker-registry does not answer')

    def call(self, method, path, data=None, kind='application/octet-stream'):
        url = path if '://' in path else f'{self.scheme}://{self.host}{path}'
        r = urllib.request.Request(url, data=data, method=method, headers={'Content-Type': kind})
        if self.auth:
            r.add_header('Authorization', 'Basic ' + base64.b64encode(':'.join(self.auth).encode()).decode())
        return urllib.request.urlopen(r, timeout=120, context=ssl._create_unverified_context() if self.scheme == 'https' else None)

    def put_blob(self, repo, data):
        where = self.call('POST', f'/v2/{repo}/blobs/uploads/', b'').headers['Location']
        self.call('PUT', where + ('&' if '?' in where else '?') + 'digest=' + digest(data), data)

    def push(self, repo, tag, image):
        for b in image.blobs.values():
            self.put_blob(repo, b)
        self.call('PUT', f'/v2/{repo}/manifests/{tag}', image.manifest, image.media_type)
        return f'{self.host}/{repo}:{tag}'

    def put_manifest(self, repo, tag, text, kind):
        self.call('PUT', f'/v2/{repo}/manifests/{tag}', text, kind)
        return f'{self.host}/{repo}:{tag}'

    def close(self):
        self.process.terminate()
        self.process.wait(60)
        shutil.rmtree(self.dir, ignore_errors=True)


class OwnRegistry:
    """Serves what it is given; `tricks` is a function (handler, path) -> True when it has answered."""

    def __init__(self, tricks=None):
        self.blobs, self.manifests, self.log = {}, {}, []
        self.tricks = tricks
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = 'HTTP/1.1'

            def log_message(self, *a):
                pass

            def answer(self, status, body=b'', **headers):
                self.send_response(status)
                for k, v in headers.items():
                    self.send_header(k.replace('_', '-'), v)
                self.send_header('Content-Length', str(len(body)))
                self.end_headers()
                if self.command != 'HEAD':
                    self.wfile.write(body)

            def do_GET(self):
                outer.log.append((self.command, self.path, dict(self.headers)))
                if outer.tricks and outer.tricks(self, self.path):
                    return
                name = self.path.rsplit('/', 1)[-1]
                if '/manifests/' in self.path and name in outer.manifests:
                    kind, body = outer.manifests[name]
                    return self.answer(200, body, Content_Type=kind, Docker_Content_Digest=digest(body))
                if '/blobs/' in self.path and name in outer.blobs:
                    body = outer.blobs[name]
                    if self.headers.get('Range'):
                        start = int(self.headers['Range'].split('=')[1].split('-')[0])
                        return self.answer(206, body[start:], Content_Range=f'bytes {start}-{len(body) - 1}/{len(body)}')
                    return self.answer(200, body)
                self.answer(404, b'{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown"}]}')
            do_HEAD = do_POST = do_GET

        class Server(http.server.ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, *a):
                pass
        self.server = Server(('127.0.0.1', 0), Handler)
        self.host = f'127.0.0.1:{self.server.server_port}'
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def add(self, repo, tag, image):
        self.blobs.update(image.blobs)
        self.manifests[tag] = self.manifests[digest(image.manifest)] = (image.media_type, image.manifest)
        return f'{self.host}/{repo}:{tag}'

    def gets(self, part):
        return [p for m, p, h in self.log if m == 'GET' and part in p]

    def close(self):
        self.server.shutdown()
        self.server.server_close()
