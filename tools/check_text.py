#!/usr/bin/env python3
"""Fails on words that say something is unfinished, and on files that have grown too long to be one subject."""
import pathlib
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
UNFINISHED = re.compile(r'\b(TODO|FIXME|XXX|HACK|not implemented|unimplemented|stub)\b')
LIMIT = 1000
problems = []
for name in subprocess.run(['git', 'ls-files', 'src'], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split():
    path = ROOT / name
    if path.suffix not in ('.c', '.h', '.py') or not path.exists():
        continue
    lines = path.read_text(encoding='utf-8').splitlines()
    if len(lines) > LIMIT:
        problems.append(f'{name}: {len(lines)} lines: split it by subject')
    problems += [f'{name}:{n}: {m[0]}' for n, line in enumerate(lines, 1) if (m := UNFINISHED.search(line))]
print('\n'.join(problems) if problems else 'nothing unfinished, nothing too long')
sys.exit(1 if problems else 0)
