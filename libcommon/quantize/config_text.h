/* What the folder says of its quantization, as the programs that read it expect it (quantized-model(5)). JSON; the caller frees. */
#ifndef QUANTIZE_CONFIG_TEXT_H
#define QUANTIZE_CONFIG_TEXT_H

#include "quantize/select.h"

/* `quantization_config` of config.json: the keys of transformers' BitsAndBytesConfig, of GPTQModel's QuantizeConfig, of AutoAWQ. */
char *quantize_config_section(const struct quantize_options *o, const struct quantize_selection *s, const struct model *m);

/* The whole text of quantize_config.json, which GPTQModel reads first; NULL: the method has none. */
char *quantize_config_file(const struct quantize_options *o, const struct quantize_selection *s, const struct model *m);

#endif
