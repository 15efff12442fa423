/* quantization_config of config.json, the files that are one by themselves, and the JSON of a quant_state: the first byte tells which. */
#include <math.h>
#include <stdint.h>
#include <stdlib.h>

#include "format/quantized_config.h"
#include "format/quantized_state.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_config(const struct quantized_config *c)
{
    bool words = c->method == QUANTIZED_METHOD_GPTQ || c->method == QUANTIZED_METHOD_AWQ;
    if (words && (c->group < 0 || (c->bits != 2 && c->bits != 3 && c->bits != 4 && c->bits != 8)))
        abort();
    if (c->method == QUANTIZED_METHOD_AWQ && c->bits != 4)
        abort();
}

static void check_state(const struct quantized_state *s)
{
    bool real = s->value_type == DTYPE_F32 || s->value_type == DTYPE_F16 || s->value_type == DTYPE_BF16;
    if (!real || s->block < 32 || s->block > 4096 || s->block & (s->block - 1) || s->shape[0] < 1 || s->shape[1] < 1 ||
        s->shape[0] > INT64_MAX / s->shape[1] || !isfinite(s->nested_offset))
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct quantized_config c;
    struct quantized_state s;
    struct err e = ERR_INIT;
    if (size == 0)
        return 0;
    bool state = *data == 's';
    const char *text = (const char *)data + 1;
    int r = state ? quantized_state_parse(&s, text, size - 1, "fuzz", &e) : quantized_config_parse(&c, text, size - 1, *data == 'a', "fuzz", &e);
    if ((r < 0) != e.set)
        abort();
    if (r == 0 && state)
        check_state(&s);
    else if (r == 0)
        check_config(&c);
    return 0;
}
