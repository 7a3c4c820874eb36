#!/usr/bin/env python3
"""Writes files into a C header as one string constant: embed.py NAME OUTPUT INPUT..."""
import sys

name, output, *inputs = sys.argv[1:]
text = '\n---\n'.join(open(p, encoding='utf-8').read() for p in inputs)
guard = 'TM_EMBED_' + name.upper()
with open(output, 'w', encoding='utf-8') as f:
    f.write(f'/* Made by tools/embed.py. */\n#ifndef {guard}\n#define {guard}\n\nstatic const char {name}[] =\n')
    for line in text.splitlines():
        line = line.replace('\\', '\\\\').replace('"', '\\"')
        f.write(f'    "{line}\\n"\n')
    f.write('    "";\n\n#endif\n')
