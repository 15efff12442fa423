/* Every template, in order, and the function that overwrites the table with them. A level file defines ISA(name) and includes
 * its vectors, then this. */
#include <math.h>
#include <omp.h>
#include <sched.h>
#include <stdlib.h>

#include "base/mem.h"
#include "base/rng.h"
#include "kernels/cpu/ceiling.h"
#include "kernels/cpu/cpu.h"
#include "kernels/cpu/row_sum.h"
#include "kernels/cpu/scratch.h"
#include "kernels/cpu/state_codes.h"
#include "kernels/cpu/team.h"

#include "kernels/cpu/math_tmpl.h"
#include "kernels/cpu/pack_tmpl.h"
#include "kernels/cpu/quantized_tmpl.h"

#include "kernels/cpu/tile_tmpl.h"

#include "kernels/cpu/few_tmpl.h"
#include "kernels/cpu/matmul_tmpl.h"

#include "kernels/cpu/attention_tmpl.h"

#include "kernels/cpu/attention_back_tmpl.h"

#include "kernels/cpu/rows_tmpl.h"

#include "kernels/cpu/elements_tmpl.h"
#include "kernels/cpu/adamw_8bit_tmpl.h"
#include "kernels/cpu/loss_tmpl.h"
#include "kernels/cpu/quantize_tmpl.h"

#define BURST_CHAINS 12 /* independent sums: two units, each with up to five cycles of latency */

static void burst(int64_t rounds)
{
    vf a = v_set(0.5f), b = v_set(0.25f), sum[BURST_CHAINS];
    float sink[VL];
    for (int i = 0; i < BURST_CHAINS; i++)
        sum[i] = v_set((float)i);
    for (int64_t r = 0; r < rounds; r++)
#pragma GCC unroll 12
        for (int i = 0; i < BURST_CHAINS; i++)
            sum[i] = v_fma(a, sum[i], b);
    for (int i = 1; i < BURST_CHAINS; i++)
        sum[0] = v_add(sum[0], sum[i]);
    v_store(sink, sum[0]);
    __asm__ volatile("" : : "r"(sink) : "memory");
}

static void ISA(ceiling)(struct kernels_ceiling *c)
{
    ceiling_measure(c, burst, 2 * VL * BURST_CHAINS);
}

static size_t ISA(scratch_bytes)(int heads, int kv_heads, int head_dim, int64_t rows)
{
    (void)rows;
    struct attend_shape s = attend_shape_of(heads, kv_heads, head_dim, ATTEND_ROWS), large = attend_shape_of(heads, kv_heads, head_dim, ATTEND_ROWS_LARGE);
    size_t few = MATMUL_FEW_ROWS * 2 * (FEW_DEPTH + 2 * VL), own = PACKED_A > few ? PACKED_A : few, attend = attend_back_scratch(&s);
    attend = attend > attend_scratch(&large) ? attend : attend_scratch(&large);
    return sizeof(float) * (2 * (BLOCK_B + VL) + (size_t)omp_get_max_threads() * (attend > own ? attend : own));
}

void ISA(cpu_fill)(struct kernels *k)
{
    v_ready_fill();
    k->scratch_bytes = ISA(scratch_bytes);
    k->ceiling = ISA(ceiling);
    k->team = team_run;
    k->matmul = ISA(matmul);
    k->dequantize = ISA(dequantize);
    k->quantize_4bit = ISA(quantize_4bit);
    k->quantize_rows_int8 = ISA(quantize_rows_int8);
    k->attention = ISA(attention);
    k->attention_backward = ISA(attention_backward);
    k->bias_add = ISA(bias_add);
    k->bias_backward = ISA(bias_backward);
    k->rmsnorm = ISA(rmsnorm);
    k->add_rmsnorm = ISA(add_rmsnorm);
    k->rmsnorm_backward = ISA(rmsnorm_backward);
    k->rope = ISA(rope);
    k->embedding = ISA(embedding);
    k->embedding_backward = ISA(embedding_backward);
    k->swiglu = ISA(swiglu);
    k->swiglu_backward = ISA(swiglu_backward);
    k->add = ISA(add);
    k->scale = ISA(scale);
    k->dropout = ISA(dropout);
    k->adamw = ISA(adamw);
    k->adamw_8bit = ISA(adamw_8bit);
    k->cross_entropy = ISA(cross_entropy);
    k->row_stats = ISA(row_stats);
    k->sum_squares = ISA(sum_squares);
    k->clip = ISA(clip);
}
