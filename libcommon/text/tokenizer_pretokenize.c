/* Pre-tokenizers: cut a text into the pieces that the model sees one by one. */
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "text/tokenizer_impl.h"
#include "text/utf8.h"

void pieces_add(struct pieces *p, size_t start, size_t end)
{
    if (p->n == p->cap)
        p->items = mem_grow(p->items, &p->cap, p->n + 1, sizeof *p->items);
    p->items[p->n++] = (struct piece){(uint32_t)start, (uint32_t)end};
}

/* --- splitting one piece --- */

/* The spans of the piece in order: matches and the gaps between them. Matches have the low bit of `start` set. */
static int find_spans(const struct matcher *m, const char *s, struct piece piece, struct pieces *spans, struct err *e)
{
    struct finder f = {m, unicode_classes(), s + piece.start, piece.end - piece.start, 0, false, {NULL}};
    size_t start, end, done = 0;
    int found;
    spans->n = 0;
    while ((found = finder_next(&f, &start, &end, e)) == 1) {
        if (start > done)
            pieces_add(spans, (piece.start + done) << 1, piece.start + start);
        pieces_add(spans, (piece.start + start) << 1 | 1, piece.start + end);
        done = end;
    }
    if (done < f.len)
        pieces_add(spans, (piece.start + done) << 1, piece.end);
    finder_end(&f);
    return found;
}

static void add_filled(struct pieces *out, size_t start, size_t end)
{
    if (start < end)
        pieces_add(out, start, end);
}

/* Joins spans as the behaviour says. A span joins its neighbour on the side that the behaviour names when it is a match and
 * the one there is not; Contiguous joins neighbours of one kind. */
static void join_spans(const struct pieces *spans, const struct pre_step *step, struct pieces *out)
{
    bool invert = step->invert;
    size_t from = 0;
    for (size_t i = 0; i < spans->n; i++) {
        bool match = (spans->items[i].start & 1) != invert, last = i + 1 == spans->n;
        bool next = !last && (spans->items[i + 1].start & 1) != invert;
        size_t start = spans->items[i].start >> 1, end = spans->items[i].end;
        if (i == 0)
            from = start;
        if (step->behavior == SPLIT_REMOVED && match) {
            from = end;
            continue;
        }
        bool joined = !last && ((step->behavior == SPLIT_PREVIOUS && !match && next) || (step->behavior == SPLIT_NEXT && match && !next) ||
                                (step->behavior == SPLIT_CONTIGUOUS && match == next));
        if (!joined) {
            add_filled(out, from, end);
            from = end;
        }
    }
}

static int split_piece(const struct pre_step *step, const char *s, struct piece piece, struct pieces *spans, struct pieces *out, struct err *e)
{
    if (step->pattern.kind == MATCH_KNOWN && step->behavior == SPLIT_ISOLATED) {
        const uint8_t *classes = unicode_classes();
        size_t len = piece.end - piece.start;
        for (size_t i = 0, end; i < len; i = end) {
            end = step->pattern.known(classes, s + piece.start, len, i);
            pieces_add(out, piece.start + i, piece.start + end);
        }
        return 0;
    }
    if (find_spans(&step->pattern, s, piece, spans, e) < 0)
        return -1;
    join_spans(spans, step, out);
    return 0;
}

/* --- steps that change the text --- */

/* Puts `prefix` before what is copied of the piece next; it stands for the piece's first byte. */
static void put_prefix(struct aligned *out, const struct text_view *v, size_t start, const char *prefix, size_t len)
{
    aligned_put(out, prefix, len, view_from(v, start), view_to(v, start));
}

/* `whole`: nothing has cut the text yet, so its piece begins where the text does, also when a normalizer took that part away. */
static void metaspace_piece(const struct pre_step *step, const struct text_view *v, struct piece piece, bool whole, struct aligned *out)
{
    size_t start = piece.start, len = (size_t)step->replacement_len;
    bool marked = v->s[start] == ' ' || (piece.end - start >= len && !memcmp(v->s + start, step->replacement, len));
    bool first = (whole ? v->base : view_from(v, start)) == 0;
    if (!marked && (step->scheme == PREPEND_ALWAYS || (step->scheme == PREPEND_FIRST && first)))
        put_prefix(out, v, start, step->replacement, len);
    for (size_t i = start; i < piece.end;) {
        const char *space = memchr(v->s + i, ' ', piece.end - i);
        size_t end = space ? (size_t)(space - v->s) : piece.end;
        aligned_copy(out, v, i, end);
        if (space)
            aligned_put(out, step->replacement, len, view_from(v, end), view_to(v, end));
        i = end + (space != NULL);
    }
}

static void byte_level_piece(const struct pre_step *step, const struct text_view *v, struct piece piece, struct aligned *out)
{
    if (step->prefix_space && v->s[piece.start] != ' ')
        put_prefix(out, v, piece.start, " ", 1);
    aligned_copy(out, v, piece.start, piece.end);
}

static bool changes_text(const struct pre_step *step)
{
    return step->kind == PRE_METASPACE || (step->kind == PRE_BYTE_LEVEL && step->prefix_space);
}

/* Rewrites every piece; the new pieces are `out`. */
static void rewrite(const struct pre_step *step, struct text_view *v, const struct pieces *in, struct pieces *out, struct aligned *text)
{
    bool whole = in->n == 1 && in->items[0].start == 0 && in->items[0].end == v->len;
    text->len = 0;
    out->n = 0;
    for (size_t i = 0; i < in->n; i++) {
        size_t start = text->len;
        if (step->kind == PRE_METASPACE)
            metaspace_piece(step, v, in->items[i], whole, text);
        else
            byte_level_piece(step, v, in->items[i], text);
        pieces_add(out, start, text->len);
    }
    *v = aligned_view(text, v->base);
}

static void write_letters(struct text_view *v, const struct pieces *in, struct pieces *out, struct aligned *text)
{
    text->len = 0;
    out->n = 0;
    for (size_t i = 0; i < in->n; i++) {
        size_t start = text->len;
        struct text_view part = view_part(v, in->items[i].start, in->items[i].end);
        bytes_to_letters(&part, text);
        pieces_add(out, start, text->len);
    }
    *v = aligned_view(text, v->base);
}

static void swap_pieces(struct pre_work *w)
{
    struct pieces p = w->pieces[0];
    w->pieces[0] = w->pieces[1];
    w->pieces[1] = p;
}

static struct aligned *other_text(struct pre_work *w, const struct text_view *v)
{
    return v->s && v->s == w->text[0].s ? &w->text[1] : &w->text[0];
}

static int run_step(const struct pre_step *step, struct text_view *v, struct pre_work *w, struct err *e)
{
    if (changes_text(step)) {
        rewrite(step, v, &w->pieces[0], &w->pieces[1], other_text(w, v));
        swap_pieces(w);
    }
    if (step->kind == PRE_SPLIT || step->split) {
        w->pieces[1].n = 0;
        for (size_t i = 0; i < w->pieces[0].n; i++)
            if (split_piece(step, v->s, w->pieces[0].items[i], &w->spans, &w->pieces[1], e))
                return -1;
        swap_pieces(w);
    }
    if (step->kind == PRE_BYTE_LEVEL && step->to_letters) {
        write_letters(v, &w->pieces[0], &w->pieces[1], other_text(w, v));
        swap_pieces(w);
    }
    return 0;
}

int pre_tokenizer_run(const struct pre_tokenizer *p, struct text_view *v, struct pre_work *w, struct err *e)
{
    w->pieces[0].n = 0;
    add_filled(&w->pieces[0], 0, v->len);
    for (size_t i = 0; i < p->n; i++)
        if (run_step(&p->steps[i], v, w, e))
            return -1;
    return 0;
}

/* --- the usual case --- */

static bool only_cuts(const struct pre_step *step, enum matcher_kind kind)
{
    bool split = step->kind == PRE_SPLIT || (step->kind == PRE_BYTE_LEVEL && step->split && !step->prefix_space && !step->to_letters);
    return split && step->pattern.kind == kind && step->behavior == SPLIT_ISOLATED;
}

static bool does_nothing(const struct pre_step *step)
{
    return step->kind == PRE_BYTE_LEVEL && !step->split && !step->prefix_space && !step->to_letters;
}

void pre_tokenizer_prepare(struct pre_tokenizer *p)
{
    if (!p->n)
        return;
    const struct pre_step *step = p->steps, *end = step + p->n;
    bool digits = only_cuts(step, MATCH_NUMERIC);
    step += digits;
    if (step == end || !only_cuts(step, MATCH_KNOWN))
        return;
    p->direct = step->pattern.known;
    p->cut_digits = digits;
    for (step++; step < end; step++)
        if (!does_nothing(step))
            p->direct = NULL;
}

size_t pre_next_numeric(const uint8_t *classes, const char *s, size_t i, size_t len)
{
    for (size_t next; i < len; i = next) {
        unsigned char c = (unsigned char)s[i];
        next = i + 1;
        if (c < 0x80) {
            if (c >= '0' && c <= '9')
                return i;
            continue;
        }
        next = i;
        if (classes[utf8_next(s, len, &next)] & UNICODE_NUMERIC)
            return i;
    }
    return len;
}

/* --- from JSON --- */

static int parse_behavior(struct pre_step *step, const json_t *json, const char *place, struct err *e)
{
    static const char *const names[] = {"Removed", "Isolated", "MergedWithPrevious", "MergedWithNext", "Contiguous"};
    const json_t *v = json_object_get(json, "behavior");
    const char *name = json_is_string(v) ? json_string_value(v) : "?";
    for (int i = 0; i < 5; i++) {
        if (!strcmp(names[i], name)) {
            step->behavior = (enum split_behavior)i;
            return 0;
        }
    }
    return err_set(e, "%s: behavior %s, expected Removed, Isolated, MergedWithPrevious, MergedWithNext or Contiguous", place, name);
}

static int parse_split(struct pre_step *step, const json_t *json, const char *place, struct err *e)
{
    if (matcher_parse(&step->pattern, json_object_get(json, "pattern"), place, e) || parse_behavior(step, json, place, e) ||
        field_bool(json, "invert", place, &step->invert, e))
        return -1;
    return 0;
}

static int parse_digits(struct pre_step *step, const json_t *json, const char *place, struct err *e)
{
    bool individual;
    if (field_bool(json, "individual_digits", place, &individual, e))
        return -1;
    step->pattern.kind = MATCH_NUMERIC;
    step->behavior = individual ? SPLIT_ISOLATED : SPLIT_CONTIGUOUS;
    return 0;
}

static int parse_punctuation(struct pre_step *step, const json_t *json, const char *place, struct err *e)
{
    step->pattern.kind = MATCH_PUNCTUATION;
    step->behavior = SPLIT_ISOLATED;
    return json_object_get(json, "behavior") ? parse_behavior(step, json, place, e) : 0;
}

static int parse_words(struct pre_step *step, const json_t *json, const char *place, struct err *e)
{
    (void)json, (void)place, (void)e;
    step->pattern.kind = MATCH_WORDS;
    step->behavior = SPLIT_REMOVED;
    step->invert = true;
    return 0;
}

static int parse_whitespace_split(struct pre_step *step, const json_t *json, const char *place, struct err *e)
{
    (void)json, (void)place, (void)e;
    step->pattern.kind = MATCH_CHAR_SPACE;
    step->behavior = SPLIT_REMOVED;
    return 0;
}

static int parse_byte_level(struct pre_step *step, const json_t *json, const char *place, struct err *e)
{
    bool trim;
    step->kind = PRE_BYTE_LEVEL;
    step->pattern = (struct matcher){.kind = MATCH_KNOWN, .known = pattern_gpt2};
    step->behavior = SPLIT_ISOLATED;
    step->to_letters = true;
    if (field_bool(json, "add_prefix_space", place, &step->prefix_space, e) || field_bool(json, "trim_offsets", place, &trim, e) ||
        field_bool_or(json, "use_regex", true, place, &step->split, e))
        return -1;
    return 0;
}

static int parse_metaspace(struct pre_step *step, const json_t *json, const char *place, struct err *e)
{
    const json_t *text = json_object_get(json, "replacement"), *scheme = json_object_get(json, "prepend_scheme");
    const char *s = json_string_value(text), *name = json_string_value(scheme);
    size_t len = json_string_length(text);
    step->kind = PRE_METASPACE;
    if (!s || !len || len > 4 || utf8_count(s, len) != 1)
        return err_set(e, "%s: replacement is missing or not one character", place);
    memcpy(step->replacement, s, len);
    step->replacement_len = (int)len;
    if (scheme && (!name || (strcmp(name, "always") && strcmp(name, "first") && strcmp(name, "never"))))
        return err_set(e, "%s: prepend_scheme %s, expected always, first or never", place, name ? name : "?");
    step->scheme = !name || name[0] == 'a' ? PREPEND_ALWAYS : name[0] == 'f' ? PREPEND_FIRST : PREPEND_NEVER;
    if (json_is_false(json_object_get(json, "add_prefix_space")) && step->scheme != PREPEND_NEVER)
        return err_set(e, "%s: add_prefix_space is false, which does not go with prepend_scheme %s", place, name ? name : "always");
    step->pattern = (struct matcher){.kind = MATCH_LITERAL, .text = mem_strndup(s, len), .len = len};
    step->behavior = SPLIT_NEXT;
    return field_bool_or(json, "split", true, place, &step->split, e);
}

static const struct {
    const char *type;
    int (*parse)(struct pre_step *, const json_t *, const char *, struct err *);
} kinds[] = {
    {"Split", parse_split}, {"ByteLevel", parse_byte_level}, {"Metaspace", parse_metaspace}, {"Digits", parse_digits},
    {"Punctuation", parse_punctuation}, {"Whitespace", parse_words}, {"WhitespaceSplit", parse_whitespace_split},
};

int pre_tokenizer_parse(struct pre_tokenizer *p, const json_t *json, const char *place, struct err *e)
{
    if (!json || json_is_null(json))
        return 0;
    const char *type = field_type(json, place, e);
    if (!type)
        return -1;
    if (!strcmp(type, "Sequence")) {
        const json_t *list = json_object_get(json, "pretokenizers");
        if (!json_is_array(list))
            return err_set(e, "%s: pretokenizers is missing, expected a list", place);
        for (size_t i = 0; i < json_array_size(list); i++)
            if (pre_tokenizer_parse(p, json_array_get(list, i), place, e))
                return -1;
        return 0;
    }
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        if (strcmp(kinds[i].type, type))
            continue;
        p->steps = mem_array(p->steps, p->n + 1, sizeof *p->steps);
        p->steps[p->n] = (struct pre_step){0};
        return kinds[i].parse(&p->steps[p->n++], json, place, e);
    }
    return err_set(e, "%s: type %s is not supported", place, type);
}

void pre_tokenizer_release(struct pre_tokenizer *p)
{
    for (size_t i = 0; i < p->n; i++)
        matcher_release(&p->steps[i].pattern);
    free(p->steps);
}
