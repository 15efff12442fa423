/* Descriptions of token files, reference log-probabilities and chat streams. Reading them checks them. */
#include <string.h>

#include "format/ref_logprobs.h"
#include "format/token_file.h"
#include "text/chat_stream.h"
#include "train/inspect_impl.h"

static void add_hash(json_t *to, const char *key, const char *hash)
{
    if (hash && hash[0])
        json_object_set_new(to, key, json_string(hash));
}

static void add_options(json_t *to, const char *text)
{
    json_t *options = text ? json_loads(text, 0, NULL) : NULL;
    if (options)
        json_object_set_new(to, "options", options);
}

/* Tokens of the prompts and of each answer; of labelled samples how many are desirable. */
static void add_answers(json_t *to, const struct token_file *t)
{
    int64_t prompt = 0, chosen = 0, desirable = 0;
    if (t->kind == TOKEN_KIND_SAMPLES)
        return;
    for (int64_t i = 0; i < t->n_samples; i++) {
        struct token_sample s = token_file_sample(t, i);
        prompt += s.prompt;
        chosen += s.chosen;
        desirable += s.label;
    }
    if (t->kind == TOKEN_KIND_LABELLED)
        json_object_set_new(to, "desirable", json_integer(desirable));
    json_object_set_new(to, "prompt_tokens", json_integer(prompt));
    json_object_set_new(to, t->kind == TOKEN_KIND_PAIRS ? "chosen_tokens" : "completion_tokens", json_integer(chosen));
    if (t->kind == TOKEN_KIND_PAIRS)
        json_object_set_new(to, "rejected_tokens", json_integer(t->n_tokens - prompt - chosen));
}

int inspect_token_file(json_t *to, const char *path, bool verify, struct err *e)
{
    struct token_file *t = token_file_open(path, e);
    if (!t)
        return -1;
    json_object_set_new(to, "holds", json_string(token_kind_name(t->kind)));
    json_object_set_new(to, t->kind == TOKEN_KIND_PAIRS ? "pairs" : "samples", json_integer(t->n_samples));
    add_answers(to, t);
    json_object_set_new(to, "tokens", json_integer(t->n_tokens));
    json_object_set_new(to, "trained_tokens", json_integer(t->n_trained));
    json_object_set_new(to, "longest", json_integer(t->longest));
    json_object_set_new(to, "vocab", json_integer(t->provenance.vocab));
    add_hash(to, "tokenizer", t->provenance.tokenizer);
    add_hash(to, "template", t->provenance.template_hash);
    add_hash(to, "input", t->provenance.input);
    add_hash(to, "hash", t->hash);
    add_options(to, t->provenance.options);
    if (verify)
        inspect_add_verified(to, true, (int64_t)t->map.size, "every record, the counts and the checksum agree");
    token_file_close(t);
    return 0;
}

int inspect_reference(json_t *to, const char *path, bool verify, struct err *e)
{
    struct ref_logprobs *r = ref_logprobs_open(path, e);
    double sums[2] = {0}, n;
    int64_t values[2] = {0};
    if (!r)
        return -1;
    for (int64_t i = 0; i < r->n_samples; i++)
        for (int k = 0; k < 2; k++) {
            struct ref_answer y = ref_logprobs_answer(r, i, k);
            double sum, rest;
            ref_answer_sum(&y, y.n, &sum, &rest);
            sums[k] += sum;
            values[k] += y.n;
        }
    bool pairs = r->kind == TOKEN_KIND_PAIRS;
    const char *const names[] = {pairs ? "chosen" : "completion", pairs ? "rejected" : "mismatched"};
    json_object_set_new(to, "holds", json_string(token_kind_name(r->kind)));
    json_object_set_new(to, pairs ? "pairs" : "samples", json_integer(r->n_samples));
    for (int k = 0; k < 2; k++)
        if (values[k]) {
            char key[40];
            n = (double)values[k];
            snprintf(key, sizeof key, "%s_tokens", names[k]);
            json_object_set_new(to, key, json_integer(values[k]));
            snprintf(key, sizeof key, "%s_logp_per_token", names[k]);
            json_object_set_new(to, key, json_real(sums[k] / n));
        }
    json_object_set_new(to, "arithmetic", json_string(r->provenance.arithmetic));
    json_object_set_new(to, "tool", json_string(r->tool));
    add_hash(to, "model", r->provenance.model);
    add_hash(to, "adapter", r->provenance.adapter);
    add_hash(to, "data", r->provenance.data);
    add_hash(to, "hash", r->hash);
    if (verify)
        inspect_add_verified(to, true, (int64_t)r->map.size, "every record, the counts and the checksum agree");
    ref_logprobs_close(r);
    return 0;
}

static int count_samples(struct chat_stream *s, int64_t *samples, int64_t *trained, struct err *e)
{
    struct chat_sample sample = {0};
    const char *line;
    size_t len;
    int64_t number;
    int r;
    while ((r = chat_stream_next(s, &line, &len, &number, e)) == 1) {
        if (chat_sample_parse(line, len, chat_stream_header(s)->kind, &sample, e) < 0) {
            r = err_prefix(e, "%s: line %lld", chat_stream_name(s), (long long)number);
            break;
        }
        ++*samples;
        for (size_t i = 0; i < sample.n_parts; i++)
            *trained += sample.parts[i].train ? (int64_t)(sample.parts[i].end - sample.parts[i].start) : 0;
    }
    chat_sample_release(&sample);
    return r;
}

int inspect_chat_stream(json_t *to, const char *path, bool verify, struct err *e)
{
    int64_t samples = 0, trained = 0;
    char hash[SHA256_HEX];
    struct chat_stream *s = chat_stream_open(path, CHAT_SAMPLES | CHAT_PROMPTS | CHAT_PAIRS | CHAT_LABELLED, e);
    if (!s)
        return -1;
    const struct chat_stream_header *h = chat_stream_header(s);
    json_object_set_new(to, "holds", json_string(chat_stream_kind_name(h->kind)));
    if (h->template_name)
        json_object_set_new(to, "template_name", json_string(h->template_name));
    add_hash(to, "template", h->template_hash);
    add_options(to, h->options);
    int r = count_samples(s, &samples, &trained, e);
    if (r == 0) {
        chat_stream_hash(s, hash);
        json_object_set_new(to, "samples", json_integer(samples));
        json_object_set_new(to, "trained_bytes", json_integer(trained));
        json_object_set_new(to, "skipped", json_integer(chat_stream_skipped(s)));
        json_object_set_new(to, "hash", json_string(hash));
        if (verify)
            inspect_add_verified(to, true, 0, "every record and the counts at the end agree");
    }
    chat_stream_close(s);
    return r;
}
