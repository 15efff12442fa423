/* Weights that are no numbers. */
#include <inttypes.h>

#include "format/manifest.h"
#include "format/model_folder.h"
#include "format/quantized_tensors.h"
#include "model/model.h"

static bool is_bad(const struct model_folder *f, const struct st_tensor *t)
{
    return !quantized_tensors_is_packed(f, NULL, t) && manifest_find_nonfinite(t) >= 0;
}

int model_check_finite(const struct model *m, int (*stop)(void), struct err *e)
{
    int n = m->folder ? m->folder->n_tensors : 0, first = n;
#pragma omp parallel for schedule(dynamic) reduction(min : first)
    for (int i = 0; i < n; i++)
        if (i < first && !(stop && stop()) && is_bad(m->folder, m->folder->tensors[i]))
            first = i;
    if (first == n)
        return 0;
    const struct st_tensor *t = m->folder->tensors[first];
    return err_set(e, "%s: tensor '%s': element %" PRId64 " is not a finite number", model_folder_shard(m->folder, t)->path, t->name,
                   manifest_find_nonfinite(t));
}
