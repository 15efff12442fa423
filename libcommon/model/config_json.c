#include "model/config_json.h"

#include <stdlib.h>

void config_bad_field(struct config_reader *r, const char *key, const char *expected)
{
    json_t *v = json_object_get(r->object, key);
    char *text = v ? json_dumps(v, JSON_ENCODE_ANY | JSON_COMPACT) : NULL;
    r->bad = true;
    if (v)
        err_set(r->e, "%s: %s%s: found %.60s, expected %s", r->name, r->prefix, key, text ? text : "?", expected);
    else
        err_set(r->e, "%s: %s%s: missing, expected %s", r->name, r->prefix, key, expected);
    free(text);
}

json_t *config_find(const struct config_reader *r, const char *key)
{
    json_t *v = json_object_get(r->object, key);
    return json_is_null(v) ? NULL : v;
}

static void bad_int(struct config_reader *r, const char *key, int64_t min, int64_t max)
{
    char expected[80];
    snprintf(expected, sizeof expected, "a whole number from %lld to %lld", (long long)min, (long long)max);
    config_bad_field(r, key, expected);
}

int64_t config_need_int(struct config_reader *r, const char *key, int64_t min, int64_t max)
{
    if (config_find(r, key))
        return config_get_int(r, key, min, min, max);
    bad_int(r, key, min, max);
    return min;
}

int64_t config_get_int(struct config_reader *r, const char *key, int64_t absent, int64_t min, int64_t max)
{
    json_t *v = config_find(r, key);
    if (!v)
        return absent;
    if (json_is_integer(v) && json_integer_value(v) >= min && json_integer_value(v) <= max)
        return json_integer_value(v);
    bad_int(r, key, min, max);
    return absent;
}

double config_get_number(struct config_reader *r, const char *key, double absent, double min, double max)
{
    json_t *v = config_find(r, key);
    if (!v)
        return absent;
    if (json_is_number(v) && json_number_value(v) >= min && json_number_value(v) <= max)
        return json_number_value(v);
    char expected[80];
    snprintf(expected, sizeof expected, "a number from %g to %g", min, max);
    config_bad_field(r, key, expected);
    return absent;
}

bool config_get_bool(struct config_reader *r, const char *key, bool absent)
{
    json_t *v = config_find(r, key);
    if (!v)
        return absent;
    if (json_is_boolean(v))
        return json_is_true(v);
    config_bad_field(r, key, "true or false");
    return absent;
}

const char *config_get_string(struct config_reader *r, const char *key, const char *absent)
{
    json_t *v = config_find(r, key);
    if (!v)
        return absent;
    if (json_is_string(v))
        return json_string_value(v);
    config_bad_field(r, key, "a string");
    return absent;
}
