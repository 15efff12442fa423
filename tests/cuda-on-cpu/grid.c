/* Blocks one after another; the threads of a block in order, each until it ends or waits for others. */
#include "tests/cuda-on-cpu/emulator.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/cuda-on-cpu/emu_api.h"
#include "tests/cuda-on-cpu/warp.h"

struct emu emu;

/* FINETOOLS_CUDA_ORDER=backwards: blocks and warps from the last to the first. Results may not depend on it. */
static bool backwards;

static void run(struct emu_thread *t)
{
    if (t->state == EMU_NEW)
        t->stack = fiber_take();
    t->state = EMU_READY;
    emu.now = t;
    fiber_enter(t->stack);
    emu.now = NULL;
    if (t->state == EMU_DONE)
        fiber_give(t->stack);
}

static bool can_run(const struct emu_thread *t)
{
    return t->state == EMU_NEW || t->state == EMU_READY;
}

/* Runs the lanes of a warp as far as they come without the others of the block. */
static bool run_warp(unsigned w)
{
    unsigned from = w * EMU_WARP, to = from + EMU_WARP < emu.n_threads ? from + EMU_WARP : emu.n_threads;
    bool any = false, again = true;
    while (again) {
        again = false;
        for (unsigned i = from; i < to; i++)
            if (can_run(&emu.threads[i])) {
                run(&emu.threads[i]);
                any = again = true;
            }
    }
    return any;
}

static void list_threads(char *to, size_t n, enum emu_state state)
{
    size_t at = 0;
    for (unsigned i = 0; i < emu.n_threads && at + 40 < n; i++) {
        unsigned end = i;
        if (emu.threads[i].state != state)
            continue;
        while (end + 1 < emu.n_threads && emu.threads[end + 1].state == state)
            end++;
        at += (size_t)snprintf(to + at, n - at, end > i ? "%s%u-%u" : "%s%u", at ? ", " : "", i, end);
        i = end;
    }
    if (!at)
        snprintf(to, n, "none");
}

static _Noreturn void stuck(void)
{
    char barrier[200], warp[200], done[200];
    list_threads(barrier, sizeof barrier, EMU_AT_BARRIER);
    list_threads(warp, sizeof warp, EMU_AT_WARP);
    list_threads(done, sizeof done, EMU_DONE);
    for (unsigned i = 0; i < emu.n_threads; i++)
        if (emu.threads[i].state == EMU_AT_BARRIER || emu.threads[i].state == EMU_AT_WARP) {
            emu.now = &emu.threads[i];
            break;
        }
    emu_fault(NULL, "a barrier is not reached by all: threads %s wait at a barrier of the block, %s at one of their warp, %s have ended", barrier, warp, done);
}

static void pass_barrier(void)
{
    int any = 0, all = 1, count = 0;
    for (unsigned i = 0; i < emu.n_threads; i++) {
        struct emu_thread *t = &emu.threads[i];
        if (t->state != EMU_AT_BARRIER)
            stuck();
        if (t->barrier != emu.threads[0].barrier) {
            emu.now = t;
            emu_fault(NULL, "threads wait at different barriers: this one at kind %d, thread 0 at kind %d", t->barrier, emu.threads[0].barrier);
        }
        any |= t->predicate != 0, all &= t->predicate != 0, count += t->predicate != 0;
    }
    for (unsigned i = 0; i < emu.n_threads; i++)
        emu.threads[i].state = EMU_READY;
    enum emu_barrier kind = emu.threads[0].barrier;
    emu.barrier_result = kind == EMU_SYNC_OR ? any : kind == EMU_SYNC_AND ? all : count;
    emu.epoch++;
    memset(emu.warp_epoch, 0, sizeof emu.warp_epoch);
}

static void run_block(void)
{
    unsigned done;
    emu.block_epoch = ++emu.epoch;
    memset(emu.warp_epoch, 0, sizeof emu.warp_epoch);
    for (unsigned i = 0; i < emu.n_threads; i++) {
        struct emu_thread *t = &emu.threads[i];
        t->state = EMU_NEW;
        t->n_copies = t->committed = t->waited = 0;
    }
    for (;;) {
        for (unsigned w = 0; w < emu.n_warps; w++)
            run_warp(backwards ? emu.n_warps - 1 - w : w);
        done = 0;
        for (unsigned i = 0; i < emu.n_threads; i++)
            done += emu.threads[i].state == EMU_DONE;
        if (done == emu.n_threads)
            return;
        pass_barrier();
    }
}

int emu_block_barrier(enum emu_barrier kind, int predicate)
{
    struct emu_thread *t = emu.now;
    t->barrier = kind, t->predicate = predicate;
    t->state = EMU_AT_BARRIER;
    fiber_leave(t->stack);
    return emu.barrier_result;
}

void emu_warp_meet(enum emu_warp_op op, uint32_t mask)
{
    struct emu_thread *t = emu.now, *first = &emu.threads[t->linear / EMU_WARP * EMU_WARP];
    uint32_t arrived = 0;
    if (!(mask >> t->linear % EMU_WARP & 1))
        emu_fault(__builtin_return_address(0), "an operation of the warp whose mask %08x leaves out this thread", mask);
    t->op = op, t->mask = mask;
    t->state = EMU_AT_WARP;
    for (unsigned i = 0; i < EMU_WARP && first + i < emu.threads + emu.n_threads; i++)
        if (first[i].state == EMU_AT_WARP && mask >> i & 1) {
            if (first[i].mask != mask || first[i].op != op)
                emu_fault(__builtin_return_address(0), "lanes of a warp meet at different operations: this one at %d with mask %08x, lane %u at %d with mask %08x", op, mask,
                          i, first[i].op, first[i].mask);
            arrived |= 1u << i;
        }
    if (arrived != mask) {
        fiber_leave(t->stack);
        return;
    }
    warp_complete(first, op, mask);
    for (unsigned i = 0; i < EMU_WARP; i++)
        if (mask >> i & 1)
            first[i].state = EMU_READY;
}

void emu_launch(const char *kernel, const unsigned grid[3], const unsigned block[3], size_t dynamic_bytes, void (*call)(void *), void *arg)
{
    const char *order = getenv("FINETOOLS_CUDA_ORDER");
    uint64_t blocks = (uint64_t)grid[0] * grid[1] * grid[2];
    fiber_prepare();
    access_prepare();
    backwards = order && !strcmp(order, "backwards");
    emu.kernel = kernel, emu.call = call, emu.arg = arg, emu.dynamic_bytes = dynamic_bytes;
    memcpy(emu.grid, grid, sizeof emu.grid);
    memcpy(emu.block, block, sizeof emu.block);
    memset(emu.at, 0, sizeof emu.at);
    uint64_t threads = (uint64_t)block[0] * block[1] * block[2];
    if (!blocks || grid[0] > 0x7fffffffu || grid[1] > 65535 || grid[2] > 65535 || !threads || threads > EMU_MAX_THREADS || dynamic_bytes > EMU_MAX_SHARED)
        emu_fault(NULL, "a launch of a grid of %u x %u x %u blocks of %u x %u x %u threads with %zu bytes of shared memory: outside the limits", grid[0], grid[1], grid[2], block[0],
                  block[1], block[2], dynamic_bytes);
    emu.n_threads = (unsigned)threads, emu.n_warps = (emu.n_threads + EMU_WARP - 1) / EMU_WARP;
    for (unsigned i = 0; i < emu.n_threads; i++) {
        struct emu_thread *t = &emu.threads[i];
        t->linear = i, t->x = i % block[0], t->y = i / block[0] % block[1], t->z = i / block[0] / block[1];
    }
    access_launch();
    memory_open();
    for (uint64_t i = 0; i < blocks; i++) {
        uint64_t b = backwards ? blocks - 1 - i : i;
        emu.at[0] = (unsigned)(b % grid[0]), emu.at[1] = (unsigned)(b / grid[0] % grid[1]), emu.at[2] = (unsigned)(b / grid[0] / grid[1]);
        run_block();
    }
    memory_close();
    emu.kernel = NULL;
}
