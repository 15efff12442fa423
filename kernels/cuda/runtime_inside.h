/* What the parts of the runtime share: runtime.cu (device, errors, memory, launches, time), runtime_copy.cu (copies to and from the host), runtime_graph.cu,
 * runtime_gemm.cu (matrix products). */
#ifndef KERNELS_CUDA_RUNTIME_INSIDE_H
#define KERNELS_CUDA_RUNTIME_INSIDE_H

#include <cuda_runtime.h>

#include "kernels/cuda/runtime.h"

struct runtime {
    int device, architecture, multiprocessors;
    size_t shared_limit;
    cudaStream_t stream;
    struct err failed; /* the first error of an operation */
};
extern struct runtime runtime;

/* False, and kept as the first error, when `result` is one; `what` was being done when it was found. */
bool runtime_good(cudaError_t result, const char *what);
/* The same text, for those who can tell it at once. */
int runtime_say(cudaError_t result, const char *what, struct err *e);
/* Device memory, not zeroed; good while a graph is captured. */
void *runtime_memory(size_t bytes, struct err *e);

/* False, and an error that stays, while a graph is captured or after an error. */
bool graph_must_not_capture(const char *what);
bool graph_is_capturing(void);
/* `from` in memory of the graph that is captured. NULL after an error that stays. */
const void *graph_upload(const void *from, size_t bytes);
/* Gives back device memory that operations do not use any more; graphs that are there may. */
void graph_free_memory(void *device);

int gemm_open(struct err *e); /* finds the library */
#define RUNTIME_WORKSPACE ((size_t)32 << 20) /* of its products */
#define RUNTIME_PARTS 8                      /* of the ring of uploads, CUDA_UPLOAD_BYTES each: an upload stays for all but one, of which each may be left half empty */

/* Bytes that the device has left, asked of the driver's library for managers, since CUDA itself answers only when its context is there; -1: it does not say. */
int64_t runtime_left_without_context(int device);

#endif
