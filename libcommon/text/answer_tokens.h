/* A prompt with its answers as token ids: what tok-encode does with pairs and labelled samples.
 *
 *     answer_tokens_encode(tokenizer, &sample, &options, &scratch, &out, &err);
 * `out` is the prompt, the chosen (or only) answer, the rejected answer. The prompt with each answer is encoded as a whole, and so is the
 * prompt alone: its tokens are those that all of these begin with, the rest of each is its answer. (TRL's trainers cut in
 * the same place.) Where a token runs over the end of the prompt's text it is the answer's, and so are the tokens of the
 * prompt's text from where the answer changes them; these are trained, as what the answer's spans say.
 * Errors say what is wrong, without the place. */
#ifndef TEXT_ANSWER_TOKENS_H
#define TEXT_ANSWER_TOKENS_H

#include "text/sample_tokens.h"

int answer_tokens_encode(const struct tokenizer *t, const struct chat_sample *s, const struct sample_tokens_options *o,
                         struct sample_scratch *scratch, struct sample_tokens *out, struct err *e) MUST_CHECK;

/* Tokens of the prompt and its longer answer. */
size_t answer_tokens_length(const struct sample_tokens *s);

/* The first `most` tokens of the prompt with each answer. false: an answer has no trained token left, or both are the same. */
bool answer_tokens_cut(const struct sample_tokens *s, size_t most, struct sample_tokens *to);

#endif
