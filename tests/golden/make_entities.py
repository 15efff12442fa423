#!/usr/bin/env python3
"""make_entities.py > libcommon/text/html_entities.inc

The named character references of HTML 5 as Python's html.entities has them, one a line in the order of their names: the name without its
semicolon, the text in UTF-8, and whether the name also counts without the semicolon."""
from html.entities import html5


def literal(text):
    return "".join(chr(b) if 32 <= b < 127 and chr(b) not in '"\\' else f"\\{b:03o}" for b in text.encode())


print("/* Made by tests/golden/make_entities.py; do not edit. */")
for name in sorted(n[:-1] for n in html5 if n.endswith(";")):
    text = html5[name + ";"]
    assert html5.get(name, text) == text
    print(f'{{"{name}", "{literal(text)}", {"true" if name in html5 else "false"}}},')
assert all(n + ";" in html5 for n in html5 if not n.endswith(";"))
