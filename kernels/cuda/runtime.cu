/* The device, its errors, memory, launches and time (runtime.h). What needs no driver is not asked for before there is one: on a machine without, cuda_open is a
 * question to the loader. */
#include "kernels/cuda/runtime_inside.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

extern "C" {
#include "base/mem.h"
}

#define OLDEST 80                      /* bf16 products of tensor cores and cp.async begin there */
#define SCRATCH_UNIT ((size_t)2 << 20) /* pages of device memory */
#define SHARED_PLAIN ((size_t)48 << 10) /* what a block gets unasked */

struct runtime runtime = {-1, 0, 0, 0, NULL, ERR_INIT};

static cudaEvent_t began, ended;
static struct {
    void *p;
    size_t bytes;
} scratch[CUDA_SCRATCHES];

/* --- errors --- */

void cuda_failed(const char *format, ...)
{
    va_list ap;
    char text[sizeof runtime.failed.text];
    va_start(ap, format);
    vsnprintf(text, sizeof text, format, ap);
    va_end(ap);
    err_set(&runtime.failed, "%s", text);
}

int cuda_check(struct err *e)
{
    return runtime.failed.set ? err_set(e, "%s", runtime.failed.text) : 0;
}

static bool is_lost(cudaError_t r)
{
    switch (r) {
    case cudaErrorDevicesUnavailable:
    case cudaErrorDeviceUninitialized:
    case cudaErrorContextIsDestroyed:
    case cudaErrorECCUncorrectable:
    case cudaErrorNvlinkUncorrectable:
    case cudaErrorHardwareStackError:
    case cudaErrorSystemNotReady:
    case cudaErrorUnknown:
        return true;
    default:
        return false;
    }
}

/* Did a kernel before this do it? */
static bool is_of_a_kernel(cudaError_t r)
{
    switch (r) {
    case cudaErrorIllegalAddress:
    case cudaErrorMisalignedAddress:
    case cudaErrorInvalidAddressSpace:
    case cudaErrorInvalidPc:
    case cudaErrorIllegalInstruction:
    case cudaErrorLaunchFailure:
    case cudaErrorLaunchTimeout:
    case cudaErrorAssert:
        return true;
    default:
        return false;
    }
}

int runtime_say(cudaError_t r, const char *what, struct err *e)
{
    cudaGetLastError(); /* told once */
    return err_set(e, "%s: %s%s (%s)%s", what, is_lost(r) ? "the device is lost: " : "", cudaGetErrorString(r), cudaGetErrorName(r),
                   is_of_a_kernel(r) ? ", of an operation before; CUDA_LAUNCH_BLOCKING=1 in the environment names it" : "");
}

bool runtime_good(cudaError_t r, const char *what)
{
    if (r != cudaSuccess)
        runtime_say(r, what, &runtime.failed);
    return r == cudaSuccess;
}

/* --- the device --- */

/* A driver of the same major version or a later one runs this build. */
static int check_driver(struct err *e)
{
    int driver = 0;
    cudaError_t r = cudaDriverGetVersion(&driver);
    if (r != cudaSuccess || !driver)
        return err_set(e, "there is no NVIDIA driver (no libcuda.so.1)");
    if (driver / 1000 < CUDART_VERSION / 1000)
        return err_set(e, "the NVIDIA driver is too old: it is for CUDA %d.%d, expected %d.0 or later", driver / 1000, driver % 1000 / 10,
                       CUDART_VERSION / 1000);
    return 0;
}

static int check_device(int device, struct err *e)
{
    int count = 0;
    cudaError_t r = cudaGetDeviceCount(&count);
    if (r == cudaErrorNoDevice || (r == cudaSuccess && !count))
        return err_set(e, "the NVIDIA driver finds no device");
    if (r != cudaSuccess)
        return runtime_say(r, "asking the NVIDIA driver for devices", e);
    if (device >= count)
        return err_set(e, "there %s %d device%s", count == 1 ? "is" : "are", count, count == 1 ? "" : "s, counted from 0");
    return 0;
}

static __global__ void nothing_kernel()
{
}

static int check_architecture(int device, const char *name, struct err *e)
{
    int major = 0, minor = 0, shared = 0;
    struct cudaFuncAttributes code;
    cudaError_t r = cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device);
    r = r != cudaSuccess ? r : cudaDeviceGetAttribute(&minor, cudaDevAttrComputeCapabilityMinor, device);
    r = r != cudaSuccess ? r : cudaDeviceGetAttribute(&runtime.multiprocessors, cudaDevAttrMultiProcessorCount, device);
    r = r != cudaSuccess ? r : cudaDeviceGetAttribute(&shared, cudaDevAttrMaxSharedMemoryPerBlockOptin, device);
    if (r != cudaSuccess)
        return runtime_say(r, name, e);
    runtime.architecture = 10 * major + minor;
    runtime.shared_limit = (size_t)shared;
    if (runtime.architecture < OLDEST)
        return err_set(e, "%s is sm_%d, expected sm_%d or later", name, runtime.architecture, OLDEST);
    r = cudaSetDevice(device);
    if (r != cudaSuccess)
        return runtime_say(r, name, e);
    r = cudaFuncGetAttributes(&code, nothing_kernel);
    if (r == cudaErrorNoKernelImageForDevice || r == cudaErrorInvalidDeviceFunction || r == cudaErrorUnsupportedPtxVersion)
        return err_set(e, "%s is sm_%d, for which this CUDA backend was not built", name, runtime.architecture);
    return r == cudaSuccess ? 0 : runtime_say(r, name, e);
}

static char features[400];
static int64_t left_before = -1, held;

int cuda_open(int device, struct err *e)
{
    struct cudaDeviceProp p;
    int driver = 0;
    if (check_driver(e) < 0 || check_device(device, e) < 0)
        return -1;
    left_before = runtime_left_without_context(device);
    cudaError_t r = cudaGetDeviceProperties(&p, device);
    if (r != cudaSuccess)
        return runtime_say(r, "the device's properties", e);
    if (check_architecture(device, p.name, e) < 0)
        return -1;
    r = cudaStreamCreateWithFlags(&runtime.stream, cudaStreamNonBlocking);
    r = r != cudaSuccess ? r : cudaEventCreate(&began);
    r = r != cudaSuccess ? r : cudaEventCreate(&ended);
    if (r != cudaSuccess)
        return runtime_say(r, p.name, e);
    cudaDriverGetVersion(&driver);
    snprintf(features, sizeof features, "%s sm_%d, driver %d.%d", p.name, runtime.architecture, driver / 1000, driver % 1000 / 10);
    runtime.device = device;
    return gemm_open(e);
}

const char *cuda_features(void)
{
    return features;
}

int cuda_multiprocessors(void)
{
    return runtime.multiprocessors;
}

int cuda_architecture(void)
{
    return runtime.architecture;
}

size_t cuda_shared_limit(void)
{
    return runtime.shared_limit;
}

void *cuda_stream(void)
{
    return runtime.stream;
}

/* --- memory --- */

void *runtime_memory(size_t bytes, struct err *e)
{
    void *p = NULL;
    size_t left = 0, total = 0;
    cudaError_t r = cudaMalloc(&p, bytes ? bytes : 1);
    if (r == cudaSuccess)
        return p;
    if (r == cudaErrorMemoryAllocation && cudaMemGetInfo(&left, &total) == cudaSuccess) {
        cudaGetLastError();
        err_set(e, "cannot get %zu bytes of device memory: %zu of %zu are free", bytes, left, total);
    } else {
        runtime_say(r, "device memory", e);
    }
    return NULL;
}

int64_t cuda_free_memory(void)
{
    size_t left = 0, total = 0;
    return runtime_good(cudaMemGetInfo(&left, &total), "asking for free memory") ? (int64_t)left : 0;
}

void cuda_opened(void)
{
    size_t left = 0, total = 0;
    cuda_sync();
    if (!runtime_good(cudaMemGetInfo(&left, &total), "asking for free memory"))
        return;
    held = (left_before >= 0 ? left_before : (int64_t)total) - (int64_t)left; /* else with what other programs have */
    held = held < 0 ? 0 : held;
}

int64_t cuda_held_memory(void)
{
    return held;
}

void *cuda_alloc(size_t bytes, struct err *e)
{
    void *p = graph_must_not_capture("an allocation") ? runtime_memory(bytes, e) : NULL;
    if (p)
        cuda_zero(p, bytes);
    if (cuda_check(e) < 0) {
        cudaFree(p);
        return NULL;
    }
    return p;
}

void cuda_free(void *device, size_t bytes)
{
    (void)bytes;
    if (device)
        graph_free_memory(device);
}

void cuda_zero(void *device, size_t bytes)
{
    if (bytes && !runtime.failed.set)
        runtime_good(cudaMemsetAsync(device, 0, bytes, runtime.stream), "zeroing");
}

void cuda_copy(void *device, const void *from_device, size_t bytes)
{
    if (bytes && !runtime.failed.set)
        runtime_good(cudaMemcpyAsync(device, from_device, bytes, cudaMemcpyDeviceToDevice, runtime.stream), "a copy on the device");
}

void cuda_sync(void)
{
    if (!runtime.failed.set)
        runtime_good(cudaStreamSynchronize(runtime.stream), "waiting for the device");
}

size_t cuda_scratch_bytes(size_t bytes)
{
    return (bytes + SCRATCH_UNIT - 1) / SCRATCH_UNIT * SCRATCH_UNIT;
}

size_t cuda_own_bytes(void)
{
    return cuda_scratch_bytes(RUNTIME_WORKSPACE) + RUNTIME_PARTS * CUDA_UPLOAD_BYTES;
}

void *cuda_scratch(enum cuda_scratch which, size_t bytes)
{
    if (runtime.failed.set)
        return NULL;
    if (scratch[which].p && bytes <= scratch[which].bytes)
        return scratch[which].p;
    if (scratch[which].p)
        graph_free_memory(scratch[which].p);
    scratch[which].bytes = cuda_scratch_bytes(bytes);
    scratch[which].p = runtime_memory(scratch[which].bytes, &runtime.failed);
    return scratch[which].p;
}

/* --- launches --- */

bool cuda_launch_prepare(const void *kernel, size_t dynamic_shared)
{
    static struct granted {
        const void *kernel;
        size_t bytes;
    } *list;
    static size_t n, cap;
    struct granted *g = NULL;
    if (runtime.failed.set || dynamic_shared <= SHARED_PLAIN)
        return !runtime.failed.set;
    for (size_t i = 0; i < n && !g; i++)
        g = list[i].kernel == kernel ? list + i : NULL;
    if (g && dynamic_shared <= g->bytes)
        return true;
    if (!runtime_good(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, (int)dynamic_shared), "shared memory of a kernel"))
        return false;
    if (!g) {
        list = (struct granted *)mem_grow(list, &cap, n + 1, sizeof *list);
        g = list + n++;
    }
    *g = {kernel, dynamic_shared};
    return true;
}

void cuda_launched(const char *kernel)
{
    runtime_good(cudaGetLastError(), kernel);
}

/* --- time --- */

void cuda_time_begin(void)
{
    if (!runtime.failed.set)
        runtime_good(cudaEventRecord(began, runtime.stream), "taking the time");
}

double cuda_time_end(void)
{
    float ms = 0;
    if (!runtime.failed.set && runtime_good(cudaEventRecord(ended, runtime.stream), "taking the time") &&
        runtime_good(cudaEventSynchronize(ended), "waiting for the device"))
        runtime_good(cudaEventElapsedTime(&ms, began, ended), "taking the time");
    return 1e-3 * (double)ms;
}
