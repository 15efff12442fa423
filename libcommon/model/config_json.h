/* Typed fields of a JSON object, for config.c and config_rope.c.
 *
 * Each config_get_*() returns the field, or `absent` when the key is missing (or null where the comment says so). A
 * wrong type or a value out of range sets the error, "name: key: found ..., expected ...", and `bad`; readers go on and
 * look at `bad` once. The object is borrowed. */
#ifndef MODEL_CONFIG_JSON_H
#define MODEL_CONFIG_JSON_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

struct model_config;

struct config_reader {
    json_t *object;
    const char *name;   /* the file, for errors */
    const char *prefix; /* "rope_scaling." or "" */
    struct err *e;
    bool bad;
};

/* Sets the error "name: prefix key: found <value>, expected <expected>". */
void config_bad_field(struct config_reader *r, const char *key, const char *expected);

json_t *config_find(const struct config_reader *r, const char *key); /* NULL when absent or null */
int64_t config_get_int(struct config_reader *r, const char *key, int64_t absent, int64_t min, int64_t max);
int64_t config_need_int(struct config_reader *r, const char *key, int64_t min, int64_t max); /* missing or null is an error; then min */
double config_get_number(struct config_reader *r, const char *key, double absent, double min, double max);
bool config_get_bool(struct config_reader *r, const char *key, bool absent);
const char *config_get_string(struct config_reader *r, const char *key, const char *absent);

/* Refuses fields that could change the arithmetic in a way that is not known (config_keys.c). */
void config_check_keys(struct config_reader *r);

/* The rotary section (config_rope.c); needs c->max_positions. Sets r->bad on error. */
void config_read_rope(struct config_reader *r, struct model_config *c);

#endif
