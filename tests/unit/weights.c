/* Opening model folders: what binds, what is passed over, what is refused. */
#include "tests/unit/tap.h"
#include "tests/unit/tiny_model.h"

#define CONFIG(fields) "{\"model_type\": \"llama\", \"hidden_size\": 8, \"intermediate_size\": 12, \"num_hidden_layers\": 1, " \
    "\"num_attention_heads\": 2, \"vocab_size\": 11" fields "}"

static struct st_tensor *find(struct tiny_list *l, const char *name)
{
    for (size_t i = 0; i < l->n; i++)
        if (!strcmp(l->t[i].name, name))
            return &l->t[i];
    return NULL;
}

static void drop_up(struct tiny_list *l)
{
    struct st_tensor *t = find(l, "model.layers.0.mlp.up_proj.weight");
    free(t->name);
    *t = l->t[--l->n];
}

static void drop_head(struct tiny_list *l)
{
    struct st_tensor *t = find(l, "lm_head.weight");
    free(t->name);
    *t = l->t[--l->n];
}

static void turn_gate(struct tiny_list *l)
{
    struct st_tensor *t = find(l, "model.layers.0.mlp.gate_proj.weight");
    t->shape[0] = 8, t->shape[1] = 12;
}

static void flatten_norm(struct tiny_list *l)
{
    struct st_tensor *t = find(l, "model.norm.weight");
    t->ndim = 2, t->shape[0] = 2, t->shape[1] = 4;
}

static void double_q(struct tiny_list *l)
{
    find(l, "model.layers.0.self_attn.q_proj.weight")->type = DTYPE_F64;
}

static void add_bias(struct tiny_list *l)
{
    tiny_add(l, "model.layers.0.self_attn.q_proj.bias", "", 8, 0);
}

static void add_layer(struct tiny_list *l)
{
    tiny_add(l, "model.layers.1.mlp.up_proj.weight", "", 12, 8);
}

static void add_needless(struct tiny_list *l)
{
    tiny_add(l, "model.layers.0.self_attn.rotary_emb.inv_freq", "", 2, 0);
    tiny_add(l, "lm_head.weight", "", 11, 8);
    l->head_as = "model.embed_tokens.weight";
}

static void add_head(struct tiny_list *l)
{
    tiny_add(l, "lm_head.weight", "", 11, 8);
}

static void add_f16_head(struct tiny_list *l)
{
    add_needless(l);
    l->t[l->n - 1].type = DTYPE_F16;
}

static void refused(const char *config, void (*edit)(struct tiny_list *l), const char *text)
{
    struct err e = ERR_INIT;
    char *dir = tiny_model_write(config, edit);
    struct model *m = model_open(dir, kernels_open("cpu", &e), &e);
    if (!ok(!m && strstr(e.text, text) && strstr(e.text, dir), "refused: %s", text))
        printf("# %s\n", e.text);
    model_close(m);
    free(dir);
}

static int check_linear(struct linear *l, void *arg)
{
    int *count = arg;
    char *name = mem_printf("%s.weight", l->module);
    float want[96 + 8];
    formula_fill(want, name, (uint64_t)(l->out * l->in));
    *count += !memcmp(want, l->weight, (size_t)(l->out * l->in) * sizeof *want);
    free(name);
    return *count < 0;
}

static int stop_at_once(struct linear *l, void *arg)
{
    (void)l;
    (void)arg;
    return 7;
}

static void test_bound(void)
{
    struct err e = ERR_INIT;
    int count = 0;
    char *dir = tiny_model_write(CONFIG(""), NULL);
    struct model *m = model_open(dir, kernels_open("cpu", &e), &e);
    if (!m)
        tiny_die(&e);
    is_int(model_each_linear(m, true, check_linear, &count), 0, "every linear is visited");
    is_int(count, 8, "and holds its tensor");
    is_int(model_each_linear(m, true, stop_at_once, NULL), 7, "a visit can end early");
    is_str(m->layers[0].down.module, "model.layers.0.mlp.down_proj", "modules are named");
    float norm[8];
    formula_fill(norm, "model.layers.0.input_layernorm.weight", 8);
    ok(!memcmp(m->layers[0].attn_norm.weight, norm, sizeof norm), "norms are copied");
    ok(m->head.weight != m->embed.weight && !m->layers[0].q_norm.weight && !m->layers[0].q.bias, "untied, without q/k norms and biases");
    model_close(m);
    free(dir);
    dir = tiny_model_write(CONFIG(", \"tie_word_embeddings\": true"), add_needless);
    m = model_open(dir, kernels_open("cpu", &e), &e);
    ok(m && m->head.weight == m->embed.weight && !m->warning, "tied: a copy of the embedding and rotary buffers are passed over");
    model_close(m);
    free(dir);
}

/* Another matrix than the embedding in the file of a model that should be tied. */
static void test_torn(void (*edit)(struct tiny_list *l), const char *what)
{
    struct err e = ERR_INIT;
    char *dir = tiny_model_write(CONFIG(", \"tie_word_embeddings\": true"), edit);
    struct model *m = model_open(dir, kernels_open("cpu", &e), &e);
    if (!m)
        tiny_die(&e);
    ok(m->head.weight != m->embed.weight && !m->config.tied && m->untied, "%s: not tied", what);
    ok(m->warning && strstr(m->warning, "model.safetensors: lm_head.weight differs from the embedding"), "%s: with a warning", what);
    is_int(model_config_parameters(&m->config), 11 * 8 * 2 + 2 * 8 * 8 + 2 * 8 * 8 + 3 * 8 * 12 + 3 * 8, "both are counted");
    model_close(m);
    free(dir);
}

static void test_copied(const char *config)
{
    struct err e = ERR_INIT;
    int count = 0;
    char *dir = tiny_model_write(config, strstr(config, "tie_word") ? add_needless : NULL);
    struct model *m = model_open(dir, kernels_open("cpu", &e), &e);
    if (!m)
        tiny_die(&e);
    const void *mapped = m->layers[0].q.weight;
    ok(!model_copy_weights(m, 100) && m->layers[0].q.weight == mapped, "weights over the limit stay where they are");
    ok(model_copy_weights(m, 1 << 20) && m->layers[0].q.weight != mapped, "others are copied");
    bool tied = m->config.tied;
    is_int(model_each_linear(m, !tied, check_linear, &count), 0, "every linear is there");
    is_int(count, tied ? 7 : 8, "and holds its tensor");
    is_int(check_linear(&m->embed, &count), 0, "so does the embedding");
    is_int(count, tied ? 8 : 9, "with its values");
    ok((m->head.weight == m->embed.weight) == tied, "the output layer is the embedding only where they are tied");
    model_close(m);
    free(dir);
}

int main(void)
{
    test_bound();
    test_copied(CONFIG(""));
    test_copied(CONFIG(", \"tie_word_embeddings\": true"));
    test_torn(add_head, "an output layer of its own");
    test_torn(add_f16_head, "the embedding's values, rounded");
    refused(CONFIG(""), drop_up, "tensor 'model.layers.0.mlp.up_proj.weight' is missing");
    refused(CONFIG(""), drop_head, "tensor 'lm_head.weight' is missing");
    refused(CONFIG(""), turn_gate, "'model.layers.0.mlp.gate_proj.weight': found F32 [8, 12], expected shape [12, 8]");
    refused(CONFIG(""), flatten_norm, "'model.norm.weight': found F32 [2, 4], expected shape [8]");
    refused(CONFIG(""), double_q, "'model.layers.0.self_attn.q_proj.weight': found type F64, expected F32, F16 or BF16");
    refused(CONFIG(""), add_bias, "tensor 'model.layers.0.self_attn.q_proj.bias' has no place");
    refused(CONFIG(""), add_layer, "tensor 'model.layers.1.mlp.up_proj.weight' has no place");
    struct err e = ERR_INIT;
    ok(!model_open("/nonexistent", kernels_open("cpu", &e), &e) && strstr(e.text, "/nonexistent/config.json"), "no folder");
    return tap_end();
}
