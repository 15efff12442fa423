/* Matrix products by cuBLASLt (runtime.h), which is loaded when a device is there: it is half a gigabyte.
 *
 * Its matrices are column-major: what is row-major to us is to it the transposed matrix, and C = A B is C^T = B^T A^T, so B is its first factor and A its
 * second.
 *
 * The same product gives the same bits in every run on one machine: the algorithm is the first of the library's own list for the shape, which it
 * computes from the shape, the types, the alignments and the device, never from measured time; the workspace always has one size;
 * and parts of a long sum are added up in an order of their own (no "in place" reduction). f32 is multiplied as such: PEDANTIC leaves
 * no room for TF32 or sums of bf16.
 *
 * Measured time does not choose, though it might find a faster one. Two algorithms whose times are close change places from run to run, so all that may be
 * chosen have to give the same bits. Their attributes do not tell that: equal split-K and reduction scheme leave open in which order a tile's steps
 * are added, and how far inside an instruction. Bits compared on operands made up for it hold for these operands alone, and a difference that
 * appears in one sum of a billion would show as a run that does not repeat. What is captured in a graph could not be measured either: a shape would
 * depend on who asked for it first. */
#include "kernels/cuda/runtime_inside.h"

#include <cublasLt.h>
#include <dlfcn.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

extern "C" {
#include "base/mem.h"
}

#define ALIGNED 16 /* bytes: more is not promised to the library, so that what a block of memory happens to have changes nothing */

/* --- the library --- */

#define FUNCTIONS(F)                                                                                                                                   \
    F(cublasLtCreate) F(cublasLtMatmul) F(cublasLtMatmulAlgoGetHeuristic) F(cublasLtMatmulDescCreate) F(cublasLtMatmulDescSetAttribute)                \
        F(cublasLtMatrixLayoutCreate) F(cublasLtMatmulPreferenceCreate) F(cublasLtMatmulPreferenceSetAttribute) F(cublasLtMatmulPreferenceDestroy)

static struct {
#define MEMBER(name) decltype(&::name) name;
    FUNCTIONS(MEMBER)
#undef MEMBER
} lt;
static cublasLtHandle_t handle;

/* The version that this was compiled for, or another whose functions are the same. */
static void *load(struct err *e)
{
    static const int others[] = {CUBLAS_VER_MAJOR, 13, 12};
    char name[40], first[500] = "";
    void *library = NULL;
    for (size_t i = 0; i < sizeof others / sizeof *others && !library; i++) {
        snprintf(name, sizeof name, "libcublasLt.so.%d", others[i]);
        library = dlopen(name, RTLD_NOW | RTLD_LOCAL);
        if (!library && !*first)
            snprintf(first, sizeof first, "%s", dlerror());
    }
    if (!library)
        err_set(e, "matrix products need NVIDIA's cuBLAS: %s; LD_LIBRARY_PATH says where it lies", first);
    return library;
}

static const char *status_text(cublasStatus_t s)
{
    return s == CUBLAS_STATUS_NOT_INITIALIZED ? "not initialized"
           : s == CUBLAS_STATUS_ALLOC_FAILED  ? "no memory"
           : s == CUBLAS_STATUS_INVALID_VALUE ? "invalid value"
           : s == CUBLAS_STATUS_ARCH_MISMATCH ? "the device lacks what is asked"
           : s == CUBLAS_STATUS_NOT_SUPPORTED ? "not supported"
           : s == CUBLAS_STATUS_EXECUTION_FAILED ? "the device failed"
                                                 : "an error inside";
}

int gemm_open(struct err *e)
{
    void *library = load(e);
    if (!library)
        return -1;
#define LOOK_UP(name)                               \
    *(void **)&lt.name = dlsym(library, #name);     \
    if (!lt.name)                                   \
        return err_set(e, "cuBLAS has no " #name ", expected version %d", CUBLAS_VER_MAJOR);
    FUNCTIONS(LOOK_UP)
#undef LOOK_UP
    cublasStatus_t s = lt.cublasLtCreate(&handle);
    return s == CUBLAS_STATUS_SUCCESS ? 0 : err_set(e, "cuBLAS cannot start: %s (%d)", status_text(s), (int)s);
}

/* --- the algorithm of a shape --- */

/* All that an algorithm depends on, without holes. */
struct shape {
    int64_t m, n, k, lda, ldb, ldc;
    int32_t type, align_a, align_b, align_c;
    int32_t a_transposed, b_transposed, adds, zero;
};

struct choice {
    struct shape shape;
    bool used;
    bool none; /* the library has no algorithm */
    cublasLtMatmulDesc_t op;
    cublasLtMatrixLayout_t first, second, out;
    cublasLtMatmulAlgo_t algo;
};

static struct choice *table;
static size_t n_choices, places; /* a power of two, at most half of them used */

static int32_t alignment(const void *p)
{
    int32_t a = ALIGNED;
    while ((uintptr_t)p % (uintptr_t)a)
        a /= 2;
    return a;
}

static struct shape shape_of(const struct cuda_gemm *g)
{
    return {g->m, g->n, g->k, g->lda, g->ldb, g->ldc, (int32_t)g->type, alignment(g->a), alignment(g->b), alignment(g->c), g->a_transposed, g->b_transposed,
            g->beta != 0, 0};
}

/* Its place, or the free one where it belongs. FNV-1a: Fowler, Noll, Vo. */
static struct choice *place_of(const struct shape *s)
{
    uint64_t h = 0xcbf29ce484222325;
    for (size_t i = 0; i < sizeof *s; i++)
        h = (h ^ ((const unsigned char *)s)[i]) * 0x100000001b3;
    size_t at = (h ^ h >> 32) & (places - 1);
    while (table[at].used && memcmp(&table[at].shape, s, sizeof *s))
        at = (at + 1) & (places - 1);
    return table + at;
}

static void make_room(void)
{
    struct choice *old = table;
    size_t n = places;
    if (2 * (n_choices + 1) <= places)
        return;
    places = places ? 2 * places : 256;
    table = (struct choice *)mem_zalloc(places, sizeof *table);
    for (size_t i = 0; i < n; i++)
        if (old[i].used)
            *place_of(&old[i].shape) = old[i];
    free(old);
}

static cudaDataType_t element_of(enum dtype type)
{
    return type == DTYPE_BF16 ? CUDA_R_16BF : type == DTYPE_F16 ? CUDA_R_16F : CUDA_R_32F;
}

static void layout(cublasLtMatrixLayout_t *to, cudaDataType_t type, int64_t rows, int64_t cols, int64_t ld, cublasStatus_t *s)
{
    /* A stride that is not used, of one column, has to be valid all the same. */
    if (*s == CUBLAS_STATUS_SUCCESS)
        *s = lt.cublasLtMatrixLayoutCreate(to, type, (uint64_t)rows, (uint64_t)cols, ld < rows ? rows : ld);
}

static void describe(struct choice *c, cublasStatus_t *s)
{
    const struct shape *h = &c->shape;
    cudaDataType_t type = element_of((enum dtype)h->type);
    cublasOperation_t first = h->b_transposed ? CUBLAS_OP_T : CUBLAS_OP_N, second = h->a_transposed ? CUBLAS_OP_T : CUBLAS_OP_N;
    *s = lt.cublasLtMatmulDescCreate(&c->op, type == CUDA_R_32F ? CUBLAS_COMPUTE_32F_PEDANTIC : CUBLAS_COMPUTE_32F, CUDA_R_32F);
    if (*s == CUBLAS_STATUS_SUCCESS)
        *s = lt.cublasLtMatmulDescSetAttribute(c->op, CUBLASLT_MATMUL_DESC_TRANSA, &first, sizeof first);
    if (*s == CUBLAS_STATUS_SUCCESS)
        *s = lt.cublasLtMatmulDescSetAttribute(c->op, CUBLASLT_MATMUL_DESC_TRANSB, &second, sizeof second);
    layout(&c->first, type, h->b_transposed ? h->k : h->n, h->b_transposed ? h->n : h->k, h->ldb, s);
    layout(&c->second, type, h->a_transposed ? h->m : h->k, h->a_transposed ? h->k : h->m, h->lda, s);
    layout(&c->out, CUDA_R_32F, h->n, h->m, h->ldc, s);
}

static cublasStatus_t prefer(cublasLtMatmulPreference_t p, const struct shape *h)
{
    uint64_t workspace = RUNTIME_WORKSPACE;
    uint32_t schemes = CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE | CUBLASLT_REDUCTION_SCHEME_OUTPUT_TYPE; /* and none */
    uint32_t a = (uint32_t)h->align_b, b = (uint32_t)h->align_a, c = (uint32_t)h->align_c;
    const struct {
        cublasLtMatmulPreferenceAttributes_t attribute;
        const void *value;
        size_t bytes;
    } list[] = {{CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, &workspace, sizeof workspace}, {CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK, &schemes, sizeof schemes},
                {CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, &a, sizeof a},               {CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, &b, sizeof b},
                {CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, &c, sizeof c},               {CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, &c, sizeof c}};
    cublasStatus_t s = CUBLAS_STATUS_SUCCESS;
    for (size_t i = 0; i < sizeof list / sizeof *list && s == CUBLAS_STATUS_SUCCESS; i++)
        s = lt.cublasLtMatmulPreferenceSetAttribute(p, list[i].attribute, list[i].value, list[i].bytes);
    return s;
}

static void choose(struct choice *c)
{
    cublasLtMatmulPreference_t p = NULL;
    cublasLtMatmulHeuristicResult_t best;
    cublasStatus_t s;
    int n = 0;
    memset(&best, 0, sizeof best);
    describe(c, &s);
    if (s == CUBLAS_STATUS_SUCCESS)
        s = lt.cublasLtMatmulPreferenceCreate(&p);
    if (s == CUBLAS_STATUS_SUCCESS)
        s = prefer(p, &c->shape);
    if (s == CUBLAS_STATUS_SUCCESS)
        s = lt.cublasLtMatmulAlgoGetHeuristic(handle, c->op, c->first, c->second, c->out, c->out, p, 1, &best, &n);
    if (p)
        lt.cublasLtMatmulPreferenceDestroy(p);
    c->none = s == CUBLAS_STATUS_NOT_SUPPORTED || (s == CUBLAS_STATUS_SUCCESS && (n < 1 || best.state != CUBLAS_STATUS_SUCCESS));
    if (s != CUBLAS_STATUS_SUCCESS && !c->none)
        cuda_failed("a product (%" PRId64 " x %" PRId64 " x %" PRId64 "): %s (cuBLAS status %d)", c->shape.m, c->shape.n, c->shape.k, status_text(s), (int)s);
    c->algo = best.algo;
}

static const struct choice *choice_of(const struct cuda_gemm *g)
{
    struct shape s = shape_of(g);
    make_room();
    struct choice *c = place_of(&s);
    if (!c->used) {
        c->shape = s;
        choose(c);
        c->used = true;
        n_choices++;
    }
    return runtime.failed.set ? NULL : c;
}

/* --- products --- */

/* f32 of element i of a factor. */
static __device__ __forceinline__ float element(const void *p, enum dtype type, int64_t i)
{
    if (type == DTYPE_F32)
        return ((const float *)p)[i];
    if (type == DTYPE_F16)
        return __half2float(((const __half *)p)[i]);
    return __uint_as_float((uint32_t)((const uint16_t *)p)[i] << 16);
}

/* For what the library has no algorithm for: a thread an element. */
static __global__ void plain_kernel(const __grid_constant__ struct cuda_gemm g)
{
    for (int64_t at = (int64_t)blockIdx.x * blockDim.x + threadIdx.x; at < g.m * g.n; at += (int64_t)gridDim.x * blockDim.x) {
        int64_t i = at / g.n, j = at % g.n;
        float sum = 0, *c = g.c + i * g.ldc + j;
        for (int64_t k = 0; k < g.k; k++)
            sum = fmaf(element(g.a, g.type, g.a_transposed ? k * g.lda + i : i * g.lda + k), element(g.b, g.type, g.b_transposed ? j * g.ldb + k : k * g.ldb + j),
                       sum);
        *c = g.beta != 0 ? fmaf(g.alpha, sum, *c) : g.alpha * sum;
    }
}

static void product_plain(const struct cuda_gemm *g)
{
    int64_t blocks = (g->m * g->n + 255) / 256;
    plain_kernel<<<(unsigned)(blocks < 1 << 20 ? blocks : 1 << 20), 256, 0, runtime.stream>>>(*g);
    cuda_launched("plain_kernel");
}

void cuda_gemm(const struct cuda_gemm *g)
{
    if (runtime.failed.set || g->m <= 0 || g->n <= 0)
        return;
    if (g->k <= 0) {
        if (g->beta == 0)
            runtime_good(cudaMemset2DAsync(g->c, (size_t)g->ldc * sizeof *g->c, 0, (size_t)g->n * sizeof *g->c, (size_t)g->m, runtime.stream), "a product");
        return;
    }
    void *workspace = cuda_scratch(CUDA_SCRATCH_GEMM, RUNTIME_WORKSPACE);
    const struct choice *c = workspace ? choice_of(g) : NULL;
    if (!c)
        return;
    if (c->none) {
        product_plain(g);
        return;
    }
    cublasStatus_t s = lt.cublasLtMatmul(handle, c->op, &g->alpha, g->b, c->first, g->a, c->second, &g->beta, g->c, c->out, g->c, c->out, &c->algo, workspace,
                                         RUNTIME_WORKSPACE, runtime.stream);
    if (s != CUBLAS_STATUS_SUCCESS)
        cuda_failed("a product (%" PRId64 " x %" PRId64 " x %" PRId64 "): %s (cuBLAS status %d)", g->m, g->n, g->k, status_text(s), (int)s);
}
