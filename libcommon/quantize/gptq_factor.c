#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "quantize/cholesky.h"
#include "quantize/gptq.h"

struct keyed {
    double group, own; /* larger ones first */
    int32_t column;
};

static int compare(const void *a, const void *b)
{
    const struct keyed *x = a, *y = b;
    if (x->group != y->group)
        return x->group > y->group ? -1 : 1;
    if (x->own != y->own)
        return x->own > y->own ? -1 : 1;
    return x->column < y->column ? -1 : x->column > y->column;
}

static int64_t min_of(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

/* The same diagonal of two groups as a whole must not mix their columns. */
static int compare_grouped(const void *a, const void *b, void *group)
{
    const struct keyed *x = a, *y = b;
    int64_t gx = x->column / *(int64_t *)group, gy = y->column / *(int64_t *)group;
    if (x->group == y->group && gx != gy)
        return gx < gy ? -1 : 1;
    return compare(a, b);
}

static void order_columns(struct gptq_factor *f, int64_t group, enum gptq_order order)
{
    struct keyed *key = mem_zalloc((size_t)f->n, sizeof *key);
    for (int64_t i = 0; i < f->n; i++)
        key[i] = (struct keyed){0, order == GPTQ_AS_STORED ? 0 : f->diagonal[i], (int32_t)i};
    for (int64_t s = 0; s < f->n && order == GPTQ_IN_GROUPS; s += group) {
        int64_t end = min_of(s + group, f->n);
        double sum = 0;
        for (int64_t i = s; i < end; i++)
            sum += f->diagonal[i];
        for (int64_t i = s; i < end; i++)
            key[i].group = sum / (double)(end - s);
    }
    if (order == GPTQ_IN_GROUPS)
        qsort_r(key, (size_t)f->n, sizeof *key, compare_grouped, &group);
    else
        qsort(key, (size_t)f->n, sizeof *key, compare);
    for (int64_t i = 0; i < f->n; i++)
        f->column[i] = key[i].column;
    free(key);
}

static void swap_columns(double *h, int64_t n, int64_t a, int64_t b)
{
    for (int64_t j = 0; j < n; j++) {
        double t = h[a * n + j];
        h[a * n + j] = h[b * n + j];
        h[b * n + j] = t;
    }
    for (int64_t i = 0; i < n; i++) {
        double t = h[i * n + a];
        h[i * n + a] = h[i * n + b];
        h[i * n + b] = t;
    }
}

/* H in the order of rounding, in place. */
static void permute(struct gptq_factor *f)
{
    int64_t n = f->n;
    int32_t *at = mem_array(NULL, (size_t)n, 2 * sizeof *at), *held = at + n; /* where column i is; which one place i holds */
    double *diagonal = mem_array(NULL, (size_t)n, sizeof *diagonal);
    for (int64_t i = 0; i < n; i++)
        at[i] = held[i] = (int32_t)i;
    for (int64_t i = 0; i < n; i++) {
        int32_t want = f->column[i], from = at[want], out = held[i];
        diagonal[i] = f->diagonal[want];
        if (from == i)
            continue;
        swap_columns(f->u, n, i, from);
        at[out] = from, held[from] = out;
        at[want] = (int32_t)i, held[i] = want;
    }
    free(f->diagonal);
    free(at);
    f->diagonal = diagonal;
}

static void find_groups(struct gptq_factor *f, const struct gptq_options *o, int64_t group)
{
    bool as_stored = o->order != GPTQ_BY_DIAGONAL || o->static_groups;
    for (int64_t i = 0; i < f->n; i++) {
        f->group[i] = (int32_t)((as_stored ? f->column[i] : i) / group);
        f->first[i] = !i || f->group[i] != f->group[i - 1];
    }
}

/* The upper triangle and the diagonal from what is kept. */
static void restore(struct gptq_factor *f, double damp)
{
    int64_t n = f->n;
    double mean = 0;
    for (int64_t i = 0; i < n; i++)
        mean += (f->diagonal[i] > 0 ? f->diagonal[i] : 1) / (double)n;
#pragma omp parallel for schedule(dynamic, 64)
    for (int64_t i = 0; i < n; i++) {
        f->u[i * n + i] = (f->diagonal[i] > 0 ? f->diagonal[i] : 1) + damp * mean;
        for (int64_t j = i + 1; j < n; j++)
            f->u[i * n + j] = f->u[j * n + i];
    }
}

static int check_finite(const struct gptq_factor *f, struct err *e)
{
    int64_t bad = -1;
#pragma omp parallel for schedule(static) reduction(max : bad)
    for (int64_t i = 0; i < f->n; i++)
        for (int64_t j = 0; j < f->n; j++)
            if (!isfinite(f->u[i * f->n + j]) && i > bad)
                bad = i;
    return bad < 0 ? 0 : err_set(e, "input %lld: found what is not finite among the calibration's activations, expected numbers", (long long)bad);
}

static int find_factor(struct gptq_factor *f, double damp, struct err *e)
{
    for (f->damp = damp; f->damp <= 1; f->damp += GPTQ_DAMP_STEP) {
        restore(f, f->damp);
        if (!cholesky_inverse_factor(f->u, f->n))
            return 0;
    }
    return err_set(e, "second moments of %lld inputs: found no factor with damping up to 1", (long long)f->n);
}

int gptq_factor_init(struct gptq_factor *f, double *h, int64_t n, const struct gptq_options *o, struct err *e)
{
    int64_t group = o->group ? o->group : n;
    *f = (struct gptq_factor){.n = n, .u = h};
    f->diagonal = mem_array(NULL, (size_t)n, sizeof *f->diagonal);
    f->column = mem_array(NULL, (size_t)n, sizeof *f->column);
    f->group = mem_array(NULL, (size_t)n, sizeof *f->group);
    f->first = mem_array(NULL, (size_t)n, sizeof *f->first);
    for (int64_t i = 0; i < n; i++)
        f->diagonal[i] = h[i * n + i];
    if (check_finite(f, e)) {
        gptq_factor_release(f);
        return -1;
    }
    order_columns(f, group, o->order);
    permute(f);
    find_groups(f, o, group);
    if (!find_factor(f, o->damp, e))
        return 0;
    gptq_factor_release(f);
    return -1;
}

void gptq_factor_release(struct gptq_factor *f)
{
    free(f->u);
    free(f->diagonal);
    free(f->column);
    free(f->group);
    free(f->first);
    *f = (struct gptq_factor){0};
}
