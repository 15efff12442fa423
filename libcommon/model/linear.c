#include "model/linear.h"

#include "base/rng.h"

#define TERMS 8 /* of a product beside W's, at a time: pairs, and other modules with the same input */

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

int64_t linear_grid_size(const struct linear *l)
{
    return l->to_grid ? l->out * l->in : 0;
}

static struct mat rows_of(const void *data, enum dtype type, int64_t cols)
{
    return (struct mat){data, type, cols, 1};
}

static struct mat transposed(const void *data, enum dtype type, int64_t cols)
{
    return (struct mat){data, type, 1, cols};
}

static struct mat weight_rows(const struct linear *l)
{
    return (struct mat){l->weight, l->type, l->in, 1, l->quantized};
}

static struct mat weight_transposed(const struct linear *l)
{
    return (struct mat){l->weight, l->type, 1, l->in, l->quantized};
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

/* Q(W + sum of scale B A) */
static const float *fill_grid(const struct linear_pass *p, const struct linear *l)
{
    p->k->dequantize(p->grid, DTYPE_F32, l->in, l->quantized, 0, l->out, 0, l->in);
    for (const struct lora *a = l->lora; a; a = a->next) {
        struct matmul m = {l->out, l->in, a->rank, rows_of(a->b, DTYPE_F32, a->rank), rows_of(a->a, DTYPE_F32, l->in), p->grid, l->in, a->scale, 1};
        p->k->matmul(&m, 1);
    }
    p->k->requantize(p->grid, l->quantized, NULL, NULL);
    return p->grid;
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

/* Hands out the places of A x, pair by pair: of trained pairs those kept for backward, if any; of others in the pass's scratch. */
struct places {
    float *kept, *scratch;
    int64_t n;
};

static float *next_place(struct places *s, const struct lora *a)
{
    float **at = s->kept && is_trained(a) ? &s->kept : &s->scratch, *place = *at;
    *at += s->n * a->rank;
    return place;
}

/* Products that are gathered, and go out in lists. */
struct gathered {
    const struct linear_pass *p;
    struct matmul list[LINEAR_EACH_MAX];
    int n;
};

static void gathered_run(struct gathered *g)
{
    g->p->k->matmul(g->list, g->n);
    g->n = 0;
}

static void gather(struct gathered *g, struct matmul m)
{
    if (g->n == LINEAR_EACH_MAX)
        gathered_run(g);
    g->list[g->n++] = m;
}

/* h (n, R) = A x of all pairs. */
static void project_each(const struct linear_pass *p, const struct linear_to *to, int count, const float *x, int64_t n)
{
    struct gathered g = {.p = p};
    struct places s = {.scratch = p->low, .n = n};
    for (int i = 0; i < count; i++) {
        const struct linear *l = to[i].l;
        s.kept = to[i].low;
        for (const struct lora *a = l->lora; a; a = a->next) {
            const float *in = pair_input(p, a, x, n, l->in);
            gather(&g, (struct matmul){n, a->rank, l->in, rows_of(in, DTYPE_F32, l->in), transposed(a->a, DTYPE_F32, l->in),
                                       next_place(&s, a), a->rank, 1, 0, p->bf16});
            if (drops(p, a))
                gathered_run(&g); /* the next dropped input takes this one's place */
        }
    }
    gathered_run(&g);
}

/* scale * h B^T */
static struct matmul_term pair_term(const struct lora *a, const float *h)
{
    return (struct matmul_term){a->rank, rows_of(h, DTYPE_F32, a->rank), transposed(a->b, DTYPE_F32, a->rank), a->scale};
}

/* One by one where there is a grid: the scratch holds one. */
static void multiply_each(const struct linear_pass *p, const struct linear_to *to, struct matmul *products, int count)
{
    bool any = false;
    for (int i = 0; i < count; i++)
        any |= to[i].l->to_grid;
    if (!any) {
        p->k->matmul(products, count);
        return;
    }
    for (int i = 0; i < count; i++) {
        if (to[i].l->to_grid)
            products[i].b = transposed(fill_grid(p, to[i].l), DTYPE_F32, to[i].l->in);
        p->k->matmul(&products[i], 1);
    }
}

/* Many rows take the pairs as further terms of W's product, as many as there is room for. */
void linear_forward_each(const struct linear_pass *p, const struct linear_to *to, int count, const float *x, int64_t n)
{
    struct matmul products[LINEAR_EACH_MAX];
    struct matmul_term terms[LINEAR_EACH_MAX][TERMS];
    struct places s = {.scratch = p->low, .n = n}, rest[LINEAR_EACH_MAX];
    const struct lora *left[LINEAR_EACH_MAX];
    project_each(p, to, count, x, n);
    for (int i = 0; i < count; i++) {
        const struct linear *l = to[i].l;
        int used = 0;
        s.kept = to[i].low;
        for (left[i] = l->to_grid ? NULL : l->lora; left[i] && used < TERMS && n > MATMUL_FEW_ROWS; left[i] = left[i]->next)
            terms[i][used++] = pair_term(left[i], next_place(&s, left[i]));
        rest[i] = s;
        for (const struct lora *a = left[i]; a; a = a->next)
            next_place(&s, a);
        products[i] = (struct matmul){n, l->out, l->in, rows_of(x, DTYPE_F32, l->in), weight_transposed(l),
                                      to[i].y, l->out, 1, 0, p->bf16, .more = terms[i], .n_more = used};
    }
    multiply_each(p, to, products, count);
    for (int i = 0; i < count; i++) {
        for (; left[i]; left[i] = left[i]->next) {
            struct matmul_term t = pair_term(left[i], next_place(&rest[i], left[i]));
            multiply(p, n, to[i].l->out, t.k, t.a, t.b, to[i].y, t.alpha, 1);
        }
        if (to[i].l->bias)
            p->k->bias_add(to[i].y, to[i].l->bias, n, to[i].l->out);
    }
}

void linear_forward(const struct linear_pass *p, const struct linear *l, float *y, const float *x, float *low, int64_t n)
{
    linear_forward_each(p, &(struct linear_to){l, y, low}, 1, x, n);
}

void linear_forward_low(const struct linear_pass *p, const struct linear *l, const float *x, float *low, int64_t n)
{
    project_each(p, &(struct linear_to){l, NULL, low}, 1, x, n);
}

/* Gradients of A and B from g (n, R) = scale * dy B. */
static void backward_pair(const struct linear_pass *p, const struct linear *l, const struct lora *a, const float *g, const float *dy,
                          const float *x, const float *h, int64_t n)
{
    if (a->pb)
        accumulate(p, l->out, a->rank, transposed(dy, DTYPE_F32, l->out), rows_of(h, DTYPE_F32, a->rank), a->pb->grad, a->scale);
    if (a->pa)
        accumulate(p, a->rank, l->in, transposed(g, DTYPE_F32, a->rank),
                   rows_of(pair_input(p, a, x, n, l->in), DTYPE_F32, l->in), a->pa->grad, 1);
}

/* The input gradient of a pair whose inputs are dropped. */
static void backward_dropped(const struct linear_pass *p, const struct linear *l, const struct lora *a, float *dx, const float *g, int64_t n)
{
    multiply(p, n, l->in, a->rank, rows_of(g, DTYPE_F32, a->rank), rows_of(a->a, DTYPE_F32, l->in), p->drop, 1, 0);
    apply_dropout(p, a, p->drop, p->drop, n, l->in);
    p->k->add(dx, p->drop, n * l->in);
}

/* A sum of products that grows term by term; when there is no more room, what there is goes out. */
struct sum {
    const struct linear_pass *p;
    struct matmul m;
    struct matmul_term terms[TERMS];
    bool begun;
};

static void sum_run(struct sum *s)
{
    s->m.more = s->terms;
    if (s->begun)
        s->p->k->matmul(&s->m, 1);
    s->begun = false;
    s->m.beta = 1;
}

static void sum_add(struct sum *s, struct matmul_term t)
{
    if (s->m.n_more == TERMS)
        sum_run(s);
    if (s->begun) {
        s->terms[s->m.n_more++] = t;
        return;
    }
    s->m.k = t.k, s->m.a = t.a, s->m.b = t.b, s->m.alpha = t.alpha, s->m.n_more = 0;
    s->begun = true;
}

/* dx = sum over the modules of dy W and their pairs' terms. */
static void backward_input(const struct linear_pass *p, const struct linear_from *from, int count, float *dx, int64_t n)
{
    int64_t in = from->l->in;
    struct sum s = {.p = p, .m = {.m = n, .n = in, .c = dx, .ldc = in, .round_bf16 = p->bf16}};
    const float *g = p->low;
    for (int i = 0; i < count; i++) {
        const struct linear *l = from[i].l;
        struct mat w = l->to_grid ? rows_of(p->grid, DTYPE_F32, in) : weight_rows(l);
        if (l->to_grid && s.begun)
            sum_run(&s); /* it may read the scratch */
        if (l->to_grid)
            fill_grid(p, l);
        sum_add(&s, (struct matmul_term){l->out, rows_of(from[i].dy, DTYPE_F32, l->out), w, 1});
        for (const struct lora *a = l->lora; a; g += n * a->rank, a = a->next)
            if (!drops(p, a) && !l->to_grid)
                sum_add(&s, (struct matmul_term){a->rank, rows_of(g, DTYPE_F32, a->rank), rows_of(a->a, DTYPE_F32, in), 1});
    }
    sum_run(&s);
    g = p->low;
    for (int i = 0; i < count; i++)
        for (const struct lora *a = from[i].l->lora; a; g += n * a->rank, a = a->next)
            if (drops(p, a))
                backward_dropped(p, from[i].l, a, dx, g, n);
}

/* Gradients of one module's own; those of its pairs' h come to g. Returns where the next module's begin. */
static float *backward_own(const struct linear_pass *p, const struct linear_from *from, bool input, float *g, const float *x, int64_t n)
{
    const struct linear *l = from->l;
    const float *low = from->low;
    if (l->pbias)
        p->k->bias_backward(&(struct row_sum){l->pbias->grad, p->cuts, p->n_cuts, 1}, from->dy, n, l->out);
    if (l->pw)
        accumulate(p, l->out, l->in, transposed(from->dy, DTYPE_F32, l->out), rows_of(x, DTYPE_F32, l->in), l->pw->grad, 1);
    for (const struct lora *a = l->lora; a; g += n * a->rank, a = a->next) {
        if (input || is_trained(a))
            multiply(p, n, a->rank, l->out, rows_of(from->dy, DTYPE_F32, l->out), rows_of(a->b, DTYPE_F32, a->rank), g, a->scale, 0);
        if (is_trained(a)) {
            backward_pair(p, l, a, g, from->dy, x, low, n);
            low += n * a->rank;
        }
    }
    return g;
}

void linear_backward_each(const struct linear_pass *p, const struct linear_from *from, int count, float *dx, const float *x, int64_t n)
{
    float *g = p->low;
    for (int i = 0; i < count; i++)
        g = backward_own(p, &from[i], dx, g, x, n);
    if (dx)
        backward_input(p, from, count, dx, n);
}

void linear_backward(const struct linear_pass *p, const struct linear *l, float *dx, const float *dy, const float *x, const float *low, int64_t n)
{
    linear_backward_each(p, &(struct linear_from){l, dy, low}, 1, dx, x, n);
}
