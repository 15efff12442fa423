/* Operations run by a team (kernels/cpu/team.c): the same bits as one after another on one thread, whatever the threads do first. */
#include "tests/unit/kernels_check.h"

enum { ROWS = 2, HEADS = 4, KV_HEADS = 2, DIM = 40, Q = HEADS * DIM, KV = KV_HEADS * DIM, C = 72, F = 2100, KEYS = 260, ROUNDS = 20 };

struct work {
    const struct kernels *k;
    float *x, *xn, *q, *kv, *att, *gate, *up, *f; /* activations */
    float *keys;                                  /* (ROWS, KEYS, KV) */
    float *sum_att, *sum_f;                       /* of all rounds: none may go wrong */
    const float *norm, *bias, *weights, *cos_sin, *fresh; /* fresh: (ROUNDS, ROWS, C), so that each round differs */
};

static const int32_t POSITIONS[ROWS] = {0, 1}, PLACES[ROWS] = {KEYS - 1, KEYS + 100}, BOTH[ROWS] = {1, 0};

static struct matmul product(const struct work *w, float *y, const float *x, int64_t out, int64_t in, bool round_bf16)
{
    return (struct matmul){ROWS, out, in, {x, DTYPE_F32, in, 1}, {w->weights, DTYPE_F32, 1, in}, y, out, 0.05f, 0, round_bf16};
}

static void layer(const struct work *w, int round)
{
    const struct kernels *k = w->k;
    struct attention_seq seq[ROWS] = {{0, 1, w->keys, w->keys, NULL, NULL, KEYS}, {1, 1, w->keys + KEYS * KV, w->keys, NULL, NULL, 101}};
    struct attention a = {.n_seq = ROWS, .seq = seq, .q = w->q, .out = w->att, .q_stride = Q, .kv_stride = KV, .out_stride = Q,
                          .heads = HEADS, .kv_heads = KV_HEADS, .head_dim = DIM, .scale = 0.2f};
    k->add(w->x, w->fresh + round * ROWS * C, ROWS * C);
    k->rmsnorm(w->xn, C, NULL, w->x, C, w->norm, false, 1e-5f, ROWS, C);
    k->add_rmsnorm(w->xn, NULL, w->x, w->xn, w->norm, false, 1e-5f, ROWS, C);
    struct matmul qkv[] = {product(w, w->q, w->xn, Q, C, false), product(w, w->kv, w->xn, KV, C, false)};
    k->matmul(qkv, 2);
    k->bias_add(w->kv, w->bias, ROWS, KV);
    k->rope(w->q, Q, w->cos_sin, POSITIONS, false, ROWS, HEADS, DIM);
    k->rope(w->kv, KV, w->cos_sin, POSITIONS, false, ROWS, KV_HEADS, DIM);
    k->scatter_rows(w->keys, w->kv, PLACES, ROWS, KV);
    k->attention(&a);
    struct matmul o = product(w, w->xn, w->att, C, Q, true), small = product(w, w->xn, w->att, 3, Q, false);
    k->matmul(&small, 1);
    k->matmul(&o, 1);
    k->add(w->x, w->xn, ROWS * C);
    struct matmul gate_up[] = {product(w, w->gate, w->x, F, C, false), product(w, w->up, w->x, F, C, false)};
    k->matmul(gate_up, 2);
    k->swiglu(w->f, w->gate, w->up, ROWS * F);
    k->add(w->sum_att, w->att, ROWS * Q);
    k->add(w->sum_f, w->f, ROWS * F);
    struct matmul down = product(w, w->xn, w->f, C, F, false);
    k->matmul(&down, 1);
    k->gather_rows(w->x, w->xn, BOTH, ROWS, C);
}

static void layers(void *arg)
{
    for (int i = 0; i < ROUNDS; i++)
        layer(arg, i);
}

static struct work work_new(const struct kernels *k)
{
    return (struct work){
        .k = k, .x = block_new(ROWS * C, 1), .xn = block_new(ROWS * C, 2), .q = block_new(ROWS * Q, 3), .kv = block_new(ROWS * KV, 4),
        .att = block_new(ROWS * Q, 5), .gate = block_new(ROWS * F, 6), .up = block_new(ROWS * F, 7), .f = block_new(ROWS * F, 8),
        .keys = block_new(ROWS * KEYS * KV, 9), .sum_att = block_new(ROWS * Q, 10), .sum_f = block_new(ROWS * F, 11),
        .norm = block_new(C, 12), .bias = block_new(KV, 13), .weights = block_new(F * C, 14), .cos_sin = block_new(ROWS * DIM, 15),
        .fresh = block_new(ROUNDS * ROWS * C, 16),
    };
}

static void work_free(struct work *w)
{
    float *all[] = {w->x, w->xn, w->q, w->kv, w->att, w->gate, w->up, w->f, w->keys, w->sum_att, w->sum_f, (float *)w->norm,
                    (float *)w->bias, (float *)w->weights, (float *)w->cos_sin, (float *)w->fresh};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        block_free(all[i]);
}

static bool same(const struct work *a, const struct work *b)
{
    return !memcmp(a->x, b->x, ROWS * C * sizeof(float)) && !memcmp(a->sum_att, b->sum_att, ROWS * Q * sizeof(float)) &&
           !memcmp(a->sum_f, b->sum_f, ROWS * F * sizeof(float)) && !memcmp(a->keys, b->keys, ROWS * KEYS * KV * sizeof(float));
}

int main(void)
{
    levels_open();
    for (int i = 0; i < n_levels; i++) {
        struct work want = work_new(&levels[i].k);
        layers(&want);
        ok(isfinite(want.sum_f[0]) && want.sum_f[0] != 0, "team %s: a result", levels[i].name);
        for (int threads = 1; threads <= 5; threads++) {
            struct work w = work_new(&levels[i].k);
            omp_set_num_threads(threads);
            levels[i].k.team(layers, &w);
            omp_set_num_threads(1);
            ok(same(&w, &want), "team %s: %d threads, the bits of one", levels[i].name, threads);
            work_free(&w);
        }
        work_free(&want);
    }
    return tap_end();
}
