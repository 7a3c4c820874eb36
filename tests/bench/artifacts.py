"""Artifacts from step to step: the time between the end of what writes one and the beginning of what reads it, small and large."""
import re
import statistics
import warnings

warnings.filterwarnings('ignore')
from conftest import Tidemill, node_options  # noqa: E402
from kfp import dsl  # noqa: E402
from kfp.dsl import Dataset, Input, Output  # noqa: E402

ROUNDS = 5


@dsl.component(base_image='python:3.11')
def write(size: int, data: Output[Dataset]):
    import time
    with open(data.path, 'wb') as f:
        for at in range(0, size, 1 << 20):
            f.write(b'x' * min(1 << 20, size - at))
    print('written', time.time())


@dsl.component(base_image='python:3.11')
def read(data: Input[Dataset]):
    import os
    import time
    now = time.time()
    print('read', now, os.path.getsize(data.path))


@dsl.pipeline(name='hand-over')
def hand_over(size: int):
    read(data=write(size=size).outputs['data'])


def gap(t, client, size):
    made = client.create_run_from_pipeline_func(hand_over, arguments={'size': size}, enable_caching=False)
    done = client.wait_for_run_completion(made.run_id, timeout=300, sleep_duration=0.05)
    assert done.state == 'SUCCEEDED', done.error
    at = float(re.search(r'written ([\d.]+)', t.cli('logs', made.run_id, 'write').stdout)[1])
    there = re.search(r'read ([\d.]+) (\d+)', t.cli('logs', made.run_id, 'read').stdout)
    assert int(there[2]) == size
    return 1000 * (float(there[1]) - at)


def bench(note):
    t = Tidemill(*node_options()).start()
    try:
        client = t.kfp()
        gap(t, client, 1)
        small, large = [], []
        for _ in range(ROUNDS):
            small.append(gap(t, client, 1))
            large.append(gap(t, client, 1 << 30))
        note('artifact of 1 GiB from step to step', statistics.median(large), 'ms', statistics.median(small), 'an artifact of one byte')
        note('what a gibibyte adds', statistics.median(large) - statistics.median(small), 'ms', aim='50')
    finally:
        t.purge()
