#include "model/offload.h"

/* The last layers are still in their places when backward begins. */
static bool leaves(const struct offload *o, int i)
{
    return o->host && o->back && i + OFFLOAD_SLOTS < o->layers;
}

void offload_plan(struct offload *o, int layers, size_t bytes)
{
    *o = (struct offload){.layers = layers, .bytes = bytes, .host_bytes = layers > OFFLOAD_SLOTS ? (size_t)(layers - OFFLOAD_SLOTS) * bytes : 0};
}

int offload_take(struct offload *o, const struct transfer *t, struct err *e)
{
    o->transfer = t;
    if (o->host_bytes && !(o->host = t->host_alloc(o->host_bytes, e)))
        return -1;
    return 0;
}

void offload_begin(struct offload *o, bool back)
{
    o->back = back;
    for (int lane = 0; o->host && lane < OFFLOAD_SLOTS; lane++)
        o->transfer->wait(lane); /* an earlier pass may have ended in the middle */
}

void offload_enter(const struct offload *o, int i)
{
    if (i >= OFFLOAD_SLOTS && leaves(o, i - OFFLOAD_SLOTS))
        o->transfer->wait(i % OFFLOAD_SLOTS);
}

void offload_leave(const struct offload *o, int i, const void *place)
{
    if (leaves(o, i))
        o->transfer->out(o->host + (size_t)i * o->bytes, place, o->bytes, i % OFFLOAD_SLOTS);
}

void offload_enter_back(const struct offload *o, int i)
{
    if (leaves(o, i))
        o->transfer->wait(i % OFFLOAD_SLOTS);
}

void offload_leave_back(const struct offload *o, int i, void *place)
{
    if (i >= OFFLOAD_SLOTS && leaves(o, i - OFFLOAD_SLOTS))
        o->transfer->in(place, o->host + (size_t)(i - OFFLOAD_SLOTS) * o->bytes, o->bytes, i % OFFLOAD_SLOTS);
}

void offload_release(struct offload *o)
{
    if (o->host)
        o->transfer->host_free(o->host, o->host_bytes);
    *o = (struct offload){0};
}
