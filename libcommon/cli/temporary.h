/* Temporary names beside a target, remembered so that they can be removed at exit and on signals.
 *
 *     struct temporary *t = temporary_add(target);      (".NAME.tmp-PID-K" beside it; not yet created)
 *     open(t->path, O_CREAT | O_EXCL ...) or mkdir(t->path, ...)
 *     temporary_hold(t)                                  (locks what is there, for as long as this process lives)
 *     temporary_publish(t, target, force, e)             (rename; fsyncs the directory)
 *     temporary_drop(t)                                  (removes what is still at t->path, frees t)
 * temporary_add also removes what a killed process left of the same target: names of that form whose process is not there any
 * more and whose lock can be taken. The lock protects a process of another machine or container on a shared file system.
 * Used by cli/outfile.c and cli/outdir.c only, from one thread at a time. Removal is async-signal-safe. */
#ifndef CLI_TEMPORARY_H
#define CLI_TEMPORARY_H

#include <stdbool.h>

#include "base/err.h"

struct temporary {
    struct temporary *next;
    char *path;
    int owner; /* process id: a forked child leaves its parent's files alone */
    int lock;  /* descriptor that holds the lock, -1: none */
};

struct temporary *temporary_add(const char *target);
void temporary_hold(struct temporary *t);
void temporary_drop(struct temporary *t); /* NULL is fine */

/* Renames t->path to target and makes the new name durable. Without force a target that exists is an error; with it, a
 * file is replaced, and a folder is exchanged, which leaves the old one at t->path for temporary_drop. */
int temporary_publish(struct temporary *t, const char *target, bool force, struct err *e) MUST_CHECK;

/* What is behind a symbolic link, so that --force replaces that and not the link; caller frees. */
char *temporary_resolve(const char *path);

/* rm -r without allocating; -1 and errno when something stays. A missing path is fine. */
int temporary_remove_tree(const char *path);

int temporary_sync_path(const char *path); /* fsync of a file or folder; -1 and errno */

#endif
