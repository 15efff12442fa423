/* Byte-pair encoding of one word: the leftmost pair of the lowest rank is merged until no pair has a rule. Short words
 * scan their ranks, which fit a few cache lines; long ones keep a heap, so cost grows as n log n. */
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "text/tokenizer_bpe.h"
#include "text/utf8.h"

#define SHORT_WORD 64 /* symbols */

struct bpe_work *bpe_work_new(void)
{
    struct bpe_work *w = mem_zalloc(1, sizeof *w);
    w->cache = mem_zalloc((size_t)1 << WORD_SHORT_BITS, sizeof *w->cache);
    w->long_cache = mem_zalloc((size_t)1 << WORD_LONG_BITS, sizeof *w->long_cache);
    return w;
}

void bpe_work_free(struct bpe_work *w)
{
    if (!w)
        return;
    free(w->cache);
    free(w->long_cache);
    free(w->id);
    free(w->at);
    free(w->rank);
    free(w->next);
    free(w->previous);
    free(w->heap);
    buf_release(&w->spelled);
    buf_release(&w->marked);
    free(w);
}

static void reserve(struct bpe_work *w, size_t n)
{
    size_t cap = w->cap;
    if (n < cap)
        return;
    w->id = mem_grow(w->id, &cap, n + 1, sizeof *w->id);
    w->at = mem_array(w->at, cap, sizeof *w->at);
    w->rank = mem_array(w->rank, cap, sizeof *w->rank);
    w->next = mem_array(w->next, cap, sizeof *w->next);
    w->previous = mem_array(w->previous, cap, sizeof *w->previous);
    w->cap = cap;
}

/* --- merging --- */

static void merge_short(const struct merges *m, struct bpe_work *w)
{
    uint32_t *id = w->id, *at = w->at, *rank = w->rank;
    size_t n = w->n;
    while (n > 1) {
        uint32_t best = TOKENIZER_NONE;
        size_t i = 0;
        for (size_t k = 0; k + 1 < n; k++) {
            if (rank[k] < best) {
                best = rank[k];
                i = k;
            }
        }
        if (best == TOKENIZER_NONE)
            break;
        n--;
        id[i] = m->result[best];
        memmove(id + i + 1, id + i + 2, (n - i - 1) * sizeof *id);
        memmove(at + i + 1, at + i + 2, (n - i - 1) * sizeof *at);
        memmove(rank + i, rank + i + 1, (n - i) * sizeof *rank);
        if (i > 0)
            rank[i - 1] = merges_rank(m, id[i - 1], id[i]);
        if (i + 1 < n)
            rank[i] = merges_rank(m, id[i], id[i + 1]);
    }
    w->n = n;
}

static void heap_push(struct bpe_work *w, uint32_t rank, size_t at)
{
    w->heap = mem_grow(w->heap, &w->heap_cap, w->heap_n + 1, sizeof *w->heap);
    uint64_t entry = (uint64_t)rank << 32 | at;
    size_t i = w->heap_n++;
    for (; i > 0 && w->heap[(i - 1) / 2] > entry; i = (i - 1) / 2)
        w->heap[i] = w->heap[(i - 1) / 2];
    w->heap[i] = entry;
}

static void heap_sink(struct bpe_work *w, size_t i)
{
    uint64_t entry = w->heap[i];
    for (size_t child; (child = 2 * i + 1) < w->heap_n; i = child) {
        if (child + 1 < w->heap_n && w->heap[child + 1] < w->heap[child])
            child++;
        if (w->heap[child] >= entry)
            break;
        w->heap[i] = w->heap[child];
    }
    w->heap[i] = entry;
}

static uint64_t heap_pop(struct bpe_work *w)
{
    uint64_t top = w->heap[0];
    w->heap[0] = w->heap[--w->heap_n];
    if (w->heap_n)
        heap_sink(w, 0);
    return top;
}

static void set_rank(const struct merges *m, struct bpe_work *w, uint32_t left)
{
    uint32_t right = w->next[left];
    w->rank[left] = right < w->n ? merges_rank(m, w->id[left], w->id[right]) : TOKENIZER_NONE;
    if (w->rank[left] != TOKENIZER_NONE)
        heap_push(w, w->rank[left], left);
}

/* An entry is stale when the rank of the symbol at its place is not its own any more: a symbol that was merged away has no
 * rank, and one that grew cannot come to the same rule again, since every rule makes one longer string. */
static void merge_long(const struct merges *m, struct bpe_work *w)
{
    uint32_t n = (uint32_t)w->n;
    w->heap_n = 0;
    for (uint32_t i = 0; i < n; i++) {
        w->next[i] = i + 1;
        w->previous[i] = i - 1;
        if (w->rank[i] != TOKENIZER_NONE) {
            w->heap = mem_grow(w->heap, &w->heap_cap, w->heap_n + 1, sizeof *w->heap);
            w->heap[w->heap_n++] = (uint64_t)w->rank[i] << 32 | i;
        }
    }
    for (size_t i = w->heap_n / 2; i-- > 0;)
        heap_sink(w, i);
    while (w->heap_n) {
        uint64_t top = heap_pop(w);
        uint32_t left = (uint32_t)top, rank = (uint32_t)(top >> 32);
        if (w->rank[left] != rank)
            continue;
        uint32_t right = w->next[left];
        w->id[left] = m->result[rank];
        w->next[left] = w->next[right];
        w->rank[right] = TOKENIZER_NONE;
        if (w->next[right] < n)
            w->previous[w->next[right]] = left;
        if (left > 0)
            set_rank(m, w, w->previous[left]);
        set_rank(m, w, left);
    }
    size_t out = 0;
    for (uint32_t i = 0; i < n; i = w->next[i], out++) {
        w->id[out] = w->id[i];
        w->at[out] = w->at[i];
    }
    w->n = out;
}

static void merge_all(const struct bpe *b, struct bpe_work *w)
{
    size_t n = w->n;
    if (n > SHORT_WORD)
        merge_long(&b->merges, w);
    else if (n > 1)
        merge_short(&b->merges, w);
}

/* --- symbols of a word --- */

/* A byte that is no token vanishes. */
static void symbols_of_bytes(const struct bpe *b, struct bpe_work *w, const char *s, size_t len)
{
    const unsigned char *p = (const unsigned char *)s;
    size_t n = 0;
    reserve(w, len);
    for (size_t i = 0; i < len; i++) {
        if (b->drops_bytes && b->byte_symbol[p[i]] == TOKENIZER_NONE)
            continue;
        w->id[n] = b->byte_symbol[p[i]];
        w->at[n++] = (uint32_t)i;
    }
    for (size_t i = 0; i < n; i++)
        w->rank[i] = i + 1 < n ? b->byte_pair[p[w->at[i]] << 8 | p[w->at[i + 1]]] : TOKENIZER_NONE;
    w->n = n;
}

static void add_symbol(struct bpe_work *w, uint32_t id, size_t at)
{
    reserve(w, w->n + 1);
    if (w->n && at < w->at[w->n - 1])
        at = w->at[w->n - 1];
    w->id[w->n] = id;
    w->at[w->n++] = (uint32_t)at;
}

/* The token of the character s[i..end), with the prefix of a later and the suffix of the last character of the word. */
static uint32_t char_token(const struct bpe *b, struct bpe_work *w, const char *s, size_t len, size_t i, size_t end, uint32_t c)
{
    bool prefix = b->prefix_len && i > 0, suffix = b->suffix_len && end == len;
    if (!prefix && !suffix)
        return c < 0x10000 ? b->char_symbol[c] : vocab_find(&b->vocab, s + i, end - i);
    buf_clear(&w->spelled);
    if (prefix)
        buf_add(&w->spelled, b->prefix, b->prefix_len);
    buf_add(&w->spelled, s + i, end - i);
    if (suffix)
        buf_add(&w->spelled, b->suffix, b->suffix_len);
    return vocab_find(&b->vocab, w->spelled.data, w->spelled.len);
}

/* step: 1 when the bytes are those of the word, 0 when they spell something else in the place of its character at `at` */
static bool add_bytes(const struct bpe *b, struct bpe_work *w, const char *s, size_t at, size_t len, size_t step)
{
    for (size_t i = 0; i < len; i++)
        if (b->byte_symbol[(unsigned char)s[i]] == TOKENIZER_NONE)
            return false;
    for (size_t i = 0; i < len; i++)
        add_symbol(w, b->byte_symbol[(unsigned char)s[i]], at + i * step);
    return true;
}

/* An unknown character is held back until the next known one or the end, so that its neighbours can be fused with it; the
 * bytes that stand for other unknown ones overtake it, as in the reference. */
static int symbols_of_chars(const struct bpe *b, struct bpe_work *w, const char *s, size_t len, struct err *e)
{
    size_t unknown_at = 0;
    bool unknown = false;
    w->n = 0;
    for (size_t i = 0, end; i < len; i = end) {
        end = i;
        uint32_t c = utf8_next(s, len, &end), id = char_token(b, w, s, len, i, end, c);
        if (id != TOKENIZER_NONE) {
            if (unknown)
                add_symbol(w, b->unk, unknown_at);
            unknown = false;
            add_symbol(w, id, i);
            continue;
        }
        bool plain = !(b->prefix_len && i > 0) && !(b->suffix_len && end == len);
        if (b->byte_fallback && (plain ? add_bytes(b, w, s + i, i, end - i, 1) : add_bytes(b, w, w->spelled.data, i, w->spelled.len, 0)))
            continue;
        if (!b->unk_token)
            continue;
        if (b->unk == TOKENIZER_NONE)
            return err_set(e, "unk_token '%s' is not in the vocabulary, and the text needs it", b->unk_token);
        if (unknown && !b->fuse_unk)
            add_symbol(w, b->unk, unknown_at);
        if (!unknown || !b->fuse_unk)
            unknown_at = i;
        unknown = true;
    }
    if (unknown)
        add_symbol(w, b->unk, unknown_at);
    for (size_t i = 0; i < w->n; i++)
        w->rank[i] = i + 1 < w->n ? merges_rank(&b->merges, w->id[i], w->id[i + 1]) : TOKENIZER_NONE;
    return 0;
}

/* --- parts of words --- */

static int split_part(const struct bpe *b, struct bpe_work *w, const char *s, size_t len, enum part part, struct err *e)
{
    bool look = b->ignore_merges && part != PART;
    uint32_t whole = look ? vocab_find(b->byte_words ? &b->words : &b->vocab, s, len) : TOKENIZER_NONE;
    if (whole != TOKENIZER_NONE) {
        w->n = 0;
        add_symbol(w, whole, 0);
        return 0;
    }
    if (b->byte_words)
        symbols_of_bytes(b, w, s, len);
    else if (symbols_of_chars(b, w, s, len, e))
        return -1;
    merge_all(b, w);
    return 0;
}

/* Splits the part with its marks written out, and brings the places of the tokens back to those of the blanks. */
static int split_marked(const struct bpe *b, struct bpe_work *w, const char *s, size_t len, struct err *e)
{
    size_t blanks = 0, i = 0;
    buf_clear(&w->marked);
    for (const char *p = s, *end = s + len, *blank; p < end; p = blank + 1) {
        blank = memchr(p, ' ', (size_t)(end - p));
        buf_add(&w->marked, p, (size_t)((blank ? blank : end) - p));
        if (!blank)
            break;
        buf_add(&w->marked, MARK, MARK_LEN);
    }
    if (split_part(b, w, w->marked.data, w->marked.len, MARKED, e))
        return -1;
    for (size_t k = 0; k < w->n; k++) {
        while (i + (MARK_LEN - 1) * blanks < w->at[k])
            blanks += s[i++] == ' ';
        w->at[k] -= (uint32_t)((MARK_LEN - 1) * blanks);
    }
    return 0;
}

static void add_tokens(const struct bpe_work *w, const struct text_view *v, size_t start, size_t len, struct token_list *out)
{
    for (size_t i = 0; i < w->n; i++) {
        size_t from = w->at[i], to = i + 1 < w->n ? w->at[i + 1] : len;
        if (to <= from) /* only where bytes overtook an unknown character */
            to = from + 1;
        token_list_add(out, w->id[i], view_from(v, start + from), view_to(v, start + to - 1));
    }
}

/* Keeps the tokens when there are few enough and they follow each other through the part. */
static void store(const struct bpe_work *w, const struct queued *q)
{
    bool is_short = q->len <= WORD_SHORT;
    struct word_entry *e = is_short ? q->entry : NULL;
    struct word_long_entry *l = is_short ? NULL : q->entry;
    uint32_t tokens[WORD_LONG_TOKENS] = {0};
    if (!w->n || w->n > (is_short ? WORD_SHORT_TOKENS : WORD_LONG_TOKENS) || w->at[0])
        return;
    for (size_t i = 0; i < w->n; i++) {
        uint32_t end = i + 1 < w->n ? w->at[i + 1] : q->len;
        if (end <= w->at[i])
            return;
        tokens[i] = (end - w->at[i]) << 24 | w->id[i];
    }
    memcpy(is_short ? e->key : l->key, q->key.bytes, is_short ? sizeof e->key : sizeof l->key);
    memcpy(is_short ? e->tokens : l->tokens, tokens, is_short ? sizeof e->tokens : sizeof l->tokens);
}

/* A part that the cache does not have. */
static __attribute__((noinline)) int encode_new(const struct bpe *b, struct bpe_work *w, const struct text_view *v, const struct queued *q,
                                                struct token_list *out, struct err *e)
{
    const char *s = v->s + q->start;
    if (q->part == MARKED ? split_marked(b, w, s, q->len, e) : split_part(b, w, s, q->len, q->part, e))
        return -1;
    add_tokens(w, v, q->start, q->len, out);
    if (q->entry)
        store(w, q);
    return 0;
}

/* The tokens of the part in the cache, NULL when it is not there. */
static inline const uint32_t *find_cached(const struct queued *q)
{
    const uint64_t *k = q->key.bytes;
    if (q->len <= WORD_SHORT) {
        const struct word_entry *c = q->entry;
        return c->key[0] == k[0] && c->key[1] == k[1] ? c->tokens : NULL;
    }
    const struct word_long_entry *c = q->entry;
    return c && c->key[0] == k[0] && c->key[1] == k[1] && c->key[2] == k[2] && c->key[3] == k[3] ? c->tokens : NULL;
}

static inline void add_cached(const uint32_t *tokens, const struct text_view *v, size_t at, size_t end, struct token_list *out)
{
    token_list_room(out, WORD_LONG_TOKENS);
    for (size_t i = 0; at < end; i++) {
        size_t next = at + (tokens[i] >> 24);
        out->ids[out->n] = tokens[i] & 0xFFFFFF;
        out->start[out->n] = view_from(v, at);
        out->end[out->n++] = view_to(v, next - 1);
        at = next;
    }
}

int bpe_flush(const struct bpe *b, struct bpe_work *w, const struct text_view *v, struct token_list *out, struct err *e)
{
    unsigned n = w->queued;
    w->queued = 0;
    for (unsigned i = 0; i < n; i++) {
        const struct queued *q = &w->queue[i];
        const uint32_t *tokens = find_cached(q);
        if (tokens)
            add_cached(tokens, v, q->start, q->start + q->len, out);
        else if (encode_new(b, w, v, q, out, e))
            return -1;
    }
    return 0;
}

static inline int encode_part(const struct bpe *b, struct bpe_work *w, const struct text_view *v, size_t start, size_t len, enum part part,
                              struct token_list *out, struct err *e)
{
    struct queued *q = &w->queue[w->queued++];
    bool differs = part == PART && b->ignore_merges;
    q->start = (uint32_t)start;
    q->len = (uint32_t)len;
    q->part = part;
    q->entry = NULL;
    if (len <= WORD_SHORT) {
        word_key_short(&q->key, v->s + start, len, v->len - start, differs);
        q->entry = word_place(w, &q->key);
        __builtin_prefetch(q->entry);
    } else if (len <= WORD_LONG) {
        word_key_long(&q->key, v->s + start, len, differs);
        q->entry = word_long_place(w, &q->key);
        __builtin_prefetch(q->entry);
    }
    return w->queued == QUEUE ? bpe_flush(b, w, v, out, e) : 0;
}

/* --- words --- */

/* Words of scripts whose characters have three bytes are seldom met again whole. */
static inline bool is_wide(const char *s, size_t len)
{
    return (unsigned char)s[0] >= 0xE0 || (len > 1 && (unsigned char)s[1] >= 0xE0);
}

int bpe_encode(const struct bpe *b, struct bpe_work *w, const struct text_view *v, size_t start, size_t end, struct token_list *out, struct err *e)
{
    size_t len = end - start;
    if (!b->cuts.joined || (b->byte_words && len <= WORD_SHORT && !is_wide(v->s + start, len)))
        return len ? encode_part(b, w, v, start, len, WORD, out, e) : 0;
    for (size_t i = start, next; i < end; i = next) {
        next = cuts_next(&b->cuts, v->s, i, end, ' ');
        if (encode_part(b, w, v, i, next - i, next - i < len ? PART : WORD, out, e))
            return -1;
    }
    return 0;
}

int bpe_encode_marked(const struct bpe *b, struct bpe_work *w, const struct text_view *v, size_t start, size_t end, struct token_list *out, struct err *e)
{
    for (size_t i = start, next; i < end; i = next) {
        next = cuts_next(&b->cuts, v->s, i, end, MARK_POINT);
        if (encode_part(b, w, v, i, next - i, MARKED, out, e))
            return -1;
    }
    return 0;
}
