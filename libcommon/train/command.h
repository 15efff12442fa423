/* The command line that the trainers share: from parsed options to the exit status. Like a tool it speaks (cli/msg.h) and may
 * end the program; what differs between trainers are the functions of struct train_command.
 *
 *     int main(...) { first = cli_begin(...); return cli_end(train_command(&c, argv + first, argc - first)); }
 */
#ifndef TRAIN_COMMAND_H
#define TRAIN_COMMAND_H

#include <jansson.h>

#include "train/loop.h"

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
    struct buf *plan;       /* --plan: what is to be printed is appended here */
};

int train_command(const struct train_command *c, char **files, int n_files);

#endif
