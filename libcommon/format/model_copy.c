/* The files of a model folder that are not weights. */
#include <dirent.h>
#include <errno.h>
#include <fnmatch.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/mem.h"
#include "format/json_write.h"
#include "format/model_folder.h"

#define COMPANION_LIMIT (1u << 30)
#define CONFIG_LIMIT (64u << 20)

static const char *const companions[] = {
    "tokenizer*", "chat_template*", "special_tokens_map.json", "added_tokens.json", "generation_config.json", "vocab*", "merges.txt",
    "*.tiktoken", "preprocessor_config.json", "processor_config.json", "LICENSE*", "LICENCE*", "NOTICE*", "USE_POLICY*",
};

static bool is_companion(const char *name)
{
    for (size_t i = 0; i < sizeof companions / sizeof companions[0]; i++)
        if (fnmatch(companions[i], name, 0) == 0)
            return true;
    return false;
}

static int copy_file(const char *from, const char *to, struct err *e)
{
    struct file_map m;
    FILE *out = NULL;
    int r = 0;
    if (file_map(&m, from, e) < 0)
        return -1;
    if (m.size > COMPANION_LIMIT)
        r = err_set(e, "%s: larger than the %u bytes that such a file may have", from, COMPANION_LIMIT);
    else if (!(out = fopen(to, "wxe")) || fwrite(m.data, 1, m.size, out) != m.size)
        r = err_sys(e, "%s: cannot write", to);
    if (out && fclose(out) != 0)
        r = err_sys(e, "%s: cannot write", to);
    file_unmap(&m);
    return r;
}

/* Copies the regular files of `from` that `wanted` accepts. */
static int copy_matching(const char *from, const char *to, bool (*wanted)(const char *name), struct err *e)
{
    struct dirent **list;
    int n = scandir(from, &list, NULL, alphasort), r = 0;
    if (n < 0)
        return err_sys(e, "%s: cannot list the folder", from);
    for (int i = 0; i < n; i++) {
        char *source = file_join(from, list[i]->d_name), *target = file_join(to, list[i]->d_name);
        if (r == 0 && wanted(list[i]->d_name) && file_exists(source) && !file_is_dir(source))
            r = copy_file(source, target, e);
        free(source);
        free(target);
        free(list[i]);
    }
    free(list);
    return r;
}

/* What GPTQ's tools keep beside config.json. */
static bool is_quantization(const char *name)
{
    return !strcmp(name, "quantize_config.json") || !strcmp(name, "quant_config.json");
}

static bool is_template(const char *name)
{
    return fnmatch("*.jinja", name, 0) == 0;
}

static void change_config(json_t *root, const struct model_config_change *c)
{
    bool new_key = json_object_get(root, "dtype") != NULL, old_key = json_object_get(root, "torch_dtype") != NULL;
    if (c->untied)
        json_object_set_new(root, "tie_word_embeddings", json_false());
    if (c->type && new_key)
        json_object_set_new(root, "dtype", json_string(c->type));
    if (c->type && (old_key || !new_key))
        json_object_set_new(root, "torch_dtype", json_string(c->type));
    if (c->quantization)
        json_object_del(root, "quantization_config");
    if (c->quantization && *c->quantization)
        json_object_set_new(root, "quantization_config", json_loads(c->quantization, 0, NULL));
}

/* The same value with all keys sorted. */
static json_t *sorted(json_t *value)
{
    char *text = json_dumps(value, JSON_SORT_KEYS | JSON_ENCODE_ANY | JSON_REAL_PRECISION(17));
    json_t *copy = text ? json_loads(text, JSON_DECODE_ANY, NULL) : NULL;
    free(text);
    json_decref(value);
    return copy;
}

static int copy_config(const char *from, const char *to, const struct model_config_change *c, struct err *e)
{
    struct buf text = BUF_INIT;
    int r = file_read(&text, from, CONFIG_LIMIT, e);
    if (r == 0 && (c->untied || c->type || c->quantization)) {
        json_t *root = json_loadb(buf_str(&text), text.len, 0, NULL);
        buf_clear(&text);
        if (json_is_object(root)) {
            change_config(root, c);
            root = c->quantization && *c->quantization ? sorted(root) : root;
            json_add_value(&text, root);
            buf_add_char(&text, '\n');
        } else {
            r = err_set(e, "%s: not JSON", from);
        }
        json_decref(root);
    }
    if (r == 0)
        r = file_write(to, buf_str(&text), text.len, e);
    buf_release(&text);
    return r;
}

int model_folder_copy_files(const char *dir, const char *to, const struct model_config_change *change, struct err *e)
{
    char *more = file_join(dir, "additional_chat_templates"), *more_to = file_join(to, "additional_chat_templates");
    int r = copy_matching(dir, to, is_companion, e);
    if (r == 0 && !change->quantization)
        r = copy_matching(dir, to, is_quantization, e);
    if (r == 0 && file_is_dir(more)) {
        if (mkdir(more_to, 0777) < 0)
            r = err_sys(e, "%s: cannot make the folder", more_to);
        else
            r = copy_matching(more, more_to, is_template, e);
    }
    free(more);
    free(more_to);
    if (r == 0) {
        char *from = file_join(dir, "config.json"), *target = file_join(to, "config.json");
        r = copy_config(from, target, change, e);
        free(from);
        free(target);
    }
    return r;
}

int model_folder_tokenizer_hash(const char *dir, char hex[SHA256_HEX], struct err *e)
{
    char *path = file_join(dir, "tokenizer.json");
    struct file_map m;
    int r = 0;
    hex[0] = 0;
    if (file_exists(path)) {
        r = file_map(&m, path, e);
        if (r == 0) {
            sha256_hex(m.data, m.size, hex);
            file_unmap(&m);
        }
    }
    free(path);
    return r;
}
