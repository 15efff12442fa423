#include "train/batches.h"

#include <math.h>
#include <stdlib.h>

#include "base/mem.h"
#include "base/rng.h"

int batches_init(struct batches *b, const struct token_file *file, const struct batches_options *o, struct err *e)
{
    *b = (struct batches){.file = file, .options = *o, .ordered = -1};
    if (file->n_samples == 0)
        return err_set(e, "%s: holds no sample", file->path);
    if (file->n_samples > UINT32_MAX - 1)
        return err_set(e, "%s: holds %lld samples, at most 4294967294 can be shuffled", file->path, (long long)file->n_samples);
    b->order = mem_array(NULL, (size_t)file->n_samples, sizeof *b->order);
    return 0;
}

void batches_release(struct batches *b)
{
    free(b->order);
    *b = (struct batches){0};
}

static void order_epoch(struct batches *b, int64_t epoch)
{
    if (b->ordered == epoch)
        return;
    for (uint32_t i = 0; i < b->file->n_samples; i++)
        b->order[i] = i;
    if (b->options.shuffle) {
        struct rng r = {b->options.seed, rng_stream("shuffle", (uint64_t)epoch)};
        rng_shuffle(&r, b->order, (uint32_t)b->file->n_samples);
    }
    b->ordered = epoch;
}

/* Samples of the step that starts at `next` of the epoch in b->order. */
static int64_t step_length(const struct batches *b, int64_t next)
{
    int64_t left = b->file->n_samples - next, n = 0;
    if (b->options.batch_tokens <= 0)
        return left < b->options.batch ? left : b->options.batch;
    for (int64_t trained = 0; n < left && trained < b->options.batch_tokens; n++)
        trained += token_file_sample(b->file, b->order[next + n]).trained;
    return n;
}

static int64_t epoch_steps(struct batches *b, int64_t epoch)
{
    if (b->options.batch_tokens <= 0)
        return (b->file->n_samples + b->options.batch - 1) / b->options.batch;
    order_epoch(b, epoch);
    int64_t steps = 0;
    for (int64_t next = 0; next < b->file->n_samples; steps++)
        next += step_length(b, next);
    return steps;
}

int64_t batches_count_steps(struct batches *b, double epochs)
{
    if (b->options.batch_tokens <= 0) /* as transformers: ceil(epochs * updates per epoch) */
        return (int64_t)ceil(epochs * (double)epoch_steps(b, 0));
    int64_t total = 0, epoch = 0;
    for (; (double)(epoch + 1) <= epochs; epoch++)
        total += epoch_steps(b, epoch);
    double rest = epochs - (double)epoch;
    return rest > 0 ? total + (int64_t)ceil(rest * (double)epoch_steps(b, epoch)) : total;
}

void batches_seek(struct batches *b, int64_t epoch, int64_t next)
{
    b->epoch = epoch;
    b->next = next;
}

void batches_next(struct batches *b, struct batches_step *s)
{
    if (b->next >= b->file->n_samples) {
        b->epoch++;
        b->next = 0;
    }
    order_epoch(b, b->epoch);
    *s = (struct batches_step){.items = b->order + b->next, .n = step_length(b, b->next)};
    for (int64_t i = 0; i < s->n; i++) {
        struct token_sample t = token_file_sample(b->file, s->items[i]);
        s->rows += t.n;
        s->trained += t.trained;
    }
    b->next += s->n;
    s->epoch = (double)b->epoch + (double)b->next / (double)b->file->n_samples;
}

void pack_init(struct pack *p, int64_t max_rows, int64_t room)
{
    *p = (struct pack){.max_rows = max_rows};
    p->ids = mem_array(NULL, (size_t)room, sizeof *p->ids);
    p->targets = mem_array(NULL, (size_t)room, sizeof *p->targets);
    p->start = mem_array(NULL, (size_t)room + 1, sizeof *p->start); /* no sample is empty */
    p->forks = mem_array(NULL, (size_t)room, sizeof *p->forks);
}

void pack_release(struct pack *p)
{
    free(p->ids);
    free(p->targets);
    free(p->start);
    free(p->forks);
    *p = (struct pack){0};
}

int64_t pack_fill(struct pack *p, const struct token_file *t, const uint32_t *items, int64_t first, int64_t n, int64_t row0)
{
    int64_t rows = 0, used = 0;
    p->trained = 0;
    for (; used < n; used++) {
        struct token_sample s = token_file_sample(t, items ? items[used] : first + used);
        if (used && rows + s.n > p->max_rows)
            break;
        p->start[used] = rows;
        for (uint32_t i = 0; i < s.n; i++) { /* row i predicts token i + 1 */
            bool target = i + 1 < s.n && s.mask[i + 1];
            p->ids[rows + i] = (int32_t)s.ids[i];
            p->targets[rows + i] = target ? (int32_t)s.ids[i + 1] : -1;
            p->trained += target;
        }
        rows += s.n;
    }
    p->start[used] = rows;
    p->batch = (struct batch){rows, p->ids, p->targets, (int)used, p->start, row0, NULL};
    return used;
}
