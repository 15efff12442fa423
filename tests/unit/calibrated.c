/* GPTQ and AWQ against the reference implementations' results (tests/golden/make_calibrated.py). */
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "quantize/awq.h"
#include "quantize/gptq.h"
#include "quantize/hessian.h"
#include "tests/tools/formula.h"
#include "tests/unit/tap.h"

enum { FACTORS = 12 };

static const struct kernels *k;

static float unit(const char *name, int64_t i)
{
    return formula_unit(formula_hash(name), (uint64_t)i);
}

static float *make_inputs(int64_t rows, int64_t n, float over)
{
    float *x = mem_array(NULL, (size_t)(rows * n), sizeof *x);
    for (int64_t r = 0; r < rows; r++)
        for (int64_t i = 0; i < n; i++) {
            float sum = rintf(8 * unit("calibrated.own", r * n + i));
            for (int64_t f = 0; f < FACTORS; f++)
                sum += rintf(8 * unit("calibrated.factors", r * FACTORS + f)) * rintf(6 * unit("calibrated.mix", f * n + i));
            x[r * n + i] = (i % 7 == 3 ? 4 * sum : sum) / over;
        }
    return x;
}

static float *make_weights(int64_t out, int64_t n)
{
    float *w = mem_array(NULL, (size_t)(out * n), sizeof *w);
    for (int64_t i = 0; i < out * n; i++)
        w[i] = 0.5f * unit("calibrated.weight", i);
    return w;
}

static int64_t integer(const json_t *c, const char *key)
{
    return json_integer_value(json_object_get(c, key));
}

static double number(const json_t *list, int64_t i)
{
    return json_number_value(json_array_get(list, (size_t)i));
}

static void moments(struct hessian *h, const float *x, int64_t rows, int64_t n)
{
    hessian_init(h, n, NULL);
    hessian_add(h, k, x, rows);
    hessian_finish(h);
}

static void compare_gptq(const json_t *c, const struct grid *g, const struct gptq_result *r)
{
    const char *name = json_string_value(json_object_get(c, "name")), *codes = json_string_value(json_object_get(c, "codes"));
    int64_t same = 0, count = g->out * g->in;
    double worst = 0;
    bool zeros = true, groups = true;
    for (int64_t i = 0; i < count; i++)
        same += strtol((char[]){codes[i], 0}, NULL, 16) == g->codes[i];
    for (int64_t i = 0; i < g->groups; i++)
        for (int64_t o = 0; o < g->out; o++) {
            double want = number(json_array_get(json_object_get(c, "scales"), (size_t)i), o);
            if (!i) /* those of other groups depend on every code before them */
                worst = fmax(worst, fabs((double)g->scales[o] / want - 1));
            zeros &= number(json_array_get(json_object_get(c, "zeros"), (size_t)i), o) == g->zeros[i * g->out + o];
        }
    for (int64_t i = 0; i < g->in; i++)
        groups &= number(json_object_get(c, "g_idx"), i) == g->g_idx[i];
    double want = json_number_value(json_object_get(c, "error"));
    ok(groups, "gptq %s: g_idx", name);
    ok(zeros, "gptq %s: zeros", name);
    ok(worst < 5e-4, "gptq %s: scales of the first group, rounded to f16 (off by %.2g of them at most)", name, worst);
    ok(same >= count * 95 / 100, "gptq %s: %lld of %lld codes are the same", name, (long long)same, (long long)count);
    ok(r->error < 1.02 * want, "gptq %s: the error is %.6g, the reference's %.6g", name, r->error, want);
}

static void test_gptq(const json_t *c)
{
    int64_t out = integer(c, "out"), n = integer(c, "in"), rows = integer(c, "rows"), group = integer(c, "group") < 0 ? 0 : integer(c, "group");
    struct gptq_options o = {group, json_is_true(json_object_get(c, "sym")), json_is_true(json_object_get(c, "order")) ? GPTQ_BY_DIAGONAL : GPTQ_AS_STORED,
                             json_is_true(json_object_get(c, "static")), 0.01};
    float *x = make_inputs(rows, n, 1), *w = make_weights(out, n);
    struct hessian h;
    struct gptq_factor f;
    struct gptq_result r;
    struct grid g;
    struct err e = ERR_INIT;
    moments(&h, x, rows, n);
    double *at = h.at;
    h.at = NULL;
    if (gptq_factor_init(&f, at, n, &o, &e))
        return (void)ok(false, "%s", e.text);
    grid_init(&g, out, n, group, (int)integer(c, "bits"));
    gptq_solve(&g, w, &f, k, &o, &r);
    compare_gptq(c, &g, &r);
    gptq_factor_release(&f);
    grid_release(&g);
    hessian_release(&h);
    free(x);
    free(w);
}

/* Errors of outputs of all ratios, and the best. */
static int find_ratio(const json_t *c, const float *w, const struct hessian *h, const float *x_mean, float *best, int64_t out, int64_t rows)
{
    int64_t n = h->n, group = integer(c, "group");
    float *w_mean = mem_array(NULL, (size_t)n, sizeof *w_mean), *s = mem_array(NULL, (size_t)n, sizeof *s), *d = mem_array(NULL, (size_t)(out * n), sizeof *d);
    double *diagonal = mem_array(NULL, (size_t)n, sizeof *diagonal), least = INFINITY, worst = 0;
    int at = -1;
    awq_weight_mean(w_mean, &w, &out, 1, n, group);
    for (int64_t i = 0; i < n; i++)
        diagonal[i] = h->at[i * n + i];
    for (int i = 0; i < AWQ_RATIOS; i++) {
        awq_scales(s, x_mean, w_mean, n, (double)i / AWQ_RATIOS);
        awq_try(d, w, s, out, n, group);
        for (int64_t j = 0; j < out * n; j++)
            d[j] -= w[j];
        double error = hessian_energy(k, h->at, diagonal, d, out, n) / (double)(out * rows);
        worst = fmax(worst, fabs(error / number(json_object_get(c, "errors"), i) - 1));
        if (error < least) {
            least = error, at = i;
            memcpy(best, s, (size_t)n * sizeof *s);
        }
    }
    ok(worst < 0.05, "awq: errors of all ratios, but for f16 (off by %.2g of them at most)", worst);
    free(w_mean), free(s), free(d), free(diagonal);
    return at;
}

static void test_awq(const json_t *c)
{
    int64_t out = integer(c, "out"), n = integer(c, "in"), rows = integer(c, "rows"), group = integer(c, "group"), same = 0;
    float *x = make_inputs(rows, n, 16), *w = make_weights(out, n), *s = mem_array(NULL, (size_t)n, sizeof *s), *x_mean = mem_zalloc((size_t)n, sizeof *x_mean);
    struct hessian h;
    double worst = 0;
    moments(&h, x, rows, n);
    for (int64_t i = 0; i < rows * n; i++)
        x_mean[i % n] += fabsf(x[i]) / (float)rows;
    is_int(find_ratio(c, w, &h, x_mean, s, out, rows), integer(c, "ratio"), "awq: the best ratio");
    for (int64_t i = 0; i < n; i++)
        worst = fmax(worst, fabs((double)s[i] / number(json_object_get(c, "scales"), i) - 1));
    ok(worst < 1e-4, "awq: its scales (off by %.2g)", worst);
    for (int64_t i = 0; i < out * n; i++)
        w[i] *= s[i % n];
    for (int64_t i = 0; i < n * n; i++)
        h.at[i] /= (double)s[i / n] * (double)s[i % n];
    awq_clip(w, h.at, out, n, group);
    for (int64_t o = 0; o < out; o++)
        for (int64_t i = 0; i < n / group; i++) {
            double most = 0;
            for (int64_t j = 0; j < group; j++)
                most = fmax(most, (double)fabsf(w[o * n + i * group + j]));
            same += fabs(most / number(json_array_get(json_object_get(c, "limits"), (size_t)o), i) - 1) < 1e-3;
        }
    ok(same >= out * (n / group) * 9 / 10, "awq: groups are cut to the same range, but for near ties (%lld of %lld)", (long long)same,
       (long long)(out * (n / group)));
    hessian_release(&h);
    free(x), free(w), free(s), free(x_mean);
}

int main(void)
{
    struct err e = ERR_INIT;
    json_t *root = json_load_file("tests/golden/calibrated.json", 0, NULL), *list = json_object_get(root, "gptq");
    if (!root || !(k = kernels_open("cpu", &e))) {
        printf("Bail out! %s\n", root ? e.text : "cannot read tests/golden/calibrated.json");
        return 1;
    }
    for (size_t i = 0; i < json_array_size(list); i++)
        test_gptq(json_array_get(list, i));
    test_awq(json_object_get(root, "awq"));
    json_decref(root);
    return tap_end();
}
