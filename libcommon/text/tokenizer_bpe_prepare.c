/* What an encoder wants to know about vocabulary and merges before the first word. */
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "text/tokenizer_bpe.h"
#include "text/utf8.h"

/* The usual byte-level model: all 256 letters are tokens and nothing is glued to words. Its tokens that are spelled in the
 * alphabet get their bytes; all others can never come out of a word of letters. */
static void prepare_bytes(struct bpe *b)
{
    for (unsigned byte = 0; byte < 256; byte++) {
        char letter[4];
        b->byte_symbol[byte] = vocab_find(&b->vocab, letter, (size_t)utf8_put(letter, byte_letter((unsigned char)byte)));
        if (b->byte_symbol[byte] == TOKENIZER_NONE)
            b->byte_words = false;
    }
    if (!b->byte_words)
        return;
    struct buf bytes = BUF_INIT;
    for (uint32_t id = 0; id < b->vocab.size; id++) {
        struct token_ref ref = b->vocab.tokens[id];
        buf_clear(&bytes);
        if (ref.at != TOKENIZER_NONE && letters_to_bytes(b->vocab.pool.data + ref.at, ref.len, &bytes))
            vocab_add(&b->words, buf_str(&bytes), bytes.len, id);
    }
    buf_release(&bytes);
    b->byte_pair = mem_array(NULL, 65536, sizeof *b->byte_pair);
    for (unsigned pair = 0; pair < 65536; pair++)
        b->byte_pair[pair] = merges_rank(&b->merges, b->byte_symbol[pair >> 8], b->byte_symbol[pair & 255]);
}

static void prepare_chars(struct bpe *b)
{
    for (unsigned byte = 0; byte < 256; byte++) {
        char name[8];
        snprintf(name, sizeof name, "<0x%02X>", byte);
        b->byte_symbol[byte] = vocab_find(&b->vocab, name, 6);
    }
    b->char_symbol = mem_array(NULL, 65536, sizeof *b->char_symbol);
    memset(b->char_symbol, 0xFF, 65536 * sizeof *b->char_symbol);
    for (uint32_t id = 0; id < b->vocab.size; id++) {
        struct token_ref ref = b->vocab.tokens[id];
        size_t i = 0;
        if (ref.at == TOKENIZER_NONE || !ref.len)
            continue;
        uint32_t c = utf8_next(b->vocab.pool.data + ref.at, ref.len, &i);
        if (i == ref.len && c < 0x10000)
            b->char_symbol[c] = id;
    }
}

static bool drops_characters(const struct bpe *b)
{
    if (b->unk != TOKENIZER_NONE)
        return false;
    for (int byte = 0; byte < 256; byte++)
        if (!b->byte_fallback || b->byte_symbol[byte] == TOKENIZER_NONE)
            return true;
    return false;
}

/* No rule makes a token in which U+2581 follows another character: then no merge ever crosses such a place, and words may
 * be cut there. The mark itself must be a token, so that what is unknown before it ends at it in any case, and no character
 * may vanish, so that what looks apart is apart. */
static bool can_cut(const struct bpe *b)
{
    if (b->byte_words || drops_characters(b) || b->prefix_len || b->suffix_len || b->ignore_merges || b->char_symbol[0x2581] == TOKENIZER_NONE)
        return false;
    for (uint32_t rule = 0; rule < b->merges.n; rule++) {
        struct token_ref ref = b->vocab.tokens[b->merges.result[rule]];
        const char *s = b->vocab.pool.data + ref.at;
        bool other = false;
        for (size_t i = 0; i < ref.len;) {
            bool mark = utf8_next(s, ref.len, &i) == 0x2581;
            if (mark && other)
                return false;
            other = !mark;
        }
    }
    return true;
}

void bpe_prepare(struct bpe *b)
{
    b->unk = b->unk_token ? vocab_find(&b->vocab, b->unk_token, b->unk_len) : TOKENIZER_NONE;
    if (b->prefix_len || b->suffix_len)
        b->byte_words = false;
    if (b->byte_words)
        prepare_bytes(b);
    if (!b->byte_words)
        prepare_chars(b);
    b->cut_at_marks = can_cut(b);
}

void bpe_release(struct bpe *b)
{
    vocab_release(&b->vocab);
    vocab_release(&b->words);
    merges_release(&b->merges);
    free(b->unk_token);
    free(b->prefix);
    free(b->suffix);
    free(b->byte_pair);
    free(b->char_symbol);
}
