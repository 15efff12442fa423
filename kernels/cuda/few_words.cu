/* Products of few rows by GPTQ and AWQ whose groups are whole steps of inputs.
 *
 * A code of up to 4 bits becomes a number without arithmetic: behind the upper bits of 128 it is the last bits of a bf16 number, 128 + code. Two of them are
 * taken at once, 16 bits apart, and which inputs these are is the order in which A lies. What is taken off is 128 + zero, exactly; the sums of a group's
 * products meet its scales in f32. Codes of 8 bits are two such halves, 128 + low and 2048 + 16 high. */
#include "kernels/cuda/few_tensor.h"
#include "kernels/cuda/quantized.h"

static __device__ __forceinline__ uint32_t word_of(const uint4 &v, int i)
{
    return i == 0 ? v.x : i == 1 ? v.y : i == 2 ? v.z : v.w;
}

static __device__ __forceinline__ float half_as(uint32_t pair, int which, bool bf16)
{
    uint16_t h = (uint16_t)(pair >> 16 * which);
    return bf16 ? from_bf16(h) : from_f16(h);
}

/* -128 and -2048, with a zero in their last bits, twice. */
static __device__ __forceinline__ uint32_t minus_128(uint32_t zero)
{
    return 0xc300c300u | zero * 0x10001u;
}

static __device__ __forceinline__ uint32_t minus_2048(uint32_t zero)
{
    return 0xc500c500u | zero * 0x10001u;
}

/* A warp has 32 outputs, a lane 4 side by side. SETS: groups of a step. */
template <int BITS, int SETS> struct gptq {
    static const int TILES = 2, STEP = BITS == 8 || SETS > 1 ? 64 : 128, FOLD = STEP / FEW_SLICE / SETS, TABLE = 0, RESIDENT = BITS == 8 ? 3 : 4;
    static const int WORDS = STEP * BITS / 128; /* of an output, a lane */
    static const bool APART = true;
    const uint32_t *codes, *zeros;
    const uint16_t *scale;
    int group;
    bool bf16;
    uint32_t carry, more; /* to words of zeros, to each zero */

    struct raw {
        uint4 words[WORDS];
        uint2 scale[SETS];
        uint32_t zero[SETS][BITS == 3 ? 2 : 1];
    };

    static struct gptq of(const struct matmul *m)
    {
        const struct quantized *q = m->b.quantized;
        return {(const uint32_t *)q->codes, (const uint32_t *)q->zeros, (const uint16_t *)q->scales, (int)q->group, q->scale_type == DTYPE_BF16,
                q->zeros_stored == QUANTIZED_ZEROS_WORD_LESS_ONE ? 0xffffffffu / ((1u << BITS) - 1) : 0, q->zeros_stored == QUANTIZED_ZEROS_LESS_ONE};
    }
    static __device__ __forceinline__ constexpr int depth(int mt)
    {
        return BITS == 2 ? 4 : mt == 1 && BITS < 8 ? 3 : 2;
    }
    /* The two runs are apart as the codes of a pair are: half the codes of a word, or of three. */
    static __device__ __forceinline__ int run(int place, int half)
    {
        int slice = place / FEW_SLICE, t = place % FEW_SLICE / 8;
        if (BITS == 3)
            return 32 * t + 4 * slice + 16 * half;
        return BITS == 2 ? slice / 2 * 64 + 16 * t + slice % 2 * 4 + 8 * half : place + 4 * half;
    }
    static __device__ __forceinline__ int row(int tile, int half, int g)
    {
        return 4 * g + 2 * tile + half;
    }
    __device__ __forceinline__ void prepare(uint32_t *) const
    {
    }
    /* The row of words i of a lane's. */
    static __device__ __forceinline__ int words_row(int k0, int i, int t)
    {
        if (BITS == 3)
            return (k0 / 32 + t) * 3 + i;
        return BITS == 8 ? k0 / 4 + i / 2 * 8 + 2 * t + i % 2 : k0 * BITS / 32 + 4 * i + t;
    }
    __device__ __forceinline__ void load(struct raw &to, const struct few_lane &l, int k0) const
    {
        int output = l.first + 4 * l.g, rows = l.k / 32 * BITS + l.k % 32 * BITS / 32;
        bool there = output < l.n;
#pragma unroll
        for (int i = 0; i < WORDS; i++) {
            int r = words_row(k0, i, l.t);
            to.words[i] = there && r < rows ? few_stream16(codes + (int64_t)r * l.n + output) : make_uint4(0, 0, 0, 0);
        }
#pragma unroll
        for (int s = 0; s < SETS; s++) {
            int k = k0 + STEP / SETS * s, words = l.n / 32 * BITS + l.n % 32 * BITS / 32, at = output / 32 * BITS + output % 32 * BITS / 32;
            bool inside = there && k < l.k;
            int64_t g = k / group;
            to.scale[s] = inside ? *(const uint2 *)(scale + g * l.n + output) : make_uint2(0, 0);
            to.zero[s][0] = inside ? zeros[g * words + at] : 0;
            if constexpr (BITS == 3)
                to.zero[s][1] = inside && at + 1 < words ? zeros[g * words + at + 1] : 0;
        }
    }
    __device__ __forceinline__ uint32_t zero_of(const struct raw &raw, int set, int i, const struct few_lane &l) const
    {
        int shift = (l.first + 4 * l.g) * BITS % 32 + BITS * i;
        uint32_t low = raw.zero[set][0] + carry;
        if constexpr (BITS == 3)
            low = shift < 32 ? __funnelshift_r(low, raw.zero[set][1], (unsigned)shift) : raw.zero[set][1] >> (shift - 32);
        else
            low >>= shift;
        return (low + more) & ((1u << BITS) - 1);
    }
    /* Codes p of a slice and the one a run further, of output i, each in the last bits of 16. */
    static __device__ __forceinline__ uint32_t pair(const struct raw &raw, int slice, int i, int p)
    {
        if constexpr (BITS == 2)
            return word_of(raw.words[slice / 2], i) >> 2 * (slice % 2 * 4 + p) & 0x00030003;
        else if constexpr (BITS == 4)
            return word_of(raw.words[slice], i) >> 4 * p & 0x000f000f;
        else if constexpr (BITS == 8)
            return __byte_perm(word_of(raw.words[2 * slice], i), word_of(raw.words[2 * slice + 1], i), (unsigned)(p | (4 + p) << 8));
        else
            return pair_of_3(word_of(raw.words[0], i), word_of(raw.words[1], i), word_of(raw.words[2], i), 3 * (4 * slice + p));
    }
    /* Of 96 bits the three at `bit` and at 48 + bit. */
    static __device__ __forceinline__ uint32_t pair_of_3(uint32_t a, uint32_t b, uint32_t c, int bit)
    {
        uint32_t parts[4] = {__byte_perm(a, b, 0x7610), __byte_perm(a, c, 0x5432), __byte_perm(b, c, 0x7610), 0}; /* bits 0, 16, 32 of each 48 */
        uint32_t low = parts[bit / 16] >> bit % 16;
        if (bit % 16 == 14)
            return (low & 0x00030003) | (parts[bit / 16 + 1] << 2 & 0x00040004);
        if (bit % 16 == 15)
            return (low & 0x00010001) | (parts[bit / 16 + 1] << 1 & 0x00060006);
        return low & 0x00070007;
    }
    __device__ __forceinline__ void fragments(uint32_t a[TILES][2][4], const struct raw &raw, int slice, const struct few_lane &l) const
    {
#pragma unroll
        for (int i = 0; i < 4; i++) {
            uint32_t zero = zero_of(raw, slice / FOLD, i, l);
#pragma unroll
            for (int p = 0; p < 4; p++) {
                uint32_t u = pair(raw, slice, i, p), v;
                if constexpr (BITS == 8)
                    v = bf16x2_add(bf16x2_add((u & 0x000f000f) | 0x43004300, minus_128(zero & 15)),
                                   bf16x2_add((u >> 4 & 0x000f000f) | 0x45004500, minus_2048(zero >> 4)));
                else
                    v = bf16x2_add(u | 0x43004300, minus_128(zero));
                a[i / 2][p / 2][i % 2 + p % 2 * 2] = v;
            }
        }
    }
    __device__ __forceinline__ void scales(float s[TILES][2], const struct raw &raw, int fold, const struct few_lane &) const
    {
#pragma unroll
        for (int i = 0; i < 4; i++)
            s[i / 2][i % 2] = half_as(i < 2 ? raw.scale[fold].x : raw.scale[fold].y, i % 2, bf16);
    }
    __device__ __forceinline__ float last(int) const
    {
        return 1;
    }
};

/* A warp has 64 outputs, a lane the 8 of a word, of 8 inputs together: the four warps of a block read 128 bytes side by side. INPUTS: of a step, which are of
 * one group. */
template <int INPUTS> struct awq {
    static const int TILES = 4, STEP = INPUTS, FOLD = STEP / FEW_SLICE, TABLE = 0, RESIDENT = 3;
    static const bool APART = false;
    const uint32_t *codes, *zeros;
    const uint16_t *scale;
    int group;
    bool bf16;

    struct raw {
        uint32_t words[STEP / FEW_SLICE][8], zero;
        uint4 scale;
    };

    static struct awq of(const struct matmul *m)
    {
        const struct quantized *q = m->b.quantized;
        return {(const uint32_t *)q->codes, (const uint32_t *)q->zeros, (const uint16_t *)q->scales, (int)q->group, q->scale_type == DTYPE_BF16};
    }
    static __device__ __forceinline__ constexpr int depth(int mt)
    {
        return mt == 1 ? 192 / STEP : 2;
    }
    static __device__ __forceinline__ int run(int place, int half)
    {
        return place + 4 * half;
    }
    static __device__ __forceinline__ int row(int tile, int half, int g)
    {
        return 8 * g + 2 * tile + half;
    }
    __device__ __forceinline__ void prepare(uint32_t *) const
    {
    }
    __device__ __forceinline__ void load(struct raw &to, const struct few_lane &l, int k0) const
    {
        int output = l.first + 8 * l.g, wide = l.n / 8;
        bool there = output < l.n;
#pragma unroll
        for (int slice = 0; slice < STEP / FEW_SLICE; slice++)
#pragma unroll
            for (int i = 0; i < 8; i++) {
                int k = k0 + FEW_SLICE * slice + 8 * l.t + i;
                to.words[slice][i] = there && k < l.k ? __ldcs(codes + (int64_t)k * wide + output / 8) : 0;
            }
        int64_t g = k0 / group;
        to.scale = there ? *(const uint4 *)(scale + g * l.n + output) : make_uint4(0, 0, 0, 0);
        to.zero = there ? zeros[g * wide + output / 8] : 0;
    }
    /* Output 2i of a word stands at bit 4i, 2i + 1 at 16 + 4i. */
    __device__ __forceinline__ void fragments(uint32_t a[TILES][2][4], const struct raw &raw, int slice, const struct few_lane &) const
    {
        const uint32_t *w = raw.words[slice], zero = raw.zero;
#pragma unroll
        for (int p = 0; p < 4; p++) {
            uint32_t even = __byte_perm(w[2 * p], w[2 * p + 1], 0x5410), odd = __byte_perm(w[2 * p], w[2 * p + 1], 0x7632);
#pragma unroll
            for (int i = 0; i < TILES; i++) {
                a[i][p / 2][p % 2 * 2] = bf16x2_add((even >> 4 * i & 0x000f000f) | 0x43004300, minus_128(zero >> 4 * i & 15));
                a[i][p / 2][p % 2 * 2 + 1] = bf16x2_add((odd >> 4 * i & 0x000f000f) | 0x43004300, minus_128(zero >> (16 + 4 * i) & 15));
            }
        }
    }
    __device__ __forceinline__ void scales(float s[TILES][2], const struct raw &raw, int, const struct few_lane &) const
    {
#pragma unroll
        for (int i = 0; i < 8; i++)
            s[i / 2][i % 2] = half_as(word_of(raw.scale, i / 2), i % 2, bf16);
    }
    __device__ __forceinline__ float last(int) const
    {
        return 1;
    }
};

/* Does each group hold whole parts of a step of so many inputs? */
static bool groups_are(const struct quantized *q, int64_t inputs)
{
    return q->group % inputs == 0 || q->group >= q->in;
}

static few_start gptq_start(const struct quantized *q)
{
    switch (q->bits) {
    case 2: return groups_are(q, 128) ? few_launch<gptq<2, 1>> : NULL;
    case 3: return groups_are(q, 128) ? few_launch<gptq<3, 1>> : NULL;
    case 4: return groups_are(q, 128) ? few_launch<gptq<4, 1>> : groups_are(q, 32) ? few_launch<gptq<4, 2>> : NULL;
    case 8: return groups_are(q, 64) ? few_launch<gptq<8, 1>> : groups_are(q, 32) ? few_launch<gptq<8, 2>> : NULL;
    default: return NULL;
    }
}

few_start few_words_start(const struct quantized *q)
{
    if (q->g_idx || (q->scale_type != DTYPE_F16 && q->scale_type != DTYPE_BF16) || !few_aligned(q->codes) || !few_aligned(q->scales) || (uintptr_t)q->zeros % 4)
        return NULL;
    if (q->kind == QUANTIZED_GPTQ)
        return gptq_start(q);
    return q->kind != QUANTIZED_AWQ ? NULL : groups_are(q, 64) ? few_launch<awq<64>> : groups_are(q, 32) ? few_launch<awq<32>> : NULL;
}
