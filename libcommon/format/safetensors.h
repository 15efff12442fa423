/* safetensors files: mapped reader and byte-exact writer.
 *
 * Format: huggingface/safetensors, README "Format" and src/tensor.rs. The reader refuses what the reference refuses
 * and also duplicate names; nothing is allocated from sizes in the file before they are checked against its length.
 * The writer sorts and escapes as the reference does, so that equal contents are equal bytes. */
#ifndef FORMAT_SAFETENSORS_H
#define FORMAT_SAFETENSORS_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "base/dtype.h"
#include "base/err.h"
#include "base/file.h"

#define ST_MAX_DIMS 8

struct st_tensor {
    char *name;                 /* NUL-terminated copy (names with NUL inside are refused) */
    enum dtype type;            /* DTYPE_OTHER: type_name tells */
    char type_name[16];
    int ndim;
    int64_t shape[ST_MAX_DIMS];
    int64_t numel;
    const void *data;           /* in the map; any alignment. NULL in a writer's list */
    uint64_t offset, size;      /* bytes, from the start of the data section */
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

/* Writing: declare every tensor, then write the data in the order that st_writer_begin gives to `order`.
 *     st_writer_begin() writes the header; then st_writer_data() any number of times in file order; st_writer_end() checks the total. */
struct st_meta { const char *key, *value; };
struct st_writer;
struct st_writer *st_writer_begin(FILE *out, const char *path, struct st_tensor *tensors, int n,
                                  const struct st_meta *meta, int n_meta, struct err *e) MUST_CHECK; /* sorts `tensors` in place into file order */
int st_writer_data(struct st_writer *w, const void *data, size_t len, struct err *e) MUST_CHECK;
int st_writer_end(struct st_writer *w, struct err *e) MUST_CHECK; /* frees w */
void st_writer_free(struct st_writer *w);                         /* after an error */

#endif
