"""A Kubernetes with a node of its own: control plane, containerd, kubelet and kube-proxy in namespaces that end with the test.

All of it runs in a network, mount and process namespace of its own, joined to the machine by one pair of links; its control groups are below a
directory of its own. When the first process of the namespaces ends (which happens at the latest with the test's process), everything else of it
ends, and links, rules and mounts with it. Images come from archives that tests make: `import_image`."""
import os
import pathlib
import random
import shutil
import subprocess
import tempfile
import time

from real_kubernetes import RealKubernetes, programs

NODE = 'kubelet'
POD_NET = '10.244.0'
CNI = '/usr/lib/cni'
CGROUPS = pathlib.Path('/sys/fs/cgroup')

# What a kubelet wants the kernel to be set to: it sees these, the machine keeps what it has.
SYSCTLS = {'vm/overcommit_memory': 1, 'vm/panic_on_oom': 0, 'kernel/panic': 10, 'kernel/panic_on_oops': 1, 'kernel/keys/root_maxkeys': 1000000,
           'kernel/keys/root_maxbytes': 25000000}

INIT = '''
set -eu
d=$1
mount --make-rshared /
for p in /run /var/log /var/lib; do mount -t tmpfs -o mode=755 tmpfs $p; done
mkdir -p /run/containerd /run/netns /var/log/pods /var/log/containers /var/lib/cni /var/lib/kubelet
mount --bind $d/kubelet /var/lib/kubelet
(cd $d/sysctl && find . -type f) | while read -r f; do [ ! -e /proc/sys/$f ] || mount --bind $d/sysctl/$f /proc/sys/$f; done
ip link set lo up
echo 1 >/proc/sys/net/ipv4/ip_forward
touch $d/ready
while :; do sleep 3600 & wait $! || true; done
'''

PAUSE = '''
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>
static void end(int sig) { (void)sig; _exit(0); }
static void reap(int sig) { (void)sig; while (waitpid(-1, 0, WNOHANG) > 0); }
int main(void) { signal(SIGTERM, end); signal(SIGINT, end); signal(SIGCHLD, reap); for (;;) pause(); }
'''


def missing():
    """Why there can be no kubelet here, or None."""
    if os.geteuid() != 0:
        return 'a kubelet wants root'
    for tool in ('containerd', 'ctr', 'runc', 'nft', 'ip', 'nsenter', 'setpriv', 'gcc'):
        if not shutil.which(tool):
            return f'a kubelet wants {tool}'
    if not os.path.exists(f'{CNI}/bridge'):
        return f'a kubelet wants the plugins of containernetworking-plugins in {CNI}'
    for program in ('kubelet', 'kube-proxy'):
        if not (programs() / program).exists():
            return f'{program} has not been built'
    r = subprocess.run(['unshare', '--mount', '--net', '--pid', '--fork', 'true'], capture_output=True, text=True)
    if r.returncode:
        return f'no namespaces can be made here: {r.stderr.strip()}'
    if not any((c / 'cgroup.procs').exists() for c in hierarchies()):
        return 'no control groups are mounted on /sys/fs/cgroup'
    return None


def hierarchies():
    """Each place where control groups are mounted: one (v2), or one for each controller (v1)."""
    if (CGROUPS / 'cgroup.controllers').exists():
        return [CGROUPS]
    return [d for d in CGROUPS.iterdir() if d.is_dir() and not d.is_symlink() and (d / 'cgroup.procs').exists()]


def remove_cgroup(path, tries):
    for d, _, _ in os.walk(path, topdown=False):
        for _ in range(tries + 1):   # what was killed leaves its group a moment later
            try:
                os.rmdir(d)
                break
            except OSError:
                time.sleep(0.1)


class KubeletKubernetes(RealKubernetes):
    """start() returns when the node is ready; stop() leaves nothing of it."""

    node_grace = 50

    def __init__(self, directory):
        self.third = random.randrange(256)
        self.fourth = random.randrange(0, 256, 4)
        address = self.net(2)
        super().__init__(directory, address, address)
        self.node = self.dir / 'node'
        self.cgroup = f'tidemill-kubelet-{os.getpid()}'
        self.link = f'tk{os.getpid()}'
        self.outer = self.first = None
        self.users = [(f'system:node:{NODE}', 'system:nodes', self.pki / 'kubelet.kubeconfig'), ('system:kube-proxy', '', self.pki / 'kube-proxy.kubeconfig')]

    def net(self, host):
        """198.18.0.0/15 is there for tests of networks; four addresses of it are ours."""
        return f'198.18.{self.third}.{self.fourth + host}'

    # ---- the namespaces

    def make_namespaces(self):
        for d in ('kubelet', 'cni', 'ipam', 'manifests', 'root'):
            (self.node / d).mkdir(parents=True)
        for name, value in SYSCTLS.items():
            path = self.node / 'sysctl' / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(f'{value}\n')
        with open(self.dir / 'namespaces.log', 'ab') as log:
            self.outer = subprocess.Popen(['setpriv', '--pdeathsig', 'KILL', 'unshare', '--mount', '--net', '--pid', '--fork', '--kill-child', '--mount-proc',
                                           'bash', '-c', INIT, 'init', str(self.node)], stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)
        self.processes['namespaces'] = self.outer
        self.wait('namespaces', (self.node / 'ready').exists, 60)
        self.first = pathlib.Path(f'/proc/{self.outer.pid}/task/{self.outer.pid}/children').read_text().split()[0]
        self.within = ['nsenter', '-t', self.first, '-m', '-n', '-p', '--']
        for command in (f'link add {self.link} type veth peer name eth0 netns {self.first}', f'addr add {self.net(1)}/30 dev {self.link}',
                        f'link set {self.link} up'):
            subprocess.run(['ip', *command.split()], check=True)
        for command in (f'addr add {self.address}/30 dev eth0', 'link set eth0 up'):
            self.inside('ip', *command.split())

    def inside(self, *args):
        r = subprocess.run([*self.within, *map(str, args)], capture_output=True, text=True, timeout=300)
        assert r.returncode == 0, f'{args}: {r.stdout}{r.stderr}'
        return r.stdout

    def make_cgroups(self):
        for h in hierarchies():
            for d in h.glob('tidemill-kubelet-*'):   # of a test that was killed
                if not os.path.exists(f"/proc/{d.name.rpartition('-')[2]}"):
                    remove_cgroup(d, 0)
            own = h / self.cgroup
            own.mkdir()
            for name in ('cpuset.cpus', 'cpuset.mems'):   # v1: a new group has none
                if (h / name).exists() and (own / name).exists() and not (own / name).read_text().strip():
                    (own / name).write_text((h / name).read_text())

    # ---- the node

    def write_config(self):
        d = self.node
        (d / 'containerd.toml').write_text(f'''version = 2
root = "{d}/root"
state = "/run/containerd"
[grpc]
  address = "{d}/containerd.sock"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "localhost/pause:1"
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "{CNI}"
    conf_dir = "{d}/cni"
''')
        (d / 'cni' / '10-bridge.conflist').write_text(f'''{{"cniVersion": "0.4.0", "name": "tests", "plugins": [
 {{"type": "bridge", "bridge": "pods", "isGateway": true, "hairpinMode": true,
  "ipam": {{"type": "host-local", "dataDir": "{d}/ipam", "ranges": [[{{"subnet": "{POD_NET}.0/24"}}]], "routes": [{{"dst": "0.0.0.0/0"}}]}}}}]}}
''')
        (d / 'resolv.conf').write_text('nameserver 10.96.0.10\n')
        (d / 'kubelet.yaml').write_text(f'''apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
address: {self.address}
authentication: {{anonymous: {{enabled: false}}, webhook: {{enabled: true}}, x509: {{clientCAFile: {self.pki}/ca.crt}}}}
authorization: {{mode: Webhook}}
tlsCertFile: {self.pki}/kubelet.crt
tlsPrivateKeyFile: {self.pki}/kubelet.key
containerRuntimeEndpoint: unix://{d}/containerd.sock
cgroupDriver: cgroupfs
cgroupRoot: /{self.cgroup}
failCgroupV1: false
failSwapOn: false
clusterDomain: cluster.local
clusterDNS: [10.96.0.10]
resolvConf: {d}/resolv.conf
makeIPTablesUtilChains: false
imageGCHighThresholdPercent: 100
evictionHard: {{memory.available: 50Mi}}
staticPodPath: {d}/manifests
maxOpenFiles: {os.sysconf("SC_OPEN_MAX")}
''')
        (d / 'kube-proxy.yaml').write_text(f'''apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
mode: nftables
clusterCIDR: {POD_NET}.0/16
hostnameOverride: {NODE}
clientConnection: {{kubeconfig: {self.pki}/kube-proxy.kubeconfig}}
bindAddress: {self.address}
conntrack: {{maxPerCore: 0, min: 0, tcpEstablishedTimeout: 0s, tcpCloseWaitTimeout: 0s}}
''')

    def run_plain(self, name, *command):
        """As run(), of a program of the machine."""
        with open(self.dir / f'{name}.log', 'ab') as log:
            self.processes[name] = subprocess.Popen([*self.within, *map(str, command)], stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)

    def ctr(self, *args):
        return self.inside('ctr', '-a', self.node / 'containerd.sock', '-n', 'k8s.io', *args)

    def import_image(self, archive):
        self.ctr('images', 'import', archive)

    def import_pause(self):
        from images_kit import Image, layer
        with tempfile.TemporaryDirectory() as t:
            pause = pathlib.Path(t) / 'pause'
            subprocess.run(['gcc', '-Os', '-static', '-s', '-x', 'c', '-o', pause, '-'], input=PAUSE, text=True, check=True)
            Image([layer([('pause', pause.read_bytes())])], {'Entrypoint': ['/pause']}).docker_archive(f'{t}/pause.tar', 'localhost/pause:1')
            self.import_image(f'{t}/pause.tar')

    def pids_of(self, program):
        """/proc/PID/cmdline of what runs that program in the namespaces, as the machine sees it."""
        for d in pathlib.Path('/proc').glob('[0-9]*'):
            try:
                if self.cgroup in (d / 'cgroup').read_text() and os.path.basename(os.readlink(d / 'exe')) == program:
                    yield d / 'cmdline'
            except OSError:   # it ended
                pass

    def credentials(self):
        super().credentials()
        self.certificate('kubelet', f'/CN=system:node:{NODE}/O=system:nodes', f'DNS:{NODE},IP:{self.address}')

    def start(self):
        self.make_cgroups()
        self.make_namespaces()
        self.write_config()
        self.run_plain('containerd', 'containerd', '--config', self.node / 'containerd.toml')
        super().start()
        self.wait('containerd', lambda: subprocess.run([*self.within, 'ctr', '-a', str(self.node / 'containerd.sock'), 'version'], capture_output=True).returncode == 0)
        self.import_pause()
        self.run('kubelet', 'kubelet', f'--config={self.node}/kubelet.yaml', f'--kubeconfig={self.pki}/kubelet.kubeconfig', f'--hostname-override={NODE}',
                 f'--node-ip={self.address}')
        self.run('kube-proxy', 'kube-proxy', f'--config={self.node}/kube-proxy.yaml')
        self.wait('kubelet', lambda: 'True' in self.kubectl('get', 'nodes', '-o', 'jsonpath={.items[*].status.conditions[?(@.type=="Ready")].status}', check=False))
        return self

    def stop(self):
        """Everything at once: nothing of it is to be kept."""
        if self.outer:
            self.outer.kill()   # and with it the first process, which takes the rest along
        for process in self.processes.values():
            process.wait(60)
        self.processes.clear()
        subprocess.run(['ip', 'link', 'del', self.link], capture_output=True)   # gone already, unless its namespace still ends
        for h in hierarchies():
            remove_cgroup(h / self.cgroup, 50)
