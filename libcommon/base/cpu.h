/* What the CPU can do, and what it may be asked to do.
 *
 *     unsigned use;
 *     if (cpu_select(&use, e) < 0) return -1;             (found, cut down by FINETOOLS_CPU)
 *     if ((use & CPU_LEVEL_AVX2) == CPU_LEVEL_AVX2) ...   (overwrite table entries upward)
 *
 * A feature counts as found when the processor has it and the system saves its registers (xgetbv),
 * and, for the tiles of AMX, gives them to this process, which detection asks for. FINETOOLS_CPU is
 * a comma list of levels (plain, avx2, avx512, amx, neon, native) and feature names (the ones cpu_format prints); the union of
 * what they name is used. Unset or empty means native: all that was found. The list pins an instruction set to compare
 * machines, so a name that is unknown, or that this CPU lacks, is an error, never silently less. */
#ifndef BASE_CPU_H
#define BASE_CPU_H

#include <stddef.h>

#include "base/err.h"

enum {
    CPU_F16C = 1 << 0,
    CPU_FMA = 1 << 1,
    CPU_AVX2 = 1 << 2,
    CPU_AVX512F = 1 << 3,
    CPU_AVX512BW = 1 << 4,
    CPU_AVX512DQ = 1 << 5,
    CPU_AVX512VL = 1 << 6,
    CPU_AVX512_VNNI = 1 << 7,
    CPU_AVX512_BF16 = 1 << 8,
    CPU_AMX_TILE = 1 << 9,
    CPU_AMX_BF16 = 1 << 10,
    CPU_AMX_INT8 = 1 << 11,
    CPU_NEON = 1 << 12, /* with fused multiply-adds: all of 64-bit Arm */

    CPU_LEVEL_AVX2 = CPU_F16C | CPU_FMA | CPU_AVX2,
    CPU_LEVEL_AVX512 = CPU_LEVEL_AVX2 | CPU_AVX512F | CPU_AVX512BW | CPU_AVX512DQ | CPU_AVX512VL,
    CPU_LEVEL_AVX512_BF16 = CPU_LEVEL_AVX512 | CPU_AVX512_BF16,
    CPU_LEVEL_AMX = CPU_LEVEL_AVX512_BF16 | CPU_AMX_TILE | CPU_AMX_BF16,
};

unsigned cpu_detect(void);                                   /* all that was found; 0 on other architectures than x86-64 and 64-bit Arm */
int cpu_select(unsigned *use, struct err *e) MUST_CHECK;     /* cpu_detect() under FINETOOLS_CPU */
void cpu_format(char *to, size_t n, unsigned features);      /* "f16c,fma,avx2"; "plain" for none */

#endif
