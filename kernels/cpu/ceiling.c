#include "kernels/cpu/ceiling.h"

#include <omp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define TRIES 5 /* the best counts: others use the machine too */
#define READ_TRIES 10
#define FIRST_ROUNDS 10000
#define LONG_ENOUGH 2e-3
#define READ_BYTES ((size_t)128 << 20)

typedef uint64_t lanes __attribute__((vector_size(32)));

/* What each thread reads side by side: one stream alone waits more than it reads. */
#define STREAMS 4
#define PART (READ_BYTES / sizeof(lanes) / STREAMS)

/* Each thread times its own burst, so waiting for one another is not measured. */
double ceiling_flops(void (*burst)(int64_t), double flops_per_round)
{
    double best = 0;
    for (int t = 0; t < TRIES; t++) {
        double rate = 0;
#pragma omp parallel reduction(+ : rate)
        {
            double start, took;
            int64_t rounds = FIRST_ROUNDS;
            do {
                start = omp_get_wtime();
                burst(rounds);
                took = omp_get_wtime() - start;
                rate = flops_per_round * (double)rounds / took;
            } while (took < LONG_ENOUGH && (rounds *= 2));
        }
        best = rate > best ? rate : best;
    }
    return best;
}

static double best_read(void)
{
    double best = 0;
    lanes *p = mmap(NULL, READ_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED)
        return 0;
    madvise(p, READ_BYTES, MADV_HUGEPAGE);
    memset(p, 1, READ_BYTES);
    for (int t = 0; t < READ_TRIES; t++) {
        uint64_t sum = 0;
        double start = omp_get_wtime(), took;
#pragma omp parallel for reduction(^ : sum)
        for (size_t i = 0; i < PART; i += 2) { /* whole cache lines */
            lanes s = {0};
            for (size_t j = 0; j < STREAMS; j++)
                s ^= p[i + j * PART] ^ p[i + j * PART + 1];
            sum ^= s[0] ^ s[1] ^ s[2] ^ s[3];
        }
        took = omp_get_wtime() - start;
        __asm__ volatile("" : : "r"(sum));
        if (READ_BYTES / took > best)
            best = READ_BYTES / took;
    }
    munmap(p, READ_BYTES);
    return best;
}

void ceiling_measure(struct kernels_ceiling *c, void (*burst)(int64_t rounds), double flops_per_round)
{
    c->flops = ceiling_flops(burst, flops_per_round);
    c->bf16_flops = 0;
    c->read_bytes = best_read();
}
