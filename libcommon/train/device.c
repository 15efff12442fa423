#include "train/device.h"

#include <time.h>

#include "base/buf.h"
#include "cli/msg.h"
#include "cli/opt.h"
#include "kernels/profile.h"

static struct timespec opened;

const struct kernels *device_open(struct err *e)
{
    const struct kernels *k = kernels_open(cli.device, e);
    if (!opened.tv_sec)
        clock_gettime(CLOCK_MONOTONIC, &opened);
    return k && cli.verbose ? kernels_profile(k) : k;
}

void device_report(void)
{
    struct timespec t;
    struct buf b = BUF_INIT;
    clock_gettime(CLOCK_MONOTONIC, &t);
    profile_write(&b, (double)(t.tv_sec - opened.tv_sec) + 1e-9 * (double)(t.tv_nsec - opened.tv_nsec));
    if (b.len) {
        buf_set_len(&b, b.len - 1); /* msg_verbose ends the line */
        msg_verbose("where the time went\n%s", buf_str(&b));
    }
    buf_release(&b);
}
