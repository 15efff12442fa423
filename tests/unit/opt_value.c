/* Numbers in options, suggestions, and the option tables' values. */
#include <stdlib.h>

#include "cli/opt_value.h"
#include "cli/suggest.h"
#include "tap.h"

static struct err e;

static void count(const char *text, long long want)
{
    int64_t x = -77;
    e = (struct err)ERR_INIT;
    ok(opt_parse_count(text, &x, &e) == 0 && x == want, "count %s is %lld", text, want);
}

static void bad_count(const char *text, const char *message)
{
    int64_t x;
    e = (struct err)ERR_INIT;
    ok(opt_parse_count(text, &x, &e) == -1 && !strcmp(e.text, message), "count '%s': %s", text, e.text);
}

static void size(const char *text, long long want)
{
    int64_t x = -77;
    e = (struct err)ERR_INIT;
    int r = opt_parse_size(text, &x, &e);
    ok(want < 0 ? r == -1 : r == 0 && x == want, "size '%s' is %lld (below zero: refused)", text, want);
}

static void real(const char *text, double want)
{
    double x = -77;
    e = (struct err)ERR_INIT;
    int r = opt_parse_real(text, &x, &e);
    ok(isnan(want) ? r == -1 : r == 0 && x == want, "real '%s' is %g (NaN: refused)", text, want);
}

static void range(const char *text, long long from, long long to)
{
    struct opt_range r = {-7, -7};
    e = (struct err)ERR_INIT;
    ok(opt_parse_range(text, &r, &e) == 0 && r.from == from && r.to == to, "range %s is %lld to %lld", text, from, to);
}

static void bad_range(const char *text, const char *message)
{
    struct opt_range r = {-7, -7};
    e = (struct err)ERR_INIT;
    ok(opt_parse_range(text, &r, &e) == -1 && !strcmp(e.text, message) && r.from == -7, "range '%s': %s", text, e.text);
}

static void test_ranges(void)
{
    range("3-9", 3, 9);
    range("3-3", 3, 3);
    range("3", 3, 3);
    range("3-", 3, INT64_MAX);
    range("-9", 1, 9);
    range("9223372036854775807", INT64_MAX, INT64_MAX);
    bad_range("9-3", "'9-3' ends before it begins");
    bad_range("0-3", "'0-3' holds nothing: counting begins with 1");
    bad_range("-0", "'-0' holds nothing: counting begins with 1");
    bad_range("1-9223372036854775808", "'1-9223372036854775808' is too large");
    for (const char *const *text = (const char *const[]){"", "-", "--", "3-9-", "3..9", "a-9", "3-b", " 3", "1k", "-3-9", NULL}; *text; text++) {
        struct opt_range r;
        e = (struct err)ERR_INIT;
        ok(opt_parse_range(*text, &r, &e) == -1 && strstr(e.text, "is not a range such as"), "range '%s' is refused", *text);
    }
}

static void test_numbers(void)
{
    count("0", 0);
    count("007", 7);
    count("-3", -3);
    count("12k", 12000);
    count("1.5k", 1500);
    count("2M", 2000000);
    count("0.5G", 500000000);
    count("9223372036854775807", INT64_MAX);
    bad_count("", "'' is not a whole number");
    bad_count("k", "'k' is not a whole number");
    bad_count("-", "'-' is not a whole number");
    bad_count(".", "'.' is not a whole number");
    bad_count("1.5", "'1.5' is not a whole number");
    bad_count("1.0005k", "'1.0005k' is not a whole number");
    bad_count("1..5k", "'1..5k' is not a whole number");
    bad_count(" 1", "' 1' is not a whole number");
    bad_count("1 ", "'1 ' is not a whole number");
    bad_count("1K", "'1K' is not a whole number");
    bad_count("1kk", "'1kk' is not a whole number");
    bad_count("1T", "'1T' is not a whole number");
    bad_count("+1", "'+1' is not a whole number");
    bad_count("0x10", "'0x10' is not a whole number");
    bad_count("1e6", "'1e6' is not a whole number");
    bad_count("9223372036854775808", "'9223372036854775808' is too large");
    bad_count("9223372036854775807k", "'9223372036854775807k' is too large");
    bad_count("0.00000000000000000001k", "'0.00000000000000000001k' is too large");

    size("512", 512);
    size("1k", 1000);
    size("1K", 1000);
    size("1KB", 1000);
    size("1Ki", 1024);
    size("1.5GiB", 3ll << 29);
    size("4G", 4000000000);
    size("2T", 2000000000000);
    size("7B", 7);
    size("1KiBB", -1);
    size("1i", -1);
    size("G", -1);
    size("0.5", -1);
    size("10000000T", -1);

    real("2e-4", 2e-4);
    real("-1.5", -1.5);
    real(".5", 0.5);
    real("1E3", 1000);
    real("", NAN);
    real("e", NAN);
    real("1e", NAN);
    real("nan", NAN);
    real("inf", NAN);
    real("1e999", NAN);
    real("0x1p3", NAN);
    real("1,5", NAN);
    real(" 1", NAN);
}

static void test_store(void)
{
    int64_t n = 0;
    bool flag = false, given = false;
    const char *s = NULL, *c = "a";
    double x = 0;
    struct opt_list list = {0, NULL};
    struct opt ranged = {OPT_COUNT, 0, "n", &n, "N", "", .min = 1, .max = 10, .given = &given};
    struct opt plain = {OPT_COUNT, 0, "n", &n, "N", ""};
    struct opt large = {OPT_COUNT, 0, "n", &n, "N", "", .min = 1, .max = 1e15};
    struct opt bytes = {OPT_SIZE, 0, "n", &n, "SIZE", "", .min = 1, .max = 1e6};
    struct opt real_one = {OPT_REAL, 0, "x", &x, "X", "", .min = -1, .max = 1};
    struct opt string = {OPT_STRING, 0, "s", &s, "S", ""};
    struct opt switched = {OPT_FLAG, 0, "f", &flag, NULL, ""};
    struct opt choice = {OPT_CHOICE, 0, "c", &c, "cosine|linear|constant", "", .given = &given};
    struct opt many = {OPT_LIST, 0, "l", &list, "L", ""};

    e = (struct err)ERR_INIT;
    is_int(opt_store(&ranged, "11", &e), -1, "above the range");
    is_str(e.text, "'11' is not a whole number from 1 to 10", "and the range is named");
    ok(!given && n == 0, "a refused value changes nothing");
    e = (struct err)ERR_INIT;
    ok(opt_store(&ranged, "10", &e) == 0 && n == 10 && given, "the bound itself is fine, and given is set");
    is_int(opt_store(&plain, "-1", &e), -1, "without a range, negative is refused");
    is_str(e.text, "'-1' is not a whole number from 0 on", "and that is the reason");
    e = (struct err)ERR_INIT;
    ok(opt_store(&real_one, "-0.5", &e) == 0 && x == -0.5, "a real in its range");
    is_int(opt_store(&real_one, "1.01", &e), -1, "a real outside");
    is_str(e.text, "'1.01' is not a number from -1 to 1", "and the range is named");
    e = (struct err)ERR_INIT;
    is_int(opt_store(&ranged, "two", &e), -1, "a word for a number");
    is_str(e.text, "'two' is not a whole number from 1 to 10", "the range is named, too");
    e = (struct err)ERR_INIT;
    is_int(opt_store(&large, "0", &e), -1, "a large range");
    is_str(e.text, "'0' is not a whole number from 1 to 1000000000000000", "is written out");
    e = (struct err)ERR_INIT;
    is_int(opt_store(&bytes, "99999999999T", &e), -1, "a size beyond what there is");
    is_str(e.text, "'99999999999T' is not a size such as 512M or 4GiB from 1 to 1000000 bytes", "gets its range in bytes");
    e = (struct err)ERR_INIT;
    ok(opt_store(&string, "text", &e) == 0 && !strcmp(s, "text"), "a string");
    ok(opt_store(&switched, NULL, &e) == 0 && flag, "a flag");
    given = false;
    ok(opt_store(&choice, "linear", &e) == 0 && !strcmp(c, "linear") && given, "a choice");
    is_int(opt_store(&choice, "lin", &e), -1, "the beginning of a choice is not one");
    is_str(e.text, "'lin' is not one of cosine|linear|constant; did you mean 'linear'?", "but is understood");
    e = (struct err)ERR_INIT;
    is_int(opt_store(&choice, "step", &e), -1, "another word");
    is_str(e.text, "'step' is not one of cosine|linear|constant", "nothing is suggested");
    ok(opt_store(&many, "a", &e) == 0 && opt_store(&many, "b", &e) == 0 && list.n == 2 && !strcmp(list.items[1], "b"),
       "a list grows");
    free(list.items);
}

static void test_suggest(void)
{
    static const char *const names[] = {"rank", "learning-rate", "epochs", "eval", "eval-every", NULL};
    is_int(suggest_distance("kitten", "sitting"), 3, "distance of kitten and sitting");
    is_int(suggest_distance("rnak", "rank"), 1, "a swap counts once");
    is_int(suggest_distance("", "abc"), 3, "distance from nothing");
    is_int(suggest_distance("same", "same"), 0, "distance of equals");
    is_str(suggest_nearest("rnak", names), "rank", "rnak is rank");
    is_str(suggest_nearest("epoch", names), "epochs", "epoch is epochs");
    is_str(suggest_nearest("learn", names), "learning-rate", "a beginning is near");
    is_str(suggest_nearest("leaning-rte", names), "learning-rate", "two letters lost in a long word");
    ok(!suggest_nearest("zebra", names), "zebra is nothing");
    ok(!suggest_nearest("x", names), "one letter says too little");
}

int main(void)
{
    test_numbers();
    test_ranges();
    test_store();
    test_suggest();
    return tap_end();
}
