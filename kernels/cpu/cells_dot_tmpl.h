/* The product of cells by dot products of pairs in vector registers. Included after bf16's cell layout is known. */
#ifndef KERNELS_CPU_CELLS_DOT_TMPL_H
#define KERNELS_CPU_CELLS_DOT_TMPL_H

#define DOT_ROWS 8 /* 8 x 2 sums: more than the latency asks for */

VEC void cells_begin(void) {}
VEC void cells_end(void) {}

/* Rows row .. row + DOT_ROWS - 1 of a panel of A by one or two panels of B; `columns` is a constant. */
VEC void cells_rows(float sum[DOT_ROWS][QUAD], const float *a, const float *const b[2], int64_t cells, const int columns)
{
    vf s[DOT_ROWS][2];
#pragma GCC unroll 8
    for (int i = 0; i < DOT_ROWS; i++)
        s[i][0] = s[i][1] = v_set(0);
    for (int64_t at = 0; at < cells * CELL; at += CELL)
        for (int k = 0; k < CELL_PAIRS; k++) {
            vf b0 = v_load(b[0] + at + k * 16), b1 = columns == 2 ? v_load(b[1] + at + k * 16) : v_set(0);
#pragma GCC unroll 8
            for (int i = 0; i < DOT_ROWS; i++) {
                vf ai = v_set(a[at + i * CELL_PAIRS + k]);
                s[i][0] = v_dot_pairs(s[i][0], ai, b0);
                if (columns == 2)
                    s[i][1] = v_dot_pairs(s[i][1], ai, b1);
            }
        }
#pragma GCC unroll 8
    for (int i = 0; i < DOT_ROWS; i++) {
        v_store(sum[i], s[i][0]);
        v_store(sum[i] + 16, s[i][1]);
    }
}

/* a[1] or b[1] NULL: there is no second panel, and its part of the sums is not to be read. */
static void cells_product(float sum[QUAD][QUAD], const float *const a[2], const float *const b[2], int64_t cells)
{
    for (int i = 0; i < QUAD && a[i / 16]; i += DOT_ROWS)
        if (b[1])
            cells_rows(sum + i, a[i / 16] + i % 16 * CELL_PAIRS, b, cells, 2);
        else
            cells_rows(sum + i, a[i / 16] + i % 16 * CELL_PAIRS, b, cells, 1);
}

#define BURST_CHAINS 12 /* independent sums: two units, each with up to six cycles of latency */
#define CELLS_BURST (BURST_CHAINS * 4 * VL)

static void cells_burst(int64_t rounds)
{
    vf sum[BURST_CHAINS], one = v_set(0);
    float sink[VL];
    for (int i = 0; i < BURST_CHAINS; i++)
        sum[i] = v_set((float)i);
    for (; rounds > 0; rounds--)
#pragma GCC unroll 12
        for (int i = 0; i < BURST_CHAINS; i++)
            sum[i] = v_dot_pairs(sum[i], one, one);
    for (int i = 1; i < BURST_CHAINS; i++)
        sum[0] = v_add(sum[0], sum[i]);
    v_store(sink, sum[0]);
    __asm__ volatile("" : : "r"(sink) : "memory");
}

#endif
