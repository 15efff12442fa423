#include "model/kv.h"

#include <stdlib.h>

#include "base/mem.h"
#include "base/threads.h"
#include "model/layer.h"
#include "model/rope.h"

struct kv_cache {
    struct model *m;
    int max_seq;
    int64_t max_positions, rows;   /* rows of one pass */
    struct arena arena;
    int64_t *length;               /* (max_seq) */
    float **k, **v;                /* a layer each: (max_seq, max_positions, G*D) */
    float *x, *last, *scores;      /* (rows, C), (MATMUL_FEW_ROWS, C) and (MATMUL_FEW_ROWS, V) */
    struct layer_kept kept;
    struct layer_work work;
    float *cos_sin, *inv;
    int32_t *ids, *pos, *dest, *last_rows;
    /* host copies of one pass */
    float *host_cos_sin;
    int32_t *host_ids, *host_pos, *host_dest;
    struct attention_seq *seq;     /* (MATMUL_FEW_ROWS) */
};

/* A run of new tokens of one sequence within a pass. */
struct piece {
    int slot;
    const int32_t *ids;
    int64_t n;
    int64_t total;    /* length of the sequence at the end of the call */
    float *logits;    /* NULL: more of the sequence follows */
};

static float *take(struct arena *a, const char *label, int64_t rows, int64_t cols)
{
    return cols ? arena_alloc(a, label, (size_t)rows * (size_t)cols, sizeof(float)) : NULL;
}

static int most_rank(struct model *m)
{
    int rank = linear_rank(&m->head);
    for (int l = 0; l < m->config.layers; l++)
        for (int j = 0; j < LAYER_LINEARS; j++) {
            int r = linear_rank(layer_linear(&m->layers[l], j));
            rank = r > rank ? r : rank;
        }
    return rank;
}

static void layout_cache(struct kv_cache *c, struct arena *a)
{
    int64_t kv = (int64_t)c->m->config.kv_heads * c->m->config.head_dim;
    for (int l = 0; l < c->m->config.layers; l++) {
        c->k[l] = take(a, "keys and values", c->max_seq * c->max_positions, kv);
        c->v[l] = take(a, "keys and values", c->max_seq * c->max_positions, kv);
    }
}

static void layout_pass(struct kv_cache *c, struct arena *a)
{
    const struct model_config *o = &c->m->config;
    struct layer_kept *s = &c->kept;
    const char *label = "scratch";
    int64_t n = c->rows, q = (int64_t)o->heads * o->head_dim, kv = (int64_t)o->kv_heads * o->head_dim;
    c->x = take(a, label, n, o->hidden);
    s->q = take(a, label, n, q);
    s->k = take(a, label, n, kv);
    s->v = take(a, label, n, kv);
    s->att = take(a, label, n, q);
    s->x2 = take(a, label, n, o->hidden);
    s->gate = take(a, label, n, o->ffn);
    s->up = take(a, label, n, o->ffn);
    c->work.xn = take(a, label, n, o->hidden);
    c->work.f = take(a, label, n, o->ffn);
    c->work.q_rot = take(a, label, n, o->qk_norm ? q : 0);
    c->work.k_rot = take(a, label, n, o->qk_norm ? kv : 0);
    c->work.pass.low = take(a, label, n, LINEAR_EACH_MAX * most_rank(c->m));
    c->last = take(a, label, MATMUL_FEW_ROWS, o->hidden);
    c->scores = take(a, label, MATMUL_FEW_ROWS, o->vocab);
    c->cos_sin = take(a, label, n, o->head_dim);
    c->ids = arena_alloc(a, label, (size_t)n, sizeof *c->ids);
    c->pos = arena_alloc(a, label, (size_t)n, sizeof *c->pos);
    c->dest = arena_alloc(a, label, (size_t)n, sizeof *c->dest);
    c->last_rows = arena_alloc(a, label, MATMUL_FEW_ROWS, sizeof *c->last_rows);
}

static struct kv_cache *new_unplanned(struct model *m, int max_sequences, int64_t max_positions)
{
    struct kv_cache *c = mem_zalloc(1, sizeof *c);
    c->m = m;
    c->max_seq = max_sequences;
    c->max_positions = max_positions;
    c->rows = max_sequences * max_positions < KV_PREFILL_ROWS ? max_sequences * max_positions : KV_PREFILL_ROWS;
    c->rows = c->rows < MATMUL_FEW_ROWS ? MATMUL_FEW_ROWS : c->rows;
    c->k = mem_zalloc((size_t)m->config.layers, sizeof *c->k);
    c->v = mem_zalloc((size_t)m->config.layers, sizeof *c->v);
    arena_init(&c->arena);
    layout_cache(c, &c->arena);
    layout_pass(c, &c->arena);
    return c;
}

size_t kv_cache_bytes(struct model *m, int max_sequences, int64_t max_positions)
{
    struct kv_cache *c = new_unplanned(m, max_sequences, max_positions);
    size_t bytes = c->arena.used;
    kv_cache_free(c);
    return bytes;
}

struct kv_cache *kv_cache_new(struct model *m, int max_sequences, int64_t max_positions, struct err *e)
{
    if (max_sequences < 1 || max_positions < 1 || max_positions > INT32_MAX / max_sequences) {
        err_set(e, "key/value cache: found %d sequences of %lld positions, expected at least 1 and less than 2^31 in all",
                max_sequences, (long long)max_positions);
        return NULL;
    }
    struct kv_cache *c = new_unplanned(m, max_sequences, max_positions);
    if (model_place_weights(m, e) || arena_commit(&c->arena, m->k->alloc, m->k->free, e)) {
        kv_cache_free(c);
        return NULL;
    }
    layout_cache(c, &c->arena);
    layout_pass(c, &c->arena);
    size_t n = (size_t)c->rows, d = (size_t)m->config.head_dim;
    c->length = mem_zalloc((size_t)max_sequences, sizeof *c->length);
    c->inv = mem_zalloc(d / 2, sizeof *c->inv);
    c->host_cos_sin = mem_zalloc(n, d * sizeof *c->host_cos_sin);
    c->host_ids = mem_zalloc(n, sizeof *c->host_ids);
    c->host_pos = mem_zalloc(n, sizeof *c->host_pos);
    c->host_dest = mem_zalloc(n, sizeof *c->host_dest);
    c->seq = mem_zalloc(MATMUL_FEW_ROWS, sizeof *c->seq);
    for (size_t i = 0; i < n; i++)
        c->host_pos[i] = (int32_t)i;
    m->k->copy_in(c->pos, c->host_pos, n * sizeof *c->pos);
    c->work.pos = c->pos;
    c->work.cos_sin = c->cos_sin;
    c->work.pass.k = m->k;
    return c;
}

void kv_cache_free(struct kv_cache *c)
{
    if (!c)
        return;
    arena_release(&c->arena);
    free(c->k);
    free(c->v);
    free(c->length);
    free(c->inv);
    free(c->host_cos_sin);
    free(c->host_ids);
    free(c->host_pos);
    free(c->host_dest);
    free(c->seq);
    free(c);
}

void kv_cache_reset(struct kv_cache *c, int slot)
{
    c->length[slot] = 0;
}

int64_t kv_cache_length(const struct kv_cache *c, int slot)
{
    return c->length[slot];
}

void kv_cache_truncate(struct kv_cache *c, int slot, int64_t length)
{
    if (length < c->length[slot])
        c->length[slot] = length;
}

/* Ids, rotations, places in the cache and attention bounds of the pieces, rows in order. Returns the rows. */
static int64_t set_pieces(struct kv_cache *c, const struct piece *p, int n_pieces)
{
    const struct model_config *o = &c->m->config;
    const struct kernels *k = c->m->k;
    int64_t n = 0;
    for (int i = 0; i < n_pieces; i++) {
        int64_t at = c->length[p[i].slot];
        float scaling = rope_frequencies(c->inv, o, p[i].total);
        c->seq[i] = (struct attention_seq){.q_row = n, .q_len = p[i].n, .k_len = at + p[i].n};
        for (int64_t j = 0; j < p[i].n; j++, n++) {
            rope_fill(c->host_cos_sin + n * o->head_dim, c->inv, o->head_dim, scaling, at + j);
            c->host_ids[n] = p[i].ids[j];
            c->host_dest[n] = (int32_t)(p[i].slot * c->max_positions + at + j);
        }
    }
    k->copy_in(c->cos_sin, c->host_cos_sin, (size_t)(n * o->head_dim) * sizeof *c->cos_sin);
    k->copy_in(c->ids, c->host_ids, (size_t)n * sizeof *c->ids);
    k->copy_in(c->dest, c->host_dest, (size_t)n * sizeof *c->dest);
    return n;
}

/* One pass, for the threads that run it: they read it alone. */
struct pass {
    struct kv_cache *c;
    const struct piece *p;
    int n_pieces, n_out;   /* n_out: rows of last_rows */
    int64_t n;
};

static void run_layer(const struct pass *r, int layer)
{
    struct kv_cache *c = r->c;
    const struct model *m = c->m;
    struct attention_seq seq[MATMUL_FEW_ROWS];
    layer_before_attention(&c->work, m, layer, c->x, &c->kept, r->n);
    struct attention a = layer_attention(&c->work, m, layer, &c->kept);
    m->k->scatter_rows(c->k[layer], layer_k(&c->work, m, &c->kept), c->dest, r->n, a.kv_stride);
    m->k->scatter_rows(c->v[layer], c->kept.v, c->dest, r->n, a.kv_stride);
    for (int i = 0; i < r->n_pieces; i++) {
        int64_t at = r->p[i].slot * c->max_positions * a.kv_stride;
        seq[i] = c->seq[i];
        seq[i].k = c->k[layer] + at;
        seq[i].v = c->v[layer] + at;
    }
    a.n_seq = r->n_pieces;
    a.seq = seq;
    m->k->attention(&a);
    layer_after_attention(&c->work, m, layer, c->x, &c->kept, c->x, r->n);
}

static void run_pass(void *arg)
{
    const struct pass *r = arg;
    struct kv_cache *c = r->c;
    const struct model *m = c->m;
    int64_t hidden = m->config.hidden;
    for (int l = 0; l < m->config.layers; l++)
        run_layer(r, l);
    if (!r->n_out)
        return;
    m->k->gather_rows(c->last, c->x, c->last_rows, r->n_out, hidden);
    m->k->rmsnorm(c->work.xn, hidden, NULL, c->last, hidden, m->norm.weight, false, (float)m->config.rms_eps, r->n_out, hidden);
    linear_forward(&c->work.pass, &m->head, c->scores, c->work.xn, NULL, r->n_out);
}

/* The last rows of the pieces that end their input; returns their number. */
static int set_outputs(struct kv_cache *c, const struct piece *p, int n_pieces)
{
    int32_t rows[MATMUL_FEW_ROWS];
    int n = 0;
    for (int i = 0; i < n_pieces; i++)
        if (p[i].logits)
            rows[n++] = (int32_t)(c->seq[i].q_row + c->seq[i].q_len - 1);
    c->m->k->copy_in(c->last_rows, rows, (size_t)n * sizeof *rows);
    return n;
}

static void run(struct kv_cache *c, const struct piece *p, int n_pieces)
{
    const struct model *m = c->m;
    struct pass r = {c, p, n_pieces, .n = set_pieces(c, p, n_pieces)};
    struct mat table = {m->embed.weight, m->embed.type, m->config.hidden, 1};
    size_t vocab = (size_t)m->config.vocab;
    threads_adapt();
    r.n_out = set_outputs(c, p, n_pieces);
    c->work.pass.bf16 = m->bf16;
    m->k->embedding(c->x, &table, c->ids, r.n, m->config.hidden);
    if (r.n <= MATMUL_FEW_ROWS) /* short enough for what it costs to begin an operation to count */
        m->k->team(run_pass, &r);
    else
        run_pass(&r);
    for (int i = 0, n = 0; i < n_pieces; i++) {
        if (p[i].logits)
            m->k->copy_out(p[i].logits, c->scores + vocab * (size_t)n++, vocab * sizeof(float));
        c->length[p[i].slot] += p[i].n;
    }
}

static int check_input(const struct kv_cache *c, const struct kv_input *in, int n, struct err *e)
{
    for (int i = 0; i < n; i++) {
        if (in[i].slot < 0 || in[i].slot >= c->max_seq || in[i].n_ids < 1)
            return err_set(e, "input %d: found %lld tokens for sequence %d, expected at least 1 for a sequence from 0 to %d", i,
                           (long long)in[i].n_ids, in[i].slot, c->max_seq - 1);
        for (int j = 0; j < i; j++)
            if (in[j].slot == in[i].slot)
                return err_set(e, "input %d: sequence %d stands twice in one call", i, in[i].slot);
        if (in[i].n_ids > c->max_positions - c->length[in[i].slot])
            return err_set(e, "input %d: sequence of %lld tokens, expected at most %lld", i,
                           (long long)(c->length[in[i].slot] + in[i].n_ids), (long long)c->max_positions);
        for (int64_t j = 0; j < in[i].n_ids; j++)
            if (in[i].ids[j] < 0 || in[i].ids[j] >= c->m->config.vocab)
                return err_set(e, "input %d: found token %d, expected 0 to %lld", i, in[i].ids[j], (long long)c->m->config.vocab - 1);
    }
    return 0;
}

/* Pieces that run together: their products are then of the kind that each would have alone. */
struct together {
    struct piece p[MATMUL_FEW_ROWS];
    int n;
    int64_t rows;
};

static void run_together(struct kv_cache *c, struct together *t)
{
    if (t->n)
        run(c, t->p, t->n);
    t->n = 0;
    t->rows = 0;
}

static void add_piece(struct kv_cache *c, struct together *t, const struct piece *p, int64_t most)
{
    if (t->n == MATMUL_FEW_ROWS || t->rows + p->n > most)
        run_together(c, t);
    t->p[t->n++] = *p;
    t->rows += p->n;
}

int kv_forward(struct kv_cache *c, const struct kv_input *in, int n, float *logits, struct err *e)
{
    if (check_input(c, in, n, e))
        return -1;
    struct together few = {.n = 0}, many = {.n = 0};
    for (int i = 0; i < n; i++) {
        int64_t total = c->length[in[i].slot] + in[i].n_ids;
        for (int64_t at = 0, rows; at < in[i].n_ids; at += rows) {
            rows = in[i].n_ids - at < KV_PREFILL_ROWS ? in[i].n_ids - at : KV_PREFILL_ROWS;
            bool last = at + rows == in[i].n_ids;
            struct piece p = {in[i].slot, in[i].ids + at, rows, total, last ? logits + i * c->m->config.vocab : NULL};
            add_piece(c, rows > MATMUL_FEW_ROWS ? &many : &few, &p, rows > MATMUL_FEW_ROWS ? c->rows : MATMUL_FEW_ROWS);
            if (!last) /* the next piece needs this one's keys */
                run_together(c, &many);
        }
    }
    run_together(c, &many);
    run_together(c, &few);
    return 0;
}
