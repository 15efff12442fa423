/* One sample's line of a chat stream, written and read without a JSON tree: this is the hot path of the pipe. */
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "text/chat_stream.h"
#include "text/utf8.h"

/* ---- writing ---- */

static bool plain(unsigned char c)
{
    return c >= 0x20 && c != '"' && c != '\\';
}

static void put_string(struct buf *b, const char *s, size_t len)
{
    buf_add_char(b, '"');
    for (size_t i = 0, from = 0; i <= len; i++) {
        if (i < len && plain((unsigned char)s[i]))
            continue;
        buf_add(b, s + from, i - from);
        from = i + 1;
        if (i == len)
            break;
        unsigned char c = (unsigned char)s[i];
        const char *at = strchr("\"\"\\\\\nn\tt\rr\bb\ff", c);
        if (c && at) {
            buf_add(b, (char[]){'\\', at[1]}, 2);
        } else {
            static const char hex[] = "0123456789abcdef";
            buf_add(b, (char[]){'\\', 'u', '0', '0', hex[c >> 4], hex[c & 15]}, 6);
        }
    }
    buf_add_char(b, '"');
}

void chat_sample_begin(struct buf *b, const char *source, int64_t record)
{
    struct buf name = BUF_INIT; /* file names are bytes, JSON is UTF-8 */
    utf8_add_lossy(&name, source, strlen(source));
    buf_add_str(b, "{\"sample\":[");
    put_string(b, buf_str(&name), name.len);
    buf_printf(b, ",%lld],\"spans\":[", (long long)record);
    buf_release(&name);
}

void chat_sample_span(struct buf *b, const char *text, size_t len, bool train, bool data)
{
    if (!len)
        return;
    if (b->data[b->len - 1] == ']')
        buf_add_char(b, ',');
    buf_add_str(b, data ? train ? "[\"dt\"," : "[\"d\"," : train ? "[\"t\"," : "[\"\",");
    put_string(b, text, len);
    buf_add_char(b, ']');
}

void chat_sample_end(struct buf *b)
{
    buf_add_str(b, "]}\n");
}

void chat_sample_answer(struct buf *b, const char *name)
{
    buf_printf(b, "],\"%s\":[", name);
}

void chat_sample_end_label(struct buf *b, bool label)
{
    buf_printf(b, "],\"label\":%s}\n", label ? "true" : "false");
}

/* ---- reading ---- */

struct cursor { const char *p, *end; };

static int bad(const struct cursor *c, const char *line, struct err *e, const char *what)
{
    return err_set(e, "%s at byte %lld of the line", what, (long long)(c->p - line) + 1);
}

static void skip_space(struct cursor *c)
{
    while (c->p < c->end && (*c->p == ' ' || *c->p == '\t' || *c->p == '\r' || *c->p == '\n'))
        c->p++;
}

/* The next character that is not white space, if it is `ch`. */
static bool take(struct cursor *c, char ch)
{
    skip_space(c);
    return c->p < c->end && *c->p == ch ? c->p++, true : false;
}

static int take_hex(struct cursor *c)
{
    int v = 0;
    if (c->end - c->p < 4)
        return -1;
    for (int i = 0; i < 4; i++, c->p++) {
        char ch = *c->p;
        int d = ch >= '0' && ch <= '9' ? ch - '0' : ch >= 'a' && ch <= 'f' ? ch - 'a' + 10 : ch >= 'A' && ch <= 'F' ? ch - 'A' + 10 : -1;
        if (d < 0)
            return -1;
        v = v << 4 | d;
    }
    return v;
}

/* Behind a backslash. */
static bool take_escape(struct cursor *c, struct buf *out)
{
    static const char names[] = "\"\"\\\\//n\nt\tr\rb\bf\f";
    char ch = c->p < c->end ? *c->p++ : 0;
    if (ch != 'u') {
        for (size_t i = 0; i + 1 < sizeof names; i += 2)
            if (names[i] == ch)
                return buf_add_char(out, names[i + 1]), true;
        return false;
    }
    int v = take_hex(c);
    if (v < 0 || (v >= 0xDC00 && v < 0xE000))
        return false;
    if (v >= 0xD800 && v < 0xDC00) {
        if (c->end - c->p < 6 || c->p[0] != '\\' || c->p[1] != 'u')
            return false;
        c->p += 2;
        int low = take_hex(c);
        if (low < 0xDC00 || low > 0xDFFF)
            return false;
        v = 0x10000 + ((v - 0xD800) << 10) + (low - 0xDC00);
    }
    char utf8[4];
    buf_add(out, utf8, (size_t)utf8_put(utf8, (uint32_t)v));
    return true;
}

/* Appends a string's contents. */
static bool take_string(struct cursor *c, struct buf *out)
{
    if (!take(c, '"'))
        return false;
    for (;;) {
        const char *from = c->p;
        while (c->p < c->end && plain((unsigned char)*c->p))
            c->p++;
        buf_add(out, from, (size_t)(c->p - from));
        if (c->p == c->end || (*c->p != '"' && *c->p != '\\'))
            return false;
        if (*c->p++ == '"')
            return true;
        if (!take_escape(c, out))
            return false;
    }
}

/* "t", "d", "dt", "td" or "". */
static bool take_flags(struct cursor *c, struct chat_part *part)
{
    if (!take(c, '"'))
        return false;
    for (; c->p < c->end && *c->p != '"'; c->p++) {
        bool *flag = *c->p == 't' ? &part->train : *c->p == 'd' ? &part->data : NULL;
        if (!flag || *flag)
            return false;
        *flag = true;
    }
    return take(c, '"');
}

static bool take_key(struct cursor *c, const char *key)
{
    size_t n = strlen(key);
    if (!take(c, '"') || (size_t)(c->end - c->p) < n + 1 || memcmp(c->p, key, n) != 0 || c->p[n] != '"')
        return false;
    c->p += n + 1;
    return take(c, ':');
}

static int take_spans(struct cursor *c, const char *line, struct chat_sample *s, struct err *e)
{
    size_t first = s->n_parts;
    if (!take(c, '['))
        return bad(c, line, e, "expected a list of spans");
    while (!take(c, ']')) {
        struct chat_part part = {.start = s->text.len};
        if (s->n_parts > first && !take(c, ','))
            return bad(c, line, e, "expected a comma or ] after a span");
        if (!take(c, '[') || !take_flags(c, &part) || !take(c, ',') || !take_string(c, &s->text) || !take(c, ']'))
            return bad(c, line, e, "not a span ([flags, text], flags of the letters t and d)");
        part.end = s->text.len;
        if (part.end == part.start)
            return bad(c, line, e, "an empty span");
        s->parts = mem_grow(s->parts, &s->cap_parts, s->n_parts + 1, sizeof *s->parts);
        s->parts[s->n_parts++] = part;
    }
    return 0;
}

static int take_answer(struct cursor *c, const char *line, const char *name, struct chat_sample *s, struct err *e)
{
    if (!take(c, ',') || !take_key(c, name))
        return err_set(e, "expected the key \"%s\" at byte %lld of the line", name, (long long)(c->p - line) + 1);
    return take_spans(c, line, s, e);
}

static bool take_label(struct cursor *c, bool *label)
{
    if (!take(c, ',') || !take_key(c, "label"))
        return false;
    skip_space(c);
    *label = c->end - c->p >= 4 && !memcmp(c->p, "true", 4);
    if (!*label && !(c->end - c->p >= 5 && !memcmp(c->p, "false", 5)))
        return false;
    c->p += *label ? 4 : 5;
    return true;
}

/* What follows the spans of the prompt in a pair or a labelled sample. */
static int take_answers(struct cursor *c, const char *line, bool pair, struct chat_sample *s, struct err *e)
{
    s->n_prompt = s->n_parts;
    for (size_t i = 0; i < s->n_prompt; i++)
        if (s->parts[i].train)
            return err_set(e, "a span of the prompt is trained");
    if (take_answer(c, line, pair ? "chosen" : "completion", s, e) < 0)
        return -1;
    s->n_chosen = s->n_parts - s->n_prompt;
    if (pair)
        return take_answer(c, line, "rejected", s, e);
    return take_label(c, &s->label) ? 0 : bad(c, line, e, "expected the key \"label\", true or false,");
}

static bool take_number(struct cursor *c, int64_t *to)
{
    skip_space(c);
    const char *from = c->p;
    for (*to = 0; c->p < c->end && *c->p >= '0' && *c->p <= '9' && c->p - from < 18; c->p++)
        *to = *to * 10 + (*c->p - '0');
    return c->p > from && *to > 0;
}

/* The prompt and each answer by itself: they are put together in more than one way. */
static int check_utf8(const struct chat_sample *s, struct err *e)
{
    const size_t ends[] = {s->n_prompt, s->n_prompt + s->n_chosen, s->n_parts};
    size_t from = 0;
    for (int i = 0; i < 3; i++) {
        size_t to = ends[i] ? s->parts[ends[i] - 1].end : 0, good = to > from ? utf8_valid(s->text.data + from, to - from) : 0;
        if (good != to - from)
            return err_set(e, "invalid UTF-8 at byte %zu of the text", from + good + 1);
        from = to;
    }
    return 0;
}

int chat_sample_parse(const char *line, size_t len, enum chat_stream_kind kind, struct chat_sample *s, struct err *e)
{
    struct cursor c = {line, line + len};
    buf_clear(&s->source);
    buf_clear(&s->text);
    s->n_parts = s->n_prompt = s->n_chosen = 0;
    s->label = false;
    if (!take(&c, '{') || !take_key(&c, "sample") || !take(&c, '[') || !take_string(&c, &s->source) || !take(&c, ',') || !take_number(&c, &s->record) ||
        !take(&c, ']') || !take(&c, ','))
        return bad(&c, line, e, "not a sample ({\"sample\":[file, record],\"spans\":[...]})");
    if (!take_key(&c, "spans"))
        return bad(&c, line, e, "expected the key \"spans\"");
    if (take_spans(&c, line, s, e) < 0)
        return -1;
    if ((kind == CHAT_PAIRS || kind == CHAT_LABELLED) && take_answers(&c, line, kind == CHAT_PAIRS, s, e) < 0)
        return -1;
    if (!take(&c, '}') || (skip_space(&c), c.p != c.end))
        return bad(&c, line, e, "expected the end of the sample");
    return check_utf8(s, e);
}

void chat_sample_release(struct chat_sample *s)
{
    buf_release(&s->source);
    buf_release(&s->text);
    free(s->parts);
    *s = (struct chat_sample){0};
}
