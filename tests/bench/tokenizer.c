/* What a tokenizer does a second with one thread: build/tests/bench/tokenizer TOKENIZER.json TEXT...
 * Each text is cut at line ends into documents of about 4 KiB. Printed for each: "NAME COLD WARM TOKENS SUM": MiB/s of a first walk
 * over the text with a new scratch, the median of those that follow, and tokens and a sum of their ids, to compare builds by. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/file.h"
#include "text/tokenizer.h"
#include "text/utf8.h"

enum { WALKS = 7, DOCUMENT = 4096 };

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

struct sum { uint64_t tokens, ids; };

static int walk(const struct tokenizer *t, const struct buf *text, struct token_list *out, struct sum *sum, struct err *e)
{
    *sum = (struct sum){0, 0};
    for (size_t i = 0, end; i < text->len; i = end) {
        const char *line = i + DOCUMENT < text->len ? memchr(text->data + i + DOCUMENT, '\n', text->len - i - DOCUMENT) : NULL;
        end = line ? (size_t)(line + 1 - text->data) : text->len;
        token_list_clear(out);
        if (tokenizer_encode(t, text->data + i, end - i, NULL, 0, false, out, e) < 0)
            return -1;
        sum->tokens += out->n;
        for (size_t k = 0; k < out->n; k++)
            sum->ids = sum->ids * 31 + out->ids[k] + out->start[k] + 7 * out->end[k];
    }
    return 0;
}

static int measure(const struct tokenizer *t, const char *path, struct err *e)
{
    struct buf raw = BUF_INIT, text = BUF_INIT;
    struct token_list out = {0};
    struct sum sum;
    double seconds[WALKS];
    if (file_read(&raw, path, (size_t)1 << 30, e) < 0)
        return -1;
    utf8_add_lossy(&text, raw.data, raw.len);
    for (int i = 0; i < WALKS; i++) {
        double start = now();
        if (walk(t, &text, &out, &sum, e) < 0)
            return -1;
        seconds[i] = now() - start;
    }
    double mebibytes = (double)text.len / 1048576, cold = seconds[0];
    qsort(seconds + 1, WALKS - 1, sizeof *seconds, by_value);
    printf("%s %.2f %.2f %llu %016llx\n", path, mebibytes / cold, mebibytes / seconds[WALKS / 2], (unsigned long long)sum.tokens, (unsigned long long)sum.ids);
    token_list_release(&out);
    buf_release(&raw);
    buf_release(&text);
    return 0;
}

int main(int argc, char **argv)
{
    struct err e = ERR_INIT;
    struct tokenizer *t = argc > 2 ? tokenizer_open(argv[1], &e) : NULL;
    int result = t ? 0 : -1;
    for (int i = 2; i < argc && result == 0; i++)
        result = measure(t, argv[i], &e);
    if (result < 0)
        fprintf(stderr, "%s\n", e.set ? e.text : "usage: tokenizer TOKENIZER.json TEXT...");
    tokenizer_close(t);
    return result < 0;
}
