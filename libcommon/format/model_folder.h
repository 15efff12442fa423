/* A Hugging Face model folder: its tensors, wherever they are (one model.safetensors, or shards with an index), its
 * other files, and its identity.
 *
 * Rules: model.safetensors wins over an index (as in transformers); shard names in the index must be plain names inside the
 * folder; a mapped tensor that is missing from its shard, a missing shard, and a tensor that stands in two shards
 * are errors; tensors that the index does not name are kept and counted. */
#ifndef FORMAT_MODEL_FOLDER_H
#define FORMAT_MODEL_FOLDER_H

#include "base/sha256.h"
#include "format/safetensors.h"

struct model_folder {
    char *dir;
    struct st_file **shards;          /* by file name */
    int n_shards;
    const struct st_tensor **tensors; /* all, by name, bytewise */
    int n_tensors;
    int64_t bytes;                    /* of tensor data */
    bool sharded;                     /* an index was read */
    int n_unmapped;                   /* tensors that the index does not name: worth a warning */
    char fingerprint[SHA256_HEX];     /* see model_folder_fingerprint */
};

struct model_folder *model_folder_open(const char *dir, struct err *e) MUST_CHECK;
void model_folder_close(struct model_folder *f);
const struct st_tensor *model_folder_find(const struct model_folder *f, const char *name);
const struct st_tensor *model_folder_part(const struct model_folder *f, const char *module, const char *suffix); /* ".weight", ".bias" ... */
const struct st_file *model_folder_shard(const struct model_folder *f, const struct st_tensor *t); /* the file that holds it */

/* Identity of the weights, cheap enough for any size: SHA-256 over, for every tensor in name order, its name, type,
 * shape and up to 64 evenly spaced samples of 64 bytes of its data. It tells models apart; damage is found by
 * the full checks of ckpt-info --verify. Independent of sharding, of config.json and of the path. */
int model_folder_fingerprint(struct model_folder *f, struct err *e) MUST_CHECK; /* fills f->fingerprint; done by open */

/* SHA-256 of what decides token ids: tokenizer.json's bytes. "" when the folder has none. */
int model_folder_tokenizer_hash(const char *dir, char hex[SHA256_HEX], struct err *e) MUST_CHECK;

/* Copies the files that travel with weights (tokenizer*, chat_template*, special_tokens_map, generation_config, vocab, merges, LICENSE...)
 * and config.json from `dir` into `to`. config.json stays as it is, byte for byte, unless something in it has changed. */
struct model_config_change {
    bool untied;      /* tie_word_embeddings is false now */
    const char *type; /* the stored type now, "bfloat16"; NULL: as it was */
    const char *quantization; /* JSON, quantization_config now: all keys are sorted then, as transformers does; "": none; NULL: as it was */
};
int model_folder_copy_files(const char *dir, const char *to, const struct model_config_change *change, struct err *e) MUST_CHECK;

#endif
