/* From logits to the next token.
 *
 * Filters and their order are those of transformers' generate (generation/logits_process.py): repetition penalty, temperature, top-k, top-p,
 * min-p, each on the softmax of what the ones before it left. The draw is counter-based: token `step` of sequence `stream` under `seed`
 * is the same whatever else is generated. Results need not follow torch's random numbers, only its probabilities. */
#ifndef MODEL_SAMPLER_H
#define MODEL_SAMPLER_H

#include <stdbool.h>
#include <stdint.h>

struct sampler_options {
    double temperature;     /* 0: greedy, the first of the largest; the filters below are then idle */
    int64_t top_k;          /* 0: off; tokens equal to the k-th stay */
    double top_p;           /* 1: off */
    double min_p;           /* 0: off */
    double repeat_penalty;  /* 1: off; also acts on greedy choice */
    uint64_t seed;
};

struct sampler;
struct sampler *sampler_new(const struct sampler_options *o, int64_t vocab);
void sampler_free(struct sampler *s);

/* logits (V) are changed in place. history: the sequence so far, prompt included. Returns the id, or -1 when one is NaN or
 * infinite, or all are minus infinity. */
int32_t sampler_pick(struct sampler *s, float *logits, const int32_t *history, int64_t n_history, uint64_t stream, uint64_t step);

/* What sampler_pick would draw from: ids and probabilities in descending order; returns their number, 0 where
 * sampler_pick returns -1 (for tests and --verbose).
 * Arrays are borrowed until the next call. Temperature 0 gives the one greedy token. */
int64_t sampler_distribution(struct sampler *s, float *logits, const int32_t *history, int64_t n_history,
                             const int32_t **ids, const double **probabilities);

#endif
