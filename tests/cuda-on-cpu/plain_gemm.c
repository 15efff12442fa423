#include "tests/cuda-on-cpu/plain_gemm.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "tests/cuda-on-cpu/emulator.h"

/* rows x cols with row stride ld */
static void must_be_device(const void *p, int64_t rows, int64_t cols, int64_t ld, size_t size, const char *name)
{
    char place[300] = "host memory";
    if (rows <= 0 || cols <= 0)
        return;
    if (ld < cols)
        emu_fault(NULL, "product: %s has rows of %lld elements and a stride of %lld", name, (long long)cols, (long long)ld);
    if ((uintptr_t)p % size)
        emu_fault(NULL, "product: %s is not aligned to its elements", name);
    if (!memory_holds(p, (size_t)((rows - 1) * ld + cols) * size)) {
        if (memory_is_device(p))
            memory_describe(p, place, sizeof place);
        emu_fault(NULL, "product: %s (%lld, %lld) with stride %lld at %s", name, (long long)rows, (long long)cols, (long long)ld, place);
    }
}

/* As f32, (rows, cols) without gaps. */
static float *plain(const void *p, enum dtype type, int64_t rows, int64_t cols, int64_t ld, bool transposed)
{
    float *to = mem_array(NULL, (size_t)(rows * cols) + 1, sizeof *to);
    for (int64_t i = 0; i < rows; i++)
        for (int64_t j = 0; j < cols; j++)
            dtype_to_f32(&to[i * cols + j], (const char *)p + (size_t)(transposed ? j * ld + i : i * ld + j) * dtype_size(type), type, 1);
    return to;
}

void plain_gemm(const struct cuda_gemm *g)
{
    size_t size = dtype_size(g->type);
    must_be_device(g->a, g->a_transposed ? g->k : g->m, g->a_transposed ? g->m : g->k, g->lda, size, "A");
    must_be_device(g->b, g->b_transposed ? g->n : g->k, g->b_transposed ? g->k : g->n, g->ldb, size, "B");
    must_be_device(g->c, g->m, g->n, g->ldc, sizeof *g->c, "C");
    if (g->m <= 0 || g->n <= 0)
        return;
    float *a = plain(g->a, g->type, g->m, g->k, g->lda, g->a_transposed), *b = plain(g->b, g->type, g->k, g->n, g->ldb, g->b_transposed);
    float *row = mem_array(NULL, (size_t)g->n, sizeof *row);
    for (int64_t i = 0; i < g->m; i++) {
        memset(row, 0, (size_t)g->n * sizeof *row);
        for (int64_t k = 0; k < g->k; k++)
            for (int64_t j = 0; j < g->n; j++)
                row[j] += a[i * g->k + k] * b[k * g->n + j];
        for (int64_t j = 0; j < g->n; j++)
            g->c[i * g->ldc + j] = g->alpha * row[j] + (g->beta != 0 ? g->beta * g->c[i * g->ldc + j] : 0);
    }
    free(a), free(b), free(row);
}
