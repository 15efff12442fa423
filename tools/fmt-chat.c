/* fmt-chat: chat data in, chat stream out. */
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <xxhash.h>

#include "base/mem.h"
#include "base/threads.h"
#include "cli/msg.h"
#include "cli/opt.h"
#include "cli/outfile.h"
#include "cli/progress.h"
#include "cli/summary.h"
#include "text/chat_job.h"
#include "text/chat_stream.h"

static struct {
    const char *template, *format, *system, *train, *records;
    int64_t skip_bad, sample;
    bool generation_prompt, list;
} o = {.format = "auto", .train = "assistant"};

static const struct opt options[] = {
    {OPT_STRING, 't', "template", &o.template, "NAME|FILE", "built-in template or a .jinja file (the model's own)"},
    {OPT_CHOICE, 'F', "format", &o.format, CHAT_DATA_FORMATS, "what the records are; auto looks at their keys (auto)"},
    {OPT_STRING, 0, "system", &o.system, "TEXT", "system message for conversations that have none"},
    {OPT_CHOICE, 0, "train", &o.train, "assistant|last|all", "which turns bear loss (assistant)"},
    {OPT_FLAG, 0, "generation-prompt", &o.generation_prompt, NULL, "write prompts for gen --batch instead of training samples"},
    {OPT_STRING, 0, "records", &o.records, "FROM-TO", "convert only these records of each file, counted from 1 (all)"},
    {OPT_COUNT, 0, "skip-bad", &o.skip_bad, "N", "leave out up to N bad records (0)", .max = 1e15},
    {OPT_COUNT, 0, "sample", &o.sample, "N", "show N samples as text, trained parts marked, and stop", .min = 1, .max = 1e9},
    {OPT_FLAG, 0, "list-templates", &o.list, NULL, "list the built-in templates"},
    OPT_END};

static const struct cli_tool tool = {"fmt-chat", "[-m DIR | -t TEMPLATE] [options] [FILE...]", "Turn chat data into a chat stream.", options,
                                     CLI_OUTPUT | CLI_THREADS | CLI_SUMMARY | CLI_MODEL,
                                     {"fmt-chat -m model/ alpaca.json | tok-encode -m model/ -o train.tok", "fmt-chat -t chatml --sample 3 chats.jsonl.zst"}};

/* Records are read in batches and rendered in parallel; lines are written in the order of the records. Large batches: threads
 * that wait for the next one burn time that the program at the other end of the pipe could use. */
enum { BATCH_RECORDS = 2048, BATCH_BYTES = 4 << 20 };

struct item {
    struct record record;
    size_t at;         /* of the record's text in the batch */
    bool unreadable;   /* `err` came from the reader */
    int status;
    struct err err;
    struct buf line;
};

struct run {
    struct chat_job job;
    struct chat_template *template;
    bool kind_known, raw;
    struct outfile *file;
    FILE *out;
    XXH3_state_t *hash;
    struct item items[BATCH_RECORDS];
    int n;
    struct buf text;
    int64_t records, samples, skipped, bytes;
    int64_t from, to;  /* --records */
    bool done;         /* --sample has shown enough */
};

/* ---- what comes out ---- */

static void put(struct run *r, const struct buf *b)
{
    fwrite(b->data, 1, b->len, r->out);
    XXH3_64bits_update(r->hash, b->data, b->len);
    r->bytes += (int64_t)b->len;
}

static char *options_text(void)
{
    json_t *j = json_pack("{s:s, s:s, s:s?}", "format", o.format, "train", o.train, "system", o.system);
    char *text = j ? json_dumps(j, JSON_COMPACT) : NULL;
    if (!text)
        die_usage("--system: not valid UTF-8");
    json_decref(j);
    return text;
}

static void put_header(struct run *r)
{
    struct buf b = BUF_INIT;
    struct chat_stream_header h = {.kind = o.generation_prompt ? CHAT_PROMPTS : CHAT_SAMPLES, .options = options_text()};
    if (r->template) {
        h.template_name = mem_strdup(chat_template_name(r->template));
        memcpy(h.template_hash, chat_template_hash(r->template), SHA256_HEX);
        summary_string("template", h.template_name);
        summary_string("template_sha256", h.template_hash);
    }
    chat_stream_put_header(&b, &h);
    if (!o.sample)
        put(r, &b);
    buf_release(&b);
    free(h.template_name);
    free(h.options);
}

/* The first good record decides: conversations, which need a template, or raw text, which takes none. */
static void settle_kind(struct run *r)
{
    struct err e = ERR_INIT;
    for (int i = 0; i < r->n && !r->kind_known; i++) {
        struct err ignored = ERR_INIT;
        r->kind_known = !r->items[i].unreadable && chat_job_is_raw(&r->job, &r->items[i].record, &r->raw, &ignored) == 0;
    }
    if (!r->kind_known)
        return;
    const char *name = r->items[0].record.file;
    if (r->raw && o.system)
        die("%s: raw text has no place for --system", name);
    if (!r->raw) {
        if (!o.template && !cli.model)
            die_usage("conversations need a template: -m DIR for the model's own, or -t NAME (--list-templates)");
        r->template = chat_template_open(o.template, cli.model, &e);
        if (!r->template)
            die_err(&e);
        r->job.template = r->template;
    }
    msg_info("%s: %s%s", name, r->raw ? "raw text, no template" : "template ", r->raw ? "" : chat_template_name(r->template));
    put_header(r);
}

static void show(const struct chat_sample *s)
{
    const char *no_color = getenv("NO_COLOR");
    bool color = isatty(STDOUT_FILENO) && !(no_color && *no_color);
    size_t trained = 0;
    for (size_t i = 0; i < s->n_parts; i++)
        trained += s->parts[i].train ? s->parts[i].end - s->parts[i].start : 0;
    printf("# %s: record %lld: %zu bytes, %zu trained\n", buf_str(&s->source), (long long)s->record, s->text.len, trained);
    for (size_t i = 0; i < s->n_parts; i++) {
        bool train = s->parts[i].train, opens = train && (i == 0 || !s->parts[i - 1].train), closes = train && (i + 1 == s->n_parts || !s->parts[i + 1].train);
        fputs(opens ? color ? "\033[32m" : "[[" : "", stdout);
        fwrite(s->text.data + s->parts[i].start, 1, s->parts[i].end - s->parts[i].start, stdout);
        fputs(closes ? color ? "\033[0m" : "]]" : "", stdout);
    }
    puts("");
}

static void show_line(struct run *r, const struct buf *line)
{
    struct chat_sample s = {0};
    struct err e = ERR_INIT;
    if (chat_sample_parse(line->data, line->len - 1, &s, &e) < 0)
        die_err(&e);
    show(&s);
    chat_sample_release(&s);
    r->done = r->samples + 1 >= o.sample;
}

static void bad_record(struct run *r, const struct err *e)
{
    if (++r->skipped > o.skip_bad) {
        if (o.skip_bad)
            die("%s (one bad record more than --skip-bad %lld allows)", e->text, (long long)o.skip_bad);
        die_err(e);
    }
    msg_warn("left out: %s", e->text);
}

/* ---- batches ---- */

static void run_batch(struct run *r)
{
    for (int i = 0; i < r->n; i++)
        r->items[i].record.text = buf_str(&r->text) + r->items[i].at; /* the buffer may have moved while it grew */
    if (!r->kind_known)
        settle_kind(r);
#pragma omp parallel for schedule(dynamic, 4)
    for (int i = 0; i < r->n; i++) {
        struct item *it = &r->items[i];
        bool raw;
        buf_clear(&it->line);
        if (!it->unreadable && !r->kind_known) /* no record of this batch is good: this says why */
            it->status = chat_job_is_raw(&r->job, &it->record, &raw, &it->err);
        else if (!it->unreadable)
            it->status = chat_job_run(&r->job, &it->record, &it->line, &it->err);
    }
    for (int i = 0; i < r->n && !r->done; i++) {
        struct item *it = &r->items[i];
        r->records++;
        if (it->unreadable || it->status < 0) {
            bad_record(r, &it->err);
            continue;
        }
        if (o.sample)
            show_line(r, &it->line);
        else
            put(r, &it->line);
        r->samples++;
    }
    progress_step(r->records, 0, "");
    r->n = 0;
    buf_clear(&r->text);
}

static void read_file(struct run *r, struct records *s, const char *name)
{
    struct record record;
    int64_t before = r->records;
    while (!r->done) {
        struct item *it = &r->items[r->n];
        it->err.set = false;
        int k = records_next(s, &record, &it->err);
        if (k == 0 || k == -1) {
            struct err fatal = it->err;
            run_batch(r); /* what came before is judged first */
            if (k == -1)
                die_err(&fatal);
            break;
        }
        if (record.number < r->from)
            continue;
        if (record.number > r->to) {
            run_batch(r);
            break;
        }
        it->unreadable = k == RECORDS_BAD;
        it->record = record;
        it->at = r->text.len;
        if (!it->unreadable)
            buf_add(&r->text, record.text, record.len);
        if (++r->n == BATCH_RECORDS || r->text.len >= BATCH_BYTES || r->n == o.sample)
            run_batch(r);
    }
    if (r->records == before)
        msg_warn("%s: holds no records", name);
}

static void convert(struct run *r, char **files, int n)
{
    struct err e = ERR_INIT;
    struct chat_source *sources = mem_zalloc((size_t)n, sizeof *sources);
    for (int i = 0; i < n && !r->done; i++) {
        struct records *s = records_open(files[i], &e);
        if (!s)
            die_err(&e);
        sources[i].name = strcmp(files[i], "-") ? files[i] : "stdin";
        read_file(r, s, sources[i].name);
        records_hash(s, sources[i].hash);
        records_close(s);
    }
    if (!r->kind_known)
        die("%s: no record to convert", sources[0].name);
    if (!o.sample) {
        struct buf b = BUF_INIT;
        chat_stream_put_end(&b, &(struct chat_stream_totals){r->samples, r->skipped, sources, n, r->hash});
        put(r, &b);
        buf_release(&b);
    }
    free(sources);
}

/* ---- the program ---- */

static void report(const struct run *r)
{
    char size[32], memory[32], rate[32];
    double seconds = progress_seconds();
    progress_format_bytes(size, sizeof size, (double)r->bytes);
    progress_format_bytes(rate, sizeof rate, (double)r->bytes / (seconds > 1e-3 ? seconds : 1e-3));
    progress_format_bytes(memory, sizeof memory, (double)progress_peak_memory());
    summary_count("records", r->records);
    summary_count("samples", r->samples);
    summary_count("skipped", r->skipped);
    summary_count("bytes", r->bytes);
    msg_info("%lld records, %lld samples, %lld left out; %s in %.1f s, %s/s, peak memory %s -> %s", (long long)r->records, (long long)r->samples,
             (long long)r->skipped, size, seconds, rate, memory, cli.output && strcmp(cli.output, "-") ? cli.output : "stdout");
}

/* One clock for the whole run, so that a template that tells the date tells one date. */
static int64_t now(void)
{
    const char *text = getenv("SOURCE_DATE_EPOCH");
    char *end;
    if (!text || !*text)
        return (int64_t)time(NULL);
    long long v = strtoll(text, &end, 10);
    if (*end || v < 0)
        die_usage("SOURCE_DATE_EPOCH is '%s', expected seconds since 1970", text);
    return v;
}

static void set_options(struct chat_job *job)
{
    job->format = chat_data_format(o.format);
    job->options.train = !strcmp(o.train, "last") ? CHAT_TRAIN_LAST : !strcmp(o.train, "all") ? CHAT_TRAIN_ALL : CHAT_TRAIN_ASSISTANT;
    job->options.generation_prompt = o.generation_prompt;
    job->options.system = o.system;
    job->options.now = now();
}

/* "17-", "-16", "5-9" or "7". */
static void set_range(struct run *r)
{
    char *end = NULL;
    const char *text = o.records;
    r->from = 1, r->to = INT64_MAX;
    if (!text)
        return;
    bool digit = *text >= '0' && *text <= '9';
    if (digit)
        r->from = r->to = strtoll(text, &end, 10);
    if (digit && *end == '-')
        r->to = INT64_MAX;
    text = digit ? end : text;
    if (*text == '-' && text[1] >= '0' && text[1] <= '9')
        r->to = strtoll(text + 1, &end, 10), text = end;
    else if (*text == '-' && digit)
        text++;
    if (*text || text == o.records || r->from < 1 || r->to < r->from)
        die_usage("--records: '%s' is not a range like 1-900, 901- or -900", o.records);
}

static void open_output(struct run *r, char **files, int n)
{
    struct err e = ERR_INIT;
    r->hash = XXH3_createState();
    XXH3_64bits_reset(r->hash);
    if (o.sample && cli.output)
        die_usage("--sample shows text on stdout and writes no -o");
    if (o.sample)
        return;
    for (int i = 0; i < n; i++)
        if (cli.output && outfile_refuse_input(cli.output, files[i], &e) < 0)
            die_err(&e);
    r->file = outfile_open(cli.output ? cli.output : "-", cli.force, false, &e);
    if (!r->file)
        die_err(&e);
    r->out = outfile_stream(r->file);
}

int main(int argc, char **argv)
{
    static struct run r;
    static char *standard[] = {"-"};
    struct err e = ERR_INIT;
    int first = cli_begin(&tool, argc, argv), n = argc - first;
    char **files = n ? argv + first : standard;
    if (o.list) {
        for (const char *const *name = chat_template_names(); *name; name++)
            puts(*name);
        return cli_end(EXIT_DONE);
    }
    if (!n && isatty(STDIN_FILENO))
        die_usage("no FILE, and stdin is a terminal");
    set_options(&r.job);
    set_range(&r);
    open_output(&r, files, n ? n : 1);
    progress_begin("record", 0, 0);
    convert(&r, files, n ? n : 1);
    progress_end();
    if (r.file && outfile_commit(r.file, &e) < 0)
        die_err(&e);
    if (!o.sample)
        report(&r);
    for (int i = 0; i < BATCH_RECORDS; i++)
        buf_release(&r.items[i].line);
    buf_release(&r.text);
    XXH3_freeState(r.hash);
    chat_template_close(r.template);
    return cli_end(EXIT_DONE);
}
