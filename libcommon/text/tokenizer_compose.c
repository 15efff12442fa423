/* NFC, NFD, NFKC and NFKD as the `tokenizers` library has them, whose tables are Unicode 9.0: utf8proc gives the mappings,
 * which never change once assigned, and unicode_active says which characters had any in 9.0; all others are inert here:
 * class 0, not decomposed, not composed. Text is taken in segments that normalisation cannot cross, so that each changed
 * segment knows the range of the original it stands for. */
#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

#include "base/mem.h"
#include "text/tokenizer_impl.h"
#include "text/utf8.h"

struct points { int32_t *c; size_t n, cap; };

static int combining_class(int32_t c)
{
    return c < 0x300 ? 0 : utf8proc_get_property(c)->combining_class;
}

static void decompose(struct points *p, uint32_t c, bool compatible)
{
    utf8proc_int32_t parts[32]; /* the longest, U+FDFA, has 18 */
    int last = 0;
    utf8proc_ssize_t n = utf8proc_decompose_char((int32_t)c, parts, 32, compatible ? UTF8PROC_DECOMPOSE | UTF8PROC_COMPAT : UTF8PROC_DECOMPOSE, &last);
    if (n < 1 || n > 32)
        parts[0] = (int32_t)c, n = 1;
    p->c = mem_grow(p->c, &p->cap, p->n + (size_t)n, sizeof *p->c);
    for (utf8proc_ssize_t i = 0; i < n; i++)
        p->c[p->n++] = parts[i];
}

struct marked { int32_t c; uint32_t at; int class; };

static int by_class(const void *a, const void *b)
{
    const struct marked *x = a, *y = b;
    return x->class != y->class ? (x->class > y->class) - (x->class < y->class) : (x->at > y->at) - (x->at < y->at);
}

/* Canonical ordering: each run of marks sorted by class, stably (the place breaks ties, so qsort will do). */
static void order(struct points *p)
{
    for (size_t i = 0; i < p->n;) {
        size_t end = i;
        while (end < p->n && combining_class(p->c[end]))
            end++;
        if (end > i + 1) {
            struct marked *m = mem_array(NULL, end - i, sizeof *m);
            for (size_t k = i; k < end; k++)
                m[k - i] = (struct marked){p->c[k], (uint32_t)k, combining_class(p->c[k])};
            qsort(m, end - i, sizeof *m, by_class);
            for (size_t k = i; k < end; k++)
                p->c[k] = m[k - i].c;
            free(m);
        }
        i = end > i ? end : i + 1;
    }
}

static bool is_compatible(enum normal_kind kind)
{
    return kind == NORMAL_NFKC || kind == NORMAL_NFKD;
}

/* One segment; appends to out and says whether anything changed. */
static bool normalize_segment(enum normal_kind kind, const struct text_view *v, size_t start, size_t end, struct points *p, struct aligned *out)
{
    p->n = 0;
    for (size_t i = start; i < end;)
        decompose(p, utf8_next(v->s, v->len, &i), is_compatible(kind));
    order(p);
    if (kind == NORMAL_NFC || kind == NORMAL_NFKC) {
        utf8proc_ssize_t n = utf8proc_normalize_utf32(p->c, (utf8proc_ssize_t)p->n, UTF8PROC_COMPOSE | UTF8PROC_STABLE);
        p->n = n < 0 ? 0 : (size_t)n;
    }
    size_t before = out->len;
    uint32_t from = view_from(v, start), to = view_to(v, end - 1);
    for (size_t i = 0; i < p->n; i++) {
        char text[4];
        aligned_put(out, text, (size_t)utf8_put(text, (uint32_t)p->c[i]), from, to);
    }
    if (out->len - before == end - start && !memcmp(out->s + before, v->s + start, end - start)) {
        out->len = before; /* unchanged: every byte keeps its own range */
        aligned_copy(out, v, start, end);
        return false;
    }
    return true;
}

static bool active(uint32_t c)
{
    return c >= 0x20 && unicode_set_has(&unicode_active, c);
}

/* Whether c, or what it decomposes to, may combine or compose with what is before it. */
static bool joins(enum normal_kind kind, uint32_t c, struct points *p)
{
    const uint8_t *classes = unicode_classes();
    if (classes[c] & UNICODE_MARK)
        return true;
    if (c < 0x80 || !is_compatible(kind) || !active(c))
        return false;
    p->n = 0;
    decompose(p, c, true);
    return classes[p->c[0]] & UNICODE_MARK;
}

/* Where the next segment starts that normalisation may change: at the character before the first one that is not plainly
 * normal already. v->len: nowhere. */
static size_t next_segment(enum normal_kind kind, const struct text_view *v, size_t i)
{
    const uint8_t *classes = unicode_classes();
    size_t before = i;
    while (i < v->len) {
        uint64_t word;
        if (v->len - i >= 8 && (memcpy(&word, v->s + i, 8), !(word & 0x8080808080808080))) {
            i += 8;
            before = i - 1;
            continue;
        }
        size_t start = i;
        uint32_t c = utf8_next(v->s, v->len, &i);
        if (c >= 0x80 && (kind == NORMAL_NFC ? (classes[c] & UNICODE_MARK) != 0 : active(c)))
            return before;
        before = start;
    }
    return v->len;
}

static size_t segment_end(enum normal_kind kind, const struct text_view *v, size_t i, struct points *p)
{
    utf8_next(v->s, v->len, &i);
    while (i < v->len) {
        size_t next = i;
        if (!joins(kind, utf8_next(v->s, v->len, &next), p))
            break;
        i = next;
    }
    return i;
}

bool unicode_normalize(enum normal_kind kind, const struct text_view *v, struct aligned *out)
{
    struct points p = {NULL, 0, 0};
    bool changed = false;
    size_t done = 0, start;
    while ((start = next_segment(kind, v, done)) < v->len) {
        size_t end = segment_end(kind, v, start, &p), next = start;
        if (!active(utf8_next(v->s, v->len, &next)))
            start = next; /* inert: nothing joins it */
        aligned_copy(out, v, done, start);
        if (start < end)
            changed |= normalize_segment(kind, v, start, end, &p, out);
        done = end;
    }
    free(p.c);
    if (changed)
        aligned_copy(out, v, done, v->len);
    return changed;
}
