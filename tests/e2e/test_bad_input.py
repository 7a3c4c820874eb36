"""Bad input of every kind: a clear error with the value and the cure, and nothing else is harmed."""
import json
import os
import select
import socket
import ssl
import struct
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request

import pytest
from conftest import NODE, Tidemill, needs_node, node_options, sizes_below


def request(t, method, path, body=None, headers=None, front=True):
    url = (t.url if front else t.kubernetes) + path
    req = urllib.request.Request(url, method=method, data=body, headers=headers or {})
    context = ssl._create_unverified_context() if not front else None
    if not front and 'Authorization' not in req.headers:
        req.add_header('Authorization', 'Bearer ' + t.token())
    try:
        with urllib.request.urlopen(req, timeout=120, context=context) as r:
            return r.status, r.read().decode(), r.headers
    except urllib.error.HTTPError as e:
        return e.code, e.read().decode('utf-8', 'replace'), e.headers


def post_run(t, spec, parameters=None):
    body = {'display_name': 'bad', 'pipeline_spec': spec, 'runtime_config': {'parameters': parameters or {}}}
    return request(t, 'POST', '/apis/v2beta1/runs', json.dumps(body).encode(), {'Content-Type': 'application/json'})


def ir(tasks, components=None, executors=None, inputs=None):
    """A pipeline whose tasks run `true`; tasks: name -> task fields."""
    root = {'dag': {'tasks': {n: {'componentRef': {'name': 'c'}, 'taskInfo': {'name': n}, **t} for n, t in tasks.items()}}}
    if inputs:
        root['inputDefinitions'] = {'parameters': inputs}
    return {'pipelineInfo': {'name': 'bad'}, 'schemaVersion': '2.1.0', 'sdkVersion': 'kfp-2.17.3', 'root': root,
            'components': components or {'c': {'executorLabel': 'e'}},
            'deploymentSpec': {'executors': executors or {'e': {'container': {'image': 'alpine:3', 'command': ['true']}}}}}


@pytest.mark.parametrize('name, spec, says', [
    ('cycle', ir({'a': {'dependentTasks': ['b']}, 'b': {'dependentTasks': ['a']}}), ['wait for each other', 'a', 'b']),
    ('dangling task', ir({'a': {'dependentTasks': ['ghost']}}), ['ghost', 'a']),
    ('dangling component', ir({'a': {'componentRef': {'name': 'ghost'}}}), ['ghost', 'a']),
    ('dangling executor', ir({'a': {}}, components={'c': {'executorLabel': 'ghost'}}), ['ghost', 'c']),
    ('dangling output', ir({'a': {}, 'b': {'inputs': {'parameters': {'x': {'taskOutputParameter': {'producerTask': 'a', 'outputParameterKey': 'ghost'}}}}}},
                           components={'c': {'executorLabel': 'e', 'inputDefinitions': {'parameters': {'x': {'parameterType': 'STRING', 'isOptional': True}}}}}),
     ['ghost', 'a', 'b']),
    ('schema version', {**ir({'a': {}}), 'schemaVersion': '9.9.9'}, ['9.9.9', '2.1.0']),
    ('no name', {**ir({'a': {}}), 'pipelineInfo': {}}, ['no pipeline spec']),
    ('unknown field', {**ir({'a': {}}), 'surprise': 1}, ['surprise']),
])
def test_wrong_pipelines(tidemill, name, spec, says):
    code, text, _ = post_run(tidemill, spec)
    assert code == 400, (code, text)
    for word in says:
        assert word in text, text


def test_parameters(tidemill):
    spec = ir({'a': {}}, inputs={'n': {'parameterType': 'NUMBER_INTEGER'}})
    for given, word in (({}, 'n'), ({'n': 'three'}, 'n'), ({'n': 1, 'm': 2}, 'm'), ({'n': None}, 'n')):
        code, text, _ = post_run(tidemill, spec, given)
        assert code == 400 and word in text, (given, code, text)


@pytest.mark.parametrize('body, says', [(b'{', 'JSON'), (b'{"display_name": }', 'JSON'), (b'[' * 100000, 'deep'), (b'\xff\xfe', 'JSON'), (b'null', '')])
def test_malformed_json(tidemill, body, says):
    code, text, _ = request(tidemill, 'POST', '/apis/v2beta1/runs', body, {'Content-Type': 'application/json'})
    assert code == 400 and says in text, (code, text)
    code, text, _ = request(tidemill, 'POST', '/api/v1/namespaces/default/configmaps', body, {'Content-Type': 'application/json'}, front=False)
    assert code in (400, 422), (code, text)


def test_truncated_protobuf(tidemill):
    for body in (b'k8s\0', b'k8s\0\x0a\x10v1', b'k8s\0\x0a\x0d\x0a\x02v1\x12\x07ConfigMap\x12\xff\xff\xff\xff\x0f', b'nope'):
        code, text, _ = request(tidemill, 'POST', '/api/v1/namespaces/default/configmaps', body, {'Content-Type': 'application/vnd.kubernetes.protobuf'}, front=False)
        assert code == 400 and json.loads(text)['kind'] == 'Status', (code, text)


def test_upload_of_a_gigabyte(tidemill):
    host, port = tidemill.url.split('//')[1].split(':')
    with socket.create_connection((host, int(port)), timeout=120) as s:
        s.sendall(f'POST /apis/v2beta1/pipelines/upload?name=big HTTP/1.1\r\nHost: {host}:{port}\r\nContent-Type: multipart/form-data; boundary=x\r\n'
                  f'Content-Length: {1 << 30}\r\n\r\n'.encode())
        answer = s.recv(65536)
    assert answer.split(b'\r\n')[0].split()[1] in (b'400', b'413') and b'1073741824' in answer, answer
    assert request(tidemill, 'GET', '/apis/v2beta1/healthz')[0] == 200


def anonymous_memory(t):
    status = open(f'/proc/{t.process.pid}/status').read()
    return int(status.split('RssAnon:')[1].split()[0]) << 10


@pytest.mark.parametrize('endpoint', ['upload', 'upload_version'])
def test_upload_without_an_end(tidemill, endpoint):
    """Chunks that add up to two gigabytes, and do not say so first."""
    host, port = tidemill.url.split('//')[1].split(':')
    pipeline = json.loads(request(tidemill, 'POST', '/apis/v2beta1/pipelines', json.dumps({'display_name': endpoint}).encode(),
                                  {'Content-Type': 'application/json'})[1])['pipeline_id']
    before, sent, answer = anonymous_memory(tidemill), 0, b''
    chunk = b'10000\r\n' + b'x' * 65536 + b'\r\n'
    with socket.create_connection((host, int(port)), timeout=60) as s:
        s.sendall(f'POST /apis/v2beta1/pipelines/{endpoint}?name=endless&pipelineid={pipeline} HTTP/1.1\r\nHost: {host}:{port}\r\n'
                  'Content-Type: multipart/form-data; boundary=x\r\nTransfer-Encoding: chunked\r\n\r\n'.encode())
        try:
            part = b'--x\r\nContent-Disposition: form-data; name="uploadfile"; filename="a.yaml"\r\n\r\n'
            s.sendall(f'{len(part):x}\r\n'.encode() + part + b'\r\n')
            while sent < 2 << 30 and not select.select([s], [], [], 0)[0]:
                s.sendall(chunk)
                sent += 65536
        except OSError:
            pass   # it was cut off
        try:
            answer = s.recv(65536)
        except OSError:
            pass
    assert sent < 256 << 20, sent
    assert not answer or answer.split()[1] == b'400', answer  # as for a file that is too large
    assert anonymous_memory(tidemill) - before < 24 << 20
    assert request(tidemill, 'GET', '/apis/v2beta1/healthz')[0] == 200


def test_many_slow_uploads(tidemill):
    """Clients that begin an upload and send no more hold nobody else up; and they are told when there are too many of them."""
    host, port = tidemill.url.split('//')[1].split(':')
    idle = [socket.create_connection((host, int(port)), timeout=120) for _ in range(100)]
    for s in idle:
        s.sendall(f'POST /apis/v2beta1/pipelines/upload?name=slow HTTP/1.1\r\nHost: {host}:{port}\r\nContent-Type: multipart/form-data; boundary=x\r\n'
                  'Content-Length: 1000\r\n\r\n--x\r\n'.encode())
    until, answered = time.monotonic() + 120, []
    while len(answered) < 100 - 32 and time.monotonic() < until:
        answered = select.select(idle, [], [], 1)[0]
    assert len(answered) == 100 - 32, len(answered)
    assert b' 503 ' in answered[0].recv(4096).split(b'\r\n')[0]
    assert request(tidemill, 'GET', '/apis/v2beta1/runs')[0] == 200
    for s in idle:
        s.close()
    until = time.monotonic() + 120
    while request(tidemill, 'POST', '/apis/v2beta1/pipelines/upload?name=x', b'--x--', {'Content-Type': 'multipart/form-data; boundary=x'})[0] == 503:
        assert time.monotonic() < until
        time.sleep(0.2)


@pytest.mark.parametrize('kind', ['runs', 'pipelines', 'experiments', 'recurringruns', 'artifacts'])
def test_a_filter_of_a_million_characters(tidemill, kind):
    """In one value, in as many predicates, and in brackets: refused before anybody works on it."""
    long = json.dumps({'predicates': [{'key': 'name', 'operation': 'IS_SUBSTRING', 'string_value': 'x' * 1_000_000}]})
    many = json.dumps({'predicates': [{'key': 'name', 'operation': 1, 'string_value': 'x'}] * 20_000})
    for text in long, many, '[' * 1_000_000, '{"predicates":' * 70_000:
        began = time.monotonic()
        code, body, _ = request(tidemill, 'GET', f'/apis/v2beta1/{kind}?filter={urllib.parse.quote(text)}')
        assert code in (400, 413, 414, 431), (code, body[:200])
        assert time.monotonic() - began < 60
    # As long as a request's head may be, it is an ordinary filter.
    code, body, _ = request(tidemill, 'GET', f'/apis/v2beta1/{kind}?filter=' + urllib.parse.quote(
        json.dumps({'predicates': [{'key': 'name', 'operation': 'EQUALS', 'string_value': 'x' * 5000}]})))
    assert code == 200, body[:200]


def test_object_over_the_limit(tidemill):
    body = json.dumps({'metadata': {'name': 'big'}, 'data': {'x': 'y' * (4 << 20)}}).encode()
    code, text, _ = request(tidemill, 'POST', '/api/v1/namespaces/default/configmaps', body, {'Content-Type': 'application/json'}, front=False)
    assert code == 413, (code, text[:300])


@pytest.mark.parametrize('kind, before, after', [
    ('pods', '"spec": {"containers": [', ']}'),
    ('pods', '"spec": {"containers": [{"name": "a", "image": "host", "env": [', ']}]}'),
    ('services', '"spec": {"ports": [', ']}')])
def test_long_lists(tidemill, kind, before, after):
    """300 KiB of empty items are found wrong in seconds: nothing that is done with a list takes its length squared."""
    body = '{"metadata": {"name": "long"}, %s%s%s}' % (before, ','.join(['{}'] * 100000), after)
    started = time.monotonic()
    code, answer, _ = request(tidemill, 'POST', f'/api/v1/namespaces/default/{kind}', body.encode(), {'Content-Type': 'application/json'}, front=False)
    assert code == 422 and len(answer) < 4 << 20 and time.monotonic() - started < 15, (code, answer[:300], time.monotonic() - started)


def test_half_closed_and_slow_clients(tidemill):
    host, port = tidemill.url.split('//')[1].split(':')
    idle = [socket.create_connection((host, int(port)), timeout=120) for _ in range(50)]
    for s in idle:
        s.sendall(b'GET /healthz HTT')
    with socket.create_connection((host, int(port)), timeout=120) as s:
        s.sendall(f'GET /healthz HTTP/1.1\r\nHost: {host}:{port}\r\nConnection: close\r\n\r\n'.encode())
        s.shutdown(socket.SHUT_WR)
        assert b' 200 ' in s.recv(4096)
    assert request(tidemill, 'GET', '/healthz')[0] == 200
    for s in idle:
        s.close()


def test_foreign_host_and_origin(tidemill):
    assert request(tidemill, 'GET', '/apis/v2beta1/runs', headers={'Host': 'evil.example'})[0] == 421
    assert request(tidemill, 'POST', '/apis/v2beta1/runs', b'{}', {'Origin': 'https://evil.example'})[0] == 403
    assert request(tidemill, 'POST', '/apis/v2beta1/runs', b'{}', {'Sec-Fetch-Site': 'cross-site'})[0] == 403
    assert request(tidemill, 'GET', '/healthz', headers={'Origin': 'https://evil.example'})[0] == 200


@pytest.mark.skipif(os.geteuid() != 0, reason='needs root to become another user')
def test_another_local_user(tidemill):
    """Somebody else on this machine gets nothing without a token, on either door."""
    code = ('import sys, urllib.request, urllib.error, ssl\n'
            'for u in sys.argv[1:]:\n'
            '    try:\n'
            '        print(urllib.request.urlopen(u, context=ssl._create_unverified_context() if u.startswith("https") else None).status)\n'
            '    except urllib.error.HTTPError as e:\n'
            '        print(e.code)\n')
    r = subprocess.run(['/usr/bin/python3', '-c', code, tidemill.url + '/apis/v2beta1/runs', tidemill.url + '/', tidemill.url + '/healthz',
                        tidemill.kubernetes + '/api/v1/pods', tidemill.kubernetes + '/version'], capture_output=True, text=True, user=65534, group=65534)
    assert r.stdout.split() == ['401', '401', '200', '403', '200'] or r.stdout.split() == ['401', '401', '200', '401', '200'], (r.stdout, r.stderr)


def test_wrong_tokens(tidemill):
    assert request(tidemill, 'GET', '/api/v1/pods', headers={'Authorization': 'Bearer wrong'}, front=False)[0] == 401
    assert request(tidemill, 'GET', '/apis/v2beta1/runs', headers={'Authorization': 'Bearer wrong'})[0] == 401


POD = '''
apiVersion: v1
kind: Pod
metadata: {{name: {name}}}
spec:
  restartPolicy: Never
  containers:
  - {{name: main, image: '{image}', command: {command}, resources: {resources}}}
'''


def pod(t, name, image='host', command=('true',), resources=None):
    t.kubectl('apply', '-f', '-', stdin=POD.format(name=name, image=image, command=json.dumps(list(command)), resources=json.dumps(resources or {})))


def status(t, name):
    return json.loads(t.kubectl('get', 'pod', name, '-o', 'json').stdout)['status']


def wait_phase(t, name, phase, seconds=60):
    t.kubectl('wait', f'--for=jsonpath={{.status.phase}}={phase}', f'pod/{name}', f'--timeout={seconds}s', timeout=seconds + 10)
    return status(t, name)


@needs_node
def test_unknown_image(tidemill):
    pod(tidemill, 'unknown-image', image='registry.example/none:1')
    until = time.monotonic() + 120
    while time.monotonic() < until:
        c = (status(tidemill, 'unknown-image').get('containerStatuses') or [{}])[0].get('state', {}).get('waiting', {})
        if c.get('reason') in ('ErrImagePull', 'ImagePullBackOff'):
            break
        time.sleep(0.1)
    assert c['reason'] in ('ErrImagePull', 'ImagePullBackOff') and '--host-image' in c['message'], c
    tidemill.kubectl('delete', 'pod', 'unknown-image', '--now')


@needs_node
def test_command_that_does_not_exist(tidemill):
    pod(tidemill, 'no-command', command=['/no/such/program'])
    s = wait_phase(tidemill, 'no-command', 'Failed')
    t = s['containerStatuses'][0]['state']['terminated']
    assert t['exitCode'] in (127, 128) and t['reason'] in ('StartError', 'ContainerCannotRun') and '/no/such/program' in t['message'], t


@needs_node
def test_exit_three(tidemill):
    pod(tidemill, 'three', command=['sh', '-c', 'exit 3'])
    t = wait_phase(tidemill, 'three', 'Failed')['containerStatuses'][0]['state']['terminated']
    assert t['exitCode'] == 3 and t['reason'] == 'Error'


@needs_node
def test_memory_limit(tidemill):
    pod(tidemill, 'hungry', command=['/usr/bin/python3', '-c', 'x = bytearray(1 << 30); print(len(x))'], resources={'limits': {'memory': '64Mi'}})
    t = wait_phase(tidemill, 'hungry', 'Failed')['containerStatuses'][0]['state']['terminated']
    assert t['exitCode'] == 137 and t['reason'] == 'OOMKilled', t


@needs_node
def test_a_gigabyte_of_output(tidemill):
    pod(tidemill, 'chatty', command=['sh', '-c', 'head -c 1000000000 /dev/zero | tr "\\\\0" "x" | fold -w 1000; echo the end'])
    wait_phase(tidemill, 'chatty', 'Succeeded', 400)
    used = sum(sizes_below(f'{tidemill.data}/logs').values())
    assert used < 200 << 20, used
    assert tidemill.kubectl('logs', 'chatty', '--tail=1').stdout.strip().endswith('the end')
    tidemill.kubectl('delete', 'pod', 'chatty', '--now')


@needs_node
def test_full_disk(tmp_path):
    """Writes are refused with a clear error while there is no room, and work again afterwards."""
    mount = tmp_path / 'small'
    mount.mkdir()
    subprocess.run(['mount', '-t', 'tmpfs', '-o', 'size=24m', 'tmpfs', str(mount)], check=True)
    t = Tidemill('--no-node', data=str(mount / 'data'))
    t.log = tmp_path / 'log'
    try:
        t.start()
        filler = mount / 'filler'
        with open(filler, 'wb') as f:
            try:
                while True:
                    f.write(b'x' * 65536)
                    f.flush()
            except OSError:
                pass
        codes = [request(t, 'POST', '/api/v1/namespaces/default/configmaps', json.dumps({'metadata': {'name': f'c{i}'}, 'data': {'x': 'y' * 100000}}).encode(),
                         {'Content-Type': 'application/json'}, front=False) for i in range(20)]
        bad = [c for c in codes if c[0] >= 500]
        assert bad and any(w in bad[-1][1].lower() for w in ('full', 'space')), codes[-1]
        filler.unlink()
        code, text, _ = request(t, 'POST', '/api/v1/namespaces/default/configmaps', json.dumps({'metadata': {'name': 'again'}}).encode(),
                                {'Content-Type': 'application/json'}, front=False)
        assert code == 201, text
        kept = {i['metadata']['name'] for i in json.loads(request(t, 'GET', '/api/v1/namespaces/default/configmaps', front=False)[1])['items']}
        assert {f'c{i}' for i, c in enumerate(codes) if c[0] == 201} <= kept and not {f'c{i}' for i, c in enumerate(codes) if c[0] >= 500} & kept
    finally:
        t.stop()
        subprocess.run(['umount', '-l', str(mount)], check=False)


@needs_node
def test_machine_is_as_before(fresh):
    """`up` and `down` leave the machine as it was: links, mounts, rules, cgroups, processes."""
    def machine():
        def lines(*cmd):
            return sorted(subprocess.run(cmd, capture_output=True, text=True).stdout.splitlines())
        return {'links': [l.split(':')[1].split('@')[0] for l in lines('ip', '-o', 'link')], 'mounts': [l.split()[1] for l in open('/proc/mounts')],
                'rules': lines('nft', 'list', 'tables'), 'routes': lines('ip', 'route'),
                'conmon': [l for l in lines('ps', '-eww', '-o', 'args') if 'conmon' in l and 'defunct' not in l]}
    # Other tests of this session run beside us: only what appears with our own data directory or instance counts.
    before = machine()
    t = fresh()
    pod(t, 'stays', command=['sleep', '300'])
    t.kubectl('wait', '--for=condition=Ready', 'pod/stays', '--timeout=120s')
    during = machine()
    new = {k: set(during[k]) - set(before[k]) for k in before}
    assert new['links'] and new['rules'] and new['conmon']
    mine = {'conmon': [c for c in new['conmon'] if t.data in c]}
    assert mine['conmon']
    t.stop()
    after = machine()
    assert not [c for c in after['conmon'] if t.data in c]
    assert not [m for m in after['mounts'] if t.data in m]
    # The first line names everything that this node makes on the machine.
    instance = open(os.path.join(t.data, 'node', 'instance')).read().split()[0]
    assert [x for x in during['links'] if instance in x] and [x for x in during['rules'] if instance in x]
    assert not [x for k in ('links', 'rules') for x in after[k] if instance in x]
    assert not [d for d, names, _ in os.walk('/sys/fs/cgroup') for n in names if instance in n]
