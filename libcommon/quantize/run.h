/* Quantizing a model, layer by layer, in a folder that a run owns (train/run_folder.h): what is finished stays when it is stopped or
 * killed, and the same run goes on at the next layer with the same bytes in the end.
 *
 *     OUT/layers/          finished layers, while the run lasts (quantize/layer_file.h)
 *     OUT/run.json         what the run is and how it stands
 *     OUT/log.jsonl        what became of each module (quantize/report.h)
 *     OUT/...              the model folder, when all is done; config.json last
 */
#ifndef QUANTIZE_RUN_H
#define QUANTIZE_RUN_H

#include <jansson.h>

#include "quantize/select.h"
#include "train/run_folder.h"

#define QUANTIZE_SMALL_LAYER ((int64_t)16 << 20) /* weights; modules of a layer below it are encoded side by side */

struct quantize_job {
    const struct quantize_options *o;
    const struct quantize_selection *selection;
    struct model *model;                  /* opened; of the CPU's kernels */
    const struct kernels *device;         /* of calibration; may be the model's */
    const struct token_file *tokens;      /* NULL: the method needs none */
    struct run_folder *folder;
    const char *out;
    const char *run, *provenance;         /* JSON: identity; what files carry */
    int64_t max_shard;
    int (*stop)(void);
    run_say *say;
    void (*progress)(int64_t done, int64_t from, int64_t total); /* layers; called first with what an earlier run has finished */
};

struct quantize_result {
    int layer;               /* finished layers */
    json_t *report;          /* of a finished run: every module; the caller's reference */
    int64_t bytes;           /* of the finished model's tensors */
};

/* 0: done, 1: stopped on request. */
int quantize_run(const struct quantize_job *j, struct quantize_result *r, struct err *e) MUST_CHECK;

/* Identity of a run as JSON, and with it the provenance; the caller frees both. */
int quantize_describe(const struct quantize_job *j, char **run, char **provenance, struct err *e) MUST_CHECK;

/* The finished model, from the layers' files, into the existing folder dir. For quantize/run.c. */
int quantize_assemble(const struct quantize_job *j, const char *dir, const char *run_hash, struct quantize_result *r, struct err *e) MUST_CHECK;

#endif
