/* config.json, and the rotary table of what is accepted. */
#include <stdint.h>
#include <stdlib.h>

#include "base/mem.h"
#include "model/rope.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct model_config c;
    struct err e = ERR_INIT;
    if (model_config_parse(&c, (const char *)data, size, "fuzz", &e))
        return 0;
    float *inv = mem_array(NULL, (size_t)c.head_dim / 2, sizeof *inv);
    rope_frequencies(inv, &c, c.max_positions + 7);
    model_config_window(&c, c.layers - 1);
    model_config_parameters(&c);
    free(inv);
    model_config_release(&c);
    return 0;
}
