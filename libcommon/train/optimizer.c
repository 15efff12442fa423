#include "train/optimizer.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

#define ALIGN_FLOATS 16
#define EIGHT_BITS_FROM 4096 /* elements: bitsandbytes' min_8bit_size */
#define STATE "optimizer state"

void optimizer_init(struct optimizer *o, struct param **params, int n)
{
    *o = (struct optimizer){.params = params, .n = n};
    o->offset = mem_zalloc((size_t)n + 1, sizeof *o->offset);
    o->moment = mem_zalloc((size_t)n + 1, sizeof *o->moment);
    o->eight = mem_zalloc((size_t)n + 1, sizeof *o->eight);
    o->list = mem_zalloc((size_t)n + 1, sizeof *o->list);
    for (int i = 0; i < n; i++)
        o->offset[i + 1] = o->offset[i] + (params[i]->numel + ALIGN_FLOATS - 1) / ALIGN_FLOATS * ALIGN_FLOATS;
}

void optimizer_choose(struct optimizer *o, const char *name)
{
    o->eight_bits = !strcmp(name, "adamw8bit");
}

static bool in_eight_bits(const struct optimizer *o, int i)
{
    return o->eight_bits && o->params[i]->numel >= EIGHT_BITS_FROM && !o->params[i]->embedding;
}

/* The parts of the tensors in 8 bits, one after another; all NULL while planning. */
static void place_eight(struct optimizer *o, struct arena *a)
{
    int64_t codes = 0, blocks = 0, code = 0, block = 0;
    for (int i = 0; i < o->n; i++)
        if (in_eight_bits(o, i)) {
            codes += o->params[i]->numel;
            blocks += adamw_8bit_blocks(o->params[i]->numel);
        }
    uint8_t *m = arena_alloc(a, STATE, (size_t)codes, 1), *v = arena_alloc(a, STATE, (size_t)codes, 1);
    float *m_max = arena_alloc(a, STATE, (size_t)blocks, sizeof(float)), *v_max = arena_alloc(a, STATE, (size_t)blocks, sizeof(float));
    o->n_eight = 0;
    for (int i = 0; i < o->n; i++)
        if (in_eight_bits(o, i)) {
            int64_t n = o->params[i]->numel;
            struct adamw_8bit t = {.count = n};
            if (m)
                t = (struct adamw_8bit){o->params[i]->value, o->params[i]->grad, m + code, v + code, m_max + block, v_max + block, n, 0};
            o->eight[o->n_eight++] = t;
            code += n;
            block += adamw_8bit_blocks(n);
        }
}

void optimizer_layout(struct optimizer *o, struct arena *a)
{
    size_t count = (size_t)o->offset[o->n];
    o->value = arena_alloc(a, "trained weights", count, sizeof(float));
    o->grad = arena_alloc(a, "gradients", count, sizeof(float));
    for (int i = 0; i < o->n; i++)
        o->moment[i + 1] = o->moment[i] + (in_eight_bits(o, i) ? 0 : o->offset[i + 1] - o->offset[i]);
    o->m = arena_alloc(a, STATE, (size_t)o->moment[o->n], sizeof(float));
    o->v = arena_alloc(a, STATE, (size_t)o->moment[o->n], sizeof(float));
    o->clip = arena_alloc(a, "gradient norm", 2, sizeof *o->clip);
    o->reference = o->keeps_reference ? arena_alloc(a, "reference of the trained weights", count, sizeof(float)) : NULL;
    for (int i = 0; i < o->n; i++) {
        o->params[i]->value = o->value ? o->value + o->offset[i] : NULL;
        o->params[i]->grad = o->grad ? o->grad + o->offset[i] : NULL;
    }
    place_eight(o, a);
}

void optimizer_release(struct optimizer *o)
{
    free(o->offset);
    free(o->moment);
    free(o->eight);
    free(o->list);
    *o = (struct optimizer){0};
}

/* Both blocks pass through the host a piece at a time. */
#define PIECE 65536

static void each_piece(const struct optimizer *o, const struct kernels *k, void (*fn)(float *value, float *reference, int64_t n, double mix), double mix)
{
    float *host = mem_array(NULL, 2 * PIECE, sizeof *host);
    int64_t all = o->offset[o->n];
    for (int64_t i = 0; i < all; i += PIECE) {
        int64_t n = all - i < PIECE ? all - i : PIECE;
        size_t bytes = (size_t)n * sizeof *host;
        k->copy_out(host, o->value + i, bytes);
        k->copy_out(host + PIECE, o->reference + i, bytes);
        fn(host, host + PIECE, n, mix);
        k->copy_in(o->value + i, host, bytes);
        k->copy_in(o->reference + i, host + PIECE, bytes);
    }
    free(host);
}

static void copy_piece(float *value, float *reference, int64_t n, double mix)
{
    (void)mix;
    memcpy(reference, value, (size_t)n * sizeof *value);
}

static void swap_piece(float *value, float *reference, int64_t n, double mix)
{
    (void)mix;
    for (int64_t i = 0; i < n; i++) {
        float x = value[i];
        value[i] = reference[i];
        reference[i] = x;
    }
}

static void mix_piece(float *value, float *reference, int64_t n, double mix)
{
    for (int64_t i = 0; i < n; i++)
        reference[i] = reference[i] * (float)(1 - mix) + (float)mix * value[i];
}

void optimizer_begin_reference(const struct optimizer *o, const struct kernels *k)
{
    each_piece(o, k, copy_piece, 0);
}

void optimizer_swap_reference(const struct optimizer *o, const struct kernels *k)
{
    each_piece(o, k, swap_piece, 0);
}

void optimizer_mix_reference(const struct optimizer *o, const struct kernels *k, double mix)
{
    each_piece(o, k, mix_piece, mix);
}

void optimizer_zero_grad(const struct optimizer *o, const struct kernels *k)
{
    k->zero(o->grad, (size_t)o->offset[o->n] * sizeof(float));
}

static double decay_of(const struct optimizer *o, const struct optimizer_options *p, int i)
{
    return o->params[i]->decay ? p->weight_decay : 0;
}

/* The tensors with moments of f32, neighbours with one decay as one; returns their number. */
static int list_tensors(const struct optimizer *o, const struct optimizer_options *p)
{
    int n = 0;
    for (int i = 0, j; i < o->n; i = j) {
        double decay = decay_of(o, p, i);
        bool coded = in_eight_bits(o, i);
        for (j = i + 1; j < o->n && decay_of(o, p, j) == decay && in_eight_bits(o, j) == coded; j++) {}
        int64_t at = o->offset[i], moment = o->moment[i];
        if (!coded)
            o->list[n++] = (struct adamw_tensor){o->value + at, o->m + moment, o->v + moment, o->grad + at, o->offset[j] - at, decay};
    }
    return n;
}

static void set_decay_of_eight(const struct optimizer *o, const struct optimizer_options *p)
{
    for (int i = 0, n = 0; i < o->n; i++)
        if (in_eight_bits(o, i))
            o->eight[n++].weight_decay = decay_of(o, p, i);
}

double optimizer_step(const struct optimizer *o, const struct kernels *k, const struct optimizer_options *p, int64_t step, bool *finite)
{
    const struct adamw w = {p->lr, p->beta1, p->beta2, p->eps, step, &o->clip[0]};
    struct clip seen[2];
    int n = list_tensors(o, p);
    set_decay_of_eight(o, p);
    k->clip(&o->clip[0], o->grad, o->offset[o->n], p->clip);
    if (n)
        k->adamw(o->list, n, &w);
    if (o->n_eight)
        k->adamw_8bit(o->eight, o->n_eight, &w);
    k->clip(&o->clip[1], o->value, o->offset[o->n], 0);
    k->copy_out(seen, o->clip, sizeof seen);
    *finite = isfinite(seen[1].norm);
    return seen[0].norm;
}

/* ---- what is kept ---- */

static const struct adamw_8bit *eight_of(const struct optimizer *o, int i)
{
    int k = 0;
    for (int j = 0; j < i; j++)
        k += in_eight_bits(o, j);
    return &o->eight[k];
}

int optimizer_parts(const struct optimizer *o, int i, struct optimizer_part parts[OPTIMIZER_PARTS])
{
    int64_t n = o->params[i]->numel, blocks = adamw_8bit_blocks(n);
    int k = 0;
    parts[k++] = (struct optimizer_part){"master", DTYPE_F32, false, n, o->params[i]->value};
    if (in_eight_bits(o, i)) {
        const struct adamw_8bit *t = eight_of(o, i);
        parts[k++] = (struct optimizer_part){"state1", DTYPE_U8, false, n, t->m};
        parts[k++] = (struct optimizer_part){"state2", DTYPE_U8, false, n, t->v};
        parts[k++] = (struct optimizer_part){"absmax1", DTYPE_F32, true, blocks, t->m_max};
        parts[k++] = (struct optimizer_part){"absmax2", DTYPE_F32, true, blocks, t->v_max};
    } else {
        parts[k++] = (struct optimizer_part){"exp_avg", DTYPE_F32, false, n, o->m ? o->m + o->moment[i] : NULL};
        parts[k++] = (struct optimizer_part){"exp_avg_sq", DTYPE_F32, false, n, o->v ? o->v + o->moment[i] : NULL};
    }
    if (o->keeps_reference)
        parts[k++] = (struct optimizer_part){"reference", DTYPE_F32, false, n, o->reference ? o->reference + o->offset[i] : NULL};
    return k;
}

int64_t optimizer_saved_bytes(const struct optimizer *o)
{
    struct optimizer_part parts[OPTIMIZER_PARTS];
    int64_t bytes = 0;
    for (int i = 0; i < o->n; i++)
        for (int k = optimizer_parts(o, i, parts); k--;)
            bytes += parts[k].count * (int64_t)dtype_size(parts[k].type);
    return bytes;
}

/* Squares of f32 do not overflow a double: the sum is finite when all of them are. */
static bool is_finite(const struct kernels *k, const float *x, int64_t n)
{
    return isfinite(k->sum_squares(x, n));
}

const char *optimizer_find_bad_gradient(const struct optimizer *o, const struct kernels *k)
{
    for (int i = 0; i < o->n; i++)
        if (!is_finite(k, o->params[i]->grad, o->params[i]->numel))
            return o->params[i]->name;
    return NULL;
}

const char *optimizer_find_bad_value(const struct optimizer *o, const struct kernels *k)
{
    for (int i = 0; i < o->n; i++)
        if (!is_finite(k, o->params[i]->value, o->params[i]->numel))
            return o->params[i]->name;
    return NULL;
}
