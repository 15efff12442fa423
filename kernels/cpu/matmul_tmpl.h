/* Matrix product in packed panels (Goto and van de Geijn, "Anatomy of high-performance matrix multiplication", TOMS 2008;
 * the loop order of BLIS). B is packed once per block by the whole team, A per task by its thread. How the work is cut into
 * tasks follows the thread count; what an element is summed from, and in which order, follows K alone. */
#ifndef KERNELS_CPU_MATMUL_TMPL_H
#define KERNELS_CPU_MATMUL_TMPL_H

#define DEPTH_MAX 320                                  /* a panel of B (TILE_COLS columns) stays in the L1 cache */
#define COLS_MAX (2048 / TILE_COLS * TILE_COLS)        /* B block: DEPTH_MAX x COLS_MAX, shared cache */
#define ROWS_MAX (96 / TILE_ROWS * TILE_ROWS)          /* A block: ROWS_MAX x DEPTH_MAX, the thread's L2 */

#define PARTS_MAX 32                                   /* sums made apart in a block */

/* One block of the product: rows x cols of C, depth first .. first + depth - 1 in parts that are summed apart. */
struct block {
    const struct matmul *m;
    enum load_kind a_kind, b_kind;
    const float *b;          /* packed: panel p at b + p * TILE_COLS * depth */
    int64_t col0, cols, depth0, depth;
    int64_t ends[PARTS_MAX]; /* of the parts, from depth0 on; the last is depth */
    int parts;
    bool direct;             /* read A where it is: N is too small to win back the packing */
};

VEC int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }
VEC int64_t min_i64(int64_t a, int64_t b) { return a < b ? a : b; }

static void pack_b_panel(float *to, const struct block *g, int64_t panel)
{
    const struct mat *b = &g->m->b;
    int64_t col = g->col0 + panel * TILE_COLS;
    struct strip s = {(const char *)b->data + (g->depth0 * b->row_stride + col * b->col_stride) * load_size(g->b_kind),
                      b->col_stride, b->row_stride, (int)min_i64(TILE_COLS, g->col0 + g->cols - col), g->depth};
    pack_panel(to + panel * TILE_COLS * g->depth, TILE_COLS, &s, g->b_kind);
}

static void pack_a_panel(float *to, const struct block *g, int64_t row, int rows)
{
    const struct mat *a = &g->m->a;
    struct strip s = {(const char *)a->data + (row * a->row_stride + g->depth0 * a->col_stride) * load_size(g->a_kind),
                      a->row_stride, a->col_stride, rows, g->depth};
    pack_panel(to, TILE_ROWS, &s, g->a_kind);
}

VEC void block_tile(const struct block *g, const float *a, int64_t a_row, int64_t a_step, int64_t row, int rows, int64_t panel)
{
    const struct matmul *m = g->m;
    int64_t col = panel * TILE_COLS;
    const float *b = g->b + col * g->depth;
    float *c = m->c + row * m->ldc + g->col0 + col;
    int cols = (int)min_i64(TILE_COLS, g->cols - col);
    struct tile t;
    for (int i = 0; i < rows; i++)
        __builtin_prefetch(c + i * m->ldc, 1);
    int64_t at = 0;
    for (int p = 0; p < g->parts; at = g->ends[p++]) {
        tile_product(&t, g->ends[p] - at, a + at * a_step, a_row, a_step, b + at * TILE_COLS, TILE_COLS);
        tile_write(&t, c, m->ldc, rows, cols, m->alpha, g->depth0 + at > 0 || m->beta != 0);
    }
}

/* Rows row0 .. row0 + rows - 1 by the panels first .. last - 1 of B. */
static void block_rows(const struct block *g, int64_t row0, int64_t rows, int64_t first, int64_t last)
{
    float *a = scratch_get(SCRATCH_OWN, ROWS_MAX * DEPTH_MAX + VL);
    if (g->direct)
        for (; rows >= TILE_ROWS; row0 += TILE_ROWS, rows -= TILE_ROWS) {
            int64_t stride = g->m->a.row_stride;
            const float *p = (const float *)g->m->a.data + row0 * stride + g->depth0;
            for (int64_t j = first; j < last; j++)
                block_tile(g, p, stride, 1, row0, TILE_ROWS, j);
        }
    for (int64_t i = 0; i < rows; i += TILE_ROWS)
        pack_a_panel(a + i * g->depth, g, row0 + i, (int)min_i64(TILE_ROWS, rows - i));
    for (int64_t j = first; j < last; j++)
        for (int64_t i = 0; i < rows; i += TILE_ROWS)
            block_tile(g, a + i * g->depth, 1, TILE_ROWS, row0 + i, (int)min_i64(TILE_ROWS, rows - i), j);
}

/* Called by the whole team. */
static void block_product(struct block *g, float *b, int team)
{
    int64_t panels = ceil_div(g->cols, TILE_COLS), rows = g->m->m;
    /* at least four tasks a thread where the product is large enough, for an even end */
    int64_t height = min_i64(ceil_div(rows, 4 * team * TILE_ROWS) + 1, ROWS_MAX / TILE_ROWS) * TILE_ROWS;
    int64_t down = ceil_div(rows, height), across = min_i64(panels, ceil_div(4 * team, down));
    g->b = b;
#pragma omp for schedule(static)
    for (int64_t p = 0; p < panels; p++)
        pack_b_panel(b, g, p);
#pragma omp for collapse(2) schedule(dynamic)
    for (int64_t i = 0; i < down; i++)
        for (int64_t j = 0; j < across; j++)
            block_rows(g, i * height, min_i64(height, rows - i * height), j * panels / across, (j + 1) * panels / across);
}

/* The next block's depth. A cut, or what is deeper than a panel, ends a part; parts that fit a panel together make a block. False: none left. */
static bool block_advance(struct block *g, int *cut, int64_t *at)
{
    const struct matmul *m = g->m;
    const int64_t whole[] = {0, m->k}, *cuts = m->cuts ? m->cuts : whole;
    int n_cuts = m->cuts ? m->n_cuts : 1;
    g->depth0 = *at;
    for (g->depth = g->parts = 0; *cut < n_cuts && g->parts < PARTS_MAX; *cut += *at == cuts[*cut + 1]) {
        int64_t len = cuts[*cut + 1] - cuts[*cut], most = ceil_div(len, ceil_div(len, DEPTH_MAX)), part = min_i64(most, cuts[*cut + 1] - *at);
        if (g->depth + part > DEPTH_MAX)
            break;
        g->ends[g->parts++] = g->depth += part;
        *at += part;
    }
    return g->parts > 0;
}

static void matmul_packed(const struct matmul *m)
{
    int64_t deepest = min_i64(m->k, DEPTH_MAX), width = min_i64(COLS_MAX, ceil_div(m->n, TILE_COLS) * TILE_COLS);
    float *b = scratch_get(SCRATCH_SHARED, (size_t)(deepest * width + VL));
    bool small = (double)m->m * (double)m->n * (double)m->k < SMALL_PRODUCT;
    int team = small ? 1 : omp_get_max_threads();
#pragma omp parallel num_threads(team)
    {
        struct block g = {.m = m, .a_kind = load_kind_of(m->a.type, m->round_bf16),
                          .b_kind = load_kind_of(m->b.type, m->round_bf16)};
        g.direct = g.a_kind == LOAD_F32 && m->a.col_stride == 1 && m->n <= 2 * TILE_COLS &&
                   (uintptr_t)m->a.data % sizeof(float) == 0;
        for (g.col0 = 0; g.col0 < m->n; g.col0 += COLS_MAX) {
            int cut = 0;
            int64_t at = 0;
            g.cols = min_i64(COLS_MAX, m->n - g.col0);
            while (block_advance(&g, &cut, &at))
                block_product(&g, b, team);
        }
    }
}

static void matmul_nothing(const struct matmul *m)
{
    for (int64_t i = 0; i < m->m && m->beta == 0; i++)
        memset(m->c + i * m->ldc, 0, (size_t)m->n * sizeof *m->c);
}

VEC bool is_few(const struct matmul *m)
{
    return m->m <= MATMUL_FEW_ROWS && m->b.row_stride == 1 && !m->cuts;
}

VEC bool is_together(const struct matmul *m)
{
    return is_few(m) && m->k > 0 && m->k <= FEW_DEPTH;
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
        last = i + 1;
        if (m->m == 0 || m->n == 0)
            continue;
        if (m->k > 0 && is_few(m))
            matmul_few(m, 1);
        else if (team_alone())
            m->k > 0 ? matmul_packed(m) : matmul_nothing(m);
    }
}

#endif
