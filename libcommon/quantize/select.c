#include "quantize/select.h"

#include <stdlib.h>

#include "base/mem.h"
#include "format/model_folder.h"
#include "format/py_regex.h"

static int select_module(struct quantize_selection *s, const struct quantize_options *o, const struct linear *l, bool *kept, struct err *e)
{
    int skip = o->skip ? py_regex(o->skip, l->module, PY_REGEX_FULLMATCH, NULL, 0, e) : 0;
    if (skip < 0)
        return err_prefix(e, "--skip");
    *kept = skip;
    s->n_kept += skip;
    s->n_quantized += !skip;
    if (skip)
        return 0;
    s->weights += l->out * l->in;
    s->largest = l->out * l->in > s->largest ? l->out * l->in : s->largest;
    return quantize_check_shape(o, l->module, l->out, l->in, e);
}

int quantize_select(struct quantize_selection *s, const struct quantize_options *o, struct model *m, struct err *e)
{
    *s = (struct quantize_selection){.layers = m->config.layers};
    s->kept = mem_zalloc((size_t)s->layers, sizeof *s->kept);
    for (int i = 0; i < s->layers; i++) {
        int64_t weights = 0;
        for (int j = 0; j < LAYER_LINEARS; j++) {
            const struct linear *l = layer_linear(&m->layers[i], j);
            if (l->quantized)
                return err_set(e, "%s: module '%s' is quantized already; give the model that it was made from", m->folder->dir, l->module);
            if (select_module(s, o, l, &s->kept[i][j], e) < 0)
                return -1;
            weights += l->out * l->in;
        }
        s->layer_weights = weights > s->layer_weights ? weights : s->layer_weights;
    }
    if (o->skip && !s->n_kept)
        return err_set(e, "--skip %s: matches no module; the pattern is held against whole names such as 'model.layers.0.mlp.up_proj'", o->skip);
    return s->n_quantized ? 0 : err_set(e, "--skip %s: nothing is left to quantize", o->skip);
}

void quantize_selection_release(struct quantize_selection *s)
{
    free(s->kept);
    *s = (struct quantize_selection){0};
}
