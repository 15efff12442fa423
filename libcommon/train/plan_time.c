#include "train/plan_time.h"

#include <time.h>

#define MEASURE_FLOPS 4e9  /* of a product that is measured, about */
#define MEASURE_SECONDS 0.1
#define UPDATE_BYTES 28     /* of a trained number: value, gradient and moments read, all but the gradient written */

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* The median of a few products y = x W^T of the first layer's widest weight. */
double plan_product_rate(const struct model *model, int64_t rows_at_once)
{
    enum { MOST = 15 };
    const struct kernels *k = model->k;
    const struct linear *l = &model->layers[0].gate;
    double each = 2.0 * (double)l->out * (double)l->in, took[MOST], began = now();
    int64_t rows = (int64_t)(MEASURE_FLOPS / each);
    int done = 0;
    rows = rows > rows_at_once ? rows_at_once : rows < 2 * MATMUL_FEW_ROWS ? 2 * MATMUL_FEW_ROWS : rows;
    struct err ignored = ERR_INIT; /* the caller is told by 0 */
    bool stored = k->host_memory && (l->weight || l->quantized); /* else the weights may be elsewhere */
    size_t bytes = (size_t)(rows * (l->in + l->out) + (stored ? 0 : l->out * l->in)) * sizeof(float);
    float *x = k->alloc(bytes, &ignored), *y = x + rows * l->in;
    if (!x)
        return 0;
    struct mat w = {y + rows * l->out, DTYPE_F32, 1, l->in, NULL};
    if (stored)
        w.data = l->weight, w.type = l->type, w.quantized = l->quantized;
    struct matmul m = {rows, l->out, l->in, {x, DTYPE_F32, l->in, 1}, w, y, l->out, 1, 0, model->bf16, NULL, 0};
    k->matmul(&m, 1); /* memory is touched, threads are started */
    for (; done < MOST && (done < 3 || now() - began < MEASURE_SECONDS); done++) {
        double t = now();
        k->matmul(&m, 1);
        t = now() - t;
        int n = done;
        for (; n > 0 && took[n - 1] > t; n--)
            took[n] = took[n - 1];
        took[n] = t;
    }
    k->free(x, bytes);
    return (double)rows * each / took[done / 2];
}

/* What the operations beside the products read and write for a row, about: norms, rotations, residuals, activations, forward and backward. */
static double row_bytes(const struct model_config *c)
{
    int64_t heads = (c->heads + 2 * c->kv_heads) * c->head_dim;
    return 4.0 * (double)c->layers * (double)(60 * c->hidden + 25 * c->ffn + 12 * heads);
}

double plan_seconds(const struct model *m, double rows, double updates, double flops, double rate)
{
    struct kernels_ceiling c;
    m->k->ceiling(&c);
    double moved = 2 * rows * row_bytes(&m->config) + updates * UPDATE_BYTES; /* 2: written lines are read first */
    return flops / rate + moved / c.read_bytes;
}
