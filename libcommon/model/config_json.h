/* The parts of reading config.json that stand in files of their own. */
#ifndef MODEL_CONFIG_JSON_H
#define MODEL_CONFIG_JSON_H

#include "format/json_fields.h"

struct model_config;

/* Refuses fields that could change the arithmetic in a way that is not known (config_keys.c). */
void config_check_keys(struct json_fields *r);

/* The rotary section (config_rope.c); needs c->max_positions. Sets r->bad on error. */
void config_read_rope(struct json_fields *r, struct model_config *c);

#endif
