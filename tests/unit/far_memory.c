/* A device whose memory is not the host's: the host reaches it by copies alone, every operation's arguments lie there, and all results are the
 * same bits as on the CPU. */
#include "tests/unit/far_kernels.h"

#include "kernels/view.h"
#include "model/generate.h"
#include "model/param.h"
#include "model/weights_train.h"
#include "tests/unit/tap.h"
#include "tests/unit/tiny_train.h"
#include "tests/unit/train_run.h"
#include "train/optimizer_state.h"

enum { VOCAB = 43, STEPS = 6, TOKENS = 12 };

static const char TIED[] = "{\"model_type\":\"qwen3\",\"hidden_size\":24,\"intermediate_size\":36,\"num_hidden_layers\":2,\"num_attention_heads\":4,"
                           "\"num_key_value_heads\":2,\"head_dim\":8,\"vocab_size\":97,\"max_position_embeddings\":2048,\"rms_norm_eps\":1e-6,"
                           "\"tie_word_embeddings\":true}";
static const char UNTIED[] = "{\"model_type\":\"qwen2\",\"hidden_size\":32,\"intermediate_size\":36,\"num_hidden_layers\":1,\"num_attention_heads\":4,"
                             "\"num_key_value_heads\":2,\"vocab_size\":97,\"max_position_embeddings\":2048,\"rms_norm_eps\":1e-6,"
                             "\"tie_word_embeddings\":false}";

/* An embedding of more elements than are converted at a time. */
static const char LARGE[] = "{\"model_type\":\"qwen3\",\"hidden_size\":24,\"intermediate_size\":36,\"num_hidden_layers\":1,\"num_attention_heads\":4,"
                            "\"num_key_value_heads\":2,\"head_dim\":8,\"vocab_size\":12000,\"max_position_embeddings\":2048,\"rms_norm_eps\":1e-6,"
                            "\"tie_word_embeddings\":true}";

/* Deep enough for activations to leave. */
static const char DEEP[] = "{\"model_type\":\"qwen3\",\"hidden_size\":24,\"intermediate_size\":36,\"num_hidden_layers\":6,\"num_attention_heads\":4,"
                           "\"num_key_value_heads\":2,\"head_dim\":8,\"vocab_size\":97,\"max_position_embeddings\":2048,\"rms_norm_eps\":1e-6,"
                           "\"tie_word_embeddings\":true}";

static const struct kernels *near_table, *far_table;

static void add_samples(struct token_writer *w)
{
    struct err e = ERR_INIT;
    for (uint32_t i = 0; i < 16; i++) {
        uint32_t n = 5 + i * 7 % 30, ids[40];
        uint8_t mask[40];
        for (uint32_t k = 0; k < n; k++) {
            ids[k] = (i * 13 + k * (1 + i % 5)) % VOCAB;
            mask[k] = k > n / 4;
        }
        if (token_writer_add(w, ids, mask, n, &e) < 0)
            tiny_die(&e);
    }
}

static void train(struct run *r, const struct kernels *k, const char *model, const struct lora_options *lo, const char *optimizer, bool offload)
{
    struct token_writer *w = run_tokens_begin(r, VOCAB);
    add_samples(w);
    run_tokens_end(r, w);
    r->k = k;
    r->o.steps = STEPS, r->o.batch = 4, r->o.lr = 1e-3, r->o.save_every = 2, r->o.optimizer = optimizer, r->seed = 3;
    r->wish.rows = 64, r->wish.offload = offload;
    run_train(r, model, lo, NULL);
}

static bool same_param(const struct run *a, const struct run *b, int i)
{
    const struct param *p = a->model->params[i], *q = b->model->params[i];
    size_t bytes = (size_t)p->numel * sizeof(float);
    void *spare = mem_alloc(bytes);
    bool same = !strcmp(p->name, q->name) && !memcmp(p->value, kernels_view(b->k, q->value, spare, bytes), bytes);
    free(spare);
    return same;
}

static void test_training(const char *model, const struct lora_options *lo, const char *optimizer, bool offload, const char *what)
{
    struct run a, b;
    size_t live = far.live;
    train(&a, near_table, model, lo, optimizer, false);
    train(&b, far_table, model, lo, optimizer, offload);
    ok(b.plan.weights == (int64_t)b.model->copied_bytes && b.plan.arena.size <= b.plan.arena.used + 1, "%s: the plan counts the weights there", what);
    int same = 0;
    for (int i = 0; i < STEPS; i++)
        same += a.steps[i].loss == b.steps[i].loss && a.steps[i].grad_norm == b.steps[i].grad_norm;
    ok(a.n_steps == STEPS && same == STEPS, "%s: losses and norms of %d steps", what, same);
    same = 0;
    for (int i = 0; i < a.model->n_params; i++)
        same += same_param(&a, &b, i);
    ok(same && same == a.model->n_params && same == b.model->n_params, "%s: %d trained tensors", what, same);
    run_close(&a), run_close(&b);
    run_tokens_close(&a), run_tokens_close(&b);
    ok(far.live == live && !far_host.live, "%s: all memory is given back", what);
}

static int stop_in; /* calls; 0: never */

static int stop_then(void)
{
    return stop_in && !--stop_in;
}

/* Gradients of one pass over some rows; NULL: it was stopped. */
static float *gradients_of(struct run *r, const struct batch *b)
{
    struct err e = ERR_INIT;
    struct decoder_result result;
    size_t bytes = (size_t)r->optimizer.offset[r->optimizer.n] * sizeof(float);
    float *got = mem_alloc(bytes);
    optimizer_zero_grad(&r->optimizer, r->k);
    if (decoder_forward_backward(r->plan.decoder, b, 1, 1, 1, &result, &e))
        tiny_die(&e);
    r->k->copy_out(got, r->optimizer.grad, bytes);
    if (!result.stopped)
        return got;
    free(got);
    return NULL;
}

/* A pass that ends anywhere leaves nothing that a later one stumbles over; one without gradients moves nothing. */
static void test_offload_passes(struct run *r)
{
    enum { ROWS = 50 };
    struct err e = ERR_INIT;
    int32_t ids[ROWS];
    const int64_t start[] = {0, 20, ROWS};
    struct decoder_result result;
    for (int i = 0; i < ROWS; i++)
        ids[i] = i * 31 % VOCAB;
    const struct batch b = {.n = ROWS, .ids = ids, .targets = ids, .n_seq = 2, .start = start};
    size_t bytes = (size_t)r->optimizer.offset[r->optimizer.n] * sizeof(float), out = far_host.out;
    decoder_set_stop(r->plan.decoder, stop_then);
    if (decoder_loss(r->plan.decoder, &b, &result, NULL, &e))
        tiny_die(&e);
    ok(far_host.out == out, "a pass without gradients moves nothing");
    float *whole = gradients_of(r, &b), *again, *stopped = NULL;
    int stops = 0, same = 0;
    while (stop_in = stops + 1, !(stopped = gradients_of(r, &b))) {
        again = gradients_of(r, &b);
        same += again && !memcmp(again, whole, bytes);
        stops++;
        free(again);
    }
    ok(stops > 12 && same == stops, "stopped in %d places, and then gone through", stops);
    free(stopped);
    free(whole);
}

/* Of six layers the first four leave and come back; with the lowest three frozen there is one. */
static void test_offload(void)
{
    const struct lora_options plain = {4, 8, 0, false, "all-linear", "none", NULL}, above = {4, 8, 0, false, "model\\.layers\\.[345]\\..*", "none", NULL};
    const struct plan_wish wish = {64, 0, "none", INT64_MAX, 0, 0, true};
    struct err e = ERR_INIT;
    char *dir = tiny_model_write(DEEP, NULL);
    test_training(dir, &plain, "adamw", true, "offload");
    size_t passes = far_host.in / 4;
    ok(passes >= STEPS && far_host.in == 4 * passes && far_host.out == 4 * passes, "offload: four layers of %zu passes", passes);
    test_training(dir, &above, "adamw", true, "offload, above frozen layers");
    ok(far_host.in == 4 * passes + passes && far_host.out == far_host.in, "offload, above frozen layers: one layer");
    test_training(dir, NULL, "adamw8bit", true, "offload, every weight");
    struct run a, b;
    struct plan p;
    train(&b, far_table, dir, &plain, "adamw", true);
    test_offload_passes(&b);
    run_close(&b);
    run_tokens_close(&b);
    train(&a, near_table, dir, &plain, "adamw", false);
    is_int(plan_make(&p, a.model, &a.optimizer, &wish, a.tokens, NULL, &e), -1, "offload on the CPU is refused");
    run_close(&a);
    run_tokens_close(&a);
    is_str(e.text, "--offload activations: device 'cpu' works in the host's memory, so there is nowhere to put them", "and told why");
    free(dir);
}

/* A NaN is found there, and what is saved there comes back. */
static void test_state(void)
{
    struct err e = ERR_INIT;
    struct param *p[] = {param_new(mem_strdup("a.weight"), 2, 600, 600), param_new(mem_strdup("b.bias"), 1, 5, 1)};
    struct optimizer o;
    struct arena a;
    const float bad = NAN, good = 1.5f;
    char *dir = scratch_folder();
    optimizer_init(&o, p, 2);
    optimizer_choose(&o, "adamw8bit");
    arena_init(&a);
    optimizer_layout(&o, &a);
    if (arena_commit(&a, far_table->alloc, far_table->free, &e))
        tiny_die(&e);
    optimizer_layout(&o, &a);
    far_table->copy_in(p[0]->value + 77, &good, sizeof good);
    far_table->copy_in(p[0]->value + 350000, &good, sizeof good); /* in a second piece */
    is_int(optimizer_state_save(&o, far_table, dir, &e), 0, "a state is saved");
    far_table->zero(a.base, a.used);
    is_int(optimizer_state_load(&o, far_table, dir, &e), 0, "and loaded");
    float got[3];
    far_table->copy_out(&got[0], p[0]->value + 77, sizeof *got);
    far_table->copy_out(&got[1], p[0]->value + 350000, sizeof *got);
    far_table->copy_out(&got[2], p[0]->value + 350001, sizeof *got);
    ok(got[0] == good && got[1] == good && got[2] == 0, "as it was");
    ok(!optimizer_find_bad_gradient(&o, far_table) && !optimizer_find_bad_value(&o, far_table), "all is finite");
    far_table->copy_in(p[1]->grad + 4, &bad, sizeof bad);
    far_table->copy_in(p[0]->value + 359999, &bad, sizeof bad);
    is_str(optimizer_find_bad_gradient(&o, far_table), "b.bias", "a gradient that is none is found");
    is_str(optimizer_find_bad_value(&o, far_table), "a.weight", "and a weight");
    free(dir);
    optimizer_release(&o);
    arena_release(&a);
    param_free(p[0]), param_free(p[1]);
}

static int refuse_second(void *arg, const void *host, size_t n)
{
    int *pieces = arg;
    (void)host;
    return ++*pieces == 2 ? 5 : n == KERNELS_PIECE ? 0 : 6;
}

/* What is read in pieces ends where it is no longer wanted. */
static void test_pieces(void)
{
    struct err e = ERR_INIT;
    size_t bytes = 3 * KERNELS_PIECE;
    int pieces = 0;
    void *p = far_table->alloc(bytes, &e);
    is_int(kernels_each(far_table, p, bytes, refuse_second, &pieces), 5, "what the sink returns");
    is_int(pieces, 2, "and no further piece");
    far_table->free(p, bytes);
}

static struct model *open_there(const char *dir, const struct kernels *k)
{
    struct err e = ERR_INIT;
    struct model *m = model_open(dir, k, &e);
    if (!m)
        tiny_die(&e);
    return m;
}

/* Masters of the weights of a folder, then of weights that are drawn. */
static void masters_of(const char *dir, const struct kernels *k, float *values[2], int64_t *count)
{
    struct err e = ERR_INIT;
    struct model *m = open_there(dir, k);
    struct weights_train *w = weights_train_select(m, dir, NULL, &e);
    struct optimizer o;
    struct arena a;
    if (!w)
        tiny_die(&e);
    optimizer_init(&o, m->params, m->n_params);
    arena_init(&a);
    optimizer_layout(&o, &a);
    if (arena_commit(&a, k->alloc, k->free, &e))
        tiny_die(&e);
    optimizer_layout(&o, &a);
    *count = o.offset[o.n];
    for (int i = 0; i < 2; i++) {
        if (i == 0)
            weights_train_start(w);
        else
            weights_train_draw(w, 5);
        values[i] = mem_array(NULL, (size_t)*count, sizeof *values[i]);
        k->copy_out(values[i], o.value, (size_t)*count * sizeof *values[i]);
    }
    optimizer_release(&o);
    arena_release(&a);
    weights_train_detach(w);
    model_close(m);
}

static void test_masters(const char *dir)
{
    float *a[2], *b[2];
    int64_t n, same;
    masters_of(dir, near_table, a, &n);
    masters_of(dir, far_table, b, &same);
    for (int i = 0; i < 2; i++) {
        ok(n == same && !memcmp(a[i], b[i], (size_t)n * sizeof *a[i]), "masters of large tensors, %s", i == 0 ? "as they are stored" : "drawn");
        free(a[i]), free(b[i]);
    }
}

static int keep_token(void *arg, size_t request, int32_t id)
{
    int32_t **at = arg;
    (void)request;
    *(*at)++ = id;
    return 0;
}

static int keep_end(void *arg, size_t request, enum generate_end why, int64_t n)
{
    (void)arg, (void)request, (void)why, (void)n;
    return 0;
}

static void generate(const char *dir, const struct kernels *k, int32_t got[TOKENS])
{
    struct err e = ERR_INIT;
    struct model *m = open_there(dir, k);
    const struct generate_options o = {.sampler = {.temperature = 0, .top_p = 1, .repeat_penalty = 1}, .max_positions = 64, .parallel = 1};
    const int32_t prompt[] = {3, 14, 15, 92, 65};
    const struct generate_request request = {prompt, 5, TOKENS, 0};
    int32_t *at = got;
    const struct generate_sink sink = {&at, keep_token, keep_end};
    struct generator *g = generator_new(m, &o, &e);
    if (!g || generator_run(g, &request, 1, &sink, &e))
        tiny_die(&e);
    generator_free(g);
    model_close(m);
}

static void test_generation(const char *dir)
{
    int32_t a[TOKENS] = {0}, b[TOKENS] = {1};
    generate(dir, near_table, a);
    generate(dir, far_table, b);
    ok(!memcmp(a, b, sizeof a), "tokens that are generated");
}

struct scores {
    float *at;
    int64_t v;
};

static int keep_scores(void *arg, int64_t first, int64_t count, const float *logits)
{
    struct scores *s = arg;
    memcpy(s->at + first * s->v, logits, (size_t)(count * s->v) * sizeof *logits);
    return 0;
}

static float *logits_of(const char *dir, const struct kernels *k, size_t *bytes)
{
    enum { ROWS = 20 };
    struct err e = ERR_INIT;
    struct model *m = open_there(dir, k);
    struct tiny_decoder d;
    int32_t ids[ROWS];
    const int64_t start[] = {0, 13, ROWS};
    for (int i = 0; i < ROWS; i++)
        ids[i] = (int32_t)(i * 31 % m->config.vocab);
    const struct batch b = {.n = ROWS, .ids = ids, .n_seq = 2, .start = start};
    tiny_decoder_make(&d, m, ROWS, 2, false, false);
    struct scores s = {mem_array(NULL, (size_t)(ROWS * m->config.vocab), sizeof(float)), m->config.vocab};
    if (decoder_forward(d.d, &b, &e) || decoder_scores(d.d, NULL, ROWS, keep_scores, &s, &e))
        tiny_die(&e);
    *bytes = (size_t)(ROWS * s.v) * sizeof(float);
    tiny_decoder_release(&d);
    model_close(m);
    return s.at;
}

static const char *const QUANTIZED[] = {"bnb-nf4", "bnb-fp4", "bnb-int8", "gptq-4-g32-order", "gptq-8-v2", "awq-4-g32"};

static void test_quantized(const char *name)
{
    size_t bytes;
    char *dir = mem_printf("tests/golden/quantized/%s", name);
    float *a = logits_of(dir, near_table, &bytes), *b = logits_of(dir, far_table, &bytes);
    ok(!memcmp(a, b, bytes), "logits of %s", name);
    free(a), free(b);
    free(dir);
}

int main(void)
{
    struct err e = ERR_INIT;
    if (!(near_table = kernels_open("cpu", &e)))
        tiny_die(&e);
    far_table = far_kernels(near_table);
    char *dir = tiny_model_write(TIED, NULL);
    const struct lora_options plain = {4, 8, 0, false, "all-linear", "none", NULL}, dropping = {4, 8, 0.3, true, "q_proj,lm_head", "all", NULL},
                              aware = {4, 8, 0, false, "all-linear", "none", NULL, true};
    test_training(dir, &plain, "adamw", false, "LoRA");
    test_training(dir, NULL, "adamw8bit", false, "every weight, 8 bits");
    test_generation(dir);
    free(dir);
    dir = tiny_model_write(UNTIED, NULL);
    test_training(dir, &dropping, "adamw", false, "LoRA with dropout, biases");
    test_training(dir, NULL, "adamw", false, "every weight, biases too");
    free(dir);
    test_training("tests/golden/quantized/bnb-nf4", &plain, "adamw", false, "LoRA over NF4");
    test_training("tests/golden/quantized/gptq-4-g32", &aware, "adamw", false, "LoRA over GPTQ, aware of the merge");
    test_offload();
    test_state();
    test_pieces();
    dir = tiny_model_write(LARGE, NULL);
    test_masters(dir);
    free(dir);
    for (size_t i = 0; i < sizeof QUANTIZED / sizeof *QUANTIZED; i++)
        test_quantized(QUANTIZED[i]);
    return tap_end();
}
