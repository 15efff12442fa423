/* Alignment via optimal transport (Melnyk et al. 2024, arXiv 2406.05882): stochastic dominance of one set of log-ratios over another, which one-dimensional
 * optimal transport reduces to differences of equal ranks. TRL: trl/trainer/dpo_trainer.py, "aot" and "aot_unpaired". */
#include <stdlib.h>

#include "base/mem.h"
#include "train/preference_impl.h"

struct ranked {
    double value;
    size_t index;
};

/* Equal values keep the order of the samples. */
static int by_value(const void *left, const void *right)
{
    const struct ranked *a = left, *b = right;
    if (a->value != b->value)
        return a->value < b->value ? -1 : 1;
    return a->index < b->index ? -1 : 1;
}

double preference_sorted_loss(const struct preference *p, enum preference_loss loss, const struct preference_pair *pairs, size_t n, struct preference_slope *slopes)
{
    bool paired = loss == PREFERENCE_AOT;
    struct ranked *above = mem_array(NULL, n, 2 * sizeof *above), *below = above + n;
    for (size_t i = 0; i < n; i++) {
        const struct preference_pair *x = &pairs[i];
        above[i] = (struct ranked){paired ? x->policy[0] - x->policy[1] : x->ratio[0], i};
        below[i] = (struct ranked){paired ? x->reference[0] - x->reference[1] : x->ratio[1], i};
        slopes[i] = (struct preference_slope){0, 0, 0};
    }
    qsort(above, n, sizeof *above, by_value);
    qsort(below, n, sizeof *below, by_value);
    double sum = 0;
    for (size_t i = 0; i < n; i++) {
        struct preference_point f = preference_logistic(p->o.beta * (above[i].value - below[i].value), p->o.label_smoothing);
        double slope = f.slope * p->o.beta;
        sum += f.value;
        slopes[above[i].index].chosen += slope;
        slopes[paired ? above[i].index : below[i].index].rejected -= slope;
    }
    free(above);
    return sum;
}
