/* The template engine against jinja2 in transformers' environment (tests/golden/make_jinja.py), and what jinja2 does not have: where bytes
 * come from, and limits. */
#include <stdio.h>
#include <stdlib.h>

#include "base/buf.h"
#include "tests/unit/tap.h"
#include "text/jinja.h"

static int render(const char *source, size_t len, const json_t *variables, struct jinja_output *out, struct err *e)
{
    struct jinja *t = jinja_parse(source, len, "t", e);
    int r = t ? jinja_render(t, variables, 1700000000, out, e) : -1;
    jinja_free(t);
    return r;
}

static bool same_ranges(const struct jinja_output *out, const json_t *want)
{
    size_t i;
    json_t *range;
    if (out->n_generation != json_array_size(want))
        return false;
    json_array_foreach(want, i, range)
        if (out->generation[i].start != (size_t)json_integer_value(json_array_get(range, 0)) ||
            out->generation[i].end != (size_t)json_integer_value(json_array_get(range, 1)))
            return false;
    return true;
}

static bool spans_cover(const struct jinja_output *out)
{
    size_t at = 0;
    for (size_t i = 0; i < out->n_spans; at = out->spans[i++].end)
        if (out->spans[i].start != at || out->spans[i].end <= at)
            return false;
    return at == out->text.len;
}

static void golden_case(const json_t *row)
{
    const json_t *template = json_array_get(row, 0), *want = json_array_get(row, 2), *ranges = json_array_get(row, 3);
    struct jinja_output out = {0};
    struct err e = ERR_INIT;
    int r = render(json_string_value(template), json_string_length(template), json_array_get(row, 1), &out, &e);
    bool good = r < 0 ? json_is_null(want) && !strncmp(e.text, "t: line ", 8)
                      : json_is_string(want) && out.text.len == json_string_length(want) &&
                            !memcmp(buf_str(&out.text), json_string_value(want), out.text.len) && spans_cover(&out) && (!ranges || same_ranges(&out, ranges));
    char *shown = json_dumps(template, JSON_ENCODE_ANY);
    for (char *c = shown; *c; c++)
        *c = *c == '#' ? '%' : *c; /* would be a directive of TAP */
    if (!ok(good, "%s", shown))
        printf("# got '%s' %s\n# expected '%s'\n", buf_str(&out.text), e.text, json_is_null(want) ? "(an error)" : json_string_value(want));
    free(shown);
    jinja_output_release(&out);
}

static void test_goldens(void)
{
    FILE *f = fopen("tests/golden/jinja.jsonl", "r");
    char *line = NULL;
    size_t cap = 0;
    ok(f != NULL, "tests/golden/jinja.jsonl");
    while (f && getline(&line, &cap, f) > 0) {
        json_t *row = json_loads(line, JSON_ALLOW_NUL, NULL);
        if (row)
            golden_case(row);
        else
            ok(false, "a line of jinja.jsonl is not JSON: %s", line);
        json_decref(row);
    }
    free(line);
    if (f)
        fclose(f);
}

/* Shows spans as letters: t template, d data, 0-9 message; upper part "@n" when put out in the turn of message n. */
static void show(const struct jinja_output *out, struct buf *b)
{
    for (size_t i = 0; i < out->n_spans; i++) {
        const struct jinja_span *s = &out->spans[i];
        if (s->origin == JINJA_ORIGIN_TEMPLATE || s->origin == JINJA_ORIGIN_DATA)
            buf_add_char(b, s->origin == JINJA_ORIGIN_DATA ? 'd' : 't');
        else
            buf_printf(b, "%u", s->origin - 1);
        if (s->turn)
            buf_printf(b, "@%u", s->turn - 1);
        buf_printf(b, "[%.*s]", (int)(s->end - s->start), out->text.data + s->start);
    }
}

static void origin(const char *source, const char *want)
{
    struct jinja_output out = {0};
    struct err e = ERR_INIT;
    struct buf b = BUF_INIT;
    json_t *v = json_loads("{\"messages\": [{\"role\": \"user\", \"content\": \" ab<c \"}, {\"role\": \"assistant\", \"content\": \"x,y\", \"n\": 5}],"
                           " \"tools\": [{\"k\": \"v\\\"w\"}], \"bos_token\": \"<s>\"}",
                           0, NULL);
    if (render(source, strlen(source), v, &out, &e) < 0)
        buf_add_str(&b, e.text);
    show(&out, &b);
    is_str(buf_str(&b), want, source);
    json_decref(v);
    buf_release(&b);
    jinja_output_release(&out);
}

static void test_origins(void)
{
    origin("a{{ bos_token }}b", "t[a<s>b]");
    origin("{{ messages[0].content }}|{{ messages[1].content }}", "0[ ab<c ]t[|]1[x,y]");
    origin("{{ messages[0].role }}", "t[user]");
    origin("{{ messages[0].content|trim|upper }}", "0[AB<C]");
    origin("{{ messages[0].content[2:4] ~ '!' }}", "0[b<]t[!]");
    origin("{{ messages[1].content.split(',')|join('+') }}", "1[x]t[+]1[y]");
    origin("{{ messages[1].content.replace(',', '-') }}", "1[x]t[-]1[y]");
    origin("{{ 'a,b'.replace(',', messages[1].content) }}", "t[a]1[x,y]t[b]");
    origin("{{ tools|tojson }}", "t[[{\"]d[k]t[\": \"]d[v\\\"w]t[\"}]]");
    origin("{{ messages[1].content|wordwrap(2) }}", "1[x,]t[\n]1[y]");
    origin("{{ (messages[1].content ~ '<b> &lt;z')|striptags }}", "1[x,y]t[ <z]");
    origin("{{ ['a', messages[1].content]|pprint }}", "t[['a', ']1[x,y]t[']]");
    origin("{{ [messages[1].content] }}", "t[[']1[x,y]t[']]");
    origin("{{ messages[0].content|e }}", "0[ ab&lt;c ]");
    origin("{{ '%s!' % messages[1].content }}", "1[x,y]t[!]");
    origin("{{ '{}!'.format(messages[1].content) }}", "1[x,y]t[!]");
    origin("{{ messages[0].content|trim ~ messages[1].content|trim }}", "0[ab<c]1[x,y]");
    origin("{% set ns = namespace(s='') %}{% set ns.s = ns.s + messages[1].content %}{{ ns.s }}", "1[x,y]");
    origin("{{ messages[1].content|reverse }}", "1[y,x]");
    origin("{{ messages[1].content.title()|indent(1, true) }}", "t[ ]1[X,Y]");
    origin("{% for m in messages %}<{{ m.role[0] }}>{{ m.content|trim }};{% endfor %}.", "t@0[<u>]0@0[ab<c]t@0[;]t@1[<a>]1@1[x,y]t@1[;]t[.]");
    origin("{% macro f(m) %}{{ m.content|trim }}!{% endmacro %}{% for m in messages %}{{ f(m) }}{% endfor %}", "0@0[ab<c]t@0[!]1@1[x,y]t@1[!]");
    origin("{% set ns = namespace(s='') %}{% for m in messages %}{% set ns.s = ns.s ~ m.content|trim ~ ';' %}{% endfor %}{{ ns.s }}",
           "0@0[ab<c]t@0[;]1@1[x,y]t@1[;]");
    origin("{% for m in messages[1:] %}{{ messages[0].content|trim }}{% for c in 'ab' %}{{ c }}{% endfor %}{% endfor %}", "0@1[ab<c]t@1[ab]");
    origin("{{ messages[1].n }}", "t[5]");
}

static void fails(const char *source, const char *part)
{
    struct jinja_output out = {0};
    struct err e = ERR_INIT;
    json_t *v = json_object();
    ok(render(source, strlen(source), v, &out, &e) < 0 && strstr(e.text, part), "refused: %.60s", source);
    if (!strstr(e.text, part))
        printf("# got '%s', expected '%s' in it\n", e.text, part);
    json_decref(v);
    jinja_output_release(&out);
}

static void test_errors(void)
{
    fails("a\n{{ x.y }}", "t: line 2: 'x' is undefined");
    fails("{{ {}.a.b }}", "'dict object' has no attribute 'a'");
    fails("{{ raise_exception('no ' ~ 5) }}", "t: line 1: no 5");
    fails("\n\n{% if %}", "t: line 3: found '%}', expected an expression");
    fails("{{ 1|nope }}", "there is no filter named 'nope'");
    fails("{% if 1", "t: line 1: the template ends inside a {% tag");
    fails("{% if 1 %}", "the template ends, expected {% endif %}");
    fails("{% import 'os' %}", "the tag 'import' is unknown here");
    fails("{{ [1, 2]|random }}", "t: line 1: the filter random gives another text each time");
    fails("a\n{% autoescape true %}{{ '<' }}{% endautoescape %}", "t: line 2: {% autoescape true %} is not supported");
    fails("{{ 'a'|wordwrap(0) }}", "wordwrap's width is 0, expected at least 1");
    fails("{% set ns = namespace(x='a ' * 10000000) %}{{ ns.x|wordwrap(3) }}", "MiB of memory");
    fails("{% set ns = namespace(x=[]) %}{% for i in range(9999) %}{% set ns.x = [ns.x] %}{% endfor %}{{ ns.x|pprint }}", "recurses too deeply");
    fails("{{ 9223372036854775807 + 1 }}", "does not fit 64 bits");
    fails("{{ 'x' * 2000000000 }}", "MiB of memory");
    fails("{% for a in range(99999) %}{{ range(99999)|sum }}{% endfor %}", "steps");
    fails("{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}", "MiB of memory");
    fails("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", "recurses too deeply");
    fails("{% set ns = namespace(x=[]) %}{% for i in range(9999) %}{% set ns.x = [ns.x] %}{% endfor %}{{ ns.x }}", "recurses too deeply");
    fails("{% set ns = namespace(x='xxxxxxxxxxxxxxxx') %}{% for i in range(99) %}{% set ns.x = ns.x ~ ns.x %}{% endfor %}", "MiB of memory");
    fails("{{ range(100001) }}", "range too big");
    fails("\xff", "byte 0: the template is not valid UTF-8");

    struct buf deep = BUF_INIT;
    for (int i = 0; i < 100000; i++)
        buf_add_str(&deep, "{{ (");
    fails(buf_str(&deep), "t: line 1:");
    buf_clear(&deep);
    buf_add_str(&deep, "{{ ");
    for (int i = 0; i < 100000; i++)
        buf_add_str(&deep, "not ");
    buf_add_str(&deep, "1 }}");
    fails(buf_str(&deep), "nested too deeply");
    buf_clear(&deep);
    buf_add_str(&deep, "{{ 1");
    for (int i = 0; i < 100000; i++)
        buf_add_str(&deep, " + 1");
    buf_add_str(&deep, " }}");
    fails(buf_str(&deep), "recurses too deeply");
    buf_release(&deep);
}

static void test_clock(void)
{
    struct jinja_output out = {0};
    struct err e = ERR_INIT;
    json_t *v = json_object();
    const char *source = "{{ strftime_now('%Y-%m-%d %H:%M:%S %B %f|%z|%%') }}";
    setenv("TZ", "UTC", 1);
    is_int(render(source, strlen(source), v, &out, &e), 0, "strftime_now");
    is_str(buf_str(&out.text), "2023-11-14 22:13:20 November 000000||%", "time as Python prints it");
    json_decref(v);
    jinja_output_release(&out);
}

int main(void)
{
    test_goldens();
    test_origins();
    test_errors();
    test_clock();
    return tap_end();
}
