/* The register tile: TILE_ROWS x TILE_COLS sums that live in registers while the depth runs by.
 * Each sum is one chain of fused multiply-adds in order of depth, so an element's bits depend neither on its place in a tile nor on
 * the tile's neighbours. Included after a vec_*.h. */
#ifndef KERNELS_CPU_TILE_TMPL_H
#define KERNELS_CPU_TILE_TMPL_H

#define TILE_COLS (TILE_VECS * VL)

struct tile {
    vf sum[TILE_ROWS][TILE_VECS];
};

/* sum[i][j] = or += (`go_on`, a constant) sum over k of a[i * a_row + k * a_step] * b[k * b_step + j].  b must have TILE_COLS readable
 * floats a step. */
VEC void tile_sums(struct tile *t, bool go_on, int64_t depth, const float *a, int64_t a_row, int64_t a_step, const float *b, int64_t b_step)
{
    vf sum[TILE_ROWS][TILE_VECS];
#pragma GCC unroll 16
    for (int i = 0; i < TILE_ROWS; i++)
#pragma GCC unroll 2
        for (int j = 0; j < TILE_VECS; j++)
            sum[i][j] = go_on ? t->sum[i][j] : v_set(0);
#pragma GCC unroll 4
    for (int64_t k = 0; k < depth; k++) {
        vf bk[TILE_VECS];
#pragma GCC unroll 2
        for (int j = 0; j < TILE_VECS; j++)
            bk[j] = v_load(b + j * VL);
#pragma GCC unroll 16
        for (int i = 0; i < TILE_ROWS; i++) {
            vf ai = v_set(a[i * a_row]);
#pragma GCC unroll 2
            for (int j = 0; j < TILE_VECS; j++)
                sum[i][j] = v_fma(ai, bk[j], sum[i][j]);
        }
        a += a_step;
        b += b_step;
    }
#pragma GCC unroll 16
    for (int i = 0; i < TILE_ROWS; i++)
#pragma GCC unroll 2
        for (int j = 0; j < TILE_VECS; j++)
            t->sum[i][j] = sum[i][j];
}

VEC void tile_product(struct tile *t, int64_t depth, const float *a, int64_t a_row, int64_t a_step, const float *b, int64_t b_step)
{
    tile_sums(t, false, depth, a, a_row, a_step, b, b_step);
}

/* The same chains of sums, continued. */
VEC void tile_continue(struct tile *t, int64_t depth, const float *a, int64_t a_row, int64_t a_step, const float *b, int64_t b_step)
{
    tile_sums(t, true, depth, a, a_row, a_step, b, b_step);
}

/* c = alpha * sum (read false) or fma(alpha, sum, c), for the first `rows` x `cols` of the tile. */
VEC void tile_write(const struct tile *t, float *c, int64_t ldc, int rows, int cols, float alpha, bool read)
{
    vf a = v_set(alpha);
    if (cols == TILE_COLS) {
        for (int i = 0; i < rows; i++)
            for (int j = 0; j < TILE_VECS; j++) {
                float *p = c + i * ldc + j * VL;
                v_store(p, read ? v_fma(a, t->sum[i][j], v_load(p)) : v_mul(a, t->sum[i][j]));
            }
        return;
    }
    for (int i = 0; i < rows; i++)
        for (int j = 0; j * VL < cols; j++) {
            float *p = c + i * ldc + j * VL;
            int n = cols - j * VL < VL ? cols - j * VL : VL;
            v_store_n(p, read ? v_fma(a, t->sum[i][j], v_load_n(p, n)) : v_mul(a, t->sum[i][j]), n);
        }
}

#endif
