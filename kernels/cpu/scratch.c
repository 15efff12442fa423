#include "kernels/cpu/scratch.h"

#include <stdint.h>
#include <stdlib.h>

#include "base/mem.h"

#define ALIGN 64

static _Thread_local struct {
    void *block;
    float *aligned;
    size_t floats;
} scratch[SCRATCH_USES];

float *scratch_get(enum scratch_use use, size_t floats)
{
    if (floats > scratch[use].floats) {
        free(scratch[use].block);
        scratch[use].block = mem_alloc(floats * sizeof(float) + ALIGN);
        scratch[use].aligned = (float *)(((uintptr_t)scratch[use].block + ALIGN - 1) & ~(uintptr_t)(ALIGN - 1));
        scratch[use].floats = floats;
    }
    return scratch[use].aligned;
}
