/* Reading tokenizer.json. The vocabulary and the merges, nearly all of a file of many megabytes, are read in place by a
 * small scanner; what is left after cutting them out is small and goes through jansson. */
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "text/tokenizer_impl.h"
#include "text/utf8.h"

/* --- fields of parsed objects --- */

int field_bool(const json_t *o, const char *key, const char *place, bool *out, struct err *e)
{
    const json_t *v = json_object_get(o, key);
    if (!json_is_boolean(v))
        return err_set(e, "%s: %s is %s, expected true or false", place, key, v ? "something else" : "missing");
    *out = json_is_true(v);
    return 0;
}

int field_bool_or(const json_t *o, const char *key, bool fallback, const char *place, bool *out, struct err *e)
{
    if (json_object_get(o, key))
        return field_bool(o, key, place, out, e);
    *out = fallback;
    return 0;
}

int field_text(const json_t *o, const char *key, const char *place, bool required, char **out, size_t *len, struct err *e)
{
    const json_t *v = json_object_get(o, key);
    *out = NULL;
    *len = 0;
    if ((!v || json_is_null(v)) && !required)
        return 0;
    if (!json_is_string(v))
        return err_set(e, "%s: %s is %s, expected a string", place, key, v ? "something else" : "missing");
    *len = json_string_length(v);
    *out = mem_strndup(json_string_value(v), *len);
    return 0;
}

const char *field_type(const json_t *o, const char *place, struct err *e)
{
    const char *type = json_string_value(json_object_get(o, "type"));
    if (!type)
        err_set(e, "%s: no \"type\", expected an object that names its type", place);
    return type;
}

/* --- the scanner --- */

struct scan {
    const char *start, *p, *end;
    struct buf text; /* the string read last, when it held escapes */
};

static void skip_space(struct scan *s)
{
    while (s->p < s->end && (*s->p == ' ' || *s->p == '\n' || *s->p == '\t' || *s->p == '\r'))
        s->p++;
}

static bool take(struct scan *s, char c)
{
    skip_space(s);
    if (s->p == s->end || *s->p != c)
        return false;
    s->p++;
    return true;
}

static int bad(struct scan *s, const char *place, const char *what, struct err *e)
{
    return err_set(e, "%s: not valid at byte %zu, expected %s", place, (size_t)(s->p - s->start), what);
}

/* Past the string at p (its opening quote), which must be there. */
static bool skip_string(struct scan *s)
{
    const char *p = s->p + 1;
    while (p < s->end && *p != '"')
        p += *p == '\\' ? 2 : 1;
    s->p = p < s->end ? p + 1 : s->end;
    return p < s->end;
}

static bool skip_value(struct scan *s)
{
    size_t depth = 0;
    skip_space(s);
    do {
        if (s->p >= s->end)
            return false;
        char c = *s->p;
        if (c == '"') {
            if (!skip_string(s))
                return false;
            continue;
        }
        if (depth == 0 && (c == ',' || c == '}' || c == ']'))
            return true;
        depth += c == '{' || c == '[';
        depth -= c == '}' || c == ']';
        s->p++;
    } while (depth || (s->p < s->end && !strchr(",}] \n\r\t", *s->p) && s->p[-1] != '}' && s->p[-1] != ']' && s->p[-1] != '"'));
    return true;
}

static int hex4(const char *p, const char *end)
{
    int v = 0;
    if (end - p < 4)
        return -1;
    for (int i = 0; i < 4; i++) {
        char c = p[i];
        int d = c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
        if (d < 0)
            return -1;
        v = v << 4 | d;
    }
    return v;
}

static bool read_escape(struct scan *s)
{
    static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
    const char *at = s->p < s->end ? memchr(from, *s->p, 8) : NULL;
    if (at) {
        buf_add_char(&s->text, to[at - from]);
        return s->p++, true;
    }
    int unit = s->p < s->end && *s->p == 'u' ? hex4(s->p + 1, s->end) : -1;
    if (unit < 0)
        return false;
    s->p += 5;
    uint32_t c = (uint32_t)unit;
    if (c >= 0xD800 && c < 0xE000) {
        int low = c < 0xDC00 && s->end - s->p > 6 && s->p[0] == '\\' && s->p[1] == 'u' ? hex4(s->p + 2, s->end) : -1;
        if (low < 0xDC00 || low > 0xDFFF)
            return false;
        s->p += 6;
        c = 0x10000 + ((c - 0xD800) << 10) + ((uint32_t)low - 0xDC00);
    }
    char utf8[4];
    buf_add(&s->text, utf8, (size_t)utf8_put(utf8, c));
    return true;
}

/* Reads a string; *at stays good until the next string with escapes is read into the same scanner. */
static bool read_string(struct scan *s, const char **at, size_t *len)
{
    if (!take(s, '"'))
        return false;
    const char *from = s->p;
    while (s->p < s->end && *s->p != '"' && *s->p != '\\' && (unsigned char)*s->p >= 0x20)
        s->p++;
    if (s->p < s->end && *s->p == '"') {
        *at = from;
        *len = (size_t)(s->p++ - from);
        return true;
    }
    buf_clear(&s->text);
    buf_add(&s->text, from, (size_t)(s->p - from));
    while (s->p < s->end && (unsigned char)*s->p >= 0x20) {
        if (*s->p == '"') {
            s->p++;
            *at = buf_str(&s->text);
            *len = s->text.len;
            return true;
        }
        if (*s->p == '\\') {
            s->p++;
            if (!read_escape(s))
                return false;
        } else {
            buf_add_char(&s->text, *s->p++);
        }
    }
    return false;
}

static int read_vocab(struct vocab *v, struct scan *s, struct err *e)
{
    const char *place = "model.vocab";
    if (!take(s, '{'))
        return bad(s, place, "an object of token: id", e);
    if (take(s, '}'))
        return 0;
    do {
        const char *text;
        size_t len;
        if (!read_string(s, &text, &len) || !take(s, ':'))
            return bad(s, place, "\"token\": id", e);
        skip_space(s);
        uint64_t id = 0;
        const char *from = s->p;
        while (s->p < s->end && *s->p >= '0' && *s->p <= '9' && id < TOKENIZER_MAX_ID)
            id = id * 10 + (uint64_t)(*s->p++ - '0');
        if (s->p == from || id >= TOKENIZER_MAX_ID)
            return bad(s, place, "an id below 16777216", e);
        if (id < v->size && v->tokens[id].at != TOKENIZER_NONE && vocab_find(v, text, len) != id)
            return err_set(e, "%s: two tokens have the id %u", place, (unsigned)id);
        vocab_add(v, text, len, (uint32_t)id);
    } while (take(s, ','));
    return take(s, '}') ? 0 : bad(s, place, "',' or '}'", e);
}

/* The token that two parts make. Rules mostly come in the order of the tokens they make: the next one is looked at first. */
static uint32_t find_joint(const struct bpe *b, const char *s, size_t len)
{
    const struct merges *m = &b->merges;
    uint32_t last = m->n ? m->result[m->n - 1] : 0;
    for (uint32_t id = last; id < b->vocab.size && id <= last + 1; id++) {
        struct token_ref ref = b->vocab.tokens[id];
        if (ref.at != TOKENIZER_NONE && ref.len == len && !memcmp(b->vocab.pool.data + ref.at, s, len))
            return id;
    }
    return vocab_find(&b->vocab, s, len);
}

static int add_rule(struct bpe *b, size_t number, const char *left, size_t left_len, const char *right, size_t right_len,
                    struct buf *joined, struct err *e)
{
    uint32_t l = vocab_find(&b->vocab, left, left_len), r = vocab_find(&b->vocab, right, right_len);
    buf_clear(joined);
    buf_add(joined, left, left_len);
    if (right_len >= b->prefix_len)
        buf_add(joined, right + b->prefix_len, right_len - b->prefix_len);
    uint32_t both = find_joint(b, buf_str(joined), joined->len);
    if (l == TOKENIZER_NONE || r == TOKENIZER_NONE || both == TOKENIZER_NONE || right_len < b->prefix_len)
        return err_set(e, "model.merges: rule %zu, '%.*s' and '%.*s': %s is not in the vocabulary", number, (int)left_len, left,
                       (int)right_len, right, l == TOKENIZER_NONE ? "the first" : r == TOKENIZER_NONE ? "the second" : "their joint");
    merges_add(&b->merges, l, r, both);
    return 0;
}

/* One rule: "a b" or ["a", "b"]. The parts of a pair are kept apart because both may hold escapes. */
static int read_rule(struct bpe *b, struct scan *s, bool pairs, size_t number, struct buf parts[2], struct err *e)
{
    const char *place = "model.merges", *text, *gap;
    size_t len;
    if (pairs) {
        if (!take(s, '[') || !read_string(s, &text, &len))
            return bad(s, place, "[\"a\", \"b\"]", e);
        buf_clear(&parts[0]);
        buf_add(&parts[0], text, len);
        if (!take(s, ',') || !read_string(s, &text, &len) || !take(s, ']'))
            return bad(s, place, "[\"a\", \"b\"]", e);
        return add_rule(b, number, buf_str(&parts[0]), parts[0].len, text, len, &parts[1], e);
    }
    if (!read_string(s, &text, &len))
        return bad(s, place, "\"a b\"", e);
    if (len >= 8 && !memcmp(text, "#version", 8))
        return 0;
    gap = memchr(text, ' ', len);
    if (!gap || memchr(gap + 1, ' ', len - (size_t)(gap + 1 - text)))
        return err_set(e, "%s: rule %zu is '%.*s', expected two tokens with one blank between", place, number, (int)len, text);
    return add_rule(b, number, text, (size_t)(gap - text), gap + 1, len - (size_t)(gap + 1 - text), &parts[1], e);
}

/* An upper bound of the number of rules, for sizing: a string each, or two. */
static size_t count_rules(const struct scan *s, bool pairs)
{
    struct scan c = *s;
    size_t quotes = 0;
    for (; c.p < c.end; c.p++)
        quotes += *c.p == '"';
    return quotes / (pairs ? 4 : 2);
}

static int read_merges(struct bpe *b, struct scan *s, struct err *e)
{
    if (!take(s, '['))
        return bad(s, "model.merges", "a list", e);
    skip_space(s);
    bool pairs = s->p < s->end && *s->p == '[';
    if (merges_init(&b->merges, b->vocab.size, count_rules(s, pairs), e))
        return -1;
    if (take(s, ']'))
        return 0;
    struct buf parts[2] = {BUF_INIT, BUF_INIT};
    int result = 0;
    size_t number = 0;
    do
        result = read_rule(b, s, pairs, number++, parts, e);
    while (!result && take(s, ','));
    buf_release(&parts[0]);
    buf_release(&parts[1]);
    if (!result && !take(s, ']'))
        result = bad(s, "model.merges", "',' or ']'", e);
    return result;
}

/* --- the file --- */

struct cut { const char *start, *end; }; /* start NULL: not there */

/* Finds the values of model.vocab and model.merges. What is not as expected is left to jansson to complain about. */
static void find_cuts(struct scan *s, bool inside_model, struct cut *vocab, struct cut *merges)
{
    const char *key;
    size_t len;
    if (!take(s, '{'))
        return;
    while (read_string(s, &key, &len) && take(s, ':')) {
        skip_space(s);
        const char *from = s->p;
        bool found = false;
        if (!inside_model && len == 5 && !memcmp(key, "model", 5)) {
            struct scan model = {s->start, s->p, s->end, BUF_INIT};
            find_cuts(&model, true, vocab, merges);
            found = take(&model, '}');
            buf_release(&model.text);
            s->p = found ? model.p : from;
        }
        if (!found && !skip_value(s))
            return;
        if (inside_model && len == 5 && !memcmp(key, "vocab", 5))
            *vocab = (struct cut){from, s->p};
        if (inside_model && len == 6 && !memcmp(key, "merges", 6))
            *merges = (struct cut){from, s->p};
        if (!take(s, ','))
            return;
    }
}

/* The text with the two values replaced by null. */
static json_t *parse_rest(const char *json, size_t len, const struct cut *vocab, const struct cut *merges, struct err *e)
{
    struct buf rest = BUF_INIT;
    const struct cut *first = vocab, *second = merges;
    if (first->start > second->start)
        first = merges, second = vocab;
    const char *from = json;
    for (int i = 0; i < 2; i++) {
        const struct cut *c = i ? second : first;
        if (!c->start || c->start < from)
            continue;
        buf_add(&rest, from, (size_t)(c->start - from));
        buf_add_str(&rest, "null");
        from = c->end;
    }
    buf_add(&rest, from, (size_t)(json + len - from));
    json_error_t error;
    json_t *root = json_loadb(rest.data, rest.len, JSON_ALLOW_NUL | JSON_REJECT_DUPLICATES, &error);
    if (!root)
        err_set(e, "not valid JSON: %s", error.text);
    buf_release(&rest);
    return root;
}

static int check_top(const json_t *root, struct err *e)
{
    static const char *const known[] = {"version", "truncation", "padding", "added_tokens", "normalizer", "pre_tokenizer",
                                        "post_processor", "decoder", "model", NULL};
    const char *key;
    json_t *value;
    if (!json_is_object(root))
        return err_set(e, "the file is not a JSON object");
    json_object_foreach((json_t *)root, key, value) {
        size_t i = 0;
        while (known[i] && strcmp(known[i], key))
            i++;
        if (!known[i])
            return err_set(e, "%s: unknown key", key);
    }
    const json_t *version = json_object_get(root, "version");
    if (version && (!json_is_string(version) || strcmp(json_string_value(version), "1.0")))
        return err_set(e, "version: expected \"1.0\"");
    return 0;
}

static int parse_model(struct bpe *b, const json_t *model, struct err *e)
{
    const char *place = "model";
    if (!json_is_object(model))
        return err_set(e, "model: missing, expected an object");
    const json_t *type = json_object_get(model, "type"), *dropout = json_object_get(model, "dropout");
    if (type && (!json_is_string(type) || strcmp(json_string_value(type), "BPE")))
        return err_set(e, "model: type %s is not supported, expected BPE", json_is_string(type) ? json_string_value(type) : "?");
    if (dropout && !json_is_null(dropout) && json_number_value(dropout) != 0)
        return err_set(e, "model: dropout is not supported, expected null");
    if (field_text(model, "unk_token", place, false, &b->unk_token, &b->unk_len, e) ||
        field_text(model, "continuing_subword_prefix", place, false, &b->prefix, &b->prefix_len, e) ||
        field_text(model, "end_of_word_suffix", place, false, &b->suffix, &b->suffix_len, e) ||
        field_bool_or(model, "fuse_unk", false, place, &b->fuse_unk, e) ||
        field_bool_or(model, "byte_fallback", false, place, &b->byte_fallback, e) ||
        field_bool_or(model, "ignore_merges", false, place, &b->ignore_merges, e))
        return -1;
    return 0;
}

static int load_model(struct bpe *b, const char *json, const struct cut *vocab, const struct cut *merges, struct err *e)
{
    struct scan s = {json, vocab->start, vocab->end, BUF_INIT};
    if (!vocab->start || !merges->start)
        return err_set(e, "model: no %s, expected a BPE model", vocab->start ? "merges" : "vocab");
    int result = read_vocab(&b->vocab, &s, e);
    if (!result) {
        s.p = merges->start, s.end = merges->end;
        result = read_merges(b, &s, e);
    }
    buf_release(&s.text);
    return result;
}

static int load_parts(struct tokenizer *t, const json_t *root, struct err *e)
{
    if (normalizer_parse(&t->normalizer, json_object_get(root, "normalizer"), "normalizer", e) ||
        pre_tokenizer_parse(&t->pre, json_object_get(root, "pre_tokenizer"), "pre_tokenizer", e) ||
        tok_decoder_parse(&t->decoder, json_object_get(root, "decoder"), "decoder", e) ||
        post_parse(t, json_object_get(root, "post_processor"), "post_processor", e))
        return -1;
    return added_parse(t, json_object_get(root, "added_tokens"), e);
}

int tokenizer_load(struct tokenizer *t, const char *json, size_t len, struct err *e)
{
    size_t good = utf8_valid(json, len);
    if (good < len)
        return err_set(e, "not valid UTF-8 at byte %zu", good);
    if (len >= TOKENIZER_MAX_TEXT)
        return err_set(e, "%zu bytes, expected less than 1 GiB", len);
    struct scan s = {json, json, json + len, BUF_INIT};
    struct cut vocab = {NULL, NULL}, merges = {NULL, NULL};
    find_cuts(&s, false, &vocab, &merges);
    buf_release(&s.text);
    json_t *root = parse_rest(json, len, &vocab, &merges, e);
    int result = root ? 0 : -1;
    if (!result && (check_top(root, e) || parse_model(&t->bpe, json_object_get(root, "model"), e) ||
                    load_model(&t->bpe, json, &vocab, &merges, e) || load_parts(t, root, e)))
        result = -1;
    json_decref(root);
    return result;
}
