/* Help for the tests of quantized weights: weights of any layout whose arrays end where memory ends, and products by them. */
#ifndef QUANTIZED_CHECK_H
#define QUANTIZED_CHECK_H

#include <sys/mman.h>
#include <unistd.h>

#include "tests/unit/matmul_check.h"

/* n bytes that end where memory ends: a read behind them is fatal. */
struct guarded {
    void *map, *data;
    size_t pages;
};

static struct guarded guarded_new(int64_t n, uint64_t stream)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE), pages = ((size_t)n / page + 2) * page;
    struct guarded g = {mmap(NULL, pages, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), NULL, pages};
    struct rng r = {11, stream};
    g.data = (char *)g.map + pages - page - n;
    for (int64_t i = 0; i < n; i++)
        ((uint8_t *)g.data)[i] = (uint8_t)(rng_uniform(&r, (uint64_t)i) * 256);
    mprotect((char *)g.map + pages - page, page, PROT_NONE);
    return g;
}

/* Scales: some of them 0, negative ones where `signs`. */
static struct guarded guarded_floats(int64_t n, enum dtype type, bool signs, uint64_t stream)
{
    struct guarded g = guarded_new(n * (int64_t)dtype_size(type), stream);
    float *x = block_new(n, stream);
    for (int64_t i = 0; i < n; i++)
        x[i] = i % 13 == 5 ? 0 : signs ? x[i] : fabsf(x[i]);
    dtype_from_f32(g.data, type, x, (size_t)n);
    block_free(x);
    return g;
}

enum { CODES, SCALES, NESTED, MAP, ZEROS, GROUPS, ARRAYS };

struct weight {
    struct quantized q;
    struct guarded array[ARRAYS];
    char name[100];
};

struct shape { /* of a weight */
    enum quantized_kind kind;
    int bits;
    int64_t out, in, group;
    enum dtype value_type, scale_type; /* scale_type U8: nested */
    enum quantized_zeros zeros;
    int order; /* of groups: 0 none is given, 1 side by side, 2 mixed */
};

static void weight_words(struct weight *w, const struct shape *s)
{
    int64_t groups = (s->in + s->group - 1) / s->group;
    w->array[CODES] = guarded_new(s->in * s->out * s->bits / 8, 1);
    w->array[SCALES] = guarded_floats(groups * s->out, s->scale_type, true, 2);
    w->array[ZEROS] = guarded_new(groups * s->out * s->bits / 8, 3);
    if (!s->order)
        return;
    w->array[GROUPS] = guarded_new(s->in * 4, 4);
    for (int64_t i = 0; i < s->in; i++) {
        int32_t g = (int32_t)(s->order == 1 ? i / s->group : i * 7 % groups);
        memcpy((char *)w->array[GROUPS].data + i * 4, &g, 4);
    }
}

static void weight_blocks(struct weight *w, const struct shape *s)
{
    int64_t n = s->out * s->in, blocks = (n + s->group - 1) / s->group;
    w->array[CODES] = guarded_new((n + 1) / 2, 1);
    w->array[SCALES] = s->scale_type == DTYPE_U8 ? guarded_new(blocks, 2) : guarded_floats(blocks, DTYPE_F32, false, 2);
    w->array[NESTED] = guarded_floats((blocks + QUANTIZED_NESTED_BLOCK - 1) / QUANTIZED_NESTED_BLOCK, DTYPE_F32, false, 3);
    w->array[MAP] = guarded_floats(256, DTYPE_F32, true, 4);
}

static struct weight weight_new(const struct shape *s)
{
    struct weight w = {0};
    if (s->kind == QUANTIZED_INT8) {
        w.array[CODES] = guarded_new(s->out * s->in, 1);
        w.array[SCALES] = guarded_floats(s->out, DTYPE_F32, false, 2);
    } else if (s->kind == QUANTIZED_NF4 || s->kind == QUANTIZED_FP4) {
        weight_blocks(&w, s);
    } else {
        weight_words(&w, s);
    }
    w.q = (struct quantized){s->kind, s->bits, s->out, s->in, s->group, s->value_type, w.array[CODES].data, w.array[SCALES].data, s->scale_type,
                             w.array[NESTED].data, w.array[MAP].data, 0.75f, w.array[ZEROS].data, s->zeros, w.array[GROUPS].data};
    snprintf(w.name, sizeof w.name, "kind %d, %d bits, %dx%d, groups of %d in order %d, zeros %d, values %s, scales %s", s->kind, s->bits,
             (int)s->out, (int)s->in, (int)s->group, s->order, s->zeros, dtype_name(s->value_type), dtype_name(s->scale_type));
    return w;
}

static void weight_free(struct weight *w)
{
    for (int i = 0; i < ARRAYS; i++)
        if (w->array[i].map)
            munmap(w->array[i].map, w->array[i].pages);
}

/* x (rows, depth), aligned as only weights need not be. */
__attribute__((unused)) static struct factor input_new(int64_t rows, int64_t depth, enum dtype type)
{
    struct factor x = factor_new(rows, depth, ROWS, type, 1);
    memmove(x.memory, x.mat.data, (size_t)((rows - 1) * x.mat.row_stride + depth) * dtype_size(type));
    x.mat.data = x.memory;
    return x;
}

static bool has_4bit_values(const struct quantized *q)
{
    return q->kind == QUANTIZED_NF4 || q->kind == QUANTIZED_FP4;
}

/* y = x W^T, or dx = dy W. Sums of codes leave W as it is where products are of bf16: x is of such numbers, and the truth that of f32. A device may
 * take the values of 4 bits near to what they are, and scale their sums: as good as W that is rounded. */
static bool agrees(const struct level *l, const struct weight *w, int64_t rows, bool back, bool round)
{
    const struct quantized *q = &w->q;
    int64_t n = back ? q->in : q->out, k = back ? q->out : q->in, ldc = n + 3, count = rows * ldc;
    bool few = rows <= MATMUL_FEW_ROWS && !back, sums = few && !has_4bit_values(q), near = few && round && !sums && on_device;
    struct quantized exact = *q;
    struct factor a = input_new(rows, k, round ? DTYPE_BF16 : DTYPE_F32);
    float *dense_w = mem_array(NULL, (size_t)(q->out * q->in), sizeof *dense_w), *c0 = block_new(count, 3);
    float *naive = block_copy(c0, count), *fast = block_copy(c0, count);
    double *truth = mem_array(NULL, (size_t)count, sizeof *truth);
    struct matmul m = {rows, n, k, a.mat, {dense_w, DTYPE_F32, back ? q->in : 1, back ? 1 : q->in}, naive, ldc, 0.5f, (float)(rows % 2), round && !sums};
    char what[200];
    snprintf(what, sizeof what, "%s: %d rows, back %d, round %d, %s", l->name, (int)rows, back, round, w->name);
    if (near)
        exact.value_type = DTYPE_F32, m.round_bf16 = false;
    spec.dequantize(dense_w, DTYPE_F32, q->in, &exact, 0, q->out, 0, q->in);
    truth_of(&m, c0, truth);
    m.round_bf16 = round && !sums;
    spec.dequantize(dense_w, DTYPE_F32, q->in, q, 0, q->out, 0, q->in);
    spec.matmul(&m, 1);
    m.b.data = NULL, m.b.quantized = q, m.c = fast, m.round_bf16 = round;
    l->k.matmul(&m, 1);
    bool good = as_good(fast, naive, truth, count, what) && block_margins_kept(fast, count);
    free(a.memory), free(dense_w), block_free(c0), block_free(naive), block_free(fast), free(truth);
    return good;
}

#endif
