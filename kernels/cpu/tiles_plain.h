/* The tile instructions of AMX in plain C, under the names of their intrinsics, as Intel specifies them (Software Developer's
 * Manual, vol. 1, chapter 18, and vol. 2, LDTILECFG, TILELOADD, TDPBF16PS ...). What the processor refuses stops the program here too.
 * Included after pairs_wide.h. */
#ifndef KERNELS_CPU_TILES_PLAIN_H
#define KERNELS_CPU_TILES_PLAIN_H

#define TILES 8

struct tile_state {
    bool configured;
    int rows[TILES], columns[TILES]; /* of 32 bits */
    float at[TILES][16][16];
};

static _Thread_local struct tile_state tile_state;

VEC void tile_check(bool good)
{
    if (!good)
        __builtin_trap();
}

VEC void tile_check_used(int t) { tile_check(tile_state.configured && tile_state.rows[t] && tile_state.columns[t]); }

static void _tile_loadconfig(const void *config)
{
    const uint8_t *p = config, *rows = p + 48;
    tile_check(p[0] == 1 && p[1] == 0);
    memset(&tile_state, 0, sizeof tile_state);
    tile_state.configured = true;
    for (int t = 0; t < TILES; t++) {
        int bytes = v_half(p + 16, t);
        tile_check(rows[t] <= 16 && bytes <= 64 && bytes % 4 == 0);
        tile_state.rows[t] = rows[t];
        tile_state.columns[t] = bytes / 4;
    }
}

static void _tile_release(void) { memset(&tile_state, 0, sizeof tile_state); }

static void _tile_zero(int t)
{
    tile_check_used(t);
    memset(tile_state.at[t], 0, sizeof tile_state.at[t]);
}

static void _tile_loadd(int t, const void *from, size_t stride)
{
    tile_check_used(t);
    memset(tile_state.at[t], 0, sizeof tile_state.at[t]);
    for (int i = 0; i < tile_state.rows[t]; i++)
        memcpy(tile_state.at[t][i], (const char *)from + (size_t)i * stride, (size_t)tile_state.columns[t] * 4);
}

static void _tile_stored(int t, void *to, size_t stride)
{
    tile_check_used(t);
    for (int i = 0; i < tile_state.rows[t]; i++)
        memcpy((char *)to + (size_t)i * stride, tile_state.at[t][i], (size_t)tile_state.columns[t] * 4);
}

/* The first and the second halves of the pairs are summed apart, from zero, then together, then added to the tile. */
static void _tile_dpbf16ps(int to, int a, int b)
{
    struct tile_state *s = &tile_state;
    tile_check_used(to), tile_check_used(a), tile_check_used(b);
    tile_check(to != a && to != b && a != b);
    tile_check(s->rows[to] == s->rows[a] && s->columns[a] == s->rows[b] && s->columns[to] == s->columns[b]);
    for (int i = 0; i < s->rows[to]; i++) {
        vf sum[2] = {v_set(0), v_set(0)};
        for (int k = 0; k < s->columns[a]; k++)
            for (int j = 0; j < s->columns[to]; j++)
                for (int half = 0; half < 2; half++)
                    sum[half].f[j] = pair_product(sum[half].f[j], s->at[a][i][k], s->at[b][k][j], half);
        for (int j = 0; j < s->columns[to]; j++)
            s->at[to][i][j] = flush(flush(s->at[to][i][j]) + flush(sum[0].f[j] + sum[1].f[j]));
    }
}

#endif
