"""Components with packages_to_install once their set-up is kept: a chain of them beside the same chain without packages, in turns."""
import os
import shutil
import statistics
import subprocess
import sys
import time

from conftest import VENV, Tidemill, node_options


def chains(index, steps):
    from kfp import dsl

    @dsl.component(base_image='python:3.11', packages_to_install=['tidemill-probe==1.0'], pip_index_urls=[f'file://{index}'])
    def packed(n: int) -> int:
        import tidemill_probe
        return n + len(tidemill_probe.__name__[:1])

    @dsl.component(base_image='python:3.11')
    def plain(n: int) -> int:
        return n + 1

    def pipeline_of(step, name):
        @dsl.pipeline(name=name)
        def chain():
            x = step(n=0)
            for _ in range(steps - 1):
                x = step(n=x.output)
        return chain
    return pipeline_of(packed, 'packed'), pipeline_of(plain, 'plain')


def bench(note, run_chain, steps=5, rounds=4):
    from test_setups import write_wheel
    index = VENV.resolve() / f'tidemill-bench-index-{os.getpid()}'   # pods see what lies in the environment that they share
    place = index / 'tidemill-probe'
    place.mkdir(parents=True)
    t = Tidemill(*node_options())
    try:
        write_wheel(place)
        t.start()
        packed, plain = chains(index, steps)
        began = time.monotonic()
        c = t.kfp()
        made = c.create_run_from_pipeline_func(packed, enable_caching=False)
        assert c.wait_for_run_completion(made.run_id, timeout=300, sleep_duration=0.05).state == 'SUCCEEDED'
        note(f'{steps} steps with packages_to_install, the first of which installs', time.monotonic() - began, 's')
        shutil.rmtree(index)   # nothing can be installed any more
        with_set_up, without, floor = [], [], []
        for _ in range(rounds):
            with_set_up.append(run_chain(t, packed, steps))
            without.append(run_chain(t, plain, steps))
            for _ in range(3):
                began = time.monotonic()
                subprocess.run([sys.executable, '-c', 'import kfp.dsl.executor_main'], env={**os.environ, '_KFP_RUNTIME': 'true'}, check=True)
                floor.append((time.monotonic() - began) * 1000)
        have = statistics.median(with_set_up)
        note('a step with packages_to_install, kept', have, 'ms', statistics.median(without), 'the same without packages')
        note('a step with packages_to_install, kept', have, 'ms', statistics.median(floor), 'the floor (importing kfp.dsl.executor_main)', 'floor + 60 ms')
    finally:
        t.purge()
        shutil.rmtree(index, ignore_errors=True)
