/* Matrix product in packed panels (Goto and van de Geijn, "Anatomy of high-performance matrix multiplication", TOMS 2008;
 * the loop order of BLIS). B is packed once per block by the whole team, A per task by its thread. How the work is cut into
 * tasks follows the thread count; what an element is summed from, and in which order, follows K alone. */
#ifndef KERNELS_CPU_MATMUL_TMPL_H
#define KERNELS_CPU_MATMUL_TMPL_H

#define DEPTH_MAX 320                          /* summed in registers in one go: a panel of B (TILE_COLS columns) so deep stays in the L1 cache */
#define BLOCK_DEPTH (2 * DEPTH_MAX)            /* of a block: C passes by once for all of it */
#define BLOCK_B (1 << 20)                      /* floats of B in a block: shared cache */
#define TILES_MAX (96 / TILE_ROWS)             /* of rows that a thread works on at a time: its L2 cache */
#define PARTS_MAX 32                           /* sums made apart in a block */
#define PACKED_A (TILES_MAX * (TILE_ROWS * BLOCK_DEPTH + PARTS_MAX * VL))
#define GROUP_MAX 4                            /* products made side by side */
#define CHUNK_TILES 24                         /* tiles of a task at least */

/* Steps of the depth of one term that are summed from zero, then added to C. */
struct part {
    int term;
    int64_t from, depth, at; /* first step in the term; steps; first step in the block's panels */
};

/* Part of the products list[0 .. count - 1], which have the same M and the same depths: some panels by some parts. */
struct block {
    const struct matmul *list;
    int count;
    int64_t first[GROUP_MAX + 1]; /* panels before each product */
    int64_t panel0, panels;
    struct part parts[PARTS_MAX];
    int n_parts;
    int64_t depth;
    bool add;                /* C has a value already */
    bool direct;             /* A is read where it is */
    int team, tiles;         /* threads; tiles of rows that one of them works on at a time */
    float *b;                /* packed: panel p (of the block) at b + p * TILE_COLS * depth */
};

/* Where block_advance() stands. */
struct place {
    int term, cut;
    int64_t at;
};

VEC int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }
VEC int64_t min_i64(int64_t a, int64_t b) { return a < b ? a : b; }

static struct matmul_term term_of(const struct matmul *m, int i)
{
    return i ? m->more[i - 1] : (struct matmul_term){m->k, m->a, m->b, m->alpha};
}

/* The product that a panel of the group belongs to. */
VEC int product_of(const struct block *g, int64_t panel)
{
    int i = 0;
    while (panel >= g->first[i + 1])
        i++;
    return i;
}

/* A panel of a quantized weight, some steps of the depth at a time. */
static void pack_quantized(float *to, const struct mat *b, int64_t from, int64_t depth, int64_t col, int cols, enum load_kind kind)
{
    float values[TILE_COLS * UNPACK_STEPS];
    struct unpack u;
    if (!quantized_by_row(b->quantized) && b->row_stride == 1)
        unpack_open(&u, b->quantized, col, cols);
    for (int64_t k = 0, steps; k < depth; k += steps) {
        steps = unpack_depth(from + k, depth - k);
        struct strip s = unpack_strip(values, b, &u, col, cols, from + k, steps);
        pack_panel(to + k * TILE_COLS, TILE_COLS, &s, kind);
    }
}

static void pack_b_panel(const struct block *g, int64_t p)
{
    int product = product_of(g, g->panel0 + p);
    const struct matmul *m = g->list + product;
    int64_t col = (g->panel0 + p - g->first[product]) * TILE_COLS;
    for (int i = 0; i < g->n_parts; i++) {
        const struct part *part = g->parts + i;
        struct matmul_term t = term_of(m, part->term);
        float *to = g->b + (p * g->depth + part->at) * TILE_COLS;
        if (t.b.quantized) {
            pack_quantized(to, &t.b, part->from, part->depth, col, (int)min_i64(TILE_COLS, m->n - col), load_kind_of(DTYPE_F32, m->round_bf16));
            continue;
        }
        enum load_kind kind = load_kind_of(t.b.type, m->round_bf16);
        struct strip s = {(const char *)t.b.data + (part->from * t.b.row_stride + col * t.b.col_stride) * load_size(kind), t.b.col_stride,
                          t.b.row_stride, (int)min_i64(TILE_COLS, m->n - col), part->depth};
        pack_panel(to, TILE_COLS, &s, kind);
    }
}

static bool same_mat(const struct mat *a, const struct mat *b)
{
    return a->data == b->data && a->type == b->type && a->row_stride == b->row_stride && a->col_stride == b->col_stride;
}

/* Where a part begins in a packed tile of A: packing spills over its end. part_in_a(n_parts, depth): the size of a tile. */
VEC int64_t part_in_a(int64_t part, int64_t at) { return at * TILE_ROWS + part * VL; }

/* A tile of rows of A. What `before`, the product whose rows `to` holds so far, has as well stays. */
static void pack_a_tile(float *to, const struct block *g, const struct matmul *m, const struct matmul *before, int64_t row, int rows)
{
    for (int i = 0; i < g->n_parts; i++) {
        const struct part *part = g->parts + i;
        struct matmul_term t = term_of(m, part->term);
        struct matmul_term old = term_of(before ? before : m, part->term);
        if (before && same_mat(&t.a, &old.a))
            continue;
        enum load_kind kind = load_kind_of(t.a.type, m->round_bf16);
        struct strip s = {(const char *)t.a.data + (row * t.a.row_stride + part->from * t.a.col_stride) * load_size(kind), t.a.row_stride,
                          t.a.col_stride, rows, part->depth};
        pack_panel(to + part_in_a(part - g->parts, part->at), TILE_ROWS, &s, kind);
    }
}

/* A tile of rows by a panel: all parts. a: its first row in place, or packed. */
VEC void block_tile(const struct block *g, const struct matmul *m, const float *a, bool in_place, const float *b, float *c, int rows, int cols)
{
    struct tile t;
    for (int r = 0; r < rows; r++)
        __builtin_prefetch(c + r * m->ldc, 1);
    for (const struct part *p = g->parts; p < g->parts + g->n_parts; p++) {
        if (in_place)
            tile_product(&t, p->depth, a + p->from, m->a.row_stride, 1, b + p->at * TILE_COLS, TILE_COLS);
        else
            tile_product(&t, p->depth, a + part_in_a(p - g->parts, p->at), 1, TILE_ROWS, b + p->at * TILE_COLS, TILE_COLS);
        tile_write(&t, c, m->ldc, rows, cols, p->term ? m->more[p->term - 1].alpha : m->alpha, g->add || p > g->parts);
    }
}

/* Panel p of the block by the rows from row0 on. */
static void block_panel(const struct block *g, const struct matmul *m, int64_t p, int64_t col, int64_t row0, int64_t rows, const float *packed)
{
    int cols = (int)min_i64(TILE_COLS, m->n - col);
    const float *b = g->b + p * g->depth * TILE_COLS;
    for (int64_t row = 0; row < rows; row += TILE_ROWS) {
        float *c = m->c + (row0 + row) * m->ldc + col;
        int here = (int)min_i64(TILE_ROWS, rows - row);
        if (g->direct && here == TILE_ROWS)
            block_tile(g, m, (const float *)m->a.data + (row0 + row) * m->a.row_stride, true, b, c, here, cols);
        else
            block_tile(g, m, packed + row / TILE_ROWS * part_in_a(g->n_parts, g->depth), false, b, c, here, cols);
    }
}

/* The rows from row0 on by the panels first .. last - 1 of the block. */
static void block_rows(const struct block *g, int64_t row0, int64_t rows, int64_t first, int64_t last)
{
    float *a = scratch_get(SCRATCH_OWN, PACKED_A);
    const struct matmul *before = NULL;
    for (int64_t p = first, end; p < last; p = end) {
        int product = product_of(g, g->panel0 + p);
        const struct matmul *m = g->list + product;
        end = min_i64(last, g->first[product + 1] - g->panel0);
        for (int64_t row = g->direct ? rows / TILE_ROWS * TILE_ROWS : 0; row < rows; row += TILE_ROWS)
            pack_a_tile(a + row / TILE_ROWS * part_in_a(g->n_parts, g->depth), g, m, before, row0 + row, (int)min_i64(TILE_ROWS, rows - row));
        for (before = m; p < end; p++)
            block_panel(g, m, p, (g->panel0 + p - g->first[product]) * TILE_COLS, row0, rows, a);
    }
}

/* Units of work are panels of one strip of rows, strip by strip. A thread takes many at first, fewer towards the end. */
static bool block_take(const struct block *g, int64_t *next, int64_t total, int64_t *from, int64_t *to)
{
    int64_t at = __atomic_load_n(next, __ATOMIC_RELAXED), least = ceil_div(CHUNK_TILES, g->tiles * g->n_parts), n;
    do {
        if (at >= total)
            return false;
        n = (total - at) / (2 * g->team);
        n = min_i64(n > least ? n : least, total - at);
    } while (!__atomic_compare_exchange_n(next, &at, at + n, true, __ATOMIC_RELAXED, __ATOMIC_RELAXED));
    *from = at, *to = at + n;
    return true;
}

/* Called by the whole team. next[0]: this block's counter, next[1] the following one's. */
static void block_product(const struct block *g, int64_t *next, int64_t *following)
{
    int64_t height = (int64_t)g->tiles * TILE_ROWS, rows = g->list->m, total = ceil_div(rows, height) * g->panels, at, end;
#pragma omp for schedule(dynamic) nowait
    for (int64_t p = 0; p < g->panels; p++)
        pack_b_panel(g, p);
#pragma omp barrier
    __atomic_store_n(following, 0, __ATOMIC_RELAXED);
    while (block_take(g, next, total, &at, &end))
        for (int64_t strip, stop; at < end; at = stop) {
            strip = at / g->panels;
            stop = min_i64(end, (strip + 1) * g->panels);
            block_rows(g, strip * height, min_i64(height, rows - strip * height), at - strip * g->panels, stop - strip * g->panels);
        }
}

/* The next block's depth. A cut, or what is deeper than a panel, ends a part; as many parts as fit make a block. False: none left. */
static bool block_advance(struct block *g, struct place *p)
{
    const struct matmul *m = g->list;
    for (g->depth = g->n_parts = 0; p->term <= m->n_more && g->n_parts < PARTS_MAX;) {
        const int64_t whole[] = {0, term_of(m, p->term).k}, *cuts = m->cuts ? m->cuts : whole;
        int64_t end = cuts[p->cut + 1], len = end - cuts[p->cut];
        int64_t most = len ? ceil_div(len, ceil_div(len, DEPTH_MAX)) : 0, part = min_i64(most, end - p->at);
        if (g->depth + part > BLOCK_DEPTH)
            break;
        if (part)
            g->parts[g->n_parts++] = (struct part){p->term, p->at, part, g->depth};
        g->depth += part;
        p->at += part;
        if (p->at == end && ++p->cut == (m->cuts ? m->n_cuts : 1))
            *p = (struct place){.term = p->term + 1};
    }
    return g->n_parts > 0;
}

/* N is too small to win back the packing of A. */
static bool reads_directly(const struct matmul *m)
{
    return m->n_more == 0 && m->n <= 2 * TILE_COLS && load_kind_of(m->a.type, m->round_bf16) == LOAD_F32 && m->a.col_stride == 1 &&
           (uintptr_t)m->a.data % sizeof(float) == 0;
}

static int64_t whole_depth(const struct matmul *m)
{
    int64_t depth = m->k;
    for (int i = 0; i < m->n_more; i++)
        depth += m->more[i].k;
    return depth;
}

/* The products list[0 .. count - 1], which go together (see together()). */
static void matmul_packed(const struct matmul *list, int count)
{
    struct block whole = {.list = list, .count = count, .direct = count == 1 && reads_directly(list), .team = omp_get_max_threads()};
    int64_t next[2] = {0}, depth = min_i64(whole_depth(list), BLOCK_DEPTH);
    for (int i = 0; i < count; i++)
        whole.first[i + 1] = whole.first[i] + ceil_div(list[i].n, TILE_COLS);
    int64_t all = whole.first[count], width = min_i64(all, BLOCK_B / (depth * TILE_COLS));
    size_t size = (size_t)(width * TILE_COLS * depth + VL);
    float *b = scratch_get(SCRATCH_SHARED, 2 * size);
    if ((double)list->m * (double)(all * TILE_COLS) * (double)depth < SMALL_PRODUCT)
        whole.team = 1;
#pragma omp parallel num_threads(whole.team)
    {
        struct block g = whole;
        int turn = 0;
        for (g.panel0 = 0; g.panel0 < all; g.panel0 += width) {
            struct place p = {0};
            g.panels = min_i64(width, all - g.panel0);
            g.tiles = g.panels < TILES_MAX ? (int)g.panels : TILES_MAX;
            for (g.add = list->beta != 0; block_advance(&g, &p); g.add = true, turn ^= 1) {
                g.b = b + (size_t)turn * size; /* who is done packs the next block meanwhile */
                block_product(&g, &next[turn], &next[turn ^ 1]);
            }
        }
    }
}

#include "kernels/cpu/thin_tmpl.h"

static void matmul_nothing(const struct matmul *m)
{
    for (int64_t i = 0; i < m->m && m->beta == 0; i++)
        memset(m->c + i * m->ldc, 0, (size_t)m->n * sizeof *m->c);
}

VEC bool is_few(const struct matmul *m)
{
    return m->m <= MATMUL_FEW_ROWS && m->b.row_stride == 1 && !m->cuts && !m->n_more;
}

VEC bool is_together(const struct matmul *m)
{
    return is_few(m) && m->k > 0 && m->k <= FEW_DEPTH;
}

/* Products that share a pass: the same rows of C in number, the same depths. */
static bool together(const struct matmul *a, const struct matmul *b)
{
    if (a->m != b->m || a->k != b->k || a->n_more != b->n_more || a->cuts || b->cuts || (a->beta != 0) != (b->beta != 0) || a->round_bf16 != b->round_bf16)
        return false;
    for (int i = 0; i < a->n_more; i++)
        if (a->more[i].k != b->more[i].k)
            return false;
    return true;
}

static void matmul_many(const struct matmul *list, int count)
{
    for (int i = 0, last; i < count; i = last) {
        struct thin thin;
        if (thin_of(list + i, &thin)) {
            matmul_thin(&thin);
            last = i + 1;
            continue;
        }
        for (last = i + 1; last < count && last - i < GROUP_MAX && together(list + i, list + last); last++)
            ;
        if (whole_depth(list + i) > 0)
            matmul_packed(list + i, last - i);
        else
            for (int j = i; j < last; j++)
                matmul_nothing(list + j);
    }
}

/* Whether it is for matmul_many(). */
static bool is_many(const struct matmul *m)
{
    return m->m > 0 && m->n > 0 && !is_few(m) && (m->m > MATMUL_FEW_ROWS || !m->n_more);
}

static void ISA(matmul)(const struct matmul *list, int count)
{
    for (int i = 0, last; i < count; i = last) {
        const struct matmul *m = list + i;
        for (last = i; last < count && is_together(list + last); last++)
            ;
        if (last > i) {
            matmul_few(m, last - i);
            continue;
        }
        for (; last < count && is_many(list + last); last++)
            ;
        if (last > i) {
            if (team_alone())
                matmul_many(m, last - i);
            continue;
        }
        last = i + 1;
        for (int t = 0; m->n_more && t <= m->n_more; t++) { /* few rows of terms that may need different ways */
            struct matmul one = matmul_alone(m, t);
            ISA(matmul)(&one, 1);
        }
        if (m->n_more || m->m == 0 || m->n == 0)
            continue;
        if (m->k > 0)
            matmul_few(m, 1);
        else if (team_alone())
            matmul_nothing(m);
    }
}

#endif
