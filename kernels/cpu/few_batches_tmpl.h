/* Few rows of x by a weight of NF4 or FP4 whose blocks and rows are whole batches (V_BATCH elements): the values of the specification, two
 * columns side by side. Included within few_quantized_tmpl.h. */
#ifndef KERNELS_CPU_FEW_BATCHES_TMPL_H
#define KERNELS_CPU_FEW_BATCHES_TMPL_H

#ifdef V_BATCH

/* x is then in the order of batches. */
VEC bool few_in_batches(const struct quantized *q)
{
    return (q->kind == QUANTIZED_NF4 || q->kind == QUANTIZED_FP4) && q->group % V_BATCH == 0 && q->in % V_BATCH == 0;
}

static void few_order_row(float *x, int64_t depth)
{
    for (float *end = x + depth; x < end; x += V_BATCH)
        v_batch_order(x);
}

/* Two columns of W side by side, or the same one twice; where they are in their blocks. */
struct few_blocks {
    const uint8_t *codes[2];
    int64_t block[2], left[2]; /* left: elements of the block from here on */
    v_bytes table[2];
};

VEC void few_blocks_open(struct few_blocks *b, const struct quantized *q, int64_t e, int64_t next)
{
#pragma GCC unroll 2
    for (int j = 0; j < 2; j++, e += next) {
        b->codes[j] = (const uint8_t *)q->codes + e / 2;
        b->block[j] = e / q->group, b->left[j] = (b->block[j] + 1) * q->group - e;
    }
}

VEC void few_blocks_tables(struct few_blocks *b, const struct quantized *q, const bool bf16)
{
    two_tables(b->table, q, absmax_of(q, b->block[0]), absmax_of(q, b->block[1]), bf16);
}

/* Behind a batch. */
VEC void few_blocks_step(struct few_blocks *b, const struct quantized *q, const bool bf16)
{
    bool ends = false;
#pragma GCC unroll 2
    for (int j = 0; j < 2; j++) {
        b->codes[j] += V_BATCH / 2, b->left[j] -= V_BATCH;
        if (b->left[j] == 0)
            b->left[j] = q->group, b->block[j]++, ends = true;
    }
    if (ends)
        few_blocks_tables(b, q, bf16);
}

VEC void few_batch(struct few_sums s[2], const struct few_blocks *b, const float *x, int64_t x_row, const int rows, const int cols, const bool bf16)
{
#pragma GCC unroll 2
    for (int j = 0; j < cols; j++) {
        vi codes = vi_load(b->codes[j]);
#pragma GCC unroll 2
        for (int lower = 0; lower < 2; lower++) {
            vf w[4];
            v_batch_values(w, codes, &b->table[j], lower, bf16);
#pragma GCC unroll 4
            for (int i = 0; i < 4; i++)
                few_add(s + j, i % 2, w[i], x + lower * V_BATCH / 2 + i * VL, x_row, rows);
        }
    }
}

VEC void few_batches(const struct few *f, int64_t row, int64_t col, const int rows, const int cols, const bool bf16)
{
    const struct quantized *q = f->m->b.quantized;
    const float *x = f->x + row * f->x_row, *last = x + f->depth - V_BATCH;
    int64_t ahead = FEW_COLS * q->in / 2; /* of the next task */
    struct few_sums s[2];
    struct few_blocks b;
    few_blocks_open(&b, q, col * q->in + f->depth0, (cols - 1) * q->in);
    few_blocks_tables(&b, q, bf16);
#pragma GCC unroll 2
    for (int j = 0; j < cols; j++)
#pragma GCC unroll 4
        for (int i = 0; i < rows; i++)
            s[j].of[i][0] = s[j].of[i][1] = v_set(0);
    for (;; x += V_BATCH) {
#pragma GCC unroll 2
        for (int j = 0; j < cols; j++)
            __builtin_prefetch(b.codes[j] + ahead);
        few_batch(s, &b, x, f->x_row, rows, cols, bf16);
        if (x == last)
            break;
        few_blocks_step(&b, q, bf16);
    }
#pragma GCC unroll 2
    for (int j = 0; j < cols; j++)
#pragma GCC unroll 4
        for (int i = 0; i < rows; i++)
            few_write(f, row + i, col + j, v_add(s[j].of[i][0], s[j].of[i][1]));
}

VEC void few_batch_rows(const struct few *f, int64_t col, const int cols, const bool bf16)
{
    int64_t i = 0, n = f->m->m;
    for (; i + FEW_ROWS <= n; i += FEW_ROWS)
        for (int j = 0; j < cols; j++)
            few_batches(f, i, col + j, FEW_ROWS, 1, bf16);
    for (; i + 2 <= n; i += 2)
        few_batches(f, i, col, 2, cols, bf16);
    if (i < n)
        few_batches(f, i, col, 1, cols, bf16);
}

static void few_columns_bf16(const struct few *f, int64_t col, int64_t end)
{
    for (; col + 2 <= end; col += 2)
        few_batch_rows(f, col, 2, true);
    if (col < end)
        few_batch_rows(f, col, 1, true);
}

static void few_columns_f32(const struct few *f, int64_t col, int64_t end)
{
    for (; col < end; col++)
        few_batch_rows(f, col, 1, false);
}

VEC void few_columns_batches(const struct few *f, int64_t col, int64_t end)
{
    if (f->m->round_bf16 || f->m->b.quantized->value_type == DTYPE_BF16)
        few_columns_bf16(f, col, end);
    else
        few_columns_f32(f, col, end);
}

#else

VEC bool few_in_batches(const struct quantized *q) { return (void)q, false; }
VEC void few_order_row(float *x, int64_t depth) { (void)x, (void)depth; }
VEC void few_columns_batches(const struct few *f, int64_t col, int64_t end) { (void)f, (void)col, (void)end; }
VEC void v_ready_fill(void) {}

#endif

#endif
