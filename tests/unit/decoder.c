/* The decoder against transformers and PEFT: tests/golden/decoder/, made by tests/golden/make_models.py. */
#include "tests/unit/tap.h"
#include "tests/unit/tiny_train.h"

#include "format/model_folder.h"

static const char *const MODELS[] = {
    "llama", "llama-rope-llama3", "llama-rope-linear", "llama-rope-dynamic", "llama-rope-yarn", "llama-biases", "mistral-window",
    "qwen2-window", "qwen2", "qwen3", "qwen3-window", "llama-bf16", "llama-f16",
};

struct golden {
    const char *name;
    struct st_file *file;
    char *dir;
    struct batch batch;
    int64_t trained;
};

static const void *data_of(const struct golden *g, const char *name)
{
    const struct st_tensor *t = st_find(g->file, name);
    if (!t) {
        printf("Bail out! %s: no tensor %s\n", g->name, name);
        exit(1);
    }
    return t->data;
}

static void golden_open(struct golden *g, const char *name)
{
    struct err e = ERR_INIT;
    char *path = mem_printf("tests/golden/decoder/%s.safetensors", name);
    g->name = name;
    g->file = st_open(path, &e);
    if (!g->file)
        tiny_die(&e);
    free(path);
    g->dir = tiny_model_write(st_meta(g->file, "config"), st_meta(g->file, "stored"), NULL);
    g->batch = (struct batch){
        .n = st_find(g->file, "ids")->numel, .ids = data_of(g, "ids"), .targets = data_of(g, "targets"),
        .n_seq = (int)st_find(g->file, "start")->numel - 1, .start = data_of(g, "start")};
    g->trained = 0;
    for (int64_t i = 0; i < g->batch.n; i++)
        g->trained += g->batch.targets[i] >= 0;
}

static void golden_close(struct golden *g)
{
    st_close(g->file);
    tiny_model_remove(g->dir);
}

static struct model *open_model(const struct golden *g)
{
    struct err e = ERR_INIT;
    struct model *m = model_open(g->dir, kernels_open("cpu", &e), &e);
    if (!m)
        tiny_die(&e);
    return m;
}

/* Largest difference over the largest value. */
static double relative_error(const float *got, const float *want, int64_t n)
{
    double diff = 0, top = 1e-30;
    for (int64_t i = 0; i < n; i++) {
        if (!(fabs((double)got[i] - want[i]) <= diff))
            diff = fabs((double)got[i] - want[i]);
        top = fmax(top, fabs((double)want[i]));
    }
    return diff / top;
}

struct logits { float *data; int64_t vocab, rows; };

static int keep_logits(void *arg, int64_t first, int64_t count, const float *z)
{
    struct logits *l = arg;
    if (first != l->rows)
        return -1;
    memcpy(l->data + first * l->vocab, z, (size_t)(count * l->vocab) * sizeof *z);
    l->rows += count;
    return 0;
}

static float *logits_of(struct decoder *d, struct model *m, const struct batch *b)
{
    struct err e = ERR_INIT;
    struct logits l = {mem_array(NULL, (size_t)(b->n * m->config.vocab), sizeof *l.data), m->config.vocab, 0};
    if (decoder_logits(d, b, NULL, 0, keep_logits, &l, &e))
        tiny_die(&e);
    if (l.rows != b->n)
        l.data[0] = NAN;
    return l.data;
}

static void run_backward(struct decoder *d, const struct batch *b, double scale, struct decoder_result *r)
{
    struct err e = ERR_INIT;
    if (decoder_forward_backward(d, b, (float)scale, 7, 1, r, &e))
        tiny_die(&e);
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
    for (size_t i = 0; i < sizeof MODELS / sizeof *MODELS; i++) {
        struct golden g;
        golden_open(&g, MODELS[i]);
        test_forward(&g);
        test_training(&g);
        golden_close(&g);
    }
    return tap_end();
}
