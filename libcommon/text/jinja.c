/* The engine's outside: parse, render, release. */
#include "text/jinja.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "text/jinja_internal.h"

_Noreturn void jinja_fail(struct jfail *f, const char *format, ...)
{
    char text[900];
    va_list ap;
    va_start(ap, format);
    vsnprintf(text, sizeof text, format, ap);
    va_end(ap);
    text[utf8_complete(text, strlen(text))] = 0; /* cut by the buffer's end */
    err_set(f->e, "%s: line %d: %s", f->name, f->line, text);
    longjmp(f->jump, 1);
}

/* ---- parsing ---- */

static bool parse(struct jparser *p, struct jinja *t)
{
    static const char *const names[JNAMES] = {"loop", "caller", "kwargs", "varargs"};
    if (setjmp(p->fail.jump))
        return false;
    for (int i = 0; i < JNAMES; i++)
        t->names[i] = jparse_name(p, names[i], strlen(names[i]));
    jlex(p);
    t->body = jparse_template(p);
    t->generation = p->generation;
    return true;
}

struct jinja *jinja_parse(const char *source, size_t len, const char *name, struct err *e)
{
    if (len > JINJA_MAX_SOURCE) {
        err_set(e, "%s: the template has %zu bytes, more than %u", name, len, JINJA_MAX_SOURCE);
        return NULL;
    }
    size_t bad = utf8_valid(source, len);
    if (bad < len) {
        err_set(e, "%s: byte %zu: the template is not valid UTF-8", name, bad);
        return NULL;
    }
    struct jinja *t = mem_zalloc(1, sizeof *t);
    struct jparser p = {.fail = {.e = e, .name = name, .line = 1}, .arena = &t->arena, .src = source, .len = len};
    t->name = mem_strdup(name);
    char *copy = jarena_get(&t->arena, len + 1);
    memcpy(copy, source, len);
    copy[len] = 0;
    t->source = copy, t->len = len;
    if (parse(&p, t))
        return t;
    jinja_free(t);
    return NULL;
}

void jinja_free(struct jinja *t)
{
    if (!t)
        return;
    jarena_release(&t->arena);
    free(t->name);
    free(t);
}

const char *jinja_source(const struct jinja *t, size_t *len)
{
    *len = t->len;
    return t->source;
}

bool jinja_has_generation(const struct jinja *t)
{
    return t->generation;
}

/* ---- rendering ---- */

/* A plain word, as roles are. It can be part of a control token that the template builds around it ('<|' + message.role + '|>'). */
static bool is_word(const struct jstr *s)
{
    for (size_t i = 0; i < s->len; i++)
        if (!(s->s[i] >= 'a' && s->s[i] <= 'z') && s->s[i] != '_')
            return false;
    return true;
}

/* A message's role and name label its turn; all other strings in it are its content. */
static struct jv message_from_json(struct jrender *r, const json_t *j, uint32_t index)
{
    struct jv v = jinja_from_json(r, j, index);
    if (v.kind != J_DICT)
        return v;
    v.d->message = index;
    for (size_t i = 0; i < v.d->n; i++) {
        const struct jpair *p = &v.d->v[i];
        if (p->value.kind == J_STR && (jstr_is(p->key.s, "role") || jstr_is(p->key.s, "name")))
            p->value.s->tag.origin = jstr_is(p->key.s, "role") && is_word(p->value.s) ? JINJA_ORIGIN_TEMPLATE : JINJA_ORIGIN_DATA;
    }
    return v;
}

static void set_variables(struct jrender *r, const json_t *variables)
{
    const char *key;
    json_t *item, *message;
    size_t i;
    r->variables = jv_dict(r).d;
    json_object_foreach((json_t *)variables, key, item) {
        struct jv v;
        if (!strcmp(key, "messages") && json_is_array(item)) {
            v = jv_list(r, J_LIST, json_array_size(item));
            json_array_foreach(item, i, message)
                jlist_push(r, v.l, message_from_json(r, message, (uint32_t)i + 1));
        } else {
            bool data = json_is_object(item) || json_is_array(item);
            v = jinja_from_json(r, item, data ? JINJA_ORIGIN_DATA : JINJA_ORIGIN_TEMPLATE);
        }
        jdict_set(r, r->variables, jv_str(r, key, strlen(key), JTAG_TEMPLATE), v);
    }
}

static void span_add(struct jinja_span **v, size_t *n, size_t *cap, struct jinja_span s)
{
    struct jinja_span *last = *n ? &(*v)[*n - 1] : NULL;
    if (last && last->end == s.start && last->origin == s.origin && last->turn == s.turn) {
        last->end = s.end;
        return;
    }
    *v = mem_grow(*v, cap, *n + 1, sizeof **v);
    (*v)[(*n)++] = s;
}

static void give_output(const struct jbuild *b, struct jinja_output *out)
{
    size_t start = 0;
    jinja_output_clear(out);
    buf_add(&out->text, b->s, b->len);
    for (size_t i = 0; i < b->n_runs; i++) {
        const struct jrun *run = &b->runs[i];
        struct jinja_span s = {start, run->end, run->tag.origin, run->tag.turn & ~JTAG_GENERATION};
        span_add(&out->spans, &out->n_spans, &out->cap_spans, s);
        if (run->tag.turn & JTAG_GENERATION)
            span_add(&out->generation, &out->n_generation, &out->cap_generation, (struct jinja_span){start, run->end, 0, 0});
        start = run->end;
    }
}

static bool render(struct jrender *r, const json_t *variables, struct jinja_output *out)
{
    struct jbuild b;
    if (setjmp(r->fail.jump))
        return false;
    set_variables(r, variables);
    jbuild_init(&b, r);
    b.output = b.root = true;
    r->out = &b;
    jexec_body(r, jscope_new(r, NULL), &r->template->body);
    give_output(&b, out);
    return true;
}

int jinja_render(const struct jinja *t, const json_t *variables, int64_t now, struct jinja_output *out, struct err *e)
{
    struct jrender r = {.fail = {.e = e, .name = t->name, .line = 1}, .now = now < 0 ? (int64_t)time(NULL) : now, .template = t};
    if (!json_is_object(variables))
        return err_set(e, "%s: the variables are not a JSON object", t->name);
    bool good = render(&r, variables, out);
    jarena_release(&r.arena);
    return good ? 0 : -1;
}

void jinja_output_clear(struct jinja_output *o)
{
    if (o->text.data)
        buf_clear(&o->text);
    o->n_spans = o->n_generation = 0;
}

void jinja_output_release(struct jinja_output *o)
{
    buf_release(&o->text);
    free(o->spans);
    free(o->generation);
    *o = (struct jinja_output){0};
}
