/* Calibration on a device whose memory is not the host's (far_kernels.h): the host reaches it by copies alone, and what is made of every layer is
 * the same bits as on the CPU. */
#include "tests/unit/far_kernels.h"

#include "quantize/solver.h"
#include "tests/unit/tap.h"
#include "tests/unit/tiny_layer.h"

static const char NORMS[] =
    "{\"model_type\":\"qwen3\",\"vocab_size\":97,\"hidden_size\":64,\"intermediate_size\":96,\"num_hidden_layers\":2,"
    "\"num_attention_heads\":4,\"num_key_value_heads\":2,\"head_dim\":32,\"tie_word_embeddings\":false}";
static const char BIASES[] =
    "{\"model_type\":\"qwen2\",\"vocab_size\":97,\"hidden_size\":64,\"intermediate_size\":96,\"num_hidden_layers\":2,"
    "\"num_attention_heads\":4,\"num_key_value_heads\":4,\"tie_word_embeddings\":true,\"torch_dtype\":\"bfloat16\"}";

static const int LENGTHS[] = {40, 300, 17, 900, 1500, 33};
enum { SAMPLES = sizeof LENGTHS / sizeof *LENGTHS, LAYERS = 2 };

static const struct kernels *near_table, *far_table;

static void solve(struct quantize_layer made[LAYERS], struct model *m, const struct kernels *k, const struct token_file *t, const struct quantize_options *o)
{
    struct err e = ERR_INIT;
    struct solver *s = solver_open(o, m, k, t, NULL, &e);
    for (int l = 0; l < LAYERS; l++) {
        tiny_layer_make(&made[l], m, l);
        if (!s || solver_solve(s, &made[l], &e) || (l + 1 < LAYERS && solver_advance(s, &made[l])))
            tiny_die(&e);
    }
    solver_close(s);
}

static bool same_vector(const struct quantize_vector *a, const struct quantize_vector *b)
{
    return !a->value || !memcmp(a->value, b->value, (size_t)a->n * sizeof *a->value);
}

static bool same_layer(const struct quantize_layer *a, const struct quantize_layer *b)
{
    bool same = same_vector(&a->attn_norm, &b->attn_norm) && same_vector(&a->mlp_norm, &b->mlp_norm);
    for (int i = 0; i < LAYER_LINEARS; i++) {
        const struct quantize_module *x = &a->modules[i], *y = &b->modules[i];
        same = same && same_vector(&x->bias, &y->bias) && !memcmp(x->weight, y->weight, (size_t)(x->out * x->in) * sizeof *x->weight) &&
               !memcmp(x->grid.codes, y->grid.codes, (size_t)(x->out * x->in)) && x->output_error == y->output_error;
    }
    return same;
}

static void test(const char *config, const struct quantize_options *o, const char *what)
{
    struct err e = ERR_INIT;
    struct tiny_tokens t;
    struct quantize_layer a[LAYERS], b[LAYERS];
    char *dir = tiny_model_write(config, NULL);
    struct model *m = model_open(dir, near_table, &e);
    size_t live = far.live;
    int64_t device, here;
    if (!m)
        tiny_die(&e);
    tiny_tokens_make(&t, LENGTHS, SAMPLES, m->config.vocab);
    solve(a, m, near_table, t.file, o);
    solve(b, m, far_table, t.file, o);
    for (int l = 0; l < LAYERS; l++) {
        ok(same_layer(&a[l], &b[l]), "%s: layer %d", what, l);
        tiny_layer_free(&a[l]), tiny_layer_free(&b[l]);
    }
    ok(far.live == live, "%s: all memory is given back", what);
    solver_memory(o, m, near_table, t.file, &here);
    solver_memory(o, m, far_table, t.file, &device);
    ok(here == 0 && device > calibrate_bytes(m, near_table, t.file, o->method == QUANTIZE_AWQ ? 8192 : 0), "%s: the device's memory is told", what);
    tiny_tokens_free(&t);
    model_close(m);
    free(dir);
}

int main(void)
{
    struct err e = ERR_INIT;
    if (!(near_table = kernels_open("cpu", &e)))
        tiny_die(&e);
    far_table = far_kernels(near_table);
    const struct quantize_options in_turn = {.method = QUANTIZE_GPTQ, .bits = 4, .group = 32, .sym = true, .true_sequential = true, .damp = 0.01},
                                  at_once = {.method = QUANTIZE_GPTQ, .bits = 4, .group = 32, .act_order = true, .damp = 0.01},
                                  awq = {.method = QUANTIZE_AWQ, .bits = 4, .group = 32};
    test(NORMS, &in_turn, "GPTQ");
    test(BIASES, &in_turn, "GPTQ, biases");
    test(BIASES, &at_once, "GPTQ, all modules at once");
    test(NORMS, &awq, "AWQ");
    test(BIASES, &awq, "AWQ, biases");
    return tap_end();
}
