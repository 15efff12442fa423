/* What the device can do at most: a product of bf16, one of f32, a large copy. Sizes grow until a run takes long enough to be timed. */
#include "kernels/cuda/runtime.h"
#include "kernels/cuda/table.h"

#define ENOUGH 2e-3 /* seconds of one run */
#define MOST 4096   /* rows and columns */
#define BYTES ((size_t)128 << 20)

static double product_rate(void *memory, enum dtype type, int64_t most)
{
    double rate = 0, took = 0;
    for (int64_t n = 128; n <= most && took < ENOUGH; n *= 2) {
        char *a = (char *)memory, *b = a + (size_t)(n * n) * dtype_size(type);
        float *c = (float *)(b + (size_t)(n * n) * dtype_size(type));
        const struct cuda_gemm g = {n, n, n, type, a, b, n, n, false, true, c, n, 1, 0};
        for (int run = 0; run < 3; run++) { /* the first chooses an algorithm */
            cuda_time_begin();
            cuda_gemm(&g);
            took = cuda_time_end();
            double now = took > 0 ? 2.0 * (double)n * (double)n * (double)n / took : 0;
            rate = now > rate ? now : rate;
        }
    }
    return rate;
}

static double copy_rate(char *memory)
{
    double rate = 0, took = 0;
    for (size_t half = (size_t)1 << 16; half <= BYTES / 2 && took < ENOUGH; half *= 2)
        for (int run = 0; run < 3; run++) {
            cuda_time_begin();
            cuda_copy(memory + half, memory, half);
            took = cuda_time_end();
            double now = took > 0 ? 2.0 * (double)half / took : 0;
            rate = now > rate ? now : rate;
        }
    return rate;
}

static void ceiling(struct kernels_ceiling *c)
{
    struct err e = ERR_INIT;
    char *memory = (char *)cuda_alloc(BYTES, &e);
    *c = {0, 0, 0};
    if (!memory)
        return;
    c->bf16_flops = product_rate(memory, DTYPE_BF16, MOST);
    c->flops = product_rate(memory, DTYPE_F32, MOST / 2);
    c->read_bytes = copy_rate(memory);
    cuda_free(memory, BYTES);
}

void cuda_fill_ceiling(struct kernels *k)
{
    k->ceiling = ceiling;
}
