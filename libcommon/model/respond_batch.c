#include "model/respond_batch.h"

#include <stdlib.h>
#include <string.h>

#include "base/input.h"
#include "base/mem.h"
#include "text/chat_data.h"
#include "text/chat_stream.h"
#include "text/records.h"

struct job {
    json_t *record;      /* what is put out, owned */
    json_t *reference;   /* string, owned; NULL: none */
    struct buf response;
    bool done;
};

struct jobs {
    struct job *items;
    struct token_list *prompts; /* beside items */
    size_t n, cap, cap_prompts;
    size_t written;
    FILE *out;
    struct respond_batch_result *result;
    struct err *e;
};

static struct token_list *add_job(struct jobs *j, json_t *record, json_t *reference)
{
    j->items = mem_grow(j->items, &j->cap, j->n + 1, sizeof *j->items);
    j->prompts = mem_grow(j->prompts, &j->cap_prompts, j->n + 1, sizeof *j->prompts);
    j->items[j->n] = (struct job){record, reference, BUF_INIT, false};
    j->prompts[j->n] = (struct token_list){0};
    return &j->prompts[j->n++];
}

static void release_jobs(struct jobs *j)
{
    for (size_t i = 0; i < j->n; i++) {
        json_decref(j->items[i].record);
        json_decref(j->items[i].reference);
        buf_release(&j->items[i].response);
        token_list_release(&j->prompts[i]);
    }
    free(j->items);
    free(j->prompts);
}

/* A last assistant turn is the reference, not part of the prompt. */
static json_t *take_reference(json_t *sample)
{
    json_t *messages = json_object_get(sample, "messages");
    size_t n = json_array_size(messages);
    json_t *last = n ? json_array_get(messages, n - 1) : NULL;
    const char *role = json_string_value(json_object_get(last, "role"));
    if (!role || strcmp(role, "assistant"))
        return NULL;
    bool calls = json_object_get(last, "tool_calls") != NULL; /* an answer that is not, or not only, text */
    json_t *content = calls ? NULL : json_incref(json_object_get(last, "content"));
    json_array_remove(messages, n - 1);
    return content;
}

static int add_raw(struct responder *r, struct jobs *j, json_t *record, struct err *e)
{
    const json_t *text = json_object_get(record, "prompt");
    text = text ? text : json_object_get(record, "text");
    if (!json_is_string(text)) {
        json_decref(record);
        return err_set(e, "no string \"prompt\" or \"text\" to continue");
    }
    json_t *completion = json_object_get(record, "completion");
    struct token_list *ids = add_job(j, record, json_is_string(completion) ? json_incref(completion) : NULL);
    return responder_raw(r, json_string_value(text), json_string_length(text), ids, e);
}

static int add_chat(struct responder *r, struct jobs *j, json_t *record, struct err *e)
{
    struct chat_data d;
    if (chat_data_convert(record, CHAT_DATA_AUTO, true, &d, e) < 0) {
        json_decref(record);
        return -1;
    }
    int result;
    if (d.sample) {
        struct token_list *ids = add_job(j, record, take_reference(d.sample));
        result = responder_prompt(r, d.sample, ids, e);
    } else {
        const json_t *start = d.prompt ? d.prompt : d.text;
        struct token_list *ids = add_job(j, record, d.prompt ? json_incref(d.text) : NULL);
        result = responder_raw(r, json_string_value(start), json_string_length(start), ids, e);
    }
    chat_data_release(&d);
    return result;
}

static int read_records(struct responder *r, struct jobs *j, struct records *s, const struct respond_batch_options *o, struct err *e)
{
    struct record rec;
    int k;
    records_select(s, o->from, o->to);
    while ((k = records_next(s, &rec, e)) == 1) {
        json_t *record = record_parse(&rec, e);
        if (!record)
            return -1;
        if ((o->raw ? add_raw : add_chat)(r, j, record, e) < 0)
            return err_prefix(e, "%s: record %lld (line %lld)", rec.file, (long long)rec.number, (long long)rec.line);
    }
    return k;
}

static int read_stream(struct responder *r, struct jobs *j, struct chat_stream *s, const struct respond_batch_options *o, struct err *e)
{
    struct chat_sample sample = {0};
    struct text_range *plain = NULL;
    size_t cap = 0, len;
    const char *line;
    int64_t number, at = 0;
    int k;
    while ((k = chat_stream_next(s, &line, &len, &number, e)) == 1) {
        size_t n = 0;
        if (++at < o->from || at > o->to)
            continue;
        if ((k = chat_sample_parse(line, len, CHAT_PROMPTS, &sample, e)) < 0)
            break;
        for (size_t i = 0; i < sample.n_parts; i++) {
            plain = mem_grow(plain, &cap, n + 1, sizeof *plain);
            if (sample.parts[i].data)
                plain[n++] = (struct text_range){sample.parts[i].start, sample.parts[i].end};
        }
        json_t *record = json_pack("{s:s, s:I, s:s#}", "source", buf_str(&sample.source), "record", (json_int_t)sample.record, "prompt",
                                   buf_str(&sample.text), sample.text.len);
        k = responder_encode(r, buf_str(&sample.text), sample.text.len, plain, n, add_job(j, record, NULL), e);
        if (k < 0) {
            err_prefix(e, "%s: line %lld", chat_stream_name(s), (long long)number);
            break;
        }
    }
    free(plain);
    chat_sample_release(&sample);
    if (k == 0 && (at < o->from || (o->to < INT64_MAX && at < o->to)))
        return err_set(e, "%s: holds %lld prompts, but prompt %lld is asked for", chat_stream_name(s), (long long)at,
                       (long long)(at < o->from ? o->from : o->to));
    return k;
}

/* A chat stream is told by its first line. */
static int read_prompts(struct responder *r, struct jobs *j, const struct buf *data, const char *path, const struct respond_batch_options *o,
                        struct err *e)
{
    int result;
    if (!strncmp(buf_str(data), CHAT_STREAM_START, strlen(CHAT_STREAM_START))) {
        struct chat_stream *s = chat_stream_memory(data->data, data->len, path, CHAT_PROMPTS, e);
        result = s ? read_stream(r, j, s, o, e) : -1;
        chat_stream_close(s);
        return result;
    }
    struct records *s = records_memory(buf_str(data), data->len, path);
    result = read_records(r, j, s, o, e);
    records_close(s);
    if (result == 0 && !j->n)
        return err_set(e, "%s: no records", path);
    return result;
}

static int read_input(struct buf *data, const char *path, struct err *e)
{
    ssize_t n;
    struct input *in = input_open(path, e);
    if (!in)
        return -1;
    do {
        buf_reserve(data, 1 << 16);
        n = input_read(in, data->data + data->len, 1 << 16, e);
        if (n > 0)
            buf_set_len(data, data->len + (size_t)n);
    } while (n > 0);
    input_close(in);
    return (int)n;
}

static bool space(char c)
{
    return c == ' ' || c == '\n' || c == '\t' || c == '\r';
}

static bool same_but_for_space(const char *a, size_t n, const char *b, size_t m)
{
    while (n && space(a[n - 1]))
        n--;
    while (m && space(b[m - 1]))
        m--;
    while (n && space(*a))
        a++, n--;
    while (m && space(*b))
        b++, m--;
    return n == m && !memcmp(a, b, n);
}

static int got_text(void *arg, size_t i, const char *text, size_t len)
{
    buf_add(&((struct jobs *)arg)->items[i].response, text, len);
    return 0;
}

/* Writes what is done as far as everything before it is done. */
static int got_end(void *arg, size_t i, enum generate_end why, int64_t n_tokens)
{
    struct jobs *j = arg;
    struct job *job = &j->items[i];
    if (job->reference)
        json_object_set(job->record, "reference", job->reference);
    json_object_set_new(job->record, "response", json_stringn(buf_str(&job->response), job->response.len));
    json_object_set_new(job->record, "finish", json_string(why == GENERATE_LENGTH ? "length" : "stop"));
    json_object_set_new(job->record, "tokens", json_integer(n_tokens));
    job->done = true;
    j->result->new_tokens += n_tokens;
    j->result->records++;
    if (job->reference) {
        j->result->references++;
        j->result->right += same_but_for_space(buf_str(&job->response), job->response.len, json_string_value(job->reference),
                                                 json_string_length(job->reference));
    }
    for (; j->written < j->n && j->items[j->written].done; j->written++) {
        json_t **record = &j->items[j->written].record;
        if (json_dumpf(*record, j->out, 0) < 0 || putc('\n', j->out) == EOF)
            return err_sys(j->e, "cannot write the answers");
        json_decref(*record);
        *record = NULL;
    }
    return 0;
}

int respond_batch(struct responder *r, const char *path, const struct respond_batch_options *o, FILE *out, struct respond_batch_result *result,
                  struct err *e)
{
    struct jobs jobs = {.out = out, .result = result, .e = e};
    struct buf data = BUF_INIT;
    int status = read_input(&data, path, e);
    if (status == 0)
        status = read_prompts(r, &jobs, &data, strcmp(path, "-") ? path : "stdin", o, e);
    buf_release(&data);
    for (size_t i = 0; i < jobs.n; i++)
        result->prompt_tokens += (int64_t)jobs.prompts[i].n;
    if (status == 0)
        status = responder_run(r, jobs.prompts, jobs.n, o->from > 1 ? (uint64_t)o->from - 1 : 0, &(struct respond_sink){&jobs, got_text, got_end}, e);
    release_jobs(&jobs);
    return status;
}
