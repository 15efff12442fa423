/* make-quantized: a model folder whose layers' matrices are stored in a layout of base/quantized.h, from a plain one; the settings are those
 * of tests/unit/tiny_quantized.h. */
#include "base/buf.h"
#include "cli/msg.h"
#include "cli/opt.h"
#include "cli/outfile.h"
#include "format/model_folder.h"
#include "model/model.h"
#include "tests/unit/tiny_quantized.h"

static struct {
    const char *layout;
} o = {.layout = "nf4"};

static const struct opt options[] = {
    {OPT_STRING, 0, "layout", &o.layout, "NAME", "one of tests/unit/tiny_quantized.h (nf4)"},
    OPT_END};

static const struct cli_tool tool = {"make-quantized", "[--layout NAME] -m DIR -o DIR", "quantize a model for tests", options, CLI_OUTPUT | CLI_MODEL,
                                     {"make-quantized -m tiny/ -o tiny-nf4/", "make-quantized -m tiny/ --layout gptq -o tiny-gptq/"}};

#define MOST 4096

static struct st_tensor list[MOST];
static int n_tensors;
static struct model *model;
static const struct tiny_layout *layout;

static void add(char *name, enum dtype type, int ndim, int64_t rows, int64_t columns, const void *from)
{
    if (n_tensors == MOST)
        die("too many tensors");
    list[n_tensors] = (struct st_tensor){.name = name, .type = type, .ndim = ndim, .shape = {rows, columns}, .data = from};
    n_tensors++;
}

static void add_4bit(const struct linear *l, const struct tiny_quantized *t, const char *name)
{
    struct buf b = BUF_INIT;
    const struct quantized *q = &t->q;
    const char *dtype = q->value_type == DTYPE_F32 ? "float32" : q->value_type == DTYPE_F16 ? "float16" : "bfloat16";
    float *map = mem_array(NULL, 16, sizeof *map);
    memcpy(map, !strcmp(name, "nf4") ? QUANTIZED_NF4_VALUES : QUANTIZED_FP4_VALUES, 16 * sizeof *map);
    buf_printf(&b, "{\"quant_type\": \"%s\", \"blocksize\": %lld, \"dtype\": \"%s\", \"shape\": [%lld, %lld]", name, (long long)q->group, dtype,
               (long long)q->out, (long long)q->in);
    if (t->nested_map) {
        buf_printf(&b, ", \"nested_blocksize\": 256, \"nested_dtype\": \"float32\", \"nested_offset\": %.17g", (double)q->nested_offset);
        add(mem_printf("%s.weight.nested_absmax", l->module), DTYPE_F32, 1, (t->groups + 255) / 256, 0, t->nested_scales);
        add(mem_printf("%s.weight.nested_quant_map", l->module), DTYPE_F32, 1, 256, 0, t->nested_map);
    }
    buf_add_str(&b, "}");
    add(mem_printf("%s.weight", l->module), DTYPE_U8, 2, (int64_t)t->codes_size, 1, t->codes);
    add(mem_printf("%s.weight.absmax", l->module), q->scale_type, 1, t->groups, 0, t->scales);
    add(mem_printf("%s.weight.quant_map", l->module), DTYPE_F32, 1, 16, 0, map);
    add(mem_printf("%s.weight.quant_state.bitsandbytes__%s", l->module, name), DTYPE_U8, 1, (int64_t)b.len, 0, b.data);
}

static void add_words(const struct linear *l, const struct tiny_quantized *t)
{
    const struct quantized *q = &t->q;
    bool gptq = q->kind == QUANTIZED_GPTQ;
    add(mem_printf("%s.qweight", l->module), DTYPE_I32, 2, gptq ? q->in * q->bits / 32 : q->in, gptq ? q->out : q->out / 8, t->codes);
    add(mem_printf("%s.qzeros", l->module), DTYPE_I32, 2, t->groups, q->out * q->bits / 32, t->zeros);
    add(mem_printf("%s.scales", l->module), q->scale_type, 2, t->groups, q->out, t->scales);
    if (gptq)
        add(mem_printf("%s.g_idx", l->module), DTYPE_I32, 1, q->in, 0, t->g_idx);
}

static int quantize(struct linear *l, void *arg)
{
    struct tiny_quantized *t = mem_alloc(sizeof *t); /* until the program ends */
    float *w = mem_array(NULL, (size_t)(l->out * l->in), sizeof *w);
    (void)arg;
    dtype_to_f32(w, l->weight, l->type, (size_t)(l->out * l->in));
    tiny_quantize(t, model->k, w, l->out, l->in, layout);
    free(w);
    if (layout->kind == QUANTIZED_INT8) {
        add(mem_printf("%s.weight", l->module), DTYPE_I8, 2, l->out, l->in, t->codes);
        add(mem_printf("%s.SCB", l->module), DTYPE_F32, 1, l->out, 0, t->scales);
        add(mem_printf("%s.weight_format", l->module), DTYPE_U8, 0, 0, 0, "");
    } else if (layout->kind == QUANTIZED_NF4 || layout->kind == QUANTIZED_FP4) {
        add_4bit(l, t, layout->kind == QUANTIZED_NF4 ? "nf4" : "fp4");
    } else {
        add_words(l, t);
    }
    return 0;
}

static int keep(struct linear *l, void *arg)
{
    const char *name = arg;
    size_t n = strlen(l->module);
    return !strncmp(name, l->module, n) && !strcmp(name + n, ".weight");
}

static char *configuration(void)
{
    long long group = layout->group ? layout->group : -1;
    switch (layout->kind) {
    case QUANTIZED_INT8: return mem_strdup("{\"quant_method\":\"bitsandbytes\",\"load_in_8bit\":true}");
    case QUANTIZED_NF4:
    case QUANTIZED_FP4: return mem_strdup("{\"quant_method\":\"bitsandbytes\",\"load_in_4bit\":true}");
    case QUANTIZED_GPTQ:
        return mem_printf("{\"quant_method\":\"gptq\",\"bits\":%d,\"group_size\":%lld,\"desc_act\":%s,\"sym\":false,\"checkpoint_format\":\"%s\"%s}", layout->bits,
                          group, layout->act_order ? "true" : "false", layout->zeros == QUANTIZED_ZEROS_PLAIN ? "gptq_v2" : "gptq",
                          layout->zeros == QUANTIZED_ZEROS_WORD_LESS_ONE ? ",\"meta\":{\"quantizer\":[\"gptqmodel:7.7.0\"]}" : "");
    case QUANTIZED_AWQ: break;
    }
    return mem_printf("{\"quant_method\":\"awq\",\"zero_point\":true,\"group_size\":%lld,\"bits\":4,\"version\":\"gemm\"}", group);
}

static void write_tensors(const char *dir)
{
    struct err e = ERR_INIT;
    const struct st_meta meta[] = {{"format", "pt"}};
    char *path = mem_printf("%s/model.safetensors", dir);
    if (st_write(path, list, n_tensors, meta, 1, &e) < 0)
        die_err(&e);
    free(path);
}

int main(int argc, char **argv)
{
    struct err e = ERR_INIT;
    cli_begin(&tool, argc, argv);
    for (int i = 0; i < TINY_LAYOUT_COUNT; i++)
        if (!strcmp(TINY_LAYOUTS[i].name, o.layout))
            layout = &TINY_LAYOUTS[i];
    if (!cli.model || !cli.output || !layout)
        die_usage("expected -m DIR, -o DIR and a known layout");
    if (!(model = model_open(cli.model, kernels_open("cpu", &e), &e)))
        die_err(&e);
    model_each_linear(model, false, quantize, NULL);
    for (int i = 0; i < model->folder->n_tensors; i++) {
        const struct st_tensor *t = model->folder->tensors[i];
        if (!model_each_linear(model, false, keep, t->name))
            add(t->name, t->type, t->ndim, t->shape[0], t->shape[1], t->data);
    }
    struct outdir *d = outdir_open(cli.output, cli.force, &e);
    char *text = configuration();
    const struct model_config_change change = {.quantization = text};
    if (!d || model_folder_copy_files(cli.model, outdir_path(d), &change, &e) < 0)
        die_err(&e);
    write_tensors(outdir_path(d));
    if (outdir_commit(d, &e) < 0)
        die_err(&e);
    free(text);
    return cli_end(EXIT_DONE);
}
