#include "train/plan_text.h"

#include <inttypes.h>

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

static void add_memory(struct buf *b, const struct session *s, int64_t memory)
{
    const struct plan *p = &s->plan;
    buf_printf(b, "memory on %s (bytes)\n", s->model->k->name);
    for (int i = 0; i < p->arena.n_labels; i++)
        line(b, p->arena.parts[i].label, (int64_t)p->arena.parts[i].bytes);
    line(b, "arena, in one piece", (int64_t)p->arena.used);
    line(b, "weights, mapped", p->mapped);
    line(b, "program and buffers, about", p->host);
    line(b, "peak, about", p->peak);
    if (memory >= 0)
        line(b, "may be used", memory);
}

static void add_disk(struct buf *b, const struct session *s)
{
    long long have = outfile_free_space(cli.output);
    buf_printf(b, "disk (bytes)\n");
    line(b, "one checkpoint, about", session_saved_bytes(s));
    line(b, "at most, with the result", session_disk_bytes(s));
    if (have >= 0)
        line(b, "free", have);
}

static void add_time(struct buf *b, const struct session *s, double rows, double flops)
{
    char time[32];
    double rate = plan_product_rate(s);
    if (rate == 0)
        return;
    double seconds = plan_seconds(s, rows, flops, rate);
    progress_format_time(time, sizeof time, seconds);
    count(b, "FLOPs per second of products", rate);
    buf_printf(b, "%-34s %18s\n", "time, about", seconds < 1 ? "under a second" : time);
}

static void add_work(struct buf *b, const struct session *s)
{
    double rows, flops = session_flops(s, &rows), steps = (double)s->schedule.total;
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
    count(b, "FLOPs in all", flops);
    add_time(b, s, rows, flops);
}

void plan_text(struct buf *b, const struct session *s, int64_t memory, bool complete)
{
    add_memory(b, s, memory);
    add_disk(b, s);
    add_work(b, s);
    if (complete)
        buf_printf(b, "%s is already complete\n", cli.output);
}
