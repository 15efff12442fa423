/* Graphs: what the stream captures (runtime.h). Memory that a graph may use stays until no graph is there: a graph holds addresses, not blocks. */
#include "kernels/cuda/runtime_inside.h"

#include <stdlib.h>

extern "C" {
#include "base/mem.h"
}

struct cuda_graph {
    cudaGraphExec_t exec;
    void **uploads;
    size_t n_uploads, cap_uploads;
};

static struct cuda_graph *capturing;
static int graphs; /* that can be launched */
static void **kept;
static size_t n_kept, cap_kept;

bool graph_is_capturing(void)
{
    return capturing != NULL;
}

bool graph_must_not_capture(const char *what)
{
    if (capturing)
        cuda_failed("%s while a graph is captured", what);
    return !runtime.failed.set;
}

void graph_free_memory(void *device)
{
    if (!capturing && !graphs) {
        cudaFree(device); /* waits for the device; an error of an operation is found by the next */
        return;
    }
    kept = (void **)mem_grow(kept, &cap_kept, n_kept + 1, sizeof *kept);
    kept[n_kept++] = device;
}

static void free_kept(void)
{
    while (!capturing && !graphs && n_kept)
        cudaFree(kept[--n_kept]);
}

const void *graph_upload(const void *from, size_t bytes)
{
    static cudaStream_t beside; /* what is captured does not run now, this does */
    struct cuda_graph *g = capturing;
    if (!beside && !runtime_good(cudaStreamCreateWithFlags(&beside, cudaStreamNonBlocking), "a stream"))
        return NULL;
    void *to = runtime_memory(bytes, &runtime.failed);
    if (!to)
        return NULL;
    g->uploads = (void **)mem_grow(g->uploads, &g->cap_uploads, g->n_uploads + 1, sizeof *g->uploads);
    g->uploads[g->n_uploads++] = to;
    if (!runtime_good(cudaMemcpyAsync(to, from, bytes, cudaMemcpyHostToDevice, beside), "an upload for a graph") ||
        !runtime_good(cudaStreamSynchronize(beside), "an upload for a graph"))
        return NULL;
    return to;
}

static void destroy(struct cuda_graph *g)
{
    for (size_t i = 0; i < g->n_uploads; i++)
        cudaFree(g->uploads[i]);
    free(g->uploads);
    free(g);
}

int cuda_graph_begin(struct err *e)
{
    if (cuda_check(e) < 0)
        return -1;
    if (capturing)
        return err_set(e, "a graph is being captured already");
    /* Relaxed: scratch memory may grow while it is captured. */
    if (!runtime_good(cudaStreamBeginCapture(runtime.stream, cudaStreamCaptureModeRelaxed), "beginning a graph"))
        return cuda_check(e);
    capturing = (struct cuda_graph *)mem_zalloc(1, sizeof *capturing);
    return 0;
}

struct cuda_graph *cuda_graph_end(struct err *e)
{
    struct cuda_graph *g = capturing;
    cudaGraph_t captured = NULL;
    bool good = runtime_good(cudaStreamEndCapture(runtime.stream, &captured), "ending a graph");
    good = good && !runtime.failed.set && runtime_good(cudaGraphInstantiateWithFlags(&g->exec, captured, 0), "making a graph");
    if (captured)
        cudaGraphDestroy(captured);
    capturing = NULL;
    if (good) {
        graphs++;
        return g;
    }
    destroy(g);
    free_kept();
    if (!cuda_check(e))
        err_set(e, "a graph could not be made");
    return NULL;
}

void cuda_graph_launch(struct cuda_graph *g)
{
    if (!runtime.failed.set)
        runtime_good(cudaGraphLaunch(g->exec, runtime.stream), "running a graph");
}

void cuda_graph_free(struct cuda_graph *g)
{
    if (!g)
        return;
    cuda_sync();
    cudaGraphExecDestroy(g->exec);
    destroy(g);
    graphs--;
    free_kept();
}
