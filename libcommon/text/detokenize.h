/* Text from tokens as they come: never half a character, never half a stop string.
 *
 *     struct detokenizer *d = detokenizer_new(tokenizer, stops, n_stops);
 *     detokenizer_start(d, prompt, n);                       the decoder of a first token depends on what is before it
 *     detokenizer_add(d, id, &text, &err);                   appends what has become certain; 1: a stop string was met, text ends before it
 *     detokenizer_end(d, &text, &err);                       appends what was held back
 */
#ifndef TEXT_DETOKENIZE_H
#define TEXT_DETOKENIZE_H

#include "text/tokenizer.h"

struct detokenizer;

struct detokenizer *detokenizer_new(const struct tokenizer *t, const char *const *stops, int n_stops);
void detokenizer_free(struct detokenizer *d);
int detokenizer_start(struct detokenizer *d, const uint32_t *prompt, size_t n, struct err *e) MUST_CHECK;
int detokenizer_add(struct detokenizer *d, uint32_t id, struct buf *text, struct err *e) MUST_CHECK;
int detokenizer_end(struct detokenizer *d, struct buf *text, struct err *e) MUST_CHECK;

#endif
