/* Modules of a model by their names, for lora.c and lora_frozen.c. */
#ifndef MODEL_LORA_MODULES_H
#define MODEL_LORA_MODULES_H

#include "format/adapter.h"
#include "model/model.h"

/* Every linear in model order, lm_head last; caller frees the array. */
struct linear **lora_list_linears(struct model *m, int *n);

/* The linear that an adapter's module or bias belongs to, shapes checked; NULL and an error that names it otherwise. */
struct linear *lora_find_linear(struct model *m, const char *dir, const struct adapter_module *am, struct err *e);
struct linear *lora_find_bias(struct model *m, const char *dir, const struct adapter_extra *x, struct err *e);

/* adapter_check_base against this model. */
int lora_check_base(struct model *m, const struct adapter *a, struct err *e) MUST_CHECK;

void lora_append(struct lora **chain, struct lora *x); /* at its end */

/* An extra tensor of an adapter is a bias, or else a copy of a base weight, which must equal that weight. */
bool lora_is_bias(const struct adapter_extra *x);
int lora_check_copy(struct model *m, const char *dir, const struct adapter_extra *x, struct err *e) MUST_CHECK;

#endif
