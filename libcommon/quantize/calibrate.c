#include "quantize/calibrate.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/threads.h"
#include "kernels/view.h"
#include "model/rope.h"
#include "quantize/hessian.h"

#define NEXT CALIBRATE_STAGES  /* what leads to the inputs of the next layer */
#define NORMS 4

const struct calibrate_span CALIBRATE_SPANS[CALIBRATE_STAGES] = {
    [CALIBRATE_QKV] = {LAYER_Q, LAYER_O}, [CALIBRATE_O] = {LAYER_O, LAYER_GATE}, [CALIBRATE_GATE_UP] = {LAYER_GATE, LAYER_DOWN},
    [CALIBRATE_DOWN] = {LAYER_DOWN, LAYER_LINEARS},
};

/* Samples that run together. */
struct chunk {
    int first, n;        /* samples */
    int64_t row, rows;
};

struct calibrate {
    struct model *m;     /* of the host's memory */
    const struct kernels *k;
    int (*stop)(void);
    int n_samples;
    int64_t *start;      /* (n_samples + 1) rows */
    struct chunk *chunks;
    int n_chunks;
    int64_t rows;        /* of the largest chunk */
    bool staged;         /* `mid` is there */
    int gone;            /* the layer through which stages have gone, all but NEXT; -1: none */
    struct arena arena;
    float *x;            /* (tokens, C) inputs of the layer; from CALIBRATE_GATE_UP on the residual after attention */
    float *mid;          /* (tokens, max(H*D, F)) between stages: attention's output, then the gated product */
    struct layer_kept kept;
    struct layer_work work;
    float *cos_sin;
    int32_t *pos;
    /* Where device memory is not the host's: the layer in use, and the products of struct hessian. */
    float *weight[LAYER_LINEARS], *bias[LAYER_LINEARS], *norm[NORMS], *products;
    /* host */
    int32_t *ids;
    float *host_cos_sin, *inv, *spare;
    struct attention_seq *seq;
    struct layer held;   /* as the layer in use was before */
    int used;            /* -1: none */
};

static int64_t max_of(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

/* Rows of `mid`, floats. */
static int64_t mid_width(const struct model *m)
{
    return max_of((int64_t)m->config.heads * m->config.head_dim, m->config.ffn);
}

static float *take(struct arena *a, int64_t rows, int64_t cols)
{
    return cols ? arena_alloc(a, "calibration", (size_t)rows * (size_t)cols, sizeof(float)) : NULL;
}

static void layout_layer(struct calibrate *c, struct arena *a)
{
    const struct model_config *o = &c->m->config;
    int64_t most = 0;
    for (int i = 0; i < LAYER_LINEARS; i++) {
        const struct linear *l = layer_linear(&c->m->layers[0], i);
        c->weight[i] = take(a, l->out, l->in);
        c->bias[i] = take(a, 1, l->bias ? l->out : 0);
        most = max_of(most, l->in);
    }
    for (int i = 0; i < NORMS; i++)
        c->norm[i] = take(a, 1, i < 2 ? o->hidden : o->qk_norm ? o->head_dim : 0);
    c->products = take(a, 1, hessian_products(most));
}

static void layout(struct calibrate *c, struct arena *a)
{
    const struct model_config *o = &c->m->config;
    struct layer_kept *s = &c->kept;
    int64_t n = c->rows, q = (int64_t)o->heads * o->head_dim, kv = (int64_t)o->kv_heads * o->head_dim, all = c->start[c->n_samples];
    c->x = take(a, all, o->hidden);
    c->mid = take(a, all, c->staged ? mid_width(c->m) : 0);
    s->q = take(a, n, q);
    s->k = take(a, n, kv);
    s->v = take(a, n, kv);
    s->att = take(a, n, q);
    s->x2 = take(a, n, o->hidden);
    s->gate = take(a, n, o->ffn);
    s->up = take(a, n, o->ffn);
    c->work.xn = take(a, n, o->hidden);
    c->work.f = take(a, n, o->ffn);
    c->work.q_rot = take(a, n, o->qk_norm ? q : 0);
    c->work.k_rot = take(a, n, o->qk_norm ? kv : 0);
    c->cos_sin = take(a, n, o->head_dim);
    c->pos = arena_alloc(a, "calibration", (size_t)n, sizeof *c->pos);
    c->work.pos = c->pos;
    c->work.cos_sin = c->cos_sin;
    if (!c->k->host_memory)
        layout_layer(c, a);
}

/* The samples that are used: all, or the i-th of those that lie evenly spread. */
static int64_t chosen(const struct token_file *t, int64_t i, int64_t most)
{
    return most <= 0 || t->n_tokens <= most ? i : (int64_t)((double)i * ((double)t->n_tokens / (double)most));
}

static void choose_samples(struct calibrate *c, const struct token_file *t, int64_t most)
{
    c->start = mem_array(NULL, (size_t)t->n_samples + 1, sizeof *c->start);
    c->start[0] = 0;
    for (int64_t i = 0; chosen(t, i, most) < t->n_samples; i++) {
        int64_t end = c->start[i] + token_file_sample(t, chosen(t, i, most)).n;
        if (i && most > 0 && end > most)
            break;
        c->start[i + 1] = end;
        c->n_samples = (int)i + 1;
    }
}

static void make_chunks(struct calibrate *c)
{
    c->chunks = mem_array(NULL, (size_t)c->n_samples, sizeof *c->chunks);
    for (int s = 0; s < c->n_samples; s++) {
        int64_t len = c->start[s + 1] - c->start[s];
        struct chunk *last = &c->chunks[c->n_chunks - 1];
        if (c->n_chunks && last->rows + len <= CALIBRATE_ROWS)
            last->n++, last->rows += len;
        else
            c->chunks[c->n_chunks++] = (struct chunk){s, 1, c->start[s], len};
        c->rows = max_of(c->rows, c->chunks[c->n_chunks - 1].rows);
    }
}

static struct calibrate *new_unplanned(const struct model *m, const struct kernels *k, const struct token_file *t, int64_t most)
{
    struct calibrate *c = mem_zalloc(1, sizeof *c);
    c->m = (struct model *)m;
    c->k = k;
    c->used = c->gone = -1;
    c->staged = most <= 0;
    choose_samples(c, t, most);
    make_chunks(c);
    arena_init(&c->arena);
    layout(c, &c->arena);
    return c;
}

int64_t calibrate_bytes(const struct model *m, const struct kernels *k, const struct token_file *t, int64_t most)
{
    struct calibrate *c = new_unplanned(m, k, t, most);
    int64_t bytes = (int64_t)c->arena.used;
    calibrate_close(c);
    return bytes;
}

static int embed_sample(struct calibrate *c, const struct token_file *t, int i, int64_t index, struct err *e)
{
    const struct model *m = c->m;
    struct token_sample s = token_file_sample(t, index);
    struct mat table = {m->embed.weight, m->embed.type, m->config.hidden, 1};
    for (uint32_t j = 0; j < s.n; j++)
        if (s.ids[j] >= (uint64_t)m->config.vocab)
            return err_set(e, "%s: sample %lld: found token %u, expected less than the vocabulary's %lld", t->path, (long long)index, s.ids[j],
                           (long long)m->config.vocab);
    memcpy(c->ids, s.ids, s.n * sizeof *s.ids);
    float *there = c->x + c->start[i] * m->config.hidden, *x = kernels_stage(c->k, there, c->spare);
    m->k->embedding(x, &table, c->ids, s.n, m->config.hidden);
    kernels_staged(c->k, there, x, (size_t)(s.n * m->config.hidden) * sizeof *x);
    return 0;
}

static int fill(struct calibrate *c, const struct token_file *t, int64_t most, struct err *e)
{
    size_t n = (size_t)c->rows, d = (size_t)c->m->config.head_dim;
    layout(c, &c->arena);
    c->inv = mem_zalloc(d / 2, sizeof *c->inv);
    c->host_cos_sin = mem_zalloc(n, d * sizeof *c->host_cos_sin);
    c->seq = mem_zalloc((size_t)c->n_samples, sizeof *c->seq);
    int32_t *pos = mem_array(NULL, n, sizeof *pos);
    for (size_t i = 0; i < n; i++)
        pos[i] = (int32_t)i;
    c->k->copy_in(c->pos, pos, n * sizeof *pos);
    free(pos);
    c->ids = mem_array(NULL, n, sizeof *c->ids);
    c->spare = c->k->host_memory ? NULL : mem_array(NULL, n, (size_t)c->m->config.hidden * sizeof *c->spare);
    c->work.pass = (struct linear_pass){.k = c->k, .bf16 = c->m->bf16};
    for (int i = 0; i < c->n_samples; i++)
        if (embed_sample(c, t, i, chosen(t, i, most), e))
            return -1;
    return 0;
}

struct calibrate *calibrate_open(struct model *m, const struct kernels *k, const struct token_file *t, int64_t most, int (*stop)(void), struct err *e)
{
    if (t->n_samples < 1 || t->n_samples > INT32_MAX) {
        err_set(e, "%s: found %lld samples, expected at least 1 to calibrate with", t->path, (long long)t->n_samples);
        return NULL;
    }
    struct calibrate *c = new_unplanned(m, k, t, most);
    c->stop = stop;
    if (!arena_commit(&c->arena, k->alloc, k->free, e) && !fill(c, t, most, e))
        return c;
    calibrate_close(c);
    return NULL;
}

void calibrate_close(struct calibrate *c)
{
    if (!c)
        return;
    calibrate_restore(c);
    arena_release(&c->arena);
    free(c->start);
    free(c->chunks);
    free(c->host_cos_sin);
    free(c->ids);
    free(c->spare);
    free(c->inv);
    free(c->seq);
    free(c);
}

int64_t calibrate_tokens(const struct calibrate *c)
{
    return c->start[c->n_samples];
}

const struct kernels *calibrate_device(const struct calibrate *c)
{
    return c->k;
}

float *calibrate_products(const struct calibrate *c)
{
    return c->products;
}

const float *calibrate_states(const struct calibrate *c)
{
    return c->x;
}

const int64_t *calibrate_bounds(const struct calibrate *c, int *n)
{
    *n = c->n_samples;
    return c->start;
}

/* n values where the device reads them: there, or as they are. */
static float *put(const struct calibrate *c, float *there, float *value, int64_t n)
{
    if (c->k->host_memory)
        return value;
    c->k->copy_in(there, value, (size_t)n * sizeof *value);
    return there;
}

void calibrate_use_linears(struct calibrate *c, const struct quantize_layer *l, int first, int end)
{
    for (int i = first; i < end; i++) {
        const struct quantize_module *m = &l->modules[i];
        struct linear *to = layer_linear(&c->m->layers[l->index], i);
        to->weight = put(c, c->weight[i], m->weight, m->out * m->in);
        to->type = DTYPE_F32;
        to->quantized = NULL;
        if (to->bias)
            to->bias = put(c, c->bias[i], m->bias.value, m->bias.n);
    }
}

void calibrate_use(struct calibrate *c, const struct quantize_layer *l)
{
    calibrate_restore(c);
    struct layer *ly = &c->m->layers[l->index];
    struct norm *const norms[NORMS] = {&ly->attn_norm, &ly->mlp_norm, &ly->q_norm, &ly->k_norm};
    const struct quantize_vector *const values[NORMS] = {&l->attn_norm, &l->mlp_norm, &l->q_norm, &l->k_norm};
    c->held = *ly;
    c->used = l->index;
    calibrate_use_linears(c, l, 0, LAYER_LINEARS);
    for (int i = 0; i < NORMS; i++)
        if (norms[i]->weight)
            norms[i]->weight = put(c, c->norm[i], values[i]->value, values[i]->n);
}

void calibrate_restore(struct calibrate *c)
{
    if (c->used >= 0)
        c->m->layers[c->used] = c->held;
    c->used = -1;
}

bool calibrate_stopped(const struct calibrate *c)
{
    threads_adapt();
    return c->stop && c->stop();
}

/* A part of all rows that begins with sample `first`. */
static void fill_rotation(struct calibrate *c, int first, int n)
{
    const struct model_config *o = &c->m->config;
    int64_t base = c->start[first], d = o->head_dim;
    for (int s = 0; s < n; s++) {
        int64_t at = c->start[first + s] - base, len = c->start[first + s + 1] - c->start[first + s];
        float scaling = rope_frequencies(c->inv, o, len);
        c->seq[s] = (struct attention_seq){.q_row = at, .q_len = len, .k_len = len};
#pragma omp parallel for
        for (int64_t i = 0; i < len; i++)
            rope_fill(c->host_cos_sin + (at + i) * d, c->inv, o->head_dim, scaling, i);
    }
    c->k->copy_in(c->cos_sin, c->host_cos_sin, (size_t)((c->start[first + n] - base) * d) * sizeof *c->cos_sin);
}

/* From work.xn to kept.att. */
static void attend(struct calibrate *c, int layer, int first, int n)
{
    int64_t rows = c->start[first + n] - c->start[first];
    fill_rotation(c, first, n);
    layer_project(&c->work, c->m, layer, &c->kept, rows);
    struct attention a = layer_attention(&c->work, c->m, layer, &c->kept);
    for (int i = 0; i < n; i++) {
        c->seq[i].k = layer_k(&c->work, c->m, &c->kept) + c->seq[i].q_row * a.kv_stride;
        c->seq[i].v = c->kept.v + c->seq[i].q_row * a.kv_stride;
    }
    a.n_seq = n;
    a.seq = c->seq;
    c->k->attention(&a);
}

/* What a stage adds to the one before, over one chunk. Returns the inputs of the stage's linears. */
static const float *stage_chunk(struct calibrate *c, int layer, enum calibrate_stage stage, const struct chunk *k)
{
    const struct model *m = c->m;
    float *x = c->x + k->row * m->config.hidden;
    switch (stage) {
    case CALIBRATE_QKV:
        layer_attention_input(&c->work, m, layer, x, &c->kept, k->rows);
        return c->work.xn;
    case CALIBRATE_O:
        layer_attention_input(&c->work, m, layer, x, &c->kept, k->rows);
        attend(c, layer, k->first, k->n);
        return c->kept.att;
    case CALIBRATE_GATE_UP:
        layer_attention_output(&c->work, m, layer, x, &c->kept, k->rows);
        return c->work.xn;
    case CALIBRATE_DOWN:
        layer_mlp_input(&c->work, m, layer, &c->kept, k->rows);
        layer_hidden(&c->work, m, layer, &c->kept, k->rows);
        return c->work.f;
    case NEXT:
        layer_mlp_output(&c->work, m, layer, &c->kept, x, k->rows);
        return NULL;
    }
    return NULL;
}

static void copy_states(const struct calibrate *c, float *to, const float *from, int64_t rows)
{
    c->k->gather_rows(to, from, c->pos, rows, c->m->config.hidden);
}

/* One chunk, with what other stages left or will want in the places for all tokens. */
static const float *stored_chunk(struct calibrate *c, int layer, enum calibrate_stage stage, const struct chunk *k)
{
    const struct model_config *o = &c->m->config;
    float *x = c->x + k->row * o->hidden, *x2 = c->kept.x2;
    if (stage == CALIBRATE_O || stage == CALIBRATE_GATE_UP)
        c->kept.att = c->mid + k->row * o->heads * o->head_dim;
    if (stage >= CALIBRATE_DOWN)
        c->work.f = c->mid + k->row * o->ffn;
    if (stage == CALIBRATE_DOWN)
        c->kept.x2 = x;
    if (stage == NEXT)
        copy_states(c, x2, x, k->rows);
    const float *in = stage_chunk(c, layer, stage, k);
    if (stage == CALIBRATE_GATE_UP) /* the layer's input is not needed any more */
        copy_states(c, x, x2, k->rows);
    return in;
}

static int run_stage(struct calibrate *c, int layer, enum calibrate_stage stage, calibrate_sink *sink, void *arg)
{
    const struct layer_kept kept = c->kept;
    float *f = c->work.f;
    int rc = 0;
    for (int i = 0; i < c->n_chunks && !rc; i++) {
        const float *in = stored_chunk(c, layer, stage, &c->chunks[i]);
        if (sink && in)
            sink(arg, in, c->chunks[i].rows);
        c->kept = kept;
        c->work.f = f;
        rc = calibrate_stopped(c);
    }
    c->gone = !rc && stage == CALIBRATE_DOWN ? layer : -1;
    return rc;
}

int calibrate_stage(struct calibrate *c, int layer, enum calibrate_stage stage, calibrate_sink *sink, void *arg, struct err *e)
{
    if (!c->staged)
        return err_set(e, "calibration: found one of chosen samples, expected one of all for stages");
    return run_stage(c, layer, stage, sink, arg);
}

int calibrate_inputs(struct calibrate *c, int layer, calibrate_sink *const sinks[CALIBRATE_STAGES], void *const args[CALIBRATE_STAGES])
{
    for (int i = 0; i < c->n_chunks; i++)
        for (enum calibrate_stage s = CALIBRATE_QKV; s <= CALIBRATE_DOWN; s++) {
            const float *in = stage_chunk(c, layer, s, &c->chunks[i]);
            sinks[s](args[s], in, c->chunks[i].rows);
            if (calibrate_stopped(c))
                return 1;
        }
    return 0;
}

int calibrate_advance(struct calibrate *c, int layer)
{
    if (c->gone == layer)
        return run_stage(c, layer, NEXT, NULL, NULL);
    for (int i = 0; i < c->n_chunks; i++) {
        for (enum calibrate_stage s = CALIBRATE_O; s <= NEXT; s++)
            stage_chunk(c, layer, s, &c->chunks[i]);
        if (calibrate_stopped(c))
            return 1;
    }
    return 0;
}

int64_t calibrate_try_rows(const struct calibrate *c)
{
    return c->chunks[0].rows;
}

/* y (rows, C), host memory, through what held the norm's output: that is used up. */
static void try_linear(struct calibrate *c, const struct linear *l, float *y, const float *x, int64_t rows)
{
    float *there = c->k->host_memory ? y : c->work.xn;
    linear_forward(&c->work.pass, l, there, x, NULL, rows);
    if (there != y)
        c->k->copy_out(y, there, (size_t)(rows * l->out) * sizeof *y);
}

void calibrate_try_attention(struct calibrate *c, int layer, float *out)
{
    const struct chunk *k = &c->chunks[0];
    stage_chunk(c, layer, CALIBRATE_O, k);
    try_linear(c, &c->m->layers[layer].o, out, c->kept.att, k->rows);
}

void calibrate_try_mlp(struct calibrate *c, int layer, const float *x2, float *out)
{
    const struct chunk *k = &c->chunks[0];
    struct layer_kept kept = c->kept;
    kept.x2 = put(c, c->kept.x2, (float *)x2, k->rows * c->m->config.hidden); /* only read */
    layer_mlp_input(&c->work, c->m, layer, &kept, k->rows);
    layer_hidden(&c->work, c->m, layer, &kept, k->rows);
    try_linear(c, &c->m->layers[layer].down, out, c->work.f, k->rows);
}
