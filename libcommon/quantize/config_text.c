#include "quantize/config_text.h"

#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/mem.h"
#include "format/json_write.h"

static json_t *names_of(const struct quantize_selection *s, const struct model *m, bool kept)
{
    json_t *list = json_array();
    for (int i = 0; i < s->layers; i++)
        for (int j = 0; j < LAYER_LINEARS; j++)
            if (s->kept[i][j] == kept)
                json_array_append_new(list, json_string(layer_linear(&m->layers[i], j)->module));
    return list;
}

/* All keys of transformers' BitsAndBytesConfig. A list of skipped modules replaces its default, which is lm_head. */
static json_t *bitsandbytes(const struct quantize_options *o, const struct quantize_selection *s, const struct model *m)
{
    bool four = o->method != QUANTIZE_INT8;
    json_t *skipped = s->n_kept ? names_of(s, m, true) : json_null();
    if (s->n_kept)
        json_array_append_new(skipped, json_string("lm_head"));
    return json_pack("{s:b,s:b,s:s,s:s,s:s,s:b,s:b,s:b,s:o,s:f,s:b,s:b,s:s}", "_load_in_4bit", four, "_load_in_8bit", !four, "bnb_4bit_compute_dtype",
                     four ? dtype_torch_name(m->layers[0].q.type) : "float32", "bnb_4bit_quant_storage", "uint8", "bnb_4bit_quant_type",
                     four ? quantize_method_name(o->method) : "fp4", "bnb_4bit_use_double_quant", four && o->nested, "llm_int8_enable_fp32_cpu_offload", 0,
                     "llm_int8_has_fp16_weight", 0, "llm_int8_skip_modules", skipped, "llm_int8_threshold", o->threshold, "load_in_4bit", four,
                     "load_in_8bit", !four, "quant_method", "bitsandbytes");
}

/* GPTQModel's way to say what stays as it is. */
static void add_dynamic(json_t *root, const struct quantize_options *o, const struct quantize_selection *s)
{
    if (!s->n_kept)
        return;
    char *pattern = mem_printf("-:^(?:%s)$", o->skip);
    json_object_set_new(root, "dynamic", json_pack("{s:{}}", pattern));
    free(pattern);
}

static json_t *awq(const struct quantize_options *o, const struct quantize_selection *s, const struct model *m)
{
    json_t *root = json_pack("{s:s,s:b,s:I,s:i,s:s,s:o}", "quant_method", "awq", "zero_point", 1, "group_size", o->group ? (json_int_t)o->group : -1, "bits",
                             o->bits, "version", "gemm", "modules_to_not_convert", s->n_kept ? names_of(s, m, true) : json_null());
    add_dynamic(root, o, s);
    return root;
}

/* For optimum, by which transformers reads GPTQ: [[ends of names]]. In every layer the same modules: their names within the layer. */
static json_t *modules_in_block(const struct quantize_selection *s, const struct model *m)
{
    for (int i = 1; i < s->layers; i++)
        if (memcmp(s->kept[i], s->kept[0], sizeof s->kept[0]))
            return json_pack("[o]", names_of(s, m, false));
    json_t *list = json_array();
    for (int j = 0; j < LAYER_LINEARS; j++)
        if (!s->kept[0][j])
            json_array_append_new(list, json_string(strchr(layer_linear(&m->layers[0], j)->module + strlen("model.layers."), '.') + 1));
    return json_pack("[o]", list);
}

static json_t *gptq_meta(const struct quantize_options *o)
{
    json_t *meta = json_pack("{s:[s]}", "quantizer", "finetools:" FINETOOLS_VERSION);
    if (o->method == QUANTIZE_GPTQ) {
        json_object_set_new(meta, "damp_percent", json_real(o->damp));
        json_object_set_new(meta, "static_groups", json_false());
        json_object_set_new(meta, "true_sequential", json_boolean(o->true_sequential));
    }
    return meta;
}

/* In the order of GPTQModel's file. */
static json_t *gptq(const struct quantize_options *o, const struct quantize_selection *s, const struct model *m)
{
    const char *format = o->sym ? "gptq" : "gptq_v2"; /* encode_zeros_less_one() */
    json_t *root = json_object();
    json_object_set_new(root, "bits", json_integer(o->bits));
    add_dynamic(root, o, s);
    json_object_set_new(root, "group_size", json_integer(o->group ? o->group : -1));
    json_object_set_new(root, "desc_act", json_boolean(o->act_order));
    json_object_set_new(root, "lm_head", json_false());
    json_object_set_new(root, "method", json_string("gptq"));
    json_object_set_new(root, "quant_method", json_string("gptq"));
    json_object_set_new(root, "format", json_string(format));
    json_object_set_new(root, "checkpoint_format", json_string(format));
    json_object_set_new(root, "pack_dtype", json_string("int32"));
    json_object_set_new(root, "meta", gptq_meta(o));
    json_object_set_new(root, "sym", json_boolean(o->sym));
    if (s->n_kept)
        json_object_set_new(root, "modules_in_block_to_quantize", modules_in_block(s, m));
    return root;
}

static bool is_gptq(const struct quantize_options *o)
{
    return o->method == QUANTIZE_RTN || o->method == QUANTIZE_GPTQ;
}

char *quantize_config_section(const struct quantize_options *o, const struct quantize_selection *s, const struct model *m)
{
    json_t *root = is_gptq(o) ? gptq(o, s, m) : o->method == QUANTIZE_AWQ ? awq(o, s, m) : bitsandbytes(o, s, m);
    char *text = json_dumps(root, JSON_COMPACT | JSON_SORT_KEYS), *copy = mem_strdup(text);
    free(text);
    json_decref(root);
    return copy;
}

char *quantize_config_file(const struct quantize_options *o, const struct quantize_selection *s, const struct model *m)
{
    if (!is_gptq(o))
        return NULL;
    struct buf b = BUF_INIT;
    json_t *root = gptq(o, s, m);
    json_add_value(&b, root);
    json_decref(root);
    return buf_detach(&b);
}
