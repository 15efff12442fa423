/* Memory, the stream, graphs and matrix products of the CUDA backend: all that touches the driver, in one place, so that the rest of
 * the backend runs on the CPU as well (tests/cuda-on-cpu/runtime.c is the other version of this file's functions).
 *
 * One device a process. Operations return nothing and run behind one another on one stream: the first error of any of them stays, with its
 * place, and whoever can tell tells it: cuda_alloc and the *_end functions return it, and cuda_copy_out, which cannot, ends the program with one line, as
 * base/mem.h does when there is no memory. Pointers named `device` are device addresses; the rest is host memory. */
#ifndef KERNELS_CUDA_RUNTIME_H
#define KERNELS_CUDA_RUNTIME_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#include "base/dtype.h"
#include "base/err.h"

int cuda_open(int device, struct err *e) MUST_CHECK; /* driver, architecture, stream */
const char *cuda_features(void);                     /* "NVIDIA H200 sm_90, driver 13.0" */
int cuda_multiprocessors(void);
int cuda_architecture(void);                         /* 90 for sm_90 */
size_t cuda_shared_limit(void);                      /* bytes of shared memory that one block can have */

void *cuda_alloc(size_t bytes, struct err *e); /* zeroed; NULL on error */
void cuda_free(void *device, size_t bytes);
void cuda_copy_in(void *device, const void *from, size_t bytes); /* `from` is free again on return */
void cuda_copy_out(void *to, const void *device, size_t bytes);  /* waits for all before it */
void cuda_copy(void *device, const void *from_device, size_t bytes);
void cuda_zero(void *device, size_t bytes);
void cuda_sync(void);
int64_t cuda_free_memory(void); /* bytes that cuda_alloc could give now */
void cuda_opened(void);         /* all that is there once and for all is there */
int64_t cuda_held_memory(void); /* bytes of the device that went from before cuda_open to cuda_opened */

/* struct transfer of kernels/transfer.h. */
void *cuda_host_alloc(size_t bytes, struct err *e);
void cuda_host_free(void *p, size_t bytes);
void cuda_transfer_out(void *host, const void *device, size_t bytes, int lane);
void cuda_transfer_in(void *device, const void *host, size_t bytes, int lane);
void cuda_transfer_wait(int lane);

/* Device memory that grows as needed and is never given back, one block for each user; its contents last until the same user asks again. NULL only
 * after an error that stays (there is no memory): the caller returns. Not zeroed. */
enum cuda_scratch { CUDA_SCRATCH_GEMM, CUDA_SCRATCH_CONVERT_A, CUDA_SCRATCH_CONVERT_B, CUDA_SCRATCH_FEW, CUDA_SCRATCH_ATTENTION, CUDA_SCRATCH_ROWS,
                    CUDA_SCRATCH_LOSS, CUDA_SCRATCH_UPDATE, CUDA_SCRATCH_QUANTIZED, CUDA_SCRATCHES };
void *cuda_scratch(enum cuda_scratch which, size_t bytes);
size_t cuda_scratch_bytes(size_t bytes); /* that it takes for so many */
size_t cuda_own_bytes(void);             /* that the runtime takes in time: cuda_gemm's workspace, the ring of uploads */

/* A copy on the device of a small host array (up to CUDA_UPLOAD_BYTES), good for the operations started before the ring comes round:
 * 4 MB of later uploads; while a graph is captured, as long as the graph. NULL only after an error that stays. */
#define CUDA_UPLOAD_BYTES ((size_t)1 << 20)
const void *cuda_upload(const void *from, size_t bytes);

/* For LAUNCH. */
void *cuda_stream(void);
bool cuda_launch_prepare(const void *kernel, size_t dynamic_shared);
void cuda_launched(const char *kernel);

/* Says that something failed; the first such text stays. */
void cuda_failed(const char *format, ...) __attribute__((format(printf, 1, 2)));
int cuda_check(struct err *e) MUST_CHECK; /* -1 and the text when something has failed */

/* C (m, n) = alpha A (m, k) B (k, n) + beta C, f32 sums, C f32 with row stride ldc. Element (i, j) of A is a[i * lda + j], or a[j * lda + i] when
 * a_transposed; of B likewise. Both of type BF16, F16 or F32; F32 is multiplied as such (no TF32). Pointers of elements aligned to their
 * size; 16 bytes, and strides of multiples of 16 bytes, are faster. beta is 0 or 1. */
struct cuda_gemm {
    int64_t m, n, k;
    enum dtype type;
    const void *a, *b;
    int64_t lda, ldb;
    bool a_transposed, b_transposed;
    float *c;
    int64_t ldc;
    float alpha, beta;
};
void cuda_gemm(const struct cuda_gemm *g);

/* What is started between begin and end is kept and not run; launch runs it again with the same arguments. Nothing in between may allocate
 * or copy to or from host memory; uploads belong to the graph, and scratch memory that grows later stays where the graph knows it until no
 * graph is left. */
struct cuda_graph;
int cuda_graph_begin(struct err *e) MUST_CHECK;
struct cuda_graph *cuda_graph_end(struct err *e);
void cuda_graph_launch(struct cuda_graph *g);
void cuda_graph_free(struct cuda_graph *g);

/* Seconds that the device takes for what is started between the two calls. */
void cuda_time_begin(void);
double cuda_time_end(void);

#ifdef __cplusplus
}
#endif

#endif
