#include "train/plan_text.h"

#include <inttypes.h>

#include "base/mem.h"
#include "cli/opt.h"
#include "cli/outfile.h"
#include "cli/progress.h"
#include "train/plan_time.h"

static void line(struct buf *b, const char *label, int64_t bytes)
{
    char text[32];
    progress_format_bytes(text, sizeof text, (double)bytes);
    buf_printf(b, "%-34s %18" PRId64 "  %s\n", label, bytes, text);
}

static void count(struct buf *b, const char *label, double n)
{
    char text[32];
    progress_format_count(text, sizeof text, n);
    buf_printf(b, "%-34s %18.0f  %s\n", label, n, text);
}

static void add_memory(struct buf *b, const struct plan *p, const struct model *m, int64_t memory)
{
    buf_printf(b, "memory on %s (bytes)\n", m->k->name);
    for (int i = 0; i < p->arena.n_labels; i++)
        line(b, p->arena.parts[i].label, (int64_t)p->arena.parts[i].bytes);
    line(b, "arena, in one piece", (int64_t)p->arena.used);
    line(b, m->k->host_memory ? "weights, mapped" : "weights", p->weights);
    if (p->work)
        line(b, "work space of the backend", p->work);
    line(b, m->k->host_memory ? "program and buffers, about" : "buffers of operations, about", p->buffers - p->work);
    if (!m->k->host_memory)
        line(b, "context and libraries", p->held);
    line(b, "peak, about", p->peak);
    if (memory >= 0)
        line(b, "may be used", memory);
    if (!p->host)
        return;
    buf_printf(b, "memory of the host (bytes)\n");
    line(b, "activations kept for backward", p->host);
    if (mem_available() >= 0)
        line(b, "may be used", mem_available());
}

static void add_free_disk(struct buf *b, const char *output)
{
    long long have = outfile_free_space(output);
    if (have >= 0)
        line(b, "free", have);
}

static void add_disk(struct buf *b, const struct session *s)
{
    buf_printf(b, "disk (bytes)\n");
    line(b, "one checkpoint, about", session_saved_bytes(s));
    line(b, "at most, with the result", session_disk_bytes(s));
    add_free_disk(b, cli.output);
}

static void add_time(struct buf *b, const struct model *m, int64_t rows_at_once, double rows, double updates, double flops)
{
    char time[32];
    double rate = plan_product_rate(m, rows_at_once);
    if (rate == 0)
        return;
    double seconds = plan_seconds(m, rows, updates, flops, rate);
    progress_format_time(time, sizeof time, seconds);
    count(b, "FLOPs per second of products", rate);
    buf_printf(b, "%-34s %18s\n", "time, about", seconds < 1 ? "under a second" : time);
}

static void add_work(struct buf *b, const struct session *s)
{
    double rows, flops = session_flops(s, &rows), rows_beside, beside = session_flops_beside(s, &rows_beside), steps = (double)s->schedule.total;
    int64_t trained, all = session_parameters(s, &trained);
    buf_printf(b, "work\n");
    count(b, "parameters of the model", (double)all);
    count(b, "parameters trained", (double)trained);
    count(b, "samples", (double)s->train->n_samples);
    count(b, "steps", steps);
    count(b, "rows at once, at most", (double)s->plan.rows);
    if (s->plan.room > s->plan.rows)
        count(b, "rows of the longest sample", (double)s->plan.room);
    buf_printf(b, "%-34s %18s\n", "activations computed again", s->plan.recompute ? "yes" : "no");
    count(b, "tokens computed", rows);
    count(b, "FLOPs per step", flops / steps);
    if (beside > 0)
        count(b, "FLOPs beside the steps", beside);
    count(b, "FLOPs in all", flops + beside);
    add_time(b, s->model, s->plan.rows, rows + rows_beside / 2, steps * (double)trained, flops + beside);
}

void plan_text(struct buf *b, const struct session *s, int64_t memory, bool complete)
{
    add_memory(b, &s->plan, s->model, memory);
    add_disk(b, s);
    add_work(b, s);
    if (complete)
        buf_printf(b, "%s is already complete\n", cli.output);
}

void plan_text_pass(struct buf *b, const struct plan *p, const struct model *m, int64_t memory, const struct plan_pass *pass)
{
    add_memory(b, p, m, memory);
    buf_printf(b, "disk (bytes)\n");
    line(b, "at most", pass->bytes);
    add_free_disk(b, pass->output);
    buf_printf(b, "work\n");
    count(b, "samples", (double)pass->samples);
    count(b, "rows at once, at most", (double)p->rows);
    count(b, "tokens computed", pass->rows);
    count(b, "FLOPs in all", pass->flops);
    add_time(b, m, p->rows, pass->rows / 2, 0, pass->flops);
}
