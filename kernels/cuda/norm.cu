/* RMS norm. A row belongs to LANES threads, a warp for short rows and a block of 256 for long ones; of its groups of four elements, lane i has
 * every LANES-th from the i-th, whether it reads them in one piece (W 4) or singly, so that the bits depend on the row's values and
 * width alone. */
#include "kernels/cuda/row_sum.h"
#include "kernels/cuda/table.h"
#include "kernels/cuda/wide.h"

#define BLOCK 256
#define WARP_UP_TO 1024 /* columns that a warp still takes alone */

struct norm {
    float *y, *rstd, *x;
    const float *more, *w; /* more: added to x first, in its layout; NULL: x is only read */
    int64_t y_stride, x_stride, n, c;
    float eps;
    bool plus_one;
};

struct norm_back {
    float *dx;
    const float *dy, *x, *w, *rstd;
    int64_t dx_stride, dy_stride, x_stride, n, c;
    bool add, plus_one;
};

template <int LANES> static __device__ __forceinline__ float lanes_sum(float v)
{
    if constexpr (LANES == 32)
        return warp_sum(v);
    else {
        __shared__ float part[BLOCK / 32];
        return block_sum<BLOCK>(v, part);
    }
}

template <int LANES, int W> static __global__ void __launch_bounds__(BLOCK) norm_kernel(struct norm o)
{
    int lane = threadIdx.x % LANES;
    int64_t i = (int64_t)blockIdx.x * (BLOCK / LANES) + threadIdx.x / LANES;
    if (i >= o.n) /* all lanes of the row */
        return;
    float *x = o.x + i * o.x_stride, *y = o.y + i * o.y_stride, sum = 0, r;
    for (int64_t j = 4 * lane; j < o.c; j += 4 * LANES) {
        struct floats<4> v = load_four<W>(x, j, o.c);
        if (o.more) {
            struct floats<4> m = load_four<W>(o.more + i * o.x_stride, j, o.c);
            for (int e = 0; e < 4; e++)
                v.at[e] += m.at[e];
            store_four<W>(x, j, o.c, v);
        }
        for (int e = 0; e < 4; e++)
            sum += v.at[e] * v.at[e];
    }
    r = 1 / sqrtf(lanes_sum<LANES>(sum) / (float)o.c + o.eps);
    for (int64_t j = 4 * lane; j < o.c; j += 4 * LANES) {
        struct floats<4> v = load_four<W>(x, j, o.c), w = load_four<W>(o.w, j, o.c);
        for (int e = 0; e < 4; e++)
            v.at[e] = v.at[e] * r * (o.plus_one ? w.at[e] + 1 : w.at[e]);
        store_four<W>(y, j, o.c, v);
    }
    if (o.rstd && lane == 0)
        o.rstd[i] = r;
}

/* With u = w (or w + 1) and m = mean(dy * u * x): dx = r * (dy * u - x * r^2 * m). dx may be the memory of dy or x. */
template <int LANES, int W> static __global__ void __launch_bounds__(BLOCK) norm_back_kernel(struct norm_back o)
{
    int lane = threadIdx.x % LANES;
    int64_t i = (int64_t)blockIdx.x * (BLOCK / LANES) + threadIdx.x / LANES;
    if (i >= o.n)
        return;
    const float *x = o.x + i * o.x_stride, *dy = o.dy + i * o.dy_stride;
    float *dx = o.dx + i * o.dx_stride, sum = 0, r = o.rstd[i];
    for (int64_t j = 4 * lane; j < o.c; j += 4 * LANES) {
        struct floats<4> v = load_four<W>(x, j, o.c), w = load_four<W>(o.w, j, o.c), d = load_four<W>(dy, j, o.c);
        for (int e = 0; e < 4; e++)
            sum += d.at[e] * (o.plus_one ? w.at[e] + 1 : w.at[e]) * v.at[e];
    }
    float m = r * r * (lanes_sum<LANES>(sum) / (float)o.c);
    for (int64_t j = 4 * lane; j < o.c; j += 4 * LANES) {
        struct floats<4> v = load_four<W>(x, j, o.c), w = load_four<W>(o.w, j, o.c), d = load_four<W>(dy, j, o.c), before = {};
        if (o.add)
            before = load_four<W>(dx, j, o.c);
        for (int e = 0; e < 4; e++) {
            float t = r * (d.at[e] * (o.plus_one ? w.at[e] + 1 : w.at[e]) - v.at[e] * m);
            d.at[e] = o.add ? before.at[e] + t : t;
        }
        store_four<W>(dx, j, o.c, d);
    }
}

static bool wide_rows(const void *p, int64_t stride)
{
    return wide_pointer(p) && stride % 4 == 0;
}

#define OVER_ROWS(kernel, wide, o)                                                                                   \
    do {                                                                                                             \
        unsigned blocks = (unsigned)((o).c <= WARP_UP_TO ? ((o).n + BLOCK / 32 - 1) / (BLOCK / 32) : (o).n);         \
        bool by_four = (wide) && (o).c % 4 == 0;                                                                     \
        if ((o).c <= WARP_UP_TO && by_four)                                                                          \
            LAUNCH((kernel<32, 4>), blocks, BLOCK, 0, o);                                                            \
        else if ((o).c <= WARP_UP_TO)                                                                                \
            LAUNCH((kernel<32, 1>), blocks, BLOCK, 0, o);                                                            \
        else if (by_four)                                                                                            \
            LAUNCH((kernel<BLOCK, 4>), blocks, BLOCK, 0, o);                                                         \
        else                                                                                                         \
            LAUNCH((kernel<BLOCK, 1>), blocks, BLOCK, 0, o);                                                         \
    } while (0)

static void rmsnorm(float *y, int64_t y_stride, float *rstd, const float *x, int64_t x_stride, const float *w, bool plus_one, float eps,
                    int64_t n, int64_t c)
{
    struct norm o = {y, rstd, (float *)x, NULL, w, y_stride, x_stride, n, c, eps, plus_one};
    if (n > 0)
        OVER_ROWS(norm_kernel, wide_rows(x, x_stride) && wide_rows(y, y_stride) && wide_pointer(w), o);
}

static void add_rmsnorm(float *y, float *rstd, float *x, const float *more, const float *w, bool plus_one, float eps, int64_t n, int64_t c)
{
    struct norm o = {y, rstd, x, more, w, c, c, n, c, eps, plus_one};
    if (n > 0)
        OVER_ROWS(norm_kernel, wide_rows(x, c) && wide_rows(y, c) && wide_pointer(more) && wide_pointer(w), o);
}

static void rmsnorm_backward(float *dx, int64_t dx_stride, bool add, const struct row_sum *dw, const float *dy, int64_t dy_stride, const float *x,
                             int64_t x_stride, const float *w, bool plus_one, const float *rstd, int64_t n, int64_t c)
{
    struct norm_back o = {dx, dy, x, w, rstd, dx_stride, dy_stride, x_stride, n, c, add, plus_one};
    if (n <= 0)
        return;
    if (dw) /* first: dx may be the same memory as dy */
        row_sum_add(dw, dy, dy_stride, x, x_stride, rstd, n, c);
    OVER_ROWS(norm_back_kernel, wide_rows(x, x_stride) && wide_rows(dy, dy_stride) && wide_rows(dx, dx_stride) && wide_pointer(w), o);
}

void cuda_fill_norm(struct kernels *k)
{
    k->rmsnorm = rmsnorm;
    k->add_rmsnorm = add_rmsnorm;
    k->rmsnorm_backward = rmsnorm_backward;
}
