/* Speed of each kernel as a share of this machine's measured ceilings.
 *     kernels [NAME-PART]        one line per case: name, GFLOP/s or GB/s, share of the ceiling
 * The best of several runs counts. FINETOOLS_CPU and OMP_NUM_THREADS choose what is measured. */
#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/rng.h"
#include "kernels/kernels.h"

#define SECONDS 0.4

static const struct kernels *k;
static struct kernels_ceiling top;
static const char *only = "";
static bool round_bf16; /* of the products to come */

static float *noise(int64_t n)
{
    float *p = mem_array(NULL, (size_t)n, sizeof *p);
    struct rng r = {1, 2};
#pragma omp parallel for
    for (int64_t i = 0; i < n; i++)
        p[i] = rng_uniform(&r, (uint64_t)i) - 0.5f;
    return p;
}

/* Runs fn(arg) for a while; the shortest time of one call. */
static double best_time(void (*fn)(void *), void *arg)
{
    double best = 1e9, until = omp_get_wtime() + SECONDS;
    fn(arg);
    do {
        double start = omp_get_wtime();
        fn(arg);
        double took = omp_get_wtime() - start;
        best = took < best ? took : best;
    } while (omp_get_wtime() < until);
    return best;
}

static void line(const char *name, double amount, double seconds, double ceiling, const char *unit)
{
    printf("%-44s %9.3f ms %9.2f G%s %6.1f %%\n", name, seconds * 1e3, amount / seconds / 1e9, unit, 100 * amount / seconds / ceiling);
    fflush(stdout);
}

static bool wanted(const char *name)
{
    return strstr(name, only) != NULL;
}

static void run_matmul(void *arg)
{
    k->matmul(arg, 1);
}

static void run_attention(void *arg)
{
    k->attention(arg);
}

static void run_attention_backward(void *arg)
{
    k->attention_backward(arg);
}

/* n_seq samples of `len` tokens each, causal; operations over the pairs that are seen. */
static void bench_attention(int n_seq, int64_t len, int heads, int kv_heads, int dim)
{
    char name[100];
    int64_t n = n_seq * len, q = heads * dim, kv = kv_heads * dim;
    struct attention_seq seq[8];
    struct attention a = {.n_seq = n_seq, .seq = seq, .q = noise(n * q), .out = noise(n * q), .lse = noise(n * heads), .q_stride = q, .kv_stride = kv,
                          .out_stride = q, .heads = heads, .kv_heads = kv_heads, .head_dim = dim, .scale = 0.125f, .dout = noise(n * q), .dq = noise(n * q)};
    float *keys = noise(n * kv), *values = noise(n * kv), *dk = noise(n * kv), *dv = noise(n * kv);
    for (int i = 0; i < n_seq; i++)
        seq[i] = (struct attention_seq){.q_row = i * len, .q_len = len, .k_len = len, .k = keys + i * len * kv, .v = values + i * len * kv,
                                        .dk = dk + i * len * kv, .dv = dv + i * len * kv};
    double flops = 2.0 * n_seq * heads * dim * (double)len * (double)(len + 1) / 2;
    for (int back = 0; back < 2; back++) {
        snprintf(name, sizeof name, "attention%s %dx%ld tokens, %d/%d heads of %d", back ? " backward" : "", n_seq, (long)len, heads, kv_heads, dim);
        if (wanted(name))
            line(name, (back ? 5 : 2) * flops, best_time(back ? run_attention_backward : run_attention, &a), top.flops, "FLOP/s");
    }
    const float *all[] = {a.q, a.out, a.lse, a.dout, a.dq, keys, values, dk, dv};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        free((void *)all[i]);
}

enum form { Y, DX, DW }; /* y = x W^T, dx = dy W, dw += dy^T x */

static void bench_matmul(const char *what, enum form form, enum dtype type, int64_t n, int64_t out, int64_t in)
{
    char name[100];
    static const char *forms[] = {"y=xW'", "dx=dyW", "dW=dy'x"};
    snprintf(name, sizeof name, "matmul%s %s %s %s %ldx%ldx%ld", round_bf16 ? " of bf16" : "", what, forms[form], dtype_name(type), (long)n,
             (long)out, (long)in);
    if (!wanted(name))
        return;
    float *x = noise(n * in), *y = noise(n * out), *f = noise(out * in);
    void *w = mem_array(NULL, (size_t)(out * in), dtype_size(type));
    dtype_from_f32(w, type, f, (size_t)(out * in));
    struct matmul m;
    if (form == Y)
        m = (struct matmul){n, out, in, {x, DTYPE_F32, in, 1}, {w, type, 1, in}, y, out, 1, 0, round_bf16};
    else if (form == DX)
        m = (struct matmul){n, in, out, {y, DTYPE_F32, out, 1}, {w, type, in, 1}, x, in, 1, 0, round_bf16};
    else
        m = (struct matmul){out, in, n, {y, DTYPE_F32, 1, out}, {x, DTYPE_F32, in, 1}, f, in, 1, 1, round_bf16};
    double t = best_time(run_matmul, &m);
    if (n <= MATMUL_FEW_ROWS && form == Y)
        line(name, (double)(out * in) * (double)dtype_size(type), t, top.read_bytes, "B/s  ");
    else
        line(name, 2.0 * (double)n * (double)out * (double)in, t, round_bf16 ? top.bf16_flops : top.flops, "FLOP/s");
    free(x), free(y), free(f), free(w);
}

static void bench_products(void)
{
    static const int64_t shapes[][2] = {{576, 576}, {192, 576}, {1536, 576}, {576, 1536}};
    for (int64_t n = 256; n <= 2048; n *= 2)
        bench_matmul("square", Y, DTYPE_F32, n, n, n);
    for (int i = 0; i < 4; i++)
        for (int form = Y; form <= DW; form++)
            bench_matmul("linear", (enum form)form, form == DW ? DTYPE_F32 : DTYPE_BF16, 2048, shapes[i][0], shapes[i][1]);
    bench_attention(2, 512, 9, 3, 64);
    bench_attention(1, 2048, 9, 3, 64);
    bench_attention(1, 2048, 8, 8, 128);
    bench_matmul("head", Y, DTYPE_BF16, 512, 49152, 576);
    bench_matmul("head", DX, DTYPE_BF16, 512, 49152, 576);
    for (int form = Y; form <= DW; form++) {
        bench_matmul("lora A", (enum form)form, DTYPE_F32, 2048, 16, 576);
        bench_matmul("lora B", (enum form)form, DTYPE_F32, 2048, 576, 16);
        bench_matmul("lora B", (enum form)form, DTYPE_F32, 2048, 1536, 64);
    }
    for (int64_t n = 1; n <= 16; n *= 2)
        bench_matmul("decode", Y, DTYPE_BF16, n, 49152, 576);
    bench_matmul("decode", Y, DTYPE_F32, 1, 49152, 576);
    bench_matmul("decode", Y, DTYPE_F16, 1, 49152, 576);
}

struct coding {
    struct quantized q;
    float *w;    /* (out, in) */
    void *values; /* of BF16 */
};

static void run_quantize(void *arg)
{
    struct coding *c = arg;
    k->quantize_4bit((uint8_t *)c->q.codes, (float *)c->q.scales, c->q.kind, c->q.group, c->w, DTYPE_F32, c->q.out * c->q.in);
}

static void run_dequantize(void *arg)
{
    struct coding *c = arg;
    k->dequantize(c->values, DTYPE_BF16, c->q.in, &c->q, 0, c->q.out, 0, c->q.in);
}

/* Products of a quantized weight beside the ones of bf16 above: few rows as elements a second, many as operations. */
static void bench_quantized_products(const char *what, const struct quantized *q)
{
    static const int64_t rows[] = {1, 4, 16, 512};
    char name[100];
    for (int i = 0; i < 4; i++)
        for (int back = 0; back <= (rows[i] > MATMUL_FEW_ROWS); back++) {
            int64_t n = back ? q->in : q->out, depth = back ? q->out : q->in;
            snprintf(name, sizeof name, "matmul quantized %s %s %ldx%ldx%ld", what, back ? "dx=dyW" : "y=xW'", (long)rows[i], (long)q->out, (long)q->in);
            if (!wanted(name))
                continue;
            float *x = noise(rows[i] * depth), *y = noise(rows[i] * n);
            struct matmul m = {rows[i], n, depth, {x, DTYPE_F32, depth, 1}, {NULL, DTYPE_F32, back ? q->in : 1, back ? 1 : q->in, q}, y, n, 1, 0};
            line(name, 2.0 * (double)rows[i] * (double)(q->out * q->in), best_time(run_matmul, &m), top.flops, "FLOP/s");
            free(x), free(y);
        }
}

/* One set of random codes and scales that every kind reads. */
static void bench_quantized(void)
{
    int64_t out = 3072, in = 3072, n = out * in;
    float *codes = noise(n / 4), *scales = noise(n / 32), *w = noise(n);
    void *values = mem_array(NULL, (size_t)n, 2);
    const struct { const char *name; struct quantized q; } kinds[] = {
        {"nf4", {QUANTIZED_NF4, 4, out, in, 64, DTYPE_BF16, codes, scales, DTYPE_F32}},
        {"int8", {QUANTIZED_INT8, 8, out, in, 0, DTYPE_F32, codes, scales, DTYPE_F32}},
        {"gptq 4", {QUANTIZED_GPTQ, 4, out, in, 128, DTYPE_F32, codes, scales, DTYPE_F16, .zeros = codes, .zeros_stored = QUANTIZED_ZEROS_LESS_ONE}},
        {"awq", {QUANTIZED_AWQ, 4, out, in, 128, DTYPE_F32, codes, scales, DTYPE_F16, .zeros = codes}},
    };
    for (int i = 0; i < 4; i++) {
        char name[100];
        struct coding c = {kinds[i].q, w, values};
        bench_quantized_products(kinds[i].name, &kinds[i].q);
        snprintf(name, sizeof name, "dequantize %s to bf16, bytes written", kinds[i].name);
        if (wanted(name))
            line(name, 2.0 * (double)n, best_time(run_dequantize, &c), top.read_bytes, "B/s  ");
        snprintf(name, sizeof name, "quantize %s, bytes read", kinds[i].name);
        if (i == 0 && wanted(name))
            line(name, 4.0 * (double)n, best_time(run_quantize, &c), top.read_bytes, "B/s  ");
    }
    free(codes), free(scales), free(w), free(values);
}

int main(int argc, char **argv)
{
    struct err e = ERR_INIT;
    k = kernels_open("cpu", &e);
    if (!k) {
        fprintf(stderr, "kernels: %s\n", e.text);
        return 1;
    }
    if (argc > 1)
        only = argv[1];
    k->ceiling(&top);
    if (only && !strcmp(only, "ceiling")) { /* for scripts: FLOP/s and bytes/s */
        printf("%.4e %.4e\n", top.flops, top.read_bytes);
        return 0;
    }
    printf("%s, %d threads: %.1f GFLOP/s f32, %.1f GB/s read\n", k->features, omp_get_max_threads(), top.flops / 1e9, top.read_bytes / 1e9);
    bench_products();
    bench_quantized();
    if (k->multiplies_bf16) {
        printf("%.1f GFLOP/s bf16\n", top.bf16_flops / 1e9);
        round_bf16 = true;
        bench_matmul("large", Y, DTYPE_BF16, 2048, 4096, 4096);
        bench_products();
    }
    return 0;
}
