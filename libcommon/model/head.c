/* The output layer: final norm, vocabulary scores, cross entropy and their gradients, a chunk of rows at a time. Only rows
 * with a target are computed; the gradient is formed in the same pass, so scores are never kept. */
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "model/decoder_impl.h"

#define HEAD_SCORES (INT64_C(1) << 24) /* scores held at once, about */

bool head_trains(const struct decoder *d)
{
    return linear_trains(&d->m->head) || d->m->norm.pw;
}

void head_init(struct decoder *d)
{
    struct head *h = &d->head;
    int64_t fit = HEAD_SCORES / d->m->config.vocab;
    fit = fit > 1024 ? 1024 : fit & ~INT64_C(15);
    h->piece = fit < 2 * DECODER_MIN_ROWS ? 2 * DECODER_MIN_ROWS : fit;
    h->by_piece = head_trains(d);
    h->chunk = h->piece > d->rows ? d->rows : h->piece;
    h->cuts = mem_zalloc((size_t)h->chunk + 1, sizeof *h->cuts);
    h->host_rows = mem_zalloc((size_t)h->chunk, sizeof *h->host_rows);
    h->host_targets = mem_array(NULL, (size_t)h->chunk, sizeof *h->host_targets);
    h->host_loss = mem_array(NULL, 4 * (size_t)h->chunk, sizeof *h->host_loss);
}

int64_t decoder_score_rows(const struct decoder *d)
{
    return d->head.chunk;
}

void head_release(struct decoder *d)
{
    free(d->head.cuts);
    free(d->head.host_rows);
    free(d->head.host_targets);
    free(d->head.host_loss);
}

void head_layout(struct decoder *d, struct arena *a)
{
    struct head *h = &d->head;
    const char *label = "output layer";
    size_t n = (size_t)h->chunk, c = (size_t)d->m->config.hidden, low = (size_t)linear_kept_rank(&d->m->head);
    h->x = arena_alloc(a, label, n * c, sizeof *h->x);
    h->xn = arena_alloc(a, label, n * c, sizeof *h->xn);
    h->dxn = d->backward ? arena_alloc(a, label, n * c, sizeof *h->dxn) : NULL;
    h->rstd = arena_alloc(a, label, n, sizeof *h->rstd);
    h->loss = arena_alloc(a, label, 4 * n, sizeof *h->loss);
    h->scores = arena_alloc(a, label, n * (size_t)d->m->config.vocab, sizeof *h->scores);
    h->low = d->backward && low ? arena_alloc(a, label, n * low, sizeof *h->low) : NULL;
    h->rows = arena_alloc(a, label, n, sizeof *h->rows);
    h->targets = arena_alloc(a, label, n, sizeof *h->targets);
}

/* Scores of `count` rows of the last layer's output (host_rows); returns the rows computed, with zeros after `count`, to which any
 * dropout may be applied. */
static int64_t chunk_scores(struct decoder *d, int64_t count)
{
    struct head *h = &d->head;
    const struct model *m = d->m;
    int64_t c = m->config.hidden, n = count > DECODER_MIN_ROWS ? count : DECODER_MIN_ROWS;
    m->k->copy_in(h->rows, h->host_rows, (size_t)count * sizeof *h->rows);
    m->k->gather_rows(h->x, d->x[m->config.layers], h->rows, count, c);
    if (n > count)
        m->k->zero(h->x + count * c, (size_t)((n - count) * c) * sizeof *h->x);
    m->k->rmsnorm(h->xn, c, h->rstd, h->x, c, m->norm.weight, false, (float)m->config.rms_eps, n, c);
    d->work.pass.rows = h->host_rows;
    linear_forward(&d->work.pass, &m->head, h->scores, h->xn, h->low, n);
    d->work.pass.rows = NULL;
    return n;
}

/* Gradients of the chunk from those of its scores; dx gets its rows. */
static void chunk_backward(struct decoder *d, int pieces, int64_t n)
{
    struct head *h = &d->head;
    const struct model *m = d->m;
    struct linear_pass pass = d->work.pass;
    int64_t c = m->config.hidden;
    bool body = decoder_trains_body(d);
    pass.rows = h->host_rows;
    pass.cuts = h->cuts;
    pass.n_cuts = pieces;
    linear_backward(&pass, &m->head, body || m->norm.pw ? h->dxn : NULL, h->scores, h->xn, h->low, n);
    if (!body && !m->norm.pw)
        return;
    layer_norm_backward(&pass, &m->norm, 1, c, h->xn, false, h->dxn, h->x, h->rstd, n);
    if (body)
        m->k->scatter_rows(d->work.dx, h->xn, h->rows, h->cuts[pieces], c);
}

/* What one run over a batch's rows wants. */
struct head_pass {
    float grad_scale;
    const float *weight;
    struct decoder_result *r;
    struct decoder_rows rows;
};

static void chunk_stats(struct decoder *d, int64_t count, const struct decoder_rows *rows)
{
    struct head *h = &d->head;
    float *at[] = {h->loss, h->loss + h->chunk, h->loss + 2 * h->chunk, h->loss + 3 * h->chunk};
    if (rows->mean || rows->entropy || rows->squares)
        d->m->k->row_stats(rows->mean ? at[1] : NULL, rows->entropy ? at[2] : NULL, rows->squares ? at[3] : NULL, h->scores, count, d->m->config.vocab);
}

/* Row i of the chunk goes to its row of the batch. */
static void chunk_rows(struct decoder *d, int64_t count, const struct decoder_rows *rows)
{
    struct head *h = &d->head;
    float *const to[] = {rows->loss, rows->mean, rows->entropy, rows->squares};
    for (int k = 0; k < 4; k++) {
        if (k && to[k])
            d->m->k->copy_out(h->host_loss + k * h->chunk, h->loss + k * h->chunk, (size_t)count * sizeof *h->loss);
        for (int64_t i = 0; i < count && to[k]; i++)
            to[k][h->host_rows[i]] = h->host_loss[k * h->chunk + i];
    }
}

/* The gradients of the scores by row, with the weights in the place of the loss. */
static void chunk_weigh(struct decoder *d, int64_t count, const float *weight)
{
    struct head *h = &d->head;
    for (int64_t i = 0; i < count; i++)
        h->host_loss[i] = weight[h->host_rows[i]];
    d->m->k->copy_in(h->loss, h->host_loss, (size_t)count * sizeof *h->loss);
    d->m->k->scale_rows(h->scores, h->loss, count, d->m->config.vocab);
}

/* Cross entropy of a chunk of pieces; adds to p->r and the rows. */
static void chunk_loss(struct decoder *d, int pieces, const struct head_pass *p)
{
    struct head *h = &d->head;
    const struct kernels *k = d->m->k;
    int64_t count = h->cuts[pieces], n = chunk_scores(d, count);
    int32_t none[DECODER_MIN_ROWS];
    memset(none, -1, sizeof none);
    k->copy_in(h->targets, h->host_targets, (size_t)count * sizeof *h->targets);
    k->copy_in(h->targets + count, none, (size_t)(n - count) * sizeof *h->targets);
    chunk_stats(d, count, &p->rows);
    k->cross_entropy(h->loss, h->scores, h->targets, p->grad_scale, n, d->m->config.vocab);
    k->copy_out(h->host_loss, h->loss, (size_t)count * sizeof *h->loss);
    for (int64_t i = 0; i < count; i++)
        p->r->loss_sum += h->host_loss[i];
    p->r->trained += count;
    chunk_rows(d, count, &p->rows);
    if (p->grad_scale != 0 && p->weight)
        chunk_weigh(d, count, p->weight);
    if (p->grad_scale != 0)
        chunk_backward(d, pieces, n);
}

static void close_piece(struct head *h)
{
    if (h->count > h->cuts[h->pieces])
        h->cuts[++h->pieces] = h->count;
}

/* The closed pieces are computed, what is open moves to the front. */
static void run_pieces(struct decoder *d, const struct head_pass *p)
{
    struct head *h = &d->head;
    int64_t done = h->cuts[h->pieces];
    chunk_loss(d, h->pieces, p);
    h->count -= done;
    h->pieces = 0;
    memmove(h->host_rows, h->host_rows + done, (size_t)h->count * sizeof *h->host_rows);
    memmove(h->host_targets, h->host_targets + done, (size_t)h->count * sizeof *h->host_targets);
}

/* False: stopped. */
static bool sample_loss(struct decoder *d, int64_t first, int64_t end, const struct head_pass *p)
{
    const struct batch *b = d->batch;
    struct head *h = &d->head;
    for (int64_t i = first; i < end; i++) {
        if (b->targets[i] < 0)
            continue;
        if (h->count - h->cuts[h->pieces] == h->piece || (!h->by_piece && h->count == h->chunk))
            close_piece(h);
        if (h->count == h->chunk) {
            if (decoder_stopped(d))
                return false;
            run_pieces(d, p);
        }
        h->host_rows[h->count] = (int32_t)i;
        h->host_targets[h->count++] = b->targets[i];
    }
    if (h->by_piece)
        close_piece(h);
    return true;
}

static void clear_rows(const struct decoder_rows *rows, int64_t n)
{
    float *const all[] = {rows->loss, rows->mean, rows->entropy, rows->squares};
    for (int k = 0; k < 4; k++)
        if (all[k])
            memset(all[k], 0, (size_t)n * sizeof *all[k]);
}

bool head_loss(struct decoder *d, float grad_scale, const float *weight, struct decoder_result *r, const struct decoder_rows *rows)
{
    const struct batch *b = d->batch;
    struct head *h = &d->head;
    const struct head_pass p = {grad_scale, weight, r, rows ? *rows : (struct decoder_rows){0}};
    h->count = h->pieces = 0;
    *r = (struct decoder_result){0};
    clear_rows(&p.rows, b->n);
    if (grad_scale != 0 && decoder_trains_body(d))
        d->m->k->zero(d->work.dx, (size_t)(d->n * d->m->config.hidden) * sizeof *d->work.dx);
    for (int s = 0; b->targets && s < b->n_seq; s++)
        if (!sample_loss(d, b->start[s], b->start[s + 1], &p))
            return false;
    close_piece(h);
    if (!h->count)
        return true;
    if (decoder_stopped(d))
        return false;
    run_pieces(d, &p);
    return true;
}

int head_logits(struct decoder *d, const int32_t *rows, int64_t n_rows,
                int (*sink)(void *arg, int64_t first, int64_t count, const float *logits), void *arg)
{
    struct head *h = &d->head;
    int64_t v = d->m->config.vocab;
    float *host = mem_array(NULL, (size_t)(h->chunk * v), sizeof *host);
    int rc = 0;
    for (int64_t first = 0, count; first < n_rows && !rc; first += count) {
        count = n_rows - first < h->chunk ? n_rows - first : h->chunk;
        for (int64_t i = 0; i < count; i++)
            h->host_rows[i] = rows ? rows[first + i] : (int32_t)(first + i);
        chunk_scores(d, count);
        d->m->k->copy_out(host, h->scores, (size_t)(count * v) * sizeof *host);
        rc = sink(arg, first, count, host);
    }
    free(host);
    return rc;
}
