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

struct clip clip_of(double squares, double most)
{
    double norm = sqrt(squares), factor = most > 0 ? most / (norm + 1e-6) : 1;
    return (struct clip){norm, !isfinite(norm) ? NAN : factor < 1 ? (float)factor : 1};
}

static void clip_ref(struct clip *to, const float *x, int64_t count, double most)
{
    *to = clip_of(sum_squares_ref(x, count), most);
}

/* Loshchilov and Hutter, "Decoupled weight decay regularization", ICLR 2019, in torch's order of operations. */
static void adamw_ref(const struct adamw_tensor *list, int n, const struct adamw *o)
{
    float b1 = (float)(1 - o->beta1), b2 = (float)o->beta2, c2 = (float)(1 - o->beta2), eps = (float)o->eps, gain = o->clip ? o->clip->factor : 1;
    float step = (float)(o->lr / (1 - pow(o->beta1, (double)o->step)));
    float root = (float)sqrt(1 - pow(o->beta2, (double)o->step));
    for (int k = 0; k < n && !isnan(gain); k++) {
        const struct adamw_tensor *t = &list[k];
        float decay = (float)(1 - o->lr * t->weight_decay);
#pragma omp parallel for
        for (int64_t i = 0; i < t->count; i++) {
            float g = t->grad[i] * gain;
            t->m[i] += b1 * (g - t->m[i]);
            t->v[i] = b2 * t->v[i] + c2 * (g * g);
            t->p[i] = t->p[i] * decay - step * (t->m[i] / (sqrtf(t->v[i]) / root + eps));
        }
    }
}

void ref_fill_update(struct kernels *k)
{
    k->sum_squares = sum_squares_ref;
    k->clip = clip_ref;
    k->adamw = adamw_ref;
}
