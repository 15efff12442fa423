/* Products of few rows by weights that lie in rows with one scale at most: BF16, F16 and F32, and int8. */
#include "kernels/cuda/few_tensor.h"

extern "C" {
#include "base/quantized.h"
}

static __device__ __forceinline__ uint32_t f16_pair_to_bf16(uint32_t pair)
{
    return pack_bf16(from_f16((uint16_t)pair), from_f16((uint16_t)(pair >> 16)));
}

/* A warp has 16 outputs; a lane those of g and g + 8, of which it takes 8 inputs together. */
template <enum dtype TYPE> struct dense {
    static const int TILES = 1, STEP = 64, FOLD = 2, TABLE = 0, RESIDENT = 4;
    static const bool APART = false;
    static const int WORDS = TYPE == DTYPE_F32 ? 2 : 1; /* uint4 of 8 inputs */
    const void *p;
    int64_t ld;

    struct raw {
        uint4 words[2][STEP / FEW_SLICE][WORDS];
    };

    static struct dense of(const struct matmul *m)
    {
        return {m->b.data, m->b.col_stride};
    }
    static __device__ __forceinline__ constexpr int depth(int)
    {
        return TYPE == DTYPE_F32 ? 2 : 3;
    }
    static __device__ __forceinline__ int run(int place, int half)
    {
        return place + 4 * half;
    }
    static __device__ __forceinline__ int row(int tile, int half, int g)
    {
        return 16 * tile + 8 * half + g;
    }
    __device__ __forceinline__ void prepare(uint32_t *) const
    {
    }
    __device__ __forceinline__ void load(struct raw &to, const struct few_lane &l, int k0) const
    {
#pragma unroll
        for (int half = 0; half < 2; half++)
#pragma unroll
            for (int slice = 0; slice < STEP / FEW_SLICE; slice++) {
                int output = l.first + row(0, half, l.g), k = k0 + slice * FEW_SLICE + 8 * l.t;
                bool there = output < l.n && k < l.k;
                const uint4 *from = (const uint4 *)((const char *)p + (output * ld + k) * (16 * WORDS / 8));
#pragma unroll
                for (int i = 0; i < WORDS; i++)
                    to.words[half][slice][i] = there ? few_stream16(from + i) : make_uint4(0, 0, 0, 0);
            }
    }
    static __device__ __forceinline__ uint4 as_bf16(const uint4 *w)
    {
        if constexpr (TYPE == DTYPE_BF16)
            return w[0];
        else if constexpr (TYPE == DTYPE_F16)
            return make_uint4(f16_pair_to_bf16(w[0].x), f16_pair_to_bf16(w[0].y), f16_pair_to_bf16(w[0].z), f16_pair_to_bf16(w[0].w));
        else
            return make_uint4(pack_bf16(bits_to_f32(w[0].x), bits_to_f32(w[0].y)), pack_bf16(bits_to_f32(w[0].z), bits_to_f32(w[0].w)),
                              pack_bf16(bits_to_f32(w[1].x), bits_to_f32(w[1].y)), pack_bf16(bits_to_f32(w[1].z), bits_to_f32(w[1].w)));
    }
    __device__ __forceinline__ void fragments(uint32_t a[TILES][2][4], const struct raw &raw, int slice, const struct few_lane &) const
    {
        uint4 up = as_bf16(raw.words[0][slice]), down = as_bf16(raw.words[1][slice]);
        a[0][0][0] = up.x, a[0][0][1] = down.x, a[0][0][2] = up.y, a[0][0][3] = down.y;
        a[0][1][0] = up.z, a[0][1][1] = down.z, a[0][1][2] = up.w, a[0][1][3] = down.w;
    }
    __device__ __forceinline__ void scales(float s[TILES][2], const struct raw &, int, const struct few_lane &) const
    {
        s[0][0] = s[0][1] = 1;
    }
    __device__ __forceinline__ float last(int) const
    {
        return 1;
    }
};

/* As above; 16 inputs together, which are two slices' eight. */
struct int8 {
    static const int TILES = 1, STEP = 128, FOLD = 4, TABLE = 0, RESIDENT = 4;
    static const bool APART = true;
    const int8_t *codes;
    const float *scale;

    struct raw {
        uint4 words[2][STEP / 64];
    };

    static struct int8 of(const struct matmul *m)
    {
        return {(const int8_t *)m->b.quantized->codes, (const float *)m->b.quantized->scales};
    }
    static __device__ __forceinline__ constexpr int depth(int)
    {
        return 3;
    }
    static __device__ __forceinline__ int run(int place, int half)
    {
        int slice = place / FEW_SLICE, t = place % FEW_SLICE / 8;
        return slice / 2 * 64 + 16 * t + slice % 2 * 8 + 4 * half;
    }
    static __device__ __forceinline__ int row(int tile, int half, int g)
    {
        return 16 * tile + 8 * half + g;
    }
    __device__ __forceinline__ void prepare(uint32_t *) const
    {
    }
    __device__ __forceinline__ void load(struct raw &to, const struct few_lane &l, int k0) const
    {
#pragma unroll
        for (int half = 0; half < 2; half++)
#pragma unroll
            for (int i = 0; i < STEP / 64; i++) {
                int output = l.first + row(0, half, l.g), k = k0 + 64 * i + 16 * l.t;
                to.words[half][i] = output < l.n && k < l.k ? few_stream16(codes + (int64_t)output * l.k + k) : make_uint4(0, 0, 0, 0);
            }
    }
    /* Codes i of two words: u = code + 128 as 16 h + l, each half the last bits of a bf16 number that ends there, 2048 + 16 h and 128 + l. */
    static __device__ __forceinline__ uint32_t pair(uint32_t low, uint32_t high, int i)
    {
        uint32_t u = __byte_perm(low, high, (unsigned)(i | (4 + i) << 8)); /* the others of its bytes do not count */
        uint32_t l = (u & 0x000f000f) | 0x43004300, h = (u >> 4 & 0x000f000f) | 0x45004500;
        return bf16x2_add(l, bf16x2_add(h, 0xc510c510)); /* - 2304 */
    }
    __device__ __forceinline__ void fragments(uint32_t a[TILES][2][4], const struct raw &raw, int slice, const struct few_lane &) const
    {
#pragma unroll
        for (int half = 0; half < 2; half++) {
            const uint4 &w = raw.words[half][slice / 2];
            uint32_t low = (slice % 2 ? w.z : w.x) ^ 0x80808080, high = (slice % 2 ? w.w : w.y) ^ 0x80808080;
#pragma unroll
            for (int i = 0; i < 4; i++)
                a[0][i / 2][half + i % 2 * 2] = pair(low, high, i);
        }
    }
    __device__ __forceinline__ void scales(float s[TILES][2], const struct raw &, int, const struct few_lane &) const
    {
        s[0][0] = s[0][1] = 1;
    }
    __device__ __forceinline__ float last(int output) const
    {
        return scale[output] * 0.007874015718698502f;
    }
};

few_start few_dense_start(const struct mat *b, int64_t k)
{
    const struct quantized *q = b->quantized;
    if (q)
        return q->kind == QUANTIZED_INT8 && q->in % 16 == 0 && few_aligned(q->codes) && (uintptr_t)q->scales % 4 == 0 ? few_launch<int8> : NULL;
    if (!few_aligned(b->data) || b->col_stride % 8 || k % 8)
        return NULL;
    return b->type == DTYPE_BF16 ? few_launch<dense<DTYPE_BF16>> : b->type == DTYPE_F16 ? few_launch<dense<DTYPE_F16>> : few_launch<dense<DTYPE_F32>>;
}
