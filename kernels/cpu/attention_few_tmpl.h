/* Attention of few rows over many keys, as in decoding: keys and values are read where they are. Packing them would cost more than it
 * gives. Included by attention_tmpl.h, after what both share. */
#ifndef KERNELS_CPU_ATTENTION_FEW_TMPL_H
#define KERNELS_CPU_ATTENTION_FEW_TMPL_H

#define ATTEND_FEW 8 /* rows up to which this pays */

/* Only where keys come from a cache: the samples of training keep the sums that they had. */
VEC bool attend_is_few(const struct attend *w)
{
    return w->n_rows <= ATTEND_FEW && w->seq->k_len > w->seq->q_len;
}

/* VL scores of a row, of keys `stride` apart; the last of them stands in for those that there are not. */
VEC void attend_few_scores(float *to, const float *q, const float *k, int64_t stride, int keys, int dim, float scale)
{
    vf sum[VL], total = v_set(0);
    for (int j = 0; j < VL; j++)
        sum[j] = v_set(0);
    for (int c = 0; c < dim; c += VL) {
        int n = dim - c < VL ? dim - c : VL;
        vf qc = v_load_n(q + c, n);
#pragma GCC unroll 16
        for (int j = 0; j < VL; j++)
            sum[j] = v_fma(qc, v_load_n(k + (j < keys ? j : keys - 1) * stride + c, n), sum[j]);
    }
    v_transpose(sum);
    for (int j = 0; j < VL; j++)
        total = v_add(total, sum[j]);
    v_store(to, v_mul(v_set(scale), total));
}

/* The first `vecs` vectors of out (dim) += p (keys) . v (keys, dim); the last of them may be cut. */
VEC void attend_few_values(float *out, const float *p, const float *v, int64_t stride, int keys, int dim, const int vecs)
{
    vf sum[4];
    int last = dim - (vecs - 1) * VL < VL ? dim - (vecs - 1) * VL : VL;
#pragma GCC unroll 4
    for (int i = 0; i < vecs; i++)
        sum[i] = v_load(out + i * VL);
    for (int j = 0; j < keys; j++) {
        vf pj = v_set(p[j]);
#pragma GCC unroll 4
        for (int i = 0; i < vecs; i++)
            sum[i] = v_fma(pj, v_load_n(v + j * stride + i * VL, i < vecs - 1 ? VL : last), sum[i]);
    }
#pragma GCC unroll 4
    for (int i = 0; i < vecs; i++)
        v_store(out + i * VL, sum[i]);
}

/* Asks for `rows` rows of `dim` floats, `stride` apart: pieces too short for the hardware to foresee. */
VEC void attend_prefetch(const float *p, int64_t stride, int rows, int dim)
{
    for (int i = 0; i < rows; i++)
        for (int c = 0; c < dim; c += 16) /* floats of a cache line */
            __builtin_prefetch(p + i * stride + c);
}

/* attend_block for few rows. */
static void attend_block_few(struct attend *w, int64_t first, int count)
{
    const struct attend_shape *s = &w->shape;
    int64_t stride = w->a->kv_stride, at = first * stride + w->head * s->dim;
    const float *k = w->seq->k + at, *v = w->seq->v + at;
    for (int r = 0; r < w->n_rows; r++) {
        int reach = attend_reach(w, r, first, count), c = 0;
        float *p = w->score + r * ATTEND_KEYS, *out = w->out + r * s->width;
        if (reach == 0)
            continue;
        for (int j = 0; j < reach; j += VL) {
            if (r == 0) {
                attend_prefetch(k + (j + 6 * VL) * stride, stride, VL, s->dim);
                attend_prefetch(v + j * stride, stride, VL, s->dim);
            }
            attend_few_scores(p + j, w->q + r * s->width, k + j * stride, stride, count - j, s->dim, w->a->scale);
        }
        attend_softmax(w, r, first, count, (reach + VL - 1) / VL * VL);
        for (; c + 4 * VL <= s->dim; c += 4 * VL)
            attend_few_values(out + c, p, v + c, stride, reach, s->dim - c, 4);
        for (; c < s->dim; c += VL)
            attend_few_values(out + c, p, v + c, stride, reach, s->dim - c, 1);
    }
}

#endif
