#include "model/param.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/mem.h"

/* Does `part` stand in `name` as a whole dotted component (left: its beginning counts too)? */
static bool has_component(const char *name, const char *part, bool left)
{
    size_t n = strlen(part);
    for (const char *p = name; (p = strcasestr(p, part)); p++)
        if ((p[n] == 0 || p[n] == '.') && (!left || p == name || p[-1] == '.'))
            return true;
    return false;
}

bool param_decays(const char *name)
{
    return !strcasestr(name, "bias") && !strcasestr(name, "layernorm") && !strcasestr(name, "rmsnorm") && !has_component(name, "norm", true) &&
           !has_component(name, "_norm", false);
}

struct param *param_new(char *name, int ndim, int64_t rows, int64_t cols)
{
    struct param *p = mem_zalloc(1, sizeof *p);
    p->name = name;
    p->ndim = ndim;
    p->shape[0] = rows;
    p->shape[1] = ndim > 1 ? cols : 1;
    p->numel = p->shape[0] * p->shape[1];
    p->decay = param_decays(name);
    return p;
}

void param_free(struct param *p)
{
    if (p)
        free(p->name);
    free(p);
}

static int by_name(const void *a, const void *b)
{
    return strcmp((*(struct param *const *)a)->name, (*(struct param *const *)b)->name);
}

void params_sort(struct param **params, int n)
{
    if (n)
        qsort(params, (size_t)n, sizeof *params, by_name);
}

int64_t floats_find_bad(const float *x, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        if (!isfinite(x[i]))
            return i;
    return -1;
}
