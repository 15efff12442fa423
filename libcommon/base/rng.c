#include "base/rng.h"

#include <math.h>

uint64_t rng_stream(const char *what, uint64_t index)
{
    uint64_t h = 0xcbf29ce484222325u;
    for (; *what; what++)
        h = (h ^ (uint8_t)*what) * 0x100000001b3u;
    for (int i = 0; i < 8; i++)
        h = (h ^ (index >> 8 * i & 255)) * 0x100000001b3u;
    return h;
}

void rng_block(const struct rng *r, uint64_t counter, uint32_t out[4])
{
    uint32_t c0 = (uint32_t)counter, c1 = (uint32_t)(counter >> 32);
    uint32_t c2 = (uint32_t)r->stream, c3 = (uint32_t)(r->stream >> 32);
    uint32_t k0 = (uint32_t)r->seed, k1 = (uint32_t)(r->seed >> 32);
    for (int round = 0; round < 10; round++) {
        uint64_t p0 = (uint64_t)c0 * 0xd2511f53u, p1 = (uint64_t)c2 * 0xcd9e8d57u;
        uint32_t n0 = (uint32_t)(p1 >> 32) ^ c1 ^ k0, n2 = (uint32_t)(p0 >> 32) ^ c3 ^ k1;
        c0 = n0, c1 = (uint32_t)p1, c2 = n2, c3 = (uint32_t)p0;
        k0 += 0x9e3779b9u, k1 += 0xbb67ae85u;
    }
    out[0] = c0, out[1] = c1, out[2] = c2, out[3] = c3;
}

float rng_uniform(const struct rng *r, uint64_t i)
{
    uint32_t w[4];
    rng_block(r, i / 4, w);
    return (float)(w[i % 4] >> 8) * 0x1p-24f;
}

float rng_normal(const struct rng *r, uint64_t i)
{
    uint32_t w[4];
    rng_block(r, i / 2, w);
    double u = ((double)w[0] + 1) * 0x1p-32, v = (double)w[1] * 0x1p-32;
    double radius = sqrt(-2 * log(u)), angle = 2 * M_PI * v;
    return (float)(radius * (i % 2 ? sin(angle) : cos(angle)));
}

void rng_shuffle(const struct rng *r, uint32_t *items, uint32_t n)
{
    uint64_t draw = 0;
    for (uint32_t i = n; i > 1; i--) {
        uint32_t w[4], limit = UINT32_MAX - UINT32_MAX % i, x;
        do { /* rejection keeps every order equally likely */
            rng_block(r, draw++, w);
            x = w[0];
        } while (x >= limit);
        uint32_t j = x % i, t = items[i - 1];
        items[i - 1] = items[j];
        items[j] = t;
    }
}
