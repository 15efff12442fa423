/* Chat streams: headers, lines, samples. A sample that parses is written and read again unchanged. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "text/chat_stream.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void again(const struct chat_sample *s)
{
    struct buf b = BUF_INIT;
    struct chat_sample copy = {0};
    struct err e = ERR_INIT;
    chat_sample_begin(&b, "f", s->record);
    for (size_t i = 0; i < s->n_parts; i++)
        chat_sample_span(&b, s->text.data + s->parts[i].start, s->parts[i].end - s->parts[i].start, s->parts[i].train, s->parts[i].data);
    chat_sample_end(&b);
    if (chat_sample_parse(b.data, b.len, &copy, &e) < 0 || copy.text.len != s->text.len || memcmp(buf_str(&copy.text), buf_str(&s->text), s->text.len) != 0 ||
        copy.n_parts != s->n_parts)
        abort();
    chat_sample_release(&copy);
    buf_release(&b);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct err e = ERR_INIT;
    struct chat_sample sample = {0};
    struct chat_stream *s = chat_stream_memory(data, size, "fuzz", CHAT_SAMPLES, &e);
    const char *line;
    size_t len;
    int64_t number;
    while (s && chat_stream_next(s, &line, &len, &number, &e) == 1) {
        struct err bad = ERR_INIT;
        if (chat_sample_parse(line, len, &sample, &bad) == 0)
            again(&sample);
    }
    struct err bad = ERR_INIT;
    if (chat_sample_parse((const char *)data, size, &sample, &bad) == 0)
        again(&sample);
    chat_sample_release(&sample);
    chat_stream_close(s);
    return 0;
}
