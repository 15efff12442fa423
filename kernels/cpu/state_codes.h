/* Tables of the codes in which adamw_8bit keeps its moments: the first with a sign, the second without. Made once. */
#ifndef KERNELS_CPU_STATE_CODES_H
#define KERNELS_CPU_STATE_CODES_H

#include "base/dynamic_map.h"

struct state_codes {
    float map[DYNAMIC_MAP_SIZE];
    uint8_t bins[DYNAMIC_MAP_BINS]; /* index of each bin */
};

struct state_tables {
    struct state_codes m, v;
};

const struct state_tables *state_tables(void);

#endif
