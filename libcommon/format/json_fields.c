#include "format/json_fields.h"

#include <stdlib.h>

void json_fields_bad(struct json_fields *r, const char *key, const char *expected)
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

json_t *json_fields_find(const struct json_fields *r, const char *key)
{
    json_t *v = json_object_get(r->object, key);
    return json_is_null(v) ? NULL : v;
}

static int64_t find_int(struct json_fields *r, const char *key, bool needed, int64_t absent, int64_t min, int64_t max)
{
    json_t *v = json_fields_find(r, key);
    if (!v && !needed)
        return absent;
    if (json_is_integer(v) && json_integer_value(v) >= min && json_integer_value(v) <= max)
        return json_integer_value(v);
    char expected[80];
    snprintf(expected, sizeof expected, "a whole number from %lld to %lld", (long long)min, (long long)max);
    json_fields_bad(r, key, expected);
    return absent;
}

int64_t json_fields_need_int(struct json_fields *r, const char *key, int64_t min, int64_t max)
{
    return find_int(r, key, true, min, min, max);
}

int64_t json_fields_int(struct json_fields *r, const char *key, int64_t absent, int64_t min, int64_t max)
{
    return find_int(r, key, false, absent, min, max);
}

double json_fields_number(struct json_fields *r, const char *key, double absent, double min, double max)
{
    json_t *v = json_fields_find(r, key);
    if (!v)
        return absent;
    if (json_is_number(v) && json_number_value(v) >= min && json_number_value(v) <= max)
        return json_number_value(v);
    char expected[80];
    snprintf(expected, sizeof expected, "a number from %g to %g", min, max);
    json_fields_bad(r, key, expected);
    return absent;
}

bool json_fields_bool(struct json_fields *r, const char *key, bool absent)
{
    json_t *v = json_fields_find(r, key);
    if (!v)
        return absent;
    if (json_is_boolean(v))
        return json_is_true(v);
    json_fields_bad(r, key, "true or false");
    return absent;
}

const char *json_fields_string(struct json_fields *r, const char *key, const char *absent)
{
    json_t *v = json_fields_find(r, key);
    if (!v)
        return absent;
    if (json_is_string(v))
        return json_string_value(v);
    json_fields_bad(r, key, "a string");
    return absent;
}
