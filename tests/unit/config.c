/* config.json: defaults of the families, spellings of the rotary section, refusals; rotary frequencies. */
#include "model/config.h"

#include <math.h>
#include <stdlib.h>

#include "base/dtype.h"
#include "model/rope.h"
#include "tests/unit/tap.h"

static struct model_config parse(const char *json)
{
    struct model_config c;
    struct err e = ERR_INIT;
    if (model_config_parse(&c, json, strlen(json), "config.json", &e)) {
        printf("Bail out! %s\n", e.text);
        exit(1);
    }
    return c;
}

static void refused(const char *json, const char *text)
{
    struct model_config c;
    struct err e = ERR_INIT;
    bool good = model_config_parse(&c, json, strlen(json), "config.json", &e) < 0 && strstr(e.text, text) && !c.window_layers;
    if (!ok(good, "refused: %s", text))
        printf("# %s\n# %s\n", json, e.set ? e.text : "accepted");
}

#define LLAMA(fields) "{\"model_type\": \"llama\", " fields "}"
#define QWEN2(fields) "{\"model_type\": \"qwen2\", " fields "}"

static void test_defaults(void)
{
    static const struct { const char *type; int64_t vocab, ffn, positions; int kv_heads, head_dim; bool qkv; int eos; int64_t window; } want[] = {
        {"llama", 32000, 11008, 2048, 32, 128, false, 2, 0}, {"mistral", 32000, 14336, 131072, 8, 128, false, 2, 4096},
        {"qwen2", 151936, 22016, 32768, 32, 128, true, -1, 0}, {"qwen3", 151936, 22016, 32768, 32, 128, false, -1, 0},
    };
    for (size_t i = 0; i < sizeof want / sizeof *want; i++) {
        char json[100];
        snprintf(json, sizeof json, "{\"model_type\": \"%s\"}", want[i].type);
        struct model_config c = parse(json);
        ok(!strcmp(c.type, want[i].type) && c.vocab == want[i].vocab && c.hidden == 4096 && c.ffn == want[i].ffn &&
           c.max_positions == want[i].positions && c.layers == 32 && c.heads == 32 && c.kv_heads == want[i].kv_heads &&
           c.head_dim == want[i].head_dim, "%s: sizes when nothing is given", want[i].type);
        ok(c.qkv_bias == want[i].qkv && !c.o_bias && !c.mlp_bias && !c.tied && c.qk_norm == !strcmp(c.type, "qwen3") &&
           c.rms_eps == 1e-6 && c.init_range == 0.02 && c.rope.type == ROPE_DEFAULT && c.rope.theta == 10000 &&
           model_config_window(&c, 0) == want[i].window && c.stored_type == -1, "%s: choices when nothing is given", want[i].type);
        ok(c.n_eos == (want[i].eos >= 0) && (!c.n_eos || c.eos[0] == want[i].eos), "%s: end tokens when nothing is given", want[i].type);
    }
}

static void test_fields(void)
{
    struct model_config c = parse(LLAMA("\"hidden_size\": 20, \"num_attention_heads\": 4, \"num_key_value_heads\": null, \"head_dim\": 6, "
        "\"attention_bias\": true, \"mlp_bias\": true, \"tie_word_embeddings\": true, \"eos_token_id\": [5, 6], \"bos_token_id\": null, "
        "\"torch_dtype\": \"float16\", \"dtype\": \"bfloat16\", \"rope_theta\": 5e5, \"_name_or_path\": \"x\", \"rope_interleaved\": false, "
        "\"attention_dropout\": 0.0, \"num_experts\": null, \"temperature\": 0.6"));
    ok(c.kv_heads == 4 && c.head_dim == 6 && c.qkv_bias && c.o_bias && c.mlp_bias && c.tied, "llama: biases, head_dim, null heads");
    ok(c.n_eos == 2 && c.eos[1] == 6 && c.bos == -1 && c.stored_type == DTYPE_BF16 && c.rope.theta == 5e5, "llama: tokens and type");
    is_int(model_config_parameters(&c), 32000 * 20 + 20 + 32 * (40 + 4 * 24 * 20 + 3 * 24 + 20 + 3 * 20 * 11008 + 2 * 11008 + 20), "count of weights");
    c = parse("{\"model_type\": \"mistral\", \"sliding_window\": null, \"head_dim\": null}");
    ok(model_config_window(&c, 3) == 0 && c.head_dim == 128, "mistral: null turns the window off");
    c = parse(LLAMA("\"sliding_window\": 7, \"use_sliding_window\": true"));
    is_int(model_config_window(&c, 0), 0, "llama: never a window");
    c = parse(QWEN2("\"use_sliding_window\": true, \"sliding_window\": 9, \"max_window_layers\": 30, \"num_hidden_layers\": 70"));
    ok(!model_config_window(&c, 29) && model_config_window(&c, 30) == 9 && model_config_window(&c, 69) == 9, "qwen2: the upper layers are windowed");
    model_config_release(&c);
    c = parse(QWEN2("\"use_sliding_window\": true, \"num_hidden_layers\": 2, \"layer_types\": [\"sliding_attention\", \"full_attention\"]"));
    ok(model_config_window(&c, 0) == 4096 && !model_config_window(&c, 1), "qwen2: layer_types wins");
    model_config_release(&c);
    c = parse(QWEN2("\"use_sliding_window\": true, \"num_hidden_layers\": 2"));
    ok(!c.window && !c.window_layers, "qwen2: no layer reaches max_window_layers");
    c = parse("{\"model_type\": \"qwen3\", \"attention_bias\": true, \"hidden_size\": 10, \"num_attention_heads\": 4, \"num_key_value_heads\": 2}");
    ok(c.qk_norm && c.qkv_bias && c.o_bias && c.head_dim == 128, "qwen3: biases, head_dim of its own");
}

static void test_rope_spellings(void)
{
    struct model_config c = parse(LLAMA("\"rope_scaling\": {\"type\": \"linear\", \"factor\": 4}, \"rope_theta\": 7.0, "
                                        "\"rope_parameters\": {\"rope_type\": \"yarn\", \"rope_theta\": 9}"));
    ok(c.rope.type == ROPE_LINEAR && c.rope.factor == 4 && c.rope.theta == 7, "rope_scaling wins whole over rope_parameters");
    c = parse(LLAMA("\"rope_scaling\": {}, \"rope_theta\": 7, \"rope_parameters\": {\"rope_type\": \"dynamic\", \"type\": \"linear\", \"factor\": 2, \"rope_theta\": 9}"));
    ok(c.rope.type == ROPE_DYNAMIC && c.rope.theta == 9, "an empty rope_scaling gives way; rope_type and the inner theta win");
    c = parse(LLAMA("\"rope_scaling\": {\"rope_type\": \"llama3\", \"factor\": 8, \"low_freq_factor\": 1, \"high_freq_factor\": 4, "
                    "\"original_max_position_embeddings\": 100}, \"original_max_position_embeddings\": 50"));
    ok(c.rope.type == ROPE_LLAMA3 && c.rope.original_max_positions == 50, "the outer original_max_position_embeddings wins");
    c = parse(LLAMA("\"rope_scaling\": {\"rope_type\": \"yarn\", \"factor\": null, \"original_max_position_embeddings\": 512, \"beta_fast\": null}"));
    ok(c.rope.factor == 4 && c.rope.beta_fast == 32 && c.rope.beta_slow == 1 && c.rope.truncate, "yarn: defaults");
}

static void test_refusals(void)
{
    refused("", "config.json: line 1: not JSON");
    refused("[1]", "config.json: found no object");
    refused("{\"a\": 1, \"a\": 2}", "duplicate");
    refused("{}", "model_type: missing, expected llama, mistral, qwen2 or qwen3");
    refused("{\"model_type\": \"gpt2\"}", "model_type: found \"gpt2\"");
    refused("{\"model_type\": 3}", "model_type: found 3");
    refused(LLAMA("\"num_local_experts\": 8"), "num_local_experts: found 8");
    refused(LLAMA("\"attention_dropout\": 0.1"), "attention_dropout: found 0.10");
    refused(LLAMA("\"quantization_config\": {\"bits\": 4}"), "quantization_config: found {\"bits\":4}");
    refused(LLAMA("\"hidden_size\": 0"), "hidden_size: found 0, expected a whole number from 1");
    refused(LLAMA("\"hidden_size\": \"x\""), "hidden_size: found \"x\"");
    refused(LLAMA("\"hidden_size\": 4096.5"), "hidden_size: found 4096.5");
    refused(LLAMA("\"num_hidden_layers\": 1e9"), "num_hidden_layers");
    refused(LLAMA("\"num_attention_heads\": 24"), "hidden_size: missing, expected a multiple of num_attention_heads");
    refused(LLAMA("\"num_key_value_heads\": 5"), "num_key_value_heads: found 5, expected a divisor");
    refused(LLAMA("\"head_dim\": 7"), "head_dim: found 7, expected an even size");
    refused("{\"model_type\": \"qwen3\", \"head_dim\": null}", "head_dim: found null");
    refused("{\"model_type\": \"mistral\", \"num_key_value_heads\": null}", "num_key_value_heads: found null");
    refused("{\"model_type\": \"mistral\", \"attention_bias\": true}", "attention_bias: found true, expected false");
    refused(LLAMA("\"hidden_act\": \"gelu\""), "hidden_act: found \"gelu\", expected silu");
    refused(LLAMA("\"rms_norm_eps\": true"), "rms_norm_eps: found true, expected a number");
    refused(LLAMA("\"tie_word_embeddings\": 1"), "tie_word_embeddings: found 1, expected true or false");
    refused(LLAMA("\"eos_token_id\": \"</s>\""), "eos_token_id: found \"</s>\"");
    refused(LLAMA("\"eos_token_id\": [1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17]"), "eos_token_id");
    refused("{\"model_type\": \"mistral\", \"sliding_window\": 0}", "sliding_window: found 0");
    refused(QWEN2("\"layer_types\": [\"full_attention\"]"), "layer_types");
    refused(QWEN2("\"num_hidden_layers\": 1, \"layer_types\": [\"linear_attention\"]"), "layer_types: found [\"linear_attention\"]");
    refused(QWEN2("\"num_hidden_layers\": 1, \"layer_types\": [\"sliding_attention\"]"), "while no sliding window is in use");
    refused(QWEN2("\"use_sliding_window\": true, \"max_window_layers\": 0, \"rope_scaling\": {\"type\": \"mrope\"}"), "type: found \"mrope\"");
    refused(LLAMA("\"rope_scaling\": 3"), "rope_scaling: found 3, expected an object");
    refused(LLAMA("\"rope_scaling\": {\"type\": \"linear\"}"), "rope_scaling.factor: missing");
    refused(LLAMA("\"rope_scaling\": {\"rope_type\": \"llama3\", \"factor\": 8}"), "low_freq_factor: missing");
    refused(LLAMA("\"rope_scaling\": {\"rope_type\": \"longrope\", \"factor\": 8}"), "rope_type: found \"longrope\"");
    refused(LLAMA("\"rope_scaling\": {\"rope_type\": \"linear\", \"factor\": 8, \"short_factor\": [1]}"), "rope_scaling.short_factor");
    refused(LLAMA("\"rope_parameters\": {\"full_attention\": {\"rope_type\": \"default\"}}"), "rope_parameters.full_attention");
    refused(LLAMA("\"partial_rotary_factor\": 0.5"), "partial_rotary_factor: found 0.5");
    refused(LLAMA("\"rope_theta\": -1"), "rope_theta: found -1");
}

/* Values of transformers 5.23 for published settings. */
static void test_frequencies(void)
{
    float inv[64];
    struct model_config c = parse(LLAMA("\"rope_theta\": 5e5, \"rope_scaling\": {\"rope_type\": \"llama3\", \"factor\": 8, "
        "\"low_freq_factor\": 1, \"high_freq_factor\": 4, \"original_max_position_embeddings\": 8192}"));
    is_near(rope_frequencies(inv, &c, 10), 1, 0, "llama3: no attention scaling");
    ok(fabs(inv[28] / 3.2114461e-3 - 1) < 3e-7 && fabs(inv[29] / 2.1665706e-3 - 1) < 3e-7 && fabs(inv[32] / 5.2484602e-4 - 1) < 3e-7 &&
       fabs(inv[36] / 7.7846555e-5 - 1) < 3e-7 && fabs(inv[63] / 3.0689259e-7 - 1) < 3e-7, "llama3: frequencies");
    c = parse(LLAMA("\"rope_theta\": 1e6, \"rope_scaling\": {\"rope_type\": \"yarn\", \"factor\": 4, \"original_max_position_embeddings\": 32768}"));
    is_near(rope_frequencies(inv, &c, 10), 1.1386294, 1e-7, "yarn: attention scaling");
    ok(fabs(inv[20] / 1.3335215e-2 - 1) < 3e-7 && fabs(inv[30] / 1.0643610e-3 - 1) < 3e-7 && fabs(inv[40] / 4.4456985e-5 - 1) < 3e-7, "yarn: frequencies");
    c = parse(LLAMA("\"rope_scaling\": {\"rope_type\": \"yarn\", \"factor\": 40, \"mscale\": 0.707, \"mscale_all_dim\": 1}"));
    is_near(rope_frequencies(inv, &c, 10), 0.9210424, 1e-7, "yarn: two scales");
    c = parse(LLAMA("\"rope_scaling\": {\"rope_type\": \"yarn\", \"factor\": 40, \"attention_factor\": 1.5}"));
    is_near(rope_frequencies(inv, &c, 10), 1.5, 0, "yarn: given scaling");
    c = parse(LLAMA("\"head_dim\": 16, \"max_position_embeddings\": 64, \"rope_scaling\": {\"rope_type\": \"dynamic\", \"factor\": 2}"));
    static const struct { int64_t length; double want; } dynamic[] = {{64, 0.31623}, {65, 0.31484}, {100, 0.28395}};
    for (int i = 0; i < 3; i++) {
        rope_frequencies(inv, &c, dynamic[i].length);
        ok(fabs(inv[1] - dynamic[i].want) < 5e-6, "dynamic: length %d", (int)dynamic[i].length);
    }
    float table[16];
    rope_frequencies(inv, &c, 1);
    rope_fill(table, inv, 16, 2, 3);
    ok(fabsf(table[0] - 2 * cosf(3)) < 1e-6f && fabsf(table[1] - 2 * sinf(3)) < 1e-6f && fabsf(table[3] - 2 * sinf(3 * inv[1])) < 1e-6f, "table: scaled cosine and sine");
}

int main(void)
{
    test_defaults();
    test_fields();
    test_rope_spellings();
    test_refusals();
    test_frequencies();
    return tap_end();
}
