/* What the methods of quantization are given, made from tiny models: token files in memory and layers of weights.
 *
 *     struct tiny_tokens t; tiny_tokens_make(&t, lengths, n, vocab);   ... tiny_tokens_free(&t);
 *     struct quantize_layer l; tiny_layer_make(&l, m, index);          ... tiny_layer_free(&l); */
#ifndef TINY_LAYER_H
#define TINY_LAYER_H

#include "quantize/method.h"
#include "tests/unit/tiny_model.h"

struct tiny_tokens {
    struct token_file *file;
    void *bytes;
};

__attribute__((unused)) static void tiny_tokens_make(struct tiny_tokens *t, const int *lengths, int n, int64_t vocab)
{
    struct err e = ERR_INIT;
    char *text = NULL;
    size_t size = 0;
    FILE *f = open_memstream(&text, &size);
    static const char hash[] = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
    struct token_provenance p = {.vocab = vocab};
    strcpy(p.tokenizer, hash);
    struct token_writer *w = token_writer_begin(f, "tokens", TOKEN_KIND_SAMPLES, &p, &e);
    int rc = w ? 0 : -1;
    for (int s = 0; s < n && !rc; s++) {
        uint32_t *ids = mem_array(NULL, (size_t)lengths[s], sizeof *ids);
        uint8_t *mask = mem_zalloc((size_t)lengths[s], 1);
        for (int i = 0; i < lengths[s]; i++)
            ids[i] = (uint32_t)((formula_unit(formula_hash("tokens"), (uint64_t)(1000 * s + i)) + 0.5f) * (float)(vocab - 1));
        mask[lengths[s] - 1] = 1;
        rc = token_writer_add(w, ids, mask, (uint32_t)lengths[s], &e);
        free(ids);
        free(mask);
    }
    if (rc || token_writer_end(w, hash, &e) || fclose(f))
        tiny_die(&e);
    t->bytes = mem_alloc(size); /* aligned */
    memcpy(t->bytes, text, size);
    free(text);
    if (!(t->file = token_file_parse(t->bytes, size, "tokens", &e)))
        tiny_die(&e);
}

__attribute__((unused)) static void tiny_tokens_free(struct tiny_tokens *t)
{
    token_file_close(t->file);
    free(t->bytes);
}

static struct quantize_vector tiny_vector(const float *from, int64_t n, enum dtype type)
{
    struct quantize_vector v = {NULL, n, type};
    if (!from)
        return v;
    v.value = mem_array(NULL, (size_t)n, sizeof *v.value);
    memcpy(v.value, from, (size_t)n * sizeof *v.value);
    return v;
}

__attribute__((unused)) static void tiny_layer_make(struct quantize_layer *l, struct model *m, int index)
{
    struct layer *ly = &m->layers[index];
    *l = (struct quantize_layer){.index = index};
    for (int i = 0; i < LAYER_LINEARS; i++) {
        const struct linear *from = layer_linear(ly, i);
        struct quantize_module *to = &l->modules[i];
        to->name = from->module, to->out = from->out, to->in = from->in, to->type = from->type;
        to->weight = mem_array(NULL, (size_t)(from->out * from->in), sizeof *to->weight);
        dtype_to_f32(to->weight, from->weight, from->type, (size_t)(from->out * from->in));
        to->bias = tiny_vector(from->bias, from->out, from->type);
    }
    l->attn_norm = tiny_vector(ly->attn_norm.weight, m->config.hidden, ly->q.type);
    l->mlp_norm = tiny_vector(ly->mlp_norm.weight, m->config.hidden, ly->q.type);
    l->q_norm = tiny_vector(ly->q_norm.weight, m->config.head_dim, ly->q.type);
    l->k_norm = tiny_vector(ly->k_norm.weight, m->config.head_dim, ly->q.type);
}

__attribute__((unused)) static void tiny_layer_free(struct quantize_layer *l)
{
    for (int i = 0; i < LAYER_LINEARS; i++) {
        free(l->modules[i].weight);
        free(l->modules[i].bias.value);
        grid_release(&l->modules[i].grid);
    }
    free(l->attn_norm.value);
    free(l->mlp_norm.value);
    free(l->q_norm.value);
    free(l->k_norm.value);
}

#endif
