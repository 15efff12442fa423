/* tok-encode: chat stream in, token file out. */
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/msg.h"
#include "cli/opt.h"
#include "cli/outfile.h"
#include "cli/progress.h"
#include "cli/summary.h"
#include "format/model_folder.h"
#include "format/token_file.h"
#include "text/chat_encode.h"

static struct {
    int64_t max_length;
    const char *overlong;
} o = {.overlong = "error"};

static const struct opt options[] = {
    {OPT_COUNT, 0, "max-length", &o.max_length, "N", "tokens that a sample may have (the model's context, if its config.json tells)", .min = 2, .max = TOKEN_FILE_MAX_SAMPLE},
    {OPT_CHOICE, 0, "overlong", &o.overlong, "error|truncate|drop|split", "what to do with longer samples, or pairs (error)"},
    OPT_END};

static const struct cli_tool tool = {"tok-encode", "-m DIR [-o FILE] [--max-length N] [--overlong error|truncate|drop|split] [FILE...]",
                                     "Turn a chat stream into a token file.", options, CLI_OUTPUT | CLI_THREADS | CLI_SUMMARY | CLI_MODEL | CLI_FILES,
                                     {"fmt-chat -m model/ alpaca.json | tok-encode -m model/ -o train.tok",
                                      "tok-encode -m model/ --max-length 2k --overlong split chats.jsonl >train.tok"}};

struct run {
    struct tokenizer *tokenizer;
    struct chat_encode_options how;
    struct chat_encode *encode;
    struct token_provenance provenance;
    struct outfile *file;
    struct token_writer *writer;
    const char *stream, *output;
    enum token_kind kind;
};

static enum chat_overlong overlong(void)
{
    static const char *const names[] = {
        [CHAT_OVERLONG_ERROR] = "error", [CHAT_OVERLONG_TRUNCATE] = "truncate", [CHAT_OVERLONG_DROP] = "drop", [CHAT_OVERLONG_SPLIT] = "split"};
    int i = CHAT_OVERLONG_ERROR;
    while (strcmp(names[i], o.overlong) != 0)
        i++;
    return (enum chat_overlong)i;
}

static int write_tokens(void *arg, const struct sample_tokens *t, struct err *e)
{
    const struct token_sample s = {
        .ids = t->ids, .mask = t->mask, .n = (uint32_t)t->n, .prompt = (uint32_t)t->prompt, .chosen = (uint32_t)t->chosen, .label = t->label};
    return token_writer_put(((struct run *)arg)->writer, &s, e);
}

static void tell_dropped(void *arg, const char *source, int64_t record, size_t n)
{
    (void)arg;
    msg_verbose("%s: record %lld: dropped, %zu tokens", source, (long long)record, n);
}

static void show_progress(void *arg, const struct chat_encode_counts *c)
{
    (void)arg;
    progress_step(c->samples, c->tokens, "");
}

static void open_tokenizer(struct run *r)
{
    struct err e = ERR_INIT;
    if (!cli.model)
        die_usage("no -m: the model folder whose tokenizer is to be used");
    r->tokenizer = tokenizer_open(cli.model, &e);
    if (!r->tokenizer || model_folder_tokenizer_hash(cli.model, r->provenance.tokenizer, &e) < 0)
        die_err(&e);
    r->provenance.vocab = tokenizer_size(r->tokenizer);
    if (!o.max_length && sample_tokens_context(cli.model, &o.max_length, &e) < 0)
        die_err(&e);
    if (o.max_length < 2 || o.max_length > TOKEN_FILE_MAX_SAMPLE)
        o.max_length = 0;
}

static enum token_kind token_kind(enum chat_stream_kind kind)
{
    return kind == CHAT_PAIRS ? TOKEN_KIND_PAIRS : kind == CHAT_LABELLED ? TOKEN_KIND_LABELLED : TOKEN_KIND_SAMPLES;
}

/* The first stream's header decides how samples are encoded. */
static void open_writer(struct run *r, const struct chat_stream_header *h)
{
    struct err e = ERR_INIT;
    r->kind = token_kind(h->kind);
    if (r->kind != TOKEN_KIND_SAMPLES && overlong() == CHAT_OVERLONG_SPLIT)
        die_usage("--overlong split: %s holds %s, whose answers cannot be split (error, truncate or drop)", r->stream, token_kind_name(r->kind));
    memcpy(r->provenance.template_hash, h->template_hash, SHA256_HEX);
    struct sample_tokens_options *how = &r->how.how;
    how->raw = !h->template_name;
    if (how->raw && sample_tokens_eos(cli.model, r->tokenizer, &how->eos, &e) < 0)
        die_err(&e);
    if (how->raw && how->eos < 0)
        die("%s: no eos_token in tokenizer_config.json or config.json to end raw text with", cli.model);
    json_t *j = json_pack("{s:o?, s:s, s:o}", "max_length", o.max_length ? json_integer(o.max_length) : NULL, "overlong", o.overlong, "chat_stream",
                          json_loads(h->options, 0, NULL));
    r->provenance.options = json_dumps(j, JSON_COMPACT);
    json_decref(j);
    r->writer = token_writer_begin(outfile_stream(r->file), r->output, r->kind, &r->provenance, &e);
    if (!r->writer)
        die_err(&e);
    const struct chat_encode_sink sink = {r, write_tokens, tell_dropped, show_progress};
    r->how.max_length = o.max_length;
    r->how.overlong = overlong();
    r->encode = chat_encode_new(r->tokenizer, &r->how, &sink);
    chat_encode_begin(r->encode, h);
    msg_info("%s: %s%s, %lld tokens in the vocabulary", r->stream, how->raw ? "raw text" : "template ", how->raw ? "" : h->template_name,
             (long long)r->provenance.vocab);
}

/* Reads all streams. `hash`: of one stream its own, of several that of their hashes, one after another. */
static void encode_files(struct run *r, char **files, int n, char hash[SHA256_HEX])
{
    struct err e = ERR_INIT;
    struct sha256 all;
    unsigned kinds = CHAT_SAMPLES | CHAT_PAIRS | CHAT_LABELLED;
    sha256_init(&all);
    for (int i = 0; i < n; i++) {
        struct chat_stream *s = chat_stream_open(files[i], kinds, &e);
        if (!s)
            die_err(&e);
        r->stream = chat_stream_name(s);
        if (i == 0)
            open_writer(r, chat_stream_header(s)), kinds = chat_stream_header(s)->kind;
        else if (strcmp(chat_stream_header(s)->template_hash, r->provenance.template_hash) != 0)
            die("%s: was made with another template than %s", r->stream, files[0]);
        if (chat_encode_stream(r->encode, s, &e) < 0)
            die_err(&e);
        chat_stream_hash(s, hash);
        sha256_add(&all, hash, SHA256_HEX - 1);
        chat_stream_close(s);
    }
    if (n > 1)
        sha256_end_hex(&all, hash);
}

static void report(const struct run *r)
{
    char rate[32], memory[32];
    double seconds = progress_seconds();
    const struct chat_encode_counts *c = chat_encode_counts(r->encode);
    const struct { const char *key; int64_t n; } counts[] = {
        {"samples", c->samples}, {"written", c->written}, {"dropped", c->dropped}, {"truncated", c->truncated}, {"split", c->split},
        {"pieces", c->pieces}, {"pieces_without_trained", c->lost}, {"truncated_without_answer", c->unanswered}, {"skipped_by_fmt_chat", c->skipped}, {"tokens", c->tokens},
        {"trained_tokens", c->trained}, {"text_bytes", c->bytes}};
    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++)
        summary_count(counts[i].key, counts[i].n);
    progress_format_bytes(rate, sizeof rate, (double)c->bytes / (seconds > 1e-3 ? seconds : 1e-3));
    progress_format_bytes(memory, sizeof memory, (double)progress_peak_memory());
    if (c->skipped)
        msg_info("%lld records were left out by fmt-chat", (long long)c->skipped);
    if (r->kind != TOKEN_KIND_SAMPLES && c->dropped + c->truncated + c->unanswered)
        msg_info("longer than %lld tokens: %lld dropped, %lld truncated, %lld left out because truncation left nothing to train or to compare",
                 (long long)o.max_length, (long long)c->dropped, (long long)c->truncated, (long long)c->unanswered);
    else if (c->dropped + c->truncated + c->split)
        msg_info("longer than %lld tokens: %lld dropped, %lld truncated, %lld split into %lld pieces (and %lld with nothing to train)",
                 (long long)o.max_length, (long long)c->dropped, (long long)c->truncated, (long long)c->split, (long long)c->pieces, (long long)c->lost);
    msg_info("%lld %s, %lld tokens, %lld trained; %.1f s, %s/s of text, peak memory %s -> %s", (long long)c->written, token_kind_name(r->kind),
             (long long)c->tokens, (long long)c->trained, seconds, rate, memory, r->output);
}

int main(int argc, char **argv)
{
    static struct run r;
    static char *standard[] = {"-"};
    struct err e = ERR_INIT;
    char hash[SHA256_HEX];
    int first = cli_begin(&tool, argc, argv), n = argc - first;
    char **files = n ? argv + first : standard;
    if (!n && isatty(STDIN_FILENO))
        die_usage("no FILE, and stdin is a terminal");
    r.output = cli.output && strcmp(cli.output, "-") ? cli.output : "stdout";
    r.file = outfile_open(cli.output ? cli.output : "-", cli.force, true, &e);
    if (!r.file)
        die_err(&e);
    open_tokenizer(&r);
    progress_begin("sample", 0, 0);
    encode_files(&r, files, n ? n : 1, hash);
    progress_end();
    if (!chat_encode_counts(r.encode)->written)
        die("%s: no %s to write", r.stream ? files[0] : "stdin", r.kind == TOKEN_KIND_PAIRS ? "pair" : "sample");
    if (token_writer_end(r.writer, hash, &e) < 0 || outfile_commit(r.file, &e) < 0)
        die_err(&e);
    report(&r);
    chat_encode_free(r.encode);
    free(r.provenance.options);
    tokenizer_close(r.tokenizer);
    return cli_end(EXIT_DONE);
}
