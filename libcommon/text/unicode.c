#include "text/unicode.h"

#include <pthread.h>
#include <string.h>

struct unicode_lower { uint32_t first, last, step; int32_t delta; };

#include "text/unicode_tables.inc"

#define SET(name) {#name, name, sizeof name / sizeof *name}

const struct unicode_set unicode_punctuation = SET(punctuation);
const struct unicode_set unicode_active = SET(normalization_active);
const struct unicode_set unicode_accents = SET(accents);
const struct unicode_set unicode_word_regex[2] = {SET(word_only_rust), SET(word_only_oniguruma)};

static uint8_t classes[0x110000];
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void expand(void)
{
    size_t c = 0;
    for (size_t i = 0; i < sizeof class_runs / sizeof *class_runs; c += class_runs[i++][0])
        if (class_runs[i][1])
            memset(classes + c, (int)class_runs[i][1], class_runs[i][0]);
}

const uint8_t *unicode_classes(void)
{
    pthread_once(&once, expand);
    return classes;
}

const struct unicode_set *unicode_script(const char *name, size_t len)
{
    for (size_t i = 0; i < sizeof scripts / sizeof *scripts; i++)
        if (strlen(scripts[i].name) == len && !memcmp(scripts[i].name, name, len))
            return &scripts[i];
    return NULL;
}

bool unicode_set_has(const struct unicode_set *s, uint32_t c)
{
    size_t low = 0, high = s->n;
    while (low < high) {
        size_t mid = (low + high) / 2;
        if (c > s->ranges[mid].last)
            low = mid + 1;
        else
            high = mid;
    }
    return low < s->n && c >= s->ranges[low].first;
}

uint32_t unicode_lower(uint32_t c)
{
    size_t at = 0, high = sizeof lower / sizeof *lower;
    if (c < 0x80)
        return c >= 'A' && c <= 'Z' ? c + 32 : c;
    while (at < high) {
        size_t mid = (at + high) / 2;
        if (c > lower[mid].last)
            at = mid + 1;
        else
            high = mid;
    }
    const struct unicode_lower *l = &lower[at];
    bool in = at < sizeof lower / sizeof *lower && c >= l->first && (c - l->first) % l->step == 0;
    return in ? (uint32_t)((int32_t)c + l->delta) : c;
}
