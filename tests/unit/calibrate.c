/* The walk of calibration samples through the layers against the decoder, and GPTQ layer by layer on top of it. */
#include "quantize/solver.h"

#include <stdlib.h>
#include <string.h>

#include "base/threads.h"
#include "model/decoder_impl.h"
#include "tests/unit/tap.h"
#include "tests/unit/tiny_layer.h"

static const char LLAMA[] =
    "{\"model_type\":\"llama\",\"vocab_size\":97,\"hidden_size\":64,\"intermediate_size\":96,\"num_hidden_layers\":3,"
    "\"num_attention_heads\":4,\"num_key_value_heads\":2,\"tie_word_embeddings\":true,\"torch_dtype\":\"bfloat16\"}";
static const char QWEN3[] =
    "{\"model_type\":\"qwen3\",\"vocab_size\":97,\"hidden_size\":64,\"intermediate_size\":96,\"num_hidden_layers\":2,"
    "\"num_attention_heads\":4,\"num_key_value_heads\":2,\"head_dim\":32,\"tie_word_embeddings\":false}";
static const char QWEN2[] =
    "{\"model_type\":\"qwen2\",\"vocab_size\":97,\"hidden_size\":64,\"intermediate_size\":96,\"num_hidden_layers\":2,"
    "\"num_attention_heads\":4,\"num_key_value_heads\":4,\"rope_scaling\":{\"type\":\"dynamic\",\"factor\":4.0},\"max_position_embeddings\":64,"
    "\"tie_word_embeddings\":true}";

static const int LENGTHS[] = {40, 130, 17, 600, 300, 900, 64, 33, 2100, 50, 77};
enum { SAMPLES = sizeof LENGTHS / sizeof *LENGTHS };

static struct model *open_tiny(const char *config, char **dir)
{
    struct err e = ERR_INIT;
    *dir = tiny_model_write(config, NULL);
    const struct kernels *k = kernels_open("cpu", &e);
    struct model *m = k ? model_open(*dir, k, &e) : NULL;
    if (!m)
        tiny_die(&e);
    return m;
}

static struct calibrate *open_walk(struct model *m, const struct token_file *t, int64_t most)
{
    struct err e = ERR_INIT;
    struct calibrate *c = calibrate_open(m, m->k, t, most, NULL, &e);
    if (!c)
        tiny_die(&e);
    return c;
}

static bool run_stages(struct calibrate *c, int layer)
{
    struct err e = ERR_INIT;
    for (enum calibrate_stage s = CALIBRATE_QKV; s < CALIBRATE_STAGES; s++)
        if (calibrate_stage(c, layer, s, NULL, NULL, &e))
            return false;
    return true;
}

/* The states behind the last layer are the decoder's. */
static void test_states(const char *config, bool staged, const char *what)
{
    char *dir;
    struct err e = ERR_INIT;
    struct tiny_tokens t;
    struct model *m = open_tiny(config, &dir);
    tiny_tokens_make(&t, LENGTHS, SAMPLES, m->config.vocab);
    struct calibrate *c = open_walk(m, t.file, 0);
    bool done = true, same = true;
    for (int l = 0; l < m->config.layers; l++)
        done &= (!staged || run_stages(c, l)) && !calibrate_advance(c, l);
    struct arena a;
    struct decoder *d = decoder_new(m, 2100, 1, false, false);
    arena_init(&a);
    decoder_layout(d, &a);
    if (arena_commit(&a, m->k->alloc, m->k->free, &e))
        tiny_die(&e);
    decoder_layout(d, &a);
    const float *x = calibrate_states(c);
    for (int s = 0; s < SAMPLES; s++) {
        struct token_sample got = token_file_sample(t.file, s);
        int64_t start[2] = {0, got.n};
        struct batch b = {.n = got.n, .ids = (const int32_t *)got.ids, .n_seq = 1, .start = start};
        if (decoder_forward(d, &b, &e))
            tiny_die(&e);
        same &= !memcmp(x, d->x[m->config.layers], got.n * (size_t)m->config.hidden * sizeof *x);
        x += got.n * m->config.hidden;
    }
    ok(done && same, "%s: the states of all samples are those of the decoder, bit for bit", what);
    decoder_free(d);
    arena_release(&a);
    calibrate_close(c);
    tiny_tokens_free(&t);
    model_close(m);
    free(dir);
}

struct seen {
    float *x;
    size_t n, cap;
    int64_t width;
};

static void see(void *arg, const float *x, int64_t rows)
{
    struct seen *s = arg;
    size_t count = (size_t)(rows * s->width);
    s->x = mem_grow(s->x, &s->cap, s->n + count, sizeof *s->x);
    memcpy(s->x + s->n, x, count * sizeof *x);
    s->n += count;
}

/* The inputs of a layer's linears come the same, at once and by stages; and those of q are what the norm makes. */
static void test_inputs(void)
{
    char *dir;
    struct err e = ERR_INIT;
    struct tiny_tokens t;
    struct model *m = open_tiny(QWEN3, &dir);
    tiny_tokens_make(&t, LENGTHS, SAMPLES, m->config.vocab);
    struct calibrate *c = open_walk(m, t.file, 0);
    struct seen at_once[4] = {{.width = 64}, {.width = 128}, {.width = 64}, {.width = 96}}, staged[4] = {{.width = 64}, {.width = 128}, {.width = 64}, {.width = 96}};
    calibrate_sink *sinks[4] = {see, see, see, see};
    void *args[4] = {&at_once[0], &at_once[1], &at_once[2], &at_once[3]};
    int n;
    int64_t rows = calibrate_tokens(c);
    is_int(rows, calibrate_bounds(c, &n)[SAMPLES], "bounds cover all tokens");
    is_int(n, SAMPLES, "of all samples");
    float *xn = mem_array(NULL, (size_t)(rows * 64), sizeof *xn);
    m->k->rmsnorm(xn, 64, NULL, calibrate_states(c), 64, m->layers[0].attn_norm.weight, false, (float)m->config.rms_eps, rows, 64);
    bool done = !calibrate_inputs(c, 0, sinks, args);
    for (enum calibrate_stage s = CALIBRATE_QKV; s < CALIBRATE_STAGES; s++)
        done &= !calibrate_stage(c, 0, s, see, &staged[s], &e);
    for (int i = 0; i < 4; i++)
        ok(done && at_once[i].n == (size_t)(rows * at_once[i].width) && staged[i].n == at_once[i].n
               && !memcmp(at_once[i].x, staged[i].x, staged[i].n * sizeof(float)),
           "inputs of stage %d are the same both ways", i);
    ok(!memcmp(xn, at_once[0].x, at_once[0].n * sizeof *xn), "the first are what the norm makes of the embedding");
    for (int i = 0; i < 4; i++)
        free(at_once[i].x), free(staged[i].x);
    free(xn);
    calibrate_close(c);
    tiny_tokens_free(&t);
    model_close(m);
    free(dir);
}

static int always(void)
{
    return 1;
}

static void test_choice(void)
{
    char *dir;
    struct err e = ERR_INIT;
    struct tiny_tokens t, wide;
    struct model *m = open_tiny(LLAMA, &dir);
    tiny_tokens_make(&t, LENGTHS, SAMPLES, m->config.vocab);
    struct calibrate *c = open_walk(m, t.file, 1000);
    int n;
    const int64_t *start = calibrate_bounds(c, &n);
    ok(n >= 2 && start[n] <= 1000 && start[1] == 40 && start[2] - start[1] == 300, "a part of the samples, evenly spread: %d of %lld tokens", n,
       (long long)start[n]);
    int rc = calibrate_stage(c, 0, CALIBRATE_QKV, NULL, NULL, &e);
    ok(rc == -1, "stages want all: %s", e.text);
    calibrate_close(c);
    c = open_walk(m, t.file, 1);
    is_int(calibrate_tokens(c), 40, "at least one sample");
    calibrate_close(c);
    ok(calibrate_bytes(m, m->k, t.file, 0) > calibrate_bytes(m, m->k, t.file, t.file->n_tokens), "stages take memory");
    e = (struct err)ERR_INIT;
    c = calibrate_open(m, m->k, t.file, 0, always, &e);
    is_int(calibrate_advance(c, 0), 1, "a walk stops when it is asked to");
    calibrate_close(c);
    tiny_tokens_make(&wide, LENGTHS, SAMPLES, 300);
    c = calibrate_open(m, m->k, wide.file, 0, NULL, &e);
    ok(!c && strstr(e.text, "vocabulary's 97"), "ids outside the vocabulary are an error: %s", e.text);
    tiny_tokens_free(&wide);
    tiny_tokens_free(&t);
    model_close(m);
    free(dir);
}

static struct quantize_options gptq_options(void)
{
    return (struct quantize_options){.method = QUANTIZE_GPTQ, .bits = 4, .group = 32, .sym = true, .true_sequential = true, .damp = 0.01};
}

static struct solver *open_gptq(const struct quantize_options *o, struct model *m, const struct token_file *t)
{
    struct err e = ERR_INIT;
    struct solver *s = solver_open(o, m, m->k, t, NULL, &e);
    if (!s)
        tiny_die(&e);
    return s;
}

static bool same_modules(const struct quantize_layer *a, const struct quantize_layer *b)
{
    bool same = true;
    for (int i = 0; i < LAYER_LINEARS; i++) {
        const struct quantize_module *x = &a->modules[i], *y = &b->modules[i];
        same &= !memcmp(x->weight, y->weight, (size_t)(x->out * x->in) * sizeof *x->weight);
        same &= x->kept == y->kept && (x->kept || !memcmp(x->grid.codes, y->grid.codes, (size_t)(x->out * x->in)));
        same &= x->kept || !memcmp(x->grid.g_idx, y->grid.g_idx, (size_t)x->in * sizeof *x->grid.g_idx);
    }
    return same;
}

/* All layers, in one go with two threads, and with an interruption before the last with one. */
static void test_gptq(struct quantize_options o, const char *what)
{
    char *dir;
    struct err e = ERR_INIT;
    struct tiny_tokens t;
    struct model *m = open_tiny(LLAMA, &dir);
    struct quantize_layer whole[3], last;
    tiny_tokens_make(&t, LENGTHS, SAMPLES, m->config.vocab);
    int64_t device;
    ok(solver_memory(&o, m, m->k, t.file, &device) > calibrate_bytes(m, m->k, t.file, solver_gptq.tokens), "%s: memory is told", what);
    threads_set(2);
    struct solver *s = open_gptq(&o, m, t.file);
    bool good = true, better = true, kept = true;
    for (int l = 0; l < 3; l++) {
        tiny_layer_make(&whole[l], m, l);
        struct quantize_layer before;
        tiny_layer_make(&before, m, l);
        whole[l].modules[LAYER_V].kept = l == 1;
        good &= !solver_solve(s, &whole[l], &e);
        good &= l == 2 || !solver_advance(s, &whole[l]);
        for (int i = 0; i < LAYER_LINEARS; i++) {
            struct quantize_module *q = &whole[l].modules[i];
            better &= q->kept || (q->output_error > 0 && q->output_error < q->weight_error && q->weight_error < 0.2 && q->damp == 0.01);
        }
        kept &= l != 1 || !memcmp(before.modules[LAYER_V].weight, whole[l].modules[LAYER_V].weight, 32 * 64 * sizeof(float));
        tiny_layer_free(&before);
    }
    ok(good, "%s: all layers are solved %s", what, e.text);
    ok(better, "%s: outputs err less than weights", what);
    ok(kept && !whole[1].modules[LAYER_V].grid.codes, "%s: what is kept stays", what);
    solver_close(s);
    threads_set(1);
    s = open_gptq(&o, m, t.file);
    good = !solver_advance(s, &whole[0]) && !solver_advance(s, &whole[1]);
    tiny_layer_make(&last, m, 2);
    good &= !solver_solve(s, &last, &e);
    ok(good && same_modules(&last, &whole[2]), "%s: taken up again before the last layer, the same bits", what);
    solver_close(s);
    const struct linear *q = &m->layers[2].q;
    ok(q->type == DTYPE_BF16 && q->weight != last.modules[LAYER_Q].weight, "%s: the model has its weights again", what);
    for (int l = 0; l < 3; l++)
        tiny_layer_free(&whole[l]);
    tiny_layer_free(&last);
    tiny_tokens_free(&t);
    model_close(m);
    free(dir);
}

static void test_gptq_stops(void)
{
    char *dir;
    struct err e = ERR_INIT;
    struct tiny_tokens t;
    struct quantize_layer l;
    struct quantize_options o = gptq_options();
    struct model *m = open_tiny(LLAMA, &dir);
    tiny_tokens_make(&t, LENGTHS, SAMPLES, m->config.vocab);
    tiny_layer_make(&l, m, 0);
    struct solver *s = solver_open(&o, m, m->k, t.file, always, &e);
    is_int(s ? solver_solve(s, &l, &e) : -1, 1, "a solver stops when it is asked to");
    solver_close(s);
    tiny_layer_free(&l);
    tiny_layer_make(&l, m, 0);
    l.attn_norm.value[3] = INFINITY;
    s = open_gptq(&o, m, t.file);
    int rc = solver_solve(s, &l, &e);
    ok(rc == -1 && strstr(e.text, "q_proj"), "activations that are not finite are an error: %s", e.text);
    solver_close(s);
    tiny_layer_free(&l);
    tiny_tokens_free(&t);
    model_close(m);
    free(dir);
}

int main(void)
{
    test_states(LLAMA, false, "llama");
    test_states(LLAMA, true, "llama, by stages");
    test_states(QWEN3, true, "qwen3, by stages");
    test_states(QWEN2, true, "qwen2 with dynamic rotation, by stages");
    test_inputs();
    test_choice();
    struct quantize_options o = gptq_options();
    test_gptq(o, "gptq");
    o.act_order = true;
    test_gptq(o, "gptq with act-order");
    o.act_order = false, o.true_sequential = false, o.sym = false;
    test_gptq(o, "gptq, inputs at once, not symmetric");
    test_gptq_stops();
    return tap_end();
}
