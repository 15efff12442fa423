#include "quantize/awq.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/dtype.h"
#include "base/mem.h"

#define MOST 15.0f /* of 4 bits */

struct range {
    float scale, zero;
};

static int64_t min_of(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static float round_f16(float x)
{
    return f16_to_f32(f32_to_f16(x > 65504.0f ? 65504.0f : x));
}

static float cut(float x, float least, float most)
{
    return x < least ? least : x > most ? most : x;
}

static struct range find_range(const float *w, int64_t n)
{
    float low = w[0], high = w[0];
    for (int64_t i = 1; i < n; i++) {
        low = w[i] < low ? w[i] : low;
        high = w[i] > high ? w[i] : high;
    }
    float width = high - low < 1e-5f ? 1e-5f : high - low, scale = round_f16(width / MOST);
    return (struct range){scale, cut(-rintf(low / scale), 0, MOST)};
}

static float find_code(struct range r, float w)
{
    return cut(rintf(w / r.scale) + r.zero, 0, MOST);
}

static float largest(const float *w, int64_t n)
{
    float most = 0;
    for (int64_t i = 0; i < n; i++)
        most = fabsf(w[i]) > most ? fabsf(w[i]) : most;
    return most;
}

/* Columns are summed by one thread each, over rows in order. */
void awq_weight_mean(float *mean, const float *const *w, const int64_t *out, int n, int64_t in, int64_t group)
{
    int64_t rows = 0, size = group ? group : in;
    double *sum = mem_zalloc((size_t)in, sizeof *sum);
    for (int m = 0; m < n; m++) {
#pragma omp parallel for schedule(static)
        for (int64_t s = 0; s < in; s += size)
            for (int64_t r = 0; r < out[m]; r++) {
                const float *x = w[m] + r * in + s;
                int64_t count = min_of(size, in - s);
                float most = largest(x, count) + 1e-6f;
                for (int64_t i = 0; i < count; i++)
                    sum[s + i] += (double)(fabsf(x[i]) / most);
            }
        rows += out[m];
    }
    for (int64_t i = 0; i < in; i++)
        mean[i] = (float)(sum[i] / (double)rows);
    free(sum);
}

void awq_scales(float *s, const float *x_mean, const float *w_mean, int64_t in, double ratio)
{
    double most = 0, least = INFINITY;
    for (int64_t i = 0; i < in; i++) {
        double v = pow((double)x_mean[i], ratio) / (pow((double)w_mean[i], 1 - ratio) + 1e-4);
        v = v < 1e-4 ? 1e-4 : v;
        most = v > most ? v : most;
        least = v < least ? v : least;
        s[i] = (float)v;
    }
    double middle = sqrt(most * least);
    for (int64_t i = 0; i < in; i++) {
        s[i] = (float)((double)s[i] / middle);
        s[i] = isfinite(s[i]) && s[i] > 0 ? s[i] : 1;
    }
}

static void try_row(float *to, const float *w, const float *s, int64_t in, int64_t group)
{
    for (int64_t i = 0; i < in; i++)
        to[i] = s ? w[i] * s[i] : w[i];
    for (int64_t g = 0; g < in; g += group) {
        int64_t end = min_of(g + group, in);
        struct range r = find_range(to + g, end - g);
        for (int64_t i = g; i < end; i++)
            to[i] = r.scale * (find_code(r, to[i]) - r.zero);
    }
    for (int64_t i = 0; s && i < in; i++)
        to[i] /= s[i];
}

void awq_try(float *to, const float *w, const float *s, int64_t out, int64_t in, int64_t group)
{
#pragma omp parallel for schedule(static)
    for (int64_t o = 0; o < out; o++)
        try_row(to + o * in, w + o * in, s, in, group ? group : in);
}

/* d H d of a group, H's block (n, n) dense. */
static double block_energy(const float *h, const float *d, int64_t n)
{
    double all = 0;
    for (int64_t i = 0; i < n; i++) {
        float sum = 0;
        const float *row = h + i * n;
#pragma omp simd reduction(+ : sum)
        for (int64_t j = 0; j < n; j++)
            sum += row[j] * d[j];
        all += (double)(sum * d[i]);
    }
    return all;
}

/* The largest magnitude that leaves the least error. */
static float find_cut(const float *w, const float *h, int64_t n, float *held, float *d)
{
    float whole = largest(w, n), best = whole;
    double least = INFINITY;
    for (int i = 0; i < AWQ_SHRINKS; i++) {
        float most = whole * (1 - (float)i / 20);
        for (int64_t j = 0; j < n; j++)
            held[j] = cut(w[j], -most, most);
        struct range r = find_range(held, n);
        for (int64_t j = 0; j < n; j++)
            d[j] = w[j] - r.scale * (find_code(r, held[j]) - r.zero);
        double error = block_energy(h, d, n);
        if (error < least)
            least = error, best = most;
    }
    return best;
}

static void clip_group(float *w, const float *h, int64_t out, int64_t in, int64_t n)
{
#pragma omp parallel
    {
        float *held = mem_array(NULL, (size_t)n, 2 * sizeof *held);
#pragma omp for schedule(static)
        for (int64_t o = 0; o < out; o++) {
            float most = find_cut(w + o * in, h, n, held, held + n);
            for (int64_t j = 0; j < n; j++)
                w[o * in + j] = cut(w[o * in + j], -most, most);
        }
        free(held);
    }
}

void awq_clip(float *w, const double *h, int64_t out, int64_t in, int64_t group)
{
    int64_t size = group ? group : in;
    float *block = mem_array(NULL, (size_t)size, (size_t)size * sizeof *block);
    for (int64_t s = 0; s < in; s += size) {
        int64_t n = min_of(size, in - s);
        for (int64_t i = 0; i < n; i++)
            for (int64_t j = 0; j <= i; j++)
                block[i * n + j] = block[j * n + i] = (float)h[(s + i) * in + s + j];
        clip_group(w + s, block, out, in, n);
    }
    free(block);
}

void awq_round(struct grid *g, float *w)
{
#pragma omp parallel for schedule(static)
    for (int64_t o = 0; o < g->out; o++)
        for (int64_t k = 0; k < g->groups; k++) {
            int64_t first = k * g->group, end = min_of(first + g->group, g->in);
            struct range r = find_range(w + o * g->in + first, end - first);
            g->scales[k * g->out + o] = r.scale;
            g->zeros[k * g->out + o] = (uint8_t)r.zero;
            for (int64_t i = first; i < end; i++) {
                float code = find_code(r, w[o * g->in + i]);
                g->codes[o * g->in + i] = (uint8_t)code;
                w[o * g->in + i] = r.scale * (code - r.zero);
            }
        }
}
