/* Generation through the cache against the forward pass of the whole text. */
#include "tests/unit/golden_model.h"
#include "tests/unit/tap.h"

#include "model/kv.h"

static struct kv_cache *new_cache(struct model *m, int seqs, int64_t positions)
{
    struct err e = ERR_INIT;
    struct kv_cache *c = kv_cache_new(m, seqs, positions, &e);
    if (!c)
        tiny_die(&e);
    return c;
}

static void feed(struct kv_cache *c, int slot, const int32_t *ids, int64_t n, float *logits)
{
    struct err e = ERR_INIT;
    struct kv_input in = {slot, ids, n};
    if (kv_forward(c, &in, 1, logits, &e))
        tiny_die(&e);
}

static float *full_logits(struct model *m, const int32_t *ids, int64_t n)
{
    struct tiny_decoder d;
    int64_t bounds[2] = {0, n};
    struct batch b = {.n = n, .ids = ids, .n_seq = 1, .start = bounds};
    tiny_decoder_make(&d, m, n, 1, false, false);
    float *z = logits_of(d.d, m, &b);
    tiny_decoder_release(&d);
    return z;
}

/* The first 12 tokens of sample 0 at once, then the others one by one, in sequence 1 of 2. */
static void test_incremental(const struct golden *g)
{
    struct tiny_params p = {.n = 0};
    struct model *m = open_model(g);
    int64_t n = g->batch.start[1], v = m->config.vocab;
    bool dynamic = st_find(g->file, "decode.logits");
    if (!dynamic)
        tiny_train_lora(&p, m);
    struct kv_cache *c = new_cache(m, 2, n);
    float *got = mem_array(NULL, (size_t)((n - 11) * v), sizeof *got), *full = full_logits(m, g->batch.ids, n);
    feed(c, 1, g->batch.ids, 12, got);
    for (int64_t i = 12; i < n; i++)
        feed(c, 1, g->batch.ids + i, 1, got + (i - 11) * v);
    const float *want = dynamic ? data_of(g, "decode.logits") : full + 11 * v;
    double error = relative_error(got, want, (n - 11) * v);
    ok(error <= 1e-5, "%s: one token at a time (off by %.2g)", g->name, error);
    is_int(kv_cache_length(c, 1), n, "the sequence is as long as what was fed");
    kv_cache_truncate(c, 1, 12);
    float *again = mem_array(NULL, (size_t)v, sizeof *again);
    feed(c, 1, g->batch.ids + 12, 1, again);
    ok(!memcmp(again, got + v, (size_t)v * sizeof *again), "%s: cut back and fed again, the same bits", g->name);
    kv_cache_free(c);
    free(got);
    free(full);
    free(again);
    tiny_params_release(&p);
    model_close(m);
}

enum { SEQS = 8, STEPS = 6 };

/* Eight sequences of different lengths decoded together, and each alone. */
static void test_batched(const struct golden *g)
{
    struct model *m = open_model(g);
    struct err e = ERR_INIT;
    int64_t v = m->config.vocab;
    struct kv_cache *together = new_cache(m, SEQS, 40), *alone = new_cache(m, 1, 40);
    float *z = mem_array(NULL, (size_t)(SEQS * v), sizeof *z), *z1 = mem_array(NULL, (size_t)v, sizeof *z1);
    struct kv_input in[SEQS];
    bool same = true;
    for (int step = 0; step <= STEPS; step++) {
        for (int s = 0; s < SEQS; s++)
            in[s] = (struct kv_input){s, g->batch.ids + s + (step ? 4 * s + step : 0), step ? 1 : 4 * s + 1};
        if (kv_forward(together, in, SEQS, z, &e))
            tiny_die(&e);
        for (int s = 0; s < SEQS; s++) {
            kv_cache_reset(alone, 0);
            feed(alone, 0, g->batch.ids + s, 4 * s + 1, z1);
            for (int i = 1; i <= step; i++)
                feed(alone, 0, g->batch.ids + s + 4 * s + i, 1, z1);
            same &= !memcmp(z1, z + s * v, (size_t)v * sizeof *z);
        }
    }
    ok(same, "%s: eight sequences together have the bits of each alone", g->name);
    kv_cache_free(together);
    kv_cache_free(alone);
    free(z);
    free(z1);
    model_close(m);
}

/* A prompt longer than one pass, and a second part fed after it. */
static void test_long_prompt(const struct golden *g)
{
    enum { N = KV_PREFILL_ROWS + 90 };
    struct model *m = open_model(g);
    int64_t v = m->config.vocab;
    int32_t *ids = mem_array(NULL, N, sizeof *ids);
    for (int i = 0; i < N; i++)
        ids[i] = (int32_t)((formula_unit(7, (uint64_t)i) + 0.5f) * (float)v);
    float *full = full_logits(m, ids, N), *z = mem_array(NULL, (size_t)v, sizeof *z);
    struct kv_cache *c = new_cache(m, 1, N);
    feed(c, 0, ids, N - 20, z);
    double error = relative_error(z, full + (N - 21) * v, v);
    feed(c, 0, ids + N - 20, 20, z);
    error = fmax(error, relative_error(z, full + (N - 1) * v, v));
    ok(error <= 1e-5, "%s: a prompt of more than one pass (off by %.2g)", g->name, error);
    kv_cache_free(c);
    free(full);
    free(ids);
    free(z);
    model_close(m);
}

/* Prompts that share passes, one of more than a pass among them. */
static void test_prompts(const struct golden *g)
{
    enum { N = KV_PREFILL_ROWS + 90, PROMPTS = 5 };
    static const int64_t length[PROMPTS] = {30, N, 3, 300, KV_PREFILL_ROWS + 5};
    struct model *m = open_model(g);
    struct err e = ERR_INIT;
    int64_t v = m->config.vocab;
    int32_t *ids = mem_array(NULL, N + PROMPTS, sizeof *ids);
    for (int i = 0; i < N + PROMPTS; i++)
        ids[i] = (int32_t)((formula_unit(8, (uint64_t)i) + 0.5f) * (float)v);
    float *z = mem_array(NULL, (size_t)(PROMPTS * v), sizeof *z), *one = mem_array(NULL, (size_t)v, sizeof *one);
    struct kv_cache *together = new_cache(m, PROMPTS, N), *alone = new_cache(m, 1, N);
    struct kv_input in[PROMPTS];
    for (int s = 0; s < PROMPTS; s++)
        in[s] = (struct kv_input){s, ids + s, length[s]};
    if (kv_forward(together, in, PROMPTS, z, &e))
        tiny_die(&e);
    for (int s = 0; s < PROMPTS; s++) {
        kv_cache_reset(alone, 0);
        feed(alone, 0, ids + s, length[s], one);
        ok(!memcmp(one, z + s * v, (size_t)v * sizeof *z), "%s: among others, a prompt of %lld tokens has the bits that it has alone", g->name,
           (long long)length[s]);
    }
    kv_cache_free(together);
    kv_cache_free(alone);
    free(ids);
    free(z);
    free(one);
    model_close(m);
}

static void refused(struct kv_cache *c, const struct kv_input *in, int n, const char *text)
{
    struct err e = ERR_INIT;
    float z[4 * 64];
    int64_t before = kv_cache_length(c, 0);
    ok(kv_forward(c, in, n, z, &e) < 0 && strstr(e.text, text), "refused: %s", text);
    if (!strstr(e.text, text))
        printf("# %s\n", e.text);
    is_int(kv_cache_length(c, 0), before, "and nothing was fed");
}

static void test_errors(const struct golden *g)
{
    struct model *m = open_model(g);
    struct err e = ERR_INIT;
    struct kv_cache *c = new_cache(m, 2, 4);
    int32_t ids[] = {1, 2, 3, 4, 5}, bad[] = {1, (int32_t)m->config.vocab};
    refused(c, &(struct kv_input){2, ids, 1}, 1, "expected at least 1 for a sequence from 0 to 1");
    refused(c, &(struct kv_input){0, ids, 0}, 1, "found 0 tokens");
    refused(c, &(struct kv_input){0, ids, 5}, 1, "sequence of 5 tokens, expected at most 4");
    refused(c, &(struct kv_input){0, bad, 2}, 1, "found token 43");
    refused(c, (struct kv_input[]){{0, ids, 1}, {0, ids, 1}}, 2, "twice");
    ok(!kv_cache_new(m, 1 << 20, 1 << 20, &e) && strstr(e.text, "less than 2^31"), "a cache beyond the index range is refused");
    ok(kv_cache_bytes(m, 2, 4) < kv_cache_bytes(m, 4, 400), "the plan grows with the cache");
    kv_cache_free(c);
    model_close(m);
}

int main(void)
{
    for (size_t i = 0; i < sizeof GOLDEN_MODELS / sizeof *GOLDEN_MODELS; i++) {
        struct golden g;
        golden_open(&g, GOLDEN_MODELS[i]);
        test_incremental(&g);
        test_batched(&g);
        if (!st_find(g.file, "decode.logits"))
            test_long_prompt(&g);
        if (!i)
            test_prompts(&g);
        if (!i)
            test_errors(&g);
        golden_close(&g);
    }
    return tap_end();
}
