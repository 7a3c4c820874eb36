"""What a component's packages_to_install adds is installed once: the next step with the same image and list finds it there."""
import hashlib
import json
import os
import pathlib
import base64
import shutil
import time
import zipfile

import pytest
from conftest import VENV, needs_node
from kfp import dsl, kubernetes
from test_pipelines import expect, run

pytestmark = needs_node
INDEX = VENV.resolve() / 'tidemill-test-index'
NAME = 'tidemill_probe'


def write_wheel(directory):
    """A wheel by hand: one module, and a script."""
    files = {f'{NAME}.py': 'def where():\n    return __file__\n',
             f'{NAME}-1.0.dist-info/METADATA': 'Metadata-Version: 2.1\nName: tidemill-probe\nVersion: 1.0\n',
             f'{NAME}-1.0.dist-info/WHEEL': 'Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n',
             f'{NAME}-1.0.dist-info/entry_points.txt': f'[console_scripts]\ntidemill-probe = {NAME}:where\n'}
    def digest(text):
        return base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b'=').decode()
    record = ''.join(f'{n},sha256={digest(t)},{len(t)}\n' for n, t in files.items()) + f'{NAME}-1.0.dist-info/RECORD,,\n'
    name = f'{NAME}-1.0-py3-none-any.whl'
    with zipfile.ZipFile(directory / name, 'w') as z:
        for n, t in {**files, f'{NAME}-1.0.dist-info/RECORD': record}.items():
            z.writestr(n, t)
    (directory / 'index.html').write_text(f'<a href="{name}">{name}</a>')


def pipeline_from(index):
    """A pipeline whose component needs a package from an index of files, which pods see because it lies in the environment they share."""
    place = index / 'tidemill-probe'
    place.mkdir(parents=True, exist_ok=True)
    write_wheel(place)

    @dsl.component(base_image='python:3.11', packages_to_install=['tidemill-probe==1.0'], pip_index_urls=[f'file://{index}'])
    def where() -> str:
        import shutil as s
        import tidemill_probe
        print('probe at', tidemill_probe.where(), s.which('tidemill-probe'))
        return tidemill_probe.where()

    @dsl.pipeline(name='setups')
    def setups() -> str:
        return where().output
    return setups


@pytest.fixture(scope='module')
def probe():
    yield pipeline_from(INDEX)
    shutil.rmtree(INDEX, ignore_errors=True)


def test_installed_once(fresh, probe):
    t = fresh()
    first = expect(t, run(t, probe), 'SUCCEEDED')
    assert 'probe at /tidemill/setup/' in t.cli('logs', first.run_id, 'where').stdout
    # Other directories come and go meanwhile: os.walk does not mind.
    setups = [pathlib.Path(d) for d, _, _ in os.walk(t.data) if d.endswith('/setup')]
    kept = [p for d in setups for p in d.iterdir() if not p.name.startswith('.')]
    assert len(kept) == 1 and kept[0].is_dir(), kept
    # Without the index nothing can be installed again.
    hidden = INDEX.with_name('tidemill-test-hidden')
    INDEX.rename(hidden)
    try:
        begun = time.monotonic()
        second = expect(t, run(t, probe), 'SUCCEEDED')
        print(f'second time: {time.monotonic() - begun:.2f} s')
        assert 'probe at /tidemill/setup/' in t.cli('logs', second.run_id, 'where').stdout
        assert '/tidemill/setup/bin/tidemill-probe' in t.cli('logs', second.run_id, 'where').stdout
    finally:
        hidden.rename(INDEX)
    assert [p for p in kept[0].parent.iterdir()] == kept


def fan_from(index, n):
    """n steps of one set-up that start together."""
    @dsl.component(base_image='python:3.11', packages_to_install=['tidemill-probe==1.0'], pip_index_urls=[f'file://{index}'])
    def where(i: int) -> str:
        import tidemill_probe
        print('probe', i, 'at', tidemill_probe.where())
        return tidemill_probe.where()

    @dsl.pipeline(name='fan')
    def fan():
        with dsl.ParallelFor(list(range(n))) as i:
            where(i=i)
    return fan


def fillers(t):
    """Names of pods that filled a set-up, and of all that have one."""
    pods = json.loads(t.kubectl('get', 'pods', '-A', '-o', 'json').stdout)['items']
    fill = [p['metadata']['name'] for p in pods if any(c['name'] == 'tidemill-setup' for c in p['spec'].get('initContainers', []))]
    see = [p['metadata']['name'] for p in pods if any(m['mountPath'] == '/tidemill/setup' for m in p['spec']['containers'][0].get('volumeMounts', []))]
    return fill, see


def test_one_of_many_fills_it(fresh, probe):
    """Steps of one set-up that start together: one installs, the others have it."""
    t = fresh()
    expect(t, run(t, fan_from(INDEX, 6)), 'SUCCEEDED')
    fill, see = fillers(t)
    assert len(fill) == 1 and len(see) == 6, (fill, see)


def test_a_step_cannot_spoil_what_later_ones_run(fresh, probe):
    """The step for which packages are installed sees them read-only, like everybody after it; and volumes of its configuration do not lead there."""
    @dsl.component(base_image='python:3.11', packages_to_install=['tidemill-probe==1.0'], pip_index_urls=[f'file://{INDEX}'])
    def spoil() -> str:
        import os
        import pathlib
        import tidemill_probe
        setup = pathlib.Path('/tidemill/setup')
        site = pathlib.Path(tidemill_probe.where()).parent
        said = []
        for path in (pathlib.Path(tidemill_probe.where()), site / 'sitecustomize.py', setup / 'bin' / 'python3', setup / '.tidemill-setup'):
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text('raise SystemExit("spoiled")')
                said.append(f'{path}: written')
            except OSError as e:
                said.append(e.strerror)
        other = pathlib.Path('/w') / site.relative_to(setup)
        os.makedirs(other, exist_ok=True)
        (other / 'sitecustomize.py').write_text('raise SystemExit("spoiled")')
        print(said, sorted(os.listdir('/w')))
        return ' '.join(sorted(set(said)))

    @dsl.pipeline(name='spoils')
    def spoils() -> str:
        task = spoil()
        kubernetes.empty_dir_mount(task, volume_name='tidemill-setup', mount_path='/w')
        return task.output
    t = fresh()
    first = expect(t, run(t, spoils), 'SUCCEEDED')
    said = t.cli('logs', first.run_id, 'spoil').stdout
    assert said.count('Read-only file system') == 4 and 'written' not in said, said
    (kept,) = [p for p in (pathlib.Path(t.data) / 'setup').iterdir() if not p.name.startswith('.')]
    assert not [p for p in kept.rglob('*') if p.is_file() and b'spoiled' in p.read_bytes()]
    assert not (kept / '.tidemill-setup').exists()
    second = expect(t, run(t, probe), 'SUCCEEDED')
    assert 'probe at /tidemill/setup/' in t.cli('logs', second.run_id, 'where').stdout
    assert len([p for p in kept.parent.iterdir()]) == 1
