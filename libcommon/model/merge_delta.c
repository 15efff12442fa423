/* The arithmetic of merging. Loops run over columns, so the order of each element's sum is the same for any vector width. */
#include <math.h>
#include <stdlib.h>

#include "base/mem.h"
#include "model/merge_impl.h"

#define TILE 512 /* columns at a time: sums and weights stay in the first cache */

/* One version for each width of vectors; -ffp-contract=off keeps their bits equal. */
#if defined __x86_64__ && defined __GNUC__ && !defined __clang__ && !defined __SANITIZE_ADDRESS__
#define EACH_CPU __attribute__((target_clones("avx2", "default")))
#else
#define EACH_CPU
#endif

static float *to_f32(const struct st_tensor *t)
{
    float *f = mem_array(NULL, (size_t)t->numel, sizeof *f);
    dtype_to_f32(f, t->data, t->type, (size_t)t->numel);
    return f;
}

static float *transpose(float *a, int64_t rows, int64_t columns)
{
    float *t = mem_array(NULL, (size_t)(rows * columns), sizeof *t);
    for (int64_t i = 0; i < rows; i++)
        for (int64_t j = 0; j < columns; j++)
            t[j * rows + i] = a[i * columns + j];
    free(a);
    return t;
}

void merge_factors_init(struct merge_factors *f, const struct merge_item *item)
{
    f->n = item->n_terms;
    f->list = mem_zalloc((size_t)f->n + 1, sizeof *f->list);
    for (int i = 0; i < f->n; i++) {
        const struct adapter_module *m = item->terms[i].module;
        struct merge_factor *x = &f->list[i];
        x->rank = m->rank;
        x->factor = item->terms[i].factor;
        if (m->embedding) { /* (B A)^T: A (R, V) gives the coefficients, B^T (R, C) the rows */
            x->coef = to_f32(m->a);
            x->row_stride = 1;
            x->k_stride = m->a->shape[1];
            x->matrix = transpose(to_f32(m->b), m->b->shape[0], m->b->shape[1]);
        } else {
            x->coef = to_f32(m->b);
            x->row_stride = m->rank;
            x->k_stride = 1;
            x->matrix = to_f32(m->a);
        }
    }
}

void merge_factors_release(struct merge_factors *f)
{
    for (int i = 0; i < f->n; i++) {
        free(f->list[i].coef);
        free(f->list[i].matrix);
    }
    free(f->list);
}

/* sum[j] = sum over k of coef[k] * matrix[k][j], k ascending, n <= TILE columns. Four rows at a time keep the sums in registers. */
EACH_CPU
static void add_rows(float *restrict sum, const float *coef, int64_t k_stride, const float *matrix, int64_t columns, int rank, int n)
{
    int k = 0;
    for (int j = 0; j < n; j++)
        sum[j] = 0;
    for (; k + 4 <= rank; k += 4) {
        const float *m = matrix + k * columns;
        const float c0 = coef[k * k_stride], c1 = coef[(k + 1) * k_stride], c2 = coef[(k + 2) * k_stride], c3 = coef[(k + 3) * k_stride];
#pragma omp simd
        for (int j = 0; j < n; j++) {
            float s = sum[j];
            s += c0 * m[j];
            s += c1 * m[j + columns];
            s += c2 * m[j + 2 * columns];
            s += c3 * m[j + 3 * columns];
            sum[j] = s;
        }
    }
    for (; k < rank; k++) {
        const float *m = matrix + k * columns, c = coef[k * k_stride];
#pragma omp simd
        for (int j = 0; j < n; j++)
            sum[j] += c * m[j];
    }
}

EACH_CPU
static void add_delta(float *restrict w, const float *restrict sum, float factor, int n)
{
#pragma omp simd
    for (int j = 0; j < n; j++) {
        float d = factor * sum[j];
        w[j] = d == 0 ? w[j] : w[j] + d; /* -0 + 0 would be +0 */
    }
}

EACH_CPU
static void load_bf16(float *restrict to, const char *from, int n)
{
#pragma omp simd
    for (int j = 0; j < n; j++) {
        uint16_t h;
        memcpy(&h, from + 2 * j, 2);
        to[j] = bf16_to_f32(h);
    }
}

EACH_CPU
static void store_bf16(char *to, const float *restrict from, int n)
{
#pragma omp simd
    for (int j = 0; j < n; j++) {
        uint32_t u;
        memcpy(&u, from + j, 4);
        uint16_t h = (uint16_t)((u + 0x7fffu + (u >> 16 & 1)) >> 16); /* finite: checked by the caller */
        memcpy(to + 2 * j, &h, 2);
    }
}

EACH_CPU
static bool all_finite(const float *from, int n, float limit)
{
    int bad = 0;
#pragma omp simd reduction(| : bad)
    for (int j = 0; j < n; j++)
        bad |= !(fabsf(from[j]) < limit);
    return !bad;
}

/* Values from here on round to infinity in the stored type. */
static float type_limit(enum dtype t)
{
    return t == DTYPE_F16 ? 65520.0f : t == DTYPE_BF16 ? 0x1.ffp127f : INFINITY;
}

/* A weight that the adapter brings is held in the model's type before a delta is added to it, as in PEFT. */
static void round_to_type(float *v, enum dtype type, int n)
{
    uint16_t half[TILE];
    if (type == DTYPE_F32)
        return;
    dtype_from_f32(half, type, v, (size_t)n);
    dtype_to_f32(v, half, type, (size_t)n);
}

static void mix_extras(float *w, const struct merge_item *item, int64_t first, int n)
{
    float rest = 1, other[TILE];
    for (int i = 0; i < item->n_extras; i++)
        rest -= item->extras[i].weight;
    for (int j = 0; j < n; j++)
        w[j] = rest == 0 ? 0 : rest * w[j];
    for (int i = 0; i < item->n_extras; i++) {
        const struct st_tensor *t = item->extras[i].tensor;
        dtype_to_f32(other, (const char *)t->data + (size_t)first * dtype_size(t->type), t->type, (size_t)n);
        for (int j = 0; j < n; j++)
            w[j] += item->extras[i].weight * other[j];
    }
    if (item->n_terms)
        round_to_type(w, item->type, n);
}

/* Columns [column, column + n) of one row; `at` counts elements of the whole tensor. */
static bool compute_tile(const struct merge_item *item, const struct merge_factors *f, int64_t row, int64_t column, int64_t columns, int n, char *to)
{
    float w[TILE], sum[TILE];
    int64_t at = row * columns + column;
    const struct st_tensor *base = item->base;
    const char *from = (const char *)base->data + (size_t)at * dtype_size(base->type);
    if (base->type == DTYPE_BF16)
        load_bf16(w, from, n);
    else
        dtype_to_f32(w, from, base->type, (size_t)n);
    bool good = all_finite(w, n, INFINITY);
    if (item->n_extras)
        mix_extras(w, item, at, n);
    for (int i = 0; i < f->n; i++) {
        const struct merge_factor *x = &f->list[i];
        add_rows(sum, x->coef + row * x->row_stride, x->k_stride, x->matrix + column, columns, x->rank, n);
        add_delta(w, sum, x->factor, n);
    }
    good &= all_finite(w, n, type_limit(item->type));
    if (item->type == DTYPE_BF16)
        store_bf16(to, w, n);
    else
        dtype_from_f32(to, item->type, w, (size_t)n);
    return good;
}

bool merge_compute(const struct merge_item *item, const struct merge_factors *f, int64_t first, int64_t count, void *to)
{
    int64_t columns = item->base->ndim == 2 ? item->base->shape[1] : item->base->numel, done = 0;
    size_t size = dtype_size(item->type);
    bool good = true;
    while (done < count) {
        int64_t row = (first + done) / columns, column = (first + done) % columns, n = columns - column;
        n = n < count - done ? n : count - done;
        n = n < TILE ? n : TILE;
        good &= compute_tile(item, f, row, column, columns, (int)n, (char *)to + (size_t)done * size);
        done += n;
    }
    return good;
}
