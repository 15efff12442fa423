/* Model folders that bitsandbytes, GPTQModel and AutoAWQ have quantized: tests/golden/quantized/, made by tests/golden/make_quantized.py. */
#include <jansson.h>

#include "base/sha256.h"
#include "tests/unit/golden_model.h"
#include "tests/unit/tap.h"

#define FOLDER "tests/golden/quantized"

static const struct fixture {
    const char *name;
    enum quantized_kind kind;
    int bits, modules;
} FIXTURES[] = {
    {"bnb-nf4", QUANTIZED_NF4, 4, 14}, {"bnb-nf4-f16", QUANTIZED_NF4, 4, 13}, {"bnb-fp4", QUANTIZED_FP4, 4, 14}, {"bnb-int8", QUANTIZED_INT8, 8, 7},
    {"gptq-4-g32", QUANTIZED_GPTQ, 4, 14}, {"gptq-4-g32-order", QUANTIZED_GPTQ, 4, 14}, {"gptq-3", QUANTIZED_GPTQ, 3, 14},
    {"gptq-2", QUANTIZED_GPTQ, 2, 7}, {"gptq-8-v2", QUANTIZED_GPTQ, 8, 7}, {"awq-4-g32", QUANTIZED_AWQ, 4, 14}, {"awq-autoawq", QUANTIZED_AWQ, 4, 7},
};

struct check {
    const struct fixture *f;
    const struct kernels *k;
    const json_t *sums;
    int modules, kinds, same;
};

/* Does the module dequantize to what the peer's own function gives? Checked in two pieces, the second not at the beginning of a row. */
static int check_module(struct linear *l, void *arg)
{
    struct check *c = arg;
    const char *want = json_string_value(json_object_get(c->sums, l->module));
    char hex[SHA256_HEX];
    if (!l->quantized)
        return 0;
    size_t n = (size_t)(l->out * l->in);
    float *w = mem_array(NULL, n, sizeof *w);
    int64_t half = l->in / 2;
    c->k->dequantize(w, DTYPE_F32, l->in, l->quantized, 0, l->out, 0, half);
    c->k->dequantize(w + half, DTYPE_F32, l->in, l->quantized, 0, l->out, half, l->in - half);
    for (size_t i = 0; i < n; i++)
        w[i] += 0.0f;
    sha256_hex(w, n * sizeof *w, hex);
    c->modules++;
    c->kinds += l->quantized->kind == c->f->kind && l->quantized->bits == c->f->bits && !l->weight;
    if (want && !strcmp(want, hex))
        c->same++;
    else
        printf("# %s: %s\n", c->f->name, l->module);
    free(w);
    return 0;
}

static void test_values(const struct fixture *f, struct model *m, const struct st_file *golden)
{
    json_t *sums = json_loads(st_meta(golden, "sha256"), 0, NULL);
    struct check c = {.f = f, .k = m->k, .sums = sums};
    model_each_linear(m, !m->config.tied, check_module, &c);
    ok(c.modules == f->modules && c.kinds == c.modules && json_object_size(sums) == (size_t)c.modules, "%s: %d modules are quantized", f->name, c.modules);
    ok(c.same == c.modules, "%s: %d of them dequantize to the peer's values", f->name, c.same);
    json_decref(sums);
}

static void test_logits(const struct fixture *f, struct model *m, const struct st_file *golden, const char *what)
{
    const struct st_tensor *ids = st_find(golden, "ids"), *start = st_find(golden, "start"), *logits = st_find(golden, "logits");
    struct batch b = {.n = ids->numel, .ids = ids->data, .n_seq = (int)start->numel - 1, .start = start->data};
    struct tiny_decoder d;
    tiny_decoder_make(&d, m, b.n, b.n_seq, false, false);
    float *z = logits_of(d.d, m, &b);
    double error = relative_error(z, logits->data, logits->numel);
    ok(error <= 1e-5, "%s: logits %s (off by %.2g)", f->name, what, error);
    free(z);
    tiny_decoder_release(&d);
}

static void test_fixture(const struct fixture *f)
{
    struct err e = ERR_INIT;
    char *dir = mem_printf(FOLDER "/%s", f->name), *path = mem_printf(FOLDER "/%s.safetensors", f->name);
    struct st_file *golden = st_open(path, &e);
    struct model *m = golden ? model_open(dir, kernels_open("cpu", &e), &e) : NULL;
    if (!m || model_check_finite(m, NULL, &e))
        tiny_die(&e);
    test_values(f, m, golden);
    test_logits(f, m, golden, "of the mapped file");
    ok(model_copy_weights(m, SIZE_MAX), "%s: copied", f->name);
    test_logits(f, m, golden, "of the copy");
    model_close(m);
    st_close(golden);
    free(dir);
    free(path);
}

int main(void)
{
    for (size_t i = 0; i < sizeof FIXTURES / sizeof *FIXTURES; i++)
        test_fixture(&FIXTURES[i]);
    return tap_end();
}
