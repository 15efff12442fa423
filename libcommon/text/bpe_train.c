#define PCRE2_CODE_UNIT_WIDTH 8
#include "text/bpe_train.h"

#include <pcre2.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "text/utf8.h"

/* A distinct word and how often it occurs; its symbols are pool[first .. first + n), merged in place. */
struct word {
    uint64_t hash, count;
    size_t first;
    uint32_t n;
    size_t bytes, len; /* its text in `text` */
};

struct pair {
    uint64_t key;          /* left << 32 | right; slots are found by it */
    int64_t count;
    uint32_t *words;       /* words that may hold the pair; stale entries are harmless */
    size_t n_words, cap_words;
    bool used;
};

struct heap_item {
    int64_t count;
    uint64_t key;
};

struct bpe_trainer {
    pcre2_code *pattern;
    pcre2_match_data *match;
    struct buf text;
    struct word *words;
    size_t n_words, cap_words;
    uint32_t *slots;       /* open addressing: 1 + index in words */
    size_t n_slots;
    uint32_t *pool;
    struct pair *pairs;    /* open addressing */
    size_t n_pairs, cap_pairs;
    struct heap_item *heap;
    size_t n_heap, cap_heap;
};

/* GPT-2's pattern on the stretches between single digits: the look-ahead takes a digit for the end of the text. */
static const char digits_then_gpt2[] =
    "\\p{N}|'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?![^\\s\\p{N}])|\\s+";

struct bpe_trainer *bpe_trainer_new(struct err *e)
{
    int code;
    PCRE2_SIZE at;
    struct bpe_trainer *t = mem_zalloc(1, sizeof *t);
    t->pattern = pcre2_compile((PCRE2_SPTR)digits_then_gpt2, PCRE2_ZERO_TERMINATED, PCRE2_UTF | PCRE2_UCP, &code, &at, NULL);
    if (!t->pattern) {
        err_set(e, "pcre2: cannot compile the word pattern: error %d at %zu", code, (size_t)at);
        free(t);
        return NULL;
    }
    pcre2_jit_compile(t->pattern, PCRE2_JIT_COMPLETE);
    t->match = pcre2_match_data_create_from_pattern(t->pattern, NULL);
    t->n_slots = 1 << 12;
    t->slots = mem_zalloc(t->n_slots, sizeof *t->slots);
    return t;
}

void bpe_trainer_free(struct bpe_trainer *t)
{
    if (!t)
        return;
    for (size_t i = 0; i < t->cap_pairs; i++)
        free(t->pairs[i].words);
    pcre2_match_data_free(t->match);
    pcre2_code_free(t->pattern);
    buf_release(&t->text);
    free(t->words);
    free(t->slots);
    free(t->pool);
    free(t->pairs);
    free(t->heap);
    free(t);
}

static uint64_t hash_bytes(const char *s, size_t len)
{
    uint64_t h = 0xcbf29ce484222325u;
    for (size_t i = 0; i < len; i++)
        h = (h ^ (uint8_t)s[i]) * 0x100000001b3u;
    return h ^ h >> 29;
}

static void grow_slots(struct bpe_trainer *t)
{
    t->n_slots *= 2;
    free(t->slots);
    t->slots = mem_zalloc(t->n_slots, sizeof *t->slots);
    for (size_t i = 0; i < t->n_words; i++) {
        size_t s = t->words[i].hash & (t->n_slots - 1);
        while (t->slots[s])
            s = (s + 1) & (t->n_slots - 1);
        t->slots[s] = (uint32_t)i + 1;
    }
}

static void count_word(struct bpe_trainer *t, const char *s, size_t len)
{
    uint64_t hash = hash_bytes(s, len);
    size_t at = hash & (t->n_slots - 1);
    for (; t->slots[at]; at = (at + 1) & (t->n_slots - 1)) {
        struct word *w = &t->words[t->slots[at] - 1];
        if (w->hash == hash && w->len == len && !memcmp(t->text.data + w->bytes, s, len)) {
            w->count++;
            return;
        }
    }
    t->words = mem_grow(t->words, &t->cap_words, t->n_words + 1, sizeof *t->words);
    t->words[t->n_words++] = (struct word){hash, 1, 0, 0, t->text.len, len};
    t->slots[at] = (uint32_t)t->n_words;
    buf_add(&t->text, s, len);
    if (t->n_words * 2 > t->n_slots)
        grow_slots(t);
}

int bpe_trainer_add(struct bpe_trainer *t, const char *text, size_t len, struct err *e)
{
    if (utf8_valid(text, len) < len)
        return err_set(e, "byte %zu: not valid UTF-8", utf8_valid(text, len));
    for (size_t at = 0; at < len;) {
        int n = pcre2_match(t->pattern, (PCRE2_SPTR)text, len, at, PCRE2_NO_UTF_CHECK, t->match, NULL);
        if (n < 0)
            return err_set(e, "byte %zu: the word pattern fails (pcre2 error %d)", at, n);
        PCRE2_SIZE *o = pcre2_get_ovector_pointer(t->match);
        count_word(t, text + o[0], o[1] - o[0]);
        at = o[1];
    }
    return 0;
}

static struct pair *find_pair(struct bpe_trainer *t, uint64_t key)
{
    size_t at = (key * 0x9e3779b97f4a7c15u >> 20) & (t->cap_pairs - 1);
    while (t->pairs[at].used && t->pairs[at].key != key)
        at = (at + 1) & (t->cap_pairs - 1);
    return &t->pairs[at];
}

static void grow_pairs(struct bpe_trainer *t)
{
    struct pair *old = t->pairs;
    size_t n = t->cap_pairs;
    t->cap_pairs = n ? 2 * n : 1 << 12;
    t->pairs = mem_zalloc(t->cap_pairs, sizeof *t->pairs);
    for (size_t i = 0; i < n; i++)
        if (old[i].used)
            *find_pair(t, old[i].key) = old[i];
    free(old);
}

static struct pair *change_pair(struct bpe_trainer *t, uint32_t left, uint32_t right, int64_t by, uint32_t word)
{
    if (2 * (t->n_pairs + 1) > t->cap_pairs)
        grow_pairs(t);
    uint64_t key = (uint64_t)left << 32 | right;
    struct pair *p = find_pair(t, key);
    if (!p->used) {
        *p = (struct pair){.key = key, .used = true};
        t->n_pairs++;
    }
    p->count += by;
    if (by > 0 && (!p->n_words || p->words[p->n_words - 1] != word)) {
        p->words = mem_grow(p->words, &p->cap_words, p->n_words + 1, sizeof *p->words);
        p->words[p->n_words++] = word;
    }
    return p;
}

/* The heap's top: most frequent first, then the smallest key. */
static bool before(const struct heap_item *a, const struct heap_item *b)
{
    return a->count != b->count ? a->count > b->count : a->key < b->key;
}

static void heap_push(struct bpe_trainer *t, int64_t count, uint64_t key)
{
    struct heap_item item = {count, key};
    t->heap = mem_grow(t->heap, &t->cap_heap, t->n_heap + 1, sizeof *t->heap);
    size_t i = t->n_heap++;
    for (; i && before(&item, &t->heap[(i - 1) / 2]); i = (i - 1) / 2)
        t->heap[i] = t->heap[(i - 1) / 2];
    t->heap[i] = item;
}

static struct heap_item heap_pop(struct bpe_trainer *t)
{
    struct heap_item top = t->heap[0], last = t->heap[--t->n_heap];
    size_t i = 0;
    for (size_t c = 1; c < t->n_heap; i = c, c = 2 * i + 1) {
        if (c + 1 < t->n_heap && before(&t->heap[c + 1], &t->heap[c]))
            c++;
        if (!before(&t->heap[c], &last))
            break;
        t->heap[i] = t->heap[c];
    }
    t->heap[i] = last;
    return top;
}

/* Replaces the pair in one word from left to right; counts of the neighbours follow. */
static void merge_in_word(struct bpe_trainer *t, uint32_t index, uint32_t left, uint32_t right, uint32_t merged)
{
    struct word *w = &t->words[index];
    uint32_t *s = t->pool + w->first, n = 0;
    int64_t count = (int64_t)w->count;
    for (uint32_t i = 0; i < w->n; i++) {
        if (i + 1 == w->n || s[i] != left || s[i + 1] != right) {
            s[n++] = s[i];
            continue;
        }
        if (n) {
            change_pair(t, s[n - 1], left, -count, index);
            struct pair *p = change_pair(t, s[n - 1], merged, count, index);
            heap_push(t, p->count, p->key);
        }
        if (i + 2 < w->n) {
            change_pair(t, right, s[i + 2], -count, index);
            struct pair *p = change_pair(t, merged, s[i + 2], count, index);
            heap_push(t, p->count, p->key);
        }
        s[n++] = merged;
        i++;
    }
    w->n = n;
}

static void start_symbols(struct bpe_trainer *t, const uint32_t *byte_id)
{
    t->pool = mem_alloc(t->text.len * sizeof *t->pool);
    for (size_t i = 0; i < t->n_words; i++) {
        struct word *w = &t->words[i];
        w->first = w->bytes;
        w->n = (uint32_t)w->len;
        for (size_t b = 0; b < w->len; b++)
            t->pool[w->first + b] = byte_id[(uint8_t)t->text.data[w->bytes + b]];
        for (size_t b = 0; b + 1 < w->len; b++)
            change_pair(t, t->pool[w->first + b], t->pool[w->first + b + 1], (int64_t)w->count, (uint32_t)i);
    }
    for (size_t i = 0; i < t->cap_pairs; i++)
        if (t->pairs[i].used)
            heap_push(t, t->pairs[i].count, t->pairs[i].key);
}

/* The printable stand-in of a byte in a byte-level vocabulary (openai/gpt-2, encoder.py, bytes_to_unicode). */
static uint32_t byte_char(int byte)
{
    int shifted = 256;
    if ((byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 172) || byte >= 174)
        return (uint32_t)byte;
    for (int b = 0; b < byte; b++)
        shifted += !((b >= 33 && b <= 126) || (b >= 161 && b <= 172) || b >= 174);
    return (uint32_t)shifted;
}

static void add_json_string(struct buf *json, const char *s)
{
    buf_add_char(json, '"');
    for (; *s; s++) {
        if (*s == '"' || *s == '\\')
            buf_add_char(json, '\\');
        if ((unsigned char)*s < 32)
            buf_printf(json, "\\u%04x", (unsigned char)*s);
        else
            buf_add_char(json, *s);
    }
    buf_add_char(json, '"');
}

static void write_json(struct buf *json, char **tokens, int n, int n_specials, const uint64_t *merges, int n_merges)
{
    buf_add_str(json, "{\n  \"version\": \"1.0\",\n  \"truncation\": null,\n  \"padding\": null,\n  \"added_tokens\": [");
    for (int i = 0; i < n_specials; i++) {
        buf_printf(json, "%s\n    {\"id\": %d, \"content\": ", i ? "," : "", i);
        add_json_string(json, tokens[i]);
        buf_add_str(json, ", \"single_word\": false, \"lstrip\": false, \"rstrip\": false, \"normalized\": false, \"special\": true}");
    }
    buf_add_str(json, "\n  ],\n  \"normalizer\": null,\n  \"pre_tokenizer\": {\"type\": \"Sequence\", \"pretokenizers\": [\n"
                      "    {\"type\": \"Digits\", \"individual_digits\": true},\n"
                      "    {\"type\": \"ByteLevel\", \"add_prefix_space\": false, \"trim_offsets\": true, \"use_regex\": true}]},\n"
                      "  \"post_processor\": null,\n"
                      "  \"decoder\": {\"type\": \"ByteLevel\", \"add_prefix_space\": true, \"trim_offsets\": true, \"use_regex\": true},\n"
                      "  \"model\": {\"type\": \"BPE\", \"dropout\": null, \"unk_token\": null, \"continuing_subword_prefix\": null, "
                      "\"end_of_word_suffix\": null, \"fuse_unk\": false, \"byte_fallback\": false, \"ignore_merges\": false,\n"
                      "    \"vocab\": {");
    for (int i = 0; i < n; i++) {
        buf_add_str(json, i ? ",\n      " : "\n      ");
        add_json_string(json, tokens[i]);
        buf_printf(json, ": %d", i);
    }
    buf_add_str(json, "\n    },\n    \"merges\": [");
    for (int i = 0; i < n_merges; i++) {
        buf_add_str(json, i ? ",\n      [" : "\n      [");
        add_json_string(json, tokens[merges[i] >> 32]);
        buf_add_str(json, ", ");
        add_json_string(json, tokens[merges[i] & 0xffffffff]);
        buf_add_char(json, ']');
    }
    buf_add_str(json, "\n    ]\n  }\n}\n");
}

static int compare_u32(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

/* Specials, then the 256 stand-ins in the order of their code points. */
static int first_tokens(char **tokens, const char *const *specials, int n_specials, uint32_t byte_id[256])
{
    uint32_t order[256];
    char utf8[5] = "";
    int n = 0;
    for (; n < n_specials; n++)
        tokens[n] = mem_strdup(specials[n]);
    for (int b = 0; b < 256; b++)
        order[b] = byte_char(b) << 8 | (uint32_t)b;
    qsort(order, 256, sizeof *order, compare_u32);
    for (int i = 0; i < 256; i++) {
        utf8[utf8_put(utf8, order[i] >> 8)] = 0;
        byte_id[order[i] & 255] = (uint32_t)n;
        tokens[n++] = mem_strdup(utf8);
    }
    return n;
}

/* The best pair that is not stale, or count 0. */
static struct heap_item best_pair(struct bpe_trainer *t)
{
    while (t->n_heap) {
        struct heap_item top = heap_pop(t);
        struct pair *p = find_pair(t, top.key);
        if (p->count == top.count)
            return top;
        if (p->count > 0 && p->count < top.count)
            heap_push(t, p->count, top.key);
    }
    return (struct heap_item){0, 0};
}

static bool is_special(const char *token, const char *const *specials, int n)
{
    for (int i = 0; i < n; i++)
        if (!strcmp(token, specials[i]))
            return true;
    return false;
}

static int check_specials(const char *const *specials, int n, struct err *e)
{
    for (int i = 0; i < n; i++) {
        const char *s = specials[i];
        size_t len = strlen(s);
        if (!len || utf8_valid(s, len) < len)
            return err_set(e, "special token %d: %s", i + 1, len ? "not valid UTF-8" : "is empty");
        if (is_special(s, specials, i))
            return err_set(e, "special token '%s': given twice", s);
        if (utf8_count(s, len) == 1)
            return err_set(e, "special token '%s': a single character is what a byte is called", s);
    }
    return 0;
}

static void free_tokens(char **tokens, int n)
{
    for (int i = 0; i < n; i++)
        free(tokens[i]);
    free(tokens);
}

int bpe_trainer_run(struct bpe_trainer *t, int vocab, const char *const *specials, int n_specials, struct buf *json, struct err *e)
{
    uint32_t byte_id[256];
    if (vocab < n_specials + 256)
        return err_set(e, "a vocabulary of %d cannot hold %d special tokens and 256 bytes", vocab, n_specials);
    if (check_specials(specials, n_specials, e) < 0)
        return -1;
    char **tokens = mem_zalloc((size_t)vocab, sizeof *tokens);
    uint64_t *merges = mem_zalloc((size_t)vocab, sizeof *merges);
    int n_merges = 0, n = first_tokens(tokens, specials, n_specials, byte_id);
    if (!t->cap_pairs)
        grow_pairs(t);
    start_symbols(t, byte_id);
    while (n < vocab) {
        struct heap_item best = best_pair(t);
        if (best.count < 2)
            break;
        uint32_t left = (uint32_t)(best.key >> 32), right = (uint32_t)best.key;
        tokens[n] = mem_printf("%s%s", tokens[left], tokens[right]);
        if (is_special(tokens[n], specials, n_specials)) {
            err_set(e, "special token '%s': the text has it as a word; a special token must be what no text says", tokens[n]);
            free_tokens(tokens, n + 1);
            free(merges);
            return -1;
        }
        merges[n_merges++] = best.key;
        struct pair *p = find_pair(t, best.key);
        uint32_t *words = p->words;
        size_t n_words = p->n_words;
        p->words = NULL;
        p->n_words = p->cap_words = 0;
        p->count = 0;
        for (size_t i = 0; i < n_words; i++)
            merge_in_word(t, words[i], left, right, (uint32_t)n);
        free(words);
        n++;
    }
    write_json(json, tokens, n, n_specials, merges, n_merges);
    free_tokens(tokens, n);
    free(merges);
    return n;
}
