/* The run log: JSONL, one object per line, each line one write(2), so that a reader never sees half a line and a killed
 * run loses at most the last one.
 *
 *     struct runlog *l = runlog_open("OUT/log.jsonl", &resumed, &kept, &e);
 *     runlog_add(l, json_pack("{s:i, s:f}", "step", 1, "loss", x), &e);
 *     runlog_close(l, &e);                                                    (fsync)
 * A run resumed at step N keeps what comes before the first entry whose "step" is above N, but for entries of "type" end,
 * so that the log of an interrupted run reads like that of an uninterrupted one. Lines that are no entry are left out and
 * counted; what follows them is kept. Devices, pipes and "-", which is stdout, are only appended to. */
#ifndef CLI_RUNLOG_H
#define CLI_RUNLOG_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

struct runlog;

struct runlog_resumed {
    int64_t step;         /* -1: begins anew */
    bool eval_again;      /* the evaluation of this step is made again, so its entry goes too */
    const char *earlier;  /* where the log lay before: its lines are taken over when nothing is at the path, and it goes; NULL: nowhere */
};

/* What there was to go on with. */
struct runlog_kept {
    bool file;            /* false: a device, which keeps nothing; the rest is zero then */
    bool start;           /* an entry of type start */
    int64_t step, tokens; /* entries of type step: the last one's step (0: none), and the sum of their tokens */
    int64_t damaged, first_damaged; /* lines left out; number of the first, from 1 */
};

struct runlog *runlog_open(const char *path, const struct runlog_resumed *resumed, struct runlog_kept *kept, struct err *e) MUST_CHECK;
/* The first entry of type start, or NULL when there is none; caller frees. e is set when the file cannot be read. */
json_t *runlog_read_start(const char *path, struct err *e);
int runlog_add(struct runlog *l, json_t *entry, struct err *e) MUST_CHECK; /* takes over the reference; NULL entry: an error */
int runlog_sync(struct runlog *l, struct err *e) MUST_CHECK;              /* what is written so far is on the disk */
int runlog_close(struct runlog *l, struct err *e) MUST_CHECK;             /* frees l in every case; NULL is fine */

#endif
