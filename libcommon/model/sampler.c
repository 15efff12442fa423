#include "model/sampler.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/rng.h"

struct candidate {
    float z;
    int32_t id;
};

struct sampler {
    struct sampler_options o;
    int64_t vocab;
    struct candidate *c;  /* (V) */
    int32_t *ids;         /* (V) */
    double *p;            /* (V) */
    uint8_t *seen;        /* (V) */
};

struct sampler *sampler_new(const struct sampler_options *o, int64_t vocab)
{
    struct sampler *s = mem_zalloc(1, sizeof *s);
    s->o = *o;
    s->vocab = vocab;
    s->c = mem_zalloc((size_t)vocab, sizeof *s->c);
    s->ids = mem_zalloc((size_t)vocab, sizeof *s->ids);
    s->p = mem_zalloc((size_t)vocab, sizeof *s->p);
    s->seen = mem_zalloc((size_t)vocab, 1);
    return s;
}

void sampler_free(struct sampler *s)
{
    if (!s)
        return;
    free(s->c);
    free(s->ids);
    free(s->p);
    free(s->seen);
    free(s);
}

/* Once per distinct id, prompt included. */
static void penalize(struct sampler *s, float *logits, const int32_t *history, int64_t n)
{
    float theta = (float)s->o.repeat_penalty;
    for (int64_t i = 0; i < n; i++) {
        int32_t id = history[i];
        if (id < 0 || id >= s->vocab || s->seen[id])
            continue;
        s->seen[id] = 1;
        logits[id] = logits[id] < 0 ? logits[id] * theta : logits[id] / theta;
    }
    for (int64_t i = 0; i < n; i++)
        if (history[i] >= 0 && history[i] < s->vocab)
            s->seen[history[i]] = 0;
}

static int by_score(const void *a, const void *b)
{
    const struct candidate *x = a, *y = b;
    return x->z != y->z ? (x->z < y->z ? 1 : -1) : (x->id > y->id) - (x->id < y->id);
}

/* Puts the k largest first (Hoare's selection) and returns the k-th score. */
static float kth_largest(struct candidate *c, int64_t n, int64_t k)
{
    int64_t low = 0, high = n - 1;
    while (low < high) {
        float pivot = c[low + (high - low) / 2].z;
        int64_t i = low, j = high;
        while (i <= j) {
            while (c[i].z > pivot)
                i++;
            while (c[j].z < pivot)
                j--;
            if (i <= j) {
                struct candidate t = c[i];
                c[i++] = c[j];
                c[j--] = t;
            }
        }
        if (k - 1 <= j)
            high = j;
        else if (k - 1 >= i)
            low = i;
        else
            break;
    }
    return c[k - 1].z;
}

/* Keeps the candidates that score at least `least`; their order stays. */
static int64_t keep_from(struct candidate *c, int64_t n, float least)
{
    int64_t kept = 0;
    for (int64_t i = 0; i < n; i++)
        if (c[i].z >= least)
            c[kept++] = c[i];
    return kept;
}

static void softmax(struct sampler *s, int64_t n, float max)
{
    double sum = 0;
    for (int64_t i = 0; i < n; i++)
        sum += s->p[i] = exp((double)s->c[i].z - max);
    for (int64_t i = 0; i < n; i++)
        s->p[i] /= sum;
}

/* Drops the least probable ones while their sum is at most 1 - p. What is below (1 - p) / n is among them in any order, so only
 * the rest is sorted. */
static int64_t top_p(struct sampler *s, int64_t n, float max)
{
    double drop = 1 - s->o.top_p, dropped = 0, cut = drop / (double)n;
    int64_t kept = 0;
    softmax(s, n, max);
    for (int64_t i = 0; i < n; i++) {
        if (s->p[i] < cut)
            dropped += s->p[i];
        else
            s->c[kept++] = s->c[i];
    }
    double left = 1 - dropped;
    qsort(s->c, (size_t)kept, sizeof *s->c, by_score);
    softmax(s, kept, max); /* of what is left; times `left` it is the share of all */
    while (kept > 1 && (dropped += s->p[kept - 1] * left) <= drop)
        kept--;
    return kept;
}

/* The first of the largest; -1 when one is NaN or infinite, or all are minus infinity. */
static int64_t first_largest(const float *z, int64_t n)
{
    float most = -INFINITY;
    uint32_t bad = 0;
#pragma omp simd reduction(max : most) reduction(| : bad)
    for (int64_t i = 0; i < n; i++) {
        most = z[i] > most ? z[i] : most;
        bad |= !(z[i] < INFINITY);
    }
    for (int64_t i = 0; i < n && !bad && most > -INFINITY; i++)
        if (z[i] == most)
            return i;
    return -1;
}

int64_t sampler_distribution(struct sampler *s, float *logits, const int32_t *history, int64_t n_history,
                             const int32_t **ids, const double **probabilities)
{
    int64_t n = 0, best;
    *ids = s->ids;
    *probabilities = s->p;
    if (s->o.repeat_penalty != 1)
        penalize(s, logits, history, n_history);
    if ((best = first_largest(logits, s->vocab)) < 0)
        return 0;
    if (s->o.temperature == 0) {
        s->ids[0] = (int32_t)best;
        s->p[0] = 1;
        return 1;
    }
    float t = (float)s->o.temperature, max = logits[best] / t;
    for (int64_t i = 0; i < s->vocab; i++)
        if (isfinite(logits[i]))
            s->c[n++] = (struct candidate){logits[i] / t, (int32_t)i};
    if (s->o.top_k > 0 && s->o.top_k < n)
        n = keep_from(s->c, n, kth_largest(s->c, n, s->o.top_k));
    if (s->o.top_p < 1)
        n = top_p(s, n, max);
    if (s->o.min_p > 0)
        n = keep_from(s->c, n, max + (float)log(s->o.min_p));
    qsort(s->c, (size_t)n, sizeof *s->c, by_score);
    softmax(s, n, max);
    for (int64_t i = 0; i < n; i++)
        s->ids[i] = s->c[i].id;
    return n;
}

int32_t sampler_pick(struct sampler *s, float *logits, const int32_t *history, int64_t n_history, uint64_t stream, uint64_t step)
{
    const int32_t *ids;
    const double *p;
    int64_t n = sampler_distribution(s, logits, history, n_history, &ids, &p);
    if (n == 0)
        return -1;
    if (n == 1)
        return ids[0];
    struct rng r = {s->o.seed, rng_stream("sample", stream)};
    uint32_t w[4];
    rng_block(&r, step, w);
    double u = (double)((uint64_t)w[0] << 21 | w[1] >> 11) * 0x1p-53, sum = 0;
    for (int64_t i = 0; i + 1 < n; i++)
        if (u < (sum += p[i]))
            return ids[i];
    return ids[n - 1];
}
