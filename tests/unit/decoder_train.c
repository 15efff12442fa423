/* Gradients of the whole decoder against finite differences; parts trained alone; dropout; bad batches; cost. */
#include "tests/unit/golden_model.h"
#include "tests/unit/tap.h"

static double loss_of(struct decoder *d, const struct batch *b)
{
    struct err e = ERR_INIT;
    struct decoder_result r;
    if (decoder_forward_backward(d, b, 0, 5, 3, &r, &e)) /* with dropout, without gradients */
        tiny_die(&e);
    return r.loss_sum;
}

/* d loss / d t along the gradient g of one parameter is |g|. */
static double slope_error(struct decoder *d, const struct batch *b, struct param *p)
{
    double norm = 0;
    float *keep = mem_array(NULL, (size_t)p->numel, sizeof *keep);
    memcpy(keep, p->value, (size_t)p->numel * sizeof *keep);
    for (int64_t i = 0; i < p->numel; i++)
        norm += (double)p->grad[i] * p->grad[i];
    norm = sqrt(norm);
    double step = fmin(0.02 / norm, 0.02), loss[2];
    for (int side = 0; side < 2; side++) {
        for (int64_t i = 0; i < p->numel; i++)
            p->value[i] = (float)(keep[i] + (side ? step : -step) * p->grad[i] / norm);
        loss[side] = loss_of(d, b);
    }
    memcpy(p->value, keep, (size_t)p->numel * sizeof *keep);
    free(keep);
    return fabs((loss[1] - loss[0]) / (2 * step) - norm) / norm;
}

static struct lora *add_pair(struct tiny_params *t, struct linear *l, int rank, float dropout, uint64_t stream)
{
    struct lora *a = tiny_lora_add(t->m, l, rank, 1.5f);
    a->dropout = dropout;
    a->stream = stream;
    if (stream)
        tiny_train_pair(t, l, a);
    return a;
}

/* Everything trained at once: all weights, and pairs with dropout, one of them beside a frozen pair, one on the output layer. */
static void test_differences(const char *name, bool recompute)
{
    struct golden g;
    golden_open(&g, name);
    struct tiny_params p = {.n = 0};
    struct tiny_decoder d;
    struct decoder_result r;
    struct err e = ERR_INIT;
    struct model *m = open_model(&g);
    tiny_train_all(&p, m);
    add_pair(&p, &m->layers[0].q, 3, 0.25f, 0);
    add_pair(&p, &m->layers[0].q, 2, 0.25f, 1);
    add_pair(&p, &m->layers[0].down, 3, 0.5f, 2);
    add_pair(&p, &m->layers[1].o, 1, 0, 3);
    add_pair(&p, &m->head, 2, 0.25f, 4);
    tiny_decoder_make(&d, m, g.batch.n, 3, true, recompute);
    if (decoder_forward_backward(d.d, &g.batch, 1, 5, 3, &r, &e))
        tiny_die(&e);
    decoder_end_step(d.d);
    ok(r.loss_sum == loss_of(d.d, &g.batch), "%s: the loss is the same without gradients", name);
    double worst = 0;
    const char *where = "";
    for (int i = 0; i < p.n; i++) {
        double error = slope_error(d.d, &g.batch, p.p[i]);
        if (!(error <= worst)) {
            worst = error;
            where = p.p[i]->name;
        }
    }
    ok(worst <= 2e-3, "%s: %d gradients are slopes of the loss (worst %.2g, %s)", name, p.n, worst, where);
    tiny_decoder_release(&d);
    tiny_params_release(&p);
    model_close(m);
    golden_close(&g);
}

/* Which tensors train: a part of their names. */
static const char *const PARTS[] = {
    "model.norm", "lm_head", "embed_tokens", "layers.1.self_attn.q_norm", "layers.1.self_attn.k_proj.bias", "layers.0.mlp.up_proj.weight",
    "layers.1.input_layernorm", "layers.1.mlp.down_proj", "layers.0.self_attn.o_proj", "layers.1.post_attention", "self_attn.v_proj",
};

static void freeze_others(struct model *m, struct tiny_params *p, const char *part)
{
    for (int i = 0; i < p->n; i++)
        if (!strstr(p->p[i]->name, part))
            p->p[i]->ndim = 0; /* mark */
    struct param **views[3 + 2 * (4 + 2 * LAYER_LINEARS)]; /* of two layers */
    int n = 0;
    views[n++] = &m->embed.pw, views[n++] = &m->head.pw, views[n++] = &m->norm.pw;
    for (int l = 0; l < m->config.layers; l++) {
        struct layer *ly = &m->layers[l];
        views[n++] = &ly->attn_norm.pw, views[n++] = &ly->mlp_norm.pw, views[n++] = &ly->q_norm.pw, views[n++] = &ly->k_norm.pw;
        for (int j = 0; j < LAYER_LINEARS; j++)
            views[n++] = &layer_linear(ly, j)->pw, views[n++] = &layer_linear(ly, j)->pbias;
    }
    for (int i = 0; i < n; i++)
        if (*views[i] && !(*views[i])->ndim)
            *views[i] = NULL;
    for (int i = 0; i < p->n; i++)
        p->p[i]->ndim = p->p[i]->shape[1] ? 2 : 1;
}

/* A part trained alone gets the bits that it gets when everything is trained; nothing else gets a gradient. */
static void test_part(const struct golden *g, const char *part, float *const *all)
{
    struct tiny_params p = {.n = 0};
    struct tiny_decoder d;
    struct decoder_result r;
    struct err e = ERR_INIT;
    struct model *m = open_model(g);
    tiny_train_all(&p, m);
    freeze_others(m, &p, part);
    int trained = 0;
    bool same = true;
    for (int recompute = 0; recompute < 2; recompute++) {
        tiny_zero_grad(&p);
        tiny_decoder_make(&d, m, g->batch.n, 3, true, recompute);
        if (decoder_forward_backward(d.d, &g->batch, 0.1f, 0, 0, &r, &e))
            tiny_die(&e);
        decoder_end_step(d.d);
        for (int i = 0; i < p.n; i++) {
            bool wanted = strstr(p.p[i]->name, part);
            trained += wanted;
            for (int64_t j = 0; j < p.p[i]->numel; j++)
                same &= p.p[i]->grad[j] == (wanted ? all[i][j] : 0);
        }
        tiny_decoder_release(&d);
    }
    ok(same && trained, "%s alone: the gradient it has among all", part);
    tiny_params_release(&p);
    model_close(m);
}

static void test_parts(void)
{
    struct golden g;
    golden_open(&g, "qwen3-window");
    struct tiny_params p = {.n = 0};
    struct tiny_decoder d;
    struct decoder_result r;
    struct err e = ERR_INIT;
    struct model *m = open_model(&g);
    float *all[TINY_PARAMS];
    tiny_train_all(&p, m);
    tiny_decoder_make(&d, m, g.batch.n, 3, true, false);
    if (decoder_forward_backward(d.d, &g.batch, 0.1f, 0, 0, &r, &e))
        tiny_die(&e);
    decoder_end_step(d.d);
    for (int i = 0; i < p.n; i++)
        all[i] = p.p[i]->grad;
    for (size_t i = 0; i < sizeof PARTS / sizeof *PARTS; i++)
        test_part(&g, PARTS[i], all);
    tiny_decoder_release(&d);
    tiny_params_release(&p);
    model_close(m);
    golden_close(&g);
}

/* Masks depend on seed, step, module and row of the step; not on how the step is cut. Evaluation drops nothing. */
static void test_dropout(void)
{
    struct golden g;
    golden_open(&g, "llama");
    struct tiny_params p = {.n = 0};
    struct tiny_decoder d;
    struct decoder_result r, again, other;
    struct err e = ERR_INIT;
    struct model *m = open_model(&g);
    p.m = m;
    for (int i = 0; i < LAYER_LINEARS; i++)
        add_pair(&p, layer_linear(&m->layers[0], i), 2, 0.3f, (uint64_t)i + 1);
    tiny_decoder_make(&d, m, g.batch.n, 3, true, false);
    int rc = decoder_forward_backward(d.d, &g.batch, 1, 9, 2, &r, &e) | decoder_forward_backward(d.d, &g.batch, 1, 9, 2, &again, &e);
    ok(!rc && r.loss_sum == again.loss_sum, "the same seed and step drop the same");
    rc = decoder_forward_backward(d.d, &g.batch, 1, 10, 2, &other, &e);
    ok(!rc && r.loss_sum != other.loss_sum, "another seed drops otherwise");
    rc = decoder_forward_backward(d.d, &g.batch, 1, 9, 3, &other, &e);
    ok(!rc && r.loss_sum != other.loss_sum, "another step drops otherwise");
    double sum = 0;
    for (int s = 0; s < 3; s++) {
        int64_t bounds[2] = {0, g.batch.start[s + 1] - g.batch.start[s]}, at = g.batch.start[s];
        struct batch one = {.n = bounds[1], .ids = g.batch.ids + at, .targets = g.batch.targets + at, .n_seq = 1, .start = bounds, .row0 = at};
        rc |= decoder_forward_backward(d.d, &one, 1, 9, 2, &other, &e);
        sum += other.loss_sum;
    }
    ok(!rc && fabs(sum - r.loss_sum) < 1e-12 * sum, "cut into three batches it drops the same");
    rc = decoder_loss(d.d, &g.batch, &other, NULL, &e);
    for (int i = 0; i < LAYER_LINEARS; i++)
        layer_linear(&m->layers[0], i)->lora->dropout = 0;
    rc |= decoder_forward_backward(d.d, &g.batch, 1, 9, 2, &again, &e);
    ok(!rc && other.loss_sum == again.loss_sum && other.loss_sum != r.loss_sum, "evaluation drops nothing");
    tiny_decoder_release(&d);
    tiny_params_release(&p);
    model_close(m);
    golden_close(&g);
}

/* Products of factors rounded to bf16: 8 bits of precision, so near the f32 values and not equal; packing still changes nothing. */
static void test_bf16(void)
{
    struct golden g;
    golden_open(&g, "qwen3");
    struct tiny_params p = {.n = 0};
    struct tiny_decoder d;
    struct decoder_result r;
    struct err e = ERR_INIT;
    struct model *m = open_model(&g);
    m->bf16 = true;
    tiny_train_lora(&p, m);
    tiny_decoder_make(&d, m, g.batch.n, 3, true, true);
    if (decoder_forward_backward(d.d, &g.batch, 1.0f / (float)g.trained, 0, 0, &r, &e))
        tiny_die(&e);
    double want = *(const double *)data_of(&g, "lora.loss"), off = fabs(r.loss_sum / (double)r.trained / want - 1), worst = 0;
    for (int i = 0; i < p.n; i++) {
        char *key = mem_printf("lora.grad.%s", p.p[i]->name);
        worst = fmax(worst, relative_error(p.p[i]->grad, data_of(&g, key), p.p[i]->numel));
        free(key);
    }
    ok(off < 2e-3 && off > 0, "bf16: loss near that of f32 (off by %.2g)", off);
    ok(worst < 5e-2 && worst > 1e-4, "bf16: gradients near those of f32 (off by %.2g)", worst);
    double sum = 0;
    for (int s = 0; s < 3; s++) {
        int64_t bounds[2], at = g.batch.start[s];
        bounds[0] = 0, bounds[1] = g.batch.start[s + 1] - at;
        struct batch one = {.n = bounds[1], .ids = g.batch.ids + at, .targets = g.batch.targets + at, .n_seq = 1, .start = bounds};
        struct decoder_result part;
        if (decoder_loss(d.d, &one, &part, NULL, &e))
            tiny_die(&e);
        sum += part.loss_sum;
    }
    ok(fabs(sum - r.loss_sum) < 1e-12 * sum, "bf16: samples alone have the losses they have packed");
    tiny_decoder_release(&d);
    tiny_params_release(&p);
    model_close(m);
    golden_close(&g);
}

static int questions_left;

static int stop_after_some(void)
{
    return questions_left-- <= 0;
}

/* A pass is left at each of its places, and the next one is as if nothing had been. */
static void test_stop(void)
{
    struct golden g;
    golden_open(&g, "qwen3");
    struct tiny_params p = {.n = 0};
    struct tiny_decoder d;
    struct decoder_result r = {0};
    struct err e = ERR_INIT;
    struct model *m = open_model(&g);
    tiny_train_all(&p, m);
    tiny_decoder_make(&d, m, g.batch.n, 3, true, false);
    double want = loss_of(d.d, &g.batch);
    int stopped = 0, passes = 0;
    decoder_set_stop(d.d, stop_after_some);
    do {
        questions_left = passes++;
        if (decoder_forward_backward(d.d, &g.batch, 1, 0, 0, &r, &e))
            tiny_die(&e);
        stopped += r.stopped;
    } while (r.stopped && passes < 100);
    int layers = m->config.layers;
    is_int(stopped, 2 * layers + 1, "a pass can be stopped before each layer, forward and backward, and before the output layer");
    decoder_set_stop(d.d, NULL);
    is_near(loss_of(d.d, &g.batch), want, 0, "the next one is not disturbed");
    decoder_set_stop(d.d, stop_after_some);
    questions_left = 1;
    ok(!decoder_loss(d.d, &g.batch, &r, NULL, &e) && r.stopped, "so can an evaluation");
    tiny_decoder_release(&d);
    tiny_params_release(&p);
    model_close(m);
    golden_close(&g);
}

static void refused(struct decoder *d, struct batch b, const char *text)
{
    struct err e = ERR_INIT;
    struct decoder_result r;
    if (!ok(decoder_loss(d, &b, &r, NULL, &e) < 0 && strstr(e.text, text), "refused: %s", text))
        printf("# %s\n", e.text);
}

static void test_batches(void)
{
    struct golden g;
    golden_open(&g, "llama");
    struct model *m = open_model(&g);
    struct tiny_decoder d;
    struct decoder_result r;
    struct err e = ERR_INIT;
    tiny_decoder_make(&d, m, 4, 2, false, false);
    int32_t ids[] = {1, 2, 3, 4, 5}, bad[] = {1, 43, 0, 0}, none[] = {-1, -1, -1, -1};
    int64_t two[] = {0, 2, 4}, hole[] = {0, 2, 2}, three[] = {0, 1, 2, 4}, shortened[] = {0, 2, 3}, five[] = {0, 5};
    struct batch b = {.n = 4, .ids = ids, .targets = none, .n_seq = 2, .start = two};
    ok(!decoder_loss(d.d, &b, &r, NULL, &e) && r.loss_sum == 0 && r.trained == 0, "nothing trained: no loss");
    refused(d.d, (struct batch){.n = 5, .ids = ids, .n_seq = 1, .start = five}, "found 5 rows of 1 samples, expected 1 to 4 rows of 1 to 2");
    refused(d.d, (struct batch){.n = 4, .ids = ids, .n_seq = 3, .start = three}, "of 3 samples");
    refused(d.d, (struct batch){.n = 4, .ids = ids, .n_seq = 2, .start = shortened}, "bounds do not cover");
    refused(d.d, (struct batch){.n = 2, .ids = ids, .n_seq = 2, .start = hole}, "sample 1: found no rows");
    refused(d.d, (struct batch){.n = 4, .ids = bad, .n_seq = 2, .start = two}, "row 1: found token 43, expected 0 to 42");
    refused(d.d, (struct batch){.n = 4, .ids = ids, .targets = bad, .n_seq = 2, .start = two}, "row 1: found target 43");
    ok(decoder_forward_backward(d.d, &b, 1, 0, 0, &r, &e) < 0, "an evaluation plan does not train");
    tiny_decoder_release(&d);
    model_close(m);
    golden_close(&g);
}

static void test_plan(void)
{
    struct golden g;
    golden_open(&g, "llama");
    struct model *m = open_model(&g);
    struct tiny_params p = {.n = 0};
    tiny_train_lora(&p, m);
    struct { bool backward, recompute; size_t bytes; } plan[] = {{true, false, 0}, {true, true, 0}, {false, false, 0}};
    for (int i = 0; i < 3; i++) {
        struct decoder *d = decoder_new(m, 512, 1, plan[i].backward, plan[i].recompute);
        struct arena a;
        arena_init(&a);
        decoder_layout(d, &a);
        plan[i].bytes = a.used;
        decoder_free(d);
    }
    ok(plan[0].bytes > plan[1].bytes && plan[1].bytes > plan[2].bytes, "plans: training %zu, recomputing %zu, evaluating %zu bytes",
       plan[0].bytes, plan[1].bytes, plan[2].bytes);
    double weights = 2 * (24.0 * 24 * 2 + 24 * 8 * 2 + 3 * 24 * 25), head = 43 * 24;
    double pairs = 2 * 2 * (2.0 * 48 + 2 * 32 + 3 * 49), attention = 2 * 4.0 * 4 * 6 * 55;
    is_near(decoder_flops(m, 10, 4, 55, false, false), 2 * 10 * (weights + pairs) + 2 * 4 * head + attention, 0, "cost of evaluation");
    double first_input = 2 * 10 * (24.0 * (24 + 8 + 8) + 3 * 2 * 24); /* no gradient flows below the first layer */
    is_near(decoder_flops(m, 10, 4, 55, true, false), 2 * 10 * (2 * weights + 3 * pairs) + 2 * 2 * 4 * head + 3.5 * attention - first_input,
            0, "cost of training pairs");
    tiny_params_release(&p);
    model_close(m);
    golden_close(&g);
}

int main(void)
{
    test_differences("qwen3-window", false);
    test_differences("llama-biases", true);
    test_parts();
    test_dropout();
    test_bf16();
    test_stop();
    test_batches();
    test_plan();
    return tap_end();
}
