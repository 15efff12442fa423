/* Cost of a step, from shapes alone. A product of (m, k) and (k, n) costs 2mkn. */
#include "model/layer.h"

struct cost {
    bool backward;
    double rows;
    double sum;
};

/* Forward, once more when run `again`; backward: the gradients of weight, A and B, and dx where it is wanted. */
static void add_linear(struct cost *t, const struct linear *l, bool dx, bool again)
{
    double base = 2 * t->rows * (double)l->out * (double)l->in;
    t->sum += base * (again ? 2 : 1);
    if (t->backward)
        t->sum += (dx ? base : 0) + (l->pw ? base : 0);
    for (const struct lora *a = l->lora; a; a = a->next) {
        double down = 2 * t->rows * a->rank * (double)l->in, up = 2 * t->rows * a->rank * (double)l->out;
        t->sum += (down + up) * (again ? 2 : 1);
        if (t->backward)
            t->sum += (dx || a->pa || a->pb ? up : 0) + (a->pb ? up : 0) + (a->pa ? down : 0) + (dx ? down : 0);
    }
}

/* Whether x of linear `j` gets a gradient. */
static bool wants_input(const struct layer_wants *w, int j)
{
    switch (j) {
    case LAYER_O: return w->qkv;
    case LAYER_GATE: case LAYER_UP: return w->mlp_in;
    case LAYER_DOWN: return w->hidden;
    default: return w->attn_in;
    }
}

double decoder_flops(const struct model *m, int64_t rows, int64_t trained_rows, double attended_pairs, bool backward, bool recompute)
{
    const struct model_config *c = &m->config;
    struct cost t = {.backward = backward, .rows = (double)rows};
    double attention = 4.0 * c->head_dim * c->heads * attended_pairs;
    bool below = m->embed.pw;
    for (int i = 0; i < c->layers; i++) {
        struct layer *ly = &m->layers[i];
        struct layer_wants w = layer_find_wants(ly, below);
        below = below || layer_trains(ly);
        bool again = backward && recompute && below;
        for (int j = 0; j < LAYER_LINEARS; j++)
            add_linear(&t, layer_linear(ly, j), wants_input(&w, j), again && j != LAYER_DOWN);
        t.sum += attention * (again ? 2 : 1) + (backward && w.qkv ? 2.5 * attention : 0); /* five products against two */
    }
    t.rows = (double)trained_rows;
    add_linear(&t, &m->head, below || m->norm.pw, false);
    return t.sum;
}
