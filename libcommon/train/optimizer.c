#include "train/optimizer.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

#define ALIGN_FLOATS 16

void optimizer_init(struct optimizer *o, struct param **params, int n)
{
    *o = (struct optimizer){.params = params, .n = n};
    o->offset = mem_zalloc((size_t)n + 1, sizeof *o->offset);
    for (int i = 0; i < n; i++)
        o->offset[i + 1] = o->offset[i] + (params[i]->numel + ALIGN_FLOATS - 1) / ALIGN_FLOATS * ALIGN_FLOATS;
}

void optimizer_layout(struct optimizer *o, struct arena *a)
{
    size_t count = (size_t)o->offset[o->n];
    o->value = arena_alloc(a, "trained weights", count, sizeof(float));
    o->grad = arena_alloc(a, "gradients", count, sizeof(float));
    o->m = arena_alloc(a, "optimizer state", count, sizeof(float));
    o->v = arena_alloc(a, "optimizer state", count, sizeof(float));
    o->reference = o->keeps_reference ? arena_alloc(a, "reference of the trained weights", count, sizeof(float)) : NULL;
    for (int i = 0; i < o->n; i++) {
        o->params[i]->value = o->value ? o->value + o->offset[i] : NULL;
        o->params[i]->grad = o->grad ? o->grad + o->offset[i] : NULL;
    }
}

void optimizer_release(struct optimizer *o)
{
    free(o->offset);
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

double optimizer_grad_norm(const struct optimizer *o, const struct kernels *k)
{
    return sqrt(k->sum_squares(o->grad, o->offset[o->n]));
}

void optimizer_step(const struct optimizer *o, const struct kernels *k, const struct optimizer_options *p, int64_t step, double norm)
{
    double coef = p->clip > 0 ? p->clip / (norm + 1e-6) : 1;
    struct adamw w = {p->lr, p->beta1, p->beta2, p->eps, 0, step, coef < 1 ? (float)coef : 1.0f};
    for (int i = 0, j; i < o->n; i = j) { /* neighbours of one kind of decay in one call */
        bool decay = p->weight_decay > 0 && o->params[i]->decay;
        for (j = i + 1; j < o->n && (p->weight_decay > 0 && o->params[j]->decay) == decay; j++) {}
        w.weight_decay = decay ? p->weight_decay : 0;
        int64_t at = o->offset[i];
        k->adamw(o->value + at, o->m + at, o->v + at, o->grad + at, o->offset[j] - at, &w);
    }
}

static bool is_finite(const float *x, int64_t n)
{
    while (n && isfinite(x[n - 1]))
        n--;
    return n == 0;
}

const char *optimizer_find_bad_gradient(const struct optimizer *o)
{
    for (int i = 0; i < o->n; i++)
        if (!is_finite(o->params[i]->grad, o->params[i]->numel))
            return o->params[i]->name;
    return NULL;
}

const char *optimizer_find_bad_value(const struct optimizer *o, const struct kernels *k)
{
    if (isfinite(k->sum_squares(o->value, o->offset[o->n])))
        return NULL;
    for (int i = 0; i < o->n; i++)
        if (!is_finite(o->params[i]->value, o->params[i]->numel))
            return o->params[i]->name;
    return NULL;
}
