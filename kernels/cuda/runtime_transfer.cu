/* Copies beside the operations (kernels/transfer.h): a stream of their own, and events by which the two streams wait for each other. */
#include "kernels/cuda/runtime_inside.h"

extern "C" {
#include "kernels/transfer.h"
}

static cudaStream_t stream;
static struct {
    cudaEvent_t before, done; /* the operations that the lane's copy comes behind, and the copy */
} lanes[TRANSFER_LANES];

static bool ready(void)
{
    if (stream || runtime.failed.set)
        return !runtime.failed.set;
    for (int i = 0; i < TRANSFER_LANES; i++)
        if (!runtime_good(cudaEventCreateWithFlags(&lanes[i].before, cudaEventDisableTiming), "an event") ||
            !runtime_good(cudaEventCreateWithFlags(&lanes[i].done, cudaEventDisableTiming), "an event"))
            return false;
    return runtime_good(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), "a stream");
}

void *cuda_host_alloc(size_t bytes, struct err *e)
{
    void *p = NULL;
    cudaError_t r = cudaHostAlloc(&p, bytes ? bytes : 1, cudaHostAllocDefault);
    if (r == cudaErrorMemoryAllocation) {
        cudaGetLastError();
        err_set(e, "cannot lock %zu bytes of the host's memory in place", bytes);
    } else if (r != cudaSuccess) {
        runtime_say(r, "locked host memory", e);
    }
    return p;
}

void cuda_host_free(void *p, size_t bytes)
{
    (void)bytes;
    if (stream && !runtime.failed.set)
        runtime_good(cudaStreamSynchronize(stream), "waiting for copies");
    cudaFreeHost(p);
}

static void copy(void *to, const void *from, size_t bytes, int lane, cudaMemcpyKind kind)
{
    if (!graph_must_not_capture("a copy beside the operations") || !ready())
        return;
    if (runtime_good(cudaEventRecord(lanes[lane].before, runtime.stream), "an event") &&
        runtime_good(cudaStreamWaitEvent(stream, lanes[lane].before, 0), "a copy that waits") &&
        runtime_good(cudaMemcpyAsync(to, from, bytes, kind, stream), "a copy beside the operations"))
        runtime_good(cudaEventRecord(lanes[lane].done, stream), "an event");
}

void cuda_transfer_out(void *host, const void *device, size_t bytes, int lane)
{
    copy(host, device, bytes, lane, cudaMemcpyDeviceToHost);
}

void cuda_transfer_in(void *device, const void *host, size_t bytes, int lane)
{
    copy(device, host, bytes, lane, cudaMemcpyHostToDevice);
}

void cuda_transfer_wait(int lane)
{
    if (stream && !runtime.failed.set) /* an event that was never recorded is no wait */
        runtime_good(cudaStreamWaitEvent(runtime.stream, lanes[lane].done, 0), "waiting for a copy");
}
