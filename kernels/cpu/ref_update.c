/* Gradient norm and AdamW, the specification. */
#include <math.h>
#include <stdlib.h>

#include "base/mem.h"
#include "kernels/cpu/cpu.h"

#define SUM_BLOCK 4096

static double sum_squares_ref(const float *x, int64_t count)
{
    int64_t blocks = (count + SUM_BLOCK - 1) / SUM_BLOCK;
    double total = 0, *part = mem_array(NULL, (size_t)blocks, sizeof *part);
#pragma omp parallel for
    for (int64_t b = 0; b < blocks; b++) {
        int64_t end = (b + 1) * SUM_BLOCK < count ? (b + 1) * SUM_BLOCK : count;
        part[b] = 0;
        for (int64_t i = b * SUM_BLOCK; i < end; i++)
            part[b] += (double)x[i] * x[i];
    }
    for (int64_t b = 0; b < blocks; b++)
        total += part[b];
    free(part);
    return total;
}

/* Loshchilov and Hutter, "Decoupled weight decay regularization", ICLR 2019, in torch's order of operations. */
static void adamw_ref(float *p, float *m, float *v, const float *grad, int64_t count, const struct adamw *o)
{
    float decay = (float)(1 - o->lr * o->weight_decay), b1 = (float)(1 - o->beta1);
    float b2 = (float)o->beta2, c2 = (float)(1 - o->beta2), eps = (float)o->eps;
    float step = (float)(o->lr / (1 - pow(o->beta1, (double)o->step)));
    float root = (float)sqrt(1 - pow(o->beta2, (double)o->step));
#pragma omp parallel for
    for (int64_t i = 0; i < count; i++) {
        float g = grad[i] * o->grad_scale;
        m[i] += b1 * (g - m[i]);
        v[i] = b2 * v[i] + c2 * (g * g);
        p[i] = p[i] * decay - step * (m[i] / (sqrtf(v[i]) / root + eps));
    }
}

void ref_fill_update(struct kernels *k)
{
    k->sum_squares = sum_squares_ref;
    k->adamw = adamw_ref;
}
