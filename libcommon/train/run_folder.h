/* The folder OUT of a training run: who works in it, what has been done there, and its checkpoints.
 *
 *     OUT/run.json         what the run is (inputs, options) and how it stands: see struct run_record
 *     OUT/log.jsonl        cli/runlog.h
 *     OUT/checkpoint-N/    format/checkpoint.h
 *     OUT/.lock            held (flock) by the process that trains
 * The finished adapter or model lies at the top.
 *
 *     run_record_read(&old, out, &e)          what an earlier run left: 1, nothing: 0
 *     f = run_folder_open(out, tool, &busy, &e)   makes the folder and takes the lock
 *     run_folder_find(f, run, say, &state, &e)    newest valid checkpoint of this very run
 *     run_folder_save() ... run_folder_finish(); run_folder_close(f)
 */
#ifndef TRAIN_RUN_FOLDER_H
#define TRAIN_RUN_FOLDER_H

#include "base/err.h"
#include "format/checkpoint.h"

#define RUN_RECORD "run.json"

struct run_record {
    char *tool, *status;     /* status: running, stopped, diverged, complete */
    char *run;               /* JSON object, as in struct checkpoint_state */
    char **files;            /* of a complete run: what it put at the top of OUT */
    int n_files;
};

/* 1: read, or told by the newest checkpoint when run.json is not there, 0: OUT is absent or empty, -1: error: OUT holds something
 * that is no run of ours, or run.json is unreadable. */
int run_record_read(struct run_record *r, const char *out, struct err *e) MUST_CHECK;
void run_record_release(struct run_record *r);
bool run_record_is_whole(const struct run_record *r, const char *out); /* complete, and its files are there */
const char *run_record_missing(const struct run_record *r, const char *out); /* the first of them that is not; NULL: none */

/* "lr: 0.0002, now 0.0001; rank: 8, now 16": what differs between two runs; NULL when nothing does. Caller frees. */
char *run_differences(const char *before, const char *now);

struct run_folder;

/* Writes what a trainer saves, or the finished result, into the existing folder dir. */
typedef int run_write(void *arg, const char *dir, struct err *e);
typedef void run_say(const char *text); /* a line for the user */

/* busy: filled with who holds the lock when another process does (then NULL is returned and e is not set). */
struct run_folder *run_folder_open(const char *out, const char *tool, char busy[200], struct err *e) MUST_CHECK;
void run_folder_close(struct run_folder *f); /* gives the lock back; an OUT that it made and that stayed empty goes */

/* Removes everything an earlier run left here: checkpoints, log, record, results. foreign: also whatever else there is. */
int run_folder_clear(struct run_folder *f, bool foreign, struct err *e) MUST_CHECK;
/* The newest checkpoint that is whole and of this run, or *step -1 and `dir` NULL. Skipped ones are named through `say`.
 * dir: caller frees. */
int run_folder_find(struct run_folder *f, const char *run, run_say *say, struct checkpoint_state *s, char **dir, struct err *e) MUST_CHECK;
/* checkpoint-N appears whole or not at all; then old ones of this run beyond `keep` go. */
int run_folder_save(struct run_folder *f, const struct checkpoint_state *s, run_write *write, void *arg, int64_t keep, struct err *e) MUST_CHECK;
int64_t run_folder_last(const struct run_folder *f); /* step of the newest valid checkpoint, -1: none */
/* The result to the top of OUT, the file `last` (which makes it loadable) last. */
int run_folder_finish(struct run_folder *f, run_write *write, void *arg, const char *last, struct err *e) MUST_CHECK;
int run_folder_record(struct run_folder *f, const char *status, const char *run, int64_t step, int64_t total, struct err *e) MUST_CHECK;
void run_folder_forget(struct run_folder *f); /* a run that could not begin leaves nothing */

#endif
