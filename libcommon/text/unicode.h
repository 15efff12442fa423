/* Character classes, the ones the `tokenizers` library uses (unicode_tables.inc says which Unicode version each has).
 *
 *     const uint8_t *classes = unicode_classes();
 *     if (UNICODE_IN(classes[c], UNICODE_L)) ...
 * One byte a code point: the general category in the low five bits, flags above. The table is made on first use (by any
 * thread), lives for the process and is never changed. Every index below 0x110000 is valid. */
#ifndef TEXT_UNICODE_H
#define TEXT_UNICODE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    UNICODE_CN, UNICODE_LU, UNICODE_LL, UNICODE_LT, UNICODE_LM, UNICODE_LO, UNICODE_MN, UNICODE_MC, UNICODE_ME, UNICODE_ND,
    UNICODE_NL, UNICODE_NO, UNICODE_PC, UNICODE_PD, UNICODE_PS, UNICODE_PE, UNICODE_PI, UNICODE_PF, UNICODE_PO, UNICODE_SM,
    UNICODE_SC, UNICODE_SK, UNICODE_SO, UNICODE_ZS, UNICODE_ZL, UNICODE_ZP, UNICODE_CC, UNICODE_CF, UNICODE_CO, UNICODE_CS,
    UNICODE_CATEGORIES
};

#define UNICODE_CATEGORY 31 /* mask of the general category */
#define UNICODE_WORD 32     /* Rust's \w */
#define UNICODE_MARK 64     /* NFC may change it or what stands before it */
#define UNICODE_NUMERIC 128 /* Rust's char::is_numeric */

/* Sets of categories, as bit masks for UNICODE_IN */
#define UNICODE_L 0x0000003Eu
#define UNICODE_M 0x000001C0u
#define UNICODE_N 0x00000E00u
#define UNICODE_P 0x0007F000u
#define UNICODE_S 0x00780000u
#define UNICODE_Z 0x03800000u
#define UNICODE_C 0x3C000001u
#define UNICODE_IN(class, set) ((set) >> ((class) & UNICODE_CATEGORY) & 1)

struct unicode_range { uint32_t first, last; };

struct unicode_set {
    const char *name;
    const struct unicode_range *ranges; /* ascending, apart */
    size_t n;
};

const uint8_t *unicode_classes(void);
const struct unicode_set *unicode_script(const char *name, size_t len); /* NULL when not known */
extern const struct unicode_set unicode_punctuation;                    /* what Punctuation splits at */
extern const struct unicode_set unicode_active;                         /* may take part in NFC, NFD, NFKC or NFKD */
extern const struct unicode_set unicode_word_regex[2];                  /* Oniguruma's \w: UNICODE_WORD without [0], and outside [] with [1] */

extern const struct unicode_set unicode_accents;                        /* what StripAccents removes */

uint32_t unicode_lower(uint32_t c); /* Rust's char::to_lowercase, but for U+0130, whose two characters are the caller's affair */
bool unicode_set_has(const struct unicode_set *s, uint32_t c);

/* White_Space, which is also Rust's and Oniguruma's \s: 25 code points */
static inline bool unicode_is_space(uint32_t c)
{
    if (c < 0x1680)
        return (c >= 9 && c <= 13) || c == 32 || c == 0x85 || c == 0xA0;
    return c == 0x1680 || (c >= 0x2000 && c <= 0x200A) || c == 0x2028 || c == 0x2029 || c == 0x202F || c == 0x205F || c == 0x3000;
}

#endif
