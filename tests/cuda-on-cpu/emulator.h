/* Runs grids of CUDA threads on the CPU and finds what a GPU would let pass: the inside of the emulator.
 *
 * The .cu files are compiled by g++ with cuda_on_cpu.h, which maps the language, and with -fsanitize=thread, whose library is not
 * linked: the compiler then calls __tsan_read4(address) and so on before every access to memory, and access.c answers. One block
 * runs at a time; its threads are fibers (fiber.c), which run until they end or meet (grid.c).
 *
 * Every finding is one line on stderr that names kernel, block and thread, and abort(). */
#ifndef EMULATOR_H
#define EMULATOR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define EMU_MAX_THREADS 1024
#define EMU_WARP 32
#define EMU_MAX_SHARED (227 * 1024) /* of one block on sm_90 */
#define EMU_ALL_LANES 0xffffffffu

enum emu_state { EMU_NEW, EMU_READY, EMU_AT_BARRIER, EMU_AT_WARP, EMU_DONE };

/* What the threads of a block do together. */
enum emu_barrier { EMU_SYNC, EMU_SYNC_OR, EMU_SYNC_AND, EMU_SYNC_COUNT };

/* What the lanes of a warp do together. */
enum emu_warp_op { EMU_SYNCWARP, EMU_SHFL, EMU_SHFL_XOR, EMU_SHFL_UP, EMU_SHFL_DOWN, EMU_ALL, EMU_ANY, EMU_BALLOT, EMU_REDUCE_ADD,
                   EMU_REDUCE_MIN, EMU_REDUCE_MAX, EMU_REDUCE_UMIN, EMU_REDUCE_UMAX, EMU_REDUCE_AND, EMU_REDUCE_OR, EMU_REDUCE_XOR,
                   EMU_MMA_BF16, EMU_LDMATRIX };

/* One lane's part in a warp operation. */
struct emu_lane {
    uint64_t value;                 /* in and out */
    int source, width;              /* shuffles */
    uint32_t a[4], b[2], matrix[4]; /* fragments; ldmatrix: what the lane gets */
    float c[4];
    const void *row;                /* ldmatrix: the row this lane points at */
    int matrices;
    bool transposed;
};

/* A cp.async on its way. */
struct emu_copy {
    uintptr_t shared;
    const void *global;
    unsigned bytes, from_global; /* the rest is zero */
    unsigned group;              /* the commit that it belongs to; 0: none yet */
};

struct emu_thread {
    unsigned x, y, z, linear;
    enum emu_state state;
    int stack;
    enum emu_barrier barrier;
    int predicate;
    enum emu_warp_op op;
    uint32_t mask;
    struct emu_lane lane;
    struct emu_copy *copies;
    unsigned n_copies, cap_copies, committed, waited;
};

struct emu {
    struct emu_thread *now; /* NULL: no kernel runs */
    const char *kernel;
    unsigned grid[3], block[3], at[3];
    unsigned n_threads, n_warps;
    size_t dynamic_bytes;
    void (*call)(void *arg);
    void *arg;
    uint32_t epoch, block_epoch;                       /* counts barriers; the epoch in which this block began */
    uint16_t warp_epoch[EMU_MAX_THREADS / EMU_WARP];   /* counts __syncwarp between barriers */
    int barrier_result;
    struct emu_thread threads[EMU_MAX_THREADS];
};

extern struct emu emu;

/* fiber.c: stacks, taken last in first out; a stack runs emu.call(emu.arg) again and again, and fiber_leave() between. */
void fiber_prepare(void);
int fiber_take(void);
void fiber_give(int stack);
void fiber_enter(int stack); /* until fiber_leave() */
void fiber_leave(int stack);
uintptr_t fiber_low(void), fiber_high(void); /* where all stacks lie */

/* grid.c */
int emu_block_barrier(enum emu_barrier kind, int predicate);
void emu_warp_meet(enum emu_warp_op op, uint32_t mask); /* with emu.now->lane filled */

/* access.c: what a thread, or on its behalf an operation, reads and writes. */
void access_prepare(void);
void access_launch(void); /* learns where the shared memory of this launch is */
void access_check(const void *p, size_t bytes, bool write, void *pc);
void access_copy_begin(const void *shared, unsigned bytes, void *pc); /* cp.async: nobody may touch these until ... */
void access_copy_end(const void *shared, unsigned bytes);
uintptr_t access_is_shared(const void *p);

/* memory.c: the device's memory, a range of its own with guards between the blocks. */
void memory_prepare(void);
void *memory_alloc(size_t bytes); /* zeroed; NULL: no more */
void memory_free(void *p);
bool memory_is_device(const void *p);
bool memory_holds(const void *p, size_t bytes);                  /* within one block? */
void memory_describe(const void *p, char *to, size_t n);         /* "device memory: 3 bytes behind a block of 400 bytes" */
void memory_hide(const void *p, size_t bytes, bool hide);         /* whole units of 8 bytes are no memory for kernels, until they are shown again */
void memory_open(void);                                          /* the host may touch it, until memory_close (FINETOOLS_CUDA_PROTECT=1) */
void memory_close(void);

/* fault.c */
void emu_fault(void *pc, const char *format, ...) __attribute__((noreturn, format(printf, 2, 3)));

#ifdef __cplusplus
}
#endif

#endif
