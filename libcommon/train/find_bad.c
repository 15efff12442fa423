#include "train/find_bad.h"

#include "format/model_folder.h"
#include "model/param.h"

#define CHUNK 4096

static bool is_bad(const struct st_tensor *t)
{
    float x[CHUNK];
    if (t->type != DTYPE_F32 && t->type != DTYPE_F16 && t->type != DTYPE_BF16)
        return false;
    for (int64_t i = 0; i < t->numel; i += CHUNK) {
        int64_t n = t->numel - i < CHUNK ? t->numel - i : CHUNK;
        dtype_to_f32(x, (const char *)t->data + (size_t)i * dtype_size(t->type), t->type, (size_t)n);
        if (floats_find_bad(x, n) >= 0)
            return true;
    }
    return false;
}

const char *find_bad_weight(const struct model *m)
{
    int first = m->folder ? m->folder->n_tensors : 0, n = first;
#pragma omp parallel for schedule(dynamic) reduction(min : first)
    for (int i = 0; i < n; i++)
        if (i < first && is_bad(m->folder->tensors[i]))
            first = i;
    return first < n ? m->folder->tensors[first]->name : NULL;
}
