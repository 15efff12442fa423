/* Where the time of the operations goes: a table that measures another one.
 *
 *     k = kernels_open(...); if (verbose) k = kernels_profile(k);
 *     ... compute through k ...
 *     profile_write(&text, seconds);   lines for a person; nothing when kernels_profile was never called
 *
 * One table and one set of counters for the program. FLOPs (a multiplication and an addition are 2) are those that the result needs;
 * bytes are each argument's once, in the type in which it lies in memory. On a device that runs behind its calls a time would be
 * that of the call. */
#ifndef KERNELS_PROFILE_H
#define KERNELS_PROFILE_H

#include "base/buf.h"
#include "kernels/kernels.h"

const struct kernels *kernels_profile(const struct kernels *k);
/* seconds: of the whole that the operations are a part of; the rest is shown as such. */
void profile_write(struct buf *b, double seconds);

double profile_flops(void); /* of all operations so far */

#endif
