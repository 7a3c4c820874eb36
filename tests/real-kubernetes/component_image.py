"""The image of deploy/Containerfile, made for real where no registry is reached: its base is bootstrapped from the distribution's packages.

Base images are kept in ~/.cache/tidemill/base-images (half a minute of bootstrapping); podman's own store is a directory that goes with the test."""
import os
import pathlib
import shutil
import subprocess
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
NAME = 'localhost/tidemill:1'   # as deploy/cluster names it
DEBIAN_12 = 'docker.io/library/debian:12-slim'
NO_NETWORK = ('Could not resolve', 'Temporary failure resolving', 'Could not connect', 'Unable to connect', 'Failed to fetch')


class Unavailable(Exception):
    """This machine cannot make the image; the text says why."""


def os_release():
    lines = (line.partition('=') for line in pathlib.Path('/etc/os-release').read_text().splitlines())
    return {k: v.strip('"') for k, _, v in lines}


def missing():
    """Why no image can be made here, or None."""
    if os.geteuid() != 0:
        return 'making an image wants root'
    for tool in ('podman', 'mmdebstrap', 'crun'):
        if not shutil.which(tool):
            return f'making an image wants {tool}'
    return None if os_release().get('ID') in ('debian', 'ubuntu') else 'making an image wants Debian or Ubuntu'


def command(*args, timeout=600):
    r = subprocess.run([*map(str, args)], capture_output=True, text=True, errors='replace', timeout=timeout, stdin=subprocess.DEVNULL)
    if r.returncode and any(text in r.stderr + r.stdout for text in NO_NETWORK):
        raise Unavailable(f'{args[0]} reaches no package archive: {r.stderr[-300:]}')
    assert r.returncode == 0, f'{args}: exit {r.returncode}\n{r.stdout[-3000:]}\n{r.stderr[-3000:]}'
    return r.stdout


def base_tar():
    """A root of this machine's distribution, with the archives that this machine uses."""
    cache = pathlib.Path(os.environ.get('XDG_CACHE_HOME') or pathlib.Path.home() / '.cache') / 'tidemill' / 'base-images'
    release = os_release()
    tar = cache / f"{release['ID']}-{release['VERSION_ID']}.tar"
    if tar.exists():
        return tar
    cache.mkdir(parents=True, exist_ok=True)
    lists = [*sorted(pathlib.Path('/etc/apt/sources.list.d').glob('*.sources')), pathlib.Path('/etc/apt/sources.list')]
    sources = [str(p) for p in lists if p.exists() and release['ID'] in p.read_text()]
    part = tar.with_suffix('.part.tar')
    command('mmdebstrap', '--quiet', '--variant=minbase', '--dpkgopt=force-unsafe-io', release['VERSION_CODENAME'], part, *sources)
    part.rename(tar)
    return tar


def libraries(program):
    """The packages of the shared libraries that it is linked to. (They say /lib or /usr/lib for the same place.)"""
    names = [line.split()[0] for line in command('ldd', program).splitlines() if '=> /' in line]
    owners = command('dpkg', '-S', *(f'*-linux-gnu/{n}' for n in names))
    return sorted({line.split(':')[0] for line in owners.splitlines()})


class ComponentImage:
    """Built once; run() starts a command in it, archive() is what `podman save` makes of it."""

    def __init__(self, tidemill):
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix='tidemill-image-'))
        try:
            self.build(pathlib.Path(tidemill).resolve())
        except BaseException:
            self.remove()
            raise

    def podman(self, *args, **kw):
        return command(*self.podman_command(*args), **kw)

    def podman_command(self, *args):
        """In a mount namespace of its own: its mounts end with it, and crun finds one version of control groups (it refuses two at once)."""
        alone = '! test -d /sys/fs/cgroup/unified || umount /sys/fs/cgroup/unified; exec "$@"'
        return ['unshare', '--mount', 'sh', '-c', alone, 'sh', 'podman', '--root', str(self.dir / 'root'), '--runroot', str(self.dir / 'run'),
                '--cgroup-manager=cgroupfs', '--events-backend=none', *map(str, args)]

    def build(self, tidemill):
        context = self.dir / 'context'
        for part, program in (('cli', tidemill), ('agent', (tidemill.parent / 'tidemill-agent').resolve())):
            (context / 'build' / 'src' / part).mkdir(parents=True)
            shutil.copy2(program, context / 'build' / 'src' / part / f"tidemill{'-agent' if part == 'agent' else ''}")
        release, options = os_release(), []
        base = DEBIAN_12
        if (release['ID'], release['VERSION_ID']) != ('debian', '12'):   # elsewhere the file is told what the README says
            base = f"docker.io/library/{release['ID']}:{release['VERSION_ID']}"
            options = ['--build-arg', f'BASE={base}', '--build-arg', f"LIBRARIES={' '.join(libraries(tidemill))}"]
        self.podman('import', '--quiet', base_tar(), base)
        self.podman('build', '--quiet', '--isolation=chroot', '--network=host', '--pull=never', *options, '-f', ROOT / 'deploy' / 'Containerfile', '-t', NAME,
                    context)

    def run_command(self, *args, options=()):
        """Locked down as deploy/cluster does it, beyond what the image says of itself. Limits are such as this machine allows."""
        return self.podman_command('run', '--rm', '--read-only', '--read-only-tmpfs=false', '--cap-drop=all', '--security-opt=no-new-privileges',
                                   '--ulimit=nofile=1024:4096', '--ulimit=nproc=4096:4096', '--cgroups=disabled', *options, NAME, *args)

    def run(self, *args, options=('--network=none',)):
        return command(*self.run_command(*args, options=options), timeout=120)

    def archive(self):
        path = self.dir / 'image.tar'
        if not path.exists():
            self.podman('save', '--quiet', '-o', path, NAME)
        return path

    def remove(self):
        subprocess.run(self.podman_command('rm', '-af', '-t', '0'), capture_output=True, timeout=120)
        subprocess.run(self.podman_command('rmi', '-af'), capture_output=True, timeout=120)
        shutil.rmtree(self.dir, ignore_errors=True)
