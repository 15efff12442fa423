/* Double quantization (bitsandbytes, functional.py: quantize_4bit with compress_statistics): the absmax of 4-bit blocks, less their mean,
 * in blocks of QUANTIZED_NESTED_BLOCK on the signed dynamic map. Bytes as bitsandbytes' CPU backend gives them from the same mean;
 * the mean's last bit depends on the order of its sum, which is torch's own there. */
#ifndef QUANTIZE_NESTED_H
#define QUANTIZE_NESTED_H

#include <stdint.h>

/* codes (n), scales (ceil(n / QUANTIZED_NESTED_BLOCK)); map: dynamic_map(map, true). Returns the mean. */
float nested_encode(uint8_t *codes, float *scales, const float *map, const float *absmax, int64_t n);

#endif
