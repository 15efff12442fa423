/* Threads are OpenMP's. Work is cut by index, never by thread count, so that results are the same for any -j. */
#ifndef BASE_THREADS_H
#define BASE_THREADS_H

int threads_available(void); /* CPUs this process may use (affinity, cgroup quota) */
void threads_set(int n);     /* -j */
int threads_count(void);

#endif
