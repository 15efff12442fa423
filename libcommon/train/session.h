/* Inputs of a training command, opened and checked against each other, and the identity of the run. For train/command.c. */
#ifndef TRAIN_SESSION_H
#define TRAIN_SESSION_H

#include <jansson.h>

#include "train/command.h"

struct session {
    const struct train_command *c;
    struct model *model;
    struct token_file *train, *eval;
    struct train_subject subject;
    struct optimizer optimizer;
    struct batches batches;
    struct schedule schedule;
    struct plan plan;
    json_t *settings;     /* options that the bytes of the result depend on */
    char *run;            /* identity: inputs and settings, JSON */
    char *provenance;     /* the same with tool and version, for what is written */
};

/* Opens and checks; nothing is written. */
int session_open(struct session *s, const struct train_command *c, const char *train_path, struct err *e) MUST_CHECK;
/* Steps, schedule, memory. */
int session_plan(struct session *s, int64_t memory, struct err *e) MUST_CHECK;
int session_describe(struct session *s, struct err *e) MUST_CHECK; /* run, provenance */
void session_close(struct session *s);

int64_t session_saved_bytes(const struct session *s); /* of one checkpoint */
int64_t session_disk_bytes(const struct session *s);  /* of the whole folder at most, the log aside */
int64_t session_parameters(const struct session *s, int64_t *trained);
/* Floating-point operations and rows of the whole run, on average samples. */
double session_flops(const struct session *s, double *rows);
/* The same of evaluations, and of what the method computes before the first step. */
double session_flops_beside(const struct session *s, double *rows);

#endif
