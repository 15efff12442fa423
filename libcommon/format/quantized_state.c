#include "format/quantized_state.h"

#include <math.h>
#include <string.h>

#include "format/json_fields.h"

#define SIDE_LIMIT (INT64_C(1) << 31) /* so that a shape's product cannot overflow */

static void read_kind(struct json_fields *r, struct quantized_state *s)
{
    const char *kind = json_fields_string(r, "quant_type", "");
    s->kind = !strcmp(kind, "fp4") ? QUANTIZED_FP4 : QUANTIZED_NF4;
    if (!r->bad && strcmp(kind, "nf4") && strcmp(kind, "fp4"))
        json_fields_bad(r, "quant_type", "nf4 or fp4");
}

static void read_value_type(struct json_fields *r, struct quantized_state *s)
{
    const char *type = json_fields_string(r, "dtype", "");
    s->value_type = !strcmp(type, "float16") ? DTYPE_F16 : !strcmp(type, "bfloat16") ? DTYPE_BF16 : DTYPE_F32;
    if (!r->bad && s->value_type == DTYPE_F32 && strcmp(type, "float32"))
        json_fields_bad(r, "dtype", "float32, float16 or bfloat16");
}

static void read_shape(struct json_fields *r, struct quantized_state *s)
{
    json_t *shape = json_fields_find(r, "shape");
    bool good = json_is_array(shape) && json_array_size(shape) == 2;
    for (size_t i = 0; i < 2 && good; i++) {
        json_t *side = json_array_get(shape, i);
        s->shape[i] = json_integer_value(side);
        good = json_is_integer(side) && s->shape[i] >= 1 && s->shape[i] < SIDE_LIMIT;
    }
    if (!good)
        json_fields_bad(r, "shape", "two sizes");
}

static void read_nesting(struct json_fields *r, struct quantized_state *s)
{
    json_t *block = json_fields_find(r, "nested_blocksize"), *type = json_fields_find(r, "nested_dtype"),
           *offset = json_fields_find(r, "nested_offset");
    s->nested = block || type || offset;
    if (!s->nested)
        return;
    if (json_fields_need_int(r, "nested_blocksize", QUANTIZED_NESTED_BLOCK, QUANTIZED_NESTED_BLOCK) && !r->bad &&
        strcmp(json_fields_string(r, "nested_dtype", ""), "float32"))
        json_fields_bad(r, "nested_dtype", "float32");
    s->nested_offset = (float)json_number_value(offset);
    if (!r->bad && (!json_is_number(offset) || !isfinite(s->nested_offset)))
        json_fields_bad(r, "nested_offset", "a number that float32 holds");
}

static void read_keys(struct json_fields *r)
{
    static const char *const known[] = {"quant_type", "blocksize", "dtype", "shape", "nested_blocksize", "nested_dtype", "nested_offset"};
    const char *key;
    json_t *v;
    json_object_foreach(r->object, key, v) {
        size_t i = 0;
        while (i < sizeof known / sizeof *known && strcmp(known[i], key))
            i++;
        if (i == sizeof known / sizeof *known)
            json_fields_bad(r, key, "no such field");
    }
}

int quantized_state_parse(struct quantized_state *s, const void *json, size_t len, const char *name, struct err *e)
{
    json_error_t je;
    json_t *root = json_loadb(json, len, JSON_REJECT_DUPLICATES, &je);
    struct json_fields r = {root, name, "", e, false};
    memset(s, 0, sizeof *s);
    if (!root)
        return err_set(e, "%s: not JSON: %s", name, je.text);
    if (json_is_object(root)) {
        read_keys(&r);
        read_kind(&r, s);
        read_value_type(&r, s);
        read_shape(&r, s);
        s->block = json_fields_need_int(&r, "blocksize", 32, 4096);
        if (!r.bad && (s->block & (s->block - 1)))
            json_fields_bad(&r, "blocksize", "a power of two");
        read_nesting(&r, s);
    } else {
        err_set(e, "%s: found no object", name);
        r.bad = true;
    }
    json_decref(root);
    return r.bad ? -1 : 0;
}
