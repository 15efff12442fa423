#include "base/dtype.h"

static const struct {
    const char *name;
    size_t size;
} types[] = {
    [DTYPE_F32] = {"F32", 4}, [DTYPE_F16] = {"F16", 2}, [DTYPE_BF16] = {"BF16", 2}, [DTYPE_F64] = {"F64", 8},
    [DTYPE_I64] = {"I64", 8}, [DTYPE_I32] = {"I32", 4}, [DTYPE_I16] = {"I16", 2},   [DTYPE_I8] = {"I8", 1},
    [DTYPE_U8] = {"U8", 1},   [DTYPE_BOOL] = {"BOOL", 1}, [DTYPE_OTHER] = {"?", 0},
};

size_t dtype_size(enum dtype t)
{
    return types[t].size;
}

const char *dtype_name(enum dtype t)
{
    return types[t].name;
}

const char *dtype_torch_name(enum dtype t)
{
    static const char *const names[DTYPE_OTHER] = {[DTYPE_F64] = "float64", [DTYPE_F32] = "float32", [DTYPE_F16] = "float16", [DTYPE_BF16] = "bfloat16"};
    return t < DTYPE_OTHER ? names[t] : NULL;
}

enum dtype dtype_from_name(const char *name)
{
    for (int t = 0; t < DTYPE_OTHER; t++)
        if (!strcmp(types[t].name, name))
            return (enum dtype)t;
    return DTYPE_OTHER;
}

float f16_to_f32(uint16_t h)
{
    uint32_t sign = (uint32_t)(h & 0x8000) << 16, exponent = h >> 10 & 31, mantissa = h & 1023, u;
    float f;
    if (exponent == 0) {
        f = (float)mantissa * 0x1p-24f;
        return sign ? -f : f;
    }
    u = exponent == 31 ? sign | 0x7f800000u | mantissa << 13 : sign | (exponent + 112) << 23 | mantissa << 13;
    memcpy(&f, &u, 4);
    return f;
}

uint16_t f32_to_f16(float f)
{
    uint32_t u;
    memcpy(&u, &f, 4);
    uint16_t sign = (uint16_t)(u >> 16 & 0x8000);
    u &= 0x7fffffffu;
    if (u > 0x7f800000u)
        return sign | 0x7e00;
    if (u >= 0x477ff000u) /* 65520 and above round to infinity */
        return sign | 0x7c00;
    if (u < 0x38800000u) { /* subnormal: let the FPU round at 2^-24 */
        float a;
        memcpy(&a, &u, 4);
        a += 0.5f; /* ulp of [0.5, 1) is 2^-24 */
        memcpy(&u, &a, 4);
        return (uint16_t)(sign | (u - 0x3f000000u));
    }
    u += 0xfffu + (u >> 13 & 1);
    return (uint16_t)(sign | ((u >> 13) - (112u << 10)));
}

void dtype_to_f32(float *to, const void *from, enum dtype from_type, size_t n)
{
    const char *p = from;
    switch (from_type) {
    case DTYPE_F32:
        memcpy(to, from, n * 4);
        break;
    case DTYPE_BF16:
        for (size_t i = 0; i < n; i++) {
            uint16_t h;
            memcpy(&h, p + 2 * i, 2);
            to[i] = bf16_to_f32(h);
        }
        break;
    case DTYPE_F16:
        for (size_t i = 0; i < n; i++) {
            uint16_t h;
            memcpy(&h, p + 2 * i, 2);
            to[i] = f16_to_f32(h);
        }
        break;
    case DTYPE_F64:
        for (size_t i = 0; i < n; i++) {
            double d;
            memcpy(&d, p + 8 * i, 8);
            to[i] = (float)d;
        }
        break;
    default:
        memset(to, 0, n * 4);
    }
}

void dtype_from_f32(void *to, enum dtype to_type, const float *from, size_t n)
{
    char *p = to;
    if (to_type == DTYPE_F32)
        memcpy(to, from, n * 4);
    for (size_t i = 0; i < n && to_type != DTYPE_F32; i++) {
        uint16_t h = to_type == DTYPE_BF16 ? f32_to_bf16(from[i]) : f32_to_f16(from[i]);
        memcpy(p + 2 * i, &h, 2);
    }
}
