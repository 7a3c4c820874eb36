#!/usr/bin/env python3
"""Runs tidemill's tests: `./dev test [PART | NAME]`.

Parts: check (include arrows, accessors, format), unit, e2e, asan, tsan, fuzz, real-kubernetes. Without one, all of them; real-kubernetes then only
where its programs have been built before (a quarter of an hour; `./dev test real-kubernetes` builds them). Anything else is the name
(or a part of the name) of unit or end-to-end tests. A test that fails beside others is run once more, alone, and named. The last line is `N passed, N failed, N skipped`.
"""
import concurrent.futures as futures
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import time
import xml.etree.ElementTree as ET

ROOT = pathlib.Path(__file__).resolve().parent.parent
os.chdir(ROOT)
JOBS = os.cpu_count() or 2
ENV = {**os.environ, 'CC': os.environ.get('CC', 'ccache gcc')}
RERUN_MAX = 5  # failed beside others: more than these is no accident
PARTS = ['check', 'unit', 'asan', 'tsan', 'fuzz', 'e2e', 'real-kubernetes']


class Results:
    def __init__(self):
        self.passed = self.failed = self.skipped = 0
        self.times = []      # (seconds, name)
        self.failures = []   # (name, text)
        self.again = []      # (name, text): failed beside others, passed alone

    def add(self, name, ok, seconds=0.0, text=''):
        self.times.append((seconds, name))
        if ok:
            self.passed += 1
        else:
            self.failed += 1
            self.failures.append((name, text))


def say(text):
    print(f'\033[1m==> {text}\033[0m', file=sys.stderr, flush=True)


def run(cmd, **kw):
    return subprocess.run(cmd, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors='replace', **kw)


def build(directory, *options, env=ENV, targets=()):
    """Configures and builds; a failure of either is one failed test."""
    d = pathlib.Path(directory)
    wanted = ['-Dtests=true', '-Dwerror=true', *options]
    if not (d / 'build.ninja').exists():
        r = run(['meson', 'setup', str(d), *wanted], env=env)
    else:
        r = run(['meson', 'configure', str(d), *wanted], env=env)
    if r.returncode == 0:
        r = run(['ninja', '-C', str(d), *targets], env=env)
    return r


def unit_binaries(directory):
    out = subprocess.run(['meson', 'introspect', '--tests', directory], capture_output=True, text=True, check=True).stdout
    return [(t['name'], t['cmd'], t.get('timeout', 30) or 30) for t in json.loads(out) if 'unit' in ' '.join(t['suite'])]


SANITIZER_SAYS = re.compile(r'ThreadSanitizer|AddressSanitizer|LeakSanitizer|runtime error:')


def run_unit(results, directory, label, name_filter=None, env=None):
    """One binary a room; each of its cmocka tests counts. One that fails beside others is run once more, alone, and named; not where a sanitizer spoke:
    what it has seen is there, however seldom."""
    def one(t):
        name, cmd, timeout = t
        start = time.monotonic()
        e = {**os.environ, **(env or {}), 'CMOCKA_MESSAGE_OUTPUT': 'TAP'}
        script = any(a.endswith('.py') for a in cmd)
        args = cmd + ([] if not name_filter else ['-k', name_filter] if script else [f'*{name_filter}*'])
        try:
            p = subprocess.run(args, capture_output=True, text=True, errors='replace', env=e, timeout=600)
            return 0 if script and 'Ran 0 tests' in p.stderr else p.returncode, p.stdout, p.stderr, time.monotonic() - start
        except subprocess.TimeoutExpired as x:
            return -1, (x.stdout or b'').decode('utf-8', 'replace'), 'timed out after 600 s', time.monotonic() - start

    tests = unit_binaries(directory)
    with futures.ThreadPoolExecutor(JOBS) as pool:
        got = list(pool.map(one, tests))
    failed = [i for i, (code, out, err, _) in enumerate(got) if code != 0 and not SANITIZER_SAYS.search(out + err)]
    for i in failed if len(failed) <= RERUN_MAX else []:
        say(f'{label}: again, alone: {tests[i][0]}')
        again = one(tests[i])
        if again[0] == 0:
            results.again.append((f'{label} {tests[i][0]}', got[i][1] + got[i][2]))
        got[i] = again
    for (name, _, _), (code, out, err, seconds) in zip(tests, got):
        ok = re.findall(r'^ok \d+ - (?!.*# SKIP)(\S+)', out, re.M)
        skipped = re.findall(r'^ok \d+ - (\S+) *# SKIP', out, re.M) + re.findall(r'^not ok \d+ # SKIP (\S+)', out, re.M)
        bad = [b for b in re.findall(r'^not ok \d+ - (\S+)', out, re.M) if b not in skipped]
        results.passed += len(ok)
        results.skipped += len(skipped)
        results.times.append((seconds, f'{label} {name}'))
        text = '\n'.join(l for l in (out + err).splitlines() if not l.startswith('ok '))
        for b in bad:
            results.add(f'{label} {name} {b}', False, 0, text)
        if code != 0 and not bad:
            results.add(f'{label} {name}', False, 0, text + f'\nexit code {code}')


def part_check(results, _):
    for tool in ['check_includes.py', 'check_fields.py', 'check_format.py', 'check_text.py']:
        start = time.monotonic()
        r = run([sys.executable, f'tools/{tool}'])
        results.add(f'check {tool}', r.returncode == 0, time.monotonic() - start, r.stdout)


def part_unit(results, name):
    r = build('build')
    if r.returncode:
        results.add('build', False, 0, r.stdout[-8000:])
        return
    link_programs()
    run_unit(results, 'build', 'unit', name)


def link_programs():
    for link, target in [('build/tidemill', 'src/cli/tidemill'), ('build/tidemill-agent', 'src/agent/tidemill-agent'),
                         ('build/src/cli/tidemill-agent', '../agent/tidemill-agent')]:
        p = pathlib.Path(link)
        if p.is_symlink() or p.exists():
            p.unlink()
        p.symlink_to(target)


def sanitized(results, directory, label, sanitizer, env):
    # Warnings are errors in the plain build; with a sanitizer's code in between the compiler warns of what is not there.
    r = build(directory, f'-Db_sanitize={sanitizer}', '-Db_lundef=false', '-Doptimization=1', '-Ddebug=true', '-Dwerror=false')
    if r.returncode:
        results.add(f'{label} build', False, 0, r.stdout[-8000:])
        return
    run_unit(results, directory, label, None, env)


def part_asan(results, _):
    sanitized(results, 'build-asan', 'asan', 'address,undefined',
              {'ASAN_OPTIONS': 'detect_leaks=1:abort_on_error=0', 'UBSAN_OPTIONS': 'halt_on_error=1:print_stacktrace=1'})


def part_tsan(results, _):
    sanitized(results, 'build-tsan', 'tsan', 'thread', {'TSAN_OPTIONS': 'halt_on_error=1:second_deadlock_stack=1'})


def part_fuzz(results, _):
    """A short run of each target: crashes that come at once, and that the targets still build."""
    env = {**os.environ, 'CC': 'ccache clang'}
    r = build('build-fuzz', '-Dfuzz=true', '-Db_sanitize=address', '-Db_lundef=false', '-Doptimization=1', '-Dwerror=false', env=env)
    if r.returncode:
        results.add('fuzz build', False, 0, r.stdout[-8000:])
        return
    seconds = os.environ.get('TIDEMILL_FUZZ_SECONDS', '5')
    targets = sorted(p for p in pathlib.Path('build-fuzz/tests/fuzz').rglob('fuzz_*') if p.is_file() and os.access(p, os.X_OK) and '.' not in p.name)

    def one(target):
        start = time.monotonic()
        p = run([str(target.resolve()), f'-max_total_time={seconds}', '-timeout=10', '-rss_limit_mb=2048', '-verbosity=0', '-print_final_stats=0'],
                cwd=target.parent)
        return target.name, p.returncode, p.stdout, time.monotonic() - start

    with futures.ThreadPoolExecutor(JOBS) as pool:
        for name, code, out, took in pool.map(one, targets):
            results.add(f'fuzz {name}', code == 0, took, out[-6000:])


def part_e2e(results, name):
    r = build('build')
    if r.returncode:
        results.add('build', False, 0, r.stdout[-8000:])
        return
    link_programs()
    cmd = ['tests/e2e', '-x' if os.environ.get('TIDEMILL_FAIL_FAST') else '-q', '--tb=long', '-o', 'junit_logging=all']
    run_pytest(results, 'e2e', cmd + (['-k', name] if name else []), ['-n', str(JOBS), '--dist', 'loadfile'])


def run_pytest(results, part, args, parallel):
    """Real clients in real time, many at once on few cores: what fails is run once more, alone. What passes then counts as passed and is named."""
    xml, cache = ROOT / 'build' / f'{part}.xml', ROOT / 'build' / f'{part}.cache'

    def once(*more):
        xml.unlink(missing_ok=True)
        p = run([sys.executable, '-m', 'pytest', '-q', f'--junitxml={xml}', '-o', f'cache_dir={cache}', *args, *more])
        return list(cases_of(part, xml)) if xml.exists() else p.stdout

    first = once('--cache-clear', *parallel)
    if isinstance(first, str):
        results.add(part, False, 0, first[-8000:])
        return
    failed = {label: text for label, _, state, text in first if state == 'failed'}
    second = {}
    if 0 < len(failed) <= RERUN_MAX:
        say(f'{part}: again, alone: {", ".join(failed)}')
        again = once('--last-failed', '--last-failed-no-failures', 'none')
        second = {c[0]: c for c in again} if isinstance(again, list) else {}
    for case in first:
        label, seconds, state, text = second[case[0]] if case[0] in failed and second.get(case[0], case)[2] == 'passed' else case
        if state == 'skipped':
            results.skipped += 1
            print(f'skipped: {label}: {text}')
        else:
            results.add(label, state == 'passed', seconds, text)
            if state == 'passed' and label in failed:
                results.again.append((label, failed[label]))


def cases_of(part, xml):
    """Yields (label, seconds, passed | failed | skipped, text)."""
    for case in ET.parse(xml).iter('testcase'):
        label = f"{part} {case.get('classname', '').rsplit('.', 1)[-1]}::{case.get('name')}"
        problem = next((case.find(k) for k in ('failure', 'error') if case.find(k) is not None), None)
        skipped = case.find('skipped')
        state = 'failed' if problem is not None else 'skipped' if skipped is not None else 'passed'
        text = (problem.text or '')[-12000:] if problem is not None else skipped.get('message') if skipped is not None else ''
        yield label, float(case.get('time') or 0), state, text


def part_real_kubernetes(results, name):
    """Against a Kubernetes that is not ours, built from its Go module."""
    def skip(why):
        results.skipped += 1
        print(f'skipped: real-kubernetes: {why}')

    sys.path.insert(0, str(ROOT / 'tests' / 'real-kubernetes'))
    import real_kubernetes
    if not real_kubernetes.is_built():
        if sys.argv[1:2] != ['real-kubernetes']:
            return skip('Kubernetes has not been built, which takes a quarter of an hour: ./dev test real-kubernetes')
        if not shutil.which('go'):
            return skip('there is no Go toolchain (1.24 or newer) to build Kubernetes with')
        try:
            real_kubernetes.build()
        except subprocess.CalledProcessError as e:
            return skip(f'Kubernetes could not be built: {e}')
    r = build('build')
    if r.returncode:
        results.add('build', False, 0, r.stdout[-8000:])
        return
    link_programs()
    run_pytest(results, 'real-kubernetes', ['tests/real-kubernetes'], [])


def main():
    wanted = sys.argv[1] if len(sys.argv) > 1 else None
    results = Results()
    if wanted in ('-h', '--help'):
        print(__doc__)
        return 0
    start = time.monotonic()
    parts = [wanted] if wanted in PARTS else ['unit', 'e2e'] if wanted else PARTS
    for part in parts:
        say(f'{part}')
        t = time.monotonic()
        before = results.failed
        globals()['part_' + part.replace('-', '_')](results, None if wanted in PARTS else wanted)
        say(f'{part}: {"ok" if results.failed == before else "FAILED"}, {time.monotonic() - t:.0f} s')
    for kind, which in (('FAILED ONCE, passed alone', results.again), ('FAILED', results.failures)):
        for name, text in which:
            print(f'\n---- {kind}: {name}\n{text}')
    print('\nThe slowest ten:')
    for seconds, name in sorted(results.times, reverse=True)[:10]:
        print(f'  {seconds:7.2f} s  {name}')
    for kind, which in (('Passed only when run again, alone', results.again), ('Failed', results.failures)):
        if which:
            print(f'\n{kind}:')
            for name, _ in which:
                print(f'  {name}')
    print(f'\nall of it took {time.monotonic() - start:.0f} s')
    if results.passed + results.failed == 0:
        print(f'no test matches {wanted!r}')
        return 1
    print(f'{results.passed} passed, {results.failed} failed, {results.skipped} skipped')
    return 1 if results.failed else 0


if __name__ == '__main__':
    sys.exit(main())
