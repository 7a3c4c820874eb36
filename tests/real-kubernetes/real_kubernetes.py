#!/usr/bin/env python3
"""A real Kubernetes control plane for tests: built from its Go module, started on loopback, stopped by process id.

    real_kubernetes.py build            build the programs (a quarter of an hour of CPU, once; kept in ~/.cache/tidemill/real-kubernetes)
    real_kubernetes.py up DIR           start one below DIR, print its kubeconfig, and run until interrupted

It has no node: `tidemill serve --only node` is one, kubelet.py another. TIDEMILL_REAL_KUBERNETES=DIR names a directory that holds the programs already.
"""
import base64
import hashlib
import os
import pathlib
import secrets
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import time
import urllib.request

HERE = pathlib.Path(__file__).resolve().parent
PROGRAMS = ['etcd', 'kube-apiserver', 'kube-controller-manager', 'kube-scheduler', 'kubectl']


def version():
    for line in (HERE / 'go.mod').read_text().splitlines():
        if line.split()[1:2] == ['k8s.io/kubernetes'] or line.strip().startswith('k8s.io/kubernetes '):
            return line.split()[-1] if line.startswith('require') else line.split()[1]
    raise RuntimeError('go.mod names no k8s.io/kubernetes')


def programs():
    """Where the programs are; None when they have not been built."""
    given = os.environ.get('TIDEMILL_REAL_KUBERNETES')
    if given:
        return pathlib.Path(given)
    digest = hashlib.sha256((HERE / 'go.mod').read_bytes() + (HERE / 'go.sum').read_bytes()).hexdigest()[:12]
    cache = pathlib.Path(os.environ.get('XDG_CACHE_HOME') or pathlib.Path.home() / '.cache') / 'tidemill' / 'real-kubernetes'
    return cache / f'{version()}-{digest}'


def is_built():
    return all((programs() / p).exists() for p in PROGRAMS)


def build():
    where = programs()
    if is_built():
        return where
    if not shutil.which('go'):
        raise RuntimeError('there is no Go toolchain (1.24 or newer) to build Kubernetes with')
    part = where.with_name(where.name + '.part')
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    print(f'building Kubernetes {version()}: minutes', file=sys.stderr, flush=True)
    v, (major, minor) = 'k8s.io/component-base/version', version().lstrip('v').split('.')[:2]
    flags = f'-s -w -X {v}.gitVersion={version()} -X {v}.gitMajor={major} -X {v}.gitMinor={minor}'
    subprocess.run(['nice', 'go', 'build', '-buildvcs=false', '-trimpath', '-ldflags', flags, '-o', f'{part}/', 'tool'], cwd=HERE, check=True)
    (part / 'server').rename(part / 'etcd')
    shutil.rmtree(where, ignore_errors=True)
    part.rename(where)
    return where


def free_ports(n):
    sockets = [socket.socket() for _ in range(n)]
    for s in sockets:
        s.bind(('127.0.0.1', 0))
    ports = [s.getsockname()[1] for s in sockets]
    for s in sockets:
        s.close()
    return ports


class RealKubernetes:
    """One control plane. stop() ends what start() started and nothing else."""

    node_grace = 20   # seconds after which a node that gives no sign of life is not ready (fifty by default: tests wait for it)

    def __init__(self, directory, address='127.0.0.1', advertise='198.51.100.1'):
        self.address, self.advertise = address, advertise   # the second is one for documentation, behind which is nothing
        self.within = []   # what its programs are started by
        self.users = []    # more of (name, group, kubeconfig)
        self.dir = pathlib.Path(directory)
        self.bin = programs()
        self.pki = self.dir / 'pki'
        self.pki.mkdir(parents=True, exist_ok=True)
        os.chmod(self.pki, 0o700)
        self.port, *self.ports = free_ports(5)
        self.processes = {}
        self.admin_token = secrets.token_hex(16)
        self.url = f'https://{address}:{self.port}'
        self.kubeconfig = self.dir / 'kubeconfig'

    # ---- credentials

    def openssl(self, *args, stdin=None):
        subprocess.run(['openssl', *map(str, args)], cwd=self.pki, check=True, capture_output=True, input=stdin)

    def certificate(self, name, subject, names=''):
        self.openssl('ecparam', '-name', 'prime256v1', '-genkey', '-noout', '-out', f'{name}.key')
        self.openssl('req', '-new', '-key', f'{name}.key', '-subj', subject, '-out', f'{name}.csr')
        (self.pki / 'ext').write_text('keyUsage=critical,digitalSignature\nextendedKeyUsage=serverAuth,clientAuth\n' +
                                      (f'subjectAltName={names}\n' if names else ''))
        self.openssl('x509', '-req', '-in', f'{name}.csr', '-CA', 'ca.crt', '-CAkey', 'ca.key', '-CAcreateserial', '-days', '30', '-out', f'{name}.crt',
                     '-extfile', 'ext')

    def credentials(self):
        self.openssl('req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-days', '30', '-subj', '/CN=ca', '-keyout',
                     'ca.key', '-out', 'ca.crt')
        self.certificate('apiserver', '/CN=kube-apiserver', f'DNS:localhost,DNS:kubernetes.default.svc,IP:127.0.0.1,IP:10.96.0.1,IP:{self.address}')
        self.certificate('kubelet-client', '/CN=kube-apiserver-kubelet-client/O=system:masters')
        self.openssl('genrsa', '-out', 'sa.key', '2048')
        users = [('system:kube-controller-manager', '', self.pki / 'controller-manager.kubeconfig'),
                 ('system:kube-scheduler', '', self.pki / 'scheduler.kubeconfig'), *self.users]
        tokens = [('admin', 'system:masters', self.kubeconfig, self.admin_token), *((*u, secrets.token_hex(16)) for u in users)]
        with open(self.pki / 'tokens.csv', 'w') as f:
            for user, group, path, token in tokens:
                f.write(f'{token},{user},{user},"{group}"\n')
                self.write_kubeconfig(path, token)

    def write_kubeconfig(self, path, token, server=None):
        ca = base64.b64encode((self.pki / 'ca.crt').read_bytes()).decode()
        path = pathlib.Path(path)
        path.touch(0o600)
        path.write_text(f'''apiVersion: v1
kind: Config
clusters: [{{name: real, cluster: {{server: "{server or self.url}", certificate-authority-data: {ca}}}}}]
users: [{{name: real, user: {{token: "{token}"}}}}]
contexts: [{{name: real, context: {{cluster: real, user: real}}}}]
current-context: real
''')
        return str(path)

    # ---- processes

    def run(self, name, program, *args):
        log = open(self.dir / f'{name}.log', 'ab')
        self.processes[name] = subprocess.Popen([*self.within, str(self.bin / program), *map(str, args)], stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                                start_new_session=True)
        log.close()

    def tail(self, name, lines=15):
        path = self.dir / f'{name}.log'
        return '\n'.join(path.read_text(errors='replace').splitlines()[-lines:]) if path.exists() else ''

    def wait(self, name, condition, seconds=180):
        until = time.monotonic() + seconds
        while not condition():
            if self.processes[name].poll() is not None:
                raise RuntimeError(f'{name} ended:\n{self.tail(name)}')
            if time.monotonic() > until:
                raise RuntimeError(f'{name} was not ready within {seconds} s:\n{self.tail(name)}')
            time.sleep(0.1)

    def answers(self, path):
        context = ssl.create_default_context(cafile=str(self.pki / 'ca.crt'))
        request = urllib.request.Request(self.url + path, headers={'Authorization': f'Bearer {self.admin_token}'})
        try:
            with urllib.request.urlopen(request, context=context, timeout=5) as r:
                return r.status == 200
        except OSError:
            return False

    def start_apiserver(self):
        p = self.pki
        self.run('apiserver', 'kube-apiserver', f'--etcd-servers=http://127.0.0.1:{self.ports[0]}', f'--bind-address={self.address}',
                 f'--advertise-address={self.advertise}', f'--secure-port={self.port}', '--allow-privileged=true', '--authorization-mode=Node,RBAC',
                 '--enable-admission-plugins=NodeRestriction', '--service-cluster-ip-range=10.96.0.0/16', f'--token-auth-file={p}/tokens.csv',
                 f'--client-ca-file={p}/ca.crt', f'--tls-cert-file={p}/apiserver.crt', f'--tls-private-key-file={p}/apiserver.key',
                 '--service-account-issuer=https://kubernetes.default.svc.cluster.local', f'--service-account-key-file={p}/sa.key',
                 f'--service-account-signing-key-file={p}/sa.key', f'--kubelet-client-certificate={p}/kubelet-client.crt',
                 f'--kubelet-client-key={p}/kubelet-client.key', '--kubelet-preferred-address-types=InternalIP')
        self.wait('apiserver', lambda: self.answers('/readyz'))

    def start_controllers(self):
        p, config = self.pki, self.pki / 'controller-manager.kubeconfig'
        self.run('controller-manager', 'kube-controller-manager', f'--kubeconfig={config}', f'--authentication-kubeconfig={config}',
                 f'--authorization-kubeconfig={config}', '--bind-address=127.0.0.1', f'--secure-port={self.ports[2]}', f'--cert-dir={p}',
                 '--leader-elect=false', '--use-service-account-credentials', f'--service-account-private-key-file={p}/sa.key',
                 f'--root-ca-file={p}/ca.crt', f'--node-monitor-grace-period={self.node_grace}s')

    def start_scheduler(self):
        p, config = self.pki, self.pki / 'scheduler.kubeconfig'
        self.run('scheduler', 'kube-scheduler', f'--kubeconfig={config}', f'--authentication-kubeconfig={config}', f'--authorization-kubeconfig={config}',
                 '--bind-address=127.0.0.1', f'--secure-port={self.ports[3]}', f'--cert-dir={p}', '--leader-elect=false')

    def start(self):
        self.credentials()
        etcd, peer = self.ports[:2]
        url, peer_url = f'http://127.0.0.1:{etcd}', f'http://127.0.0.1:{peer}'
        self.run('etcd', 'etcd', '--data-dir', self.dir / 'etcd', '--listen-client-urls', url, '--advertise-client-urls', url, '--listen-peer-urls', peer_url,
                 '--initial-advertise-peer-urls', peer_url, '--initial-cluster', f'default={peer_url}', '--log-level', 'warn')
        self.start_apiserver()
        self.start_controllers()
        self.start_scheduler()
        self.wait('controller-manager', lambda: self.answers('/api/v1/namespaces/default/serviceaccounts/default'))
        return self

    def stop_one(self, name, sig=signal.SIGTERM):
        process = self.processes.pop(name, None)
        if not process or process.poll() is not None:
            return
        process.send_signal(sig)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def stop(self):
        for name in ['scheduler', 'controller-manager']:   # they keep nothing that a kill could lose
            self.stop_one(name, signal.SIGKILL)
        for name in ['apiserver', 'etcd']:
            self.stop_one(name)

    # ---- use

    def kubectl(self, *args, check=True, stdin=None, timeout=60):
        r = subprocess.run([str(self.bin / 'kubectl'), '--kubeconfig', str(self.kubeconfig), *map(str, args)], capture_output=True, text=True, input=stdin,
                           timeout=timeout)
        if check and r.returncode:
            raise AssertionError(f'kubectl {args}: exit {r.returncode}\n{r.stdout}\n{r.stderr}')
        return r.stdout

    def kubeconfig_of(self, namespace, account):
        """A kubeconfig with nothing in it but a token of this service account."""
        token = self.kubectl('-n', namespace, 'create', 'token', account, '--duration=8h').strip()
        return self.write_kubeconfig(self.dir / f'{account}.kubeconfig', token)


def main():
    if sys.argv[1:] == ['build']:
        print(build())
    elif len(sys.argv) == 3 and sys.argv[1] == 'up':
        build()
        k = RealKubernetes(os.path.abspath(sys.argv[2]))
        try:
            k.start()
            print(k.kubeconfig, flush=True)
            signal.sigwait({signal.SIGINT, signal.SIGTERM})
        finally:
            k.stop()
    else:
        sys.exit(__doc__)


if __name__ == '__main__':
    main()
