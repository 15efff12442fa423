/* Causal attention, the specification. One query row at a time, its scores in a buffer of k_len floats.
 * Backward: with p = exp(score - lse), dp = dout.v and delta = sum p * dp (= dout.out),
 *   dscore = p * (dp - delta), through the soft cap dz = dscore * (1 - (score / c)^2), dq = scale * dz k, dk = scale * dz q. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "kernels/attention_sees.h"
#include "kernels/cpu/cpu.h"

static float dot(const float *a, const float *b, int n)
{
    float sum = 0;
    for (int i = 0; i < n; i++)
        sum += a[i] * b[i];
    return sum;
}

static float score_of(const struct attention *a, const float *q, const float *k)
{
    float z = a->scale * dot(q, k, a->head_dim);
    return a->softcap > 0 ? a->softcap * tanhf(z / a->softcap) : z;
}

static void attend_row(const struct attention *a, const struct attention_seq *s, int64_t i, int h, float *p)
{
    int d = a->head_dim, g = h / (a->heads / a->kv_heads);
    int64_t at = s->k_len - s->q_len + i, row = s->q_row + i;
    const float *q = a->q + row * a->q_stride + h * d;
    float *out = a->out + row * a->out_stride + h * d, top = -INFINITY, sum = 0;
    struct attention_span span = attention_span_of(s, a->window, at);
    for (int64_t j = 0; j <= at; j++) {
        p[j] = attention_sees(&span, j) ? score_of(a, q, s->k + j * a->kv_stride + g * d) : -INFINITY;
        top = p[j] > top || isnan(p[j]) ? p[j] : top;
    }
    memset(out, 0, (size_t)d * sizeof *out);
    for (int64_t j = 0; j <= at; j++)
        sum += p[j] = expf(p[j] - top);
    for (int64_t j = 0; j <= at; j++)
        for (int c = 0; c < d && p[j] != 0; c++)
            out[c] += p[j] / sum * s->v[j * a->kv_stride + g * d + c];
    if (a->lse)
        a->lse[row * a->heads + h] = top + logf(sum);
}

static void attention_ref(const struct attention *a)
{
    for (int n = 0; n < a->n_seq; n++) {
        const struct attention_seq *s = &a->seq[n];
#pragma omp parallel
        {
            float *p = mem_array(NULL, (size_t)s->k_len, sizeof *p);
#pragma omp for collapse(2)
            for (int h = 0; h < a->heads; h++)
                for (int64_t i = 0; i < s->q_len; i++)
                    attend_row(a, s, i, h, p);
            free(p);
        }
    }
}

static void backward_row(const struct attention *a, const struct attention_seq *s, int64_t i, int h)
{
    int d = a->head_dim, at = h / (a->heads / a->kv_heads) * d;
    int64_t last = s->k_len - s->q_len + i, row = s->q_row + i;
    const float *q = a->q + row * a->q_stride + h * d, *dout = a->dout + row * a->out_stride + h * d;
    float *dq = a->dq + row * a->q_stride + h * d, lse = a->lse[row * a->heads + h];
    float delta = dot(dout, a->out + row * a->out_stride + h * d, d);
    memset(dq, 0, (size_t)d * sizeof *dq);
    struct attention_span span = attention_span_of(s, a->window, last);
    for (int64_t j = 0; j <= last; j++) {
        if (!attention_sees(&span, j))
            continue;
        const float *k = s->k + j * a->kv_stride + at, *v = s->v + j * a->kv_stride + at;
        float *dk = s->dk + j * a->kv_stride + at, *dv = s->dv + j * a->kv_stride + at;
        float score = score_of(a, q, k), p = expf(score - lse), dz = p * (dot(dout, v, d) - delta) * a->scale;
        if (a->softcap > 0)
            dz *= 1 - score / a->softcap * (score / a->softcap);
        for (int c = 0; c < d; c++) {
            dv[c] += p * dout[c];
            dq[c] += dz * k[c];
            dk[c] += dz * q[c];
        }
    }
}

static void attention_backward_ref(const struct attention *a)
{
    int group = a->heads / a->kv_heads, d = a->head_dim;
#pragma omp parallel for collapse(2) schedule(dynamic)
    for (int n = 0; n < a->n_seq; n++)
        for (int g = 0; g < a->kv_heads; g++) {
            const struct attention_seq *s = &a->seq[n];
            for (int64_t j = 0; j < s->k_len; j++) {
                memset(s->dk + j * a->kv_stride + g * d, 0, (size_t)d * sizeof(float));
                memset(s->dv + j * a->kv_stride + g * d, 0, (size_t)d * sizeof(float));
            }
            for (int h = g * group; h < (g + 1) * group; h++)
                for (int64_t i = 0; i < s->q_len; i++)
                    backward_row(a, s, i, h);
        }
}

void ref_fill_attention(struct kernels *k)
{
    k->attention = attention_ref;
    k->attention_backward = attention_backward_ref;
}
