/* Decoders: from token strings back to text. Each step maps the list of strings to another; at the end they are joined. */
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "text/tokenizer_impl.h"
#include "text/utf8.h"

enum decode_kind { DECODE_BYTE_LEVEL, DECODE_REPLACE, DECODE_BYTE_FALLBACK, DECODE_FUSE, DECODE_STRIP, DECODE_METASPACE, DECODE_BPE,
                   DECODE_WORD_PIECE };

struct decode_step {
    enum decode_kind kind;
    struct matcher pattern; /* Replace */
    char *text;             /* Replace: content; Strip: the character; Metaspace: replacement; BPEDecoder: suffix; WordPiece: prefix */
    size_t len;
    size_t start, stop;     /* Strip */
    bool flag;              /* Metaspace: drop in the first token; WordPiece: cleanup */
};

struct decoder { struct decode_step *steps; size_t n; };

struct strings { /* string i is text[end[i - 1], end[i]) */
    struct buf text;
    size_t *end;
    size_t n, cap;
};

static void end_string(struct strings *l)
{
    l->end = mem_grow(l->end, &l->cap, l->n + 1, sizeof *l->end);
    l->end[l->n++] = l->text.len;
}

static const char *string_at(const struct strings *l, size_t i, size_t *len)
{
    size_t start = i ? l->end[i - 1] : 0;
    *len = l->end[i] - start;
    return buf_str(&l->text) + start;
}

static void strings_release(struct strings *l)
{
    buf_release(&l->text);
    free(l->end);
}

/* --- steps, each on one string; `out` gets what it becomes --- */

static void add_bytes_of(const char *s, size_t len, struct buf *out)
{
    size_t before = out->len;
    if (letters_to_bytes(s, len, out))
        return;
    buf_set_len(out, before);
    buf_add(out, s, len);
}

static int add_replaced(const struct decode_step *d, const char *s, size_t len, struct buf *out, struct err *e)
{
    struct finder f = {&d->pattern, unicode_classes(), s, len, 0, false, {NULL}};
    size_t start, end, done = 0;
    int found;
    while ((found = finder_next(&f, &start, &end, e)) == 1) {
        buf_add(out, s + done, start - done);
        buf_add(out, d->text, d->len);
        done = end;
    }
    finder_end(&f);
    buf_add(out, s + done, len - done);
    return found;
}

static void add_stripped(const struct decode_step *d, const char *s, size_t len, struct buf *out)
{
    for (size_t k = 0; k < d->start && len >= d->len && !memcmp(s, d->text, d->len); k++)
        s += d->len, len -= d->len;
    for (size_t k = 0; k < d->stop && len >= d->len && !memcmp(s + len - d->len, d->text, d->len); k++)
        len -= d->len;
    buf_add(out, s, len);
}

/* Every `from` replaced; an empty `from` (a suffix that is not there) changes nothing. */
static void add_with(const char *s, size_t len, const char *from, size_t from_len, const char *to, struct buf *out)
{
    const char *hit;
    while (from_len && (hit = memmem(s, len, from, from_len))) {
        buf_add(out, s, (size_t)(hit - s));
        buf_add_str(out, to);
        len -= (size_t)(hit - s) + from_len;
        s = hit + from_len;
    }
    buf_add(out, s, len);
}

static void clean_up(struct buf *text, size_t start)
{
    static const char *const rules[][2] = {{" .", "."}, {" ?", "?"}, {" !", "!"}, {" ,", ","}, {" ' ", "'"}, {" n't", "n't"}, {" 'm", "'m"},
                                           {" do not", " don't"}, {" 's", "'s"}, {" 've", "'ve"}, {" 're", "'re"}};
    for (size_t i = 0; i < sizeof rules / sizeof *rules; i++) {
        char *old = mem_strndup(text->data + start, text->len - start);
        size_t len = text->len - start;
        buf_set_len(text, start);
        add_with(old, len, rules[i][0], strlen(rules[i][0]), rules[i][1], text);
        free(old);
    }
}

static void add_word_piece(const struct decode_step *d, const char *s, size_t len, bool first, struct buf *out)
{
    size_t start = out->len;
    buf_reserve(out, len + 1);
    if (!first && len >= d->len && !memcmp(s, d->text, d->len)) {
        buf_add(out, s + d->len, len - d->len);
    } else {
        buf_add(out, " ", first ? 0 : 1);
        buf_add(out, s, len);
    }
    if (d->flag)
        clean_up(out, start);
}

static int hex_digit(char c)
{
    return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* The byte that "<0xHH>" stands for, or -1. "+" as the first digit is taken as the reference's number parser takes it. */
static int byte_token(const char *s, size_t len)
{
    if (len != 6 || memcmp(s, "<0x", 3) || s[5] != '>')
        return -1;
    int high = s[3] == '+' ? 0 : hex_digit(s[3]), low = hex_digit(s[4]);
    return high < 0 || low < 0 ? -1 : high << 4 | low;
}

/* Runs of byte tokens become one string when they are valid UTF-8, else one U+FFFD for each of them. */
static void byte_fallback(const struct strings *in, struct strings *out)
{
    struct buf run = BUF_INIT;
    for (size_t i = 0; i <= in->n; i++) {
        size_t len = 0;
        const char *s = i < in->n ? string_at(in, i, &len) : NULL;
        int byte = s ? byte_token(s, len) : -1;
        if (byte >= 0) {
            buf_add_char(&run, (char)byte);
            continue;
        }
        if (run.len && utf8_valid(run.data, run.len) == run.len) {
            buf_add(&out->text, run.data, run.len);
            end_string(out);
        } else {
            for (size_t k = 0; k < run.len; k++) {
                buf_add_str(&out->text, "\xEF\xBF\xBD");
                end_string(out);
            }
        }
        buf_clear(&run);
        if (s) {
            buf_add(&out->text, s, len);
            end_string(out);
        }
    }
    buf_release(&run);
}

static int decode_one(const struct decode_step *d, const char *s, size_t len, bool first, bool last, struct buf *out, struct err *e)
{
    switch (d->kind) {
    case DECODE_BYTE_LEVEL:
        add_bytes_of(s, len, out);
        break;
    case DECODE_REPLACE:
        return add_replaced(d, s, len, out, e);
    case DECODE_STRIP:
        add_stripped(d, s, len, out);
        break;
    case DECODE_METASPACE:
        add_with(s, len, d->text, d->len, first && d->flag ? "" : " ", out);
        break;
    case DECODE_BPE:
        add_with(s, len, d->text, d->len, last ? "" : " ", out);
        break;
    case DECODE_WORD_PIECE:
        add_word_piece(d, s, len, first, out);
        break;
    default:
        buf_add(out, s, len);
    }
    return 0;
}

static int run_step(const struct decode_step *d, const struct strings *in, struct strings *out, struct err *e)
{
    if (d->kind == DECODE_BYTE_FALLBACK) {
        byte_fallback(in, out);
        return 0;
    }
    bool fuses = d->kind == DECODE_FUSE || d->kind == DECODE_BYTE_LEVEL;
    for (size_t i = 0; i < in->n; i++) {
        size_t len;
        const char *s = string_at(in, i, &len);
        if (decode_one(d, s, len, i == 0, i + 1 == in->n, &out->text, e))
            return -1;
        if (!fuses)
            end_string(out);
    }
    if (!fuses)
        return 0;
    if (d->kind == DECODE_BYTE_LEVEL) {
        struct buf bytes = out->text;
        out->text = (struct buf)BUF_INIT;
        utf8_add_lossy(&out->text, buf_str(&bytes), bytes.len);
        buf_release(&bytes);
    }
    end_string(out);
    return 0;
}

static void add_token_strings(const struct tokenizer *t, const uint32_t *ids, size_t n, bool skip_special, struct strings *l)
{
    for (size_t i = 0; i < n; i++) {
        const struct added_token *a = added_by_id(&t->added, ids[i]);
        if (a && skip_special && a->skipped)
            continue;
        size_t len;
        const char *s = tokenizer_token(t, ids[i], &len);
        if (!s)
            continue;
        buf_add(&l->text, s, len);
        end_string(l);
    }
}

int tok_decoder_run(const struct tokenizer *t, const uint32_t *ids, size_t n, bool skip_special, struct buf *out, struct err *e)
{
    struct strings lists[2] = {{BUF_INIT, NULL, 0, 0}, {BUF_INIT, NULL, 0, 0}};
    int at = 0, result = 0;
    add_token_strings(t, ids, n, skip_special, &lists[0]);
    for (size_t i = 0; t->decoder && i < t->decoder->n && !result; i++) {
        lists[!at].n = 0;
        buf_clear(&lists[!at].text);
        result = run_step(&t->decoder->steps[i], &lists[at], &lists[!at], e);
        at = !at;
    }
    for (size_t i = 0; i < lists[at].n && !result; i++) {
        size_t len;
        const char *s = string_at(&lists[at], i, &len);
        if (i && !t->decoder)
            buf_add_char(out, ' ');
        buf_add(out, s, len);
    }
    strings_release(&lists[0]);
    strings_release(&lists[1]);
    return result;
}

/* --- from JSON --- */

static int parse_count(const json_t *json, const char *key, const char *place, size_t *out, struct err *e)
{
    const json_t *v = json_object_get(json, key);
    if (!json_is_integer(v) || json_integer_value(v) < 0)
        return err_set(e, "%s: %s is %s, expected a count", place, key, v ? "something else" : "missing");
    *out = (size_t)json_integer_value(v);
    return 0;
}

static int one_char(const struct decode_step *d, const char *place, struct err *e)
{
    return d->len && utf8_count(d->text, d->len) == 1 ? 0 : err_set(e, "%s: expected a single character, found '%s'", place, d->text);
}

static int parse_metaspace(struct decode_step *d, const json_t *json, const char *place, struct err *e)
{
    const json_t *scheme = json_object_get(json, "prepend_scheme");
    const char *name = scheme ? json_string_value(scheme) : "always";
    if (field_text(json, "replacement", place, true, &d->text, &d->len, e) || one_char(d, place, e))
        return -1;
    if (!name || (strcmp(name, "always") && strcmp(name, "first") && strcmp(name, "never")))
        return err_set(e, "%s: prepend_scheme %s, expected always, first or never", place, name ? name : "?");
    d->flag = strcmp(name, "never") != 0;
    return 0;
}

static int parse_step(struct decode_step *d, const json_t *json, const char *type, const char *place, struct err *e)
{
    static const struct { const char *type; enum decode_kind kind; } kinds[] = {
        {"ByteLevel", DECODE_BYTE_LEVEL}, {"Replace", DECODE_REPLACE}, {"ByteFallback", DECODE_BYTE_FALLBACK}, {"Fuse", DECODE_FUSE},
        {"Strip", DECODE_STRIP}, {"Metaspace", DECODE_METASPACE}, {"BPEDecoder", DECODE_BPE}, {"WordPiece", DECODE_WORD_PIECE},
    };
    size_t k = 0;
    while (k < sizeof kinds / sizeof *kinds && strcmp(kinds[k].type, type))
        k++;
    if (k == sizeof kinds / sizeof *kinds)
        return err_set(e, "%s: type %s is not supported", place, type);
    d->kind = kinds[k].kind;
    switch (d->kind) {
    case DECODE_REPLACE:
        return matcher_parse(&d->pattern, json_object_get(json, "pattern"), place, e) ||
               field_text(json, "content", place, true, &d->text, &d->len, e) ? -1 : 0;
    case DECODE_STRIP:
        return field_text(json, "content", place, true, &d->text, &d->len, e) || one_char(d, place, e) ||
               parse_count(json, "start", place, &d->start, e) || parse_count(json, "stop", place, &d->stop, e) ? -1 : 0;
    case DECODE_METASPACE:
        return parse_metaspace(d, json, place, e);
    case DECODE_BPE:
        return field_text(json, "suffix", place, true, &d->text, &d->len, e);
    case DECODE_WORD_PIECE:
        return field_text(json, "prefix", place, true, &d->text, &d->len, e) || field_bool(json, "cleanup", place, &d->flag, e) ? -1 : 0;
    default:
        return 0;
    }
}

static int parse_steps(struct decoder *d, const json_t *json, const char *place, struct err *e)
{
    const char *type = field_type(json, place, e);
    if (!type)
        return -1;
    if (!strcmp(type, "Sequence")) {
        const json_t *list = json_object_get(json, "decoders");
        if (!json_is_array(list))
            return err_set(e, "%s: decoders is missing, expected a list", place);
        for (size_t i = 0; i < json_array_size(list); i++)
            if (parse_steps(d, json_array_get(list, i), place, e))
                return -1;
        return 0;
    }
    d->steps = mem_array(d->steps, d->n + 1, sizeof *d->steps);
    d->steps[d->n] = (struct decode_step){0};
    return parse_step(&d->steps[d->n++], json, type, place, e);
}

int tok_decoder_parse(struct decoder **d, const json_t *json, const char *place, struct err *e)
{
    if (!json || json_is_null(json))
        return 0;
    *d = mem_zalloc(1, sizeof **d);
    return parse_steps(*d, json, place, e);
}

void tok_decoder_free(struct decoder *d)
{
    if (!d)
        return;
    for (size_t i = 0; i < d->n; i++) {
        matcher_release(&d->steps[i].pattern);
        free(d->steps[i].text);
    }
    free(d->steps);
    free(d);
}
