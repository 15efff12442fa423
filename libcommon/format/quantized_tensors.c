#include "format/quantized_tensors.h"

#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/mem.h"
#include "format/manifest.h"
#include "format/quantized_state.h"

#define STATE ".weight.quant_state."
#define STATE_PREFIX "bitsandbytes__"
#define ANY_TYPE "F32, F16 or BF16"

struct finder {
    struct quantized *q;
    const struct st_tensor **used;
    int *n_used;
    const struct model_folder *f;
    const struct quantized_config *c;
    const char *module;
    struct err *e;
};

const char *quantized_kind_name(enum quantized_kind k)
{
    static const char *const names[] = {"int8", "nf4", "fp4", "gptq", "awq"};
    return names[k];
}

static bool is_real(enum dtype t)
{
    return t == DTYPE_F32 || t == DTYPE_F16 || t == DTYPE_BF16;
}

static int bad_tensor(const struct finder *s, const struct st_tensor *t, const char *expected)
{
    char found[ST_SHAPE_TEXT];
    return err_set(s->e, "%s: tensor '%s': found %s, expected %s", s->f->dir, t->name, st_shape_text(t, found), expected);
}

static const struct st_tensor *need(const struct finder *s, const char *suffix)
{
    const struct st_tensor *t = model_folder_part(s->f, s->module, suffix);
    if (t)
        s->used[(*s->n_used)++] = t;
    else
        err_set(s->e, "%s: tensor '%s%s' is missing: the module is quantized (%s)", s->f->dir, s->module, suffix, quantized_kind_name(s->q->kind));
    return t;
}

/* Type (DTYPE_OTHER: any of the three real ones) and shape, (rows) when cols is 0. */
static int check_form(const struct finder *s, const struct st_tensor *t, enum dtype type, int64_t rows, int64_t cols)
{
    char expected[100];
    bool typed = type == DTYPE_OTHER ? is_real(t->type) : t->type == type;
    if (typed && t->ndim == (cols ? 2 : 1) && t->shape[0] == rows && (!cols || t->shape[1] == cols))
        return 0;
    snprintf(expected, sizeof expected, cols ? "%s [%lld, %lld]" : "%s [%lld]", type == DTYPE_OTHER ? ANY_TYPE : dtype_name(type),
             (long long)rows, (long long)cols);
    return bad_tensor(s, t, expected);
}

/* Numbers that are read as numbers are finite. Gives the pages back: who uses them reads them when they are needed. */
static int check_finite(const struct finder *s, const struct st_tensor *t)
{
    int64_t bad = manifest_find_nonfinite(t);
    st_drop(model_folder_shard(s->f, t), t->data, t->size);
    return bad < 0 ? 0 : err_set(s->e, "%s: tensor '%s': element %lld is not a finite number", s->f->dir, t->name, (long long)bad);
}

static const struct st_tensor *need_form(const struct finder *s, const char *suffix, enum dtype type, int64_t rows, int64_t cols)
{
    const struct st_tensor *t = need(s, suffix);
    return t && !check_form(s, t, type, rows, cols) && !check_finite(s, t) ? t : NULL;
}

/* ---- LLM.int8 ---- */

static int find_int8(const struct finder *s)
{
    struct quantized *q = s->q;
    q->kind = QUANTIZED_INT8;
    q->bits = 8;
    q->value_type = q->scale_type = DTYPE_F32;
    const struct st_tensor *codes = need_form(s, ".weight", DTYPE_I8, q->out, q->in);
    const struct st_tensor *scales = codes ? need_form(s, ".SCB", DTYPE_F32, q->out, 0) : NULL;
    const struct st_tensor *format = model_folder_part(s->f, s->module, ".weight_format");
    if (!scales)
        return -1;
    if (format && (format->type != DTYPE_U8 || format->numel != 1))
        return bad_tensor(s, format, "U8 []");
    if (format && *(const unsigned char *)format->data)
        return err_set(s->e, "%s: tensor '%s': found layout %d, expected 0, rows", s->f->dir, format->name, *(const unsigned char *)format->data);
    if (format)
        s->used[(*s->n_used)++] = format;
    q->codes = codes->data;
    q->scales = scales->data;
    return 1;
}

/* ---- NF4, FP4 ---- */

/* The one tensor of the module's quant_state; several are an error. */
static int find_state(const struct model_folder *f, const char *module, const struct st_tensor **state, struct err *e)
{
    char *prefix = mem_printf("%s" STATE, module);
    size_t len = strlen(prefix);
    int at = 0, end = f->n_tensors, r = 0;
    while (at < end) {
        int mid = at + (end - at) / 2;
        if (strcmp(f->tensors[mid]->name, prefix) < 0)
            at = mid + 1;
        else
            end = mid;
    }
    *state = at < f->n_tensors && !strncmp(f->tensors[at]->name, prefix, len) ? f->tensors[at] : NULL;
    if (*state && at + 1 < f->n_tensors && !strncmp(f->tensors[at + 1]->name, prefix, len))
        r = err_set(e, "%s: tensors '%s' and '%s': two states of one weight", f->dir, f->tensors[at]->name, f->tensors[at + 1]->name);
    free(prefix);
    return r;
}

static int read_state(const struct finder *s, const struct st_tensor *t, struct quantized_state *state)
{
    const char *kind = strstr(t->name, STATE) + strlen(STATE);
    char *name = mem_printf("%s: tensor '%s'", s->f->dir, t->name);
    int r = t->type == DTYPE_U8 && t->ndim == 1 ? quantized_state_parse(state, t->data, t->size, name, s->e) : bad_tensor(s, t, "JSON as U8 [its length]");
    free(name);
    if (r)
        return r;
    if (strncmp(kind, STATE_PREFIX, strlen(STATE_PREFIX)) || strcmp(kind + strlen(STATE_PREFIX), quantized_kind_name(state->kind)))
        return err_set(s->e, "%s: tensor '%s': its JSON says %s", s->f->dir, t->name, quantized_kind_name(state->kind));
    if (state->shape[0] != s->q->out || state->shape[1] != s->q->in)
        return err_set(s->e, "%s: tensor '%s': shape: found [%lld, %lld], expected [%lld, %lld]", s->f->dir, t->name, (long long)state->shape[0],
                       (long long)state->shape[1], (long long)s->q->out, (long long)s->q->in);
    s->used[(*s->n_used)++] = t;
    return 0;
}

static int find_nested(const struct finder *s, int64_t blocks)
{
    int64_t outer = (blocks + QUANTIZED_NESTED_BLOCK - 1) / QUANTIZED_NESTED_BLOCK;
    const struct st_tensor *scales = need_form(s, ".weight.nested_absmax", DTYPE_F32, outer, 0);
    const struct st_tensor *map = scales ? need_form(s, ".weight.nested_quant_map", DTYPE_F32, 256, 0) : NULL;
    if (!map)
        return -1;
    s->q->nested_scales = scales->data;
    s->q->nested_map = map->data;
    return 0;
}

/* The codes are bytes, whatever type they are stored as. */
static int check_codes(const struct finder *s, const struct st_tensor *t, int64_t elements)
{
    char expected[100];
    int64_t bytes = elements / 2 + elements % 2;
    bool flat = t->ndim == 1 || (t->ndim == 2 && (t->shape[1] == 1 || t->shape[0] == 1));
    if (flat && (t->type == DTYPE_U8 || is_real(t->type)) && t->size == (uint64_t)bytes)
        return 0;
    snprintf(expected, sizeof expected, "U8, F32, F16 or BF16 of %lld bytes, as [n, 1]", (long long)bytes);
    return bad_tensor(s, t, expected);
}

static int find_4bit(const struct finder *s, const struct st_tensor *t)
{
    struct quantized *q = s->q;
    struct quantized_state state;
    q->kind = QUANTIZED_NF4; /* for messages, until the state is read */
    const struct st_tensor *codes = need(s, ".weight");
    if (!codes || read_state(s, t, &state))
        return -1;
    int64_t elements = q->out * q->in, blocks = (elements + state.block - 1) / state.block;
    q->kind = state.kind;
    q->bits = 4;
    q->group = state.block;
    q->value_type = state.value_type;
    q->scale_type = state.nested ? DTYPE_U8 : DTYPE_F32;
    q->nested_offset = state.nested_offset;
    if (check_codes(s, codes, elements))
        return -1;
    const struct st_tensor *absmax = need_form(s, ".weight.absmax", q->scale_type, blocks, 0);
    if (!absmax || !need_form(s, ".weight.quant_map", DTYPE_F32, 16, 0) || (state.nested && find_nested(s, blocks)))
        return -1;
    q->codes = codes->data;
    q->scales = absmax->data;
    return 1;
}

/* ---- GPTQ, AWQ ---- */

static int64_t field_of(const void *words, int64_t i, int bits)
{
    const char *p = words;
    int64_t bit = i * bits, value = 0;
    for (int k = 0; k < bits; k++, bit++)
        value |= (int64_t)(get_le32(p + bit / 32 * 4) >> bit % 32 & 1) << k;
    return value;
}

/* Are all zeros the one of symmetric grids, stored plain? Files of format "gptq" that say so hold the zeros of gptq_v2: loading and saving
 * by transformers changes the zeros and keeps the name. */
static bool is_symmetric_plain(const struct st_tensor *zeros, int bits)
{
    for (int64_t i = 0; i < (int64_t)zeros->size * 8 / bits; i++)
        if (field_of(zeros->data, i, bits) != 1 << (bits - 1))
            return false;
    return true;
}

static enum quantized_zeros zeros_stored(const struct finder *s, const struct st_tensor *zeros, int bits)
{
    if (s->c->zeros_plain || (s->c->sym && is_symmetric_plain(zeros, bits)))
        return QUANTIZED_ZEROS_PLAIN;
    return s->c->by_gptqmodel && bits != 3 ? QUANTIZED_ZEROS_WORD_LESS_ONE : QUANTIZED_ZEROS_LESS_ONE;
}

/* g_idx NULL stays out: i / group. */
static int read_g_idx(const struct finder *s, const struct st_tensor *t, int64_t groups)
{
    bool natural = true, zeros = true;
    for (int64_t i = 0; i < s->q->in; i++) {
        int32_t g = (int32_t)get_le32((const char *)t->data + i * 4);
        if (g < 0 || g >= groups)
            return err_set(s->e, "%s: tensor '%s': element %lld: found group %d, expected 0 .. %lld", s->f->dir, t->name, (long long)i, g,
                           (long long)groups - 1);
        natural &= s->q->group && g == i / s->q->group;
        zeros &= g == 0;
    }
    if (!natural && (!zeros || groups == 1 || !s->q->group))
        s->q->g_idx = t->data;
    return 0;
}

/* Bits and group as the configuration says; where it has overrides, the bits that the words' shape shows, and a group that only g_idx tells. */
static int settle_form(const struct finder *s, const struct st_tensor *codes, int64_t *groups)
{
    struct quantized *q = s->q;
    q->bits = s->c->bits;
    q->group = s->c->group ? s->c->group : q->in;
    *groups = (q->in + q->group - 1) / q->group;
    if (!s->c->overrides)
        return 0;
    const struct st_tensor *scales = model_folder_part(s->f, s->module, ".scales");
    q->bits = codes->ndim == 2 && codes->shape[0] <= q->in / 4 ? (int)(codes->shape[0] * 32 / q->in) : 0;
    if (q->bits != 2 && q->bits != 3 && q->bits != 4 && q->bits != 8)
        return bad_tensor(s, codes, "words of 2, 3, 4 or 8 bits");
    if (scales && scales->ndim == 2 && scales->shape[0] != *groups && scales->shape[0] >= 1 && scales->shape[0] <= q->in) {
        *groups = scales->shape[0];
        q->group = *groups == 1 ? q->in : 0;
    }
    return 0;
}

static int find_gptq(const struct finder *s)
{
    struct quantized *q = s->q;
    int64_t groups;
    q->kind = QUANTIZED_GPTQ;
    q->value_type = DTYPE_F32;
    const struct st_tensor *codes = need(s, ".qweight"), *g_idx = model_folder_part(s->f, s->module, ".g_idx");
    if (settle_form(s, codes, &groups))
        return -1;
    if (q->in * q->bits % 32 || q->out * q->bits % 32)
        return err_set(s->e, "%s: module '%s': [%lld, %lld] is not cut into words by %d bits", s->f->dir, s->module, (long long)q->out,
                       (long long)q->in, q->bits);
    if (check_form(s, codes, DTYPE_I32, q->in * q->bits / 32, q->out))
        return -1;
    const struct st_tensor *zeros = need_form(s, ".qzeros", DTYPE_I32, groups, q->out * q->bits / 32);
    const struct st_tensor *scales = zeros ? need_form(s, ".scales", DTYPE_OTHER, groups, q->out) : NULL;
    if (!scales)
        return -1;
    q->codes = codes->data;
    q->zeros = zeros->data;
    q->zeros_stored = zeros_stored(s, zeros, q->bits);
    q->scales = scales->data;
    q->scale_type = scales->type;
    if (!g_idx && q->group)
        return 1;
    g_idx = need_form(s, ".g_idx", DTYPE_I32, q->in, 0);
    if (!g_idx || read_g_idx(s, g_idx, groups))
        return -1;
    return q->g_idx || q->group ? 1 : err_set(s->e, "%s: tensor '%s': tells of no groups, expected %lld", s->f->dir, g_idx->name, (long long)groups);
}

static int find_awq(const struct finder *s)
{
    struct quantized *q = s->q;
    q->kind = QUANTIZED_AWQ;
    q->value_type = DTYPE_F32;
    q->bits = 4;
    q->group = s->c->group ? s->c->group : q->in;
    if (q->out % 8 || q->in % q->group)
        return err_set(s->e, "%s: module '%s': [%lld, %lld] is not cut into words of 8 outputs and groups of %lld inputs", s->f->dir, s->module,
                       (long long)q->out, (long long)q->in, (long long)q->group);
    const struct st_tensor *codes = need_form(s, ".qweight", DTYPE_I32, q->in, q->out / 8);
    const struct st_tensor *zeros = codes ? need_form(s, ".qzeros", DTYPE_I32, q->in / q->group, q->out / 8) : NULL;
    const struct st_tensor *scales = zeros ? need_form(s, ".scales", DTYPE_OTHER, q->in / q->group, q->out) : NULL;
    if (!scales)
        return -1;
    q->codes = codes->data;
    q->zeros = zeros->data;
    q->scales = scales->data;
    q->scale_type = scales->type;
    return 1;
}

static int find_bitsandbytes(const struct finder *s)
{
    const struct st_tensor *state;
    if (find_state(s->f, s->module, &state, s->e))
        return -1;
    if (state && model_folder_part(s->f, s->module, ".SCB"))
        return err_set(s->e, "%s: tensors '%s' and '%s.SCB': two layouts of one weight", s->f->dir, state->name, s->module);
    return state ? find_4bit(s, state) : model_folder_part(s->f, s->module, ".SCB") ? find_int8(s) : 0;
}

static int find(const struct finder *s)
{
    const struct st_tensor *plain = model_folder_part(s->f, s->module, ".weight"), *words = model_folder_part(s->f, s->module, ".qweight");
    if (s->c->method == QUANTIZED_BITSANDBYTES)
        return find_bitsandbytes(s);
    if (!words)
        return 0;
    if (s->c->method == QUANTIZED_NONE)
        return err_set(s->e, "%s: tensor '%s': config.json has no quantization_config to read it by", s->f->dir, words->name);
    if (plain)
        return err_set(s->e, "%s: tensors '%s' and '%s': two layouts of one weight", s->f->dir, words->name, plain->name);
    return s->c->method == QUANTIZED_METHOD_GPTQ ? find_gptq(s) : find_awq(s);
}

int quantized_tensors_find(struct quantized *q, const struct st_tensor *used[QUANTIZED_TENSORS_MAX], int *n_used, const struct model_folder *f,
                           const struct quantized_config *c, const char *module, int64_t out, int64_t in, struct err *e)
{
    struct finder s = {q, used, n_used, f, c, module, e};
    *n_used = 0;
    *q = (struct quantized){.out = out, .in = in};
    int r = find(&s);
    if (r > 0 && in < 2)
        return err_set(e, "%s: module '%s': quantized with one input, expected at least 2", f->dir, module);
    return r;
}

bool quantized_tensors_is_packed(const struct model_folder *f, const struct st_file *file, const struct st_tensor *t)
{
    if (!is_real(t->type))
        return false;
    char *map = mem_printf("%s.quant_map", t->name);
    bool packed = (f && model_folder_find(f, map)) || (file && st_find(file, map));
    free(map);
    return packed;
}
