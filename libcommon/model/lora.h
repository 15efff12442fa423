/* LoRA pairs on the linears of a model: frozen ones of PEFT folders, and the set that is trained.
 *
 *     model_add_adapter()                      any number, applied without merging: gen, eval-loss, the merge check
 *     s = lora_attach() or lora_attach_adapter()   structure only: model->params is filled, sizes are known, no memory is taken
 *     [optimizer_layout gives every param its value and gradient]
 *     lora_start()                             fills the values and connects them: from here on the model runs with them
 *     lora_save()                              writes a PEFT folder
 *     lora_detach()                            before model_close
 *
 * y += scale * B (A dropout(x)), scale = alpha / r, or alpha / sqrt(r) with rsLoRA (peft/tuners/lora/layer.py). A fresh A
 * is uniform in (-1/sqrt(in), 1/sqrt(in)), drawn from the stream of its module's name; B is 0. */
#ifndef MODEL_LORA_H
#define MODEL_LORA_H

#include "format/adapter.h"
#include "model/model.h"

/* Adds the adapter folder `dir`, its terms times `weight`, to the modules it targets. Trained biases replace the base's
 * (weight interpolates: base + weight * (trained - base)). Checks that every module and shape is the model's, that the adapter was made
 * for these weights (when it says so), and that all values are finite. model_close frees what this adds. */
int model_add_adapter(struct model *m, const char *dir, double weight, struct err *e) MUST_CHECK;

struct lora_options {
    int rank;
    double alpha, dropout;
    bool rslora;
    const char *targets; /* all-linear, a list NAME,... of module names or their last parts, or a regex for the whole name */
    const char *bias;    /* none, all, lora_only */
    const char *base;    /* for adapter_config.json's base_model_name_or_path */
    bool merge_aware;    /* quantized modules compute with W + scale B A brought to W's grid (struct linear, to_grid); no dropout then */
};

const char *const *lora_target_names(void); /* all-linear, and each linear's last part; NULL-terminated */

struct lora_set;

struct lora_set *lora_attach(struct model *m, const struct lora_options *o, struct err *e) MUST_CHECK;
/* Goes on from an adapter folder: its rank, scale, targets and biases. dropout and merge_aware: of the training to come; what was trained
 * merge-aware goes on so. */
struct lora_set *lora_attach_adapter(struct model *m, const char *dir, double dropout, bool merge_aware, struct err *e) MUST_CHECK;
int lora_start(struct lora_set *s, uint64_t seed, struct err *e) MUST_CHECK;
int lora_save(const struct lora_set *s, const char *dir, const char *provenance, struct err *e) MUST_CHECK;
int lora_modules(const struct lora_set *s);                           /* how many carry a pair */
const struct adapter_config *lora_config(const struct lora_set *s);
void lora_detach(struct lora_set *s);                                 /* NULL is fine */

#endif
