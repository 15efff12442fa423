/* Writing the weights of a model folder: model.safetensors, or shards and their index, as huggingface_hub splits them
 * (serialization/_base.py; transformers' save_pretrained names them the same way).
 *
 *     struct model_writer *w = model_writer_begin(dir, tensors, n, MODEL_MAX_SHARD, provenance, &err);
 *     for (i = 0; i < n; i++) model_writer_data(w, data of tensors[i], tensors[i].size, &err);
 *     model_writer_end(w, 0, &err);
 * begin sorts and completes `tensors` (name, type, ndim, shape are given; data is left alone) into the order in which their
 * bytes are wanted; the list is read until the end. Every file carries checksums and, in its metadata, `provenance` with
 * the hashes of the other files that already are in `dir`: copy those first (model_folder_copy_files). */
#ifndef FORMAT_MODEL_WRITER_H
#define FORMAT_MODEL_WRITER_H

#include "format/safetensors.h"

#define MODEL_MAX_SHARD 5000000000 /* bytes of tensors; one tensor may be larger */

struct model_writer;
struct model_writer *model_writer_begin(const char *dir, struct st_tensor *tensors, int n, int64_t max_shard, const char *provenance,
                                        struct err *e) MUST_CHECK; /* provenance: JSON object, or NULL */
int model_writer_data(struct model_writer *w, const void *data, size_t len, struct err *e) MUST_CHECK; /* cut anywhere */
/* Frees w (NULL is fine), and returns r when that tells of an error; else completes the files. */
int model_writer_end(struct model_writer *w, int r, struct err *e) MUST_CHECK;

/* Order of a model's modules as torch lists them: embedding, layers by number (q k v o, gate up down, norms), norm, lm_head.
 * Names that are not of that kind come in bytewise order. For qsort of names. */
int model_order(const char *a, const char *b);

#endif
