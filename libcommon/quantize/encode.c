#include "quantize/encode.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/bytes.h"
#include "base/dynamic_map.h"
#include "base/mem.h"
#include "format/json_write.h"
#include "quantize/nested.h"

#define PIECE 65536 /* elements that one thread encodes at once: whole blocks of any size, or whole rows */

static void *add_tensor(struct encoded *x, const char *module, const char *suffix, enum dtype type, int ndim, int64_t rows, int64_t cols)
{
    struct st_tensor *t = &x->tensors[x->n++];
    *t = (struct st_tensor){.name = mem_printf("%s%s", module, suffix), .type = type, .ndim = ndim, .shape = {rows, cols}};
    t->numel = (ndim > 0 ? rows : 1) * (ndim > 1 ? cols : 1);
    t->size = (uint64_t)t->numel * dtype_size(type);
    x->bytes += (int64_t)t->size;
    void *data = mem_alloc(t->size);
    t->data = data;
    return data;
}

void encoded_release(struct encoded *x)
{
    for (int i = 0; i < x->n; i++) {
        free(x->tensors[i].name);
        free((void *)x->tensors[i].data);
    }
    *x = (struct encoded){0};
}

/* ---- bitsandbytes ---- */

/* json.dumps of bitsandbytes' QuantState.as_dict(packed=True). */
static void add_quant_state(struct encoded *x, const struct quantize_options *o, const char *module)
{
    const char *name = quantize_method_name(o->method);
    char suffix[60];
    struct buf b = BUF_INIT;
    snprintf(suffix, sizeof suffix, ".weight.quant_state.bitsandbytes__%s", name);
    buf_printf(&b, "{\"quant_type\": \"%s\", \"blocksize\": %lld, \"dtype\": \"%s\", \"shape\": [%lld, %lld]", name, (long long)o->block,
               dtype_torch_name(x->view.value_type), (long long)x->view.out, (long long)x->view.in);
    if (o->nested) {
        buf_printf(&b, ", \"nested_blocksize\": %d, \"nested_dtype\": \"float32\", \"nested_offset\": ", QUANTIZED_NESTED_BLOCK);
        json_add_real(&b, x->view.nested_offset);
    }
    buf_add_char(&b, '}');
    memcpy(add_tensor(x, module, suffix, DTYPE_U8, 1, (int64_t)b.len, 0), b.data, b.len);
    buf_release(&b);
}

static void add_nested(struct encoded *x, const char *module, const float *absmax, int64_t blocks)
{
    int64_t outer = (blocks + QUANTIZED_NESTED_BLOCK - 1) / QUANTIZED_NESTED_BLOCK;
    uint8_t *codes = add_tensor(x, module, ".weight.absmax", DTYPE_U8, 1, blocks, 0);
    float *scales = add_tensor(x, module, ".weight.nested_absmax", DTYPE_F32, 1, outer, 0);
    float *map = add_tensor(x, module, ".weight.nested_quant_map", DTYPE_F32, 1, DYNAMIC_MAP_SIZE, 0);
    dynamic_map(map, true);
    x->view.nested_offset = nested_encode(codes, scales, map, absmax, blocks);
    x->view.scales = codes, x->view.scale_type = DTYPE_U8;
    x->view.nested_scales = scales, x->view.nested_map = map;
}

static void encode_4bit(struct encoded *x, const struct quantize_options *o, const struct kernels *k, const char *module, const struct st_tensor *w)
{
    enum quantized_kind kind = o->method == QUANTIZE_NF4 ? QUANTIZED_NF4 : QUANTIZED_FP4;
    int64_t n = w->numel, blocks = (n + o->block - 1) / o->block, pieces = (n + PIECE - 1) / PIECE;
    uint8_t *codes = add_tensor(x, module, ".weight", DTYPE_U8, 2, (n + 1) / 2, 1);
    float *absmax = o->nested ? mem_array(NULL, (size_t)blocks, sizeof *absmax) : add_tensor(x, module, ".weight.absmax", DTYPE_F32, 1, blocks, 0);
    x->view = (struct quantized){.kind = kind, .bits = 4, .out = w->shape[0], .in = w->shape[1], .group = o->block, .value_type = w->type, .codes = codes,
                                 .scales = absmax, .scale_type = DTYPE_F32};
    size_t size = dtype_size(w->type);
#pragma omp parallel for schedule(dynamic)
    for (int64_t p = 0; p < pieces; p++) {
        int64_t first = p * PIECE;
        k->quantize_4bit(codes + first / 2, absmax + first / o->block, kind, o->block, (const char *)w->data + (size_t)first * size, w->type,
                         n - first < PIECE ? n - first : PIECE);
    }
    if (o->nested) {
        add_nested(x, module, absmax, blocks);
        free(absmax);
    }
    float *map = add_tensor(x, module, ".weight.quant_map", DTYPE_F32, 1, 16, 0);
    for (int i = 0; i < 16; i++) /* FP4 has a code of -0, which the map gives without its sign */
        map[i] = (kind == QUANTIZED_NF4 ? QUANTIZED_NF4_VALUES : QUANTIZED_FP4_VALUES)[i] + 0.0f;
    add_quant_state(x, o, module);
}

static int64_t rows_at_once(int64_t cols)
{
    return cols < PIECE ? PIECE / cols : 1;
}

static void encode_int8(struct encoded *x, const struct kernels *k, const char *module, const struct st_tensor *w)
{
    int64_t out = w->shape[0], in = w->shape[1], step = rows_at_once(in);
    int8_t *codes = add_tensor(x, module, ".weight", DTYPE_I8, 2, out, in);
    float *scales = add_tensor(x, module, ".SCB", DTYPE_F32, 1, out, 0);
    *(uint8_t *)add_tensor(x, module, ".weight_format", DTYPE_U8, 0, 0, 0) = 0; /* rows as they are */
    x->view = (struct quantized){.kind = QUANTIZED_INT8, .bits = 8, .out = out, .in = in, .value_type = DTYPE_F32, .codes = codes, .scales = scales,
                                 .scale_type = DTYPE_F32};
    size_t row = (size_t)in * dtype_size(w->type);
#pragma omp parallel for schedule(dynamic)
    for (int64_t r = 0; r < out; r += step)
        k->quantize_rows_int8(codes + r * in, scales + r, (const char *)w->data + (size_t)r * row, w->type, out - r < step ? out - r : step, in);
}

/* ---- GPTQ, AWQ ---- */

bool encode_zeros_less_one(const struct quantize_options *o)
{
    return o->sym; /* 2^(bits - 1) everywhere */
}

/* All but the addresses. */
static struct quantized view_of_words(const struct quantize_options *o, int64_t out, int64_t in)
{
    bool awq = o->method == QUANTIZE_AWQ;
    return (struct quantized){.kind = awq ? QUANTIZED_AWQ : QUANTIZED_GPTQ, .bits = o->bits, .out = out, .in = in, .group = o->group ? o->group : in,
                              .value_type = DTYPE_F32, .scale_type = DTYPE_F16,
                              .zeros_stored = !awq && encode_zeros_less_one(o) ? QUANTIZED_ZEROS_LESS_ONE : QUANTIZED_ZEROS_PLAIN};
}

void encode_grid(struct encoded *x, const struct quantize_options *o, const char *module, const struct grid *g)
{
    bool awq = o->method == QUANTIZE_AWQ;
    int64_t words = awq ? g->out / 8 : g->out * g->bits / 32;
    *x = (struct encoded){.view = view_of_words(o, g->out, g->in)};
    uint32_t *codes = add_tensor(x, module, ".qweight", DTYPE_I32, 2, awq ? g->in : g->in * g->bits / 32, awq ? words : g->out);
    uint32_t *zeros = add_tensor(x, module, ".qzeros", DTYPE_I32, 2, g->groups, words);
    uint16_t *scales = add_tensor(x, module, ".scales", DTYPE_F16, 2, g->groups, g->out);
    dtype_from_f32(scales, DTYPE_F16, g->scales, (size_t)(g->groups * g->out));
    x->view.codes = codes, x->view.zeros = zeros, x->view.scales = scales;
    if (awq) {
        grid_pack_awq(codes, zeros, g);
        return;
    }
    grid_pack_gptq(codes, zeros, g, encode_zeros_less_one(o));
    int32_t *order = add_tensor(x, module, ".g_idx", DTYPE_I32, 1, g->in, 0);
    memcpy(order, g->g_idx, (size_t)g->in * sizeof *order);
    x->view.g_idx = order;
}

static const void *find_part(const struct st_file *f, const char *module, const char *suffix, enum dtype type, int64_t numel, struct err *e)
{
    char *name = mem_printf("%s%s", module, suffix);
    const struct st_tensor *t = st_find(f, name);
    if (!t || t->type != type || t->numel != numel)
        err_set(e, "%s: tensor '%s' is missing or of another type or shape", f->path, name);
    free(name);
    return e->set ? NULL : t->data;
}

int encoded_view(struct quantized *q, const struct quantize_options *o, const char *module, int64_t out, int64_t in, const struct st_file *f,
                 struct err *e)
{
    *q = view_of_words(o, out, in);
    int64_t groups = (in + q->group - 1) / q->group, fields = q->kind == QUANTIZED_AWQ ? 8 : 0;
    q->codes = find_part(f, module, ".qweight", DTYPE_I32, fields ? in * out / fields : in * q->bits / 32 * out, e);
    q->zeros = find_part(f, module, ".qzeros", DTYPE_I32, groups * (fields ? out / fields : out * q->bits / 32), e);
    q->scales = find_part(f, module, ".scales", DTYPE_F16, groups * out, e);
    q->g_idx = fields ? NULL : find_part(f, module, ".g_idx", DTYPE_I32, in, e);
    for (int64_t i = 0; q->g_idx && i < in; i++)
        if (get_le32((const char *)q->g_idx + 4 * i) >= groups)
            return err_set(e, "%s: tensor '%s.g_idx': element %lld is not below %lld", f->path, module, (long long)i, (long long)groups);
    return e->set ? -1 : 0;
}

static void encode_nearest(struct encoded *x, const struct quantize_options *o, const char *module, const struct st_tensor *w)
{
    struct grid g;
    float *f = mem_array(NULL, (size_t)w->numel, sizeof *f);
    dtype_to_f32(f, w->data, w->type, (size_t)w->numel);
    grid_init(&g, w->shape[0], w->shape[1], o->group, o->bits);
    grid_round_to_nearest(&g, f, o->sym);
    free(f);
    encode_grid(x, o, module, &g);
    grid_release(&g);
}

void encode_module(struct encoded *x, const struct quantize_options *o, const struct kernels *k, const char *module, const struct st_tensor *weight)
{
    *x = (struct encoded){0};
    if (o->method == QUANTIZE_INT8)
        encode_int8(x, k, module, weight);
    else if (o->method == QUANTIZE_NF4 || o->method == QUANTIZE_FP4)
        encode_4bit(x, o, k, module, weight);
    else
        encode_nearest(x, o, module, weight);
}

/* ---- size and error ---- */

int64_t encoded_size(const struct quantize_options *o, int64_t out, int64_t in)
{
    int64_t n = out * in, groups = o->group ? (in + o->group - 1) / o->group : 1, blocks = o->block ? (n + o->block - 1) / o->block : 0;
    switch (o->method) {
    case QUANTIZE_INT8: return n + 4 * out + 1;
    case QUANTIZE_NF4:
    case QUANTIZE_FP4:
        return (n + 1) / 2 + 64 + 200 + (o->nested ? blocks + 4 * ((blocks + QUANTIZED_NESTED_BLOCK - 1) / QUANTIZED_NESTED_BLOCK) + 1024 : 4 * blocks);
    case QUANTIZE_AWQ: return n / 2 + groups * out / 2 + 2 * groups * out;
    case QUANTIZE_RTN:
    case QUANTIZE_GPTQ: return n * o->bits / 8 + groups * out * o->bits / 8 + 2 * groups * out + 4 * in;
    }
    return 0;
}

struct sums { double difference, weight; };

/* In lanes of f32, which a compiler makes vectors of, 1024 elements at a time. */
static double sum_squares(const float *x, int64_t n)
{
    double sum = 0;
    for (int64_t first = 0; first < n; first += 1024) {
        float lanes[16] = {0}, of_lanes = 0;
        int64_t end = n - first < 1024 ? n : first + 1024, i = first;
        for (; i + 16 <= end; i += 16)
#pragma omp simd
            for (int j = 0; j < 16; j++)
                lanes[j] += x[i + j] * x[i + j];
        for (; i < end; i++)
            lanes[0] += x[i] * x[i];
        for (int j = 0; j < 16; j++)
            of_lanes += lanes[j];
        sum += of_lanes;
    }
    return sum;
}

/* Of rows r .. r + rows - 1. */
static struct sums compare_rows(const struct encoded *x, const struct kernels *k, const struct st_tensor *w, int64_t r, int64_t rows)
{
    int64_t in = x->view.in, n = rows * in;
    float *a = mem_array(NULL, (size_t)n, sizeof *a), *b = mem_array(NULL, (size_t)n, sizeof *b);
    dtype_to_f32(a, (const char *)w->data + (size_t)(r * in) * dtype_size(w->type), w->type, (size_t)n);
    k->dequantize(b, DTYPE_F32, in, &x->view, r, rows, 0, in);
#pragma omp simd
    for (int64_t i = 0; i < n; i++)
        b[i] -= a[i];
    struct sums s = {sum_squares(b, n), sum_squares(a, n)};
    free(a);
    free(b);
    return s;
}

double encoded_error(const struct encoded *x, const struct kernels *k, const struct st_tensor *weight)
{
    int64_t step = rows_at_once(x->view.in), n = (x->view.out + step - 1) / step;
    struct sums *parts = mem_array(NULL, (size_t)n, sizeof *parts), all = {0};
#pragma omp parallel for schedule(dynamic)
    for (int64_t i = 0; i < n; i++)
        parts[i] = compare_rows(x, k, weight, i * step, x->view.out - i * step < step ? x->view.out - i * step : step);
    for (int64_t i = 0; i < n; i++)
        all.difference += parts[i].difference, all.weight += parts[i].weight;
    free(parts);
    return all.weight > 0 ? sqrt(all.difference / all.weight) : 0;
}
