/* Tensors of a quantized module `m`: text of config.json, NUL, header of a safetensors file, NUL, its data. What is accepted is read as far as
 * the operations read it. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/mem.h"
#include "format/quantized_tensors.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static volatile unsigned sum;

static void touch(const void *p, int64_t bytes)
{
    if (!p || bytes < 1)
        abort();
    sum += ((const unsigned char *)p)[0] + ((const unsigned char *)p)[bytes - 1];
}

/* As base/quantized.h lays them out. */
static void touch_words(const struct quantized *q)
{
    int64_t groups = q->group ? (q->in + q->group - 1) / q->group : 0;
    touch(q->codes, q->in * q->out / 8 * q->bits);
    if (!q->group && !q->g_idx)
        abort();
    if (q->g_idx)
        touch(q->g_idx, q->in * 4);
    for (int64_t i = 0; q->g_idx && i < q->in; i++) {
        int32_t g = (int32_t)get_le32((const char *)q->g_idx + i * 4);
        if (g < 0)
            abort();
        groups = g >= groups ? g + 1 : groups;
    }
    touch(q->zeros, groups * q->out / 8 * q->bits);
    touch(q->scales, groups * q->out * (int64_t)dtype_size(q->scale_type));
}

static void touch_all(const struct quantized *q)
{
    int64_t n = q->out * q->in;
    switch (q->kind) {
    case QUANTIZED_INT8:
        touch(q->codes, n);
        touch(q->scales, q->out * 4);
        break;
    case QUANTIZED_NF4:
    case QUANTIZED_FP4:
        touch(q->codes, (n + 1) / 2);
        touch(q->scales, (n + q->group - 1) / q->group * (int64_t)dtype_size(q->scale_type));
        if (q->scale_type == DTYPE_U8) {
            touch(q->nested_map, 1024);
            touch(q->nested_scales, ((n + q->group - 1) / q->group + QUANTIZED_NESTED_BLOCK - 1) / QUANTIZED_NESTED_BLOCK * 4);
        }
        break;
    case QUANTIZED_GPTQ:
    case QUANTIZED_AWQ:
        touch_words(q);
        break;
    }
}

static void find(const struct quantized_config *c, struct st_file *file)
{
    static const int64_t shapes[][2] = {{4, 6}, {32, 32}, {8, 64}, {16, 40}, {1, 2}, {3, 43}, {2, 1}};
    struct model_folder f = {.dir = (char *)"fuzz", .shards = &file, .n_shards = 1, .n_tensors = file->n_tensors};
    f.tensors = mem_array(NULL, (size_t)f.n_tensors + 1, sizeof *f.tensors);
    for (int i = 0; i < f.n_tensors; i++)
        f.tensors[i] = &file->tensors[i];
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        const struct st_tensor *used[QUANTIZED_TENSORS_MAX];
        struct quantized q;
        struct err e = ERR_INIT;
        int n, r = quantized_tensors_find(&q, used, &n, &f, c, "m", shapes[i][0], shapes[i][1], &e);
        if ((r < 0) != e.set || (r > 0 && (n < 2 || n > QUANTIZED_TENSORS_MAX || used[0]->data != q.codes)))
            abort();
        if (r > 0)
            touch_all(&q);
    }
    for (int i = 0; i < f.n_tensors; i++)
        sum += quantized_tensors_is_packed(&f, NULL, f.tensors[i]);
    free(f.tensors);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct err e = ERR_INIT;
    struct quantized_config c;
    const uint8_t *config_end = size ? memchr(data, 0, size) : NULL;
    if (!config_end || quantized_config_parse(&c, (const char *)data, (size_t)(config_end - data), false, "fuzz", &e))
        return 0;
    const uint8_t *header = config_end + 1;
    size_t rest = size - (size_t)(header - data);
    const uint8_t *end = rest ? memchr(header, 0, rest) : NULL;
    if (!end)
        return 0;
    size_t length = (size_t)(end - header), bytes = rest - length - 1;
    uint8_t *file = mem_alloc(8 + length + bytes);
    put_le64(file, length);
    memcpy(file + 8, header, length);
    memcpy(file + 8 + length, end + 1, bytes);
    struct st_file *s = st_parse(file, 8 + length + bytes, "fuzz", &e);
    if (s)
        find(&c, s);
    st_close(s);
    free(file);
    return 0;
}
