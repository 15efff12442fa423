/* CPU features under FINETOOLS_CPU. */
#include <stdlib.h>

#include "base/cpu.h"
#include "tap.h"

static int select_with(const char *value, unsigned *use, struct err *e)
{
    *e = (struct err)ERR_INIT;
    if (value)
        setenv("FINETOOLS_CPU", value, 1);
    else
        unsetenv("FINETOOLS_CPU");
    return cpu_select(use, e);
}

int main(void)
{
    unsigned found = cpu_detect(), use;
    char text[200];
    struct err e;

    cpu_format(text, sizeof text, CPU_LEVEL_AVX2);
    is_str(text, "f16c,fma,avx2", "features are listed in a fixed order");
    cpu_format(text, sizeof text, 0);
    is_str(text, "plain", "no feature is plain");
    cpu_format(text, 8, CPU_LEVEL_AVX512);
    is_int((long long)strlen(text), 7, "a short buffer is filled and ended");

    is_int(select_with(NULL, &use, &e), 0, "unset is fine");
    is_int(use, found, "unset means all that was found");
    is_int(select_with("", &use, &e), 0, "empty is fine");
    is_int(use, found, "empty means all that was found");
    is_int(select_with("native", &use, &e), 0, "native is fine");
    is_int(use, found, "native means all that was found");
    is_int(select_with("plain", &use, &e), 0, "plain is always there");
    is_int(use, 0, "plain uses nothing");
    is_int(select_with("plain,native", &use, &e), 0, "a list is fine");
    is_int(use, found, "a list is a union");

    is_int(select_with("sse9", &use, &e), -1, "an unknown name is an error");
    is_str(e.text, "FINETOOLS_CPU: unknown name 'sse9', expected plain, avx2, avx512, amx, neon, native or feature names",
           "and is named");
    is_int(select_with("plain,", &use, &e), -1, "an empty name in a list is an error");
    is_int(select_with("avx", &use, &e), -1, "a beginning of a name is an error");

    bool has = (found & CPU_LEVEL_AVX512) == CPU_LEVEL_AVX512;
    is_int(select_with("avx512", &use, &e), has ? 0 : -1, "avx512 works exactly where it was found");
    ok(has ? use == CPU_LEVEL_AVX512 : strstr(e.text, "this CPU has no") != NULL, "avx512 is taken whole, or refused by name");
    has = (found & CPU_LEVEL_AVX2) == CPU_LEVEL_AVX2;
    is_int(select_with("avx2", &use, &e), has ? 0 : -1, "avx2 works exactly where it was found");
    if (has)
        is_int(use, CPU_LEVEL_AVX2, "avx2 is the level, with fma and f16c");
    else
        skip("this CPU has no avx2");
#ifdef __x86_64__
    if (__builtin_cpu_supports("avx2"))
        ok(found & CPU_AVX2, "the compiler's own detection agrees on avx2");
    else
        ok(!(found & CPU_AVX2), "the compiler's own detection agrees on avx2");
#endif
    return tap_end();
}
