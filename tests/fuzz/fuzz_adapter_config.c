/* adapter_config.json, and its patterns against names of modules. */
#include <stdint.h>
#include <stdlib.h>

#include "format/adapter.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const modules[] = {"model.layers.11.self_attn.q_proj", "lm_head", "model.embed_tokens", "layers.0.x"};
    struct adapter_config c;
    struct err e = ERR_INIT;
    if (adapter_config_parse(&c, (const char *)data, size, "fuzz", &e) < 0) {
        if (!e.set)
            abort();
        return 0;
    }
    for (size_t i = 0; i < sizeof modules / sizeof modules[0]; i++) {
        struct err why = ERR_INIT;
        int rank = 0;
        double scale = 0;
        int r = adapter_targets(&c, modules[i], &rank, &scale, &why);
        if ((r < 0) != why.set || (r > 0 && rank < 1))
            abort();
    }
    adapter_config_release(&c);
    return 0;
}
