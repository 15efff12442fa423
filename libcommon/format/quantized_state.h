/* The JSON of bitsandbytes' quant_state: what the tensor `M.weight.quant_state.bitsandbytes__nf4` (or fp4) holds as bytes (QuantState.as_dict
 * and from_dict, bitsandbytes functional.py; quantized-model(5)). Keys in any order; unknown ones, and those of nesting without the
 * others, are errors. */
#ifndef FORMAT_QUANTIZED_STATE_H
#define FORMAT_QUANTIZED_STATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/dtype.h"
#include "base/err.h"
#include "base/quantized.h"

struct quantized_state {
    enum quantized_kind kind; /* NF4, FP4 */
    int64_t block;            /* elements: a power of two, 32 .. 4096 */
    enum dtype value_type;    /* F32, F16, BF16 */
    int64_t shape[2];         /* (out, in) */
    bool nested;
    float nested_offset;      /* finite */
};

/* `name` stands in errors: folder and tensor. */
int quantized_state_parse(struct quantized_state *s, const void *json, size_t len, const char *name, struct err *e) MUST_CHECK;

#endif
