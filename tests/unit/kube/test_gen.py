#!/usr/bin/env python3
"""tools/gen.py refuses tables that do not hold together, and says where. Run by Meson: test_gen.py GEN."""
import os
import pathlib
import subprocess
import sys
import tempfile
import unittest

GEN = sys.argv.pop(1)
GOOD = '''group apps v1
kind Thing things namespaced short=t served
    sub status Thing get,patch,update served
type Thing
    spec   1 ThingSpec keep
type ThingSpec
    nodeName   1 string  required keep
    podIPs     2 []string set
    parts      3 []Part  merge=name map=name
    ^inner     4 Inner
type Part
    name   1 string keep
type Inner
    size   1 int32?
'''


def run(text, name='apps.v1.kinds'):
    with tempfile.TemporaryDirectory() as d:
        path = os.path.join(d, name)
        with open(path, 'w', encoding='utf-8') as f:
            f.write(text)
        p = subprocess.run([sys.executable, GEN, d, path], capture_output=True, text=True)
        made = {f.name: f.read_text(encoding='utf-8') for f in pathlib.Path(d).iterdir() if f.name != name}
        return p.returncode, p.stderr, made


class Gen(unittest.TestCase):
    def test_good(self):
        code, err, made = run(GOOD)
        self.assertEqual((code, err), (0, ''))
        self.assertIn('extern const struct kube_res KUBE_THINGS;', made['kinds.h'])
        for line in ('KUBE_FIELD_STRING(thing_spec, node_name, "nodeName")', 'KUBE_FIELD_LIST(thing_spec, pod_ips, "podIPs")',
                     'KUBE_FIELD_INT(thing_spec, size, "size")', 'KUBE_FIELD_MAP(thing, spec, "spec")',
                     'KUBE_FIELD_STRING(thing, api_version, "apiVersion")'):
            self.assertIn(line, made['fields.h'])
        self.assertNotIn('KUBE_FIELD_INT(inner,', made['fields.h'])  # only ever a part of others

    def test_same_input_same_output(self):
        self.assertEqual(run(GOOD)[2], run(GOOD)[2])

    def test_refused(self):
        cases = {
            'no type Nope': GOOD.replace('[]Part ', '[]Nope '),
            "unknown word 'color'": GOOD.replace('set\n', 'set color=red\n'),
            'set is given twice': GOOD.replace('set\n', 'set set\n'),
            'protobuf number': GOOD.replace('podIPs     2', 'podIPs     two'),
            'field size is there twice': GOOD.replace('podIPs     2 []string set', 'size 2 string'),
            'either namespaced or cluster': GOOD.replace('namespaced short', 'short'),
            'is not reached from any kind': GOOD + 'type Lost\n    a 1 string\n',
            'is there twice': GOOD + 'type Part\n    a 1 string\n',
            'a pointer to a list': GOOD.replace('[]string set', '[]string? set'),
            "unknown word 'typo'": GOOD + 'typo Thing\n',
            'a kind before the group line': GOOD.replace('group apps v1\n', ''),
            'outside a type or kind': GOOD.replace('kind Thing', '    a 1 string\nkind Thing'),
            "verb 'eat'": GOOD.replace('get,patch,update', 'eat'),
        }
        for want, text in cases.items():
            with self.subTest(want):
                code, err, made = run(text)
                self.assertEqual(code, 1)
                self.assertIn(want, err)
                self.assertEqual(made, {})

    def test_line_is_named(self):
        err = run(GOOD.replace('set\n', 'set color=red\n'))[1]
        self.assertIn('apps.v1.kinds:8:', err)

    def test_accessors_that_collide(self):
        # Thing.specSize and ThingSpec.size would both be thing_spec_size.
        code, err, _ = run(GOOD.replace('    spec   1 ThingSpec keep', '    spec   1 ThingSpec keep\n    specSize 2 int32'))
        self.assertEqual(code, 1)
        self.assertIn('accessor thing_spec_size', err)


if __name__ == '__main__':
    unittest.main()
