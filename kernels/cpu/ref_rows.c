/* Operations on rows and elements, the specification: bias, norm, rotation, gated activation, tables of rows. */
#include <math.h>
#include <string.h>

#include "base/rng.h"
#include "kernels/cpu/cpu.h"
#include "kernels/cpu/row_sum.h"
#include "kernels/cpu/team.h"

static void bias_add_ref(float *y, const float *bias, int64_t n, int64_t c)
{
#pragma omp parallel for
    for (int64_t i = 0; i < n; i++)
        for (int64_t j = 0; j < c; j++)
            y[i * c + j] += bias[j];
}

static void bias_backward_ref(const struct row_sum *dbias, const float *dy, int64_t n, int64_t c)
{
#pragma omp parallel for
    for (int64_t j = 0; j < c; j++)
        for (int64_t p = 0, i = 0; p < row_parts(dbias); p++) {
            float sum = 0;
            for (; i < row_part_end(dbias, p, n); i++)
                sum += dy[i * c + j];
            dbias->to[j] += sum;
        }
}

static void rmsnorm_ref(float *y, int64_t y_stride, float *rstd, const float *x, int64_t x_stride, const float *w,
                        bool plus_one, float eps, int64_t n, int64_t c)
{
#pragma omp parallel for
    for (int64_t i = 0; i < n; i++) {
        const float *xi = x + i * x_stride;
        float sum = 0, r;
        for (int64_t j = 0; j < c; j++)
            sum += xi[j] * xi[j];
        r = 1 / sqrtf(sum / (float)c + eps);
        for (int64_t j = 0; j < c; j++)
            y[i * y_stride + j] = xi[j] * r * (plus_one ? w[j] + 1 : w[j]);
        if (rstd)
            rstd[i] = r;
    }
}

/* With u = w (or w + 1) and m = mean(dy * u * x): dx = r * (dy * u - x * r^2 * m), dw = sum over rows of dy * x * r. */
static void rmsnorm_backward_ref(float *dx, int64_t dx_stride, bool add, const struct row_sum *dw, const float *dy, int64_t dy_stride,
                                 const float *x, int64_t x_stride, const float *w, bool plus_one, const float *rstd,
                                 int64_t n, int64_t c)
{
    /* dw first: dx may be the same memory as dy */
#pragma omp parallel for
    for (int64_t j = 0; j < (dw ? c : 0); j++)
        for (int64_t p = 0, i = 0; p < row_parts(dw); p++) {
            float sum = 0;
            for (; i < row_part_end(dw, p, n); i++)
                sum += dy[i * dy_stride + j] * x[i * x_stride + j] * rstd[i];
            dw->to[j] += sum;
        }
#pragma omp parallel for
    for (int64_t i = 0; i < n; i++) {
        const float *xi = x + i * x_stride, *dyi = dy + i * dy_stride;
        float r = rstd[i], sum = 0;
        for (int64_t j = 0; j < c; j++)
            sum += dyi[j] * (plus_one ? w[j] + 1 : w[j]) * xi[j];
        for (int64_t j = 0; j < c; j++) {
            float d = r * (dyi[j] * (plus_one ? w[j] + 1 : w[j]) - xi[j] * (r * r * (sum / (float)c)));
            dx[i * dx_stride + j] = add ? dx[i * dx_stride + j] + d : d;
        }
    }
}

static void rope_ref(float *x, int64_t stride, const float *cos_sin, const int32_t *pos, bool inverse,
                     int64_t n, int heads, int head_dim)
{
    int half = head_dim / 2;
#pragma omp parallel for
    for (int64_t i = 0; i < n; i++)
        for (int h = 0; h < heads; h++) {
            float *lo = x + i * stride + h * head_dim, *hi = lo + half;
            const float *t = cos_sin + (int64_t)pos[i] * head_dim;
            for (int j = 0; j < half; j++) {
                float a = lo[j], b = hi[j], cosine = t[2 * j], sine = inverse ? -t[2 * j + 1] : t[2 * j + 1];
                lo[j] = a * cosine - b * sine;
                hi[j] = b * cosine + a * sine;
            }
        }
}

static void swiglu_ref(float *y, const float *gate, const float *up, int64_t count)
{
#pragma omp parallel for
    for (int64_t i = 0; i < count; i++)
        y[i] = gate[i] / (1 + expf(-gate[i])) * up[i];
}

/* silu(g) = g s with s = 1 / (1 + exp(-g)); silu'(g) = s (1 + g (1 - s)) */
static void swiglu_backward_ref(float *dgate, float *dup, const float *dy, const float *gate, const float *up,
                                int64_t count)
{
#pragma omp parallel for
    for (int64_t i = 0; i < count; i++) {
        float g = gate[i], u = up[i], s = 1 / (1 + expf(-g));
        dgate[i] = dy[i] * u * s * (1 + g * (1 - s));
        dup[i] = dy[i] * g * s;
    }
}

static void embedding_ref(float *out, const struct mat *table, const int32_t *ids, int64_t n, int64_t c)
{
    int64_t size = (int64_t)dtype_size(table->type);
#pragma omp parallel for
    for (int64_t i = 0; i < n; i++)
        for (int64_t j = 0; j < c; j++) {
            int64_t at = ids[i] * table->row_stride + j * table->col_stride;
            dtype_to_f32(out + i * c + j, (const char *)table->data + at * size, table->type, 1);
        }
}

static void embedding_backward_ref(float *dtable, const float *dout, const int32_t *ids, int64_t n, int64_t c, int64_t v)
{
    (void)v;
#pragma omp parallel for
    for (int64_t j = 0; j < c; j++) /* by columns: rows of the same token are added in order */
        for (int64_t i = 0; i < n; i++)
            dtable[ids[i] * c + j] += dout[i * c + j];
}

static void add_ref(float *x, const float *y, int64_t count)
{
#pragma omp parallel for
    for (int64_t i = 0; i < count; i++)
        x[i] += y[i];
}

static void add_rmsnorm_ref(float *y, float *rstd, float *x, const float *more, const float *w, bool plus_one, float eps, int64_t n, int64_t c)
{
    add_ref(x, more, n * c);
    rmsnorm_ref(y, c, rstd, x, c, w, plus_one, eps, n, c);
}

static void scale_ref(float *x, float s, int64_t count)
{
#pragma omp parallel for
    for (int64_t i = 0; i < count; i++)
        x[i] *= s;
}

static void scale_rows_ref(float *x, const float *s, int64_t n, int64_t c)
{
#pragma omp parallel for
    for (int64_t i = 0; i < n; i++)
        for (int64_t j = 0; j < c; j++)
            x[i * c + j] *= s[i];
}

static void dropout_ref(float *y, const float *x, float p, uint64_t seed, uint64_t stream, int64_t row0, int64_t n, int64_t c)
{
    struct rng r = {seed, stream};
    float keep = 1 / (1 - p);
#pragma omp parallel for
    for (int64_t i = 0; i < n * c; i++)
        y[i] = rng_uniform(&r, (uint64_t)(row0 * c + i)) >= p ? x[i] * keep : 0;
}

static void gather_rows_ref(float *out, const float *x, const int32_t *rows, int64_t n, int64_t c)
{
    TEAM_SHARE(i, n, n > 1, { memcpy(out + i * c, x + rows[i] * c, (size_t)c * sizeof *x); });
}

static void scatter_rows_ref(float *x, const float *in, const int32_t *rows, int64_t n, int64_t c)
{
    TEAM_SHARE(i, n, n > 1, { memcpy(x + rows[i] * c, in + i * c, (size_t)c * sizeof *x); });
}

void ref_fill_rows(struct kernels *k)
{
    k->bias_add = bias_add_ref;
    k->bias_backward = bias_backward_ref;
    k->rmsnorm = rmsnorm_ref;
    k->add_rmsnorm = add_rmsnorm_ref;
    k->rmsnorm_backward = rmsnorm_backward_ref;
    k->rope = rope_ref;
    k->swiglu = swiglu_ref;
    k->swiglu_backward = swiglu_backward_ref;
    k->embedding = embedding_ref;
    k->embedding_backward = embedding_backward_ref;
    k->add = add_ref;
    k->scale = scale_ref;
    k->scale_rows = scale_rows_ref;
    k->dropout = dropout_ref;
    k->gather_rows = gather_rows_ref;
    k->scatter_rows = scatter_rows_ref;
}
