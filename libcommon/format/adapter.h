/* PEFT LoRA adapter folders: adapter_config.json + adapter_model.safetensors.
 *
 * Names, defaults and matching rules are PEFT's (src/peft/tuners/lora, utils/save_and_load.py). Reading is strict where
 * PEFT is silent: a targeted module without A or B, an unknown tensor, a wrong shape, or an active feature that we do not compute
 * (DoRA, mutating initialisations, ...) is an error that names it.
 * Checksums, where the file carries them, are compared: adapters are small.
 *     struct adapter *a = adapter_open(dir, &err);     the folder by itself
 *     adapter_check_base(a, &base, &err)               ... and against the model that it is to be applied to
 */
#ifndef FORMAT_ADAPTER_H
#define FORMAT_ADAPTER_H

#include "format/model_folder.h"
#include "format/safetensors.h"

struct adapter_pattern { char *pattern; double value; };

/* A list of names, or a regex (Python's re, full match), or neither. */
struct adapter_names { char **list; int n; char *regex; };

struct adapter_config {
    int r;
    double alpha, dropout;
    bool rslora;
    char bias[16];                      /* none, all, lora_only */
    char *base_name;                    /* base_model_name_or_path, may be NULL */
    char **targets;                     /* suffixes or full names; n_targets 0 when regex is set */
    int n_targets;
    char *target_regex;                 /* full match; "all-linear" (any case): every module asked about but lm_head */
    struct adapter_names exclude;       /* exclude_modules */
    int64_t *layers;                    /* layers_to_transform */
    int n_layers;
    struct adapter_names layers_pattern; /* regexes, in its list */
    struct adapter_pattern *rank_pattern, *alpha_pattern; /* the first that matches wins */
    int n_rank_pattern, n_alpha_pattern;
    char *base_fingerprint;             /* ours: NULL in foreign adapters */
};

/* One module's pair as stored. Pointers borrow from `file`. */
struct adapter_module {
    char *module;                       /* "model.layers.0.self_attn.q_proj" */
    const struct st_tensor *a, *b;      /* (R, in), (out, R); W += scale * B A */
    int rank;
    double scale;                       /* alpha / r or alpha / sqrt(r), patterns applied */
    bool embedding;                     /* lora_embedding_A (R, V), lora_embedding_B (C, R); table (V, C) += scale * (B A)^T */
};

struct adapter_extra {                  /* replaces this tensor of the base: biases of "all" / "lora_only", and the copy of the base */
    char *name;                         /* weight that PEFT saves beside a targeted lm_head or embed_tokens. "model.layers.0.self_attn.q_proj.bias" */
    const struct st_tensor *tensor;
};

struct adapter {
    char *dir;
    struct adapter_config config;
    struct st_file *file;
    struct adapter_module *modules;     /* by module name */
    int n_modules;
    struct adapter_extra *extras;       /* by name */
    int n_extras;
    bool merge_aware;                   /* ours: over quantized weights W it stands for W + scale B A brought to W's grid (lora-train(1)) */
    char *template_hash;                /* ours: chat template of the data it was trained on; NULL: not known */
};

struct adapter *adapter_open(const char *dir, struct err *e) MUST_CHECK;
void adapter_close(struct adapter *a);
const struct adapter_module *adapter_find(const struct adapter *a, const char *module); /* NULL when absent */

/* The adapter against a base: fingerprint (when recorded), every module and extra there with the right shape, and a pair for every
 * module of the base that the configuration targets. */
struct adapter_quantized { const char *module; int64_t out, in; };
struct adapter_base {
    const struct model_folder *folder;
    bool tied;                                  /* lm_head is the embedding when it has no tensor of its own */
    const struct adapter_quantized *quantized;  /* modules whose weights are stored in a layout of base/quantized.h */
    int n_quantized;
};
int adapter_check_base(const struct adapter *a, const struct adapter_base *b, struct err *e) MUST_CHECK;

/* Identity of what the adapter does: SHA-256 over its modules (name, rank, scale, A, B) and extras, by name. Independent of the file's metadata and
 * of the path. */
void adapter_hash(const struct adapter *a, char hex[SHA256_HEX]);

int adapter_config_parse(struct adapter_config *c, const char *json, size_t len, const char *name, struct err *e) MUST_CHECK;
void adapter_config_release(struct adapter_config *c);
/* Is this module targeted (1, 0), and with which rank and scale? (PEFT check_target_module_exists, get_pattern_key) -1: bad regex */
int adapter_targets(const struct adapter_config *c, const char *module, int *rank, double *scale, struct err *e) MUST_CHECK;

/* Writes both files (and a short README.md model card) into the existing folder `dir` and reads them back. `tensors[i].data` are f32 host
 * arrays named by PEFT's keys; the list is sorted in place. `provenance`: a JSON object (format/manifest.h) that becomes the metadata
 * "finetools"; may be NULL. Targets are written sorted. */
int adapter_write(const char *dir, const struct adapter_config *c, struct st_tensor *tensors, int n, const char *provenance,
                  struct err *e) MUST_CHECK;

#endif
