/* tok-encode: chat stream in, token file out. */
#include <jansson.h>
#include <omp.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/threads.h"
#include "cli/msg.h"
#include "cli/opt.h"
#include "cli/outfile.h"
#include "cli/progress.h"
#include "cli/summary.h"
#include "format/model_folder.h"
#include "format/token_file.h"
#include "text/sample_tokens.h"

static struct {
    int64_t max_length;
    const char *overlong;
} o = {.overlong = "error"};

static const struct opt options[] = {
    {OPT_COUNT, 0, "max-length", &o.max_length, "N", "tokens that a sample may have (the model's context, if its config.json tells)", .min = 2, .max = TOKEN_FILE_MAX_SAMPLE},
    {OPT_CHOICE, 0, "overlong", &o.overlong, "error|truncate|drop|split", "what to do with longer samples (error)"},
    OPT_END};

static const struct cli_tool tool = {"tok-encode", "-m DIR [-o FILE] [--max-length N] [--overlong error|truncate|drop|split] [FILE...]",
                                     "Turn a chat stream into a token file.", options, CLI_OUTPUT | CLI_THREADS | CLI_SUMMARY | CLI_MODEL,
                                     {"fmt-chat -m model/ alpaca.json | tok-encode -m model/ -o train.tok",
                                      "tok-encode -m model/ --max-length 2k --overlong split chats.jsonl >train.tok"}};

/* Samples are read in batches and encoded in parallel; they are written in their order. Large batches: threads that wait for
 * the next one burn time that the program at the other end of the pipe could use. */
enum { BATCH_SAMPLES = 2048, BATCH_BYTES = 4 << 20 };

struct item {
    size_t at, len;      /* of the line in the batch */
    int64_t line;
    int status;
    bool parsed;
    struct err err;
    struct chat_sample sample;
    struct sample_tokens tokens;
};

struct run {
    struct tokenizer *tokenizer;
    struct sample_tokens_options how;
    struct token_provenance provenance;
    struct outfile *file;
    struct token_writer *writer;
    json_t *strange_ends;           /* ends of turns that are no single token here */
    const char *stream, *output;
    struct item items[BATCH_SAMPLES];
    int n;
    struct sample_scratch *scratch; /* one per thread */
    struct buf lines;
    struct sample_tokens piece;
    int64_t samples, dropped, truncated, split, pieces, lost, skipped, written, tokens, trained, bytes;
};

static _Noreturn void die_sample(const struct run *r, const struct item *it, const char *what)
{
    if (it->parsed)
        die("%s: record %lld: %s", buf_str(&it->sample.source), (long long)it->sample.record, what);
    die("%s: line %lld: %s", r->stream, (long long)it->line, what);
}

/* ---- writing ---- */

static void write_tokens(struct run *r, const struct sample_tokens *t)
{
    struct err e = ERR_INIT;
    if (token_writer_add(r->writer, t->ids, t->mask, (uint32_t)t->n, &e) < 0)
        die_err(&e);
    r->written++;
    r->tokens += (int64_t)t->n;
    r->trained += (int64_t)t->trained;
}

static void write_pieces(struct run *r, const struct item *it)
{
    size_t n = sample_tokens_pieces(it->tokens.n, (size_t)o.max_length);
    r->split++;
    for (size_t k = 0; k < n; k++) {
        sample_tokens_piece(&it->tokens, (size_t)o.max_length, k, &r->piece);
        if (r->piece.trained) {
            write_tokens(r, &r->piece);
            r->pieces++;
        } else {
            r->lost++;
        }
    }
}

static void write_overlong(struct run *r, const struct item *it)
{
    char text[200];
    if (!strcmp(o.overlong, "error")) {
        snprintf(text, sizeof text, "%zu tokens, at most %lld fit (--max-length; --overlong truncate, drop or split takes longer ones)", it->tokens.n,
                 (long long)o.max_length);
        die_sample(r, it, text);
    }
    if (!strcmp(o.overlong, "drop")) {
        msg_verbose("%s: record %lld: dropped, %zu tokens", buf_str(&it->sample.source), (long long)it->sample.record, it->tokens.n);
        r->dropped++;
    } else if (!strcmp(o.overlong, "split")) {
        write_pieces(r, it);
    } else {
        sample_tokens_piece(&it->tokens, (size_t)o.max_length, 0, &r->piece);
        snprintf(text, sizeof text, "nothing to train is left of its %zu tokens when truncated to %lld", it->tokens.n, (long long)o.max_length);
        if (!r->piece.trained)
            die_sample(r, it, text);
        write_tokens(r, &r->piece);
        r->truncated++;
    }
}

/* ---- reading ---- */

/* A model that learns the end of its turn as plain text never stops. */
static int check_ends(const struct run *r, const struct chat_sample *s, struct err *e)
{
    size_t k;
    const json_t *end;
    for (size_t i = 0; i < s->n_parts && json_array_size(r->strange_ends); i++) {
        const struct chat_part *p = &s->parts[i];
        json_array_foreach(r->strange_ends, k, end) {
            size_t n = json_string_length(end);
            if (p->train && !p->data && n <= p->end - p->start && !memcmp(s->text.data + p->end - n, json_string_value(end), n))
                return err_set(e, "a trained turn ends with \"%s\", which is no token of this tokenizer (give fmt-chat -m DIR too, or another template)",
                               json_string_value(end));
        }
    }
    return 0;
}

static void encode(const struct run *r, struct item *it)
{
    it->err.set = false;
    it->parsed = chat_sample_parse(buf_str(&r->lines) + it->at, it->len, &it->sample, &it->err) == 0;
    it->status = it->parsed ? check_ends(r, &it->sample, &it->err) : -1;
    if (it->status == 0)
        it->status = sample_tokens_encode(r->tokenizer, &it->sample, &r->how, &r->scratch[omp_get_thread_num()], &it->tokens, &it->err);
}

static void run_batch(struct run *r)
{
#pragma omp parallel for schedule(dynamic, 4)
    for (int i = 0; i < r->n; i++)
        encode(r, &r->items[i]);
    for (int i = 0; i < r->n; i++) {
        struct item *it = &r->items[i];
        if (it->status < 0)
            die_sample(r, it, it->err.text);
        r->samples++;
        r->bytes += (int64_t)it->sample.text.len;
        if (o.max_length && it->tokens.n > (size_t)o.max_length)
            write_overlong(r, it);
        else
            write_tokens(r, &it->tokens);
    }
    progress_step(r->samples, r->tokens, "");
    r->n = 0;
    buf_clear(&r->lines);
}

static void read_stream(struct run *r, struct chat_stream *s)
{
    struct err e = ERR_INIT;
    const char *line;
    int k;
    for (;;) {
        struct item *it = &r->items[r->n];
        k = chat_stream_next(s, &line, &it->len, &it->line, &e);
        if (k != 1)
            break;
        it->at = r->lines.len;
        buf_add(&r->lines, line, it->len);
        if (++r->n == BATCH_SAMPLES || r->lines.len >= BATCH_BYTES)
            run_batch(r);
    }
    run_batch(r); /* what came before an error is judged first */
    if (k < 0)
        die_err(&e);
    r->skipped += chat_stream_skipped(s);
}

/* ---- the program ---- */

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

static bool is_token(const struct tokenizer *t, const char *text, size_t len)
{
    struct token_list l = {0};
    struct err ignored = ERR_INIT;
    bool one = tokenizer_encode(t, text, len, NULL, 0, false, &l, &ignored) == 0 && l.n && l.start[l.n - 1] == 0 && l.end[l.n - 1] == len;
    token_list_release(&l);
    return one;
}

static void find_strange_ends(struct run *r, const struct chat_stream_header *h)
{
    json_t *ends = h->turn_ends ? json_loads(h->turn_ends, JSON_DECODE_ANY, NULL) : NULL, *end;
    size_t i;
    r->strange_ends = json_array();
    json_array_foreach(ends, i, end)
        if (json_string_length(end) && !is_token(r->tokenizer, json_string_value(end), json_string_length(end)))
            json_array_append(r->strange_ends, end);
    json_decref(ends);
}

/* The first stream's header decides how samples are encoded. */
static void open_writer(struct run *r, const struct chat_stream_header *h)
{
    struct err e = ERR_INIT;
    memcpy(r->provenance.template_hash, h->template_hash, SHA256_HEX);
    r->how.raw = !h->template_name;
    find_strange_ends(r, h);
    if (r->how.raw && sample_tokens_eos(cli.model, r->tokenizer, &r->how.eos, &e) < 0)
        die_err(&e);
    if (r->how.raw && r->how.eos < 0)
        die("%s: no eos_token in tokenizer_config.json or config.json to end raw text with", cli.model);
    json_t *j = json_pack("{s:o?, s:s, s:o}", "max_length", o.max_length ? json_integer(o.max_length) : NULL, "overlong", o.overlong, "chat_stream",
                          json_loads(h->options, 0, NULL));
    r->provenance.options = json_dumps(j, JSON_COMPACT);
    json_decref(j);
    r->writer = token_writer_begin(outfile_stream(r->file), r->output, &r->provenance, &e);
    if (!r->writer)
        die_err(&e);
    msg_info("%s: %s%s, %lld tokens in the vocabulary", r->stream, r->how.raw ? "raw text" : "template ", r->how.raw ? "" : h->template_name,
             (long long)r->provenance.vocab);
}

/* Reads all streams. `hash`: of one stream its own, of several that of their hashes, one after another. */
static void encode_files(struct run *r, char **files, int n, char hash[SHA256_HEX])
{
    struct err e = ERR_INIT;
    struct sha256 all;
    sha256_init(&all);
    for (int i = 0; i < n; i++) {
        struct chat_stream *s = chat_stream_open(files[i], CHAT_SAMPLES, &e);
        if (!s)
            die_err(&e);
        r->stream = chat_stream_name(s);
        if (i == 0)
            open_writer(r, chat_stream_header(s));
        else if (strcmp(chat_stream_header(s)->template_hash, r->provenance.template_hash) != 0)
            die("%s: was made with another template than %s", r->stream, files[0]);
        read_stream(r, s);
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
    const struct { const char *key; int64_t n; } counts[] = {
        {"samples", r->samples}, {"written", r->written}, {"dropped", r->dropped}, {"truncated", r->truncated}, {"split", r->split},
        {"pieces", r->pieces}, {"pieces_without_trained", r->lost}, {"skipped_by_fmt_chat", r->skipped}, {"tokens", r->tokens},
        {"trained_tokens", r->trained}, {"text_bytes", r->bytes}};
    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++)
        summary_count(counts[i].key, counts[i].n);
    progress_format_bytes(rate, sizeof rate, (double)r->bytes / (seconds > 1e-3 ? seconds : 1e-3));
    progress_format_bytes(memory, sizeof memory, (double)progress_peak_memory());
    if (r->skipped)
        msg_info("%lld records were left out by fmt-chat", (long long)r->skipped);
    if (r->dropped + r->truncated + r->split)
        msg_info("longer than %lld tokens: %lld dropped, %lld truncated, %lld split into %lld pieces (and %lld with nothing to train)",
                 (long long)o.max_length, (long long)r->dropped, (long long)r->truncated, (long long)r->split, (long long)r->pieces, (long long)r->lost);
    msg_info("%lld samples, %lld tokens, %lld trained; %.1f s, %s/s of text, peak memory %s -> %s", (long long)r->written, (long long)r->tokens,
             (long long)r->trained, seconds, rate, memory, r->output);
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
    for (int i = 0; i < n; i++)
        if (cli.output && outfile_refuse_input(cli.output, files[i], &e) < 0)
            die_err(&e);
    r.output = cli.output && strcmp(cli.output, "-") ? cli.output : "stdout";
    r.file = outfile_open(cli.output ? cli.output : "-", cli.force, true, &e);
    if (!r.file)
        die_err(&e);
    open_tokenizer(&r);
    r.scratch = mem_zalloc((size_t)threads_count(), sizeof *r.scratch);
    progress_begin("sample", 0, 0);
    encode_files(&r, files, n ? n : 1, hash);
    progress_end();
    if (!r.written)
        die("%s: no sample to write", r.stream ? files[0] : "stdin");
    if (token_writer_end(r.writer, hash, &e) < 0 || outfile_commit(r.file, &e) < 0)
        die_err(&e);
    report(&r);
    for (int i = 0; i < BATCH_SAMPLES; i++) {
        chat_sample_release(&r.items[i].sample);
        sample_tokens_release(&r.items[i].tokens);
    }
    for (int i = 0; i < threads_count(); i++)
        sample_scratch_release(&r.scratch[i]);
    sample_tokens_release(&r.piece);
    free(r.scratch);
    buf_release(&r.lines);
    free(r.provenance.options);
    json_decref(r.strange_ends);
    tokenizer_close(r.tokenizer);
    return cli_end(EXIT_DONE);
}
