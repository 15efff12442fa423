/* Shared by merge*.c: what becomes of each tensor. */
#ifndef MODEL_MERGE_IMPL_H
#define MODEL_MERGE_IMPL_H

#include "format/adapter.h"
#include "format/quantized_tensors.h"
#include "model/merge.h"
#include "model/model.h"

#define MERGE_CHUNK (1 << 20) /* elements that are computed at once */

/* factor * (B A), or its transpose for embeddings. */
struct merge_term {
    const struct adapter_module *module;
    const struct st_file *file; /* that holds its tensors */
    float factor;               /* weight * scale */
};

struct merge_extra {
    const struct st_tensor *tensor;
    const struct st_file *file;
    float weight;
};

/* Which tensor of a requantized weight this is. */
enum merge_part { MERGE_WHOLE, MERGE_CODES, MERGE_SCALES };

/* One tensor of the result. */
struct merge_item {
    char *name;
    const struct st_tensor *base; /* the tensor it starts from, and whose form it has; lm_head of a model that is untied: the embedding. NULL: */
    const struct quantized *quantized; /* ... this weight. With `base`: the item is a part of it */
    enum merge_part part;
    const struct st_tensor *sources[QUANTIZED_TENSORS_MAX]; /* all tensors of the quantized weight */
    int n_sources;
    bool packed;                  /* of copies: the elements are codes, whatever type they are stored as */
    enum dtype type;              /* of the result, or, of parts, of what is computed before: f32 */
    int64_t rows, columns;        /* of the matrix; of vectors one row */
    int n_terms, n_extras;
    struct merge_term *terms;     /* n_adapters */
    struct merge_extra *extras;   /* n_adapters */
};

struct merge {
    struct model *model;          /* what the adapters were made for */
    struct model *into;           /* what they are added to: `model`, or that of base16 */
    struct adapter **adapters;
    double *weights;
    int n_adapters, n_items;
    struct merge_item *items;     /* by name */
    struct merge_plan plan;
    int64_t max_shard;
    bool requantize;
};

/* Fills items and plan. */
int merge_list(struct merge *m, int type, struct err *e) MUST_CHECK;

/* Computes elements [first, first + count) of the item, at most MERGE_CHUNK of them, in the stored type, into `to`. The adapters are read one
 * after the other, some ranks at a time, and their pages given back at once: the memory depends neither on their ranks nor on
 * their number. Of a quantized weight they are whole rows. False: an element is not finite. */
bool merge_compute(const struct merge_item *item, const struct kernels *k, int64_t first, int64_t count, void *to, int threads);
int64_t merge_chunk(const struct merge_item *item); /* elements to compute at once */

/* Writes chunks in order on a thread of its own, so that computing and writing overlap. */
struct merge_pipe;
struct model_writer;
struct merge_pipe *merge_pipe_new(struct model_writer *w);
/* `owned`: freed with free() after writing, or NULL when data is borrowed; then the pages of `file` that hold it are given back. Returns -1 when an
 * earlier write failed; merge_pipe_end tells why. */
int merge_pipe_put(struct merge_pipe *p, const void *data, size_t len, void *owned, const struct st_file *file);
int64_t merge_pipe_written(struct merge_pipe *p);
int merge_pipe_end(struct merge_pipe *p, struct err *e) MUST_CHECK; /* waits; frees p. The writer is the caller's */

#endif
