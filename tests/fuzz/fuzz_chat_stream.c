/* Chat streams: headers, lines, samples. A sample that parses is written and read again unchanged. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "text/chat_stream.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void put_parts(struct buf *b, const struct chat_sample *s, size_t from, size_t to)
{
    for (size_t i = from; i < to; i++)
        chat_sample_span(b, s->text.data + s->parts[i].start, s->parts[i].end - s->parts[i].start, s->parts[i].train, s->parts[i].data);
}

static void again(const struct chat_sample *s, enum chat_stream_kind kind)
{
    struct buf b = BUF_INIT;
    struct chat_sample copy = {0};
    struct err e = ERR_INIT;
    size_t prompt = kind == CHAT_SAMPLES ? s->n_parts : s->n_prompt;
    chat_sample_begin(&b, "f", s->record);
    put_parts(&b, s, 0, prompt);
    if (kind != CHAT_SAMPLES) {
        chat_sample_answer(&b, kind == CHAT_PAIRS ? "chosen" : "completion");
        put_parts(&b, s, prompt, prompt + s->n_chosen);
    }
    if (kind == CHAT_PAIRS) {
        chat_sample_answer(&b, "rejected");
        put_parts(&b, s, prompt + s->n_chosen, s->n_parts);
    }
    if (kind == CHAT_LABELLED)
        chat_sample_end_label(&b, s->label);
    else
        chat_sample_end(&b);
    if (chat_sample_parse(b.data, b.len, kind, &copy, &e) < 0 || copy.text.len != s->text.len || memcmp(buf_str(&copy.text), buf_str(&s->text), s->text.len) != 0 ||
        copy.n_parts != s->n_parts || copy.n_prompt != s->n_prompt || copy.n_chosen != s->n_chosen || copy.label != s->label)
        abort();
    chat_sample_release(&copy);
    buf_release(&b);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const enum chat_stream_kind kinds[] = {CHAT_SAMPLES, CHAT_PAIRS, CHAT_LABELLED};
    struct err e = ERR_INIT;
    struct chat_sample sample = {0};
    struct chat_stream *s = chat_stream_memory(data, size, "fuzz", CHAT_SAMPLES | CHAT_PAIRS | CHAT_LABELLED, &e);
    const char *line;
    size_t len;
    int64_t number;
    while (s && chat_stream_next(s, &line, &len, &number, &e) == 1) {
        struct err bad = ERR_INIT;
        if (chat_sample_parse(line, len, chat_stream_header(s)->kind, &sample, &bad) == 0)
            again(&sample, chat_stream_header(s)->kind);
    }
    for (int i = 0; i < 3; i++) {
        struct err bad = ERR_INIT;
        if (chat_sample_parse((const char *)data, size, kinds[i], &sample, &bad) == 0)
            again(&sample, kinds[i]);
    }
    chat_sample_release(&sample);
    chat_stream_close(s);
    return 0;
}
