#include "train/plan_print.h"

#include <inttypes.h>
#include <stdio.h>

#include "cli/opt.h"
#include "cli/outfile.h"
#include "cli/progress.h"

static void line(const char *label, int64_t bytes)
{
    char text[32];
    progress_format_bytes(text, sizeof text, (double)bytes);
    printf("%-34s %18" PRId64 "  %s\n", label, bytes, text);
}

static void count(const char *label, double n)
{
    char text[32];
    progress_format_count(text, sizeof text, n);
    printf("%-34s %18.0f  %s\n", label, n, text);
}

static void print_memory(const struct session *s, int64_t memory)
{
    const struct plan *p = &s->plan;
    printf("memory on %s (bytes)\n", s->model->k->name);
    for (int i = 0; i < p->arena.n_labels; i++)
        line(p->arena.parts[i].label, (int64_t)p->arena.parts[i].bytes);
    line("arena, in one piece", (int64_t)p->arena.used);
    line("weights, mapped", p->mapped);
    line("program and buffers, about", p->host);
    line("peak, about", p->peak);
    if (memory >= 0)
        line("may be used", memory);
}

static void print_disk(const struct session *s)
{
    long long have = outfile_free_space(cli.output);
    printf("disk (bytes)\n");
    line("one checkpoint, about", session_saved_bytes(s));
    line("at most, with the result", session_saved_bytes(s) * (s->c->o->keep + 1) + s->c->saved_bytes(s->model));
    if (have >= 0)
        line("free", have);
}

static void print_work(const struct session *s)
{
    double rows, flops = session_flops(s, &rows), steps = (double)s->schedule.total;
    int64_t trained, all = session_parameters(s, &trained);
    printf("work\n");
    count("parameters of the model", (double)all);
    count("parameters trained", (double)trained);
    count("samples", (double)s->train->n_samples);
    count("steps", steps);
    count("rows at once, at most", (double)s->plan.rows);
    printf("%-34s %18s\n", "activations computed again", s->plan.recompute ? "yes" : "no");
    count("tokens computed", rows);
    count("FLOPs per step", flops / steps);
    count("FLOPs in all", flops);
}

void plan_print(const struct session *s, int64_t memory, bool complete)
{
    print_memory(s, memory);
    print_disk(s);
    print_work(s);
    if (complete)
        printf("%s is already complete\n", cli.output);
}
