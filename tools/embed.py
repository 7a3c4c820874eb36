#!/usr/bin/env python3
"""Writes a file as a C array: embed.py NAME INPUT OUTPUT gives `const char NAME[]` (NUL-terminated) and `const size_t NAME_len`."""
import sys

name, source, target = sys.argv[1:]
data = open(source, "rb").read()
rows = [",".join(str(b) for b in data[i : i + 32]) for i in range(0, len(data), 32)]
with open(target, "w") as out:
    out.write("#include <stddef.h>\nextern const char %s[];\nextern const size_t %s_len;\n" % (name, name))
    out.write("const char %s[] = {\n%s,0};\nconst size_t %s_len = %d;\n" % (name, ",\n".join(rows), name, len(data)))
