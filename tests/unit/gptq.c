/* GPTQ against the algorithm as it is written down, in double, column by column; and what must hold of any solution. */
#include "quantize/gptq.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/threads.h"
#include "quantize/cholesky.h"
#include "quantize/hessian.h"
#include "tests/unit/tap.h"

static const struct kernels *k;

static float draw(uint64_t *at)
{
    float u = 0;
    for (int i = 0; i < 4; i++) {
        *at = *at * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
        u += (float)(*at >> 40) / (float)(1 << 24) - 0.5f;
    }
    return u * 1.7f;
}

/* Inputs that go together: rows of a few hidden factors and some noise, of unequal size. */
static float *make_inputs(int64_t rows, int64_t n, uint64_t seed)
{
    int64_t factors = n / 4 + 1;
    float *x = mem_zalloc((size_t)rows, (size_t)n * sizeof *x), *mix = mem_array(NULL, (size_t)(factors * n), sizeof *mix);
    uint64_t at = seed;
    for (int64_t i = 0; i < factors * n; i++)
        mix[i] = draw(&at);
    for (int64_t r = 0; r < rows; r++) {
        for (int64_t f = 0; f < factors; f++) {
            float z = draw(&at);
            for (int64_t i = 0; i < n; i++)
                x[r * n + i] += z * mix[f * n + i];
        }
        for (int64_t i = 0; i < n; i++)
            x[r * n + i] = (x[r * n + i] + 0.3f * draw(&at)) * (i % 7 == 3 ? 4.0f : 1.0f);
    }
    free(mix);
    return x;
}

static float *make_weights(int64_t out, int64_t n, uint64_t seed)
{
    float *w = mem_array(NULL, (size_t)(out * n), sizeof *w);
    uint64_t at = seed;
    for (int64_t i = 0; i < out * n; i++)
        w[i] = 0.1f * draw(&at);
    return w;
}

static double *moments(const float *x, int64_t rows, int64_t n)
{
    struct hessian h;
    hessian_init(&h, n, NULL);
    hessian_add(&h, k, x, rows);
    hessian_finish(&h);
    return h.at;
}

static double *copy_of(const double *h, int64_t count)
{
    double *c = mem_array(NULL, (size_t)count, sizeof *c);
    memcpy(c, h, (size_t)count * sizeof *c);
    return c;
}

static void test_hessian(int64_t rows, int64_t n)
{
    float *x = make_inputs(rows, n, 1);
    double *h = moments(x, rows, n), worst = 0, most = 0;
    bool symmetric = true;
    for (int64_t i = 0; i < n; i++)
        for (int64_t j = 0; j < n; j++) {
            double sum = 0;
            for (int64_t r = 0; r < rows; r++)
                sum += (double)x[r * n + i] * (double)x[r * n + j];
            worst = fmax(worst, fabs(sum - h[i * n + j]));
            most = fmax(most, fabs(sum));
            symmetric &= h[i * n + j] == h[j * n + i];
        }
    ok(worst < 2e-6 * most, "second moments of %d columns are those of a naive sum in double (off by %.2g of %.3g)", (int)n, worst, most);
    ok(symmetric, "and symmetric");
    free(h);
    free(x);
}

static void test_cholesky(int64_t n)
{
    float *x = make_inputs(2 * n, n, 7);
    double *h = moments(x, 2 * n, n), *u = copy_of(h, n * n), worst = 0;
    is_int(cholesky_inverse_factor(u, n), 0, "a factor is found");
    bool below = true; /* U H U^T = 1 */
    double *uh = mem_zalloc((size_t)(n * n), sizeof *uh);
    for (int64_t i = 0; i < n; i++)
        for (int64_t c = i; c < n; c++)
            for (int64_t j = 0; j < n; j++)
                uh[i * n + j] += u[i * n + c] * h[c * n + j];
    for (int64_t i = 0; i < n; i++)
        for (int64_t j = 0; j < n; j++) {
            double sum = 0;
            for (int64_t c = j; c < n; c++)
                sum += uh[i * n + c] * u[j * n + c];
            worst = fmax(worst, fabs(sum - (i == j)));
            below &= j >= i || u[i * n + j] == h[i * n + j];
        }
    ok(worst < 1e-9, "%lld columns: U H U^T is the identity (off by %.2g)", (long long)n, worst);
    ok(below, "%lld columns: what is below the diagonal stays", (long long)n);
    free(h), free(u), free(uh), free(x);
}

static void test_not_definite(void)
{
    double h[9] = {1, 2, 0, 2, 1, 0, 0, 0, 1};
    is_int(cholesky_inverse_factor(h, 3), -1, "a matrix that is not positive definite has no factor");
}

/* Algorithm 1 with U from naive Gauss-Jordan and Cholesky in double; the order of rounding and groups are those of f. */
static void naive(struct grid *g, const float *w, const double *h, const struct gptq_factor *f, const struct gptq_options *o, double damp)
{
    int64_t n = g->in, out = g->out;
    double *a = mem_zalloc((size_t)(n * n), sizeof *a), *u = mem_zalloc((size_t)(n * n), sizeof *u), mean = 0;
    for (int64_t i = 0; i < n; i++)
        mean += (h[i * n + i] > 0 ? h[i * n + i] : 1) / (double)n;
    for (int64_t i = 0; i < n; i++)
        for (int64_t j = 0; j < n; j++)
            a[i * n + j] = h[f->column[i] * n + f->column[j]] + (i == j ? damp * mean + !(h[f->column[i] * n + f->column[i]] > 0) : 0);
    for (int64_t p = 0; p < n; p++) { /* inverse in place, by exchange of every pivot */
        double d = 1 / a[p * n + p];
        for (int64_t i = 0; i < n; i++)
            for (int64_t j = 0; j < n; j++)
                if (i != p && j != p)
                    a[i * n + j] -= a[i * n + p] * a[p * n + j] * d;
        for (int64_t i = 0; i < n; i++)
            if (i != p)
                a[i * n + p] *= -d, a[p * n + i] *= d;
        a[p * n + p] = d;
    }
    for (int64_t j = 0; j < n; j++) /* A = U^T U */
        for (int64_t i = j; i < n; i++) {
            double sum = a[j * n + i];
            for (int64_t c = 0; c < j; c++)
                sum -= u[c * n + j] * u[c * n + i];
            u[j * n + i] = i == j ? sqrt(sum) : sum / u[j * n + j];
        }
    for (int64_t r = 0; r < out; r++) {
        double *x = mem_array(NULL, (size_t)n, sizeof *x);
        float *group = mem_array(NULL, (size_t)n, sizeof *group);
        for (int64_t c = 0; c < n; c++)
            x[c] = h[f->column[c] * n + f->column[c]] > 0 ? (double)w[r * n + f->column[c]] : 0;
        for (int64_t c = 0; c < n; c++) {
            if (f->first[c] && !o->static_groups) {
                int64_t count = 0;
                do
                    group[count] = (float)x[c + count];
                while (c + ++count < n && !f->first[c + count]);
                grid_fit(g, f->group[c], r, group, count, 1, o->sym);
            }
            uint8_t code = grid_round(g, f->group[c], r, (float)x[c]);
            double err = (x[c] - (double)grid_value(g, f->group[c], r, code)) / u[c * n + c];
            g->codes[r * n + f->column[c]] = code;
            for (int64_t j = c; j < n; j++)
                x[j] -= err * u[c * n + j];
        }
        free(x), free(group);
    }
    for (int64_t c = 0; c < n; c++)
        g->g_idx[f->column[c]] = f->group[c];
    free(a), free(u);
}

/* |X (W - Q)^T|^2 */
static double output_error(const struct grid *g, const float *w, const float *x, int64_t rows)
{
    double all = 0;
    for (int64_t r = 0; r < rows; r++)
        for (int64_t o = 0; o < g->out; o++) {
            double sum = 0;
            for (int64_t i = 0; i < g->in; i++)
                sum += (double)x[r * g->in + i] * (double)(w[o * g->in + i] - grid_value(g, g->g_idx[i], o, g->codes[o * g->in + i]));
            all += sum * sum;
        }
    return all;
}

struct case_of {
    const char *name;
    int64_t out, n, group, rows;
    int bits;
    bool sym;
    enum gptq_order order;
    bool static_groups, dead;
    double margin; /* the error is below this part of rounding to nearest's */
};

static void check_against_naive(const struct case_of *c, const struct grid *g, const struct grid *want, const float *w, const float *x)
{
    int64_t same = 0, count = c->out * c->n;
    for (int64_t i = 0; i < count; i++)
        same += g->codes[i] == want->codes[i];
    double mine = output_error(g, w, x, c->rows), theirs = output_error(want, w, x, c->rows);
    ok(same >= count - count / 50, "%s: codes are those of the algorithm in double (%lld of %lld)", c->name, (long long)same, (long long)count);
    ok(fabs(mine - theirs) < 0.01 * theirs, "%s: and the error is (%.6g, %.6g)", c->name, mine, theirs);
    ok(!memcmp(g->g_idx, want->g_idx, (size_t)c->n * sizeof *g->g_idx), "%s: so are the groups", c->name);
}

static void test_case(const struct case_of *c)
{
    struct gptq_options o = {c->group, c->sym, c->order, c->static_groups, 0.01};
    float *x = make_inputs(c->rows, c->n, 11), *w = make_weights(c->out, c->n, 5), *values = make_weights(c->out, c->n, 5);
    for (int64_t r = 0; r < c->rows && c->dead; r++)
        for (int64_t i = 2; i < c->n; i += 29)
            x[r * c->n + i] = 0;
    double *h = moments(x, c->rows, c->n), *kept = copy_of(h, c->n * c->n);
    struct gptq_factor f;
    struct gptq_result result;
    struct err e = ERR_INIT;
    struct grid g, want, nearest;
    grid_init(&g, c->out, c->n, c->group, c->bits);
    grid_init(&want, c->out, c->n, c->group, c->bits);
    grid_init(&nearest, c->out, c->n, c->group, c->bits);
    grid_round_to_nearest(&nearest, w, c->sym);
    int rc = gptq_factor_init(&f, h, c->n, &o, &e);
    if (ok(!rc && f.damp == 0.01, "%s: factored %s", c->name, e.text)) {
        if (c->static_groups)
            for (int64_t i = 0; i < g.groups * g.out; i++)
                want.scales[i] = nearest.scales[i], want.zeros[i] = nearest.zeros[i];
        naive(&want, w, kept, &f, &o, f.damp);
        gptq_solve(&g, values, &f, k, &o, &result);
        check_against_naive(c, &g, &want, w, x);
        double err = output_error(&g, w, x, c->rows), plain = output_error(&nearest, w, x, c->rows);
        ok(err < c->margin * plain, "%s: error %.4g is below %g of rounding to nearest, %.4g", c->name, err, c->margin, plain);
        ok(c->dead || fabs(result.error - err) < 1e-3 * err, "%s: the error is told (%.6g)", c->name, result.error);
        bool same = true;
        for (int64_t i = 0; i < c->out * c->n; i++)
            same &= values[i] == grid_value(&g, g.g_idx[i % c->n], i / c->n, g.codes[i]);
        ok(same, "%s: the weights are what the grid gives back", c->name);
        if (c->dead) {
            for (int64_t i = 0; i < c->out; i++)
                for (int64_t j = 2; j < c->n; j += 29)
                    same &= values[i * c->n + j] == 0;
            ok(same, "%s: dead columns are 0", c->name);
        }
        gptq_factor_release(&f);
    }
    grid_release(&g), grid_release(&want), grid_release(&nearest);
    free(kept), free(x), free(w), free(values);
}

static const struct case_of CASES[] = {
    {"4 bits", 48, 160, 32, 400, 4, true, GPTQ_AS_STORED, false, false, 0.8},
    {"4 bits, not symmetric", 40, 160, 32, 400, 4, false, GPTQ_AS_STORED, false, false, 0.8},
    {"3 bits, several blocks", 32, 416, 128, 900, 3, true, GPTQ_AS_STORED, false, false, 0.8},
    {"2 bits", 32, 256, 64, 600, 2, false, GPTQ_AS_STORED, false, false, 0.9},
    {"8 bits", 24, 288, 48, 600, 8, true, GPTQ_AS_STORED, false, false, 0.8},
    {"one group", 24, 320, 0, 700, 4, true, GPTQ_AS_STORED, false, false, 0.8},
    {"a group larger than the inputs", 24, 96, 128, 300, 4, true, GPTQ_AS_STORED, false, false, 0.8},
    {"groups that do not divide the inputs", 24, 300, 96, 700, 4, true, GPTQ_AS_STORED, false, false, 0.8},
    {"groups longer than a block", 24, 480, 192, 900, 4, false, GPTQ_AS_STORED, false, false, 0.8},
    {"act-order", 32, 320, 64, 700, 4, true, GPTQ_BY_DIAGONAL, false, false, 0.8},
    {"act-order, static groups", 32, 320, 64, 700, 4, false, GPTQ_BY_DIAGONAL, true, false, 0.8},
    {"ordered within groups", 32, 300, 64, 700, 4, true, GPTQ_IN_GROUPS, false, false, 0.8},
    {"dead columns", 32, 160, 32, 400, 4, true, GPTQ_AS_STORED, false, true, 0.8},
    {"fewer rows than columns", 24, 256, 128, 60, 4, true, GPTQ_BY_DIAGONAL, false, true, 0.8},
};

static void test_orders(void)
{
    int64_t n = 200, group = 48;
    float *x = make_inputs(500, n, 3);
    struct gptq_options o = {group, true, GPTQ_BY_DIAGONAL, false, 0.01};
    struct gptq_factor f;
    struct err e = ERR_INIT;
    double *kept = moments(x, 500, n);
    if (gptq_factor_init(&f, copy_of(kept, n * n), n, &o, &e))
        return (void)ok(false, "factored: %s", e.text);
    bool falls = true, groups = true, seen[200] = {false};
    for (int64_t c = 0; c < n; c++) {
        falls &= !c || kept[f.column[c] * n + f.column[c]] <= kept[f.column[c - 1] * n + f.column[c - 1]];
        groups &= f.group[c] == c / group;
        seen[f.column[c]] = true;
    }
    for (int64_t c = 0; c < n; c++)
        groups &= seen[c];
    ok(falls, "act-order: the diagonal falls");
    ok(groups, "act-order: groups are of neighbours in that order, and every column is in one");
    gptq_factor_release(&f);
    o.order = GPTQ_IN_GROUPS;
    if (gptq_factor_init(&f, copy_of(kept, n * n), n, &o, &e))
        return (void)ok(false, "factored: %s", e.text);
    int begun = 0;
    falls = groups = true;
    for (int64_t c = 0; c < n; c++) {
        falls &= f.first[c] || kept[f.column[c] * n + f.column[c]] <= kept[f.column[c - 1] * n + f.column[c - 1]];
        groups &= f.group[c] == f.column[c] / group;
        begun += f.first[c];
    }
    ok(falls && groups && begun == 5, "ordered within groups: they stay whole, and the diagonal falls in each");
    gptq_factor_release(&f);
    free(kept), free(x);
}

/* Columns that are the same make H singular beyond what little damping mends. */
static void test_damping(void)
{
    int64_t n = 64;
    double *h = mem_zalloc((size_t)(n * n), sizeof *h);
    for (int64_t i = 0; i < n * n; i++)
        h[i] = i / n == i % n ? 1 : 1 + 1e-9; /* not even semidefinite */
    struct gptq_options o = {32, true, GPTQ_AS_STORED, false, 0};
    struct gptq_factor f;
    struct err e = ERR_INIT;
    int rc = gptq_factor_init(&f, h, n, &o, &e);
    ok(!rc && f.damp == GPTQ_DAMP_STEP, "damping is raised until there is a factor, and told: %g", f.damp);
    gptq_factor_release(&f);
    h = mem_zalloc((size_t)(n * n), sizeof *h);
    for (int64_t i = 0; i < n * n; i++)
        h[i] = i / n == i % n ? 1 : 3;
    rc = gptq_factor_init(&f, h, n, &o, &e);
    ok(rc == -1, "what no damping mends is an error: %s", e.text);
    e = (struct err)ERR_INIT;
    h = mem_zalloc((size_t)(n * n), sizeof *h);
    h[5 * n + 5] = NAN;
    rc = gptq_factor_init(&f, h, n, &o, &e);
    ok(rc == -1 && strstr(e.text, "input 5"), "so is what is not finite: %s", e.text);
}

/* Codes, scales and the weights after, with 1 and 2 threads. */
static void test_threads(void)
{
    int64_t out = 70, n = 400, rows = 5000;
    float *x = make_inputs(rows, n, 21), *w[2];
    struct grid g[2];
    struct gptq_result r[2];
    struct gptq_options o = {128, false, GPTQ_BY_DIAGONAL, false, 0.01};
    for (int i = 0; i < 2; i++) {
        struct gptq_factor f;
        struct err e = ERR_INIT;
        threads_set(i + 1);
        w[i] = make_weights(out, n, 9);
        grid_init(&g[i], out, n, 128, 3);
        if (gptq_factor_init(&f, moments(x, rows, n), n, &o, &e))
            return (void)ok(false, "factored: %s", e.text);
        gptq_solve(&g[i], w[i], &f, k, &o, &r[i]);
        gptq_factor_release(&f);
    }
    ok(!memcmp(w[0], w[1], (size_t)(out * n) * sizeof **w) && !memcmp(g[0].codes, g[1].codes, (size_t)(out * n))
       && !memcmp(g[0].scales, g[1].scales, (size_t)(out * g->groups) * sizeof *g->scales) && r[0].error == r[1].error,
       "the same bits with 1 thread and with 2");
    for (int i = 0; i < 2; i++)
        grid_release(&g[i]), free(w[i]);
    free(x);
}

int main(void)
{
    struct err e = ERR_INIT;
    if (!(k = kernels_open("cpu", &e))) {
        printf("Bail out! %s\n", e.text);
        return 1;
    }
    test_hessian(2500, 201);
    test_hessian(3, 3000); /* more columns than one scratch holds blocks of */
    test_cholesky(5);
    test_cholesky(97);
    test_cholesky(250);
    test_not_definite();
    for (size_t i = 0; i < sizeof CASES / sizeof *CASES; i++)
        test_case(&CASES[i]);
    test_orders();
    test_damping();
    test_threads();
    return tap_end();
}
