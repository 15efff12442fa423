/* The filter pprint: Python's pprint.pformat(), dicts sorted and what is longer than 80 columns put on lines of their own (pprint.py). */
#include "text/jinja_internal.h"

enum { COLUMNS = 80 };

struct pretty {
    struct jrender *r;
    struct jbuild b;
};

/* ---- sorted ---- */

static bool orders(struct jv a, struct jv b)
{
    return (jv_is_number(a) && jv_is_number(b)) || (a.kind == J_STR && b.kind == J_STR) || (jv_is_seq(a) && a.kind == b.kind);
}

/* Keys that have no order stand in that of their types' names. */
static bool before(struct jrender *r, struct jv a, struct jv b)
{
    return orders(a, b) ? jv_order(r, a, b, "<") < 0 : strcmp(jv_type(a), jv_type(b)) < 0;
}

static void sort_pairs(struct jrender *r, struct jpair *v, struct jpair *scratch, size_t n)
{
    size_t half = n / 2, i = 0, k = half, out = 0;
    if (n < 2)
        return;
    sort_pairs(r, v, scratch, half);
    sort_pairs(r, v + half, scratch, n - half);
    memcpy(scratch, v, n * sizeof *v);
    while (out < n) {
        bool second = i == half || (k < n && before(r, scratch[k].key, scratch[i].key));
        v[out++] = second ? scratch[k++] : scratch[i++];
    }
}

static struct jdict *sorted(struct jrender *r, const struct jdict *d)
{
    struct jdict *out = jr_get(r, sizeof *out);
    struct jpair *scratch = jr_get(r, (d->n + 1) * sizeof *scratch);
    *out = (struct jdict){.v = jr_get(r, (d->n + 1) * sizeof *out->v), .n = d->n, .cap = d->n};
    for (size_t i = 0; i < d->n; i++)
        out->v[i] = d->v[i];
    sort_pairs(r, out->v, scratch, d->n);
    return out;
}

/* A copy in which every dict is sorted: its repr() is what pprint weighs. */
static struct jv all_sorted(struct jrender *r, struct jv v)
{
    jr_enter(r);
    jr_step(r, 1);
    if (v.kind == J_DICT) {
        struct jdict *d = sorted(r, v.d);
        for (size_t i = 0; i < d->n; i++)
            d->v[i] = (struct jpair){all_sorted(r, d->v[i].key), all_sorted(r, d->v[i].value)};
        v.d = d;
    } else if (jv_is_seq(v)) {
        struct jv copy = jv_list(r, v.kind, v.l->n);
        for (size_t i = 0; i < v.l->n; i++)
            jlist_push(r, copy.l, all_sorted(r, v.l->v[i]));
        v = copy;
    }
    jr_leave(r);
    return v;
}

/* ---- writing ---- */

static struct jstr *repr(struct jrender *r, struct jv v)
{
    struct jbuild b;
    jbuild_init(&b, r);
    jbuild_repr(&b, v);
    return jbuild_done(&b).s;
}

static void put_spaces(struct pretty *p, int64_t n)
{
    for (; n > 0; n--)
        jbuild_text(&p->b, " ");
}

static void put_break(struct pretty *p, const char *text, int64_t indent)
{
    jbuild_text(&p->b, text);
    jbuild_text(&p->b, "\n");
    put_spaces(p, indent);
}

static void put_chunk(struct pretty *p, struct jv chunks, struct jv part)
{
    jlist_push(p->r, chunks.l, (struct jv){.kind = J_STR, .s = repr(p->r, part)});
}

/* The words of a line that is too long, each with the space behind it, as many to a chunk as fit. */
static void split_words(struct pretty *p, struct jv chunks, struct jstr *line, int64_t width, int64_t last_width)
{
    size_t from = 0;
    for (size_t at = 0, end; at < line->len; at = end) {
        bool space = false;
        for (end = at; end < line->len;) {
            size_t next = end;
            bool is = jchar_is_space(utf8_next(line->s, line->len, &next));
            if (space && !is)
                break;
            space = is;
            end = next;
        }
        int64_t most = end == line->len ? last_width : width;
        if ((int64_t)jstr_chars(p->r, repr(p->r, jv_sub(p->r, line, from, end))) > most) {
            if (at > from)
                put_chunk(p, chunks, jv_sub(p->r, line, from, at));
            from = at;
        }
    }
    if (from < line->len)
        put_chunk(p, chunks, jv_sub(p->r, line, from, line->len));
}

/* Text as literals on lines of their own, in brackets when it is the whole. */
static void put_text(struct pretty *p, struct jstr *s, int64_t indent, int64_t allowance, int level)
{
    struct jv chunks = jv_list(p->r, J_LIST, 8), lines = jstr_splitlines(p->r, s, true);
    indent += level == 1;
    allowance += level == 1;
    for (size_t i = 0; i < lines.l->n; i++) {
        int64_t width = COLUMNS - indent, last_width = width - (i + 1 == lines.l->n ? allowance : 0);
        struct jstr *whole = repr(p->r, lines.l->v[i]);
        if ((int64_t)jstr_chars(p->r, whole) <= last_width)
            jlist_push(p->r, chunks.l, (struct jv){.kind = J_STR, .s = whole});
        else
            split_words(p, chunks, lines.l->v[i].s, width, last_width);
    }
    bool brackets = level == 1 && chunks.l->n > 1;
    jbuild_text(&p->b, brackets ? "(" : "");
    for (size_t i = 0; i < chunks.l->n; i++) {
        if (i)
            put_break(p, "", indent);
        jbuild_str(&p->b, chunks.l->v[i].s);
    }
    jbuild_text(&p->b, brackets ? ")" : "");
}

static void put(struct pretty *p, struct jv v, int64_t indent, int64_t allowance, int level);

static void put_dict(struct pretty *p, const struct jdict *d, int64_t indent, int64_t allowance, int level)
{
    jbuild_text(&p->b, "{");
    for (size_t i = 0; i < d->n; i++) {
        struct jstr *key = repr(p->r, d->v[i].key);
        if (i)
            put_break(p, ",", indent + 1);
        jbuild_str(&p->b, key);
        jbuild_text(&p->b, ": ");
        put(p, d->v[i].value, indent + 3 + (int64_t)jstr_chars(p->r, key), i + 1 == d->n ? allowance + 1 : 1, level);
    }
    jbuild_text(&p->b, "}");
}

static void put_items(struct pretty *p, struct jv v, int64_t indent, int64_t allowance, int level)
{
    const char *end = v.kind == J_LIST ? "]" : v.l->n == 1 ? ",)" : ")";
    jbuild_text(&p->b, v.kind == J_LIST ? "[" : "(");
    for (size_t i = 0; i < v.l->n; i++) {
        if (i)
            put_break(p, ",", indent + 1);
        put(p, v.l->v[i], indent + 1, i + 1 == v.l->n ? allowance + (int64_t)strlen(end) : 1, level);
    }
    jbuild_text(&p->b, end);
}

static void put(struct pretty *p, struct jv v, int64_t indent, int64_t allowance, int level)
{
    struct jstr *flat = repr(p->r, v);
    bool fits = (int64_t)jstr_chars(p->r, flat) <= COLUMNS - indent - allowance;
    jr_enter(p->r);
    if (!fits && v.kind == J_DICT)
        put_dict(p, v.d, indent, allowance, level + 1);
    else if (!fits && jv_is_seq(v))
        put_items(p, v, indent, allowance, level + 1);
    else if (!fits && v.kind == J_STR && !v.s->markup && v.s->len)
        put_text(p, v.s, indent, allowance, level + 1);
    else
        jbuild_str(&p->b, flat);
    jr_leave(p->r);
}

struct jv jfilter_pprint(struct jrender *r, struct jv v, const struct jargs *args)
{
    struct pretty p = {.r = r};
    (void)args;
    jbuild_init(&p.b, r);
    put(&p, all_sorted(r, v), 0, 0, 0);
    return jbuild_done(&p.b);
}
