/* What a model folder says of its quantization: `quantization_config` of config.json, or quantize_config.json or quant_config.json, where
 * tools of GPTQ and AWQ have left one (quantized-model(5); GPTQModel reads those first, transformers only config.json). Where a folder has
 * both they must not contradict each other.
 *
 * The tensors decide which modules are quantized and in which of bitsandbytes' layouts; the configuration decides how the words
 * of GPTQ and AWQ are read. */
#ifndef FORMAT_QUANTIZED_CONFIG_H
#define FORMAT_QUANTIZED_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

enum quantized_method { QUANTIZED_NONE, QUANTIZED_BITSANDBYTES, QUANTIZED_METHOD_GPTQ, QUANTIZED_METHOD_AWQ };

struct quantized_config {
    enum quantized_method method; /* NONE: the folder has no such section */
    int bits;                     /* GPTQ, AWQ */
    int64_t group;                /* GPTQ, AWQ: inputs a group; 0: one group (stored as -1) */
    bool sym, desc_act;           /* GPTQ */
    bool zeros_plain;             /* GPTQ: format gptq_v2 */
    bool by_gptqmodel;            /* meta.quantizer: words of zeros are less one as a whole */
    bool overrides;               /* GPTQ: `dynamic` gives some modules other bits or groups; their tensors tell which */
    bool zero_point;              /* AWQ */
    double int8_threshold;        /* bitsandbytes: llm_int8_threshold, 6.0 where none is given */
};

/* Fills c from the folder; a folder without such a section gives NONE. Methods, layouts ("marlin", "gemv", "gptq_p" ...) and
 * values that are not known are errors which name the file and the key. */
int quantized_config_read(struct quantized_config *c, const char *dir, struct err *e) MUST_CHECK;

/* The text of config.json or, `alone`, of a file that is such a section; `name` stands in errors. */
int quantized_config_parse(struct quantized_config *c, const char *json, size_t len, bool alone, const char *name, struct err *e) MUST_CHECK;

/* "bitsandbytes", "gptq", "awq", "none". */
const char *quantized_method_name(enum quantized_method m);

#endif
