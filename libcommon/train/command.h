/* The command line that the trainers share: from parsed options to the exit status. Like a tool it speaks (cli/msg.h) and may
 * end the program; what differs between trainers are the functions of struct train_command.
 *
 *     int main(...) { first = cli_begin(...); return cli_end(train_command(&c, argv + first, argc - first)); }
 */
#ifndef TRAIN_COMMAND_H
#define TRAIN_COMMAND_H

#include <jansson.h>

#include "train/loop.h"

struct session;

/* What is minimised when it is not cross entropy, and what that needs beside model and tokens. arg: the tool's. */
struct train_method {
    void *arg;
    enum token_kind kind;
    /* Rows of the longest sample. */
    int64_t (*longest)(void *arg, const struct model *m, const struct token_file *t);
    /* Opens and checks further inputs, adds the settings that the result depends on; nothing is written. */
    int (*open)(void *arg, struct session *s, struct err *e);
    /* OUT is there and locked, memory for training is not yet taken. 1: stopped, 2: not finite. */
    int (*prepare)(void *arg, struct session *s, struct err *e);
    /* Memory for training is taken. */
    struct train_objective (*objective)(void *arg, struct session *s);
    /* Floating-point operations and rows of one epoch. */
    double (*flops)(void *arg, const struct session *s, double *rows);
    /* The same of what is computed beside the steps: once before them, and in `evaluations` passes over the held-out samples. */
    double (*flops_beside)(void *arg, const struct session *s, int64_t evaluations, double *rows);
    /* Bytes of the files that it keeps in OUT. */
    int64_t (*kept)(void *arg, const struct session *s);
    void (*close)(void *arg);
};

struct train_command {
    const char *tool;
    const struct train_options *o;
    bool init;              /* the model folder has no weights: they are drawn */
    const char *adapter;    /* input folder to go on from, or NULL */
    /* Chooses what is trained: fills *s, adds the tool's own settings to `settings`. */
    int (*attach)(struct model *m, struct train_subject *s, json_t *settings, struct err *e);
    void (*detach)(void *arg);
    int64_t (*saved_bytes)(const struct model *m); /* size of the finished folder, about */
    const char *what;       /* "the adapter", "the model" */
    const struct train_method *method; /* NULL: cross entropy of the trained tokens of samples */
    struct buf *plan;       /* --plan: what is to be printed is appended here */
};

int train_command(const struct train_command *c, char **files, int n_files);

#endif
