/* safetensors files: mapped reader and byte-exact writer.
 *
 * Format: huggingface/safetensors, README "Format" and src/tensor.rs. The reader refuses what the reference refuses
 * and also duplicate names; nothing is allocated from sizes in the file before they are checked against its length.
 * The writer sorts and escapes as the reference does, so that equal contents are equal bytes.
 *
 * Files that we write also carry checksums: the metadata key "xxh3" holds 32 hexadecimal digits of the header (its
 * JSON with padding, this value itself read as zeros) followed by 32 digits for each tensor in file order, all XXH3-128.
 * Other readers see one more string among the metadata. */
#ifndef FORMAT_SAFETENSORS_H
#define FORMAT_SAFETENSORS_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "base/dtype.h"
#include "base/err.h"
#include "base/file.h"

#define ST_MAX_DIMS 8
#define ST_MAX_TENSORS (1 << 18) /* in one file */
#define ST_MAX_HEADER 100000000
#define ST_CHECKSUMS "xxh3"

struct st_tensor {
    char *name;                 /* NUL-terminated copy (names with NUL inside are refused) */
    enum dtype type;            /* DTYPE_OTHER: type_name tells */
    char type_name[16];
    int ndim;
    int64_t shape[ST_MAX_DIMS];
    int64_t numel;
    const void *data;           /* in the map; any alignment. NULL in a writer's list */
    uint64_t offset, size;      /* bytes, from the start of the data section */
    int place;                  /* in file order; of a file that was opened */
};

struct st_file {
    char *path;
    struct file_map map;
    struct st_tensor *tensors;  /* by name, bytewise */
    int n_tensors;
    int n_meta;
    char **meta_keys, **meta_values;
};

struct st_file *st_open(const char *path, struct err *e) MUST_CHECK;
struct st_file *st_parse(const void *data, size_t size, const char *name, struct err *e) MUST_CHECK; /* borrowed memory; for tests and fuzzing */
void st_close(struct st_file *f);
const struct st_tensor *st_find(const struct st_file *f, const char *name); /* NULL when absent */
const char *st_meta(const struct st_file *f, const char *key);              /* NULL when absent */

/* "F32 [2, 3]" for messages; returns `to`. */
#define ST_SHAPE_TEXT 256
char *st_shape_text(const struct st_tensor *t, char to[ST_SHAPE_TEXT]);

/* Pointers to the file's tensors in file order (ascending offset); caller frees. */
const struct st_tensor **st_file_order(const struct st_file *f);

/* For opened files: gives the pages that hold these bytes of the map back to the system (they can be read again). Whoever streams through
 * a file keeps the process small with it. */
void st_drop(const struct st_file *f, const void *data, uint64_t len);

/* For opened files: reads every byte (and drops it) and compares the checksums. 1: all are right; 0: there are none; -1: damaged (the error
 * names the tensor). */
int st_verify(const struct st_file *f, struct err *e) MUST_CHECK;

/* The same for those who read the tensors anyway: st_verify_header() once, which gives back as st_verify does, then for each tensor
 * st_check_begin(), its bytes in order, cut anywhere, and st_check_end(), which frees. All accept NULL: a file without checksums. */
struct st_check;
int st_verify_header(const struct st_file *f, struct err *e) MUST_CHECK;
struct st_check *st_check_begin(const struct st_file *f, const struct st_tensor *t);
void st_check_add(struct st_check *c, const void *data, size_t len);
int st_check_end(struct st_check *c, struct err *e) MUST_CHECK;
void st_check_free(struct st_check *c); /* after an error */

/* Writing: declare every tensor (name, type or type_name, ndim, shape), then write the data in file order.
 *     st_writer_begin() sorts and completes `tensors` (numel, size, offset) and writes the header; then st_writer_data() any
 *     number of times, cut anywhere, in that order; st_writer_end() checks the total.
 * A metadata value of NULL under the key ST_CHECKSUMS asks for checksums; `out` must then be seekable (they are patched
 * into the header at the end) and stand at its beginning. The list is read until st_writer_end. */
struct st_meta { const char *key, *value; };
struct st_writer;
struct st_writer *st_writer_begin(FILE *out, const char *path, struct st_tensor *tensors, int n,
                                  const struct st_meta *meta, int n_meta, struct err *e) MUST_CHECK; /* sorts `tensors` in place into file order */
int st_writer_data(struct st_writer *w, const void *data, size_t len, struct err *e) MUST_CHECK;
int st_writer_end(struct st_writer *w, struct err *e) MUST_CHECK; /* frees w, also on error */
void st_writer_free(struct st_writer *w);                         /* after an error; NULL is fine */
uint64_t st_writer_size(const struct st_writer *w);               /* of the whole file */

/* A file whose data is all there, as each tensor's `data`; it goes again when it could not be written. */
int st_write(const char *path, struct st_tensor *tensors, int n, const struct st_meta *meta, int n_meta, struct err *e) MUST_CHECK;

/* Sorts and completes a list as st_writer_begin does; size: bytes of all data. */
int st_layout(struct st_tensor *tensors, int n, const char *path, uint64_t *size, struct err *e) MUST_CHECK;

/* The format's element types: bits of one element (0: unknown name) and their rank in the writer's order. */
int st_type_bits(const char *type_name);
int st_type_order(const char *type_name);

#endif
