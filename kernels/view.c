#include "kernels/view.h"

#include <stdlib.h>

#include "base/mem.h"

int kernels_each(const struct kernels *k, const void *device, size_t bytes, int (*sink)(void *arg, const void *host, size_t n), void *arg)
{
    if (k->host_memory)
        return sink(arg, device, bytes);
    char *host = mem_alloc(KERNELS_PIECE);
    int code = 0;
    for (size_t at = 0, n; at < bytes && !code; at += n) {
        n = bytes - at < KERNELS_PIECE ? bytes - at : KERNELS_PIECE;
        k->copy_out(host, (const char *)device + at, n);
        code = sink(arg, host, n);
    }
    free(host);
    return code;
}
