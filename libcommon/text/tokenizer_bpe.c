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
    w->cache = mem_zalloc(WORD_CACHE_ENTRIES, sizeof *w->cache);
    return w;
}

void bpe_work_free(struct bpe_work *w)
{
    if (!w)
        return;
    free(w->cache);
    free(w->id);
    free(w->at);
    free(w->rank);
    free(w->next);
    free(w->previous);
    free(w->heap);
    buf_release(&w->spelled);
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

static void symbols_of_bytes(const struct bpe *b, struct bpe_work *w, const char *s, size_t len)
{
    const unsigned char *p = (const unsigned char *)s;
    reserve(w, len);
    for (size_t i = 0; i < len; i++) {
        w->id[i] = b->byte_symbol[p[i]];
        w->at[i] = (uint32_t)i;
        w->rank[i] = i + 1 < len ? b->byte_pair[p[i] << 8 | p[i + 1]] : TOKENIZER_NONE;
    }
    w->n = len;
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

/* --- words --- */

static int split_word(const struct bpe *b, struct bpe_work *w, const char *s, size_t len, struct err *e)
{
    uint32_t whole = b->ignore_merges ? vocab_find(b->byte_words ? &b->words : &b->vocab, s, len) : TOKENIZER_NONE;
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

static void add_tokens(const struct bpe_work *w, const struct text_view *v, size_t start, size_t len, struct token_list *out)
{
    for (size_t i = 0; i < w->n; i++) {
        size_t from = w->at[i], to = i + 1 < w->n ? w->at[i + 1] : len;
        if (to <= from) /* only where bytes overtook an unknown character */
            to = from + 1;
        token_list_add(out, w->id[i], view_from(v, start + from), view_to(v, start + to - 1));
    }
}

static void cached_tokens(const struct word_entry *c, const struct text_view *v, size_t start, struct token_list *out)
{
    unsigned n = word_count(c);
    for (unsigned i = 0; i < n; i++) {
        size_t len = c->tokens[i] >> 24;
        token_list_add(out, c->tokens[i] & 0xFFFFFF, view_from(v, start), view_to(v, start + len - 1));
        start += len;
    }
}

static int encode_word(const struct bpe *b, struct bpe_work *w, const struct text_view *v, size_t start, size_t len, struct token_list *out, struct err *e)
{
    const char *s = v->s + start;
    if (len > WORD_CACHE_KEY) {
        if (split_word(b, w, s, len, e))
            return -1;
        add_tokens(w, v, start, len, out);
        return 0;
    }
    struct word_key key = word_key(s, len);
    struct word_entry *c = &w->cache[word_slot(key)];
    if (word_matches(c, key)) {
        cached_tokens(c, v, start, out);
        return 0;
    }
    if (split_word(b, w, s, len, e))
        return -1;
    add_tokens(w, v, start, len, out);
    bool fits = w->n > 0 && w->n <= WORD_CACHE_TOKENS && w->at[0] == 0;
    for (size_t i = 1; i < w->n && fits; i++)
        fits = w->at[i] > w->at[i - 1];
    if (fits)
        word_store(c, key, w->id, w->at, (unsigned)w->n, len);
    return 0;
}

static size_t next_mark(const char *s, size_t i, size_t len)
{
    static const char mark[] = "\xE2\x96\x81";
    while (i + 3 <= len && !memcmp(s + i, mark, 3))
        i += 3;
    const char *hit = i < len ? memmem(s + i, len - i, mark, 3) : NULL;
    return hit ? (size_t)(hit - s) : len;
}

int bpe_encode(const struct bpe *b, struct bpe_work *w, const struct text_view *v, struct token_list *out, struct err *e)
{
    if (!b->cut_at_marks)
        return v->len ? encode_word(b, w, v, 0, v->len, out, e) : 0;
    for (size_t i = 0, end; i < v->len; i = end) {
        end = next_mark(v->s, i, v->len);
        if (encode_word(b, w, v, i, end - i, out, e))
            return -1;
    }
    return 0;
}
