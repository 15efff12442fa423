/* Gradients of keys and values by tensor cores: a block has MMA_KEYS keys of a key/value head, a warp 16 of them, and goes over the rows of all query heads that
 * read them, ROWS at a time, the next on their way meanwhile. Scores are computed with keys as rows, so that probabilities and
 * dscore are the left sides of p^T dout and dscore^T q as they come out (formulas: attention_back.cu). Of heads of 256 elements two warps have 16 keys,
 * each half of the gradients' columns. */
#include "kernels/cuda/attention_bf16_back.h"

/* A step: rows from `row` on of a query head. */
struct step {
    int head, row;
};

struct keys_of_block {
    int first, last, begin; /* keys; the first row that sees one, down to a multiple of ROWS */
    int end_head;
};

template <int ROWS>
static __device__ __forceinline__ struct step step_from(const struct attention_args *a, const struct attention_seq *s, const struct keys_of_block *b, int head, int row)
{
    row = attention_next_rows(a, s, b->first, b->last, row, ROWS);
    if (row >= s->q_len)
        head++, row = head < b->end_head ? attention_next_rows(a, s, b->first, b->last, b->begin, ROWS) : row;
    return {row < s->q_len ? head : b->end_head, row};
}

/* Which scores of 16 keys, the lane's first being `key`, by 8 N rows from `from` of the sample on are of rows that see. */
template <int N> static __device__ __forceinline__ void look(struct attention_bits<1> *b, const struct attention_args *a, const struct attention_seq *s, int key, int from)
{
    int row = from + (int) threadIdx.x % 4 * 2;
    b->of[0][0] = b->of[0][1] = 0;
#pragma unroll
    for (int n = 0; n < N; n++)
#pragma unroll
        for (int e = 0; e < 2; e++) {
            struct attention_near x = attention_near_of(s, a->window, s->k_len - s->q_len + row + 8 * n + e, key);
#pragma unroll
            for (int half = 0; half < 2; half++)
                b->of[0][half] |= (uint32_t)attention_near_sees(&x, 8 * half) << (2 * n + e);
        }
}

/* lse and delta of 8 N rows of a head; rows behind the last are zeros in q and dout, and add nothing as long as these are numbers. */
template <int N> struct row_sums {
    float lse[N][2], delta[N][2];
};

template <int N> static __device__ __forceinline__ void row_sums_load(struct row_sums<N> *x, const struct attention_rounded *r, const struct attention_seq *s, const struct step *step)
{
    int64_t at = step->head * r->q_rows + s->q_row + step->row;
#pragma unroll
    for (int n = 0; n < N; n++)
#pragma unroll
        for (int e = 0; e < 2; e++) {
            int i = 8 * n + (int)threadIdx.x % 4 * 2 + e;
            bool there = step->row + i < (int)s->q_len;
            x->lse[n][e] = there ? r->lse[at + i] : 0;
            x->delta[n][e] = there ? r->delta[at + i] : 0;
        }
}

/* z and dp become p and dscore / scale. */
template <int N> static __device__ __forceinline__ void pairs_of(float z[1][N][4], float dp[1][N][4], const struct attention_args *a, const struct row_sums<N> *x)
{
#pragma unroll
    for (int n = 0; n < N; n++)
#pragma unroll
        for (int e = 0; e < 4; e++)
            attention_pair(&z[0][n][e], &dp[0][n][e], a, x->lse[n][e % 2], x->delta[n][e % 2]);
}

template <int D, int PARTS, int ROWS> static __global__ void __launch_bounds__(MMA_THREADS *PARTS, 2 / PARTS) dkv_bf16_kernel(struct attention_args a, struct attention_rounded r)
{
    constexpr int N = ROWS / 8, ND = D / PARTS / 8, THREADS = MMA_THREADS * PARTS, LD = D + 8;
    DYNAMIC_SHARED(uint16_t, k);
    uint16_t *v = k + MMA_KEYS * LD, *rows = v + MMA_KEYS * LD; /* two buffers, each of q and dout */
    const struct attention_place at = attention_place_of(&a, r.kv_heads);
    const struct attention_seq &s = *at.s;
    int warp_key = threadIdx.x / 32 % 4 * 16, column = threadIdx.x / MMA_THREADS * (D / PARTS), lane_key = warp_key + threadIdx.x % 32 / 4;
    int behind = (int)(s.k_len - s.q_len), left = (int)s.k_len - at.work.first;
    int64_t key_row = at.head * r.kv_rows + at.work.keys_before + at.work.first;
    struct keys_of_block b = {at.work.first, at.work.first + (left < MMA_KEYS ? left : MMA_KEYS) - 1, 0, (at.head + 1) * r.group};
    int warp_last = warp_key + 15 < left ? b.first + warp_key + 15 : b.last;
    float dk[1][ND][4], dv[1][ND][4];
    b.begin = b.first > behind ? (b.first - behind) / ROWS * ROWS : 0;
    struct step step = step_from<ROWS>(&a, &s, &b, at.head * r.group, b.begin);
    attention_fetch<D, MMA_KEYS, THREADS>(k, r.k + key_row * D, left);
    attention_fetch<D, MMA_KEYS, THREADS>(v, r.v + key_row * D, left);
    if (step.head < b.end_head)
        attention_fetch_rows<D, ROWS, THREADS>(rows, rows + ROWS * LD, &r, &s, step.head, step.row);
    cp_async_commit();
    attention_clear<1, ND>(dk);
    attention_clear<1, ND>(dv);
    for (int buffer = 0; step.head < b.end_head; buffer ^= 1) {
        struct step next = step_from<ROWS>(&a, &s, &b, step.head, step.row + ROWS);
        const uint16_t *q = rows + buffer * 2 * ROWS * LD, *dout = q + ROWS * LD;
        uint16_t *to = rows + (buffer ^ 1) * 2 * ROWS * LD;
        int from_row = behind + step.row, last_row = step.row + ROWS < (int)s.q_len ? from_row + ROWS - 1 : (int)s.k_len - 1;
        cp_async_wait<0>();
        __syncthreads(); /* these rows are there, those before are done with */
        if (next.head < b.end_head)
            attention_fetch_rows<D, ROWS, THREADS>(to, to + ROWS * LD, &r, &s, next.head, next.row);
        cp_async_commit();
        if (warp_key < left && !attention_hidden(&s, a.window, from_row, last_row, b.first + warp_key, warp_last)) {
            struct attention_bits<1> bits;
            float z[1][N][4], dp[1][N][4];
            struct row_sums<N> sums;
            uint32_t p[1][N / 2][4];
            bits.whole = attention_whole(&s, a.window, from_row, last_row, b.first + warp_key, warp_last);
            if (!bits.whole)
                look<N>(&bits, &a, &s, b.first + lane_key, step.row);
            row_sums_load<N>(&sums, &r, &s, &step);
            attention_dots<1, N, D>(z, attention_by_row<D>(k + warp_key * LD), attention_by_column<D>(q));
            attention_dots<1, N, D>(dp, attention_by_row<D>(v + warp_key * LD), attention_by_column<D>(dout));
            attention_hide<1, N>(z, &bits);
            pairs_of<N>(z, dp, &a, &sums);
            attention_pack<1, N>(p, z);
            attention_add<1, ND, N / 2, D>(dv, p, attention_by_row<D>(dout + column));
            attention_pack<1, N>(p, dp);
            attention_add<1, ND, N / 2, D>(dk, p, attention_by_row<D>(q + column));
        }
        step = next;
    }
    cp_async_wait<0>();
    int64_t to = b.first * a.kv_stride + (r.first_kv_head + at.head) * a.d;
    const float scale[1][2] = {{a.scale, a.scale}}, one[1][2] = {{1, 1}};
    column += threadIdx.x % 4 * 2;
    attention_store<1, ND>(s.dk + to, a.kv_stride, dk, scale, lane_key, left, column, a.d);
    attention_store<1, ND>(s.dv + to, a.kv_stride, dv, one, lane_key, left, column, a.d);
}

template <int D, int PARTS, int ROWS> static void launch(const struct attention_args *keys, unsigned tiles, const struct attention_rounded *r)
{
    LAUNCH((dkv_bf16_kernel<D, PARTS, ROWS>), tiles * (unsigned)r->kv_heads, MMA_THREADS * PARTS, (size_t)((2 * MMA_KEYS + 4 * ROWS) * (D + 8)) * sizeof(uint16_t), *keys, *r);
}

void attention_bf16_dkv(const struct attention_args *keys, unsigned tiles, const struct attention_rounded *r)
{
    switch (attention_size(keys->d)) {
    case 64:
        launch<64, 1, 32>(keys, tiles, r);
        break;
    case 80:
        launch<80, 1, 32>(keys, tiles, r);
        break;
    case 96:
        launch<96, 1, 32>(keys, tiles, r);
        break;
    case 128:
        launch<128, 1, 32>(keys, tiles, r);
        break;
    default:
        launch<256, 2, 16>(keys, tiles, r);
    }
}
