/* One transformer layer in pieces, so that training (decoder.c) and generation (kv.c) share them; only where keys and
 * values lie differs:
 *     layer_before_attention()    norm, q k v, q/k norms, rotation
 *     attention                   layer_attention() gives the arguments but for the sequences
 *     layer_after_attention()     output projection, residual, gated feed-forward, residual
 *     layer_backward()            the whole of it, reversed
 *
 * Letters as in kernels.h. All pointers are device memory of the caller. Nothing here fails. */
#ifndef MODEL_LAYER_H
#define MODEL_LAYER_H

#include "model/linear.h"

enum { LAYER_Q, LAYER_K, LAYER_V, LAYER_O, LAYER_GATE, LAYER_UP, LAYER_DOWN, LAYER_LINEARS };

/* What the backward pass of one layer reads beside the layer's input; norm outputs and the gated product are made again. */
struct layer_kept {
    float *q, *k, *v;              /* (N, H*D) (N, G*D) (N, G*D): rotated, or, with q/k norms, as projected */
    float *q_rstd, *k_rstd;        /* (N, H) (N, G), with q/k norms */
    float *att, *lse;              /* (N, H*D) (N, H) */
    float *x2;                     /* (N, C) residual after attention */
    float *rstd1, *rstd2;          /* (N) */
    float *gate, *up;              /* (N, F) */
    float *low[LAYER_LINEARS];     /* (N, kept rank) A x of the trained pairs; NULL: not kept */
};

struct layer_work {
    struct linear_pass pass;
    const float *cos_sin;          /* (N, D/2, 2): row i rotates row i */
    const int32_t *pos;            /* (N) 0, 1, 2 ... */
    float *xn;                     /* (N, C) scratch: norm output */
    float *f;                      /* (N, F) scratch: gated product and its gradient */
    float *q_rot, *k_rot;          /* (N, H*D) (N, G*D) scratch with q/k norms: rotated */
    /* backward only */
    float *dx;                     /* (N, C) gradient of the residual stream: layer output in, layer input out */
    float *dn;                     /* (N, C) */
    float *datt, *dq, *dk, *dv;    /* (N, H*D) (N, H*D) (N, G*D) (N, G*D) */
};

struct linear *layer_linear(struct layer *ly, int i); /* LAYER_Q ... */
const char *layer_linear_name(int i);                 /* "q_proj" ... */
bool layer_trains(const struct layer *ly);

/* Which gradients of activations a layer's backward pass forms, from what is trained in it and `below` it. */
struct layer_wants {
    bool attn_in;  /* of the attention norm's output: for that norm or for layers below */
    bool qkv;      /* of q, k, v */
    bool attn;     /* of the residual after attention */
    bool mlp_in;   /* of the feed-forward norm's output */
    bool hidden;   /* of gate and up */
};

struct layer_wants layer_find_wants(const struct layer *ly, bool below);

void layer_before_attention(const struct layer_work *w, const struct model *m, int layer, const float *x,
                            struct layer_kept *kept, int64_t n);
const float *layer_q(const struct layer_work *w, const struct model *m, const struct layer_kept *kept); /* rotated */
const float *layer_k(const struct layer_work *w, const struct model *m, const struct layer_kept *kept);
struct attention layer_attention(const struct layer_work *w, const struct model *m, int layer, const struct layer_kept *kept);
/* x_next may be x; NULL: only what backward needs is computed again. */
void layer_after_attention(const struct layer_work *w, const struct model *m, int layer, const float *x,
                           struct layer_kept *kept, float *x_next, int64_t n);

/* What these are made of, forward, for who wants the inputs of the linears: before attention the first two, then the others. */
void layer_attention_input(const struct layer_work *w, const struct model *m, int layer, const float *x, struct layer_kept *kept, int64_t n); /* w->xn */
void layer_project(const struct layer_work *w, const struct model *m, int layer, struct layer_kept *kept, int64_t n); /* q k v, rotated */
void layer_attention_output(const struct layer_work *w, const struct model *m, int layer, const float *x, struct layer_kept *kept, int64_t n); /* x2, w->xn */
void layer_mlp_input(const struct layer_work *w, const struct model *m, int layer, struct layer_kept *kept, int64_t n); /* w->xn alone, of x2 */
void layer_hidden(const struct layer_work *w, const struct model *m, int layer, struct layer_kept *kept, int64_t n); /* w->f */
void layer_mlp_output(const struct layer_work *w, const struct model *m, int layer, struct layer_kept *kept, float *x_next, int64_t n);

/* dx (N * each, size) = or += the gradient through a norm, whose own is added where it is trained; a row of the pass holds `each`
 * vectors of `size`. */
void layer_norm_backward(const struct linear_pass *p, const struct norm *norm, int64_t each, int64_t size, float *dx, bool add,
                         const float *dy, const float *x, const float *rstd, int64_t n);

/* Adds the gradients of the layer's parameters; w->dx becomes the gradient of x when `below` (else it is left unspecified).
 * n rows of which `used` belong to samples; seq: the samples, k and v unset. kept->gate and up are destroyed. */
void layer_backward(const struct layer_work *w, const struct model *m, int layer, const float *x, struct layer_kept *kept,
                    struct attention_seq *seq, int n_seq, bool below, int64_t n, int64_t used);

#endif
