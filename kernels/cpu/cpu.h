/* The CPU backend from the inside: which functions fill the table for which instruction set.
 *
 * cpu_fill_ref() fills every entry with the specification (ref_*.c). cpu_fill() then overwrites entries upward with
 * what the given features (base/cpu.h) allow; tests call it for each level and compare the tables. */
#ifndef KERNELS_CPU_CPU_H
#define KERNELS_CPU_CPU_H

#include "kernels/kernels.h"

void cpu_fill(struct kernels *k, unsigned features);

void cpu_fill_ref(struct kernels *k);
void ref_fill_matmul(struct kernels *k);
void ref_fill_quantized(struct kernels *k);
void ref_fill_requantize(struct kernels *k);
void ref_dequantize(void *out, enum dtype type, int64_t ld, const struct quantized *q, int64_t row0, int64_t rows, int64_t col0, int64_t cols);
void ref_quantize_4bit(uint8_t *codes, float *absmax, enum quantized_kind kind, int64_t block, const void *w, enum dtype type, int64_t n);
void ref_quantize_rows_int8(int8_t *codes, float *scales, const void *w, enum dtype type, int64_t rows, int64_t cols);
/* The codes of NF4 or FP4 in the order of their values, and the middles between these: a value has the code behind as many middles as are
 * less than it. */
void quantize_steps(enum quantized_kind kind, uint8_t order[16], float bounds[15]);
void ref_fill_attention(struct kernels *k);
void ref_fill_rows(struct kernels *k);
void ref_fill_loss(struct kernels *k);
void ref_fill_update(struct kernels *k);
struct clip clip_of(double squares, double most);
void ref_fill_adamw_8bit(struct kernels *k);

/* One file per instruction set (level_*.c): the templates in its vectors. level_wide.c is for tests alone. */
void cpu_fill_avx2(struct kernels *k);
void cpu_fill_avx512(struct kernels *k);
void cpu_fill_neon(struct kernels *k);
void cpu_fill_wide(struct kernels *k);

/* Products of bf16, on top of a filled level of 16 lanes: AVX-512, or wide with the instructions in plain C, for tests alone. */
void cpu_fill_bf16_avx512(struct kernels *k);
void cpu_fill_bf16_amx(struct kernels *k);
void cpu_fill_bf16_dot_wide(struct kernels *k);
void cpu_fill_bf16_amx_wide(struct kernels *k);

#endif
