/* Cross entropy, the specification. The sum of exponentials is kept in double: a vocabulary has 10^5 terms. */
#include <math.h>

#include "kernels/cpu/cpu.h"

static void cross_entropy_ref(float *loss, float *logits, const int32_t *targets, float grad_scale, int64_t n, int64_t v)
{
#pragma omp parallel for
    for (int64_t i = 0; i < n; i++) {
        float *z = logits + i * v, top = -INFINITY;
        double sum = 0;
        loss[i] = 0;
        if (targets[i] < 0) {
            for (int64_t j = 0; j < v && grad_scale != 0; j++)
                z[j] = 0;
            continue;
        }
        for (int64_t j = 0; j < v; j++)
            top = z[j] > top || isnan(z[j]) ? z[j] : top;
        for (int64_t j = 0; j < v; j++)
            sum += expf(z[j] - top);
        loss[i] = (float)(top + log(sum) - z[targets[i]]);
        for (int64_t j = 0; j < v && grad_scale != 0; j++)
            z[j] = (expf(z[j] - top) / (float)sum - (j == targets[i])) * grad_scale;
    }
}

/* With e = exp(z - top) and S = sum e: entropy = log S - sum e (z - top) / S. */
static void row_stats_ref(float *mean, float *entropy, float *squares, const float *logits, int64_t n, int64_t v)
{
#pragma omp parallel for
    for (int64_t i = 0; i < n; i++) {
        const float *z = logits + i * v;
        float top = -INFINITY;
        double plain = 0, sum = 0, weighted = 0, second = 0;
        for (int64_t j = 0; j < v; j++)
            top = z[j] > top || isnan(z[j]) ? z[j] : top;
        for (int64_t j = 0; j < v; j++) {
            float d = z[j] - top, e = expf(d);
            plain += z[j], sum += e, weighted += e > 0 ? e * d : 0, second += e * e;
        }
        if (mean)
            mean[i] = (float)(plain / (double)v);
        if (entropy)
            entropy[i] = (float)(log(sum) - weighted / sum);
        if (squares)
            squares[i] = (float)(second / (sum * sum));
    }
}

void ref_fill_loss(struct kernels *k)
{
    k->cross_entropy = cross_entropy_ref;
    k->row_stats = row_stats_ref;
}
