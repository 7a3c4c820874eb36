"""HTTP/2 as its clients speak it: curl, kubectl, httpx, and h2load for many at once and for harm."""
import contextlib
import os
import shutil
import subprocess
import threading
import time

import pytest
from conftest import KUBECTL, start


@pytest.fixture(scope='module')
def tidemill():
    t = start(node=False)
    yield t
    t.purge()


def curl(*args):
    r = subprocess.run(['curl', '-sS', '--max-time', '20', *args], capture_output=True, text=True)
    assert r.returncode == 0, r.stderr
    return r.stdout


def needs(program):
    return pytest.mark.skipif(not shutil.which(program), reason=f'{program} is not installed')


@needs('curl')
def test_curl(tidemill):
    version = ['-o', os.devnull, '-w', '%{http_version} %{http_code}']
    health = tidemill.url + '/apis/v2beta1/healthz'
    assert curl('--http2-prior-knowledge', health, *version) == '2 200'
    assert curl('--http1.1', health, *version) == '1.1 200'
    ready = tidemill.kubernetes + '/readyz'
    assert curl('-k', '--http2', ready, *version) == '2 200'
    assert curl('-k', '--http1.1', ready, *version) == '1.1 200'
    token = f'Authorization: Bearer {tidemill.token()}'
    pods = tidemill.kubernetes + '/api/v1/namespaces/default/pods'
    assert curl('-k', pods, *version) == '2 403'
    assert curl('-k', '-H', token, pods, *version) == '2 200'
    assert curl('-k', '-H', token, '-X', 'BREW', pods, *version) == '2 405'
    assert curl('-k', '-H', token, '-H', 'Host: evil.example', pods, *version) == '2 421'


@needs('curl')
def test_upload(tidemill, tmp_path):
    """A body with a length, one without, and one that is too large: told, and found out."""
    bad = tmp_path / 'large.yaml'
    bad.write_bytes(b'#' * (40 << 20))
    url = tidemill.url + '/apis/v2beta1/pipelines/upload?name=large'
    for how in ('--http2-prior-knowledge', '--http1.1'):
        assert curl(how, '-F', f'uploadfile=@{bad}', '-o', os.devnull, '-w', '%{http_code}', url) in ('400', '413')
        assert curl(how, tidemill.url + '/apis/v2beta1/healthz', '-o', os.devnull, '-w', '%{http_code}') == '200'


def test_kubectl(tidemill):
    env = {**os.environ, 'KUBECONFIG': tidemill.kubeconfig, 'GODEBUG': 'http2debug=1'}
    r = subprocess.run([KUBECTL, 'get', 'namespaces'], capture_output=True, text=True, env=env, timeout=60)
    assert r.returncode == 0, r.stderr
    assert 'http2: Transport received HEADERS' in r.stderr
    assert 'default' in r.stdout


def test_watches_share_a_connection(tidemill):
    """Many watches and calls on one connection; a namespace that comes shows in all of them."""
    httpx = pytest.importorskip('httpx')
    pytest.importorskip('h2')
    seen, ready, opening = [], threading.Barrier(11), threading.Lock()   # the client's streams must not begin at once: it mixes up their numbers
    headers = {'Authorization': f'Bearer {tidemill.token()}'}
    with httpx.Client(http1=False, http2=True, verify=False, headers=headers, base_url=tidemill.kubernetes, timeout=120) as c:
        assert c.get('/version').http_version == 'HTTP/2'

        def watch():
            with contextlib.ExitStack() as stack:
                with opening:
                    r = stack.enter_context(c.stream('GET', '/api/v1/namespaces', params={'watch': 'true'}))
                ready.wait(120)
                for line in r.iter_lines():
                    if '"shared"' in line:
                        seen.append(line)
                        return
        threads = [threading.Thread(target=watch, daemon=True) for _ in range(10)]
        for t in threads:
            t.start()
        ready.wait(120)
        assert c.post('/api/v1/namespaces', json={'apiVersion': 'v1', 'kind': 'Namespace', 'metadata': {'name': 'shared'}}).status_code == 201
        for t in threads:
            t.join(120)
        assert len(seen) == 10
        assert c.get('/api/v1/namespaces/shared').status_code == 200


def test_python_client_on_the_front_door(tidemill):
    httpx = pytest.importorskip('httpx')
    pytest.importorskip('h2')
    with httpx.Client(http1=False, http2=True, base_url=tidemill.url, timeout=120) as c:
        r = c.get('/apis/v2beta1/experiments')
        assert (r.http_version, r.status_code) == ('HTTP/2', 200)
        r = c.post('/apis/v2beta1/experiments', json={'display_name': 'over h2'})
        assert r.status_code == 200, r.text
        assert c.post('/apis/v2beta1/experiments', json={}, headers={'Origin': 'https://evil.example'}).status_code == 403


@needs('h2load')
def test_many_at_once(tidemill):
    r = subprocess.run(['h2load', '-n', '20000', '-c', '20', '-m', '50', tidemill.url + '/apis/v2beta1/healthz'], capture_output=True, text=True, timeout=120)
    assert '20000 succeeded, 0 failed, 0 errored, 0 timeout' in r.stdout, r.stdout


def test_stops_with_good_byes(tidemill):
    """What streams at the end of the server ends cleanly, and quickly."""
    t = start(node=False)
    try:
        with subprocess.Popen(['curl', '-sSNk', '--http2', '-H', f'Authorization: Bearer {t.token()}', t.kubernetes + '/api/v1/namespaces?watch=true'],
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE) as p:
            assert b'ADDED' in p.stdout.readline()
            began = time.monotonic()
            t.stop()
            out, err = p.communicate(timeout=120)
            assert p.returncode == 0, err
            assert time.monotonic() - began < 60
    finally:
        t.purge()
