/* Unit tests print TAP.  int main(void) { is_int(f(), 3, "f gives 3"); return tap_end(); } */
#ifndef TAP_H
#define TAP_H

#include <math.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

static int tap_count, tap_failures;

__attribute__((format(printf, 2, 3), unused)) static bool ok(bool good, const char *format, ...)
{
    va_list ap;
    printf("%sok %d - ", good ? "" : "not ", ++tap_count);
    va_start(ap, format);
    vprintf(format, ap);
    va_end(ap);
    putchar('\n');
    tap_failures += !good;
    return good;
}

__attribute__((unused)) static void is_int(long long got, long long want, const char *what)
{
    if (!ok(got == want, "%s", what))
        printf("# got %lld, expected %lld\n", got, want);
}

__attribute__((unused)) static void is_str(const char *got, const char *want, const char *what)
{
    if (!ok(got && want && !strcmp(got, want), "%s", what))
        printf("# got '%s'\n# expected '%s'\n", got ? got : "(null)", want ? want : "(null)");
}

/* |got - want| <= tolerance * max(1, |want|) */
__attribute__((unused)) static void is_near(double got, double want, double tolerance, const char *what)
{
    double scale = fabs(want) > 1 ? fabs(want) : 1;
    if (!ok(fabs(got - want) <= tolerance * scale, "%s", what))
        printf("# got %.9g, expected %.9g (off by %.3g)\n", got, want, got - want);
}

__attribute__((unused)) static void skip(const char *why)
{
    printf("ok %d # skip %s\n", ++tap_count, why);
}

__attribute__((unused)) static int tap_end(void)
{
    printf("1..%d\n", tap_count);
    return tap_failures != 0;
}

#endif
