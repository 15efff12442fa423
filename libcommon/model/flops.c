/* Cost of a step, from shapes alone. */
#include "model/layer.h"

struct cost {
    bool backward, recompute;
    double rows;
    bool below;   /* something to train at or below the layer's input */
    double sum;
};

/* Forward; again when recomputed; the input gradient; the gradients of weight, A and B. A product of (m, k) and (k, n) costs 2mkn. */
static void add_linear(struct cost *t, const struct linear *l, bool input_gradient, bool again)
{
    double base = 2 * t->rows * (double)l->out * (double)l->in, low = 0, trained = 0;
    for (const struct lora *a = l->lora; a; a = a->next) {
        double pair = 2 * t->rows * a->rank * (double)(l->in + l->out);
        low += pair;
        trained += a->pa || a->pb ? pair : 0;
    }
    t->sum += (base + low) * (again ? 2 : 1);
    if (t->backward)
        t->sum += (input_gradient ? base + low : 0) + (l->pw ? base : 0) + trained;
}

double decoder_flops(const struct model *m, int64_t rows, int64_t trained_rows, double attended_pairs, bool backward, bool recompute)
{
    const struct model_config *c = &m->config;
    struct cost t = {.backward = backward, .recompute = recompute, .rows = (double)rows, .below = m->embed.pw};
    double attention = 4.0 * c->head_dim * c->heads * attended_pairs;
    for (int i = 0; i < c->layers; i++) {
        struct layer *ly = &m->layers[i];
        bool here = t.below || layer_trains(ly), again = backward && recompute && here;
        for (int j = 0; j < LAYER_LINEARS; j++)
            add_linear(&t, layer_linear(ly, j), here, again && j != LAYER_DOWN);
        t.sum += attention * (again ? 2 : 1) + (backward && here ? 2.5 * attention : 0); /* five products against two */
        t.below = here;
    }
    t.rows = (double)trained_rows;
    add_linear(&t, &m->head, t.below || m->norm.pw, false);
    return t.sum;
}
