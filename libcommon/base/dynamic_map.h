/* The dynamic 8-bit maps of bitsandbytes (functional.py, create_dynamic_map): 256 ascending numbers, dense around 0. The signed one
 * stands for the absmax of nested 4-bit weights and the first moment of 8-bit optimizers, the unsigned one for the second moment. */
#ifndef BASE_DYNAMIC_MAP_H
#define BASE_DYNAMIC_MAP_H

#include <stdbool.h>
#include <stdint.h>

#define DYNAMIC_MAP_SIZE 256

void dynamic_map(float map[DYNAMIC_MAP_SIZE], bool is_signed); /* the same bits as torch's arithmetic gives */

/* Index of v, which lies in -1 .. 1 (NaN is as -1), by the 65536 bins of bitsandbytes' CPU backend (csrc/cpu_ops.cpp): the number of
 * midpoints between neighbours that lie below the bin's place. Nearest but for one value in 600; 0 becomes the number above it. */
uint8_t dynamic_map_index(const float map[DYNAMIC_MAP_SIZE], float v);

#define DYNAMIC_MAP_BINS 65536
uint8_t dynamic_map_bin_index(const float map[DYNAMIC_MAP_SIZE], int32_t bin);

#endif
