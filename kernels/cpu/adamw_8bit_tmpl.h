/* AdamW with moments of 8 bits, the order of ref_adamw_8bit.c a vector at a time. A task is STATE_BLOCKS blocks; no block depends on another. */
#ifndef KERNELS_CPU_ADAMW_8BIT_TMPL_H
#define KERNELS_CPU_ADAMW_8BIT_TMPL_H

#define STATE_BLOCKS 8

struct step_factors {
    vf b1, c1, b2, c2, root, eps, step, gain;
};

/* The moments of one block, in both directions. */
struct moments {
    float m[ADAMW_8BIT_BLOCK], v[ADAMW_8BIT_BLOCK];
};

VEC void state_decode(float *x, const uint8_t *codes, int n, const float *map)
{
    for (int i = 0; i < n; i++)
        x[i] = map[codes[i]];
}

/* x -> codes, in place of the values their bins; returns the largest magnitude. NaN counts for nothing, and its code is 0. */
VEC float state_encode(uint8_t *codes, float *x, int n, const uint8_t *bins)
{
    vf high = v_set(0), low = v_set(0);
    for (int i = 0; i < n; i += VL) {
        vf y = v_load_n(x + i, lanes_left(n, i));
        high = v_if_less(high, y, y, high);
        low = v_if_less(y, low, y, low);
    }
    float top = v_top(v_max(high, v_sub(v_set(0), low)));
    if (top == 0) {
        memset(codes, 0, (size_t)n);
        return 0;
    }
    vf inverse = v_set(1 / top);
    for (int i = 0; i < n; i += VL) {
        int lanes = lanes_left(n, i);
        vf y = v_min(v_max(v_mul(v_load_n(x + i, lanes), inverse), v_set(-1)), v_set(1)); /* NaN becomes -1 */
        v_store_n(x + i, v_add(v_mul(v_mul(v_add(y, v_set(1)), v_set(0.5f)), v_set(DYNAMIC_MAP_BINS - 1)), v_set(0.5f)), lanes);
    }
    for (int i = 0; i < n; i++)
        codes[i] = bins[(int32_t)x[i]];
    return top;
}

VEC void state_block(const struct adamw_8bit *t, int64_t block, const struct step_factors *f, vf decay)
{
    const struct state_tables *tables = state_tables();
    int64_t first = block * ADAMW_8BIT_BLOCK;
    int n = (int)min_i64(ADAMW_8BIT_BLOCK, t->count - first);
    struct moments s;
    vf m_scale = v_set(t->m_max[block]), v_scale = v_set(t->v_max[block]);
    state_decode(s.m, t->m + first, n, tables->m.map);
    state_decode(s.v, t->v + first, n, tables->v.map);
    for (int i = 0; i < n; i += VL) {
        int lanes = lanes_left(n, i);
        float *p = t->p + first + i;
        vf g = v_mul(v_load_n(t->grad + first + i, lanes), f->gain);
        vf m = v_fma(g, f->c1, v_mul(v_mul(v_load_n(s.m + i, lanes), m_scale), f->b1));
        vf v = v_fma(v_mul(f->c2, g), g, v_mul(v_mul(v_load_n(s.v + i, lanes), v_scale), f->b2));
        vf move = v_div(v_mul(f->step, m), v_add(v_div(v_sqrt(v), f->root), f->eps));
        v_store_n(p, v_add(v_mul(v_load_n(p, lanes), decay), move), lanes);
        v_store_n(s.m + i, m, lanes);
        v_store_n(s.v + i, v, lanes);
    }
    t->m_max[block] = state_encode(t->m + first, s.m, n, tables->m.bins);
    t->v_max[block] = state_encode(t->v + first, s.v, n, tables->v.bins);
}

static void ISA(adamw_8bit)(const struct adamw_8bit *list, int n, const struct adamw *o)
{
    float gain = o->clip ? o->clip->factor : 1;
    const struct step_factors f = {v_set((float)o->beta1), v_set((float)(1 - o->beta1)), v_set((float)o->beta2), v_set((float)(1 - o->beta2)),
                                   v_set((float)sqrt(1 - pow(o->beta2, (double)o->step))), v_set((float)o->eps),
                                   v_set((float)(-o->lr / (1 - pow(o->beta1, (double)o->step)))), v_set(gain)};
    if (isnan(gain))
        return;
    int64_t *first = mem_array(NULL, (size_t)n + 1, sizeof *first);
    first[0] = 0;
    for (int i = 0; i < n; i++)
        first[i + 1] = first[i] + (adamw_8bit_blocks(list[i].count) + STATE_BLOCKS - 1) / STATE_BLOCKS;
#pragma omp parallel for if (first[n] > 1)
    for (int64_t at = 0; at < first[n]; at++) {
        int i = list_find(first, n, at);
        int64_t b = (at - first[i]) * STATE_BLOCKS, end = min_i64(b + STATE_BLOCKS, adamw_8bit_blocks(list[i].count));
        for (; b < end; b++)
            state_block(&list[i], b, &f, v_set((float)(1 - o->lr * list[i].weight_decay)));
    }
    free(first);
}

#endif
