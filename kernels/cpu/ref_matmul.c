/* Matrix product, the specification: c = fma(alpha, sum over k in order, beta * c). */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "kernels/cpu/cpu.h"

static float mat_get(const struct mat *m, int64_t i, int64_t j, bool round_bf16)
{
    float f;
    int64_t at = i * m->row_stride + j * m->col_stride;
    if (m->quantized)
        ref_dequantize(&f, DTYPE_F32, 1, m->quantized, m->col_stride == 1 ? i : j, 1, m->col_stride == 1 ? j : i, 1);
    else
        dtype_to_f32(&f, (const char *)m->data + at * (int64_t)dtype_size(m->type), m->type, 1);
    return round_bf16 ? bf16_to_f32(f32_to_bf16(f)) : f;
}

/* Both factors are first copied to dense f32: a as rows, b as columns. */
static void matmul_ref(const struct matmul *m)
{
    int64_t rows = m->m, cols = m->n, depth = m->k;
    float *a = mem_array(NULL, (size_t)(rows * depth), sizeof *a);
#pragma omp parallel for
    for (int64_t i = 0; i < rows; i++)
        for (int64_t k = 0; k < depth; k++)
            a[i * depth + k] = mat_get(&m->a, i, k, m->round_bf16);
#pragma omp parallel
    {
        float *b = mem_array(NULL, (size_t)depth, sizeof *b);
#pragma omp for
        for (int64_t j = 0; j < cols; j++) {
            for (int64_t k = 0; k < depth; k++)
                b[k] = mat_get(&m->b, k, j, m->round_bf16);
            for (int64_t i = 0; i < rows; i++) {
                float *c = &m->c[i * m->ldc + j];
                for (int p = 0; p < (m->cuts ? m->n_cuts : 1); p++) {
                    float sum = 0;
                    for (int64_t k = m->cuts ? m->cuts[p] : 0; k < (m->cuts ? m->cuts[p + 1] : depth); k++)
                        sum += a[i * depth + k] * b[k];
                    *c = p == 0 && m->beta == 0 ? m->alpha * sum : fmaf(m->alpha, sum, *c);
                }
            }
        }
        free(b);
    }
    free(a);
}

static void matmul_list_ref(const struct matmul *list, int count)
{
    for (int i = 0; i < count; i++)
        for (int j = 0; j <= list[i].n_more; j++) {
            struct matmul one = matmul_alone(list + i, j);
            matmul_ref(&one);
        }
}

void ref_fill_matmul(struct kernels *k)
{
    k->matmul = matmul_list_ref;
}
