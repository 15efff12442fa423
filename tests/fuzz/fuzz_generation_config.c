/* generation_config.json: what is accepted must be fit to sample with. */
#include <math.h>
#include <stdint.h>
#include <stdlib.h>

#include "model/generation_config.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct model_config c = {.n_eos = 1, .eos = {2}};
    struct generation_config g;
    struct err e = ERR_INIT;
    if (generation_config_parse(&g, (const char *)data, size, "fuzz", &c, &e) < 0) {
        if (!e.set)
            abort();
        return 0;
    }
    const struct sampler_options *s = &g.sampler;
    if (!(s->temperature >= 0) || !isfinite(s->temperature) || s->top_k < 0 || !(s->top_p >= 0 && s->top_p <= 1) || !(s->min_p >= 0 && s->min_p <= 1) ||
        !(s->repeat_penalty > 0) || g.max_new_tokens < 0 || g.n_stop < 0 || g.n_stop > MODEL_EOS_MAX)
        abort();
    for (int i = 0; i < g.n_stop; i++)
        if (g.stop[i] < 0)
            abort();
    return 0;
}
