/* The decoder against transformers and PEFT: tests/golden/decoder/, made by tests/golden/make_models.py. */
#include "tests/unit/golden_model.h"
#include "tests/unit/tap.h"

static void run_backward(struct decoder *d, const struct batch *b, double scale, struct decoder_result *r)
{
    struct err e = ERR_INIT;
    if (decoder_forward_backward(d, b, (float)scale, 7, 1, r, &e))
        tiny_die(&e);
    decoder_end_step(d);
}

/* Sample s of the batch alone. */
static struct batch sample_of(const struct batch *b, int s, int64_t bounds[2])
{
    bounds[0] = 0;
    bounds[1] = b->start[s + 1] - b->start[s];
    return (struct batch){.n = bounds[1], .ids = b->ids + b->start[s], .targets = b->targets + b->start[s],
                          .n_seq = 1, .start = bounds, .row0 = b->row0 + b->start[s]};
}

static void test_forward(const struct golden *g)
{
    struct model *m = open_model(g);
    struct tiny_decoder d;
    struct decoder_result r;
    struct err e = ERR_INIT;
    tiny_decoder_make(&d, m, g->batch.n, 3, false, false);
    float *z = logits_of(d.d, m, &g->batch), *per_row = mem_array(NULL, (size_t)g->batch.n, sizeof *per_row);
    double error = relative_error(z, data_of(g, "logits"), g->batch.n * m->config.vocab);
    ok(error <= 1e-5, "%s: logits (off by %.2g)", g->name, error);
    if (decoder_loss(d.d, &g->batch, &r, per_row, &e))
        tiny_die(&e);
    ok(r.trained == g->trained, "%s: counts %lld trained rows", g->name, (long long)r.trained);
    double want = *(const double *)data_of(g, "loss"), got = r.loss_sum / (double)r.trained, sum = 0;
    ok(fabs(got - want) <= 1e-6 * want, "%s: loss %.8g, expected %.8g", g->name, got, want);
    for (int64_t i = 0; i < g->batch.n; i++)
        sum += per_row[i];
    ok(sum == r.loss_sum, "%s: losses of the rows add up", g->name);
    bool same = true;
    for (int s = 0; s < 3; s++) {
        int64_t bounds[2];
        struct batch one = sample_of(&g->batch, s, bounds);
        float *alone = logits_of(d.d, m, &one);
        same &= !memcmp(alone, z + g->batch.start[s] * m->config.vocab, (size_t)(one.n * m->config.vocab) * sizeof *z);
        free(alone);
    }
    ok(same, "%s: packed samples have the bits of each alone", g->name);
    free(z);
    free(per_row);
    tiny_decoder_release(&d);
    model_close(m);
}

/* Gradients of `p` against the golden ones named prefix + name. */
static void compare_gradients(const struct golden *g, const struct tiny_params *p, const char *prefix)
{
    double worst = 0;
    const char *where = "";
    for (int i = 0; i < p->n; i++) {
        char *key = mem_printf("%s%s", prefix, p->p[i]->name);
        double error = relative_error(p->p[i]->grad, data_of(g, key), p->p[i]->numel);
        free(key);
        if (!(error <= worst)) {
            worst = error;
            where = p->p[i]->name;
        }
    }
    ok(worst <= 1e-4, "%s: %d gradients %s (worst %.2g, %s)", g->name, p->n, prefix, worst, where);
}

static float *copy_gradients(const struct tiny_params *p)
{
    float *all = NULL;
    size_t n = 0;
    for (int i = 0; i < p->n; i++) {
        all = mem_array(all, n + (size_t)p->p[i]->numel, sizeof *all);
        memcpy(all + n, p->p[i]->grad, (size_t)p->p[i]->numel * sizeof *all);
        n += (size_t)p->p[i]->numel;
    }
    return all;
}

static double gradients_differ(const struct tiny_params *p, const float *all)
{
    double worst = 0;
    for (int i = 0; i < p->n; i++) {
        double error = relative_error(p->p[i]->grad, all, p->p[i]->numel);
        worst = fmax(worst, isnan(error) ? INFINITY : error);
        all += p->p[i]->numel;
    }
    return worst;
}

/* Gradients of the set `p` against the goldens, then again with recomputation and from the samples one by one. */
static void check_training(const struct golden *g, struct model *m, struct tiny_params *p, const char *prefix, const char *loss)
{
    struct tiny_decoder d;
    struct decoder_result r;
    double scale = 1.0 / (double)g->trained;
    tiny_decoder_make(&d, m, g->batch.n, 3, true, false);
    run_backward(d.d, &g->batch, scale, &r);
    double want = *(const double *)data_of(g, loss), got = r.loss_sum / (double)r.trained;
    ok(fabs(got - want) <= 1e-6 * want, "%s: %s %.8g, expected %.8g", g->name, loss, got, want);
    compare_gradients(g, p, prefix);
    float *first = copy_gradients(p);
    tiny_zero_grad(p);
    for (int s = 0; s < 3; s++) {
        int64_t bounds[2];
        struct batch one = sample_of(&g->batch, s, bounds);
        run_backward(d.d, &one, scale, &r);
    }
    double error = gradients_differ(p, first);
    ok(error <= 1e-6, "%s: gradients %s of samples one by one (off by %.2g)", g->name, prefix, error);
    tiny_decoder_release(&d);
    tiny_decoder_make(&d, m, g->batch.n, 3, true, true);
    tiny_zero_grad(p);
    run_backward(d.d, &g->batch, scale, &r);
    ok(gradients_differ(p, first) == 0, "%s: gradients %s with recomputation, bit for bit", g->name, prefix);
    free(first);
    tiny_decoder_release(&d);
}

static void test_training(const struct golden *g)
{
    struct tiny_params p = {.n = 0};
    struct model *m = open_model(g);
    if (st_find(g->file, "grad.model.norm.weight")) {
        tiny_train_all(&p, m);
        check_training(g, m, &p, "grad.", "loss");
        tiny_params_release(&p);
        model_close(m);
        m = open_model(g);
    }
    tiny_train_lora(&p, m);
    check_training(g, m, &p, "lora.grad.", "lora.loss");
    tiny_params_release(&p);
    model_close(m);
}

int main(void)
{
    for (size_t i = 0; i < sizeof GOLDEN_MODELS / sizeof *GOLDEN_MODELS; i++) {
        struct golden g;
        golden_open(&g, GOLDEN_MODELS[i]);
        test_forward(&g);
        test_training(&g);
        golden_close(&g);
    }
    return tap_end();
}
