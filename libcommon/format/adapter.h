/* PEFT LoRA adapter folders: adapter_config.json + adapter_model.safetensors.
 *
 * Names, defaults and matching rules are PEFT's (src/peft/tuners/lora, utils/save_and_load.py). Reading is strict where
 * PEFT is silent: a targeted module without A or B, an unknown tensor, a wrong shape, or an active feature that we do not compute
 * (DoRA, mutating initialisations, ...) is an error that names it. */
#ifndef FORMAT_ADAPTER_H
#define FORMAT_ADAPTER_H

#include "format/safetensors.h"

struct adapter_pattern { char *pattern; double value; };

struct adapter_config {
    int r;
    double alpha, dropout;
    bool rslora;
    bool fan_in_fan_out;
    char bias[16];                      /* none, all, lora_only */
    char *base_name;                    /* base_model_name_or_path, may be NULL */
    char **targets;                     /* suffixes or full names; n_targets 0 when regex is set */
    int n_targets;
    char *target_regex;                 /* full match */
    struct adapter_pattern *rank_pattern, *alpha_pattern;
    int n_rank_pattern, n_alpha_pattern;
    char *base_fingerprint;             /* ours: NULL in foreign adapters */
};

/* One module's pair as stored. Pointers borrow from `file`. */
struct adapter_module {
    char *module;                       /* "model.layers.0.self_attn.q_proj" */
    const struct st_tensor *a, *b;      /* (R, in), (out, R) */
    int rank;
    double scale;                       /* alpha / r or alpha / sqrt(r), patterns applied */
};

struct adapter_extra {                  /* bias "all" / "lora_only": replaces this tensor of the base */
    char *name;                         /* "model.layers.0.self_attn.q_proj.bias" */
    const struct st_tensor *tensor;
};

struct adapter {
    char *dir;
    struct adapter_config config;
    struct st_file *file;
    struct adapter_module *modules;     /* by module name */
    int n_modules;
    struct adapter_extra *extras;
    int n_extras;
};

struct adapter *adapter_open(const char *dir, struct err *e) MUST_CHECK;
void adapter_close(struct adapter *a);

int adapter_config_parse(struct adapter_config *c, const char *json, size_t len, const char *name, struct err *e) MUST_CHECK;
void adapter_config_release(struct adapter_config *c);
/* Is this module targeted, and with which rank and scale? (PEFT check_target_module_exists, get_pattern_key) -1: bad regex */
int adapter_targets(const struct adapter_config *c, const char *module, int *rank, double *scale, struct err *e) MUST_CHECK;

/* Writes both files (and a short README.md model card) into the existing folder `dir`. `tensors[i].data` are f32 host arrays
 * named by PEFT's keys. `provenance`: a JSON object string that goes, key by key, into the safetensors metadata as "finetools". */
int adapter_write(const char *dir, const struct adapter_config *c, struct st_tensor *tensors, int n, const char *provenance,
                  struct err *e) MUST_CHECK;

#endif
