/* The product of cells in AMX tiles: four tiles of sums, two of A, two of B. Included after bf16's cell layout is known, with the
 * intrinsics or with tiles_plain.h. */
#ifndef KERNELS_CPU_CELLS_AMX_TMPL_H
#define KERNELS_CPU_CELLS_AMX_TMPL_H

/* LDTILECFG's operand: palette 1, every tile 16 rows of 64 bytes. */
static const struct tile_config {
    uint8_t palette, start_row, reserved[14];
    uint16_t row_bytes[16];
    uint8_t rows[16];
} tile_config __attribute__((aligned(64))) = {1, 0, {0}, {64, 64, 64, 64, 64, 64, 64, 64}, {16, 16, 16, 16, 16, 16, 16, 16}};

VEC void cells_begin(void) { _tile_loadconfig(&tile_config); }
VEC void cells_end(void) { _tile_release(); }

VEC void prefetch_cell(const float *p)
{
#pragma GCC unroll 16
    for (int i = 0; i < 16; i++)
        __builtin_prefetch(p + i * 16);
}

/* a[1] or b[1] NULL: there is no second panel, and its part of the sums is zero. */
static void cells_product(float sum[QUAD][QUAD], const float *const a[2], const float *const b[2], int64_t cells)
{
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
    for (int64_t at = 0; at < cells * CELL; at += CELL) {
        _tile_loadd(4, a[0] + at, 64);
        _tile_loadd(6, b[0] + at, 64);
        prefetch_cell(a[0] + at + CELL); /* B's panels were there for the rows before */
        _tile_dpbf16ps(0, 4, 6);
        if (b[1]) {
            _tile_loadd(7, b[1] + at, 64);
            _tile_dpbf16ps(1, 4, 7);
        }
        if (a[1]) {
            _tile_loadd(5, a[1] + at, 64);
            prefetch_cell(a[1] + at + CELL);
            _tile_dpbf16ps(2, 5, 6);
        }
        if (a[1] && b[1])
            _tile_dpbf16ps(3, 5, 7);
    }
    size_t stride = QUAD * sizeof(float);
    _tile_stored(0, &sum[0][0], stride);
    _tile_stored(1, &sum[0][16], stride);
    _tile_stored(2, &sum[16][0], stride);
    _tile_stored(3, &sum[16][16], stride);
}

#define CELLS_BURST (4 * 2 * 16 * 16 * 32) /* multiplications and additions a round */

static void cells_burst(int64_t rounds)
{
    float sink[CELL] = {0};
    cells_begin();
    for (; rounds > 0; rounds--) {
        _tile_dpbf16ps(0, 4, 6);
        _tile_dpbf16ps(1, 4, 7);
        _tile_dpbf16ps(2, 5, 6);
        _tile_dpbf16ps(3, 5, 7);
    }
    _tile_stored(0, sink, 64);
    cells_end();
    __asm__ volatile("" : : "r"(sink) : "memory");
}

#endif
