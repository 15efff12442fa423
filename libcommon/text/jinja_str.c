/* What filters and methods of str share: strip, find, replace, lines. */
#include "text/jinja_internal.h"

static bool in_set(const struct jstr *set, const char *c, size_t len)
{
    for (size_t i = 0; i < set->len;) {
        size_t from = i;
        utf8_next(set->s, set->len, &i);
        if (i - from == len && !memcmp(set->s + from, c, len))
            return true;
    }
    return false;
}

struct jv jstr_strip(struct jrender *r, struct jstr *s, struct jstr *chars, bool left, bool right)
{
    size_t from = 0, to = s->len;
    if (!chars) {
        from = left ? jspace_start(s->s, s->len) : 0;
        to = right ? from + jspace_end(s->s + from, s->len - from) : to;
        return jv_sub(r, s, from, to);
    }
    while (left && from < to) {
        size_t next = from;
        utf8_next(s->s, s->len, &next);
        if (!in_set(chars, s->s + from, next - from))
            break;
        from = next;
    }
    while (right && to > from) {
        size_t start = to - 1;
        while (start > from && (s->s[start] & 0xC0) == 0x80)
            start--;
        if (!in_set(chars, s->s + start, to - start))
            break;
        to = start;
    }
    return jv_sub(r, s, from, to);
}

size_t jstr_find(const struct jstr *s, const struct jstr *what, size_t from, size_t to, bool last)
{
    if (to < from || to - from < what->len)
        return SIZE_MAX;
    if (!what->len)
        return last ? to : from;
    if (!last) {
        const char *p = memmem(s->s + from, to - from, what->s, what->len);
        return p ? (size_t)(p - s->s) : SIZE_MAX;
    }
    for (size_t i = to - what->len + 1; i-- > from;)
        if (!memcmp(s->s + i, what->s, what->len))
            return i;
    return SIZE_MAX;
}

/* An empty `old` is found before every character and at the end. */
static struct jv insert_between(struct jrender *r, struct jstr *s, struct jstr *with, int64_t count)
{
    struct jbuild b;
    jbuild_init(&b, r);
    for (size_t i = 0;;) {
        if (count-- != 0)
            jbuild_str(&b, with);
        else
            count = 0;
        if (i == s->len)
            break;
        size_t from = i;
        utf8_next(s->s, s->len, &i);
        jbuild_sub(&b, s, from, i);
    }
    return jbuild_done(&b);
}

struct jv jstr_replace(struct jrender *r, struct jstr *s, struct jstr *old, struct jstr *with, int64_t count)
{
    struct jbuild b;
    size_t from = 0, at;
    if (!old->len)
        return insert_between(r, s, with, count < 0 ? -1 : count);
    jr_step(r, s->len / 64);
    jbuild_init(&b, r);
    while (count != 0 && (at = jstr_find(s, old, from, s->len, false)) != SIZE_MAX) {
        jr_step(r, 1);
        jbuild_sub(&b, s, from, at);
        jbuild_str(&b, with);
        from = at + old->len;
        count -= count > 0;
    }
    if (!from)
        return jv_sub(r, s, 0, s->len);
    jbuild_sub(&b, s, from, s->len);
    return jbuild_done(&b);
}

static bool ends_line(uint32_t c)
{
    return (c >= 10 && c <= 13) || (c >= 0x1C && c <= 0x1E) || c == 0x85 || c == 0x2028 || c == 0x2029;
}

struct jv jstr_splitlines(struct jrender *r, struct jstr *s, bool keep)
{
    struct jv l = jv_list(r, J_LIST, 0);
    for (size_t start = 0, i = 0; i < s->len;) {
        size_t end = i;
        uint32_t c = utf8_next(s->s, s->len, &i);
        if (!ends_line(c)) {
            if (i == s->len)
                jlist_push(r, l.l, jv_sub(r, s, start, i));
            continue;
        }
        if (c == '\r' && i < s->len && s->s[i] == '\n')
            i++;
        jr_step(r, 1);
        jlist_push(r, l.l, jv_sub(r, s, start, keep ? i : end));
        start = i;
    }
    return l;
}
