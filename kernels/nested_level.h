/* The nearest level of nested scales (base/quantized.h): which of the 256 of a map, times a block's scale and plus the offset, comes nearest to a value. */
#ifndef NESTED_LEVEL_H
#define NESTED_LEVEL_H

#include <stdint.h>

#include "kernels/host_device.h"

/* A map in ascending order, and the code of each value. */
struct nested {
    float value[256];
    uint8_t code[256];
};

/* The code; *level gets what it stands for. Between two that are as near, the lower. */
static HOST_DEVICE uint8_t nearest_level(const struct nested *m, float scale, float offset, float absmax, float *level)
{
    float want = scale > 0 ? (absmax - offset) / scale : 0;
    int low = 0, high = 255;
    while (high - low > 1) {
        int middle = (low + high) / 2;
        if (m->value[middle] <= want)
            low = middle;
        else
            high = middle;
    }
    int at = want - m->value[low] <= m->value[high] - want ? low : high;
    *level = m->value[at] * scale + offset;
    return m->code[at];
}

#endif
