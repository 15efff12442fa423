#include "base/threads.h"

#include <omp.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>

/* A thread that is early at a barrier spins before it sleeps: in libgomp for 300,000 rounds, which are many milliseconds. Where
 * other programs want the same CPUs, the thread waited for is often the one that the spinning keeps off its CPU, and everything
 * takes twenty times as long. A tenth of a millisecond covers the waits within a token's decoding, and costs little. libgomp
 * reads its variables in a constructor without priority; where it is linked as an archive, this one runs before. */
#define SPIN_ROUNDS "5000"

__attribute__((constructor(101))) static void spin_shortly(void)
{
    if (!getenv("OMP_WAIT_POLICY"))
        setenv("GOMP_SPINCOUNT", SPIN_ROUNDS, 0);
}

/* A cgroup (v2) may grant fewer CPUs than the affinity mask shows. */
static int cgroup_limit(void)
{
    FILE *f = fopen("/sys/fs/cgroup/cpu.max", "re");
    long long quota, period;
    int n = 0;
    if (f && fscanf(f, "%lld %lld", &quota, &period) == 2 && period > 0)
        n = (int)((quota + period - 1) / period);
    if (f)
        fclose(f);
    return n;
}

int threads_available(void)
{
    cpu_set_t set;
    int n = sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 1, limit = cgroup_limit();
    return limit > 0 && limit < n ? limit : n;
}

void threads_set(int n)
{
    omp_set_dynamic(0);
    omp_set_num_threads(n);
}

int threads_count(void)
{
    return omp_get_max_threads();
}
