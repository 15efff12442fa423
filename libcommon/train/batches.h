/* Which samples an optimizer step consumes, and how they are cut into packs.
 *
 * An epoch visits every sample once, in the order of the file or in an order drawn from (seed, epoch). A step takes the next
 * `batch` samples, or the next samples until they hold `batch_tokens` trained tokens; no step crosses the end of an
 * epoch, so the last one of an epoch may be smaller. A step is cut, in order, into packs of at most max_rows rows;
 * a sample never splits over packs, and a longer one is a pack of its own. The position (epoch, next) is all the state there is.
 *
 *     batches_init(&b, ...); total = batches_count_steps(&b, epochs);
 *     while (...) { batches_next(&b, &s); for (i = 0; i < s.n; i += used) used = pack_fill(&p, file, s.items + i, s.n - i, row0); } */
#ifndef TRAIN_BATCHES_H
#define TRAIN_BATCHES_H

#include "format/token_file.h"
#include "model/model.h"

struct batches_options {
    uint64_t seed;
    int64_t batch, batch_tokens; /* batch_tokens > 0 counts instead of batch */
    bool shuffle;
};

struct batches {
    const struct token_file *file;
    struct batches_options options;
    uint32_t *order;  /* of `epoch`; (n_samples) */
    int64_t epoch;    /* from 0 */
    int64_t next;     /* position in order */
    int64_t ordered;  /* epoch that `order` holds, -1: none */
};

struct batches_step {
    const uint32_t *items; /* n sample numbers; borrowed from the batches until the next call */
    int64_t n;
    int64_t rows, trained;
    double epoch;          /* epochs finished after this step, e.g. 0.25 */
};

int batches_init(struct batches *b, const struct token_file *file, const struct batches_options *o, struct err *e) MUST_CHECK;
void batches_release(struct batches *b);
/* Steps in `epochs` epochs (a fraction of the last one is rounded up to whole steps). Does not move the position. */
int64_t batches_count_steps(struct batches *b, double epochs);
void batches_seek(struct batches *b, int64_t epoch, int64_t next);
void batches_next(struct batches *b, struct batches_step *s); /* goes on into the next epoch by itself */

/* One pack of samples as the decoder reads it: at most max_rows rows, or one sample that is longer. */
struct pack {
    int64_t max_rows;
    int32_t *ids, *targets; /* (room) */
    int64_t *start;         /* (room + 1) */
    struct batch_fork *forks; /* (room) of packs of pairs: train/preference_pack.h */
    int64_t trained;        /* targets that bear loss */
    struct batch batch;
};

void pack_init(struct pack *p, int64_t max_rows, int64_t room); /* room: max_rows or the longest sample, whichever is more */
void pack_release(struct pack *p);
/* Takes as many of the n samples as fit, at least one, and returns how many. items NULL: samples
 * first, first + 1, ... row0: row of the step at which this pack starts. */
int64_t pack_fill(struct pack *p, const struct token_file *t, const uint32_t *items, int64_t first, int64_t n, int64_t row0);

#endif
