/* The device that --device names, and with --verbose where its time went.
 *
 *     k = device_open(&e);          with --verbose every operation is measured (kernels/profile.h)
 *     ...
 *     device_report();              with --verbose a table on stderr of the time since device_open; call it at the end of the work */
#ifndef TRAIN_DEVICE_H
#define TRAIN_DEVICE_H

#include "base/err.h"
#include "kernels/kernels.h"

const struct kernels *device_open(struct err *e); /* NULL on error; of one device for ever, as kernels_open */
void device_report(void);

#endif
