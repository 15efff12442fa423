/* The trainer's part of a checkpoint folder: trainer_state.json. Layout: checkpoint(5).
 *
 * A checkpoint is a valid PEFT or model folder and, beside it, optimizer.safetensors and trainer_state.json. The latter is
 * written last; it says where the run stands, what the run is (inputs and options) and how long every other file of the folder
 * is and what it hashes to (XXH3-128), and ends with a hash of its own text: a checkpoint is whole and undamaged, or is not one.
 *
 *     checkpoint_seal(dir, &state, &e)     after everything else is in dir
 *     checkpoint_open(&state, dir, &e)     parses and verifies; checkpoint_state_release(&state)
 */
#ifndef FORMAT_CHECKPOINT_H
#define FORMAT_CHECKPOINT_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

#define CHECKPOINT_VERSION 1
#define CHECKPOINT_STATE "trainer_state.json"
#define CHECKPOINT_OPTIMIZER "optimizer.safetensors"

struct checkpoint_file {
    char *name;          /* relative to the folder, '/' between parts */
    uint64_t bytes;
    char hash[33];       /* XXH3-128, hex */
};

struct checkpoint_state {
    char *tool;                     /* "lora-train" */
    int64_t step, total_steps;      /* finished, planned */
    double epoch;
    int64_t data_epoch, data_next;  /* of train/batches.h: where the next step begins */
    int64_t tokens, trained;        /* rows and trained targets since the start of the run */
    bool eval_pending;              /* an evaluation of this step was due and is still to be made */
    int64_t log_steps, log_tokens, log_trained; /* since the last line of the log */
    double log_loss;                /* sum of these steps' losses */
    json_t *objective;              /* object: what the objective keeps beside (train/objective.h); NULL: nothing */
    char *run;                      /* JSON object: inputs and options that the run's bytes depend on */
    struct checkpoint_file *files;  /* filled by parsing; ignored by checkpoint_seal, which looks itself */
    int n_files;
};

int checkpoint_seal(const char *dir, const struct checkpoint_state *s, struct err *e) MUST_CHECK;

int checkpoint_state_parse(struct checkpoint_state *s, const char *text, size_t len, const char *name, struct err *e) MUST_CHECK;
void checkpoint_state_release(struct checkpoint_state *s);

/* The state alone; checkpoint_open also compares every file with what the state says. On error *s is released. */
int checkpoint_read(struct checkpoint_state *s, const char *dir, struct err *e) MUST_CHECK;
int checkpoint_open(struct checkpoint_state *s, const char *dir, struct err *e) MUST_CHECK;

#endif
