/* Kept activations that leave the device: of all layers but the last few they go to memory of the host behind the layer's forward pass, and come
 * back before its backward pass, both beside the passes of other layers. Layer i, counted from the lowest that keeps any, has the place i % slots on the device.
 *
 *     offload_plan(&o, layers, bytes);            o.host_bytes; then offload_take(&o, transfer, &e)
 *     offload_begin(&o, back);                    before a pass forward; back: the layers will be wanted again
 *     for i = 0 ...: offload_enter(&o, i); [forward]; offload_leave(&o, i, place);
 *     for i = layers - 1 ...: offload_enter_back(&o, i); [backward]; offload_leave_back(&o, i, place);
 *     offload_release(&o);
 * Without offload_take, all of it does nothing. A pass may end anywhere. */
#ifndef MODEL_OFFLOAD_H
#define MODEL_OFFLOAD_H

#include <stdbool.h>
#include <stddef.h>

#include "kernels/transfer.h"

#define OFFLOAD_SLOTS 2 /* one in use, one on its way */

struct offload {
    const struct transfer *transfer; /* NULL: nothing is offloaded */
    int layers;
    size_t bytes, host_bytes;        /* of a layer; of those that leave */
    char *host;
    bool back;
};

void offload_plan(struct offload *o, int layers, size_t bytes);
int offload_take(struct offload *o, const struct transfer *t, struct err *e) MUST_CHECK;
void offload_begin(struct offload *o, bool back);
void offload_enter(const struct offload *o, int i);
void offload_leave(const struct offload *o, int i, const void *place);
void offload_enter_back(const struct offload *o, int i);
void offload_leave_back(const struct offload *o, int i, void *place);
void offload_release(struct offload *o);

#endif
