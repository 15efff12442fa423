/* Answers as tokens: a pair or a labelled sample (the first byte tells), encoded with a small tokenizer that merges letters. What comes out
 * keeps the rules of a token file, and so does what is left of it when it is cut. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "format/token_layout.h"
#include "text/answer_tokens.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char tokenizer_json[] =
    "{\"added_tokens\":[{\"id\":10,\"content\":\"<e>\",\"special\":true,\"single_word\":false,\"lstrip\":false,\"rstrip\":false,\"normalized\":false}],"
    "\"normalizer\":{\"type\":\"NFC\"},\"pre_tokenizer\":null,\"post_processor\":null,\"decoder\":null,"
    "\"model\":{\"type\":\"BPE\",\"unk_token\":\"?\",\"fuse_unk\":true,\"vocab\":{\"?\":0,\"a\":1,\"b\":2,\"c\":3,\" \":4,\"ab\":5,\"bc\":6,\"aa\":7,\"abc\":8,\"\\n\":9},"
    "\"merges\":[\"a b\",\"b c\",\"a a\",\"ab c\"]}}";

static void check(const struct sample_tokens *s, enum token_kind kind)
{
    const struct token_sample t = {s->ids, s->mask, (uint32_t)s->n, (uint32_t)s->trained, (uint32_t)s->prompt, (uint32_t)s->chosen, s->label};
    size_t trained = 0;
    for (size_t i = 0; i < s->n; i++) {
        if (s->ids[i] > 10 || s->mask[i] > 1)
            abort();
        trained += s->mask[i];
    }
    if (trained != s->trained || token_record_fault(kind, &t) || answer_tokens_length(s) != token_sample_length(&t, kind))
        abort();
}

static void cut(const struct sample_tokens *s, enum token_kind kind)
{
    struct sample_tokens piece = {0};
    for (size_t most = 2; most <= answer_tokens_length(s) + 1; most++)
        if (answer_tokens_cut(s, most, &piece)) {
            check(&piece, kind);
            if (answer_tokens_length(&piece) > most)
                abort();
        }
    sample_tokens_release(&piece);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct tokenizer *t;
    static struct sample_scratch scratch;
    struct err e = ERR_INIT;
    struct chat_sample s = {0};
    struct sample_tokens out = {0};
    if (!t && !(t = tokenizer_parse(tokenizer_json, sizeof tokenizer_json - 1, "fuzz", &e)))
        abort();
    if (!size || size > 4096)
        return 0;
    bool pair = data[0] & 1;
    const struct sample_tokens_options o = {.raw = data[0] & 2, .eos = 10};
    if (chat_sample_parse((const char *)data + 1, size - 1, pair ? CHAT_PAIRS : CHAT_LABELLED, &s, &e) == 0 &&
        answer_tokens_encode(t, &s, &o, &scratch, &out, &e) == 0) {
        check(&out, pair ? TOKEN_KIND_PAIRS : TOKEN_KIND_LABELLED);
        cut(&out, pair ? TOKEN_KIND_PAIRS : TOKEN_KIND_LABELLED);
    }
    chat_sample_release(&s);
    sample_tokens_release(&out);
    return 0;
}
