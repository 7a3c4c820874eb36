"""Machines with other control groups than this one has: v2 alone (without what v1 hierarchies hold here), and none."""
import json
import pathlib
import time

import pytest

from conftest import Tidemill, needs_node, node_options

WITH = pathlib.Path(__file__).resolve().parents[1] / 'unit' / 'cluster' / 'node' / 'with_cgroups.sh'
POD = """
apiVersion: v1
kind: Pod
metadata: {name: limited}
spec:
  restartPolicy: Never
  containers:
  - {name: main, image: host, command: [sh, -c, 'cat /sys/fs/cgroup/cgroup.controllers; echo ran'], resources: {limits: {memory: 64Mi, cpu: 500m}}}
"""


@needs_node
@pytest.mark.parametrize('mode', ['v2', 'none'])
def test_pod_runs_and_says_which_limits_do_not_hold(mode):
    t = Tidemill(*node_options(), within=[str(WITH), mode]).start()
    try:
        t.kubectl('apply', '-f', '-', stdin=POD)
        t.kubectl('wait', '--for=jsonpath={.status.phase}=Succeeded', 'pod/limited', '--timeout=120s')
        log = t.kubectl('logs', 'limited').stdout
        assert 'ran' in log
        enforced = 'memory' in log and 'cpu ' in log
        found = []
        until = time.monotonic() + 60
        while not found and not enforced and time.monotonic() < until:
            found = [e for e in json.loads(t.kubectl('get', 'events', '-o', 'json').stdout)['items'] if e['reason'] == 'NodeResourceLimitsUnavailable']
            time.sleep(0.1)
        if not enforced:
            assert len(found) == 1 and found[0]['type'] == 'Warning' and found[0]['involvedObject']['name'] == 'limited'
            assert 'memory, cpu are not enforced' in found[0]['message'] and mode in found[0]['message']
    finally:
        t.purge()
