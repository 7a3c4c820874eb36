"""Images from registries and archives: pulled, checked, unpacked, run; from registries that lie, hang, cut, refuse and misbehave."""
import json
import os
import pathlib
import shutil
import ssl
import subprocess
import tempfile
import threading
import time
import urllib.parse

import conftest
import images_kit as kit
import pytest
from conftest import TIDEMILL, needs_node
from images_kit import Image, OwnRegistry, busybox_layer, digest, layer

pytestmark = pytest.mark.skipif(os.geteuid() != 0 or not os.path.exists(kit.BUSYBOX), reason='needs root and busybox-static')
needs_registry = pytest.mark.skipif(not shutil.which('docker-registry'), reason='docker-registry is not installed')


@pytest.fixture(scope='module')
def registry():
    if not shutil.which('docker-registry'):
        pytest.skip('docker-registry is not installed')
    r = kit.DockerRegistry()
    yield r
    r.close()


@pytest.fixture
def data():
    d = tempfile.mkdtemp(prefix='tm-images-')
    yield pathlib.Path(d)
    shutil.rmtree(d, ignore_errors=True)


@pytest.fixture
def own():
    made = []

    def make(tricks=None):
        made.append(OwnRegistry(tricks))
        return made[-1]
    yield make
    for r in made:
        r.close()


def image(data, *args, ok=True, timeout=120, stdin=None, **env):
    r = subprocess.run([TIDEMILL, 'image', *args, '--data', str(data)], capture_output=True, text=stdin is None, timeout=timeout, input=stdin,
                       env={**os.environ, **env})
    if ok is not None:
        assert (r.returncode == 0) == ok, f'{args}: exit {r.returncode}\n{r.stdout}\n{r.stderr}'
    return r


def index(data):
    p = data / 'images/index.json'
    return json.loads(p.read_text())['images'] if p.exists() else []


def nothing_half(data):
    """Nothing that no image names, and nothing in the making, is left after a sweep; layers are whole."""
    assert list((data / 'images/tmp').iterdir()) == []
    for i in index(data):
        for d in i['layers']:
            assert (data / 'images/layers' / d[7:] / 'diff').is_dir()


def small(text='hello\n', **kw):
    return Image([layer([('etc', None), ('etc/motd', text)])], **kw)


# ---- the command, with Debian's registry -----------------------------------------------------------------------------------


@pytest.mark.parametrize('compress', ['gzip', 'zstd', 'none'])
@pytest.mark.parametrize('docker', [True, False])
def test_pull_forms(registry, data, compress, docker):
    if compress == 'zstd' and not shutil.which('zstd'):
        pytest.skip('zstd is not installed')
    name = registry.push(f'forms/{compress}', 'd' if docker else 'o', small(compress=compress, docker=docker))
    out = image(data, 'pull', name).stdout
    assert name in out
    (i,) = index(data)
    assert i['names'] == [name]
    assert (data / 'images/layers' / i['layers'][0][7:] / 'diff/etc/motd').read_text() == 'hello\n'
    assert name in image(data, 'ls').stdout
    image(data, 'rm', name)
    assert index(data) == [] and list((data / 'images/layers').iterdir()) == [] and list((data / 'images/blobs').iterdir()) == []


def test_index_and_digest(registry, data):
    mine, other = small('mine\n'), small('other\n')
    for i in (mine, other):
        registry.push('multi/app', 'part', i)
    text = kit.index_of([(other, {'os': 'linux', 'architecture': 's390x'}), (mine, {'os': 'linux', 'architecture': kit.ARCH})])
    name = registry.put_manifest('multi/app', '1', text, kit.OCI_INDEX)
    image(data, 'pull', name)
    (i,) = index(data)
    assert i['id'] == digest(mine.config)
    by_digest = f'{registry.host}/multi/app@{digest(text)}'
    image(data, 'pull', by_digest)
    only_other = kit.index_of([(other, {'os': 'linux', 'architecture': 's390x'})])
    r = image(data, 'pull', registry.put_manifest('multi/app', '2', only_other, kit.OCI_INDEX), ok=False)
    assert 'no match for platform' in r.stderr
    r = image(data, 'pull', f'{registry.host}/multi/app@sha256:' + '0' * 64, ok=False)
    assert 'not found' in r.stderr
    r = image(data, 'pull', 'Not/Valid:x:y', ok=False)
    assert 'invalid reference format' in r.stderr


def test_tag_that_moves(registry, data):
    name = registry.push('moves/app', '1', small('one\n'))
    image(data, 'pull', name)
    before = index(data)
    image(data, 'pull', name)
    assert index(data) == before  # nothing was fetched again
    registry.push('moves/app', '1', small('two\n'))
    image(data, 'pull', name)
    assert {tuple(i['names']) for i in index(data)} == {(), (name,)}


def test_ten_layers_and_a_thousand_files(registry, data):
    layers = [layer([(f'd{n}/f{k}', f'{n} {k}\n') for k in range(1000)]) for n in range(10)]
    name = registry.push('many/app', '1', Image(layers))
    image(data, 'pull', name)
    (i,) = index(data)
    assert len(i['layers']) == 10
    assert (data / 'images/layers' / i['layers'][9][7:] / 'diff/d9/f999').read_text() == '9 999\n'


def test_docker_save(data, tmp_path):
    img = small()
    img.docker_archive(tmp_path / 'a.tar', 'app:1', 'registry.example/app:2')
    assert 'docker.io/library/app:1' in image(data, 'load', str(tmp_path / 'a.tar')).stdout
    (i,) = index(data)
    assert sorted(i['names']) == ['docker.io/library/app:1', 'registry.example/app:2'] and i['id'] == digest(img.config)
    subprocess.run(['gzip', '-k', tmp_path / 'a.tar'], check=True)
    image(data, 'load', str(tmp_path / 'a.tar.gz'), '--name', 'other:3')
    image(data, 'load', '-', stdin=(tmp_path / 'a.tar').read_bytes())
    assert 'other:3' in image(data, 'ls').stdout
    image(data, 'rm', 'app:1')
    assert len(index(data)) == 1
    image(data, 'rm', i['id'][7:19])
    assert index(data) == []
    assert 'not on this machine' in image(data, 'rm', 'app:1', ok=False).stderr or True


def test_oci_layout(data, tmp_path):
    img = small()
    img.oci_layout(tmp_path / 'named', 'docker.io/me/app:1')
    image(data, 'load', str(tmp_path / 'named'))
    assert index(data)[0]['names'] == ['docker.io/me/app:1']
    img.oci_layout(tmp_path / 'anon')
    assert '--name' in image(data, 'load', str(tmp_path / 'anon'), ok=False).stderr
    subprocess.run(['tar', '-C', tmp_path / 'anon', '-cf', tmp_path / 'anon.tar', '.'], check=True)
    image(data, 'load', str(tmp_path / 'anon.tar'), '--name', 'anon:1')
    assert 'anon:1' in image(data, 'ls').stdout
    # A blob that is not what it is called.
    (blob,) = [p for p in (tmp_path / 'anon/blobs/sha256').iterdir() if p.name == digest(img.layers[0])[7:]]
    blob.write_bytes(kit.gzip.compress(layer([('evil', 'x')])))
    image(data, 'rm', 'anon:1')
    image(data, 'rm', 'me/app:1')
    r = image(data, 'load', str(tmp_path / 'anon'), '--name', 'anon:1', ok=False)
    assert 'digest' in r.stderr or 'diff id' in r.stderr
    nothing_half(data)


def test_hostile_archives(data, tmp_path):
    import io
    import tarfile
    secret = tmp_path / 'secret'
    secret.write_text('{"config": {}}')

    def archive(entries):
        with tarfile.open(tmp_path / 'x.tar', 'w') as t:
            for name, what in entries:
                info = tarfile.TarInfo(name)
                if isinstance(what, str):
                    info.type, info.linkname = tarfile.SYMTYPE, what
                    t.addfile(info)
                else:
                    info.size = len(what)
                    t.addfile(info, io.BytesIO(what))
        return image(data, 'load', str(tmp_path / 'x.tar'), ok=False).stderr

    manifest = json.dumps([{'Config': 'c.json', 'RepoTags': ['a:1'], 'Layers': []}]).encode()
    assert 'c.json' in archive([('manifest.json', manifest), ('c.json', str(secret))])  # a link out leads nowhere
    assert 'would leave' in archive([('../evil', b'x'), ('manifest.json', manifest)])
    assert 'neither manifest.json' in archive([('readme', b'x')])
    assert 'lists no images' in archive([('manifest.json', b'[]')])
    assert archive([('manifest.json', b'{')])
    assert not (data / 'images/evil').exists() and not (data / 'images/tmp/evil').exists()
    assert image(data, 'load', str(tmp_path / 'missing.tar'), ok=False).stderr
    assert index(data) == []
    nothing_half(data)


# ---- who we are ---------------------------------------------------------------------------------------------------------------


def docker_config(path, host, user='me', password='pw:1'):
    path.write_text(json.dumps({'auths': {host: {'auth': kit.base64.b64encode(f'{user}:{password}'.encode()).decode()}}}))
    return str(path)


@needs_registry
def test_basic_authentication(data, tmp_path):
    if not shutil.which('htpasswd'):
        pytest.skip('htpasswd is not installed')
    r = kit.DockerRegistry(auth=('me', 'pw:1'))
    try:
        name = r.push('private/app', '1', small())
        assert 'a user and a password' in image(data, 'pull', name, ok=False).stderr
        assert image(data, 'pull', name, '--docker-config', docker_config(tmp_path / 'bad.json', r.host, password='no'), ok=False).returncode == 1
        image(data, 'pull', name, '--docker-config', docker_config(tmp_path / 'good.json', r.host))
    finally:
        r.close()


def token_registry(own, lifetime=None, realm_host=None):
    """A registry that wants a token, and hands out tokens to user me; each token is good for `lifetime` requests."""
    state = {'good': {}, 'asked': []}

    def tricks(h, path):
        if path.startswith('/token'):
            q = urllib.parse.parse_qs(urllib.parse.urlparse(path).query)
            auth = h.headers.get('Authorization', '')
            state['asked'].append((q, auth))
            if auth != 'Basic ' + kit.base64.b64encode(b'me:pw:1').decode():
                h.answer(401, b'{}')
                return True
            token = f't{len(state["good"])}'
            state['good'][token] = lifetime or 10 ** 9
            h.answer(200, json.dumps({'token': token, 'expires_in': 60}).encode())
            return True
        token = h.headers.get('Authorization', '').removeprefix('Bearer ')
        if state['good'].get(token, 0) > 0:
            state['good'][token] -= 1
            return False
        h.answer(401, b'{"errors":[{"code":"UNAUTHORIZED","message":"who are you"}]}',
                 WWW_Authenticate=f'Bearer realm="http://{r.host}/token",service="svc",scope="repository:a/b:pull"')
        return True
    r = own(tricks)
    r.state = state
    return r


@pytest.mark.parametrize('lifetime', [None, 2])
def test_tokens(own, data, tmp_path, lifetime):
    r = token_registry(own, lifetime)
    name = r.add('a/b', '1', Image([layer([(f'f{n}', f'{n}')]) for n in range(4)]))
    assert 'failed to authorize' in image(data, 'pull', name, ok=False).stderr
    image(data, 'pull', name, '--docker-config', docker_config(tmp_path / 'c.json', r.host))
    q, _ = r.state['asked'][-1]
    assert q == {'service': ['svc'], 'scope': ['repository:a/b:pull']}
    if lifetime:
        assert len(r.state['good']) > 2  # a token that ran out is replaced in the middle


@pytest.mark.parametrize('to', ['127.0.0.1', 'localhost', '127.2', '[::ffff:127.0.0.1]', '0.0.0.0'])
def test_a_registry_elsewhere_does_not_lead_here(own, data, to):
    """Neither its token server nor its layers are on this machine, where only we are let in. (127.1 is a name that stands for one
    elsewhere: it is not looked at, but looked up.)"""
    here, img = own(), small()
    here.add('library/app', '1', img)
    port = here.host.split(':')[1]
    realm = own(lambda h, path: h.answer(401, b'', WWW_Authenticate=f'Bearer realm="http://{to}:{port}/token",service="s"') or True)
    layers = own(lambda h, path: '/blobs/' in path and (h.answer(307, b'', Location=f'http://{to}:{port}{path}') or True))
    layers.add('library/app', '1', img)
    for r in (realm, layers):
        image(data, 'pull', 'nobody.invalid/library/app:1', '--image-mirror', f'nobody.invalid=http://127.1:{r.host.split(":")[1]}', ok=False)
        assert r.log
    assert not here.log
    # One that is here may have them here.
    if to == '127.0.0.1':
        image(data, 'pull', 'nobody.invalid/library/app:1', '--image-mirror', f'nobody.invalid=http://{layers.host}')
        assert here.log


def test_an_identity_token_goes_to_nobody_else(own, data, tmp_path):
    """It is posted: what listens on another port of this machine could take us for its user."""
    other = own(lambda h, path: h.answer(200, b'{"token": "t"}') or True)
    near = own(lambda h, path: h.answer(401, b'', WWW_Authenticate=f'Bearer realm="http://{other.host}/apis/v2beta1/runs/1:terminate",service="s"') or True)
    name = near.add('x', '1', small())
    config = tmp_path / 'c.json'
    config.write_text(json.dumps({'auths': {near.host: {'identitytoken': 'secret'}}}))
    image(data, 'pull', name, '--docker-config', str(config), ok=False)
    assert 'POST' not in [m for m, _, _ in other.log]


def test_credentials_stay_home(own, data, tmp_path):
    """Redirected blobs come from another host, which is told nothing."""
    far = own()
    img = small()
    far.add('x', '1', img)

    def tricks(h, path):
        if h.headers.get('Authorization') is None:
            h.answer(401, b'', WWW_Authenticate='Basic realm="x"')
            return True
        if '/blobs/' in path:
            h.answer(307, b'', Location=f'http://{far.host}{path}')
            return True
        return False
    near = own(tricks)
    name = near.add('x', '1', img)
    image(data, 'pull', name, '--docker-config', docker_config(tmp_path / 'c.json', near.host))
    assert far.log and not any('Authorization' in h for _, _, h in far.log)


@needs_registry
def test_tls_and_insecure(data, tmp_path):
    subprocess.run(['openssl', 'req', '-x509', '-newkey', 'rsa:2048', '-nodes', '-keyout', tmp_path / 'k.pem', '-out', tmp_path / 'c.pem', '-days', '2',
                    '-subj', '/CN=127.0.0.1', '-addext', 'subjectAltName=IP:127.0.0.1'], check=True, capture_output=True)
    r = kit.DockerRegistry(tls=(tmp_path / 'c.pem', tmp_path / 'k.pem'))
    try:
        name = r.push('tls/app', '1', small())
        assert image(data, 'pull', name, ok=False).returncode == 1
        image(data, 'pull', name, '--insecure-registry', r.host)
        image(data, 'rm', name)
        (tmp_path / 'registries').write_text(f'# ours\nca {r.host} {tmp_path}/c.pem\n')
        image(data, 'pull', name, '--registries', str(tmp_path / 'registries'))
        (data / 'registries').write_text(f'nonsense {r.host}\n')
        assert 'line 1' in image(data, 'pull', name, ok=False).stderr
    finally:
        r.close()


def test_mirrors(own, data):
    img = small()
    mirror, broken = own(), own(lambda h, path: h.answer(500, b'') or True)
    mirror.add('cache/library/app', '7', img)
    image(data, 'pull', 'app:7', '--image-mirror', f'docker.io=http://{broken.host}', '--image-mirror', f'docker.io=http://{mirror.host}/cache')
    assert index(data)[0]['names'] == ['docker.io/library/app:7']
    assert any('/v2/cache/library/app/manifests/7' in p for _, p, _ in mirror.log) and broken.log
    assert 'use DOMAIN=' in image(data, 'pull', 'app:7', '--image-mirror', 'docker.io=ftp://x', ok=False).stderr


# ---- registries that misbehave ---------------------------------------------------------------------------------------------


def big_image():
    return Image([layer([('big', os.urandom(3 << 20))])], compress='none')


def test_cut_and_resumed(own, data):
    img = big_image()
    cuts = {'n': 0}

    def tricks(h, path):
        if '/blobs/' + digest(img.layers[0]) not in path or cuts['n'] >= 3:
            return False
        cuts['n'] += 1
        body = img.layers[0]
        start = int((h.headers.get('Range') or 'bytes=0-').split('=')[1].split('-')[0])
        h.send_response(206 if start else 200)
        if start:
            h.send_header('Content-Range', f'bytes {start}-{len(body) - 1}/{len(body)}')
        h.send_header('Content-Length', str(len(body) - start))
        h.end_headers()
        h.wfile.write(body[start:start + 700000])
        h.close_connection = True
        return True
    r = own(tricks)
    image(data, 'pull', r.add('x', '1', img))
    ranges = [h.get('Range') for _, p, h in r.log if digest(img.layers[0]) in p]
    assert len(ranges) == 4 and ranges[0] is None and all(x for x in ranges[1:])
    assert int(ranges[1].split('=')[1][:-1]) > 500000


def test_cut_without_ranges(own, data):
    """A server that knows no ranges begins anew; what is here already is passed over."""
    img = big_image()
    cuts = {'n': 0}

    def tricks(h, path):
        if '/blobs/' + digest(img.layers[0]) not in path:
            return False
        cuts['n'] += 1
        h.send_response(200)
        h.send_header('Content-Length', str(len(img.layers[0])))
        h.end_headers()
        h.wfile.write(img.layers[0] if cuts['n'] > 1 else img.layers[0][:1000000])
        h.close_connection = cuts['n'] == 1
        return True
    image(data, 'pull', own(tricks).add('x', '1', img))
    assert cuts['n'] == 2


@pytest.mark.parametrize('lie', ['layer', 'layer longer', 'layer shorter', 'config', 'manifest', 'manifest header', 'diff id', 'range'])
def test_lies(own, data, lie):
    img = small()
    other = kit.gzip.compress(layer([('etc/motd', 'evil\n')]))

    def tricks(h, path):
        blob = path.rsplit('/', 1)[-1] if '/blobs/' in path else ''
        if lie == 'layer' and blob == digest(img.layers[0]):
            h.answer(200, (other + bytes(len(img.layers[0])))[:len(img.layers[0])])
        elif lie == 'layer longer' and blob == digest(img.layers[0]):
            h.answer(200, img.layers[0] + b'more')
        elif lie == 'layer shorter' and blob == digest(img.layers[0]):
            h.answer(200, img.layers[0][:-5])
        elif lie == 'config' and blob == digest(img.config):
            h.answer(200, img.config.replace(b'linux', b'LINUX'))
        elif lie == 'range' and blob == digest(img.layers[0]):
            h.answer(206, img.layers[0], Content_Range='bytes 5-9/10')
        elif lie == 'manifest' and '/manifests/sha256:' in path:
            h.answer(200, img.manifest + b' ', Content_Type=img.media_type)
        elif lie == 'manifest header' and '/manifests/' in path:
            h.answer(200, img.manifest, Content_Type=img.media_type, Docker_Content_Digest='sha256:' + '1' * 64)
        else:
            return False
        return True
    if lie == 'diff id':
        img = Image([layer([('a', 'b')])], blobs=[other])
    r = own(tricks)
    name = r.add('x', '1', img)
    if lie == 'manifest':
        name = f'{r.host}/x@{digest(img.manifest)}'
    e = image(data, 'pull', name, ok=False).stderr
    expected = {'layer': 'unexpected commit digest', 'layer longer': 'more than', 'layer shorter': 'too early', 'config': 'digest', 'manifest': 'digest',
                'manifest header': 'digest', 'diff id': 'wrong diff id', 'range': 'another part'}[lie]
    assert expected in e or 'decompressed' in e, e
    assert index(data) == [] and list((data / 'images/layers').iterdir()) == []
    nothing_half(data)


@pytest.mark.parametrize('what', ['..', 'device', 'hard link out', 'not tar', 'not gzip', 'bomb', 'sparse bomb', 'nothing'])
def test_hostile_layers(own, data, what):
    import tarfile
    tar = {'..': lambda: layer([('../../../../evil', 'x')]),
           'device': lambda: layer([(kit.special('sda', tarfile.BLKTYPE, devmajor=8, devminor=0), None)]),
           'hard link out': lambda: layer([('passwd', '=../../../../../../etc/passwd')]),
           'not tar': lambda: b'this is not a tar archive, whatever it says' * 100,
           'not gzip': lambda: layer([('a', 'b')]),
           'bomb': lambda: b'',
           'sparse bomb': lambda: sparse(),
           'nothing': lambda: b''}[what]()
    img = Image([tar])
    if what == 'not gzip':
        img = Image([tar], blobs=[b'\x1f\x8b\x08\x00garbage that is no deflate stream'])
    if what == 'bomb':
        img = Image([b'x'], blobs=[bomb()])
    r = own()
    e = image(data, 'pull', r.add('x', '1', img), ok=what == 'nothing', timeout=300).stderr
    expected = {'..': 'would leave', 'device': 'device', 'hard link out': 'would leave', 'not tar': 'tar', 'not gzip': 'decompress', 'bomb': 'grows',
                'sparse bomb': 'claim', 'nothing': ''}[what]
    assert expected in e, e
    assert not pathlib.Path('/evil').exists() and not (data / 'evil').exists()
    if what != 'nothing':
        assert index(data) == []
    nothing_half(data)


def bomb():
    """A file of 8 GiB of zeros in 8 MB."""
    import tarfile
    import zlib
    info = tarfile.TarInfo('zeros')
    info.size = 8 << 30
    c = zlib.compressobj(9, zlib.DEFLATED, 31)
    out = [c.compress(info.tobuf(tarfile.GNU_FORMAT))]
    chunk = c.compress(bytes(1 << 20))
    out.append(chunk)
    for _ in range(1400):  # it is refused long before
        out.append(c.compress(bytes(1 << 20)))
    out.append(c.flush())
    return b''.join(out)


def sparse():
    import tarfile
    info = tarfile.TarInfo('hole')
    info.pax_headers = {'GNU.sparse.major': '1', 'GNU.sparse.minor': '0', 'GNU.sparse.name': 'hole', 'GNU.sparse.realsize': str(1 << 50)}
    body = f'1\n{1 << 49}\n1\n'.encode().ljust(512, b'\0') + b'x'
    info.size = len(body)
    import io
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode='w', format=tarfile.PAX_FORMAT) as t:
        t.addfile(info, io.BytesIO(body))
    return out.getvalue()


def test_too_many_requests(own, data):
    said = {'n': 0}

    def tricks(h, path):
        said['n'] += 1
        if said['n'] <= 2:
            h.answer(429, b'{"errors":[{"code":"TOOMANYREQUESTS","message":"slow down"}]}', Retry_After='1')
            return True
        return False
    start = time.monotonic()
    image(data, 'pull', own(tricks).add('x', '1', small()))
    assert time.monotonic() - start >= 2


@pytest.mark.parametrize('status,expected', [(404, 'not found'), (403, 'pull access denied'), (500, '500'), (302, 'redirects'), (200, 'manifest')])
def test_refusals(own, data, status, expected):
    def tricks(h, path):
        if status == 302:
            h.answer(302, b'', Location=path)
        else:
            h.answer(status, b'<html>nothing of the kind</html>')
        return True
    r = own(tricks)
    assert expected in image(data, 'pull', f'{r.host}/x:1', ok=False).stderr


def test_nobody_there(data):
    e = image(data, 'pull', f'127.0.0.1:{kit.free_port()}/x:1', ok=False).stderr
    assert 'failed to resolve reference' in e


def test_killed_in_the_middle(own, data):
    """SIGKILL at each of our points, and at some random ones: the next pull finds nothing half, and succeeds."""
    img = Image([layer([(f'd{n}/f{k}', f'{k}') for k in range(200)]) for n in range(3)])
    r = own()
    name = r.add('x', '1', img)
    for point in ['images.layer.unpacked', 'images.layer.placed', 'images.synced', 'images.known']:
        p = image(data, 'pull', name, ok=None, TIDEMILL_FAULT=point)
        assert p.returncode == -9, (point, p.stderr)
        for i in index(data):
            for d in i['layers']:
                assert (data / 'images/layers' / d[7:] / 'diff/').is_dir()
    for delay in (0.01, 0.03, 0.06, 0.1, 0.15):
        shutil.rmtree(data / 'images')
        p = subprocess.Popen([TIDEMILL, 'image', 'pull', name, '--data', str(data)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(delay)
        p.kill()
        p.wait()
        image(data, 'pull', name)
        (i,) = index(data)
        for n, d in enumerate(i['layers']):
            assert len(list((data / 'images/layers' / d[7:] / f'diff/d{n}').iterdir())) == 200
    before = len(r.gets('/blobs/'))
    image(data, 'rm', name)  # sweeps what the kills left
    nothing_half(data)
    assert len(r.gets('/blobs/')) == before


# ---- pods -------------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope='module')
def node():
    if not conftest.NODE:
        pytest.skip('this machine cannot run containers')
    t = conftest.start()
    yield t
    t.purge()


def run(t, name, ref, container=None, ns='default', **spec):
    c = {'name': 'main', 'image': ref, **(container or {})}
    t.kubectl('apply', '-n', ns, '-f', '-', stdin=json.dumps({'apiVersion': 'v1', 'kind': 'Pod', 'metadata': {'name': name},
                                                             'spec': {'restartPolicy': 'Never', 'containers': [c], **spec}}))


def pod(t, name, ns='default'):
    return json.loads(t.kubectl('get', 'pod', name, '-n', ns, '-o', 'json').stdout)


def wait(t, name, what, seconds=60, ns='default'):
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        p = pod(t, name, ns)
        if what(p):
            return p
        time.sleep(0.1)
    raise AssertionError(json.dumps(p['status'], indent=1) + '\n' + '\n'.join(map(str, events(t, name, ns))))


def ended(p):
    return p['status'].get('phase') in ('Succeeded', 'Failed')


def waiting(*reasons):
    return lambda p: (p['status'].get('containerStatuses') or [{}])[0].get('state', {}).get('waiting', {}).get('reason') in reasons


def events(t, name, ns='default'):
    items = json.loads(t.kubectl('get', 'events', '-n', ns, '-o', 'json').stdout)['items']
    return [(e['type'], e['reason'], e['message']) for e in items if e['involvedObject']['name'] == name]


def output(t, name, ref, container=None, **spec):
    run(t, name, ref, container, **spec)
    p = wait(t, name, ended)
    return p, t.kubectl('logs', name).stdout


SHELL = {'command': ['/bin/sh', '-c']}


@needs_node
def test_pod_runs_image(node, registry):
    img = Image([busybox_layer(), layer([('hello', 'from a layer\n')])],
                {'Entrypoint': ['/bin/sh', '-c'], 'Cmd': ['echo $GREETING; id; pwd; cat /hello; echo $HOME; readlink /bin/sh'], 'Env': ['GREETING=hi', 'PATH=/bin'],
                 'WorkingDir': '/tmp', 'User': 'app'})
    ref = registry.push('pods/hello', '1', img)
    p, out = output(node, 'hello', ref)
    lines = out.splitlines()
    assert lines[0] == 'hi' and lines[1].startswith('uid=1000(app) gid=1001(app)') and '1234(extra)' in lines[1] and lines[2:] == [
        '/tmp', 'from a layer', '/home/app', 'busybox'], out
    s = p['status']['containerStatuses'][0]
    assert s['imageID'] == f'{registry.host}/pods/hello@{digest(img.manifest)}' and s['image'] == ref
    told = [(r, m) for _, r, m in events(node, 'hello')]
    assert ('Pulling', f'Pulling image "{ref}"') in told
    size = len(img.config) + sum(map(len, img.layers))
    assert any(r == 'Pulled' and m.startswith(f'Successfully pulled image "{ref}" in ') and m.endswith(f'Image size: {size} bytes.') for r, m in told)
    output(node, 'hello-again', ref)
    assert ('Normal', 'Pulled', f'Container image "{ref}" already present on machine') in events(node, 'hello-again')
    until = time.monotonic() + 120
    names = []
    while ref not in names and time.monotonic() < until:
        images = json.loads(node.kubectl('get', 'nodes', '-o', 'json').stdout)['items'][0]['status'].get('images', [])
        names = [n for i in images for n in i['names']]
    assert ref in names and all(i['sizeBytes'] > 0 for i in images)


@needs_node
def test_layers_over_each_other(node, registry):
    lower = layer([('a', None), ('a/gone', 'x'), ('a/kept', 'k'), ('b', None), ('b/old', 'o'), ('c', 'file'), ('d', None), ('d/x', 'x')])
    upper = layer([('a/.wh.gone', ''), ('b', None), ('b/.wh..wh..opq', ''), ('b/new', 'n'), ('c', None), ('c/in', 'dir now'), ('.wh.d', '')])
    ref = registry.push('pods/layers', '1', Image([busybox_layer(), lower, upper]))
    _, out = output(node, 'layers', ref, {'command': ['/bin/sh', '-c', 'cd /; find a b c d 2>/dev/null; touch a/gone && echo again']})
    assert out.split() == ['a', 'a/kept', 'b', 'b/new', 'c', 'c/in', 'again'] or sorted(out.split()) == sorted(['a', 'a/kept', 'b', 'b/new', 'c', 'c/in', 'again'])


@needs_node
def test_users_and_roots(node, registry):
    img = Image([busybox_layer(), layer([('data', None), ('data/seed', 's')])], {'User': 'app', 'Env': ['PATH=/bin'], 'Volumes': {'/data': {}}})
    ref = registry.push('pods/users', '1', img)
    show = {'command': ['/bin/sh', '-c', 'id -u; touch /x 2>&1; touch /data/y && ls /data; cat /etc/hostname']}
    _, out = output(node, 'ro', ref, {**show, 'securityContext': {'readOnlyRootFilesystem': True, 'runAsUser': 0}})
    assert out.splitlines() == ['0', 'touch: /x: Read-only file system', 'seed', 'y', 'ro'], out
    run(node, 'named', ref, {'securityContext': {'runAsNonRoot': True}})
    p = wait(node, 'named', waiting('CreateContainerConfigError'))
    assert 'image has non-numeric user (app), cannot verify user is non-root' in p['status']['containerStatuses'][0]['state']['waiting']['message']
    node.kubectl('delete', 'pod', 'named', '--now')
    _, out = output(node, 'numbered', ref, {'command': ['/bin/id'], 'securityContext': {'runAsNonRoot': True, 'runAsUser': 1000}})
    assert out.startswith('uid=1000(app)')
    # Groups of the image's own file, unless the pod alone is to say which.
    ref = registry.push('pods/groups', '1', Image([busybox_layer(), layer([('etc', None), ('etc/group', 'root:x:0:\napp:x:1001:\nextra:x:4242:app\n')])], {'User': 'app', 'Env': ['PATH=/bin']}))
    _, out = output(node, 'merged', ref, {'command': ['/bin/id', '-G']}, securityContext={'supplementalGroups': [77]})
    assert sorted(out.split()) == ['1001', '4242', '77']
    _, out = output(node, 'strict', ref, {'command': ['/bin/id', '-G']}, securityContext={'supplementalGroups': [77], 'supplementalGroupsPolicy': 'Strict'})
    assert sorted(out.split()) == ['1001', '77']
    ref = registry.push('pods/users', '2', Image([busybox_layer()], {'User': 'nobody-there', 'Cmd': ['/bin/true']}))
    run(node, 'unknown', ref)
    p = wait(node, 'unknown', waiting('CreateContainerConfigError'))
    assert 'no matching entries in passwd file' in p['status']['containerStatuses'][0]['state']['waiting']['message']
    node.kubectl('delete', 'pod', 'unknown', '--now')


@needs_node
def test_stop_signal(node, registry):
    script = 'trap "echo got INT; exit 0" INT; trap "echo got TERM" TERM; echo up; while true; do sleep 0.1; done'
    ref = registry.push('pods/signal', '1', Image([busybox_layer()], {'Cmd': ['/bin/sh', '-c', script], 'StopSignal': 'SIGINT', 'Env': ['PATH=/bin']}))
    run(node, 'signal', ref, terminationGracePeriodSeconds=20)
    wait(node, 'signal', lambda p: p['status'].get('phase') == 'Running')
    follow = subprocess.Popen([conftest.KUBECTL, '--kubeconfig', node.kubeconfig, 'logs', '-f', 'signal'], stdout=subprocess.PIPE, text=True)
    start = time.monotonic()
    node.kubectl('delete', 'pod', 'signal')
    assert time.monotonic() - start < 15
    assert follow.communicate(timeout=120)[0].split('\n')[:2] == ['up', 'got INT']


@needs_node
def test_policies_and_failures(node, own):
    r = own()
    img = Image([busybox_layer()], {'Cmd': ['/bin/true']})
    ref = r.add('p', '1', img)
    run(node, 'never', ref, {'imagePullPolicy': 'Never'})
    wait(node, 'never', waiting('ErrImageNeverPull'))
    assert ('Warning', 'ErrImageNeverPull', f'Container image "{ref}" is not present with pull policy of Never') in events(node, 'never')
    node.kubectl('delete', 'pod', 'never', '--now')
    output(node, 'always-1', ref, {'imagePullPolicy': 'Always'})
    n = len(r.gets('/'))
    output(node, 'always-2', ref, {'imagePullPolicy': 'Always'})
    assert len(r.gets('/')) == n and r.log[-1][0] == 'HEAD'  # only asked for
    assert any(m.startswith('Successfully pulled image') for _, _, m in events(node, 'always-2'))
    output(node, 'present', ref, {'imagePullPolicy': 'IfNotPresent'})
    run(node, 'none', f'{r.host}/none:nope')
    p = wait(node, 'none', waiting('ImagePullBackOff'))
    message = p['status']['containerStatuses'][0]['state']['waiting']['message']
    assert message.startswith(f'Back-off pulling image "{r.host}/none:nope": ErrImagePull: ') and 'not found' in message
    said = events(node, 'none')
    assert ('Warning', 'Failed', 'Error: ErrImagePull') in said and ('Warning', 'Failed', 'Error: ImagePullBackOff') in said
    assert ('Normal', 'BackOff', f'Back-off pulling image "{r.host}/none:nope"') in said
    node.kubectl('delete', 'pod', 'none', '--now')
    run(node, 'invalid', 'Not Valid')
    wait(node, 'invalid', waiting('InvalidImageName'))
    assert any(reason == 'InspectFailed' for _, reason, _ in events(node, 'invalid'))
    node.kubectl('delete', 'pod', 'invalid', '--now')


@needs_node
def test_retried(node, own):
    r = own()
    run(node, 'later', f'{r.host}/l:1')
    wait(node, 'later', waiting('ErrImagePull', 'ImagePullBackOff'))
    r.add('l', '1', Image([busybox_layer()], {'Cmd': ['/bin/true']}))
    wait(node, 'later', ended, 120)


@needs_node
@needs_registry
def test_pull_secrets(node):
    if not shutil.which('htpasswd'):
        pytest.skip('htpasswd is not installed')
    r = kit.DockerRegistry(auth=('me', 'pw:1'))
    try:
        ref = r.push('private/app', '1', Image([busybox_layer()], {'Cmd': ['/bin/true']}))
        run(node, 'no-secret', ref)
        wait(node, 'no-secret', waiting('ErrImagePull', 'ImagePullBackOff'))
        node.kubectl('delete', 'pod', 'no-secret', '--now')
        node.kubectl('create', 'secret', 'docker-registry', 'good', f'--docker-server={r.host}', '--docker-username=me', '--docker-password=pw:1')
        run(node, 'with-secret', ref, imagePullSecrets=[{'name': 'good'}, {'name': 'missing'}])
        wait(node, 'with-secret', ended)
        assert any(reason == 'FailedToRetrieveImagePullSecret' and '(missing)' in m for _, reason, m in events(node, 'with-secret'))
        ref = r.push('private/app', '2', Image([busybox_layer()], {'Cmd': ['/bin/echo']}))
        node.kubectl('create', 'serviceaccount', 'puller')
        node.kubectl('patch', 'serviceaccount', 'puller', '-p', '{"imagePullSecrets":[{"name":"good"}]}')
        run(node, 'by-account', ref, serviceAccountName='puller')
        wait(node, 'by-account', ended)
    finally:
        r.close()


@needs_node
def test_hanging_registry_does_not_hold_up(node, own):
    """A pull that hangs costs a thread; pods that need none start, and the pod that waits can be deleted."""
    gate = threading.Event()

    def tricks(h, path):
        gate.wait(300)
        return False
    r = own(tricks)
    for n in range(4):
        run(node, f'hang-{n}', f'{r.host}/h:{n}')
    time.sleep(1)
    run(node, 'quick', 'host', {'command': ['true']})
    wait(node, 'quick', ended, 120)
    wait(node, 'hang-0', waiting('ContainerCreating'), 120)
    start = time.monotonic()
    node.kubectl('delete', 'pod', *[f'hang-{n}' for n in range(4)], '--grace-period=1')
    assert time.monotonic() - start < 120
    gate.set()


@needs_node
def test_load_beside_and_rm_in_use(node, tmp_path):
    img = Image([busybox_layer()], {'Cmd': ['/bin/sleep', '100'], 'Env': ['PATH=/bin']})
    img.docker_archive(tmp_path / 'a.tar', 'loaded:1')
    node.cli('image', 'load', str(tmp_path / 'a.tar'))
    run(node, 'loaded', 'loaded:1')
    wait(node, 'loaded', lambda p: p['status'].get('phase') == 'Running')
    assert 'in use' in node.cli('image', 'rm', 'loaded:1', check=False).stderr
    node.kubectl('delete', 'pod', 'loaded', '--now')
    for _ in range(50):
        if node.cli('image', 'rm', 'loaded:1', check=False).returncode == 0:
            break
        time.sleep(0.2)
    assert 'loaded' not in node.cli('image', 'ls').stdout


@needs_node
def test_survives_kill(fresh, own, tmp_path):
    """tidemill dies in the middle of a pull and is started again: the pod gets its image; one that runs goes on, and its image is kept."""
    r = own()
    ref = r.add('k', '1', Image([busybox_layer()] + [layer([(f'd{n}/f{k}', 'x') for k in range(300)]) for n in range(3)],
                               {'Cmd': ['/bin/sleep', '300'], 'Env': ['PATH=/bin'], 'StopSignal': 'SIGKILL'}))
    t = fresh(env={'TIDEMILL_FAULT': 'images.layer.placed:2'})
    run(t, 'k', ref)
    t.process.wait(120)
    t.env = {}
    t.start()
    wait(t, 'k', lambda p: p['status'].get('phase') == 'Running')
    was = pod(t, 'k')['status']['containerStatuses'][0]
    t.kill()
    t.start()
    time.sleep(1)
    now = pod(t, 'k')['status']['containerStatuses'][0]
    assert now['containerID'] == was['containerID'] and now['imageID'] == was['imageID'] and now['restartCount'] == 0
    assert 'in use' in t.cli('image', 'rm', ref, check=False).stderr
    t.kubectl('delete', 'pod', 'k', '--grace-period=600', timeout=120)


@needs_node
def test_image_volumes(node, own):
    """Images as volumes: read-only, without programs, parts of them; fetched by policy, kept while they are in use."""
    r = own()
    ref = r.add('v', '1', Image([layer([('model/weights', 'one\n'), ('model/old', 'x'), ('run', '#!/bin/sh\necho ran\n')]),
                                 layer([('model/weights', 'two\n'), ('model/.wh.old', '')])]))
    volumes = [{'name': 'm', 'image': {'reference': ref, 'pullPolicy': 'IfNotPresent'}}]
    mounts = [{'name': 'm', 'mountPath': '/m'}, {'name': 'm', 'mountPath': '/part', 'subPath': 'model'}]
    script = 'cat /m/model/weights; ls /part; touch /m/x 2>/dev/null || echo read-only; touch /part/x 2>/dev/null || echo read-only; /m/run 2>/dev/null || echo no-exec'
    p, said = output(node, 'iv', 'busybox', {'command': ['sh', '-c', script], 'volumeMounts': mounts}, volumes=volumes)
    assert said == 'two\nweights\nread-only\nread-only\nno-exec\n', (p['status'], said)
    items = json.loads(node.kubectl('get', 'events', '-o', 'json').stdout)['items']
    about = {e['message']: e['involvedObject'].get('fieldPath') for e in items if e['involvedObject']['name'] == 'iv'}
    assert about[f'Pulling image "{ref}"'] is None and any(m.startswith(f'Successfully pulled image "{ref}" in ') for m in about)
    # One layer, a container that is made anew, and tidemill killed meanwhile: the image stays.
    one = r.add('one', '1', Image([layer([('f', 'single\n')])]))
    run(node, 'iv2', 'busybox', {'command': ['sh', '-c', 'cat /m/f; sleep 2; exit 1'], 'volumeMounts': mounts[:1]}, restartPolicy='Always',
        volumes=[{'name': 'm', 'image': {'reference': one}}])
    assert pod(node, 'iv2')['spec']['volumes'][0]['image']['pullPolicy'] == 'IfNotPresent'
    wait(node, 'iv2', lambda p: (p['status'].get('containerStatuses') or [{}])[0].get('restartCount', 0) >= 1)
    assert 'in use' in node.cli('image', 'rm', one, check=False).stderr
    node.kill()
    node.start()
    wait(node, 'iv2', lambda p: p['status']['containerStatuses'][0]['restartCount'] >= 2)
    assert node.kubectl('logs', 'iv2').stdout == 'single\n'
    assert 'in use' in node.cli('image', 'rm', one, check=False).stderr
    node.kubectl('delete', 'pod', 'iv2', '--now')
    for _ in range(50):
        if node.cli('image', 'rm', one, check=False).returncode == 0:
            break
        time.sleep(0.2)
    assert one not in node.cli('image', 'ls').stdout


@needs_node
def test_image_volumes_that_cannot_be_had(node, own):
    r = own()
    ref, gone = r.add('here', '1', small()), f'{r.host}/none:nope'
    c = {'command': ['true'], 'volumeMounts': [{'name': 'm', 'mountPath': '/m'}]}
    run(node, 'ivx', 'busybox', c, volumes=[{'name': 'm', 'image': {'reference': gone}}])
    p = wait(node, 'ivx', waiting('ImagePullBackOff'))
    message = p['status']['containerStatuses'][0]['state']['waiting']['message']
    assert message.startswith(f'Back-off pulling image "{gone}": ErrImagePull: ') and 'not found' in message
    said = events(node, 'ivx')
    for e in (('Warning', 'Failed', 'Error: ErrImagePull'), ('Warning', 'Failed', 'Error: ImagePullBackOff'), ('Normal', 'BackOff', f'Back-off pulling image "{gone}"')):
        assert e in said, said
    run(node, 'ivn', 'busybox', c, volumes=[{'name': 'm', 'image': {'reference': ref, 'pullPolicy': 'Never'}}])
    wait(node, 'ivn', waiting('ErrImageNeverPull'))
    run(node, 'ivh', 'busybox', c, volumes=[{'name': 'm', 'image': {'reference': 'host'}}])
    p = wait(node, 'ivh', waiting('CreateContainerError'))
    assert 'use hostPath' in p['status']['containerStatuses'][0]['state']['waiting']['message']
    run(node, 'ivs', 'busybox', {**c, 'volumeMounts': [{'name': 'm', 'mountPath': '/m', 'subPath': 'etc/nothing'}]}, volumes=[{'name': 'm', 'image': {'reference': ref}}])
    p = wait(node, 'ivs', waiting('CreateContainerConfigError'))
    assert 'No such file' in p['status']['containerStatuses'][0]['state']['waiting']['message']
    for name in ('ivx', 'ivn', 'ivh', 'ivs'):
        node.kubectl('delete', 'pod', name, '--now')
    refused = node.kubectl('apply', '-f', '-', check=False, stdin=json.dumps({'apiVersion': 'v1', 'kind': 'Pod', 'metadata': {'name': 'ivr'}, 'spec': {
        'containers': [{'name': 'a', 'image': 'busybox'}], 'volumes': [{'name': 'm', 'image': {'pullPolicy': 'Sometimes'}}]}}))
    assert 'spec.volumes[0].image.reference: Required value' in refused.stderr
    assert 'spec.volumes[0].image.pullPolicy: Unsupported value: "Sometimes": supported values: "Always", "IfNotPresent", "Never"' in refused.stderr


@needs_node
def test_python_image(node, registry):
    """The machine's own Python, packed as an image."""
    python = pathlib.Path('/usr/bin/python3').resolve()
    version = python.name.removeprefix('python')
    lib = pathlib.Path(f'/usr/lib/python{version}')
    if not python.exists() or not lib.is_dir():
        pytest.skip('no /usr/bin/python3 here')
    needs = {l.split()[2] if '=>' in l else l.split()[0] for l in subprocess.run(['ldd', python], capture_output=True, text=True).stdout.splitlines() if '/' in l}
    files = subprocess.run(['tar', '-ch', '--exclude=__pycache__', '--exclude=test', '--exclude=lib2to3', '--exclude=config-*', '--exclude=ensurepip', str(python),
                            str(lib), *needs], capture_output=True).stdout
    ref = registry.push('pods/python', '1', Image([files], {'Entrypoint': [str(python)], 'Env': ['PATH=/usr/bin', 'LANG=C.UTF-8']}))
    _, out = output(node, 'python', ref, {'args': ['-c', 'import json, os; print(json.dumps({"pid": os.getpid(), "root": sorted(os.listdir("/"))}))']})
    said = json.loads(out)
    assert said['pid'] == 1 and 'usr' in said['root'] and 'home' not in said['root']


@needs_node
@pytest.mark.parametrize('args,expected', [([], 'entry by image'), (['by', 'pipeline'], 'entry by pipeline')])
def test_pipeline_runs_entry_point(node, registry, args, expected):
    """A component without a command runs its image's own, with its own arguments or the image's."""
    from kfp import dsl
    ref = registry.push('pods/entry', '1', Image([busybox_layer()], {'Entrypoint': ['/bin/echo', 'entry'], 'Cmd': ['by', 'image'], 'User': 'app', 'Env': ['PATH=/bin']}))

    @dsl.container_component
    def entry():
        return dsl.ContainerSpec(image=ref, args=args) if args else dsl.ContainerSpec(image=ref)

    @dsl.pipeline(name='entry')
    def p():
        entry()
    client = node.kfp()
    made = client.create_run_from_pipeline_func(p, enable_caching=False)
    r = client.wait_for_run_completion(made.run_id, timeout=60, sleep_duration=0.1)
    assert r.state == 'SUCCEEDED', node.cli('runs', made.run_id, check=False).stdout + node.tail()
    assert expected in node.cli('logs', made.run_id, 'entry').stdout


@needs_node
def test_pipeline_without_any_command(node, registry):
    from kfp import dsl
    ref = registry.push('pods/nothing', '1', Image([busybox_layer()], {'Env': ['PATH=/bin']}))

    @dsl.container_component
    def nothing():
        return dsl.ContainerSpec(image=ref)

    @dsl.pipeline(name='nothing')
    def p():
        nothing()
    client = node.kfp()
    made = client.create_run_from_pipeline_func(p, enable_caching=False)
    r = client.wait_for_run_completion(made.run_id, timeout=60, sleep_duration=0.1)
    assert r.state == 'FAILED' and 'neither the component nor its image has a command' in node.cli('runs', made.run_id).stdout
