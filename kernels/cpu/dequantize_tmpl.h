/* Values of 4-bit weights as numbers of 16 bits, a batch (V_BATCH elements) at a time by a table of its block. Included within quantize_tmpl.h. */
#ifndef KERNELS_CPU_DEQUANTIZE_TMPL_H
#define KERNELS_CPU_DEQUANTIZE_TMPL_H

#ifdef V_BATCH

/* Blocks of one batch each, from element e on, in bf16: two at a time, which share most of what makes their tables. */
static int64_t dequantize_short_blocks(char *out, const struct quantized *q, int64_t e, int64_t n)
{
    const uint8_t *codes = (const uint8_t *)q->codes + e / 2;
    int64_t done = 0;
    v_bytes t[2];
    for (int64_t b = e / V_BATCH; done + 2 * V_BATCH <= n; done += 2 * V_BATCH, b += 2) {
        two_tables(t, q, absmax_of(q, b), absmax_of(q, b + 1), true);
        v_batch_store(out + done * 2, vi_load(codes + done / 2), &t[0], true);
        v_batch_store(out + (done + V_BATCH) * 2, vi_load(codes + (done + V_BATCH) / 2), &t[1], true);
    }
    return done;
}

/* NF4 and FP4: elements e .. e + n - 1. Returns how many of them, from the first one on, it has written. */
static int64_t dequantize_batches(char *out, enum dtype type, const struct quantized *q, int64_t e, int64_t n)
{
    const uint8_t *codes = (const uint8_t *)q->codes + e / 2;
    int64_t done = 0;
    v_bytes t = {0};
    if (q->kind == QUANTIZED_INT8 || type == DTYPE_F32 || e % V_BATCH || q->group % V_BATCH)
        return 0;
    if (q->group == V_BATCH && type == DTYPE_BF16 && q->value_type == DTYPE_BF16)
        done = dequantize_short_blocks(out, q, e, n);
    for (bool begins = true; done + V_BATCH <= n; done += V_BATCH, begins = false) {
        if (begins || (e + done) % q->group == 0) {
            float most = absmax_of(q, (e + done) / q->group);
            uint32_t bits;
            vf values[16 / VL];
            memcpy(&bits, &most, sizeof bits);
            if (type == DTYPE_BF16 && q->value_type == DTYPE_BF16 && v_is_ready(bits)) {
                v_bytes_ready(&t, &v_ready[q->kind == QUANTIZED_FP4], bits);
            } else {
                block_table(values, q, (e + done) / q->group);
                t = v_bytes_typed(values, type);
            }
        }
        v_batch_store(out + done * 2, vi_load(codes + done / 2), &t, true);
    }
    return done;
}

/* The tables of VL outputs from l on. */
VEC void words_tables(v_bytes *t, const struct unpack *u, int slot, int64_t l, enum dtype type)
{
    static const uint32_t codes[16] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
    for (int64_t i = l; i < l + VL; i++) {
        vf scale = v_set(u->scale[slot][i]), zero = v_set(u->zero[slot][i]), values[16 / VL];
        for (int j = 0; j < 16 / VL; j++)
            values[j] = v_mul(scale, v_sub(v_of_int(vi_load(codes + j * VL)), zero));
        t[i] = v_bytes_typed(values, type);
    }
}

/* GPTQ: inputs from col on of `rows` outputs that begin with u's first one; as above. */
static int64_t dequantize_words(char *out, enum dtype type, int64_t ld, struct unpack *u, int64_t rows, int64_t col, int64_t cols)
{
    const struct quantized *q = u->q;
    int64_t done = 0, group = -1;
    v_bytes t[UNPACK_WIDE];
    if (q->kind != QUANTIZED_GPTQ || q->bits != 4 || q->g_idx || type == DTYPE_F32 || rows % VL || col % V_BATCH || (q->group % V_BATCH && q->group < q->in))
        return 0;
    for (; done + V_BATCH <= cols; done += V_BATCH) {
        int slot = unpack_slot(u, col + done);
        for (int64_t l = 0; l < rows; l += VL) {
            const char *words = (const char *)q->codes + ((col + done) / 8 * q->out + u->first + l) * 4;
            vf w[VL];
            if (group != u->group[slot])
                words_tables(t, u, slot, l, type);
#pragma GCC unroll 8
            for (int k = 0; k < VL; k++)
                w[k] = v_load((const float *)(const void *)(words + k * q->out * 4));
            v_transpose(w);
#pragma GCC unroll 8
            for (int k = 0; k < VL; k++)
                v_batch_store(out + ((l + k) * ld + done) * 2, vi_of_bits(w[k]), &t[l + k], false);
        }
        group = u->group[slot];
    }
    return done;
}

#else

VEC int64_t dequantize_batches(char *out, enum dtype type, const struct quantized *q, int64_t e, int64_t n)
{
    return (void)out, (void)type, (void)q, (void)e, (void)n, 0;
}

VEC int64_t dequantize_words(char *out, enum dtype type, int64_t ld, struct unpack *u, int64_t rows, int64_t col, int64_t cols)
{
    return (void)out, (void)type, (void)ld, (void)u, (void)rows, (void)col, (void)cols, 0;
}

#endif

#endif
