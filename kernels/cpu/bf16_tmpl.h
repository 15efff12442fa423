/* Matrix product of factors rounded to bf16, by instructions that multiply pairs of bf16. Both factors are packed by the whole team,
 * each once per block, into cells of 16 rows (of A) or columns (of B) by 32 steps of the depth: what one tile of AMX holds. Depth that
 * is missing in a last cell is zero. What an element is summed from, and in which order, follows K and the cuts alone.
 * Included after vec_*.h of 16 lanes and pairs_*.h; CELLS names the file with the product of cells. */
#ifndef KERNELS_CPU_BF16_TMPL_H
#define KERNELS_CPU_BF16_TMPL_H

#include <omp.h>

#include "kernels/cpu/ceiling.h"
#include "kernels/cpu/cpu.h"
#include "kernels/cpu/scratch.h"
#include "kernels/cpu/team.h"

#include "kernels/cpu/pack_tmpl.h"

#include "kernels/cpu/quantized_tmpl.h"

#define CELL_SIDE 16
#define CELL_PAIRS 16
#define CELL_STEPS (2 * CELL_PAIRS)
#define CELL (CELL_SIDE * CELL_PAIRS) /* lanes of a pair each; A's cells are (row, pair), B's (pair, column) */
#define QUAD (2 * CELL_SIDE)          /* two panels by two: what is summed in registers at once */

#include CELLS

#define BLOCK_CELLS 24                /* depth of a block: two panels of B stay in the L1 cache, or nearly */
#define BLOCK_ROWS 1024               /* of A, and ... */
#define BLOCK_COLS 2048               /* ... of B: packed, they stay in the team's L2 caches */
#define TASK_ROWS 256
#define TASK_COLS 512
#define SMALL_PRODUCT (1 << 18)       /* below this many multiply-adds a team costs more than it gives */

/* Steps that are summed from zero, then added to C. */
struct piece {
    int64_t first, depth, cell; /* its first cell within a panel */
};

struct bf16_block {
    const struct matmul *m;
    enum load_kind a_kind, b_kind;
    float *a, *b; /* packed: panel p at p * cells * CELL */
    int64_t row0, rows, col0, cols;
    struct piece pieces[BLOCK_CELLS];
    int n_pieces;
    int64_t cells;
    int cut;      /* where the next block's pieces begin: in this segment ... */
    int64_t done; /* ... after so many of its steps */
};

VEC int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }
VEC int64_t min_i64(int64_t a, int64_t b) { return a < b ? a : b; }

/* The next pieces that fit into a block; false when there are none left. A long segment is cut into even pieces. */
static bool block_next(struct bf16_block *g)
{
    const int64_t whole[] = {0, g->m->k}, *cuts = g->m->cuts ? g->m->cuts : whole;
    g->n_pieces = 0, g->cells = 0;
    for (; g->cut < (g->m->cuts ? g->m->n_cuts : 1); g->cut++, g->done = 0) {
        int64_t length = cuts[g->cut + 1] - cuts[g->cut], cells = ceil_div(length, CELL_STEPS);
        int64_t most = cells ? ceil_div(cells, ceil_div(cells, BLOCK_CELLS)) : 0;
        for (; g->done < length; g->done += most * CELL_STEPS) {
            int64_t depth = min_i64(length - g->done, most * CELL_STEPS), fill = ceil_div(depth, CELL_STEPS);
            if (g->cells + fill > BLOCK_CELLS)
                return true;
            g->pieces[g->n_pieces++] = (struct piece){cuts[g->cut] + g->done, depth, g->cells};
            g->cells += fill;
        }
    }
    return g->n_pieces > 0;
}

/* The cell of a strip's rows from `row` and steps from `step` on, pairs of a row side by side, or (b_side) pairs of a step. */
VEC void pack_cell(float *to, const struct strip *s, int64_t step, bool b_side, enum load_kind kind)
{
    int size = load_size(kind), steps = (int)min_i64(CELL_STEPS, s->depth - step);
    int lower = steps < VL ? steps : VL, upper = steps - lower;
    const char *data = s->data + step * s->step * size;
    bool by_row = s->step == 1;
    vf v[CELL_SIDE];
#pragma GCC unroll 16
    for (int i = 0; i < CELL_SIDE; i++) {
        const char *p = data + i * s->row * size, *q = data + 2 * i * s->step * size;
        if (by_row)
            v[i] = i < s->rows ? v_pairs_in_row(load_typed_n(p, kind, lower), load_typed_n(p + VL * size, kind, upper)) : v_set(0);
        else
            v[i] = v_pairs(2 * i < steps ? load_typed_n(q, kind, s->rows) : v_set(0),
                           2 * i + 1 < steps ? load_typed_n(q + s->step * size, kind, s->rows) : v_set(0));
    }
    if (by_row == b_side)
        v_transpose(v);
#pragma GCC unroll 16
    for (int i = 0; i < CELL_SIDE; i++)
        v_store(to + i * CELL_PAIRS, v[i]);
}

/* A strip of neither rows nor steps side by side: its cells by way of a copy. */
VEC void pack_cell_any(float *to, const struct strip *s, int64_t step, bool b_side, enum load_kind kind)
{
    float copy[CELL_SIDE * CELL_STEPS] = {0}, one[VL];
    int64_t steps = min_i64(CELL_STEPS, s->depth - step);
    for (int i = 0; i < s->rows; i++)
        for (int64_t k = 0; k < steps; k++) {
            v_store(one, load_typed_n(s->data + (i * s->row + (step + k) * s->step) * load_size(kind), kind, 1));
            copy[i * CELL_STEPS + k] = one[0];
        }
    struct strip dense = {(const char *)copy, CELL_STEPS, 1, CELL_SIDE, CELL_STEPS};
    pack_cell(to, &dense, 0, b_side, LOAD_F32);
}

VEC void pack_cells_kind(float *to, const struct strip *s, bool b_side, enum load_kind kind)
{
    for (int64_t step = 0; step < s->depth; step += CELL_STEPS, to += CELL)
        if (s->step == 1 || s->row == 1)
            pack_cell(to, s, step, b_side, kind);
        else
            pack_cell_any(to, s, step, b_side, kind);
}

static void pack_cells(float *to, const struct strip *s, bool b_side, enum load_kind kind)
{
    switch (kind) { /* one copy of the code for each stored type; v_pairs rounds them all */
    case LOAD_F32: case LOAD_F32_ROUND: pack_cells_kind(to, s, b_side, LOAD_F32); break;
    case LOAD_F16: case LOAD_F16_ROUND: pack_cells_kind(to, s, b_side, LOAD_F16); break;
    case LOAD_BF16: pack_cells_kind(to, s, b_side, LOAD_BF16); break;
    }
}

/* The columns of a quantized B from `col` on. */
static void pack_quantized(float *to, const struct mat *b, int64_t from, int64_t depth, int64_t col, int cols)
{
    float values[CELL_SIDE * UNPACK_STEPS];
    struct unpack u;
    if (!quantized_by_row(b->quantized) && b->row_stride == 1)
        unpack_open(&u, b->quantized, col, cols);
    for (int64_t step = 0; step < depth; step += CELL_STEPS, to += CELL) {
        struct strip s = unpack_strip(values, b, &u, col, cols, from + step, min_i64(CELL_STEPS, depth - step));
        pack_cells(to, &s, true, LOAD_F32);
    }
}

/* Panel p of the block's A or B. */
static void pack_pieces(const struct bf16_block *g, int64_t p, bool b_side)
{
    const struct mat *f = b_side ? &g->m->b : &g->m->a;
    enum load_kind kind = b_side ? g->b_kind : g->a_kind;
    int64_t row = b_side ? f->col_stride : f->row_stride, step = b_side ? f->row_stride : f->col_stride;
    int64_t first = p * CELL_SIDE, left = (b_side ? g->cols : g->rows) - first;
    const char *data = (const char *)f->data + ((b_side ? g->col0 : g->row0) + first) * row * load_size(kind);
    float *to = (b_side ? g->b : g->a) + p * g->cells * CELL;
    for (int i = 0; i < g->n_pieces; i++) {
        const struct piece *c = &g->pieces[i];
        if (b_side && f->quantized) {
            pack_quantized(to + c->cell * CELL, f, c->first, c->depth, g->col0 + first, (int)min_i64(CELL_SIDE, left));
            continue;
        }
        struct strip s = {data + c->first * step * load_size(kind), row, step, (int)min_i64(CELL_SIDE, left), c->depth};
        pack_cells(to + c->cell * CELL, &s, b_side, kind);
    }
}

/* c = alpha * sum (read false) or fma(alpha, sum, c), for the first rows x cols of the quad. */
static void quad_write(float sum[QUAD][QUAD], float *c, int64_t ldc, int64_t rows, int64_t cols, float alpha, bool read)
{
    vf a = v_set(alpha);
    for (int64_t i = 0; i < rows; i++)
        for (int64_t j = 0; j < cols; j += VL) {
            float *p = c + i * ldc + j;
            int n = (int)min_i64(VL, cols - j);
            vf s = v_load(&sum[i][j]);
            v_store_n(p, read ? v_fma(a, s, v_load_n(p, n)) : v_mul(a, s), n);
        }
}

/* The quad of C whose first element is (row, col) of the block. */
static void block_quad(const struct bf16_block *g, int64_t row, int64_t col)
{
    const struct matmul *m = g->m;
    int64_t rows = min_i64(QUAD, g->rows - row), cols = min_i64(QUAD, g->cols - col), panel = g->cells * CELL;
    float sum[QUAD][QUAD] __attribute__((aligned(64))), *c = m->c + (g->row0 + row) * m->ldc + g->col0 + col;
    for (int64_t i = 0; i < rows; i++)
        __builtin_prefetch(c + i * m->ldc, 1);
    for (int i = 0; i < g->n_pieces; i++) {
        const struct piece *p = &g->pieces[i];
        const float *a0 = g->a + row / CELL_SIDE * panel + p->cell * CELL, *b0 = g->b + col / CELL_SIDE * panel + p->cell * CELL;
        const float *a[2] = {a0, rows > CELL_SIDE ? a0 + panel : NULL}, *b[2] = {b0, cols > CELL_SIDE ? b0 + panel : NULL};
        cells_product(sum, a, b, ceil_div(p->depth, CELL_STEPS));
        quad_write(sum, c, m->ldc, rows, cols, m->alpha, p->first > 0 || m->beta != 0);
    }
}

/* Sides of a task: smaller until there are four a thread, for an even end. */
static void block_tasks(const struct bf16_block *g, int team, int64_t *height, int64_t *width)
{
    *height = TASK_ROWS, *width = TASK_COLS;
    while (ceil_div(g->rows, *height) * ceil_div(g->cols, *width) < 4 * team && (*height > QUAD || *width > QUAD))
        if (*width > *height)
            *width /= 2;
        else
            *height /= 2;
}

/* Called by the whole team. */
static void block_product(const struct bf16_block *g, int team)
{
    int64_t height, width;
    block_tasks(g, team, &height, &width);
    if (g->row0 == 0) {
#pragma omp for schedule(static) nowait
        for (int64_t p = 0; p < ceil_div(g->cols, CELL_SIDE); p++)
            pack_pieces(g, p, true);
    }
#pragma omp for schedule(static)
    for (int64_t p = 0; p < ceil_div(g->rows, CELL_SIDE); p++)
        pack_pieces(g, p, false);
#pragma omp for collapse(2) schedule(dynamic)
    for (int64_t i = 0; i < g->rows; i += height)
        for (int64_t j = 0; j < g->cols; j += width)
            for (int64_t col = j; col < min_i64(j + width, g->cols); col += QUAD)
                for (int64_t row = i; row < min_i64(i + height, g->rows); row += QUAD)
                    block_quad(g, row, col);
}

static void matmul_pairs(const struct matmul *m)
{
    int64_t width = min_i64(ceil_div(m->n, CELL_SIDE) * CELL_SIDE, BLOCK_COLS), height = min_i64(ceil_div(m->m, CELL_SIDE) * CELL_SIDE, BLOCK_ROWS);
    float *packed = scratch_get(SCRATCH_PAIRS, (size_t)((width + height) * CELL_PAIRS * BLOCK_CELLS));
    int team = (double)m->m * (double)m->n * (double)m->k < SMALL_PRODUCT ? 1 : omp_get_max_threads();
#pragma omp parallel num_threads(team)
    {
        struct bf16_block g = {.m = m, .a_kind = load_kind_of(m->a.type, true), .b_kind = load_kind_of(m->b.type, true)};
        g.b = packed, g.a = packed + width * CELL_PAIRS * BLOCK_CELLS;
        cells_begin();
        for (g.col0 = 0; g.col0 < m->n; g.col0 += BLOCK_COLS) {
            g.cols = min_i64(BLOCK_COLS, m->n - g.col0);
            for (g.cut = 0, g.done = 0; block_next(&g);)
                for (g.row0 = 0; g.row0 < m->m; g.row0 += BLOCK_ROWS) {
                    g.rows = min_i64(BLOCK_ROWS, m->m - g.row0);
                    block_product(&g, team);
                }
        }
        cells_end();
    }
}

/* The level that this one stands on: every product that is not of pairs, or waits for memory alone. */
static struct kernels ISA(under);

/* Few rows of anything by a matrix whose columns are contiguous are left to the level below: decoding. */
VEC bool is_of_pairs(const struct matmul *m)
{
    bool few = m->m <= MATMUL_FEW_ROWS && m->b.row_stride == 1 && !m->cuts;
    return m->round_bf16 && !few && m->m > 0 && m->n > 0 && m->k > 0;
}

static void ISA(matmul)(const struct matmul *list, int count)
{
    for (int i = 0, last; i < count; i = last) {
        const struct matmul *m = list + i;
        for (last = i; last < count && !is_of_pairs(list + last) && !(list[last].round_bf16 && list[last].n_more); last++)
            ;
        if (last > i) {
            ISA(under).matmul(m, last - i);
            continue;
        }
        last++;
        for (int t = 0; m->n_more && t <= m->n_more; t++) {
            struct matmul one = matmul_alone(m, t);
            ISA(matmul)(&one, 1);
        }
        if (!m->n_more && team_alone())
            matmul_pairs(m);
    }
}

static size_t ISA(scratch_bytes)(int heads, int kv_heads, int head_dim, int64_t rows)
{
    return ISA(under).scratch_bytes(heads, kv_heads, head_dim, rows) + sizeof(float) * (BLOCK_ROWS + BLOCK_COLS) * CELL_PAIRS * BLOCK_CELLS;
}

static void ISA(ceiling)(struct kernels_ceiling *c)
{
    ISA(under).ceiling(c);
    c->bf16_flops = ceiling_flops(cells_burst, CELLS_BURST);
}

void ISA(cpu_fill)(struct kernels *k)
{
    ISA(under) = *k;
    k->multiplies_bf16 = true;
    k->matmul = ISA(matmul);
    k->scratch_bytes = ISA(scratch_bytes);
    k->ceiling = ISA(ceiling);
}

#endif
