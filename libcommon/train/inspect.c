#include "train/inspect.h"

#include <dirent.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/mem.h"
#include "format/checkpoint.h"
#include "format/ref_layout.h"
#include "format/token_layout.h"
#include "text/chat_stream.h"
#include "train/inspect_impl.h"
#include "train/run_folder.h"

static bool holds(const char *dir, const char *name)
{
    char *path = file_join(dir, name);
    bool there = file_exists(path);
    free(path);
    return there;
}

static bool is_model(const char *dir)
{
    return holds(dir, "model.safetensors") || holds(dir, "model.safetensors.index.json");
}

/* The adapter or model that a run or a checkpoint holds, under its kind; neither is there while a run is going on. */
static int add_contents(json_t *to, const char *dir, bool verify, struct err *e)
{
    bool adapter = holds(dir, "adapter_config.json");
    if (!adapter && !is_model(dir))
        return 0;
    json_t *inner = json_object();
    int r = adapter ? inspect_adapter(inner, dir, verify, e) : inspect_model(inner, dir, verify, e);
    json_object_set_new(to, adapter ? "adapter" : "model", inner);
    return r;
}

static int inspect_checkpoint(json_t *to, const char *dir, bool verify, struct err *e)
{
    struct checkpoint_state s;
    int64_t bytes = 0;
    if ((verify ? checkpoint_open(&s, dir, e) : checkpoint_read(&s, dir, e)) < 0)
        return -1;
    json_object_set_new(to, "tool", json_string(s.tool));
    json_object_set_new(to, "step", json_integer(s.step));
    json_object_set_new(to, "total_steps", json_integer(s.total_steps));
    json_object_set_new(to, "epoch", json_real(s.epoch));
    json_object_set_new(to, "tokens", json_integer(s.tokens));
    json_object_set_new(to, "trained_tokens", json_integer(s.trained));
    json_object_set_new(to, "files", json_integer(s.n_files));
    for (int i = 0; i < s.n_files; i++)
        bytes += (int64_t)s.files[i].bytes;
    json_object_set_new(to, "bytes", json_integer(bytes));
    json_object_set_new(to, "run", json_loads(s.run, 0, NULL));
    checkpoint_state_release(&s);
    if (verify)
        inspect_add_verified(to, true, bytes, "every file has the length and the checksum that trainer_state.json says");
    return add_contents(to, dir, verify, e);
}

static int by_step(const void *a, const void *b)
{
    long long x = atoll(*(const char *const *)a + strlen("checkpoint-")), y = atoll(*(const char *const *)b + strlen("checkpoint-"));
    return x < y ? -1 : x > y;
}

static int add_checkpoints(json_t *to, const char *dir, bool verify, struct err *e)
{
    DIR *d = opendir(dir);
    char **names = NULL;
    size_t n = 0, cap = 0;
    json_t *steps = json_array();
    if (!d) {
        json_decref(steps);
        return err_sys(e, "%s: cannot list the folder", dir);
    }
    for (struct dirent *x; (x = readdir(d));)
        if (!strncmp(x->d_name, "checkpoint-", strlen("checkpoint-"))) {
            names = mem_grow(names, &cap, n + 1, sizeof *names);
            names[n++] = mem_strdup(x->d_name);
        }
    closedir(d);
    if (n)
        qsort(names, n, sizeof *names, by_step);
    int r = 0;
    for (size_t i = 0; i < n; i++) {
        char *path = file_join(dir, names[i]);
        struct checkpoint_state s;
        if (r == 0 && (r = verify ? checkpoint_open(&s, path, e) : checkpoint_read(&s, path, e)) == 0) {
            json_array_append_new(steps, json_integer(s.step));
            checkpoint_state_release(&s);
        }
        free(path);
        free(names[i]);
    }
    free(names);
    json_object_set_new(to, "checkpoints", steps);
    return r;
}

static int inspect_run(json_t *to, const char *dir, bool verify, struct err *e)
{
    struct run_record record;
    if (run_record_read(&record, dir, e) <= 0)
        return -1;
    json_object_set_new(to, "tool", json_string(record.tool));
    json_object_set_new(to, "status", json_string(record.status));
    json_object_set_new(to, "run", json_loads(record.run, 0, NULL));
    int r = 0;
    const char *missing = run_record_missing(&record, dir);
    if (verify && !strcmp(record.status, "complete") && !run_record_is_whole(&record, dir))
        r = err_set(e, "%s: the run is complete and %s, a part of its result, is missing", dir, missing ? missing : "every file");
    run_record_release(&record);
    return r < 0 || add_checkpoints(to, dir, verify, e) < 0 ? -1 : add_contents(to, dir, verify, e);
}

static int inspect_folder(json_t *to, const char *dir, bool verify, struct err *e)
{
    static const struct {
        const char *kind;
        int (*inspect)(json_t *to, const char *dir, bool verify, struct err *e);
    } kinds[] = {{"checkpoint", inspect_checkpoint}, {"run", inspect_run}, {"adapter", inspect_adapter}, {"model", inspect_model}};
    int k = holds(dir, CHECKPOINT_STATE) ? 0 : holds(dir, RUN_RECORD) ? 1 : holds(dir, "adapter_config.json") ? 2 : is_model(dir) ? 3 : -1;
    if (k < 0)
        return err_set(e, "%s: holds no model.safetensors, adapter_config.json, " CHECKPOINT_STATE " or " RUN_RECORD, dir);
    json_object_set_new(to, "kind", json_string(kinds[k].kind));
    return kinds[k].inspect(to, dir, verify, e);
}

static int inspect_file(json_t *to, const char *path, bool verify, struct err *e)
{
    static const char zstd[] = "\x28\xb5\x2f\xfd";
    struct file_map m;
    size_t n = strlen(path), suffix = strlen(".safetensors");
    if (file_map(&m, path, e) < 0)
        return -1;
    bool token = m.size >= 8 && !memcmp(m.data, TOKEN_MAGIC, 8);
    bool reference = m.size >= 8 && !memcmp(m.data, REF_MAGIC, 8);
    bool chat = m.size >= strlen(CHAT_STREAM_START) && !memcmp(m.data, CHAT_STREAM_START, strlen(CHAT_STREAM_START));
    bool packed = m.size >= 4 && !memcmp(m.data, zstd, 4);
    bool tensors = n > suffix && !strcmp(path + n - suffix, ".safetensors");
    file_unmap(&m);
    const char *kind = token ? "token file" : reference ? "reference log-probabilities" : chat || packed ? "chat stream" : tensors ? "safetensors" : NULL;
    if (!kind)
        return err_set(e, "%s: neither a token file nor reference log-probabilities nor a chat stream nor safetensors", path);
    json_object_set_new(to, "kind", json_string(kind));
    if (token || reference)
        return token ? inspect_token_file(to, path, verify, e) : inspect_reference(to, path, verify, e);
    return chat || packed ? inspect_chat_stream(to, path, verify, e) : inspect_tensors(to, path, verify, e);
}

json_t *inspect_path(const char *path, bool verify, struct err *e)
{
    json_t *to = json_object();
    int r;
    if (!file_exists(path))
        r = err_set(e, "%s: no such file or folder", path);
    else
        r = file_is_dir(path) ? inspect_folder(to, path, verify, e) : inspect_file(to, path, verify, e);
    if (r == 0)
        return to;
    json_decref(to);
    return NULL;
}
