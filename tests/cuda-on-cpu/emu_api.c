/* Device code's side of the emulator: where a thread is, and its part in what threads do together. */
#include "tests/cuda-on-cpu/emu_api.h"

#include <stdlib.h>
#include <string.h>

unsigned emu_thread_at(int axis)
{
    const struct emu_thread *t = emu.now;
    return axis == 0 ? t->x : axis == 1 ? t->y : t->z;
}

unsigned emu_block_at(int axis)
{
    return emu.at[axis];
}

unsigned emu_block_dim(int axis)
{
    return emu.block[axis];
}

unsigned emu_grid_dim(int axis)
{
    return emu.grid[axis];
}

uint64_t emu_shuffle(enum emu_warp_op op, uint32_t mask, uint64_t value, int source, int width)
{
    struct emu_thread *t = emu.now;
    if (width <= 0 || width > EMU_WARP || (width & (width - 1)))
        emu_fault(__builtin_return_address(0), "a shuffle of width %d", width);
    t->lane.value = value, t->lane.source = source, t->lane.width = width;
    emu_warp_meet(op, mask);
    return t->lane.value;
}

uint32_t emu_reduce(enum emu_warp_op op, uint32_t mask, uint32_t value)
{
    struct emu_thread *t = emu.now;
    t->lane.value = value;
    emu_warp_meet(op, mask);
    return (uint32_t)t->lane.value;
}

void emu_mma_bf16(float c[4], const uint32_t a[4], const uint32_t b[2])
{
    struct emu_lane *l = &emu.now->lane;
    memcpy(l->a, a, sizeof l->a);
    memcpy(l->b, b, sizeof l->b);
    memcpy(l->c, c, sizeof l->c);
    emu_warp_meet(EMU_MMA_BF16, EMU_ALL_LANES);
    memcpy(c, l->c, sizeof l->c);
}

void emu_ldmatrix(uint32_t *to, int matrices, bool transposed, const void *row)
{
    struct emu_thread *t = emu.now;
    struct emu_lane *l = &t->lane;
    if (t->linear % EMU_WARP < 8u * (unsigned)matrices) {
        if (!access_is_shared(row))
            emu_fault(__builtin_return_address(0), "ldmatrix: row at %p, which is not shared memory", row);
        if ((uintptr_t)row % 16)
            emu_fault(__builtin_return_address(0), "ldmatrix: row at shared memory + %zu, which is no multiple of 16", (size_t)access_is_shared(row) - 1);
    }
    l->row = row, l->matrices = matrices, l->transposed = transposed;
    emu_warp_meet(EMU_LDMATRIX, EMU_ALL_LANES);
    memcpy(to, l->matrix, (size_t)matrices * sizeof *to);
}

void emu_copy_async(void *shared, const void *global, unsigned bytes, unsigned from_global)
{
    struct emu_thread *t = emu.now;
    void *pc = __builtin_return_address(0);
    if (!access_is_shared(shared))
        emu_fault(pc, "cp.async to %p, which is not shared memory", shared);
    if ((bytes != 4 && bytes != 8 && bytes != 16) || from_global > bytes || (uintptr_t)shared % bytes || (uintptr_t)global % bytes)
        emu_fault(pc, "cp.async of %u bytes (%u of them read) from %p to shared memory + %zu: not aligned to its size", bytes, from_global, global,
                  (size_t)access_is_shared(shared) - 1);
    if (from_global && !memory_is_device(global))
        emu_fault(pc, "cp.async from %p, which is not device memory", global);
    if (from_global)
        access_check(global, from_global, false, pc);
    access_copy_begin(shared, bytes, pc);
    if (t->n_copies == t->cap_copies) {
        t->cap_copies = t->cap_copies ? 2 * t->cap_copies : 32;
        t->copies = realloc(t->copies, t->cap_copies * sizeof *t->copies);
        if (!t->copies)
            abort();
    }
    t->copies[t->n_copies++] = (struct emu_copy){(uintptr_t)shared, global, bytes, from_global, 0};
}

void emu_copy_commit(void)
{
    struct emu_thread *t = emu.now;
    t->committed++;
    for (unsigned i = t->n_copies; i-- > 0 && !t->copies[i].group;)
        t->copies[i].group = t->committed;
}

/* Until at most `left` of the committed groups are on their way. */
void emu_copy_wait(unsigned left)
{
    struct emu_thread *t = emu.now;
    unsigned kept = 0;
    for (unsigned i = 0; i < t->n_copies; i++) {
        struct emu_copy *c = &t->copies[i];
        if (!c->group || c->group + left > t->committed) {
            t->copies[kept++] = *c;
            continue;
        }
        if (c->from_global)
            memcpy((void *)c->shared, c->global, c->from_global);
        memset((char *)c->shared + c->from_global, 0, c->bytes - c->from_global);
        access_copy_end((void *)c->shared, c->bytes);
    }
    t->n_copies = kept;
}

void emu_check_range(const void *p, size_t bytes, bool write)
{
    if (bytes)
        access_check(p, bytes, write, __builtin_return_address(0));
}

void emu_trap(const char *what)
{
    emu_fault(__builtin_return_address(0), "%s", what);
}
