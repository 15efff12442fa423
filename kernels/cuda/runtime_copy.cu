/* Copies between host and device (runtime.h). The device reads and writes only memory that is locked in place; what the host has is not (a mapped file, say), so
 * all goes through locked buffers: small things through a ring, large ones in pieces by several threads, each with two buffers, so that
 * one fills while the other travels. One thread alone copies slower than the bus carries. */
#include "kernels/cuda/runtime_inside.h"

#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PART CUDA_UPLOAD_BYTES
#define PARTS RUNTIME_PARTS
#define ALIGN ((size_t)256)
#define PIECE ((size_t)4 << 20)
#define MOVERS 8

/* --- small --- */

struct ring {
    char *pinned;
    cudaEvent_t left[PARTS]; /* what was started before the part was left */
    int part;
    size_t at;
};

static void *locked(size_t bytes)
{
    void *p = NULL;
    return runtime_good(cudaHostAlloc(&p, bytes, cudaHostAllocDefault), "locked host memory") ? p : NULL;
}

static cudaEvent_t event_new(void)
{
    cudaEvent_t event = NULL;
    runtime_good(cudaEventCreateWithFlags(&event, cudaEventDisableTiming), "an event");
    return event;
}

/* Room for bytes <= PART that no copy uses. NULL: an error that stays. */
static char *ring_take(struct ring *r, size_t bytes)
{
    bytes = (bytes + ALIGN - 1) / ALIGN * ALIGN;
    if (!r->pinned) {
        r->pinned = (char *)locked(PARTS * PART);
        for (int i = 0; i < PARTS; i++)
            r->left[i] = event_new();
    }
    if (runtime.failed.set)
        return NULL;
    if (r->at + bytes > PART) {
        runtime_good(cudaEventRecord(r->left[r->part], runtime.stream), "an event");
        r->part = (r->part + 1) % PARTS;
        r->at = 0;
        if (!runtime_good(cudaEventSynchronize(r->left[r->part]), "waiting for the device"))
            return NULL;
    }
    char *p = r->pinned + (size_t)r->part * PART + r->at;
    r->at += bytes;
    return p;
}

static struct ring ring;

static void copy_small(char *device, char *host, size_t bytes, bool in)
{
    char *between = ring_take(&ring, bytes);
    if (between && in) {
        memcpy(between, host, bytes);
        runtime_good(cudaMemcpyAsync(device, between, bytes, cudaMemcpyHostToDevice, runtime.stream), "a copy from the host");
    } else if (between && runtime_good(cudaMemcpyAsync(between, device, bytes, cudaMemcpyDeviceToHost, runtime.stream), "a copy to the host") &&
               runtime_good(cudaStreamSynchronize(runtime.stream), "waiting for the device")) {
        memcpy(host, between, bytes);
    }
}

const void *cuda_upload(const void *from, size_t bytes)
{
    static struct ring uploads;
    static char *there;
    if (bytes > CUDA_UPLOAD_BYTES)
        cuda_failed("an upload of %zu bytes, at most %zu are allowed", bytes, CUDA_UPLOAD_BYTES);
    if (runtime.failed.set)
        return NULL;
    if (graph_is_capturing())
        return graph_upload(from, bytes);
    if (!there && !(there = (char *)runtime_memory(PARTS * PART, &runtime.failed)))
        return NULL;
    char *between = ring_take(&uploads, bytes);
    if (!between)
        return NULL;
    char *to = there + (between - uploads.pinned);
    memcpy(between, from, bytes);
    return runtime_good(cudaMemcpyAsync(to, between, bytes, cudaMemcpyHostToDevice, runtime.stream), "an upload") ? to : NULL;
}

/* --- large --- */

struct work {
    char *device, *host;
    size_t bytes;
    bool in;
    size_t next; /* the first byte that nobody has taken */
};

struct mover {
    struct work *work;
    char *pinned[2];
    cudaEvent_t done[2];
    size_t at[2], bytes[2]; /* on their way to the host */
    cudaError_t result;
    pthread_t thread;
};

static bool still_good(struct mover *m, cudaError_t r)
{
    m->result = m->result != cudaSuccess ? m->result : r;
    return m->result == cudaSuccess;
}

/* Waits for what buffer b holds. */
static bool finish(struct mover *m, int b)
{
    if (!still_good(m, cudaEventSynchronize(m->done[b])))
        return false;
    if (m->bytes[b])
        memcpy(m->work->host + m->at[b], m->pinned[b], m->bytes[b]);
    m->bytes[b] = 0;
    return true;
}

static bool start(struct mover *m, int b, size_t at, size_t bytes)
{
    struct work *w = m->work;
    cudaError_t r;
    if (w->in) {
        memcpy(m->pinned[b], w->host + at, bytes);
        r = cudaMemcpyAsync(w->device + at, m->pinned[b], bytes, cudaMemcpyHostToDevice, runtime.stream);
    } else {
        r = cudaMemcpyAsync(m->pinned[b], w->device + at, bytes, cudaMemcpyDeviceToHost, runtime.stream);
        m->at[b] = at, m->bytes[b] = bytes;
    }
    return still_good(m, r) && still_good(m, cudaEventRecord(m->done[b], runtime.stream));
}

static void *move(void *arg)
{
    struct mover *m = (struct mover *)arg;
    struct work *w = m->work;
    size_t at;
    still_good(m, cudaSetDevice(runtime.device)); /* each thread says so */
    for (int b = 0; (at = __atomic_fetch_add(&w->next, PIECE, __ATOMIC_RELAXED)) < w->bytes; b = !b)
        if (!finish(m, b) || !start(m, b, at, w->bytes - at < PIECE ? w->bytes - at : PIECE))
            return NULL;
    for (int b = 0; !w->in && b < 2; b++)
        if (!finish(m, b))
            return NULL;
    return NULL;
}

static bool mover_ready(struct mover *m)
{
    for (int b = 0; b < 2 && !m->pinned[b]; b++) {
        m->pinned[b] = (char *)locked(PIECE);
        m->done[b] = event_new();
    }
    return !runtime.failed.set;
}

static void copy_large(char *device, char *host, size_t bytes, bool in)
{
    static struct mover movers[MOVERS];
    struct work w = {device, host, bytes, in, 0};
    size_t wanted = bytes / (2 * PIECE), processors = (size_t)sysconf(_SC_NPROCESSORS_ONLN);
    int n = 1;
    sigset_t all, before;
    wanted = wanted < processors ? wanted : processors;
    if (!mover_ready(movers))
        return;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before); /* signals are the program's own threads' */
    for (; n < MOVERS && (size_t)n < wanted && mover_ready(movers + n); n++) {
        movers[n].work = &w;
        if (pthread_create(&movers[n].thread, NULL, move, movers + n))
            break; /* the others take its pieces */
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    movers[0].work = &w;
    move(movers);
    for (int i = 0; i < n; i++) {
        if (i)
            pthread_join(movers[i].thread, NULL);
        runtime_good(movers[i].result, in ? "a copy from the host" : "a copy to the host");
    }
}

static void copy_any(char *device, char *host, size_t bytes, bool in)
{
    if (bytes <= PART)
        copy_small(device, host, bytes, in);
    else
        copy_large(device, host, bytes, in);
}

void cuda_copy_in(void *device, const void *from, size_t bytes)
{
    if (graph_must_not_capture("a copy from the host") && bytes)
        copy_any((char *)device, (char *)from, bytes, true);
}

void cuda_copy_out(void *to, const void *device, size_t bytes)
{
    if (graph_must_not_capture("a copy to the host") && bytes)
        copy_any((char *)device, (char *)to, bytes, false);
    if (runtime.failed.set) {
        fprintf(stderr, "cuda: %s\n", runtime.failed.text);
        exit(1);
    }
}
