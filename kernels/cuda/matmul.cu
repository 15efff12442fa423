/* Matrix products. What the library multiplies (runtime.h, cuda_gemm) is of one type, bf16 or f32, and dense: factors of another are converted into scratch
 * memory first, A once for all products of a call that share it, B in panels of its stored rows where it is large. Few rows go another way (few.h).
 *
 * Rows of larger products depend on the shape of the call through the library's choice of algorithm; the same call gives the same bits. */
#include "kernels/cuda/ptx.h"
#include "kernels/cuda/quantized.h"
#include "kernels/cuda/wide.h"

extern "C" {
#include "kernels/cuda/few.h"
}
#include "kernels/cuda/table.h"

#define THREADS 256
#define PANEL_BYTES ((int64_t)256 << 20) /* of a converted part of B */
#define ALIGN 8                          /* elements: rows of converted factors begin at whole 16 bytes */

/* A dense factor (rows, cols) of one of the library's types. */
struct factor {
    const void *p;
    int64_t ld;
    bool transposed; /* element (i, j) at j * ld + i */
};

/* to (rows, cols), row stride ld, of type `type` = from, whose elements lie `down` and `right` apart. */
static __global__ void convert_kernel(void *to, enum dtype type, int64_t ld, const void *from, enum dtype from_type, int64_t down, int64_t right, int64_t rows,
                                      int64_t cols)
{
    for (int64_t at = grid_thread(); at < rows * cols; at += grid_threads()) {
        int64_t i = at / cols, j = at % cols;
        store_as(to, type, i * ld + j, stored_at(from, from_type, i * down + j * right));
    }
}

/* The common case: rows of f32, eight at a time, to bf16. */
static __global__ void round_kernel(uint16_t *to, int64_t ld, const float *from, int64_t down, int64_t rows, int64_t cols)
{
    for (int64_t at = 8 * grid_thread(); at < rows * cols; at += 8 * grid_threads()) {
        int64_t i = at / cols, j = at % cols;
        struct floats<4> u = load<4>(from + i * down + j), v = load<4>(from + i * down + j + 4);
        *(uint4 *)(to + i * ld + j) = make_uint4(pack_bf16(u.at[0], u.at[1]), pack_bf16(u.at[2], u.at[3]), pack_bf16(v.at[0], v.at[1]), pack_bf16(v.at[2], v.at[3]));
    }
}

static void convert(void *to, enum dtype type, int64_t ld, const struct mat *m, int64_t rows, int64_t cols)
{
    bool rounds = m->type == DTYPE_F32 && type == DTYPE_BF16 && m->col_stride == 1;
    if (rounds && wide_pointer(m->data) && m->row_stride % 4 == 0 && cols % 8 == 0)
        LAUNCH(round_kernel, grid_for(rows * cols / 8, THREADS), THREADS, 0, (uint16_t *)to, ld, (const float *)m->data, m->row_stride, rows, cols);
    else
        LAUNCH(convert_kernel, grid_for(rows * cols, THREADS), THREADS, 0, to, type, ld, m->data, m->type, m->row_stride, m->col_stride, rows, cols);
}

static int64_t padded(int64_t n)
{
    return (n + ALIGN - 1) / ALIGN * ALIGN;
}

/* Can the library take it where it lies? */
static bool is_direct(const struct mat *m, enum dtype type)
{
    return !m->quantized && m->type == type && (uintptr_t)m->data % dtype_size(type) == 0 && (m->col_stride == 1 || m->row_stride == 1);
}

static struct factor direct(const struct mat *m)
{
    bool transposed = m->col_stride != 1;
    return {m->data, transposed ? m->col_stride : m->row_stride, transposed};
}

/* Bytes of a converted factor of stored rows of `inner` elements. */
static size_t converted_bytes(int64_t outer, int64_t inner, enum dtype type)
{
    return (size_t)(outer * padded(inner)) * dtype_size(type);
}

/* Is it stored column after column? */
static bool is_transposed(const struct mat *m)
{
    return m->col_stride != 1 && m->row_stride == 1;
}

/* m (rows, cols) in scratch memory, in the order in which it is stored. NULL p: an error that stays. */
static struct factor converted(enum cuda_scratch where, const struct mat *m, int64_t rows, int64_t cols, enum dtype type)
{
    bool transposed = is_transposed(m);
    int64_t outer = transposed ? cols : rows, inner = transposed ? rows : cols, ld = padded(inner);
    struct mat stored = *m;
    void *to = cuda_scratch(where, converted_bytes(outer, inner, type));
    if (transposed)
        stored.row_stride = m->col_stride, stored.col_stride = m->row_stride;
    if (to)
        convert(to, type, ld, &stored, outer, inner);
    return {to, ld, transposed};
}

/* The A of the last product, for those of the same call that follow. */
struct last_a {
    struct mat of;
    int64_t m, k;
    struct factor f;
};

static struct factor factor_a(const struct matmul *m, enum dtype type, struct last_a *last)
{
    const struct mat *a = &m->a;
    if (is_direct(a, type))
        return direct(a);
    bool same = last->f.p && last->of.data == a->data && last->of.type == a->type && last->of.row_stride == a->row_stride &&
                last->of.col_stride == a->col_stride && last->m == m->m && last->k == m->k;
    if (!same)
        *last = {*a, m->m, m->k, converted(CUDA_SCRATCH_CONVERT_A, a, m->m, m->k, type)};
    return last->f;
}

/* C's columns [n0, n0 + n) += or = A's columns [k0, k0 + k) times `b`, which holds that part of B. */
static void multiply(const struct matmul *m, enum dtype type, const struct factor *a, const struct factor *b, int64_t n0, int64_t n, int64_t k0, int64_t k,
                     float beta)
{
    const char *from = (const char *)a->p + (size_t)(a->transposed ? k0 * a->ld : k0) * dtype_size(type);
    const struct cuda_gemm g = {m->m, n, k, type, from, b->p, a->ld, b->ld, a->transposed, b->transposed, m->c + n0, m->ldc, m->alpha, beta};
    cuda_gemm(&g);
}

/* The part of B that is outer [first, first + count) in stored rows, converted. */
static struct factor panel_of(const struct matmul *m, enum dtype type, bool transposed, int64_t first, int64_t count)
{
    const struct mat *b = &m->b;
    int64_t inner = transposed ? m->k : m->n, ld = padded(inner);
    void *to = cuda_scratch(CUDA_SCRATCH_CONVERT_B, converted_bytes(count, inner, type));
    if (to && b->quantized) {
        quantized_values(to, type, ld, b->quantized, first, count, 0, inner);
    } else if (to) {
        struct mat part = *b;
        if (transposed)
            part.row_stride = b->col_stride, part.col_stride = b->row_stride;
        part.data = (const char *)b->data + (size_t)(first * part.row_stride) * dtype_size(b->type);
        convert(to, type, ld, &part, count, inner);
    }
    return {to, ld, transposed};
}

/* Stored rows of a panel. */
static int64_t panel_rows(int64_t inner, enum dtype type)
{
    int64_t each = PANEL_BYTES / (int64_t)converted_bytes(1, inner, type);
    return each < 1 ? 1 : each;
}

/* B in panels of its stored rows: outputs of C when it is a transposed weight, else steps of K. */
static void product_by_panels(const struct matmul *m, enum dtype type, const struct factor *a)
{
    bool transposed = is_transposed(&m->b);
    int64_t outer = transposed ? m->n : m->k, each = panel_rows(transposed ? m->k : m->n, type), count;
    for (int64_t first = 0; first < outer; first += count) {
        count = outer - first < each ? outer - first : each;
        struct factor b = panel_of(m, type, transposed, first, count);
        if (!b.p)
            return;
        if (transposed)
            multiply(m, type, a, &b, first, count, 0, m->k, m->beta);
        else
            multiply(m, type, a, &b, 0, m->n, first, count, first ? 1 : m->beta);
    }
}

/* Each part of the steps by itself, in order. Both factors are dense. */
static void product_by_cuts(const struct matmul *m, enum dtype type, const struct factor *a, const struct factor *b)
{
    for (int i = 0; i < m->n_cuts; i++) {
        int64_t first = m->cuts[i], k = m->cuts[i + 1] - first;
        struct factor part = *b;
        part.p = (const char *)b->p + (size_t)(b->transposed ? first : first * b->ld) * dtype_size(type);
        if (k > 0)
            multiply(m, type, a, &part, 0, m->n, first, k, i ? 1 : m->beta);
    }
}

/* Of the type that the library multiplies. */
static enum dtype type_of(const struct matmul *m)
{
    return m->round_bf16 ? DTYPE_BF16 : DTYPE_F32;
}

static void product(const struct matmul *m, struct last_a *last)
{
    enum dtype type = type_of(m);
    struct factor a = factor_a(m, type, last), b;
    if (!a.p)
        return;
    if (!m->cuts && !is_direct(&m->b, type)) {
        product_by_panels(m, type, &a);
        return;
    }
    b = is_direct(&m->b, type) ? direct(&m->b) : converted(CUDA_SCRATCH_CONVERT_B, &m->b, m->k, m->n, type);
    if (!b.p)
        return;
    if (m->cuts)
        product_by_cuts(m, type, &a, &b);
    else
        multiply(m, type, &a, &b, 0, m->n, 0, m->k, m->beta);
}

static __global__ void zero_kernel(float *c, int64_t ldc, int64_t m, int64_t n)
{
    for (int64_t at = grid_thread(); at < m * n; at += grid_threads())
        c[at / n * ldc + at % n] = 0;
}

/* A sum of nothing. */
static void no_product(const struct matmul *m)
{
    if (m->beta == 0)
        LAUNCH(zero_kernel, grid_for(m->m * m->n, THREADS), THREADS, 0, m->c, m->ldc, m->m, m->n);
}

/* Term j of all products before term j + 1 of any: those of few rows then go out together, and what is converted of A serves all that share it. */
static void matmul(const struct matmul *list, int count)
{
    struct last_a last = {};
    struct few_batch few = {};
    int terms = 0;
    for (int i = 0; i < count; i++)
        terms = list[i].n_more > terms ? list[i].n_more : terms;
    for (int j = 0; j <= terms; j++) {
        for (int i = 0; i < count; i++) {
            if (j > list[i].n_more || list[i].m <= 0 || list[i].n <= 0)
                continue;
            struct matmul one = matmul_alone(list + i, j);
            if (one.k <= 0)
                no_product(&one);
            else if (few_takes(&one))
                few_add(&few, &one);
            else
                product(&one, &last);
        }
        few_flush(&few);
    }
}

static void at_least(size_t *to, size_t bytes)
{
    *to = bytes > *to ? bytes : *to;
}

/* What product() and few_add() take for it. */
static void matmul_needs(struct matmul_need *most, const struct matmul *m)
{
    enum dtype type = type_of(m);
    bool a_turned = is_transposed(&m->a), b_turned = is_transposed(&m->b);
    int64_t outer = b_turned ? m->n : m->k, inner = b_turned ? m->k : m->n, panel = panel_rows(inner, type);
    if (few_takes(m)) {
        at_least(&most->few, few_bytes(m));
        return;
    }
    if (!is_direct(&m->a, type))
        at_least(&most->a, a_turned ? converted_bytes(m->k, m->m, type) : converted_bytes(m->m, m->k, type));
    if (!is_direct(&m->b, type))
        at_least(&most->b, converted_bytes(m->cuts || outer < panel ? outer : panel, inner, type));
}

static size_t matmul_bytes(const struct matmul_need *most)
{
    return cuda_scratch_bytes(most->a) + cuda_scratch_bytes(most->b) + cuda_scratch_bytes(most->few) + cuda_own_bytes();
}

void cuda_fill_matmul(struct kernels *k)
{
    k->matmul = matmul;
    k->matmul_needs = matmul_needs;
    k->matmul_bytes = matmul_bytes;
    few_counters(); /* now: not while a graph is captured */
}
