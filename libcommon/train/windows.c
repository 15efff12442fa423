#include "train/windows.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/input.h"
#include "base/mem.h"
#include "format/model_folder.h"
#include "text/tokenizer.h"
#include "text/utf8.h"

#define PIECE 65536

static int read_text(struct buf *to, const char *path, char hash[SHA256_HEX], struct err *e)
{
    struct input *in = input_open(path, e);
    ssize_t n = -1;
    if (!in)
        return -1;
    do {
        buf_reserve(to, PIECE);
        n = input_read(in, to->data + to->len, PIECE, e);
        to->len += n > 0 ? (size_t)n : 0;
    } while (n > 0);
    input_hash(in, hash);
    size_t valid = n < 0 ? 0 : utf8_valid(to->data, to->len);
    if (n == 0 && valid < to->len)
        n = err_set(e, "%s: byte %zu: is not UTF-8 text", path, valid);
    input_close(in);
    return (int)n;
}

/* The token that the tokenizer puts before a text; -1: none. */
static int64_t beginning(const struct tokenizer *t, const struct token_list *l)
{
    return l->n && l->start[0] == 0 && l->end[0] == 0 && tokenizer_is_special(t, l->ids[0]) ? (int64_t)l->ids[0] : -1;
}

static int count_windows(const struct windows_options *o, int64_t tokens, const char *path, int64_t *n, struct err *e)
{
    int64_t least = o->stride ? 2 : o->half ? 2 * o->window : o->window;
    if (tokens < least)
        return err_set(e, "%s: holds %" PRId64 " tokens, expected at least %" PRId64 "%s", path, tokens, least,
                       o->half ? ", two windows" : o->stride ? "" : ", a window");
    *n = tokens / o->window;
    if (o->stride) /* until one reaches the end */
        *n = tokens <= o->window ? 1 : (tokens - o->window + o->stride - 1) / o->stride + 1;
    return 0;
}

/* `fresh` tokens at the end of a window count, but never its first: a window of nothing else is none. */
static int add_window(struct token_writer *out, const uint32_t *ids, uint8_t *mask, int64_t n, int64_t fresh, struct err *e)
{
    int64_t first = n - fresh > 1 ? n - fresh : 1;
    if (first >= n)
        return 0;
    memset(mask, 0, (size_t)first);
    memset(mask + first, 1, (size_t)(n - first));
    return token_writer_add(out, ids, mask, (uint32_t)n, e);
}

static int write_windows(const struct windows *w, struct token_writer *out, const struct token_list *l, int64_t bos, const struct windows_options *o,
                         const char *path, struct err *e)
{
    int64_t windows = 0, end = 0, stride = o->stride ? o->stride : o->window;
    if (count_windows(o, w->tokens, path, &windows, e) < 0)
        return -1;
    uint8_t *mask = mem_alloc((size_t)o->window);
    uint32_t *ids = mem_array(NULL, (size_t)o->window, sizeof *ids);
    int r = 0;
    for (int64_t i = 0; i < windows && r == 0; i++) {
        int64_t begin = i * stride, n = w->tokens - begin < o->window ? w->tokens - begin : o->window;
        int64_t fresh = o->half ? n - 1 - n / 2 : begin + n - end;
        memcpy(ids, l->ids + begin, (size_t)n * sizeof *ids);
        if (o->half && bos >= 0)
            ids[0] = (uint32_t)bos;
        r = add_window(out, ids, mask, n, fresh, e);
        end = begin + n;
    }
    free(ids);
    free(mask);
    return r;
}

static int write_file(struct windows *w, const struct tokenizer *t, const struct token_list *l, const char *model, const char *path, const char *hash,
                      const struct windows_options *o, struct err *e)
{
    struct token_provenance p = {.vocab = tokenizer_size(t)};
    size_t size = 0;
    if (model_folder_tokenizer_hash(model, p.tokenizer, e) < 0)
        return -1;
    FILE *f = open_memstream(&w->data, &size);
    struct token_writer *out = f ? token_writer_begin(f, path, TOKEN_KIND_SAMPLES, &p, e) : NULL;
    int r = out ? write_windows(w, out, l, beginning(t, l), o, path, e) : -1;
    if (r == 0)
        r = token_writer_end(out, hash, e);
    else
        token_writer_free(out);
    if (f && fclose(f) != 0)
        r = -1;
    if (r == 0)
        w->file = token_file_parse(w->data, size, path, e);
    else if (!e->set)
        err_sys(e, "%s: cannot hold its windows in memory", path);
    return w->file ? 0 : -1;
}

int windows_open(struct windows *w, const char *model, const char *path, const struct windows_options *o, struct err *e)
{
    struct buf text = BUF_INIT;
    struct token_list l = {0};
    char hash[SHA256_HEX];
    *w = (struct windows){0};
    struct tokenizer *t = tokenizer_open(model, e);
    int r = t ? read_text(&text, path, hash, e) : -1;
    const struct text_range all = {0, text.len};
    if (r == 0)
        r = tokenizer_encode(t, buf_str(&text), text.len, &all, o->half && text.len, true, &l, e);
    w->tokens = (int64_t)l.n;
    if (r == 0)
        r = write_file(w, t, &l, model, path, hash, o, e);
    token_list_release(&l);
    tokenizer_close(t);
    buf_release(&text);
    if (r < 0)
        windows_close(w);
    return r;
}

void windows_close(struct windows *w)
{
    token_file_close(w->file);
    free(w->data);
    *w = (struct windows){0};
}
