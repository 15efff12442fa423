#include "model/config.h"

#include <stdlib.h>
#include <string.h>

#include "base/dtype.h"
#include "base/file.h"
#include "base/mem.h"
#include "model/config_json.h"

enum { NONE, OPTIONAL, ALWAYS };
enum window_rule { WINDOW_NONE, WINDOW_ALL, WINDOW_TOP_LAYERS };

/* One row per model_type: the defaults of its config class in transformers 5.23 and what distinguishes its layers. The sizes that make
 * a model what it is have defaults there, too (those of one published model); here they must be given. */
static const struct family {
    const char *type;
    int64_t max_positions;
    int kv_heads;                  /* 0: as many as heads */
    int head_dim;                  /* 0: hidden / heads */
    bool null_kv_heads, null_head_dim; /* null is allowed and means heads, hidden / heads */
    int qkv_bias, o_bias, mlp_bias;    /* OPTIONAL: as attention_bias, mlp_bias say */
    bool qk_norm;
    enum window_rule window;
    int bos, eos;
} FAMILIES[] = {
    /* models/llama/configuration_llama.py: attention_bias adds one to q, k, v and o, mlp_bias to gate, up and down */
    {"llama", 2048, 0, 0, true, true, OPTIONAL, OPTIONAL, OPTIONAL, false, WINDOW_NONE, 1, 2},
    /* models/mistral/configuration_mistral.py: never a bias; sliding_window 4096 unless it says null, in every layer */
    {"mistral", 131072, 8, 0, false, true, NONE, NONE, NONE, false, WINDOW_ALL, 1, 2},
    /* models/qwen2/configuration_qwen2.py: q, k, v always have a bias; with use_sliding_window the layers from
     * max_window_layers on (or those that layer_types names) are windowed */
    {"qwen2", 32768, 32, 0, true, true, ALWAYS, NONE, NONE, false, WINDOW_TOP_LAYERS, -1, -1},
    /* models/qwen3/configuration_qwen3.py: RMSNorm over each q and k head; attention_bias as in llama */
    {"qwen3", 32768, 32, 128, true, false, OPTIONAL, OPTIONAL, NONE, true, WINDOW_TOP_LAYERS, -1, -1},
};

/* A bias that the family never has must not be asked for; one that it may have is as the field says. */
static bool read_bias(struct json_fields *r, const char *key, int rule)
{
    bool asked = json_fields_bool(r, key, false);
    if (rule == NONE && asked)
        json_fields_bad(r, key, "false for this model_type");
    return rule == ALWAYS || asked;
}

static void read_sizes(struct json_fields *r, const struct family *f, struct model_config *c)
{
    c->vocab = json_fields_need_int(r, "vocab_size", 1, 1 << 28);
    c->hidden = json_fields_need_int(r, "hidden_size", 1, 1 << 24);
    c->ffn = json_fields_need_int(r, "intermediate_size", 1, 1 << 26);
    c->layers = (int)json_fields_need_int(r, "num_hidden_layers", 1, 100000);
    c->heads = (int)json_fields_need_int(r, "num_attention_heads", 1, 1 << 16);
    if (r->bad)
        return;
    c->max_positions = json_fields_int(r, "max_position_embeddings", f->max_positions, 1, INT64_C(1) << 31);
    bool null_kv = json_is_null(json_object_get(r->object, "num_key_value_heads"));
    int kv_default = f->kv_heads && !null_kv ? f->kv_heads : c->heads;
    c->kv_heads = (int)json_fields_int(r, "num_key_value_heads", kv_default, 1, 1 << 16);
    if (null_kv && !f->null_kv_heads)
        json_fields_bad(r, "num_key_value_heads", "a whole number");
    bool null_dim = json_is_null(json_object_get(r->object, "head_dim"));
    int64_t derived = c->hidden / c->heads;
    c->head_dim = (int)json_fields_int(r, "head_dim", f->head_dim && !null_dim ? f->head_dim : derived, 1, 1 << 16);
    if (null_dim && !f->null_head_dim)
        json_fields_bad(r, "head_dim", "a whole number");
    if (r->bad)
        return;
    if (c->heads % c->kv_heads)
        json_fields_bad(r, "num_key_value_heads", "a divisor of num_attention_heads");
    if (!f->head_dim && !json_fields_find(r, "head_dim") && c->hidden % c->heads)
        json_fields_bad(r, "hidden_size", "a multiple of num_attention_heads");
    if (!r->bad && (c->head_dim < 2 || c->head_dim % 2))
        json_fields_bad(r, json_fields_find(r, "head_dim") ? "head_dim" : "hidden_size", "an even size of each head");
}

static void set_window_layer(struct model_config *c, int layer)
{
    if (!c->window_layers)
        c->window_layers = mem_zalloc((size_t)c->layers / 64 + 1, sizeof *c->window_layers);
    c->window_layers[layer / 64] |= UINT64_C(1) << layer % 64;
}

/* layer_types wins over max_window_layers; a windowed entry without a window is an error, as it is in transformers. */
static void read_window_layers(struct json_fields *r, struct model_config *c)
{
    json_t *types = json_fields_find(r, "layer_types");
    int64_t first = json_fields_int(r, "max_window_layers", 28, 0, 1 << 30);
    if (types && (!json_is_array(types) || json_array_size(types) != (size_t)c->layers)) {
        json_fields_bad(r, "layer_types", "an array with one entry per layer");
        return;
    }
    bool any = false;
    for (int i = 0; i < c->layers; i++) {
        const char *type = types ? json_string_value(json_array_get(types, (size_t)i)) : NULL;
        bool windowed = types ? type && !strcmp(type, "sliding_attention") : c->window && i >= first;
        if (types && !windowed && (!type || strcmp(type, "full_attention")))
            json_fields_bad(r, "layer_types", "full_attention or sliding_attention");
        if (windowed && !c->window)
            json_fields_bad(r, "layer_types", "full_attention while no sliding window is in use");
        if (windowed)
            set_window_layer(c, i);
        any |= windowed;
    }
    if (!any)
        c->window = 0;
}

static void read_window(struct json_fields *r, const struct family *f, struct model_config *c)
{
    if (f->window == WINDOW_NONE)
        return;
    if (!json_is_null(json_object_get(r->object, "sliding_window")))
        c->window = json_fields_int(r, "sliding_window", 4096, 1, INT64_C(1) << 40);
    if (f->window == WINDOW_ALL)
        return;
    if (!json_fields_bool(r, "use_sliding_window", false))
        c->window = 0;
    if (!r->bad)
        read_window_layers(r, c);
}

static void read_tokens(struct json_fields *r, const struct family *f, struct model_config *c)
{
    c->bos = json_is_null(json_object_get(r->object, "bos_token_id")) ? -1 :
             (int)json_fields_int(r, "bos_token_id", f->bos, -1, 1 << 28);
    json_t *eos = json_object_get(r->object, "eos_token_id");
    size_t n = json_is_array(eos) ? json_array_size(eos) : 1;
    if (n > MODEL_EOS_MAX) {
        json_fields_bad(r, "eos_token_id", "at most 16 tokens");
        return;
    }
    for (size_t i = 0; i < n && !json_is_null(eos); i++) {
        json_t *v = json_is_array(eos) ? json_array_get(eos, i) : eos;
        json_int_t id = v ? json_integer_value(v) : f->eos;
        if ((v && !json_is_integer(v)) || id < -1 || id > 1 << 28)
            json_fields_bad(r, "eos_token_id", "a token or an array of tokens");
        else if (id >= 0)
            c->eos[c->n_eos++] = (int)id;
    }
}

static void read_stored_type(struct json_fields *r, struct model_config *c)
{
    static const struct { const char *name; enum dtype type; } names[] = {
        {"float32", DTYPE_F32}, {"float16", DTYPE_F16}, {"bfloat16", DTYPE_BF16}, {"float64", DTYPE_F64},
    };
    const char *name = json_fields_string(r, "dtype", json_fields_string(r, "torch_dtype", ""));
    c->stored_type = -1;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (!strcmp(name, names[i].name))
            c->stored_type = names[i].type;
}

static void read_fields(struct json_fields *r, const struct family *f, struct model_config *c)
{
    snprintf(c->type, sizeof c->type, "%s", f->type);
    config_check_keys(r);
    read_sizes(r, f, c);
    const char *act = json_fields_string(r, "hidden_act", "silu");
    if (strcmp(act, "silu") && strcmp(act, "swish"))
        json_fields_bad(r, "hidden_act", "silu");
    c->rms_eps = json_fields_number(r, "rms_norm_eps", 1e-6, 0, 1);
    c->init_range = json_fields_number(r, "initializer_range", 0.02, 0, 1e6);
    c->tied = json_fields_bool(r, "tie_word_embeddings", false);
    c->qkv_bias = read_bias(r, "attention_bias", f->qkv_bias);
    c->o_bias = f->o_bias == OPTIONAL && c->qkv_bias;
    c->mlp_bias = read_bias(r, "mlp_bias", f->mlp_bias);
    c->qk_norm = f->qk_norm;
    if (r->bad)
        return;
    read_window(r, f, c);
    config_read_rope(r, c);
    read_tokens(r, f, c);
    read_stored_type(r, c);
}

static const struct family *find_family(struct json_fields *r)
{
    const char *type = json_fields_string(r, "model_type", "");
    for (size_t i = 0; i < sizeof FAMILIES / sizeof *FAMILIES; i++)
        if (!strcmp(type, FAMILIES[i].type))
            return &FAMILIES[i];
    json_fields_bad(r, "model_type", "llama, mistral, qwen2 or qwen3");
    return NULL;
}

int model_config_parse(struct model_config *c, const char *json, unsigned long len, const char *name, struct err *e)
{
    memset(c, 0, sizeof *c);
    json_error_t je;
    json_t *root = json_loadb(json, len, JSON_REJECT_DUPLICATES, &je);
    if (!root)
        return err_set(e, "%s: line %d: not JSON: %s", name, je.line, je.text);
    struct json_fields r = {root, name, "", e, false};
    if (!json_is_object(root)) {
        err_set(e, "%s: found no object, expected a model's configuration", name);
        r.bad = true;
    } else {
        const struct family *f = find_family(&r);
        if (f && !r.bad)
            read_fields(&r, f, c);
    }
    json_decref(root);
    if (!r.bad)
        return 0;
    model_config_release(c);
    return -1;
}

int model_config_read(struct model_config *c, const char *dir, struct err *e)
{
    memset(c, 0, sizeof *c);
    char *path = file_join(dir, "config.json");
    struct buf b = BUF_INIT;
    int rc = file_read(&b, path, 16 << 20, e);
    if (!rc)
        rc = model_config_parse(c, buf_str(&b), b.len, path, e);
    buf_release(&b);
    free(path);
    return rc;
}

void model_config_release(struct model_config *c)
{
    free(c->window_layers);
    c->window_layers = NULL;
}

int64_t model_config_window(const struct model_config *c, int layer)
{
    if (c->window_layers && !(c->window_layers[layer / 64] >> layer % 64 & 1))
        return 0;
    return c->window;
}

int64_t model_config_context(const struct model_config *c)
{
    double longest = (double)c->max_positions * (c->rope.type == ROPE_DYNAMIC ? c->rope.factor : 1);
    return longest < INT32_MAX ? (int64_t)longest : INT32_MAX;
}

int64_t model_config_parameters(const struct model_config *c)
{
    int64_t q = (int64_t)c->heads * c->head_dim, kv = (int64_t)c->kv_heads * c->head_dim, h = c->hidden;
    int64_t layer = 2 * h + 2 * q * h + 2 * kv * h + 3 * h * c->ffn;
    layer += c->qk_norm ? 2 * c->head_dim : 0;
    layer += c->qkv_bias ? q + 2 * kv : 0;
    layer += c->o_bias ? h : 0;
    layer += c->mlp_bias ? 2 * c->ffn + h : 0;
    return c->layers * layer + h + (c->tied ? 1 : 2) * c->vocab * h;
}
