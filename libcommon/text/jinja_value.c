/* Memory, and strings that know where each byte came from. */
#include <stdlib.h>

#include "text/jinja_internal.h"

struct jchunk {
    struct jchunk *next;
    size_t used, size;
    _Alignas(16) char data[];
};

void *jarena_get(struct jarena *a, size_t bytes)
{
    bytes = (bytes + 15) & ~(size_t)15;
    struct jchunk *c = a->head;
    if (!c || c->size - c->used < bytes) {
        size_t size = a->total / 2 > 8192 ? a->total / 2 : 8192;
        size = size > 1 << 20 ? 1 << 20 : size;
        size = bytes > size ? bytes : size;
        c = mem_alloc(sizeof *c + size);
        *c = (struct jchunk){.next = a->head, .size = size};
        a->head = c;
        a->total += size;
    }
    void *p = c->data + c->used;
    c->used += bytes;
    return p;
}

void jarena_release(struct jarena *a)
{
    for (struct jchunk *c = a->head, *next; c; c = next) {
        next = c->next;
        free(c);
    }
    *a = (struct jarena){0};
}

void *jr_get(struct jrender *r, size_t bytes)
{
    if (bytes > JINJA_MAX_MEMORY || r->arena.total > JINJA_MAX_MEMORY - bytes)
        jr_fail(r, "the template needs more than %llu MiB of memory", JINJA_MAX_MEMORY >> 20);
    return jarena_get(&r->arena, bytes);
}

void jr_step(struct jrender *r, size_t n)
{
    if (n > JINJA_MAX_STEPS - r->steps)
        jr_fail(r, "the template takes more than %u steps", JINJA_MAX_STEPS);
    r->steps += (unsigned)n;
}

void jr_enter(struct jrender *r)
{
    if (++r->depth > JINJA_MAX_DEPTH)
        jr_fail(r, "the template recurses too deeply");
}

double jv_as_float(struct jv v)
{
    return v.kind == J_FLOAT ? v.f : v.kind == J_BOOL ? v.b : (double)v.i;
}

/* ---- undefined ---- */

struct jv jv_undef(struct jrender *r, const char *owner, const char *name, size_t len)
{
    struct jundef *u = jr_get(r, sizeof *u);
    *u = (struct jundef){.name = name, .name_len = len, .owner = owner};
    return (struct jv){.kind = J_UNDEF, .u = u};
}

struct jv jv_undef_text(struct jrender *r, const char *text)
{
    struct jundef *u = jr_get(r, sizeof *u);
    *u = (struct jundef){.text = text};
    return (struct jv){.kind = J_UNDEF, .u = u};
}

_Noreturn void jv_fail_undef(struct jrender *r, struct jv v)
{
    const struct jundef *u = v.u;
    int len = (int)(u->name_len < 80 ? u->name_len : 80);
    if (u->text)
        jr_fail(r, "%s", u->text);
    if (u->unsafe)
        jr_fail(r, "access to attribute '%.*s' of a %s is not safe", len, u->name, u->owner);
    if (u->owner)
        jr_fail(r, "'%s object' has no attribute '%.*s'", u->owner, len, u->name);
    jr_fail(r, "'%.*s' is undefined", len, u->name);
}

/* ---- strings ---- */

struct jv jv_str(struct jrender *r, const char *s, size_t len, struct jtag tag)
{
    struct jstr *str = jr_get(r, sizeof *str);
    *str = (struct jstr){.s = s, .len = len, .chars = SIZE_MAX, .tag = tag};
    return (struct jv){.kind = J_STR, .s = str};
}

struct jv jv_text(struct jrender *r, const char *s)
{
    size_t len = strlen(s);
    char *copy = jr_get(r, len + 1);
    memcpy(copy, s, len + 1);
    return jv_str(r, copy, len, JTAG_TEMPLATE);
}

static size_t run_at(const struct jstr *s, size_t byte)
{
    size_t low = 0, high = s->n_runs - 1;
    while (low < high) {
        size_t mid = (low + high) / 2;
        if (s->runs[mid].end > byte)
            high = mid;
        else
            low = mid + 1;
    }
    return low;
}

struct jtag jstr_tag(const struct jstr *s, size_t byte)
{
    return s->runs ? s->runs[run_at(s, byte)].tag : s->tag;
}

struct jv jv_sub(struct jrender *r, const struct jstr *s, size_t from, size_t to)
{
    struct jv v = jv_str(r, s->s + from, to - from, s->tag);
    v.s->markup = s->markup;
    if (s->chars == s->len)
        v.s->chars = to - from;
    if (!s->runs || from == to)
        return v;
    size_t first = run_at(s, from), last = run_at(s, to - 1);
    v.s->tag = s->runs[first].tag;
    if (first == last)
        return v;
    v.s->n_runs = last - first + 1;
    v.s->runs = jr_get(r, v.s->n_runs * sizeof *v.s->runs);
    for (size_t i = 0; i < v.s->n_runs; i++)
        v.s->runs[i] = (struct jrun){s->runs[first + i].end - from, s->runs[first + i].tag};
    v.s->runs[v.s->n_runs - 1].end = to - from;
    return v;
}

size_t jstr_chars(struct jrender *r, struct jstr *s)
{
    if (s->chars == SIZE_MAX) {
        jr_step(r, s->len / 64);
        s->chars = utf8_count(s->s, s->len);
    }
    return s->chars;
}

size_t jstr_offset(struct jrender *r, struct jstr *s, size_t chars)
{
    if (jstr_chars(r, s) == s->len)
        return chars;
    size_t i = 0;
    jr_step(r, s->len / 64);
    while (chars-- && i < s->len)
        do
            i++;
        while (i < s->len && (s->s[i] & 0xC0) == 0x80);
    return i;
}

bool jstr_is(const struct jstr *s, const char *text)
{
    return s->len == strlen(text) && !memcmp(s->s, text, s->len);
}

struct jstr *jv_need_str(struct jrender *r, struct jv v, const char *what)
{
    if (v.kind == J_UNDEF)
        jv_fail_undef(r, v);
    if (v.kind != J_STR)
        jr_fail(r, "%s must be a string, not %s", what, jv_type(v));
    return v.s;
}

int64_t jv_need_int(struct jrender *r, struct jv v, const char *what)
{
    if (v.kind == J_UNDEF)
        jv_fail_undef(r, v);
    if (!jv_is_int(v))
        jr_fail(r, "%s must be an integer, not %s", what, jv_type(v));
    return jv_as_int(v);
}

/* ---- strings under construction ---- */

void jbuild_init(struct jbuild *b, struct jrender *r)
{
    *b = (struct jbuild){.r = r};
}

/* A piece that no loop over the messages has claimed yet belongs to the turn that is being written now. */
void jbuild_add(struct jbuild *b, const char *s, size_t len, struct jtag tag)
{
    struct jrender *r = b->r;
    if (!len)
        return;
    jr_step(r, len / 64);
    if (b->cap - b->len < len) {
        size_t cap = (b->len + len) + (b->len + len) / 2 + 32;
        char *grown = jr_get(r, cap);
        if (b->len)
            memcpy(grown, b->s, b->len);
        b->s = grown, b->cap = cap;
    }
    memcpy(b->s + b->len, s, len);
    b->len += len;
    if (!(tag.turn & ~JTAG_GENERATION) || (b->root && r->turn))
        tag.turn = (tag.turn & JTAG_GENERATION) | r->turn;
    if (b->output)
        tag.turn |= r->generation;
    struct jrun *last = b->n_runs ? &b->runs[b->n_runs - 1] : NULL;
    if (last && last->tag.origin == tag.origin && last->tag.turn == tag.turn) {
        last->end = b->len;
        return;
    }
    if (b->n_runs == b->cap_runs) {
        b->cap_runs = b->cap_runs ? b->cap_runs * 2 : 4;
        struct jrun *runs = jr_get(r, b->cap_runs * sizeof *runs);
        if (b->n_runs)
            memcpy(runs, b->runs, b->n_runs * sizeof *runs);
        b->runs = runs;
    }
    b->runs[b->n_runs++] = (struct jrun){b->len, tag};
}

void jbuild_text(struct jbuild *b, const char *s)
{
    jbuild_add(b, s, strlen(s), JTAG_TEMPLATE);
}

void jbuild_sub(struct jbuild *b, const struct jstr *s, size_t from, size_t to)
{
    if (from >= to)
        return;
    if (!s->runs) {
        jbuild_add(b, s->s + from, to - from, s->tag);
        return;
    }
    for (size_t i = run_at(s, from); from < to; i++) {
        size_t end = s->runs[i].end < to ? s->runs[i].end : to;
        jbuild_add(b, s->s + from, end - from, s->runs[i].tag);
        from = end;
    }
}

void jbuild_str(struct jbuild *b, const struct jstr *s)
{
    jbuild_sub(b, s, 0, s->len);
}

void jbuild_char(struct jbuild *b, uint32_t c, struct jtag tag)
{
    char bytes[4];
    jbuild_add(b, bytes, (size_t)utf8_put(bytes, c), tag);
}

struct jv jbuild_done(struct jbuild *b)
{
    struct jv v = jv_str(b->r, b->s ? b->s : "", b->len, b->n_runs ? b->runs[0].tag : JTAG_TEMPLATE);
    if (b->n_runs > 1)
        v.s->runs = b->runs, v.s->n_runs = b->n_runs;
    return v;
}

/* ---- whitespace as Python sees it ---- */

bool jchar_is_space(uint32_t c)
{
    return (c >= 9 && c <= 13) || (c >= 0x1C && c <= 0x20) || c == 0x85 || c == 0xA0 || c == 0x1680 || (c >= 0x2000 && c <= 0x200A) ||
           c == 0x2028 || c == 0x2029 || c == 0x202F || c == 0x205F || c == 0x3000;
}

size_t jspace_start(const char *s, size_t len)
{
    size_t i = 0, next = 0;
    while (next < len && jchar_is_space(utf8_next(s, len, &next)))
        i = next;
    return i;
}

size_t jspace_end(const char *s, size_t len)
{
    while (len) {
        size_t start = len - 1;
        while (start && (s[start] & 0xC0) == 0x80)
            start--;
        size_t next = start;
        if (!jchar_is_space(utf8_next(s, len, &next)))
            break;
        len = start;
    }
    return len;
}
