/* config.json: defaults of the families, spellings of the rotary section, refusals; rotary frequencies. */
#include "model/config.h"

#include <jansson.h>
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

/* The sizes that every file must have, apart: a test that gives one of them gives them all. */
#define SIZES "\"vocab_size\": 32000, \"hidden_size\": 4096, \"intermediate_size\": 11008, \"num_hidden_layers\": 32, \"num_attention_heads\": 32"
#define BARE(type, fields) "{\"model_type\": \"" type "\", " fields "}"
#define LLAMA(fields) BARE("llama", fields ", " SIZES)
#define MISTRAL(fields) BARE("mistral", fields ", " SIZES)
#define QWEN2(fields) BARE("qwen2", fields ", " SIZES)
#define QWEN3(fields) BARE("qwen3", fields ", " SIZES)
#define LAYERS(type, n, fields) \
    BARE(type, fields ", \"vocab_size\": 32000, \"hidden_size\": 4096, \"intermediate_size\": 11008, \"num_attention_heads\": 32, \"num_hidden_layers\": " #n)

/* A llama with this field as JSON, or without it (NULL). */
static void refused_with(const char *key, const char *value, const char *text)
{
    json_t *j = json_loads(LLAMA("\"rms_norm_eps\": 1e-5"), 0, NULL);
    if (value)
        json_object_set_new(j, key, json_loads(value, JSON_DECODE_ANY, NULL));
    else
        json_object_del(j, key);
    char *json = json_dumps(j, JSON_COMPACT);
    refused(json, text);
    free(json);
    json_decref(j);
}

static void test_defaults(void)
{
    static const struct { const char *type; int64_t positions; int kv_heads, head_dim; bool qkv; int eos; int64_t window; } want[] = {
        {"llama", 2048, 64, 64, false, 2, 0}, {"mistral", 131072, 8, 64, false, 2, 4096},
        {"qwen2", 32768, 32, 64, true, -1, 0}, {"qwen3", 32768, 32, 128, false, -1, 0},
    };
    for (size_t i = 0; i < sizeof want / sizeof *want; i++) {
        char json[300];
        snprintf(json, sizeof json, "{\"model_type\": \"%s\", \"vocab_size\": 1000, \"hidden_size\": 4096, \"intermediate_size\": 99, "
                 "\"num_hidden_layers\": 7, \"num_attention_heads\": 64}", want[i].type);
        struct model_config c = parse(json);
        ok(!strcmp(c.type, want[i].type) && c.vocab == 1000 && c.hidden == 4096 && c.ffn == 99 && c.max_positions == want[i].positions &&
           c.layers == 7 && c.heads == 64 && c.kv_heads == want[i].kv_heads && c.head_dim == want[i].head_dim,
           "%s: sizes when only those that must be are given", want[i].type);
        ok(c.qkv_bias == want[i].qkv && !c.o_bias && !c.mlp_bias && !c.tied && c.qk_norm == !strcmp(c.type, "qwen3") &&
           c.rms_eps == 1e-6 && c.init_range == 0.02 && c.rope.type == ROPE_DEFAULT && c.rope.theta == 10000 &&
           model_config_window(&c, 0) == want[i].window && c.stored_type == -1, "%s: choices when nothing is said", want[i].type);
        ok(c.n_eos == (want[i].eos >= 0) && (!c.n_eos || c.eos[0] == want[i].eos), "%s: end tokens when nothing is said", want[i].type);
    }
}

static void test_fields(void)
{
    struct model_config c = parse(BARE("llama", "\"vocab_size\": 32000, \"intermediate_size\": 11008, \"num_hidden_layers\": 32, \"hidden_size\": 20, \"num_attention_heads\": 4, \"num_key_value_heads\": null, \"head_dim\": 6, "
        "\"attention_bias\": true, \"mlp_bias\": true, \"tie_word_embeddings\": true, \"eos_token_id\": [5, 6], \"bos_token_id\": null, "
        "\"torch_dtype\": \"float16\", \"dtype\": \"bfloat16\", \"rope_theta\": 5e5, \"_name_or_path\": \"x\", \"rope_interleaved\": false, "
        "\"attention_dropout\": 0.0, \"num_experts\": null, \"temperature\": 0.6"));
    ok(c.kv_heads == 4 && c.head_dim == 6 && c.qkv_bias && c.o_bias && c.mlp_bias && c.tied, "llama: biases, head_dim, null heads");
    ok(c.n_eos == 2 && c.eos[1] == 6 && c.bos == -1 && c.stored_type == DTYPE_BF16 && c.rope.theta == 5e5, "llama: tokens and type");
    is_int(model_config_parameters(&c), 32000 * 20 + 20 + 32 * (40 + 4 * 24 * 20 + 3 * 24 + 20 + 3 * 20 * 11008 + 2 * 11008 + 20), "count of weights");
    c = parse(MISTRAL("\"sliding_window\": null, \"head_dim\": null"));
    ok(model_config_window(&c, 3) == 0 && c.head_dim == 128, "mistral: null turns the window off");
    c = parse(LLAMA("\"sliding_window\": 7, \"use_sliding_window\": true"));
    is_int(model_config_window(&c, 0), 0, "llama: never a window");
    c = parse(LAYERS("qwen2", 70, "\"use_sliding_window\": true, \"sliding_window\": 9, \"max_window_layers\": 30"));
    ok(!model_config_window(&c, 29) && model_config_window(&c, 30) == 9 && model_config_window(&c, 69) == 9, "qwen2: the upper layers are windowed");
    model_config_release(&c);
    c = parse(LAYERS("qwen2", 2, "\"use_sliding_window\": true, \"layer_types\": [\"sliding_attention\", \"full_attention\"]"));
    ok(model_config_window(&c, 0) == 4096 && !model_config_window(&c, 1), "qwen2: layer_types wins");
    model_config_release(&c);
    c = parse(LAYERS("qwen2", 2, "\"use_sliding_window\": true"));
    ok(!c.window && !c.window_layers, "qwen2: no layer reaches max_window_layers");
    c = parse(BARE("qwen3", "\"vocab_size\": 5, \"intermediate_size\": 6, \"num_hidden_layers\": 7, \"attention_bias\": true, \"hidden_size\": 10, \"num_attention_heads\": 4, "
              "\"num_key_value_heads\": 2"));
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
    refused(LLAMA("\"num_local_experts\": 8"), "num_local_experts: found 8, expected no such field");
    refused(LLAMA("\"attention_dropout\": 0.1"), "attention_dropout: found 0.10");
    refused_with("hidden_size", "0", "hidden_size: found 0, expected a whole number from 1");
    refused_with("hidden_size", "\"x\"", "hidden_size: found \"x\"");
    refused_with("hidden_size", "4096.5", "hidden_size: found 4096.5");
    refused_with("num_hidden_layers", "1e9", "num_hidden_layers");
    refused_with("num_attention_heads", "24", "hidden_size: found 4096, expected a multiple of num_attention_heads");
    refused(LLAMA("\"num_key_value_heads\": 5"), "num_key_value_heads: found 5, expected a divisor");
    refused(LLAMA("\"head_dim\": 7"), "head_dim: found 7, expected an even size");
    refused(QWEN3("\"head_dim\": null"), "head_dim: found null");
    refused(MISTRAL("\"num_key_value_heads\": null"), "num_key_value_heads: found null");
    refused(MISTRAL("\"attention_bias\": true"), "attention_bias: found true, expected false");
    refused(LLAMA("\"hidden_act\": \"gelu\""), "hidden_act: found \"gelu\", expected silu");
    refused(LLAMA("\"rms_norm_eps\": true"), "rms_norm_eps: found true, expected a number");
    refused(LLAMA("\"tie_word_embeddings\": 1"), "tie_word_embeddings: found 1, expected true or false");
    refused(LLAMA("\"eos_token_id\": \"</s>\""), "eos_token_id: found \"</s>\"");
    refused(LLAMA("\"eos_token_id\": [1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17]"), "eos_token_id");
    refused(MISTRAL("\"sliding_window\": 0"), "sliding_window: found 0");
    refused(QWEN2("\"layer_types\": [\"full_attention\"]"), "layer_types");
    refused(LAYERS("qwen2", 1, "\"layer_types\": [\"linear_attention\"]"), "layer_types: found [\"linear_attention\"]");
    refused(LAYERS("qwen2", 1, "\"layer_types\": [\"sliding_attention\"]"), "while no sliding window is in use");
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

/* A field that is absent or unknown never changes a model in silence. */
static void test_silence(void)
{
    static const char *const needed[] = {"vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads"};
    static const char *const multipliers[] = {"embedding_multiplier", "residual_multiplier", "logits_scaling", "rope_ratio"};
    static const struct { const char *key, *value; } changes[] = {
        {"attn_logit_softcapping", "50.0"}, {"final_logit_softcapping", "30.0"}, {"attention_multiplier", "0.0078125"}, {"query_pre_attn_scalar", "256"},
        {"quantization", "{\"bits\": 4}"}, {"compression_config", "{}"}, {"num_experts", "4"}, {"clip_qkv", "8"},
        {"hidden_activation", "\"gelu\""}, {"use_qk_norm", "true"}, {"attn_output_gate", "true"}, {"scale_embedding", "true"}, {"is_encoder_decoder", "true"},
        {"sliding_window_pattern", "6"}, {"no_rope_layers", "[1]"}, {"text_config", "{}"}, {"use_mrope", "true"}, {"rope_interleaved", "true"},
    };
    char text[100];
    for (size_t i = 0; i < sizeof needed / sizeof *needed; i++) {
        snprintf(text, sizeof text, "config.json: %s: missing, expected a whole number from 1", needed[i]);
        refused_with(needed[i], NULL, text);
        snprintf(text, sizeof text, "config.json: %s: found null, expected a whole number from 1", needed[i]);
        refused_with(needed[i], "null", text);
    }
    for (size_t i = 0; i < sizeof changes / sizeof *changes; i++) {
        snprintf(text, sizeof text, "config.json: %s: found ", changes[i].key);
        refused_with(changes[i].key, changes[i].value, text);
    }
    for (size_t i = 0; i < sizeof multipliers / sizeof *multipliers; i++) {
        snprintf(text, sizeof text, "config.json: %s: found 2, expected null or 1", multipliers[i]);
        refused_with(multipliers[i], "2", text);
    }
    refused_with("model_type", NULL, "model_type: missing");
    refused_with("model_type", "\"gemma2\"", "model_type: found \"gemma2\", expected llama, mistral, qwen2 or qwen3");
    refused(MISTRAL("\"mlp_bias\": true"), "mlp_bias: found true, expected false for this model_type");
    refused(QWEN2("\"mlp_bias\": true"), "mlp_bias: found true, expected false for this model_type");
    refused(QWEN3("\"mlp_bias\": true"), "mlp_bias: found true, expected false for this model_type");
    struct model_config c = parse(LLAMA("\"embedding_multiplier\": 1, \"residual_multiplier\": 1.0, \"logits_scaling\": null, \"attn_logit_softcapping\": null, "
        "\"final_logit_softcapping\": null, \"num_experts\": null, \"partial_rotary_factor\": 1.0, \"mlp_bias\": false, \"quantization_config\": null, "
        "\"architectures\": [\"LlamaForCausalLM\"], \"_attn_implementation_autoset\": true, \"use_cache\": false, \"pretraining_tp\": 1"));
    ok(c.rope.theta == 10000 && c.rms_eps == 1e-6 && !c.tied && c.kv_heads == c.heads && c.head_dim == c.hidden / c.heads,
       "neutral values and descriptions pass; absent fields are as their class documents");
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
    is_int(model_config_context(&c), 128, "dynamic: sequences may be longer by the factor");
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
    test_silence();
    test_frequencies();
    return tap_end();
}
