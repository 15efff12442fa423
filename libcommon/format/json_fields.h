/* Typed fields of a JSON object.
 *
 * Each function returns the field, or `absent` when the key is missing or null. A wrong type or a value out of range sets the
 * error, "name: prefix key: found ..., expected ...", and `bad`; readers go on and look at `bad` once. The object is borrowed. */
#ifndef FORMAT_JSON_FIELDS_H
#define FORMAT_JSON_FIELDS_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

struct json_fields {
    json_t *object;
    const char *name;   /* the file, for errors */
    const char *prefix; /* "rope_scaling." or "" */
    struct err *e;
    bool bad;
};

/* Sets the error "name: prefix key: found <value>, expected <expected>". */
void json_fields_bad(struct json_fields *r, const char *key, const char *expected);

json_t *json_fields_find(const struct json_fields *r, const char *key); /* NULL when absent or null */
int64_t json_fields_int(struct json_fields *r, const char *key, int64_t absent, int64_t min, int64_t max);
int64_t json_fields_need_int(struct json_fields *r, const char *key, int64_t min, int64_t max); /* missing or null is an error; then min */
double json_fields_number(struct json_fields *r, const char *key, double absent, double min, double max);
bool json_fields_bool(struct json_fields *r, const char *key, bool absent);
const char *json_fields_string(struct json_fields *r, const char *key, const char *absent);

#endif
