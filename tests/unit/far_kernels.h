/* The CPU's operations over memory that the host cannot touch: what a device with memory of its own demands, without one.
 *
 *     const struct kernels *k = far_kernels(kernels_open("cpu", &e));     one for the program
 * Every allocation lies in a reserved range that is unreadable outside of operations and copies, so a stray access of the host ends the
 * program with SIGSEGV; an operation whose arguments lie elsewhere ends it with a message. */
#ifndef FAR_KERNELS_H
#define FAR_KERNELS_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "kernels/kernels.h"
#include "kernels/transfer.h"

#define FAR_BYTES ((size_t)1 << 31)

static struct {
    struct kernels of, table;
    char *base;
    size_t used, live;  /* bytes; live: allocated and not freed */
} far;

static void far_allow(bool on)
{
    if (far.used && mprotect(far.base, far.used, on ? PROT_READ | PROT_WRITE : PROT_NONE))
        abort();
}

static bool far_holds(const void *p)
{
    return (const char *)p >= far.base && (const char *)p < far.base + far.used;
}

static void far_check(const void *p, const char *what)
{
    if (!p || far_holds(p))
        return;
    printf("Bail out! %s: an argument is not in device memory\n", what);
    fflush(stdout);
    abort();
}

static void far_check_mat(const struct mat *m, const char *what)
{
    if (!m->quantized) {
        far_check(m->data, what);
        return;
    }
    const struct quantized *q = m->quantized;
    const void *const parts[] = {q->codes, q->scales, q->nested_scales, q->nested_map, q->zeros, q->g_idx};
    for (int i = 0; i < 6; i++)
        far_check(parts[i], what);
}

/* Operations: the arguments, then the call. */
#define FAR(name, call, ...)                                                                            \
    do {                                                                                                \
        const void *const far_args[] = {__VA_ARGS__};                                                   \
        for (size_t far_i = 0; far_i < sizeof far_args / sizeof *far_args; far_i++)                     \
            far_check(far_args[far_i], name);                                                           \
        far_allow(true);                                                                                \
        call;                                                                                           \
        far_allow(false);                                                                               \
    } while (0)

static void *far_alloc(size_t bytes, struct err *e)
{
    size_t size = (bytes + 4095) & ~(size_t)4095;
    if (size > FAR_BYTES - far.used) {
        err_set(e, "far memory: used up");
        return NULL;
    }
    void *p = far.base + far.used;
    far.used += size;
    far.live += size;
    return p;
}

static void far_free(void *p, size_t bytes)
{
    if (!p)
        return;
    far_check(p, "free");
    far.live -= (bytes + 4095) & ~(size_t)4095;
    madvise(p, bytes, MADV_DONTNEED);
}

static void far_copy_in(void *to, const void *from, size_t n)
{
    if (far_holds(from)) {
        printf("Bail out! copy_in from device memory\n");
        abort();
    }
    FAR("copy_in", memcpy(to, from, n), to);
}

static void far_copy_out(void *to, const void *from, size_t n)
{
    if (far_holds(to)) {
        printf("Bail out! copy_out to device memory\n");
        abort();
    }
    FAR("copy_out", memcpy(to, from, n), from);
}

static void far_zero(void *p, size_t n)
{
    FAR("zero", memset(p, 0, n), p);
}

static int64_t far_free_memory(void)
{
    return (int64_t)(FAR_BYTES - far.used);
}

static void far_team(void (*body)(void *arg), void *arg)
{
    body(arg);
}

static void far_matmul(const struct matmul *list, int count)
{
    for (int i = 0; i < count; i++) {
        far_check_mat(&list[i].a, "matmul"), far_check_mat(&list[i].b, "matmul");
        for (int j = 0; j < list[i].n_more; j++)
            far_check_mat(&list[i].more[j].a, "matmul"), far_check_mat(&list[i].more[j].b, "matmul");
        far_check(list[i].c, "matmul");
    }
    FAR("matmul", far.of.matmul(list, count), NULL);
}

static void far_dequantize(void *out, enum dtype type, int64_t ld, const struct quantized *q, int64_t row0, int64_t rows, int64_t col0, int64_t cols)
{
    far_check_mat(&(struct mat){.quantized = q}, "dequantize");
    FAR("dequantize", far.of.dequantize(out, type, ld, q, row0, rows, col0, cols), out);
}

static void far_requantize(float *w, const struct quantized *q, void *codes, void *scales)
{
    far_check_mat(&(struct mat){.quantized = q}, "requantize");
    FAR("requantize", far.of.requantize(w, q, codes, scales), w, codes, scales);
}

static void far_bias_backward(const struct row_sum *d, const float *dy, int64_t n, int64_t c)
{
    FAR("bias_backward", far.of.bias_backward(d, dy, n, c), d->to, dy);
}

static void far_bias_add(float *y, const float *bias, int64_t n, int64_t c)
{
    FAR("bias_add", far.of.bias_add(y, bias, n, c), y, bias);
}

static void far_rmsnorm(float *y, int64_t y_stride, float *rstd, const float *x, int64_t x_stride, const float *w, bool plus_one, float eps, int64_t n, int64_t c)
{
    FAR("rmsnorm", far.of.rmsnorm(y, y_stride, rstd, x, x_stride, w, plus_one, eps, n, c), y, rstd, x, w);
}

static void far_add_rmsnorm(float *y, float *rstd, float *x, const float *more, const float *w, bool plus_one, float eps, int64_t n, int64_t c)
{
    FAR("add_rmsnorm", far.of.add_rmsnorm(y, rstd, x, more, w, plus_one, eps, n, c), y, rstd, x, more, w);
}

static void far_rmsnorm_backward(float *dx, int64_t dx_stride, bool add, const struct row_sum *dw, const float *dy, int64_t dy_stride, const float *x,
                                 int64_t x_stride, const float *w, bool plus_one, const float *rstd, int64_t n, int64_t c)
{
    FAR("rmsnorm_backward", far.of.rmsnorm_backward(dx, dx_stride, add, dw, dy, dy_stride, x, x_stride, w, plus_one, rstd, n, c), dx, dw ? dw->to : NULL, dy, x,
        w, rstd);
}

static void far_rope(float *x, int64_t stride, const float *cos_sin, const int32_t *pos, bool inverse, int64_t n, int heads, int head_dim)
{
    FAR("rope", far.of.rope(x, stride, cos_sin, pos, inverse, n, heads, head_dim), x, cos_sin, pos);
}

static void far_check_attention(const struct attention *a, bool back)
{
    far_check(a->q, "attention"), far_check(a->out, "attention"), far_check(a->lse, "attention");
    if (back)
        far_check(a->dout, "attention"), far_check(a->dq, "attention");
    for (int i = 0; i < a->n_seq; i++) {
        far_check(a->seq[i].k, "attention"), far_check(a->seq[i].v, "attention");
        if (back)
            far_check(a->seq[i].dk, "attention"), far_check(a->seq[i].dv, "attention");
    }
}

static void far_attention(const struct attention *a)
{
    far_check_attention(a, false);
    FAR("attention", far.of.attention(a), NULL);
}

static void far_attention_backward(const struct attention *a)
{
    far_check_attention(a, true);
    FAR("attention_backward", far.of.attention_backward(a), NULL);
}

static void far_swiglu(float *y, const float *gate, const float *up, int64_t n)
{
    FAR("swiglu", far.of.swiglu(y, gate, up, n), y, gate, up);
}

static void far_swiglu_backward(float *dgate, float *dup, const float *dy, const float *gate, const float *up, int64_t n)
{
    FAR("swiglu_backward", far.of.swiglu_backward(dgate, dup, dy, gate, up, n), dgate, dup, dy, gate, up);
}

static void far_embedding(float *out, const struct mat *table, const int32_t *ids, int64_t n, int64_t c)
{
    FAR("embedding", far.of.embedding(out, table, ids, n, c), out, table->data, ids);
}

static void far_embedding_backward(float *dtable, const float *dout, const int32_t *ids, int64_t n, int64_t c, int64_t v)
{
    FAR("embedding_backward", far.of.embedding_backward(dtable, dout, ids, n, c, v), dtable, dout, ids);
}

static void far_cross_entropy(float *loss, float *logits, const int32_t *targets, float grad_scale, int64_t n, int64_t v)
{
    FAR("cross_entropy", far.of.cross_entropy(loss, logits, targets, grad_scale, n, v), loss, logits, targets);
}

static void far_row_stats(float *mean, float *entropy, float *squares, const float *logits, int64_t n, int64_t v)
{
    FAR("row_stats", far.of.row_stats(mean, entropy, squares, logits, n, v), mean, entropy, squares, logits);
}

static void far_add(float *x, const float *y, int64_t n)
{
    FAR("add", far.of.add(x, y, n), x, y);
}

static void far_scale(float *x, float s, int64_t n)
{
    FAR("scale", far.of.scale(x, s, n), x);
}

static void far_scale_rows(float *x, const float *s, int64_t n, int64_t c)
{
    FAR("scale_rows", far.of.scale_rows(x, s, n, c), x, s);
}

static void far_dropout(float *y, const float *x, float p, uint64_t seed, uint64_t stream, int64_t row0, int64_t n, int64_t c)
{
    FAR("dropout", far.of.dropout(y, x, p, seed, stream, row0, n, c), y, x);
}

static double far_sum_squares(const float *x, int64_t n)
{
    double sum;
    FAR("sum_squares", sum = far.of.sum_squares(x, n), x);
    return sum;
}

static void far_clip(struct clip *to, const float *x, int64_t n, double most)
{
    FAR("clip", far.of.clip(to, x, n, most), to, x);
}

static void far_adamw(const struct adamw_tensor *list, int n, const struct adamw *o)
{
    for (int i = 0; i < n; i++)
        far_check(list[i].p, "adamw"), far_check(list[i].m, "adamw"), far_check(list[i].v, "adamw"), far_check(list[i].grad, "adamw");
    FAR("adamw", far.of.adamw(list, n, o), o->clip);
}

static void far_adamw_8bit(const struct adamw_8bit *list, int n, const struct adamw *o)
{
    for (int i = 0; i < n; i++)
        far_check(list[i].p, "adamw_8bit"), far_check(list[i].grad, "adamw_8bit"), far_check(list[i].m, "adamw_8bit"), far_check(list[i].m_max, "adamw_8bit");
    FAR("adamw_8bit", far.of.adamw_8bit(list, n, o), o->clip);
}

static void far_gather_rows(float *out, const float *x, const int32_t *rows, int64_t n, int64_t c)
{
    FAR("gather_rows", far.of.gather_rows(out, x, rows, n, c), out, x, rows);
}

static void far_scatter_rows(float *x, const float *in, const int32_t *rows, int64_t n, int64_t c)
{
    FAR("scatter_rows", far.of.scatter_rows(x, in, rows, n, c), x, in, rows);
}

/* Copies beside the operations, each as late as it may be; until it has arrived there is NaN. */
static struct far_copy {
    void *to;
    const void *from;
    size_t bytes; /* 0: none */
} far_copies[TRANSFER_LANES];

static struct {
    size_t live, out, in; /* bytes of the host; copies made */
} far_host;

static void far_wait(int lane)
{
    struct far_copy *c = &far_copies[lane];
    far_allow(true);
    memcpy(c->to, c->from, c->bytes);
    far_allow(false);
    *c = (struct far_copy){far.base, far.base, 0};
}

static void *far_host_alloc(size_t bytes, struct err *e)
{
    (void)e;
    far_host.live += bytes;
    for (int i = 0; i < TRANSFER_LANES; i++)
        far_copies[i] = (struct far_copy){far.base, far.base, 0};
    return calloc(bytes, 1);
}

static void far_host_free(void *p, size_t bytes)
{
    for (int i = 0; i < TRANSFER_LANES; i++)
        far_wait(i);
    far_host.live -= bytes;
    free(p);
}

static void far_out(void *host, const void *device, size_t bytes, int lane)
{
    far_check(device, "out");
    far_wait(lane);
    far_copies[lane] = (struct far_copy){host, device, bytes};
    far_host.out++;
}

static void far_in(void *device, const void *host, size_t bytes, int lane)
{
    far_check(device, "in");
    far_wait(lane);
    far_copies[lane] = (struct far_copy){device, host, bytes};
    FAR("in", memset(device, 0xff, bytes), device);
    far_host.in++;
}

static const struct transfer far_transfer = {far_host_alloc, far_host_free, far_out, far_in, far_wait};

static const struct kernels *far_kernels(const struct kernels *of)
{
    far.of = far.table = *of;
    far.base = mmap(NULL, FAR_BYTES, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (far.base == MAP_FAILED)
        abort();
    struct kernels *t = &far.table;
    t->host_memory = false, t->name = "far";
    t->alloc = far_alloc, t->free = far_free, t->copy_in = far_copy_in, t->copy_out = far_copy_out, t->zero = far_zero, t->team = far_team;
    t->free_memory = far_free_memory, t->transfer = &far_transfer;
    t->matmul = far_matmul, t->dequantize = far_dequantize, t->requantize = far_requantize;
    t->quantize_4bit = NULL, t->quantize_rows_int8 = NULL; /* of the host's memory, in `quantize` alone */
    t->bias_backward = far_bias_backward, t->bias_add = far_bias_add;
    t->rmsnorm = far_rmsnorm, t->add_rmsnorm = far_add_rmsnorm, t->rmsnorm_backward = far_rmsnorm_backward, t->rope = far_rope;
    t->attention = far_attention, t->attention_backward = far_attention_backward;
    t->swiglu = far_swiglu, t->swiglu_backward = far_swiglu_backward;
    t->embedding = far_embedding, t->embedding_backward = far_embedding_backward;
    t->cross_entropy = far_cross_entropy, t->row_stats = far_row_stats;
    t->add = far_add, t->scale = far_scale, t->scale_rows = far_scale_rows, t->dropout = far_dropout;
    t->sum_squares = far_sum_squares, t->clip = far_clip, t->adamw = far_adamw, t->adamw_8bit = far_adamw_8bit;
    t->gather_rows = far_gather_rows, t->scatter_rows = far_scatter_rows;
    return t;
}

#endif
