/* What quantizing takes before it begins: memory, disk, time. */
#ifndef QUANTIZE_PLAN_H
#define QUANTIZE_PLAN_H

#include "base/buf.h"
#include "quantize/run.h"

struct quantize_plan { /* bytes */
    int64_t stored, encoded, work, calibration, program, memory; /* memory: the sum of the others */
    int64_t device;                                              /* of the device that calibrates, where its memory is not the host's; else 0 */
    int64_t result, meanwhile, disk;                             /* disk: at most */
};

void quantize_plan(struct quantize_plan *p, const struct quantize_options *o, const struct quantize_selection *s, const struct model *m,
                   const struct kernels *device, const struct token_file *t);
/* From a moment's measurement on the machine as it is; negative: it cannot be told. */
double quantize_plan_seconds(const struct quantize_plan *p, const struct quantize_options *o, const struct quantize_selection *s, const struct model *m,
                             const struct token_file *t);
void quantize_plan_text(struct buf *b, const struct quantize_plan *p, const struct quantize_selection *s, int64_t available, int64_t free_bytes,
                        double seconds, const char *device); /* available, free_bytes: negative: not known; device: its name */

#endif
