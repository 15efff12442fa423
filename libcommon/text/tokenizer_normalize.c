/* Normalizers: each step reads a view and writes a text with the range of the original that every byte stands for. */
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "text/tokenizer_impl.h"
#include "text/utf8.h"

/* --- aligned text --- */

static void reserve(struct aligned *a, size_t extra)
{
    size_t cap = a->cap;
    if (a->len + extra <= cap)
        return;
    a->s = mem_grow(a->s, &cap, a->len + extra, 1);
    a->from = mem_array(a->from, cap, sizeof *a->from);
    a->to = mem_array(a->to, cap, sizeof *a->to);
    a->cap = cap;
}

void aligned_put(struct aligned *a, const char *s, size_t len, uint32_t from, uint32_t to)
{
    reserve(a, len);
    for (size_t i = 0; i < len; i++) {
        a->s[a->len + i] = s[i];
        a->from[a->len + i] = from;
        a->to[a->len + i] = to;
    }
    a->len += len;
}

void aligned_copy(struct aligned *a, const struct text_view *v, size_t start, size_t end)
{
    if (start == end)
        return;
    reserve(a, end - start);
    memcpy(a->s + a->len, v->s + start, end - start);
    for (size_t i = start; i < end; i++) {
        a->from[a->len + i - start] = view_from(v, i);
        a->to[a->len + i - start] = view_to(v, i);
    }
    a->len += end - start;
}

struct text_view aligned_view(const struct aligned *a, uint32_t base)
{
    return (struct text_view){a->s ? a->s : "", a->len, a->from, a->to, base};
}

void aligned_release(struct aligned *a)
{
    free(a->s);
    free(a->from);
    free(a->to);
}

/* --- steps; each returns 1 when it wrote *out, 0 when the text is as before, -1 on error --- */

static int run_prepend(const struct normal_step *n, const struct text_view *v, struct aligned *out)
{
    if (!v->len)
        return 0;
    aligned_put(out, n->content, n->content_len, view_from(v, 0), view_to(v, 0));
    aligned_copy(out, v, 0, v->len);
    return 1;
}

static int run_replace(const struct normal_step *n, const struct text_view *v, struct aligned *out, struct err *e)
{
    struct finder f = {&n->pattern, unicode_classes(), v->s, v->len, 0, false, {NULL}};
    size_t start, end, done = 0;
    int found;
    while ((found = finder_next(&f, &start, &end, e)) == 1) {
        if (out->len + n->content_len > TOKENIZER_MAX_TEXT) {
            finder_end(&f);
            return err_set(e, "the normalized text is longer than 1 GiB");
        }
        aligned_copy(out, v, done, start);
        uint32_t from = start < v->len ? view_from(v, start) : v->len ? view_to(v, v->len - 1) : v->base;
        aligned_put(out, n->content, n->content_len, from, end > start ? view_to(v, end - 1) : from);
        done = end;
    }
    finder_end(&f);
    if (found < 0 || !f.matched)
        return found;
    aligned_copy(out, v, done, v->len);
    return 1;
}

/* Rust's str::trim: White_Space */
static int run_strip(const struct normal_step *n, struct text_view *v)
{
    size_t start = 0, end = v->len;
    while (n->left && start < end) {
        size_t next = start;
        if (!unicode_is_space(utf8_next(v->s, v->len, &next)))
            break;
        start = next;
    }
    while (n->right && end > start) {
        size_t last = end;
        do
            last--;
        while (((unsigned char)v->s[last] & 0xC0) == 0x80);
        size_t next = last;
        if (!unicode_is_space(utf8_next(v->s, v->len, &next)))
            break;
        end = last;
    }
    *v = view_part(v, start, end);
    return 0;
}

/* What character c becomes under a step that looks at one character at a time: its UTF-8 in text, the length returned. */
static int map_char(enum normal_kind kind, uint32_t c, char text[4])
{
    if (kind == NORMAL_LOWERCASE) {
        if (c == 0x130)
            return memcpy(text, "i\xCC\x87", 3), 3;
        return utf8_put(text, unicode_lower(c));
    }
    if (kind == NORMAL_STRIP_ACCENTS)
        return unicode_set_has(&unicode_accents, c) ? 0 : utf8_put(text, c);
    /* Nmt: sentencepiece's rules of that name */
    if ((c >= 1 && c <= 8) || c == 0xB || (c >= 0xE && c <= 0x1F) || c == 0x7F || c == 0x8F || c == 0x9F)
        return 0;
    if (c == 9 || c == 0xA || c == 0xC || c == 0xD || c == 0x1680 || (c >= 0x200B && c <= 0x200F) || c == 0x2028 || c == 0x2029 ||
        c == 0x2581 || c == 0xFEFF || c == 0xFFFD)
        c = ' ';
    return utf8_put(text, c);
}

static int run_map(enum normal_kind kind, const struct text_view *v, struct aligned *out)
{
    bool changed = false;
    for (size_t i = 0; i < v->len;) {
        size_t start = i;
        char text[4];
        int n = map_char(kind, utf8_next(v->s, v->len, &i), text);
        if ((size_t)n == i - start && !memcmp(text, v->s + start, i - start)) {
            if (changed)
                aligned_copy(out, v, start, i);
            continue;
        }
        if (!changed)
            aligned_copy(out, v, 0, start);
        changed = true;
        aligned_put(out, text, (size_t)n, view_from(v, start), view_to(v, i - 1));
    }
    return changed;
}

static int run_step(const struct normal_step *n, struct text_view *v, struct aligned *out, struct err *e)
{
    switch (n->kind) {
    case NORMAL_NFC:
    case NORMAL_NFD:
    case NORMAL_NFKC:
    case NORMAL_NFKD:
        return unicode_normalize(n->kind, v, out);
    case NORMAL_PREPEND:
        return run_prepend(n, v, out);
    case NORMAL_REPLACE:
        return run_replace(n, v, out, e);
    case NORMAL_STRIP:
        return run_strip(n, v);
    case NORMAL_LOWERCASE:
    case NORMAL_STRIP_ACCENTS:
    case NORMAL_NMT:
        return run_map(n->kind, v, out);
    case NORMAL_BYTE_LEVEL:
        bytes_to_letters(v, out);
        return 1;
    }
    return 0;
}

int normalizer_run(const struct normalizer *n, struct text_view *v, struct aligned buffers[2], struct err *e)
{
    int into = 0;
    for (size_t i = 0; i < n->n; i++) {
        buffers[into].len = 0;
        int changed = run_step(&n->steps[i], v, &buffers[into], e);
        if (changed < 0)
            return -1;
        if (buffers[into].len > TOKENIZER_MAX_TEXT)
            return err_set(e, "the normalized text is longer than 1 GiB");
        if (changed) {
            *v = aligned_view(&buffers[into], v->base);
            into = !into;
        }
    }
    return 0;
}

/* --- from JSON --- */

static const struct { const char *type; enum normal_kind kind; } kinds[] = {
    {"NFC", NORMAL_NFC}, {"NFD", NORMAL_NFD}, {"NFKC", NORMAL_NFKC}, {"NFKD", NORMAL_NFKD}, {"Prepend", NORMAL_PREPEND},
    {"Replace", NORMAL_REPLACE}, {"Strip", NORMAL_STRIP}, {"Lowercase", NORMAL_LOWERCASE}, {"StripAccents", NORMAL_STRIP_ACCENTS},
    {"Nmt", NORMAL_NMT}, {"ByteLevel", NORMAL_BYTE_LEVEL},
};

static int parse_step(struct normalizer *n, const json_t *json, const char *type, const char *place, struct err *e)
{
    size_t k = 0;
    while (k < sizeof kinds / sizeof *kinds && strcmp(kinds[k].type, type))
        k++;
    if (k == sizeof kinds / sizeof *kinds)
        return err_set(e, "%s: type %s is not supported", place, type);
    n->steps = mem_array(n->steps, n->n + 1, sizeof *n->steps);
    struct normal_step *step = &n->steps[n->n++];
    *step = (struct normal_step){.kind = kinds[k].kind};
    if (step->kind == NORMAL_PREPEND)
        return field_text(json, "prepend", place, true, &step->content, &step->content_len, e);
    if (step->kind == NORMAL_REPLACE)
        return matcher_parse(&step->pattern, json_object_get(json, "pattern"), place, e) ||
               field_text(json, "content", place, true, &step->content, &step->content_len, e) ? -1 : 0;
    if (step->kind == NORMAL_STRIP)
        return field_bool(json, "strip_left", place, &step->left, e) || field_bool(json, "strip_right", place, &step->right, e) ? -1 : 0;
    return 0;
}

int normalizer_parse(struct normalizer *n, const json_t *json, const char *place, struct err *e)
{
    if (!json || json_is_null(json))
        return 0;
    const char *type = field_type(json, place, e);
    if (!type)
        return -1;
    if (strcmp(type, "Sequence"))
        return parse_step(n, json, type, place, e);
    const json_t *list = json_object_get(json, "normalizers");
    if (!json_is_array(list))
        return err_set(e, "%s: normalizers is missing, expected a list", place);
    for (size_t i = 0; i < json_array_size(list); i++)
        if (normalizer_parse(n, json_array_get(list, i), place, e))
            return -1;
    return 0;
}

void normalizer_release(struct normalizer *n)
{
    for (size_t i = 0; i < n->n; i++) {
        matcher_release(&n->steps[i].pattern);
        free(n->steps[i].content);
    }
    free(n->steps);
}
