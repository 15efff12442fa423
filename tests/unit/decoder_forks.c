/* Samples with two branches, and losses whose rows are weighed once all are known: against samples without forks, finite differences,
 * and other cuts of the same step. */
#include "base/rng.h"
#include "tests/unit/golden_model.h"
#include "tests/unit/tap.h"

enum { ROWS = 41, SAMPLES = 3, TOKENS = 43 };

/* Sample 0: 6 rows before the fork, branches of 5 and 9; sample 1: no fork; sample 2: the branches begin at once. */
static const struct batch_fork FORKS[SAMPLES] = {{6, 11}, {0, 0}, {0, 7}};
static const int64_t START[SAMPLES + 1] = {0, 20, 29, ROWS};

struct pairs {
    int32_t ids[ROWS], targets[ROWS];
    float weight[ROWS];
    struct batch b;
};

static void pairs_make(struct pairs *p)
{
    struct rng r = {11, 3};
    for (int i = 0; i < ROWS; i++) {
        p->ids[i] = (int32_t)(rng_uniform(&r, (uint64_t)(3 * i)) * TOKENS);
        p->targets[i] = rng_uniform(&r, (uint64_t)(3 * i + 1)) < 0.2f ? -1 : (int32_t)(rng_uniform(&r, (uint64_t)(3 * i + 1)) * TOKENS);
        p->weight[i] = 2 * rng_uniform(&r, (uint64_t)(3 * i + 2)) - 1;
    }
    p->b = (struct batch){.n = ROWS, .ids = p->ids, .targets = p->targets, .n_seq = SAMPLES, .start = START, .forks = FORKS};
}

/* The rows of sample s alone: branch 0 or 1 as a sample without fork, or (-1) as it is. from: the row that each came from. */
struct part {
    int32_t ids[ROWS], targets[ROWS];
    int64_t from[ROWS], start[2];
    struct batch b;
};

static void part_make(struct part *t, const struct pairs *p, int s, int branch)
{
    int64_t at = START[s], len = START[s + 1] - at, n = 0;
    for (int64_t i = 0; i < len; i++) {
        bool first = FORKS[s].end && i >= FORKS[s].at && i < FORKS[s].end, second = FORKS[s].end && i >= FORKS[s].end;
        if ((branch == 0 && second) || (branch == 1 && first))
            continue;
        t->from[n] = at + i;
        t->ids[n] = p->ids[at + i];
        t->targets[n++] = branch == 1 && !second ? -1 : p->targets[at + i]; /* what both share counts once */
    }
    t->start[0] = 0, t->start[1] = n;
    t->b = (struct batch){.n = n, .ids = t->ids, .targets = t->targets, .n_seq = 1, .start = t->start, .row0 = at, .forks = branch < 0 ? &FORKS[s] : NULL};
}

struct weights {
    const float *of;
    const int64_t *from; /* NULL: as they are */
    int calls;
};

static int give(void *arg, const struct batch *b, const struct decoder_rows *rows, float *weight, struct err *e)
{
    struct weights *w = arg;
    (void)e;
    w->calls++;
    for (int64_t i = 0; i < b->n; i++)
        if (rows->loss[i] != 0)
            weight[i] = w->of[w->from ? w->from[i] : i];
    return 0;
}

static double pass(struct decoder *d, const struct batch *b, const float *of, const int64_t *from, float *loss, bool back)
{
    struct err e = ERR_INIT;
    struct decoder_result r;
    struct weights w = {of, from, 0};
    const struct decoder_rows rows = {.loss = loss};
    double sum = 0;
    if (decoder_weighed(d, b, &rows, back ? give : NULL, &w, 5, 3, &r, &e) || w.calls != back)
        tiny_die(&e);
    for (int64_t i = 0; i < b->n; i++)
        sum += (double)loss[i] * of[from ? from[i] : i];
    return sum;
}

/* all: every weight is trained, so the output layer, too; else pairs of layers only. */
static void setup(struct golden *g, struct model **m, struct tiny_params *p, const char *name, bool all)
{
    golden_open(g, name);
    *m = open_model(g);
    p->n = 0;
    if (all)
        tiny_train_all(p, *m);
    else
        tiny_train_lora(p, *m);
}

static void teardown(struct golden *g, struct model *m, struct tiny_params *p, struct tiny_decoder *d)
{
    tiny_decoder_release(d);
    tiny_params_release(p);
    model_close(m);
    golden_close(g);
}

static float **take_gradients(struct tiny_params *p)
{
    float **g = mem_array(NULL, (size_t)p->n, sizeof *g);
    for (int i = 0; i < p->n; i++) {
        g[i] = p->p[i]->grad;
        p->p[i]->grad = mem_zalloc((size_t)p->p[i]->numel, sizeof **g);
    }
    return g;
}

static void free_gradients(float **g, int n)
{
    for (int i = 0; i < n; i++)
        free(g[i]);
    free(g);
}

/* d loss / d t along the gradient g of one parameter is |g|. */
static void test_slopes(const char *name, bool all, bool recompute)
{
    struct golden g;
    struct model *m;
    struct tiny_params p;
    struct tiny_decoder d;
    struct pairs b;
    float loss[ROWS];
    double worst = 0;
    pairs_make(&b);
    setup(&g, &m, &p, name, all);
    tiny_decoder_make(&d, m, ROWS, SAMPLES, true, recompute);
    pass(d.d, &b.b, b.weight, NULL, loss, true);
    decoder_end_step(d.d);
    for (int i = 0; i < p.n; i++) {
        struct param *x = p.p[i];
        double norm = 0, side[2];
        float *keep = mem_array(NULL, (size_t)x->numel, sizeof *keep);
        memcpy(keep, x->value, (size_t)x->numel * sizeof *keep);
        for (int64_t j = 0; j < x->numel; j++)
            norm += (double)x->grad[j] * x->grad[j];
        norm = sqrt(norm);
        double step = fmin(0.02 / norm, 0.02);
        for (int k = 0; k < 2; k++) {
            for (int64_t j = 0; j < x->numel; j++)
                x->value[j] = (float)(keep[j] + (k ? step : -step) * x->grad[j] / norm);
            side[k] = pass(d.d, &b.b, b.weight, NULL, loss, false);
        }
        memcpy(x->value, keep, (size_t)x->numel * sizeof *keep);
        free(keep);
        worst = fmax(worst, fabs((side[1] - side[0]) / (2 * step) - norm) / norm);
    }
    ok(worst <= 2e-3, "%s: %d gradients of weighed rows are slopes (%s, worst %.2g)", name, p.n, all ? "all weights" : "pairs", worst);
    teardown(&g, m, &p, &d);
}

/* A forked sample against its branches as two samples; and alone against in company: there bit for bit. */
static void test_branches(const char *name, bool all)
{
    struct golden g;
    struct model *m;
    struct tiny_params p;
    struct tiny_decoder d;
    struct pairs b;
    float loss[ROWS], part_loss[ROWS];
    bool first_same = true;
    double second_off = 0, worst = 0;
    pairs_make(&b);
    setup(&g, &m, &p, name, all);
    tiny_decoder_make(&d, m, ROWS, SAMPLES, true, false);
    pass(d.d, &b.b, b.weight, NULL, loss, true);
    decoder_end_step(d.d);
    float **whole = take_gradients(&p);
    for (int s = 0; s < SAMPLES; s++)
        for (int branch = 0; branch < (FORKS[s].end ? 2 : 1); branch++) {
            struct part t;
            part_make(&t, &b, s, branch);
            pass(d.d, &t.b, b.weight, t.from, part_loss, true);
            for (int64_t i = 0; i < t.b.n; i++) {
                if (t.targets[i] < 0)
                    continue;
                first_same &= branch || part_loss[i] == loss[t.from[i]];
                second_off = fmax(second_off, fabs(part_loss[i] - loss[t.from[i]]) / loss[t.from[i]]);
            }
        }
    decoder_end_step(d.d);
    for (int i = 0; i < p.n; i++)
        worst = fmax(worst, relative_error(p.p[i]->grad, whole[i], p.p[i]->numel));
    ok(first_same, "%s: a first branch has the losses of a sample of its own", name);
    ok(second_off < 1e-5, "%s: so has, but for rounding, a second branch (%.2g)", name, second_off);
    ok(worst < 2e-5, "%s: the gradient is that of both branches as samples (%s, off by %.2g)", name, all ? "all weights" : "pairs", worst);
    free_gradients(whole, p.n);
    teardown(&g, m, &p, &d);
}

/* Packs of one sample, and activations made again, give the bits of the whole. */
static void test_cuts(const char *name, bool all)
{
    struct golden g;
    struct model *m;
    struct tiny_params p;
    struct tiny_decoder d;
    struct pairs b;
    float loss[ROWS], part_loss[ROWS];
    bool same = true;
    pairs_make(&b);
    setup(&g, &m, &p, name, all);
    tiny_decoder_make(&d, m, ROWS, SAMPLES, true, false);
    pass(d.d, &b.b, b.weight, NULL, loss, true);
    decoder_end_step(d.d);
    tiny_decoder_release(&d);
    float **whole = take_gradients(&p);
    tiny_decoder_make(&d, m, 20, 1, true, true);
    for (int s = 0; s < SAMPLES; s++) {
        struct part t;
        part_make(&t, &b, s, -1);
        pass(d.d, &t.b, b.weight, t.from, part_loss, true);
        same &= !memcmp(part_loss, loss + START[s], (size_t)t.b.n * sizeof *loss);
    }
    decoder_end_step(d.d);
    ok(same, "%s: losses of a pair in a pack of its own", name);
    for (int i = 0; i < p.n; i++)
        same &= !memcmp(p.p[i]->grad, whole[i], (size_t)p.p[i]->numel * sizeof **whole);
    ok(same, "%s: gradients in packs of one pair, computed again (%s)", name, all ? "all weights" : "pairs");
    free_gradients(whole, p.n);
    teardown(&g, m, &p, &d);
}

/* What is told of rows, against their scores. */
static void test_rows(void)
{
    struct golden g;
    struct model *m;
    struct tiny_params p;
    struct tiny_decoder d;
    struct pairs b;
    struct err e = ERR_INIT;
    struct decoder_result r;
    float loss[ROWS], mean[ROWS], entropy[ROWS], squares[ROWS], plain[ROWS];
    const struct decoder_rows rows = {loss, mean, entropy, squares};
    double off = 0;
    pairs_make(&b);
    setup(&g, &m, &p, "llama", false);
    tiny_decoder_make(&d, m, ROWS, SAMPLES, true, false);
    if (decoder_measure(d.d, &b.b, &rows, &r, &e) || decoder_loss(d.d, &b.b, &r, plain, &e))
        tiny_die(&e);
    float *z = logits_of(d.d, m, &b.b);
    for (int i = 0; i < ROWS; i++) {
        double sum = 0, want[4] = {0};
        for (int j = 0; j < TOKENS && b.targets[i] >= 0; j++)
            sum += exp(z[i * TOKENS + j]);
        for (int j = 0; j < TOKENS && b.targets[i] >= 0; j++) {
            double x = z[i * TOKENS + j], q = exp(x) / sum;
            want[0] = j == b.targets[i] ? -log(q) : want[0];
            want[1] += x / TOKENS, want[2] -= q * log(q), want[3] += q * q;
        }
        off = fmax(off, fmax(fabs(want[0] - loss[i]), fabs(want[1] - mean[i])));
        off = fmax(off, fmax(fabs(want[2] - entropy[i]), fabs(want[3] - squares[i])));
    }
    free(z);
    ok(off < 3e-6, "losses, means, entropies and squares are those of the scores (%.2g)", off);
    ok(!memcmp(plain, loss, sizeof loss), "asking for more changes no loss");
    teardown(&g, m, &p, &d);
}

static int refuse(void *arg, const struct batch *b, const struct decoder_rows *rows, float *weight, struct err *e)
{
    (void)arg, (void)b, (void)rows, (void)weight;
    return err_set(e, "not these");
}

static void test_refused(void)
{
    struct golden g;
    struct model *m;
    struct tiny_params p;
    struct tiny_decoder d;
    struct pairs b;
    struct decoder_result r;
    float loss[ROWS];
    const struct decoder_rows rows = {.loss = loss};
    static const struct batch_fork bad[][SAMPLES] = {{{6, 20}}, {{-1, 3}}, {{5, 5}}, {{0, 1}, {7, 6}}};
    pairs_make(&b);
    setup(&g, &m, &p, "llama", false);
    tiny_decoder_make(&d, m, ROWS, SAMPLES, true, false);
    for (int i = 0; i < 4; i++) {
        struct err e = ERR_INIT;
        b.b.forks = bad[i];
        ok(decoder_measure(d.d, &b.b, &rows, &r, &e) < 0 && strstr(e.text, "found a fork"), "refused: %s", e.text);
    }
    struct err e = ERR_INIT;
    b.b.forks = FORKS;
    ok(decoder_weighed(d.d, &b.b, &rows, refuse, NULL, 0, 0, &r, &e) == -1 && !strcmp(e.text, "not these"), "who weighs may refuse");
    bool none = true;
    for (int i = 0; i < p.n; i++)
        for (int64_t j = 0; j < p.p[i]->numel; j++)
            none &= p.p[i]->grad[j] == 0;
    ok(none, "no gradient is formed then");
    teardown(&g, m, &p, &d);
}

int main(void)
{
    test_slopes("qwen3-window", true, false);
    test_slopes("llama", false, true);
    test_branches("qwen3-window", true);
    test_branches("llama-rope-llama3", false);
    test_branches("mistral-window", false);
    test_cuts("qwen3-window", true);
    test_cuts("llama", false);
    test_rows();
    test_refused();
    return tap_end();
}
