/* text/utf8: validity, replacement and completeness of UTF-8, against the facts of the Unicode standard. */
#include <stdlib.h>

#include "tests/unit/tap.h"
#include "text/utf8.h"

static void test_lossy(void)
{
    static const struct { const char *in; size_t len; const char *out, *what; } cases[] = {
        {"\xFF", 1, "\xEF\xBF\xBD", "FF"},
        {"\xE2\x98", 2, "\xEF\xBF\xBD", "E2 98"},
        {"\xE2\x98""a", 3, "\xEF\xBF\xBD""a", "E2 98 61"},
        {"\xF0\x9F\x98", 3, "\xEF\xBF\xBD", "F0 9F 98"},
        {"\xF0\x9F\xFF", 3, "\xEF\xBF\xBD\xEF\xBF\xBD", "F0 9F FF"},
        {"\xC0\x80", 2, "\xEF\xBF\xBD\xEF\xBF\xBD", "C0 80"},
        {"\xED\xA0\x80", 3, "\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD", "ED A0 80"},
        {"\xF4\x90\x80\x80", 4, "\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD", "F4 90 80 80"},
        {"abcdefgh\xC3\xA9\x80z", 12, "abcdefgh\xC3\xA9\xEF\xBF\xBDz", "a stray continuation byte"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct buf b = BUF_INIT;
        utf8_add_lossy(&b, cases[i].in, cases[i].len);
        is_str(buf_str(&b), cases[i].out, cases[i].what);
        buf_release(&b);
    }
}

static void test_code_points(void)
{
    bool good = true;
    char out[4];
    for (uint32_t c = 0; c < 0x110000; c++) {
        int n = utf8_put(out, c);
        bool surrogate = c >= 0xD800 && c < 0xE000;
        size_t i = 0;
        good &= (utf8_valid(out, (size_t)n) == (size_t)n) == !surrogate;
        if (!surrogate)
            good &= utf8_next(out, (size_t)n, &i) == c && i == (size_t)n && utf8_count(out, (size_t)n) == 1;
        for (int cut = 1; !surrogate && cut < n; cut++)
            good &= utf8_complete(out, (size_t)cut) == 0 && utf8_valid(out, (size_t)cut) == 0;
        good &= utf8_complete(out, (size_t)n) == (size_t)n || surrogate;
    }
    ok(good, "every code point goes out and comes back; every cut is seen");
}

int main(void)
{
    test_lossy();
    test_code_points();
    is_int((long long)utf8_valid("ab\xC3", 3), 2, "a cut character is not valid");
    is_int((long long)utf8_complete("ab\xC3", 3), 2, "and is held back");
    is_int((long long)utf8_complete("ab\xFF", 3), 3, "what can never become a character is not");
    is_int((long long)utf8_complete("ab\xF0\x9F\xFF", 5), 5, "nor a broken sequence");
    is_int((long long)utf8_complete("", 0), 0, "empty");
    return tap_end();
}
