/* Small kernels, each right or wrong in one way: what the emulator has to pass and to find (tests/unit/cuda_emulator.c). */
#include <stdio.h>

#include "kernels/cuda/ptx.h"

#define N 128
#define ONE(kernel, bytes, ...) LAUNCH(kernel, 1, N, bytes, __VA_ARGS__)

struct buffers {
    float *x, *y; /* device, N each */
    float *host;
};

static __global__ void double_kernel(float *x, int n)
{
    int i = (int)grid_thread();
    if (i < n)
        x[i] *= 2;
}

static __global__ void reverse_kernel(float *x, bool barrier)
{
    __shared__ float s[N];
    s[threadIdx.x] = 0;
    __syncthreads();
    s[threadIdx.x] = x[threadIdx.x];
    if (barrier)
        __syncthreads();
    x[threadIdx.x] = s[N - 1 - threadIdx.x];
}

/* Within a warp __syncwarp is enough; between warps it is not. */
static __global__ void neighbour_kernel(float *x, unsigned distance)
{
    __shared__ float s[N];
    s[threadIdx.x] = 0;
    __syncthreads();
    s[threadIdx.x] = x[threadIdx.x];
    __syncwarp();
    x[threadIdx.x] = s[threadIdx.x ^ distance];
}

/* Read, then written by another without a barrier between. */
static __global__ void overwrite_kernel(float *x, bool barrier)
{
    DYNAMIC_SHARED(float, s);
    s[threadIdx.x] = x[threadIdx.x];
    __syncthreads();
    float v = s[threadIdx.x ^ 32];
    if (barrier)
        __syncthreads();
    s[threadIdx.x] = v;
    x[threadIdx.x] = s[threadIdx.x];
}

static __global__ void bytes_kernel(float *x)
{
    __shared__ unsigned char s[N];
    s[threadIdx.x] = (unsigned char)threadIdx.x; /* bytes of one word by several threads: no race */
    __syncthreads();
    x[threadIdx.x] = s[N - 1 - threadIdx.x];
}

static __global__ void half_written_kernel(float *x, int from)
{
    __shared__ float s[N];
    if (threadIdx.x >= (unsigned)from)
        s[threadIdx.x] = 1;
    __syncthreads();
    x[threadIdx.x] = s[N - 1 - threadIdx.x];
}

static __global__ void index_kernel(float *x, int last)
{
    __shared__ float s[2][N];
    for (int i = 0; i <= last; i++)
        s[0][i] = 0;
    x[0] = s[0][0];
}

static __global__ void dynamic_kernel(float *x, int last)
{
    DYNAMIC_SHARED(float, s);
    s[last] = 1;
    x[0] = s[last];
}

static __global__ void read_kernel(float *to, const float *from, int64_t i)
{
    *to = from[i];
}

static __global__ void write_kernel(float *to, int64_t i)
{
    to[i] = 1;
}

static __global__ void wide_kernel(float *x, int from)
{
    *(float4 *)(x + from) = make_float4(1, 2, 3, 4);
}

static __global__ void some_leave_kernel(float *x, unsigned stay)
{
    if (threadIdx.x >= stay)
        return;
    __syncthreads();
    x[threadIdx.x] = 0;
}

static __global__ void some_wait_kernel(float *x, unsigned wait)
{
    if (threadIdx.x < wait)
        __syncthreads();
    else
        x[threadIdx.x] = __shfl_xor_sync(ALL_LANES, x[threadIdx.x], 1);
}

static __global__ void lanes_kernel(float *x, unsigned mask)
{
    if (threadIdx.x % 32 < 16)
        x[threadIdx.x] = __shfl_xor_sync(mask, x[threadIdx.x], 1);
}

static __global__ void shuffle_kernel(float *x, unsigned mask, int from)
{
    if (mask >> threadIdx.x % 32 & 1)
        x[threadIdx.x] = __shfl_sync(mask, x[threadIdx.x], from);
}

static __global__ void copy_kernel(float *x, bool wait, bool barrier, int offset)
{
    DYNAMIC_SHARED(float, s);
    if (threadIdx.x < N / 4)
        cp_async_16(s + 4 * threadIdx.x, x + 4 * threadIdx.x + offset);
    cp_async_commit();
    if (wait)
        cp_async_wait<0>();
    if (barrier)
        __syncthreads();
    x[threadIdx.x] = s[N - 1 - threadIdx.x];
}

/* Two groups: waiting until one is left makes the first readable, the second not. */
static __global__ void groups_kernel(float *x, int which)
{
    DYNAMIC_SHARED(float, s);
    for (int g = 0; g < 2; g++) {
        cp_async_4(s + g * N + threadIdx.x, x + threadIdx.x, g ? 0 : 4);
        cp_async_commit();
    }
    cp_async_wait<1>();
    __syncthreads();
    x[threadIdx.x] = s[which * N + threadIdx.x];
}

static __global__ void atomic_kernel(int *count)
{
    __shared__ int sum;
    if (threadIdx.x == 0)
        sum = 0;
    __syncthreads();
    atomicAdd(&sum, 1);
    __syncthreads();
    if (threadIdx.x == 0)
        atomicAdd(count, sum);
}

static __device__ __noinline__ float deep(int n)
{
    volatile float page[2048];
    for (int i = 0; i < 2048; i++)
        page[i] = (float)n;
    return n ? deep(n - 1) + page[n] : page[0];
}

static __global__ void deep_kernel(float *x, int n)
{
    x[threadIdx.x] = deep(n);
}

/* Lanes of one half exchange, with one another or with the other half, which meets by itself. */
static __global__ void halves_kernel(float *x, unsigned distance)
{
    __shared__ float s[N];
    unsigned half = threadIdx.x % 32 < 16 ? 0x0000ffff : 0xffff0000;
    s[threadIdx.x] = 0;
    __syncthreads();
    s[threadIdx.x] = x[threadIdx.x];
    __syncwarp(half);
    x[threadIdx.x] = s[threadIdx.x ^ distance];
}

static __device__ uint16_t small_bf16(int v)
{
    return (uint16_t)(__float_as_uint((float)v) >> 16); /* exact */
}

/* C (16, 8) = A (16, 16) B (16, 8) by one warp: A stored as it is or (a_turned) transposed, B likewise. Elements are those of tests/unit/cuda_emulator.c. */
static __global__ void product_kernel(float *c, bool a_turned, bool b_turned)
{
    __shared__ __align__(16) uint16_t a[16][16];
    __shared__ __align__(16) uint16_t b[16 * 8];
    unsigned lane = threadIdx.x;
    for (int i = 0; i < 8; i++) {
        int row = (int)lane / 2, col = (int)lane % 2 * 8 + i;
        a[a_turned ? col : row][a_turned ? row : col] = small_bf16((3 * row + 5 * col) % 7 - 3);
    }
    for (int i = 0; i < 4; i++) {
        int row = (int)lane / 2, col = (int)lane % 2 * 4 + i;
        b[b_turned ? col * 16 + row : row * 8 + col] = small_bf16((2 * row + 7 * col) % 5 - 2);
    }
    __syncwarp();
    uint32_t of_a[4], of_b[2];
    float sum[4] = {0, 0, 0, 0};
    unsigned matrix = lane / 8, row = lane % 8;
    if (a_turned)
        ldmatrix_x4_trans(of_a, &a[matrix / 2 * 8 + row][matrix % 2 * 8]);
    else
        ldmatrix_x4(of_a, &a[matrix % 2 * 8 + row][matrix / 2 * 8]);
    if (b_turned)
        ldmatrix_x2(of_b, &b[row * 16 + matrix % 2 * 8]);
    else
        ldmatrix_x2_trans(of_b, &b[(matrix % 2 * 8 + row) * 8]);
    mma_bf16(sum, of_a, of_b);
    mma_bf16(sum, of_a, of_b); /* twice: sums go on */
    for (unsigned i = 0; i < 4; i++)
        c[(lane / 4 + i / 2 * 8) * 8 + lane % 4 * 2 + i % 2] = sum[i];
}

static __global__ void add_kernel(float *x, const float *y)
{
    x[threadIdx.x] += y[threadIdx.x];
}

/* x = 8 x, by three launches of what was only kept at first. */
static void graph_doubles(struct buffers *b)
{
    struct err e = ERR_INIT;
    if (cuda_graph_begin(&e) < 0)
        return;
    ONE(double_kernel, 0, b->x, N);
    struct cuda_graph *g = cuda_graph_end(&e);
    for (int i = 0; g && i < 3; i++)
        cuda_graph_launch(g);
    cuda_graph_free(g);
}

/* x += 1, twice, from an upload and through a scratch block that belong to the graph whatever is uploaded and asked for later. */
static void graph_keeps(struct buffers *b)
{
    struct err e = ERR_INIT;
    static float ones[N];
    static char others[CUDA_UPLOAD_BYTES];
    for (int i = 0; i < N; i++)
        ones[i] = 1;
    void *early = cuda_scratch(CUDA_SCRATCH_ROWS, sizeof ones);
    if (!early || cuda_graph_begin(&e) < 0)
        return;
    const void *there = cuda_upload(ones, sizeof ones);
    cuda_copy(early, there, sizeof ones);
    ONE(add_kernel, 0, b->x, (const float *)early);
    struct cuda_graph *g = cuda_graph_end(&e);
    cuda_scratch(CUDA_SCRATCH_ROWS, 4 << 20);
    for (int i = 0; i < 6; i++)
        cuda_upload(others, sizeof others);
    for (int i = 0; g && i < 2; i++)
        cuda_graph_launch(g);
    cuda_graph_free(g);
}

/* x leaves, is written over, and comes back: as it was when it left. */
static void transfer_there_and_back(struct buffers *b)
{
    static float there[N];
    cuda_transfer_out(there, b->x, N * 4, 1);
    cuda_transfer_wait(1);
    ONE(double_kernel, 0, b->x, N);
    cuda_transfer_in(b->x, there, N * 4, 1);
    cuda_transfer_wait(1);
    cuda_transfer_wait(2);
}

struct launch_case {
    const char *name;
    void (*run)(struct buffers *b);
};

#define CASE(name, ...) {name, [](struct buffers *b) { (void)b; __VA_ARGS__; }}

static const struct launch_case cases[] = {
    CASE("right: elements", LAUNCH(double_kernel, grid_for(N, 48), 48, 0, b->x, N)),
    CASE("right: barrier", ONE(reverse_kernel, 0, b->x, true)),
    CASE("right: within a warp", ONE(neighbour_kernel, 0, b->x, 5)),
    CASE("right: two barriers", ONE(overwrite_kernel, N * 4, b->x, true)),
    CASE("right: bytes of one word", ONE(bytes_kernel, 0, b->x)),
    CASE("right: all written", ONE(half_written_kernel, 0, b->x, 0)),
    CASE("right: last index", LAUNCH(index_kernel, 1, 1, 0, b->x, N - 1)),
    CASE("right: last dynamic index", LAUNCH(dynamic_kernel, 1, 1, N * 4, b->x, N - 1)),
    CASE("right: last element", LAUNCH(read_kernel, 1, 1, 0, b->x, b->y, N - 1)),
    CASE("right: aligned", LAUNCH(wide_kernel, 1, 1, 0, b->x, 4)),
    CASE("right: half a warp", ONE(lanes_kernel, 0, b->x, 0x0000ffff)),
    CASE("right: shuffle", ONE(shuffle_kernel, 0, b->x, 0xff, 7)),
    CASE("right: copied", ONE(copy_kernel, N * 4, b->x, true, true, 0)),
    CASE("right: first group", ONE(groups_kernel, 2 * N * 4, b->x, 0)),
    CASE("right: atomic", LAUNCH(atomic_kernel, 3, N, 0, (int *)b->y)),
    CASE("right: some stack", ONE(deep_kernel, 0, b->x, 2)),
    CASE("right: halves of a warp", ONE(halves_kernel, 0, b->x, 5)),
    CASE("right: product", LAUNCH(product_kernel, 1, 32, 0, b->x, false, false)),
    CASE("right: product, A transposed", LAUNCH(product_kernel, 1, 32, 0, b->x, true, false)),
    CASE("right: product, B transposed", LAUNCH(product_kernel, 1, 32, 0, b->x, false, true)),
    CASE("right: transfer", transfer_there_and_back(b)),
    CASE("right: graph", graph_doubles(b)),
    CASE("right: graph that keeps", graph_keeps(b)),
    CASE("race: no barrier", ONE(reverse_kernel, 0, b->x, false)),
    CASE("race: between warps", ONE(neighbour_kernel, 0, b->x, 37)),
    CASE("race: between halves of a warp", ONE(halves_kernel, 0, b->x, 16)),
    CASE("race: written after a read", ONE(overwrite_kernel, N * 4, b->x, false)),
    CASE("uninitialised", ONE(half_written_kernel, 0, b->x, 3)),
    CASE("index of an array", LAUNCH(index_kernel, 1, 1, 0, b->x, N)),
    CASE("dynamic memory", LAUNCH(dynamic_kernel, 1, 1, N * 4, b->x, N)),
    CASE("behind a block", LAUNCH(read_kernel, 1, 1, 0, b->x, b->y, N)),
    CASE("before a block", LAUNCH(read_kernel, 1, 1, 0, b->x, b->y, -1)),
    CASE("freed", cuda_free(b->y, N * 4); LAUNCH(write_kernel, 1, 1, 0, b->y, 2)),
    CASE("host memory", LAUNCH(read_kernel, 1, 1, 0, b->x, b->host, 0)),
    CASE("misaligned", LAUNCH(wide_kernel, 1, 1, 0, b->x, 1)),
    CASE("some threads leave", ONE(some_leave_kernel, 0, b->x, 40)),
    CASE("some threads wait", ONE(some_wait_kernel, 0, b->x, 40)),
    CASE("absent lanes", ONE(lanes_kernel, 0, b->x, ALL_LANES)),
    CASE("outside of the mask", ONE(lanes_kernel, 0, b->x, 0x00000fff)),
    CASE("shuffle from outside", ONE(shuffle_kernel, 0, b->x, 0xff, 8)),
    CASE("copy not waited for", ONE(copy_kernel, N * 4, b->x, false, true, 0)),
    CASE("copy without barrier", ONE(copy_kernel, N * 4, b->x, true, false, 0)),
    CASE("copy misaligned", ONE(copy_kernel, N * 4, b->x, true, true, 1)),
    CASE("second group", ONE(groups_kernel, 2 * N * 4, b->x, 1)),
    CASE("no blocks", LAUNCH(double_kernel, 0, N, 0, b->x, N)),
    CASE("too many threads", LAUNCH(double_kernel, 1, 1025, 0, b->x, N)),
    CASE("stack", ONE(deep_kernel, 0, b->x, 100)),
    CASE("host code", b->host[0] = *(volatile float *)b->x),
    CASE("capture: allocation", struct err e = ERR_INIT; if (cuda_graph_begin(&e) == 0) cuda_free(cuda_alloc(4, &e), 4)),
    CASE("capture: copy", struct err e = ERR_INIT; if (cuda_graph_begin(&e) == 0) cuda_copy_in(b->x, b->host, 4)),
    CASE("capture: capture", struct err e = ERR_INIT; if (cuda_graph_begin(&e) == 0 && cuda_graph_begin(&e) < 0) cuda_failed("%s", e.text)),
    CASE("transfer: not yet there", static float there[N]; cuda_transfer_in(b->x, there, N * 4, 0); LAUNCH(read_kernel, 1, 1, 0, b->y, b->x, 0)),
    CASE("copy too long", cuda_copy_in(b->x, b->host, N * 4 + 1)),
};

/* Name of case i; NULL behind the last. */
extern "C" __attribute__((visibility("default"))) const char *case_name(int i)
{
    return i < (int)(sizeof cases / sizeof *cases) ? cases[i].name : NULL;
}

/* Runs it; `result` gets the N floats of x and the N of y. */
extern "C" __attribute__((visibility("default"))) int case_run(int i, float result[2 * N], struct err *e)
{
    static float host[2 * N];
    struct buffers b = {(float *)cuda_alloc(N * 4, e), (float *)cuda_alloc(N * 4, e), host};
    if (!b.x || !b.y)
        return -1;
    for (int j = 0; j < N; j++)
        host[j] = (float)j;
    cuda_copy_in(b.x, host, N * 4);
    cases[i].run(&b);
    if (cuda_check(e) < 0)
        return -1;
    cuda_copy_out(result, b.x, N * 4);
    cuda_copy_out(result + N, b.y, N * 4);
    return 0;
}

/* Host code of another library touches device memory. */
extern "C" __attribute__((visibility("default"))) void *case_device_memory(struct err *e)
{
    return cuda_alloc(N * 4, e);
}
