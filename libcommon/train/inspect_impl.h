/* The kinds that inspect.c chooses from. Each fills `to` and returns 0 or -1. */
#ifndef TRAIN_INSPECT_IMPL_H
#define TRAIN_INSPECT_IMPL_H

#include "format/safetensors.h"
#include "model/model.h"
#include "train/inspect.h"

int inspect_model(json_t *to, const char *dir, bool verify, struct err *e) MUST_CHECK;
int inspect_adapter(json_t *to, const char *dir, bool verify, struct err *e) MUST_CHECK;
int inspect_tensors(json_t *to, const char *path, bool verify, struct err *e) MUST_CHECK;
int inspect_token_file(json_t *to, const char *path, bool verify, struct err *e) MUST_CHECK;
int inspect_reference(json_t *to, const char *path, bool verify, struct err *e) MUST_CHECK;
int inspect_chat_stream(json_t *to, const char *path, bool verify, struct err *e) MUST_CHECK;

/* "provenance": the record that these files carry, when they do. */
void inspect_add_provenance(json_t *to, const struct st_file *f);
/* "quantization" of a model that has quantized modules, and how many parameters it has; of others nothing, and 0. */
int64_t inspect_add_quantization(json_t *to, struct model *m);
/* "verified", after nothing was found wrong. note: what was checked. */
void inspect_add_verified(json_t *to, bool checksums, int64_t bytes, const char *note);

#endif
