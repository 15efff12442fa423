/* The rotary section of config.json, in its three spellings: "rope_scaling" with a top-level "rope_theta", the same
 * with the legacy key "type", and "rope_parameters". Precedence and defaults are those of transformers 5.23
 * (modeling_rope_utils.py, standardize_rope_params). */
#include <math.h>
#include <string.h>

#include "model/config.h"
#include "model/config_json.h"

static const char *const KNOWN_KEYS[] = {
    "rope_type", "type", "rope_theta", "factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings",
    "beta_fast", "beta_slow", "attention_factor", "mscale", "mscale_all_dim", "truncate", "partial_rotary_factor",
};

static const struct { const char *name; enum rope_type type; } TYPES[] = {
    {"default", ROPE_DEFAULT}, {"linear", ROPE_LINEAR}, {"dynamic", ROPE_DYNAMIC},
    {"llama3", ROPE_LLAMA3}, {"yarn", ROPE_YARN},
};

static void check_keys(struct json_fields *r)
{
    const char *key;
    json_t *value;
    json_object_foreach(r->object, key, value) {
        bool known = json_is_null(value);
        for (size_t i = 0; i < sizeof KNOWN_KEYS / sizeof *KNOWN_KEYS && !known; i++)
            known = !strcmp(key, KNOWN_KEYS[i]);
        if (json_is_object(value))
            json_fields_bad(r, key, "one rotary setting for all layers");
        else if (!known)
            json_fields_bad(r, key, "only fields of a known rotary scaling");
    }
}

static void read_type(struct json_fields *r, struct rope_config *rope)
{
    const char *key = json_fields_find(r, "rope_type") ? "rope_type" : "type";
    const char *name = json_fields_string(r, key, "default");
    for (size_t i = 0; i < sizeof TYPES / sizeof *TYPES; i++)
        if (!strcmp(name, TYPES[i].name)) {
            rope->type = TYPES[i].type;
            return;
        }
    json_fields_bad(r, key, "default, linear, dynamic, llama3 or yarn");
}

static void check_whole(struct json_fields *r)
{
    if (json_fields_number(r, "partial_rotary_factor", 1, 0, 1) != 1)
        json_fields_bad(r, "partial_rotary_factor", "1 (the whole head is rotated)");
}

static void read_llama3(struct json_fields *r, struct rope_config *rope)
{
    rope->low_freq_factor = json_fields_number(r, "low_freq_factor", 0, 1e-6, 1e6);
    rope->high_freq_factor = json_fields_number(r, "high_freq_factor", 0, 1e-6, 1e6);
    if (!rope->low_freq_factor)
        json_fields_bad(r, "low_freq_factor", "a number above 0");
    if (rope->high_freq_factor <= rope->low_freq_factor)
        json_fields_bad(r, "high_freq_factor", "a number above low_freq_factor");
}

static void read_yarn(struct json_fields *r, struct rope_config *rope, double max_positions)
{
    rope->beta_fast = json_fields_number(r, "beta_fast", 0, 0, 1e6);
    rope->beta_slow = json_fields_number(r, "beta_slow", 0, 0, 1e6);
    rope->attention_factor = json_fields_number(r, "attention_factor", 0, 1e-6, 1e6);
    rope->mscale = json_fields_number(r, "mscale", 0, 0, 1e6);
    rope->mscale_all_dim = json_fields_number(r, "mscale_all_dim", 0, 0, 1e6);
    rope->truncate = json_fields_bool(r, "truncate", true);
    rope->beta_fast = rope->beta_fast ? rope->beta_fast : 32;
    rope->beta_slow = rope->beta_slow ? rope->beta_slow : 1;
    if (!rope->factor)
        rope->factor = max_positions / rope->original_max_positions;
}

/* `top` holds the fields of config.json itself, `r` those of the dictionary (an empty object when there is none). */
static void read_dictionary(struct json_fields *top, struct json_fields *r, struct model_config *c)
{
    struct rope_config *rope = &c->rope;
    check_keys(r);
    if (r->bad)
        return;
    read_type(r, rope);
    check_whole(r);
    if (!json_fields_find(r, "partial_rotary_factor"))
        check_whole(top);
    rope->theta = json_fields_number(r, "rope_theta", json_fields_number(top, "rope_theta", 10000, 1, 1e15), 1, 1e15);
    rope->factor = json_fields_number(r, "factor", 0, 1e-6, 1e9);
    if (!rope->factor && rope->type != ROPE_DEFAULT && rope->type != ROPE_YARN)
        json_fields_bad(r, "factor", "a number above 0");
    double inside = json_fields_number(r, "original_max_position_embeddings", (double)c->max_positions, 1, 1e12);
    rope->original_max_positions = json_fields_number(top, "original_max_position_embeddings", inside, 1, 1e12);
    if (rope->type == ROPE_LLAMA3)
        read_llama3(r, rope);
    if (rope->type == ROPE_YARN)
        read_yarn(r, rope, (double)c->max_positions);
}

void config_read_rope(struct json_fields *top, struct model_config *c)
{
    const char *keys[] = {"rope_scaling", "rope_parameters"};
    struct json_fields r = *top;
    json_t *none = json_object();
    r.object = none;
    r.prefix = "";
    for (int i = 0; i < 2 && r.object == none; i++) {
        json_t *v = json_fields_find(top, keys[i]);
        if (v && !json_is_object(v))
            json_fields_bad(top, keys[i], "an object");
        else if (v && json_object_size(v)) { /* an empty rope_scaling gives way to rope_parameters */
            r.object = v;
            r.prefix = i ? "rope_parameters." : "rope_scaling.";
        }
    }
    read_dictionary(top, &r, c);
    top->bad |= r.bad;
    json_decref(none);
}
