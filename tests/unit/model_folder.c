/* format/model_writer and format/model_folder: order, splitting, the index, what is refused. */
#include <stdlib.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/mem.h"
#include "format/model_folder.h"
#include "format/model_writer.h"
#include "tests/unit/scratch.h"
#include "tests/unit/tap.h"

static char *dir;

static void clean(void)
{
    char *command = mem_printf("rm -rf '%s'/*", dir);
    ok(system(command) == 0, "cleaned");
    free(command);
}

/* Writes tensors a, b, c, ... of these sizes in U8 and returns the shards' contents as "b a,c d" (by file). */
static char *write_sizes(const int *sizes, int n, int64_t limit)
{
    struct st_tensor list[8] = {{0}};
    static char names[8][2], zeros[64];
    struct err e = ERR_INIT;
    struct buf b = BUF_INIT;
    for (int i = 0; i < n; i++) {
        names[i][0] = (char)('a' + i);
        list[i] = (struct st_tensor){.name = names[i], .type = DTYPE_U8, .ndim = 1, .shape = {sizes[i]}};
    }
    struct model_writer *w = model_writer_begin(dir, list, n, limit, NULL, &e);
    for (int i = 0; i < n && w; i++)
        if (model_writer_data(w, zeros, list[i].size, &e) < 0)
            printf("# %s\n", e.text);
    if (!w || model_writer_end(w, 0, &e) < 0)
        printf("# %s\n", e.text);
    struct model_folder *f = model_folder_open(dir, &e);
    for (int s = 0; f && s < f->n_shards; s++)
        for (int i = 0; i < f->shards[s]->n_tensors; i++)
            buf_printf(&b, "%s%s", i ? "," : s ? " " : "", f->shards[s]->tensors[i].name);
    model_folder_close(f);
    clean();
    return buf_detach(&b);
}

static void is_split(const int *sizes, int n, int64_t limit, const char *want)
{
    char *got = write_sizes(sizes, n, limit);
    is_str(got, want, "tensors by shard");
    free(got);
}

static void test_splitting(void)
{
    is_split((int[]){2, 2, 5, 2}, 4, 4, "c a,b d"); /* what huggingface_hub 2.4 does */
    is_split((int[]){2, 5, 2, 2}, 4, 4, "b a,c d");
    is_split((int[]){2, 2, 5, 2}, 4, 100, "a,b,c,d");
    is_split((int[]){5, 5}, 2, 4, "a b");
    is_split((int[]){2, 2, 0}, 3, 2, "a b,c");
    is_split((int[]){4}, 1, 4, "a");
}

static void test_order(void)
{
    const char *names[] = {"model.embed_tokens.weight", "model.layers.2.self_attn.q_proj.weight", "model.layers.2.self_attn.q_proj.bias",
                           "model.layers.2.self_attn.k_proj.weight", "model.layers.2.mlp.gate_proj.weight", "model.layers.2.input_layernorm.weight",
                           "model.layers.2.odd.weight", "model.layers.2.odder.weight", "model.layers.10.self_attn.q_proj.weight",
                           "model.norm.weight", "lm_head.weight", "x", "x.y"};
    int n = (int)(sizeof names / sizeof names[0]), wrong = 0;
    for (int i = 0; i < n; i++)
        for (int k = 0; k < n; k++) {
            int d = model_order(names[i], names[k]);
            if ((d > 0) - (d < 0) != (i > k) - (i < k)) {
                printf("# %s against %s gives %d\n", names[i], names[k], d);
                wrong++;
            }
        }
    is_int(wrong, 0, "modules in torch's order");
}

static void put(const char *name, const char *text, size_t len)
{
    char *path = file_join(dir, name);
    struct err e = ERR_INIT;
    if (file_write(path, text, len, &e) < 0)
        printf("# %s\n", e.text);
    free(path);
}

#define A "\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]}"
#define B "\"b\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]}"
#define A_AND_B A ",\"b\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[1,2]}"

/* A safetensors file of these entries and this data. */
static void put_tensors(const char *name, const char *entries, const char *data)
{
    char length[8];
    struct buf b = BUF_INIT;
    put_le64(length, strlen(entries) + 2);
    buf_add(&b, length, 8);
    buf_printf(&b, "{%s}%s", entries, data);
    put(name, buf_str(&b), b.len);
    buf_release(&b);
}

static void refused(const char *index, const char *message)
{
    struct err e = ERR_INIT;
    put("model.safetensors.index.json", index, strlen(index));
    struct model_folder *f = model_folder_open(dir, &e);
    if (!ok(!f && strstr(e.text, message), "refused: %s", index))
        printf("# got '%s', expected '%s'\n", f ? "accepted" : e.text, message);
    model_folder_close(f);
}

static void test_reading(void)
{
    struct err e = ERR_INIT;
    ok(!model_folder_open(dir, &e) && strstr(e.text, "neither model.safetensors nor"), "an empty folder");
    e = (struct err)ERR_INIT;
    ok(!model_folder_open("/nonexistent", &e) && strstr(e.text, "no such folder"), "no folder");
    put_tensors("one", A, "x");
    put_tensors("two", B, "x");
    put_tensors("also", A, "x");
    refused("{\"weight_map\":{\"a\":\"one\",\"b\":\"three\"}}", "three: this shard is missing");
    refused("{\"weight_map\":{\"a\":\"one\",\"b\":\"../two\"}}", "plain name");
    refused("{\"weight_map\":{\"a\":\"one\",\"b\":\"/etc/passwd\"}}", "plain name");
    refused("{\"weight_map\":{\"a\":\"one\",\"b\":1}}", "plain name");
    refused("{\"weight_map\":{\"a\":\"one\",\"c\":\"two\"}}", "tensor 'c' is not in two");
    refused("{\"weight_map\":{\"a\":\"one\",\"b\":\"one\"}}", "tensor 'b' is not in one");
    refused("{\"weight_map\":{\"a\":\"one\",\"a\":\"one\"}}", "duplicate");
    refused("{\"metadata\":{}}", "no weight_map");
    const char *index = "{\"metadata\":{\"total_size\":2.0},\"weight_map\":{\"a\":\"one\",\"b\":\"two\"}}";
    put("model.safetensors.index.json", index, strlen(index));
    e = (struct err)ERR_INIT;
    struct model_folder *f = model_folder_open(dir, &e);
    ok(f && f->n_tensors == 2 && f->n_shards == 2 && f->bytes == 2 && f->sharded && f->n_unmapped == 0, "two shards");
    ok(f && model_folder_find(f, "b") && !model_folder_find(f, "c") && model_folder_shard(f, model_folder_find(f, "b")) == f->shards[1], "finding");
    model_folder_close(f);
    refused("{\"weight_map\":{\"a\":\"one\",\"b\":\"two\",\"x\":\"also\"}}", "tensor 'x' is not in also");
    put_tensors("also", B, "x");
    refused("{\"weight_map\":{\"a\":\"one\",\"b\":\"two\"}, \"weight_map2\":0", "line 1");
    put_tensors("two", A_AND_B, "xy");
    refused("{\"weight_map\":{\"a\":\"one\",\"b\":\"two\"}}", "tensor 'a' stands in two shards, one and two");
    put_tensors("model.safetensors", A, "x");
    e = (struct err)ERR_INIT;
    f = model_folder_open(dir, &e);
    ok(f && f->n_tensors == 1 && !f->sharded, "model.safetensors wins over an index");
    char first[SHA256_HEX] = "";
    if (f)
        strcpy(first, f->fingerprint);
    model_folder_close(f);
    put_tensors("model.safetensors", B, "x");
    f = model_folder_open(dir, &e);
    ok(f && strlen(first) == 64 && strcmp(first, f->fingerprint), "another model has another fingerprint");
    model_folder_close(f);
    clean();
}

static void test_copying(void)
{
    char *to = scratch_folder(), hex[SHA256_HEX];
    struct err e = ERR_INIT;
    static const char *const names[] = {"tokenizer.json", "config.json", "generation_config.json", "optimizer.bin", "LICENSE", "chat_template.jinja"};
    ok(model_folder_tokenizer_hash(dir, hex, &e) == 0 && !hex[0], "no tokenizer");
    for (int i = 0; i < 6; i++)
        put(names[i], "abc", 3);
    ok(model_folder_tokenizer_hash(dir, hex, &e) == 0, "hash of tokenizer.json");
    is_str(hex, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad", "SHA-256 of its bytes");
    ok(model_folder_copy_files(dir, to, &(struct model_config_change){0}, &e) == 0, "copied");
    for (int i = 0; i < 6; i++) {
        char *path = file_join(to, names[i]);
        ok((unlink(path) == 0) == (i != 3), "%s is %s", names[i], i == 3 ? "left" : "copied");
        free(path);
    }
    ok(rmdir(to) == 0, "nothing else");
    free(to);
    clean();
}

int main(void)
{
    dir = scratch_folder();
    test_splitting();
    test_order();
    test_reading();
    test_copying();
    free(dir);
    return tap_end();
}
