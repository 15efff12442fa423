#include "format/quantized_config.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/file.h"
#include "base/mem.h"
#include "format/json_fields.h"

#define CONFIG_LIMIT (16u << 20)
#define GROUP_LIMIT (1 << 26)

/* Keys of one meaning; the first is what transformers and GPTQModel write. */
static const char *const BITS[] = {"bits", "w_bit", "wbits", NULL}, *const GROUP[] = {"group_size", "q_group_size", NULL},
                  *const METHOD[] = {"quant_method", "method", NULL}, *const FORMAT[] = {"checkpoint_format", "format", "version", NULL};

const char *quantized_method_name(enum quantized_method m)
{
    static const char *const names[] = {"none", "bitsandbytes", "gptq", "awq"};
    return names[m];
}

/* The first of the keys that is given, or NULL; another that says something else is an error. */
static const char *given(struct json_fields *r, const char *const *keys)
{
    const char *found = NULL;
    for (; *keys; keys++) {
        if (!json_fields_find(r, *keys))
            continue;
        if (found && !json_equal(json_fields_find(r, found), json_fields_find(r, *keys))) {
            char expected[60];
            snprintf(expected, sizeof expected, "the same as %s", found);
            json_fields_bad(r, *keys, expected);
        }
        found = found ? found : *keys;
    }
    return found;
}

static const char *lower_text(struct json_fields *r, const char *const *keys, char *to, size_t size, const char *absent)
{
    const char *key = given(r, keys), *text = key ? json_fields_string(r, key, "") : absent;
    snprintf(to, size, "%s", text);
    for (char *p = to; *p; p++)
        *p |= *p >= 'A' && *p <= 'Z' ? 32 : 0;
    return key ? key : keys[0];
}

/* -1: one group of all inputs. */
static void read_group(struct json_fields *r, struct quantized_config *c, int64_t absent)
{
    const char *key = given(r, GROUP);
    int64_t group = key ? json_fields_int(r, key, 1, -1, GROUP_LIMIT) : absent;
    if (group == 0)
        json_fields_bad(r, key ? key : GROUP[0], "-1 or the inputs of a group");
    c->group = group < 0 ? 0 : group;
}

/* Patterns for modules that are otherwise: "-:PATTERN" stays as it was, any other has other settings, of which bits and groups show in
 * the tensors. */
static void read_dynamic(struct json_fields *r, struct quantized_config *c)
{
    json_t *all = json_fields_find(r, "dynamic"), *one;
    const char *pattern;
    if (all && !json_is_object(all))
        json_fields_bad(r, "dynamic", "an object");
    json_object_foreach(all, pattern, one) {
        bool left_out = !strncmp(pattern, "-:", 2);
        if (!left_out && (json_object_get(one, "bits") || json_object_get(one, "group_size")))
            c->overrides = true;
        if (!left_out && (json_object_get(one, "sym") || json_object_get(one, "format")))
            json_fields_bad(r, "dynamic", "bits and group_size as the only settings of a module that matter to a reader");
    }
}

/* GPTQModel writes ["gptqmodel:7.7.0"], older ones a string. */
static bool is_by_gptqmodel(const struct json_fields *r)
{
    json_t *quantizer = json_object_get(json_fields_find(r, "meta"), "quantizer"), *one;
    size_t i;
    const char *text = json_string_value(quantizer);
    if (text)
        return !strncmp(text, "gptqmodel", 9);
    json_array_foreach(quantizer, i, one)
        if (json_is_string(one) && !strncmp(json_string_value(one), "gptqmodel", 9))
            return true;
    return false;
}

static void read_gptq(struct json_fields *r, struct quantized_config *c)
{
    char format[40];
    const char *bits = given(r, BITS);
    c->bits = (int)json_fields_need_int(r, bits ? bits : BITS[0], 2, 8);
    if (!r->bad && c->bits != 2 && c->bits != 3 && c->bits != 4 && c->bits != 8)
        json_fields_bad(r, bits, "2, 3, 4 or 8");
    const char *group = given(r, GROUP);
    if (!group)
        json_fields_bad(r, GROUP[0], "-1 or the inputs of a group");
    else
        read_group(r, c, -1);
    const char *key = lower_text(r, FORMAT, format, sizeof format, "gptq");
    c->zeros_plain = !strcmp(format, "gptq_v2");
    if (!r->bad && !c->zeros_plain && strcmp(format, "gptq"))
        json_fields_bad(r, key, "gptq or gptq_v2");
    if (json_fields_bool(r, "is_marlin_format", false))
        json_fields_bad(r, "is_marlin_format", "false: that layout is not known here");
    const char *words = json_fields_string(r, "pack_dtype", "int32");
    if (!r->bad && strcmp(words, "int32"))
        json_fields_bad(r, "pack_dtype", "int32");
    c->sym = json_fields_bool(r, "sym", true);
    c->desc_act = json_fields_bool(r, "desc_act", false);
    c->by_gptqmodel = is_by_gptqmodel(r);
    read_dynamic(r, c);
}

static void read_awq(struct json_fields *r, struct quantized_config *c)
{
    char format[40];
    const char *bits = given(r, BITS), *key = lower_text(r, FORMAT, format, sizeof format, "gemm");
    c->bits = bits ? (int)json_fields_int(r, bits, 4, 1, 64) : 4;
    if (!r->bad && c->bits != 4)
        json_fields_bad(r, bits, "4");
    read_group(r, c, 128);
    if (!r->bad && strcmp(format, "gemm"))
        json_fields_bad(r, key, "gemm: other layouts are not known here");
    c->zero_point = json_fields_bool(r, "zero_point", true);
}

static bool loads(struct json_fields *r, const char *key, const char *old_key)
{
    return json_fields_bool(r, key, json_fields_bool(r, old_key, false));
}

static void read_bitsandbytes(struct json_fields *r, struct quantized_config *c)
{
    bool four = loads(r, "load_in_4bit", "_load_in_4bit"), eight = loads(r, "load_in_8bit", "_load_in_8bit");
    if (four && eight)
        json_fields_bad(r, "load_in_8bit", "false beside load_in_4bit");
    if (!four && !eight)
        json_fields_bad(r, "load_in_4bit", "true here or in load_in_8bit");
    c->int8_threshold = json_fields_number(r, "llm_int8_threshold", 6.0, 0, 1e30);
}

static void read_section(struct json_fields *r, struct quantized_config *c, bool alone)
{
    char method[40];
    bool loading = json_fields_find(r, "load_in_4bit") || json_fields_find(r, "load_in_8bit");
    bool awq = alone && json_fields_find(r, "zero_point") && !json_fields_find(r, "sym"); /* AutoAWQ's quant_config.json names no method */
    const char *key = lower_text(r, METHOD, method, sizeof method, loading ? "bitsandbytes" : awq ? "awq" : alone ? "gptq" : "");
    if (r->bad)
        return;
    if (!strcmp(method, "bitsandbytes")) {
        c->method = QUANTIZED_BITSANDBYTES;
        read_bitsandbytes(r, c);
    } else if (!strcmp(method, "gptq")) {
        c->method = QUANTIZED_METHOD_GPTQ;
        read_gptq(r, c);
    } else if (!strcmp(method, "awq")) {
        c->method = QUANTIZED_METHOD_AWQ;
        read_awq(r, c);
    } else {
        json_fields_bad(r, key, "bitsandbytes, gptq or awq");
    }
}

int quantized_config_parse(struct quantized_config *c, const char *json, size_t len, bool alone, const char *name, struct err *e)
{
    json_error_t je;
    json_t *root = json_loadb(json, len, JSON_REJECT_DUPLICATES, &je);
    struct json_fields r = {root, name, "", e, false};
    *c = (struct quantized_config){.method = QUANTIZED_NONE};
    if (!root)
        return err_set(e, "%s: line %d: not JSON: %s", name, je.line, je.text);
    if (!json_is_object(root)) {
        err_set(e, "%s: found no object", name);
        r.bad = true;
    } else if (!alone) {
        r.object = json_fields_find(&r, "quantization_config");
        r.prefix = "quantization_config.";
        if (r.object && !json_is_object(r.object) && !json_is_false(r.object)) {
            r.object = root, r.prefix = "";
            json_fields_bad(&r, "quantization_config", "an object");
        }
    }
    if (!r.bad && json_is_object(r.object))
        read_section(&r, c, alone);
    json_decref(root);
    return r.bad ? -1 : 0;
}

static int read_file(struct quantized_config *c, const char *path, bool alone, struct err *e)
{
    struct buf text = BUF_INIT;
    int rc = file_read(&text, path, CONFIG_LIMIT, e);
    if (!rc)
        rc = quantized_config_parse(c, buf_str(&text), text.len, alone, path, e);
    buf_release(&text);
    return rc;
}

/* Readers that look at one file only would give different weights. */
static int check_agreement(const struct quantized_config *a, const struct quantized_config *b, const char *path, struct err *e)
{
    const char *what = a->method != b->method ? "the method" : a->bits != b->bits ? "bits" : a->group != b->group ? "group_size" :
                       a->zeros_plain != b->zeros_plain ? "the format" : NULL;
    return what ? err_set(e, "%s: says otherwise than config.json of %s", path, what) : 0;
}

int quantized_config_read(struct quantized_config *c, const char *dir, struct err *e)
{
    static const char *const others[] = {"quantize_config.json", "quant_config.json"};
    char *path = file_join(dir, "config.json");
    int rc = read_file(c, path, false, e);
    free(path);
    for (size_t i = 0; i < sizeof others / sizeof *others && !rc; i++) {
        struct quantized_config other;
        path = file_join(dir, others[i]);
        if (file_exists(path) && !(rc = read_file(&other, path, true, e))) {
            if (c->method == QUANTIZED_NONE)
                *c = other;
            else
                rc = check_agreement(c, &other, path, e);
        }
        free(path);
    }
    return rc;
}
