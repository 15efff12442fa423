/* The models of tests/golden/decoder/ (see tests/golden/make_models.py): opened, with their batch and what is expected. */
#ifndef GOLDEN_MODEL_H
#define GOLDEN_MODEL_H

#include <math.h>

#include "tests/unit/tiny_train.h"

static const char *const GOLDEN_MODELS[] = {
    "llama", "llama-rope-llama3", "llama-rope-linear", "llama-rope-dynamic", "llama-rope-yarn", "llama-biases", "mistral-window",
    "qwen2-window", "qwen2", "qwen3", "qwen3-window", "llama-bf16", "llama-f16",
};

struct golden {
    const char *name;
    struct st_file *file;
    char *dir;
    struct batch batch;
    int64_t trained;
};

static const void *data_of(const struct golden *g, const char *name)
{
    const struct st_tensor *t = st_find(g->file, name);
    if (!t) {
        printf("Bail out! %s: no tensor %s\n", g->name, name);
        exit(1);
    }
    return t->data;
}

__attribute__((unused)) static void golden_open(struct golden *g, const char *name)
{
    struct err e = ERR_INIT;
    char *path = mem_printf("tests/golden/decoder/%s.safetensors", name);
    g->name = name;
    g->file = st_open(path, &e);
    if (!g->file)
        tiny_die(&e);
    free(path);
    g->dir = tiny_model_write(st_meta(g->file, "config"), NULL);
    g->batch = (struct batch){
        .n = st_find(g->file, "ids")->numel, .ids = data_of(g, "ids"), .targets = data_of(g, "targets"),
        .n_seq = (int)st_find(g->file, "start")->numel - 1, .start = data_of(g, "start")};
    g->trained = 0;
    for (int64_t i = 0; i < g->batch.n; i++)
        g->trained += g->batch.targets[i] >= 0;
}

__attribute__((unused)) static void golden_close(struct golden *g)
{
    st_close(g->file);
    free(g->dir);
}

__attribute__((unused)) static struct model *open_model(const struct golden *g)
{
    struct err e = ERR_INIT;
    struct model *m = model_open(g->dir, kernels_open("cpu", &e), &e);
    if (!m)
        tiny_die(&e);
    return m;
}

/* Largest difference over the largest value. */
__attribute__((unused)) static double relative_error(const float *got, const float *want, int64_t n)
{
    double diff = 0, top = 1e-30;
    for (int64_t i = 0; i < n; i++) {
        if (!(fabs((double)got[i] - want[i]) <= diff))
            diff = fabs((double)got[i] - want[i]);
        top = fmax(top, fabs((double)want[i]));
    }
    return diff / top;
}

struct logits { float *data; int64_t vocab, rows; };

static int keep_logits(void *arg, int64_t first, int64_t count, const float *z)
{
    struct logits *l = arg;
    if (first != l->rows)
        return -1;
    memcpy(l->data + first * l->vocab, z, (size_t)(count * l->vocab) * sizeof *z);
    l->rows += count;
    return 0;
}

__attribute__((unused)) static float *logits_of(struct decoder *d, struct model *m, const struct batch *b)
{
    struct err e = ERR_INIT;
    struct logits l = {mem_array(NULL, (size_t)(b->n * m->config.vocab), sizeof *l.data), m->config.vocab, 0};
    if (decoder_forward(d, b, &e) || decoder_scores(d, NULL, 0, keep_logits, &l, &e))
        tiny_die(&e);
    if (l.rows != b->n)
        l.data[0] = NAN;
    return l.data;
}

#endif
