/* Operations of a device, called with host memory: a table for tests that were written for the CPU.
 *
 *     device_fill(&k);   entries of `k` that the device has now copy what their arguments point at to the device (each piece of memory into a block of
 *                        just its size, at the same alignment; what overlaps on the host does so there), call the
 *                        operation, and copy back. What an operation may not write must come back as it was.
 *
 * FINETOOLS_CUDA_SO names the shared object. */
#ifndef DEVICE_CALLS_H
#define DEVICE_CALLS_H

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "kernels/kernels.h"

static const struct kernels *on_device;

struct device_piece {
    char *from, *to; /* host */
    bool out;
    char *block; /* device */
    size_t block_bytes;
};

static struct device_piece *pieces;
static size_t n_pieces, cap_pieces;

static void piece_add(const void *p, int64_t bytes, bool out)
{
    if (!p || bytes <= 0)
        return;
    pieces = mem_grow(pieces, &cap_pieces, n_pieces + 1, sizeof *pieces);
    pieces[n_pieces++] = (struct device_piece){(char *)p, (char *)p + bytes, out, NULL, 0};
}

static void in(const void *p, int64_t bytes)
{
    piece_add(p, bytes, false);
}

static void out(const void *p, int64_t bytes)
{
    piece_add(p, bytes, true);
}

static int by_address(const void *a, const void *b)
{
    const struct device_piece *x = a, *y = b;
    return x->from < y->from ? -1 : x->from > y->from;
}

static size_t offset_of(const struct device_piece *p)
{
    return (uintptr_t)p->from % 16;
}

static void send(void)
{
    struct err e = ERR_INIT;
    size_t kept = 0;
    qsort(pieces, n_pieces, sizeof *pieces, by_address);
    for (size_t i = 0; i < n_pieces; i++) {
        struct device_piece *last = kept ? &pieces[kept - 1] : NULL;
        if (last && pieces[i].from < last->to) {
            last->to = pieces[i].to > last->to ? pieces[i].to : last->to;
            last->out |= pieces[i].out;
        } else
            pieces[kept++] = pieces[i];
    }
    n_pieces = kept;
    for (size_t i = 0; i < n_pieces; i++) {
        struct device_piece *p = &pieces[i];
        p->block_bytes = offset_of(p) + (size_t)(p->to - p->from);
        p->block = on_device->alloc(p->block_bytes, &e);
        if (!p->block) {
            printf("Bail out! %s\n", e.text);
            exit(1);
        }
        on_device->copy_in(p->block + offset_of(p), p->from, (size_t)(p->to - p->from));
    }
}

/* Where it is on the device; memory of no bytes has no place. */
static void *at(const void *p)
{
    for (size_t i = 0; i < n_pieces; i++)
        if (p && (char *)p >= pieces[i].from && (char *)p < pieces[i].to)
            return pieces[i].block + offset_of(&pieces[i]) + ((char *)p - pieces[i].from);
    return NULL;
}

static void back(void)
{
    for (size_t i = 0; i < n_pieces; i++) {
        struct device_piece *p = &pieces[i];
        size_t bytes = (size_t)(p->to - p->from);
        char *now = mem_alloc(bytes);
        on_device->copy_out(now, p->block + offset_of(p), bytes);
        if (p->out)
            memcpy(p->from, now, bytes);
        else if (memcmp(p->from, now, bytes)) {
            printf("Bail out! an operation wrote to what it may only read\n");
            exit(1);
        }
        free(now);
        on_device->free(p->block, p->block_bytes);
    }
    n_pieces = 0;
}

#define FLOAT ((int64_t)sizeof(float))

/* Bytes of n rows of c elements. */
static int64_t rows_bytes(int64_t n, int64_t stride, int64_t c, int64_t size)
{
    return n > 0 && c > 0 ? ((n - 1) * stride + c) * size : 0;
}

static int64_t quantized_groups(const struct quantized *q)
{
    int64_t most = 0;
    for (int64_t i = 0; q->g_idx && i < q->in; i++) {
        int32_t g;
        memcpy(&g, (const char *)q->g_idx + 4 * i, 4);
        most = g > most ? g : most;
    }
    return q->g_idx ? most + 1 : (q->in + q->group - 1) / q->group;
}

static struct {
    int64_t codes, scales, nested, map, zeros, g_idx;
} quantized_size;

static void quantized_sizes(const struct quantized *q)
{
    int64_t n = q->out * q->in, blocks, groups;
    memset(&quantized_size, 0, sizeof quantized_size);
    switch (q->kind) {
    case QUANTIZED_INT8:
        quantized_size.codes = n, quantized_size.scales = q->out * FLOAT;
        break;
    case QUANTIZED_NF4:
    case QUANTIZED_FP4:
        blocks = (n + q->group - 1) / q->group;
        quantized_size.codes = (n + 1) / 2, quantized_size.scales = blocks * (int64_t)dtype_size(q->scale_type);
        if (q->scale_type == DTYPE_U8)
            quantized_size.nested = (blocks + QUANTIZED_NESTED_BLOCK - 1) / QUANTIZED_NESTED_BLOCK * FLOAT, quantized_size.map = 256 * FLOAT;
        break;
    default:
        groups = quantized_groups(q);
        quantized_size.codes = n * q->bits / 8, quantized_size.scales = groups * q->out * (int64_t)dtype_size(q->scale_type);
        quantized_size.zeros = groups * q->out * q->bits / 8, quantized_size.g_idx = q->g_idx ? q->in * 4 : 0;
    }
}

static void quantized_in(const struct quantized *q)
{
    if (!q)
        return;
    quantized_sizes(q);
    in(q->codes, quantized_size.codes), in(q->scales, quantized_size.scales), in(q->nested_scales, quantized_size.nested);
    in(q->nested_map, quantized_size.map), in(q->zeros, quantized_size.zeros), in(q->g_idx, quantized_size.g_idx);
}

static struct quantized quantized_at(const struct quantized *q)
{
    struct quantized d = *q;
    d.codes = at(q->codes), d.scales = at(q->scales), d.nested_scales = at(q->nested_scales), d.nested_map = at(q->nested_map);
    d.zeros = at(q->zeros), d.g_idx = at(q->g_idx);
    return d;
}

/* --- rows and elements --- */

static void row_sum_out(const struct row_sum *s, int64_t c)
{
    if (s)
        out(s->to, c * FLOAT);
}

static struct row_sum row_sum_at(const struct row_sum *s)
{
    struct row_sum d = *s;
    d.to = at(s->to);
    return d;
}

static void call_bias_backward(const struct row_sum *dbias, const float *dy, int64_t n, int64_t c)
{
    row_sum_out(dbias, c), in(dy, n * c * FLOAT), send();
    struct row_sum d = row_sum_at(dbias);
    on_device->bias_backward(&d, at(dy), n, c), back();
}

static void call_bias_add(float *y, const float *bias, int64_t n, int64_t c)
{
    out(y, n * c * FLOAT), in(bias, c * FLOAT), send();
    on_device->bias_add(at(y), at(bias), n, c), back();
}

static void call_rmsnorm(float *y, int64_t y_stride, float *rstd, const float *x, int64_t x_stride, const float *w, bool plus_one, float eps,
                         int64_t n, int64_t c)
{
    out(y, rows_bytes(n, y_stride, c, FLOAT)), out(rstd, n * FLOAT), in(x, rows_bytes(n, x_stride, c, FLOAT)), in(w, c * FLOAT), send();
    on_device->rmsnorm(at(y), y_stride, at(rstd), at(x), x_stride, at(w), plus_one, eps, n, c), back();
}

static void call_add_rmsnorm(float *y, float *rstd, float *x, const float *more, const float *w, bool plus_one, float eps, int64_t n, int64_t c)
{
    out(y, n * c * FLOAT), out(rstd, n * FLOAT), out(x, n * c * FLOAT), in(more, n * c * FLOAT), in(w, c * FLOAT), send();
    on_device->add_rmsnorm(at(y), at(rstd), at(x), at(more), at(w), plus_one, eps, n, c), back();
}

static void call_rmsnorm_backward(float *dx, int64_t dx_stride, bool add, const struct row_sum *dw, const float *dy, int64_t dy_stride,
                                  const float *x, int64_t x_stride, const float *w, bool plus_one, const float *rstd, int64_t n, int64_t c)
{
    out(dx, rows_bytes(n, dx_stride, c, FLOAT)), row_sum_out(dw, c), in(dy, rows_bytes(n, dy_stride, c, FLOAT)), in(x, rows_bytes(n, x_stride, c, FLOAT));
    in(w, c * FLOAT), in(rstd, n * FLOAT), send();
    struct row_sum d = dw ? row_sum_at(dw) : (struct row_sum){0};
    on_device->rmsnorm_backward(at(dx), dx_stride, add, dw ? &d : NULL, at(dy), dy_stride, at(x), x_stride, at(w), plus_one, at(rstd), n, c), back();
}

static void call_rope(float *x, int64_t stride, const float *cos_sin, const int32_t *pos, bool inverse, int64_t n, int heads, int head_dim)
{
    int64_t most = -1;
    for (int64_t i = 0; i < n; i++)
        most = pos[i] > most ? pos[i] : most;
    out(x, rows_bytes(n, stride, heads * head_dim, FLOAT)), in(cos_sin, (most + 1) * head_dim * FLOAT), in(pos, n * 4), send();
    on_device->rope(at(x), stride, at(cos_sin), at(pos), inverse, n, heads, head_dim), back();
}

static void call_swiglu(float *y, const float *gate, const float *up, int64_t count)
{
    out(y, count * FLOAT), in(gate, count * FLOAT), in(up, count * FLOAT), send();
    on_device->swiglu(at(y), at(gate), at(up), count), back();
}

static void call_swiglu_backward(float *dgate, float *dup, const float *dy, const float *gate, const float *up, int64_t count)
{
    out(dgate, count * FLOAT), out(dup, count * FLOAT), in(dy, count * FLOAT), in(gate, count * FLOAT), in(up, count * FLOAT), send();
    on_device->swiglu_backward(at(dgate), at(dup), at(dy), at(gate), at(up), count), back();
}

static int64_t mat_bytes(const struct mat *m, int64_t rows, int64_t cols)
{
    return rows > 0 && cols > 0 ? ((rows - 1) * m->row_stride + (cols - 1) * m->col_stride + 1) * (int64_t)dtype_size(m->type) : 0;
}

static int64_t ids_end(const int32_t *ids, int64_t n)
{
    int64_t end = 0;
    for (int64_t i = 0; i < n; i++)
        end = ids[i] >= end ? ids[i] + 1 : end;
    return end;
}

static void call_embedding(float *to, const struct mat *table, const int32_t *ids, int64_t n, int64_t c)
{
    out(to, n * c * FLOAT), in(table->data, mat_bytes(table, ids_end(ids, n), c)), in(ids, n * 4), send();
    struct mat d = *table;
    d.data = at(table->data);
    on_device->embedding(at(to), &d, at(ids), n, c), back();
}

static void call_embedding_backward(float *dtable, const float *dout, const int32_t *ids, int64_t n, int64_t c, int64_t v)
{
    out(dtable, v * c * FLOAT), in(dout, n * c * FLOAT), in(ids, n * 4), send();
    on_device->embedding_backward(at(dtable), at(dout), at(ids), n, c, v), back();
}

static void call_add(float *x, const float *y, int64_t count)
{
    out(x, count * FLOAT), in(y, count * FLOAT), send();
    on_device->add(at(x), at(y), count), back();
}

static void call_scale(float *x, float s, int64_t count)
{
    out(x, count * FLOAT), send();
    on_device->scale(at(x), s, count), back();
}

static void call_scale_rows(float *x, const float *s, int64_t n, int64_t c)
{
    out(x, n * c * FLOAT), in(s, n * FLOAT), send();
    on_device->scale_rows(at(x), at(s), n, c), back();
}

static void call_dropout(float *y, const float *x, float p, uint64_t seed, uint64_t stream, int64_t row0, int64_t n, int64_t c)
{
    out(y, n * c * FLOAT), in(x, n * c * FLOAT), send();
    on_device->dropout(at(y), at(x), p, seed, stream, row0, n, c), back();
}

static void call_gather_rows(float *to, const float *x, const int32_t *rows, int64_t n, int64_t c)
{
    out(to, n * c * FLOAT), in(x, ids_end(rows, n) * c * FLOAT), in(rows, n * 4), send();
    on_device->gather_rows(at(to), at(x), at(rows), n, c), back();
}

static void call_scatter_rows(float *x, const float *from, const int32_t *rows, int64_t n, int64_t c)
{
    out(x, ids_end(rows, n) * c * FLOAT), in(from, n * c * FLOAT), in(rows, n * 4), send();
    on_device->scatter_rows(at(x), at(from), at(rows), n, c), back();
}

/* --- loss and update --- */

static void call_cross_entropy(float *loss, float *logits, const int32_t *targets, float grad_scale, int64_t n, int64_t v)
{
    out(loss, n * FLOAT), out(logits, n * v * FLOAT), in(targets, n * 4), send();
    on_device->cross_entropy(at(loss), at(logits), at(targets), grad_scale, n, v), back();
}

static void call_row_stats(float *mean, float *entropy, float *squares, const float *logits, int64_t n, int64_t v)
{
    out(mean, n * FLOAT), out(entropy, n * FLOAT), out(squares, n * FLOAT), in(logits, n * v * FLOAT), send();
    on_device->row_stats(at(mean), at(entropy), at(squares), at(logits), n, v), back();
}

static double call_sum_squares(const float *x, int64_t count)
{
    in(x, count * FLOAT), send();
    double sum = on_device->sum_squares(at(x), count);
    back();
    return sum;
}

static void call_clip(struct clip *to, const float *x, int64_t count, double most)
{
    out(to, sizeof *to), in(x, count * FLOAT), send();
    on_device->clip(at(to), at(x), count, most), back();
}

static struct adamw adamw_at(const struct adamw *o)
{
    struct adamw d = *o;
    d.clip = at(o->clip);
    return d;
}

static void call_adamw(const struct adamw_tensor *list, int n, const struct adamw *o)
{
    struct adamw_tensor *d = mem_array(NULL, (size_t)n + 1, sizeof *d);
    for (int i = 0; i < n; i++) {
        const struct adamw_tensor *t = &list[i];
        out(t->p, t->count * FLOAT), out(t->m, t->count * FLOAT), out(t->v, t->count * FLOAT), in(t->grad, t->count * FLOAT);
    }
    in(o->clip, sizeof *o->clip), send();
    for (int i = 0; i < n; i++)
        d[i] = (struct adamw_tensor){at(list[i].p), at(list[i].m), at(list[i].v), at(list[i].grad), list[i].count, list[i].weight_decay};
    struct adamw there = adamw_at(o);
    on_device->adamw(d, n, &there), back();
    free(d);
}

static void call_adamw_8bit(const struct adamw_8bit *list, int n, const struct adamw *o)
{
    struct adamw_8bit *d = mem_array(NULL, (size_t)n + 1, sizeof *d);
    for (int i = 0; i < n; i++) {
        const struct adamw_8bit *t = &list[i];
        int64_t blocks = adamw_8bit_blocks(t->count);
        out(t->p, t->count * FLOAT), in(t->grad, t->count * FLOAT), out(t->m, t->count), out(t->v, t->count), out(t->m_max, blocks * FLOAT), out(t->v_max, blocks * FLOAT);
    }
    in(o->clip, sizeof *o->clip), send();
    for (int i = 0; i < n; i++) {
        const struct adamw_8bit *t = &list[i];
        d[i] = *t;
        d[i].p = at(t->p), d[i].grad = at(t->grad), d[i].m = at(t->m), d[i].v = at(t->v), d[i].m_max = at(t->m_max), d[i].v_max = at(t->v_max);
    }
    struct adamw there = adamw_at(o);
    on_device->adamw_8bit(d, n, &there), back();
    free(d);
}

/* --- products and quantized weights --- */

static void mat_in(const struct mat *m, int64_t rows, int64_t cols)
{
    if (m->quantized)
        quantized_in(m->quantized);
    else
        in(m->data, mat_bytes(m, rows, cols));
}

static struct mat mat_at(const struct mat *m, struct quantized *q)
{
    struct mat d = *m;
    if (m->quantized) {
        *q = quantized_at(m->quantized);
        d.quantized = q;
    } else
        d.data = at(m->data);
    return d;
}

static void call_matmul(const struct matmul *list, int count)
{
    int terms = 0, t = 0;
    for (int i = 0; i < count; i++) {
        const struct matmul *m = &list[i];
        mat_in(&m->a, m->m, m->k), mat_in(&m->b, m->k, m->n), out(m->c, rows_bytes(m->m, m->ldc, m->n, FLOAT));
        for (int j = 0; j < m->n_more; j++)
            mat_in(&m->more[j].a, m->m, m->more[j].k), mat_in(&m->more[j].b, m->more[j].k, m->n);
        terms += 1 + m->n_more;
    }
    send();
    struct matmul *d = mem_array(NULL, (size_t)count + 1, sizeof *d);
    struct matmul_term *more = mem_array(NULL, (size_t)terms + 1, sizeof *more);
    struct quantized *q = mem_array(NULL, (size_t)terms + 1, 2 * sizeof *q);
    for (int i = 0; i < count; i++) {
        const struct matmul *m = &list[i];
        d[i] = *m;
        d[i].a = mat_at(&m->a, &q[2 * t]), d[i].b = mat_at(&m->b, &q[2 * t + 1]), d[i].c = at(m->c), t++;
        d[i].more = m->n_more ? &more[t] : NULL;
        for (int j = 0; j < m->n_more; j++, t++) {
            more[t] = m->more[j];
            more[t].a = mat_at(&m->more[j].a, &q[2 * t]), more[t].b = mat_at(&m->more[j].b, &q[2 * t + 1]);
        }
    }
    on_device->matmul(d, count), back();
    free(d), free(more), free(q);
}

static void call_dequantize(void *to, enum dtype type, int64_t ld, const struct quantized *q, int64_t row0, int64_t rows, int64_t col0, int64_t cols)
{
    out(to, rows_bytes(rows, ld, cols, (int64_t)dtype_size(type))), quantized_in(q), send();
    struct quantized d = quantized_at(q);
    on_device->dequantize(at(to), type, ld, &d, row0, rows, col0, cols), back();
}

static void call_quantize_4bit(uint8_t *codes, float *absmax, enum quantized_kind kind, int64_t block, const void *w, enum dtype type, int64_t n)
{
    out(codes, (n + 1) / 2), out(absmax, (n + block - 1) / block * FLOAT), in(w, n * (int64_t)dtype_size(type)), send();
    on_device->quantize_4bit(at(codes), at(absmax), kind, block, at(w), type, n), back();
}

static void call_quantize_rows_int8(int8_t *codes, float *scales, const void *w, enum dtype type, int64_t rows, int64_t cols)
{
    out(codes, rows * cols), out(scales, rows * FLOAT), in(w, rows * cols * (int64_t)dtype_size(type)), send();
    on_device->quantize_rows_int8(at(codes), at(scales), at(w), type, rows, cols), back();
}

static void call_requantize(float *w, const struct quantized *q, void *codes, void *scales)
{
    quantized_in(q);
    quantized_sizes(q);
    out(w, q->out * q->in * FLOAT), out(codes, quantized_size.codes), out(scales, quantized_size.scales), send();
    struct quantized d = quantized_at(q);
    on_device->requantize(at(w), &d, at(codes), at(scales)), back();
}

/* --- attention --- */

static void call_attention_way(const struct attention *a, bool backward)
{
    int64_t width = (int64_t)a->heads * a->head_dim, kv_width = (int64_t)a->kv_heads * a->head_dim, n = 0;
    struct attention_seq *seq = mem_array(NULL, (size_t)a->n_seq + 1, sizeof *seq);
    for (int i = 0; i < a->n_seq; i++) {
        const struct attention_seq *s = &a->seq[i];
        int64_t kv_bytes = rows_bytes(s->k_len, a->kv_stride, kv_width, FLOAT);
        n = s->q_row + s->q_len > n ? s->q_row + s->q_len : n;
        in(s->k, kv_bytes), in(s->v, kv_bytes);
        if (backward)
            out(s->dk, kv_bytes), out(s->dv, kv_bytes);
    }
    int64_t q_bytes = rows_bytes(n, a->q_stride, width, FLOAT), out_bytes = rows_bytes(n, a->out_stride, width, FLOAT);
    in(a->q, q_bytes), piece_add(a->out, out_bytes, !backward), piece_add(a->lse, n * a->heads * FLOAT, !backward);
    if (backward)
        in(a->dout, out_bytes), out(a->dq, q_bytes);
    send();
    struct attention d = *a;
    for (int i = 0; i < a->n_seq; i++) {
        seq[i] = a->seq[i];
        seq[i].k = at(seq[i].k), seq[i].v = at(seq[i].v), seq[i].dk = backward ? at(seq[i].dk) : NULL, seq[i].dv = backward ? at(seq[i].dv) : NULL;
    }
    d.seq = seq, d.q = at(a->q), d.out = at(a->out), d.lse = at(a->lse), d.dout = backward ? at(a->dout) : NULL, d.dq = backward ? at(a->dq) : NULL;
    (backward ? on_device->attention_backward : on_device->attention)(&d);
    back();
    free(seq);
}

static void call_attention(const struct attention *a)
{
    call_attention_way(a, false);
}

static void call_attention_backward(const struct attention *a)
{
    call_attention_way(a, true);
}

/* The device's table; NULL and a TAP line that ends the program when there is none. */
static const struct kernels *device_table(void)
{
    struct err e = ERR_INIT;
    const char *path = getenv("FINETOOLS_CUDA_SO");
    void *library = path ? dlopen(path, RTLD_NOW | RTLD_LOCAL) : NULL;
    const struct kernels *(*part)(int device, struct err *e);
    *(void **)&part = library ? dlsym(library, "finetools_cuda_part") : NULL;
    const struct kernels *k = part ? part(0, &e) : NULL;
    if (!k) {
        printf("Bail out! FINETOOLS_CUDA_SO=%s: %s\n", path ? path : "", part ? e.text : library ? "no backend" : path ? dlerror() : "not set");
        exit(1);
    }
    return k;
}

/* Entries that the device lacks stay as they are. */
__attribute__((unused)) static void device_fill(struct kernels *k)
{
    on_device = device_table();
#define DEVICE_ENTRY(name) (on_device->name ? (void)(k->name = call_##name) : (void)printf("# not on the device: %s\n", #name))
    DEVICE_ENTRY(matmul), DEVICE_ENTRY(dequantize), DEVICE_ENTRY(quantize_4bit), DEVICE_ENTRY(quantize_rows_int8), DEVICE_ENTRY(requantize);
    DEVICE_ENTRY(bias_backward), DEVICE_ENTRY(bias_add), DEVICE_ENTRY(rmsnorm), DEVICE_ENTRY(add_rmsnorm), DEVICE_ENTRY(rmsnorm_backward), DEVICE_ENTRY(rope);
    DEVICE_ENTRY(attention), DEVICE_ENTRY(attention_backward), DEVICE_ENTRY(swiglu), DEVICE_ENTRY(swiglu_backward), DEVICE_ENTRY(embedding);
    DEVICE_ENTRY(embedding_backward), DEVICE_ENTRY(cross_entropy), DEVICE_ENTRY(row_stats), DEVICE_ENTRY(add), DEVICE_ENTRY(scale);
    DEVICE_ENTRY(scale_rows), DEVICE_ENTRY(dropout), DEVICE_ENTRY(sum_squares), DEVICE_ENTRY(clip), DEVICE_ENTRY(adamw), DEVICE_ENTRY(adamw_8bit);
    DEVICE_ENTRY(gather_rows), DEVICE_ENTRY(scatter_rows);
}

#endif
