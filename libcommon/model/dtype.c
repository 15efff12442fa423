/* model_set_dtype */
#include <string.h>

#include "model/model.h"

void model_set_dtype(struct model *m, const char *dtype)
{
    m->bf16 = !strcmp(dtype, "bf16") || (!strcmp(dtype, "auto") && m->k->multiplies_bf16);
}
