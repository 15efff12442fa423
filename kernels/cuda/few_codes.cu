/* Products of few rows by NF4 and FP4 in blocks that are whole powers of two.
 *
 * Two codes are looked up at once: a table in shared memory has the pairs of values of each byte, one copy a lane, so that no two lanes ask the same
 * bank. The values are numbers of bf16 that come near those of the format times a factor: sums of them meet absmax in f32. For NF4 the factor is
 * that of all from 1 to 2 at which the largest relative error is least, 0.16 % (bf16 itself: 0.39 %); FP4's are whole multiples of 1 / 192. */
#include "kernels/cuda/few_tensor.h"
#include "kernels/cuda/quantized.h"

#define NF4_FACTOR 1.18881
#define FP4_FACTOR 192.0
#define BLOCK 64 /* the least */

/* A warp has 32 outputs, a lane those of g, g + 8, g + 16, g + 24, of which it takes 16 inputs of each block of 64 together. The scales of output g + 8t are
 * looked up by place t for its group. */
template <bool NESTED> struct codes {
    static const int TILES = 2, STEP = 128, FOLD = 2, RESIDENT = 4, PAIRS = 256 * 32 * 4, TABLE = PAIRS + (NESTED ? 256 * 4 : 0);
    static const bool APART = false;
    const uint8_t *p;
    const void *absmax;
    const float *nested_scales, *nested_map;
    float nested_offset, factor;
    int shift; /* of elements to blocks */
    uint16_t values[16];

    struct raw {
        uint2 words[4][STEP / BLOCK];
        float scale[STEP / BLOCK];
        uint32_t level[NESTED ? STEP / BLOCK : 1];
    };

    static struct codes of(const struct matmul *m)
    {
        const struct quantized *q = m->b.quantized;
        bool nf4 = q->kind == QUANTIZED_NF4;
        struct codes w = {};
        w.p = (const uint8_t *)q->codes, w.absmax = q->scales;
        w.nested_scales = (const float *)q->nested_scales, w.nested_map = (const float *)q->nested_map, w.nested_offset = q->nested_offset;
        w.factor = (float)(1 / (nf4 ? NF4_FACTOR : FP4_FACTOR));
        w.shift = __builtin_ctzll((unsigned long long)q->group);
        for (int i = 0; i < 16; i++)
            w.values[i] = f32_to_bf16((float)((double)(nf4 ? QUANTIZED_NF4_VALUES : QUANTIZED_FP4_VALUES)[i] * (nf4 ? NF4_FACTOR : FP4_FACTOR)));
        return w;
    }
    static __device__ __forceinline__ constexpr int depth(int mt)
    {
        return mt == 1 ? 3 : 2;
    }
    static __device__ __forceinline__ int run(int place, int half)
    {
        int slice = place / FEW_SLICE, t = place % FEW_SLICE / 8;
        return slice / 2 * BLOCK + 16 * t + slice % 2 * 8 + 4 * half;
    }
    static __device__ __forceinline__ int row(int tile, int half, int g)
    {
        return 16 * tile + 8 * half + g;
    }
    __device__ __forceinline__ void prepare(uint32_t *table) const
    {
        for (int at = threadIdx.x; at < PAIRS / 16; at += FEW_THREADS) {
            int byte = at / 8;
            uint32_t pair = values[byte >> 4] | (uint32_t)values[byte & 15] << 16; /* the first code is the high one */
            ((uint4 *)table)[at] = make_uint4(pair, pair, pair, pair);
        }
        for (int at = threadIdx.x; NESTED && at < 256; at += FEW_THREADS)
            table[PAIRS / 4 + at] = f32_to_bits(nested_map[at]);
    }
    __device__ __forceinline__ void load(struct raw &to, const struct few_lane &l, int k0) const
    {
#pragma unroll
        for (int i = 0; i < STEP / BLOCK; i++) {
            int k = k0 + BLOCK * i, mine = l.first + l.g + 8 * l.t;
#pragma unroll
            for (int r = 0; r < 4; r++) {
                int64_t output = l.first + l.g + 8 * r;
                to.words[r][i] = output < l.n && k < l.k ? __ldcs((const uint2 *)(p + (output * l.k + k) / 2 + 8 * l.t)) : make_uint2(0, 0);
            }
            bool there = mine < l.n && k < l.k;
            int64_t block = ((int64_t)mine * l.k + k) >> shift;
            if constexpr (NESTED) {
                to.level[i] = there ? ((const uint8_t *)absmax)[block] : 0;
                to.scale[i] = there ? nested_scales[block / QUANTIZED_NESTED_BLOCK] : 0;
            } else {
                to.scale[i] = there ? ((const float *)absmax)[block] : 0;
            }
        }
    }
    __device__ __forceinline__ void fragments(uint32_t a[TILES][2][4], const struct raw &raw, int slice, const struct few_lane &l) const
    {
#pragma unroll
        for (int r = 0; r < 4; r++) {
            uint32_t w = slice % 2 ? raw.words[r][slice / 2].y : raw.words[r][slice / 2].x;
#pragma unroll
            for (int i = 0; i < 4; i++) {
                uint32_t at = ((i ? w >> (8 * i - 7) : w << 7) & 0x7f80) | (uint32_t)l.lane * 4; /* byte i times 128 */
                a[r / 2][i / 2][r % 2 + i % 2 * 2] = *(const uint32_t *)((const char *)l.table + at);
            }
        }
    }
    __device__ __forceinline__ void scales(float s[TILES][2], const struct raw &raw, int fold, const struct few_lane &l) const
    {
        float mine = raw.scale[fold];
        if constexpr (NESTED)
            mine = bits_to_f32(l.table[PAIRS / 4 + raw.level[fold]]) * mine + nested_offset;
        mine *= factor;
#pragma unroll
        for (int r = 0; r < 4; r++)
            s[r / 2][r % 2] = __shfl_sync(ALL_LANES, mine, (l.lane & 28) + r);
    }
    __device__ __forceinline__ float last(int) const
    {
        return 1;
    }
};

few_start few_codes_start(const struct quantized *q)
{
    bool nested = q->scale_type == DTYPE_U8;
    if ((q->kind != QUANTIZED_NF4 && q->kind != QUANTIZED_FP4) || q->group < BLOCK || (q->group & (q->group - 1)) || q->in % BLOCK || !few_aligned(q->codes) ||
        (!nested && (uintptr_t)q->scales % 4) || (nested && ((uintptr_t)q->nested_scales % 4 || (uintptr_t)q->nested_map % 4)))
        return NULL;
    return nested ? few_launch<codes<true>> : few_launch<codes<false>>;
}
