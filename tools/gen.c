/* gen: text from a model, for one prompt, a chat at a terminal, or a file of records. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/file.h"
#include "base/mem.h"
#include "cli/msg.h"
#include "cli/opt.h"
#include "cli/outfile.h"
#include "cli/progress.h"
#include "cli/stop.h"
#include "cli/summary.h"
#include "model/lora.h"
#include "model/respond.h"
#include "model/respond_batch.h"
#include "model/respond_chat.h"
#include "text/chat.h"
#include "train/device.h"

enum {
    DEFAULT_TOKENS = 1024,
    COPY_TOKENS = 16, /* answers from this length on are worth a copy of the weights ... */
    COPY_SHARE = 4,   /* ... that takes at most this part of the available memory */
};

static struct {
    struct opt_list adapters, stops;
    const char *batch, *system, *template_name;
    int64_t max_tokens, top_k, parallel;
    double temperature, top_p, min_p, repeat_penalty;
    struct opt_range records;
    bool raw, has_records, has_max, has_temperature, has_top_k, has_top_p, has_min_p, has_penalty;
} o = {.parallel = MATMUL_FEW_ROWS, .records = OPT_RANGE_ALL};

static const struct opt options[] = {
    {OPT_LIST, 'a', "adapter", &o.adapters, "DIR", "apply this adapter without merging it; may be given several times", .path = OPT_INPUT},
    {OPT_STRING, 't', "template", &o.template_name, "NAME|FILE", "chat template (the model's own)", .words = chat_template_names,
     .path = OPT_INPUT},
    {OPT_STRING, 0, "batch", &o.batch, "FILE", "answer every record of this JSON or JSONL file", .path = OPT_INPUT},
    {OPT_RANGE, 0, "records", &o.records, "FROM-TO", "answer only these records of the batch, counted from 1 (all)", .given = &o.has_records},
    {OPT_COUNT, 0, "parallel", &o.parallel, "N", "records of a batch that run together (16)", .min = 1, .max = MATMUL_FEW_ROWS},
    {OPT_FLAG, 0, "raw", &o.raw, NULL, "no template: the prompt is continued as it is"},
    {OPT_STRING, 0, "system", &o.system, "TEXT", "system message"},
    {OPT_COUNT, 0, "max-tokens", &o.max_tokens, "N", "longest answer (generation_config.json's, else 1024)", .min = 1, .max = 1e9, .given = &o.has_max},
    {OPT_REAL, 0, "temperature", &o.temperature, "X", "0: the most probable token; above: sample (generation_config.json's, else 0)",
     .min = 0, .max = 100, .given = &o.has_temperature},
    {OPT_COUNT, 0, "top-k", &o.top_k, "N", "sample from the N most probable tokens, 0: from all (50)", .min = 0, .max = 1e9, .given = &o.has_top_k},
    {OPT_REAL, 0, "top-p", &o.top_p, "X", "sample from the most probable tokens that make up X (1)", .min = 0, .max = 1, .given = &o.has_top_p},
    {OPT_REAL, 0, "min-p", &o.min_p, "X", "drop tokens below X times the most probable one (0)", .min = 0, .max = 1, .given = &o.has_min_p},
    {OPT_REAL, 0, "repeat-penalty", &o.repeat_penalty, "X", "divide the scores of tokens that were there before (1)",
     .min = 0.01, .max = 100, .given = &o.has_penalty},
    {OPT_LIST, 0, "stop", &o.stops, "TEXT", "end the answer before this text; may be given several times"},
    OPT_END};

static const struct cli_tool tool = {"gen", "-m DIR [-a ADAPTER]... [options] [PROMPT...]", "generate text: answers, chat, batches", options,
                                     CLI_OUTPUT | CLI_THREADS | CLI_SUMMARY | CLI_MODEL | CLI_COMPUTE,
                                     {"gen -m model/ \"Who are you?\"", "gen -m model/ -a adapter/ --batch prompts.jsonl -o answers.jsonl",
                                      "echo \"Once upon a time\" | gen -m model/ --raw"}};

static struct { int64_t prompt, made; } tokens;

/* A filter option without a temperature asks for sampling as well. */
static struct respond_options choose(struct generation_config *g)
{
    struct sampler_options *s = &g->sampler;
    if (o.has_temperature)
        s->temperature = o.temperature;
    else if ((o.has_top_k || o.has_top_p || o.has_min_p) && s->temperature == 0)
        s->temperature = 1;
    s->top_k = o.has_top_k ? o.top_k : s->top_k;
    s->top_p = o.has_top_p ? o.top_p : s->top_p;
    s->min_p = o.has_min_p ? o.min_p : s->min_p;
    s->repeat_penalty = o.has_penalty ? o.repeat_penalty : s->repeat_penalty;
    s->seed = (uint64_t)cli.seed;
    return (struct respond_options){*s, o.has_max ? o.max_tokens : g->max_new_tokens ? g->max_new_tokens : DEFAULT_TOKENS,
                                    (int)o.parallel, o.stops.items, o.stops.n, o.template_name, o.system, o.raw,
                                    o.adapters.items, o.adapters.n};
}

/* What is lost on the way is lost now, and the rest would be made for nothing. */
static void flush(void)
{
    if (fflush(stdout) < 0)
        die("stdout: cannot write: %s", strerror(errno));
}

static int print_text(void *arg, size_t request, const char *text, size_t len)
{
    (void)arg, (void)request;
    fwrite(text, 1, len, stdout);
    flush();
    return stop_requested() ? -1 : 0;
}

static int print_end(void *arg, size_t request, enum generate_end why, int64_t n)
{
    (void)arg, (void)request, (void)why;
    tokens.made += n;
    putchar('\n');
    flush();
    return 0;
}

static void answer_prompt(struct responder *r, const char *text, size_t len, uint64_t stream)
{
    struct err e = ERR_INIT;
    struct token_list ids = {0};
    int result;
    if (o.raw) {
        result = responder_raw(r, text, len, &ids, &e);
    } else {
        json_t *content = json_stringn(text, len);
        if (!content)
            die("the prompt is not valid UTF-8");
        json_t *sample = json_pack("{s:[{s:s, s:o}]}", "messages", "role", "user", "content", content);
        result = responder_prompt(r, sample, &ids, &e);
        json_decref(sample);
    }
    if (result < 0)
        die_err(&e);
    tokens.prompt += (int64_t)ids.n;
    if (responder_run(r, &ids, 1, stream, &(struct respond_sink){NULL, print_text, print_end}, &e) < 0)
        die_err(&e);
    token_list_release(&ids);
}

static void answer_stdin(struct responder *r)
{
    struct buf text = BUF_INIT;
    struct err e = ERR_INIT;
    if (file_read(&text, "-", (size_t)1 << 30, &e) < 0)
        die_err(&e);
    if (!text.len && !o.raw) /* what should have written it failed */
        die("stdin: the prompt is empty");
    if (text.len && text.data[text.len - 1] == '\n') /* the line's end is not part of the prompt */
        buf_set_len(&text, text.len - 1);
    answer_prompt(r, buf_str(&text), text.len, 0);
    buf_release(&text);
}

/* Ctrl-C ends the answer, not the chat. */
static void begin_answer(void *arg, int64_t prompt_tokens)
{
    (void)arg;
    tokens.prompt += prompt_tokens;
    stop_hold_interrupt();
}

static void finish_answer(void *arg)
{
    if (stop_release_interrupt())
        print_end(arg, 0, GENERATE_CUT, 0);
}

static void chat(struct responder *r)
{
    const struct respond_chat_sink sink = {{NULL, print_text, print_end}, begin_answer, finish_answer};
    struct respond_chat *c = respond_chat_new(r, &sink);
    enum respond_chat_result result = RESPOND_CHAT_DONE;
    char *line = NULL;
    size_t cap = 0;
    while (result != RESPOND_CHAT_QUIT) {
        struct err e = ERR_INIT;
        fputs("> ", stderr);
        ssize_t n = getline(&line, &cap, stdin);
        if (n < 0)
            break;
        while (n && (line[n - 1] == '\n' || line[n - 1] == '\r'))
            line[--n] = 0;
        result = respond_chat_line(c, line, (size_t)n, &e);
        if (result == RESPOND_CHAT_FAILED)
            die_err(&e);
        if (result == RESPOND_CHAT_REFUSED)
            msg_error("%s", e.text);
    }
    free(line);
    respond_chat_free(c);
}

static void batch(struct responder *r)
{
    struct err e = ERR_INIT;
    struct respond_batch_result result = {0};
    struct outfile *out = outfile_open(cli.output ? cli.output : "-", cli.force, false, &e);
    const struct respond_batch_options how = {o.records.from, o.records.to, o.raw};
    if (!out || respond_batch(r, o.batch, &how, outfile_stream(out), &result, &e) < 0 || outfile_commit(out, &e) < 0)
        die_err(&e);
    tokens.prompt = result.prompt_tokens;
    tokens.made = result.new_tokens;
    summary_count("records", result.records);
    if (result.references) {
        summary_count("references", result.references);
        summary_count("right", result.right);
    }
    msg_info("%lld record%s -> %s", (long long)result.records, result.records == 1 ? "" : "s", cli.output && strcmp(cli.output, "-") ? cli.output : "stdout");
    if (result.references)
        msg_info("right %lld of %lld (the response equals the reference, but for space around it)", (long long)result.right, (long long)result.references);
}

static struct model *open_model(struct err *e)
{
    const struct kernels *k = device_open(e);
    struct model *m = k ? model_open(cli.model, k, e) : NULL;
    if (!m)
        die_err(e);
    if (m->warning)
        msg_warn("%s", m->warning);
    m->bf16 = !strcmp(cli.dtype, "bf16");
    for (int i = 0; i < o.adapters.n; i++)
        if (model_add_adapter(m, o.adapters.items[i], 1, e) < 0)
            die_err(e);
    return m;
}

static void report(const struct responder *r)
{
    char memory[32];
    struct generate_times t = responder_times(r);
    double reads = t.prompt_seconds > 0 ? (double)t.prompt_tokens / t.prompt_seconds : 0;
    double writes = t.decode_seconds > 0 ? (double)t.new_tokens / t.decode_seconds : 0;
    summary_count("prompt_tokens", tokens.prompt);
    summary_count("new_tokens", tokens.made);
    summary_real("prompt_tokens_per_second", reads);
    summary_real("new_tokens_per_second", writes);
    summary_count("peak_memory", progress_peak_memory());
    progress_format_bytes(memory, sizeof memory, (double)progress_peak_memory());
    msg_verbose("prompts: %lld tokens, %.1f/s; new: %lld tokens, %.1f/s; peak memory %s", (long long)tokens.prompt,
                reads, (long long)tokens.made, writes, memory);
    device_report();
}

static void check_usage(int operands)
{
    if (!cli.model)
        die_usage("-m DIR is needed: the model");
    if (o.batch && operands)
        die_usage("--batch takes its prompts from the file: no PROMPT beside it");
    if (cli.output && !o.batch)
        die_usage("-o goes with --batch; other text goes to standard output");
    if (o.has_records && !o.batch)
        die_usage("--records goes with --batch: which of the file's records are answered");
    for (int i = 0; i < o.stops.n; i++)
        if (!*o.stops.items[i])
            die_usage("--stop: the text is empty");
    if (o.raw && (o.system || o.template_name))
        die_usage("--raw uses no template: neither --system nor --template goes with it");
}

int main(int argc, char **argv)
{
    struct err e = ERR_INIT;
    struct generation_config config;
    int first = cli_begin(&tool, argc, argv);
    check_usage(argc - first);
    struct model *m = open_model(&e);
    if (generation_config_read(&config, cli.model, &m->config, &e) < 0)
        die_err(&e);
    struct respond_options respond = choose(&config);
    if (respond.max_tokens >= COPY_TOKENS)
        model_copy_weights(m, mem_available() > 0 ? (size_t)mem_available() / COPY_SHARE : 0);
    struct responder *r = responder_new(m, cli.model, &config, &respond, &e);
    if (!r)
        die_err(&e);
    if (o.batch)
        batch(r);
    else if (first < argc)
        for (int i = first; i < argc; i++)
            answer_prompt(r, argv[i], strlen(argv[i]), (uint64_t)(i - first));
    else if (isatty(0) && !o.raw)
        chat(r);
    else
        answer_stdin(r);
    report(r);
    responder_free(r);
    model_close(m);
    return cli_end(0);
}
