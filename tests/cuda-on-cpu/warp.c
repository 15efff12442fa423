/* Operations of a warp by their documented semantics (CUDA C++ programming guide, "Warp functions"; PTX ISA, "mma.m16n8k16",
 * "ldmatrix"). */
#include "tests/cuda-on-cpu/warp.h"

#include <string.h>

#include "base/dtype.h"

/* The lane that lane i reads from; i itself where the source lies outside its segment of `width` lanes. */
static unsigned shuffle_source(enum emu_warp_op op, const struct emu_lane *l, unsigned i)
{
    unsigned width = (unsigned)l->width, base = i & ~(width - 1), by = (unsigned)l->source;
    switch (op) {
    case EMU_SHFL:
        return base + (by & (width - 1));
    case EMU_SHFL_XOR: /* may reach into an earlier segment, not into a later one */
        return (i ^ by) < base + width ? i ^ by : i;
    case EMU_SHFL_UP:
        return i - base >= by ? i - by : i;
    default:
        return i - base + by < width ? i + by : i;
    }
}

static void shuffle(struct emu_thread *first, enum emu_warp_op op, uint32_t mask)
{
    uint64_t values[EMU_WARP];
    for (unsigned i = 0; i < EMU_WARP; i++)
        values[i] = mask >> i & 1 ? first[i].lane.value : 0;
    for (unsigned i = 0; i < EMU_WARP; i++) {
        if (!(mask >> i & 1))
            continue;
        unsigned from = shuffle_source(op, &first[i].lane, i);
        if (!(mask >> from & 1)) {
            emu.now = &first[i];
            emu_fault(NULL, "a shuffle reads from lane %u, which mask %08x leaves out", from, mask);
        }
        first[i].lane.value = values[from];
    }
}

static void reduce(struct emu_thread *first, enum emu_warp_op op, uint32_t mask)
{
    bool begun = false;
    uint32_t r = 0, ballot = 0;
    for (unsigned i = 0; i < EMU_WARP; i++) {
        if (!(mask >> i & 1))
            continue;
        uint32_t v = (uint32_t)first[i].lane.value;
        ballot |= (v != 0 ? 1u : 0u) << i;
        if (!begun)
            r = v;
        else if (op == EMU_REDUCE_ADD)
            r += v;
        else if (op == EMU_REDUCE_MIN)
            r = (int32_t)v < (int32_t)r ? v : r;
        else if (op == EMU_REDUCE_MAX)
            r = (int32_t)v > (int32_t)r ? v : r;
        else if (op == EMU_REDUCE_UMIN)
            r = v < r ? v : r;
        else if (op == EMU_REDUCE_UMAX)
            r = v > r ? v : r;
        else if (op == EMU_REDUCE_AND)
            r &= v;
        else if (op == EMU_REDUCE_OR)
            r |= v;
        else if (op == EMU_REDUCE_XOR)
            r ^= v;
        begun = true;
    }
    if (op == EMU_ALL)
        r = ballot == mask;
    else if (op == EMU_ANY)
        r = ballot != 0;
    else if (op == EMU_BALLOT)
        r = ballot;
    for (unsigned i = 0; i < EMU_WARP; i++)
        if (mask >> i & 1)
            first[i].lane.value = r;
}

static float half_of(uint32_t word, unsigned which)
{
    return bf16_to_f32((uint16_t)(word >> 16 * which));
}

/* C (16, 8) += A (16, 16) B (16, 8). With group = lane / 4 and t = lane % 4, a lane holds of A the rows group and group + 8 at the
 * columns 2t, 2t + 1 (a[0], a[1]) and 2t + 8, 2t + 9 (a[2], a[3]); of B the rows 2t, 2t + 1 (b[0]) and 2t + 8, 2t + 9 (b[1]) at column
 * group; of C the rows group (c[0], c[1]) and group + 8 (c[2], c[3]) at the columns 2t, 2t + 1. */
static void mma_bf16(struct emu_thread *first)
{
    float a[16][16], b[16][8];
    for (unsigned lane = 0; lane < EMU_WARP; lane++) {
        const struct emu_lane *l = &first[lane].lane;
        unsigned group = lane / 4, t = lane % 4;
        for (unsigned i = 0; i < 4; i++)
            for (unsigned j = 0; j < 2; j++)
                a[group + 8 * (i & 1)][2 * t + 8 * (i >> 1) + j] = half_of(l->a[i], j);
        for (unsigned i = 0; i < 2; i++)
            for (unsigned j = 0; j < 2; j++)
                b[2 * t + 8 * i + j][group] = half_of(l->b[i], j);
    }
    for (unsigned lane = 0; lane < EMU_WARP; lane++)
        for (unsigned i = 0; i < 4; i++) {
            unsigned row = lane / 4 + 8 * (i >> 1), col = lane % 4 * 2 + (i & 1);
            float sum = first[lane].lane.c[i];
            for (unsigned k = 0; k < 16; k++)
                sum += a[row][k] * b[k][col];
            first[lane].lane.c[i] = sum;
        }
}

/* Matrix m (8 rows of 8 halves of words) has its rows where the lanes 8m .. 8m + 7 point; lane i gets row i / 4, elements 2 (i % 4) and the
 * next, or, transposed, column i / 4. */
static void ldmatrix(struct emu_thread *first)
{
    uint16_t m[8][8];
    for (int k = 0; k < first->lane.matrices; k++) {
        for (int row = 0; row < 8; row++) {
            emu.now = &first[8 * k + row];
            access_check(emu.now->lane.row, 16, false, NULL);
            memcpy(m[row], emu.now->lane.row, 16);
        }
        for (unsigned i = 0; i < EMU_WARP; i++) {
            unsigned r = i / 4, c = i % 4 * 2;
            bool turn = first->lane.transposed;
            first[i].lane.matrix[k] = (turn ? m[c][r] : m[r][c]) | (uint32_t)(turn ? m[c + 1][r] : m[r][c + 1]) << 16;
        }
    }
}

void warp_complete(struct emu_thread *first, enum emu_warp_op op, uint32_t mask)
{
    struct emu_thread *caller = emu.now;
    if (op == EMU_SYNCWARP)
        emu.warp_epoch[first->linear / EMU_WARP]++;
    else if (op >= EMU_SHFL && op <= EMU_SHFL_DOWN)
        shuffle(first, op, mask);
    else if (op == EMU_MMA_BF16)
        mma_bf16(first);
    else if (op == EMU_LDMATRIX)
        ldmatrix(first);
    else
        reduce(first, op, mask);
    emu.now = caller;
}
