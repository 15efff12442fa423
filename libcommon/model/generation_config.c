#include "model/generation_config.h"

#include <jansson.h>
#include <math.h>
#include <stdlib.h>

#include "base/file.h"

enum { FILE_LIMIT = 1 << 20 };

static int read_number(const json_t *root, const char *key, double low, double high, double *to, const char *path, struct err *e)
{
    const json_t *v = json_object_get(root, key);
    if (!v || json_is_null(v))
        return 0;
    double x = json_number_value(v);
    if (!json_is_number(v) || !(x >= low && x <= high))
        return err_set(e, "%s: %s: expected a number from %g to %g", path, key, low, high);
    *to = x;
    return 0;
}

static int add_stop(struct generation_config *g, const json_t *id, const char *path, struct err *e)
{
    json_int_t n = json_integer_value(id);
    if (!json_is_integer(id) || n < 0 || n > INT32_MAX)
        return err_set(e, "%s: eos_token_id: expected a token id or a list of them", path);
    if (g->n_stop == MODEL_EOS_MAX)
        return err_set(e, "%s: eos_token_id: more than %d ids", path, MODEL_EOS_MAX);
    g->stop[g->n_stop++] = (int32_t)n;
    return 0;
}

static int read_stops(struct generation_config *g, const json_t *v, const char *path, struct err *e)
{
    size_t i;
    json_t *id;
    if (!v || json_is_null(v))
        return 0;
    g->n_stop = 0;
    if (!json_is_array(v))
        return add_stop(g, v, path, e);
    json_array_foreach(v, i, id)
        if (add_stop(g, id, path, e) < 0)
            return -1;
    return 0;
}

static int read_fields(struct generation_config *g, const json_t *root, const char *path, struct err *e)
{
    struct sampler_options *s = &g->sampler;
    double temperature = 1, top_k = 50, max_new = 0;
    bool sample = json_is_true(json_object_get(root, "do_sample"));
    if (!json_is_object(root))
        return err_set(e, "%s: expected a JSON object", path);
    if (read_stops(g, json_object_get(root, "eos_token_id"), path, e) < 0 ||
        read_number(root, "temperature", 0, 1e6, &temperature, path, e) < 0 || read_number(root, "top_k", 0, INT32_MAX, &top_k, path, e) < 0 ||
        read_number(root, "top_p", 0, 1, &s->top_p, path, e) < 0 || read_number(root, "min_p", 0, 1, &s->min_p, path, e) < 0 ||
        read_number(root, "repetition_penalty", 1e-6, 1e6, &s->repeat_penalty, path, e) < 0 ||
        read_number(root, "max_new_tokens", 1, INT32_MAX, &max_new, path, e) < 0)
        return -1;
    s->temperature = sample ? temperature : 0;
    s->top_k = (int64_t)top_k;
    g->max_new_tokens = (int64_t)max_new;
    return 0;
}

static void set_defaults(struct generation_config *g, const struct model_config *c)
{
    *g = (struct generation_config){.sampler = {.temperature = 0, .top_k = 50, .top_p = 1, .min_p = 0, .repeat_penalty = 1}};
    for (int i = 0; i < c->n_eos; i++)
        g->stop[g->n_stop++] = c->eos[i];
}

int generation_config_parse(struct generation_config *g, const char *json, size_t len, const char *name, const struct model_config *c, struct err *e)
{
    json_error_t where;
    set_defaults(g, c);
    json_t *root = json_loadb(json, len, JSON_REJECT_DUPLICATES, &where);
    int result = root ? read_fields(g, root, name, e) : err_set(e, "%s: line %d: %s", name, where.line, where.text);
    json_decref(root);
    return result;
}

int generation_config_read(struct generation_config *g, const char *dir, const struct model_config *c, struct err *e)
{
    struct buf text = BUF_INIT;
    int result = 0;
    set_defaults(g, c);
    char *path = file_join(dir, "generation_config.json");
    if (file_exists(path)) {
        result = file_read(&text, path, FILE_LIMIT, e);
        if (result == 0)
            result = generation_config_parse(g, buf_str(&text), text.len, path, c, e);
    }
    buf_release(&text);
    free(path);
    return result;
}
