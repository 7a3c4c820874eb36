#!/usr/bin/env python3
"""Fails when a C file is not formatted as .clang-format says; `./dev fmt` mends it."""
import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
tool = pathlib.Path(sys.executable).parent / 'clang-format'
if not tool.exists():
    print(f'{tool} is missing: run through ./dev test check')
    sys.exit(1)
files = subprocess.run(['git', 'ls-files', '*.c', '*.h'], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
r = subprocess.run([tool, '--dry-run', '-Werror', *files], cwd=ROOT, capture_output=True, text=True)
bad = sorted({line.split(':')[0] for line in r.stderr.splitlines() if 'error:' in line})
print('\n'.join(f'{b}: not formatted (./dev fmt)' for b in bad) if bad else f'{len(files)} files are formatted')
sys.exit(1 if r.returncode else 0)
