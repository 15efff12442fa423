#include "base/threads.h"

#include <omp.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <time.h>

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

static struct {
    int most;         /* as set; 0: nothing is adapted */
    double looked_at; /* seconds of the clock */
    long put_off;     /* until then */
    double hold;      /* seconds for which fewer threads are kept */
} adapted;

void threads_set(int n)
{
    omp_set_dynamic(0);
    omp_set_num_threads(n);
    adapted.most = n;
}

/* On a machine of its own a thread is put off its CPU some 20 to 130 times a second, beside a busy program 250 to 700 times. */
#define LOOK_SECONDS 0.25
#define PUT_OFF 200.0 /* times a second and thread */
#define HOLD_MIN 1.0
#define HOLD_MAX 8.0

void threads_adapt(void)
{
    struct timespec t;
    struct rusage r;
    int now_used = omp_get_max_threads();
    clock_gettime(CLOCK_MONOTONIC, &t);
    double now = (double)t.tv_sec + 1e-9 * (double)t.tv_nsec, since = now - adapted.looked_at;
    if (adapted.most < 2 || since < (now_used < adapted.most ? adapted.hold : LOOK_SECONDS) || getrusage(RUSAGE_SELF, &r) != 0)
        return;
    bool first = adapted.looked_at == 0, crowded = (double)(r.ru_nivcsw - adapted.put_off) > PUT_OFF * now_used * since;
    adapted.looked_at = now;
    adapted.put_off = r.ru_nivcsw;
    if (now_used < adapted.most)
        omp_set_num_threads(adapted.most);
    else if (!first && crowded) {
        omp_set_num_threads(1);
        adapted.hold = adapted.hold < HOLD_MIN ? HOLD_MIN : adapted.hold * 2 < HOLD_MAX ? adapted.hold * 2 : HOLD_MAX;
    } else {
        adapted.hold = 0;
    }
}

int threads_count(void)
{
    return omp_get_max_threads();
}
