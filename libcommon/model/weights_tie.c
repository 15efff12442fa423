/* Is an output layer that config.json ties to the embedding really the same matrix? */
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "format/model_folder.h"
#include "model/model.h"
#include "model/weights_tie.h"

enum { PIECE = 1 << 18 }; /* elements */

/* Equal bytes, or equal values: two types may store the same, and zero has two signs. */
static bool same_piece(const struct st_tensor *a, const struct st_tensor *b, int64_t at, int64_t n, float *x, float *y)
{
    const char *p = (const char *)a->data + (size_t)at * dtype_size(a->type), *q = (const char *)b->data + (size_t)at * dtype_size(b->type);
    if (a->type == b->type && !memcmp(p, q, (size_t)n * dtype_size(a->type)))
        return true;
    dtype_to_f32(x, p, a->type, (size_t)n);
    dtype_to_f32(y, q, b->type, (size_t)n);
    for (int64_t i = 0; i < n; i++)
        if (!(x[i] == y[i]))
            return false;
    return true;
}

static bool is_real(const struct st_tensor *t)
{
    return t->type == DTYPE_F32 || t->type == DTYPE_F16 || t->type == DTYPE_BF16;
}

static bool same_values(const struct model_folder *f, const struct st_tensor *a, const struct st_tensor *b)
{
    if (a->ndim != b->ndim || memcmp(a->shape, b->shape, (size_t)a->ndim * sizeof *a->shape) || !is_real(a) || !is_real(b))
        return false;
    const struct st_file *p = model_folder_shard(f, a), *q = model_folder_shard(f, b);
    float *x = mem_array(NULL, PIECE, sizeof *x), *y = mem_array(NULL, PIECE, sizeof *y);
    bool same = true;
    for (int64_t at = 0; at < a->numel && same; at += PIECE) {
        int64_t n = a->numel - at < PIECE ? a->numel - at : PIECE;
        same = same_piece(a, b, at, n, x, y);
        st_drop(p, (const char *)a->data + (size_t)at * dtype_size(a->type), (size_t)n * dtype_size(a->type));
        st_drop(q, (const char *)b->data + (size_t)at * dtype_size(b->type), (size_t)n * dtype_size(b->type));
    }
    free(x);
    free(y);
    return same;
}

/* Words of GPTQ or AWQ are a matrix of their own; so are packed bytes under the name of lm_head.weight. */
void weights_settle_tie(struct model *m)
{
    const struct st_tensor *head = model_folder_find(m->folder, "lm_head.weight"), *embed = model_folder_find(m->folder, "model.embed_tokens.weight"),
                           *words = model_folder_find(m->folder, "lm_head.qweight");
    if (!m->config.tied || (!head && !words) || !embed || (head && same_values(m->folder, head, embed)))
        return;
    m->config.tied = false;
    m->untied = true;
    m->warning = mem_printf("%s: %s differs from the embedding: they are not tied, although config.json says tie_word_embeddings",
                            model_folder_shard(m->folder, head ? head : words)->path, head ? head->name : words->name);
}
