/* Copies between a device and memory of the host, made while operations go on: what is not needed for a while leaves the device and comes back.
 *
 *     t = k->transfer;  there = t->host_alloc(bytes, &e);
 *     t->out(there, device, bytes, 0);   begins when all operations started before it are done
 *     ...                                operations beside it, which may read `device` and not write to it
 *     t->wait(0);                        what is started from here on comes behind that copy: `device` is free for other things
 *     t->in(device, there, bytes, 0);    likewise; none of the operations beside it touches `device`
 *     t->wait(0);
 *
 * Each lane has one copy under way at a time; all copies are made in the order in which they were started. The host itself waits for nothing and never looks
 * at that memory. Errors are those of operations. */
#ifndef KERNELS_TRANSFER_H
#define KERNELS_TRANSFER_H

#include <stddef.h>

#include "base/err.h"

#define TRANSFER_LANES 4

struct transfer {
    void *(*host_alloc)(size_t bytes, struct err *e); /* locked in place, where the device reaches it; NULL on error */
    void (*host_free)(void *p, size_t bytes);         /* waits for the copies */
    void (*out)(void *host, const void *device, size_t bytes, int lane);
    void (*in)(void *device, const void *host, size_t bytes, int lane);
    void (*wait)(int lane);                           /* good, and nothing, where no copy is under way */
};

#endif
