/* The table of the CPU backend, and its memory. */
#include "kernels/cpu/cpu.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "base/cpu.h"
#include "kernels/cpu/ceiling.h"
#include "kernels/cpu/open.h"

/* Large blocks come from the system zeroed page by page as they are touched; small ones from the heap. */
#define MAP_FROM ((size_t)1 << 20)

static void *cpu_alloc(size_t bytes, struct err *e)
{
    if (bytes >= MAP_FROM) {
        void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (p != MAP_FAILED) {
            madvise(p, bytes, MADV_HUGEPAGE);
            return p;
        }
    } else {
        size_t rounded = (bytes + 64) & ~(size_t)63;
        void *p = aligned_alloc(64, rounded);
        if (p)
            return memset(p, 0, rounded);
    }
    err_set(e, "cannot get %zu bytes of memory", bytes);
    return NULL;
}

static void cpu_free(void *p, size_t bytes)
{
    if (p && bytes >= MAP_FROM)
        munmap(p, bytes);
    else
        free(p);
}

static void cpu_copy(void *to, const void *from, size_t bytes)
{
    memcpy(to, from, bytes);
}

static void cpu_zero(void *p, size_t bytes)
{
    memset(p, 0, bytes);
}

static void plain_team(void (*body)(void *arg), void *arg)
{
    body(arg);
}

static size_t no_scratch(int heads, int kv_heads, int head_dim, int64_t rows)
{
    (void)heads, (void)kv_heads, (void)head_dim, (void)rows;
    return 0;
}

static void burst_ref(int64_t rounds)
{
    float sum[8] = {0, 1, 2, 3, 4, 5, 6, 7};
    for (int64_t r = 0; r < rounds; r++)
        for (int i = 0; i < 8; i++)
            sum[i] = sum[i] * 0.5f + 0.25f;
    __asm__ volatile("" : : "r"(sum) : "memory");
}

static void ceiling_ref(struct kernels_ceiling *c)
{
    ceiling_measure(c, burst_ref, 2 * 8);
}

void cpu_fill_ref(struct kernels *k)
{
    k->host_memory = true;
    k->alloc = cpu_alloc;
    k->free = cpu_free;
    k->copy_in = cpu_copy;
    k->copy_out = cpu_copy;
    k->zero = cpu_zero;
    k->multiplies_bf16 = false;
    k->team = plain_team;
    k->scratch_bytes = no_scratch;
    k->ceiling = ceiling_ref;
    ref_fill_matmul(k);
    ref_fill_attention(k);
    ref_fill_rows(k);
    ref_fill_loss(k);
    ref_fill_update(k);
    ref_fill_adamw_8bit(k);
    ref_fill_quantized(k);
    ref_fill_requantize(k);
}

void cpu_fill(struct kernels *k, unsigned features)
{
    cpu_fill_ref(k);
#ifdef __x86_64__
    if ((features & CPU_LEVEL_AVX2) == CPU_LEVEL_AVX2)
        cpu_fill_avx2(k);
    if ((features & CPU_LEVEL_AVX512) == CPU_LEVEL_AVX512)
        cpu_fill_avx512(k);
    if ((features & CPU_LEVEL_AMX) == CPU_LEVEL_AMX)
        cpu_fill_bf16_amx(k);
    else if ((features & CPU_LEVEL_AVX512_BF16) == CPU_LEVEL_AVX512_BF16)
        cpu_fill_bf16_avx512(k);
#elif defined __aarch64__
    if (features & CPU_NEON)
        cpu_fill_neon(k);
#else
    (void)features;
#endif
}

const struct kernels *cpu_open(struct err *e)
{
    static struct kernels cpu;
    static char names[200];
    unsigned features;
    if (cpu_select(&features, e) < 0)
        return NULL;
    cpu_fill(&cpu, features);
    cpu_format(names, sizeof names, features);
    cpu.name = "cpu";
    cpu.features = names;
    return &cpu;
}
