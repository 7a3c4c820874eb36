"""What the tests on a Kubernetes that is not ours share: one control plane and one node of ours for all of them, and `tidemill serve`.

A plugin of pytest: test modules name it in pytest_plugins."""
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import warnings

import component_image
import pytest
from real_kubernetes import RealKubernetes, is_built

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / 'tests' / 'e2e'))
from conftest import NODE, TIDEMILL, VENV, needs_node  # noqa: E402

warnings.filterwarnings('ignore')


class Serve:
    """One `tidemill serve`."""

    def __init__(self, name, *options):
        self.data = tempfile.mkdtemp(prefix=f'tidemill-{name}-')
        self.options = options
        self.log = pathlib.Path(self.data + '.log')
        self.ready = pathlib.Path(self.data + '.ready')
        self.process = None
        self.read = 0   # so much of the log has been looked at

    def start(self, wait=90):
        self.ready.unlink(missing_ok=True)
        with open(self.log, 'ab') as log:
            self.started = time.monotonic()
            self.process = subprocess.Popen([TIDEMILL, 'serve', '--data', self.data, '--ready-file', str(self.ready), *self.options], stdout=log, stderr=log)
        until = time.monotonic() + wait
        while not self.ready.exists():
            assert self.process.poll() is None and time.monotonic() < until, self.tail()
            time.sleep(0.05)
        return self

    @property
    def url(self):
        return json.loads(self.ready.read_text())['url']

    def tail(self):
        return '\n'.join(self.log.read_text(errors='replace').splitlines()[-60:])

    def news(self):
        """What the log says since the last call."""
        text = self.log.read_text(errors='replace')
        new, self.read = text[self.read:], len(text)
        return new

    def stop(self, sig=signal.SIGINT):
        if self.process and self.process.poll() is None:
            self.process.send_signal(sig)
            try:
                self.process.wait(60)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        return self.process and self.process.returncode

    def purge(self):
        self.stop()
        subprocess.run([TIDEMILL, 'down', '--purge', '--data', self.data], capture_output=True)
        shutil.rmtree(self.data, ignore_errors=True)
        for p in (self.log, self.ready):
            p.unlink(missing_ok=True)


@pytest.fixture(scope='session')
def real():
    """One for all tests: each leaves it as it was found."""
    if not is_built():
        pytest.skip('Kubernetes has not been built: tests/real-kubernetes/real_kubernetes.py build')
    directory = tempfile.mkdtemp(prefix='tidemill-real-')
    k = RealKubernetes(directory)
    try:
        k.start()
        k.kubectl('apply', '-k', ROOT / 'deploy' / 'base')
        k.kubectl('apply', '-k', ROOT / 'deploy' / 'node')
        yield k
    finally:
        k.stop()
        shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture(scope='session')
def node(real):
    """Our node on it, as its own service account."""
    s = Serve('node', '--only', 'node', '--kubeconfig', real.kubeconfig_of('kube-system', 'tidemill-node'), '--node-listen', '0.0.0.0:0', '--host-image',
              'python:*', '--host-image', 'busybox:*', '--host-env', str(VENV.resolve()))
    try:
        yield s.start()
    finally:
        s.purge()


@pytest.fixture(scope='session')
def image():
    """The component's image, made with deploy/Containerfile."""
    why = component_image.missing()
    if why:
        pytest.skip(why)
    try:
        made = component_image.ComponentImage(TIDEMILL)
    except component_image.Unavailable as e:
        pytest.skip(str(e))
    try:
        yield made
    finally:
        made.remove()


def eventually(condition, seconds=60):
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        got = condition()
        if got:
            return got
        time.sleep(0.2)
    raise AssertionError(f'not within {seconds} s')


def kfp_client(serve):
    from kfp import client
    return client.Client(host=serve.url)
