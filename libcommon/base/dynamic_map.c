#include "base/dynamic_map.h"

#include <math.h>
#include <stdlib.h>

/* torch.linspace(0.1, 1, n)[k]: from the nearer end, each in one rounding. */
static float linspace(int n, int k)
{
    const float first = 0.1f, last = 1;
    float step = (last - first) / (float)(n - 1);
    return k < n / 2 ? fmaf(step, (float)k, first) : fmaf(-step, (float)(n - 1 - k), last);
}

static int ascending(const void *a, const void *b)
{
    const float *x = a, *y = b;
    return (*x > *y) - (*x < *y);
}

void dynamic_map(float map[DYNAMIC_MAP_SIZE], bool is_signed)
{
    static const float powers[7] = {1e-6f, 1e-5f, 1e-4f, 1e-3f, 1e-2f, 1e-1f, 1};
    int n = 0;
    map[n++] = 0;
    map[n++] = 1;
    for (int i = 0; i < 7; i++) {
        int points = (is_signed ? 1 << i : 2 << i) + 1;
        for (int k = 0; k + 1 < points; k++) {
            float mean = (linspace(points, k) + linspace(points, k + 1)) / 2 * powers[i];
            map[n++] = mean;
            if (is_signed)
                map[n++] = -mean;
        }
    }
    qsort(map, DYNAMIC_MAP_SIZE, sizeof *map, ascending);
}

uint8_t dynamic_map_index(const float map[DYNAMIC_MAP_SIZE], float v)
{
    float clamped = v > -1 ? v < 1 ? v : 1 : -1;
    return dynamic_map_bin_index(map, (int32_t)((clamped + 1) * 0.5f * (DYNAMIC_MAP_BINS - 1) + 0.5f));
}

uint8_t dynamic_map_bin_index(const float map[DYNAMIC_MAP_SIZE], int32_t bin)
{
    float place = -1 + 2 * (float)bin / (DYNAMIC_MAP_BINS - 1);
    int low = 0, high = DYNAMIC_MAP_SIZE - 1; /* midpoints below `low` are below the place, those from `high` on are not */
    while (low < high) {
        int middle = (low + high) / 2;
        if (0.5f * (map[middle] + map[middle + 1]) < place)
            low = middle + 1;
        else
            high = middle;
    }
    return (uint8_t)low;
}
