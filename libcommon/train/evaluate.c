#include "train/evaluate.h"

int evaluate(struct decoder *d, struct pack *p, const struct token_file *t, void (*progress)(int64_t done), struct evaluation *r, struct err *e)
{
    double sum = 0;
    *r = (struct evaluation){0, 0};
    for (int64_t i = 0; i < t->n_samples;) {
        struct decoder_result one;
        i += pack_fill(p, t, NULL, i, t->n_samples - i, 0);
        if (decoder_loss(d, &p->batch, &one, NULL, e) < 0)
            return -1;
        if (one.stopped)
            return 1;
        sum += one.loss_sum;
        r->trained += one.trained;
        if (progress)
            progress(i);
    }
    r->loss = r->trained ? sum / (double)r->trained : 0;
    return 0;
}
