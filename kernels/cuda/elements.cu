/* Operations on elements: each is read once and written once, so only the width of the accesses matters. */
#include "kernels/cuda/table.h"
#include "kernels/cuda/wide.h"

#define THREADS 256

/* kernel<W> over n elements, W at a time when `wide` (all pointers) allows it. */
#define OVER_ELEMENTS(kernel, n, wide, ...)                                          \
    do {                                                                             \
        if ((n) <= 0)                                                                \
            return;                                                                  \
        if ((wide) && (n) % 4 == 0)                                                  \
            LAUNCH(kernel<4>, grid_for((n) / 4, THREADS), THREADS, 0, __VA_ARGS__);  \
        else                                                                         \
            LAUNCH(kernel<1>, grid_for(n, THREADS), THREADS, 0, __VA_ARGS__);        \
    } while (0)

template <int W> static __global__ void add_kernel(float *x, const float *y, int64_t n)
{
    for (int64_t i = W * grid_thread(); i < n; i += W * grid_threads()) {
        struct floats<W> a = load<W>(x + i), b = load<W>(y + i);
        for (int e = 0; e < W; e++)
            a.at[e] += b.at[e];
        store<W>(x + i, a);
    }
}

static void add(float *x, const float *y, int64_t count)
{
    OVER_ELEMENTS(add_kernel, count, wide_pointer(x) && wide_pointer(y), x, y, count);
}

template <int W> static __global__ void scale_kernel(float *x, float s, int64_t n)
{
    for (int64_t i = W * grid_thread(); i < n; i += W * grid_threads()) {
        struct floats<W> a = load<W>(x + i);
        for (int e = 0; e < W; e++)
            a.at[e] *= s;
        store<W>(x + i, a);
    }
}

static void scale(float *x, float s, int64_t count)
{
    OVER_ELEMENTS(scale_kernel, count, wide_pointer(x), x, s, count);
}

template <int W> static __global__ void scale_rows_kernel(float *x, const float *s, int64_t n, int64_t c)
{
    for (int64_t i = W * grid_thread(); i < n * c; i += W * grid_threads()) {
        struct floats<W> a = load<W>(x + i);
        float by = s[i / c];
        for (int e = 0; e < W; e++)
            a.at[e] *= by;
        store<W>(x + i, a);
    }
}

static void scale_rows(float *x, const float *s, int64_t n, int64_t c)
{
    OVER_ELEMENTS(scale_rows_kernel, n * c, wide_pointer(x) && c % 4 == 0, x, s, n, c);
}

template <int W> static __global__ void bias_add_kernel(float *y, const float *bias, int64_t n, int64_t c)
{
    for (int64_t i = W * grid_thread(); i < n * c; i += W * grid_threads()) {
        struct floats<W> a = load<W>(y + i), b = load<W>(bias + i % c);
        for (int e = 0; e < W; e++)
            a.at[e] += b.at[e];
        store<W>(y + i, a);
    }
}

static void bias_add(float *y, const float *bias, int64_t n, int64_t c)
{
    OVER_ELEMENTS(bias_add_kernel, n * c, wide_pointer(y) && wide_pointer(bias) && c % 4 == 0, y, bias, n, c);
}

template <int W> static __global__ void swiglu_kernel(float *y, const float *gate, const float *up, int64_t n)
{
    for (int64_t i = W * grid_thread(); i < n; i += W * grid_threads()) {
        struct floats<W> g = load<W>(gate + i), u = load<W>(up + i);
        for (int e = 0; e < W; e++)
            g.at[e] = g.at[e] / (1 + expf(-g.at[e])) * u.at[e];
        store<W>(y + i, g);
    }
}

static void swiglu(float *y, const float *gate, const float *up, int64_t count)
{
    OVER_ELEMENTS(swiglu_kernel, count, wide_pointer(y) && wide_pointer(gate) && wide_pointer(up), y, gate, up, count);
}

/* silu(g) = g s with s = 1 / (1 + exp(-g)); silu'(g) = s (1 + g (1 - s)) */
template <int W>
static __global__ void swiglu_backward_kernel(float *dgate, float *dup, const float *dy, const float *gate, const float *up, int64_t n)
{
    for (int64_t i = W * grid_thread(); i < n; i += W * grid_threads()) {
        struct floats<W> g = load<W>(gate + i), u = load<W>(up + i), d = load<W>(dy + i);
        for (int e = 0; e < W; e++) {
            float s = 1 / (1 + expf(-g.at[e]));
            float du = d.at[e] * g.at[e] * s;
            g.at[e] = d.at[e] * u.at[e] * s * (1 + g.at[e] * (1 - s));
            u.at[e] = du;
        }
        store<W>(dgate + i, g);
        store<W>(dup + i, u);
    }
}

static void swiglu_backward(float *dgate, float *dup, const float *dy, const float *gate, const float *up, int64_t count)
{
    OVER_ELEMENTS(swiglu_backward_kernel, count,
                  wide_pointer(dgate) && wide_pointer(dup) && wide_pointer(dy) && wide_pointer(gate) && wide_pointer(up), dgate, dup, dy, gate, up,
                  count);
}

void cuda_fill_elements(struct kernels *k)
{
    k->add = add;
    k->scale = scale;
    k->scale_rows = scale_rows;
    k->bias_add = bias_add;
    k->swiglu = swiglu;
    k->swiglu_backward = swiglu_backward;
}
