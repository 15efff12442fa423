/* Writing an adapter folder as PEFT does: the 20 fields that every PEFT since 0.7 knows, others only when they say something. */
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "format/adapter.h"
#include "format/json_write.h"
#include "format/manifest.h"

static int compare_text(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static void add_key(struct buf *b, const char *key)
{
    buf_add_str(b, b->len > 1 ? ",\n  " : "\n  ");
    json_add_ascii(b, key);
    buf_add_str(b, ": ");
}

static void add_raw(struct buf *b, const char *key, const char *value)
{
    add_key(b, key);
    buf_add_str(b, value);
}

static void add_list(struct buf *b, char *const *list, int n)
{
    char **sorted = mem_array(NULL, (size_t)n, sizeof *sorted);
    memcpy(sorted, list, (size_t)n * sizeof *sorted);
    qsort(sorted, (size_t)n, sizeof *sorted, compare_text);
    buf_add_char(b, '[');
    for (int i = 0; i < n; i++) {
        buf_add_str(b, i ? ",\n    " : "\n    ");
        json_add_ascii(b, sorted[i]);
    }
    buf_add_str(b, n ? "\n  ]" : "]");
    free(sorted);
}

static void add_text(struct buf *b, const char *key, const char *text)
{
    add_key(b, key);
    if (text)
        json_add_ascii(b, text);
    else
        buf_add_str(b, "null");
}

static void add_names(struct buf *b, const char *key, char *const *list, int n, const char *regex)
{
    if (n == 0) {
        add_text(b, key, regex);
        return;
    }
    add_key(b, key);
    add_list(b, list, n);
}

/* In the given order: the first that matches wins. */
static void add_patterns(struct buf *b, const char *key, const struct adapter_pattern *p, int n)
{
    add_key(b, key);
    buf_add_char(b, '{');
    for (int i = 0; i < n; i++) {
        buf_add_str(b, i ? ",\n    " : "\n    ");
        json_add_ascii(b, p[i].pattern);
        buf_add_str(b, ": ");
        json_add_number(b, p[i].value);
    }
    buf_add_str(b, n ? "\n  }" : "}");
}

static void add_layers(struct buf *b, const struct adapter_config *c)
{
    add_key(b, "layers_to_transform");
    if (c->n_layers == 0)
        buf_add_str(b, "null");
    for (int i = 0; i < c->n_layers; i++)
        buf_printf(b, "%s%lld", i ? ",\n    " : "[\n    ", (long long)c->layers[i]);
    if (c->n_layers)
        buf_add_str(b, "\n  ]");
}

static void add_config(struct buf *b, const struct adapter_config *c)
{
    buf_add_char(b, '{');
    add_patterns(b, "alpha_pattern", c->alpha_pattern, c->n_alpha_pattern);
    add_raw(b, "auto_mapping", "null");
    add_text(b, "base_model_name_or_path", c->base_name);
    add_text(b, "bias", c->bias[0] ? c->bias : "none");
    if (c->exclude.n || c->exclude.regex)
        add_names(b, "exclude_modules", c->exclude.list, c->exclude.n, c->exclude.regex);
    add_raw(b, "fan_in_fan_out", "false");
    add_raw(b, "inference_mode", "true");
    add_raw(b, "init_lora_weights", "true");
    add_names(b, "layers_pattern", c->layers_pattern.list, c->layers_pattern.n, NULL);
    add_layers(b, c);
    add_key(b, "lora_alpha");
    json_add_number(b, c->alpha);
    add_key(b, "lora_dropout");
    json_add_real(b, c->dropout);
    add_raw(b, "modules_to_save", "null");
    add_raw(b, "peft_type", "\"LORA\"");
    add_key(b, "r");
    buf_printf(b, "%d", c->r);
    add_patterns(b, "rank_pattern", c->rank_pattern, c->n_rank_pattern);
    add_raw(b, "revision", "null");
    add_names(b, "target_modules", c->targets, c->n_targets, c->target_regex);
    add_raw(b, "task_type", "\"CAUSAL_LM\"");
    add_raw(b, "use_dora", "false");
    add_raw(b, "use_rslora", c->rslora ? "true" : "false");
    buf_add_str(b, "\n}");
}

static void add_card(struct buf *b, const struct adapter_config *c)
{
    buf_add_str(b, "---\n");
    if (c->base_name) {
        buf_add_str(b, "base_model: ");
        json_add_ascii(b, c->base_name);
        buf_add_char(b, '\n');
    }
    buf_add_str(b, "library_name: peft\npipeline_tag: text-generation\ntags:\n- lora\n- finetools\n---\n\n# LoRA adapter\n\n");
    buf_printf(b, "Rank %d, alpha ", c->r);
    json_add_number(b, c->alpha);
    buf_printf(b, "%s, trained with finetools " FINETOOLS_VERSION ".\n"
               "`ckpt-info` shows what it was made from, `adapter-merge` merges it into its base; PEFT loads it as it is.\n",
               c->rslora ? " (rank-stabilised)" : "");
}

static int write_text(const char *dir, const char *name, const struct buf *b, struct err *e)
{
    char *path = file_join(dir, name);
    int r = file_write(path, buf_str(b), b->len, e);
    free(path);
    return r;
}

/* An adapter that cannot be read back, or reads as something else, is worse than none. */
static int read_back(const char *dir, const struct st_tensor *tensors, int n, struct err *e)
{
    struct adapter *a = adapter_open(dir, e);
    int r = a && st_verify(a->file, e) == 1 ? 0 : -1;
    for (int i = 0; i < n && r == 0; i++) {
        const struct st_tensor *t = st_find(a->file, tensors[i].name);
        if (!t || t->size != tensors[i].size || memcmp(t->data, tensors[i].data, t->size))
            r = err_set(e, "%s: tensor '%s' does not read back as it was written", a->file->path, tensors[i].name);
        else
            st_drop(a->file, t->data, t->size);
    }
    adapter_close(a);
    return r;
}

int adapter_write(const char *dir, const struct adapter_config *c, struct st_tensor *tensors, int n, const char *provenance, struct err *e)
{
    struct buf config = BUF_INIT, card = BUF_INIT;
    char *path = file_join(dir, "adapter_model.safetensors");
    add_config(&config, c);
    add_card(&card, c);
    int r = write_text(dir, "adapter_config.json", &config, e);
    if (r == 0)
        r = write_text(dir, "README.md", &card, e);
    char *record = r == 0 && provenance ? manifest_add_files(provenance, dir, e) : NULL;
    const struct st_meta meta[] = {{ST_CHECKSUMS, NULL}, {"format", "pt"}, {"finetools", record}};
    r = e->set ? -1 : r;
    if (r == 0)
        r = st_write(path, tensors, n, meta, record ? 3 : 2, e);
    if (r == 0)
        r = read_back(dir, tensors, n, e);
    buf_release(&config);
    buf_release(&card);
    free(record);
    free(path);
    return r;
}
