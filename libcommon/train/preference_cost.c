#include "train/preference_cost.h"

#include "train/preference_pack.h"

/* Query rows from position `before` on, each of which sees itself and all before. */
static double triangle(double before, double n)
{
    return n * before + n * (n + 1) / 2;
}

struct preference_cost preference_cost_of(const struct token_file *t, const struct model *m, bool prompt, bool mismatched)
{
    int64_t context = model_config_context(&m->config);
    struct preference_cost c = {.trained = (double)t->n_trained};
    for (int64_t i = 0; i < t->n_samples; i++) {
        struct preference_rows x = preference_rows_of(t, i, PREFERENCE_ANSWERS, context);
        c.rows += (double)x.rows;
        c.pairs += triangle(0, (double)x.prompt);
        for (int k = 0; k < x.answers; k++)
            c.pairs += triangle((double)x.prompt, (double)x.length[k]);
        c.trained += prompt ? (double)x.prompt : 0;
        if (mismatched) {
            x = preference_rows_of(t, i, PREFERENCE_MISMATCHED, context);
            c.other_rows += (double)x.rows;
            c.other_trained += (double)x.length[0];
            c.other_pairs += triangle(0, (double)x.rows);
        }
    }
    return c;
}

double preference_cost_answers(const struct preference_cost *c, const struct model *m, bool backward, bool recompute)
{
    return decoder_flops(m, (int64_t)c->rows, (int64_t)c->trained, c->pairs, backward, recompute);
}

double preference_cost_mismatched(const struct preference_cost *c, const struct model *m)
{
    return c->other_rows > 0 ? decoder_flops(m, (int64_t)c->other_rows, (int64_t)c->other_trained, c->other_pairs, false, false) : 0;
}

double preference_cost_forward(const struct preference_cost *c, const struct model *m)
{
    return preference_cost_answers(c, m, false, false) + preference_cost_mismatched(c, m);
}

/* Records of counts and f32, and where each begins. */
int64_t preference_cost_file(const struct token_file *t, bool mismatched)
{
    return 4096 + 24 * t->n_samples + 4 * t->n_trained * (mismatched ? 2 : 1);
}
