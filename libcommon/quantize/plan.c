#include "quantize/plan.h"

#include <stdlib.h>
#include <time.h>

#include "base/mem.h"
#include "base/threads.h"
#include "cli/progress.h"
#include "format/model_folder.h"
#include "quantize/encode.h"
#include "quantize/solver.h"
#include "train/plan_time.h"

#define PROGRAM ((int64_t)24 << 20)       /* code, the model's tables, buffers of files */
#define PER_THREAD ((int64_t)2 << 20)     /* pieces that are encoded and compared */
#define WRITTEN_PER_SECOND 300e6          /* of a common disk */
#define SOLVED_SHARE 0.5                  /* of what the machine can do in f32, by the solvers' loops, as measured */
#define FILES_MARGIN 1000000

static void plan_disk(struct quantize_plan *p, const struct quantize_options *o, const struct quantize_selection *s, const struct model *m)
{
    p->result = m->folder->bytes;
    for (int i = 0; i < s->layers; i++)
        for (int k = 0; k < LAYER_LINEARS; k++) {
            const struct linear *l = layer_linear(&m->layers[i], k);
            if (s->kept[i][k])
                continue;
            p->meanwhile += encoded_size(o, l->out, l->in);
            p->result += encoded_size(o, l->out, l->in) - l->out * l->in * (int64_t)dtype_size(l->type);
        }
    p->disk = p->result + p->meanwhile + FILES_MARGIN + 2000LL * m->folder->n_tensors;
}

/* Stored weights of a layer are mapped while it is worked on. */
static void plan_layer(struct quantize_plan *p, const struct quantize_options *o, const struct quantize_selection *s, const struct model *m)
{
    for (int k = 0; k < LAYER_LINEARS; k++) {
        const struct linear *l = layer_linear(&m->layers[0], k);
        p->stored += l->out * l->in * (int64_t)dtype_size(l->type);
        p->encoded += encoded_size(o, l->out, l->in);
    }
    if (o->method == QUANTIZE_RTN)
        p->work = 5 * (s->layer_weights < QUANTIZE_SMALL_LAYER ? s->layer_weights : s->largest); /* in f32, and codes */
    else if (o->method == QUANTIZE_GPTQ || o->method == QUANTIZE_AWQ)
        p->work = 5 * s->layer_weights;
}

void quantize_plan(struct quantize_plan *p, const struct quantize_options *o, const struct quantize_selection *s, const struct model *m,
                   const struct kernels *device, const struct token_file *t)
{
    *p = (struct quantize_plan){.program = PROGRAM + PER_THREAD * threads_count() + 400LL * m->folder->n_tensors};
    plan_disk(p, o, s, m);
    plan_layer(p, o, s, m);
    if (solver_has(o->method))
        p->calibration = solver_memory(o, m, device, t, &p->device);
    p->memory = p->program + p->stored + p->encoded + p->work + p->calibration;
}

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* Of encoding the first module that is encoded, per weight. */
static double seconds_per_weight(const struct quantize_options *o, const struct quantize_selection *s, const struct model *m)
{
    int i = 0, k = 0;
    while (s->kept[i][k])
        i += k + 1 == LAYER_LINEARS, k = (k + 1) % LAYER_LINEARS;
    const struct linear *l = layer_linear(&m->layers[i], k);
    const struct st_tensor *t = model_folder_part(m->folder, l->module, ".weight");
    struct encoded x;
    double best = 0;
    for (int again = 0; again < 2; again++) { /* the first reads the file */
        double from = now();
        encode_module(&x, o, m->k, l->module, t);
        encoded_error(&x, m->k, t);
        encoded_release(&x);
        best = now() - from;
    }
    return best / (double)t->numel;
}

double quantize_plan_seconds(const struct quantize_plan *p, const struct quantize_options *o, const struct quantize_selection *s, const struct model *m,
                             const struct token_file *t)
{
    double seconds = (double)p->disk / WRITTEN_PER_SECOND;
    if (!solver_has(o->method))
        return seconds + (double)s->weights * seconds_per_weight(o, s, m);
    if (p->device)
        return -1; /* what it does in a second is not known */
    struct solver_work w;
    struct kernels_ceiling c;
    double rate = plan_product_rate(m, t->longest);
    solver_work(&w, o, m, t);
    m->k->ceiling(&c);
    return rate > 0 ? seconds + plan_seconds(m, w.rows / 2, 0, w.passes, rate) + w.beside / (c.flops * SOLVED_SHARE) : -1;
}

static void line(struct buf *b, const char *label, int64_t bytes)
{
    char text[32];
    progress_format_bytes(text, sizeof text, (double)bytes);
    buf_printf(b, "%-34s %18lld  %s\n", label, (long long)bytes, text);
}

void quantize_plan_text(struct buf *b, const struct quantize_plan *p, const struct quantize_selection *s, int64_t available, int64_t free_bytes,
                        double seconds, const char *device)
{
    char text[32];
    buf_printf(b, "work\n%-34s %18d  of %d\n%-34s %18lld\n", "modules quantized", s->n_quantized, s->n_quantized + s->n_kept, "their weights",
               (long long)s->weights);
    buf_printf(b, "memory (bytes)\n");
    line(b, "a layer as it is stored, mapped", p->stored);
    line(b, "a layer quantized", p->encoded);
    if (p->work)
        line(b, "weights in f32 and codes", p->work);
    if (p->calibration)
        line(b, "calibration", p->calibration);
    line(b, "program and buffers, about", p->program);
    line(b, "peak, about", p->memory);
    if (available >= 0)
        line(b, "may be used", available);
    if (p->device) {
        buf_printf(b, "memory on %s (bytes)\n", device);
        line(b, "calibration, about", p->device);
    }
    buf_printf(b, "disk (bytes)\n");
    line(b, "the result", p->result);
    line(b, "finished layers meanwhile", p->meanwhile);
    line(b, "at most", p->disk);
    if (free_bytes >= 0)
        line(b, "free", free_bytes);
    progress_format_time(text, sizeof text, seconds);
    if (seconds >= 0)
        buf_printf(b, "%-34s %18s\n", "time, about", seconds < 1 ? "under a second" : text);
}
