/* Where other threads want the CPUs, one thread is left for a while; then all of them again. */
#include "base/threads.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <unistd.h>

#include "tests/unit/tap.h"

static atomic_bool over;

static void *spin(void *arg)
{
    while (!over) {}
    return arg;
}

/* Each time it wakes, it puts somebody off a CPU. */
static void *nap(void *arg)
{
    while (!over)
        usleep(100);
    return arg;
}

/* The count after so many hundredths of a second, or as soon as it is `wanted`. */
static int count_after(int hundredths, int wanted)
{
    while (hundredths-- > 0 && threads_count() != wanted) {
        usleep(10000);
        threads_adapt();
    }
    return threads_count();
}

int main(void)
{
    enum { MOST = 64 };
    int cpus = threads_available() < MOST ? threads_available() : MOST;
    pthread_t threads[4 * MOST];
    threads_set(2);
    is_int(count_after(30, 1), 2, "alone, all threads are used");
    for (int i = 0; i < 4 * cpus; i++)
        if (pthread_create(&threads[i], NULL, i % 2 ? nap : spin, NULL) != 0)
            abort();
    is_int(count_after(500, 1), 1, "in a crowd, one");
    over = true;
    for (int i = 0; i < 4 * cpus; i++)
        pthread_join(threads[i], NULL);
    is_int(count_after(1500, 2), 2, "alone again, all");
    threads_set(1);
    is_int(count_after(30, 2), 1, "one stays one");
    return tap_end();
}
