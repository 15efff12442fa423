/* Element types of stored tensors and their conversion to and from f32.
 * bf16 is the upper half of binary32; f16 is IEEE binary16. Rounding is to nearest, ties to even; NaN stays
 * NaN, overflow of f16 becomes infinity (as torch does). */
#ifndef BASE_DTYPE_H
#define BASE_DTYPE_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

enum dtype { DTYPE_F32, DTYPE_F16, DTYPE_BF16, DTYPE_F64, DTYPE_I64, DTYPE_I32, DTYPE_I16, DTYPE_I8, DTYPE_U8, DTYPE_BOOL, DTYPE_OTHER };

size_t dtype_size(enum dtype t);                    /* bytes of one element; 0 for DTYPE_OTHER */
const char *dtype_torch_name(enum dtype t);         /* "float32", "bfloat16", ... of a real type; else NULL */
const char *dtype_name(enum dtype t);               /* safetensors' name: "F32", "BF16", ... */
enum dtype dtype_from_name(const char *name);       /* DTYPE_OTHER when unknown or of no use here */

static inline float bf16_to_f32(uint16_t h)
{
    uint32_t u = (uint32_t)h << 16;
    float f;
    memcpy(&f, &u, 4);
    return f;
}

static inline uint16_t f32_to_bf16(float f)
{
    uint32_t u;
    memcpy(&u, &f, 4);
    if ((u & 0x7fffffffu) > 0x7f800000u)
        return (uint16_t)(u >> 16 | 0x40);
    return (uint16_t)((u + 0x7fffu + (u >> 16 & 1)) >> 16);
}

float f16_to_f32(uint16_t h);
uint16_t f32_to_f16(float f);

/* n elements; `from` may be at any alignment. Only F32, F16, BF16 (and F64 on reading). */
void dtype_to_f32(float *to, const void *from, enum dtype from_type, size_t n);
void dtype_from_f32(void *to, enum dtype to_type, const float *from, size_t n);

#endif
