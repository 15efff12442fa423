#include "cli/opt_value.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "cli/suggest.h"

/* The factor of a suffix; 0 when it is none. k, M, G; for sizes also K, T, an i for 1024 and a B. */
static int64_t factor(const char *suffix, bool size)
{
    static const char letters[] = "kMGT";
    int64_t f = 1, base = 1000;
    const char *p = suffix;
    if (!*p)
        return 1;
    const char *at = strchr(letters, size && *p == 'K' ? 'k' : *p);
    if (at && (size || *at != 'T')) {
        p++;
        if (size && *p == 'i')
            base = 1024, p++;
        for (int i = (int)(at - letters); i >= 0; i--)
            f *= base;
    }
    if (size && *p == 'B')
        p++;
    return *p || p == suffix ? 0 : f;
}

/* Integer arithmetic throughout: "1.5k" is 15 * 1000 / 10, and a remainder is an error. */
static int parse_scaled(const char *text, bool size, int64_t *value, struct err *e)
{
    const char *p = text + (*text == '-'), *kind = size ? "a size such as 512M or 4GiB" : "a whole number";
    int64_t digits = 0, divisor = 1, f;
    bool any = false, point = false;
    for (; (*p >= '0' && *p <= '9') || (*p == '.' && !point); p++) {
        if (*p == '.') {
            point = true;
            continue;
        }
        any = true;
        if (__builtin_mul_overflow(digits, 10, &digits) || __builtin_add_overflow(digits, *p - '0', &digits) ||
            (point && __builtin_mul_overflow(divisor, 10, &divisor)))
            return err_set(e, "'%s' is too large", text);
    }
    f = any ? factor(p, size) : 0;
    if (f == 0)
        return err_set(e, "'%s' is not %s", text, kind);
    if (__builtin_mul_overflow(digits, f, &digits))
        return err_set(e, "'%s' is too large", text);
    if (digits % divisor)
        return err_set(e, "'%s' is not %s", text, kind);
    *value = *text == '-' ? -(digits / divisor) : digits / divisor;
    return 0;
}

int opt_parse_count(const char *text, int64_t *value, struct err *e)
{
    return parse_scaled(text, false, value, e);
}

int opt_parse_size(const char *text, int64_t *value, struct err *e)
{
    return parse_scaled(text, true, value, e);
}

int opt_parse_real(const char *text, double *value, struct err *e)
{
    char *end;
    if (!*text || strspn(text, "0123456789+-.eE") != strlen(text))
        return err_set(e, "'%s' is not a number", text);
    errno = 0;
    double x = strtod(text, &end);
    if (*end)
        return err_set(e, "'%s' is not a number", text);
    if (!isfinite(x))
        return err_set(e, "'%s' is too large", text);
    *value = x;
    return 0;
}

/* Digits at *p; 0 where there are none. */
static int parse_place(const char **p, int64_t *value)
{
    int64_t x = 0;
    const char *start = *p;
    for (; **p >= '0' && **p <= '9'; ++*p)
        if (__builtin_mul_overflow(x, 10, &x) || __builtin_add_overflow(x, **p - '0', &x))
            return -1;
    if (*p > start)
        *value = x;
    return *p > start;
}

int opt_parse_range(const char *text, struct opt_range *range, struct err *e)
{
    struct opt_range r = {1, INT64_MAX};
    const char *p = text;
    int from = parse_place(&p, &r.from), to = 0;
    bool dash = *p == '-';
    if (dash) {
        p++;
        to = parse_place(&p, &r.to);
    } else {
        r.to = r.from;
    }
    if (from < 0 || to < 0)
        return err_set(e, "'%s' is too large", text);
    if (*p || from + to == 0)
        return err_set(e, "'%s' is not a range such as 1-900, 901-, -900 or 7", text);
    if (r.from >= 1 && r.to >= 1 && r.to < r.from)
        return err_set(e, "'%s' ends before it begins", text);
    if (r.from < 1 || r.to < r.from)
        return err_set(e, "'%s' holds nothing: counting begins with 1", text);
    *range = r;
    return 0;
}

/* Of a value that cannot be taken: what it was and what may stand there. */
static int bad_number(const struct opt *o, const char *text, struct err *e)
{
    const char *kind = o->type == OPT_REAL ? "a number" : o->type == OPT_SIZE ? "a size such as 512M or 4GiB" : "a whole number";
    const char *bytes = o->type == OPT_SIZE ? " bytes" : "";
    bool whole = o->type != OPT_REAL;
    e->set = false;
    if (o->min == 0 && o->max == 0)
        return err_set(e, "'%s' is not %s from 0 on", text, kind);
    return whole ? err_set(e, "'%s' is not %s from %.0f to %.0f%s", text, kind, o->min, o->max, bytes)
                 : err_set(e, "'%s' is not %s from %.15g to %.15g", text, kind, o->min, o->max);
}

static bool in_range(const struct opt *o, double x)
{
    return o->min == 0 && o->max == 0 ? x >= 0 : x >= o->min && x <= o->max;
}

static int store_choice(const struct opt *o, const char *text, struct err *e)
{
    enum { MOST = 32 };
    const char *found = NULL, *candidates[MOST + 1] = {NULL};
    char *words = mem_strdup(o->arg), *rest = NULL;
    int n = 0;
    for (char *w = strtok_r(words, "|", &rest); w && n < MOST; w = strtok_r(NULL, "|", &rest)) {
        candidates[n++] = w;
        if (!strcmp(w, text))
            found = text;
    }
    const char *near = suggest_nearest(text, candidates);
    if (found)
        *(const char **)o->value = text;
    else if (near)
        err_set(e, "'%s' is not one of %s; did you mean '%s'?", text, o->arg, near);
    else
        err_set(e, "'%s' is not one of %s", text, o->arg);
    free(words);
    return found ? 0 : -1;
}

int opt_store(const struct opt *o, const char *text, struct err *e)
{
    int64_t whole = 0;
    double real = 0;
    struct opt_list *list;
    switch (o->type) {
    case OPT_FLAG:
        *(bool *)o->value = true;
        break;
    case OPT_STRING:
        *(const char **)o->value = text;
        break;
    case OPT_COUNT:
    case OPT_SIZE:
        if (parse_scaled(text, o->type == OPT_SIZE, &whole, e) < 0 || !in_range(o, (double)whole))
            return bad_number(o, text, e);
        *(int64_t *)o->value = whole;
        break;
    case OPT_REAL:
        if (opt_parse_real(text, &real, e) < 0 || !in_range(o, real))
            return bad_number(o, text, e);
        *(double *)o->value = real;
        break;
    case OPT_CHOICE:
        if (store_choice(o, text, e) < 0)
            return -1;
        break;
    case OPT_RANGE:
        if (opt_parse_range(text, o->value, e) < 0)
            return -1;
        break;
    case OPT_LIST:
        list = o->value;
        list->items = mem_array(list->items, (size_t)list->n + 1, sizeof *list->items);
        list->items[list->n++] = text;
        break;
    case OPT_LAST:
    case OPT_GROUP:
        break;
    }
    if (o->given)
        *o->given = true;
    return 0;
}
