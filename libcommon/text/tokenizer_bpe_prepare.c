/* What an encoder wants to know about vocabulary and merges before the first word. */
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "text/tokenizer_bpe.h"
#include "text/utf8.h"

/* The tokens that are spelled in the byte-level alphabet, as bytes; all others can never come out of a word of letters. */
static void add_words(struct bpe *b)
{
    struct buf bytes = BUF_INIT;
    for (uint32_t id = 0; id < b->vocab.size; id++) {
        struct token_ref ref = b->vocab.tokens[id];
        buf_clear(&bytes);
        if (ref.at != TOKENIZER_NONE && letters_to_bytes(b->vocab.pool.data + ref.at, ref.len, &bytes))
            vocab_add(&b->words, buf_str(&bytes), bytes.len, id);
    }
    buf_release(&bytes);
}

/* The usual byte-level model: the letters of bytes are tokens and nothing is glued to words. Letters that are none vanish from words unless
 * something is to stand for them. */
static void prepare_bytes(struct bpe *b)
{
    for (unsigned byte = 0; byte < 256; byte++) {
        char letter[4];
        b->byte_symbol[byte] = vocab_find(&b->vocab, letter, (size_t)utf8_put(letter, byte_letter((unsigned char)byte)));
        b->drops_bytes |= b->byte_symbol[byte] == TOKENIZER_NONE;
    }
    if (b->drops_bytes && (b->unk_token || b->byte_fallback))
        b->byte_words = false;
    if (!b->byte_words)
        return;
    if (b->ignore_merges)
        add_words(b);
    b->byte_pair = mem_array(NULL, 65536, sizeof *b->byte_pair);
    for (unsigned pair = 0; pair < 65536; pair++) {
        uint32_t left = b->byte_symbol[pair >> 8], right = b->byte_symbol[pair & 255];
        b->byte_pair[pair] = left == TOKENIZER_NONE || right == TOKENIZER_NONE ? TOKENIZER_NONE : merges_rank(&b->merges, left, right);
    }
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

void bpe_prepare(struct bpe *b)
{
    b->unk = b->unk_token ? vocab_find(&b->vocab, b->unk_token, b->unk_len) : TOKENIZER_NONE;
    if (b->prefix_len || b->suffix_len)
        b->byte_words = false;
    if (b->byte_words)
        prepare_bytes(b);
    if (!b->byte_words)
        prepare_chars(b);
    cuts_prepare(&b->cuts, b);
}

void bpe_release(struct bpe *b)
{
    vocab_release(&b->vocab);
    vocab_release(&b->words);
    merges_release(&b->merges);
    cuts_release(&b->cuts);
    free(b->unk_token);
    free(b->prefix);
    free(b->suffix);
    free(b->byte_pair);
    free(b->char_symbol);
}
