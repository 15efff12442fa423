/* The arithmetic of merging. Loops run over columns, so the order of each element's sum is the same for any vector width. */
#include <math.h>
#include <stdlib.h>

#include "base/mem.h"
#include "model/merge_impl.h"

#define TILE 512            /* columns at a time: sums and weights stay in the first cache */
#define BLOCK (1 << 14)     /* elements that one thread takes */
#define FACTOR (1 << 20)    /* elements of either factor that are held at once as f32, about */
#define PAGES (1 << 20)     /* bytes of an adapter that are read before its pages are given back */

/* One version for each width of vectors; -ffp-contract=off keeps their bits equal. */
#if defined __x86_64__ && defined __GNUC__ && !defined __clang__ && !defined __SANITIZE_ADDRESS__
#define EACH_CPU __attribute__((target_clones("avx2", "default")))
#else
#define EACH_CPU
#endif

/* sum[j] += sum over k of coef[k] * matrix[k][j], k ascending, n <= TILE columns. Four rows at a time keep the sums in registers. */
EACH_CPU
static void add_rows(float *restrict sum, const float *coef, const float *matrix, int64_t columns, int rank, int n)
{
    int k = 0;
    for (; k + 4 <= rank; k += 4) {
        const float *m = matrix + k * columns;
        const float c0 = coef[k], c1 = coef[k + 1], c2 = coef[k + 2], c3 = coef[k + 3];
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
        const float *m = matrix + k * columns, c = coef[k];
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

/* ---- factors ---- */

/* Reads an adapter's tensor and keeps few of its pages. */
struct reader {
    const struct st_file *file;
    const struct st_tensor *tensor;
    size_t read;
};

static void read_f32(struct reader *r, float *to, int64_t at, int64_t n)
{
    size_t size = dtype_size(r->tensor->type);
    dtype_to_f32(to, (const char *)r->tensor->data + (size_t)at * size, r->tensor->type, (size_t)n);
    r->read += (size_t)n * size + (n < 1024 ? 4096 : 0); /* a short piece keeps a whole page */
    if (r->read >= PAGES) {
        st_drop(r->file, r->tensor->data, r->tensor->size);
        r->read = 0;
    }
}

static void read_end(const struct reader *r)
{
    st_drop(r->file, r->tensor->data, r->tensor->size);
}

/* Ranks [k, k + ranks) of one pair for some rows: coef (rows, ranks) and matrix (ranks, columns), both in f32. */
struct factors {
    float *coef, *matrix;
    int64_t first_row, rows, columns;
    int k, ranks;
};

/* W += B A: B (out, R) gives the coefficients, A (R, in) the matrix. */
static void load_pair(struct factors *f, const struct merge_term *term)
{
    const struct adapter_module *m = term->module;
    struct reader a = {term->file, m->a, 0}, b = {term->file, m->b, 0};
    for (int k = 0; k < f->ranks; k++)
        read_f32(&a, f->matrix + k * f->columns, (f->k + k) * f->columns, f->columns);
    for (int64_t i = 0; i < f->rows; i++)
        read_f32(&b, f->coef + i * f->ranks, (f->first_row + i) * m->rank + f->k, f->ranks);
    read_end(&a);
    read_end(&b);
}

/* An embedding's table += (B A)^T: A (R, V) gives the coefficients, B (C, R) transposed the matrix. */
static void load_embedding(struct factors *f, const struct merge_term *term)
{
    const struct adapter_module *m = term->module;
    struct reader a = {term->file, m->a, 0}, b = {term->file, m->b, 0};
    float *row = mem_array(NULL, (size_t)(f->rows > f->ranks ? f->rows : f->ranks), sizeof *row);
    for (int k = 0; k < f->ranks; k++) {
        read_f32(&a, row, (f->k + k) * m->a->shape[1] + f->first_row, f->rows);
        for (int64_t i = 0; i < f->rows; i++)
            f->coef[i * f->ranks + k] = row[i];
    }
    for (int64_t j = 0; j < f->columns; j++) {
        read_f32(&b, row, j * m->rank + f->k, f->ranks);
        for (int k = 0; k < f->ranks; k++)
            f->matrix[k * f->columns + j] = row[k];
    }
    free(row);
    read_end(&a);
    read_end(&b);
}

/* ---- chunks ---- */

/* A part of an item, in f32, while it is computed. */
struct chunk {
    const struct merge_item *item;
    const struct kernels *k;
    int64_t first, count, columns;
    float *w, *sum; /* sum: of a pair whose ranks come in several parts, else NULL */
    int threads;
};

/* What a tile is: elements [at, at + n) of the chunk, all of one row. */
static int tile_length(const struct chunk *c, int64_t at, int64_t end)
{
    int64_t left = c->columns - (c->first + at) % c->columns, n = left < end - at ? left : end - at;
    return n < TILE ? (int)n : TILE;
}

static bool load_tile(const struct chunk *c, int64_t at, int n)
{
    const struct st_tensor *base = c->item->base;
    const char *from = (const char *)base->data + (size_t)(c->first + at) * dtype_size(base->type);
    float *w = c->w + at;
    if (base->type == DTYPE_BF16)
        load_bf16(w, from, n);
    else
        dtype_to_f32(w, from, base->type, (size_t)n);
    bool good = all_finite(w, n, INFINITY);
    if (c->item->n_extras)
        mix_extras(w, c->item, c->first + at, n);
    return good;
}

static bool load_quantized(const struct chunk *c)
{
    const struct quantized *q = c->item->quantized;
    c->k->dequantize(c->w, DTYPE_F32, c->columns, q, c->first / c->columns, c->count / c->columns, 0, c->columns);
    int good = 1;
#pragma omp parallel for schedule(dynamic) reduction(& : good) num_threads(c->threads)
    for (int64_t b = 0; b < c->count; b += BLOCK)
        good &= all_finite(c->w + b, (int)(c->count - b < BLOCK ? c->count - b : BLOCK), INFINITY);
    return good;
}

static bool load_chunk(const struct chunk *c)
{
    int good = 1;
    if (c->item->quantized)
        return load_quantized(c);
#pragma omp parallel for schedule(dynamic) reduction(& : good) num_threads(c->threads)
    for (int64_t b = 0; b < c->count; b += BLOCK) {
        int64_t end = b + BLOCK < c->count ? b + BLOCK : c->count;
        for (int64_t at = b, n; at < end; at += n) {
            n = tile_length(c, at, end);
            good &= load_tile(c, at, (int)n);
        }
    }
    for (int i = 0; i < c->item->n_extras; i++) {
        const struct merge_extra *x = &c->item->extras[i];
        size_t size = dtype_size(x->tensor->type);
        st_drop(x->file, (const char *)x->tensor->data + (size_t)c->first * size, (size_t)c->count * size);
    }
    return good;
}

/* The sums over these ranks; `done`: they are whole then, and go into the weights. */
static void add_factors(const struct chunk *c, const struct factors *f, float factor, bool done)
{
#pragma omp parallel for schedule(dynamic) num_threads(c->threads)
    for (int64_t b = 0; b < c->count; b += BLOCK) {
        int64_t end = b + BLOCK < c->count ? b + BLOCK : c->count;
        for (int64_t at = b, n; at < end; at += n) {
            float own[TILE], *sum = c->sum ? c->sum + at : own;
            int64_t row = (c->first + at) / c->columns, column = (c->first + at) % c->columns;
            n = tile_length(c, at, end);
            if (f->k == 0)
                memset(sum, 0, (size_t)n * sizeof *sum);
            add_rows(sum, f->coef + (row - f->first_row) * f->ranks, f->matrix + column, c->columns, f->ranks, (int)n);
            if (done)
                add_delta(c->w + at, sum, factor, (int)n);
        }
    }
}

static void add_term(struct chunk *c, const struct merge_term *term)
{
    int rank = term->module->rank;
    struct factors f = {.first_row = c->first / c->columns, .columns = c->columns};
    f.rows = (c->first + c->count - 1) / c->columns - f.first_row + 1;
    int64_t wider = f.rows > f.columns ? f.rows : f.columns, most = FACTOR / wider > 1 ? FACTOR / wider : 1;
    int step = rank < most ? rank : (int)most;
    f.coef = mem_array(NULL, (size_t)(f.rows * step), sizeof *f.coef);
    f.matrix = mem_array(NULL, (size_t)(f.columns * step), sizeof *f.matrix);
    c->sum = step < rank ? mem_array(NULL, (size_t)c->count, sizeof *c->sum) : NULL;
    for (f.k = 0; f.k < rank; f.k += step) {
        f.ranks = rank - f.k < step ? rank - f.k : step;
        if (term->module->embedding)
            load_embedding(&f, term);
        else
            load_pair(&f, term);
        add_factors(c, &f, term->factor, f.k + f.ranks == rank);
    }
    free(f.coef);
    free(f.matrix);
    free(c->sum);
}

static bool store_chunk(const struct chunk *c, char *to)
{
    enum dtype type = c->item->type;
    float limit = type_limit(type);
    int good = 1;
#pragma omp parallel for schedule(dynamic) reduction(& : good) num_threads(c->threads)
    for (int64_t b = 0; b < c->count; b += BLOCK) {
        int n = (int)(c->count - b < BLOCK ? c->count - b : BLOCK);
        good &= all_finite(c->w + b, n, limit);
        if (type == DTYPE_BF16)
            store_bf16(to + (size_t)b * 2, c->w + b, n);
        else
            dtype_from_f32(to + (size_t)b * dtype_size(type), type, c->w + b, (size_t)n);
    }
    return good;
}

int64_t merge_chunk(const struct merge_item *item)
{
    return !item->quantized ? MERGE_CHUNK : item->columns < MERGE_CHUNK ? MERGE_CHUNK / item->columns * item->columns : item->columns;
}

bool merge_compute(const struct merge_item *item, const struct kernels *k, int64_t first, int64_t count, void *to, int threads)
{
    struct chunk c = {.item = item, .k = k, .first = first, .count = count, .columns = item->columns, .threads = threads};
    c.w = mem_array(NULL, (size_t)count, sizeof *c.w);
    bool good = load_chunk(&c);
    for (int i = 0; i < item->n_terms; i++)
        add_term(&c, &item->terms[i]);
    good &= store_chunk(&c, to);
    free(c.w);
    return good;
}
