/* Training a byte-level BPE tokenizer.
 *
 *     struct bpe_trainer *t = bpe_trainer_new(&err);
 *     bpe_trainer_add(t, text, len, &err);  ...
 *     bpe_trainer_run(t, vocab, specials, n_specials, &json, &err);   json: the bytes of tokenizer.json
 *     bpe_trainer_free(t);
 *
 * Words are cut as the written file cuts them: single digits, then the GPT-2 pattern (ByteLevel). The result is that of
 * the `tokenizers` library's BpeTrainer with the full byte alphabet: ids are specials, the 256 bytes, merges; each merge joins the
 * most frequent pair, of equally frequent ones that with the smallest ids (models/bpe/trainer.rs). Text is UTF-8. */
#ifndef TEXT_BPE_TRAIN_H
#define TEXT_BPE_TRAIN_H

#include <stddef.h>

#include "base/buf.h"
#include "base/err.h"

struct bpe_trainer;

struct bpe_trainer *bpe_trainer_new(struct err *e) MUST_CHECK;
int bpe_trainer_add(struct bpe_trainer *t, const char *text, size_t len, struct err *e) MUST_CHECK;
/* vocab: wanted size, all included; fewer come out when no pair occurs twice any more. Returns the size, -1 on error. A special token that is empty, given
 * twice, a single character or a word of the text is an error. */
int bpe_trainer_run(struct bpe_trainer *t, int vocab, const char *const *specials, int n_specials, struct buf *json, struct err *e) MUST_CHECK;
void bpe_trainer_free(struct bpe_trainer *t);

#endif
