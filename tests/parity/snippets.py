"""What templates say in small: an expression a line (a backslash at its end goes on), and whole templates.

`templates.py` renders them as Transformers does.
"""

EXPRESSIONS = r'''
none is iterable
none is sequence
undefined_thing is iterable
undefined_thing is sequence
'text' is sequence
{} is sequence
[] is sequence
(1,) is sequence
messages is sequence and messages[0] is mapping
messages[0].content is string and messages[0].content is iterable
1 is number and 1.0 is number and true is number
true is integer
1 is integer and 1.0 is not integer
1.0 is float and 1 is not float
true is boolean and 1 is not boolean
messages is iterable and messages is not string and messages is not mapping
3 is odd and 4 is even and 9 is divisibleby 3
9 is divisibleby(3)
'a' is in ['a', 'b']
'a' is eq 'a' and 2 is gt 1 and 2 is ge(2)
none is none and not (none is defined) or none is defined
'abc' is lower and 'ABC' is upper
x is undefined
messages[0].missing is defined
messages[0]['missing'] is not defined
messages[0].items is callable
1e20
1e16
1e15
123456789012345680.0
0.1 + 0.2
1.0
1e-5
0.0001
-0.0
100 / 3
7 // 2
-7 // 2
-7 % 3
7 % -3
7.5 // 2
-7.5 % 2
2 ** 10
2 ** -1
2 ** 0.5
10 / 5
1 + 1.0
[1e20, 0.1, 'a', none, true, 1]
{'a': 1e20, 'b': ['x', "it's"]}
("it's", 'say "x"', 'both \' and "')
(1,)
()
[1, [2, (3, 4)], {'k': none}]
1e20 ~ ''
true ~ false ~ none
1 ~ 2
'a' ~ 1.50
'a\
b'
'a\nb'
'a\tb|\x41|\u00e9|\101|\0'
'\d\s\w \q'
"\"quoted\" 'single'"
'it\'s'
'a' 'b' "c"
'\\n'
'\U0001F600'
'\a\b\f\v\r' | tojson
'a,b,c'.split(',')
'a b  c '.split()
' a b  c '.split(none, 1)
' a b  c '.rsplit(none, 1)
'a,b,c'.split(',', 1)
'a,b,c'.rsplit(',', 1)
'a,b,c'.rsplit(',')
'a--b--c'.partition('--')
'a--b--c'.rpartition('--')
'abc'.partition('x')
'abc'.rpartition('x')
'prefix_x'.removeprefix('prefix_')
'x.txt'.removesuffix('.txt')
'abc'.removeprefix('x')
'abc'.find('c')
'abc'.find('z')
'abcabc'.rfind('b')
'abc'.index('b')
'abcabc'.count('bc')
'abc'.startswith(('x', 'a'))
'abc'.startswith('b', 1)
'abc'.endswith('c')
'x'.join(['a', 'b'])
'abc'.upper() + 'DEF'.lower() + 'gHi'.swapcase()
'hello world'.title()
"they're bill's".title()
'hello WORLD'.capitalize()
'  x '.strip() ~ '|'
'xxaxx'.strip('x')
'xxaxx'.lstrip('x') ~ 'xxaxx'.rstrip('x')
'a\nb\r\nc\n'.splitlines()
'a\nb\n'.splitlines(true)
'7'.zfill(3) ~ '-7'.zfill(4)
'a'.ljust(3) ~ '|' ~ 'a'.rjust(3) ~ '|' ~ 'a'.center(4) ~ '|' ~ 'ab'.center(5, '*')
'12'.isdigit() and '1a'.isalnum() and 'a'.isalpha() and ' '.isspace()
'a\tb'.expandtabs(4)
'abc'.replace('b', 'x')
'aaa'.replace('a', 'b', 2)
'%s' % 'x'
'%s and %s' % ('a', 'b')
'%d items' % 3
'%05d|%-5d|%+d' % (42, 42, 42)
'%.2f' % 3.14159
'%5.1f|%e|%g' % (3.14159, 12345.678, 0.00001)
'%x %X %o' % (255, 255, 8)
'%r' % 'a'
'%%'  % ()
'%(a)s-%(b)d' % {'a': 1, 'b': 2}
'%s' % [1, 2]
'%s' % none
'%s' % (('a', 1),)
'%c%c' % ('a', 66)
'%s'
'%s %s' % 'a'
'abc' % 'x'
'%d' % 'x'
'%5s|%-5s|' % ('a', 'b')
'{} {}'.format('a', 1)
'{0} {1} {0}'.format('a', 'b')
'{name}'.format(name='x')
'{:>5}|{:<5}|{:^5}|'.format('a', 'b', 'c')
'{:05d} {:,} {:.2f} {:x}'.format(42, 1234567, 3.14159, 255)
'{0[a]} {1.b}'.format({'a': 1}, {'b': 2})
'{{}}'.format()
'{:*^9}'.format('mid')
'{!r}'.format('x')
'{:%}'.format(0.5)
'{:e}'.format(12345.678)
'{:+d}'.format(5)
'{a}'.format_map({'a': 3})
'%s' | format('x')
'%s %d' | format('x', 3)
'{' ~ '}'
[1, 2, 3][-1]
[1, 2, 3][5] is undefined
'abc'[0] ~ 'abc'[-1]
'abc'[1:]
'abcdef'[::2] ~ 'abcdef'[::-1] ~ 'abcdef'[-3:-1] ~ 'abc'[5:]
[1, 2, 3, 4][1:3]
messages[:1] | length
messages[1:][0].role
messages[0].keys() | list
messages[0].values() | list | length
messages[0].items() | list | length
messages[0].get('role', 'none')
messages[0].get('nope')
messages[0].get('nope', 'default')
messages[0]['role']
'role' in messages[0]
'x' not in 'abc' and 'a' in 'abc'
1 in [1, 2] and 3 not in (1, 2)
none in [none]
true == 1
1 == 1.0
'1' == 1
[1] == [1.0]
(1,) == [1]
{'a': 1} == {'a': 1.0}
1 < 2 < 3
1 < 3 < 2
'a' < 'b'
[1, 2] < [1, 3]
1 < 'a'
none < 1
not true or true
not (true and false)
1 and 2
0 or 'x'
'' or none
none and 1
'a' if false
'a' if false else 'b'
('a' if true else 'b') ~ 'c'
1 if 2 if 0 else 3 else 4
[1, 2] + [3]
(1,) + (2,)
'ab' * 2
2 * 'ab'
[0] * 3
-3 | abs
3.7 | int
'42' | int + 1
'x' | int(5)
'3.9' | int
'0x1f' | int(0, 16)
'2.5' | float
'x' | float(1.5)
2.5 | round
3.5 | round
2.675 | round(2)
2.25 | round(1)
42 | round
1234 | round(-2)
2.1 | round(method='ceil')
2.9 | round(0, 'floor')
'hello world foo' | title
'hello-world (foo) [bar]' | title
"they're" | title
'HELLO wORLD' | capitalize
' x ' | trim ~ '|'
'xxaxx' | trim('x')
'a,b' | replace(',', ';')
'aaa' | replace('a', 'b', 2)
[3, 1, 2] | sort
['b', 'A', 'c'] | sort
['b', 'A', 'c'] | sort(case_sensitive=true)
[3, 1, 2] | sort(reverse=true)
messages | map(attribute='role') | list
messages | map(attribute='nope', default='d') | list
messages | map(attribute='role') | join(', ')
messages | selectattr('role', 'equalto', 'user') | list | length
messages | selectattr('role') | list | length
messages | rejectattr('role', '==', 'user') | list | length
messages | selectattr('role', 'in', ['user', 'system']) | map(attribute='role') | list
messages | selectattr('nope', 'defined') | list
messages | map('length') | list
['a', 'b'] | map('upper') | list
['a', 'b'] | map('replace', 'a', 'x') | list
[1, 2, 3, 4] | select('odd') | list
[1, 2, 3, 4] | reject('odd') | list
[0, 1, ''] | select | list
[1, 2, 3] | first ~ [1, 2, 3] | last
'abc' | first ~ 'abc' | last
[] | first is defined
[1, 2, 3] | sum
[{'a': 1}, {'a': 2}] | sum(attribute='a')
[1, 2] | sum(start=10)
[1, 2, 3] | reverse | list
'abc' | reverse
[1, 1, 2] | unique | list
['a', 'A', 'b'] | unique | list
[3, 1, 2] | min ~ [3, 1, 2] | max
{'b': 1, 'a': 2} | dictsort
{'b': 1, 'a': 2} | dictsort(by='value')
{'b': 1, 'a': 2} | items | list
[1, 2, 3, 4, 5] | batch(2) | list
[1, 2, 3] | batch(2, 'x') | list
[1, 2, 3, 4, 5] | slice(2) | list
[1, 2, 3] | join
[1, 'a', none] | join('-')
[{'a': 1}] | join(',', attribute='a')
'a b c' | wordcount
'line1\nline2\n\nline3' | indent
'line1\nline2' | indent(2, true)
'line1\nline2\n\nline3' | indent(2, blank=true)
'a\n' | indent
'line1\nline2' | indent('> ')
'<a href="x">\'&' | e
'<b>' | escape
'foo bar baz qux' | truncate(9)
'foo bar baz qux' | truncate(9, true)
'a b/c?d=é' | urlencode
none | default('x')
none | default('x', true)
nope | default('x')
nope | d
'' | default('x', true)
false | default('x', boolean=true)
'abc' | length
[1, 2] | count
nope | length
{'a': 1} | length
'x' | list
{'a': 1} | list
'a' | string ~ 1 | string ~ none | string ~ 1.0 | string
(1, 2) | list
[1, 2] | tojson
(1, 2) | tojson
1e20 | tojson
0.1 | tojson
none | tojson
'é' | tojson(ensure_ascii=true)
nope | tojson
{'b': 1, 'a': [1, 2]} | tojson(indent=2, sort_keys=true)
{1: 2, none: 3, true: 4} | tojson
'</script>' | tojson
messages | selectattr('role', 'equalto', 'nobody') | tojson
(messages | selectattr('role', 'equalto', 'nobody')) and 'always true'
messages | selectattr('role', 'equalto', 'user') | length
(messages | map(attribute='role'))[0] is undefined
namespace(a=1, b='x').b
namespace(a=1).c is undefined
dict(a=1, b=2)
dict({'a': 1}, b=2)
range(3) | list
range(1, 4) | list
range(5, 0, -2) | list
range(3) | length
nope.x
nope['x']
nope()
nope + 1
nope ~ 'x'
nope == nope
not nope
nope in [1]
1 in nope
none.x is undefined
none.x.y
(1).x is undefined
messages[0].content.nope is undefined
messages[100] is undefined
messages[100].role
messages['x'] is undefined
messages[0][1] is undefined
'abc'.nope()
none + 1
'a' + 1
1 + 'a'
[1] + (2,)
{} + {}
1 / 0
1 % 0
-(-3)
+3
--3
- 3 | abs
2 + 3 * 4 - 1
2 * 3 % 4
2 ** 3 ** 2
-2 ** 2
10 - 2 - 3
1 + 2 ~ 3 + 4
'a' ~ 'b' == 'ab'
not 1 == 2
1 == 1 and 2 == 2 or false
'x' is string is string
messages | length > 1 and messages[0].role == 'user'
(messages | length) - 1
messages | length - 1
loop is undefined
strftime_now('%Y-%m-%d')
strftime_now('%d %B %Y')
strftime_now('%a %b %e %H:%M:%S %j')
raise_exception('x')
[messages[0].role, messages | length]
messages[0] == messages[0]
messages[0] is mapping and messages[0] is not sequence
'a' < 'B'
[none, 1] | select('none') | list
['x', none] | map('default', 'd', true) | list
[1, 2, 3] | map('string') | join('+')
'Ünïcödé'.upper() ~ 'ß'.upper() ~ 'İ'.lower()
'日本語'[1] ~ '日本語' | length
'🙂a' | length
'a' * 0
[[1, 2], [3]] | sum(start=[])
'abc' | list | sort(reverse=true) | join
{'a': {'b': [10, 20]}}.a.b[1]
{'a': {'b': [10, 20]}}['a'].b.1
[[1, 'a'], [2, 'b']] | map(attribute=1) | list
[{'x': {'y': 5}}] | map(attribute='x.y') | list
messages | groupby('role') | map('first') | list
'a-b_c d'.split('-')
''.split(',')
''.split()
','.join([])
'x'.join('abc')
'x'.join([1])
[1, 2, 3].index(2)
[1, 2, 2].count(2)
[1].append(2)
{'a': 1}.update({})
{'a': 1}.pop is defined
'a' 'b'.upper()
1_000 + 0x10 + 0b11 + 0o17
1.5e3
00
'tab\there'
{'a': 1, 'a': 2}
{true: 1}
{'x': 1}.x
[]|last is undefined
'abc' is filter
'upper' is filter
'defined' is test
1 is sameas 1
true is sameas true
'a\u2028b' | tojson
'\x7f' | tojson
'\x7f'| list
['\n', '\u200b', 'é', '\x00']
'a{}b'.format(none)
'{:d}'.format('x')
'{1}'.format('a')
'%s %s' | format('a')
'a' if nope else 'b'
[1,2,3,]
{'a':1,}
(1,2,)
'x' | upper | lower | title
messages|first|attr('role') is undefined
'abc' | attr('upper') is callable
1 is divisibleby 0
'3' is odd
[3, 'a'] | sort
[3, 'a'] | max
'hello'|center(11) ~ '|'
'a\\b' ~ '\\\\'
"a" ~ 'b"c'
5 | string | length
none | string
true | string
none | upper
1.5 | upper
'é' == 'é'
'word1 word2'.split(' ')[1][0]
'x=1;y=2'.split(';') | map('trim') | list
[1, 2] is sameas [1, 2]
'a' in {'a': 1} and 'b' not in {'a': 1}
['a'] in {'a': 1}
1 in 'abc'
'abc' == 'abc' | string
'<think>\nx\n</think>\ny'.split('</think>')[-1].lstrip('\n')
'<think>\nx\n</think>\ny'.split('</think>')[0].rstrip('\n').split('<think>')[-1].lstrip('\n')
'x' ~ ('y' if true) ~ ('z' if false)
(messages | last).role
messages[-1]['content'] | trim | length > 0
{'a': none}.a is none
{'a': none}.get('a', 'd') is none
10 // 3 ~ 10 % 3
1 <= 1.0 and 2 >= 2
1.0 is sameas 1.0
'a'.isalpha() ~ 'A'.isupper() ~ 'a b'.istitle()
'12.5'.replace('.', '').isdigit()
"{:,}".format(1234567.891)
"{:10.3f}|".format(3.14159)
"{:<10}|".format(5)
"{:b}".format(5)
'%i' % 3.9
'%s' % true
'%05.1f' % 2.25
'%+.1e' % 12345
'% d' % 5
'%#x' % 255
'%-6s|' % 'ab'
'%.3s' % 'abcdef'
'%*d' % (5, 42)
0 == false
'' is none
[0, false, 1] | unique | list
'a b' | replace(' ', '')
'  a\n b '.strip().split('\n')
'x'.startswith('')
messages | tojson | length > 10
lipsum is defined
cycler is defined
'a\r\nb'
'q' in 'Q'.lower()
messages | list == messages
3 * [1, 2]
[1] * -1
1 is lt 2
'b' is ne 'a'
2 is in(1, 2)
[1, 2] is in [[1, 2]]
'%s: %s' % ('a', 'b') ~ '!'
('%s' % 'a') | upper
'%s' % 'a' | upper
'%d%%' % 50
'n' ~ '%s' % 'a'
messages[0].role + ': ' + messages[0].content[:2]
(1, 2)[0] ~ (1, 2)[-1]
range(10)[2:4] | list
range(3)[1]
'abc'[1:2:1]
'abc'[none:2]
[1, 2, 3][::-1]
[1, 2, 3][-2:]
'abc'[true]
{1: 'a'}[true]
{1: 'a'}[1.0]
'x'['y'] is undefined
1.5 // 0.5
1e308 * 10
-1e308 * 10
2 ** 100
10 ** 20
'a' <= 'a'
none == none
none != false
[none] == [false]
nope is none
nope | list
nope | join
nope | first is undefined
nope | upper
nope | trim
nope | replace('a', 'b')
nope | sum
nope | sort
nope | map('upper') | list
nope | int
nope | string
nope | e
nope | items | list
none | list
none | length
none | join
none | trim
none | tojson
none | e
5 | list
5 | length
5 | join
'''.strip("\n").replace("\\\n", "\x00").split("\n")
EXPRESSIONS = [expression.replace("\x00", "\\\n") for expression in EXPRESSIONS]

SOURCES = [
    '{% for m in messages %}{{ loop.index }}{{ loop.first }}{{ loop.last }}{{ loop.revindex }}{{ loop.length }}{{ loop.previtem.role if loop.previtem is defined }}{{ loop.nextitem is defined }}{% endfor %}',
    "{% for m in messages if m.role == 'user' %}{{ loop.index }}/{{ loop.length }}{% else %}none{% endfor %}",
    '{% for x in [] %}x{% else %}empty{% endfor %}',
    '{% for x in none %}x{% endfor %}',
    '{% for x in nope %}x{% else %}e{% endfor %}',
    '{% for x in 5 %}x{% endfor %}',
    "{% for k, v in {'a': 1, 'b': 2}.items() %}{{ k }}={{ v }};{% endfor %}",
    "{% for k in {'a': 1} %}{{ k }}{% endfor %}",
    '{% for a, b in [(1, 2), (3, 4)] %}{{ a + b }},{% endfor %}',
    '{% for a, b in [(1, 2, 3)] %}{{ a }}{% endfor %}',
    '{% for (a, b), c in [((1, 2), 3)] %}{{ a }}{{ b }}{{ c }}{% endfor %}',
    "{% for c in 'abc' %}{{ loop.cycle('x', 'y') }}{% endfor %}",
    '{% for x in [1, 1, 2] %}{{ loop.changed(x) }}{% endfor %}',
    '{% for x in [1,2,3] %}{% if x == 2 %}{% continue %}{% endif %}{{ x }}{% endfor %}',
    '{% for x in [1,2,3] %}{% if x == 2 %}{% break %}{% endif %}{{ x }}{% endfor %}',
    '{% for n in [[1,[2]],[3]] recursive %}{% if n is iterable %}({{ loop(n) }}){% else %}{{ n }}@{{ loop.depth }}{% endif %}{% endfor %}',
    '{% set x = 1 %}{% for i in [1,2] %}{% set x = x + i %}{{ x }}{% endfor %}{{ x }}',
    '{% for i in [1,2] %}{{ y is defined }}{% set y = i %}{{ y }}{% endfor %}{{ y is defined }}',
    '{% set ns = namespace(x=1) %}{% for i in [1,2] %}{% set ns.x = ns.x + i %}{% endfor %}{{ ns.x }}',
    '{% set a, b = 1, 2 %}{{ a }}{{ b }}',
    '{% set t = 1, 2 %}{{ t }}',
    '{% set x %}a {{ 1 + 1 }} b{% endset %}[{{ x }}]',
    '{% set x | upper | trim %}  abc {% endset %}[{{ x }}]',
    '{% if x is not defined %}{% set x = 5 %}{% endif %}{{ x }}',
    '{% if false %}a{% elif none %}b{% elif 1 %}c{% else %}d{% endif %}',
    "{% macro m(a, b='B', c=a) %}[{{ a }}{{ b }}{{ c }}]{% endmacro %}{{ m(1) }}{{ m(1, 2) }}{{ m(1, c=3) }}{{ m() }}",
    '{% macro m(a) %}{{ varargs }}{{ kwargs }}{% endmacro %}{{ m(1, 2, 3, x=4) }}',
    '{% macro m(a) %}x{% endmacro %}{{ m(1, 2) }}',
    '{% macro m(a) %}x{% endmacro %}{{ m(b=2) }}',
    '{% macro m() %}<{{ caller() }}>{% endmacro %}{% call m() %}inner{% endcall %}',
    '{% macro m() %}{% for i in [1,2] %}{{ caller(i) }}{% endfor %}{% endmacro %}{% call(x) m() %}({{ x }}){% endcall %}',
    '{% macro f(n) %}{{ n }}{% if n > 0 %}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(3) }}',
    "{% set g = 'global' %}{% macro m() %}{{ g }}{% endmacro %}{% set g = 'changed' %}{{ m() }}",
    '{% macro m() %}{{ i }}{% endmacro %}{% for i in [1, 2] %}{{ m() }}|{% endfor %}',
    '{% for i in [1, 2] %}{% macro m() %}{{ i }}{% endmacro %}{{ m() }}{% endfor %}',
    '{% macro m(x) %}{% set y = x %}{{ y }}{% endmacro %}{{ m(1) }}{{ y is defined }}',
    "{% filter upper %}abc {{ 'd' }}{% endfilter %}",
    '{% with a = 1, b = 2 %}{{ a + b }}{% endwith %}{{ a is defined }}',
    '{% raw %}{{ not }} {% if %}{% endraw %}',
    '{%- raw -%}  {{ x }}  {%- endraw -%}  y',
    '{# comment #}a{#- c -#} b {# x #}\nc',
    '{% if true %}\n  a\n{% endif %}\nb',
    '  {% if true %}\n  a\n  {% endif %}\n  b\n',
    'a\n  {%- if true %}\n  b\n  {%- endif %}\nc',
    'a {%- if true -%} b {%- endif -%} c',
    'a\n    {%+ if true %}b{% endif +%}\n  c',
    'x{{ 1 }}\ny\n',
    'x\n\n',
    "{{ 'a' -}}   \n  b",
    "  {{- ' a' }}",
    '\t{% set x = 1 %}\n\t{{ x }}',
    'a\r\nb\r\n{% if true %}\r\nc\r\n{% endif %}\r\nd\r\n',
    'a\rb',
    "{{ {'a': {'b': 1}} }}",
    "{{ {'a': 1}['a'] }}{{ {} }}",
    '{{ \'}}\' }}{{ \'%}\' }}{{ "{{" }}',
    "{% set x = {'a': '}}'} %}{{ x.a }}",
    "{{ 'a' if true else 'b' }}{{ }}",
    '{{ 1, 2 }}',
    '{{ (1) }}{{ (1,) }}',
    '{% print 1 + 1 %}',
    '{% unknown %}',
    '{% if %}{% endif %}',
    '{% for x in [1] %}',
    "{{ 'unclosed }}",
    '{{ 1 + }}',
    '{{ ) }}',
    '{% endif %}',
    "{% include 'x' %}",
    '{% block a %}x{% endblock %}',
    '{% autoescape true %}x{% endautoescape %}',
    '{% set messages = messages[1:] %}{{ messages | length }}',
    "{% set x = messages | map(attribute='role') %}{{ x | list }}{{ x | list }}",
    "{% set x = messages | map(attribute='role') %}{% for r in x %}{{ r }}{% endfor %}{% for r in x %}{{ r }}{% else %}gone{% endfor %}",
    '{% generation %}a{% set z = 1 %}{% endgeneration %}{{ z is defined }}',
    "{%- for message in messages -%}\n{{- '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n' -}}\n{%- endfor -%}",
    "{% for message in messages %}{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('roles') }}{% endif %}{% endfor %}ok",
    "{{ messages[0].content.split('\\n')[0] }}",
    '{% set content = messages[0].content %}{% if content is string %}s{% else %}o{% endif %}',
    "{% set x = '%s|%s' % ('a', messages|length) %}{{ x }}",
    '{{ loop }}',
    '{% for x in [1] %}{{ loop.nope is defined }}{% endfor %}',
    '{% set ns = namespace() %}{% set ns.a.b = 1 %}',
    '{% set nope.x = 1 %}',
    '{% set d = {} %}{% set d.x = 1 %}',
    "{% for x in range(3) %}{{ x }}{{ ',' if not loop.last }}{% endfor %}",
    '{% set x = [] %}{% for i in [1,2] %}{% set x = x + [i] %}{% endfor %}{{ x }}',
    '{%set x=1%}{{x}}{%if x==1%}y{%endif%}',
    "{{ 'a'\n  'b' }}",
    '{{ [\n 1,\n 2\n] }}',
    '{% set\n x = 1 %}{{ x }}',
    '{{x.y.z}}',
    '{{ messages[0]\n.content }}',
    'line1\n{#- strip -#}\nline2',
    '{% if a %}{% else %}{% endif %}z',
    "{% if 1 %}{{ 'x' }}{% endif %}\n\n\ny",
    '{% for i in [1] -%}\n  a  \n{%- endfor %}',
    '\n\n{% if true %}a{% endif %}\n\n',
    ' \n {% set a = 1 %} \n b',
    'a{% raw %}\nb\n{% endraw %}\nc',
    "é{{ 'ü' }}\xa0{%- if 1 %}x{% endif %}",
    "{{ '{% raw %}' }}",
    "{% set f = 'a'.upper %}{{ f() }}",
    "{% set x = {'role': 'a', 'items': [1]} %}{{ x['items'] }}{{ x.items is callable }}",
    "{% set x = {'keys': 1, 'content': 2} %}{{ x.content }}{{ x.keys() | list }}",
    "{{ messages | map(attribute='content') | map('length') | sum }}",
    "{%- set loop_messages = messages -%}{%- for m in loop_messages -%}{%- set c = '[' ~ m.role ~ ']' -%}{%- if loop.index0 == 0 -%}{{ bos_token ~ c }}{%- else -%}{{ c }}{%- endif -%}{%- endfor -%}",
    '{% macro a() %}{% macro b() %}in{% endmacro %}{{ b() }}{% endmacro %}{{ a() }}',
    "{% set m = none %}{% if m is none %}n{% endif %}{{ m if m is not none else 'x' }}",
    '{% with %}{% set q = 1 %}{{ q }}{% endwith %}{{ q is defined }}',
    '{% for i in [1,2,3] %}{% for j in [1,2] %}{% if j == 2 %}{% break %}{% endif %}{{ i }}{{ j }} {% endfor %}{% endfor %}',
    '{% for i in [3,1,2] | sort %}{{ i }}{% endfor %}',
    "{{ [1,2,3] | select('gt', 1) | map('string') | join(',') }}",
    "{% if messages and messages[0]['role'] == 'system' %}s{% elif not messages %}e{% else %}u{% endif %}",
    '{{- bos_token }}\n{%- if add_generation_prompt %}p{% endif %}',
    '{% set x = 1 %}{% set x = x + 1 %}{{ x }}{% block b %}{{ x }}{% endblock %}',
    '{{ caller is defined }}{{ varargs is defined }}',
    '{% macro m(caller) %}{{ caller }}{% endmacro %}{{ m(1) }}',
    '{% macro m(a=1, b) %}{% endmacro %}',
    '{% call 5 %}{% endcall %}',
    '{% break %}',
    '{% for x in [1,2] %}{{ x }}{% endfor x %}',
    '{% set x = y = 1 %}',
    '{{ a b }}',
    "{{ 'a' | nope }}",
    "{{ 'a' is nope }}",
    "{% if false %}{{ 'a' | nope }}{% endif %}ok",
    '{{ a..b }}',
    '{{ a[] }}',
    '{{ f(a=1, 2) }}',
    '{{ * }}',
    '{{ [1, 2 }}',
    '{{ {1: } }}',
    '{{ x is }}',
    '{{ not }}',
    '{{ 1 if }}',
    '{{ @ }}',
    "{{ 'x' ; }}",
    '{# unclosed',
    '{% raw %} unclosed',
    '{% if true %}{% endfor %}',
]
