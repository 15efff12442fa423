/* Bytes of a file, of stdin ("-") or of either compressed with zstd, as one stream.
 *
 *     struct input *in = input_open("a.json.zst", &err);
 *     while ((n = input_read(in, buffer, sizeof buffer, &err)) > 0) ...     0: the end, -1: an error that names the file
 *     input_close(in);
 *
 * Compression is recognised by its magic number, not by the name; frames may follow one another. A frame that is cut
 * short is an error, never an early end. */
#ifndef BASE_INPUT_H
#define BASE_INPUT_H

#include <stddef.h>
#include <sys/types.h>

#include "base/err.h"
#include "base/sha256.h"

struct input;

struct input *input_open(const char *path, struct err *e) MUST_CHECK;
struct input *input_memory(const void *data, size_t len, const char *name); /* borrowed bytes, for tests and fuzzing */
ssize_t input_read(struct input *in, void *to, size_t room, struct err *e) MUST_CHECK;
const char *input_name(const struct input *in);                    /* the path, "stdin" for "-" */
void input_hash(const struct input *in, char hex[SHA256_HEX]);     /* of the bytes as stored, as far as they were read */
void input_close(struct input *in);

#endif
