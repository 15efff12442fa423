/* Which modules of a model are quantized: every linear of the decoder's layers but those that --skip leaves out. The embedding, the norms
 * and lm_head stay as they are, as the ecosystem has it. */
#ifndef QUANTIZE_SELECT_H
#define QUANTIZE_SELECT_H

#include "quantize/method.h"

struct quantize_selection {
    int layers;
    bool (*kept)[LAYER_LINEARS];  /* [layer][LAYER_Q ...]: stays in float */
    int n_quantized, n_kept;
    int64_t weights;              /* of quantized modules */
    int64_t largest;              /* weights of the largest module */
    int64_t layer_weights;        /* weights of all linears of a layer */
};

/* Sizes that the method's layout cannot hold, a pattern that is none, and one that leaves all or nothing out are errors. The model's
 * matrices must be stored plain. */
int quantize_select(struct quantize_selection *s, const struct quantize_options *o, struct model *m, struct err *e) MUST_CHECK;
void quantize_selection_release(struct quantize_selection *s);

#endif
