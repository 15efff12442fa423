/* The shadow of device memory: for each 8 bytes, how many of them, from the first, lie in a block. memory.c writes it, access.c reads it. */
#ifndef DEVICE_SHADOW_H
#define DEVICE_SHADOW_H

#include <stddef.h>
#include <stdint.h>

#define DEVICE_BYTES ((size_t)1 << 38)

extern uintptr_t device_low;
extern uint8_t *device_shadow;

#endif
