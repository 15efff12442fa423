#include "model/lora_grid.h"

#include <stdlib.h>

#include "base/mem.h"
#include "kernels/view.h"

struct lora_grid {
    struct quantized base; /* as the folder stores it */
    void *codes, *scales;  /* device memory; scales NULL: the folder's */
    size_t codes_size, scales_size;
};

static size_t codes_size(const struct quantized *q)
{
    return (size_t)((q->out * q->in * q->bits + 7) / 8);
}

static size_t scales_size(const struct quantized *q)
{
    if (q->kind == QUANTIZED_GPTQ || q->kind == QUANTIZED_AWQ)
        return 0;
    int64_t n = q->kind == QUANTIZED_INT8 ? q->out : (q->out * q->in + q->group - 1) / q->group;
    return (size_t)n * dtype_size(q->scale_type);
}

static struct lora_grid *grid_new(const struct kernels *k, const struct quantized *q, struct err *e)
{
    struct lora_grid *g = mem_zalloc(1, sizeof *g);
    g->base = *q;
    g->codes_size = codes_size(q);
    g->scales_size = scales_size(q);
    if ((g->codes = k->alloc(g->codes_size, e)) && (!g->scales_size || (g->scales = k->alloc(g->scales_size, e))))
        return g;
    lora_grid_free(k, g);
    return NULL;
}

/* w (out, in) += scale * B A with the roundings of a merge (merge_delta.c): ranks ascending, no fused operations. All on the host. */
static void add_factors(float *w, const struct lora *x, const float *a, const float *b, int64_t out, int64_t in)
{
#pragma omp parallel
    {
        float *sum = mem_array(NULL, (size_t)in, sizeof *sum);
#pragma omp for
        for (int64_t o = 0; o < out; o++) {
            float *row = w + o * in;
            memset(sum, 0, (size_t)in * sizeof *sum);
            for (int k = 0; k < x->rank; k++)
                for (int64_t j = 0; j < in; j++)
                    sum[j] += b[o * x->rank + k] * a[k * in + j];
            for (int64_t j = 0; j < in; j++)
                row[j] += x->scale * sum[j];
        }
        free(sum);
    }
}

static void add_pairs(const struct kernels *k, float *w, const struct linear *l)
{
    size_t bytes = (size_t)(l->out * l->in) * sizeof *w;
    float *spare = k->host_memory ? NULL : mem_alloc(bytes), *host = kernels_stage(k, w, spare);
    kernels_view(k, w, spare, bytes);
    for (const struct lora *x = l->in_grid; x; x = x->next) {
        size_t of_a = (size_t)(x->rank * l->in) * sizeof *x->a, of_b = (size_t)(x->rank * l->out) * sizeof *x->b;
        float *a = k->host_memory ? NULL : mem_alloc(of_a), *b = k->host_memory ? NULL : mem_alloc(of_b);
        add_factors(host, x, kernels_view(k, x->a, a, of_a), kernels_view(k, x->b, b, of_b), l->out, l->in);
        free(a);
        free(b);
    }
    kernels_staged(k, w, host, bytes);
    free(spare);
}

int lora_fill_grid(struct model *m, struct linear *l, struct err *e)
{
    const struct kernels *k = m->k;
    size_t bytes = (size_t)(l->out * l->in) * sizeof(float);
    float *w = model_place_weights(m, e) ? NULL : k->alloc(bytes, e);
    if (!w || (!l->made && !(l->made = grid_new(k, l->quantized, e)))) {
        if (w)
            k->free(w, bytes);
        return -1;
    }
    struct lora_grid *g = l->made;
    k->dequantize(w, DTYPE_F32, l->in, &g->base, 0, l->out, 0, l->in);
    add_pairs(k, w, l);
    k->requantize(w, &g->base, g->codes, g->scales);
    l->quantized->codes = g->codes;
    if (g->scales)
        l->quantized->scales = g->scales;
    k->free(w, bytes);
    return 0;
}

int64_t lora_grid_bytes(const struct linear *l)
{
    int64_t bytes = l->made ? (int64_t)(l->made->codes_size + l->made->scales_size) : 0;
    for (const struct lora *a = l->in_grid; a; a = a->next)
        bytes += a->rank * (l->in + l->out) * (int64_t)sizeof(float);
    return bytes;
}

void lora_grid_free(const struct kernels *k, struct lora_grid *g)
{
    if (!g)
        return;
    if (g->codes)
        k->free(g->codes, g->codes_size);
    if (g->scales)
        k->free(g->scales, g->scales_size);
    free(g);
}
