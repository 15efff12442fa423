/* What a device has left before this process has a context there: libnvidia-ml.so.1, which comes with the driver (NVML API reference, "Device queries"). */
#include "kernels/cuda/runtime_inside.h"

#include <dlfcn.h>

struct nvml_memory {
    unsigned long long total, free, used;
};

int64_t runtime_left_without_context(int device)
{
    char bus[32];
    void *library = dlopen("libnvidia-ml.so.1", RTLD_NOW | RTLD_LOCAL), *handle = NULL;
    struct nvml_memory m = {0, 0, 0};
    int64_t left = -1;
    if (!library)
        return -1;
    int (*init)(void) = (int (*)(void))dlsym(library, "nvmlInit_v2");
    int (*by_bus)(const char *, void **) = (int (*)(const char *, void **))dlsym(library, "nvmlDeviceGetHandleByPciBusId_v2");
    int (*memory)(void *, struct nvml_memory *) = (int (*)(void *, struct nvml_memory *))dlsym(library, "nvmlDeviceGetMemoryInfo");
    int (*end)(void) = (int (*)(void))dlsym(library, "nvmlShutdown");
    if (init && by_bus && memory && end && !init()) {
        if (cudaDeviceGetPCIBusId(bus, sizeof bus, device) == cudaSuccess && !by_bus(bus, &handle) && !memory(handle, &m))
            left = (int64_t)m.free;
        end();
    }
    dlclose(library);
    return left;
}
