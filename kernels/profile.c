#include "kernels/profile.h"

#include <omp.h>
#include <stdio.h>
#include <time.h>

enum op {
    MATMUL, MATMUL_FEW, MATMUL_SUMS, ATTENTION, ATTENTION_FEW, ATTENTION_BACKWARD, NORM, NORM_BACKWARD, ROPE, SWIGLU, SWIGLU_BACKWARD, BIAS,
    EMBEDDING, CROSS_ENTROPY, ADD, DROPOUT, MOVE, GRADIENT_NORM, ADAMW, DEQUANTIZE, QUANTIZE,
    OPS
};

static const char *const NAMES[OPS] = {
    [MATMUL] = "products", [MATMUL_FEW] = "products of few rows", [MATMUL_SUMS] = "gradients of matrices", [ATTENTION] = "attention",
    [ATTENTION_FEW] = "attention of few rows", [ATTENTION_BACKWARD] = "attention, backward", [NORM] = "norms", [NORM_BACKWARD] = "norms, backward",
    [ROPE] = "rotations", [SWIGLU] = "gated activation", [SWIGLU_BACKWARD] = "gated activation, backward", [BIAS] = "biases",
    [EMBEDDING] = "embedding", [CROSS_ENTROPY] = "cross entropy", [ADD] = "additions", [DROPOUT] = "dropout", [MOVE] = "copies, zeros",
    [GRADIENT_NORM] = "norm of the gradient", [ADAMW] = "optimizer", [DEQUANTIZE] = "values of quantized weights", [QUANTIZE] = "quantization"};

static struct {
    struct kernels of, table;
    bool used;
    struct { int64_t calls; double seconds, flops, bytes; } ops[OPS];
} p;

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* Of a team, the caller's thread stands for all. */
static void count(enum op op, double began, double flops, double bytes)
{
    if (omp_get_thread_num() != 0)
        return;
    p.ops[op].seconds += now() - began;
    p.ops[op].calls++;
    p.ops[op].flops += flops;
    p.ops[op].bytes += bytes;
}

/* ---- products and attention ---- */

/* Of `count` elements of a quantized weight: codes, scales and zeros. */
static double bytes_of_quantized(const struct quantized *q, double n)
{
    double scale = (double)dtype_size(q->scale_type);
    switch (q->kind) {
    case QUANTIZED_INT8: return n + n / (double)q->in * scale;
    case QUANTIZED_NF4:
    case QUANTIZED_FP4: return n / 2 + n / (double)q->group * scale;
    case QUANTIZED_GPTQ:
    case QUANTIZED_AWQ: break;
    }
    return n * q->bits / 8 + n / (double)q->group * (scale + q->bits / 8.0);
}

static double bytes_of(const struct mat *m, double n)
{
    return m->quantized ? bytes_of_quantized(m->quantized, n) : n * (double)dtype_size(m->type);
}

static void matmul(const struct matmul *list, int n)
{
    double began = now(), flops = 0, bytes = 0;
    p.of.matmul(list, n);
    for (int i = 0; i < n; i++)
        for (int t = 0; t <= list[i].n_more; t++) {
            const struct matmul one = matmul_alone(list + i, t), *m = &one;
            flops += 2.0 * (double)m->m * (double)m->n * (double)m->k;
            bytes += (double)(m->m * m->k) * (double)dtype_size(m->a.type) + bytes_of(&m->b, (double)(m->k * m->n)) +
                     (t ? 0 : (double)(m->m * m->n) * (m->beta != 0 ? 8 : 4));
        }
    count(list->cuts ? MATMUL_SUMS : list->m <= MATMUL_FEW_ROWS ? MATMUL_FEW : MATMUL, began, flops, bytes);
}

static void dequantize(void *out, enum dtype type, int64_t ld, const struct quantized *q, int64_t row0, int64_t rows, int64_t col0, int64_t cols)
{
    double began = now(), n = (double)(rows * cols);
    p.of.dequantize(out, type, ld, q, row0, rows, col0, cols);
    count(DEQUANTIZE, began, n, bytes_of_quantized(q, n) + n * (double)dtype_size(type));
}

static void quantize_4bit(uint8_t *codes, float *absmax, enum quantized_kind kind, int64_t block, const void *w, enum dtype type, int64_t n)
{
    double began = now();
    p.of.quantize_4bit(codes, absmax, kind, block, w, type, n);
    count(QUANTIZE, began, (double)n, (double)n * (double)dtype_size(type) + (double)n / 2 + 4.0 * (double)n / (double)block);
}

static void quantize_rows_int8(int8_t *codes, float *scales, const void *w, enum dtype type, int64_t rows, int64_t cols)
{
    double began = now(), n = (double)(rows * cols);
    p.of.quantize_rows_int8(codes, scales, w, type, rows, cols);
    count(QUANTIZE, began, n, n * (double)(dtype_size(type) + 1) + 4.0 * (double)rows);
}

static double seen_by(int64_t window, int64_t q_len, int64_t k_len)
{
    double pairs = (double)q_len * (double)(k_len - q_len) + (double)q_len * (double)(q_len + 1) / 2;
    if (window > 0 && k_len > window) {
        double first = (double)(k_len - q_len), hidden = first - (double)window; /* keys that the first query does not see, but for its own */
        double last = (double)k_len - (double)window;
        pairs -= hidden >= 0 ? (double)q_len * (hidden + 1 + last) / 2 : last * (last + 1) / 2;
    }
    return pairs;
}

/* Pairs of a query and a key that it sees; the second branch of a fork goes on behind the keys before it. */
static double seen(const struct attention *a, const struct attention_seq *s)
{
    if (!s->fork_end)
        return seen_by(a->window, s->q_len, s->k_len);
    int64_t behind = s->k_len - s->fork_end;
    return seen_by(a->window, s->fork_end, s->fork_end) + seen_by(a->window, behind, s->fork_at + behind);
}

static void cost_of_attention(const struct attention *a, int products, double *flops, double *bytes)
{
    *flops = *bytes = 0;
    for (int i = 0; i < a->n_seq; i++) {
        *flops += 2.0 * products * a->heads * a->head_dim * seen(a, &a->seq[i]);
        *bytes += 4.0 * a->head_dim * products * ((double)(a->seq[i].q_len * a->heads) + (double)(a->seq[i].k_len * a->kv_heads));
    }
}

static void attention(const struct attention *a)
{
    double began = now(), flops, bytes;
    p.of.attention(a);
    cost_of_attention(a, 2, &flops, &bytes);
    count(a->seq->k_len > a->seq->q_len ? ATTENTION_FEW : ATTENTION, began, flops, bytes);
}

static void attention_backward(const struct attention *a)
{
    double began = now(), flops, bytes;
    p.of.attention_backward(a);
    cost_of_attention(a, 5, &flops, &bytes);
    count(ATTENTION_BACKWARD, began, flops, bytes);
}

/* ---- rows ---- */

static double floats(int64_t n, int arrays)
{
    return 4.0 * arrays * (double)n;
}

static void bias_backward(const struct row_sum *dbias, const float *dy, int64_t n, int64_t c)
{
    double began = now();
    p.of.bias_backward(dbias, dy, n, c);
    count(BIAS, began, (double)(n * c), floats(n * c, 1));
}

static void bias_add(float *y, const float *bias, int64_t n, int64_t c)
{
    double began = now();
    p.of.bias_add(y, bias, n, c);
    count(BIAS, began, (double)(n * c), floats(n * c, 2));
}

static void rmsnorm(float *y, int64_t y_stride, float *rstd, const float *x, int64_t x_stride, const float *w, bool plus_one, float eps,
                    int64_t n, int64_t c)
{
    double began = now();
    p.of.rmsnorm(y, y_stride, rstd, x, x_stride, w, plus_one, eps, n, c);
    count(NORM, began, 4.0 * (double)(n * c), floats(n * c, 2));
}

static void add_rmsnorm(float *y, float *rstd, float *x, const float *more, const float *w, bool plus_one, float eps, int64_t n, int64_t c)
{
    double began = now();
    p.of.add_rmsnorm(y, rstd, x, more, w, plus_one, eps, n, c);
    count(NORM, began, 5.0 * (double)(n * c), floats(n * c, 4));
}

static void rmsnorm_backward(float *dx, int64_t dx_stride, bool add, const struct row_sum *dw, const float *dy, int64_t dy_stride, const float *x,
                             int64_t x_stride, const float *w, bool plus_one, const float *rstd, int64_t n, int64_t c)
{
    double began = now();
    p.of.rmsnorm_backward(dx, dx_stride, add, dw, dy, dy_stride, x, x_stride, w, plus_one, rstd, n, c);
    count(NORM_BACKWARD, began, 8.0 * (double)(n * c), floats(n * c, add ? 4 : 3));
}

static void rope(float *x, int64_t stride, const float *cos_sin, const int32_t *pos, bool inverse, int64_t n, int heads, int head_dim)
{
    double began = now();
    p.of.rope(x, stride, cos_sin, pos, inverse, n, heads, head_dim);
    count(ROPE, began, 3.0 * (double)(n * heads * head_dim), floats(n * heads * head_dim, 2) + floats(n * head_dim, 1));
}

static void swiglu(float *y, const float *gate, const float *up, int64_t n)
{
    double began = now();
    p.of.swiglu(y, gate, up, n);
    count(SWIGLU, began, 5.0 * (double)n, floats(n, 3));
}

static void swiglu_backward(float *dgate, float *dup, const float *dy, const float *gate, const float *up, int64_t n)
{
    double began = now();
    p.of.swiglu_backward(dgate, dup, dy, gate, up, n);
    count(SWIGLU_BACKWARD, began, 10.0 * (double)n, floats(n, 5));
}

static void embedding(float *out, const struct mat *table, const int32_t *ids, int64_t n, int64_t c)
{
    double began = now();
    p.of.embedding(out, table, ids, n, c);
    count(EMBEDDING, began, 0, floats(n * c, 1) + (double)(n * c) * (double)dtype_size(table->type));
}

static void embedding_backward(float *dtable, const float *dout, const int32_t *ids, int64_t n, int64_t c, int64_t v)
{
    double began = now();
    p.of.embedding_backward(dtable, dout, ids, n, c, v);
    count(EMBEDDING, began, (double)(n * c), floats(n * c, 3));
}

static void cross_entropy(float *loss, float *logits, const int32_t *targets, float grad_scale, int64_t n, int64_t v)
{
    double began = now();
    p.of.cross_entropy(loss, logits, targets, grad_scale, n, v);
    count(CROSS_ENTROPY, began, (grad_scale != 0 ? 5.0 : 3.0) * (double)(n * v), floats(n * v, grad_scale != 0 ? 2 : 1));
}

static void row_stats(float *mean, float *entropy, float *squares, const float *logits, int64_t n, int64_t v)
{
    double began = now();
    p.of.row_stats(mean, entropy, squares, logits, n, v);
    count(CROSS_ENTROPY, began, 7.0 * (double)(n * v), floats(n * v, 1));
}

/* ---- elements ---- */

static void add(float *x, const float *y, int64_t n)
{
    double began = now();
    p.of.add(x, y, n);
    count(ADD, began, (double)n, floats(n, 3));
}

static void scale(float *x, float s, int64_t n)
{
    double began = now();
    p.of.scale(x, s, n);
    count(ADD, began, (double)n, floats(n, 2));
}

static void scale_rows(float *x, const float *s, int64_t n, int64_t c)
{
    double began = now();
    p.of.scale_rows(x, s, n, c);
    count(ADD, began, (double)(n * c), floats(n * c, 2));
}

static void dropout(float *y, const float *x, float rate, uint64_t seed, uint64_t stream, int64_t row0, int64_t n, int64_t c)
{
    double began = now();
    p.of.dropout(y, x, rate, seed, stream, row0, n, c);
    count(DROPOUT, began, (double)(n * c), floats(n * c, 2));
}

static double sum_squares(const float *x, int64_t n)
{
    double began = now(), sum = p.of.sum_squares(x, n);
    count(GRADIENT_NORM, began, 2.0 * (double)n, floats(n, 1));
    return sum;
}

static void clip(struct clip *to, const float *x, int64_t n, double most)
{
    double began = now();
    p.of.clip(to, x, n, most);
    count(GRADIENT_NORM, began, 2.0 * (double)n, floats(n, 1));
}

static void adamw(const struct adamw_tensor *list, int n, const struct adamw *o)
{
    double began = now();
    int64_t elements = 0;
    for (int i = 0; i < n; i++)
        elements += list[i].count;
    p.of.adamw(list, n, o);
    count(ADAMW, began, 12.0 * (double)elements, floats(elements, 7));
}

static void adamw_8bit(const struct adamw_8bit *list, int n, const struct adamw *o)
{
    double began = now(), elements = 0;
    for (int i = 0; i < n; i++)
        elements += (double)list[i].count;
    p.of.adamw_8bit(list, n, o);
    count(ADAMW, began, 12 * elements, 16 * elements);
}

static void gather_rows(float *out, const float *x, const int32_t *rows, int64_t n, int64_t c)
{
    double began = now();
    p.of.gather_rows(out, x, rows, n, c);
    count(MOVE, began, 0, floats(n * c, 2));
}

static void scatter_rows(float *x, const float *in, const int32_t *rows, int64_t n, int64_t c)
{
    double began = now();
    p.of.scatter_rows(x, in, rows, n, c);
    count(MOVE, began, 0, floats(n * c, 2));
}

static void copy_in(void *device, const void *host, size_t bytes)
{
    double began = now();
    p.of.copy_in(device, host, bytes);
    count(MOVE, began, 0, 2.0 * (double)bytes);
}

static void copy_out(void *host, const void *device, size_t bytes)
{
    double began = now();
    p.of.copy_out(host, device, bytes);
    count(MOVE, began, 0, 2.0 * (double)bytes);
}

static void zero(void *device, size_t bytes)
{
    double began = now();
    p.of.zero(device, bytes);
    count(MOVE, began, 0, (double)bytes);
}

/* ---- the table ---- */

const struct kernels *kernels_profile(const struct kernels *k)
{
    p.of = p.table = *k;
    p.used = true;
    p.table.matmul = matmul;
    p.table.dequantize = dequantize;
    p.table.quantize_4bit = quantize_4bit;
    p.table.quantize_rows_int8 = quantize_rows_int8;
    p.table.attention = attention;
    p.table.attention_backward = attention_backward;
    p.table.bias_backward = bias_backward;
    p.table.bias_add = bias_add;
    p.table.rmsnorm = rmsnorm;
    p.table.add_rmsnorm = add_rmsnorm;
    p.table.rmsnorm_backward = rmsnorm_backward;
    p.table.rope = rope;
    p.table.swiglu = swiglu;
    p.table.swiglu_backward = swiglu_backward;
    p.table.embedding = embedding;
    p.table.embedding_backward = embedding_backward;
    p.table.cross_entropy = cross_entropy;
    p.table.row_stats = row_stats;
    p.table.add = add;
    p.table.scale = scale;
    p.table.scale_rows = scale_rows;
    p.table.dropout = dropout;
    p.table.sum_squares = sum_squares;
    p.table.clip = clip;
    p.table.adamw = adamw;
    p.table.adamw_8bit = adamw_8bit;
    p.table.gather_rows = gather_rows;
    p.table.scatter_rows = scatter_rows;
    p.table.copy_in = copy_in;
    p.table.copy_out = copy_out;
    p.table.zero = zero;
    return &p.table;
}

static void line(struct buf *b, const char *name, const char *calls, double seconds, double whole, double flops, double bytes)
{
    buf_printf(b, "%-28s %9s %9.3f s %6.1f %%", name, calls, seconds, whole > 0 ? 100 * seconds / whole : 0);
    if (bytes > 0 && seconds > 0)
        buf_printf(b, " %9.2f %9.2f", 1e-9 * flops / seconds, 1e-9 * bytes / seconds);
    buf_add_str(b, "\n");
}

/* Of the operations that ran and are not shown yet; -1: none. */
static int longest(const bool *shown)
{
    int most = -1;
    for (int i = 0; i < OPS; i++)
        if (p.ops[i].calls && !shown[i] && (most < 0 || p.ops[i].seconds > p.ops[most].seconds))
            most = i;
    return most;
}

double profile_flops(void)
{
    double sum = 0;
    for (int i = 0; i < OPS; i++)
        sum += p.ops[i].flops;
    return sum;
}

void profile_write(struct buf *b, double seconds)
{
    double inside = 0, bytes = 0;
    bool shown[OPS] = {false};
    if (!p.used)
        return;
    buf_printf(b, "%-28s %9s %11s %8s %9s %9s\n", "operation", "calls", "time", "share", "GFLOP/s", "GB/s");
    for (int i; (i = longest(shown)) >= 0; shown[i] = true) {
        char calls[24];
        snprintf(calls, sizeof calls, "%lld", (long long)p.ops[i].calls);
        line(b, NAMES[i], calls, p.ops[i].seconds, seconds, p.ops[i].flops, p.ops[i].bytes);
        inside += p.ops[i].seconds, bytes += p.ops[i].bytes;
    }
    line(b, "between operations", "", seconds > inside ? seconds - inside : 0, seconds, 0, 0);
    line(b, "all", "", seconds, seconds, profile_flops(), bytes);
}
