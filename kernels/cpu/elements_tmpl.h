/* Operations on elements: gated activation, sums, scaling, dropout, AdamW. A task is CHUNK elements, whatever the thread count. */
#ifndef KERNELS_CPU_ELEMENTS_TMPL_H
#define KERNELS_CPU_ELEMENTS_TMPL_H

#define CHUNK 1024
#define FEW_CHUNKS 4 /* that one thread does */

/* i runs over whole and partial vectors of chunk `b` of `count` elements, `lanes` of them in use. */
#define EACH_CHUNK(b, count) for (int64_t b = 0; b < (count); b += CHUNK)
#define EACH_VECTOR(i, lanes, b, count) \
    for (int64_t i = b, end_ = min_i64((b) + CHUNK, count), lanes; i < end_ && (lanes = lanes_left(end_, i), true); i += VL)

VEC int64_t chunks(int64_t count) { return (count + CHUNK - 1) / CHUNK; }

/* Of a list whose item k has the tasks first[k] .. first[k + 1] - 1: the item of task `at`. */
VEC int list_find(const int64_t *first, int n, int64_t at)
{
    int low = 0, high = n - 1;
    while (low < high) {
        int middle = (low + high + 1) / 2;
        if (first[middle] <= at)
            low = middle;
        else
            high = middle - 1;
    }
    return low;
}

static void ISA(swiglu)(float *y, const float *gate, const float *up, int64_t count)
{
    TEAM_SHARE(b, chunks(count), count > FEW_CHUNKS * CHUNK, {
        EACH_VECTOR(i, n, b * CHUNK, count) {
            vf g = v_load_n(gate + i, (int)n);
            v_store_n(y + i, v_mul(v_mul(g, v_sigmoid(g)), v_load_n(up + i, (int)n)), (int)n);
        }
    });
}

static void ISA(swiglu_backward)(float *dgate, float *dup, const float *dy, const float *gate, const float *up, int64_t count)
{
#pragma omp parallel for if (count > FEW_CHUNKS * CHUNK)
    EACH_CHUNK(b, count)
        EACH_VECTOR(i, n, b, count) {
            vf g = v_load_n(gate + i, (int)n), u = v_load_n(up + i, (int)n), d = v_load_n(dy + i, (int)n), s = v_sigmoid(g);
            vf slope = v_mul(s, v_fma(g, v_sub(v_set(1), s), v_set(1)));
            v_store_n(dgate + i, v_mul(v_mul(d, u), slope), (int)n);
            v_store_n(dup + i, v_mul(v_mul(d, g), s), (int)n);
        }
}

static void ISA(add)(float *x, const float *y, int64_t count)
{
    TEAM_SHARE(b, chunks(count), count > FEW_CHUNKS * CHUNK, {
        EACH_VECTOR(i, n, b * CHUNK, count)
            v_store_n(x + i, v_add(v_load_n(x + i, (int)n), v_load_n(y + i, (int)n)), (int)n);
    });
}

static void ISA(scale)(float *x, float s, int64_t count)
{
#pragma omp parallel for if (count > FEW_CHUNKS * CHUNK)
    EACH_CHUNK(b, count)
        EACH_VECTOR(i, n, b, count)
            v_store_n(x + i, v_mul(v_load_n(x + i, (int)n), v_set(s)), (int)n);
}

/* Philox4x32-10 (base/rng.h) of VL / 2 consecutive counters; word w of counter c goes to words[4 * c + w]. Each 32-bit word lives
 * in a 64-bit lane; what a product leaves in a lane's upper half never gets into a later product. */
VEC void philox(uint32_t words[2 * VL], uint64_t counter, uint64_t seed, uint64_t stream)
{
    vu count = v_u64_count(counter), c0 = count, c1 = v_u64_high(count), c2 = v_u64_set((uint32_t)stream), c3 = v_u64_set(stream >> 32);
    uint32_t k0 = (uint32_t)seed, k1 = (uint32_t)(seed >> 32);
    uint64_t out[4][VL / 2];
    for (int round = 0; round < 10; round++) {
        vu p0 = v_u64_mul32(c0, v_u64_set(0xd2511f53u)), p1 = v_u64_mul32(c2, v_u64_set(0xcd9e8d57u));
        vu n0 = v_u64_xor(v_u64_xor(v_u64_high(p1), c1), v_u64_set(k0)), n2 = v_u64_xor(v_u64_xor(v_u64_high(p0), c3), v_u64_set(k1));
        c0 = n0, c1 = p1, c2 = n2, c3 = p0;
        k0 += 0x9e3779b9u, k1 += 0xbb67ae85u;
    }
    v_u64_store(out[0], c0), v_u64_store(out[1], c1), v_u64_store(out[2], c2), v_u64_store(out[3], c3);
    for (int i = 0; i < VL / 2; i++)
        for (int w = 0; w < 4; w++)
            words[4 * i + w] = (uint32_t)out[w][i];
}

/* Elements first .. last - 1 (their draws are first + row0 * c ...). */
VEC void dropout_chunk(float *y, const float *x, float p, const struct rng *r, uint64_t draw, int64_t first, int64_t last)
{
    uint32_t words[2 * VL];
    float u[2 * VL];
    for (int64_t i = first; i < last;) {
        uint64_t at = draw + (uint64_t)(i - first);
        int skip = (int)(at % 4), n = 2 * VL - skip;
        philox(words, at / 4, r->seed, r->stream);
        for (int k = 0; k < 2 * VL; k++)
            u[k] = (float)(int32_t)(words[k] >> 8) * 0x1p-24f;
        n = last - i < n ? (int)(last - i) : n;
        for (int k = 0; k < n; k += VL) {
            int lanes = lanes_left(n, k);
            vf v = v_mul(v_load_n(x + i + k, lanes), v_set(1 / (1 - p)));
            v_store_n(y + i + k, v_if_less(v_load_n(u + skip + k, lanes), v_set(p), v_set(0), v), lanes);
        }
        i += n;
    }
}

static void ISA(dropout)(float *y, const float *x, float p, uint64_t seed, uint64_t stream, int64_t row0, int64_t n, int64_t c)
{
    struct rng r = {seed, stream};
#pragma omp parallel for if (n * c > FEW_CHUNKS * CHUNK)
    EACH_CHUNK(b, n * c)
        dropout_chunk(y, x, p, &r, (uint64_t)(row0 * c + b), b, min_i64(b + CHUNK, n * c));
}

struct adamw_factors {
    vf b1, b2, c2, eps, step, root, gain;
};

VEC void adamw_chunk(const struct adamw_tensor *t, int64_t b, const struct adamw_factors *f, vf decay)
{
    EACH_VECTOR(i, n, b, t->count) {
        vf g = v_mul(v_load_n(t->grad + i, (int)n), f->gain), old = v_load_n(t->m + i, (int)n);
        vf mean = v_add(old, v_mul(f->b1, v_sub(g, old)));
        vf square = v_add(v_mul(f->b2, v_load_n(t->v + i, (int)n)), v_mul(f->c2, v_mul(g, g)));
        vf move = v_div(mean, v_add(v_div(v_sqrt(square), f->root), f->eps));
        v_store_n(t->m + i, mean, (int)n);
        v_store_n(t->v + i, square, (int)n);
        v_store_n(t->p + i, v_sub(v_mul(v_load_n(t->p + i, (int)n), decay), v_mul(f->step, move)), (int)n);
    }
}

/* The order of ref_update.c, a vector at a time. */
static void ISA(adamw)(const struct adamw_tensor *list, int n, const struct adamw *o)
{
    float gain = o->clip ? o->clip->factor : 1;
    const struct adamw_factors f = {v_set((float)(1 - o->beta1)), v_set((float)o->beta2), v_set((float)(1 - o->beta2)), v_set((float)o->eps),
                                    v_set((float)(o->lr / (1 - pow(o->beta1, (double)o->step)))), v_set((float)sqrt(1 - pow(o->beta2, (double)o->step))),
                                    v_set(gain)};
    if (isnan(gain))
        return;
    int64_t *first = mem_array(NULL, (size_t)n + 1, sizeof *first);
    first[0] = 0;
    for (int k = 0; k < n; k++)
        first[k + 1] = first[k] + chunks(list[k].count);
#pragma omp parallel for if (first[n] > FEW_CHUNKS)
    for (int64_t at = 0; at < first[n]; at++) {
        int k = list_find(first, n, at);
        adamw_chunk(&list[k], (at - first[k]) * CHUNK, &f, v_set((float)(1 - o->lr * list[k].weight_decay)));
    }
    free(first);
}

#endif
