#include "base/input.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zstd.h>

#include "base/bytes.h"
#include "base/mem.h"

enum { INPUT_BLOCK = 1 << 17, INPUT_MAX_WINDOW_LOG = 27 };

struct input {
    char *name;
    int fd;                        /* -1: memory */
    const unsigned char *memory;
    size_t memory_left;
    unsigned char *block;          /* bytes as stored, read but not handed out: [at, have) */
    size_t at, have;
    bool started, ended, in_frame; /* in_frame: a zstd frame has begun and not ended */
    ZSTD_DStream *zstd;            /* NULL: plain */
    struct sha256 hash;
};

static struct input *input_new(const char *name)
{
    struct input *in = mem_zalloc(1, sizeof *in);
    in->name = mem_strdup(name);
    in->fd = -1;
    in->block = mem_alloc(INPUT_BLOCK);
    sha256_init(&in->hash);
    return in;
}

struct input *input_open(const char *path, struct err *e)
{
    struct stat st;
    bool standard = !strcmp(path, "-");
    int fd = standard ? dup(0) : open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        err_sys(e, "%s: cannot open", standard ? "stdin" : path);
        return NULL;
    }
    if (fstat(fd, &st) == 0 && S_ISDIR(st.st_mode)) {
        err_set(e, "%s: is a directory", path);
        close(fd);
        return NULL;
    }
    struct input *in = input_new(standard ? "stdin" : path);
    in->fd = fd;
    return in;
}

struct input *input_memory(const void *data, size_t len, const char *name)
{
    struct input *in = input_new(name);
    in->memory = data;
    in->memory_left = len;
    return in;
}

static ssize_t read_stored(struct input *in, unsigned char *to, size_t room)
{
    if (in->fd < 0) {
        size_t n = room < in->memory_left ? room : in->memory_left;
        memcpy(to, in->memory, n);
        in->memory += n;
        in->memory_left -= n;
        return (ssize_t)n;
    }
    for (;;) {
        ssize_t n = read(in->fd, to, room);
        if (n >= 0 || errno != EINTR)
            return n;
    }
}

/* Reads until `want` bytes wait in the block or the stream ends. */
static int fill(struct input *in, size_t want, struct err *e)
{
    if (in->at == in->have)
        in->at = in->have = 0;
    while (!in->ended && in->have - in->at < want) {
        ssize_t n = read_stored(in, in->block + in->have, INPUT_BLOCK - in->have);
        if (n < 0)
            return err_sys(e, "%s: cannot read", in->name);
        in->ended = n == 0;
        sha256_add(&in->hash, in->block + in->have, (size_t)n);
        in->have += (size_t)n;
    }
    return 0;
}

static int start(struct input *in, struct err *e)
{
    in->started = true;
    if (fill(in, 4, e) < 0)
        return -1;
    uint32_t magic = in->have >= 4 ? get_le32(in->block) : 0;
    if (magic != ZSTD_MAGICNUMBER && (magic & ZSTD_MAGIC_SKIPPABLE_MASK) != ZSTD_MAGIC_SKIPPABLE_START)
        return 0;
    in->zstd = ZSTD_createDStream();
    if (!in->zstd || ZSTD_isError(ZSTD_DCtx_setParameter(in->zstd, ZSTD_d_windowLogMax, INPUT_MAX_WINDOW_LOG)))
        return err_set(e, "%s: cannot start decompression", in->name);
    return 0;
}

static ssize_t read_zstd(struct input *in, void *to, size_t room, struct err *e)
{
    ZSTD_outBuffer out = {to, room, 0};
    while (out.pos == 0) {
        if (fill(in, 1, e) < 0)
            return -1;
        bool dry = in->at == in->have;
        if (dry && !in->in_frame)
            return 0;
        ZSTD_inBuffer stored = {in->block + in->at, in->have - in->at, 0};
        size_t r = ZSTD_decompressStream(in->zstd, &out, &stored);
        if (ZSTD_isError(r))
            return err_set(e, "%s: compressed data: %s", in->name, ZSTD_getErrorName(r));
        in->at += stored.pos;
        in->in_frame = r != 0;
        if (dry && in->in_frame && out.pos == 0)
            return err_set(e, "%s: truncated: the compressed data ends inside a frame", in->name);
    }
    return (ssize_t)out.pos;
}

ssize_t input_read(struct input *in, void *to, size_t room, struct err *e)
{
    if (!in->started && start(in, e) < 0)
        return -1;
    if (in->zstd)
        return read_zstd(in, to, room, e);
    if (fill(in, 1, e) < 0)
        return -1;
    size_t n = in->have - in->at < room ? in->have - in->at : room;
    memcpy(to, in->block + in->at, n);
    in->at += n;
    return (ssize_t)n;
}

const char *input_name(const struct input *in)
{
    return in->name;
}

void input_hash(const struct input *in, char hex[SHA256_HEX])
{
    struct sha256 copy = in->hash;
    sha256_end_hex(&copy, hex);
}

void input_close(struct input *in)
{
    if (!in)
        return;
    ZSTD_freeDStream(in->zstd);
    if (in->fd >= 0)
        close(in->fd);
    free(in->block);
    free(in->name);
    free(in);
}
