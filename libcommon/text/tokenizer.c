#include "text/tokenizer.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/mem.h"
#include "text/tokenizer_impl.h"
#include "text/utf8.h"

struct tokenizer_scratch { /* what one thread needs to encode with one tokenizer */
    uint64_t serial;
    struct aligned normal[2];
    struct pre_work pre;
    struct bpe_work *bpe;
    struct segments raw, normalized;
};

/* --- opening --- */

static bool is_mark(const char *s, size_t len)
{
    return len == MARK_LEN && !memcmp(s, MARK, MARK_LEN);
}

/* As sentencepiece's vocabularies have it: a mark before the text or not, marks in place of blanks, nothing that cuts words. */
static bool is_marked(const struct tokenizer *t)
{
    const struct normal_step *n = t->normalizer.steps, *last = t->normalizer.n ? &n[t->normalizer.n - 1] : NULL;
    bool prepend = t->normalizer.n == 2 && n->kind == NORMAL_PREPEND && is_mark(n->content, n->content_len);
    if (t->pre.n || t->added.normalized.n || t->bpe.byte_words || !t->bpe.cuts.joined || t->bpe.ignore_merges || !last || t->normalizer.n != (prepend ? 2 : 1))
        return false;
    return last->kind == NORMAL_REPLACE && last->pattern.kind == MATCH_LITERAL && last->pattern.len == 1 && last->pattern.text[0] == ' ' &&
           is_mark(last->content, last->content_len);
}

/* The byte-level step turns bytes into letters only for the vocabulary's sake: when it is the last thing that happens to a
 * word, the vocabulary is turned into bytes instead. */
static void choose_words(struct tokenizer *t)
{
    bool letters_before = false;
    for (size_t i = 0; i < t->normalizer.n; i++)
        letters_before |= t->normalizer.steps[i].kind == NORMAL_BYTE_LEVEL;
    for (size_t i = 0; i + 1 < t->pre.n; i++)
        letters_before |= t->pre.steps[i].kind == PRE_BYTE_LEVEL;
    struct pre_step *last = t->pre.n ? &t->pre.steps[t->pre.n - 1] : NULL;
    t->bpe.byte_words = last && last->kind == PRE_BYTE_LEVEL && !letters_before;
    bpe_prepare(&t->bpe);
    if (t->bpe.byte_words)
        last->to_letters = false;
    pre_tokenizer_prepare(&t->pre);
    t->marked = is_marked(t);
}

static void mark_skipped(struct added *a)
{
    for (size_t i = 0; i < a->n; i++)
        for (size_t k = 0; k < a->n && !a->tokens[i].skipped; k++)
            a->tokens[i].skipped = a->tokens[k].special && a->tokens[k].content_len == a->tokens[i].shown_len &&
                                   !memcmp(a->tokens[k].content, a->tokens[i].shown, a->tokens[i].shown_len);
}

struct tokenizer *tokenizer_parse(const char *json, size_t len, const char *name, struct err *e)
{
    static atomic_uint_fast64_t serials;
    struct tokenizer *t = mem_zalloc(1, sizeof *t);
    t->name = mem_strdup(name);
    t->serial = atomic_fetch_add(&serials, 1) + 1;
    if (tokenizer_load(t, json, len, e)) {
        err_prefix(e, "%s", name);
        tokenizer_close(t);
        return NULL;
    }
    choose_words(t);
    mark_skipped(&t->added);
    return t;
}

struct tokenizer *tokenizer_open(const char *dir_or_file, struct err *e)
{
    bool dir = file_is_dir(dir_or_file);
    char *path = dir ? file_join(dir_or_file, "tokenizer.json") : mem_strdup(dir_or_file);
    struct file_map map;
    struct tokenizer *t = NULL;
    if (!file_map(&map, path, e)) {
        t = tokenizer_parse((const char *)map.data, map.size, path, e);
        file_unmap(&map);
    }
    free(path);
    return t;
}

void tokenizer_close(struct tokenizer *t)
{
    if (!t)
        return;
    bpe_release(&t->bpe);
    added_release(&t->added);
    normalizer_release(&t->normalizer);
    pre_tokenizer_release(&t->pre);
    tok_decoder_free(t->decoder);
    free(t->before);
    free(t->after);
    free(t->name);
    free(t);
}

/* --- lists --- */

void token_list_grow(struct token_list *l, size_t n)
{
    size_t cap = l->cap;
    l->ids = mem_grow(l->ids, &cap, l->n + n, sizeof *l->ids);
    l->start = mem_array(l->start, cap, sizeof *l->start);
    l->end = mem_array(l->end, cap, sizeof *l->end);
    l->cap = cap;
}

void token_list_clear(struct token_list *l)
{
    l->n = 0;
}

static void scratch_free(struct tokenizer_scratch *s)
{
    if (!s)
        return;
    for (int i = 0; i < 2; i++) {
        aligned_release(&s->normal[i]);
        aligned_release(&s->pre.text[i]);
        free(s->pre.pieces[i].items);
    }
    free(s->pre.spans.items);
    free(s->raw.items);
    free(s->normalized.items);
    bpe_work_free(s->bpe);
    free(s);
}

void token_list_release(struct token_list *l)
{
    free(l->ids);
    free(l->start);
    free(l->end);
    scratch_free(l->scratch);
    *l = (struct token_list){0};
}

static struct tokenizer_scratch *scratch_for(const struct tokenizer *t, struct token_list *l)
{
    if (l->scratch && l->scratch->serial == t->serial)
        return l->scratch;
    scratch_free(l->scratch);
    l->scratch = mem_zalloc(1, sizeof *l->scratch);
    l->scratch->serial = t->serial;
    l->scratch->bpe = bpe_work_new();
    return l->scratch;
}

/* --- encoding --- */

static int encode_direct(const struct tokenizer *t, struct tokenizer_scratch *s, const struct text_view *v, struct token_list *out, struct err *e)
{
    const uint8_t *classes = unicode_classes();
    for (size_t i = 0, end; i < v->len; i = end) {
        size_t stop = t->pre.cut_digits ? pre_next_numeric(classes, v->s, i, v->len) : v->len;
        for (; i < stop; i = end) {
            end = t->pre.direct(classes, v->s, stop, i);
            if (bpe_encode(&t->bpe, s->bpe, v, i, end, out, e))
                return -1;
        }
        end = i;
        if (i < v->len && (utf8_next(v->s, v->len, &end), bpe_encode(&t->bpe, s->bpe, v, i, end, out, e)))
            return -1;
    }
    return bpe_flush(&t->bpe, s->bpe, v, out, e);
}

static int encode_text(const struct tokenizer *t, struct tokenizer_scratch *s, struct text_view v, struct token_list *out, struct err *e)
{
    if (t->pre.direct)
        return encode_direct(t, s, &v, out, e);
    if (pre_tokenizer_run(&t->pre, &v, &s->pre, e))
        return -1;
    for (size_t i = 0; i < s->pre.pieces[0].n; i++) {
        struct piece p = s->pre.pieces[0].items[i];
        if (bpe_encode(&t->bpe, s->bpe, &v, p.start, p.end, out, e))
            return -1;
    }
    return bpe_flush(&t->bpe, s->bpe, &v, out, e);
}

/* Up to its first cut the text goes the long way when a mark is put before it. */
static int encode_marked(const struct tokenizer *t, struct tokenizer_scratch *s, const struct text_view *v, struct token_list *out, struct err *e)
{
    size_t first = 0;
    if (t->normalizer.n == 2 && v->len) {
        first = cuts_next(&t->bpe.cuts, v->s, 0, v->len, MARK_POINT);
        struct text_view start = view_part(v, 0, first);
        if (normalizer_run(&t->normalizer, &start, s->normal, e) || bpe_encode(&t->bpe, s->bpe, &start, 0, start.len, out, e) ||
            bpe_flush(&t->bpe, s->bpe, &start, out, e))
            return -1;
    }
    return bpe_encode_marked(&t->bpe, s->bpe, v, first, v->len, out, e) || bpe_flush(&t->bpe, s->bpe, v, out, e) ? -1 : 0;
}

struct job { const struct text_range *plain; size_t n_plain; };

static int encode_normalized(const struct tokenizer *t, struct tokenizer_scratch *s, struct text_view v, const struct job *job, struct token_list *out, struct err *e)
{
    if (t->marked)
        return encode_marked(t, s, &v, out, e);
    if (normalizer_run(&t->normalizer, &v, s->normal, e))
        return -1;
    if (!t->added.normalized.n)
        return encode_text(t, s, v, out, e);
    added_split(&t->added.normalized, &v, job->plain, job->n_plain, &s->normalized);
    for (size_t i = 0; i < s->normalized.n; i++) {
        struct segment g = s->normalized.items[i];
        if (g.id != TOKENIZER_NONE)
            token_list_add(out, g.id, view_from(&v, g.start), view_to(&v, g.end - 1));
        else if (encode_text(t, s, view_part(&v, g.start, g.end), out, e))
            return -1;
    }
    return 0;
}

/* Where an added token reached back into the one before it, ranges are moved on so that none goes back. */
static void order_ranges(struct token_list *l, size_t first)
{
    for (size_t i = first + 1; i < l->n; i++) {
        if (l->start[i] < l->start[i - 1])
            l->start[i] = l->start[i - 1];
        if (l->end[i] < l->end[i - 1])
            l->end[i] = l->end[i - 1];
    }
}

static int encode_all(const struct tokenizer *t, const char *text, size_t len, const struct job *job, struct token_list *out, struct err *e)
{
    struct tokenizer_scratch *s = scratch_for(t, out);
    size_t first = out->n;
    s->raw.overlap = s->normalized.overlap = false;
    struct text_view v = {text, len, NULL, NULL, 0};
    added_split(&t->added.raw, &v, job->plain, job->n_plain, &s->raw);
    for (size_t i = 0; i < s->raw.n; i++) {
        struct segment g = s->raw.items[i];
        if (g.id != TOKENIZER_NONE)
            token_list_add(out, g.id, g.start, g.end);
        else if (encode_normalized(t, s, view_part(&v, g.start, g.end), job, out, e))
            return -1;
    }
    if (s->raw.overlap || s->normalized.overlap)
        order_ranges(out, first);
    return 0;
}

int tokenizer_encode(const struct tokenizer *t, const char *text, size_t len, const struct text_range *plain, size_t n_plain,
                     bool add_special, struct token_list *out, struct err *e)
{
    if (len > TOKENIZER_MAX_TEXT)
        return err_set(e, "%s: text of %zu bytes, expected at most 1 GiB", t->name, len);
    struct job job = {plain, n_plain};
    for (size_t i = 0; add_special && i < t->n_before; i++)
        token_list_add(out, t->before[i], 0, 0);
    if (encode_all(t, text, len, &job, out, e))
        return err_prefix(e, "%s", t->name);
    for (size_t i = 0; add_special && i < t->n_after; i++)
        token_list_add(out, t->after[i], (uint32_t)len, (uint32_t)len);
    return 0;
}

/* --- decoding and looking up --- */

int tokenizer_decode(const struct tokenizer *t, const uint32_t *ids, size_t n, bool skip_special, struct buf *out, struct err *e)
{
    return tok_decoder_run(t, ids, n, skip_special, out, e) ? err_prefix(e, "%s", t->name) : 0;
}

uint32_t tokenizer_size(const struct tokenizer *t)
{
    return t->size;
}

int64_t tokenizer_id(const struct tokenizer *t, const char *token, size_t len)
{
    for (size_t i = 0; i < t->added.n; i++)
        if (t->added.tokens[i].content_len == len && !memcmp(t->added.tokens[i].content, token, len))
            return t->added.tokens[i].id;
    uint32_t id = vocab_find(&t->bpe.vocab, token, len);
    return id == TOKENIZER_NONE ? -1 : (int64_t)id;
}

const char *tokenizer_token(const struct tokenizer *t, uint32_t id, size_t *len)
{
    const struct added_token *a = added_by_id(&t->added, id);
    const struct vocab *v = &t->bpe.vocab;
    *len = 0;
    if (a) {
        *len = a->shown_len;
        return a->shown;
    }
    if (id >= v->size || v->tokens[id].at == TOKENIZER_NONE)
        return NULL;
    *len = v->tokens[id].len;
    return v->pool.data + v->tokens[id].at;
}

bool tokenizer_is_special(const struct tokenizer *t, uint32_t id)
{
    const struct added_token *a = added_by_id(&t->added, id);
    return a && a->special;
}
