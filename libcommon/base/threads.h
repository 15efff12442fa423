/* Threads are OpenMP's. Work is cut by index, never by thread count, so that results are the same for any -j. */
#ifndef BASE_THREADS_H
#define BASE_THREADS_H

int threads_available(void); /* CPUs this process may use (affinity, cgroup quota) */
void threads_set(int n);     /* -j */
int threads_count(void);     /* those of the next parallel region */

/* Gives way. Threads that wait for one another at every step take several times as long as one alone where other programs want the same
 * CPUs. Called often, between operations and by the thread that starts them, this counts how often the system put our threads off a
 * CPU; when it is often, it leaves one thread for some seconds, then tries again with those of threads_set(). */
void threads_adapt(void);

#endif
