#include "text/chat_job.h"

#include <math.h>
#include <string.h>

#include "text/chat_stream.h"

static int at_record(const struct record *r, struct err *e)
{
    return err_prefix(e, "%s: record %lld (line %lld)", r->file, (long long)r->number, (long long)r->line);
}

static int judge(const struct chat_job *job, struct chat_data *d, struct err *e)
{
    if (isnan(job->desirable) && !job->options.generation_prompt)
        return err_set(e, "has a rating and no label: which ratings are good is not told (--desirable)");
    d->label = d->rating >= job->desirable;
    return 0;
}

/* The record, read and converted. Errors have their place. */
static int load(const struct chat_job *job, const struct record *r, struct chat_data *d, struct err *e)
{
    json_t *record = record_parse(r, e);
    if (!record)
        return -1;
    int k = chat_data_convert(record, job->format, job->options.generation_prompt, d, e);
    json_decref(record);
    if (k == 0 && d->rated && (k = judge(job, d, e)) < 0)
        chat_data_release(d);
    return k < 0 ? at_record(r, e) : 0;
}

int chat_job_look(const struct chat_job *job, const struct record *r, bool *raw, enum chat_stream_kind *kind, struct err *e)
{
    struct chat_data d;
    if (load(job, r, &d, e) < 0)
        return -1;
    *raw = d.sample == NULL;
    *kind = job->options.generation_prompt ? CHAT_PROMPTS : d.kind;
    chat_data_release(&d);
    return 0;
}

/* ---- raw text ---- */

static void add_text(const json_t *text, bool train, struct buf *line)
{
    chat_sample_span(line, json_string_value(text), json_string_length(text), train, true);
}

static void add_raw(const struct chat_job *job, const struct chat_data *d, struct buf *line)
{
    bool prompts = job->options.generation_prompt, answers = !prompts && d->kind != CHAT_SAMPLES;
    if (d->prompt)
        add_text(d->prompt, job->options.train == CHAT_TRAIN_ALL && !prompts && !answers, line);
    if (answers)
        chat_sample_answer(line, d->kind == CHAT_PAIRS ? "chosen" : "completion");
    if (!prompts)
        add_text(d->text, true, line);
    if (answers && d->kind == CHAT_PAIRS) {
        chat_sample_answer(line, "rejected");
        add_text(d->rejected, true, line);
    }
}

/* ---- conversations ---- */

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

/* The spans of bytes [from, to). */
static void add_spans(const struct chat_rendered *r, size_t from, size_t to, struct buf *line)
{
    for (size_t i = 0; i < r->n_spans; i++) {
        const struct chat_span *s = &r->spans[i];
        size_t start = s->start > from ? s->start : from, end = s->end < to ? s->end : to;
        if (start < end)
            chat_sample_span(line, r->text.data + start, end - start, s->train, s->data);
    }
}

static int add_chat(const struct chat_job *job, const struct chat_data *d, struct buf *line, struct err *e)
{
    struct chat_rendered out = {0};
    struct chat_options options = job->options;
    if (d->train_last && options.train == CHAT_TRAIN_ASSISTANT)
        options.train = CHAT_TRAIN_LAST;
    if (options.generation_prompt && cut_answer(d->sample, e) < 0)
        return -1;
    if (d->kind == CHAT_LABELLED && !options.generation_prompt)
        options.answer = d->answer;
    int r = chat_render(job->template, d->sample, &options, &out, e);
    if (r == 0)
        add_spans(&out, 0, options.answer ? out.answer : out.text.len, line);
    if (r == 0 && options.answer) {
        chat_sample_answer(line, "completion");
        add_spans(&out, out.answer, out.text.len, line);
    }
    chat_rendered_release(&out);
    return r;
}

/* What is before the answers must be the same text, or they would not answer the same. */
static int check_pair(const struct chat_rendered *a, const struct chat_rendered *b, struct err *e)
{
    size_t n = a->answer < b->answer ? a->answer : b->answer, same = 0;
    while (same < n && a->text.data[same] == b->text.data[same])
        same++;
    if (a->answer != b->answer || same < n)
        return err_set(e, "the template puts the two answers behind prompts that differ, from byte %zu of the text on", same + 1);
    if (a->text.len == b->text.len && !memcmp(a->text.data, b->text.data, a->text.len))
        return err_set(e, "the template makes the same text of \"chosen\" and \"rejected\"");
    return 0;
}

static int add_pair(const struct chat_job *job, const struct chat_data *d, struct buf *line, struct err *e)
{
    struct chat_rendered chosen = {0}, rejected = {0};
    struct chat_options options = job->options;
    options.answer = d->answer;
    int r = chat_render(job->template, d->sample, &options, &chosen, e);
    if (r == 0 && (r = chat_render(job->template, d->rejected, &options, &rejected, e)) < 0)
        err_prefix(e, "with \"rejected\"");
    if (r == 0 && (r = check_pair(&chosen, &rejected, e)) == 0) {
        add_spans(&chosen, 0, chosen.answer, line);
        chat_sample_answer(line, "chosen");
        add_spans(&chosen, chosen.answer, chosen.text.len, line);
        chat_sample_answer(line, "rejected");
        add_spans(&rejected, rejected.answer, rejected.text.len, line);
    }
    chat_rendered_release(&chosen);
    chat_rendered_release(&rejected);
    return r;
}

/* ---- a record ---- */

static const char *a_sample(enum chat_stream_kind kind)
{
    return kind == CHAT_PAIRS ? "a preference pair" : kind == CHAT_LABELLED ? "a labelled sample" : "a sample without label or pair";
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
    else if (job->kind != CHAT_PROMPTS && d.kind != job->kind)
        k = err_set(e, "is %s, but the first record was %s", a_sample(d.kind), a_sample(job->kind));
    else if (d.sample)
        k = d.kind == CHAT_PAIRS && job->kind != CHAT_PROMPTS ? add_pair(job, &d, line, e) : add_chat(job, &d, line, e);
    else
        add_raw(job, &d, line);
    if (job->kind == CHAT_LABELLED)
        chat_sample_end_label(line, d.label);
    else
        chat_sample_end(line);
    chat_data_release(&d);
    if (k == 0)
        return 0;
    buf_set_len(line, before);
    return at_record(r, e);
}
