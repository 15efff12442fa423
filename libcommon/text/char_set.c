#include "text/char_set.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

#define LAST 0x10FFFFu

static void append(struct char_set *s, uint32_t first, uint32_t last)
{
    s->ranges = mem_grow(s->ranges, &s->cap, s->n + 1, sizeof *s->ranges);
    s->ranges[s->n++] = (struct unicode_range){first, last};
}

static int by_first(const void *a, const void *b)
{
    uint32_t x = ((const struct unicode_range *)a)->first, y = ((const struct unicode_range *)b)->first;
    return (x > y) - (x < y);
}

/* Sorts, joins what touches, and takes the surrogates out. */
static void settle(struct char_set *s)
{
    size_t n = 0;
    if (!s->n)
        return;
    qsort(s->ranges, s->n, sizeof *s->ranges, by_first);
    for (size_t i = 1; i < s->n; i++) {
        if (s->ranges[i].first > s->ranges[n].last + 1)
            s->ranges[++n] = s->ranges[i];
        else if (s->ranges[i].last > s->ranges[n].last)
            s->ranges[n].last = s->ranges[i].last;
    }
    s->n = n + 1;
}

static void add_around_surrogates(struct char_set *s, uint32_t first, uint32_t last)
{
    if (first < 0xD800)
        append(s, first, last < 0xD800 ? last : 0xD7FF);
    if (last > 0xDFFF)
        append(s, first > 0xDFFF ? first : 0xE000, last);
}

void char_set_add(struct char_set *s, uint32_t first, uint32_t last)
{
    add_around_surrogates(s, first, last);
    settle(s);
}

void char_set_add_set(struct char_set *s, const struct char_set *other)
{
    for (size_t i = 0; i < other->n; i++)
        append(s, other->ranges[i].first, other->ranges[i].last);
    settle(s);
}

void char_set_add_ranges(struct char_set *s, const struct unicode_set *other)
{
    for (size_t i = 0; i < other->n; i++)
        add_around_surrogates(s, other->ranges[i].first, other->ranges[i].last);
    settle(s);
}

void char_set_add_categories(struct char_set *s, uint32_t categories)
{
    const uint8_t *classes = unicode_classes();
    for (uint32_t c = 0; c <= LAST; c++) {
        uint32_t first = c;
        while (c <= LAST && UNICODE_IN(classes[c], categories))
            c++;
        if (c > first)
            add_around_surrogates(s, first, c - 1);
    }
    settle(s);
}

void char_set_add_words(struct char_set *s, bool in_class)
{
    const uint8_t *classes = unicode_classes();
    struct char_set out = {NULL, 0, 0};
    for (uint32_t c = 0; c <= LAST; c++) {
        uint32_t first = c;
        while (c <= LAST && (classes[c] & UNICODE_WORD))
            c++;
        if (c > first)
            add_around_surrogates(s, first, c - 1);
    }
    settle(s);
    char_set_add_ranges(&out, &unicode_word_regex[0]);
    char_set_invert(&out);
    char_set_intersect(s, &out);
    if (!in_class)
        char_set_add_ranges(s, &unicode_word_regex[1]);
    char_set_release(&out);
}

void char_set_add_spaces(struct char_set *s)
{
    for (uint32_t c = 0; c <= 0x3000; c++)
        if (unicode_is_space(c))
            append(s, c, c);
    settle(s);
}

void char_set_invert(struct char_set *s)
{
    struct char_set out = {NULL, 0, 0};
    uint32_t from = 0;
    for (size_t i = 0; i < s->n; i++) {
        if (s->ranges[i].first > from)
            add_around_surrogates(&out, from, s->ranges[i].first - 1);
        from = s->ranges[i].last + 1;
    }
    if (from <= LAST)
        add_around_surrogates(&out, from, LAST);
    settle(&out);
    free(s->ranges);
    *s = out;
}

void char_set_intersect(struct char_set *s, const struct char_set *other)
{
    struct char_set out = {NULL, 0, 0};
    for (size_t i = 0, k = 0; i < s->n && k < other->n;) {
        struct unicode_range a = s->ranges[i], b = other->ranges[k];
        uint32_t first = a.first > b.first ? a.first : b.first, last = a.last < b.last ? a.last : b.last;
        if (first <= last)
            append(&out, first, last);
        if (a.last < b.last)
            i++;
        else
            k++;
    }
    free(s->ranges);
    *s = out;
}

bool char_set_has(const struct char_set *s, uint32_t c)
{
    struct unicode_set set = {"", s->ranges, s->n};
    return unicode_set_has(&set, c);
}

void char_set_clear(struct char_set *s)
{
    s->n = 0;
}

void char_set_release(struct char_set *s)
{
    free(s->ranges);
    *s = (struct char_set){NULL, 0, 0};
}
