/* adapter_config.json: reading. Unknown fields are ignored as PEFT does, unless they switch something on. */
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "format/adapter.h"

#define RANK_MAX 65536

static bool is_inactive(const json_t *v)
{
    return !v || json_is_null(v) || json_is_false(v) || (json_is_object(v) && !json_object_size(v)) || (json_is_array(v) && !json_array_size(v));
}

static bool has_affix(const char *s, const char *prefix, const char *suffix)
{
    size_t n = strlen(s), m = strlen(suffix);
    return !strncmp(s, prefix, strlen(prefix)) && n >= m && !strcmp(s + n - m, suffix);
}

/* Fields that change the arithmetic in ways that are not computed here. */
static int check_features(json_t *root, const char *name, struct err *e)
{
    static const char *const unsupported[] = {
        "fan_in_fan_out", "lora_bias", "modules_to_save", "target_parameters", "trainable_token_indices", "layer_replication",
        "alora_invocation_tokens", "megatron_config",
    };
    static const char *const harmless[] = {"use_rslora", "eva_config", "loftq_config", "lora_ga_config", "corda_config"};
    const char *key;
    json_t *value;
    json_object_foreach(root, key, value) {
        bool refuse = has_affix(key, "use_", "") || has_affix(key, "", "_config");
        for (size_t i = 0; i < sizeof harmless / sizeof harmless[0]; i++)
            refuse &= strcmp(key, harmless[i]) != 0;
        for (size_t i = 0; i < sizeof unsupported / sizeof unsupported[0]; i++)
            refuse |= !strcmp(key, unsupported[i]);
        if (refuse && !is_inactive(value))
            return err_set(e, "%s: %s: this feature is not supported", name, key);
    }
    return 0;
}

/* Initialisations that took something out of the base: PEFT would do that again on loading. */
static int check_init(json_t *v, const char *name, struct err *e)
{
    static const char *const inert[] = {"gaussian", "eva", "orthogonal", "mica"};
    const char *s = json_string_value(v);
    if (!v || json_is_null(v) || json_is_boolean(v))
        return 0;
    for (size_t i = 0; s && i < sizeof inert / sizeof inert[0]; i++)
        if (!strcmp(s, inert[i]))
            return 0;
    return err_set(e, "%s: init_lora_weights '%.40s': initialisations that change the base weights are not supported", name, s ? s : "?");
}

static int get_bool(json_t *root, const char *key, bool *v, const char *name, struct err *e)
{
    json_t *j = json_object_get(root, key);
    if (j && !json_is_null(j) && !json_is_boolean(j))
        return err_set(e, "%s: %s: expected true or false", name, key);
    *v = json_is_true(j);
    return 0;
}

static int get_number(json_t *root, const char *key, double *v, const char *name, struct err *e)
{
    json_t *j = json_object_get(root, key);
    if (!j)
        return 0;
    if (!json_is_number(j) || !isfinite(json_number_value(j)))
        return err_set(e, "%s: %s: expected a number", name, key);
    *v = json_number_value(j);
    return 0;
}

static bool string_is_clean(const json_t *j)
{
    return json_is_string(j) && strlen(json_string_value(j)) == json_string_length(j);
}

/* null, a string (a regex) or a list of strings */
static int get_names(json_t *root, const char *key, struct adapter_names *to, const char *name, struct err *e)
{
    json_t *j = json_object_get(root, key), *item;
    size_t i;
    if (!j || json_is_null(j))
        return 0;
    if (string_is_clean(j)) {
        to->regex = mem_strdup(json_string_value(j));
        return 0;
    }
    if (!json_is_array(j))
        return err_set(e, "%s: %s: expected a list of names or a regex", name, key);
    to->list = mem_zalloc(json_array_size(j) + 1, sizeof *to->list);
    json_array_foreach(j, i, item) {
        if (!string_is_clean(item))
            return err_set(e, "%s: %s: expected a list of names", name, key);
        to->list[to->n++] = mem_strdup(json_string_value(item));
    }
    return 0;
}

static int get_patterns(json_t *root, const char *key, struct adapter_pattern **to, int *n, bool integer, const char *name, struct err *e)
{
    json_t *j = json_object_get(root, key), *value;
    const char *pattern;
    if (!j || json_is_null(j))
        return 0;
    if (!json_is_object(j))
        return err_set(e, "%s: %s: expected an object", name, key);
    *to = mem_zalloc(json_object_size(j) + 1, sizeof **to);
    json_object_foreach(j, pattern, value) {
        double v = json_is_number(value) ? json_number_value(value) : NAN;
        if (!isfinite(v) || (integer && (v < 1 || v > RANK_MAX || v != floor(v))))
            return err_set(e, "%s: %s: '%s': expected %s", name, key, pattern, integer ? "a rank" : "a number");
        (*to)[(*n)++] = (struct adapter_pattern){mem_strdup(pattern), v};
    }
    return 0;
}

static int get_layers(json_t *root, struct adapter_config *c, const char *name, struct err *e)
{
    json_t *j = json_object_get(root, "layers_to_transform");
    size_t n = json_is_array(j) ? json_array_size(j) : 1;
    if (!j || json_is_null(j))
        return 0;
    c->layers = mem_zalloc(n + 1, sizeof *c->layers);
    for (size_t i = 0; i < n; i++) {
        json_t *item = json_is_array(j) ? json_array_get(j, i) : j;
        if (!json_is_integer(item))
            return err_set(e, "%s: layers_to_transform: expected layer numbers", name);
        c->layers[c->n_layers++] = json_integer_value(item);
    }
    return 0;
}

/* layers_pattern is a regex or a list of them. */
static int get_layers_pattern(json_t *root, struct adapter_config *c, const char *name, struct err *e)
{
    struct adapter_names *p = &c->layers_pattern;
    if (get_names(root, "layers_pattern", p, name, e) < 0)
        return -1;
    if (p->regex) {
        p->list = mem_zalloc(1, sizeof *p->list);
        p->list[p->n++] = p->regex;
        p->regex = NULL;
    }
    if (c->target_regex && (c->n_layers || p->n))
        return err_set(e, "%s: layers_to_transform and layers_pattern need target_modules to be a list", name);
    if (p->n && !c->n_layers)
        return err_set(e, "%s: layers_pattern without layers_to_transform", name);
    return 0;
}

static int get_targets(json_t *root, struct adapter_config *c, const char *name, struct err *e)
{
    struct adapter_names targets = {0};
    int r = get_names(root, "target_modules", &targets, name, e);
    c->targets = targets.list;
    c->n_targets = targets.n;
    c->target_regex = targets.regex;
    if (r == 0 && !c->target_regex && c->n_targets == 0)
        return err_set(e, "%s: target_modules: expected the names of the adapted modules", name);
    return r;
}

static int get_scalars(json_t *root, struct adapter_config *c, const char *name, struct err *e)
{
    double r = 8;
    json_t *bias = json_object_get(root, "bias"), *base = json_object_get(root, "base_model_name_or_path");
    const char *text = bias ? json_string_value(bias) : "none";
    c->alpha = 8;
    if (get_number(root, "r", &r, name, e) < 0 || get_number(root, "lora_alpha", &c->alpha, name, e) < 0 ||
        get_number(root, "lora_dropout", &c->dropout, name, e) < 0 || get_bool(root, "use_rslora", &c->rslora, name, e) < 0)
        return -1;
    if (r < 1 || r > RANK_MAX || r != floor(r))
        return err_set(e, "%s: r: found %g, expected 1 to %d", name, r, RANK_MAX);
    if (c->dropout < 0 || c->dropout > 1)
        return err_set(e, "%s: lora_dropout: found %g, expected 0 to 1", name, c->dropout);
    c->r = (int)r;
    if (!text || (strcmp(text, "none") && strcmp(text, "all") && strcmp(text, "lora_only")))
        return err_set(e, "%s: bias: found '%.40s', expected none, all or lora_only", name, text ? text : "?");
    strcpy(c->bias, text);
    if (base && !json_is_null(base) && !string_is_clean(base))
        return err_set(e, "%s: base_model_name_or_path: expected a string", name);
    if (json_is_string(base))
        c->base_name = mem_strdup(json_string_value(base));
    return 0;
}

static int read_config(json_t *root, struct adapter_config *c, const char *name, struct err *e)
{
    const char *type = json_string_value(json_object_get(root, "peft_type"));
    if (!json_is_object(root))
        return err_set(e, "%s: expected a JSON object", name);
    if (!type)
        return err_set(e, "%s: no peft_type", name);
    if (strcmp(type, "LORA"))
        return err_set(e, "%s: peft_type '%.40s' is not supported, only LORA is", name, type);
    if (check_features(root, name, e) < 0 || check_init(json_object_get(root, "init_lora_weights"), name, e) < 0 ||
        get_scalars(root, c, name, e) < 0 || get_targets(root, c, name, e) < 0 || get_names(root, "exclude_modules", &c->exclude, name, e) < 0 ||
        get_layers(root, c, name, e) < 0 || get_layers_pattern(root, c, name, e) < 0)
        return -1;
    if (get_patterns(root, "rank_pattern", &c->rank_pattern, &c->n_rank_pattern, true, name, e) < 0)
        return -1;
    return get_patterns(root, "alpha_pattern", &c->alpha_pattern, &c->n_alpha_pattern, false, name, e);
}

int adapter_config_parse(struct adapter_config *c, const char *json, size_t len, const char *name, struct err *e)
{
    json_error_t je;
    *c = (struct adapter_config){0};
    json_t *root = json_loadb(json, len, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, &je);
    if (!root)
        return err_set(e, "%s: line %d: %s", name, je.line, je.text);
    int r = read_config(root, c, name, e);
    json_decref(root);
    if (r < 0)
        adapter_config_release(c);
    return r;
}

static void release_names(struct adapter_names *n)
{
    for (int i = 0; i < n->n; i++)
        free(n->list[i]);
    free(n->list);
    free(n->regex);
}

void adapter_config_release(struct adapter_config *c)
{
    release_names(&(struct adapter_names){c->targets, c->n_targets, c->target_regex});
    release_names(&c->exclude);
    release_names(&c->layers_pattern);
    for (int i = 0; i < c->n_rank_pattern; i++)
        free(c->rank_pattern[i].pattern);
    for (int i = 0; i < c->n_alpha_pattern; i++)
        free(c->alpha_pattern[i].pattern);
    free(c->rank_pattern);
    free(c->alpha_pattern);
    free(c->layers);
    free(c->base_name);
    free(c->base_fingerprint);
    *c = (struct adapter_config){0};
}
