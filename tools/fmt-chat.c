/* fmt-chat: chat data in, chat stream out. */
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <xxhash.h>

#include "base/mem.h"
#include "cli/msg.h"
#include "cli/opt.h"
#include "cli/outfile.h"
#include "cli/progress.h"
#include "cli/summary.h"
#include "text/chat_convert.h"
#include "text/chat_show.h"
#include "text/chat_stream.h"

static struct {
    const char *template, *format, *system, *train;
    struct opt_range records;
    double desirable;
    int64_t skip_bad, sample;
    bool generation_prompt, list, has_records;
} o = {.format = "auto", .train = "assistant", .records = OPT_RANGE_ALL, .desirable = NAN};

static const struct opt options[] = {
    {OPT_STRING, 't', "template", &o.template, "NAME|FILE", "built-in template or a .jinja file (the model's own)", .words = chat_template_names,
     .path = OPT_INPUT},
    {OPT_CHOICE, 'F', "format", &o.format, CHAT_DATA_FORMATS, "what the records are; auto looks at their keys (auto)"},
    {OPT_STRING, 0, "system", &o.system, "TEXT", "system message for conversations that have none"},
    {OPT_CHOICE, 0, "train", &o.train, "assistant|last|all", "which turns bear loss (assistant)"},
    {OPT_REAL, 0, "desirable", &o.desirable, "X", "-F kto: ratings of X or more are good, where records have no label", .min = -1e300, .max = 1e300},
    {OPT_FLAG, 0, "generation-prompt", &o.generation_prompt, NULL, "write prompts for gen --batch instead of training samples"},
    {OPT_RANGE, 0, "records", &o.records, "FROM-TO", "convert only these records of each file, counted from 1 (all)", .given = &o.has_records},
    {OPT_COUNT, 0, "skip-bad", &o.skip_bad, "N", "leave out up to N bad records (0)", .max = 1e15},
    {OPT_COUNT, 0, "sample", &o.sample, "N", "show N samples as text, trained parts marked, and stop", .min = 1, .max = 1e9},
    {OPT_FLAG, 0, "list-templates", &o.list, NULL, "list the built-in templates"},
    OPT_END};

static const struct cli_tool tool = {"fmt-chat", "[-m DIR | -t TEMPLATE] [options] [FILE...]", "Turn chat data into a chat stream.", options,
                                     CLI_OUTPUT | CLI_THREADS | CLI_SUMMARY | CLI_MODEL | CLI_FILES,
                                     {"fmt-chat -m model/ alpaca.json | tok-encode -m model/ -o train.tok", "fmt-chat -t chatml --sample 3 chats.jsonl.zst"}};

struct run {
    struct chat_job job;
    struct chat_template *template;
    struct outfile *file;
    FILE *out;
    XXH3_state_t *hash;
    enum chat_stream_kind kind;
    int64_t samples, skipped, bytes;
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
    if (o.has_records)
        json_object_set_new(j, "records", json_pack(o.records.to < INT64_MAX ? "[I, I]" : "[I, n]", (json_int_t)o.records.from, (json_int_t)o.records.to));
    if (!isnan(o.desirable))
        json_object_set_new(j, "desirable", json_real(o.desirable));
    char *text = j ? json_dumps(j, JSON_COMPACT) : NULL;
    if (!text)
        die_usage("--system: not valid UTF-8");
    json_decref(j);
    return text;
}

static char *turn_ends_text(const struct chat_template *t)
{
    json_t *list = json_array();
    for (const char *const *end = chat_template_turn_ends(t); *end; end++)
        json_array_append_new(list, json_string(*end));
    char *text = json_dumps(list, JSON_COMPACT);
    json_decref(list);
    return text;
}

static void put_header(struct run *r)
{
    struct buf b = BUF_INIT;
    struct chat_stream_header h = {.kind = r->kind, .options = options_text()};
    if (r->template) {
        h.template_name = mem_strdup(chat_template_name(r->template));
        h.turn_ends = turn_ends_text(r->template);
        memcpy(h.template_hash, chat_template_hash(r->template), SHA256_HEX);
        summary_string("template", h.template_name);
        summary_string("template_sha256", h.template_hash);
    }
    chat_stream_put_header(&b, &h);
    if (!o.sample)
        put(r, &b);
    buf_release(&b);
    free(h.template_name);
    free(h.turn_ends);
    free(h.options);
}

static int settle(void *arg, const char *file, bool raw, enum chat_stream_kind kind, const struct chat_template **t, struct err *e)
{
    struct run *r = arg;
    r->kind = kind;
    if (raw && o.system)
        return err_set(e, "%s: raw text has no place for --system", file);
    if (!isnan(o.desirable) && kind != CHAT_LABELLED && kind != CHAT_PROMPTS)
        return err_set(e, "%s: --desirable judges rated answers, and these are taken as %s; -F kto reads ratings", file, chat_stream_kind_name(kind));
    if (!raw) {
        if (!o.template && !cli.model)
            die_usage("conversations need a template: -m DIR for the model's own, or -t NAME (--list-templates)");
        *t = r->template = chat_template_open(o.template, cli.model, e);
        if (!r->template)
            return -1;
    }
    bool plain = kind == CHAT_SAMPLES || kind == CHAT_PROMPTS;
    msg_info("%s: %s%s%s%s", file, plain ? "" : chat_stream_kind_name(kind), plain ? "" : ", ", raw ? "raw text, no template" : "template ", raw ? "" : chat_template_name(r->template));
    summary_string("kind", chat_stream_kind_name(kind));
    put_header(r);
    return 0;
}

static int show(const struct run *r, const struct buf *line, struct err *e)
{
    const char *no_color = getenv("NO_COLOR");
    bool color = isatty(STDOUT_FILENO) && !(no_color && *no_color);
    struct chat_sample s = {0};
    struct buf text = BUF_INIT;
    if (chat_sample_parse(line->data, line->len - 1, r->kind, &s, e) < 0)
        return -1;
    chat_sample_show(&text, &s, r->kind, color ? "\033[32m" : "[[", color ? "\033[0m" : "]]");
    fwrite(buf_str(&text), 1, text.len, stdout);
    buf_release(&text);
    chat_sample_release(&s);
    return 0;
}

static int got_line(void *arg, const struct buf *line, struct err *e)
{
    struct run *r = arg;
    r->samples++;
    if (o.sample)
        return show(r, line, e) < 0 ? -1 : r->samples == o.sample;
    put(r, line);
    if (r->samples % 256 == 0)
        progress_step(r->samples + r->skipped, 0, "");
    return 0;
}

static int got_bad(void *arg, const struct err *why, struct err *e)
{
    struct run *r = arg;
    if (++r->skipped > o.skip_bad)
        return o.skip_bad ? err_set(e, "%s (one bad record more than --skip-bad %lld allows)", why->text, (long long)o.skip_bad)
                          : err_set(e, "%s", why->text);
    msg_warn("left out: %s", why->text);
    return 0;
}

static void convert(struct run *r, char **files, int n)
{
    struct err e = ERR_INIT;
    struct chat_source *sources = mem_zalloc((size_t)n, sizeof *sources);
    const struct chat_convert_sink sink = {r, settle, got_line, got_bad};
    struct chat_convert *c = chat_convert_new(&r->job, &sink, o.sample);
    int result = 0;
    for (int i = 0; i < n && result == 0; i++) {
        int64_t before = chat_convert_records(c);
        sources[i].name = strcmp(files[i], "-") ? files[i] : "stdin";
        result = chat_convert_file(c, files[i], o.records.from, o.records.to, sources[i].hash, &e);
        if (result < 0)
            die_err(&e);
        if (n > 1 && chat_convert_records(c) == before) /* one file: an error, below */
            msg_warn("%s: holds no records", sources[i].name);
    }
    if (!chat_convert_settled(c))
        die("%s: no record to convert", sources[0].name);
    if (!o.sample) {
        struct buf b = BUF_INIT;
        chat_stream_put_end(&b, &(struct chat_stream_totals){r->samples, r->skipped, sources, n, r->hash});
        put(r, &b);
        buf_release(&b);
    }
    chat_convert_free(c);
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
    summary_count("records", r->samples + r->skipped);
    summary_count("samples", r->samples);
    summary_count("skipped", r->skipped);
    summary_count("bytes", r->bytes);
    const char *what = r->kind == CHAT_PAIRS ? "pair" : r->kind == CHAT_PROMPTS ? "prompt" : "sample";
    msg_info("%lld record%s, %lld %s%s, %lld left out; %s in %.1f s, %s/s, peak memory %s -> %s", (long long)(r->samples + r->skipped),
             r->samples + r->skipped == 1 ? "" : "s", (long long)r->samples, what, r->samples == 1 ? "" : "s", (long long)r->skipped, size, seconds, rate, memory, cli.output && strcmp(cli.output, "-") ? cli.output : "stdout");
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
    job->desirable = o.desirable;
    job->options.train = !strcmp(o.train, "last") ? CHAT_TRAIN_LAST : !strcmp(o.train, "all") ? CHAT_TRAIN_ALL : CHAT_TRAIN_ASSISTANT;
    job->options.generation_prompt = o.generation_prompt;
    job->options.system = o.system;
    job->options.complete = true;
    job->options.now = now();
}

static void open_output(struct run *r)
{
    struct err e = ERR_INIT;
    r->hash = XXH3_createState();
    XXH3_64bits_reset(r->hash);
    if (o.sample && cli.output)
        die_usage("--sample shows text on stdout and writes no -o");
    if (o.sample)
        return;
    r->file = outfile_open(cli.output ? cli.output : "-", cli.force, false, &e);
    if (!r->file)
        die_err(&e);
    r->out = outfile_stream(r->file);
}

static void check_template_name(void)
{
    size_t len = o.template ? strlen(o.template) : 0;
    const char *const *name = chat_template_names();
    while (len && *name && strcmp(*name, o.template) != 0)
        name++;
    if (o.template && !*name && (len <= 6 || strcmp(o.template + len - 6, ".jinja") != 0))
        die_usage("--template: '%s' is neither a built-in template (--list-templates) nor a file that ends in .jinja", o.template);
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
    check_template_name();
    if (!n && isatty(STDIN_FILENO))
        die_usage("no FILE, and stdin is a terminal");
    set_options(&r.job);
    open_output(&r);
    progress_begin("record", 0, 0);
    convert(&r, files, n ? n : 1);
    progress_end();
    if (r.file && outfile_commit(r.file, &e) < 0)
        die_err(&e);
    if (!o.sample)
        report(&r);
    XXH3_freeState(r.hash);
    chat_template_close(r.template);
    return cli_end(EXIT_DONE);
}
