/* format/adapter: configuration, matching rules, writing and reading back, what is refused. */
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/mem.h"
#include "format/adapter.h"
#include "format/json_write.h"
#include "format/py_regex.h"
#include "tests/unit/scratch.h"
#include "tests/unit/tap.h"

/* The configuration with these fields besides peft_type; the error text when it is refused. */
static bool parse(struct adapter_config *c, const char *fields, char text[1000])
{
    struct err e = ERR_INIT;
    char *json = mem_printf("{\"peft_type\": \"LORA\", %s}", fields);
    int r = adapter_config_parse(c, json, strlen(json), "c", &e);
    free(json);
    strcpy(text, e.text);
    return r == 0;
}

/* Is `module` targeted? -1 when the configuration is refused. */
static int targets(const char *fields, const char *module, int *rank, double *scale)
{
    struct adapter_config c;
    struct err e = ERR_INIT;
    char text[1000];
    if (!parse(&c, fields, text)) {
        printf("# %s\n", text);
        return -1;
    }
    int r = adapter_targets(&c, module, rank, scale, &e);
    adapter_config_release(&c);
    return r;
}

#define Q11 "model.layers.11.self_attn.q_proj"

/* What PEFT 0.21.2 answers (spec of the adapter format, section 3). */
static void test_matching(void)
{
    static const struct {
        const char *fields, *module;
        int want;
    } cases[] = {
        {"\"target_modules\": [\"q_proj\"]", Q11, 1},
        {"\"target_modules\": [\"self_attn.q_proj\"]", Q11, 1},
        {"\"target_modules\": [\"proj\"]", Q11, 0},
        {"\"target_modules\": [\"attn.q_proj\"]", Q11, 0},
        {"\"target_modules\": [\"1.self_attn.q_proj\"]", Q11, 0},
        {"\"target_modules\": [\"Q_PROJ\"]", Q11, 0},
        {"\"target_modules\": \".*q_proj\"", Q11, 1},
        {"\"target_modules\": \"q_proj\"", Q11, 0},
        {"\"target_modules\": \".*(q|v)_pro\"", Q11, 0},
        {"\"target_modules\": \".*(q|q_proj)\"", Q11, 1},
        {"\"target_modules\": [\"q_proj\"], \"exclude_modules\": \"layers.11\"", Q11, 1},
        {"\"target_modules\": [\"q_proj\"], \"exclude_modules\": \".*layers.11.*\"", Q11, 0},
        {"\"target_modules\": [\"q_proj\"], \"exclude_modules\": [\"self_attn.q_proj\"]", Q11, 0},
        {"\"target_modules\": [\"" Q11 "\"], \"layers_to_transform\": [1]", Q11, 1},
        {"\"target_modules\": [\"q_proj\"], \"layers_to_transform\": [1]", Q11, 0},
        {"\"target_modules\": [\"q_proj\"], \"layers_to_transform\": 11", Q11, 1},
        {"\"target_modules\": [\"q_proj\"], \"layers_to_transform\": [3]", "layers.3.q_proj", 0},
        {"\"target_modules\": [\"q_proj\"], \"layers_to_transform\": [3], \"layers_pattern\": \"layers\"", "layers.3.q_proj", 1},
        {"\"target_modules\": [\"q_proj\"], \"layers_to_transform\": [11], \"layers_pattern\": [\"h\", \"layers\"]", Q11, 1},
        {"\"target_modules\": \"ALL-linear\"", Q11, 1},
        {"\"target_modules\": \"all-linear\"", "lm_head", 0},
    };
    int rank;
    double scale;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        ok(targets(cases[i].fields, cases[i].module, &rank, &scale) == cases[i].want, "%s: %s", cases[i].fields, cases[i].module);
}

static void test_ranks(void)
{
    const char *fields = "\"target_modules\": [\"q_proj\", \"v_proj\", \"k_proj\"], \"r\": 4, \"lora_alpha\": 8, \"use_rslora\": true, "
                         "\"rank_pattern\": {\"q_proj\": 16}, \"alpha_pattern\": {\"v_proj\": 2.0}";
    static const struct { const char *pattern; int rank; } patterns[] = {
        {"q_proj", 16}, {"layers.11.self_attn.q_proj", 16}, {"layers.[0-9]+.self_attn.q_proj", 16}, {"proj", 4}, {"layers.1.self_attn.q_proj", 4},
        {"x|q_proj", 16}, {"l.yers.11.self_attn.q_proj", 16}};
    int rank = 0;
    double scale = 0;
    ok(targets(fields, Q11, &rank, &scale) == 1 && rank == 16, "rank_pattern");
    is_near(scale, 2, 1e-12, "8 / sqrt(16)");
    ok(targets(fields, "model.layers.0.self_attn.v_proj", &rank, &scale) == 1 && rank == 4, "no rank_pattern");
    is_near(scale, 1, 1e-12, "2 / sqrt(4)");
    for (size_t i = 0; i < sizeof patterns / sizeof patterns[0]; i++) {
        char *one = mem_printf("\"target_modules\": [\"q_proj\"], \"r\": 4, \"rank_pattern\": {\"%s\": 16}", patterns[i].pattern);
        ok(targets(one, Q11, &rank, &scale) == 1 && rank == patterns[i].rank, "rank_pattern %s gives %d", patterns[i].pattern, patterns[i].rank);
        free(one);
    }
}

static void test_refused(void)
{
    static const struct { const char *fields, *message; } cases[] = {
        {"\"use_dora\": true", "use_dora: this feature is not supported"},
        {"\"lora_bias\": true", "lora_bias: this feature"},
        {"\"fan_in_fan_out\": true", "fan_in_fan_out: this feature"},
        {"\"modules_to_save\": [\"lm_head\"]", "modules_to_save: this feature"},
        {"\"trainable_token_indices\": [1]", "trainable_token_indices: this feature"},
        {"\"arrow_config\": {\"x\": 1}", "arrow_config: this feature"},
        {"\"use_new_thing\": true", "use_new_thing: this feature"},
        {"\"init_lora_weights\": \"pissa\"", "init_lora_weights 'pissa'"},
        {"\"r\": 0", "r: found 0"},
        {"\"r\": 2.5", "r: found 2.5"},
        {"\"r\": \"8\"", "r: expected a number"},
        {"\"bias\": \"some\"", "bias: found 'some'"},
        {"\"lora_dropout\": 2", "lora_dropout: found 2"},
        {"\"target_modules\": null", "target_modules: expected"},
        {"\"target_modules\": [1]", "target_modules: expected"},
        {"\"target_modules\": [\"q_proj\"], \"rank_pattern\": {\"q_proj\": 0}", "rank_pattern: 'q_proj'"},
        {"\"target_modules\": \".*\", \"layers_to_transform\": [1]", "need target_modules to be a list"},
        {"\"target_modules\": [\"q\"], \"layers_pattern\": \"h\"", "layers_pattern without"},
        {"\"r\": 1, \"r\": 2", "duplicate"},
        {"\"peft_type\": \"IA3\"", "duplicate"},
    };
    struct adapter_config c;
    char text[1000];
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        bool good = parse(&c, cases[i].fields, text);
        if (!ok(!good && strstr(text, cases[i].message), "refused: %s", cases[i].fields))
            printf("# got '%s'\n", text);
    }
    struct err e = ERR_INIT;
    ok(adapter_config_parse(&c, "{\"peft_type\":\"IA3\"}", 19, "c", &e) < 0 && strstr(e.text, "'IA3' is not supported"), "another type");
    bool good = parse(&c, "\"target_modules\": [\"q_proj\"], \"use_dora\": false, \"eva_config\": {\"rho\": 2}, \"future\": 3, \"corda_config\": null", text);
    if (ok(good, "inactive and unknown fields are accepted"))
        adapter_config_release(&c);
}

static void test_regex(void)
{
    static const struct { const char *pattern, *text; int want; } cases[] = {
        {"a|ab", "ab", 1}, {"[^]]b", "ab", 1}, {"(?P<x>a)(?P=x)", "aa", 1}, {"\\d+", "12", 1}, {"a{1,2}", "aa", 1}, {"(?i)A", "a", 1},
        {"a", "ab", 0}, {"\\h", " ", -1}, {"(*ACCEPT)", "", -1}, {"(?R)", "a", -1}, {"[[:alpha:]]", "a", -1}, {"[x[:alpha:]]", "a", -1},
        {"a{,2}", "a", -1}, {"(", "a", -1}, {"a\\", "a", -1}, {"(a+)+[xy]", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaac", -1}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct err e = ERR_INIT;
        is_int(py_regex(cases[i].pattern, cases[i].text, PY_REGEX_FULLMATCH, NULL, 0, &e), cases[i].want, cases[i].pattern);
    }
}

static void test_json_write(void)
{
    static const struct { double v; const char *want; } reals[] = {
        {0, "0.0"}, {0.05, "0.05"}, {1e-5, "1e-05"}, {1e-4, "0.0001"}, {16, "16.0"}, {123456789, "123456789.0"}, {1e16, "1e+16"},
        {1e15, "1000000000000000.0"}, {0.1 + 0.2, "0.30000000000000004"}, {-1.5, "-1.5"}, {11.313708498984761, "11.313708498984761"},
        {1.5e300, "1.5e+300"}, {5e-324, "5e-324"}, {-0.0, "-0.0"}, {1e22, "1e+22"}, {0.001234, "0.001234"}};
    for (size_t i = 0; i < sizeof reals / sizeof reals[0]; i++) {
        struct buf b = BUF_INIT;
        json_add_real(&b, reals[i].v);
        is_str(buf_str(&b), reals[i].want, "repr of a number");
        buf_release(&b);
    }
    struct buf b = BUF_INIT;
    json_add_ascii(&b, "a\"\\/\n\x01\x7f\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80");
    is_str(buf_str(&b), "\"a\\\"\\\\/\\n\\u0001\\u007f\\u00e9\\u20ac\\ud83d\\ude00\"", "json.dumps");
    buf_clear(&b);
    json_add_string(&b, "a\"\\/\n\x01\x7f\xc3\xa9");
    is_str(buf_str(&b), "\"a\\\"\\\\/\\n\\u0001\x7f\xc3\xa9\"", "serde_json");
    buf_release(&b);
}

static void test_round_trip(void)
{
    char *dir = scratch_folder();
    float a[2 * 3] = {1, 2, 3, 4, 5, 6}, b[4 * 2] = {1, 2, 3, 4, 5, 6, 7, 8}, bias[4] = {9, 9, 9, 9};
    struct st_tensor list[3] = {
        {.name = "base_model.model.m.q_proj.lora_B.weight", .type = DTYPE_F32, .ndim = 2, .shape = {4, 2}, .data = b},
        {.name = "base_model.model.m.q_proj.lora_A.weight", .type = DTYPE_F32, .ndim = 2, .shape = {2, 3}, .data = a},
        {.name = "base_model.model.m.q_proj.base_layer.bias", .type = DTYPE_F32, .ndim = 1, .shape = {4}, .data = bias}};
    char *names[] = {"v_proj", "q_proj"};
    struct adapter_config c = {.r = 2, .alpha = 4, .dropout = 0.05, .bias = "lora_only", .base_name = "b\"ase", .targets = names, .n_targets = 2};
    struct err e = ERR_INIT;
    ok(adapter_write(dir, &c, list, 3, "{\"base\": \"abc\"}", &e) == 0, "written");
    struct adapter *x = adapter_open(dir, &e);
    if (ok(x != NULL, "read")) {
        const struct adapter_module *m = adapter_find(x, "m.q_proj");
        ok(x->n_modules == 1 && x->n_extras == 1 && m && m->rank == 2 && m->scale == 2 && !memcmp(m->b->data, b, sizeof b), "the pair");
        is_str(x->extras[0].name, "m.q_proj.bias", "the bias");
        is_str(x->config.base_fingerprint, "abc", "provenance");
        is_str(x->config.base_name, "b\"ase", "name of the base");
    } else {
        printf("# %s\n", e.text);
    }
    adapter_close(x);
    list[2].data = bias; /* the B of another rank: read back and refused */
    list[2].shape[1] = 1;
    ok(adapter_write(dir, &c, list, 3, NULL, &e) < 0, "an adapter that does not fit its configuration is not written");
    static const char *const files[] = {"adapter_config.json", "adapter_model.safetensors", "README.md"};
    for (int i = 0; i < 3; i++) {
        char *path = file_join(dir, files[i]);
        ok(unlink(path) == 0, "%s was there", files[i]);
        free(path);
    }
    free(dir);
}

int main(void)
{
    test_matching();
    test_ranks();
    test_refused();
    test_regex();
    test_json_write();
    test_round_trip();
    return tap_end();
}
