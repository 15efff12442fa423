#include "format/model_writer.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "format/json_write.h"
#include "format/manifest.h"

struct shard {
    int first, n;    /* in the caller's list */
    uint64_t bytes;
    char *file;
};

struct model_writer {
    char *dir, *provenance;
    struct st_tensor *tensors;
    int n, n_shards, current;
    struct shard *shards;
    uint64_t left;   /* bytes that the current shard still wants */
    FILE *out;
    struct st_writer *writer;
};

/* One part of a name ("layers", "12", "q_proj"), as a rank: known names in module order, then numbers, then the rest. */
static long long part_rank(const char *s, size_t n)
{
    static const char *const known[] = {"model", "embed_tokens", "layers", "self_attn", "q_proj", "k_proj", "v_proj", "o_proj", "q_norm",
                                        "k_norm", "mlp", "gate_proj", "up_proj", "down_proj", "input_layernorm", "post_attention_layernorm",
                                        "norm", "lm_head", "weight", "bias"};
    const int count = (int)(sizeof known / sizeof known[0]);
    for (int i = 0; i < count; i++)
        if (strlen(known[i]) == n && !memcmp(known[i], s, n))
            return i;
    if (n > 0 && n < 10 && strspn(s, "0123456789") >= n)
        return count + atoll(s);
    return INT64_MAX;
}

int model_order(const char *a, const char *b)
{
    const char *x = a, *y = b;
    while (*x && *y) {
        size_t n = strcspn(x, "."), m = strcspn(y, ".");
        long long p = part_rank(x, n), q = part_rank(y, m);
        if (p != q)
            return p < q ? -1 : 1;
        int d = p == INT64_MAX ? memcmp(x, y, n < m ? n : m) : 0;
        if (d || n != m)
            return d ? d : n < m ? -1 : 1;
        x += n + (x[n] == '.');
        y += m + (y[m] == '.');
    }
    return strcmp(a, b);
}

static int by_model_order(const void *a, const void *b)
{
    return model_order(((const struct st_tensor *)a)->name, ((const struct st_tensor *)b)->name);
}

/* Assigns a shard to every tensor: huggingface_hub's rule, where a tensor above the limit stands alone and is listed before the shard
 * that was open when it came. Returns the number of shards; shard_of[i] is tensor i's. */
static int split(const struct st_tensor *tensors, int n, uint64_t limit, int *shard_of)
{
    int listed = 0, open = 0; /* open: tensors of the current shard */
    uint64_t size = 0;
    for (int i = 0; i < n; i++) {
        uint64_t bytes = tensors[i].size;
        if (bytes > limit) {
            shard_of[i] = listed++;
            continue;
        }
        if (open && size + bytes > limit) {
            for (int k = 0; k < i; k++)
                shard_of[k] = shard_of[k] < 0 ? listed : shard_of[k];
            listed++;
            size = 0;
            open = 0;
        }
        shard_of[i] = -1;
        size += bytes;
        open++;
    }
    for (int k = 0; k < n && open; k++)
        shard_of[k] = shard_of[k] < 0 ? listed : shard_of[k];
    return listed + (open > 0 || listed == 0);
}

/* Groups the list by shard, puts each shard into file order and names the files. */
static int plan(struct model_writer *w, uint64_t limit, struct err *e)
{
    int *shard_of = mem_array(NULL, (size_t)w->n, sizeof *shard_of), at = 0, r = 0;
    struct st_tensor *grouped = mem_array(NULL, (size_t)w->n, sizeof *grouped);
    w->n_shards = split(w->tensors, w->n, limit, shard_of);
    w->shards = mem_zalloc((size_t)w->n_shards, sizeof *w->shards);
    for (int s = 0; s < w->n_shards; s++) {
        struct shard *shard = &w->shards[s];
        shard->first = at;
        for (int i = 0; i < w->n; i++)
            if (shard_of[i] == s)
                grouped[at++] = w->tensors[i];
        shard->n = at - shard->first;
        shard->file = w->n_shards == 1 ? mem_strdup("model.safetensors") : mem_printf("model-%05d-of-%05d.safetensors", s + 1, w->n_shards);
    }
    memcpy(w->tensors, grouped, (size_t)w->n * sizeof *grouped);
    for (int s = 0; s < w->n_shards && r == 0; s++)
        r = st_layout(w->tensors + w->shards[s].first, w->shards[s].n, w->shards[s].file, &w->shards[s].bytes, e);
    free(grouped);
    free(shard_of);
    return r;
}

static int open_shard(struct model_writer *w, struct err *e)
{
    const struct st_meta meta[] = {{ST_CHECKSUMS, NULL}, {"format", "pt"}, {"finetools", w->provenance}};
    struct shard *s = &w->shards[w->current];
    char *path = file_join(w->dir, s->file);
    w->out = fopen(path, "w+e");
    if (!w->out)
        err_sys(e, "%s: cannot write", path);
    else
        w->writer = st_writer_begin(w->out, path, w->tensors + s->first, s->n, meta, w->provenance ? 3 : 2, e);
    free(path);
    w->left = s->bytes;
    return w->writer ? 0 : -1;
}

static int close_shard(struct model_writer *w, struct err *e)
{
    struct st_writer *writer = w->writer;
    w->writer = NULL;
    int r = st_writer_end(writer, e);
    if (fclose(w->out) != 0 && r == 0)
        r = err_sys(e, "%s/%s: cannot write", w->dir, w->shards[w->current].file);
    w->out = NULL;
    return r;
}

static void free_writer(struct model_writer *w)
{
    if (!w)
        return;
    st_writer_free(w->writer);
    if (w->out)
        fclose(w->out);
    for (int s = 0; s < w->n_shards; s++)
        free(w->shards[s].file);
    free(w->shards);
    free(w->provenance);
    free(w->dir);
    free(w);
}

struct model_writer *model_writer_begin(const char *dir, struct st_tensor *tensors, int n, int64_t max_shard, const char *provenance,
                                        struct err *e)
{
    struct model_writer *w = mem_zalloc(1, sizeof *w);
    w->dir = mem_strdup(dir);
    w->provenance = provenance ? manifest_add_files(provenance, dir, e) : NULL;
    w->tensors = tensors;
    w->n = n;
    uint64_t size;
    qsort(tensors, (size_t)n, sizeof *tensors, by_model_order);
    for (int i = 1; i < n; i++)
        if (!strcmp(tensors[i].name, tensors[i - 1].name))
            err_set(e, "%s: tensor '%s' stands twice", dir, tensors[i].name);
    for (int i = 0; i < n; i++) /* the sizes decide the shards */
        if (st_layout(&tensors[i], 1, dir, &size, e) < 0)
            break;
    if (!e->set && plan(w, (uint64_t)max_shard, e) == 0 && open_shard(w, e) == 0)
        return w;
    free_writer(w);
    return NULL;
}

/* Begins the shard that the next byte belongs to. */
static int advance(struct model_writer *w, struct err *e)
{
    while (w->left == 0 && w->current + 1 < w->n_shards) {
        if (close_shard(w, e) < 0)
            return -1;
        w->current++;
        if (open_shard(w, e) < 0)
            return -1;
    }
    return 0;
}

int model_writer_data(struct model_writer *w, const void *data, size_t len, struct err *e)
{
    const char *p = data;
    while (len > 0) {
        if (advance(w, e) < 0)
            return -1;
        if (w->left == 0)
            return err_set(e, "%s: more data than the tensors need", w->dir);
        size_t part = len < w->left ? len : (size_t)w->left;
        if (st_writer_data(w->writer, p, part, e) < 0)
            return -1;
        p += part;
        len -= part;
        w->left -= part;
    }
    return 0;
}

struct entry { const char *name, *file; };

static int by_entry(const void *a, const void *b)
{
    return strcmp(((const struct entry *)a)->name, ((const struct entry *)b)->name);
}

static int write_index(struct model_writer *w, struct err *e)
{
    struct buf b = BUF_INIT;
    uint64_t bytes = 0, parameters = 0;
    char *path = file_join(w->dir, "model.safetensors.index.json");
    struct entry *list = mem_array(NULL, (size_t)w->n, sizeof *list);
    for (int s = 0; s < w->n_shards; s++)
        for (int i = w->shards[s].first; i < w->shards[s].first + w->shards[s].n; i++) {
            list[i] = (struct entry){w->tensors[i].name, w->shards[s].file};
            bytes += w->tensors[i].size;
            parameters += (uint64_t)w->tensors[i].numel;
        }
    qsort(list, (size_t)w->n, sizeof *list, by_entry);
    buf_printf(&b, "{\n  \"metadata\": {\n    \"total_parameters\": %" PRIu64 ",\n    \"total_size\": %" PRIu64 "\n  },\n  \"weight_map\": {",
               parameters, bytes);
    for (int i = 0; i < w->n; i++) {
        buf_add_str(&b, i ? ",\n    " : "\n    ");
        json_add_ascii(&b, list[i].name);
        buf_add_str(&b, ": ");
        json_add_ascii(&b, list[i].file);
    }
    buf_add_str(&b, "\n  }\n}\n");
    int r = file_write(path, buf_str(&b), b.len, e);
    free(path);
    free(list);
    buf_release(&b);
    return r;
}

int model_writer_end(struct model_writer *w, int r, struct err *e)
{
    if (r == 0)
        r = advance(w, e);
    if (r == 0 && w->left > 0)
        r = err_set(e, "%s: less data than the tensors need", w->dir);
    if (r == 0)
        r = close_shard(w, e);
    if (r == 0 && w->n_shards > 1)
        r = write_index(w, e);
    free_writer(w);
    return r;
}
