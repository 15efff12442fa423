#include "kernels/cpu/team.h"

#include <omp.h>
#include <sched.h>
#include <stdatomic.h>
#include <string.h>

#include "kernels/cpu/scratch.h"

/* Rounds before a thread that waits offers its CPU to others: a tenth of a millisecond, as in base/threads.c. */
#define SPIN_ROUNDS 5000

/* What the others see of a thread. */
struct seat {
    _Alignas(64) _Atomic int64_t done;   /* operations */
    _Alignas(64) _Atomic int64_t taken[2]; /* of its own tasks, in operations of even and of odd number among those with tasks */
    float *scratch;                      /* of the first one */
};

/* The calling thread. Operations are counted alike by all. */
static _Thread_local struct {
    struct seat *team; /* NULL: none */
    int id, size;
    int64_t operation; /* under way */
    int turn;          /* which of `taken` */
} me = {.size = 1};

bool team_in(void)
{
    return me.team != NULL;
}

void team_run(void (*body)(void *arg), void *arg)
{
    int most = omp_get_max_threads();
    if (most == 1 || omp_in_parallel()) {
        body(arg);
        return;
    }
    struct seat *seats = (struct seat *)(void *)scratch_get(SCRATCH_TEAM, (size_t)most * sizeof *seats / sizeof(float));
    memset(seats, 0, (size_t)most * sizeof *seats);
#pragma omp parallel
    {
        me.team = seats;
        me.id = omp_get_thread_num();
        me.size = omp_get_num_threads();
        me.operation = 1; /* after which `done` is not 0 */
        me.turn = 0;
        body(arg);
        me.team = NULL;
        me.id = 0;
        me.size = 1;
    }
}

/* The operation before is done. */
static void step(void)
{
    atomic_store_explicit(&me.team[me.id].done, me.operation++, memory_order_release);
}

bool team_ready(void)
{
    for (int i = 0; i < me.size && me.team; i++)
        if (i != me.id && atomic_load_explicit(&me.team[i].done, memory_order_acquire) < me.operation - 1)
            return false;
    return true;
}

void team_wait(void)
{
    for (int round = 0; !team_ready(); round++) {
        if (round > SPIN_ROUNDS)
            sched_yield();
#ifdef __x86_64__
        __builtin_ia32_pause();
#endif
    }
}

bool team_alone(void)
{
    if (!me.team)
        return true;
    step();
    if (me.id)
        return false;
    team_wait();
    return true;
}

void team_enter(struct team_work *w, int64_t n)
{
    *w = (struct team_work){.n = n, .of = me.id, .left = me.size};
    if (!me.team)
        return;
    /* Nobody else is in the operation with this number before step(), nor any more in the one that had it last. */
    me.turn ^= 1;
    atomic_store_explicit(&me.team[me.id].taken[me.turn], 0, memory_order_relaxed);
    step();
}

int64_t team_first(const struct team_work *w)
{
    return me.id * w->n / me.size;
}

int64_t team_next(struct team_work *w)
{
    if (!me.team)
        return w->next < w->n ? w->next++ : -1;
    for (; w->left > 0; w->left--, w->of = (w->of + 1) % me.size) {
        _Atomic int64_t *taken = &me.team[w->of].taken[me.turn];
        int64_t first = w->of * w->n / me.size, count = (w->of + 1) * w->n / me.size - first, at;
        if (atomic_load_explicit(taken, memory_order_relaxed) < count &&
            (at = atomic_fetch_add_explicit(taken, 1, memory_order_relaxed)) < count)
            return first + at;
    }
    return -1;
}

float *team_scratch(size_t floats)
{
    if (!me.team)
        return scratch_get(SCRATCH_SHARED, floats);
    if (team_alone())
        me.team[0].scratch = scratch_get(SCRATCH_SHARED, floats);
    step();
    team_wait();
    return me.team[0].scratch;
}
