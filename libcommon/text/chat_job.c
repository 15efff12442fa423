#include "text/chat_job.h"

#include <string.h>

#include "text/chat_stream.h"

static int at_record(const struct record *r, struct err *e)
{
    return err_prefix(e, "%s: record %lld (line %lld)", r->file, (long long)r->number, (long long)r->line);
}

/* The record, read and converted. Errors have their place. */
static int load(const struct chat_job *job, const struct record *r, struct chat_data *d, struct err *e)
{
    json_t *record = record_parse(r, e);
    if (!record)
        return -1;
    int k = chat_data_convert(record, job->format, job->options.generation_prompt, d, e);
    json_decref(record);
    return k < 0 ? at_record(r, e) : 0;
}

int chat_job_is_raw(const struct chat_job *job, const struct record *r, bool *raw, struct err *e)
{
    struct chat_data d;
    if (load(job, r, &d, e) < 0)
        return -1;
    *raw = d.sample == NULL;
    chat_data_release(&d);
    return 0;
}

static void add_raw(const struct chat_job *job, const struct chat_data *d, struct buf *line)
{
    bool all = job->options.train == CHAT_TRAIN_ALL;
    if (d->prompt)
        chat_sample_span(line, json_string_value(d->prompt), json_string_length(d->prompt), all && !job->options.generation_prompt, true);
    if (!job->options.generation_prompt)
        chat_sample_span(line, json_string_value(d->text), json_string_length(d->text), true, true);
}

/* A prompt ends where the answer would begin: the answer that the data has is left out. */
static int cut_answer(json_t *sample, struct err *e)
{
    json_t *messages = json_object_get(sample, "messages");
    size_t n = json_array_size(messages);
    const char *role = json_string_value(json_object_get(json_array_get(messages, n - 1), "role"));
    if (role && !strcmp(role, "assistant"))
        json_array_remove(messages, --n);
    return n ? 0 : err_set(e, "nothing is left of the conversation before the assistant's message");
}

static int add_chat(const struct chat_job *job, const struct chat_data *d, struct buf *line, struct err *e)
{
    struct chat_rendered out = {0};
    struct chat_options options = job->options;
    if (d->train_last && options.train == CHAT_TRAIN_ASSISTANT)
        options.train = CHAT_TRAIN_LAST;
    if (options.generation_prompt && cut_answer(d->sample, e) < 0)
        return -1;
    int r = chat_render(job->template, d->sample, &options, &out, e);
    for (size_t i = 0; r == 0 && i < out.n_spans; i++) {
        const struct chat_span *s = &out.spans[i];
        chat_sample_span(line, out.text.data + s->start, s->end - s->start, s->train, s->data);
    }
    chat_rendered_release(&out);
    return r;
}

int chat_job_run(const struct chat_job *job, const struct record *r, struct buf *line, struct err *e)
{
    struct chat_data d;
    size_t before = line->len;
    if (load(job, r, &d, e) < 0)
        return -1;
    int k = 0;
    chat_sample_begin(line, r->file, r->number);
    if (!d.sample != !job->template)
        k = err_set(e, d.sample ? "is a conversation, but the first record was raw text" : "is raw text, but the first record was a conversation");
    else if (!d.sample && job->options.generation_prompt && !d.prompt)
        k = err_set(e, "is raw text, which has no prompt");
    else if (d.sample)
        k = add_chat(job, &d, line, e);
    else
        add_raw(job, &d, line);
    chat_sample_end(line);
    chat_data_release(&d);
    if (k == 0)
        return 0;
    buf_set_len(line, before);
    return at_record(r, e);
}
