/* The run log: JSONL, one object per line, each line one write(2), so that a reader never sees half a line and a killed
 * run loses at most the last one.
 *
 *     struct runlog *l = runlog_open("OUT/log.jsonl", resumed_step, &e);     (-1: begin anew)
 *     runlog_add(l, json_pack("{s:i, s:f}", "step", 1, "loss", x), &e);
 *     runlog_close(l, &e);                                                    (fsync)
 * A run resumed at step N keeps the leading lines up to the last whole entry whose "step" is at most N and continues
 * there, so that the log of an interrupted run reads like that of an uninterrupted one. Lines without a step are kept
 * when a kept step follows them, or when no step came before them. Devices, pipes and "-", which is stdout, are only appended to. */
#ifndef CLI_RUNLOG_H
#define CLI_RUNLOG_H

#include <jansson.h>
#include <stdint.h>

#include "base/err.h"

struct runlog;

struct runlog *runlog_open(const char *path, int64_t resumed_step, struct err *e) MUST_CHECK;
int runlog_add(struct runlog *l, json_t *entry, struct err *e) MUST_CHECK; /* takes over the reference; NULL entry: an error */
int runlog_sync(struct runlog *l, struct err *e) MUST_CHECK;              /* what is written so far is on the disk */
int runlog_close(struct runlog *l, struct err *e) MUST_CHECK;             /* frees l in every case; NULL is fine */

#endif
