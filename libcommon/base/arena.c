#include "base/arena.h"

#include <string.h>

void arena_init(struct arena *a)
{
    memset(a, 0, sizeof *a);
}

void *arena_alloc(struct arena *a, const char *label, size_t count, size_t size)
{
    size_t bytes;
    if (__builtin_mul_overflow(count, size, &bytes) || bytes > (size_t)1 << 60)
        bytes = (size_t)1 << 60; /* will not fit, and says so in the plan */
    bytes = (bytes + 63) & ~(size_t)63;
    void *p = a->base ? a->base + a->used : NULL;
    a->used += bytes;
    if (a->base)
        return p;
    int i = 0;
    while (i < a->n_labels && strcmp(a->parts[i].label, label))
        i++;
    if (i == a->n_labels && i < ARENA_LABELS)
        a->parts[a->n_labels++].label = label;
    if (i < ARENA_LABELS)
        a->parts[i].bytes += bytes;
    return p;
}

int arena_commit(struct arena *a, void *(*alloc)(size_t bytes, struct err *e), void (*release)(void *p, size_t bytes), struct err *e)
{
    a->size = a->used ? a->used : 1;
    a->used = 0;
    a->free = release;
    a->base = alloc(a->size, e);
    return a->base ? 0 : -1;
}

void arena_release(struct arena *a)
{
    if (a->base)
        a->free(a->base, a->size);
    arena_init(a);
}
