/* Operations on rows: bias, norm, rotation, tables of rows. Work is cut by rows, or by columns where rows are summed, so that one
 * thread sums in a fixed order. */
#ifndef KERNELS_CPU_ROWS_TMPL_H
#define KERNELS_CPU_ROWS_TMPL_H

#define FEW_ELEMENTS (1 << 13) /* work below which a team costs more than it gives */
#define ROWS_COLUMNS 64        /* columns summed by one task */

VEC int lanes_left(int64_t n, int64_t i) { return n - i < VL ? (int)(n - i) : VL; }

static void ISA(bias_add)(float *y, const float *bias, int64_t n, int64_t c)
{
    TEAM_SHARE(i, n, n * c > FEW_ELEMENTS, {
        for (int64_t j = 0; j < c; j += VL) {
            int lanes = lanes_left(c, j);
            float *p = y + i * c + j;
            v_store_n(p, v_add(v_load_n(p, lanes), v_load_n(bias + j, lanes)), lanes);
        }
    });
}

static void ISA(bias_backward)(const struct row_sum *dbias, const float *dy, int64_t n, int64_t c)
{
#pragma omp parallel for if (n * c > FEW_ELEMENTS)
    for (int64_t j = 0; j < c; j += VL) {
        int lanes = lanes_left(c, j);
        vf total = v_load_n(dbias->to + j, lanes);
        for (int64_t p = 0, i = 0; p < row_parts(dbias); p++) {
            vf sum = v_set(0);
            for (int64_t end = row_part_end(dbias, p, n); i < end; i++)
                sum = v_add(sum, v_load_n(dy + i * c + j, lanes));
            total = v_add(total, sum);
        }
        v_store_n(dbias->to + j, total, lanes);
    }
}

/* sum of a * b over c elements, times w where there is one */
VEC float row_dot(const float *a, const float *b, const float *w, vf plus, int64_t c)
{
    vf sum[2] = {v_set(0), v_set(0)};
    for (int64_t j = 0, turn = 0; j < c; j += VL, turn ^= 1) {
        int lanes = lanes_left(c, j);
        vf x = v_load_n(a + j, lanes);
        if (w)
            x = v_mul(x, v_add(v_load_n(w + j, lanes), plus));
        sum[turn] = v_fma(x, v_load_n(b + j, lanes), sum[turn]);
    }
    return v_sum(v_add(sum[0], sum[1]));
}

/* Returns the reciprocal of the row's root mean square. */
VEC float norm_row(float *y, const float *x, const float *w, vf plus, float eps, int64_t c)
{
    float r = 1 / sqrtf(row_dot(x, x, NULL, plus, c) / (float)c + eps);
    for (int64_t j = 0; j < c; j += VL) {
        int lanes = lanes_left(c, j);
        v_store_n(y + j, v_mul(v_mul(v_load_n(x + j, lanes), v_set(r)), v_add(v_load_n(w + j, lanes), plus)), lanes);
    }
    return r;
}

static void ISA(rmsnorm)(float *y, int64_t y_stride, float *rstd, const float *x, int64_t x_stride, const float *w,
                         bool plus_one, float eps, int64_t n, int64_t c)
{
    vf plus = v_set(plus_one ? 1 : 0);
    TEAM_SHARE(i, n, n * c > FEW_ELEMENTS, {
        float r = norm_row(y + i * y_stride, x + i * x_stride, w, plus, eps, c);
        if (rstd)
            rstd[i] = r;
    });
}

static void ISA(add_rmsnorm)(float *y, float *rstd, float *x, const float *more, const float *w, bool plus_one, float eps, int64_t n, int64_t c)
{
    vf plus = v_set(plus_one ? 1 : 0);
    TEAM_SHARE(i, n, n * c > FEW_ELEMENTS, {
        for (int64_t j = i * c, end = j + c; j < end; j += VL) {
            int lanes = lanes_left(end, j);
            v_store_n(x + j, v_add(v_load_n(x + j, lanes), v_load_n(more + j, lanes)), lanes);
        }
        float r = norm_row(y + i * c, x + i * c, w, plus, eps, c);
        if (rstd)
            rstd[i] = r;
    });
}

static void ISA(rmsnorm_backward)(float *dx, int64_t dx_stride, bool add, const struct row_sum *dw, const float *dy, int64_t dy_stride,
                                  const float *x, int64_t x_stride, const float *w, bool plus_one, const float *rstd,
                                  int64_t n, int64_t c)
{
    vf plus = v_set(plus_one ? 1 : 0);
    /* dw first: dx may be the same memory as dy */
#pragma omp parallel for if (n * c > FEW_ELEMENTS)
    for (int64_t j = 0; j < (dw ? c : 0); j += VL) {
        int lanes = lanes_left(c, j);
        vf total = v_load_n(dw->to + j, lanes);
        for (int64_t p = 0, i = 0; p < row_parts(dw); p++) {
            vf sum = v_set(0);
            for (int64_t end = row_part_end(dw, p, n); i < end; i++)
                sum = v_fma(v_mul(v_load_n(dy + i * dy_stride + j, lanes), v_set(rstd[i])), v_load_n(x + i * x_stride + j, lanes), sum);
            total = v_add(total, sum);
        }
        v_store_n(dw->to + j, total, lanes);
    }
#pragma omp parallel for if (n * c > FEW_ELEMENTS)
    for (int64_t i = 0; i < n; i++) {
        const float *xi = x + i * x_stride, *dyi = dy + i * dy_stride;
        float r = rstd[i];
        vf back = v_set(r * r * (row_dot(dyi, xi, w, plus, c) / (float)c));
        for (int64_t j = 0; j < c; j += VL) {
            int lanes = lanes_left(c, j);
            float *to = dx + i * dx_stride + j;
            vf d = v_mul(v_load_n(dyi + j, lanes), v_add(v_load_n(w + j, lanes), plus));
            d = v_mul(v_set(r), v_fnma(v_load_n(xi + j, lanes), back, d));
            v_store_n(to, add ? v_add(v_load_n(to, lanes), d) : d, lanes);
        }
    }
}

/* VL pairs of (cosine, sine), lanes of them used. */
VEC void rope_angles(const float *t, int lanes, bool inverse, vf *cosine, vf *sine)
{
    int two = 2 * lanes;
    v_unzip(v_load_n(t, two < VL ? two : VL), v_load_n(t + (two > VL ? VL : 0), two > VL ? two - VL : 0), cosine, sine);
    if (inverse)
        *sine = v_sub(v_set(0), *sine);
}

static void ISA(rope)(float *x, int64_t stride, const float *cos_sin, const int32_t *pos, bool inverse,
                      int64_t n, int heads, int head_dim)
{
    int half = head_dim / 2;
    TEAM_SHARE(i, n, n * heads * head_dim > FEW_ELEMENTS, {
        for (int j = 0; j < half; j += VL) {
            int lanes = lanes_left(half, j);
            vf cosine, sine;
            rope_angles(cos_sin + (int64_t)pos[i] * head_dim + 2 * j, lanes, inverse, &cosine, &sine);
            for (int h = 0; h < heads; h++) {
                float *lo = x + i * stride + h * head_dim + j, *hi = lo + half;
                vf a = v_load_n(lo, lanes), b = v_load_n(hi, lanes);
                v_store_n(lo, v_sub(v_mul(a, cosine), v_mul(b, sine)), lanes);
                v_store_n(hi, v_add(v_mul(b, cosine), v_mul(a, sine)), lanes);
            }
        }
    });
}

static void ISA(embedding)(float *out, const struct mat *table, const int32_t *ids, int64_t n, int64_t c)
{
    enum load_kind kind = load_kind_of(table->type, false);
    int size = load_size(kind);
#pragma omp parallel for if (n * c > FEW_ELEMENTS)
    for (int64_t i = 0; i < n; i++)
        for (int64_t j = 0; j < c; j += VL) {
            const char *p = (const char *)table->data + (ids[i] * table->row_stride + j * table->col_stride) * size;
            int lanes = lanes_left(c, j);
            if (table->col_stride == 1)
                v_store_n(out + i * c + j, load_typed_n(p, kind, lanes), lanes);
            else
                for (int l = 0; l < lanes; l++)
                    v_store_n(out + i * c + j + l, load_typed_n(p + l * table->col_stride * size, kind, 1), 1);
        }
}

static void ISA(embedding_backward)(float *dtable, const float *dout, const int32_t *ids, int64_t n, int64_t c, int64_t v)
{
    (void)v;
#pragma omp parallel for if (n * c > FEW_ELEMENTS)
    for (int64_t first = 0; first < c; first += ROWS_COLUMNS) { /* by columns: rows of the same token are added in order */
        int64_t last = first + ROWS_COLUMNS < c ? first + ROWS_COLUMNS : c;
        for (int64_t i = 0; i < n; i++)
            for (int64_t j = first; j < last; j += VL) {
                int lanes = lanes_left(last, j);
                float *to = dtable + ids[i] * c + j;
                v_store_n(to, v_add(v_load_n(to, lanes), v_load_n(dout + i * c + j, lanes)), lanes);
            }
    }
}

#endif
