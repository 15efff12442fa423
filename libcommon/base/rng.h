/* Counter-based random numbers: Philox4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3",
 * SC 2011). There is no state: draw i of stream s under a seed is a pure function of (seed, s, i), so results
 * do not depend on threads, on the order of evaluation or on where a run was interrupted. Name a stream after
 * what it feeds: rng_stream("lora_A", module_index), rng_stream("shuffle", epoch), ... */
#ifndef BASE_RNG_H
#define BASE_RNG_H

#include <stdint.h>

struct rng {
    uint64_t seed;
    uint64_t stream;
};

uint64_t rng_stream(const char *what, uint64_t index);                      /* FNV-1a of what, mixed with index */
void rng_block(const struct rng *r, uint64_t counter, uint32_t out[4]);     /* 128 bits of draw `counter` */
float rng_uniform(const struct rng *r, uint64_t i);                         /* [0, 1), 24 bits: word i%4 of block i/4 */
float rng_normal(const struct rng *r, uint64_t i);                          /* N(0, 1), Box-Muller in double */
void rng_shuffle(const struct rng *r, uint32_t *items, uint32_t n);         /* Fisher-Yates, unbiased */

#endif
