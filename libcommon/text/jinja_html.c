/* The filter striptags: text without tags and comments, runs of whitespace as one space, character references replaced as HTML 5 has it
 * (markupsafe's Markup.striptags, Python's html.unescape). */
#include <stdlib.h>

#include "text/jinja_internal.h"

/* Names of characters, in the order of strcmp. `bare`: also without the semicolon. */
static const struct entity { const char *name, *text; bool bare; } ENTITIES[] = {
#include "text/html_entities.inc"
};

struct name { const char *s; size_t len; };

static int by_name(const void *key, const void *entry)
{
    const struct name *n = key;
    const char *name = ((const struct entity *)entry)->name;
    int c = strncmp(n->s, name, n->len);
    return c ? c : name[n->len] ? -1 : 0;
}

static const struct entity *find_entity(const char *s, size_t len)
{
    const struct name key = {s, len};
    return memchr(s, 0, len) ? NULL : bsearch(&key, ENTITIES, sizeof ENTITIES / sizeof *ENTITIES, sizeof *ENTITIES, by_name);
}

/* What stands for a number that is no character: Windows-1252 for 80 to 9f, nothing for controls and non-characters. 0: nothing. */
static uint32_t mend(uint32_t c)
{
    static const uint16_t windows[32] = {0x20ac, 0x81,   0x201a, 0x192,  0x201e, 0x2026, 0x2020, 0x2021, 0x2c6, 0x2030, 0x160,
                                         0x2039, 0x152,  0x8d,   0x17d,  0x8f,   0x90,   0x2018, 0x2019, 0x201c, 0x201d, 0x2022,
                                         0x2013, 0x2014, 0x2dc,  0x2122, 0x161,  0x203a, 0x153,  0x9d,   0x17e,  0x178};
    if (c >= 0x80 && c < 0xa0)
        return windows[c - 0x80];
    if (c == 0 || (c >= 0xd800 && c < 0xe000) || c > 0x10ffff)
        return 0xfffd;
    bool control = c < 9 || c == 0xb || (c > 0xd && c < 0x20) || c == 0x7f, none = (c >= 0xfdd0 && c < 0xfdf0) || (c & 0xfffe) == 0xfffe;
    return control || none ? 0 : c;
}

/* "#38;" or "#x26;" at s: how long it is, 0 when it is none. */
static size_t number(const char *s, size_t len, uint32_t *c)
{
    bool hex = len > 1 && (s[1] | 0x20) == 'x';
    size_t i = hex ? 2 : 1, start = i;
    *c = 0;
    for (; i < len; i++) {
        unsigned digit = (unsigned)s[i] - '0', letter = ((unsigned)s[i] | 0x20) - 'a';
        if (digit > 9 && !(hex && letter < 6))
            break;
        digit = digit > 9 ? letter + 10 : digit;
        *c = *c > 0x110000 ? *c : *c * (hex ? 16 : 10) + digit;
    }
    return i == start ? 0 : i + (i < len && s[i] == ';');
}

/* A name behind the &: up to 32 characters and a semicolon. The whole of it, or the longest beginning that may do without one. */
static size_t named(const char *s, size_t len, const struct entity **found)
{
    size_t n = 0;
    for (int chars = 0; chars < 32 && n < len && !memchr("\t\n\f <&#;", s[n], 8); chars++)
        utf8_next(s, len, &n);
    bool ended = n && n < len && s[n] == ';';
    *found = find_entity(s, n);
    if (*found && (ended || (*found)->bare))
        return n + ended;
    for (size_t k = ended ? n : n ? n - 1 : 0; k > 1; k--)
        if ((*found = find_entity(s, k)) && (*found)->bare)
            return k;
    *found = NULL;
    return 0;
}

static struct jv unescape(struct jrender *r, struct jstr *s)
{
    struct jbuild b;
    size_t done = 0, n;
    jbuild_init(&b, r);
    for (size_t i = 0; i < s->len; i++) {
        const struct entity *e = NULL;
        uint32_t c = 0;
        if (s->s[i] != '&')
            continue;
        jr_step(r, 1);
        const char *rest = s->s + i + 1;
        n = i + 1 < s->len && *rest == '#' ? number(rest, s->len - i - 1, &c) : named(rest, s->len - i - 1, &e);
        if (!n)
            continue;
        jbuild_sub(&b, s, done, i);
        if (e)
            jbuild_add(&b, e->text, strlen(e->text), jstr_tag(s, i));
        else if ((c = mend(c)))
            jbuild_char(&b, c, jstr_tag(s, i));
        done = i + 1 + n;
        i = done - 1;
    }
    jbuild_sub(&b, s, done, s->len);
    return jbuild_done(&b);
}

/* Where the tag or comment ends that begins at `at`; SIZE_MAX: nowhere. */
static size_t tag_end(const struct jstr *s, size_t at)
{
    bool comment = s->len - at >= 4 && !memcmp(s->s + at, "<!--", 4);
    size_t from = at + (comment ? 4 : 0), n = comment ? 3 : 1;
    const char *end = memmem(s->s + from, s->len - from, comment ? "-->" : ">", n);
    return end ? (size_t)(end - s->s) + n : SIZE_MAX;
}

static struct jstr *without_tags(struct jrender *r, const struct jstr *s)
{
    struct jbuild b;
    size_t at = 0;
    jbuild_init(&b, r);
    while (at < s->len) {
        const char *start = memchr(s->s + at, '<', s->len - at);
        size_t from = start ? (size_t)(start - s->s) : s->len, end = start ? tag_end(s, from) : SIZE_MAX;
        if (end == SIZE_MAX)
            break;
        jbuild_sub(&b, s, at, from);
        at = end;
    }
    jbuild_sub(&b, s, at, s->len);
    return jbuild_done(&b).s;
}

static struct jstr *single_spaces(struct jrender *r, const struct jstr *s)
{
    struct jbuild b;
    jbuild_init(&b, r);
    for (size_t at = jspace_start(s->s, s->len), end; at < s->len; at = end + jspace_start(s->s + end, s->len - end)) {
        if (b.len)
            jbuild_text(&b, " ");
        for (end = at; end < s->len;) {
            size_t next = end;
            if (jchar_is_space(utf8_next(s->s, s->len, &next)))
                break;
            end = next;
        }
        jbuild_sub(&b, s, at, end);
    }
    return jbuild_done(&b).s;
}

struct jv jfilter_striptags(struct jrender *r, struct jv v, const struct jargs *args)
{
    struct jstr plain = *jv_to_str(r, v);
    (void)args;
    plain.markup = false;
    return unescape(r, single_spaces(r, without_tags(r, &plain)));
}
