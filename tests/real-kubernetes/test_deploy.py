"""deploy/ as `kubectl apply -k` takes it, against a real API server: what it renders, that all of it is accepted, and what becomes of the Deployment."""
import json
import re
import subprocess

import pytest
import yaml
from cluster import ROOT, TIDEMILL, eventually

pytest_plugins = ['cluster']
FOLDERS = ['base', 'cluster', 'open', 'node']


def rendered(real, folder):
    return list(yaml.safe_load_all(real.kubectl('kustomize', ROOT / 'deploy' / folder)))


@pytest.mark.parametrize('folder', FOLDERS)
def test_accepted(real, folder):
    """Each object, with unknown fields refused."""
    for o in rendered(real, folder):
        if o['kind'] == 'Namespace':
            continue   # a dry run makes none, so that nothing could go into it: it is there already
        out = real.kubectl('apply', '--dry-run=server', '--validate=strict', '-f', '-', '-o', 'json', stdin=json.dumps(o))
        assert json.loads(out)['kind'] == o['kind']


def door(real):
    return next(o for o in rendered(real, 'open') if o['kind'] == 'Deployment')['spec']['template']['spec']


def test_the_open_door_fits_together(real):
    """Options that this program knows, ports that the Service leads to, volumes that are there, and one image in both places."""
    spec = door(real)
    c, = spec['containers']
    known = subprocess.run([TIDEMILL, 'serve', '--help'], capture_output=True, text=True).stdout
    for arg in c['args'][1:]:
        assert re.search(rf'{re.escape(arg.split("=")[0])}\b', known), arg
    assert '--listen=0.0.0.0:8443' in c['args'] and '--listen=127.0.0.1:8888' not in c['args']
    ports = {p['name'] for p in c['ports']}
    service = next(o for o in rendered(real, 'open') if o['kind'] == 'Service')
    assert {p['targetPort'] for p in service['spec']['ports']} == ports == {'https', 'proxied'}
    assert c['readinessProbe']['httpGet']['scheme'] == 'HTTPS' and 'exec' not in c['readinessProbe']
    assert {m['name'] for m in c['volumeMounts']} == {v['name'] for v in spec['volumes']} == {'data', 'artifacts', 'tls'}
    assert next(e['value'] for e in c['env'] if e['name'] == 'TIDEMILL_IMAGE') == c['image']
    assert spec['serviceAccountName'] == 'ml-pipeline' and c['securityContext']['capabilities'] == {'drop': ['ALL']}


def test_applied(real):
    """The cluster's own controllers make the pod of it, which waits for its claims alone. (The image is no registry's here: deploy/README.md.)"""
    made = ['-f', ROOT / 'deploy' / 'open' / 'service.yaml', '-f', ROOT / 'deploy' / 'cluster' / 'pipelines.yaml']
    try:
        real.kubectl('apply', '-k', ROOT / 'deploy' / 'open')
        pod = eventually(lambda: json.loads(real.kubectl('-n', 'kubeflow', 'get', 'pods', '-l', 'app=ml-pipeline', '-o', 'json'))['items'])[0]
        assert pod['spec']['containers'][0]['args'][0] == 'serve'
        claims = json.loads(real.kubectl('-n', 'kubeflow', 'get', 'pvc', '-o', 'json'))['items']
        assert {'tidemill-artifacts', 'tidemill-data'} <= {c['metadata']['name'] for c in claims}
        real.kubectl('apply', '-k', ROOT / 'deploy' / 'open')   # once more changes nothing
        assert real.kubectl('diff', '-k', ROOT / 'deploy' / 'open', check=False) == ''
    finally:
        real.kubectl('-n', 'kubeflow', 'delete', '--wait=false', *made, check=False)
        real.kubectl('-n', 'kubeflow', 'delete', 'pods', '-l', 'app=ml-pipeline', '--force', '--grace-period=0', check=False)
        real.kubectl('-n', 'kubeflow', 'delete', '--wait=false', 'pvc', 'tidemill-artifacts', 'tidemill-data', check=False)
