#include "model/linear.h"

#include "base/rng.h"

static bool is_trained(const struct lora *a)
{
    return a->pa || a->pb;
}

int linear_rank(const struct linear *l)
{
    int rank = 0;
    for (const struct lora *a = l->lora; a; a = a->next)
        rank += a->rank;
    return rank;
}

int linear_kept_rank(const struct linear *l)
{
    int rank = 0;
    for (const struct lora *a = l->lora; a; a = a->next)
        rank += is_trained(a) ? a->rank : 0;
    return rank;
}

bool linear_trains(const struct linear *l)
{
    return l->pw || l->pbias || linear_kept_rank(l);
}

bool linear_needs_input(const struct linear *l)
{
    for (const struct lora *a = l->lora; a; a = a->next)
        if (a->pa)
            return true;
    return l->pw;
}

bool linear_drops(const struct linear *l)
{
    for (const struct lora *a = l->lora; a; a = a->next)
        if (is_trained(a) && a->dropout > 0)
            return true;
    return false;
}

static struct mat rows_of(const void *data, enum dtype type, int64_t cols)
{
    return (struct mat){data, type, cols, 1};
}

static struct mat transposed(const void *data, enum dtype type, int64_t cols)
{
    return (struct mat){data, type, 1, cols};
}

/* c (m, n) = alpha a b + beta c */
static void multiply(const struct linear_pass *p, int64_t m, int64_t n, int64_t k, struct mat a, struct mat b, float *c,
                     float alpha, float beta)
{
    struct matmul mm = {m, n, k, a, b, c, n, alpha, beta, p->bf16};
    p->k->matmul(&mm, 1);
}

/* c (m, n) += alpha times a sum over the batch's rows, sample by sample. */
static void accumulate(const struct linear_pass *p, int64_t m, int64_t n, struct mat a, struct mat b, float *c, float alpha)
{
    struct matmul mm = {m, n, p->cuts[p->n_cuts], a, b, c, n, alpha, 1, p->bf16, p->cuts, p->n_cuts};
    p->k->matmul(&mm, 1);
}

static bool drops(const struct linear_pass *p, const struct lora *a)
{
    return p->dropout && is_trained(a) && a->dropout > 0;
}

/* The mask depends on the row's place in the step alone, so that any split into batches draws the same. */
static void apply_dropout(const struct linear_pass *p, const struct lora *a, float *y, const float *x, int64_t n, int64_t c)
{
    uint64_t stream = rng_stream("dropout", a->stream ^ (uint64_t)p->step * UINT64_C(0x9e3779b97f4a7c15));
    if (!p->rows) {
        p->k->dropout(y, x, a->dropout, p->seed, stream, p->row0, n, c);
        return;
    }
    for (int64_t i = 0; i < n; i++)
        p->k->dropout(y + i * c, x + i * c, a->dropout, p->seed, stream, p->row0 + p->rows[i], 1, c);
}

/* Input of the pair's A: x, or x with some of it dropped. */
static const float *pair_input(const struct linear_pass *p, const struct lora *a, const float *x, int64_t n, int64_t in)
{
    if (!drops(p, a))
        return x;
    apply_dropout(p, a, p->drop, x, n, in);
    return p->drop;
}

static void project(const struct linear_pass *p, const struct linear *l, const struct lora *a, const float *x, float *h, int64_t n)
{
    const float *in = pair_input(p, a, x, n, l->in);
    multiply(p, n, a->rank, l->in, rows_of(in, DTYPE_F32, l->in), transposed(a->a, DTYPE_F32, l->in), h, 1, 0);
}

/* What comes to x W^T. */
static void forward_rest(const struct linear_pass *p, const struct linear *l, float *y, const float *x, float *low, int64_t n)
{
    if (l->bias)
        p->k->bias_add(y, l->bias, n, l->out);
    for (const struct lora *a = l->lora; a; a = a->next) {
        bool keep = low && is_trained(a);
        float *h = keep ? low : p->low;
        project(p, l, a, x, h, n);
        multiply(p, n, l->out, a->rank, rows_of(h, DTYPE_F32, a->rank), transposed(a->b, DTYPE_F32, a->rank), y, a->scale, 1);
        if (keep)
            low += n * a->rank;
    }
}

void linear_forward_each(const struct linear_pass *p, const struct linear_to *to, int count, const float *x, int64_t n)
{
    struct matmul products[LINEAR_EACH_MAX] = {{0}};
    for (int i = 0; i < count; i++) {
        const struct linear *l = to[i].l;
        products[i] = (struct matmul){n, l->out, l->in, rows_of(x, DTYPE_F32, l->in), transposed(l->weight, l->type, l->in),
                                      to[i].y, l->out, 1, 0, p->bf16};
    }
    p->k->matmul(products, count);
    for (int i = 0; i < count; i++)
        forward_rest(p, to[i].l, to[i].y, x, to[i].low, n);
}

void linear_forward(const struct linear_pass *p, const struct linear *l, float *y, const float *x, float *low, int64_t n)
{
    linear_forward_each(p, &(struct linear_to){l, y, low}, 1, x, n);
}

void linear_forward_low(const struct linear_pass *p, const struct linear *l, const float *x, float *low, int64_t n)
{
    for (const struct lora *a = l->lora; a; a = a->next)
        if (is_trained(a)) {
            project(p, l, a, x, low, n);
            low += n * a->rank;
        }
}

/* Gradients of A and B; g (N, R) = scale * dy B stays in p->low for the input gradient. */
static void backward_pair(const struct linear_pass *p, const struct linear *l, const struct lora *a, float *g,
                          const float *dy, const float *x, const float *h, int64_t n)
{
    multiply(p, n, a->rank, l->out, rows_of(dy, DTYPE_F32, l->out), rows_of(a->b, DTYPE_F32, a->rank), g, a->scale, 0);
    if (a->pb)
        accumulate(p, l->out, a->rank, transposed(dy, DTYPE_F32, l->out), rows_of(h, DTYPE_F32, a->rank), a->pb->grad, a->scale);
    if (a->pa)
        accumulate(p, a->rank, l->in, transposed(g, DTYPE_F32, a->rank),
                   rows_of(pair_input(p, a, x, n, l->in), DTYPE_F32, l->in), a->pa->grad, 1);
}

static void backward_pair_input(const struct linear_pass *p, const struct linear *l, const struct lora *a, float *dx,
                                const float *g, int64_t n)
{
    bool drop = drops(p, a);
    multiply(p, n, l->in, a->rank, rows_of(g, DTYPE_F32, a->rank), rows_of(a->a, DTYPE_F32, l->in),
             drop ? p->drop : dx, 1, drop ? 0 : 1);
    if (drop) {
        apply_dropout(p, a, p->drop, p->drop, n, l->in);
        p->k->add(dx, p->drop, n * l->in);
    }
}

void linear_backward(const struct linear_pass *p, const struct linear *l, float *dx, bool add, const float *dy,
                     const float *x, const float *low, int64_t n)
{
    if (l->pbias)
        p->k->bias_backward(&(struct row_sum){l->pbias->grad, p->cuts, p->n_cuts, 1}, dy, n, l->out);
    if (l->pw)
        accumulate(p, l->out, l->in, transposed(dy, DTYPE_F32, l->out), rows_of(x, DTYPE_F32, l->in), l->pw->grad, 1);
    float *g = p->low;
    for (const struct lora *a = l->lora; a; a = a->next) {
        if (dx || is_trained(a))
            backward_pair(p, l, a, g, dy, x, low, n);
        g += n * a->rank;
        if (is_trained(a))
            low += n * a->rank;
    }
    if (!dx)
        return;
    multiply(p, n, l->in, l->out, rows_of(dy, DTYPE_F32, l->out), rows_of(l->weight, l->type, l->in), dx, 1, add ? 1 : 0);
    g = p->low;
    for (const struct lora *a = l->lora; a; a = a->next) {
        backward_pair_input(p, l, a, dx, g, n);
        g += n * a->rank;
    }
}
