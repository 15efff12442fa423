#include "base/cpu.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct { const char *name; unsigned bits; } names[] = {
    {"f16c", CPU_F16C},
    {"fma", CPU_FMA},
    {"avx2", CPU_AVX2},
    {"avx512f", CPU_AVX512F},
    {"avx512bw", CPU_AVX512BW},
    {"avx512dq", CPU_AVX512DQ},
    {"avx512vl", CPU_AVX512VL},
    {"avx512_vnni", CPU_AVX512_VNNI},
    {"avx512_bf16", CPU_AVX512_BF16},
    {"amx_tile", CPU_AMX_TILE},
    {"amx_bf16", CPU_AMX_BF16},
    {"amx_int8", CPU_AMX_INT8},
    {"neon", CPU_NEON},
};

enum { NAMES = sizeof names / sizeof *names };

#ifdef __x86_64__
#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Bit numbers: Intel SDM vol. 2A, CPUID leaves 1 and 7; register state: vol. 1, XCR0. */
enum { XCR0_AVX = 0x6, XCR0_AVX512 = 0xe6, XCR0_AMX = 0x60000 };

/* Linux gives a process the tile registers when it asks (Documentation/arch/x86/xstate.rst); asking again is nothing new. */
enum { ARCH_REQUEST_STATE = 0x1023, STATE_TILE_DATA = 18 };

static bool ask_for_tiles(void)
{
    return syscall(SYS_arch_prctl, ARCH_REQUEST_STATE, STATE_TILE_DATA) == 0;
}

static unsigned long long read_xcr0(void)
{
    unsigned low, high;
    __asm__("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return low | (unsigned long long)high << 32;
}

static unsigned when(unsigned word, int bit, unsigned feature)
{
    return word >> bit & 1 ? feature : 0;
}

unsigned cpu_detect(void)
{
    unsigned a, b, c, d, found = 0;
    if (!__get_cpuid(1, &a, &b, &c, &d) || !(c >> 27 & 1)) /* OSXSAVE: xgetbv is there */
        return 0;
    unsigned long long xcr0 = read_xcr0();
    if ((xcr0 & XCR0_AVX) != XCR0_AVX)
        return 0;
    found |= when(c, 29, CPU_F16C) | when(c, 12, CPU_FMA);
    if (!__get_cpuid_count(7, 0, &a, &b, &c, &d))
        return found;
    unsigned subleaves = a;
    found |= when(b, 5, CPU_AVX2);
    if ((xcr0 & XCR0_AVX512) == XCR0_AVX512)
        found |= when(b, 16, CPU_AVX512F) | when(b, 17, CPU_AVX512DQ) | when(b, 30, CPU_AVX512BW) |
                 when(b, 31, CPU_AVX512VL) | when(c, 11, CPU_AVX512_VNNI);
    if ((xcr0 & XCR0_AMX) == XCR0_AMX && d >> 24 & 1 && ask_for_tiles())
        found |= when(d, 24, CPU_AMX_TILE) | when(d, 22, CPU_AMX_BF16) | when(d, 25, CPU_AMX_INT8);
    if (found & CPU_AVX512F && subleaves >= 1 && __get_cpuid_count(7, 1, &a, &b, &c, &d))
        found |= when(a, 5, CPU_AVX512_BF16);
    return found;
}
#else
unsigned cpu_detect(void)
{
#ifdef __aarch64__
    return CPU_NEON;
#else
    return 0;
#endif
}
#endif

/* The features that one name of FINETOOLS_CPU stands for; -1: no such name. */
static int named(const char *name, size_t len, unsigned found, unsigned *bits)
{
    static const struct { const char *name; unsigned bits; } levels[] = {
        {"plain", 0}, {"avx2", CPU_LEVEL_AVX2}, {"avx512", CPU_LEVEL_AVX512}, {"amx", CPU_LEVEL_AMX}};
    for (size_t i = 0; i < sizeof levels / sizeof *levels; i++)
        if (strlen(levels[i].name) == len && !memcmp(levels[i].name, name, len))
            return *bits = levels[i].bits, 0;
    for (int i = 0; i < NAMES; i++)
        if (strlen(names[i].name) == len && !memcmp(names[i].name, name, len))
            return *bits = names[i].bits, 0;
    if (len == 6 && !memcmp(name, "native", 6))
        return *bits = found, 0;
    return -1;
}

int cpu_select(unsigned *use, struct err *e)
{
    const char *list = getenv("FINETOOLS_CPU");
    unsigned found = cpu_detect(), bits;
    *use = 0;
    if (!list || !*list) {
        *use = found;
        return 0;
    }
    for (const char *p = list;; p++) {
        size_t len = strcspn(p, ",");
        if (named(p, len, found, &bits) < 0)
            return err_set(e, "FINETOOLS_CPU: unknown name '%.*s', expected plain, avx2, avx512, amx, neon, native or feature names",
                           (int)len, p);
        if (bits & ~found) {
            char missing[200];
            cpu_format(missing, sizeof missing, bits & ~found);
            return err_set(e, "FINETOOLS_CPU: '%.*s' was asked for, but this CPU has no %s", (int)len, p, missing);
        }
        *use |= bits;
        p += len;
        if (!*p)
            return 0;
    }
}

void cpu_format(char *to, size_t n, unsigned features)
{
    size_t len = 0;
    to[0] = 0;
    for (int i = 0; i < NAMES; i++)
        if (features & names[i].bits && len < n)
            len += (size_t)snprintf(to + len, n - len, "%s%s", len ? "," : "", names[i].name);
    if (!len)
        snprintf(to, n, "plain");
}
