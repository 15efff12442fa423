/* The host version of kernels/cuda/runtime.h: device memory of its own, a stream that runs at once, graphs as lists of what was started,
 * matrix products in plain C. */
#include "kernels/cuda/runtime.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "tests/cuda-on-cpu/emu_api.h"
#include "tests/cuda-on-cpu/plain_gemm.h"

#define UPLOAD_RING ((size_t)4 << 20)

enum command_kind { COMMAND_LAUNCH, COMMAND_ZERO, COMMAND_COPY, COMMAND_GEMM };

struct command {
    enum command_kind kind;
    const char *kernel;
    unsigned grid[3], block[3];
    size_t dynamic_bytes, bytes;
    void (*call)(void *arg);
    void *arg, *to;
    const void *from;
    struct cuda_gemm gemm;
    struct command *next;
};

struct upload {
    void *p;
    size_t bytes;
    struct upload *next;
};

struct cuda_graph {
    struct command *first, **end;
    struct upload *uploads;
};

static struct err failed;
static struct cuda_graph *capturing;
static int graphs; /* that can be launched */
static struct {
    void *p;
    size_t bytes;
} scratch[CUDA_SCRATCHES];
static char *ring;
static size_t ring_at;
static struct timespec began;

int cuda_open(int device, struct err *e)
{
    if (device > 0)
        return err_set(e, "there is 1 device");
    return 0;
}

const char *cuda_features(void)
{
    return "emulated on the CPU";
}

int cuda_multiprocessors(void)
{
    return 2;
}

int cuda_architecture(void)
{
    return 80;
}

size_t cuda_shared_limit(void)
{
    return 99 << 10; /* sm_86 and sm_89 have the least */
}

void cuda_failed(const char *format, ...)
{
    va_list ap;
    char text[sizeof failed.text];
    va_start(ap, format);
    vsnprintf(text, sizeof text, format, ap);
    va_end(ap);
    err_set(&failed, "%s", text);
}

int cuda_check(struct err *e)
{
    return failed.set ? err_set(e, "%s", failed.text) : 0;
}

static bool must_not_capture(const char *what)
{
    if (capturing)
        cuda_failed("%s while a graph is captured", what);
    return !capturing;
}

static size_t allocated, most_allocated;
static int64_t held;

/* FINETOOLS_CUDA_MEMORY: bytes that the device has. */
static size_t memory_left(void)
{
    const char *limit = getenv("FINETOOLS_CUDA_MEMORY");
    size_t all = limit ? strtoull(limit, NULL, 10) : (size_t)16 << 30;
    return all > allocated ? all - allocated : 0;
}

static void *device_memory(size_t bytes, struct err *e)
{
    void *p = bytes <= memory_left() ? memory_alloc(bytes) : NULL;
    if (!p)
        err_set(e, "cannot get %zu bytes of device memory", bytes);
    else
        allocated += bytes;
    most_allocated = allocated > most_allocated ? allocated : most_allocated;
    return p;
}

/* FINETOOLS_CUDA_PEAK: a file that gets, at the end, the most bytes that were allocated. */
static void write_peak(void)
{
    FILE *f = fopen(getenv("FINETOOLS_CUDA_PEAK"), "w");
    if (!f || fprintf(f, "%zu\n", most_allocated) < 0 || fclose(f))
        abort();
}

void cuda_opened(void)
{
    held = (int64_t)allocated;
    if (getenv("FINETOOLS_CUDA_PEAK"))
        atexit(write_peak);
}

int64_t cuda_held_memory(void)
{
    return held;
}

size_t cuda_own_bytes(void)
{
    return UPLOAD_RING;
}

size_t cuda_scratch_bytes(size_t bytes)
{
    return bytes;
}

int64_t cuda_free_memory(void)
{
    return (int64_t)memory_left();
}

void *cuda_alloc(size_t bytes, struct err *e)
{
    must_not_capture("an allocation");
    return cuda_check(e) < 0 ? NULL : device_memory(bytes, e);
}

void cuda_free(void *device, size_t bytes)
{
    if (device)
        allocated -= bytes;
    memory_free(device);
}

/* Is [device, device + bytes) in one block? */
static void must_hold(const void *device, size_t bytes, const char *what)
{
    char place[300];
    if (bytes && !memory_holds(device, bytes)) {
        if (memory_is_device(device))
            memory_describe(device, place, sizeof place);
        else
            snprintf(place, sizeof place, "%p, which is not device memory", device);
        emu_fault(__builtin_return_address(0), "%s: %zu bytes at %s", what, bytes, place);
    }
}

void cuda_copy_out(void *to, const void *device, size_t bytes)
{
    if (!must_not_capture("a copy to the host"))
        return;
    if (failed.set) {
        fprintf(stderr, "cuda: %s\n", failed.text);
        exit(1);
    }
    must_hold(device, bytes, "copy from the device");
    if (bytes && memory_is_device(to))
        emu_fault(NULL, "copy from the device to device memory, where host memory is expected");
    memory_open();
    if (bytes)
        memcpy(to, device, bytes);
    memory_close();
}

static void run(const struct command *c)
{
    switch (c->kind) {
    case COMMAND_LAUNCH:
        emu_launch(c->kernel, c->grid, c->block, c->dynamic_bytes, c->call, c->arg);
        break;
    case COMMAND_ZERO:
        must_hold(c->to, c->bytes, "zeroing");
        memory_open();
        memset(c->to, 0, c->bytes);
        memory_close();
        break;
    case COMMAND_COPY:
        must_hold(c->to, c->bytes, "copy on the device, to");
        must_hold(c->from, c->bytes, "copy on the device, from");
        memory_open();
        memmove(c->to, c->from, c->bytes);
        memory_close();
        break;
    case COMMAND_GEMM:
        memory_open();
        plain_gemm(&c->gemm);
        memory_close();
        break;
    }
}

/* Runs it, or keeps it for the graph with a copy of its arguments. */
static void start(const struct command *c, size_t arg_bytes)
{
    if (failed.set)
        return;
    if (!capturing) {
        run(c);
        return;
    }
    struct command *kept = malloc(sizeof *kept);
    void *arg = arg_bytes ? malloc(arg_bytes) : NULL;
    if (!kept || (arg_bytes && !arg))
        abort();
    *kept = *c;
    if (arg)
        kept->arg = memcpy(arg, c->arg, arg_bytes);
    kept->next = NULL;
    *capturing->end = kept;
    capturing->end = &kept->next;
}

void cuda_zero(void *device, size_t bytes)
{
    if (bytes)
        start(&(struct command){.kind = COMMAND_ZERO, .to = device, .bytes = bytes}, 0);
}

void cuda_copy(void *device, const void *from_device, size_t bytes)
{
    if (bytes)
        start(&(struct command){.kind = COMMAND_COPY, .to = device, .from = from_device, .bytes = bytes}, 0);
}

void cuda_gemm(const struct cuda_gemm *g)
{
    start(&(struct command){.kind = COMMAND_GEMM, .gemm = *g}, 0);
}

void emu_launch_later(const char *kernel, const unsigned grid[3], const unsigned block[3], size_t dynamic_bytes, void (*call)(void *), const void *arg, size_t bytes)
{
    struct command c = {.kind = COMMAND_LAUNCH, .kernel = kernel, .dynamic_bytes = dynamic_bytes, .call = call, .arg = (void *)arg};
    memcpy(c.grid, grid, sizeof c.grid);
    memcpy(c.block, block, sizeof c.block);
    start(&c, bytes);
}

void cuda_sync(void)
{
}

/* A graph may know the block that is outgrown: it stays. */
void *cuda_scratch(enum cuda_scratch which, size_t bytes)
{
    if (failed.set || (bytes <= scratch[which].bytes && scratch[which].p && !getenv("FINETOOLS_CUDA_TIGHT")))
        return failed.set ? NULL : scratch[which].p;
    if (scratch[which].p && !capturing && !graphs)
        cuda_free(scratch[which].p, scratch[which].bytes);
    scratch[which].bytes = bytes;
    scratch[which].p = device_memory(bytes, &failed);
    return scratch[which].p;
}

static void copy_to_device(void *device, const void *from, size_t bytes)
{
    must_hold(device, bytes, "copy to the device");
    if (bytes && memory_is_device(from))
        emu_fault(NULL, "copy to the device from device memory, where host memory is expected");
    memory_open();
    if (bytes)
        memcpy(device, from, bytes);
    memory_close();
}

void cuda_copy_in(void *device, const void *from, size_t bytes)
{
    if (must_not_capture("a copy from the host"))
        copy_to_device(device, from, bytes);
}

/* Of the graph that is captured. */
static void *graph_upload(size_t bytes)
{
    struct upload *u = calloc(1, sizeof *u);
    if (!u)
        abort();
    *u = (struct upload){device_memory(bytes, &failed), bytes, capturing->uploads};
    capturing->uploads = u;
    return u->p;
}

static void *ring_upload(size_t bytes)
{
    size_t rounded = (bytes + 255) & ~(size_t)255;
    if (!ring && !(ring = device_memory(UPLOAD_RING, &failed)))
        return NULL;
    if (ring_at + rounded > UPLOAD_RING)
        ring_at = 0;
    ring_at += rounded;
    return ring + ring_at - rounded;
}

const void *cuda_upload(const void *from, size_t bytes)
{
    if (bytes > CUDA_UPLOAD_BYTES)
        cuda_failed("an upload of %zu bytes, at most %zu are allowed", bytes, CUDA_UPLOAD_BYTES);
    if (failed.set)
        return NULL;
    void *to = capturing ? graph_upload(bytes) : ring_upload(bytes);
    if (to)
        copy_to_device(to, from, bytes);
    return to;
}

int cuda_graph_begin(struct err *e)
{
    if (cuda_check(e) < 0)
        return -1;
    if (capturing)
        return err_set(e, "a graph is being captured already");
    if (!(capturing = calloc(1, sizeof *capturing)))
        abort();
    capturing->end = &capturing->first;
    return 0;
}

static void destroy(struct cuda_graph *g)
{
    for (struct command *c = g->first, *next; c; c = next) {
        next = c->next;
        free(c->kind == COMMAND_LAUNCH ? c->arg : NULL);
        free(c);
    }
    for (struct upload *u = g->uploads, *next; u; u = next) {
        next = u->next;
        cuda_free(u->p, u->bytes);
        free(u);
    }
    free(g);
}

struct cuda_graph *cuda_graph_end(struct err *e)
{
    struct cuda_graph *g = capturing;
    capturing = NULL;
    if (cuda_check(e) < 0) {
        destroy(g);
        return NULL;
    }
    graphs++;
    return g;
}

void cuda_graph_launch(struct cuda_graph *g)
{
    for (const struct command *c = g->first; c && !failed.set; c = c->next)
        run(c);
}

void cuda_graph_free(struct cuda_graph *g)
{
    if (g)
        destroy(g), graphs--;
}

void cuda_time_begin(void)
{
    clock_gettime(CLOCK_MONOTONIC, &began);
}

double cuda_time_end(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)(t.tv_sec - began.tv_sec) + 1e-9 * (double)(t.tv_nsec - began.tv_nsec);
}
