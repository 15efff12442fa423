/* A step gives the same bits however it is cut into packs, with and without recomputation, also with dropout. */
#include "tests/unit/tap.h"
#include "base/rng.h"
#include "tests/unit/tiny_model.h"
#include "tests/unit/train_run.h"

static const char TIED[] = "{\"model_type\":\"qwen3\",\"hidden_size\":24,\"intermediate_size\":36,\"num_hidden_layers\":2,\"num_attention_heads\":4,"
                             "\"num_key_value_heads\":2,\"head_dim\":8,\"vocab_size\":97,\"max_position_embeddings\":2048,\"rms_norm_eps\":1e-6,"
                             "\"tie_word_embeddings\":true}";

static const char UNTIED[] = "{\"model_type\":\"qwen2\",\"hidden_size\":32,\"intermediate_size\":36,\"num_hidden_layers\":1,\"num_attention_heads\":4,"
                             "\"num_key_value_heads\":2,\"vocab_size\":97,\"max_position_embeddings\":2048,\"rms_norm_eps\":1e-6,"
                             "\"tie_word_embeddings\":false}";

#define LONG 1500 /* more than the rows that the output layer computes at once */

static void add_samples(struct token_writer *w)
{
    struct err e = ERR_INIT;
    for (uint64_t i = 0; i < 24; i++) {
        const struct rng r = {5, i};
        uint32_t draw[4], ids[LONG];
        uint8_t mask[LONG];
        rng_block(&r, 0, draw);
        uint32_t n = i == 12 ? LONG : 4 + draw[0] % 36;
        for (uint32_t k = 0; k < n; k++) {
            ids[k] = (draw[1] + k * (1 + draw[2] % 5)) % 97;
            mask[k] = k > n / 4;
        }
        if (token_writer_add(w, ids, mask, n, &e) < 0)
            tiny_die(&e);
    }
}

struct shape { const char *what; int64_t rows; const char *recompute; };

static const struct shape SHAPES[] = {
    {"one pack", 2000, "none"}, {"rows 90", 90, "none"}, {"rows 45", 45, "none"}, {"a sample each", 1, "none"}, {"one pack, layer", 2000, "layer"}, {"rows 45, layer", 45, "layer"}};

static double difference(const struct run *a, const struct run *b)
{
    double diff = 0, top = 1e-30;
    for (int i = 0; i < a->model->n_params; i++)
        for (int64_t k = 0; k < a->model->params[i]->numel; k++) {
            diff = fmax(diff, fabs((double)a->model->params[i]->value[k] - b->model->params[i]->value[k]));
            top = fmax(top, fabs((double)a->model->params[i]->value[k]));
        }
    return diff / top;
}

static void check(const char *model, const struct lora_options *lo, const char *what)
{
    enum { N = sizeof SHAPES / sizeof *SHAPES };
    static struct run runs[N];
    for (int s = 0; s < N; s++) {
        struct run *r = &runs[s];
        struct token_writer *w = run_tokens_begin(r, 97);
        add_samples(w);
        run_tokens_end(r, w);
        r->o.steps = 8, r->o.batch = 8, r->o.schedule = "constant", r->o.lr = 1e-3, r->o.eps = 1e-8;
        r->wish.rows = SHAPES[s].rows, r->wish.recompute = SHAPES[s].recompute;
        r->seed = 11;
        run_train(r, model, lo, NULL);
        double loss = 0;
        for (int i = 0; i < 8; i++)
            loss = fmax(loss, fabs(r->steps[i].loss / runs[0].steps[i].loss - 1));
        double off = difference(&runs[0], r);
        ok(r->n_steps == 8 && loss < 1e-6, "%s, %s: losses (off by %.2g)", what, SHAPES[s].what, loss);
        ok(off == 0, "%s, %s: weights (off by %.2g)", what, SHAPES[s].what, off);
    }
    for (int s = 0; s < N; s++) {
        run_close(&runs[s]);
        run_tokens_close(&runs[s]);
    }
}

int main(void)
{
    char *dir = tiny_model_write(TIED, NULL);
    const struct lora_options plain = {4, 8, 0, false, "all-linear", "none", NULL}, dropping = {4, 8, 0.3, true, "q_proj,down_proj", "none", NULL};
    check(dir, &plain, "LoRA");
    check(dir, &dropping, "LoRA with dropout");
    check(dir, NULL, "every weight");
    free(dir);
    dir = tiny_model_write(UNTIED, NULL);
    const struct lora_options head = {4, 8, 0.1, false, "lm_head,v_proj", "all", NULL};
    check(dir, &head, "LoRA of the output layer, and biases");
    check(dir, NULL, "every weight, biases too");
    free(dir);
    return tap_end();
}
