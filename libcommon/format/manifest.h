/* What an output was made from, and whether it is still what was written.
 *
 * Every safetensors file that we write carries, as the metadata "finetools", one JSON object without white space:
 *     tool, version      "lora-train", "0.1.0"
 *     base               fingerprint of the weights that went in (format/model_folder.h)
 *     config             SHA-256 of their config.json
 *     adapter            SHA-256 of the adapter that training went on from
 *     tokenizer          SHA-256 of tokenizer.json
 *     template, data     SHA-256 of the chat template, hash of the token file
 *     adapters           [{"name", "weights": hash of adapter_model.safetensors, "weight"}]: what a merge added
 *     options            what the user chose
 *     files              {"config.json": SHA-256, ...}: the files beside the weights, added by the writers
 * Absent: not known. There is no time in it, so that equal inputs give equal bytes. */
#ifndef FORMAT_MANIFEST_H
#define FORMAT_MANIFEST_H

#include "format/model_folder.h"

struct manifest {
    const char *tool, *base, *tokenizer, *template_hash, *data; /* NULL or "": left out */
    const char *adapters, *options;                             /* JSON text or NULL */
};

char *manifest_text(const struct manifest *m); /* caller frees */

/* `provenance` (may be NULL) with "files" filled in: those beside the weights in `dir` that decide what a model does. Caller frees. */
char *manifest_add_files(const char *provenance, const char *dir, struct err *e);

/* Index of the first element of a floating-point tensor that is NaN or infinite, -1 when there is none (or it holds integers). */
int64_t manifest_find_nonfinite(const struct st_tensor *t);

/* Reads every byte: checksums where the file has them (they must be there when it is ours), finite values everywhere. `folder`: whose
 * shard it is, or NULL.
 * 1: checksums agree, 0: there are none to check. */
int manifest_verify_file(const struct st_file *f, const struct model_folder *folder, struct err *e) MUST_CHECK;

/* The files that `f`'s provenance names, in `dir`: each must be there unchanged. Number of files checked, or -1. */
int manifest_verify_companions(const struct st_file *f, const char *dir, struct err *e) MUST_CHECK;

#endif
