/* make-model: a tiny model folder of any supported shape, with the weights of tests/tools/formula.h and a byte-level tokenizer. */
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>

#include "base/mem.h"
#include "cli/msg.h"
#include "cli/opt.h"
#include "cli/outfile.h"
#include "format/json_write.h"
#include "format/model_writer.h"
#include "tests/tools/formula.h"

static struct {
    const char *arch, *type, *salt, *nan;
    bool tied, bias;
    double scale;
    int64_t layers, hidden, heads, kv_heads, head_dim, ffn, vocab, window, shard;
} o = {.arch = "llama", .type = "f32", .salt = "", .scale = 1, .layers = 2, .hidden = 24, .heads = 3, .kv_heads = 1, .head_dim = 8, .ffn = 40,
       .vocab = 272, .shard = MODEL_MAX_SHARD};

static const struct opt options[] = {
    {OPT_CHOICE, 0, "arch", &o.arch, "llama|mistral|qwen2|qwen3", "family (llama)"},
    {OPT_CHOICE, 't', "type", &o.type, "f32|f16|bf16", "stored type (f32)"},
    {OPT_FLAG, 0, "tied", &o.tied, NULL, "no lm_head of its own"},
    {OPT_FLAG, 0, "bias", &o.bias, NULL, "llama: biases everywhere"},
    {OPT_COUNT, 0, "layers", &o.layers, "N", "layers (2)", .min = 1, .max = 1000},
    {OPT_COUNT, 0, "hidden", &o.hidden, "N", "width (24)", .min = 1, .max = 100000},
    {OPT_COUNT, 0, "heads", &o.heads, "N", "query heads (3)", .min = 1, .max = 1000},
    {OPT_COUNT, 0, "kv-heads", &o.kv_heads, "N", "key heads (1)", .min = 1, .max = 1000},
    {OPT_COUNT, 0, "head-dim", &o.head_dim, "N", "width of a head (8)", .min = 2, .max = 1000},
    {OPT_COUNT, 0, "ffn", &o.ffn, "N", "feed-forward width (40)", .min = 1, .max = 100000},
    {OPT_COUNT, 0, "vocab", &o.vocab, "N", "rows of the embedding; 259 are tokens (272)", .min = 1, .max = 1000000},
    {OPT_COUNT, 0, "window", &o.window, "N", "sliding window (none)", .min = 0, .max = 1000000},
    {OPT_SIZE, 0, "max-shard", &o.shard, "SIZE", "bytes per shard", .min = 1, .max = 1e15},
    {OPT_STRING, 0, "salt", &o.salt, "TEXT", "put before the names in the formula: another model", 0, 0, NULL},
    {OPT_REAL, 0, "scale", &o.scale, "X", "times the matrices' weights of the formula (1)", .min = 1e-6, .max = 1},
    {OPT_STRING, 0, "nan", &o.nan, "TENSOR", "make the last element of this tensor a NaN"},
    OPT_END};

static const struct cli_tool tool = {"make-model", "[options] -o DIR", "write a tiny model folder for tests", options, CLI_OUTPUT,
                                     {"make-model -o tiny/", "make-model --arch qwen3 --type bf16 --tied -o tiny/"}};

static struct st_tensor *list;
static int n_tensors;

static void add(const char *name, int64_t rows, int64_t columns)
{
    static const char *const names[] = {"f32", "f16", "bf16"};
    static const enum dtype types[] = {DTYPE_F32, DTYPE_F16, DTYPE_BF16};
    struct st_tensor *t = &list[n_tensors++];
    *t = (struct st_tensor){.name = mem_strdup(name), .ndim = columns ? 2 : 1, .shape = {rows, columns}};
    for (int i = 0; i < 3; i++)
        if (!strcmp(o.type, names[i]))
            t->type = types[i];
}

static void add_linear(int64_t layer, const char *module, int64_t out, int64_t in, bool bias)
{
    char name[200];
    snprintf(name, sizeof name, "model.layers.%" PRId64 ".%s.weight", layer, module);
    add(name, out, in);
    snprintf(name, sizeof name, "model.layers.%" PRId64 ".%s.bias", layer, module);
    if (bias)
        add(name, out, 0);
}

static void add_norm(int64_t layer, const char *module, int64_t n)
{
    char name[200];
    snprintf(name, sizeof name, "model.layers.%" PRId64 ".%s.weight", layer, module);
    add(name, n, 0);
}

static void add_tensors(void)
{
    int64_t c = o.hidden, q = o.heads * o.head_dim, kv = o.kv_heads * o.head_dim;
    bool qkv_bias = o.bias || !strcmp(o.arch, "qwen2");
    list = mem_zalloc((size_t)o.layers * 18 + 3, sizeof *list);
    add("model.embed_tokens.weight", o.vocab, c);
    for (int64_t i = 0; i < o.layers; i++) {
        add_linear(i, "self_attn.q_proj", q, c, qkv_bias);
        add_linear(i, "self_attn.k_proj", kv, c, qkv_bias);
        add_linear(i, "self_attn.v_proj", kv, c, qkv_bias);
        add_linear(i, "self_attn.o_proj", c, q, o.bias);
        add_linear(i, "mlp.gate_proj", o.ffn, c, o.bias);
        add_linear(i, "mlp.up_proj", o.ffn, c, o.bias);
        add_linear(i, "mlp.down_proj", c, o.ffn, o.bias);
        add_norm(i, "input_layernorm", c);
        add_norm(i, "post_attention_layernorm", c);
        if (!strcmp(o.arch, "qwen3")) {
            add_norm(i, "self_attn.q_norm", o.head_dim);
            add_norm(i, "self_attn.k_norm", o.head_dim);
        }
    }
    add("model.norm.weight", c, 0);
    if (!o.tied)
        add("lm_head.weight", o.vocab, c);
}

static void put(const char *dir, const char *name, struct buf *b)
{
    struct err e = ERR_INIT;
    char *path = file_join(dir, name);
    if (file_write(path, buf_str(b), b->len, &e) < 0)
        die_err(&e);
    free(path);
    buf_release(b);
}

static void write_config(const char *dir)
{
    struct buf b = BUF_INIT;
    const char *type = !strcmp(o.type, "f32") ? "float32" : !strcmp(o.type, "f16") ? "float16" : "bfloat16";
    const char *name = !strcmp(o.arch, "llama") ? "Llama" : !strcmp(o.arch, "mistral") ? "Mistral" : !strcmp(o.arch, "qwen2") ? "Qwen2" : "Qwen3";
    buf_printf(&b, "{\n  \"architectures\": [\"%sForCausalLM\"],\n  \"model_type\": \"%s\",\n", name, o.arch);
    if (!strcmp(o.arch, "llama"))
        buf_printf(&b, "  \"attention_bias\": %s,\n  \"mlp_bias\": %s,\n", o.bias ? "true" : "false", o.bias ? "true" : "false");
    buf_printf(&b, "  \"bos_token_id\": 256,\n  \"eos_token_id\": 258,\n  \"hidden_act\": \"silu\",\n  \"hidden_size\": %" PRId64 ",\n", o.hidden);
    buf_printf(&b, "  \"head_dim\": %" PRId64 ",\n  \"intermediate_size\": %" PRId64 ",\n  \"max_position_embeddings\": 512,\n", o.head_dim, o.ffn);
    buf_printf(&b, "  \"num_attention_heads\": %" PRId64 ",\n  \"num_hidden_layers\": %" PRId64 ",\n", o.heads, o.layers);
    buf_printf(&b, "  \"num_key_value_heads\": %" PRId64 ",\n  \"rms_norm_eps\": 1e-05,\n  \"rope_theta\": 10000.0,\n", o.kv_heads);
    if (o.window)
        buf_printf(&b, "  \"sliding_window\": %" PRId64 ",\n  \"use_sliding_window\": true,\n", o.window);
    else if (!strcmp(o.arch, "mistral"))
        buf_add_str(&b, "  \"sliding_window\": null,\n");
    buf_printf(&b, "  \"tie_word_embeddings\": %s,\n  \"torch_dtype\": \"%s\",\n  \"vocab_size\": %" PRId64 "\n}\n", o.tied ? "true" : "false", type,
               o.vocab);
    put(dir, "config.json", &b);
}

/* The character that stands for a byte in byte-level vocabularies (GPT-2's bytes_to_unicode). */
static void add_byte_token(struct buf *b, int byte)
{
    int c = byte, extra = 0;
    for (int i = 0; i <= byte; i++) {
        bool printable = (i >= '!' && i <= '~') || (i >= 0xa1 && i <= 0xac) || i >= 0xae;
        c = printable ? i : 256 + extra++;
    }
    char text[3] = {(char)c, 0, 0};
    if (c >= 0x80)
        text[0] = (char)(0xc0 | c >> 6), text[1] = (char)(0x80 | (c & 63));
    json_add_string(b, text);
}

static void write_tokenizer(const char *dir)
{
    static const char *const special[] = {"<|endoftext|>", "<|im_start|>", "<|im_end|>"};
    struct buf b = BUF_INIT;
    buf_add_str(&b, "{\"version\":\"1.0\",\"truncation\":null,\"padding\":null,\"added_tokens\":[");
    for (int i = 0; i < 3; i++)
        buf_printf(&b, "%s{\"id\":%d,\"content\":\"%s\",\"single_word\":false,\"lstrip\":false,\"rstrip\":false,\"normalized\":false,\"special\":true}",
                   i ? "," : "", 256 + i, special[i]);
    buf_add_str(&b, "],\"normalizer\":null,\"pre_tokenizer\":{\"type\":\"ByteLevel\",\"add_prefix_space\":false,\"trim_offsets\":true,\"use_regex\":true},"
                    "\"post_processor\":null,\"decoder\":{\"type\":\"ByteLevel\",\"add_prefix_space\":true,\"trim_offsets\":true,\"use_regex\":true},"
                    "\"model\":{\"type\":\"BPE\",\"dropout\":null,\"unk_token\":null,\"continuing_subword_prefix\":null,\"end_of_word_suffix\":null,"
                    "\"fuse_unk\":false,\"byte_fallback\":false,\"ignore_merges\":false,\"vocab\":{");
    for (int i = 0; i < 256; i++) {
        buf_add_str(&b, i ? "," : "");
        add_byte_token(&b, i);
        buf_printf(&b, ":%d", i);
    }
    buf_add_str(&b, "},\"merges\":[]}}\n");
    put(dir, "tokenizer.json", &b);
    buf_add_str(&b, "{\n  \"bos_token\": \"<|endoftext|>\",\n  \"chat_template\": \"{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\\\n' + "
                    "message['content'] + '<|im_end|>' + '\\\\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\\\n' }}{% endif %}\",\n"
                    "  \"eos_token\": \"<|im_end|>\",\n  \"tokenizer_class\": \"PreTrainedTokenizerFast\"\n}\n");
    put(dir, "tokenizer_config.json", &b);
    buf_add_str(&b, "{\n  \"bos_token_id\": 256,\n  \"eos_token_id\": 258\n}\n");
    put(dir, "generation_config.json", &b);
}

static void write_weights(const char *dir, struct err *e)
{
    struct model_writer *w = model_writer_begin(dir, list, n_tensors, o.shard, NULL, e);
    for (int i = 0; i < n_tensors && w; i++) {
        const struct st_tensor *t = &list[i];
        char *name = mem_printf("%s%s", o.salt, t->name);
        float *values = mem_array(NULL, (size_t)t->numel, sizeof *values);
        void *stored = mem_alloc(t->size);
        formula_fill(values, name, (uint64_t)t->numel);
        for (int64_t j = 0; o.scale != 1 && t->ndim == 2 && j < t->numel; j++)
            values[j] *= (float)o.scale;
        if (o.nan && !strcmp(o.nan, t->name))
            values[t->numel - 1] = NAN;
        dtype_from_f32(stored, t->type, values, (size_t)t->numel);
        if (model_writer_data(w, stored, t->size, e) < 0)
            die_err(e);
        free(stored);
        free(values);
        free(name);
    }
    if (!w || model_writer_end(w, 0, e) < 0)
        die_err(e);
}

int main(int argc, char **argv)
{
    struct err e = ERR_INIT;
    int first = cli_begin(&tool, argc, argv);
    if (first != argc || !cli.output)
        die_usage("expected -o DIR and no operands");
    struct outdir *d = outdir_open(cli.output, cli.force, &e);
    if (!d)
        die_err(&e);
    add_tensors();
    write_config(outdir_path(d));
    write_tokenizer(outdir_path(d));
    write_weights(outdir_path(d), &e);
    if (outdir_commit(d, &e) < 0)
        die_err(&e);
    for (int i = 0; i < n_tensors; i++)
        free(list[i].name);
    free(list);
    return cli_end(EXIT_DONE);
}
