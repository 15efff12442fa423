/* Where the log of a run may go: a file that is new or already the log of this run, and that the run does not use otherwise.
 *
 *     log_place_check(o->log ? o->log : OUT/log.jsonl, &w, &e)    before anything is written
 */
#ifndef TRAIN_LOG_PLACE_H
#define TRAIN_LOG_PLACE_H

#include <stdbool.h>

#include "base/err.h"

struct log_place {
    const char *out;      /* folder of the run; need not be there yet */
    const char *run;      /* of the run that lies in it (struct run_record), NULL: none does */
    bool asked;           /* the place was given as an option; else it is the usual one */
    bool force;           /* an existing file may be replaced */
};

int log_place_check(const char *path, const struct log_place *w, struct err *e) MUST_CHECK;

#endif
