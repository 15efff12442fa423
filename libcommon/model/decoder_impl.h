/* Inside the decoder: shared by decoder.c (plan, batches, entry points) and head.c (output layer and loss). */
#ifndef MODEL_DECODER_IMPL_H
#define MODEL_DECODER_IMPL_H

#include "model/layer.h"
#include "model/offload.h"

/* The products of fewer rows may round differently (MATMUL_FEW_ROWS in kernels.h), so shorter batches are filled up with
 * rows of zeros: then no row depends on how many there are. */
#define DECODER_MIN_ROWS (MATMUL_FEW_ROWS + 1)

/* The output layer runs over chunks of rows: scores of one chunk are held, never rows x vocabulary. */
struct head {
    int64_t chunk;               /* rows at a time */
    int64_t piece;               /* rows of a sample whose gradients are summed in one: the same for every split of a step */
    bool by_piece;               /* gradients are summed here: a chunk holds whole pieces */
    float *x, *xn, *dxn;         /* (chunk, C) gathered rows, their norm, its gradient */
    float *rstd;                 /* (chunk) */
    float *loss;                 /* (4, chunk) loss, mean, entropy, squares; then the loss's place is that of weights */
    float *scores;               /* (chunk, V) logits, then their gradient */
    float *low;                  /* (chunk, kept rank) */
    int32_t *rows, *targets;     /* (chunk) */
    int32_t *host_rows, *host_targets;
    int64_t *cuts;               /* host (chunk + 1): bounds of the `pieces` gathered */
    int pieces;
    int64_t count;               /* rows gathered, those of an open piece too */
    float *host_loss;            /* (4, chunk) */
};

struct decoder {
    struct model *m;
    int64_t max_rows;            /* of a batch */
    int64_t rows;                /* planned: at least DECODER_MIN_ROWS */
    int max_seq;
    bool backward;
    enum decoder_keep keep;
    int (*stop)(void);           /* NULL: never */
    int lowest;                  /* backward ends here: first layer with something to train, 0 when the embedding is */
    int n_kept;                  /* one for each layer from `lowest` on, or fewer in turn */
    struct offload offload;
    struct layer_kept *kept;
    float **x;                   /* (layers + 1) inputs of the layers, then the output of the last; those up to `lowest` share one */
    struct layer_work work;
    struct head head;
    int32_t *ids;                /* (N) */
    float *tied_grad;            /* (V, C) sum of a step's gradients of a tied embedding, apart from those of the output layer; else NULL */
    float *cos_sin;
    int32_t *pos;
    /* host */
    struct attention_seq *seq;   /* (max_seq) */
    float *host_cos_sin, *inv;   /* (N, D), (D/2) */
    float *weight;               /* (N) decoder_weighed */
    /* the batch under way */
    const struct batch *batch;
    int64_t n;                   /* rows computed: batch->n, at least DECODER_MIN_ROWS */
};

bool decoder_stopped(const struct decoder *d);
/* Whether backward has anything to do below the output layer. */
bool decoder_trains_body(const struct decoder *d);

void head_init(struct decoder *d);
void head_layout(struct decoder *d, struct arena *a);
void head_release(struct decoder *d);
/* Loss of all trained rows. grad_scale != 0: parameter gradients of the output layer and final norm, and, when
 * decoder_trains_body, d->work.dx = gradient of the last layer's output; a row's are multiplied by its weight when weight (batch->n) is not
 * NULL. rows may be NULL. False: stopped. */
bool head_loss(struct decoder *d, float grad_scale, const float *weight, struct decoder_result *r, const struct decoder_rows *rows);
/* Whether something of the output layer is trained. */
bool head_trains(const struct decoder *d);
int head_logits(struct decoder *d, const int32_t *rows, int64_t n_rows,
                int (*sink)(void *arg, int64_t first, int64_t count, const float *logits), void *arg);

#endif
