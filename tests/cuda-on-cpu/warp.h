/* What the lanes of a warp do together, once all of them have come: fills the lanes of `mask` in threads `first` .. */
#ifndef WARP_H
#define WARP_H

#include "tests/cuda-on-cpu/emulator.h"

void warp_complete(struct emu_thread *first, enum emu_warp_op op, uint32_t mask);

#endif
