/* Opening chat templates: built in, a file, or a model folder's own. */
#include "text/chat.h"

#include <dirent.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/file.h"
#include "base/mem.h"
#include "text/chat_internal.h"

#define MAX_TEMPLATE (4u << 20)
#define MAX_CONFIG (64u << 20)

/* ---- control tokens ---- */

void chat_special_add(struct chat_template *t, const char *token)
{
    if (!token || !*token)
        return;
    for (size_t i = 0; i < t->n_specials; i++)
        if (!strcmp(t->specials[i], token))
            return;
    t->specials = mem_grow(t->specials, &t->cap_specials, t->n_specials + 1, sizeof *t->specials);
    t->specials[t->n_specials++] = mem_strdup(token);
}

/* <|word|> in either kind of bar */
static size_t bar_token(const char *s, size_t len)
{
    static const char *const bars[] = {"|", "｜"};
    for (int k = 0; k < 2; k++) {
        size_t n = strlen(bars[k]);
        if (len < 2 + 2 * n + 1 || s[0] != '<' || memcmp(s + 1, bars[k], n))
            continue;
        for (size_t i = 1 + n; i + n < len && i < 80; i++) {
            if (s[i] == '<' || s[i] == ' ' || s[i] == '\n')
                break;
            if (!memcmp(s + i, bars[k], n))
                return s[i + n] == '>' && i > 1 + n ? i + n + 1 : 0;
        }
    }
    return 0;
}

size_t chat_special_at(const struct chat_template *t, const char *s, size_t len)
{
    size_t best = bar_token(s, len);
    for (size_t i = 0; i < t->n_specials; i++) {
        size_t n = strlen(t->specials[i]);
        if (n > best && n <= len && !memcmp(s, t->specials[i], n))
            best = n;
    }
    return best;
}

/* "text" or {"content": "text", ...} */
static const char *token_text(const json_t *v)
{
    return json_string_value(json_is_object(v) ? json_object_get(v, "content") : v);
}

static void read_tokens(struct chat_template *t, const json_t *config)
{
    const char *key;
    json_t *v;
    json_object_foreach((json_t *)config, key, v) {
        size_t n = strlen(key);
        const char *text = n > 6 && !strcmp(key + n - 6, "_token") ? token_text(v) : NULL;
        if (!text)
            continue;
        if (!json_object_get(t->tokens, key))
            json_object_set_new(t->tokens, key, json_string(text));
        chat_special_add(t, text);
    }
    json_object_foreach(json_object_get(config, "added_tokens_decoder"), key, v) {
        if (json_is_true(json_object_get(v, "special")))
            chat_special_add(t, token_text(v));
    }
    size_t i;
    json_array_foreach(json_object_get(config, "additional_special_tokens"), i, v)
        chat_special_add(t, token_text(v));
}

/* ---- sources ---- */

static int add_source(struct chat_template *t, const char *name, const char *source, size_t len, const char *where, struct err *e)
{
    struct chat_source s = {.name = mem_strdup(name)};
    s.jinja = jinja_parse(source, len, where, e);
    t->sources = mem_array(t->sources, t->n_sources + 1, sizeof *t->sources);
    t->sources[t->n_sources++] = s;
    return s.jinja ? 0 : -1;
}

static int add_file(struct chat_template *t, const char *name, const char *path, struct err *e)
{
    struct buf b = BUF_INIT;
    int r = file_read(&b, path, MAX_TEMPLATE, e);
    if (r == 0)
        r = add_source(t, name, buf_str(&b), b.len, path, e);
    buf_release(&b);
    return r;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* additional_chat_templates/NAME.jinja, in order of their names */
static int add_more_files(struct chat_template *t, const char *dir, struct err *e)
{
    char *folder = file_join(dir, "additional_chat_templates");
    DIR *d = opendir(folder);
    char **names = NULL;
    size_t n = 0, cap = 0;
    for (struct dirent *entry; d && (entry = readdir(d));) {
        size_t len = strlen(entry->d_name);
        if (len <= 6 || strcmp(entry->d_name + len - 6, ".jinja"))
            continue;
        names = mem_grow(names, &cap, n + 1, sizeof *names);
        names[n++] = mem_strndup(entry->d_name, len - 6);
    }
    if (d)
        closedir(d);
    if (n)
        qsort(names, n, sizeof *names, by_name);
    int r = 0;
    for (size_t i = 0; i < n; i++) {
        char *file = mem_printf("%s/%s.jinja", folder, names[i]);
        if (r == 0)
            r = add_file(t, names[i], file, e);
        free(file);
        free(names[i]);
    }
    free(names);
    free(folder);
    return r;
}

/* The key chat_template: a string or [{"name", "template"}, ...] */
static int add_from_key(struct chat_template *t, const json_t *key, const char *path, struct err *e)
{
    size_t i;
    json_t *v;
    if (json_is_string(key)) {
        char *where = mem_printf("%s: chat_template", path);
        int r = add_source(t, "default", json_string_value(key), json_string_length(key), where, e);
        free(where);
        return r;
    }
    if (!json_is_array(key))
        return err_set(e, "%s: chat_template: expected a string or a list of named templates", path);
    json_array_foreach(key, i, v) {
        const char *name = json_string_value(json_object_get(v, "name"));
        const json_t *source = json_object_get(v, "template");
        if (!name || !json_is_string(source))
            return err_set(e, "%s: chat_template: entry %zu has no name or no template", path, i);
        char *where = mem_printf("%s: chat_template '%s'", path, name);
        int r = add_source(t, name, json_string_value(source), json_string_length(source), where, e);
        free(where);
        if (r < 0)
            return -1;
    }
    return 0;
}

static json_t *read_json(const char *path, struct err *e)
{
    struct buf b = BUF_INIT;
    json_t *j = NULL;
    json_error_t error;
    if (file_read(&b, path, MAX_CONFIG, e) == 0) {
        j = json_loadb(buf_str(&b), b.len, JSON_DECODE_INT_AS_REAL, &error);
        if (!j)
            err_set(e, "%s: line %d: not JSON: %s", path, error.line, error.text);
        else if (!json_is_object(j)) {
            err_set(e, "%s: expected a JSON object", path);
            json_decref(j);
            j = NULL;
        }
    }
    buf_release(&b);
    return j;
}

/* A file of the folder; absent: *j stays NULL. */
static int read_optional(const char *dir, const char *name, json_t **j, struct err *e)
{
    char *path = file_join(dir, name);
    bool there = file_exists(path);
    if (there)
        *j = read_json(path, e);
    free(path);
    return there && !*j ? -1 : 0;
}

static int open_folder_template(struct chat_template *t, const char *dir, const json_t *config, struct err *e)
{
    char *file = file_join(dir, "chat_template.jinja"), *path = file_join(dir, "tokenizer_config.json");
    const json_t *key = json_object_get(config, "chat_template");
    json_t *old = NULL;
    int r = 0;
    if (file_exists(file))
        r = add_file(t, "default", file, e);
    else if (key && !json_is_null(key))
        r = add_from_key(t, key, path, e);
    else if ((r = read_optional(dir, "chat_template.json", &old, e)) == 0 && old)
        r = add_from_key(t, json_object_get(old, "chat_template"), "chat_template.json", e);
    if (r == 0)
        r = add_more_files(t, dir, e);
    if (r == 0 && !t->n_sources)
        r = err_set(e, "%s: has no chat template (no chat_template.jinja, no chat_template in tokenizer_config.json); name one with --template", dir);
    json_decref(old);
    free(file);
    free(path);
    return r;
}

static int unknown_name(const char *name, struct err *e)
{
    struct buf b = BUF_INIT;
    for (const char *const *n = chat_template_names(); *n; n++)
        buf_printf(&b, "%s%s", b.len ? ", " : "", *n);
    err_set(e, "%s: no template of this name; there are %s, and files ending in .jinja", name, buf_str(&b));
    buf_release(&b);
    return -1;
}

static int open_named(struct chat_template *t, const char *name, bool has_tokens, struct err *e)
{
    size_t n = strlen(name);
    if (n > 6 && !strcmp(name + n - 6, ".jinja"))
        return add_file(t, "default", name, e);
    const struct chat_builtin *b = chat_builtin_find(name);
    if (!b)
        return unknown_name(name, e);
    if (!has_tokens && b->bos)
        json_object_set_new(t->tokens, "bos_token", json_string(b->bos));
    if (!has_tokens && b->eos)
        json_object_set_new(t->tokens, "eos_token", json_string(b->eos));
    chat_special_add(t, json_string_value(json_object_get(t->tokens, "eos_token")));
    chat_special_add(t, b->turn_end);
    return add_source(t, "default", b->source, strlen(b->source), name, e);
}

/* What decides the text: sources, their names, and the tokens. */
static void make_hash(struct chat_template *t, struct sha256 *s)
{
    char *tokens = json_dumps(t->tokens, JSON_COMPACT | JSON_SORT_KEYS);
    sha256_add(s, tokens, strlen(tokens));
    sha256_end_hex(s, t->hash);
    free(tokens);
}

static int open_into(struct chat_template *t, const char *name, const char *dir, struct err *e)
{
    /* ends of turns of the known families, for folders that keep their control tokens in tokenizer.json only */
    static const char *const known[] = {"</s>", "<end_of_turn>", "<eos>", "<turn|>", "<|im_end|>", "<|eot_id|>", "[EOS]", "<EOT>"};
    json_t *config = NULL, *map = NULL;
    int r = 0;
    t->tokens = json_object();
    if (dir && !file_is_dir(dir))
        return err_set(e, "%s: %s", dir, file_exists(dir) ? "not a folder" : "no such folder");
    if (dir)
        r = read_optional(dir, "tokenizer_config.json", &config, e);
    if (r == 0 && dir && !json_object_get(config, "added_tokens_decoder"))
        r = read_optional(dir, "special_tokens_map.json", &map, e);
    if (r == 0) {
        read_tokens(t, config);
        read_tokens(t, map);
        for (size_t i = 0; i < sizeof known / sizeof *known; i++)
            chat_special_add(t, known[i]);
        r = name ? open_named(t, name, config != NULL, e) : open_folder_template(t, dir, config, e);
    }
    json_decref(config);
    json_decref(map);
    return r;
}

struct chat_template *chat_template_open(const char *name, const char *dir, struct err *e)
{
    struct sha256 hash;
    if (!name && !dir) {
        err_set(e, "no template: neither a name nor a model folder is given");
        return NULL;
    }
    struct chat_template *t = mem_zalloc(1, sizeof *t);
    t->name = mem_strdup(name ? name : dir);
    if (open_into(t, name, dir, e) < 0) {
        chat_template_close(t);
        return NULL;
    }
    sha256_init(&hash);
    for (size_t i = 0; i < t->n_sources; i++) {
        size_t len;
        const char *source = jinja_source(t->sources[i].jinja, &len);
        sha256_add(&hash, t->sources[i].name, strlen(t->sources[i].name) + 1);
        sha256_add(&hash, source, len + 1);
        chat_probe(t, &t->sources[i]);
    }
    make_hash(t, &hash);
    return t;
}

void chat_template_close(struct chat_template *t)
{
    if (!t)
        return;
    for (size_t i = 0; i < t->n_sources; i++) {
        free(t->sources[i].name);
        free(t->sources[i].prompt);
        free(t->sources[i].header);
        jinja_free(t->sources[i].jinja);
    }
    for (size_t i = 0; i < t->n_specials; i++)
        free(t->specials[i]);
    free(t->sources);
    free(t->specials);
    free(t->turn_ends);
    json_decref(t->tokens);
    free(t->name);
    free(t);
}

const char *chat_template_name(const struct chat_template *t)
{
    return t->name;
}

const char *chat_template_hash(const struct chat_template *t)
{
    return t->hash;
}

const char *const *chat_template_turn_ends(const struct chat_template *t)
{
    return t->turn_ends;
}
