"""Replays what real servers answered, where the recordings are at hand (a folder `shared/golden` beside the repository). Cases that
passed once must go on passing: golden_*.txt list them. Our own tests cover the rules without the recordings."""
import contextlib
import os
import pathlib
import re
import sqlite3
import subprocess
import sys

import pytest
from conftest import ROOT, Tidemill

GOLDEN = pathlib.Path(os.environ.get('TIDEMILL_GOLDEN', ROOT.parent / 'shared' / 'golden'))
HERE = pathlib.Path(__file__).parent


def expected(name):
    return [line.strip() for line in (HERE / name).read_text().splitlines() if line.strip() and not line.startswith('#')]


def replay(kit, *args, timeout=600):
    r = subprocess.run([sys.executable, str(GOLDEN / kit / 'replay.py'), *args], capture_output=True, text=True, timeout=timeout)
    return r.stdout + r.stderr


def check(output, want):
    """Every wanted case must have run and passed."""
    passed = set(re.findall(r'ok {2,}(\S+)', output))  # anywhere: cases that run side by side write into one another's lines
    regressed = sorted(set(want) - passed)
    told = ''.join(re.findall(r'^FAIL .*\n(?: .*\n)*', output, re.M))
    assert not regressed, f'{len(regressed)} of {len(want)} cases that used to pass: {regressed}\n{told[:8000]}\n{output[-1000:]}'


@pytest.mark.skipif(not (GOLDEN / 'kube').is_dir(), reason='the recordings of a real Kubernetes are not at hand')
def test_kubernetes_recordings():
    t = Tidemill('--no-node').start()
    try:
        want = expected('golden_kube.txt')
        assert want, 'golden_kube.txt names no case'
        args = [a for c in want for a in ('--case', c)]
        check(replay('kube', '--server', t.kubernetes, '--token', t.token(), '--insecure', '-v', '-j', '4', *args), want)
    finally:
        t.purge()


@pytest.mark.skipif(not (GOLDEN / 'kube').is_dir(), reason='the recordings of a real Kubernetes are not at hand')
def test_recordings_of_an_aged_kubernetes():
    """What is said of revisions that are forgotten: the log of changes is made to look an hour old."""
    t = Tidemill('--no-node').start()
    try:
        t.stop()
        with contextlib.closing(sqlite3.connect(pathlib.Path(t.data) / 'kube.db')) as db, db:
            assert db.execute('UPDATE log SET at = at - 3600 * 1000000000').rowcount > 0
        t.start()
        want = ['list/rv-compacted', 'watch/too-old']
        args = [a for c in want for a in ('--case', c)]
        check(replay('kube', '--server', t.kubernetes, '--token', t.token(), '--insecure', '-v', '--aged', *args), want)
    finally:
        t.purge()


@pytest.mark.skipif(not (GOLDEN / 'pipelines-api').is_dir(), reason="the recordings of upstream's pipelines API are not at hand")
def test_pipelines_recordings():
    t = Tidemill('--no-node', '--no-engine').start()
    try:
        want = expected('golden_pipelines.txt')
        args = [a for c in want for a in ('--case', c)]
        player = f'{sys.executable} {HERE / "golden_player.py"} {t.data}'
        check(replay('pipelines-api', '--server', t.url, '--needs', 'scheduler', '--player', player, '-v', '-j', '4', *args), want)
    finally:
        t.purge()


@pytest.mark.skipif(not (GOLDEN / 'pipelines-api').is_dir(), reason="the recordings of upstream's pipelines API are not at hand")
def test_pipelines_recordings_of_urls():
    """The player serves the files on loopback: a server without rules for URLs is needed."""
    t = Tidemill('--no-node', '--no-engine', env={'PIPELINE_URL_VALIDATION_ENABLED': 'false'}).start()
    try:
        want = ['versions/url-body-id', 'versions/url-create', 'versions/url-faults', 'versions/url-pipeline-and-version']
        check(replay('pipelines-api', '--server', t.url, '--needs', 'url-open', '-v', *[a for c in want for a in ('--case', c)]), want)
    finally:
        t.purge()
