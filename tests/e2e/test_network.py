"""Services, EndpointSlices and cluster DNS, seen from pods with Python."""
import socket
import subprocess
import time

import pytest
import yaml
from conftest import needs_node, start
from test_volumes import apply, get, phase, run, wait

pytestmark = needs_node

ASKER = '''
import http.server
class H(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200); self.end_headers(); self.wfile.write(self.client_address[0].encode())
    def log_message(self, *a): pass
http.server.ThreadingHTTPServer(("", 8080), H).serve_forever()
'''

SERVER = '''
import http.server, os
class H(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200); self.end_headers(); self.wfile.write(os.environ["HOSTNAME"].encode())
    def log_message(self, *a): pass
http.server.ThreadingHTTPServer(("", 8080), H).serve_forever()
'''


def python(name, code, labels=None, ns=None, **spec):
    return {'apiVersion': 'v1', 'kind': 'Pod', 'metadata': {'name': name, 'labels': labels or {}, **({'namespace': ns} if ns else {})},
            'spec': {'restartPolicy': 'Never', 'terminationGracePeriodSeconds': 0,
                     'containers': [{'name': 'c', 'image': 'python:3.11', 'command': ['python3', '-c', code], 'ports': [{'name': 'web', 'containerPort': 8080}]}], **spec}}


def service(name, ports=({'port': 80, 'targetPort': 'web'},), **spec):
    return {'apiVersion': 'v1', 'kind': 'Service', 'metadata': {'name': name}, 'spec': {'selector': {'app': 'web'}, 'ports': list(ports), **spec}}


def dns_ip(t):
    return get(t, 'svc', '-n', 'kube-system', 'kube-dns')['spec']['clusterIP']


CLIENT = '''
import urllib.request
def get(url, tries=50):
    import time
    for i in range(tries):
        try: return urllib.request.urlopen(url, timeout=5).read().decode()
        except OSError as e:
            if i == tries - 1: raise
            time.sleep(0.1)
'''


@pytest.fixture(scope='module')
def cluster():
    t = start()
    apply(t, python('w1', SERVER, {'app': 'web'}), python('w2', SERVER, {'app': 'web'}),
          python('w3', SERVER, {'app': 'named'}, hostname='box', subdomain='head'),
          service('web'), service('sticky', sessionAffinity='ClientIP'), service('head', clusterIP='None', selector={'app': 'named'}),
          service('empty', selector={'app': 'nobody'}), service('multi', ports=[{'name': 'a', 'port': 81, 'targetPort': 8080}, {'name': 'b', 'port': 82, 'targetPort': 8080}]),
          service('open', type='NodePort'),
          {'apiVersion': 'v1', 'kind': 'Service', 'metadata': {'name': 'alias'}, 'spec': {'type': 'ExternalName', 'externalName': 'web.default.svc.cluster.local'}})
    for p in ('w1', 'w2', 'w3'):
        wait(t, ('pod', p), phase('Running'))
    wait(t, ('endpoints', 'web'), lambda o: o and len(o.get('subsets', [{}])[0].get('addresses', [])) == 2)
    yield t
    t.purge()


def test_a_service_leads_to_all_its_pods(cluster):
    out = run(cluster, python('c1', CLIENT + 'print(sorted({get("http://web") for i in range(40)}), get("http://web.default.svc.cluster.local"), get("http://multi:82"))'))
    assert out.startswith("['w1', 'w2'] w")


def test_session_affinity(cluster):
    out = run(cluster, python('c2', CLIENT + 'print(len({get("http://sticky") for i in range(20)}))'))
    assert out == '1\n'


def test_a_pod_reaches_itself_through_its_service(cluster):
    code = CLIENT + 'import threading\n' + SERVER.replace('http.server.ThreadingHTTPServer', 'srv = http.server.ThreadingHTTPServer').replace('.serve_forever()', '')
    code += '\nthreading.Thread(target=srv.serve_forever, daemon=True).start()\nprint(get("http://self", 200))'
    apply(cluster, service('self', selector={'app': 'self'}))
    assert run(cluster, python('selfish', code, {'app': 'self'})) == 'selfish\n'


def test_a_pod_sees_who_asks(cluster):
    """Nobody's address is hidden: not by a Service, not without, in no order of who spoke first."""
    t = cluster
    apply(t, python('asked', ASKER, {'app': 'asked'}), service('asked', selector={'app': 'asked'}))
    wait(t, ('endpoints', 'asked'), lambda o: o and o.get('subsets'))
    ip = get(t, 'pod', 'asked')['status']['podIP']
    code = CLIENT + f'import socket\ns = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.connect(("{ip}", 9)); own = s.getsockname()[0]\n'
    code += f'print([get(u) == own for u in ("http://asked", "http://{ip}:8080", "http://asked")])'
    assert run(t, python('who', code)) == '[True, True, True]\n'


def test_names(cluster):
    t = cluster
    ip = get(t, 'svc', 'web')['spec']['clusterIP']
    pod_ip = get(t, 'pod', 'w3')['status']['podIP']
    code = f'''
import socket
def a(n):
    try: return sorted({{i[4][0] for i in socket.getaddrinfo(n, 80, socket.AF_INET)}})
    except OSError as e: return str(e.args[0])
print(a("web"), a("web.default"), a("web.default.svc"), a("alias"))
print(a("head"), a("box.head"), a("{pod_ip.replace(".", "-")}.default.pod"), a("box.head.default.svc.cluster.local"))
print(a("nothing"), a("nothing.default.svc.cluster.local"))
print(socket.gethostbyaddr("{ip}")[0], socket.gethostbyaddr("{pod_ip}")[0])
print(open("/etc/resolv.conf").read())
'''
    lines = run(t, python('c3', code)).split('\n')
    assert lines[0] == f"['{ip}'] ['{ip}'] ['{ip}'] ['{ip}']"
    assert lines[1] == f"['{pod_ip}'] ['{pod_ip}'] ['{pod_ip}'] ['{pod_ip}']"
    assert lines[2] in ('-2 -2', '-5 -5', '-3 -2', '-2 -5')
    assert lines[3] == 'web.default.svc.cluster.local box.head.default.svc.cluster.local'
    assert lines[4].startswith('search default.svc.cluster.local svc.cluster.local cluster.local')
    assert lines[5] == f'nameserver {dns_ip(t)}' and 'options ndots:5' in lines[6]


def test_dns_policies(cluster):
    show = 'print(open("/etc/resolv.conf").read(), end="")'
    out = run(cluster, python('d1', show, dnsPolicy='None', dnsConfig={'nameservers': ['1.2.3.4'], 'searches': ['a.b'], 'options': [{'name': 'ndots', 'value': '2'}, {'name': 'edns0'}]}))
    assert out == 'search a.b\nnameserver 1.2.3.4\noptions ndots:2 edns0\n'
    assert dns_ip(cluster) not in run(cluster, python('d2', show, dnsPolicy='Default'))
    out = run(cluster, python('d3', show, dnsConfig={'searches': ['x.y'], 'options': [{'name': 'ndots', 'value': '1'}]}))
    assert 'x.y' in out and 'options ndots:1' in out
    assert dns_ip(cluster) in run(cluster, python('d4', show, dnsPolicy='ClusterFirstWithHostNet', hostNetwork=True))


def test_nobody_is_refused_at_once(cluster):
    code = '''
import socket, time
for host, port in (("empty", 80), ("web", 4444)):
    t = time.monotonic()
    try: socket.create_connection((host, port), 5); print("connected")
    except OSError as e: print(type(e).__name__, time.monotonic() - t < 1)
'''
    assert run(cluster, python('c4', code)) == 'ConnectionRefusedError True\nConnectionRefusedError True\n'


def test_environment_of_services(cluster):
    out = run(cluster, python('c5', 'import os\nfor k in sorted(os.environ):\n  if k.startswith(("MULTI", "HEAD")): print(k, os.environ[k])'))
    ip = get(cluster, 'svc', 'multi')['spec']['clusterIP']
    want = [f'MULTI_PORT tcp://{ip}:81', f'MULTI_PORT_81_TCP tcp://{ip}:81', f'MULTI_PORT_81_TCP_ADDR {ip}', 'MULTI_PORT_81_TCP_PORT 81', 'MULTI_PORT_81_TCP_PROTO tcp',
            f'MULTI_PORT_82_TCP tcp://{ip}:82', f'MULTI_PORT_82_TCP_ADDR {ip}', 'MULTI_PORT_82_TCP_PORT 82', 'MULTI_PORT_82_TCP_PROTO tcp', f'MULTI_SERVICE_HOST {ip}',
            'MULTI_SERVICE_PORT 81', 'MULTI_SERVICE_PORT_A 81', 'MULTI_SERVICE_PORT_B 82']
    assert out.splitlines() == want
    assert run(cluster, python('c6', 'import os\nprint([k for k in os.environ if k.startswith("MULTI")])', enableServiceLinks=False)) == '[]\n'


def test_the_api_by_its_name(cluster):
    code = '''
import ssl, urllib.request
d = "/var/run/secrets/kubernetes.io/serviceaccount/"
c = ssl.create_default_context(cafile=d + "ca.crt")
r = urllib.request.Request("https://kubernetes.default.svc/api/v1/namespaces/default", headers={"Authorization": "Bearer " + open(d + "token").read()})
try: print(urllib.request.urlopen(r, context=c, timeout=10).status)
except urllib.error.HTTPError as e: print(e.code)
'''
    assert run(cluster, python('c7', code)) == '403\n'


def test_the_front_door_by_its_name(cluster):
    code = CLIENT + 'print(get("http://ml-pipeline.kubeflow:8888/apis/v2beta1/healthz")[:1], get("http://ml-pipeline.kubeflow.svc.cluster.local:8888/apis/v2beta1/healthz")[:1])'
    assert run(cluster, python('c8', code)) == '{ {\n'


def test_this_machine_and_node_ports(cluster):
    fetch = {}
    exec(CLIENT, fetch)
    fetch = fetch['get']
    t = cluster
    node_ip = [a['address'] for a in get(t, 'nodes')['items'][0]['status']['addresses'] if a['type'] == 'InternalIP'][0]
    s = get(t, 'svc', 'open')['spec']
    for url in (f'http://{s["clusterIP"]}', f'http://{node_ip}:{s["ports"][0]["nodePort"]}'):
        assert fetch(url) in ('w1', 'w2'), url
    out = t.kubectl('get', 'svc', 'open').stdout
    assert f'open   NodePort   {s["clusterIP"]}' in out and f'80:{s["ports"][0]["nodePort"]}/TCP' in out


def test_this_machine_is_refused_at_once_where_nobody_is(cluster):
    ip = get(cluster, 'svc', 'empty')['spec']['clusterIP']
    began = time.monotonic()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((ip, 80), 100)
    assert time.monotonic() - began < 50


def test_two_clusters_on_one_machine(cluster):
    """Each has a range of its own: a pod of the machine's network asks its own API and its own name server."""
    other = start()
    try:
        code = CLIENT + '''
import os, socket, ssl
c = ssl.create_default_context(cafile="/var/run/secrets/kubernetes.io/serviceaccount/ca.crt")
try: print(urllib.request.urlopen("https://%s/api" % os.environ["KUBERNETES_SERVICE_HOST"], context=c, timeout=10).status)
except urllib.error.HTTPError as e: print(e.code)
print(socket.gethostbyname("only.default.svc.cluster.local"))
'''
        ips = []
        for t in (cluster, other):
            apply(t, service('only', selector={'app': 'nobody'}))
            out = run(t, python('own', code, hostNetwork=True, dnsPolicy='ClusterFirstWithHostNet')).split()
            ips.append(get(t, 'svc', 'only')['spec']['clusterIP'])
            assert out[0] in ('200', '401', '403') and out[1] == ips[-1]
        assert dns_ip(cluster) != dns_ip(other) and ips[0].split('.')[:2] != ips[1].split('.')[:2]
        with_route = subprocess.run(['ip', 'route'], capture_output=True, text=True).stdout
        assert f"{dns_ip(other).rsplit('.', 2)[0]}.0.0/16 dev tm" in with_route
    finally:
        other.purge()


def test_names_are_answered_again_after_a_restart():
    """While tidemill is down pods have no names (README); with `up` they have, at the same address and from the same socket."""
    t = start()
    try:
        code = '''
import socket, struct, time
server = [l.split()[1] for l in open("/etc/resolv.conf") if l.startswith("nameserver")][0]
q = struct.pack(">HHHHHH", 7, 0x100, 1, 0, 0, 0) + b"".join(bytes([len(p)]) + p for p in b"kubernetes.default.svc.cluster.local".split(b".")) + b"\\0\\0\\1\\0\\1"
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.settimeout(0.5); s.connect((server, 53))
while True:
    try: s.send(q); ok = len(s.recv(512)) > len(q)
    except OSError: ok = False
    print(time.time(), ok, flush=True)
    time.sleep(0.1)
'''
        apply(t, python('asks', code))
        wait(t, ('pod', 'asks'), phase('Running'))

        def answered():
            lines = [l.split() for l in t.kubectl('logs', 'asks').stdout.splitlines()]
            return [float(when) for when, ok in lines if ok == 'True']
        until = time.monotonic() + 120
        while not answered() and time.monotonic() < until:
            time.sleep(0.2)
        assert answered()
        t.kill()
        time.sleep(2)
        t.start()
        ready = time.time()
        while answered()[-1] < ready and time.time() < ready + 10:
            time.sleep(0.2)
        after = [when for when in answered() if when > ready - 1]
        assert after and after[0] - ready < 3
    finally:
        t.purge()


def test_addresses_are_never_given_twice():
    t = start(node=False)
    try:
        for i in range(3):
            apply(t, *({**service(f's{i}-{k}')} for k in range(5)))
            t.kill()
            t.start()
        ips = [s['spec']['clusterIP'] for s in get(t, 'svc', '-A')['items']]
        assert len(ips) == len(set(ips)) == 18
        first = get(t, 'svc', 's0-0')['spec']['clusterIP']
        r = t.kubectl('apply', '-f', '-', stdin=yaml.safe_dump(service('again', clusterIP=first)), check=False)
        assert 'provided IP is already allocated' in r.stderr
        t.kubectl('delete', 'svc', 's0-0')
        apply(t, service('again', clusterIP=first))
    finally:
        t.purge()


METADATA = '169.254.169.254/32'


@pytest.fixture
def metadata_server():
    """A cloud's metadata address, in a network namespace beside the machine. The link has no addresses of its own, so that it meets nobody's."""
    ns, link = 'tm-meta', 'tm-meta0'
    def ip(*args):
        return subprocess.run(['ip', *args], check=True, capture_output=True, text=True).stdout
    if ip('route', 'show', METADATA):
        pytest.skip('this machine has a route to a metadata server of its own')
    ip('netns', 'add', ns)
    servers = []
    try:
        ip('link', 'add', link, 'type', 'veth', 'peer', 'name', 'eth0', 'netns', ns)
        ip('link', 'set', link, 'up')
        ip('-n', ns, 'addr', 'add', METADATA, 'dev', 'eth0')
        ip('-n', ns, 'link', 'set', 'eth0', 'up')
        ip('-n', ns, 'route', 'add', 'default', 'dev', 'eth0')
        ip('route', 'add', METADATA, 'dev', link)
        servers += [subprocess.Popen(['ip', 'netns', 'exec', ns, 'python3', '-c', SERVER.replace('8080', str(port)).replace('os.environ["HOSTNAME"]', '"the keys"')])
                    for port in (80, 53)]
        yield
    finally:
        for s in servers:
            s.kill()
            s.wait()
        subprocess.run(['ip', 'link', 'del', link], capture_output=True)
        ip('netns', 'del', ns)


ASK_METADATA = '''
import socket, urllib.request
socket.setdefaulttimeout(20)
for url in ("http://169.254.169.254", "http://meta", "http://169.254.169.254:53"):
    try: print(urllib.request.urlopen(url).read().decode())
    except OSError as e: print("refused" if "timed out" not in str(e) else "silence")
'''


def test_the_machine_s_cloud_is_not_asked_by_pods(metadata_server, cluster, fresh):
    """Neither directly nor through a Service; as a name server it answers."""
    until = time.monotonic() + 120
    while True:
        try:
            socket.create_connection(('169.254.169.254', 80), 1).close()
            break
        except OSError:
            assert time.monotonic() < until
            time.sleep(0.1)
    for t, want in ((cluster, 'refused\nrefused\nthe keys\n'), (fresh('--pods-reach-metadata'), 'the keys\nrefused\nthe keys\n')):
        # A Service that leads there is refused by the API already, or leads to where pods may not go.
        apply(t, {'apiVersion': 'v1', 'kind': 'Service', 'metadata': {'name': 'meta'}, 'spec': {'ports': [{'port': 80}]}})
        refused = t.kubectl('apply', '-f', '-', check=False, stdin=yaml.safe_dump({
            'apiVersion': 'discovery.k8s.io/v1', 'kind': 'EndpointSlice', 'metadata': {'name': 'meta', 'labels': {'kubernetes.io/service-name': 'meta'}},
            'addressType': 'IPv4', 'ports': [{'port': 80}], 'endpoints': [{'addresses': ['169.254.169.254']}]}))
        assert refused.returncode and 'link-local' in refused.stderr
        assert run(t, python('asks', ASK_METADATA)) == want
