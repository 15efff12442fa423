/* Weights that are no numbers. */
#include <inttypes.h>

#include "format/manifest.h"
#include "format/model_folder.h"
#include "model/model.h"

int model_check_finite(const struct model *m, int (*stop)(void), struct err *e)
{
    int n = m->folder ? m->folder->n_tensors : 0, first = n;
#pragma omp parallel for schedule(dynamic) reduction(min : first)
    for (int i = 0; i < n; i++)
        if (i < first && !(stop && stop()) && manifest_find_nonfinite(m->folder->tensors[i]) >= 0)
            first = i;
    if (first == n)
        return 0;
    const struct st_tensor *t = m->folder->tensors[first];
    return err_set(e, "%s: tensor '%s': element %" PRId64 " is not a finite number", model_folder_shard(m->folder, t)->path, t->name,
                   manifest_find_nonfinite(t));
}
