/* What compiled device code calls (cuda_on_cpu.h, ptx_on_cpu.h): C on both sides. */
#ifndef EMU_API_H
#define EMU_API_H

#include "tests/cuda-on-cpu/emulator.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Of the running thread: fixed for as long as a function of its own runs. */
unsigned emu_thread_at(int axis) __attribute__((const, nothrow));
unsigned emu_block_at(int axis) __attribute__((const, nothrow));
unsigned emu_block_dim(int axis) __attribute__((const, nothrow));
unsigned emu_grid_dim(int axis) __attribute__((const, nothrow));
void *emu_dynamic_shared(void) __attribute__((const, nothrow));

/* Runs, or while a graph is captured keeps, a launch; call(arg) is the kernel with its arguments, `bytes` at arg. */
void emu_launch_later(const char *kernel, const unsigned grid[3], const unsigned block[3], size_t dynamic_bytes, void (*call)(void *arg), const void *arg,
                      size_t bytes);
void emu_launch(const char *kernel, const unsigned grid[3], const unsigned block[3], size_t dynamic_bytes, void (*call)(void *arg), void *arg);

uint64_t emu_shuffle(enum emu_warp_op op, uint32_t mask, uint64_t value, int source, int width);
uint32_t emu_reduce(enum emu_warp_op op, uint32_t mask, uint32_t value);
void emu_mma_bf16(float c[4], const uint32_t a[4], const uint32_t b[2]);
void emu_ldmatrix(uint32_t *to, int matrices, bool transposed, const void *row);
void emu_copy_async(void *shared, const void *global, unsigned bytes, unsigned from_global);
void emu_copy_commit(void);
void emu_copy_wait(unsigned left);

/* The memory of an atomic operation, checked; no race with other atomic ones. */
void emu_atomic(const void *p, size_t bytes);
void emu_check_range(const void *p, size_t bytes, bool write);
__attribute__((noreturn)) void emu_trap(const char *what);

#ifdef __cplusplus
}
#endif

#endif
