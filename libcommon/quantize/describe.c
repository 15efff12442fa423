/* What a run of quantize is: its inputs and options. */
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/mem.h"
#include "format/manifest.h"
#include "format/model_folder.h"
#include "quantize/run.h"

static json_t *options_json(const struct quantize_options *o)
{
    json_t *j = json_object();
    bool words = o->method == QUANTIZE_RTN || o->method == QUANTIZE_GPTQ;
    json_object_set_new(j, "method", json_string(quantize_method_name(o->method)));
    if (words || o->method == QUANTIZE_AWQ) {
        json_object_set_new(j, "bits", json_integer(o->bits));
        json_object_set_new(j, "group", json_integer(o->group ? o->group : -1));
    } else if (o->method == QUANTIZE_INT8) {
        json_object_set_new(j, "threshold", json_real(o->threshold));
    } else {
        json_object_set_new(j, "block", json_integer(o->block));
        json_object_set_new(j, "double_quant", json_boolean(o->nested));
    }
    if (words)
        json_object_set_new(j, "sym", json_boolean(o->sym));
    if (o->method == QUANTIZE_GPTQ) {
        json_object_set_new(j, "act_order", json_boolean(o->act_order));
        json_object_set_new(j, "true_sequential", json_boolean(o->true_sequential));
        json_object_set_new(j, "damp", json_real(o->damp));
    }
    if (o->method == QUANTIZE_AWQ) {
        json_object_set_new(j, "scale", json_boolean(!o->no_scale));
        json_object_set_new(j, "clip", json_boolean(!o->no_clip));
    }
    if (o->skip)
        json_object_set_new(j, "skip", json_string(o->skip));
    return j;
}

static int describe_inputs(const struct quantize_job *j, json_t *to, char tokenizer[SHA256_HEX], struct err *e)
{
    char *path = file_join(j->model->folder->dir, "config.json"), hex[SHA256_HEX];
    struct file_map m;
    int r = file_map(&m, path, e);
    free(path);
    if (r < 0)
        return -1;
    sha256_hex(m.data, m.size, hex);
    file_unmap(&m);
    json_object_set_new(to, "model", json_string(j->model->folder->fingerprint));
    json_object_set_new(to, "config", json_string(hex));
    if (j->tokens)
        json_object_set_new(to, "calibration", json_string(j->tokens->hash));
    if (model_folder_tokenizer_hash(j->model->folder->dir, tokenizer, e) < 0)
        return -1;
    json_object_set_new(to, "tokenizer", json_string(tokenizer));
    return 0;
}

int quantize_describe(const struct quantize_job *j, char **run, char **provenance, struct err *e)
{
    char tokenizer[SHA256_HEX];
    json_t *inputs = json_object(), *options = options_json(j->o);
    json_object_set_new(options, "max_shard", json_integer(j->max_shard));
    int r = describe_inputs(j, inputs, tokenizer, e);
    json_t *both = json_pack("{s:O,s:O}", "inputs", inputs, "options", options);
    char *a = json_dumps(both, JSON_COMPACT | JSON_SORT_KEYS | JSON_REAL_PRECISION(12)), *b = json_dumps(options, JSON_COMPACT | JSON_SORT_KEYS | JSON_REAL_PRECISION(12));
    if (r == 0) {
        *run = mem_strdup(a);
        *provenance = manifest_text(&(struct manifest){.tool = "quantize", .base = j->model->folder->fingerprint, .tokenizer = tokenizer,
                                                       .data = j->tokens ? j->tokens->hash : NULL, .options = b});
    }
    free(a);
    free(b);
    json_decref(both);
    json_decref(inputs);
    json_decref(options);
    return r;
}
