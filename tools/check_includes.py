#!/usr/bin/env python3
"""Fails on an include that the house does not allow: a room includes rooms on lower floors only, and no room includes cli/."""
import pathlib
import re
import sys

SRC = pathlib.Path(__file__).resolve().parent.parent / 'src'
FLOORS = {
    'base': 1, 'value': 2, 'net': 3, 'data': 4, 'kube': 5, 'kube/remote': 5.5,
    'cluster/apiserver': 6, 'cluster/controllers': 6, 'cluster/scheduler': 6, 'cluster/node': 6, 'metadata': 6, 'launch': 6,
    'pipelines': 7, 'training': 7, 'tuning': 7, 'serving': 7, 'notebooks': 7, 'registry': 7, 'tracking': 7, 'spark': 7, 'tenancy': 7,
    'gateway': 8, 'cli': 9,
}
# Parts of one room: which of its other parts each may see, besides what stands in the room's own folder.
PARTS = {
    'kube/wire': set(), 'kube/rules': {'kube/wire'}, 'kube/documents': set(), 'kube/schema': {'kube/rules', 'kube/documents'},
    'kube/apply': {'kube/schema', 'kube/wire'}, 'kube/streaming': {'kube/rules'},
}
# The agent stands outside the floors: it may see only these. Of net/ it takes the client's face, the parser and URLs; of data/ the blobs.
AGENT = {'base', 'value', 'launch', 'data', 'net'}
# Headers that a room keeps for itself: never included from another room.
PRIVATE = re.compile(r'(_priv|_internal|/internal)\.h$')


def room_of(path):
    parts = path.split('/')
    return '/'.join(parts[:2]) if parts[0] == 'cluster' or parts[:2] == ['kube', 'remote'] else parts[0]


def check(file):
    rel = file.relative_to(SRC).as_posix()
    room = room_of(rel)
    for n, line in enumerate(file.read_text(encoding='utf-8').splitlines(), 1):
        m = re.match(r'\s*#\s*include\s+"([^"]+)"', line)
        if not m or '/' not in m[1]:
            continue
        target = room_of(m[1])
        part, other = rel.rpartition('/')[0], m[1].rpartition('/')[0]
        if part in PARTS and other in PARTS and other != part and other not in PARTS[part]:
            yield f'src/{rel}:{n}: includes "{m[1]}": {part} may not see {other}'
        if target == room:
            continue
        where = f'src/{rel}:{n}: includes "{m[1]}"'
        if room == 'agent':
            if target not in AGENT:
                yield f'{where}: the agent sees only {", ".join(sorted(AGENT))}'
        elif room not in FLOORS:
            yield f'src/{rel}: room {room} has no floor: add it to tools/check_includes.py and docs/architecture.md'
        elif target not in FLOORS:
            yield f'{where}: there is no room {target}'
        elif FLOORS[target] >= FLOORS[room]:
            yield f'{where}: {room} (floor {FLOORS[room]}) may not see {target} (floor {FLOORS[target]})'
        elif FLOORS[room] in (7, 8) and target.startswith('cluster/'):
            yield f'{where}: components and the gateway never see the embedded cluster'
        elif PRIVATE.search(m[1]):
            yield f'{where}: that header is private to {target}'


problems = [p for f in sorted(SRC.rglob('*.[ch]')) for p in check(f)]
print('\n'.join(problems) if problems else 'every include follows the arrows')
sys.exit(1 if problems else 0)
