/* Outputs that appear whole or not at all.
 *
 *     struct outfile *f = outfile_open(path, cli.force, true, &e);
 *     fwrite(..., outfile_stream(f)); ...                        (no need to check each write)
 *     if (outfile_commit(f, &e) < 0) die_err(&e);
 *
 * A file is written under a temporary name in the directory of its target (".NAME.tmp-PID-K", created O_EXCL with mode
 * 0666 & ~umask), flushed, fsynced and renamed by outfile_commit, and its directory fsynced; a folder likewise. Whatever
 * was not committed is removed by outfile_abort, at exit and on fatal signals. An existing target is refused at open
 * unless `force`, and again at commit should it have appeared meanwhile; with force it is replaced by the rename (for
 * folders: RENAME_EXCHANGE, then the old one is removed), and a symbolic link to it stays a link. A target that is no
 * regular file (a device, a FIFO) is written directly. Path "-" is stdout: nothing to rename; commit flushes. Binary
 * output to a terminal is refused. */
#ifndef CLI_OUTFILE_H
#define CLI_OUTFILE_H

#include <stdbool.h>
#include <stdio.h>

#include "base/err.h"

struct outfile;
struct outdir;

struct outfile *outfile_open(const char *path, bool force, bool binary, struct err *e) MUST_CHECK; /* NULL on error */
FILE *outfile_stream(struct outfile *f);       /* borrowed, fully buffered; it has no file number */
int outfile_commit(struct outfile *f, struct err *e) MUST_CHECK; /* frees f in every case */
void outfile_abort(struct outfile *f);         /* NULL is fine */

struct outdir *outdir_open(const char *path, bool force, struct err *e) MUST_CHECK;
const char *outdir_path(const struct outdir *d); /* the temporary folder: create files and subfolders in it */
int outdir_commit(struct outdir *d, struct err *e) MUST_CHECK; /* fsyncs every file and folder below, then renames; frees d */
void outdir_abort(struct outdir *d);           /* NULL is fine */

/* Folder replacement and atomic small files for those (trainers) that own a folder already:
 * write `len` bytes to `path` by temporary, fsync, rename. */
int outfile_replace(const char *path, const void *data, size_t len, struct err *e) MUST_CHECK;

int outdir_remove(const char *path, struct err *e) MUST_CHECK; /* rm -r; a missing path is fine */

/* Can a file be written at `path` later? Tries it with a temporary beside it. `coming` (may be NULL): a folder that the program makes. */
int outfile_probe(const char *path, const char *coming, struct err *e) MUST_CHECK;

/* Bytes free for an unprivileged writer at the folder of `path`; -1 when unknown. */
long long outfile_free_space(const char *path);

/* Removes every temporary that is not committed. Async-signal-safe; runs at exit and from cli/stop.c. */
void outfile_cleanup(void);

#endif
