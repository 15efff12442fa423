#!/usr/bin/env python3
"""Writes jinja.jsonl: small templates and what transformers' chat template environment makes of them.

One case a line: [template, variables, expected text or null when it raises, generation spans or absent].
Run with transformers and jinja2 installed:  python make_jinja.py >jinja.jsonl
"""
import json
import sys

from transformers.utils.chat_template_utils import _compile_jinja_template, _render_with_assistant_indices

MESSAGES = [{"role": "system", "content": " Be brief. "}, {"role": "user", "content": "Hi\n"},
            {"role": "assistant", "content": "A", "tool_calls": [{"function": {"name": "f", "arguments": {"x": [1, 2.5, None], "é": True}}}]},
            {"role": "tool", "content": "<&\"'>"}, {"role": "assistant", "content": "BC ☃"}]
VARS = {"s": "héllo wörld", "n": 7, "f": 2.5, "none_": None, "yes": True, "l": [3, 1, 2], "empty": [], "d": {"b": 1, "A": 2, "items": 3},
        "words": "  one two\tthree \n", "people": [{"name": "Bob", "age": 3, "tag": {"x": [5]}}, {"name": "al", "age": 1}, {"name": "Cy"}],
        "messages": MESSAGES, "bos_token": "<s>", "eos_token": "</s>"}

# Whitespace: one case a line, "\n" written out.
WHITESPACE = [
    "a\n\n", "{{ 1 }}\n\n", "{% if 1 %}\nx\n{% endif %}\ny", "{% if 1 %} \nx{% endif %}", "a  {% if 1 %}b{% endif %}", "a\n  {{ 1 }}\nb",
    "a\n  {# c #}\nb", "{{ 1 }}\n   {% if 1 %}x{% endif %}", "{% if 1 %}   {% if 1 %}x{% endif %}{% endif %}",
    "{% if 1 %}\n   {% if 1 %}x{% endif %}{% endif %}", "{# c #}   {% if 1 %}x{% endif %}", "a \n {%- if 1 -%} \n b {%- endif %} c",
    "{%- if 1 %}\n\nx{% endif %}", "{% if 1 +%}\nx{% endif %}", "{% set x %}\n a\n{% endset %}[{{x}}]", "{{ \"a\\n\" }}\n", "", "\n", "\n\n", " \n",
    "a\r\nb\rc\n", "a\r\n{% if 1 %}\r\nb{% endif %}\r\n", "  {%+ if 1 %}x{% endif %}", "  {%- if 1 %}x{% endif %}", "a  {{- 1 -}}  b", "a\n{{- 1 -}}\nb",
    "a {#- c -#} b", "a {# c -#} b", "a {#- c #} b", "a\n  {#- c +#}\nb", "{# {{ x }} {% if %} #}z", "{% raw %}{{ x }}{% endraw %}y",
    "{% raw %}\na{% endraw %}\nb", "a\n  {% raw %} {% if %} {% endraw %}\nb", "a {%- raw -%} b {%- endraw -%} c", "a\n {%+ raw %}\n x\n {% endraw +%}\nb",
    "{% raw %}\n   {% endraw %}x", "{{ '{%' }}{{ '}}' }}", "{%if 1%}x{%endif%}", "{%-if 1-%} x {%-endif-%}", "x {{ 1 }}\ty\t{% if 1 %}z{% endif %}",
    "\t{% if 1 %}z{% endif %}", " {% if 1 %} {% endif %} ", "\u00a0{% if 1 %}z{% endif %}", "a\u2028  {% if 1 %}z{% endif %}", "a\x1c{{- 1 }}", "a\u200b{{- 1 }}",
    "a\n\n  {% if 1 %}z{% endif %}", "{{ 1 -}}\n\n  {% if 1 %}z{% endif %}", "{% for x in [1,2] %}\n  {{ x }}\n{% endfor %}\n",
    "{% for x in [1,2] -%}\n  {{ x }}\n{%- endfor %}\n", "{% for x in [1,2] %}\n  {% if x == 1 %}\n    a\n  {% else %}\n    b\n  {% endif %}\n{% endfor %}end",
    "{{ {\"a\":{}}}}", "{{ {'a': {'b': 1}}['a']['b'] }}", "{{ [[1]][0][0] }}", "{% set x = {'a': {}} %}{{ x }}", "{{ '#}' }}", "{", "{ {", "a{b}c", "{{'a'}}}", "%}",
    "a #} b", "{{ 1 }}{# x\ny #}\n{{ 2 }}", "  {# a #} {# b #}\nx", "{% if 1 %}\r\n  \r\nx{% endif %}", "{{ 'a\nb' }}", "{{ 'a\r\nb'|length }}",
]

# Everything else, grouped by subject.
CASES = {
    "precedence": [
        "{{ 2**3**2 }}", "{{ -2**2 }}", "{{ -1|abs }}", "{{ \"a\" ~ 1 + 2 }}", "{{ 1 ~ 2 * 3 }}", "{{ \"x\" ~ \"a\"|upper }}", "{{ messages|length - 1 }}",
        "{{ \"a\" \"b\" }}", "{{ 1 + 2 * 3 - 4 }}", "{{ 10 - 3 - 2 }}", "{{ 2 * 3 ~ 4 }}", "{{ 'a' if true else 'b' if false else 'c' }}", "{{ 'a' if 0 else 'b' if 0 else 'c' }}",
        "{{ not 1 == 2 }}", "{{ not true or true }}", "{{ not (true or true) }}", "{{ 1 < 2 < 3 }}", "{{ 3 > 2 > 2 }}", "{{ 1 < 2 == 2 }}", "{{ 1 in [1] == true }}",
        "{{ 1 not in [1] }}", "{{ not 1 in [2] }}", "{{ 'a' in 'abc' and 'b' }}", "{{ 1 or 2 and 0 }}", "{{ 0 or none or '' or [] }}", "{{ 1 and 'x' and [] }}",
        "{{ -n }}", "{{ +n }}", "{{ - - n }}", "{{ -f|int }}", "{{ (-f)|int }}", "{{ n is odd and n is not even }}", "{{ 'x' is string is defined }}",
        "{{ (n is odd) is true }}", "{{ n is divisibleby 7 }}", "{{ n is divisibleby(3) }}", "{{ 4 is in [4] }}", "{{ n is eq 7 }}", "{{ not n is defined }}",
        "{{ 2 + 3 is eq 3 }}", "{{ 'a' ~ 'b' in 'ab' }}", "{{ 1 if 0 }}|", "{{ (1 if 0) is undefined }}", "{{ [1 if 0, 2] }}", "{{ 1, 2 }}", "{{ 1, }}", "{{ () }}", "{{ (1,) }}", "{{ (1) }}",
        "{{ a if a is defined else 'no' }}", "{{ 5 // 2 * 2.0 }}", "{{ 7 % 4 ** 2 }}", "{{ 2 ** -1 }}", "{{ [1,2][0] + 1 }}", "{{ 'ab'[0] ~ 'c' }}", "{{ 1 is number }}",
        "{{ 'a'|upper|lower ~ 'B'|lower }}", "{{ [1,2]|join('-')|length }}", "{{ 1 != 2 != 1 }}", "{{ 3 - -1 }}", "{{ 3--1 }}", "{{ 'x'*3 }}", "{{ l|first|string ~ 1 }}",
    ],
    "arithmetic": [
        "{{ -7//2 }}", "{{ -7%3 }}", "{{ 7%-3 }}", "{{ 6/2 }}", "{{ true + 1 }}", "{{ 1 == 1.0 }}", "{{ true == 1 }}", "{{ \"a\" + 1 }}", "{{ \"a\" < 1 }}", "{{ \"ab\" * 2 }}",
        "{{ 2 * 'ab' }}", "{{ [1] * 3 }}", "{{ [1] + [2] }}", "{{ (1,) + (2,) }}", "{{ [1] + (2,) }}", "{{ 1 / 0 }}", "{{ 1 // 0 }}", "{{ 1 % 0 }}", "{{ 1.0 / 0 }}", "{{ 7.5 // 2 }}",
        "{{ -7.5 // 2 }}", "{{ -7.5 % 2 }}", "{{ 7.5 % -2 }}", "{{ 0.1 + 0.2 }}", "{{ 1e16 }}", "{{ 1e15 }}", "{{ 123456789012345678.0 }}", "{{ 1e-5 }}", "{{ 0.0001 }}", "{{ 1e400 }}",
        "{{ -1e400 }}", "{{ 1e22 }}", "{{ 1.5e300 * 10 }}", "{{ 5e-324 }}", "{{ 1_000 }}", "{{ 0x1F }}", "{{ 0b11 }}", "{{ 0o17 }}", "{{ 1_0.5_0 }}", "{{ 1e3 }}", "{{ 1.e3 }}", "{{ 0.0 }}",
        "{{ -0.0 }}", "{{ 1/3 }}", "{{ 2**0.5 }}", "{{ 10**2 }}", "{{ 2**62 }}", "{{ 100**-1 }}", "{{ 3.0 }}", "{{ 100000.0 }}", "{{ 1.10 }}", "{{ none + 1 }}", "{{ none < 1 }}",
        "{{ [1,2] < [1,3] }}", "{{ (1,'a') < (1,'b') }}", "{{ [1] == [1.0] }}", "{{ {'a':1} == {'a':1.0} }}", "{{ 'a' == \"a\" }}", "{{ none == none }}", "{{ [] == () }}",
        "{{ 'a' < 'b' }}", "{{ 'Z' < 'a' }}", "{{ 'é' > 'z' }}", "{{ true > false }}", "{{ 1 < 1.5 }}", "{{ {} < {} }}", "{{ -n ** 2 }}", "{{ 9007199254740993 / 1 }}",
        "{{ 1 == '1' }}", "{{ 'a' * -1 }}|", "{{ 'a' * 0 }}|", "{{ 2 - true }}", "{{ 1.0|int }}", "{{ 10 % 3.5 }}", "{{ 5 / 2 }}", "{{ 4 / 2 * 3 }}", "{{ '%s-%d' % ('a', 3) }}",
        "{{ '%5.2f|%-4s|%04d|%x' % (3.14159, 'ab', 42, 255) }}", "{{ '%s' % [1,2] }}", "{{ '%(a)s' % {'a': 1} }}", "{{ '100%%' % () }}", "{{ '%s %s' % ('a',) }}", "{{ 'a' % 1 }}",
        "{{ '%+d % d %e %g %c %r' % (1, 2, 12345.678, 0.0001, 'x', 'q') }}", "{{ '%#x %o %X' % (255, 8, 255) }}", "{{ '%.3s|%6.1f' % ('abcdef', 2.25) }}", "{{ '%i' % 3.99 }}",
    ],
    "undefined": [
        "[{{ x }}]", "[{{ x ~ 'a' }}]", "{{ x|length }}", "{% for i in x %}a{% else %}none{% endfor %}", "{{ x == none }}", "{{ x == y }}", "{{ x != y }}", "{{ 1 in x }}", "{{ x|list }}",
        "{{ x|items|list }}", "{{ [x, 'a']|join('-') }}", "{{ [x] }}", "{{ x.y }}", "{{ x['y'] }}", "{{ x() }}", "{{ x + 1 }}", "{{ 1 + x }}", "{{ 'a' + x }}", "{{ x < 1 }}", "{{ -x }}",
        "{{ x|int }}", "{{ x|tojson }}", "{{ x|float }}", "{{ x.y|default('q') }}", "{{ x|default('q') }}", "{{ x|d }}|", "{{ none.x }}|", "{{ 5.x }}|", "{{ [1][9] }}|", "{{ {}.a }}|",
        "{{ \"\"[0] }}|", "{{ none.x.y }}", "{{ none|default('q') }}", "{{ none|default('q', true) }}", "{{ ''|d('q', boolean=true) }}", "{{ not x }}", "{{ x is defined }}",
        "{{ x is undefined }}", "{{ x and 1 }}|", "{{ x or 1 }}", "{{ x|upper }}|", "{{ x|trim }}|", "{{ x|string }}|", "{{ x|first is defined }}", "{{ x|join }}|", "{{ x|sort }}", "{{ x|sum }}",
        "{{ x|unique|list }}", "{{ x|map('upper')|list }}", "{{ x|selectattr('a')|list }}", "{{ x|replace('a','b') }}|", "{{ x is string }}", "{{ x is iterable }}", "{{ x is sequence }}",
        "{{ x is mapping }}", "{{ x is callable }}", "{{ x is none }}", "{{ x is number }}", "{{ {'a': x} }}", "{{ x in [x] }}", "{{ x in [1] }}", "{{ x * 2 }}", "{{ x if x else 'e' }}",
        "{{ messages[9].role }}", "{{ messages[9] is defined }}", "{{ messages[0].nope is defined }}", "{{ messages[0].nope.deeper is defined }}", "{{ d.nope|length }}", "{{ x[1:] }}",
        "{{ (x|list) + [1] }}", "{{ '%s' % x }}|", "{{ '{}'.format(x) }}|", "{{ x is eq 1 }}", "{{ x is lower }}", "{{ x is odd }}", "{{ x|abs }}", "{{ x|round }}", "{{ x|dictsort }}", "{{ x|last is defined }}",
        "{{ x|indent }}", "{{ x|capitalize }}|", "{{ x|max is defined }}", "{{ x|reverse|list }}", "{{ x is in [1] }}", "{{ [1,2][x] is defined }}", "{{ {}[x] is defined }}", "{{ raise_exception('no') if x else 'fine' }}",
    ],
    "printing": [
        "{{ none }} {{ true }} {{ false }} {{ 1 }} {{ 1.0 }}", "{{ [none, true, 1.5, 'a'] }}", "{{ {'a': 1, 2: 'b', none: [], true: ()} }}", "{{ ['it\\'s', 'a\"b', '\\'\"'] }}",
        "{{ ['\\n\\t\\r\\\\', '\\x00\\x1f\\x7f', '\\u00a0\\u200b', 'é☃😀', '\\u2028'] }}", "{{ ['\\U0001F600', '\\ue000', '\\u0378'] }}", "{{ (1,) }}", "{{ (1, 2) }}", "{{ {'b': 1}.items() }}", "{{ {'b': 1}.keys() }}",
        "{{ {'b': 1}.values() }}", "{{ range(3) }}", "{{ range(1, 9, 2) }}", "{% macro f() %}{% endmacro %}{{ f }}", "{{ namespace(a=2) }}", "{{ messages }}", "{{ d }}", "{{ f }}", "{{ [1e16, 1e-5, 1e15] }}",
        "{{ [[1, [2, (3,)]], {'a': {'b': []}}] }}", "{{ ['a'|safe] }}", "{{ '%s' % none }}", "{{ [true|string] }}", "{{ [f|string] }}", "{{ words }}", "{{ ['\\u0301', '\\u0100', 'ß'] }}", "{{ ['\\xad'] }}",
    ],
    "literals": [
        "{{ '\\x41\\u00e9\\q\\/\\'\\\"\\\\' }}", "{{ 'a\\\nb' }}", "{{ '\\101\\0' }}", "{{ '\\a\\b\\f\\v'|length }}", "{{ 'a\nb' }}", "{{ [1,2,] }}", "{{ {'a':1,} }}", "{{ 'a' 'b' \"c\" }}", "{{ '☃' }}", "{{ true }}{{ True }}{{ none }}{{ None }}",
        "{{ [] }}{{ {} }}", "{{ {'a': 1, 'a': 2} }}", "{{ {1: 'a', 1.0: 'b', true: 'c'} }}", "{{ {[1]: 2} }}", "{{ {'a': 1}['a'] }}", "{{ dict(a=1, b='x') }}", "{{ dict([('a', 1), ('b', 2)], c=3) }}",
        "{{ dict({'a': 1}, a=2) }}", "{{ 'x' \n 'y' }}", "{{ 007 }}", "{{ 1__0 }}", "{{ '\\N{DIGIT ONE}' }}" if False else "{{ '' }}", "{{ 'a", "{{ 1 2 }}", "{{ }}", "{{ ) }}", "{{ [1 }}", "{{ (1] }}", "{{ a! }}", "{{ 'é'.é }}|",
        "{% set é = 1 %}{{ é }}", "{{ 1.5.5 }}", "{{ 1if 1 else 2 }}",
    ],
    "lookup": [
        "{{ d.items }}" if False else "{{ d['items'] }}", "{{ d.items()|list }}", "{{ \"ab\"[\"upper\"]() }}", "{{ l.0 }}", "{{ l.0.1 }}" if False else "{{ [[1,2]].0.1 }}", "{{ d.get(\"z\") }}", "{{ d.get('z', 5) }}", "{{ d.get('b') }}",
        "{{ \"héllo\"[::-1] }}", "{{ l[10:] }}", "{{ l[-10:2] }}", "{{ l[1:] }}", "{{ l[:-1] }}", "{{ l[::2] }}", "{{ l[::-1] }}", "{{ l[-1] }}", "{{ l[-4] is defined }}", "{{ s[1:4] }}", "{{ s[-3:] }}", "{{ s[1] }}",
        "{{ s[:0] }}|", "{{ s[5:1] }}|", "{{ s[4:1:-1] }}", "{{ (1,2,3)[1:] }}", "{{ range(10)[2:5] }}", "{{ range(10)[3] }}", "{{ range(10)[-1] }}", "{{ messages[1:]|length }}", "{{ messages[0]['role'] }}", "{{ messages[-1].content }}",
        "{{ x.__class__ }}", "{{ ''.__class__ }}|", "{{ ''.__class__.__mro__ }}", "{{ [].__len__ is defined }}", "{{ d['__x'] is defined }}", "{{ {'_a': 1}._a }}", "{{ {'__a__': 1}.__a__ }}", "{{ d.update is defined }}", "{{ d.update({'a': 1}) }}", "{{ [].append(1) }}",
        "{{ l.sort() }}", "{{ l.pop() }}", "{{ {'pop': 1}.pop is defined }}", "{{ {'pop': 1}['pop'] }}", "{{ l.index(1) }}", "{{ l.count(3) }}", "{{ l.copy() }}", "{{ d.copy() }}", "{{ l.index(9) }}", "{{ d.keys()|list }}", "{{ d.values()|list }}", "{{ 'b' in d }}",
        "{{ d.keys()[0] is defined }}", "{{ l['0'] is defined }}", "{{ l[true] }}", "{{ l[1.0] is defined }}", "{{ l['count'](3) }}", "{{ none_[1:] }}", "{{ d[1:2] }}", "{{ (l|map('string'))[0] is defined }}", "{{ l[none:2] }}", "{{ l['a':] }}", "{{ l[::0] }}", "{{ ns.x }}",
        "{% set ns = namespace(a=1) %}{{ ns['a'] }}{{ ns.b is defined }}", "{{ dict.fromkeys(['a','b'], 0) }}", "{{ 1.5.is_integer() }}" if False else "{{ f.is_integer() }}", "{{ {(1,2): 3}[1,2] }}", "{{ {(1,2): 3}[(1,2)] }}", "{{ [1,2,3][:2][0] }}", "{{ 'abc'[0:2].upper() }}",
        "{{ s[999:] }}|", "{{ s[-999:2] }}", "{{ l[9223372036854775807:] }}", "{{ l[-9223372036854775807:] }}", "{{ l[::9223372036854775807] }}", "{{ range(5)[::-1]|list }}", "{{ range(0,10,3)[1:]|list }}", "{{ range(5,0,-2)|list }}",
    ],
    "tests": [
        "{{ 'a' is string }}{{ 'a' is iterable }}{{ 'a' is sequence }}{{ 'a' is mapping }}", "{{ {} is mapping }}{{ {} is iterable }}{{ {} is sequence }}", "{{ true is number }}{{ true is boolean }}{{ true is integer }}{{ true is true }}",
        "{{ 1 is integer }}{{ 1 is number }}{{ 1 is true }}{{ 1 is float }}", "{{ 1.5 is float }}{{ 1.5 is integer }}{{ 1.5 is number }}", "{{ {}.items() is iterable }}{{ {}.items() is sequence }}{{ {}.items() is mapping }}", "{{ range(2) is sequence }}{{ range(2) is iterable }}",
        "{{ none is none }}{{ none is defined }}{{ none is iterable }}{{ none is string }}", "{{ (l|map('string')) is iterable }}{{ (l|map('string')) is sequence }}", "{{ 1 is iterable }}{{ 1 is sequence }}", "{{ () is sequence }}{{ (1,) is iterable }}",
        "{{ 'abc' is lower }}{{ 'ABC' is upper }}{{ 'Abc' is lower }}{{ '1' is lower }}", "{{ 3 is odd }}{{ 4 is even }}{{ 3.0 is odd }}", "{{ 'x' is equalto 'x' }}{{ 1 is eq(1) }}{{ 1 is ne 2 }}{{ 1 is lt 2 }}{{ 1 is ge 2 }}", "{{ 1 is sameas 1 }}{{ [] is sameas [] }}{{ none is sameas none }}{{ true is sameas 1 }}",
        "{{ 'a' is in 'abc' }}{{ 1 is in [2] }}{{ 'b' is in d }}", "{{ range is callable }}{{ 1 is callable }}{{ 'a'.upper is callable }}", "{{ 'upper' is filter }}{{ 'nope' is filter }}{{ 'odd' is test }}", "{{ ('a'|safe) is escaped }}{{ 'a' is escaped }}", "{{ 1 is nope }}", "{{ 1|nope }}",
        "{% if false %}{{ 1|nope }}{% endif %}ok", "{% if true %}{{ 1|nope }}{% endif %}ok", "{{ 1 if true else 1|nope }}", "{{ (1|nope) if false else 2 }}", "{% if 0 %}{% for x in [1] %}{{ x|nope }}{% endfor %}{% endif %}ok", "{{ 1 is divisibleby }}", "{{ 5 is divisibleby 0 }}", "{{ x is defined }}{{ n is defined }}",
        "{{ 'a' is not string }}", "{{ n is not none and n is not undefined }}", "{{ true is boolean }}{{ 1 is boolean }}", "{{ false is false }}{{ 0 is false }}", "{{ [1] is in [[1]] }}", "{{ 1 is in none }}", "{{ 1 in 'a1' }}", "{{ '' in 'a' }}", "{{ none in [none] }}", "{{ 1.0 in [1] }}", "{{ 'x' in 5 }}",
        "{{ messages[2].tool_calls is defined and messages[2].tool_calls is iterable and messages[2].tool_calls is not string }}", "{{ 'a' is iterable and 'a' is not string }}", "{{ {}.get is callable }}", "{{ x is defined and x.y is defined }}",
    ],
    "scope": [
        "{% set y=1 %}{% for x in [1,2] %}{% set y=y+1 %}{{y}}{% endfor %}{{y}}", "{% set x=0 %}{% for x in [1,2] %}{% endfor %}{{x}}", "{% for x in [1,2] %}{% endfor %}{{x is defined}}", "{% if 1 %}{% set z=1 %}{% endif %}{{z}}", "{% if 0 %}{% set z=1 %}{% endif %}{{z is defined}}",
        "{% for x in [1] %}{% if 1 %}{% set z=1 %}{% endif %}{{z}}{% endfor %}{{z is defined}}", "{% set ns = namespace(a=1) %}{% for x in l %}{% set ns.a = ns.a + x %}{% endfor %}{{ns.a}}", "{% for x in [1] %}{% macro f() %}{{x}}{% endmacro %}{{f()}}{% endfor %}{{f is defined}}",
        "{% macro f() %}{{y}}{% endmacro %}{% set y=5 %}{{f()}}", "{% macro f() %}{{x}}{% endmacro %}{% for x in [1] %}{{f()}}|{% endfor %}", "{{ f2() }}{% macro f2() %}{% endmacro %}", "{% set y=1 %}{% macro f() %}{% set y=2 %}{{y}}{% endmacro %}{{f()}}{{y}}", "{% set a, b = 1, 2 %}{{a}}{{b}}",
        "{% set a, b = [1] %}", "{% set a, b = [1,2,3] %}", "{% set (a, b), c = (1, 2), 3 %}{{a}}{{b}}{{c}}", "{% set d2 = {} %}{% set d2.a = 1 %}", "{% with a=1, b=2 %}{{a}}{{b}}{% endwith %}{{a is defined}}", "{% set a=1 %}{% with a=2, b=a %}{{a}}{{b}}{% endwith %}", "{% with %}{% set q=1 %}{{q}}{% endwith %}{{q is defined}}",
        "{% set x %}a{{n}}{% set in = 1 %}{% endset %}{{x}}{{in is defined}}", "{% set x | upper %}abc{% endset %}{{x}}", "{% set x | upper | replace('A','-') %}abc{% endset %}{{x}}", "{% filter upper %}a{{n}}b{% set q=1 %}{% endfilter %}{{q is defined}}", "{% filter trim|upper %}  ab {% endfilter %}", "{% filter indent(2) %}a\nb{% endfilter %}",
        "{% block b %}body{{n}}{% endblock %}", "{% block b %}x{% endblock b %}", "{% print 1, 2 %}", "{% set messages = messages[1:] %}{{messages|length}}", "{% if messages[0].role == 'system' %}{% set loop_messages = messages[1:] %}{% else %}{% set loop_messages = messages %}{% endif %}{{loop_messages|length}}",
        "{% set true = 1 %}", "{% set x %}", "{% for %}{% endfor %}", "{% endif %}", "{% foo %}", "{% if %}{% endif %}", "{% set ns = namespace() %}{% set ns._a = 1 %}", "{% set ns = namespace(_a=1) %}", "{% set ns = namespace({'a': 1}, b=2) %}{{ns.a}}{{ns.b}}",
        "{% generation %}{% set g=1 %}x{% endgeneration %}{{g is defined}}", "{% for m in messages %}{% generation %}{{loop.index}}{{m.role[0]}}{% endgeneration %}{% endfor %}", "{% set x = 1 if false %}{{ x is defined }}", "{% set x = 1, 2 %}{{ x }}", "{% include 'x' %}", "{% extends 'x' %}", "{% do 1 %}",
        "{% for x in [1] %}{% set loop = 2 %}{% endfor %}" if False else "a", "{% set x = 5 %}{% if true %}{% for i in [1] %}{% set x = x + i %}{% endfor %}{% endif %}{{ x }}", "{% for i in [1,2] %}{% if loop.first %}{% set v = i %}{% endif %}{{ v is defined }}{% endfor %}",
    ],
    "loops": [
        "{% for x in l %}{{loop.index}}{{loop.index0}}{{loop.first}}{{loop.last}}{{loop.length}}{{loop.revindex}}{{loop.revindex0}};{% endfor %}", "{% for x in l %}{{loop.previtem}}-{{x}}-{{loop.nextitem}};{% endfor %}", "{% for x in l %}{{loop.previtem is defined}}{{loop.nextitem is defined}};{% endfor %}",
        "{% for x in l if x > 1 %}{{x}}{{loop.index}}{{loop.length}}{{loop.last}};{% else %}none{% endfor %}", "{% for x in l if x > 9 %}{{x}}{% else %}none{% endfor %}", "{% for x in [] %}{% else %}none{% endfor %}", "{% for x in l %}{{loop.cycle('a','b')}}{% endfor %}", "{% for x in [1,1,2] %}{{loop.changed(x)}}{% endfor %}",
        "{% for x in l|map('string') %}{{loop.length}}{{loop.last}}{{x}};{% endfor %}", "{% for x in l|select('odd') %}{{loop.index}}{{loop.nextitem}}{{loop.revindex}};{% endfor %}", "{% for k, v in d.items() %}{{k}}={{v}};{% endfor %}", "{% for k, v in d|dictsort %}{{k}}={{v}};{% endfor %}", "{% for k, v in d|items %}{{k}}={{v}};{% endfor %}",
        "{% for k in d %}{{k}};{% endfor %}", "{% for c in 'aé☃' %}{{c}};{% endfor %}", "{% for x in l %}{% if x == 1 %}{% continue %}{% endif %}{{x}}{% endfor %}", "{% for x in l %}{% if x == 1 %}{% break %}{% endif %}{{x}}{% endfor %}", "{% for x in l %}{% for y in l %}{% if y == 1 %}{% break %}{% endif %}{{x}}{{y}} {% endfor %}{% endfor %}",
        "{% for x in l %}{% break %}{% else %}e{% endfor %}|", "{% for x in [] %}{% else %}{{ loop is defined }}{% endfor %}", "{% for n in [{'a':1,'c':[{'a':2,'c':[]}]}] recursive %}{{n.a}}@{{loop.depth}}{{loop.depth0}}{% if n.c %}({{loop(n.c)}}){% endif %}{% endfor %}", "{% for x in l %}{{ loop(l) }}{% endfor %}", "{% break %}",
        "{% for x in l %}{% for y in [1,2] %}{{loop.index}}{% endfor %}{{loop.index}};{% endfor %}", "{% for x in range(3) %}{{x}}{% endfor %}", "{% for x in range(100001) %}{% endfor %}", "{% for x in range(2, 11, 4) %}{{x}} {% endfor %}", "{% for x in range(-1) %}x{% else %}e{% endfor %}", "{% for x in 5 %}{% endfor %}", "{% for x in none %}{% endfor %}",
        "{% for a, b in [[1,2],[3,4]] %}{{a+b}} {% endfor %}", "{% for a, b in [1] %}{% endfor %}", "{% for (a, b), c in [((1,2),3)] %}{{a}}{{b}}{{c}}{% endfor %}", "{% for x in l, %}{{x}}{% endfor %}", "{% for x in 1, 2 %}{{x}}{% endfor %}", "{% set ns = namespace(s=0) %}{% for x in l if ns.s < 3 %}{% set ns.s = ns.s + x %}{{x}}{% endfor %}",
        "{% for x in l %}{{ loop }}{% endfor %}", "{% for x in l|reverse %}{{x}}{% endfor %}", "{% for m in messages[::-1] %}{{m.role[0]}}{{loop.index0}}{% endfor %}", "{% set g = l|map('string') %}{% for x in g %}{{x}}{% endfor %}{% for x in g %}{{x}}{% endfor %}", "{% for x in l %}{% if loop.last %}{{x}}{% endif %}{% endfor %}",
        "{% for m in messages %}{% if not loop.last and messages[loop.index0 + 1].role == 'tool' %}{{loop.index}}{% endif %}{% endfor %}", "{% for x in l %}{{ loop.nope is defined }}{% endfor %}", "{% for x in l %}{{ loop['index'] }}{% endfor %}", "{% for x in l recursive %}{{ x }}{% if loop.depth < 3 %}{{ loop([x]) }}{% endif %}{% endfor %}",
        "{% for x in l %}{% macro f() %}{{ loop.index }}{% endmacro %}{{ f() }}{% endfor %}", "{% for x in l %}{% set q %}{{ loop.index }}{% endset %}{{ q }}{% endfor %}", "{% for x in [1,2,3] %}{% filter upper %}{% if x == 2 %}{% continue %}{% endif %}a{{ x }}{% endfilter %}{% endfor %}" if False else "b", "{% for x in l if loop is defined %}{{ x }}{% endfor %}" if False else "c",
    ],
    "macros": [
        "{% macro f(x) %}\n  {{x}}\n{% endmacro %}[{{ f(1) }}]", "{% macro f(a, b=2, c=a) %}{{a}}{{b}}{{c}};{% endmacro %}{{f(1)}}{{f(1,3)}}{{f(1,c=9)}}{{f()}}{{f(b=1,a=5)}}", "{% macro f(a) %}{{a is defined}}{% endmacro %}{{f()}}", "{% macro f(a) %}{% endmacro %}{{f(1,2)}}", "{% macro f(a) %}{% endmacro %}{{f(z=2)}}",
        "{% macro f(a) %}{{varargs}}{{kwargs}}{% endmacro %}{{f(1,2,3,z=4)}}", "{% macro f() %}{{caller()}}{% endmacro %}{% call f() %}x{{n}}{% endcall %}", "{% macro f() %}{{caller(1, 2)}}{% endmacro %}{% call(a, b=5) f() %}{{a}}-{{b}}{% endcall %}", "{% macro f() %}{{caller}}{% endmacro %}[{{f()}}]", "{% macro f() %}x{% endmacro %}{% call f() %}y{% endcall %}",
        "{% macro f(x) %}{{ f(x-1) if x > 0 else '' }}{{x}}{% endmacro %}{{f(3)}}", "{% macro f(x) %}{% if x %}{{ x }}{% else %}none{% endif %}{% endmacro %}{{ f([]) }}{{ f(1)|length }}", "{% macro f() %}a{% endmacro %}{{ f() ~ f() }}{{ f()|upper }}{{ f() is string }}", "{% macro f(a, a2=a|upper) %}{{a2}}{% endmacro %}{{f('x')}}", "{% macro f(a=1, b) %}{% endmacro %}",
        "{% macro f() %}{{ f.name }}{{ f.arguments }}{% endmacro %}{{ f() }}", "{% macro f(x) %}{% for i in x %}{{i}}{% endfor %}{% endmacro %}{{ f(l) }}{{ f(x='ab') }}", "{% macro f(*a) %}{% endmacro %}", "{% set a = [1,2] %}{% macro f(x, y) %}{{x}}{{y}}{% endmacro %}{{ f(*a) }}{{ f(**{'x': 3, 'y': 4}) }}", "{% macro m(message) %}{{ message.role }}{% endmacro %}{% for message in messages %}{{ m(message) }} {% endfor %}",
        "{% macro f(x) %}{{ x.a }}{% endmacro %}{{ f({'a': 1}) }}", "{% macro f() %}{{ f }}{% endmacro %}{{ f() }}", "{% call 5 %}{% endcall %}", "{% macro f(a, b=none) %}{{ b is none }}{% endmacro %}{{ f(1) }}", "{% macro f(a) %}{{ a }}{% endmacro %}{{ f(f(1)) }}", "{% macro f(n) %}{{ n }}{% endmacro %}{{ f(n=n+1) }}{{ n }}", "{{ n() }}", "{{ 'a'() }}", "{{ range() }}", "{{ f3(1 2) }}", "{{ range(1, a=2) }}", "{{ f(a=1, 2) }}",
    ],
    "markup": [
        "{{ \"<\" + (\"x\"|safe) }}", "{{ (\"<x\"|safe) + '<' }}", "{{ '<' ~ ('x'|safe) }}", "{{ ['<', 'x'|safe]|join }}", "{{ '<a&\"\\'>'|e }}", "{{ '<'|e|e }}", "{{ '<'|e|forceescape }}", "{{ ('<'|safe)|tojson }}", "{{ ('<'|safe) == '<' }}", "{{ ('a'|safe)|upper }}", "{{ ('a<'|safe).replace('a', '<') }}", "{{ ('a'|safe)|replace('a', '<') }}",
        "{{ '%s' % ('<'|safe) }}", "{{ ('%s'|safe) % '<' }}", "{{ (('<'|safe) + '>')|length }}", "{{ ('a'|safe)*2 + '<' }}", "{{ 5|safe }}", "{{ none|e }}", "{{ [1,'<']|e }}", "{{ ('a b'|safe).split()[0] + '<' }}", "{{ ('{}'|safe).format('<') }}", "{{ (','|safe).join(['<', 'a']) }}", "{{ ('x'|safe)|trim + '<' }}", "{{ ('<b>'|safe)[0:2] + '<' }}" ,
    ],
    "filters": [
        "{{ people|map(attribute='name')|list }}", "{{ people|map(attribute='tag.x.0', default=0)|list }}", "{{ people|map(attribute='age')|list }}", "{{ people|map(attribute='age', default=9)|list }}", "{{ people|selectattr('age')|list|length }}", "{{ people|selectattr('age', 'defined')|map(attribute='name')|join(',') }}", "{{ people|selectattr('age', 'gt', 1)|list|length }}",
        "{{ people|selectattr('name','equalto','Bob')|list|length }}", "{{ people|rejectattr('name','in',['Bob'])|map(attribute='name')|list }}", "{{ messages|selectattr('role','eq','assistant')|map(attribute='content')|join('|') }}", "{{ l|select('odd')|list }}", "{{ l|reject('odd')|list }}", "{{ [0,1,'']|select|list }}", "{{ [0,1,'']|reject|list }}",
        "{{ l|map('string')|join }}", "{{ ['a','b']|map('upper')|list }}", "{{ ['ab','b']|map('replace','b','c')|list }}", "{{ l|map('nope')|list }}", "{{ l|map()|list }}", "{{ l|map('string')|first }}", "{{ l|map('string')|length }}", "{% if l|select('gt', 99) %}yes{% endif %}", "{{ l|first }}{{ l|last }}{{ []|first is defined }}{{ 'abc'|first }}{{ 'abc'|last }}",
        "{{ d|first }}", "{{ l|map('string')|last }}", "{{ [none, true, 1, 'a']|join('-') }}", "{{ people|join(',', attribute='name') }}", "{{ 'abc'|join('.') }}", "{{ none|trim }}", "{{ '  a '|trim }}|", "{{ 'xxaxx'|trim('x') }}", "{{ '\\u00a0a\\u3000\\x1c'|trim }}|", "{{ '\\u200ba'|trim|length }}", "{{ 5|upper }}{{ true|lower }}{{ [1,'A']|lower }}",
        "{{ 'a\\nb\\n\\n c'|indent(2) }}", "{{ 'a\\nb\\n'|indent }}|", "{{ 'a\\nb'|indent(first=true) }}", "{{ 'a\\n\\nb'|indent(2, blank=true) }}", "{{ 'a\\nb'|indent('> ', true) }}", "{{ 'a\\r\\nb\\u2028c'|indent(1) }}", "{{ 'aXbXc'|replace('X','-') }}", "{{ 'aaa'|replace('a','b',2) }}", "{{ 'abc'|replace('','-') }}", "{{ 'abc'|replace('','-',2) }}", "{{ 123|replace(2, 'x') }}",
        "{{ \"12abc\"|int }}{{ \"1.9\"|int }}{{ \"x\"|int(7) }}{{ ' 5 '|int }}{{ '1_0'|int }}{{ '0x1f'|int(base=16) }}{{ '11'|int(0, 2) }}", "{{ 3.99|int }}{{ -3.99|int }}{{ none|int }}{{ true|int }}{{ []|int(4) }}", "{{ '1e3'|int }}{{ 'inf'|float }}{{ '1.5'|float }}{{ 'x'|float }}{{ 'x'|float(2) }}{{ 3|float }}{{ none|float }}", "{{ '+5'|int }}{{ '--5'|int }}{{ ''|int }}{{ '٣'|int is defined }}",
        "{{ 2.5|round }}{{ 2|round }}{{ 3.14159|round(2) }}{{ 2.675|round(2) }}{{ 1234|round(-2) }}{{ 1250|round(-2) }}{{ 2.1|round(0,'ceil') }}{{ 2.9|round(method='floor') }}{{ 2.345|round(2,'ceil') }}", "{{ 0.5|round }}{{ 1.5|round }}{{ -0.5|round }}{{ 1e20|round }}", "{{ 'it\\'s a {x} (y)-z'|title }}", "{{ \"it's\".title() }}", "{{ 'hELLO wORLD'|capitalize }}", "{{ 'ÉCOLE straße ǆ ﬁ'|lower }}", "{{ 'école straße ǆ ﬁ'|upper }}", "{{ 'école straße ǆ ﬁ'|title }}", "{{ 'ΑΣ ΣΑΣ. Σ'|lower }}", "{{ 'İI'|lower|length }}",
        "{{ ['b','A','a','B']|unique|list }}", "{{ ['b','A','a','B']|unique(true)|list }}", "{{ [1,1.0,true,2]|unique|list }}", "{{ ['b','A','a','B']|sort }}", "{{ ['b','A','a','B']|sort(case_sensitive=true) }}", "{{ l|sort(reverse=true) }}", "{{ people|sort(attribute='name')|map(attribute='name')|list }}", "{{ [1,'a']|sort }}", "{{ [3,1.5,true]|sort }}", "{{ {\"b\":1,\"A\":2}|dictsort }}", "{{ d|dictsort(true) }}", "{{ d|dictsort(by='value') }}", "{{ d|dictsort(reverse=true) }}", "{{ d|dictsort(by='x') }}",
        "{{ d|items|list }}", "{{ 5|length }}", "{{ s|length }}{{ d|count }}{{ range(4)|length }}{{ d.items()|length }}", "{{ l|sum }}{{ people|sum(attribute='nope', start=1) is defined }}", "{{ [1.5,2]|sum }}{{ [[1],[2]]|sum(start=[]) }}", "{{ people[:2]|sum(attribute='age') }}", "{{ l|min }}{{ l|max }}{{ ['b','A']|min }}{{ []|max is defined }}", "{{ people[:2]|max(attribute='age') }}", "{{ 'abc'|reverse }}", "{{ l|reverse|list }}",
        "{{ [1,2,3,4,5]|batch(2)|list }}", "{{ [1,2,3]|batch(2,'x')|list }}", "{{ [1,2,3,4,5]|slice(2)|list }}", "{{ [1,2,3,4,5]|slice(3,'x')|list }}", "{{ 'abc'|list }}", "{{ d|list }}", "{{ 5|list }}", "{{ -5|abs }}{{ -5.5|abs }}{{ true|abs }}{{ 'a'|abs }}", "{{ 'ab'|center(7) }}|", "{{ 'abc'|center(6) }}|", "{{ 'hello big world foo'|truncate(9) }}", "{{ 'hello big world foo'|truncate(9, true) }}", "{{ 'hello big world foo'|truncate(9, false, '', 0) }}", "{{ 'hi'|truncate(3) }}",
        "{{ 'a b-c d_e é'|wordcount }}", "{{ 'a b/ü&'|urlencode }}", "{{ {'a b': 'c&d', 'x': 1}|urlencode }}", "{{ '%s %s'|format('a', 1) }}", "{{ '%(a)s'|format(a=3) }}", "{{ {'a': 'x\"', 'b': none, 'c': 1}|xmlattr }}", "{{ people|groupby('name')|length }}", "{% for k, g in [{'a':1,'b':2},{'a':1,'b':3},{'a':0}]|groupby('a') %}{{k}}{{g|length}};{% endfor %}", "{% for g in [{'a':1,'b':2},{'a':1,'b':3},{'a':0}]|groupby('a') %}{{g.grouper}}{{g.list|length}}{{g['grouper']}}{{g[1][0].a}};{% endfor %}", "{{ 1|filesizeformat }} {{ 999|filesizeformat }} {{ 1500|filesizeformat }} {{ 1048576|filesizeformat(true) }} {{ 1e9|filesizeformat }}",
        "{{ d|attr('b') is defined }}", "{{ d|attr('items') is callable }}", "{{ 'a'|attr('upper')() }}", "{{ s|string }}{{ 1.0|string }}{{ [1]|string|length }}", "{{ 'a'|default }}", "{{ 'x'|upper() }}", "{{ 'x'|upper(1) }}", "{{ 'x'|replace('x') }}", "{{ 'x'|trim(chars='x') }}|", "{{ 'x'|trim(nope=1) }}", "{{ [3,2]|sort|first }}", "{{ 'b,a'.split(',')|sort|join(',') }}", "{{ [people]|map('length')|list }}", "{{ [[1,2],[3]]|map('first')|list }}", "{{ [[1,2],[3]]|map('join','-')|list }}", "{{ ['a','']|select('ne','')|list }}",
        "{{ ['1','2']|map('int')|sum }}", "{{ 'a-b'|replace('-', '\\n') }}", "{{ ('a','b')|join }}", "{{ 5|map('upper') is defined }}", "{{ 5|map('upper')|list }}", "{{ 0|map('upper')|list }}", "{{ none|select|list }}", "{{ [{'a': {'b': none}}]|map(attribute='a.b')|list }}", "{{ [[5,6]]|map(attribute=1)|list }}", "{{ [[5,6]]|map(attribute='1')|list }}", "{{ [{'x': 2}, {'x': 1}]|sort(attribute='x')|map(attribute='x')|list }}", "{{ [{'x': 2, 'y': 1}, {'x': 1, 'y': 1}]|sort(attribute='y,x')|map(attribute='x')|list }}",
    ],
    "wordwrap": [
        "{{ 'The quick brown fox jumps over the lazy dog'|wordwrap(10) }}", "{{ 'aaaa bbbbbbbbbbbbbbb cc'|wordwrap(5) }}", "{{ 'aaaa bbbbbbbbbbbbbbb cc'|wordwrap(5, false) }}",
        "{{ 'a well-known half-hearted co-operation'|wordwrap(9) }}", "{{ 'a well-known half-hearted co-operation'|wordwrap(9, break_on_hyphens=false) }}", "{{ 'a\\nb c d e\\n\\nf g h'|wordwrap(3) }}",
        "{{ 'one two three'|wordwrap(5, true, '<br>') }}", "{{ 'one two three'|wordwrap(wrapstring='|', width=3) }}", "{{ ''|wordwrap(3) }}|", "{{ '   a   b   '|wordwrap(3) }}|", "{{ 'a'|wordwrap(0) }}", "{{ ''|wordwrap(0) }}|",
        "{{ 'a--b yes---no wait -- no --x a-b-c 1-2-3 x-'|wordwrap(4) }}", "{{ 'foo_bar-baz it\\'s-ok, e-mail, -opt --long-option=value-x'|wordwrap(7) }}", "{{ '-----abc-def-----'|wordwrap(4) }}",
        "{{ 'héllo-wörld ünïcode—dash \\u00a0\\u3000 中文字符很长很长 ٣٤-٥٦'|wordwrap(6) }}", "{{ 'tab\\tand\\x0bvt more\\ttabs'|wordwrap(5) }}", "{{ x|wordwrap }}", "{{ 5|wordwrap }}", "{{ s|wordwrap(1) }}",
        "{{ words|wordwrap(4) }}|", "{{ ('<a> <b>'|safe)|wordwrap(3) + '<' }}", "{{ '<a> <b>'|wordwrap(3, true, '|'|safe) + '<' }}", "{{ 'abcd ef-gh ij'|wordwrap(4, true, none, 1) }}", "{{ 'abcdef-ghi-jklm'|wordwrap(5, true, none, 0) }}",
        "{{ 'abcdef-ghi-jklm'|wordwrap(5, true, none, 1) }}", "{{ 'aaa      bbb      ccc'|wordwrap(4) }}", "{{ 'aaaaa bbb'|wordwrap(5) }}", "{{ 'xxxx          y'|wordwrap(4, false) }}", "{{ '  xxxxxxxx'|wordwrap(4, false) }}|",
        "{{ 'a line that is rather longer than seventy-nine characters, so that the default width of the filter shows itself'|wordwrap }}", "{{ '  xxxxxxxx yy'|wordwrap(2) }}|", "{{ 'a-bc-de--fg ab-cd'|wordwrap(2) }}",
        "{{ 'a\\r\\nb\\x1cc\\u2028d e'|wordwrap(2) }}",
    ],
    "striptags": [
        "{{ '<p>just a small \\n <a href=#> example</a> link</p>\\n<p>to a webpage</p><!-- <p>and some commented stuff</p> -->'|striptags }}", "{{ 'a < b and c > d'|striptags }}", "{{ 'a < b'|striptags }}", "{{ '<!-- open'|striptags }}",
        "{{ '<b>x</b> <!-- open > y'|striptags }}", "{{ '<!-->x-->y'|striptags }}", "{{ '<a <b>c>d'|striptags }}", "{{ '  a \\t\\n\\u00a0\\u3000 b  '|striptags }}|", "{{ none|striptags }}{{ 5|striptags }}{{ [1,'<b>']|striptags }}", "{{ x|striptags }}|",
        "{{ ('<i>a&amp;b</i>'|safe)|striptags }}{{ (('<i>a</i>'|safe)|striptags) is escaped }}", "{{ '&lt;b&gt; &amp;amp; &quot;&#39;&nbsp;|'|striptags }}", "{{ '&AMP &ampx &notit; &notin; &copy2024 &Aacute &hellip &hellip;'|striptags }}",
        "{{ '&#65;&#x41;&#X41 &#65 &#; &#x; &#xg &#128; &#150; &#0; &#55296; &#1114112; &#99999999999999999999; &#1; &#11; &#12; &#13; &#127; &#65534; &#x10ffff; &#x1F600;'|striptags }}|",
        "{{ '& &; &&amp; &é; &CounterClockwiseContourIntegral; &aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa; &NotEqualTilde; &fj &fjlig;'|striptags }}", "{{ '&lt&gt&lt;x'|striptags }}", "{{ '&am p; &am&amp; &amp<b>lt;'|striptags }}", "{{ '&notaname; &nota; &no'|striptags }}",
    ],
    "pprint": [
        "{{ none|pprint }}{{ 1|pprint }}{{ 'a'|pprint }}{{ x|pprint }}{{ 1.5|pprint }}{{ true|pprint }}", "{{ {'b': 1, 'a': [2, {'d': 1, 'c': ()}]}|pprint }}", "{{ {2: 1, 'a': 2, none: 3, 1.5: 4, true: 5, (1, 2): 6}|pprint }}", "{{ messages|pprint }}", "{{ d|pprint }}{{ people|pprint }}",
        "{{ range(40)|list|pprint }}", "{{ range(30)|pprint }}", "{{ (range(40)|list, 'x')|pprint }}", "{{ ([range(40)|list],)|pprint }}", "{{ ('word ' * 30)|pprint }}", "{{ ('x' * 100)|pprint }}", "{{ ['word ' * 30, 'y']|pprint }}",
        "{{ {'key': 'word ' * 30, 'other key that is long': ['x' * 30, 'y' * 30, 'it\\'s']}|pprint }}", "{{ ('a line\\n' * 20)|pprint }}", "{{ ['a line\\n' * 20]|pprint }}", "{{ {'k': 'a line with some words\\n' * 4 + 'z' * 90 + ' end'}|pprint }}",
        "{{ ('é☃😀 \\u200b\\x00 ' * 12)|pprint }}", "{{ {'a': {'b': {'c': {'d': {'e': {'f': 'word ' * 20, 'g': [1, 2, 3]}}}}}}|pprint }}", "{{ ('<b> ' * 30)|safe|pprint }}", "{{ [('<b> ' * 30)|safe]|pprint }}", "{{ ['x' * 74]|pprint }}", "{{ ['x' * 76]|pprint }}",
        "{{ ['x' * 77]|pprint }}", "{{ ('x' * 78)|pprint }}", "{{ ('x' * 38 + ' ' + 'x' * 39)|pprint }}", "{{ ('x' * 38 + ' ' + 'x' * 40)|pprint }}", "{{ ('it\\'s ' * 20)|pprint }}", "{{ ('\\\\ \\' \\\"' * 20)|pprint }}", "{{ {'b': 1}.items()|pprint }}", "{{ [[], {}, (), '', none] * 12 | int }}",
        "{{ ([[], {}, (), ''] * 12)|pprint }}", "{{ ('   lead ' * 12)|pprint }}", "{{ ('\\n' * 60)|pprint }}", "{{ {'x' * 90: 1, 'y': 2}|pprint }}", "{{ {'x': {'y' * 70: 'word word word'}}|pprint }}", "{{ [1.5, 1e16, 123456789] * 8 | int }}", "{{ ([1.5, 1e16, true] * 8)|pprint }}",
        "{{ {'z': 1, 'Z': 2, 'é': 3, '': 4}|pprint }}", "{{ (('word ' * 30), 1)|pprint }}", "{{ (('word ' * 30),)|pprint }}", "{{ {'f': 'word ' * 13 + 'ab', 'z': 1}|pprint }}", "{{ ['word ' * 14 + 'abc']|pprint }}", "{{ ['word ' * 14 + 'abcd']|pprint }}", "{{ ['word ' * 14 + 'abcde']|pprint }}",
    ],
    "autoescape": [
        "{% autoescape false %}{{ '<' }}{% set q = 1 %}{% endautoescape %}{{ q is defined }}", "{% autoescape n == 8 %}{{ '<' }}{{ '<' ~ 'a' }}{% endautoescape %}", "{% autoescape %}{% endautoescape %}", "{% autoescape false %}", "{{ 'random' is filter }}{{ 'pprint' is filter }}",
        "{% for x in l %}{% autoescape none %}{% if x == 1 %}{% break %}{% endif %}{{ x }}{% endautoescape %}{% endfor %}",
    ],
    "tojson": [
        "{{ messages|tojson }}", "{{ d|tojson(4) }}", "{{ 'é☃😀'|tojson(true) }}", "{{ {'a': [1, {'b': none}], 'c': {}, 'e': []}|tojson(indent=2) }}", "{{ [1,2]|tojson(indent=0) }}", "{{ [1,[2]]|tojson(indent='--') }}", "{{ {'b':1,'a':2}|tojson(sort_keys=true) }}", "{{ [1,2]|tojson(separators=(',',':')) }}", "{{ {'a':1}|tojson(separators=(',',':'), indent=1) }}",
        "{{ '\"\\\\\\b\\f\\n\\r\\t\\x01\\x7f/\\u2028<>&'|tojson }}", "{{ {none: 1, true: 2, 1: 3, 1.5: 4}|tojson }}", "{{ [1e400, -1e400, 1.0, 1e16, 1e-5]|tojson }}", "{{ (1,2)|tojson }}", "{{ x|tojson }}", "{{ range(2)|tojson }}", "{{ d.items()|tojson }}", "{{ {(1,2): 1}|tojson }}", "{{ []|tojson(indent=2) }}{{ {}|tojson(indent=2) }}", "{{ [[]]|tojson(indent=2) }}", "{{ true|tojson }}{{ none|tojson }}{{ 5|tojson }}{{ 'a'|tojson }}", "{{ '\\ud83d\\ude00' }}" if False else "d",
        "{{ {'a': '☃'}|tojson(ensure_ascii=false) }}", "{{ 'a'|tojson(nope=1) }}", "{{ [true]|tojson(indent=true) }}", "{{ [1]|tojson(indent=none) }}", "{{ l|map('string')|tojson }}", "{{ l|map('string')|list|tojson }}", "{{ namespace(a=1)|tojson }}", "{{ {'b':{'d':1,'c':2},'a':2}|tojson(sort_keys=true, indent=1) }}", "{{ {'a':1, 2:3}|tojson(sort_keys=true) }}", "{{ messages[2].tool_calls[0].function.arguments|tojson }}",
    ],
    "str methods": [
        "{{ words.split() }}", "{{ 'a,b,,c'.split(',') }}", "{{ 'a,b,c'.split(',', 1) }}", "{{ 'a,b,c'.rsplit(',', 1) }}", "{{ '  a b  c '.split(none, 1) }}", "{{ '  a b  c '.rsplit(none, 1) }}", "{{ '  a b  c '.rsplit() }}", "{{ ''.split() }}{{ ''.split(',') }}", "{{ 'a'.split('') }}", "{{ 'x</think>\\n\\ny'.split('</think>')[-1].lstrip('\\n') }}", "{{ '\\n a \\n'.strip('\\n') }}|", "{{ 'xxaxx'.lstrip('x') }}{{ 'xxaxx'.rstrip('x') }}", "{{ 'éaé'.strip('é') }}", "{{ 'abcabc'.strip('cab') }}|",
        "{{ 'abc'.startswith('ab') }}{{ 'abc'.endswith(('x','c')) }}{{ 'abc'.startswith('b', 1) }}{{ 'abc'.endswith('b', 0, 2) }}", "{{ 'abc'.startswith(1) }}", "{{ 'abc'.find('c') }}{{ 'abc'.find('z') }}{{ 'héé'.find('é', 2) }}{{ 'abab'.rfind('ab') }}{{ 'abc'.index('b') }}", "{{ 'abc'.index('z') }}", "{{ 'banana'.count('an') }}{{ 'abc'.count('') }}{{ 'aaa'.count('a', 1) }}", "{{ 'a-b'.replace('-', '+') }}{{ 'aaa'.replace('a','b',1) }}", "{{ 'a'.replace(1, 2) }}",
        "{{ 'ab'.join(['x','y','z']) }}", "{{ ','.join([1]) }}", "{{ 'aBc'.upper() }}{{ 'aBc'.lower() }}{{ 'aBc'.swapcase() }}{{ 'hello wORLD'.title() }}{{ 'hELLO'.capitalize() }}", "{{ 'a\\nb\\r\\nc\\n'.splitlines() }}", "{{ 'a\\nb\\n'.splitlines(true) }}", "{{ 'prefix-x'.removeprefix('prefix-') }}{{ 'x.py'.removesuffix('.py') }}{{ 'x'.removeprefix('y') }}", "{{ 'a=b=c'.partition('=') }}{{ 'a=b=c'.rpartition('=') }}{{ 'a'.partition('=') }}{{ 'a'.rpartition('=') }}",
        "{{ '12'.isdigit() }}{{ '1²'.isdigit() }}{{ '½'.isnumeric() }}{{ '½'.isdigit() }}{{ '٣'.isdecimal() }}{{ ''.isdigit() }}", "{{ 'abé'.isalpha() }}{{ 'ab1'.isalnum() }}{{ ' \\t'.isspace() }}{{ 'ab'.islower() }}{{ 'AB'.isupper() }}{{ 'Ab Cd'.istitle() }}{{ 'a_1'.isidentifier() }}{{ 'é'.isascii() }}{{ 'a\\n'.isprintable() }}", "{{ 'ab'.ljust(4) }}|{{ 'ab'.rjust(4, '*') }}|{{ 'ab'.center(5, '-') }}|{{ 'abc'.center(6, '-') }}|{{ '-5'.zfill(4) }}", "{{ 'a\\tb'.expandtabs(4) }}",
        "{{ \"{} {x}\".format(1, x=2) }}", "{{ '{0} {1} {0}'.format('a', 'b') }}", "{{ '{:>5}|{:<5}|{:^5}|{:*^5}'.format('a','b','c','d') }}", "{{ '{:05d}|{:+d}|{:x}|{:#X}|{:,}|{:b}|{:_}'.format(42, 5, 255, 255, 1234567, 5, 10000) }}", "{{ '{:.2f}|{:8.3f}|{:e}|{:g}|{:%}|{:.1%}'.format(3.14159, 2.5, 12345.678, 0.00001, 0.5, 0.123) }}", "{{ '{!r} {!s}'.format('a', 'b') }}", "{{ '{a.b} {c[0]} {c[x]}'.format(a={'b': 1}, c={'x': 2, 0: 3}) }}" if False else "{{ '{c[x]} {l[1]}'.format(c={'x': 2}, l=[3, 4]) }}",
        "{{ '{{}}'.format() }}", "{{ '{'.format() }}", "{{ '{}'.format() }}", "{{ '{} {0}'.format(1) }}", "{{ '{:>{w}}'.format('a', w=4) }}", "{{ '{:.3}'.format('abcdef') }}{{ '{:.3}'.format(3.14159) }}{{ '{:.3}'.format(1.0) }}", "{{ '{:d}'.format('a') }}", "{{ '{}'.format([1, 'a']) }}{{ '{}'.format(none) }}{{ '{:5}'.format(true) }}{{ '{}'.format(true) }}", "{{ '{:5}'.format(none) }}", "{{ 'a'.nope() }}", "{{ 'a'.upper(1) }}", "{{ s.upper().lower().split(' ')[0][1:] }}", "{{ s.encode is defined }}" if False else "e", "{{ 'ß'.upper() }}{{ 'ß'.title() }}{{ 'ŉ'.upper() }}",
        "{{ 'abc'.find('') }}{{ 'abc'.rfind('') }}{{ 'abc'.find('', 9) }}", "{{ 'a b c'.split(' ', -1) }}", "{{ 'aXXbXXc'.rsplit('XX', 1) }}", "{{ 'a b c'.split(maxsplit=1) }}", "{{ 'x'.join('abc') }}", "{{ 'Hello'.startswith('') }}", "{{ 'a.b'.split('.')|last }}", "{{ '<think>\\na\\n</think>\\n\\nb'.split('</think>')[0].rstrip('\\n').split('<think>')[-1].lstrip('\\n') }}",
    ],
    "globals": [
        "{{ raise_exception('stop') }}", "{{ range(3)|list }}{{ range(1,3)|list }}{{ range(5,1,-2)|list }}", "{{ range(1.5) }}", "{{ range(1,2,0) }}", "{{ range(100000)|length }}", "{{ range(100001) }}", "{% set c = cycler('a','b') %}{{ c.next() }}{{ c.next() }}{{ c.current }}{{ c.next() }}", "{% set j = joiner(', ') %}{{ j() }}a{{ j() }}b", "{% set j = joiner() %}{{ j() }}{{ j() }}", "{{ strftime_now is defined }}", "{{ strftime_now('%%') }}",
        "{{ namespace is callable }}", "{{ dict(a=1).a }}", "{{ raise_exception }}" if False else "f", "{{ bos_token }}{{ eos_token }}{{ pad_token }}|", "{{ self is defined }}" if False else "g", "{% set range = 5 %}{{ range }}", "{{ messages|length }}{{ tools is defined }}",
    ],
    "generation": [
        "{% for m in messages %}<{% generation %}{{ m.content }}{% endgeneration %}>{% endfor %}", "{% for m in messages %}{%- generation -%} {{ m.content }} {%- endgeneration -%}{% endfor %}", "a{% generation %}b{% endgeneration %}c", "{% for m in messages %}{{ m.role }}: {% if m.role == 'assistant' %}{% generation %}{{ m.content }}{{ eos_token }}{% endgeneration %}{% endif %}\n{% endfor %}", "{% generation %}\n x\n{% endgeneration %}\ny",
        "{% for m in messages %}{% if m.role == 'user' %}U:{{ m.content }}{% else %}{% generation %}{% for c in m.content %}{{ c }}{% endfor %}{% endgeneration %}{% endif %}{% endfor %}", "{% for x in l %}{% generation %}{% break %}{% endgeneration %}{% endfor %}", "{% generation %}{% for x in l %}{% if x == 1 %}{% break %}{% endif %}{{ x }}{% endfor %}{% endgeneration %}!",
    ],
}


def joined(spans):
    """Byte spans with neighbours made one: the engine does not tell two blocks apart that touch."""
    out = []
    for a, b in spans:
        if out and out[-1][1] == a:
            out[-1][1] = b
        else:
            out.append([a, b])
    return out


def main():
    done = set()
    for template in WHITESPACE + [t for group in CASES.values() for t in group]:
        if template in done:
            continue
        done.add(template)
        row = [template, VARS if template not in WHITESPACE else {}]
        names = [k for k in VARS if k in template]
        row[1] = {k: VARS[k] for k in names}
        try:
            compiled = _compile_jinja_template(template)
            if "generation" in template:
                text, spans = _render_with_assistant_indices(compiled, messages=VARS["messages"], tools=None, documents=None,
                                                             add_generation_prompt=False, **{k: v for k, v in row[1].items() if k != "messages"})
                row[1] = {"messages": VARS["messages"], **row[1]}
                starts = [len(text[:a].encode()) for a, _ in spans], [len(text[:b].encode()) for _, b in spans]
                row += [text, joined([[a, b] for a, b in zip(*starts) if b > a])]
            else:
                row.append(compiled.render(**row[1]))
        except Exception:
            row.append(None)
        json.dump(row, sys.stdout, ensure_ascii=False, separators=(",", ":"))
        print()


main()
