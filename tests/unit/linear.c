/* Modules that share a call, each with its own chain of frozen and trained pairs, forward and backward, against sums in double: nothing of
 * one pair or module may come into another's place. */
#include <stdlib.h>

#include "base/mem.h"
#include "model/linear.h"
#include "tests/tools/formula.h"
#include "tests/unit/tap.h"

enum { IN = 40, MODULES = 3, MOST_PAIRS = 10, MOST_ROWS = 37 };

/* The pairs of a module, each by its rank; of trained ones it is negative. */
struct shape {
    int64_t out;
    int pairs[MOST_PAIRS + 1];
};

static const struct group {
    const char *what;
    struct shape modules[MODULES];
} GROUPS[] = {
    {"no pairs", {{24, {0}}, {8, {0}}, {8, {0}}}},
    {"one frozen pair each", {{24, {4, 0}}, {8, {3, 0}}, {8, {5, 0}}}},
    {"one trained pair each", {{24, {-4, 0}}, {8, {-4, 0}}, {8, {-4, 0}}}},
    {"frozen before trained, unlike ranks", {{24, {2, -6, 0}}, {8, {7, -3, 0}}, {16, {1, -2, 0}}}},
    {"trained between frozen", {{24, {2, -6, 3, 0}}, {8, {-3, 5, 0}}, {16, {4, 0}}}},
    {"pairs on one of three", {{24, {0}}, {8, {3, 2, 0}}, {16, {0}}}},
    {"more pairs than a product takes at once", {{24, {1, 2, 3, -4, 1, 2, 3, 1, -2, 2, 0}}, {8, {5, 0}}, {16, {2, 2, 2, 2, 2, 2, 2, 2, 2, 0}}}},
};

static const struct kernels *k;

static float *random_matrix(const char *name, int module, int pair, int64_t numel)
{
    float *x = mem_array(NULL, (size_t)numel, sizeof *x);
    char *full = mem_printf("%s %d %d", name, module, pair);
    formula_fill(x, full, (uint64_t)numel);
    free(full);
    return x;
}

static struct param *new_param(float *value, int64_t numel)
{
    struct param *p = mem_zalloc(1, sizeof *p);
    p->value = value, p->numel = numel, p->grad = mem_zalloc((size_t)numel, sizeof *p->grad);
    return p;
}

static void free_param(struct param *p)
{
    if (p)
        free(p->grad);
    free(p);
}

static void build(struct linear *l, const struct shape *s, int module)
{
    *l = (struct linear){.out = s->out, .in = IN, .type = DTYPE_F32, .weight = random_matrix("weight", module, 0, s->out * IN)};
    struct lora **end = &l->lora;
    for (int i = 0; s->pairs[i]; i++, end = &(*end)->next) {
        struct lora *a = *end = mem_zalloc(1, sizeof *a);
        a->rank = abs(s->pairs[i]), a->scale = 0.5f + 0.25f * (float)i;
        a->a = random_matrix("a", module, i, a->rank * IN), a->b = random_matrix("b", module, i, s->out * a->rank);
        if (s->pairs[i] < 0)
            a->pa = new_param(a->a, a->rank * IN), a->pb = new_param(a->b, s->out * a->rank);
    }
}

static void tear_down(struct linear *l)
{
    for (struct lora *a = l->lora, *next; a; a = next) {
        next = a->next;
        free_param(a->pa), free_param(a->pb);
        free(a->a), free(a->b), free(a);
    }
    free((void *)l->weight);
}

/* W + sum of scale B A */
static double *merged(const struct linear *l)
{
    double *w = mem_zalloc((size_t)(l->out * IN), sizeof *w);
    for (int64_t o = 0; o < l->out; o++)
        for (int64_t i = 0; i < IN; i++) {
            double sum = ((const float *)l->weight)[o * IN + i];
            for (const struct lora *a = l->lora; a; a = a->next)
                for (int r = 0; r < a->rank; r++)
                    sum += (double)a->scale * a->b[o * a->rank + r] * a->a[r * IN + i];
            w[o * IN + i] = sum;
        }
    return w;
}

/* c (m, n) = sum over k of a[i * a_row + k * a_step] b[k * b_step + j * b_col] */
static double *product(int64_t m, int64_t n, int64_t depth, const double *a, int64_t a_row, int64_t a_step, const double *b, int64_t b_step, int64_t b_col)
{
    double *c = mem_zalloc((size_t)(m * n), sizeof *c);
    for (int64_t i = 0; i < m; i++)
        for (int64_t j = 0; j < n; j++)
            for (int64_t d = 0; d < depth; d++)
                c[i * n + j] += a[i * a_row + d * a_step] * b[d * b_step + j * b_col];
    return c;
}

static double *widened(const float *x, int64_t n)
{
    double *d = mem_array(NULL, (size_t)n, sizeof *d);
    for (int64_t i = 0; i < n; i++)
        d[i] = x[i];
    return d;
}

/* The largest difference, in units of the largest magnitude; frees want. */
static double off(const float *got, double *want, double scale, int64_t n)
{
    double worst = 0, most = 1e-30;
    for (int64_t i = 0; i < n; i++) {
        worst = fmax(worst, fabs(got[i] - scale * want[i]));
        most = fmax(most, fabs(scale * want[i]));
    }
    free(want);
    return worst / most;
}

static double pair_gradients_off(const struct linear *l, const double *x, const double *dy, int64_t n)
{
    double worst = 0;
    for (const struct lora *a = l->lora; a; a = a->next)
        if (a->pa) {
            double *wa = widened(a->a, a->rank * IN), *wb = widened(a->b, l->out * a->rank);
            double *h = product(n, a->rank, IN, x, IN, 1, wa, 1, IN), *g = product(n, a->rank, l->out, dy, l->out, 1, wb, a->rank, 1);
            worst = fmax(worst, off(a->pb->grad, product(l->out, a->rank, n, dy, 1, l->out, h, a->rank, 1), a->scale, l->out * a->rank));
            worst = fmax(worst, off(a->pa->grad, product(a->rank, IN, n, g, 1, a->rank, x, IN, 1), a->scale, a->rank * IN));
            free(wa), free(wb), free(h), free(g);
        }
    return worst;
}

static void test_group(const struct group *t, int64_t n)
{
    struct linear l[MODULES];
    struct linear_to to[MODULES];
    struct linear_from from[MODULES];
    float *x = random_matrix("x", 0, 0, n * IN), *dx = mem_zalloc((size_t)(n * IN), sizeof *dx), *low = NULL;
    double *wide_x = widened(x, n * IN), *want_dx = mem_zalloc((size_t)(n * IN), sizeof *want_dx), y_off = 0, grad_off = 0;
    int rank = 0;
    for (int i = 0; i < MODULES; i++) {
        build(&l[i], &t->modules[i], i);
        rank += linear_rank(&l[i]);
        to[i] = (struct linear_to){&l[i], mem_array(NULL, (size_t)(n * l[i].out), sizeof(float)),
                                   mem_array(NULL, (size_t)(n * linear_kept_rank(&l[i]) + 1), sizeof(float))};
        from[i] = (struct linear_from){&l[i], random_matrix("dy", i, 0, n * l[i].out), to[i].low};
    }
    low = mem_array(NULL, (size_t)(n * rank + 1), sizeof *low);
    const int64_t cuts[] = {0, n / 2, n};
    struct linear_pass p = {.k = k, .cuts = cuts, .n_cuts = 2, .low = low};
    linear_forward_each(&p, to, MODULES, x, n);
    linear_backward_each(&p, from, MODULES, dx, x, n);
    for (int i = 0; i < MODULES; i++) {
        double *w = merged(&l[i]), *dy = widened(from[i].dy, n * l[i].out), *part = product(n, IN, l[i].out, dy, l[i].out, 1, w, IN, 1);
        for (int64_t j = 0; j < n * IN; j++)
            want_dx[j] += part[j];
        y_off = fmax(y_off, off(to[i].y, product(n, l[i].out, IN, wide_x, IN, 1, w, 1, IN), 1, n * l[i].out));
        grad_off = fmax(grad_off, pair_gradients_off(&l[i], wide_x, dy, n));
        free(w), free(dy), free(part), free(to[i].y), free(to[i].low), free((void *)from[i].dy);
        tear_down(&l[i]);
    }
    double dx_off = off(dx, want_dx, 1, n * IN);
    if (!ok(y_off < 2e-6 && dx_off < 2e-6 && grad_off < 2e-6, "%s, %d rows", t->what, (int)n))
        printf("# off by %g (outputs), %g (input gradient), %g (gradients of pairs)\n", y_off, dx_off, grad_off);
    free(x), free(wide_x), free(dx), free(low);
}

int main(void)
{
    static const int64_t rows[] = {1, 5, MATMUL_FEW_ROWS, MATMUL_FEW_ROWS + 1, MOST_ROWS};
    struct err e = ERR_INIT;
    if (!(k = kernels_open("cpu", &e))) {
        printf("Bail out! %s\n", e.text);
        return 1;
    }
    for (size_t g = 0; g < sizeof GROUPS / sizeof *GROUPS; g++)
        for (size_t r = 0; r < sizeof rows / sizeof *rows; r++)
            test_group(&GROUPS[g], rows[r]);
    return tap_end();
}
