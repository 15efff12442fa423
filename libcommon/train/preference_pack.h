/* Pairs and labelled samples as rows of the decoder.
 *
 * A row has one target, so each answer begins with a copy of the prompt's last token:
 *     pair:      prompt[0 .. P-2] | prompt[P-1] chosen[0 .. C-1] | prompt[P-1] rejected[0 .. R-1]      a fork at P-1 (struct batch_fork)
 *     labelled:  prompt[0 .. P-2] | prompt[P-1] answer[0 .. A-1]
 * The two answers of a pair see the prompt, which is computed once, and not each other. Rows of the prompt have targets when its
 * likelihood is trained (ORPO). The second answer of a labelled sample, the one of the sample before it in the file (of the first, the last's),
 * is a pack of its own behind the same prompt, of which the beginning goes where both are longer than the model has positions. */
#ifndef TRAIN_PREFERENCE_PACK_H
#define TRAIN_PREFERENCE_PACK_H

#include "train/batches.h"

enum preference_what {
    PREFERENCE_ANSWERS,         /* of a pair both */
    PREFERENCE_ANSWERS_PROMPT,  /* and targets in the prompt */
    PREFERENCE_MISMATCHED,
};

/* As pack_fill. context: positions of the model; matters to PREFERENCE_MISMATCHED only. */
int64_t preference_pack_fill(struct pack *p, const struct token_file *t, enum preference_what what, int64_t context, const uint32_t *items,
                             int64_t first, int64_t n, int64_t row0);
/* Rows of the longest sample. mismatched: also with that answer. */
int64_t preference_longest(const struct token_file *t, bool mismatched, int64_t context);

/* Rows of one sample, from its first: where the rows of each answer begin (that of the prompt's last token) and how many there are.
 * answers: 1 or 2. */
struct preference_rows {
    int64_t rows, prompt;       /* prompt: rows before the answers */
    int answers;
    int64_t at[2], length[2];
};
struct preference_rows preference_rows_of(const struct token_file *t, int64_t sample, enum preference_what what, int64_t context);

#endif
