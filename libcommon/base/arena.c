#include "base/arena.h"

#include <string.h>
#include <sys/mman.h>

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

int arena_commit(struct arena *a, struct err *e)
{
    a->size = a->used;
    a->used = 0;
    void *p = mmap(NULL, a->size ? a->size : 1, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED)
        return err_sys(e, "cannot get %zu bytes of memory", a->size);
    madvise(p, a->size, MADV_HUGEPAGE);
    a->base = p;
    return 0;
}

void arena_release(struct arena *a)
{
    if (a->base)
        munmap(a->base, a->size ? a->size : 1);
    arena_init(a);
}
