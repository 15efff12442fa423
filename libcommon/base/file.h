/* Whole files: mapped read-only, or read into memory. */
#ifndef BASE_FILE_H
#define BASE_FILE_H

#include <stdbool.h>
#include <stddef.h>

#include "base/buf.h"
#include "base/err.h"

struct file_map {
    const unsigned char *data; /* never NULL, also for an empty file; borrowed until file_unmap */
    size_t size;
    bool mapped;               /* false: heap memory (a pipe was read to its end) */
};

/* "-" is stdin. A pipe or terminal is read to its end. Errors name the path. */
int file_map(struct file_map *m, const char *path, struct err *e) MUST_CHECK;
void file_unmap(struct file_map *m);
/* Gives the pages of these bytes of a mapped file back to the system (they can be read again). Whoever streams through a file keeps
 * the process small with it. */
void file_map_drop(const struct file_map *m, const void *data, size_t len);

/* Reads at most `limit` bytes into b (appended); a longer file is an error. */
int file_read(struct buf *b, const char *path, size_t limit, struct err *e) MUST_CHECK;

/* Writes a small file in place (into folders that appear whole later; cli/outfile.h is for targets). */
int file_write(const char *path, const void *data, size_t len, struct err *e) MUST_CHECK;

bool file_exists(const char *path);
bool file_is_dir(const char *path);
char *file_join(const char *dir, const char *name); /* "dir/name"; caller frees */
char *file_parent(const char *path);                /* the folder that holds it, "." for a bare name; caller frees */

/* After making a file or folder at `path` failed: "PATH: WHAT: why", where a folder missing on the way there is named. Returns -1. */
int file_create_failed(const char *path, const char *what, struct err *e);

#endif
