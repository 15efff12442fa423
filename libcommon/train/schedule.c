#include "train/schedule.h"

#include <math.h>
#include <string.h>

int schedule_init(struct schedule *s, const char *type, double base, double warmup, int64_t total, struct err *e)
{
    static const char *const names[] = {"cosine", "linear", "constant"};
    int i = 0;
    while (i < 3 && strcmp(type, names[i]))
        i++;
    if (i == 3)
        return err_set(e, "schedule '%s' is unknown, expected cosine, linear or constant", type);
    *s = (struct schedule){(enum schedule_type)i, base, 0, total};
    s->warmup = warmup >= 1 ? (int64_t)warmup : (int64_t)ceil((double)total * warmup);
    return 0;
}

double schedule_lr(const struct schedule *s, int64_t update)
{
    double step = (double)(update - 1), w = (double)s->warmup, rest = (double)(s->total - s->warmup);
    double factor = 1;
    if (step < w)
        factor = step / fmax(1, w);
    else if (s->type == SCHEDULE_LINEAR)
        factor = fmax(0, ((double)s->total - step) / fmax(1, rest));
    else if (s->type == SCHEDULE_COSINE)
        factor = fmax(0, 0.5 * (1 + cos(M_PI * ((step - w) / fmax(1, rest)))));
    return s->base * factor;
}
