/* tok-decode: a token file, readable. */
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"
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

/* Tokens from `from` on; those before them are what they follow. */
struct part { const uint32_t *ids; const uint8_t *mask; uint32_t from, n; };

static bool starts(const struct part *p, uint32_t i)
{
    return p->mask[i] && (i == p->from || !p->mask[i - 1]);
}

static bool stops(const struct part *p, uint32_t i)
{
    return p->mask[i] && (i + 1 == p->n || !p->mask[i + 1]);
}

static void show_ids(const struct part *p)
{
    for (uint32_t i = p->from; i < p->n; i++)
        printf("%s%s%u%s", i > p->from ? " " : "", starts(p, i) ? mark_on : "", p->ids[i], stops(p, i) ? mark_off : "");
    puts("");
}

static void decode(const struct tokenizer *t, const uint32_t *ids, size_t n, struct buf *to)
{
    struct err e = ERR_INIT;
    buf_clear(to);
    if (tokenizer_decode(t, ids, n, false, to, &e) < 0)
        die_err(&e);
}

/* Bytes that the two share at the start: what `after` adds lies behind them. */
static size_t same_start(const struct buf *before, const struct buf *after)
{
    size_t same = 0;
    while (same < before->len && same < after->len && before->data[same] == after->data[same])
        same++;
    return same;
}

/* The text as it reads as a whole: what a run of tokens adds is the difference that it makes to the text before it. */
static void show_text(const struct tokenizer *t, const struct part *p)
{
    struct buf before = BUF_INIT, after = BUF_INIT;
    decode(t, p->ids, p->from, &before);
    for (uint32_t i = p->from, end; i < p->n; i = end) {
        for (end = i + 1; end < p->n && p->mask[end] == p->mask[i]; end++)
            ;
        decode(t, p->ids, end, &after);
        size_t same = same_start(&before, &after);
        fputs(p->mask[i] ? mark_on : "", stdout);
        fwrite(buf_str(&after) + same, 1, after.len - same, stdout);
        fputs(p->mask[i] ? mark_off : "", stdout);
        struct buf swap = before;
        before = after;
        after = swap;
    }
    puts("");
    buf_release(&before);
    buf_release(&after);
}

/* ---- JSON ---- */

static void set(json_t *to, const char *name, const char *suffix, json_t *value)
{
    char key[32];
    snprintf(key, sizeof key, "%s%s", name, suffix);
    json_object_set_new(to, key, value);
}

static json_t *text_of(const struct tokenizer *t, const struct part *p)
{
    struct buf before = BUF_INIT, after = BUF_INIT;
    decode(t, p->ids, p->from, &before);
    decode(t, p->ids, p->n, &after);
    size_t same = same_start(&before, &after);
    json_t *text = json_stringn(buf_str(&after) + same, after.len - same);
    buf_release(&before);
    buf_release(&after);
    return text;
}

/* NAME, and NAME_mask and NAME_text; of a sample ids, mask and text. */
static void add_part(json_t *to, const char *name, const struct tokenizer *t, const struct part *p)
{
    json_t *ids = json_array(), *mask = json_array();
    for (uint32_t i = p->from; i < p->n; i++) {
        json_array_append_new(ids, json_integer(p->ids[i]));
        json_array_append_new(mask, json_integer(p->mask[i]));
    }
    set(to, *name ? name : "ids", "", ids);
    set(to, name, *name ? "_mask" : "mask", mask);
    if (t)
        set(to, name, *name ? "_text" : "text", text_of(t, p));
}

/* ---- answers ---- */

/* Where each answer lies among the sample's tokens. */
struct answer { const char *name; uint32_t from, to; };

static int answers(const struct token_file *f, const struct token_sample *s, struct answer a[2])
{
    a[0] = (struct answer){f->kind == TOKEN_KIND_PAIRS ? "chosen" : "completion", s->prompt, s->prompt + s->chosen};
    a[1] = (struct answer){"rejected", s->prompt + s->chosen, s->n};
    return f->kind == TOKEN_KIND_PAIRS ? 2 : 1;
}

/* The answer right behind the prompt, as the model sees it: copies, which the caller frees. */
static struct part follow(const struct token_sample *s, const struct answer *a)
{
    uint32_t n = a->to - a->from, *ids = mem_array(NULL, s->prompt + n, sizeof *ids);
    uint8_t *mask = mem_array(NULL, s->prompt + n, 1);
    memcpy(ids, s->ids, s->prompt * sizeof *ids);
    memcpy(ids + s->prompt, s->ids + a->from, n * sizeof *ids);
    memcpy(mask, s->mask, s->prompt);
    memcpy(mask + s->prompt, s->mask + a->from, n);
    return (struct part){ids, mask, s->prompt, s->prompt + n};
}

static void show_part(const struct tokenizer *t, const struct part *p)
{
    if (o.ids || !t)
        show_ids(p);
    else
        show_text(t, p);
}

static void show_answers(const struct token_file *f, const struct tokenizer *t, const struct token_sample *s, json_t *j)
{
    struct answer a[2];
    const struct part prompt = {s->ids, s->mask, 0, s->prompt};
    int n = answers(f, s, a);
    if (j)
        add_part(j, "prompt", t, &prompt);
    else
        show_part(t, &prompt);
    for (int i = 0; i < n; i++) {
        struct part p = follow(s, &a[i]);
        if (j) {
            add_part(j, a[i].name, t, &p);
        } else {
            printf("# %s: %u tokens\n", a[i].name, a[i].to - a[i].from);
            show_part(t, &p);
        }
        free((void *)p.ids);
        free((void *)p.mask);
    }
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

static void show_json(const struct token_file *f, const struct tokenizer *t, int64_t number, const struct token_sample *s)
{
    json_t *j = json_pack("{s:I}", "sample", (json_int_t)number);
    if (f->kind == TOKEN_KIND_SAMPLES)
        add_part(j, "", t, &(struct part){s->ids, s->mask, 0, s->n});
    else
        show_answers(f, t, s, j);
    if (f->kind == TOKEN_KIND_LABELLED)
        json_object_set_new(j, "label", json_boolean(s->label));
    json_dumpf(j, stdout, JSON_COMPACT);
    puts("");
    json_decref(j);
}

static void show(const struct token_file *f, const struct tokenizer *t, int64_t i)
{
    struct token_sample s = token_file_sample(f, i);
    if (o.json) {
        show_json(f, t, i + 1, &s);
        return;
    }
    const char *label = f->kind != TOKEN_KIND_LABELLED ? "" : s.label ? ", desirable" : ", undesirable";
    printf("# %s %lld: %u tokens, %u trained%s\n", f->kind == TOKEN_KIND_PAIRS ? "pair" : "sample", (long long)i + 1, s.n, s.trained, label);
    if (f->kind == TOKEN_KIND_SAMPLES)
        show_part(t, &(struct part){s.ids, s.mask, 0, s.n});
    else
        show_answers(f, t, &s, NULL);
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
    msg_info("%s: %lld %s, %lld tokens, %lld trained, longest %u, vocabulary %lld%s", f->path, (long long)f->n_samples, token_kind_name(f->kind),
             (long long)f->n_tokens, (long long)f->n_trained, f->longest, (long long)f->provenance.vocab, t || o.ids || o.json ? "" : "; text needs -m DIR");
    if (isatty(STDOUT_FILENO) && !(no_color && *no_color))
        mark_on = "\033[32m", mark_off = "\033[0m";
    for (int64_t i = o.sample ? o.sample - 1 : 0; i < (o.sample ? o.sample : f->n_samples) && !ferror(stdout); i++)
        show(f, t, i);
    summary_string("kind", token_kind_name(f->kind));
    summary_count("samples", f->n_samples);
    summary_count("tokens", f->n_tokens);
    summary_count("trained_tokens", f->n_trained);
    tokenizer_close(t);
    token_file_close(f);
    return cli_end(EXIT_DONE);
}
