/* Weights that C tests and the Python scripts of tests/golden compute alike, so that no weights need to be stored.
 *
 *     u(name, i)      = (splitmix64(fnv1a64(name) + i) >> 40) * 2^-24 - 0.5          in [-0.5, 0.5), exact in f32
 *     weight(name, i) = centre + width * u(name, i)                                  one rounding to f32
 * fnv1a64: offset basis 0xcbf29ce484222325, prime 0x100000001b3, over the name's bytes. splitmix64(x): x += 0x9e3779b97f4a7c15,
 * then the finalizer of Steele et al. (OOPSLA 2014). Element i counts row-major. By name: matrices 0 + 0.5 u, the embedding and the
 * output layer 0 + 1 u, norms 1 + 0.25 u, biases 0 + 0.25 u, LoRA factors and trained biases of adapters 0 + 0.25 u. */
#ifndef TESTS_FORMULA_H
#define TESTS_FORMULA_H

#include <stdint.h>
#include <string.h>

static inline uint64_t formula_hash(const char *name)
{
    uint64_t h = 0xcbf29ce484222325u;
    for (; *name; name++)
        h = (h ^ (unsigned char)*name) * 0x100000001b3u;
    return h;
}

static inline float formula_unit(uint64_t hash, uint64_t i)
{
    uint64_t z = hash + i + 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    z ^= z >> 31;
    return (float)(z >> 40) * 0x1p-24f - 0.5f;
}

static inline void formula_fill(float *to, const char *name, uint64_t count)
{
    uint64_t hash = formula_hash(name);
    size_t n = strlen(name);
    float centre = 0, width = 0.5f;
    if (strstr(name, "norm"))
        centre = 1, width = 0.25f;
    else if (strstr(name, "lora_") || (n > 5 && !strcmp(name + n - 5, ".bias")))
        width = 0.25f;
    else if (strstr(name, "embed_tokens") || strstr(name, "lm_head"))
        width = 1;
    for (uint64_t i = 0; i < count; i++)
        to[i] = centre + width * formula_unit(hash, i);
}

#endif
