/* tok-decode: a token file, readable. */
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/msg.h"
#include "cli/opt.h"
#include "cli/summary.h"
#include "format/model_folder.h"
#include "format/token_file.h"
#include "text/tokenizer.h"

static struct {
    bool ids, json;
    int64_t sample;
} o;

static const struct opt options[] = {
    {OPT_FLAG, 0, "ids", &o.ids, NULL, "show token ids instead of text"},
    {OPT_FLAG, 0, "json", &o.json, NULL, "write one JSON object per sample: ids, mask, and with -m text"},
    {OPT_COUNT, 0, "sample", &o.sample, "N", "show sample N only (all)", .min = 1, .max = 1e15},
    OPT_END};

static const struct cli_tool tool = {"tok-decode", "[-m DIR] [--ids | --json] [--sample N] FILE", "Show a token file, trained tokens marked.", options,
                                     CLI_SUMMARY | CLI_MODEL | CLI_FILES, {"tok-decode -m model/ train.tok | less -R", "tok-decode --json --sample 17 train.tok"}};

static const char *mark_on = "[[", *mark_off = "]]";

static bool starts(const struct token_sample *s, uint32_t i)
{
    return s->mask[i] && (i == 0 || !s->mask[i - 1]);
}

static bool stops(const struct token_sample *s, uint32_t i)
{
    return s->mask[i] && (i + 1 == s->n || !s->mask[i + 1]);
}

static void show_ids(const struct token_sample *s)
{
    for (uint32_t i = 0; i < s->n; i++)
        printf("%s%s%u%s", i ? " " : "", starts(s, i) ? mark_on : "", s->ids[i], stops(s, i) ? mark_off : "");
    puts("");
}

static void decode(const struct tokenizer *t, const uint32_t *ids, size_t n, struct buf *to)
{
    struct err e = ERR_INIT;
    buf_clear(to);
    if (tokenizer_decode(t, ids, n, false, to, &e) < 0)
        die_err(&e);
}

/* The text as it reads as a whole: what a run of tokens adds is the difference that it makes to the text before it. */
static void show_text(const struct tokenizer *t, const struct token_sample *s)
{
    struct buf before = BUF_INIT, after = BUF_INIT;
    for (uint32_t i = 0, end; i < s->n; i = end) {
        for (end = i + 1; end < s->n && s->mask[end] == s->mask[i]; end++)
            ;
        decode(t, s->ids, end, &after);
        size_t same = 0;
        while (same < before.len && same < after.len && before.data[same] == after.data[same])
            same++;
        fputs(s->mask[i] ? mark_on : "", stdout);
        fwrite(buf_str(&after) + same, 1, after.len - same, stdout);
        fputs(s->mask[i] ? mark_off : "", stdout);
        struct buf swap = before;
        before = after;
        after = swap;
    }
    puts("");
    buf_release(&before);
    buf_release(&after);
}

static void show_json(const struct tokenizer *t, int64_t number, const struct token_sample *s)
{
    json_t *j = json_pack("{s:I}", "sample", (json_int_t)number), *ids = json_array(), *mask = json_array();
    for (uint32_t i = 0; i < s->n; i++) {
        json_array_append_new(ids, json_integer(s->ids[i]));
        json_array_append_new(mask, json_integer(s->mask[i]));
    }
    json_object_set_new(j, "ids", ids);
    json_object_set_new(j, "mask", mask);
    if (t) {
        struct buf text = BUF_INIT;
        decode(t, s->ids, s->n, &text);
        json_object_set_new(j, "text", json_stringn(buf_str(&text), text.len));
        buf_release(&text);
    }
    json_dumpf(j, stdout, JSON_COMPACT);
    puts("");
    json_decref(j);
}

static struct tokenizer *open_tokenizer(const struct token_file *f)
{
    struct err e = ERR_INIT;
    char hash[SHA256_HEX];
    struct tokenizer *t = tokenizer_open(cli.model, &e);
    if (!t || model_folder_tokenizer_hash(cli.model, hash, &e) < 0)
        die_err(&e);
    if (strcmp(hash, f->provenance.tokenizer) != 0)
        die("%s: was made with another tokenizer (sha256 %.12s...) than that of %s (%.12s...)", f->path, f->provenance.tokenizer, cli.model, hash);
    return t;
}

static void show(const struct token_file *f, const struct tokenizer *t, int64_t i)
{
    struct token_sample s = token_file_sample(f, i);
    if (o.json) {
        show_json(t, i + 1, &s);
        return;
    }
    printf("# sample %lld: %u tokens, %u trained\n", (long long)i + 1, s.n, s.trained);
    if (o.ids || !t)
        show_ids(&s);
    else
        show_text(t, &s);
}

int main(int argc, char **argv)
{
    struct err e = ERR_INIT;
    int first = cli_begin(&tool, argc, argv);
    const char *no_color = getenv("NO_COLOR");
    if (argc - first != 1)
        die_usage("expected one token file, got %d operands", argc - first);
    if (o.ids && o.json)
        die_usage("--ids and --json exclude each other");
    struct token_file *f = token_file_open(argv[first], &e);
    if (!f)
        die_err(&e);
    if (o.sample > f->n_samples)
        die("%s: no sample %lld, it holds %lld", f->path, (long long)o.sample, (long long)f->n_samples);
    struct tokenizer *t = cli.model && !o.ids ? open_tokenizer(f) : NULL;
    msg_info("%s: %lld samples, %lld tokens, %lld trained, longest %u, vocabulary %lld%s", f->path, (long long)f->n_samples, (long long)f->n_tokens,
             (long long)f->n_trained, f->longest, (long long)f->provenance.vocab, t || o.ids || o.json ? "" : "; text needs -m DIR");
    if (isatty(STDOUT_FILENO) && !(no_color && *no_color))
        mark_on = "\033[32m", mark_off = "\033[0m";
    for (int64_t i = o.sample ? o.sample - 1 : 0; i < (o.sample ? o.sample : f->n_samples) && !ferror(stdout); i++)
        show(f, t, i);
    summary_count("samples", f->n_samples);
    summary_count("tokens", f->n_tokens);
    summary_count("trained_tokens", f->n_trained);
    tokenizer_close(t);
    token_file_close(f);
    return cli_end(EXIT_DONE);
}
