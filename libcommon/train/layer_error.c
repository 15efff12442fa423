#include "train/layer_error.h"

#include <inttypes.h>
#include <stdlib.h>

#include "base/mem.h"

int layer_error_check(const struct model *m, const struct model *reference, struct err *e)
{
    const struct model_config *a = &m->config, *b = &reference->config;
    if (a->layers == b->layers && a->hidden == b->hidden)
        return 0;
    return err_set(e, "the models have %d layers of width %" PRId64 " and %d of width %" PRId64 ", expected the same of both", (int)a->layers,
                   (int64_t)a->hidden, (int)b->layers, (int64_t)b->hidden);
}

void layer_error_init(struct layer_error *r, const struct model *m, int64_t rows)
{
    *r = (struct layer_error){.layers = m->config.layers};
    r->sum = mem_zalloc((size_t)r->layers, sizeof *r->sum);
    r->one = mem_array(NULL, (size_t)(rows * m->config.hidden), sizeof *r->one);
    r->two = mem_array(NULL, (size_t)(rows * m->config.hidden), sizeof *r->two);
    r->ratio = mem_array(NULL, (size_t)rows, sizeof *r->ratio);
}

void layer_error_release(struct layer_error *r)
{
    free(r->sum);
    free(r->one);
    free(r->two);
    free(r->ratio);
    *r = (struct layer_error){0};
}

static double distance(const float *x, const float *h, int64_t c)
{
    double off = 0, size = 0;
    for (int64_t i = 0; i < c; i++) {
        double d = (double)x[i] - h[i];
        off += d * d;
        size += (double)h[i] * h[i];
    }
    return off > 0 ? off / size : off;
}

int layer_error_add(struct layer_error *r, struct decoder *d, struct decoder *reference, const struct model *m, const struct pack *p, struct err *e)
{
    int64_t n = p->batch.n, c = m->config.hidden;
    size_t bytes = (size_t)(n * c) * sizeof(float);
    if (decoder_start(d, &p->batch, e) < 0 || decoder_start(reference, &p->batch, e) < 0)
        return -1;
    for (int l = 0; l < r->layers; l++) {
        m->k->copy_out(r->one, decoder_layer(d, l), bytes);
        m->k->copy_out(r->two, decoder_layer(reference, l), bytes);
#pragma omp parallel for
        for (int64_t i = 0; i < n; i++)
            r->ratio[i] = p->targets[i] >= 0 ? distance(r->one + i * c, r->two + i * c, c) : 0;
        for (int64_t i = 0; i < n; i++)
            r->sum[l] += r->ratio[i];
    }
    r->rows += p->trained;
    return 0;
}
