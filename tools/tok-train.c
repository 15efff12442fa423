/* tok-train: a byte-level BPE tokenizer from chat streams. */
#include <stdlib.h>

#include "cli/msg.h"
#include "cli/opt.h"
#include "cli/outfile.h"
#include "cli/progress.h"
#include "cli/summary.h"
#include "text/bpe_train.h"
#include "text/chat_stream.h"

static struct { int64_t vocab; struct opt_list specials; } o = {.vocab = 8192};

static const struct opt options[] = {
    {OPT_COUNT, 0, "vocab", &o.vocab, "N", "size of the vocabulary, all included (8192)", .min = 257, .max = 1 << 24},
    {OPT_LIST, 0, "special", &o.specials, "TOKEN", "special token, may be given several times (<|endoftext|>)"},
    OPT_END};

static const struct cli_tool tool = {"tok-train", "-o FILE [options] [FILE...]", "train a byte-level BPE tokenizer", options, CLI_OUTPUT | CLI_SUMMARY | CLI_FILES,
                                     {"fmt-chat -F text corpus.jsonl | tok-train --vocab 8k -o tokenizer.json", "tok-train -o tokenizer.json corpus.chat"}};

static void read_stream(struct bpe_trainer *t, const char *path)
{
    struct err e = ERR_INIT;
    struct chat_sample sample = {0};
    const char *line;
    size_t len;
    int64_t number;
    int k;
    struct chat_stream *s = chat_stream_open(path, CHAT_SAMPLES, &e);
    if (!s)
        die_err(&e);
    while ((k = chat_stream_next(s, &line, &len, &number, &e)) == 1) {
        if (chat_sample_parse(line, len, CHAT_SAMPLES, &sample, &e) < 0 || bpe_trainer_add(t, buf_str(&sample.text), sample.text.len, &e) < 0) {
            err_prefix(&e, "%s: line %lld", path, (long long)number);
            die_err(&e);
        }
        summary_count("samples", 1);
        summary_count("bytes", (int64_t)sample.text.len);
    }
    if (k < 0)
        die_err(&e);
    chat_sample_release(&sample);
    chat_stream_close(s);
}

int main(int argc, char **argv)
{
    static const char *const standard[] = {"<|endoftext|>"};
    struct err e = ERR_INIT;
    struct buf json = BUF_INIT;
    int first = cli_begin(&tool, argc, argv);
    if (!cli.output)
        die_usage("-o FILE is needed: the tokenizer.json to write");
    struct outfile *out = outfile_open(cli.output, cli.force, false, &e);
    struct bpe_trainer *t = out ? bpe_trainer_new(&e) : NULL;
    if (!t)
        die_err(&e);
    if (first == argc)
        read_stream(t, "-");
    for (int i = first; i < argc; i++)
        read_stream(t, argv[i]);
    int size = o.specials.n ? bpe_trainer_run(t, (int)o.vocab, o.specials.items, o.specials.n, &json, &e)
                            : bpe_trainer_run(t, (int)o.vocab, standard, 1, &json, &e);
    if (size < 0)
        die_err(&e);
    fwrite(json.data, 1, json.len, outfile_stream(out));
    if (outfile_commit(out, &e) < 0)
        die_err(&e);
    summary_count("vocab", size);
    msg_info("%s: %d tokens, %.1f s", cli.output, size, progress_seconds());
    bpe_trainer_free(t);
    buf_release(&json);
    return cli_end(0);
}
