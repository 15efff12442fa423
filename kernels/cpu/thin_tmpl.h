/* C (M, N) = alpha * A B + beta * C where one side of C is short, the depth is long and both factors are stored step by step: the gradient of
 * a low-rank factor. The long factor is read once, where it lies, in pieces of some steps by some columns that the L1 cache holds; the sums
 * of a part rest in memory between the pieces. A task is some columns of the long side. Sums are the same chains as in matmul_tmpl.h. */
#ifndef KERNELS_CPU_THIN_TMPL_H
#define KERNELS_CPU_THIN_TMPL_H

#define THIN_MAX (64 / TILE_ROWS * TILE_ROWS)  /* of the short side */
#define THIN_STEPS 64                          /* of a piece */
#define THIN_PANELS 8                          /* of TILE_COLS columns, in a task */

/* The product turned so that the short side is rows: of C, element (i, j) is at c[i * c_row + j * c_col]. */
struct thin {
    const struct matmul *m;
    const float *rows, *cols;     /* (K, row_step), (K, col_step): a step's elements are side by side */
    int64_t n_rows, n_cols, row_step, col_step, c_row, c_col;
};

/* Whether the product is one for this file, and which way round. */
static bool thin_of(const struct matmul *m, struct thin *t)
{
    const float *a = m->a.data, *b = m->b.data;
    *t = m->n < m->m ? (struct thin){m, b, a, m->n, m->m, m->b.row_stride, m->a.col_stride, 1, m->ldc}
                     : (struct thin){m, a, b, m->m, m->n, m->a.col_stride, m->b.row_stride, m->ldc, 1};
    bool in_place = m->a.type == DTYPE_F32 && m->b.type == DTYPE_F32 && !m->b.quantized && !m->round_bf16 && m->a.row_stride == 1 && m->b.col_stride == 1 &&
                    ((uintptr_t)a | (uintptr_t)b) % sizeof(float) == 0;
    return in_place && m->n_more == 0 && t->n_rows >= TILE_ROWS && t->n_rows <= THIN_MAX && t->n_cols >= 4 * t->n_rows && m->k >= THIN_STEPS;
}

/* First row of a tile, first column of a panel: the last one overlaps the one before it, rather than the end. */
VEC int64_t thin_row(const struct thin *t, int64_t tile) { return min_i64(tile * TILE_ROWS, t->n_rows - TILE_ROWS); }
VEC int64_t thin_column(const struct thin *t, int64_t panel) { return min_i64(panel * TILE_COLS, t->n_cols - TILE_COLS); }
VEC int64_t thin_tiles(const struct thin *t) { return (t->n_rows + TILE_ROWS - 1) / TILE_ROWS; }

/* A tile of sums goes to C, but for the rows and columns that the ones before it have. */
static void thin_write(const struct thin *t, const struct tile *sums, int64_t tile, int64_t panel, bool read)
{
    float flat[TILE_ROWS * TILE_COLS], alpha = t->m->alpha;
    int64_t row = thin_row(t, tile), col = thin_column(t, panel), above = tile * TILE_ROWS - row, left = panel * TILE_COLS - col;
    float *c = t->m->c + row * t->c_row + col * t->c_col;
    if (t->c_col == 1 && !above && !left) {
        tile_write(sums, c, t->c_row, TILE_ROWS, TILE_COLS, alpha, read);
        return;
    }
    tile_write(sums, flat, TILE_COLS, TILE_ROWS, TILE_COLS, 1, false);
    for (int64_t j = left; j < TILE_COLS; j++)
        for (int64_t i = above; i < TILE_ROWS; i++) {
            float *p = c + i * t->c_row + j * t->c_col;
            *p = read ? __builtin_fmaf(alpha, flat[i * TILE_COLS + j], *p) : alpha * flat[i * TILE_COLS + j];
        }
}

/* The steps from .. from + n - 1 of the panels first .. last - 1; the next panel is asked for meanwhile. */
static void thin_piece(const struct thin *t, struct tile *sums, int64_t from, int64_t n, int64_t first, int64_t last)
{
    for (int64_t p = first; p < last; p++) {
        const float *a = t->rows + from * t->row_step, *b = t->cols + from * t->col_step;
        const float *next = p + 1 < last ? b + thin_column(t, p + 1) : b + n * t->col_step + thin_column(t, first);
        int64_t more = p + 1 < last ? n : min_i64(n, t->m->k - from - n);
        for (int64_t k = 0; k < more; k++)
            __builtin_prefetch(next + k * t->col_step);
        for (int64_t i = 0; i < thin_tiles(t); i++)
            tile_continue(sums++, n, a + thin_row(t, i), 1, t->row_step, b + thin_column(t, p), t->col_step);
    }
}

/* One part of the depth, from zero to C. */
static void thin_part(const struct thin *t, struct tile *sums, int64_t from, int64_t depth, int64_t first, int64_t last, bool read)
{
    memset(sums, 0, (size_t)((last - first) * thin_tiles(t)) * sizeof *sums);
    for (int64_t k = 0; k < depth; k += THIN_STEPS)
        thin_piece(t, sums, from + k, min_i64(THIN_STEPS, depth - k), first, last);
    for (int64_t p = first; p < last; p++)
        for (int64_t i = 0; i < thin_tiles(t); i++)
            thin_write(t, sums++, i, p, read);
}

static void matmul_thin(const struct thin *t)
{
    const struct matmul *m = t->m;
    int64_t panels = ceil_div(t->n_cols, TILE_COLS), tasks = ceil_div(panels, THIN_PANELS);
#pragma omp parallel for schedule(dynamic)
    for (int64_t i = 0; i < tasks; i++) {
        struct tile sums[THIN_PANELS * (THIN_MAX / TILE_ROWS)];
        struct block parts = {.list = m};
        struct place place = {0};
        bool read = m->beta != 0;
        while (block_advance(&parts, &place))
            for (int j = 0; j < parts.n_parts; j++, read = true)
                thin_part(t, sums, parts.parts[j].from, parts.parts[j].depth, i * panels / tasks, (i + 1) * panels / tasks, read);
    }
}

#endif
