#include "kernels/cpu/scratch.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>

#include "base/mem.h"

#define ALIGN 64

struct block {
    void *memory;
    float *aligned;
    size_t floats;
};

static _Thread_local struct block *blocks; /* SCRATCH_USES of them */
static pthread_key_t at_exit_of_thread; /* where the system has none left, an ended thread's blocks stay */
static bool has_key;
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void release(void *arg)
{
    struct block *b = arg;
    for (int i = 0; i < SCRATCH_USES; i++)
        free(b[i].memory);
    free(b);
}

static void make_key(void)
{
    has_key = pthread_key_create(&at_exit_of_thread, release) == 0;
}

float *scratch_get(enum scratch_use use, size_t floats)
{
    if (!blocks) { /* teams shrink, and their threads end */
        blocks = mem_zalloc(SCRATCH_USES, sizeof *blocks);
        pthread_once(&once, make_key);
        if (has_key)
            pthread_setspecific(at_exit_of_thread, blocks);
    }
    struct block *b = &blocks[use];
    if (floats > b->floats) {
        free(b->memory);
        b->memory = mem_alloc(floats * sizeof(float) + ALIGN);
        b->aligned = (float *)(((uintptr_t)b->memory + ALIGN - 1) & ~(uintptr_t)(ALIGN - 1));
        b->floats = floats;
    }
    return b->aligned;
}
