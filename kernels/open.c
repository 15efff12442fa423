/* kernels_open: the CPU, or the CUDA backend, a shared object that is looked for at run time: FINETOOLS_CUDA_SO names it, else it lies
 * beside the program, in ../lib or ../lib/finetools. */
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"
#include "kernels/cpu/open.h"

#define CUDA_SO "finetools-cuda.so"

typedef const struct kernels *cuda_open_function(int device, struct err *e);

/* The path, to be freed; NULL when there is none. */
static char *find_beside_program(void)
{
    static const char *const places[] = {"../lib/" CUDA_SO, "../lib/finetools/" CUDA_SO};
    char self[4096];
    ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);
    if (n <= 0)
        return NULL;
    self[n] = 0;
    char *slash = strrchr(self, '/');
    for (size_t i = 0; slash && i < sizeof places / sizeof *places; i++) {
        char *path = mem_printf("%.*s%s", (int)(slash + 1 - self), self, places[i]);
        if (access(path, R_OK) == 0)
            return path;
        free(path);
    }
    return NULL;
}

static cuda_open_function *cuda_load(struct err *e)
{
    static cuda_open_function *loaded;
    if (loaded)
        return loaded;
    const char *named = getenv("FINETOOLS_CUDA_SO");
    char *path = named && *named ? mem_strdup(named) : find_beside_program();
    if (!path) {
        err_set(e, "there is no CUDA backend: no %s in ../lib or ../lib/finetools beside the program, and FINETOOLS_CUDA_SO is not set", CUDA_SO);
        return NULL;
    }
    void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (!library)
        err_set(e, "%s", dlerror());
    else if (!(*(void **)&loaded = dlsym(library, "finetools_cuda_open")))
        err_set(e, "%s is not a CUDA backend of finetools", path);
    free(path);
    return loaded;
}

/* "cuda" is "cuda:0". */
static const struct kernels *open_cuda(const char *device, struct err *e)
{
    char *end = NULL;
    long number = device[4] ? strtol(device + 5, &end, 10) : 0;
    if (device[4] && (device[4] != ':' || end == device + 5 || *end || number < 0 || number > 999)) {
        err_set(e, "device '%s': expected cuda or cuda:N", device);
        return NULL;
    }
    cuda_open_function *open = cuda_load(e);
    const struct kernels *k = open ? open((int)number, e) : NULL;
    if (!k)
        err_prefix(e, "device '%s'", device);
    return k;
}

const struct kernels *kernels_open(const char *device, struct err *e)
{
    struct err unused = ERR_INIT;
    const struct kernels *k = NULL;
    if (!strncmp(device, "cuda", 4))
        return open_cuda(device, e);
    if (!strcmp(device, "auto"))
        k = open_cuda("cuda", &unused);
    else if (strcmp(device, "cpu")) {
        err_set(e, "device '%s': unknown, expected auto, cpu, cuda or cuda:N", device);
        return NULL;
    }
    return k ? k : cpu_open(e);
}
