/* The filter wordwrap: lines of at most so many characters, broken where Python's textwrap breaks them (textwrap.py, with tabs and
 * whitespace left as they are). */
#include <utf8proc.h>

#include "text/jinja_internal.h"

#define ARG(i) (args->v[i])
#define GIVEN(i) (args->v[i].kind != J_MISSING)

struct piece { size_t from, to; }; /* bytes of the line */

/* One line, its characters, and the pieces between which it may be broken. */
struct wrap {
    struct jrender *r;
    struct jstr *line;
    size_t *at;           /* byte offset of each character, and of the end */
    uint32_t *c;
    size_t n;
    struct piece *pieces; /* the rest, next one at `next` */
    size_t n_pieces, next;
    struct piece *row;    /* of the current row */
    size_t n_row;
    int64_t width;
    bool break_words, hyphens; /* break_on_hyphens as the breaking of words sees it */
};

/* ---- characters ---- */

static bool is_blank(uint32_t c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

static bool is_letter(uint32_t c)
{
    return jchar_is_word(c) && utf8proc_category((utf8proc_int32_t)c) != UTF8PROC_CATEGORY_ND;
}

static bool is_punctuated(uint32_t c)
{
    return jchar_is_word(c) || (c < 128 && c && strchr("!\"'&.,?", (int)c));
}

static bool letter_at(const struct wrap *w, size_t i)
{
    return i < w->n && is_letter(w->c[i]);
}

/* Two hyphens or more between words: their number at i, else 0. */
static size_t dash(const struct wrap *w, size_t i)
{
    size_t k = i;
    if (!i || !is_punctuated(w->c[i - 1])) /* looked at first, so that a long run is not counted at each of its hyphens */
        return 0;
    while (k < w->n && w->c[k] == '-')
        k++;
    return k - i >= 2 && k < w->n && jchar_is_word(w->c[k]) ? k - i : 0;
}

/* A hyphen at i within a compound word: two letters, or letter - letter, before it, and letters behind. */
static bool compound(const struct wrap *w, size_t i)
{
    if (w->c[i] != '-' || !i || !letter_at(w, i - 1))
        return false;
    bool before = (i >= 2 && letter_at(w, i - 2)) || (i >= 3 && w->c[i - 2] == '-' && letter_at(w, i - 3));
    return before && letter_at(w, i + 1) && letter_at(w, i + 2 + (i + 2 < w->n && w->c[i + 2] == '-'));
}

/* ---- pieces ---- */

/* Where the piece ends that begins at i. */
static size_t piece_end(const struct wrap *w, size_t i, bool hyphens)
{
    bool blank = is_blank(w->c[i]);
    size_t k = i, n = hyphens ? dash(w, i) : 0;
    if (n)
        return i + n;
    for (k++; k < w->n && is_blank(w->c[k]) == blank; k++)
        if (!blank && hyphens) {
            if (compound(w, k))
                return k + 1;
            if (dash(w, k))
                return k;
        }
    return k;
}

static void split(struct wrap *w, bool hyphens)
{
    struct jrender *r = w->r;
    w->n = jstr_chars(r, w->line);
    w->at = jr_get(r, (w->n + 1) * sizeof *w->at);
    w->c = jr_get(r, (w->n + 1) * sizeof *w->c);
    w->pieces = jr_get(r, (w->n + 1) * sizeof *w->pieces);
    w->row = jr_get(r, (w->n + 2) * sizeof *w->row);
    size_t byte = 0;
    for (size_t i = 0; i < w->n; i++) {
        w->at[i] = byte;
        w->c[i] = utf8_next(w->line->s, w->line->len, &byte);
    }
    w->at[w->n] = byte;
    w->n_pieces = w->next = 0;
    for (size_t i = 0, end; i < w->n; i = end) {
        jr_step(r, 1);
        end = piece_end(w, i, hyphens);
        w->pieces[w->n_pieces++] = (struct piece){i, end};
    }
}

/* ---- rows ---- */

static bool all_space(const struct wrap *w, struct piece p)
{
    for (size_t i = p.from; i < p.to; i++)
        if (!jchar_is_space(w->c[i]))
            return false;
    return true;
}

/* The next piece is longer than any row: its beginning goes into this one, or all of it into a row of its own. */
static void put_long(struct wrap *w, int64_t used)
{
    struct piece *p = &w->pieces[w->next];
    int64_t room = w->width - used;
    if (!w->break_words) {
        if (!w->n_row)
            w->row[w->n_row++] = w->pieces[w->next++];
        return;
    }
    size_t end = p->from + (size_t)room;
    if (w->hyphens) {
        size_t hyphen = end, other = p->from;
        while (hyphen > p->from && w->c[hyphen - 1] != '-')
            hyphen--;
        while (other < hyphen && w->c[other] == '-')
            other++;
        if (hyphen > p->from + 1 && other < hyphen - 1)
            end = hyphen;
    }
    w->row[w->n_row++] = (struct piece){p->from, end};
    p->from = end;
}

static void make_row(struct wrap *w, bool first)
{
    int64_t used = 0;
    w->n_row = 0;
    if (!first && all_space(w, w->pieces[w->next]))
        w->next++;
    for (; w->next < w->n_pieces; w->next++) {
        int64_t length = (int64_t)(w->pieces[w->next].to - w->pieces[w->next].from);
        if (length > w->width - used)
            break;
        used += length;
        w->row[w->n_row++] = w->pieces[w->next];
    }
    if (w->next < w->n_pieces && (int64_t)(w->pieces[w->next].to - w->pieces[w->next].from) > w->width)
        put_long(w, used);
    if (w->n_row && all_space(w, w->row[w->n_row - 1]))
        w->n_row--;
}

/* The rows of one line, with `between` between them. */
static void put_line(struct wrap *w, struct jbuild *b, const struct jstr *between, bool escape)
{
    bool any = false;
    while (w->next < w->n_pieces) {
        jr_step(w->r, 1);
        make_row(w, !any);
        if (!w->n_row)
            continue;
        if (any)
            jbuild_str(b, between);
        any = true;
        struct jv row = jv_sub(w->r, w->line, w->at[w->row[0].from], w->at[w->row[w->n_row - 1].to]);
        jbuild_str(b, escape ? jop_escape(w->r, row).s : row.s);
    }
}

/* wordwrap(width, break_long_words, wrapstring, break_on_hyphens) */
struct jv jfilter_wordwrap(struct jrender *r, struct jv v, const struct jargs *args)
{
    struct jstr plain = *jv_need_str(r, v, "what wordwrap wraps");
    struct jstr *between = GIVEN(2) && ARG(2).kind != J_NONE ? jv_need_str(r, ARG(2), "wordwrap's wrapstring") : jv_text(r, "\n").s;
    bool split_hyphens = !GIVEN(3) || (ARG(3).kind == J_BOOL && ARG(3).b);
    struct wrap w = {.r = r, .width = GIVEN(0) ? jv_need_int(r, ARG(0), "wordwrap's width") : 79};
    w.break_words = !GIVEN(1) || jv_true(r, ARG(1));
    w.hyphens = !GIVEN(3) || jv_true(r, ARG(3));
    plain.markup = false;
    struct jv lines = jstr_splitlines(r, &plain, false), done;
    struct jbuild b;
    jbuild_init(&b, r);
    for (size_t i = 0; i < lines.l->n; i++) {
        if (w.width < 1)
            jr_fail(r, "wordwrap's width is %lld, expected at least 1", (long long)w.width);
        if (i)
            jbuild_str(&b, between);
        w.line = lines.l->v[i].s;
        split(&w, split_hyphens);
        put_line(&w, &b, between, between->markup);
    }
    done = jbuild_done(&b);
    done.s->markup = between->markup;
    return done;
}
