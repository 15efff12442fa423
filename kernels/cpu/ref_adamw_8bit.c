/* AdamW with moments of 8 bits, the specification: Dettmers et al., "8-bit optimizers via block-wise quantization", ICLR 2022, in the
 * order of operations of bitsandbytes' CPU backend (0.50), fused multiplications where torch's loops fuse them. Codes, largest values and
 * parameters are the same bits as there; only torch's square root may be off by a unit in the last place. */
#include <math.h>

#include "kernels/cpu/cpu.h"
#include "kernels/cpu/state_codes.h"

struct factors {
    float decay, b1, c1, b2, c2, root, eps, step, gain;
};

/* x (n) as codes and the largest magnitude; NaN counts for nothing. */
static void encode(uint8_t *codes, float *largest, const float *x, int64_t n, const float *map)
{
    float top = 0;
    for (int64_t i = 0; i < n; i++)
        top = fabsf(x[i]) > top ? fabsf(x[i]) : top;
    *largest = top;
    float inverse = 1 / top;
    for (int64_t i = 0; i < n; i++)
        codes[i] = top == 0 ? 0 : dynamic_map_index(map, x[i] * inverse);
}

static void update_block(const struct adamw_8bit *t, int64_t block, const struct factors *f)
{
    const struct state_tables *tables = state_tables();
    int64_t first = block * ADAMW_8BIT_BLOCK, n = t->count - first < ADAMW_8BIT_BLOCK ? t->count - first : ADAMW_8BIT_BLOCK;
    float m[ADAMW_8BIT_BLOCK], v[ADAMW_8BIT_BLOCK];
    for (int64_t i = 0; i < n; i++) {
        float g = t->grad[first + i] * f->gain, *p = &t->p[first + i];
        m[i] = fmaf(g, f->c1, tables->m.map[t->m[first + i]] * t->m_max[block] * f->b1);
        v[i] = fmaf(f->c2 * g, g, tables->v.map[t->v[first + i]] * t->v_max[block] * f->b2);
        *p = *p * f->decay + f->step * m[i] / (sqrtf(v[i]) / f->root + f->eps);
    }
    encode(t->m + first, &t->m_max[block], m, n, tables->m.map);
    encode(t->v + first, &t->v_max[block], v, n, tables->v.map);
}

static void adamw_8bit_ref(const struct adamw_8bit *list, int n, const struct adamw *o)
{
    float gain = o->clip ? o->clip->factor : 1;
    for (int i = 0; i < n && !isnan(gain); i++) {
        const struct adamw_8bit *t = &list[i];
        struct factors f = {(float)(1 - o->lr * t->weight_decay), (float)o->beta1, (float)(1 - o->beta1), (float)o->beta2, (float)(1 - o->beta2),
                            (float)sqrt(1 - pow(o->beta2, (double)o->step)), (float)o->eps,
                            (float)(-o->lr / (1 - pow(o->beta1, (double)o->step))), gain};
#pragma omp parallel for
        for (int64_t b = 0; b < adamw_8bit_blocks(t->count); b++)
            update_block(t, b, &f);
    }
}

void ref_fill_adamw_8bit(struct kernels *k)
{
    k->adamw_8bit = adamw_8bit_ref;
}
