/* The host's sight of device memory: itself where it is the host's, else copies.
 *
 *     x = kernels_view(k, device, spare, bytes);      to read; `spare` has room for them
 *     kernels_each(k, device, bytes, sink, arg);      the bytes in order, in pieces of at most KERNELS_PIECE where they are copied
 *     x = kernels_stage(k, device, spare);            to write to: then kernels_staged(k, device, x, bytes) */
#ifndef KERNELS_VIEW_H
#define KERNELS_VIEW_H

#include "kernels/kernels.h"

#define KERNELS_PIECE ((size_t)1 << 20) /* bytes */

static inline const void *kernels_view(const struct kernels *k, const void *device, void *spare, size_t bytes)
{
    if (k->host_memory)
        return device;
    k->copy_out(spare, device, bytes);
    return spare;
}

static inline void *kernels_stage(const struct kernels *k, void *device, void *spare)
{
    return k->host_memory ? device : spare;
}

static inline void kernels_staged(const struct kernels *k, void *device, const void *host, size_t bytes)
{
    if (!k->host_memory)
        k->copy_in(device, host, bytes);
}

/* What sink returns, when not 0, ends and is returned. */
int kernels_each(const struct kernels *k, const void *device, size_t bytes, int (*sink)(void *arg, const void *host, size_t n), void *arg);

#endif
