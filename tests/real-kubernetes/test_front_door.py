"""The front door of `tidemill serve` where others reach it: with TLS and tokens of the cluster, and through services/proxy of the API server."""
import json
import os
import socket
import ssl
import subprocess
import sys
import urllib.error
import urllib.request

import pytest
from cluster import Serve, eventually

pytest_plugins = ['cluster']


def own_address():
    """An address of this machine that an Endpoints object may name."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        try:
            s.connect(('192.0.2.1', 9))
        except OSError:
            pytest.skip('this machine has no address but loopback')
        return s.getsockname()[0]


@pytest.fixture(scope='module')
def door(real):
    address = own_address()
    cert, key = real.dir / 'door.crt', real.dir / 'door.key'
    subprocess.run(['openssl', 'req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-days', '2', '-keyout', key, '-out', cert,
                    '-subj', '/CN=ml-pipeline', '-addext', f'subjectAltName=IP:{address},DNS:ml-pipeline.kubeflow.svc'], check=True, capture_output=True)
    proxied = free_port(address)
    s = Serve('door', '--kubeconfig', real.kubeconfig_of('kubeflow', 'ml-pipeline'), '--listen', f'{address}:0', '--tls-cert', str(cert), '--tls-key', str(key),
              '--proxy-listen', f'{address}:{proxied}', '--proxy-from', f'{address}/32', '--no-engine')
    s.address, s.proxied, s.cert = address, proxied, str(cert)
    try:
        yield s.start()
    finally:
        s.purge()


def free_port(address):
    with socket.socket() as s:
        s.bind((address, 0))
        return s.getsockname()[1]


def ask(door, path='/apis/v2beta1/experiments', token=None, data=None):
    request = urllib.request.Request(door.url + path, headers={'Authorization': f'Bearer {token}'} if token else {}, data=data)
    try:
        with urllib.request.urlopen(request, context=ssl.create_default_context(cafile=door.cert), timeout=20) as r:
            return r.status, r.read().decode()
    except urllib.error.HTTPError as e:
        return e.code, e.read().decode()


def token_of(real, namespace, account):
    eventually(lambda: real.kubectl('-n', namespace, 'get', 'serviceaccount', account, check=False))
    return real.kubectl('-n', namespace, 'create', 'token', account).strip()


def test_nobody_without_a_token(real, door):
    assert door.url.startswith(f'https://{door.address}:')
    assert ask(door)[0] == 401
    assert ask(door, token='garbage')[0] == 401
    assert ask(door, '/healthz')[0] == 200


def test_what_the_cluster_allows(real, door):
    """A stranger's token is known and may nothing; a role of the cluster says what it may; pods of kubeflow may all."""
    assert ask(door, token=token_of(real, 'kubeflow', 'pipeline-runner'))[0] == 200
    stranger = token_of(real, 'default', 'default')
    status, text = ask(door, '/apis/v2beta1/pipelines', token=stranger)
    assert status == 403 and 'system:serviceaccount:default:default' in text
    real.kubectl('-n', 'kubeflow', 'create', 'rolebinding', 'looks', '--clusterrole=kubeflow-pipelines-view', '--serviceaccount=default:default')
    may = json.dumps({'apiVersion': 'authorization.k8s.io/v1', 'kind': 'SubjectAccessReview', 'spec': {
        'user': 'system:serviceaccount:default:default',
        'resourceAttributes': {'namespace': 'kubeflow', 'verb': 'list', 'group': 'pipelines.kubeflow.org', 'resource': 'experiments'}}})
    eventually(lambda: real.kubectl('create', '-f', '-', '-o', 'jsonpath={.status.allowed}', stdin=may) == 'true')
    assert ask(door, token=stranger)[0] == 200
    assert ask(door, '/apis/v2beta1/pipelines', token=stranger)[0] == 403   # the cluster is asked again after half a minute
    assert ask(door, token=stranger, data=b'{"display_name": "x"}')[0] == 403
    assert ask(door, '/api/tidemill/v1/status', token=stranger)[0] == 403


def test_kfp_client_with_a_token(real, door):
    from kfp import client
    c = client.Client(host=door.url, existing_token=token_of(real, 'kubeflow', 'pipeline-runner'), ssl_ca_cert=door.cert)
    assert c.create_experiment('with-a-token').experiment_id
    assert 'with-a-token' in [e.display_name for e in c.list_experiments().experiments]


def test_kfp_client_with_only_a_kubeconfig(real, door):
    """As users of upstream's do: kfp.Client() finds its way through the API server."""
    objects = [   # an API server passes requests on to pods alone: this one stands for the component's
        {'apiVersion': 'v1', 'kind': 'Pod', 'metadata': {'name': 'ml-pipeline', 'namespace': 'kubeflow'},
         'spec': {'containers': [{'name': 'tidemill', 'image': 'tidemill'}]}},
        {'apiVersion': 'v1', 'kind': 'Service', 'metadata': {'name': 'ml-pipeline', 'namespace': 'kubeflow'},
         'spec': {'ports': [{'name': 'http', 'port': 8888, 'targetPort': door.proxied}]}},
        {'apiVersion': 'v1', 'kind': 'Endpoints', 'metadata': {'name': 'ml-pipeline', 'namespace': 'kubeflow'},
         'subsets': [{'addresses': [{'ip': door.address, 'targetRef': {'kind': 'Pod', 'name': 'ml-pipeline', 'namespace': 'kubeflow'}}],
                      'ports': [{'name': 'http', 'port': door.proxied}]}]}]
    eventually(lambda: real.kubectl('-n', 'kubeflow', 'get', 'serviceaccount', 'default', check=False))
    real.kubectl('apply', '-f', '-', stdin=json.dumps({'apiVersion': 'v1', 'kind': 'List', 'items': objects}))
    real.kubectl('-n', 'kubeflow', 'patch', 'pod', 'ml-pipeline', '--subresource=status', '-p',
                 json.dumps({'status': {'podIP': door.address, 'podIPs': [{'ip': door.address}]}}))
    path = '/api/v1/namespaces/kubeflow/services/ml-pipeline:http/proxy/apis/v2beta1/experiments'
    real.kubectl('get', '--raw', path)
    assert real.kubectl('get', '--raw', path.replace('apis/v2beta1/experiments', 'api/tidemill/v1/status'), check=False) == ''
    script = ("from kfp import client; c = client.Client(namespace='kubeflow'); assert c.create_experiment('through-the-api-server').experiment_id; "
              "print([e.display_name for e in c.list_experiments().experiments])")
    # in a process of its own: the Kubernetes client reads KUBECONFIG when it is imported
    r = subprocess.run([sys.executable, '-c', script], capture_output=True, text=True, timeout=120, env={**os.environ, 'KUBECONFIG': str(certificate_kubeconfig(real))})
    assert r.returncode == 0 and 'through-the-api-server' in r.stdout, r.stderr


def certificate_kubeconfig(real):
    """The Python client of Kubernetes resets the server's path before each request when there is a token."""
    real.certificate('admin-client', '/O=system:masters/CN=admin')
    path = real.dir / 'admin.kubeconfig'
    path.write_text(json.dumps({
        'apiVersion': 'v1', 'kind': 'Config', 'current-context': 'real',
        'clusters': [{'name': 'real', 'cluster': {'server': real.url, 'certificate-authority': str(real.pki / 'ca.crt')}}],
        'users': [{'name': 'real', 'user': {'client-certificate': str(real.pki / 'admin-client.crt'), 'client-key': str(real.pki / 'admin-client.key')}}],
        'contexts': [{'name': 'real', 'context': {'cluster': 'real', 'user': 'real'}}]}))
    return path


def test_others_do_not_get_in_by_the_proxy_door(real, door):
    """Whoever is not the API server: refused, whatever they show."""
    s = Serve('closed', '--kubeconfig', str(real.kubeconfig), '--lease-namespace', 'default', '--listen', '127.0.0.1:0', '--proxy-listen', '127.0.0.1:0',
              '--proxy-from', '198.51.100.0/24', '--no-engine')
    port = free_port('127.0.0.1')
    s.options = tuple(f'127.0.0.1:{port}' if s.options[i - 1] == '--proxy-listen' else o for i, o in enumerate(s.options))
    try:
        s.start()
        with pytest.raises(urllib.error.HTTPError) as e:
            urllib.request.urlopen(f'http://127.0.0.1:{port}/apis/v2beta1/experiments', timeout=20)
        assert e.value.code == 401
    finally:
        s.purge()


@pytest.mark.parametrize('options, text', [
    (['--listen', '0.0.0.0:0'], 'in the clear'),
    (['--tls-cert', 'x'], 'go together'),
    (['--proxy-listen', '0.0.0.0:0'], '--proxy-from'),
])
def test_refused(door, options, text):
    from test_real_kubernetes import TIDEMILL
    r = subprocess.run([TIDEMILL, 'serve', '--data', door.data + '-no', *options], capture_output=True, text=True, timeout=30)
    assert r.returncode != 0 and text in r.stderr
