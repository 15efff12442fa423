/* The embedded base model against transformers: tests/golden/base-model.safetensors, made by tests/golden/make_base_model.py. */
#include "tests/unit/golden_model.h"
#include "tests/unit/tap.h"
#include "text/tokenizer.h"

#define MODEL "pipelines/base-model/model"

static void test_tokens(const struct golden *g)
{
    struct err e = ERR_INIT;
    struct token_list list = {0};
    const char *text = st_meta(g->file, "text");
    struct tokenizer *t = tokenizer_open(MODEL, &e);
    if (!t || tokenizer_encode(t, text, strlen(text), NULL, 0, true, &list, &e))
        tiny_die(&e);
    ok((int64_t)list.n == g->batch.n && !memcmp(list.ids, g->batch.ids, list.n * sizeof *list.ids), "the text has the tokens of the reference");
    token_list_release(&list);
    tokenizer_close(t);
}

static void test_numbers(const struct golden *g)
{
    struct err e = ERR_INIT;
    struct decoder_result r;
    struct tiny_decoder d;
    struct model *m = model_open(MODEL, kernels_open("cpu", &e), &e);
    if (!m)
        tiny_die(&e);
    tiny_decoder_make(&d, m, g->batch.n, 1, false, false);
    float *z = logits_of(d.d, m, &g->batch);
    double error = relative_error(z, data_of(g, "logits"), g->batch.n * m->config.vocab);
    ok(error <= 1e-5, "logits (off by %.2g)", error);
    if (decoder_loss(d.d, &g->batch, &r, NULL, &e))
        tiny_die(&e);
    double want = *(const double *)data_of(g, "loss"), got = r.loss_sum / (double)r.trained;
    ok(fabs(got - want) <= 1e-6 * want, "loss %.8g, expected %.8g", got, want);
    free(z);
    tiny_decoder_release(&d);
    model_close(m);
}

int main(void)
{
    struct err e = ERR_INIT;
    struct golden g = {.name = "base-model", .file = st_open("tests/golden/base-model.safetensors", &e)};
    if (!g.file)
        tiny_die(&e);
    int64_t n = st_find(g.file, "ids")->numel, bounds[2] = {0, n};
    int32_t *targets = mem_array(NULL, (size_t)n, sizeof *targets);
    const int32_t *ids = data_of(&g, "ids");
    for (int64_t i = 0; i < n; i++)
        targets[i] = i + 1 < n ? ids[i + 1] : -1;
    g.batch = (struct batch){.n = n, .ids = ids, .targets = targets, .n_seq = 1, .start = bounds};
    test_tokens(&g);
    test_numbers(&g);
    free(targets);
    st_close(g.file);
    return tap_end();
}
