/* One block of memory, planned to the byte before it exists.
 *
 * A layout function asks the arena for its parts in order. It is run twice: first on an arena without memory
 * (arena_init; pointers come back NULL and only the sizes are counted), then, after arena_commit() has taken
 * exactly that many bytes from the system, again with the same arguments. Parts are aligned to 64 bytes.
 *     struct arena a; arena_init(&a); layout(&a, ...); [print the plan]; arena_commit(&a, alloc, free, &err); layout(&a, ...);
 * The memory comes from the caller's functions, those of a device (kernels/kernels.h) for instance, and is never touched here.
 * Labels are string literals; parts with the same label are summed in the plan. */
#ifndef BASE_ARENA_H
#define BASE_ARENA_H

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"

#define ARENA_LABELS 32

struct arena {
    char *base;                                       /* NULL while planning; not the host's memory on every device */
    size_t size, used;                                /* bytes */
    void (*free)(void *p, size_t bytes);
    int n_labels;
    struct { const char *label; size_t bytes; } parts[ARENA_LABELS];
};

void arena_init(struct arena *a);
void *arena_alloc(struct arena *a, const char *label, size_t count, size_t size);
/* Takes `used` bytes, zeroed; alloc returns NULL on error. */
int arena_commit(struct arena *a, void *(*alloc)(size_t bytes, struct err *e), void (*free)(void *p, size_t bytes), struct err *e) MUST_CHECK;
void arena_release(struct arena *a);

#endif
