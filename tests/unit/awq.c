/* AWQ: its parts against what they say, in double and token by token; the solver against rounding alone. */
#include "quantize/awq.h"

#include <stdlib.h>
#include <string.h>

#include "base/threads.h"
#include "quantize/hessian.h"
#include "quantize/solver.h"
#include "tests/unit/tap.h"
#include "tests/unit/tiny_layer.h"

static const char CONFIG[] =
    "{\"model_type\":\"qwen2\",\"vocab_size\":97,\"hidden_size\":64,\"intermediate_size\":96,\"num_hidden_layers\":2,"
    "\"num_attention_heads\":4,\"num_key_value_heads\":4,\"tie_word_embeddings\":true}";
static const int LENGTHS[] = {40, 130, 17, 300, 64, 33, 50, 77, 500, 640, 300, 90};
enum { SAMPLES = sizeof LENGTHS / sizeof *LENGTHS };

/* Channels of unequal size, as models have them. */
static float *make_inputs(int64_t rows, int64_t n)
{
    float *x = mem_array(NULL, (size_t)(rows * n), sizeof *x);
    formula_fill(x, "inputs", (uint64_t)(rows * n));
    for (int64_t i = 0; i < rows * n; i++)
        x[i] *= i % n % 13 == 5 ? 12.0f : 1.0f;
    return x;
}

static float *make_weights(const char *name, int64_t count)
{
    float *w = mem_array(NULL, (size_t)count, sizeof *w);
    formula_fill(w, name, (uint64_t)count);
    return w;
}

/* As AutoAWQ has it: everything of a group of one row. */
static double naive_value(const float *w, int64_t n, int64_t i, double *scale)
{
    double low = (double)w[0], high = (double)w[0];
    for (int64_t j = 1; j < n; j++)
        low = fmin(low, (double)w[j]), high = fmax(high, (double)w[j]);
    *scale = (double)f16_to_f32(f32_to_f16((float)(fmax(high - low, 1e-5) / 15)));
    double zero = fmin(fmax(-rint(low / *scale), 0), 15), code = fmin(fmax(rint((double)w[i] / *scale) + zero, 0), 15);
    return *scale * (code - zero);
}

static void test_round(void)
{
    int64_t out = 10, in = 96, group = 32;
    float *w = make_weights("round", out * in), *was = make_weights("round", out * in);
    double scale;
    bool values = true, codes = true, exact = true;
    for (int64_t i = 0; i < 32; i++)
        w[i] = was[i] = 0, w[in + i] = was[in + i] = 0.25f, w[2 * in + i] += 1, was[2 * in + i] += 1; /* zeros, all the same, all positive */
    struct grid g;
    grid_init(&g, out, in, group, 4);
    awq_round(&g, w);
    for (int64_t i = 0; i < out * in; i++) {
        int64_t first = i / group * group, k = i % in / group;
        double want = naive_value(was + first, group, i - first, &scale);
        values &= (double)w[i] == want;
        exact &= (double)g.scales[k * out + i / in] == scale;
        codes &= g.codes[i] <= 15 && w[i] == grid_value(&g, k, i / in, g.codes[i]);
    }
    ok(values, "values are those of the formula");
    ok(exact, "scales are exact in f16");
    ok(codes, "the grid gives the values");
    ok(w[0] == 0 && w[31] == 0, "zeros stay zero");
    float *tried = mem_array(NULL, (size_t)(out * in), sizeof *tried), *ones = mem_array(NULL, (size_t)in, sizeof *ones);
    awq_try(tried, was, NULL, out, in, group);
    ok(!memcmp(tried, w, (size_t)(out * in) * sizeof *w), "a trial without scales gives the same");
    for (int64_t i = 0; i < in; i++)
        ones[i] = 4;
    awq_try(tried, was, ones, out, in, group);
    values = true;
    for (int64_t i = 0; i < out * in; i++)
        values &= fabsf(tried[i] - w[i]) < 1e-3f;
    ok(values, "and so with one scale for all, but for the rounding of the group's scale");
    grid_release(&g);
    free(w), free(was), free(tried), free(ones);
}

static void test_means_and_scales(void)
{
    int64_t in = 80, group = 32, out[2] = {6, 9};
    const float *w[2] = {make_weights("a", out[0] * in), make_weights("b", out[1] * in)};
    float mean[80], scales[80], x_mean[80];
    bool good = true;
    awq_weight_mean(mean, w, out, 2, in, group);
    for (int64_t i = 0; i < in; i++) {
        double sum = 0;
        for (int m = 0; m < 2; m++)
            for (int64_t r = 0; r < out[m]; r++) {
                double most = 0;
                for (int64_t j = i / group * group; j < in && j < (i / group + 1) * group; j++)
                    most = fmax(most, (double)fabsf(w[m][r * in + j]));
                sum += (double)fabsf(w[m][r * in + i]) / (most + 1e-6);
            }
        good &= fabs(sum / 15 - (double)mean[i]) < 1e-6;
        x_mean[i] = (float)(i % 9) * 0.5f; /* some are 0 */
    }
    ok(good, "the mean of weights is that of the formula");
    for (int ratio = 0; ratio < AWQ_RATIOS; ratio += 6) {
        double r = (double)ratio / AWQ_RATIOS, s[80], most = 0, least = INFINITY;
        good = true;
        awq_scales(scales, x_mean, mean, in, r);
        for (int64_t i = 0; i < in; i++) {
            s[i] = fmax(pow((double)x_mean[i], r) / (pow((double)mean[i], 1 - r) + 1e-4), 1e-4);
            most = fmax(most, s[i]), least = fmin(least, s[i]);
        }
        for (int64_t i = 0; i < in; i++)
            good &= fabs(s[i] / sqrt(most * least) - (double)scales[i]) < 1e-5 * (double)scales[i];
        ok(good, "scales of ratio %g are those of the formula", r);
    }
    x_mean[7] = NAN;
    awq_scales(scales, x_mean, mean, in, 0.5);
    ok(scales[7] == 1, "what is not a number is not scaled");
    free((void *)w[0]);
    free((void *)w[1]);
}

/* The range with the least error over all tokens, one by one. */
static void test_clip(void)
{
    int64_t out = 8, in = 96, group = 32, rows = 200, cut = 0;
    const struct kernels *k;
    struct err e = ERR_INIT;
    struct hessian h;
    float *x = make_inputs(rows, in), *w = make_weights("clip", out * in), *was = make_weights("clip", out * in);
    if (!(k = kernels_open("cpu", &e)))
        tiny_die(&e);
    for (int64_t i = 0; i < out * in; i += 37)
        w[i] *= 3, was[i] *= 3;
    hessian_init(&h, in, NULL);
    hessian_add(&h, k, x, rows);
    hessian_finish(&h);
    awq_clip(w, h.at, out, in, group);
    bool best = true;
    for (int64_t o = 0; o < out; o++)
        for (int64_t s = 0; s < in; s += group) {
            const float *from = was + o * in + s, *to = w + o * in + s;
            double least = INFINITY, most = 0, mine = 0;
            for (int64_t j = 0; j < group; j++)
                most = fmax(most, (double)fabsf(from[j])), mine = fmax(mine, (double)fabsf(to[j]));
            double chosen = INFINITY;
            for (int i = 0; i < AWQ_SHRINKS; i++) {
                float limit = (float)most * (1 - (float)i / 20), held[32];
                double error = 0, scale;
                for (int64_t j = 0; j < group; j++)
                    held[j] = from[j] < -limit ? -limit : from[j] > limit ? limit : from[j];
                for (int64_t r = 0; r < rows; r++) {
                    double sum = 0;
                    for (int64_t j = 0; j < group; j++)
                        sum += (double)x[r * in + s + j] * ((double)from[j] - naive_value(held, group, j, &scale));
                    error += sum * sum;
                }
                least = error < least ? error : least;
                if (fabs((double)limit - mine) < 1e-6)
                    chosen = error;
            }
            cut += mine < most;
            best &= chosen <= least * 1.001;
        }
    ok(best, "every group has the range with the least error of its outputs");
    ok(cut > 0 && cut < out * in / group, "some are cut, some not (%lld)", (long long)cut);
    hessian_release(&h);
    free(x), free(w), free(was);
}

struct made {
    struct quantize_layer l[2];
};

static void make_layers(struct model *m, const struct token_file *t, const struct quantize_options *o, struct made *made, int kept)
{
    struct err e = ERR_INIT;
    struct solver *s = solver_open(o, m, m->k, t, NULL, &e);
    int rc = s ? 0 : -1;
    for (int i = 0; i < 2 && !rc; i++) {
        tiny_layer_make(&made->l[i], m, i);
        if (kept >= 0)
            made->l[i].modules[kept].kept = true;
        if (!(rc = solver_solve(s, &made->l[i], &e)) && !i)
            rc = solver_advance(s, &made->l[i]);
    }
    if (rc)
        tiny_die(&e);
    solver_close(s);
}

static void free_layers(struct made *made)
{
    tiny_layer_free(&made->l[0]);
    tiny_layer_free(&made->l[1]);
}

/* How far the layer's output is from that of the layer as it was: relative. */
static double distance(struct model *m, const struct token_file *t, const struct quantize_layer *l)
{
    struct err e = ERR_INIT;
    struct calibrate *a = calibrate_open(m, m->k, t, 0, NULL, &e), *b = calibrate_open(m, m->k, t, 0, NULL, &e);
    if (!a || !b || calibrate_advance(a, l->index))
        tiny_die(&e);
    calibrate_use(b, l);
    if (calibrate_advance(b, l->index))
        tiny_die(&e);
    double off = 0, all = 0;
    for (int64_t i = 0; i < calibrate_tokens(a) * m->config.hidden; i++) {
        double x = (double)calibrate_states(a)[i];
        off += (x - (double)calibrate_states(b)[i]) * (x - (double)calibrate_states(b)[i]);
        all += x * x;
    }
    calibrate_close(a);
    calibrate_close(b);
    return sqrt(off / all);
}

/* Norms of which a part is much larger than the rest, so that some inputs matter more. */
static void make_uneven(struct model *m)
{
    for (int l = 0; l < m->config.layers; l++)
        for (int64_t i = 5; i < m->config.hidden; i += 13)
            m->layers[l].attn_norm.weight[i] *= 5, m->layers[l].mlp_norm.weight[i] *= 5;
}

static bool same_layer(const struct quantize_layer *a, const struct quantize_layer *b)
{
    bool same = !memcmp(a->attn_norm.value, b->attn_norm.value, (size_t)a->attn_norm.n * sizeof(float))
                && !memcmp(a->mlp_norm.value, b->mlp_norm.value, (size_t)a->mlp_norm.n * sizeof(float));
    for (int i = 0; i < LAYER_LINEARS; i++) {
        const struct quantize_module *x = &a->modules[i], *y = &b->modules[i];
        same &= !memcmp(x->weight, y->weight, (size_t)(x->out * x->in) * sizeof *x->weight);
        same &= !memcmp(x->grid.codes, y->grid.codes, (size_t)(x->out * x->in));
    }
    return same;
}

static void test_solver(void)
{
    struct err e = ERR_INIT;
    char *dir = tiny_model_write(CONFIG, NULL);
    const struct kernels *k = kernels_open("cpu", &e);
    struct model *m = k ? model_open(dir, k, &e) : NULL;
    struct tiny_tokens t;
    struct made plain, scaled, both, again, kept;
    struct quantize_layer was;
    struct quantize_options o = {.method = QUANTIZE_AWQ, .bits = 4, .group = 32};
    if (!m)
        tiny_die(&e);
    make_uneven(m);
    tiny_tokens_make(&t, LENGTHS, SAMPLES, m->config.vocab);
    tiny_layer_make(&was, m, 0);
    int64_t device;
    ok(solver_memory(&o, m, m->k, t.file, &device) > calibrate_bytes(m, m->k, t.file, solver_awq.tokens), "memory is told");
    threads_set(1);
    make_layers(m, t.file, &o, &both, -1);
    threads_set(2);
    make_layers(m, t.file, &o, &again, -1);
    ok(same_layer(&both.l[0], &again.l[0]) && same_layer(&both.l[1], &again.l[1]), "the same bits with 1 thread and with 2");
    o.no_clip = true;
    make_layers(m, t.file, &o, &scaled, -1);
    make_layers(m, t.file, &o, &kept, LAYER_Q);
    o.no_scale = true;
    make_layers(m, t.file, &o, &plain, -1);
    double d_plain = distance(m, t.file, &plain.l[0]), d_scaled = distance(m, t.file, &scaled.l[0]), d_both = distance(m, t.file, &both.l[0]);
    ok(d_scaled < d_plain, "scales lessen the error of the layer: %.4f to %.4f", d_plain, d_scaled);
    ok(d_both < d_scaled, "and clipping: to %.4f", d_both);
    bool told = true, fits = true;
    for (int i = 0; i < LAYER_LINEARS; i++) {
        const struct quantize_module *q = &both.l[0].modules[i];
        told &= q->weight_error > 0 && q->weight_error < 0.2 && q->output_error > 0 && q->output_error < 0.2 && isnan(q->damp);
        for (int64_t j = 0; j < q->out * q->in; j++)
            fits &= q->weight[j] == grid_value(&q->grid, j % q->in / 32, j / q->in, q->grid.codes[j]);
    }
    ok(told, "errors are told");
    ok(fits, "the weights are what the grid gives back");
    ok(memcmp(was.attn_norm.value, both.l[0].attn_norm.value, 64 * sizeof(float)) && !memcmp(was.attn_norm.value, plain.l[0].attn_norm.value, 64 * sizeof(float)),
       "norms change with scales, and only then");
    ok(memcmp(was.modules[LAYER_V].bias.value, both.l[0].modules[LAYER_V].bias.value, 64 * sizeof(float))
       && !memcmp(was.modules[LAYER_Q].bias.value, both.l[0].modules[LAYER_Q].bias.value, 64 * sizeof(float)),
       "the bias of v takes back o's scales, that of q stays");
    const struct quantize_module *q = &kept.l[0].modules[LAYER_Q];
    double worst = 0;
    for (int64_t i = 0; i < 64 * 64; i++)
        worst = fmax(worst, fabs((double)q->weight[i] * (double)kept.l[0].attn_norm.value[i % 64]
                                 - (double)was.modules[LAYER_Q].weight[i] * (double)was.attn_norm.value[i % 64]));
    ok(!q->grid.codes && worst < 1e-6, "what is kept is scaled with the rest, and gives what it gave (off by %.2g)", worst);
    free_layers(&plain), free_layers(&scaled), free_layers(&both), free_layers(&again), free_layers(&kept);
    tiny_layer_free(&was);
    tiny_tokens_free(&t);
    model_close(m);
    free(dir);
}

static int always(void)
{
    return 1;
}

static void test_solver_ends(void)
{
    struct err e = ERR_INIT;
    char *dir = tiny_model_write(CONFIG, NULL);
    const struct kernels *k = kernels_open("cpu", &e);
    struct model *m = k ? model_open(dir, k, &e) : NULL;
    struct tiny_tokens t;
    struct quantize_layer l;
    struct quantize_options o = {.method = QUANTIZE_AWQ, .bits = 4, .group = 32};
    if (!m)
        tiny_die(&e);
    tiny_tokens_make(&t, LENGTHS, SAMPLES, m->config.vocab);
    tiny_layer_make(&l, m, 0);
    struct solver *s = solver_open(&o, m, m->k, t.file, always, &e);
    is_int(s ? solver_solve(s, &l, &e) : -1, 1, "the solver stops when it is asked to");
    solver_close(s);
    l.mlp_norm.value[3] = INFINITY;
    s = solver_open(&o, m, m->k, t.file, NULL, &e);
    int rc = s ? solver_solve(s, &l, &e) : 0;
    ok(rc == -1 && strstr(e.text, "gate_proj: input"), "activations that are not finite are an error: %s", e.text);
    solver_close(s);
    tiny_layer_free(&l);
    tiny_tokens_free(&t);
    model_close(m);
    free(dir);
}

int main(void)
{
    test_round();
    test_means_and_scales();
    test_clip();
    test_solver();
    test_solver_ends();
    return tap_end();
}
