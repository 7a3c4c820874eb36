"""The image of deploy/Containerfile: built, and started as deploy/cluster starts it, as nobody of the machine's on a root that is read-only."""
import json
import os
import socket
import subprocess
import tempfile
import urllib.request

import component_image
import yaml
from cluster import ROOT, eventually

pytest_plugins = ['cluster']
NOBODY = 65532


def free_port():
    with socket.socket() as s:
        s.bind(('127.0.0.1', 0))
        return s.getsockname()[1]


def container_of(folder, real):
    spec = next(o for o in yaml.safe_load_all(real.kubectl('kustomize', ROOT / 'deploy' / folder)) if o['kind'] == 'Deployment')['spec']['template']['spec']
    return spec, spec['containers'][0]


def test_image_and_deployment_agree(real, image):
    config = json.loads(image.podman('image', 'inspect', component_image.NAME))[0]['Config']
    assert config['Entrypoint'] == ['/usr/bin/tidemill'] and config['Cmd'] == ['serve', '--in-cluster']
    assert config['User'] == f'{NOBODY}:{NOBODY}'
    for folder in ('cluster', 'open'):
        spec, c = container_of(folder, real)
        assert c['image'] == component_image.NAME
        assert spec['securityContext'] == {'runAsNonRoot': True, 'runAsUser': NOBODY, 'runAsGroup': NOBODY, 'fsGroup': NOBODY,
                                           'fsGroupChangePolicy': 'OnRootMismatch', 'seccompProfile': {'type': 'RuntimeDefault'}}
        assert c['securityContext'] == {'allowPrivilegeEscalation': False, 'readOnlyRootFilesystem': True, 'capabilities': {'drop': ['ALL']}}


def test_help(image):
    """Every library that the program is linked to is there."""
    assert '--kubeconfig' in image.run('serve', '--help')
    assert image.run('version').startswith('tidemill ')


def test_the_agent_is_taken_from_it(image):
    """As the init container of a step does it."""
    with tempfile.TemporaryDirectory() as d:
        os.chmod(d, 0o777)
        image.run('install', '/tidemill-bin', options=('--network=none', '--entrypoint=/usr/bin/tidemill-agent', f'--volume={d}:/tidemill-bin'))
        with open(f'{d}/tidemill-agent', 'rb') as f:
            assert f.read(4) == b'\x7fELF'
        assert os.access(f'{d}/tidemill-agent', os.X_OK)


def test_serves(real, image):
    """Against a real API server: it writes to its two directories alone, as a user who is nobody, and ends when it is told to."""
    from kfp import client
    with tempfile.TemporaryDirectory(prefix='tidemill-nobody-') as d:
        for name in ('data', 'shared'):
            os.mkdir(f'{d}/{name}')
            os.chown(f'{d}/{name}', NOBODY, NOBODY)
        config = real.kubeconfig_of('kubeflow', 'ml-pipeline')
        with open(config) as f, open(f'{d}/kubeconfig', 'w') as copy:
            copy.write(f.read())
            os.fchown(copy.fileno(), NOBODY, NOBODY)
            os.fchmod(copy.fileno(), 0o600)
        os.chmod(d, 0o755)
        port = free_port()
        log = open(f'{d}/log', 'w+')
        p = subprocess.Popen(image.run_command('serve', '--kubeconfig=/kubeconfig', '--data=/data', '--shared=/shared', f'--agent-image={component_image.NAME}',
                                               f'--listen=127.0.0.1:{port}', options=(
                                                   '--network=host', '--name=tidemill', f'--volume={d}/kubeconfig:/kubeconfig:ro', f'--volume={d}/data:/data',
                                                   f'--volume={d}/shared:/shared')), stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        try:
            def answers():
                assert p.poll() is None, open(f'{d}/log').read()
                try:
                    return urllib.request.urlopen(f'http://127.0.0.1:{port}/apis/v2beta1/healthz', timeout=10).status == 200
                except OSError:
                    return False
            eventually(answers, 90)
            assert client.Client(host=f'http://127.0.0.1:{port}').list_experiments() is not None
            status = image.podman('exec', 'tidemill', '/usr/bin/tidemill', 'status', '--data=/data')
            assert f':{port}' in status, status
            own = {os.stat(os.path.join(at, n), follow_symlinks=False).st_uid for at, ds, fs in os.walk(f'{d}/data') for n in ds + fs}
            assert own == {NOBODY}
            image.podman('kill', '--signal=TERM', 'tidemill')
            assert p.wait(60) == 0, open(f'{d}/log').read()
            said = open(f'{d}/log').read()
            assert 'WARN' not in said and 'ERROR' not in said, said
        finally:
            if p.poll() is None:
                p.kill()
                p.wait()
            log.close()
