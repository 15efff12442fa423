/* Operations on rows and elements: the specification against formulas in double (their gradients checked by finite differences), each
 * level against the specification, over awkward sizes and strides. */
#include "tests/unit/kernels_check.h"

static const int64_t widths[] = {1, 3, 7, 8, 17, 59, 97, 257, 1025};
#define N_WIDTHS 9
static const int64_t counts[] = {0, 1, 7, 59, 4096, 4097, 20000};
#define N_COUNTS 7

static double *zeros(int64_t n)
{
    return mem_zalloc((size_t)n + 1, sizeof(double));
}

/* Compares and frees both blocks and the truth. */
static bool settle(float *fast, float *naive, double *truth, int64_t n, const char *what)
{
    bool good = as_good(fast, naive, truth, n, what) && block_margins_kept(fast, n);
    block_free(fast), block_free(naive), free(truth);
    return good;
}

/* --- rmsnorm --- */

struct norm_case {
    int64_t n, c, x_stride, y_stride;
    bool plus_one, add, frozen;
    float eps;
};

/* x, w, dy at their strides -> y, rstd, dx, dw, in double; gaps keep what the blocks hold. */
struct norm_truth {
    double *y, *rstd, *dx, *dw;
};

static double norm_loss(const struct norm_case *t, const double *x, const double *w, const double *dy)
{
    double loss = 0;
    for (int64_t i = 0; i < t->n; i++) {
        double sum = 0;
        for (int64_t j = 0; j < t->c; j++)
            sum += x[i * t->c + j] * x[i * t->c + j];
        for (int64_t j = 0; j < t->c; j++)
            loss += dy[i * t->c + j] * x[i * t->c + j] / sqrt(sum / (double)t->c + t->eps) * (w[j] + t->plus_one);
    }
    return loss;
}

static void norm_truth_of(const struct norm_case *t, const float *x, const float *w, const float *dy, struct norm_truth *o)
{
    for (int64_t i = 0; i < t->n; i++) {
        const float *xi = x + i * t->x_stride, *dyi = dy + i * t->y_stride;
        double sum = 0, mean = 0, r;
        for (int64_t j = 0; j < t->c; j++)
            sum += (double)xi[j] * xi[j];
        o->rstd[i] = r = 1 / sqrt(sum / (double)t->c + t->eps);
        for (int64_t j = 0; j < t->c; j++) {
            double u = (double)w[j] + t->plus_one;
            o->y[i * t->y_stride + j] = xi[j] * r * u;
            mean += dyi[j] * u * xi[j] / (double)t->c;
            o->dw[j] += t->frozen ? 0 : r * dyi[j] * xi[j];
        }
        for (int64_t j = 0; j < t->c; j++) {
            double d = r * (dyi[j] * ((double)w[j] + t->plus_one) - xi[j] * r * r * mean);
            o->dx[i * t->x_stride + j] = d + (t->add ? o->dx[i * t->x_stride + j] : 0);
        }
    }
}

static double *widen(const float *p, int64_t n)
{
    double *d = zeros(n);
    for (int64_t i = 0; i < n; i++)
        d[i] = p[i];
    return d;
}

/* The formula of norm_truth_of against differences of norm_loss. */
static void test_norm_formula(void)
{
    struct norm_case t = {3, 5, 5, 5, true, false, false, 1e-3f};
    float *x = block_new(15, 1), *w = block_new(5, 2), *dy = block_new(15, 3);
    double *xd = widen(x, 15), *wd = widen(w, 5), *dyd = widen(dy, 15), worst = 0, h = 1e-6;
    struct norm_truth o = {zeros(15), zeros(3), zeros(15), zeros(5)};
    norm_truth_of(&t, x, w, dy, &o);
    for (int i = 0; i < 20; i++) {
        double *at = i < 15 ? &xd[i] : &wd[i - 15], was = *at, up, down;
        *at = was + h, up = norm_loss(&t, xd, wd, dyd);
        *at = was - h, down = norm_loss(&t, xd, wd, dyd);
        *at = was;
        double e = fabs((up - down) / (2 * h) - (i < 15 ? o.dx[i] : o.dw[i - 15]));
        worst = e > worst ? e : worst;
    }
    ok(worst < 1e-8, "rmsnorm: formula against finite differences");
    block_free(x), block_free(w), block_free(dy), free(xd), free(wd), free(dyd), free(o.y), free(o.rstd), free(o.dx), free(o.dw);
}

static bool norm_agrees(const struct level *l, const struct norm_case *t)
{
    int64_t nx = t->n * t->x_stride, ny = t->n * t->y_stride;
    float *x = block_new(nx, 1), *w = block_new(t->c, 2), *dy = block_new(ny, 3), *got[2][4];
    const struct kernels *k[2] = {&l->k, &spec};
    for (int v = 0; v < 2; v++) {
        float **g = got[v];
        g[0] = block_new(ny, 4), g[1] = block_new(t->n, 5), g[2] = block_new(nx, 6), g[3] = block_new(t->c, 7);
    }
    struct norm_truth o = {widen(got[0][0], ny), widen(got[0][1], t->n), widen(got[0][2], nx), widen(got[0][3], t->c)};
    norm_truth_of(t, x, w, dy, &o);
    for (int v = 0; v < 2; v++) {
        float **g = got[v];
        k[v]->rmsnorm(g[0], t->y_stride, g[1], x, t->x_stride, w, t->plus_one, t->eps, t->n, t->c);
        k[v]->rmsnorm_backward(g[2], t->x_stride, t->add, t->frozen ? NULL : &(struct row_sum){.to = g[3]}, dy, t->y_stride, x, t->x_stride, w, t->plus_one, g[1], t->n, t->c);
    }
    block_free(x), block_free(w), block_free(dy);
    char what[100];
    snprintf(what, sizeof what, "%s %dx%d", l->name, (int)t->n, (int)t->c);
    bool good = settle(got[0][0], got[1][0], o.y, ny, what);
    good = settle(got[0][1], got[1][1], o.rstd, t->n, what) && good;
    good = settle(got[0][2], got[1][2], o.dx, nx, what) && good;
    return settle(got[0][3], got[1][3], o.dw, t->c, what) && good;
}

/* The bits of the two operations that it stands for. */
static bool add_norm_agrees(const struct level *l, int64_t n, int64_t c, bool plus_one, bool keep)
{
    float *more = block_new(n * c, 1), *w = block_new(c, 2), *got[2][3];
    for (int v = 0; v < 2; v++)
        got[v][0] = block_new(n * c, 3), got[v][1] = block_new(n * c, 4), got[v][2] = block_new(n, 5);
    l->k.add_rmsnorm(got[0][1], keep ? got[0][2] : NULL, got[0][0], more, w, plus_one, 1e-5f, n, c);
    l->k.add(got[1][0], more, n * c);
    l->k.rmsnorm(got[1][1], c, keep ? got[1][2] : NULL, got[1][0], c, w, plus_one, 1e-5f, n, c);
    bool good = true;
    for (int i = 0; i < 3; i++) {
        good = good && !memcmp(got[0][i] - MARGIN, got[1][i] - MARGIN, (size_t)((i < 2 ? n * c : n) + 2 * MARGIN) * 4);
        block_free(got[0][i]), block_free(got[1][i]);
    }
    block_free(more), block_free(w);
    return good;
}

static void test_norm(const struct level *l)
{
    int bad = 0, bad_sum = 0;
    for (int i = 0; i < N_WIDTHS; i++)
        for (int64_t n = 0; n < 40; n = n * 3 + 1) {
            struct norm_case t = {n, widths[i], widths[i] + n % 2 * 3, widths[i] + n % 3, n % 2, i % 2, i % 3 == 0, 1e-5f};
            bad += !norm_agrees(l, &t);
            bad_sum += !add_norm_agrees(l, n, widths[i], i % 2, n % 2);
        }
    ok(bad == 0, "rmsnorm %s: both ways", l->name);
    ok(bad_sum == 0, "add_rmsnorm %s: the bits of add and rmsnorm", l->name);
}

/* --- rope --- */

static bool rope_agrees(const struct level *l, int heads, int dim, int64_t stride, bool inverse)
{
    enum { N = 9, POSITIONS = 50 };
    float *table = block_new(POSITIONS * dim, 1), *fast = block_new(N * stride, 2), *naive = block_copy(fast, N * stride);
    double *truth = widen(fast, N * stride);
    int32_t pos[N];
    for (int i = 0; i < N; i++)
        pos[i] = i * 37 % POSITIONS;
    for (int i = 0; i < N; i++)
        for (int h = 0; h < heads; h++)
            for (int j = 0; j < dim / 2; j++) {
                double *a = &truth[i * stride + h * dim + j], *b = a + dim / 2, x = *a, y = *b;
                double c = table[pos[i] * dim + 2 * j], s = inverse ? -table[pos[i] * dim + 2 * j + 1] : table[pos[i] * dim + 2 * j + 1];
                *a = x * c - y * s;
                *b = y * c + x * s;
            }
    spec.rope(naive, stride, table, pos, inverse, N, heads, dim);
    l->k.rope(fast, stride, table, pos, inverse, N, heads, dim);
    block_free(table);
    return settle(fast, naive, truth, N * stride, l->name);
}

static void test_rope(const struct level *l)
{
    int bad = 0;
    for (int dim = 2; dim <= 130; dim += dim < 20 ? 2 : 22)
        for (int heads = 1; heads <= 3; heads += 2)
            for (int inverse = 0; inverse < 2; inverse++)
                bad += !rope_agrees(l, heads, dim, heads * dim + inverse * 5, inverse);
    ok(bad == 0, "rope %s: head dimensions 2 to 130, both ways", l->name);
}

/* --- bias, embedding, gather and scatter --- */

static bool bias_agrees(const struct level *l, int64_t n, int64_t c)
{
    float *y = block_new(n * c, 1), *bias = block_new(c, 2), *naive = block_copy(y, n * c), *db = block_copy(bias, c), *db_naive = block_copy(bias, c);
    double *truth = widen(y, n * c), *db_truth = widen(bias, c);
    for (int64_t i = 0; i < n; i++)
        for (int64_t j = 0; j < c; j++)
            truth[i * c + j] += bias[j], db_truth[j] += y[i * c + j];
    l->k.bias_backward(&(struct row_sum){.to = db}, y, n, c);
    spec.bias_backward(&(struct row_sum){.to = db_naive}, y, n, c);
    l->k.bias_add(y, bias, n, c);
    spec.bias_add(naive, bias, n, c);
    block_free(bias);
    bool good = settle(y, naive, truth, n * c, l->name);
    return settle(db, db_naive, db_truth, c, l->name) && good;
}

/* Gradients that are sums over rows: by part, near the sum in one, and the same bits whether the parts come in one call or in two. */
static bool parts_agree(const struct level *l, int64_t c, int64_t times)
{
    static const int64_t cuts[] = {0, 1, 20, 27, 61}, rest[] = {0, 7, 41};
    const int64_t n = 61 * times, half = 20 * times, rows = n + 3; /* the rows behind the last cut do not count */
    float *x = block_new(rows * c, 1), *y = block_new(rows * c, 2), *w = block_new(c, 3), *rstd = block_new(rows, 4), *dx = block_new(rows * c, 5);
    float *norm[3], *bias[3];
    for (int v = 0; v < 3; v++) {
        norm[v] = block_new(c, 6), bias[v] = block_new(c, 7);
        struct row_sum dw = {norm[v], v ? cuts : NULL, v == 2 ? 2 : 4, times}, db = {bias[v], dw.cuts, dw.n_cuts, times};
        l->k.rmsnorm_backward(dx, c, false, &dw, y, c, x, c, w, false, rstd, v == 1 ? rows : v == 2 ? half : n, c);
        l->k.bias_backward(&db, y, v == 1 ? rows : v == 2 ? half : n, c);
        if (v < 2)
            continue;
        dw.cuts = db.cuts = rest;
        l->k.rmsnorm_backward(dx, c, false, &dw, y + half * c, c, x + half * c, c, w, false, rstd + half, n - half, c);
        l->k.bias_backward(&db, y + half * c, n - half, c);
    }
    bool good = !memcmp(norm[1], norm[2], (size_t)c * sizeof(float)) && !memcmp(bias[1], bias[2], (size_t)c * sizeof(float));
    for (int64_t j = 0; j < c; j++)
        good = good && fabsf(norm[0][j] - norm[1][j]) < 1e-4f && fabsf(bias[0][j] - bias[1][j]) < 1e-4f;
    for (int v = 0; v < 3; v++)
        block_free(norm[v]), block_free(bias[v]);
    block_free(x), block_free(y), block_free(w), block_free(rstd), block_free(dx);
    return good;
}

static bool embedding_agrees(const struct level *l, int64_t n, int64_t c, enum dtype type, bool by_columns)
{
    enum { V = 13 };
    float *values = block_new(V * c, 1), *fast = block_new(n * c, 2), *naive = block_copy(fast, n * c);
    float *grad = block_new(V * c, 3), *grad_naive = block_copy(grad, V * c);
    char *memory = mem_alloc((size_t)(V * c) * dtype_size(type) + 1);
    struct mat table = {memory + 1, type, by_columns ? 1 : c, by_columns ? V : 1};
    int32_t *ids = mem_array(NULL, (size_t)n + 1, sizeof *ids);
    dtype_from_f32(memory + 1, type, values, (size_t)(V * c));
    for (int64_t i = 0; i < n; i++)
        ids[i] = (int32_t)(i * i % V);
    l->k.embedding(fast, &table, ids, n, c);
    spec.embedding(naive, &table, ids, n, c);
    l->k.embedding_backward(grad, fast, ids, n, c, V);
    spec.embedding_backward(grad_naive, fast, ids, n, c, V);
    bool good = !memcmp(fast, naive, (size_t)(n * c) * 4) && !memcmp(grad, grad_naive, (size_t)(V * c) * 4) &&
                block_margins_kept(fast, n * c) && block_margins_kept(grad, V * c);
    block_free(values), block_free(fast), block_free(naive), block_free(grad), block_free(grad_naive), free(memory), free(ids);
    return good;
}

static void test_tables(const struct level *l)
{
    int bad = 0, bad_bias = 0;
    for (int i = 0; i < N_WIDTHS; i++)
        for (int64_t n = 0; n < 40; n = n * 3 + 1) {
            bad_bias += !bias_agrees(l, n, widths[i]);
            bad += !embedding_agrees(l, n, widths[i], i % 3 == 0 ? DTYPE_F32 : i % 3 == 1 ? DTYPE_F16 : DTYPE_BF16, n % 2);
        }
    ok(bad_bias == 0, "bias %s: added, and its gradient", l->name);
    ok(parts_agree(l, 1, 1) && parts_agree(l, 37, 1) && parts_agree(l, 300, 1) && parts_agree(l, 8, 3),
       "sums over rows %s: the same bits in one call and in two", l->name);
    ok(bad == 0, "embedding %s: equal to the specification, and its gradient", l->name);
}

/* Rows in an order of their own, there and back. */
static bool moves_rows(const struct level *l, int64_t n, int64_t c)
{
    float *x = block_new(n * c, 1), *out = block_new(n * c, 2), *back = block_new(n * c, 3);
    int32_t *rows = mem_array(NULL, (size_t)n + 1, sizeof *rows);
    bool good = true;
    for (int64_t i = 0; i < n; i++)
        rows[i] = (int32_t)(n - 1 - i);
    l->k.gather_rows(out, x, rows, n, c);
    l->k.scatter_rows(back, out, rows, n, c);
    for (int64_t i = 0; i < n * c; i++)
        good = good && out[i] == x[(n - 1 - i / c) * c + i % c] && back[i] == x[i];
    good = good && block_margins_kept(out, n * c) && block_margins_kept(back, n * c);
    block_free(x), block_free(out), block_free(back), free(rows);
    return good;
}

static bool scales_rows(const struct level *l, int64_t n, int64_t c)
{
    float *x = block_new(n * c, 1), *s = block_new(n, 2), *was = block_copy(x, n * c);
    bool good = true;
    l->k.scale_rows(x, s, n, c);
    for (int64_t i = 0; i < n * c; i++)
        good = good && x[i] == was[i] * s[i / c];
    good = good && block_margins_kept(x, n * c);
    block_free(x), block_free(s), block_free(was);
    return good;
}

static void test_moves(const struct level *l)
{
    int bad = 0, bad_scale = 0;
    for (int i = 0; i < N_WIDTHS; i++)
        for (int64_t n = 0; n < 20; n = n * 4 + 1)
            bad += !moves_rows(l, n, widths[i]), bad_scale += !scales_rows(l, n, widths[i]);
    bad_scale += !scales_rows(l, 12, 3); /* fours of elements in two rows */
    ok(bad == 0, "gather_rows, scatter_rows %s", l->name);
    ok(bad_scale == 0, "scale_rows %s", l->name);
}

/* --- elements --- */

static double silu(double g)
{
    return g / (1 + exp(-g));
}

static bool swiglu_agrees(const struct level *l, int64_t n)
{
    float *gate = block_new(n, 1), *up = block_new(n, 2), *dy = block_new(n, 3), *y = block_new(n, 4), *y_naive = block_copy(y, n);
    double *ty = zeros(n), *tg = zeros(n), *tu = zeros(n);
    for (int64_t i = 0; i < n; i++) {
        gate[i] *= i % 3 ? 4 : 110; /* also where exp overflows */
        double s = 1 / (1 + exp(-gate[i]));
        ty[i] = silu(gate[i]) * up[i];
        tg[i] = dy[i] * up[i] * s * (1 + gate[i] * (1 - s));
        tu[i] = dy[i] * silu(gate[i]);
    }
    l->k.swiglu(y, gate, up, n);
    spec.swiglu(y_naive, gate, up, n);
    bool good = settle(y, y_naive, ty, n, "swiglu");
    float *dg = block_copy(gate, n), *du = block_copy(up, n), *dg_naive = block_new(n, 5), *du_naive = block_new(n, 6);
    spec.swiglu_backward(dg_naive, du_naive, dy, gate, up, n);
    l->k.swiglu_backward(dg, du, dy, dg, du, n); /* in place */
    block_free(gate), block_free(up), block_free(dy);
    good = settle(dg, dg_naive, tg, n, "swiglu gate") && good;
    return settle(du, du_naive, tu, n, "swiglu up") && good;
}

static void test_swiglu_formula(void)
{
    double worst = 0, h = 1e-6;
    for (double g = -6; g < 6; g += 0.37) {
        double s = 1 / (1 + exp(-g)), e = fabs((silu(g + h) - silu(g - h)) / (2 * h) - s * (1 + g * (1 - s)));
        worst = e > worst ? e : worst;
    }
    ok(worst < 1e-9, "swiglu: formula against finite differences");
}

/* Operations whose every step is rounded alike must give the specification's bits. */
static bool exact_elements_agree(const struct level *l, int64_t n)
{
    float *x = block_new(n, 1), *y = block_new(n, 2), *x_spec = block_copy(x, n), *z = block_new(n, 3), *z_spec = block_copy(z, n);
    l->k.add(x, y, n);
    l->k.scale(x, 0.3f, n);
    spec.add(x_spec, y, n);
    spec.scale(x_spec, 0.3f, n);
    bool good = !memcmp(x - MARGIN, x_spec - MARGIN, (size_t)(n + 2 * MARGIN) * 4);
    for (int64_t c = 1; c < 8; c += 3) {
        l->k.dropout(z, x, 0.3f, 0x123456789abcdef, 42 + (1ull << 40), 5, n / c, c);
        spec.dropout(z_spec, x, 0.3f, 0x123456789abcdef, 42 + (1ull << 40), 5, n / c, c);
        good = good && !memcmp(z - MARGIN, z_spec - MARGIN, (size_t)(n + 2 * MARGIN) * 4);
    }
    block_free(x), block_free(y), block_free(x_spec), block_free(z), block_free(z_spec);
    return good;
}

static void clip_must_be(const struct level *l, const float *x, double most, struct clip want, const char *what)
{
    struct clip got = {1, 1};
    l->k.clip(&got, x, 2, most);
    bool same_norm = isfinite(want.norm) ? got.norm == want.norm : !isfinite(got.norm), same = isnan(want.factor) ? isnan(got.factor) : got.factor == want.factor;
    ok(same_norm && same, "clip %s: %s: %.17g %.9g", l->name, what, got.norm, (double)got.factor);
}

static void test_clip(const struct level *l)
{
    float *x = block_new(2, 1);
    x[0] = 3, x[1] = -4;
    clip_must_be(l, x, 2, (struct clip){5, (float)(2 / (5 + 1e-6))}, "a long vector is brought to a length");
    clip_must_be(l, x, 7, (struct clip){5, 1}, "a short one is left");
    clip_must_be(l, x, 0, (struct clip){5, 1}, "no length");
    x[0] = INFINITY;
    clip_must_be(l, x, 2, (struct clip){INFINITY, NAN}, "an infinity");
    x[0] = NAN;
    clip_must_be(l, x, 0, (struct clip){NAN, NAN}, "NaN");
    block_free(x);
}

/* A list as long as `counts` of tensors of n elements or fewer, each with its own decay; NaN: nothing may happen. */
static bool adamw_agrees(const struct level *l, int64_t n, float factor)
{
    enum { LIST = 5 };
    struct adamw_tensor list[2][LIST];
    float *blocks[LIST][7];
    const struct clip clip = {0, factor};
    const struct adamw o = {1e-2, 0.9, 0.999, 1e-8, 3, &clip};
    for (int t = 0; t < LIST; t++) {
        int64_t count = n / (t + 1);
        blocks[t][6] = block_new(count, 1 + (unsigned)t);
        for (int i = 0; i < 6; i++)
            blocks[t][i] = block_new(count, (unsigned)(10 * t + i % 3));
        for (int v = 0; v < 2; v++) {
            float **b = blocks[t] + 3 * v;
            for (int64_t i = 0; i < count; i++)
                b[2][i] *= b[2][i];
            list[v][t] = (struct adamw_tensor){b[0], b[1], b[2], blocks[t][6], count, 0.1 * t};
        }
    }
    l->k.adamw(list[0], LIST, &o);
    if (!isnan(factor))
        for (int t = 0; t < LIST; t++)
            spec.adamw(&list[1][t], 1, &o);
    bool good = true;
    for (int t = 0; t < LIST; t++)
        for (int i = 0; i < 3; i++)
            good = good && !memcmp(blocks[t][i] - MARGIN, blocks[t][3 + i] - MARGIN, (size_t)(list[0][t].count + 2 * MARGIN) * 4);
    for (int t = 0; t < LIST; t++)
        for (int i = 0; i < 7; i++)
            block_free(blocks[t][i]);
    return good;
}

/* spec/training-math.md, vectors of torch.optim.AdamW: the same bits from its plain, foreach and fused paths. */
static void test_adamw_vectors(void)
{
    float p = 1, m = 0, v = 0;
    static const float grads[] = {0.5f, -0.25f, 1}, want[] = {0.899000049f, 0.871467352f, 0.804784715f};
    for (int t = 0; t < 3; t++) {
        struct adamw o = {0.1, 0.9, 0.999, 1e-8, t + 1, NULL};
        spec.adamw(&(struct adamw_tensor){&p, &m, &v, &grads[t], 1, 0.01}, 1, &o);
        is_near(p, want[t], 1e-7, "adamw: a step as torch takes it");
    }
}

static void test_elements(const struct level *l)
{
    int bad = 0, bad_exact = 0, bad_adamw = 0, bad_sum = 0;
    for (int i = 0; i < N_COUNTS; i++) {
        bad += !swiglu_agrees(l, counts[i]);
        bad_exact += !exact_elements_agree(l, counts[i]);
        bad_adamw += !adamw_agrees(l, counts[i], 0.5f) + !adamw_agrees(l, counts[i], NAN);
        float *x = block_new(counts[i], 8);
        double want = spec.sum_squares(x, counts[i]);
        bad_sum += fabs(l->k.sum_squares(x, counts[i]) - want) > 1e-13 * want;
        block_free(x);
    }
    ok(bad == 0, "swiglu %s: both ways", l->name);
    ok(bad_exact == 0, "add, scale, dropout %s: equal to the specification", l->name);
    ok(bad_adamw == 0, "adamw %s: equal to the specification", l->name);
    ok(bad_sum == 0, "sum_squares %s", l->name);
}

/* --- cross entropy --- */

static bool loss_agrees(const struct level *l, int64_t n, int64_t v, float grad_scale)
{
    float *z = block_new(n * v, 1), *loss = block_new(n, 2), *z_naive, *loss_naive = block_copy(loss, n);
    int32_t *targets = mem_array(NULL, (size_t)n + 1, sizeof *targets);
    for (int64_t i = 0; i < n * v; i++)
        z[i] *= 12;
    z_naive = block_copy(z, n * v);
    double *truth = widen(z, n * v), *loss_truth = zeros(n);
    for (int64_t i = 0; i < n; i++) {
        double sum = 0, *t = truth + i * v;
        targets[i] = i % 4 == 3 ? -1 : (int32_t)(i * 7 % v);
        for (int64_t j = 0; j < v; j++)
            sum += exp(t[j]);
        if (targets[i] >= 0)
            loss_truth[i] = log(sum) - t[targets[i]];
        for (int64_t j = 0; j < v && grad_scale != 0; j++)
            t[j] = targets[i] < 0 ? 0 : (exp(t[j]) / sum - (j == targets[i])) * grad_scale;
    }
    l->k.cross_entropy(loss, z, targets, grad_scale, n, v);
    spec.cross_entropy(loss_naive, z_naive, targets, grad_scale, n, v);
    free(targets);
    bool good = settle(z, z_naive, truth, n * v, "logits");
    return settle(loss, loss_naive, loss_truth, n, "loss") && good;
}

static bool stats_agree(const struct level *l, int64_t n, int64_t v)
{
    float *z = block_new(n * v, 1), *got[3], *naive[3];
    double *truth[3];
    for (int64_t i = 0; i < n * v; i++)
        z[i] = i % 17 == 5 ? -400 : 12 * z[i]; /* some with no probability at all */
    for (int k = 0; k < 3; k++)
        got[k] = block_new(n, 2), naive[k] = block_new(n, 2), truth[k] = zeros(n);
    for (int64_t i = 0; i < n; i++) {
        double sum = 0;
        for (int64_t j = 0; j < v; j++)
            sum += exp(z[i * v + j]);
        for (int64_t j = 0; j < v; j++) {
            double p = exp(z[i * v + j]) / sum;
            truth[0][i] += z[i * v + j] / (double)v;
            truth[1][i] -= p > 0 ? p * log(p) : 0;
            truth[2][i] += p * p;
        }
    }
    l->k.row_stats(got[0], got[1], got[2], z, n, v);
    spec.row_stats(naive[0], naive[1], naive[2], z, n, v);
    float alone[2] = {7, 7};
    if (n)
        l->k.row_stats(NULL, alone, NULL, z, 1, v);
    bool good = !n || (alone[0] == got[1][0] && alone[1] == 7);
    good = settle(got[0], naive[0], truth[0], n, "mean") && good;
    good = settle(got[1], naive[1], truth[1], n, "entropy") && good;
    for (int64_t i = 0; i < n; i++) /* exp is within 2 units in the last place, and counts four times */
        good &= fabs(got[2][i] - truth[2][i]) <= 8 * 0x1p-23 * truth[2][i] && fabs(naive[2][i] - truth[2][i]) <= 0x1p-23 * truth[2][i];
    good &= block_margins_kept(got[2], n);
    block_free(got[2]), block_free(naive[2]), free(truth[2]);
    block_free(z);
    return good;
}

static void test_stats(const struct level *l)
{
    int bad = 0;
    for (int i = 0; i < N_WIDTHS; i++)
        bad += !stats_agree(l, 13, widths[i]);
    bad += !stats_agree(l, 2, 50001) + !stats_agree(l, 0, 5);
    ok(bad == 0, "row_stats %s", l->name);
}

/* Scores of -infinity count as nothing, wherever they stand; those of infinity and NaN make the loss no number. */
static bool losses_of_extremes(const struct level *l, int64_t v)
{
    float *z = block_new(5 * v, 1), *was = block_copy(z, 5 * v), loss[5];
    int32_t targets[5] = {(int32_t)v - 1, (int32_t)v - 1, 0, (int32_t)v - 1, (int32_t)v - 1};
    bool good = true;
    for (int64_t i = 0; i < 3; i++)
        for (int64_t j = 0; j < (i == 0 ? v / 2 : v - 1); j++) /* the first half; all but the last; the target of the third is one of them */
            z[i * v + j] = was[i * v + j] = -INFINITY;
    z[3 * v + v / 2] = INFINITY, z[4 * v + v / 3] = NAN;
    l->k.cross_entropy(loss, z, targets, 1, 5, v);
    for (int64_t i = 0; i < 2; i++) {
        double sum = 0;
        for (int64_t j = 0; j < v; j++)
            sum += exp(was[i * v + j]);
        good = good && fabs(loss[i] - (log(sum) - was[i * v + v - 1])) < 1e-6;
        for (int64_t j = 0; j < v; j++)
            good = good && fabs(z[i * v + j] - (exp(was[i * v + j]) / sum - (j == v - 1))) < 1e-6;
    }
    good = good && loss[2] == INFINITY && isnan(loss[3]) && isnan(loss[4]) && isnan(z[3 * v]) && isnan(z[4 * v]) && block_margins_kept(z, 5 * v);
    block_free(z), block_free(was);
    return good;
}

static void test_loss(const struct level *l)
{
    int bad = 0;
    for (int i = 0; i < N_WIDTHS; i++)
        for (int grad = 0; grad < 2; grad++)
            bad += !loss_agrees(l, 13, widths[i], grad ? 0.125f : 0);
    bad += !loss_agrees(l, 2, 50001, 1) + !loss_agrees(l, 0, 5, 1);
    ok(bad == 0, "cross_entropy %s: loss and gradient", l->name);
    ok(losses_of_extremes(l, 7) && losses_of_extremes(l, 5000), "cross_entropy %s: scores that are no finite numbers", l->name);
}

/* --- threads --- */

static void test_threads(const struct level *l)
{
    enum { N = 61, C = 413 };
    float *x = block_new(N * C, 1), *w = block_new(C, 2), *first[4] = {0};
    int32_t targets[N];
    bool same = true;
    for (int i = 0; i < N; i++)
        targets[i] = i;
    for (int threads = 1; threads <= 3; threads++) {
        float *y = block_new(N * C, 3), *dw = block_new(C, 4), *loss = block_new(N, 5), rstd[N];
        struct row_sum sum = {.to = dw};
        omp_set_num_threads(threads);
        l->k.rmsnorm(y, C, rstd, x, C, w, false, 1e-6f, N, C);
        l->k.rmsnorm_backward(y, C, true, &sum, x, C, y, C, w, false, rstd, N, C);
        l->k.bias_backward(&sum, y, N, C);
        l->k.cross_entropy(loss, y, targets, 1, N, C);
        loss[0] += (float)l->k.sum_squares(y, N * C);
        if (threads == 1)
            first[0] = y, first[1] = dw, first[2] = loss;
        else {
            same = same && !memcmp(y, first[0], N * C * 4) && !memcmp(dw, first[1], C * 4) && !memcmp(loss, first[2], N * 4);
            block_free(y), block_free(dw), block_free(loss);
        }
    }
    omp_set_num_threads(1);
    ok(same, "rows %s: same bits for 1, 2 and 3 threads", l->name);
    block_free(x), block_free(w), block_free(first[0]), block_free(first[1]), block_free(first[2]);
}

int main(void)
{
    levels_open();
    test_norm_formula();
    test_swiglu_formula();
    test_adamw_vectors();
    for (int i = 0; i < n_levels; i++) {
        const struct level *l = &levels[i];
        test_norm(l);
        test_rope(l);
        test_tables(l);
        test_moves(l);
        test_elements(l);
        test_clip(l);
        test_loss(l);
        test_stats(l);
        test_threads(l);
    }
    return tap_end();
}
