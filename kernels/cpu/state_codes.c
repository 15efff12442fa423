#include "kernels/cpu/state_codes.h"

#include <pthread.h>

static struct state_tables tables;

static void make_codes(struct state_codes *c, bool is_signed)
{
    dynamic_map(c->map, is_signed);
    for (int32_t bin = 0; bin < DYNAMIC_MAP_BINS; bin++)
        c->bins[bin] = dynamic_map_bin_index(c->map, bin);
}

static void make(void)
{
    make_codes(&tables.m, true);
    make_codes(&tables.v, false);
}

const struct state_tables *state_tables(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, make);
    return &tables;
}
