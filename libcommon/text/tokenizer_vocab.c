/* The vocabulary (string -> id, id -> string), the merge rules, and the byte-level alphabet. */
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "base/mem.h"
#include "text/tokenizer_impl.h"
#include "text/utf8.h"

static void place_slot(struct vocab *v, uint64_t hash, uint32_t id)
{
    size_t i = hash & v->mask;
    while (v->slots[i] != UINT64_MAX)
        i = (i + 1) & v->mask;
    v->slots[i] = hash >> 32 << 32 | id;
    v->used++;
}

static uint64_t *slot_of(const struct vocab *v, uint64_t hash, const char *s, size_t len)
{
    if (!v->slots)
        return NULL;
    for (size_t i = hash & v->mask;; i = (i + 1) & v->mask) {
        uint64_t slot = v->slots[i];
        if (slot == UINT64_MAX)
            return NULL;
        if (slot >> 32 != hash >> 32)
            continue;
        const struct token_ref *ref = &v->tokens[(uint32_t)slot];
        if (ref->len == len && !memcmp(v->pool.data + ref->at, s, len))
            return &v->slots[i];
    }
}

uint32_t vocab_find(const struct vocab *v, const char *s, size_t len)
{
    const uint64_t *slot = slot_of(v, XXH3_64bits(s, len), s, len);
    return slot ? (uint32_t)*slot : TOKENIZER_NONE;
}

static void rehash(struct vocab *v)
{
    size_t n = v->slots ? (v->mask + 1) * 2 : 1024;
    free(v->slots);
    v->slots = mem_array(NULL, n, sizeof *v->slots);
    memset(v->slots, 0xFF, n * sizeof *v->slots);
    v->mask = n - 1;
    v->used = 0;
    for (uint32_t id = 0; id < v->size; id++) {
        const struct token_ref *ref = &v->tokens[id];
        if (ref->at != TOKENIZER_NONE)
            place_slot(v, XXH3_64bits(v->pool.data + ref->at, ref->len), id);
    }
}

void vocab_add(struct vocab *v, const char *s, size_t len, uint32_t id)
{
    if ((v->used + 1) * 2 > v->mask)
        rehash(v);
    if (id >= v->size) {
        v->tokens = mem_grow(v->tokens, &v->cap, (size_t)id + 1, sizeof *v->tokens);
        for (uint32_t i = v->size; i <= id; i++)
            v->tokens[i] = (struct token_ref){TOKENIZER_NONE, 0};
        v->size = id + 1;
    }
    uint64_t hash = XXH3_64bits(s, len);
    uint64_t *slot = slot_of(v, hash, s, len);
    if (slot) {
        uint32_t old = (uint32_t)*slot;
        if (old != id) {
            v->tokens[id] = v->tokens[old];
            v->tokens[old] = (struct token_ref){TOKENIZER_NONE, 0};
            *slot = hash >> 32 << 32 | id;
        }
        return;
    }
    v->tokens[id] = (struct token_ref){(uint32_t)v->pool.len, (uint32_t)len};
    buf_add(&v->pool, s, len);
    place_slot(v, hash, id);
}

void vocab_release(struct vocab *v)
{
    buf_release(&v->pool);
    free(v->tokens);
    free(v->slots);
}

static unsigned bits_for(uint64_t values)
{
    unsigned bits = 1;
    while (((uint64_t)1 << bits) < values)
        bits++;
    return bits;
}

int merges_init(struct merges *m, uint32_t vocab_size, size_t n, struct err *e)
{
    m->id_bits = bits_for(vocab_size);
    m->rank_bits = bits_for((uint64_t)n + 1);
    if (n >= TOKENIZER_NONE || 2 * m->id_bits + m->rank_bits > 63)
        return err_set(e, "%u tokens with %zu merges, too many for this program", vocab_size, n);
    unsigned slot_bits = bits_for((uint64_t)n * 2 + 2);
    m->shift = 64 - slot_bits;
    m->mask = ((size_t)1 << slot_bits) - 1;
    m->slots = mem_array(NULL, m->mask + 1, sizeof *m->slots);
    memset(m->slots, 0xFF, (m->mask + 1) * sizeof *m->slots);
    m->result = mem_array(NULL, n, sizeof *m->result);
    return 0;
}

void merges_add(struct merges *m, uint32_t left, uint32_t right, uint32_t result)
{
    uint64_t key = (uint64_t)left << m->id_bits | right;
    size_t i = (size_t)(key * 0x9E3779B97F4A7C15u >> m->shift);
    while (m->slots[i] != UINT64_MAX && m->slots[i] >> m->rank_bits != key)
        i = (i + 1) & m->mask;
    m->slots[i] = key << m->rank_bits | m->n;
    m->result[m->n++] = result;
}

void merges_release(struct merges *m)
{
    free(m->slots);
    free(m->result);
}

/* GPT-2's alphabet: a byte that is a printable Latin-1 character stands for itself, the other 68 take, in ascending
 * order, the letters from U+0100 on. */
static bool stands_for_itself(unsigned byte)
{
    return (byte >= 0x21 && byte <= 0x7E) || (byte >= 0xA1 && byte <= 0xAC) || byte >= 0xAE;
}

uint32_t byte_letter(unsigned char byte)
{
    if (stands_for_itself(byte))
        return byte;
    return 0x100 + (byte <= 0x20 ? byte : byte <= 0xA0 ? byte - 0x7Fu + 33 : 67);
}

int letter_byte(uint32_t c)
{
    if (c < 0x100)
        return stands_for_itself(c) ? (int)c : -1;
    if (c >= BYTE_LETTERS)
        return -1;
    return (int)(c <= 0x120 ? c - 0x100 : c <= 0x142 ? c - 0x121 + 0x7F : 0xAD);
}

bool letters_to_bytes(const char *s, size_t len, struct buf *out)
{
    buf_reserve(out, len);
    size_t n = out->len;
    for (size_t i = 0; i < len;) {
        int byte = letter_byte(utf8_next(s, len, &i));
        if (byte < 0) {
            buf_set_len(out, n);
            return false;
        }
        out->data[n++] = (char)byte;
    }
    buf_set_len(out, n);
    return true;
}

void bytes_to_letters(const struct text_view *v, struct aligned *out)
{
    for (size_t i = 0; i < v->len; i++) {
        char letter[4];
        int n = utf8_put(letter, byte_letter((unsigned char)v->s[i]));
        aligned_put(out, letter, (size_t)n, view_from(v, i), view_to(v, i));
    }
}
