/* Sets of code points, as sorted ranges, for translating character classes.
 *
 *     struct char_set s = {0};  char_set_add(&s, 'a', 'z');  char_set_invert(&s);  ...  char_set_release(&s);
 * Sets stay normal: ranges ascend and never touch. Surrogates are never members. */
#ifndef TEXT_CHAR_SET_H
#define TEXT_CHAR_SET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "text/unicode.h"

struct char_set {
    struct unicode_range *ranges;
    size_t n, cap;
};

void char_set_add(struct char_set *s, uint32_t first, uint32_t last);
void char_set_add_set(struct char_set *s, const struct char_set *other);
void char_set_add_ranges(struct char_set *s, const struct unicode_set *other);
void char_set_add_categories(struct char_set *s, uint32_t categories); /* UNICODE_L and kin */
void char_set_add_words(struct char_set *s, bool in_class);            /* Oniguruma's \w, which differs inside [] */
void char_set_add_spaces(struct char_set *s);                          /* its \s */
void char_set_invert(struct char_set *s);
void char_set_intersect(struct char_set *s, const struct char_set *other);
bool char_set_has(const struct char_set *s, uint32_t c);
void char_set_clear(struct char_set *s);
void char_set_release(struct char_set *s);

#endif
