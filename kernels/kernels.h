/* The numerical interface: one table of operations over device memory.
 *
 * A backend fills `struct kernels`; model and training code call only through it and know no device. Pointers named
 * below are device addresses (host memory on the CPU); the host touches them only through copy_in / copy_out / zero.
 * `const struct kernels *k = kernels_open("cpu", &err)`; there is one per device, never freed.
 *
 * Letters: N rows (tokens of all packed samples, in order), C channels (hidden), H query heads, G key/value heads,
 * D head dimension, F feed-forward width, V vocabulary, R rank of an adapter, S samples in a pack.
 * All matrices are row-major. A sample occupies rows start[s] .. start[s+1]-1; its first row has position 0.
 *
 * Contracts
 *  - Forward outputs and input gradients overwrite ("="), unless an argument says otherwise; gradients of
 *    parameters accumulate ("+=").
 *  - Same inputs, same bits: for any number of threads, and for every row whatever other rows are in the call
 *    (so a packed batch equals its samples). Reductions have a fixed order.
 *  - cpu/ref_*.c are the specification: plain, naive C, accumulating in f32 unless a comment says double. Faster
 *    versions overwrite table entries and are held against it (tests/unit/kernels*.c).
 *  - Storage types of weights: DTYPE_F32, DTYPE_F16, DTYPE_BF16, at any alignment, and those of base/quantized.h. Everything
 *    else is f32.
 *  - Non-finite values propagate; no op checks for them.
 */
#ifndef KERNELS_H
#define KERNELS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/dtype.h"
#include "base/err.h"
#include "base/quantized.h"

/* A (rows, cols) matrix at `data` with element (i, j) at data[i * row_stride + j * col_stride] (strides in elements).
 * quantized, only for B: the matrix is that weight (out, in), or its transpose; data and type are unused, and the strides are
 * {in, 1} or {1, in}, in > 1. */
struct mat {
    const void *data;
    enum dtype type;
    int64_t row_stride, col_stride;
    const struct quantized *quantized; /* host; NULL: stored as it is */
};

/* C (M, N) = alpha * A (M, K) . B (K, N) + beta * C.  C is f32, row stride ldc. beta is 0 or 1 (0: C is not read).
 * y = x W^T with W stored (out, in):  A = x, B = {W, type, 1, in};  dx = dy W:  B = {W, type, in, 1};
 * dW += dy^T x:  A = {dy, F32, 1, out}, B = {x, F32, in, 1}, beta 1.
 * round_bf16: every element of A and B is rounded to bf16 on the way in (products of bf16, sums in f32). Subnormal numbers may count
 * as zero, as the instructions for such products take them; the integers of int8, GPTQ and AWQ may be multiplied as they are, and their sums
 * scaled, in products of few rows, as may NF4 and FP4's values within 0.16 %, and A be taken there as integers of 24 bits beside the largest magnitude of as many steps as share scales.
 * For M <= MATMUL_FEW_ROWS each row's bits do not depend on M (batched decoding equals single decoding); the same holds
 * among all larger M. */
struct matmul_term {
    int64_t k;
    struct mat a, b;
    float alpha;
};

struct matmul {
    int64_t m, n, k;
    struct mat a, b;
    float *c;
    int64_t ldc;
    float alpha, beta;
    bool round_bf16;
    /* Host, n_cuts + 1 ascending, from 0 to K; NULL: none. The sums of the steps cuts[i] .. cuts[i + 1] - 1 are made apart and added to C
     * in order: with beta 1, C is then the same bits whether the parts come in one call or in several. */
    const int64_t *cuts;
    int n_cuts;
    /* Further products that come to C in order, each as if it were a product of its own with beta 1. Not with cuts. */
    const struct matmul_term *more;
    int n_more;
};

/* Term i (0: A B) as a product of its own. */
static inline struct matmul matmul_alone(const struct matmul *m, int i)
{
    struct matmul one = *m;
    one.more = NULL, one.n_more = 0;
    if (i > 0)
        one.k = m->more[i - 1].k, one.a = m->more[i - 1].a, one.b = m->more[i - 1].b, one.alpha = m->more[i - 1].alpha, one.beta = 1;
    return one;
}

#define MATMUL_FEW_ROWS 16

/* Bytes that products hold beside their arguments, by use: what a backend writes there is its own. All zeros: nothing yet. */
struct matmul_need {
    size_t a, b, few;
};

/* A parameter's gradient that is a sum over rows, to[j] +=. The rows cuts[i] * times .. cuts[i + 1] * times - 1 are summed apart and
 * added in order, with the same consequence as in struct matmul; rows behind the last cut do not count. cuts NULL: all rows in one. */
struct row_sum {
    float *to;
    const int64_t *cuts;    /* host */
    int n_cuts;
    int64_t times;
};

/* Causal attention over S samples; query row i of sample s (i = 0 .. q_len-1) has position k_len - q_len + i and sees
 * the key positions p with p <= position and, when window > 0, p > position - window.
 * A forked sample is two branches behind one beginning: its rows from fork_end on do not see the keys fork_at .. fork_end - 1, and their
 * positions go on from fork_at, as those of row fork_at did. A window counts positions. The rows before fork_end have the bits that they
 * would have without the second branch.
 *   score = scale * q.k, softcap c > 0: c * tanh(score / c); softmax in f32; out = sum of p * v.
 * Head h reads key/value head h / (H / G). Row strides are in floats; head h starts at h * D within a row. */
struct attention_seq {
    int64_t q_row, q_len;   /* rows of q, out, lse (and dq, dout) */
    const float *k, *v;     /* first key / value row of this sample (k_len rows) */
    float *dk, *dv;         /* gradients, same strides as k and v; unused by the forward pass */
    int64_t k_len;
    int64_t fork_at, fork_end; /* both 0: no fork. Else 0 <= fork_at < fork_end < k_len == q_len */
};

struct attention {
    int n_seq;
    const struct attention_seq *seq; /* host memory */
    const float *q;                  /* (N, H, D) */
    float *out;                      /* (N, H, D) */
    float *lse;                      /* (N, H) log-sum-exp of each row's scores, kept for backward; may be NULL in decoding */
    int64_t q_stride, kv_stride, out_stride;
    int heads, kv_heads, head_dim;
    int64_t window;                  /* 0: none */
    float scale, softcap;            /* softcap 0: off */
    bool round_bf16;                 /* q, k, v, dout, the probabilities and dscore may be rounded to bf16 where they are multiplied; sums are f32 */
    /* backward only: = gradients of q; k and v gradients go to seq[].dk / dv, also "=" */
    const float *dout;               /* (N, H, D), out_stride */
    float *dq;                       /* (N, H, D), q_stride */
};

/* The length of a vector, and the factor that brings it to at most some length: torch's clip_grad_norm_. */
struct clip {
    double norm;  /* no finite number when an element is none */
    float factor; /* min(1, most / (norm + 1e-6)); 1 without a `most`; NaN when the norm is no finite number */
};

/* torch.optim.AdamW: decay first, p *= 1 - lr*wd; eps after bias correction. The scalars are double because torch computes
 * 1 - beta and the bias corrections in double before they meet an f32. */
struct adamw {
    double lr, beta1, beta2, eps;
    int64_t step;                              /* from 1 */
    const struct clip *clip;                   /* device: every gradient is multiplied by its factor first, and when that is NaN nothing is changed; NULL: 1 */
};

/* One tensor and its moments. */
struct adamw_tensor {
    float *p, *m, *v;
    const float *grad;                         /* (count) each */
    int64_t count;
    double weight_decay;
};

/* One tensor whose moments are kept in 8 bits: codes of base/dynamic_map.h (m with a sign, v without), times the largest magnitude of
 * their block. In the beginning all is zero. */
struct adamw_8bit {
    float *p;
    const float *grad;
    uint8_t *m, *v;                            /* (count) */
    float *m_max, *v_max;                      /* (blocks) */
    int64_t count;
    double weight_decay;
};

#define ADAMW_8BIT_BLOCK 256

static inline int64_t adamw_8bit_blocks(int64_t count)
{
    return (count + ADAMW_8BIT_BLOCK - 1) / ADAMW_8BIT_BLOCK;
}

/* What the machine can do at most with the current threads: multiplications and additions, f32, bytes read from memory, and
 * multiplications and additions of products of bf16 (0: there are no instructions for them). */
struct kernels_ceiling {
    double flops, read_bytes, bf16_flops; /* per second */
};

struct kernels {
    const char *name;     /* "cpu" */
    const char *features; /* "avx2,fma", for --version and the log */
    bool multiplies_bf16; /* there are instructions for products with round_bf16 */

    /* Memory. host_memory: device addresses are the host's, and a mapped file is an operand as it is. Else the host reaches them by the copies
     * below alone (kernels/view.h), and all calls of a table come from one thread at a time. */
    bool host_memory;
    void *(*alloc)(size_t bytes, struct err *e);   /* zeroed; NULL on error */
    void (*free)(void *p, size_t bytes);
    void (*copy_in)(void *device, const void *host, size_t bytes);
    void (*copy_out)(void *host, const void *device, size_t bytes);
    void (*zero)(void *device, size_t bytes);
    int64_t (*free_memory)(void); /* bytes that can be had now; NULL: host_memory */
    const struct transfer *transfer; /* copies beside the operations (kernels/transfer.h); NULL: host_memory */
    /* What the operations themselves hold at most beside their arguments, for the current thread count and attention of this
     * shape over `rows` rows, both ways (the plan counts it). */
    size_t (*scratch_bytes)(int heads, int kv_heads, int head_dim, int64_t rows);
    /* Where products hold copies of factors, NULL where scratch_bytes has it all: brings `most` up to what one product (its sizes, strides and types alone; cuts
     * NULL or not) makes the backend hold, and, with all of a run in it, says how many bytes that is. */
    void (*matmul_needs)(struct matmul_need *most, const struct matmul *m);
    size_t (*matmul_bytes)(const struct matmul_need *most);
    int64_t (*held_bytes)(void); /* device memory that went to the context and the libraries when it was opened: measured; NULL: host_memory */
    /* Measured in about a tenth of a second; takes 128 MB for that time. */
    void (*ceiling)(struct kernels_ceiling *c);

    /* Makes the calls of operations in body(arg) follow one another at least cost, for what is as short as the pass of one token. Either
     * runs it once, or on several threads, which then all have to make the same calls with the same arguments: the body computes
     * nothing but arguments, from what neither it nor an operation writes. It calls matmul, bias_add, rmsnorm, add_rmsnorm, rope,
     * attention, swiglu, add, gather_rows and scatter_rows. */
    void (*team)(void (*body)(void *arg), void *arg);

    /* `count` products, none of which reads what another writes; short ones run side by side. */
    void (*matmul)(const struct matmul *list, int count);

    /* out (rows, cols) of F32, F16 or BF16, rounded to nearest, row stride ld in elements = the part of a quantized weight that begins at
     * (row0, col0) */
    void (*dequantize)(void *out, enum dtype type, int64_t ld, const struct quantized *q, int64_t row0, int64_t rows, int64_t col0, int64_t cols);

    /* QUANTIZED_NF4 or _FP4 of n elements w of F32, F16 or BF16 at any alignment: codes ((n + 1) / 2 bytes) and the largest magnitude of each
     * block, the bytes of bitsandbytes' CPU backend from 0.50 on. That divides by the largest magnitude of a short last block, where it
     * multiplies by the inverse of others: pieces of a matrix have to be of whole blocks, and of even size. */
    void (*quantize_4bit)(uint8_t *codes, float *absmax, enum quantized_kind kind, int64_t block, const void *w, enum dtype type, int64_t n);
    /* QUANTIZED_INT8 of w (rows, cols), rounded to f16 first; a row of zeros has the scale 0, what is not finite the code 0. */
    void (*quantize_rows_int8)(int8_t *codes, float *scales, const void *w, enum dtype type, int64_t rows, int64_t cols);

    /* Brings w (out, in), dense and finite, to values that the layout of q can hold with q's settings; codes and scales, of the sizes and types of q's,
     * get what stands for them (NULL: not wanted; they may be q's own).
     *   GPTQ, AWQ  scales, zeros and groups are q's: code = round(w / scale) + zero, ties to even, between 0 and the most that `bits` hold
     *   NF4, FP4   the nearest code (a tie: the lower value) before rounding to value_type; a block's absmax is q's, or the largest of its new values (nested: the nearest level of
     *              q's map, scales and offset), whichever leaves the smaller sum of squared errors; q's when they leave the same
     *   INT8       round(w * (127 / scale)) between -127 and 127; rows as blocks */
    void (*requantize)(float *w, const struct quantized *q, void *codes, void *scales);

    /* sum over rows of dy (N, C): gradient of a bias */
    void (*bias_backward)(const struct row_sum *dbias, const float *dy, int64_t n, int64_t c);
    /* y (N, C) += bias (C) */
    void (*bias_add)(float *y, const float *bias, int64_t n, int64_t c);

    /* y = x * rsqrt(mean(x^2) + eps) * w.  rstd (N) is kept for backward (may be NULL). plus_one: w + 1 (Gemma).
     * x and y may have row strides (q/k norms over D inside a wider row): rows are `c` wide. */
    void (*rmsnorm)(float *y, int64_t y_stride, float *rstd, const float *x, int64_t x_stride, const float *w,
                    bool plus_one, float eps, int64_t n, int64_t c);
    /* x (N, C) += more, and y the rmsnorm of the sum: the bits of `add` and `rmsnorm` after one another. */
    void (*add_rmsnorm)(float *y, float *rstd, float *x, const float *more, const float *w, bool plus_one, float eps, int64_t n, int64_t c);
    /* dx = (or += when add) ...; dw NULL: weight frozen. */
    void (*rmsnorm_backward)(float *dx, int64_t dx_stride, bool add, const struct row_sum *dw, const float *dy, int64_t dy_stride,
                             const float *x, int64_t x_stride, const float *w, bool plus_one, const float *rstd,
                             int64_t n, int64_t c);

    /* Rotates in place, half layout: (x[i], x[i+D/2]) by angle pos*inv_freq[i]. cos_sin (P, D/2, 2) is a table made by
     * model/rope.c; pos (N) picks its row. inverse: rotates back (the backward pass). */
    void (*rope)(float *x, int64_t stride, const float *cos_sin, const int32_t *pos, bool inverse,
                 int64_t n, int heads, int head_dim);

    void (*attention)(const struct attention *a);
    void (*attention_backward)(const struct attention *a);

    /* y = silu(gate) * up, all (N, F) */
    void (*swiglu)(float *y, const float *gate, const float *up, int64_t count);
    /* dgate, dup may alias gate, up */
    void (*swiglu_backward)(float *dgate, float *dup, const float *dy, const float *gate, const float *up, int64_t count);

    /* out (N, C) = rows ids of table (V, C); ids are checked by the caller */
    void (*embedding)(float *out, const struct mat *table, const int32_t *ids, int64_t n, int64_t c);
    void (*embedding_backward)(float *dtable, const float *dout, const int32_t *ids, int64_t n, int64_t c, int64_t v); /* += */

    /* Cross entropy over logits (N, V), in place: loss[i] = logsumexp(z_i) - z_i[target_i] for target >= 0, else 0;
     * logits become dlogits = (softmax - onehot) * grad_scale (zero rows where target < 0) when grad_scale != 0. The log-sum-exp
     * is summed in a fixed order. */
    void (*cross_entropy)(float *loss, float *logits, const int32_t *targets, float grad_scale, int64_t n, int64_t v);

    /* Of each row of logits (N, V) and p = softmax of it: the mean of the logits, the entropy -sum p log p, and sum p^2. (N) each,
     * NULL: not wanted. */
    void (*row_stats)(float *mean, float *entropy, float *squares, const float *logits, int64_t n, int64_t v);

    /* x += y; x *= s; y = x elementwise over count */
    void (*add)(float *x, const float *y, int64_t count);
    void (*scale)(float *x, float s, int64_t count);
    /* x (n, c): row i *= s[i] */
    void (*scale_rows)(float *x, const float *s, int64_t n, int64_t c);

    /* y = x * keep(i) / (1 - p), keep from Philox draw (row0 * c + i) of (seed, stream); y may alias x */
    void (*dropout)(float *y, const float *x, float p, uint64_t seed, uint64_t stream, int64_t row0, int64_t n, int64_t c);

    /* sum of squares in double, fixed order (blocks of 4096, summed in order) */
    double (*sum_squares)(const float *x, int64_t count);
    /* to (device), from that sum; most 0: none. Unlike sum_squares it does not make the host wait. */
    void (*clip)(struct clip *to, const float *x, int64_t count, double most);
    void (*adamw)(const struct adamw_tensor *list, int n, const struct adamw *o);
    /* bitsandbytes' AdamW: decay first; the step is made with the moments as they are before they become codes again, through the bins of
     * base/dynamic_map.h. */
    void (*adamw_8bit)(const struct adamw_8bit *list, int n, const struct adamw *o);

    /* rows gathered: out (n, c) = x[rows[i]]; scattered back: x[rows[i]] = in[i] */
    void (*gather_rows)(float *out, const float *x, const int32_t *rows, int64_t n, int64_t c);
    void (*scatter_rows)(float *x, const float *in, const int32_t *rows, int64_t n, int64_t c);
};

/* device: "auto" (cuda, else cpu), "cpu", "cuda", "cuda:N" (kernels/open.c). FINETOOLS_CPU=plain|avx2|avx512|amx|neon|native (comma list of feature names
 * also) masks what the CPU backend uses. */
const struct kernels *kernels_open(const char *device, struct err *e);

#endif
