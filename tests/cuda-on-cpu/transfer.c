/* The host version of copies beside the operations (kernels/transfer.h): each is made as late as it may be, when it is waited for or the lane gets another,
 * so that what was written over too early or not waited for shows. Until a copy has arrived its place on the device is no memory. */
#include "kernels/transfer.h"

#include <stdlib.h>
#include <string.h>

#include "kernels/cuda/runtime.h"
#include "tests/cuda-on-cpu/emulator.h"

static struct under_way {
    void *to;
    const void *from;
    size_t bytes; /* 0: none */
    bool in;
} lanes[TRANSFER_LANES];

static void finish(struct under_way *c)
{
    if (!c->bytes)
        return;
    if (c->in)
        memory_hide(c->to, c->bytes, false);
    memory_open();
    memcpy(c->to, c->from, c->bytes);
    memory_close();
    c->bytes = 0;
}

void *cuda_host_alloc(size_t bytes, struct err *e)
{
    void *p = calloc(bytes ? bytes : 1, 1);
    if (!p)
        err_set(e, "cannot lock %zu bytes of the host's memory in place", bytes);
    return p;
}

void cuda_host_free(void *p, size_t bytes)
{
    (void)bytes;
    for (int i = 0; p && i < TRANSFER_LANES; i++)
        finish(&lanes[i]);
    free(p);
}

static void begin(int lane, struct under_way c)
{
    const void *device = c.in ? c.to : c.from;
    finish(&lanes[lane]);
    if (!memory_holds(device, c.bytes))
        emu_fault(NULL, "copy beside the operations: %zu bytes that are not of one block", c.bytes);
    lanes[lane] = c;
}

void cuda_transfer_out(void *host, const void *device, size_t bytes, int lane)
{
    begin(lane, (struct under_way){host, device, bytes, false});
}

void cuda_transfer_in(void *device, const void *host, size_t bytes, int lane)
{
    begin(lane, (struct under_way){device, host, bytes, true});
    memory_open();
    memset(device, 0xff, bytes); /* NaN, for who is not asked */
    memory_close();
    memory_hide(device, bytes, true);
}

void cuda_transfer_wait(int lane)
{
    finish(&lanes[lane]);
}
