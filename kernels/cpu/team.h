/* A team: the threads of one OpenMP region, which call one operation after another, all of them the same with the same arguments. From
 * one operation to the next a thread only waits for what the others have not done yet: this costs a fraction of what a region does, and
 * the wait can be put to use.
 *
 *     team_run(body, arg)          each thread of a new team runs body(arg)
 *     team_in()                    whether the caller is in one
 *
 * Within it an operation is of one of two kinds:
 *     if (!team_alone()) return;   one thread runs it, the others go on to what comes next
 *
 *     struct team_work w;          all run it: n tasks, 0 .. n - 1
 *     team_enter(&w, n);
 *     team_wait();                 until all have done what comes before; or something else while !team_ready()
 *     while ((i = team_next(&w)) >= 0) ...
 *
 *     TEAM_SHARE(i, n, many, statements)   as the latter; a caller without a team takes an OpenMP loop, on several threads where `many`
 *
 * Each thread has tasks side by side, in order, the same ones for the same n: first team_first(&w). When they are done it takes over what
 * others have left. A caller without a team has all tasks, and never waits. Nobody waits at the end of an operation. */
#ifndef KERNELS_CPU_TEAM_H
#define KERNELS_CPU_TEAM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct team_work {
    int64_t n, next; /* next: without a team */
    int of, left;    /* whose tasks are taken; of how many threads some may be left */
};

void team_run(void (*body)(void *arg), void *arg);
bool team_in(void);
bool team_alone(void);

void team_enter(struct team_work *w, int64_t n);
int64_t team_first(const struct team_work *w);
bool team_ready(void);
void team_wait(void);
int64_t team_next(struct team_work *w); /* -1: none is left */

#define TEAM_SHARE(i, n, many, ...)                                                            \
    do {                                                                                       \
        if (team_in()) {                                                                       \
            struct team_work work_;                                                            \
            team_enter(&work_, n);                                                             \
            team_wait();                                                                       \
            for (int64_t i; (i = team_next(&work_)) >= 0;) {                                   \
                __VA_ARGS__                                                                    \
            }                                                                                  \
        } else {                                                                               \
            bool many_ = many;                                                                 \
            _Pragma("omp parallel for if (many_)") for (int64_t i = 0; i < (n); i++)           \
            {                                                                                  \
                __VA_ARGS__                                                                    \
            }                                                                                  \
        }                                                                                      \
    } while (0)

/* An operation of its own: memory that all see, SCRATCH_SHARED of one thread. */
float *team_scratch(size_t floats);

#endif
