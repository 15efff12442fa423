/* Added tokens: strings that are cut out of the text before the model sees it. */
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "text/tokenizer_impl.h"
#include "text/utf8.h"

const struct added_token *added_by_id(const struct added *a, uint32_t id)
{
    size_t low = 0, high = a->n;
    while (low < high) {
        size_t mid = (low + high) / 2;
        if (a->tokens[mid].id < id)
            low = mid + 1;
        else
            high = mid;
    }
    return low < a->n && a->tokens[low].id == id ? &a->tokens[low] : NULL;
}

static struct added_token *by_content(struct added *a, const char *s, size_t len)
{
    for (size_t i = 0; i < a->n; i++)
        if (a->tokens[i].content_len == len && !memcmp(a->tokens[i].content, s, len))
            return &a->tokens[i];
    return NULL;
}

static int parse_one(struct added_token *a, const json_t *o, struct err *e)
{
    const char *place = "added_tokens";
    if (!json_is_integer(json_object_get(o, "id")))
        return err_set(e, "%s: id is missing, expected a number", place);
    return field_text(o, "content", place, true, &a->content, &a->content_len, e) ||
           field_bool(o, "single_word", place, &a->single_word, e) || field_bool(o, "lstrip", place, &a->lstrip, e) ||
           field_bool(o, "rstrip", place, &a->rstrip, e) || field_bool(o, "normalized", place, &a->normalized, e) ||
           field_bool(o, "special", place, &a->special, e) ? -1 : 0;
}

/* The declared id counts for nothing: a string of the vocabulary has its id there, another one gets the next free id. */
static int add_one(struct tokenizer *t, const json_t *o, uint32_t *next, struct err *e)
{
    struct added *a = &t->added;
    struct added_token token = {0};
    if (parse_one(&token, o, e)) {
        free(token.content);
        return -1;
    }
    if (!token.content_len) {
        free(token.content);
        return 0;
    }
    struct added_token *old = by_content(a, token.content, token.content_len);
    if (old) {
        token.id = old->id;
        free(old->content);
        *old = token;
        return 0;
    }
    token.id = vocab_find(&t->bpe.vocab, token.content, token.content_len);
    if (token.id == TOKENIZER_NONE)
        token.id = (*next)++;
    else if (token.id >= *next)
        *next = token.id + 1;
    a->tokens = mem_grow(a->tokens, &a->cap, a->n + 1, sizeof *a->tokens);
    a->tokens[a->n++] = token;
    return 0;
}

/* The string a token is searched by and shown as: what the normalizer makes of it when it is a normalized one. */
static int set_shown(const struct tokenizer *t, struct added_token *a, struct aligned work[2], struct err *e)
{
    struct text_view v = {a->content, a->content_len, NULL, NULL, 0};
    if (a->normalized && normalizer_run(&t->normalizer, &v, work, e))
        return -1;
    if (!v.len)
        return err_set(e, "added_tokens: '%s' is a normalized one of which the normalizer leaves nothing", a->content);
    a->shown = mem_strndup(v.s, v.len);
    a->shown_len = v.len;
    return 0;
}

static int by_id(const void *a, const void *b)
{
    uint32_t x = ((const struct added_token *)a)->id, y = ((const struct added_token *)b)->id;
    return (x > y) - (x < y);
}

static int by_shown(const void *a, const void *b)
{
    const struct added_token *x = *(const struct added_token *const *)a, *y = *(const struct added_token *const *)b;
    size_t len = x->shown_len < y->shown_len ? x->shown_len : y->shown_len;
    int order = memcmp(x->shown, y->shown, len);
    if (order)
        return order;
    if (x->shown_len != y->shown_len)
        return x->shown_len < y->shown_len ? -1 : 1;
    return (x->id > y->id) - (x->id < y->id);
}

static void fill_set(struct added_set *set, const struct added *a, bool normalized)
{
    set->sorted = mem_array(NULL, a->n, sizeof *set->sorted);
    for (size_t i = 0; i < a->n; i++) {
        if (a->tokens[i].normalized != normalized)
            continue;
        set->sorted[set->n++] = &a->tokens[i];
        set->first[(unsigned char)a->tokens[i].shown[0]] = true;
    }
    int kinds = 0;
    for (int byte = 0; byte < 256; byte++) {
        kinds += set->first[byte];
        if (set->first[byte])
            set->only = kinds == 1 ? byte : -1;
    }
    qsort(set->sorted, set->n, sizeof *set->sorted, by_shown);
}

int added_parse(struct tokenizer *t, const json_t *json, struct err *e)
{
    if (json && !json_is_array(json))
        return err_set(e, "added_tokens: expected a list");
    uint32_t next = (uint32_t)t->bpe.vocab.used;
    t->size = t->bpe.vocab.size;
    for (size_t i = 0; i < json_array_size(json); i++)
        if (add_one(t, json_array_get(json, i), &next, e))
            return -1;
    struct aligned work[2] = {{0}, {0}};
    int result = 0;
    for (size_t i = 0; i < t->added.n && !result; i++)
        result = set_shown(t, &t->added.tokens[i], work, e);
    aligned_release(&work[0]);
    aligned_release(&work[1]);
    if (result || !t->added.n)
        return result;
    qsort(t->added.tokens, t->added.n, sizeof *t->added.tokens, by_id);
    fill_set(&t->added.raw, &t->added, false);
    fill_set(&t->added.normalized, &t->added, true);
    if (t->added.tokens[t->added.n - 1].id >= t->size)
        t->size = t->added.tokens[t->added.n - 1].id + 1;
    return 0;
}

void added_release(struct added *a)
{
    for (size_t i = 0; i < a->n; i++) {
        free(a->tokens[i].content);
        free(a->tokens[i].shown);
    }
    free(a->tokens);
    free(a->raw.sorted);
    free(a->normalized.sorted);
}

/* The longest token at s, or NULL: the sorted list is narrowed byte by byte. */
static const struct added_token *longest_at(const struct added_set *set, const char *s, size_t len)
{
    const struct added_token *best = NULL;
    size_t low = 0, high = set->n;
    for (size_t depth = 0;; depth++) {
        if (set->sorted[low]->shown_len == depth) {
            best = set->sorted[low++];
            while (low < high && set->sorted[low]->shown_len == depth)
                low++; /* the same string again: the smallest id has it */
        }
        if (depth == len || low == high)
            return best;
        unsigned char c = (unsigned char)s[depth];
        size_t a = low, b = high;
        while (a < b) {
            size_t mid = (a + b) / 2;
            if ((unsigned char)set->sorted[mid]->shown[depth] < c)
                a = mid + 1;
            else
                b = mid;
        }
        low = a, b = high;
        while (a < b) {
            size_t mid = (a + b) / 2;
            if ((unsigned char)set->sorted[mid]->shown[depth] <= c)
                a = mid + 1;
            else
                b = mid;
        }
        high = a;
        if (low == high)
            return best;
    }
}

static size_t last_char(const char *s, size_t end)
{
    do
        end--;
    while (((unsigned char)s[end] & 0xC0) == 0x80);
    return end;
}

static bool is_word_at(const char *s, size_t len, size_t i)
{
    return unicode_classes()[utf8_next(s, len, &i)] & UNICODE_WORD;
}

static bool stands_alone(const struct text_view *v, size_t start, size_t end)
{
    return !(start > 0 && is_word_at(v->s, v->len, last_char(v->s, start))) && !(end < v->len && is_word_at(v->s, v->len, end));
}

static size_t spaces_before(const char *s, size_t start, size_t limit)
{
    while (start > limit) {
        size_t i = last_char(s, start), after = i;
        if (!unicode_is_space(utf8_next(s, start, &after)))
            break;
        start = i;
    }
    return start;
}

static size_t spaces_after(const char *s, size_t len, size_t end)
{
    while (end < len) {
        size_t after = end;
        if (!unicode_is_space(utf8_next(s, len, &after)))
            break;
        end = after;
    }
    return end;
}

static bool touches(const struct text_view *v, size_t start, size_t end, const struct text_range *ranges, size_t n)
{
    uint32_t from = view_from(v, start), to = view_to(v, end - 1);
    size_t low = 0, high = n; /* the first range that ends after `from` */
    while (low < high) {
        size_t mid = (low + high) / 2;
        if (ranges[mid].end <= from)
            low = mid + 1;
        else
            high = mid;
    }
    return low < n && ranges[low].start < to;
}

/* Where a token may start, from i on. */
static size_t next_start(const struct added_set *set, const char *s, size_t i, size_t len)
{
    if (set->only >= 0) {
        const char *hit = memchr(s + i, set->only, len - i);
        return hit ? (size_t)(hit - s) : len;
    }
    while (i < len && !set->first[(unsigned char)s[i]])
        i++;
    return i;
}

static void add_segment(struct segments *out, size_t start, size_t end, uint32_t id)
{
    out->items = mem_grow(out->items, &out->cap, out->n + 1, sizeof *out->items);
    out->items[out->n++] = (struct segment){(uint32_t)start, (uint32_t)end, id};
}

/* Matches are leftmost-longest and settled before the rules about words, blanks and plain text: a match that a rule
 * discards still hides what it overlapped, and one whose text an rstrip before it swallowed is emitted all the same, unless
 * it is an lstrip token, which never reaches back before the end of the last. */
void added_split(const struct added_set *set, const struct text_view *v, const struct text_range *plain, size_t n_plain, struct segments *out)
{
    size_t done = 0;
    out->n = 0;
    for (size_t i = 0; set->n && (i = next_start(set, v->s, i, v->len)) < v->len;) {
        const struct added_token *a = longest_at(set, v->s + i, v->len - i);
        if (!a) {
            i++;
            continue;
        }
        size_t start = i, end = i + a->shown_len;
        i = end;
        if ((a->special && n_plain && touches(v, start, end, plain, n_plain)) || (a->single_word && !stands_alone(v, start, end)))
            continue;
        if (a->lstrip) {
            start = spaces_before(v->s, start, done);
            start = start > done ? start : done;
        }
        if (a->rstrip)
            end = spaces_after(v->s, v->len, end);
        if (done < start)
            add_segment(out, done, start, TOKENIZER_NONE);
        if (start < end)
            add_segment(out, start, end, a->id);
        out->overlap |= start < done;
        done = end;
    }
    if (done != v->len)
        add_segment(out, done, v->len, TOKENIZER_NONE);
}
