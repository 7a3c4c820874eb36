"""Fixtures of the end-to-end tests: a running tidemill of the test process's own, on free ports and a temporary directory."""
import json
import os
import pathlib
import shutil
import signal
import subprocess
import tempfile
import time

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
TIDEMILL = os.environ.get('TIDEMILL', str(ROOT / 'build' / 'tidemill'))
VENV = ROOT / '.venv'
KUBECTL = os.environ.get('KUBECTL') or shutil.which('kubectl') or shutil.which('kubectl', path=str(VENV / 'bin'))


def can_run_containers():
    """Root, and a kernel that gives namespaces and overlays. TIDEMILL_REQUIRE_NODE=1: it must be so."""
    if os.environ.get('TIDEMILL_SKIP_NODE'):
        return False
    if os.geteuid() != 0:
        return False
    return subprocess.run(['unshare', '-mn', 'true'], capture_output=True).returncode == 0 and bool(shutil.which('crun') and shutil.which('conmon'))


NODE = can_run_containers()
if os.environ.get('TIDEMILL_REQUIRE_NODE') and not NODE:
    raise RuntimeError('TIDEMILL_REQUIRE_NODE is set, but this machine cannot run containers: run `tidemill doctor`')
needs_node = pytest.mark.skipif(not NODE, reason='this machine cannot run containers (root, namespaces, crun and conmon are needed)')


class Tidemill:
    """One `tidemill up`. start() and stop() may be called again and again on the same data."""

    def __init__(self, *options, data=None, env=None, within=()):
        self.data = data or tempfile.mkdtemp(prefix='tidemill-test-')
        self.options = list(options)
        self.within = list(within)   # a command that runs the program given to it somewhere else
        self.env = env or {}
        self.process = None
        self.ready = None
        self.log = pathlib.Path(self.data + '.log')

    def start(self, wait=120):
        ready = pathlib.Path(self.data + '.ready')
        ready.unlink(missing_ok=True)
        cmd = [*self.within, TIDEMILL, 'up', '--data', self.data, '--listen', '127.0.0.1:0', '--kube-listen', '127.0.0.1:0', '--ready-file', str(ready),
               '--log-level', 'info', *self.options]
        with open(self.log, 'ab') as log:
            self.process = subprocess.Popen(cmd, stdout=log, stderr=log, env={**os.environ, **self.env})
        until = time.monotonic() + wait
        while not ready.exists():
            if self.process.poll() is not None:
                raise RuntimeError(f'tidemill ended with {self.process.returncode}\n{self.tail()}')
            if time.monotonic() > until:
                self.process.kill()
                raise RuntimeError(f'tidemill was not ready within {wait} s\n{self.tail()}')
            time.sleep(0.01)
        self.ready = json.loads(ready.read_text())
        return self

    def tail(self, lines=80):
        return '\n'.join(self.log.read_text(errors='replace').splitlines()[-lines:]) if self.log.exists() else ''

    def kill(self):
        """As a power cut would."""
        self.process.kill()
        self.process.wait()

    def stop(self, sig=signal.SIGINT, wait=120):
        if self.process and self.process.poll() is None:
            self.process.send_signal(sig)
            try:
                self.process.wait(wait)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
                raise RuntimeError(f'tidemill did not stop within {wait} s\n{self.tail()}')
        return self.process.returncode if self.process else None

    def purge(self):
        if self.process and self.process.poll() is None:
            self.stop()
        subprocess.run([TIDEMILL, 'down', '--purge', '--data', self.data], capture_output=True)
        for p in (self.data + '.ready', str(self.log)):
            pathlib.Path(p).unlink(missing_ok=True)
        shutil.rmtree(self.data, ignore_errors=True)

    @property
    def url(self):
        return self.ready['url']

    @property
    def kubernetes(self):
        return self.ready['kubernetes']

    @property
    def kubeconfig(self):
        return self.ready['kubeconfig']

    def token(self):
        return (pathlib.Path(self.data) / 'admin.token').read_text().strip()

    def cli(self, *args, check=True, timeout=120):
        r = subprocess.run([TIDEMILL, *args, '--data', self.data], capture_output=True, text=True, timeout=timeout)
        if check and r.returncode:
            raise AssertionError(f'tidemill {" ".join(args)}: exit {r.returncode}\n{r.stdout}\n{r.stderr}\n---- server log\n{self.tail()}')
        return r

    def kubectl(self, *args, check=True, stdin=None, timeout=180, binary=None):
        env = {**os.environ, 'KUBECONFIG': self.kubeconfig}
        r = subprocess.run([binary or KUBECTL, *args], capture_output=True, text=True, env=env, input=stdin, timeout=timeout)
        if check and r.returncode:
            raise AssertionError(f'kubectl {" ".join(args)}: exit {r.returncode}\n{r.stdout}\n{r.stderr}\n---- server log\n{self.tail()}')
        return r

    def kfp(self):
        import warnings
        warnings.filterwarnings('ignore')
        from kfp import client
        return client.Client(host=self.url)


def sizes_below(directory):
    """Bytes by path, of what comes and goes meanwhile (logs are rotated and packed, pods end)."""
    found = {}
    for where, _, names in os.walk(directory):
        for name in names:
            try:
                found[os.path.join(where, name)] = os.lstat(os.path.join(where, name)).st_size
            except FileNotFoundError:
                pass
    return found


def settles(look, seconds=1, within=120):
    """Waits until what is seen has not changed for so long: two sides that fight over it never let it rest."""
    end, seen, since = time.monotonic() + within, look(), time.monotonic()
    while time.monotonic() - since < seconds:
        assert time.monotonic() < end, f'it goes on changing: {seen}'
        time.sleep(0.1)
        if (now := look()) != seen:
            seen, since = now, time.monotonic()


def node_options():
    return ['--host-image', 'python:*', '--host-image', 'alpine*', '--host-image', 'busybox*', '--host-env', str(VENV)]


def start(*options, node=NODE, **kw):
    t = Tidemill(*(node_options() if node else ['--no-node']), *options, **kw)
    try:
        return t.start()
    except BaseException:   # nobody else knows of it
        if t.process:
            t.purge()
        shutil.rmtree(t.data, ignore_errors=True)
        t.log.unlink(missing_ok=True)
        raise


@pytest.fixture(scope='module')
def tidemill():
    """One tidemill for the tests of a file; with a node where the machine can."""
    t = start()
    yield t
    t.purge()


@pytest.fixture
def fresh():
    """A function that starts further tidemills; they are removed after the test."""
    made = []

    def make(*options, **kw):
        made.append(start(*options, **kw))
        return made[-1]
    yield make
    for t in made:
        t.purge()


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    """A failure shows the end of the server's log and the pods as they are."""
    outcome = yield
    report = outcome.get_result()
    if report.when != 'call' or not report.failed:
        return
    t = item.funcargs.get('tidemill')
    if t is None or t.ready is None:
        return
    report.sections.append(('server log', t.tail()))
    try:
        report.sections.append(('pods', t.kubectl('get', 'pods', '-A', '-o', 'wide', check=False, timeout=10).stdout))
        report.sections.append(('events', t.kubectl('get', 'events', '-A', check=False, timeout=10).stdout[-4000:]))
    except Exception as e:
        report.sections.append(('pods', f'cannot be read: {e}'))
