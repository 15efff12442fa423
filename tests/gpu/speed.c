/* How fast the kernels of the CUDA backend are, as shares of what the device does at most in the same run: a large copy, a large product of bf16.
 *     FINETOOLS_CUDA_SO=finetools-cuda.so speed [RESULTS]
 * names the device, appends to RESULTS a line for each figure: key, value, share of the ceiling (- where there is none), and prints it. Times are the device's own; the
 * best of several runs counts. FINETOOLS_GPU_SMALL=1: sizes for the emulator. Every result must be finite: a kernel that failed is not fast. */
#include <dlfcn.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/rng.h"
#include "kernels/kernels.h"

#define ENOUGH 0.02 /* seconds of one run */
#define RUNS 5
#define MOST_ARRAYS 16
#define FLOATS ((int64_t)sizeof(float))

static const struct kernels *k;
static void (*device_copy)(void *to, const void *from, size_t bytes);
static void (*time_begin)(void);
static double (*time_end)(void);
static FILE *results;
static bool small;
static double copy_rate, product_rate;

static float *arrays[MOST_ARRAYS];
static int64_t sizes[MOST_ARRAYS];
static int n_arrays;

/* Large sizes, or small ones. */
static int64_t size(int64_t large, int64_t little)
{
    return small ? little : large;
}

static void *device_array(int64_t bytes)
{
    struct err e = ERR_INIT;
    void *p = k->alloc((size_t)bytes, &e);
    if (!p || n_arrays == MOST_ARRAYS) {
        fprintf(stderr, "speed: %s\n", p ? "too many arrays" : e.text);
        exit(1);
    }
    sizes[n_arrays] = bytes;
    arrays[n_arrays++] = p;
    return p;
}

static void give_back(void)
{
    while (n_arrays > 0) {
        n_arrays--;
        k->free(arrays[n_arrays], (size_t)sizes[n_arrays]);
    }
}

/* n numbers in [-0.5, 0.5): a block of noise, again and again. */
static void *noise(int64_t n, enum dtype type)
{
    enum { BLOCK = 1 << 20 };
    static float block[BLOCK];
    static char stored[BLOCK * 4];
    struct rng r = {1, 2};
    int64_t each = (int64_t)dtype_size(type);
    char *to = device_array(n * each);
    for (int64_t i = 0; i < BLOCK; i++)
        block[i] = rng_uniform(&r, (uint64_t)i) - 0.5f;
    dtype_from_f32(stored, type, block, BLOCK);
    for (int64_t i = 0; i < n; i += BLOCK)
        k->copy_in(to + i * each, stored, (size_t)((n - i < BLOCK ? n - i : BLOCK) * each));
    return to;
}

static float *floats(int64_t n)
{
    return noise(n, DTYPE_F32);
}

static void *given(const void *from, int64_t bytes)
{
    void *p = device_array(bytes);
    k->copy_in(p, from, (size_t)bytes);
    return p;
}

static bool all_finite(const float *p, int64_t n)
{
    float here[256];
    n = n < 256 ? n : 256;
    k->copy_out(here, p, (size_t)n * sizeof *here);
    for (int64_t i = 0; i < n; i++)
        if (!isfinite(here[i]))
            return false;
    return true;
}

/* Seconds of one call of run(arg), on the device. */
static double best_time(void (*run)(void *arg), void *arg)
{
    double best = INFINITY, once = 0;
    for (int i = 0; i < 2; i++) { /* the first also chooses, grows and loads */
        time_begin();
        run(arg);
        once = time_end();
    }
    int times = once > ENOUGH || once <= 0 || small ? 1 : (int)(ENOUGH / once) + 1;
    for (int i = 0; i < (small ? 1 : RUNS); i++) {
        time_begin();
        for (int j = 0; j < times; j++)
            run(arg);
        double took = time_end() / times;
        best = took < best ? took : best;
    }
    return best;
}

/* `amount` of bytes or operations in a second. */
static double report(const char *key, double amount, double seconds, double ceiling, const char *unit)
{
    double rate = amount / seconds;
    char share[40] = "-";
    if (ceiling > 0)
        snprintf(share, sizeof share, "%.3f", rate / ceiling);
    fprintf(results, "%s %.4g %s\n", key, rate / (*unit == 'G' ? 1e9 : 1e12), share);
    printf("%-28s %10.3f ms %10.1f %s %s\n", key, seconds * 1e3, rate / (*unit == 'G' ? 1e9 : 1e12), unit, share);
    fflush(stdout);
    return rate;
}

static void memory_bound(const char *key, double bytes, void (*run)(void *arg), const float *out, int64_t n)
{
    report(key, bytes, best_time(run, NULL), copy_rate, "GB/s");
    if (!all_finite(out, n)) {
        fprintf(stderr, "speed: %s: not finite\n", key);
        exit(1);
    }
}

/* --- ceilings --- */

static struct matmul product;
static char *copy_to, *copy_from;
static int64_t copy_bytes;

static void run_copy(void *arg)
{
    (void)arg;
    device_copy(copy_to, copy_from, (size_t)copy_bytes);
}

static void run_product(void *arg)
{
    (void)arg;
    k->matmul(&product, 1);
}

static void ceilings(void)
{
    int64_t n = size(8192, 32);
    copy_bytes = size((int64_t)2 << 30, 4096);
    copy_to = device_array(copy_bytes), copy_from = device_array(copy_bytes);
    copy_rate = report("copy", 2 * (double)copy_bytes, best_time(run_copy, NULL), 0, "GB/s");
    give_back();
    product = (struct matmul){.m = n, .n = n, .k = n, .a = {noise(n * n, DTYPE_BF16), DTYPE_BF16, n, 1, NULL}, .b = {noise(n * n, DTYPE_BF16), DTYPE_BF16, 1, n, NULL},
                              .c = floats(n * n), .ldc = n, .alpha = 1, .round_bf16 = true};
    product_rate = report("product", 2 * (double)n * (double)n * (double)n, best_time(run_product, NULL), 0, "TFLOP/s");
    give_back();
}

/* --- what memory bounds: rows of a model 4096 wide --- */

static int64_t rows, width, ffn, vocab, heads, head_dim, trained;
static float *x, *y, *dx, *w, *rstd, *gate, *up, *table, *loss;
static int32_t *ids;

static void run_rmsnorm(void *arg) { (void)arg; k->rmsnorm(y, width, rstd, x, width, w, false, 1e-5f, rows, width); }
static void run_add_rmsnorm(void *arg) { (void)arg; k->add_rmsnorm(dx, rstd, y, x, w, false, 1e-5f, rows, width); }
static void run_rmsnorm_backward(void *arg) { (void)arg; k->rmsnorm_backward(dx, width, false, NULL, y, width, x, width, w, false, rstd, rows, width); }
static void run_rope(void *arg) { (void)arg; k->rope(x, width, table, ids, false, rows, (int)heads, (int)head_dim); }
static void run_add(void *arg) { (void)arg; k->add(y, x, rows * width); }
static void run_dropout(void *arg) { (void)arg; k->dropout(y, x, 0.1f, 1, 2, 0, rows, width); }
static void run_swiglu(void *arg) { (void)arg; k->swiglu(y, gate, up, rows * ffn); }
static void run_swiglu_backward(void *arg) { (void)arg; k->swiglu_backward(dx, x, y, gate, up, rows * ffn); }
static void run_cross_entropy(void *arg) { (void)arg; k->cross_entropy(loss, x, ids, 1e-4f, rows, vocab); }
static void run_clip(void *arg) { (void)arg; k->clip((struct clip *)y, x, trained, 1); }

#define TENSORS 256 /* that a step has, of different decay */

static void run_adamw(void *arg)
{
    const struct adamw o = {1e-5, 0.9, 0.999, 1e-8, 100, NULL};
    struct adamw_tensor list[TENSORS];
    int64_t each = trained / TENSORS;
    (void)arg;
    for (int i = 0; i < TENSORS; i++)
        list[i] = (struct adamw_tensor){x + i * each, y + i * each, w + i * each, dx + i * each, each, i % 2 ? 0.01 : 0};
    k->adamw(list, TENSORS, &o);
}

static void rows_of_width(void)
{
    double bytes;
    int32_t *positions = mem_array(NULL, (size_t)rows, sizeof *positions);
    for (int64_t i = 0; i < rows; i++)
        positions[i] = (int32_t)(i % size(2048, 16));
    x = floats(rows * width), y = floats(rows * width), dx = floats(rows * width), w = floats(width), rstd = floats(rows);
    table = floats(size(2048, 16) * head_dim), ids = given(positions, rows * 4);
    bytes = (double)(rows * width * FLOATS);
    memory_bound("rmsnorm", 2 * bytes, run_rmsnorm, y, width);
    memory_bound("add_rmsnorm", 4 * bytes, run_add_rmsnorm, y, width);
    memory_bound("rmsnorm_backward", 3 * bytes, run_rmsnorm_backward, dx, width);
    memory_bound("add", 3 * bytes, run_add, y, width);
    memory_bound("dropout", 2 * bytes, run_dropout, y, width);
    memory_bound("rope", 2 * bytes, run_rope, x, width);
    give_back();
    free(positions);
}

static void rows_of_ffn(void)
{
    double bytes = (double)(rows * ffn * FLOATS);
    x = floats(rows * ffn), y = floats(rows * ffn), dx = floats(rows * ffn), gate = floats(rows * ffn), up = floats(rows * ffn);
    memory_bound("swiglu", 3 * bytes, run_swiglu, y, ffn);
    memory_bound("swiglu_backward", 5 * bytes, run_swiglu_backward, dx, ffn);
    give_back();
}

static void losses(void)
{
    int32_t *targets = mem_array(NULL, (size_t)rows, sizeof *targets);
    for (int64_t i = 0; i < rows; i++)
        targets[i] = (int32_t)(i * 7919 % vocab);
    x = floats(rows * vocab), loss = floats(rows), ids = given(targets, rows * 4);
    memory_bound("cross_entropy", 2 * (double)(rows * vocab * FLOATS), run_cross_entropy, loss, rows);
    give_back();
    free(targets);
}

static void updates(void)
{
    double bytes = (double)(trained * FLOATS);
    x = floats(trained), y = floats(trained), dx = floats(trained), w = device_array(trained * FLOATS);
    memory_bound("clip", bytes, run_clip, y + 2, 1); /* the factor */
    memory_bound("adamw", 7 * bytes, run_adamw, x, 256);
    give_back();
}

/* --- attention --- */

static struct attention attention;

static void run_attention(void *arg) { (void)arg; k->attention(&attention); }
static void run_attention_backward(void *arg) { (void)arg; k->attention_backward(&attention); }

/* Two products of causal length^2 / 2 for each head forward; five backward. */
static void attentions(void)
{
    int64_t length = size(8192, 48), kv_heads = heads / size(4, 1), kv_width = kv_heads * head_dim;
    double operations = 2 * (double)length * (double)length * (double)(heads * head_dim);
    float *keys = floats(length * kv_width), *values = floats(length * kv_width);
    struct attention_seq seq = {0, length, keys, values, floats(length * kv_width), floats(length * kv_width), length, 0, 0};
    attention = (struct attention){.n_seq = 1, .seq = &seq, .q = floats(length * width), .out = floats(length * width), .lse = floats(length * heads), .q_stride = width,
                                   .kv_stride = kv_width, .out_stride = width, .heads = (int)heads, .kv_heads = (int)kv_heads, .head_dim = (int)head_dim,
                                   .scale = 1 / sqrtf((float)head_dim), .round_bf16 = true, .dout = floats(length * width), .dq = floats(length * width)};
    report("attention", operations, best_time(run_attention, NULL), product_rate, "TFLOP/s");
    report("attention_backward", 2.5 * operations, best_time(run_attention_backward, NULL), product_rate, "TFLOP/s");
    if (!all_finite(attention.out, width) || !all_finite(attention.dq, width) || !all_finite(seq.dv, kv_width)) {
        fprintf(stderr, "speed: attention: not finite\n");
        exit(1);
    }
    give_back();
}

/* One query of each of some samples behind long caches: bytes of keys and values. */
static void decoding(void)
{
    enum { SAMPLES = 8 };
    int64_t length = size(8192, 150), kv_heads = heads / size(4, 1), kv_width = kv_heads * head_dim;
    float *keys = floats(SAMPLES * length * kv_width), *values = floats(SAMPLES * length * kv_width);
    struct attention_seq seq[SAMPLES];
    for (int i = 0; i < SAMPLES; i++)
        seq[i] = (struct attention_seq){i, 1, keys + i * length * kv_width, values + i * length * kv_width, NULL, NULL, length, 0, 0};
    attention = (struct attention){.n_seq = SAMPLES, .seq = seq, .q = floats(SAMPLES * width), .out = floats(SAMPLES * width), .q_stride = width, .kv_stride = kv_width,
                                   .out_stride = width, .heads = (int)heads, .kv_heads = (int)kv_heads, .head_dim = (int)head_dim,
                                   .scale = 1 / sqrtf((float)head_dim), .round_bf16 = true};
    memory_bound("attention_decode", 2 * (double)(SAMPLES * length * kv_width * FLOATS), run_attention, attention.out, SAMPLES * width);
    give_back();
}

static void open_backend(void)
{
    struct err e = ERR_INIT;
    const char *path = getenv("FINETOOLS_CUDA_SO");
    const struct kernels *(*open)(int device, struct err *e);
    void *library = path ? dlopen(path, RTLD_NOW | RTLD_LOCAL) : NULL;
    if (!library) {
        fprintf(stderr, "speed: %s\n", path ? dlerror() : "FINETOOLS_CUDA_SO is not set");
        exit(1);
    }
    *(void **)&open = dlsym(library, "finetools_cuda_open");
    *(void **)&device_copy = dlsym(library, "finetools_cuda_copy");
    *(void **)&time_begin = dlsym(library, "finetools_cuda_time_begin");
    *(void **)&time_end = dlsym(library, "finetools_cuda_time_end");
    k = open && device_copy && time_begin && time_end ? open(0, &e) : NULL;
    if (!k) {
        fprintf(stderr, "speed: %s: %s\n", path, e.set ? e.text : "not a CUDA backend of finetools");
        exit(1);
    }
}

int main(int argc, char **argv)
{
    if (argc > 2 || (argc == 2 && !(results = fopen(argv[1], "a")))) {
        fprintf(stderr, "usage: speed [RESULTS], a file that can be written\n");
        return 2;
    }
    small = getenv("FINETOOLS_GPU_SMALL") != NULL;
    open_backend();
    printf("%s\n", k->features);
    if (!results)
        return 0;
    heads = size(32, 2), head_dim = size(128, 64), width = heads * head_dim, ffn = size(11008, 96), vocab = size(32000, 100);
    trained = size((int64_t)1 << 28, 5000);
    ceilings();
    rows = size(16384, 20);
    rows_of_width();
    rows_of_ffn();
    losses();
    updates();
    attentions();
    decoding();
    return fclose(results) ? 1 : 0;
}
