#include "format/checkpoint.h"

#include <dirent.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "base/file.h"
#include "base/mem.h"

#define STATE_LIMIT (16u << 20)
#define HASH_DIGITS 32
/* The state's text ends with its own hash: everything before this tail is hashed. */
#define TAIL_START ",\n \"check\": \""
#define TAIL_END "\"\n}\n"
#define TAIL_SIZE (sizeof TAIL_START - 1 + HASH_DIGITS + sizeof TAIL_END - 1)

#define PIECE ((size_t)16 << 20) /* of a file that is hashed: so much of it is in memory */

static void print_hash(XXH128_hash_t h, char hex[HASH_DIGITS + 1])
{
    snprintf(hex, HASH_DIGITS + 1, "%016" PRIx64 "%016" PRIx64, h.high64, h.low64);
}

static void hash_hex(const void *data, size_t n, char hex[HASH_DIGITS + 1])
{
    print_hash(XXH3_128bits(data, n), hex);
}

static int hash_file(const char *dir, const char *name, uint64_t *bytes, char hex[HASH_DIGITS + 1], struct err *e)
{
    char *path = file_join(dir, name);
    struct file_map m;
    int r = file_map(&m, path, e);
    if (r == 0) {
        XXH3_state_t *h = XXH3_createState();
        *bytes = m.size;
        XXH3_128bits_reset(h);
        for (size_t at = 0, n; at < m.size; at += n) {
            n = m.size - at < PIECE ? m.size - at : PIECE;
            XXH3_128bits_update(h, m.data + at, n);
            file_map_drop(&m, m.data + at, n);
        }
        print_hash(XXH3_128bits_digest(h), hex);
        XXH3_freeState(h);
        file_unmap(&m);
    }
    free(path);
    return r;
}

/* ---- writing ---- */

/* Adds every regular file below dir/below (below "" or "sub/") but the state itself. */
static int list_files(const char *dir, const char *below, json_t *files, struct err *e)
{
    char *path = file_join(dir, below);
    struct dirent **list;
    int n = scandir(path, &list, NULL, alphasort), r = 0;
    if (n < 0)
        r = err_sys(e, "%s: cannot list the folder", path);
    for (int i = 0; i < n; i++) {
        const char *base = list[i]->d_name;
        char *name = mem_printf("%s%s", below, base), *full = file_join(dir, name);
        if (r == 0 && strcmp(base, ".") && strcmp(base, "..") && strcmp(name, CHECKPOINT_STATE)) {
            if (file_is_dir(full)) {
                char *sub = mem_printf("%s/", name);
                r = list_files(dir, sub, files, e);
                free(sub);
            } else {
                char hex[HASH_DIGITS + 1];
                uint64_t bytes;
                r = hash_file(dir, name, &bytes, hex, e);
                if (r == 0)
                    json_object_set_new(files, name, json_pack("{s:I,s:s}", "bytes", (json_int_t)bytes, "xxh3", hex));
            }
        }
        free(name);
        free(full);
        free(list[i]);
    }
    if (n >= 0)
        free(list);
    free(path);
    return r;
}

static json_t *state_json(const struct checkpoint_state *s, json_t *files, struct err *e)
{
    json_error_t je;
    json_t *run = json_loads(s->run, 0, &je);
    if (!run) {
        err_set(e, "the description of the run is no JSON: %s", je.text);
        json_decref(files);
        return NULL;
    }
    json_t *j = json_pack("{s:s,s:i,s:s,s:s,s:I,s:I,s:f,s:{s:I,s:I},s:I,s:I,s:b,s:{s:I,s:I,s:I,s:f},s:o,s:o}", "format",
                          "finetools-checkpoint", "version", CHECKPOINT_VERSION, "tool", s->tool, "tool_version", FINETOOLS_VERSION, "step",
                          (json_int_t)s->step, "total_steps", (json_int_t)s->total_steps, "epoch", s->epoch, "data", "epoch",
                          (json_int_t)s->data_epoch, "next", (json_int_t)s->data_next, "tokens", (json_int_t)s->tokens, "trained",
                          (json_int_t)s->trained, "eval_pending", s->eval_pending, "log", "steps", (json_int_t)s->log_steps, "tokens",
                          (json_int_t)s->log_tokens, "trained", (json_int_t)s->log_trained, "loss", s->log_loss, "run", run, "files", files);
    if (j && s->objective)
        json_object_set(j, "objective", s->objective);
    if (!j)
        err_set(e, "the state of the run holds a number or a name that JSON cannot hold");
    return j;
}

static int write_text(const char *path, const struct buf *b, struct err *e)
{
    FILE *out = fopen(path, "we");
    if (!out)
        return err_sys(e, "%s: cannot write", path);
    int r = fwrite(b->data, 1, b->len, out) == b->len ? 0 : err_sys(e, "%s: cannot write", path);
    if (fclose(out) != 0)
        r = err_sys(e, "%s: cannot write", path);
    return r;
}

int checkpoint_seal(const char *dir, const struct checkpoint_state *s, struct err *e)
{
    json_t *files = json_object();
    if (list_files(dir, "", files, e) < 0) {
        json_decref(files);
        return -1;
    }
    json_t *j = state_json(s, files, e);
    if (!j)
        return -1;
    char *text = json_dumps(j, JSON_INDENT(1) | JSON_REAL_PRECISION(17)), hex[HASH_DIGITS + 1], *path = file_join(dir, CHECKPOINT_STATE);
    struct buf b = BUF_INIT;
    json_decref(j);
    buf_add(&b, text, strlen(text) - 2); /* without the last "\n}" */
    hash_hex(b.data, b.len, hex);
    buf_printf(&b, TAIL_START "%s" TAIL_END, hex);
    int r = write_text(path, &b, e);
    buf_release(&b);
    free(text);
    free(path);
    return r;
}

/* ---- reading ---- */

static bool is_inside(const char *name)
{
    return name[0] && name[0] != '/' && strcmp(name, CHECKPOINT_STATE) && !strstr(name, "..");
}

static bool is_hex(const char *s)
{
    return strlen(s) == HASH_DIGITS && strspn(s, "0123456789abcdef") == HASH_DIGITS;
}

static int parse_files(struct checkpoint_state *s, json_t *files, const char *name, struct err *e)
{
    const char *key;
    json_t *value;
    s->files = mem_zalloc(json_object_size(files) + 1, sizeof *s->files);
    json_object_foreach(files, key, value) {
        json_int_t bytes;
        const char *hash;
        if (!is_inside(key) || json_unpack(value, "{s:I,s:s}", "bytes", &bytes, "xxh3", &hash) < 0 || bytes < 0 || !is_hex(hash))
            return err_set(e, "%s: files: '%.100s': expected the name of a file in the folder, its bytes and its xxh3", name, key);
        struct checkpoint_file *f = &s->files[s->n_files++];
        f->name = mem_strdup(key);
        f->bytes = (uint64_t)bytes;
        memcpy(f->hash, hash, sizeof f->hash);
    }
    return 0;
}

static int parse_fields(struct checkpoint_state *s, json_t *j, const char *name, struct err *e)
{
    json_error_t je;
    const char *format, *tool;
    int version, pending;
    json_int_t step, total, data_epoch, next, tokens, trained, log_steps, log_tokens, log_trained;
    json_t *run, *files;
    if (json_unpack_ex(j, &je, 0, "{s:s,s:i}", "format", &format, "version", &version) < 0 || strcmp(format, "finetools-checkpoint"))
        return err_set(e, "%s: is not the state of a checkpoint of ours", name);
    if (version != CHECKPOINT_VERSION)
        return err_set(e, "%s: has version %d, this program reads version %d", name, version, CHECKPOINT_VERSION);
    if (json_unpack_ex(j, &je, 0, "{s:s,s:I,s:I,s:F,s:{s:I,s:I},s:I,s:I,s:b,s:{s:I,s:I,s:I,s:F},s:o,s:o}", "tool", &tool, "step", &step,
                       "total_steps", &total, "epoch", &s->epoch, "data", "epoch", &data_epoch, "next", &next, "tokens", &tokens, "trained",
                       &trained, "eval_pending", &pending, "log", "steps", &log_steps, "tokens", &log_tokens, "trained", &log_trained, "loss",
                       &s->log_loss, "run", &run, "files", &files) < 0)
        return err_set(e, "%s: %s", name, je.text);
    if (step < 0 || total < step || data_epoch < 0 || next < 0 || tokens < 0 || trained < 0 || log_steps < 0 || log_tokens < 0 || log_trained < 0)
        return err_set(e, "%s: a count is negative, or more steps are done than were planned", name);
    if (!json_is_object(run) || !json_is_object(files))
        return err_set(e, "%s: 'run' and 'files' must be objects", name);
    json_t *objective = json_object_get(j, "objective");
    if (objective && !json_is_object(objective))
        return err_set(e, "%s: 'objective' must be an object", name);
    s->objective = json_incref(objective);
    s->tool = mem_strdup(tool);
    s->step = step, s->total_steps = total, s->data_epoch = data_epoch, s->data_next = next, s->tokens = tokens, s->trained = trained;
    s->log_steps = log_steps, s->log_tokens = log_tokens, s->log_trained = log_trained, s->eval_pending = pending;
    char *text = json_dumps(run, JSON_COMPACT | JSON_SORT_KEYS | JSON_REAL_PRECISION(17));
    s->run = mem_strdup(text ? text : "{}");
    free(text);
    return parse_files(s, files, name, e);
}

int checkpoint_state_parse(struct checkpoint_state *s, const char *text, size_t len, const char *name, struct err *e)
{
    json_error_t je;
    char hex[HASH_DIGITS + 1];
    *s = (struct checkpoint_state){0};
    if (len < TAIL_SIZE || memcmp(text + len - TAIL_SIZE, TAIL_START, sizeof TAIL_START - 1))
        return err_set(e, "%s: is cut short or is not the state of a checkpoint", name);
    hash_hex(text, len - TAIL_SIZE, hex);
    if (memcmp(text + len - TAIL_SIZE + sizeof TAIL_START - 1, hex, HASH_DIGITS))
        return err_set(e, "%s: is damaged: its checksum differs", name);
    json_t *j = json_loadb(text, len, JSON_REJECT_DUPLICATES, &je);
    if (!j)
        return err_set(e, "%s: line %d: %s", name, je.line, je.text);
    int r = parse_fields(s, j, name, e);
    json_decref(j);
    if (r < 0)
        checkpoint_state_release(s);
    return r;
}

void checkpoint_state_release(struct checkpoint_state *s)
{
    for (int i = 0; i < s->n_files; i++)
        free(s->files[i].name);
    free(s->files);
    free(s->tool);
    free(s->run);
    json_decref(s->objective);
    *s = (struct checkpoint_state){0};
}

static int verify_files(const struct checkpoint_state *s, const char *dir, struct err *e)
{
    for (int i = 0; i < s->n_files; i++) {
        const struct checkpoint_file *f = &s->files[i];
        uint64_t bytes;
        char hex[HASH_DIGITS + 1];
        if (hash_file(dir, f->name, &bytes, hex, e) < 0)
            return -1;
        if (bytes != f->bytes)
            return err_set(e, "%s/%s: holds %" PRIu64 " bytes, the checkpoint was written with %" PRIu64, dir, f->name, bytes, f->bytes);
        if (strcmp(hex, f->hash))
            return err_set(e, "%s/%s: is damaged: its checksum differs", dir, f->name);
    }
    return 0;
}

int checkpoint_read(struct checkpoint_state *s, const char *dir, struct err *e)
{
    struct buf text = BUF_INIT;
    char *path = file_join(dir, CHECKPOINT_STATE);
    int r = file_read(&text, path, STATE_LIMIT, e);
    if (r == 0)
        r = checkpoint_state_parse(s, buf_str(&text), text.len, path, e);
    buf_release(&text);
    free(path);
    return r;
}

int checkpoint_open(struct checkpoint_state *s, const char *dir, struct err *e)
{
    if (checkpoint_read(s, dir, e) < 0)
        return -1;
    if (verify_files(s, dir, e) == 0)
        return 0;
    checkpoint_state_release(s);
    return -1;
}
