/* A sample of a chat stream as token ids with their loss mask: what tok-encode does with each sample.
 *
 *     struct sample_tokens out = {0};  struct sample_scratch scratch = {0};
 *     sample_tokens_encode(tokenizer, &sample, &options, &scratch, &out, &err); ... sample_tokens_release(&out); sample_scratch_release(&scratch);
 * The text is encoded once, as a whole; in its data spans no control token is recognised. A token is trained when it overlaps a trained
 * span; the first token never is. Text made by a template already has its special tokens. Raw text gets those of the tokenizer's
 * post-processor, and the end-of-text token behind it, which is trained, so that a model learns to stop.
 * One scratch per thread, kept (it remembers words); a tokenizer may be shared. Errors say what is wrong, without the place. */
#ifndef TEXT_SAMPLE_TOKENS_H
#define TEXT_SAMPLE_TOKENS_H

#include "text/chat_stream.h"
#include "text/tokenizer.h"

struct sample_tokens {
    uint32_t *ids;
    uint8_t *mask;              /* 1: trained */
    size_t n, trained, cap;
    size_t prompt, chosen;      /* answers (answer_tokens.h): tokens of the prompt and of the first answer; samples: 0 */
    bool label;
};

struct sample_scratch {
    struct token_list list;
    struct text_range *plain;
    size_t cap_plain;
    struct sample_tokens branch[2]; /* answers: each behind the prompt */
    struct chat_sample joined;
};

struct sample_tokens_options {
    bool raw;
    int64_t eos;                /* raw text only */
};

int sample_tokens_encode(const struct tokenizer *t, const struct chat_sample *s, const struct sample_tokens_options *o,
                         struct sample_scratch *scratch, struct sample_tokens *out, struct err *e) MUST_CHECK;
/* The text's tokens alone, in scratch->list, with what the post-processor adds to raw text but no end of text. */
int sample_tokens_list(const struct tokenizer *t, const struct chat_sample *s, bool raw, struct sample_scratch *scratch, struct err *e) MUST_CHECK;
void sample_tokens_reserve(struct sample_tokens *s, size_t n);
void sample_scratch_release(struct sample_scratch *s);

/* Cutting a long sample into pieces of at most `most` (>= 2) tokens. Pieces overlap by one token, which is not trained where a piece
 * starts with it but where the piece before ends with it: every trained token stays trained exactly once. */
size_t sample_tokens_pieces(size_t n, size_t most);
/* Piece k as a copy in `to`. */
void sample_tokens_piece(const struct sample_tokens *s, size_t most, size_t k, struct sample_tokens *to);

void sample_tokens_release(struct sample_tokens *s);

/* The id of the end-of-text token of a model folder: eos_token of tokenizer_config.json or special_tokens_map.json, or eos_token_id of
 * generation_config.json or config.json. *id is -1 when none of them names one that the tokenizer has; a file that cannot be read is an error. */
int sample_tokens_eos(const char *dir, const struct tokenizer *t, int64_t *id, struct err *e) MUST_CHECK;

/* max_position_embeddings of a model folder's config.json; 0 when it has none. */
int sample_tokens_context(const char *dir, int64_t *n, struct err *e) MUST_CHECK;

#endif
