#include "train/objective.h"

#include <math.h>

/* The loss of a step is the sum over its trained tokens divided by their count. */
static int token_gradients(void *arg, const struct objective_step *s, double *loss, struct err *e)
{
    const struct batches_step *b = s->batch;
    double sum = 0;
    int64_t row = 0;
    (void)arg;
    for (int64_t i = 0; i < b->n;) {
        struct decoder_result one;
        i += pack_fill(s->pack, s->data, b->items + i, 0, b->n - i, row);
        row += s->pack->batch.n;
        if (decoder_forward_backward(s->decoder, &s->pack->batch, (float)(1 / (double)b->trained), s->seed, s->number, &one, e) < 0)
            return -1;
        if (one.stopped)
            return OBJECTIVE_STOPPED;
        sum += one.loss_sum;
        if (!isfinite(one.loss_sum))
            return OBJECTIVE_NOT_FINITE;
    }
    decoder_end_step(s->decoder);
    *loss = sum / (double)b->trained;
    return OBJECTIVE_DONE;
}

static int token_evaluate(void *arg, struct decoder *d, struct pack *p, const struct token_file *t, struct evaluation *v, struct err *e)
{
    (void)arg;
    int r = evaluate(d, p, t, NULL, v, e);
    return r ? r : isfinite(v->loss) ? OBJECTIVE_DONE : OBJECTIVE_NOT_FINITE;
}

const struct train_objective objective_tokens = {.gradients = token_gradients, .evaluate = token_evaluate};
