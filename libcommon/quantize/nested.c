#include "quantize/nested.h"

#include <math.h>

#include "base/dynamic_map.h"
#include "base/quantized.h"

static void encode_block(uint8_t *codes, float *scale, const float *map, const float *absmax, int64_t n, float mean)
{
    float most = 0;
    for (int64_t i = 0; i < n; i++)
        most = fmaxf(most, fabsf(absmax[i] - mean));
    *scale = most;
    float inverse = most > 0 ? 1 / most : 0;
    for (int64_t i = 0; i < n; i++)
        codes[i] = most > 0 ? dynamic_map_index(map, (absmax[i] - mean) * inverse) : 0;
}

float nested_encode(uint8_t *codes, float *scales, const float *map, const float *absmax, int64_t n)
{
    double sum = 0;
    for (int64_t i = 0; i < n; i++)
        sum += absmax[i];
    float mean = n ? (float)(sum / (double)n) : 0;
#pragma omp parallel for schedule(static)
    for (int64_t b = 0; b < (n + QUANTIZED_NESTED_BLOCK - 1) / QUANTIZED_NESTED_BLOCK; b++) {
        int64_t first = b * QUANTIZED_NESTED_BLOCK, left = n - first;
        encode_block(codes + first, &scales[b], map, absmax + first, left < QUANTIZED_NESTED_BLOCK ? left : QUANTIZED_NESTED_BLOCK, mean);
    }
    return mean;
}
