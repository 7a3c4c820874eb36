#!/usr/bin/env python3
"""Makes C tables and accessors of the built-in kinds' tables (kinds/*.kinds; the format is in kinds/README.md).

    gen.py OUTDIR FILE...

writes kinds.h (one `struct kube_res` a kind), fields.h (readers and writers of every field) and kinds_tab.c (the tables that
decoding, patches, discovery and OpenAPI read; their structs are in src/kube/kind.h). Anything wrong in the input ends the
build with FILE:LINE and what is wrong. Standard library only.
"""
import os
import re
import sys
from dataclasses import dataclass, field

SCALARS = {'string', 'int32', 'int64', 'bool', 'double', 'bytes', 'quantity', 'intorstring', 'time', 'microtime',
           'duration', 'raw', 'empty', 'schemaorbool', 'schemaorarray', 'schemaorstrings'}
TEXT = {'string', 'bytes', 'quantity', 'time', 'microtime', 'duration'}
VERBS = ['create', 'delete', 'deletecollection', 'get', 'list', 'patch', 'update', 'watch']
SCHEMA_PREFIX = {'meta': 'io.k8s.apimachinery.pkg.apis.meta.',
                 'apiextensions': 'io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.'}


class Bad(Exception):
    pass


@dataclass
class Field:
    name: str
    number: int                 # 0: not in the protobuf message
    form: str                   # a scalar, or 'struct'
    shape: str                  # one, list, map, maplist
    pointer: bool
    type_ref: str = ''          # of a struct, as written
    type: 'Type' = None
    flags: dict = field(default_factory=dict)
    inlined: bool = False
    where: str = ''


@dataclass
class Type:
    name: str
    pkg: str                    # 'core.v1'
    cname: str
    atomic: bool
    top: bool                   # has kind and apiVersion
    where: str
    fields: list = field(default_factory=list)
    embeds: list = field(default_factory=list)  # (number, type reference, place in fields)
    embedded: bool = False      # only the part of other types

    @property
    def sym(self):
        return 't_' + re.sub(r'\W', '_', self.pkg) + '_' + self.name

    @property
    def schema(self):
        base = self.pkg.split('.')[0]
        return SCHEMA_PREFIX.get(base, 'io.k8s.api.' + base + '.') + self.pkg.split('.')[1] + '.' + self.name


@dataclass
class Kind:
    name: str
    plural: str
    group: str
    version: str
    pkg: str
    words: list
    opts: dict
    subs: list
    type: Type = None

    @property
    def sym(self):
        return 'k_' + re.sub(r'\W', '_', self.pkg) + '_' + self.name

    @property
    def const(self):
        return 'KUBE_' + (self.opts.get('const') or self.plural.upper())


def snake(name):
    """nodeName -> node_name, podIPs -> pod_ips, HTTPGetAction -> http_get_action."""
    s = re.sub(r'\W+', '_', name).strip('_')
    s = re.sub(r'([a-z0-9])([A-Z])', r'\1_\2', s)
    s = re.sub(r'([A-Z]+)([A-Z](?!s(?:$|[A-Z_]))[a-z])', r'\1_\2', s)
    return s.lower()


def parse_options(words, where):
    out = {}
    for w in words:
        key, eq, val = w.partition('=')
        if key in out:
            raise Bad(f'{where}: {key} is given twice')
        out[key] = val if eq else True
    return out


FIELD_FLAGS = {'required', 'keep', 'default', 'enum', 'format', 'merge', 'retain', 'replace', 'map', 'set', 'atomic'}
TYPE_FLAGS = {'as', 'atomic', 'top'}
KIND_FLAGS = {'namespaced', 'cluster', 'short', 'categories', 'verbs', 'served', 'virtual', 'soft', 'stored', 'const'}


def check_flags(opts, known, where):
    for k in opts:
        if k not in known:
            raise Bad(f'{where}: unknown word {k!r}; known are {", ".join(sorted(known))}')


def parse_field(words, where):
    if len(words) < 3:
        raise Bad(f'{where}: a field is `name number type [flags]`')
    name, number, text = words[:3]
    if number != '-' and not number.isdigit():
        raise Bad(f'{where}: protobuf number {number!r}')
    opts = parse_options(words[3:], where)
    check_flags(opts, FIELD_FLAGS, where)
    pointer = text.endswith('?')
    text = text.rstrip('?')
    shape = 'one'
    for prefix, s in (('{}[]', 'maplist'), ('[]', 'list'), ('{}', 'map')):
        if text.startswith(prefix):
            shape, text = s, text[len(prefix):]
            break
    f = Field(name, 0 if number == '-' else int(number), text if text in SCALARS else 'struct', shape, pointer,
              '' if text in SCALARS else text, None, opts, False, where)
    if shape == 'maplist' and f.form != 'string':
        raise Bad(f'{where}: a map of lists holds strings only')
    if pointer and shape != 'one':
        raise Bad(f'{where}: a pointer to a list or map')
    return f


def parse_file(path, types, kinds):
    pkg = os.path.basename(path).removesuffix('.kinds')
    group = version = None
    cur_type = cur_kind = None
    with open(path, encoding='utf-8') as f:
        lines = f.read().splitlines()
    for n, raw in enumerate(lines, 1):
        where = f'{path}:{n}'
        text = re.sub(r'(^|\s)#.*', '', raw.rstrip())
        if not text.strip():
            continue
        words = text.split()
        if text[0] == ' ':
            if cur_type:
                if words[0].startswith('^'):
                    cur_type.embeds.append((int(words[1]), words[2], len(cur_type.fields), where))
                else:
                    cur_type.fields.append(parse_field(words, where))
            elif cur_kind and words[0] == 'sub' and len(words) >= 4:
                opts = parse_options(words[4:], where)
                check_flags(opts, {'served'}, where)
                cur_kind.subs.append((words[1], words[2], words[3].split(','), 'served' in opts))
            else:
                raise Bad(f'{where}: an indented line outside a type or kind')
        elif words[0] == 'group':
            group, version = words[1].strip('"'), words[2]
        elif words[0] == 'kind':
            if group is None:
                raise Bad(f'{where}: a kind before the group line')
            opts = parse_options(words[3:], where)
            check_flags(opts, KIND_FLAGS, where)
            cur_type, cur_kind = None, Kind(words[1], words[2], group, version, pkg, words, opts, [])
            if words[2] != '-' and ('namespaced' in opts) == ('cluster' in opts):
                raise Bad(f'{where}: kind {words[1]} is either namespaced or cluster')
            kinds.append(cur_kind)
        elif words[0] == 'type':
            opts = parse_options(words[2:], where)
            check_flags(opts, TYPE_FLAGS, where)
            cur_kind = None
            cur_type = Type(words[1], pkg, snake(opts.get('as') or words[1]), 'atomic' in opts, 'top' in opts, where)
            if (pkg, words[1]) in types:
                raise Bad(f'{where}: type {words[1]} is there twice')
            types[pkg, words[1]] = cur_type
        else:
            raise Bad(f'{where}: unknown word {words[0]!r}')


def find_type(ref, pkg, types, where):
    """A type of the same file, or `file.Type` with file named without .v1 where that is unambiguous."""
    if '.' not in ref:
        key = (pkg, ref)
    else:
        base, name = ref.rsplit('.', 1)
        key = (base, name) if (base, name) in types else (base + '.v1', name)
    if key not in types:
        raise Bad(f'{where}: no type {ref}')
    return types[key]


def link(types, kinds):
    for k in kinds:
        k.type = find_type(k.name, k.pkg, types, k.pkg)
        k.type.top = True
    for t in types.values():
        for f in t.fields:
            if f.form == 'struct':
                f.type = find_type(f.type_ref, t.pkg, types, f.where)
            elif f.form.startswith('schemaor'):
                f.type = find_type('JSONSchemaProps', t.pkg, types, f.where)
        t.embeds = [(num, find_type(ref, t.pkg, types, w), at) for num, ref, at, w in t.embeds]
        for _, e, _ in t.embeds:
            e.embedded = True
    for t in types.values():
        out, last = [], 0
        for _, e, at in t.embeds:
            out += t.fields[last:at]
            for f in e.fields:
                if f.form == 'struct' and not f.type:
                    f.type = find_type(f.type_ref, e.pkg, types, f.where)
                out.append(Field(f.name, 0, f.form, f.shape, f.pointer, f.type_ref, f.type, f.flags, True, f.where))
            last = at
        t.fields = out + t.fields[last:]
        if t.top:
            t.fields = [Field(n, 0, 'string', 'one', False, where=t.where) for n in ('kind', 'apiVersion')] + t.fields
        names = [f.name for f in t.fields]
        for n in names:
            if names.count(n) > 1:
                raise Bad(f'{t.where}: field {n} is there twice')


def reachable(types, kinds):
    todo = [k.type for k in kinds] + [t for t in types.values() if t.top or t.name == 'ListMeta']
    seen = set()
    while todo:
        t = todo.pop()
        if id(t) in seen:
            continue
        seen.add(id(t))
        todo += [f.type for f in t.fields if f.type] + [e for _, e, _ in t.embeds]
    for t in types.values():
        if id(t) not in seen:
            raise Bad(f'{t.where}: type {t.name} is not reached from any kind')


def c_str(s):
    return '"' + s.replace('\\', '\\\\').replace('"', '\\"') + '"'


def c_list(items):
    return '(const char *const[]){' + ', '.join([c_str(i) for i in items] + ['NULL']) + '}' if items else 'NULL'


BANNER = '/* Made by tools/gen.py from kinds/ (do not edit). */\n'


def write_kinds_h(kinds):
    out = [BANNER, '#ifndef TM_KUBE_KINDS_H\n#define TM_KUBE_KINDS_H\n\n#include "kube/kube.h"\n']
    seen = set()
    for k in kinds:
        if k.plural == '-':
            continue
        if k.const in seen:
            raise Bad(f'{k.pkg}: constant {k.const} is there twice; give one kind `const=`')
        seen.add(k.const)
        out.append(f'extern const struct kube_res {k.const}; /* {k.group + "/" if k.group else ""}{k.version} {k.name} */')
    return '\n'.join(out) + '\n\n#endif\n'


def accessor_class(f):
    if f.shape == 'list':
        return 'LIST'
    if f.shape in ('map', 'maplist'):
        return 'MAP'
    if f.form in ('struct', 'empty'):
        return 'MAP'
    if f.form in TEXT:
        return 'STRING'
    return {'int32': 'INT', 'int64': 'INT', 'bool': 'BOOL', 'double': 'DOUBLE'}.get(f.form, 'VALUE')


def write_fields_h(types):
    out = [BANNER, '#ifndef TM_KUBE_FIELDS_H\n#define TM_KUBE_FIELDS_H\n\n#include "kube/access.h"\n']
    seen = {}
    for t in types.values():
        if t.embedded:
            continue
        out.append(f'/* {t.pkg} {t.name} */')
        for f in t.fields:
            fn, cls = snake(f.name), accessor_class(f)
            names = [f'{t.cname}_{p}{fn}' for p in ('', 'set_', 'mut_', 'del_')]
            names += [f'{t.cname}_make_{fn}'] if cls in ('LIST', 'MAP') else []
            for n in names:
                if n in seen:
                    raise Bad(f'{f.where}: accessor {n} of {t.name}.{f.name} is also that of {seen[n]}')
                seen[n] = f'{t.pkg} {t.name}.{f.name}'
            out.append(f'KUBE_FIELD_{cls}({t.cname}, {fn}, {c_str(f.name)})')
        out.append('')
    return '\n'.join(out) + '#endif\n'


def field_row(f):
    fl = [n for n, on in (('KFIELD_POINTER', f.pointer), ('KFIELD_KEEP', 'keep' in f.flags),
                          ('KFIELD_REQUIRED', 'required' in f.flags), ('KFIELD_MERGE', 'merge' in f.flags),
                          ('KFIELD_RETAIN_KEYS', 'retain' in f.flags), ('KFIELD_SET', 'set' in f.flags),
                          ('KFIELD_ATOMIC', 'atomic' in f.flags), ('KFIELD_INLINED', f.inlined),
                          ('KFIELD_REPLACE', 'replace' in f.flags)) if on]
    row = [f'.name = {c_str(f.name)}', f'.form = KFORM_{f.form.upper()}']
    if f.number:
        row.append(f'.number = {f.number}')
    if f.shape != 'one':
        row.append(f'.shape = KSHAPE_{f.shape.upper()}')
    if fl:
        row.append('.flags = ' + ' | '.join(fl))
    if f.type:
        row.append(f'.type = &{f.type.sym}')
    if 'default' in f.flags:
        row.append(f'.dflt = {c_str(f.flags["default"])}')
    if 'enum' in f.flags:
        row.append(f'.enums = {c_list(f.flags["enum"].split("|"))}')
    if 'format' in f.flags:
        row.append(f'.format = {c_str(f.flags["format"])}')
    if isinstance(f.flags.get('merge'), str):
        row.append(f'.merge_key = {c_str(f.flags["merge"])}')
    if 'map' in f.flags:
        row.append(f'.map_keys = {c_list(f.flags["map"].split(","))}')
    return '    {' + ', '.join(row) + '},'


def verbs_of(k):
    v = k.opts.get('verbs')
    if not v:
        return VERBS
    if v.startswith('-'):
        drop = [w.lstrip('-') for w in v.split(',')]
        return [w for w in VERBS if w not in drop]
    return v.split(',')


def verb_mask(verbs, where):
    for v in verbs:
        if v not in VERBS:
            raise Bad(f'{where}: verb {v!r}')
    return ' | '.join('KVERB_' + v.upper() for v in verbs)


def write_type(t, out):
    out.append(f'static const struct kfield f_{t.sym}[] = {{')
    out += [field_row(f) for f in t.fields] or ['    {0},']
    out.append('};')
    order = sorted(range(len(t.fields)), key=lambda i: t.fields[i].name.encode())
    by = ', '.join(map(str, order)) or '0'
    out.append(f'static const uint16_t n_{t.sym}[] = {{{by}}};')
    if t.embeds:
        rows = ', '.join(f'{{{num}, &{e.sym}}}' for num, e, _ in t.embeds)
        out.append(f'static const struct kembed e_{t.sym}[] = {{{rows}}};')
    row = [f'.name = {c_str(t.name)}', f'.schema = {c_str(t.schema)}', f'.fields = f_{t.sym}',
           f'.n_fields = {len(t.fields)}', f'.by_name = n_{t.sym}']
    if t.embeds:
        row += [f'.embeds = e_{t.sym}', f'.n_embeds = {len(t.embeds)}']
    if t.atomic:
        row.append('.atomic = true')
    if t.top:
        row.append('.top = true')
    if t.embedded:
        row.append('.embedded = true')
    out.append(f'static const struct ktype {t.sym} = {{{", ".join(row)}}};\n')


def write_subs(k, out):
    out.append(f'static const struct kube_sub s_{k.sym}[] = {{')
    for name, ref, verbs, served in k.subs:
        parts = ref.split('/')
        g, v, kind = parts if len(parts) == 3 else ('', '', parts[0])
        out.append(f'    {{.name = {c_str(name)}, .group = {c_str(g)}, .version = {c_str(v)}, .kind = {c_str(kind)}, '
                   f'.verbs = {verb_mask(verbs, k.pkg)}, .served = {"true" if served else "false"}}},')
    out.append('};')


def kind_row(k):
    o = k.opts
    none = k.plural == '-'
    stored = o.get('stored')
    sg, sv = (stored.split('/') if stored else (k.group, k.version))
    store = 'KSTORE_NONE' if none or 'virtual' in o else 'KSTORE_SOFT' if 'soft' in o else 'KSTORE_DURABLE'
    plural = '' if none else k.plural
    row = [f'.res = {{.group = {c_str(k.group)}, .version = {c_str(k.version)}, .plural = {c_str(plural)}, '
           f'.kind = {c_str(k.name)}, .namespaced = {"true" if "namespaced" in o else "false"}}}',
           f'.list_kind = {c_str(k.name + "List")}', f'.singular = {c_str(k.name.lower())}',
           f'.short_names = {c_list(o["short"].split(",") if "short" in o else [])}',
           f'.categories = {c_list(o["categories"].split(",") if "categories" in o else [])}',
           f'.verbs = {"0" if none else verb_mask(verbs_of(k), k.pkg)}', f'.store = {store}',
           f'.store_group = {c_str("" if sg == "core" else sg)}', f'.store_version = {c_str(sv)}',
           f'.served = {"true" if "served" in o else "false"}', f'.type = &{k.type.sym}']
    if k.subs:
        row += [f'.subs = s_{k.sym}', f'.n_subs = {len(k.subs)}']
    return '    {' + ', '.join(row) + '},'


def write_tab_c(types, kinds):
    out = [BANNER, '#include "kube/kind.h"\n#include "kube/kinds.h"\n']
    out += [f'static const struct ktype {t.sym};' for t in types.values()] + ['']
    for t in types.values():
        write_type(t, out)
    for k in kinds:
        if k.subs:
            write_subs(k, out)
    out.append('const struct kind kube_builtin_kinds[] = {')
    out += [kind_row(k) for k in kinds] + ['};', f'const size_t kube_n_builtin_kinds = {len(kinds)};\n']
    out.append('const struct ktype *const kube_types[] = {')
    out += [f'    &{t.sym},' for t in types.values()] + ['};', f'const size_t kube_n_types = {len(types)};\n']
    for k in kinds:
        if k.plural != '-':
            out.append(f'const struct kube_res {k.const} = {{.group = {c_str(k.group)}, .version = {c_str(k.version)}, '
                       f'.plural = {c_str(k.plural)}, .kind = {c_str(k.name)}, '
                       f'.namespaced = {"true" if "namespaced" in k.opts else "false"}}};')
    return '\n'.join(out) + '\n'


def main(argv):
    outdir, files = argv[1], argv[2:]
    types, kinds = {}, []
    try:
        for path in sorted(files):
            parse_file(path, types, kinds)
        link(types, kinds)
        reachable(types, kinds)
        made = {'kinds.h': write_kinds_h(kinds), 'fields.h': write_fields_h(types), 'kinds_tab.c': write_tab_c(types, kinds)}
    except Bad as e:
        sys.exit(f'gen.py: {e}')
    for name, text in made.items():
        with open(os.path.join(outdir, name), 'w', encoding='utf-8') as f:
            f.write(text)


if __name__ == '__main__':
    main(sys.argv)
