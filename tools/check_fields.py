#!/usr/bin/env python3
"""Fails on a literal path to a field of a built-in Kubernetes kind: such paths rot in silence, the generated accessors do not.

Looked at: rooms that work with built-in kinds. Refused: reading or writing the well-known members of every object, and those of pods, through
string literals. The API server and the kinds' own room handle objects of any kind, so what every object has may be named there.
"""
import pathlib
import re
import sys

SRC = pathlib.Path(__file__).resolve().parent.parent / 'src'
ROOMS = ['cluster/apiserver', 'cluster/controllers', 'cluster/scheduler', 'cluster/node', 'pipelines/engine', 'kube']
# Rooms that serve any kind, custom ones included: the members that every object has are names to them.
ANY_KIND_ROOMS = ('cluster/apiserver/', 'kube/')
ANY_KIND = {'metadata', 'spec', 'status', 'labels', 'annotations', 'resourceVersion', 'ownerReferences', 'finalizers', 'deletionTimestamp'}
# The files that are the generic machinery over all kinds, custom ones included, work with names as data.
GENERIC = {'kube/access.h', 'kube/object.c', 'kube/kind.c', 'kube/documents/discovery.c', 'kube/documents/openapi_schema.c'}
FIELDS = ('metadata|spec|status|containers|initContainers|containerStatuses|volumes|volumeMounts|nodeName|restartPolicy|ownerReferences|'
          'finalizers|labels|annotations|resourceVersion|deletionTimestamp|serviceAccountName|phase|podIP|hostIP|involvedObject|secrets')
CALL = re.compile(r'\b(jv_get|jv_path|jmv_get|jmv_path|jm_put|jm_obj_at|jm_arr_at|jm_del)\s*\([^;"]*"(' + FIELDS + r')"')

problems = []
for room in ROOMS:
    for f in sorted((SRC / room).rglob('*.[ch]')) if (SRC / room).is_dir() else []:
        rel = f.relative_to(SRC).as_posix()
        if rel in GENERIC:
            continue
        for n, line in enumerate(f.read_text(encoding='utf-8').splitlines(), 1):
            m = None if line.lstrip().startswith(('*', '/*', '//')) else CALL.search(line)
            if m and rel.startswith(ANY_KIND_ROOMS) and m[2] in ANY_KIND:
                continue
            if m and 'fields: any kind' not in line:
                problems.append(f'src/{rel}:{n}: "{m[2]}" as a literal: use the accessor of kube/fields.h or kube/object.h')
print('\n'.join(problems) if problems else 'fields of built-in kinds are reached through accessors')
sys.exit(1 if problems else 0)
