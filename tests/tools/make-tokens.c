/* make-tokens: a token file for tests: counting sequences of random lengths and steps, easy to learn; the first third of each
 * sample is a prompt that bears no loss. Of a pair the chosen answer counts on and the rejected one counts down; the odd ones of labelled
 * samples count on and are desirable. */
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/rng.h"
#include "cli/msg.h"
#include "cli/opt.h"
#include "cli/outfile.h"
#include "format/model_folder.h"
#include "format/token_file.h"

static struct {
    int64_t samples, min, max, vocab;
    bool all;
    const char *kind;
} o = {.kind = "samples", .samples = 20, .min = 5, .max = 24, .vocab = 259};

static const struct opt options[] = {
    {OPT_COUNT, 0, "samples", &o.samples, "N", "how many (20)", .min = 1, .max = 1e7},
    {OPT_COUNT, 0, "min", &o.min, "N", "tokens, at least (5)", .min = 4, .max = 1e6},
    {OPT_COUNT, 0, "max", &o.max, "N", "tokens, at most (24)", .min = 4, .max = 1e6},
    {OPT_COUNT, 0, "vocab", &o.vocab, "N", "ids are below this (259)", .min = 8, .max = 1e6},
    {OPT_FLAG, 0, "all", &o.all, NULL, "every token but the first bears loss (samples)"},
    {OPT_CHOICE, 0, "kind", &o.kind, "samples|pairs|labelled", "what the records are (samples)"},
    OPT_END};

static const struct cli_tool tool = {"make-tokens", "[options] [-m DIR] -o FILE", "write a token file for tests", options,
                                     CLI_OUTPUT | CLI_MODEL | CLI_COMPUTE, {"make-tokens -m tiny/ -o train.tok", "make-tokens --samples 3 -o train.tok"}};

static bool pairs(void)
{
    return !strcmp(o.kind, "pairs");
}

static bool labelled(void)
{
    return !strcmp(o.kind, "labelled");
}

static int write_sample(struct token_writer *w, int64_t index, struct err *e)
{
    const struct rng r = {(uint64_t)cli.seed, rng_stream("make-tokens", (uint64_t)index)};
    uint32_t draw[4];
    rng_block(&r, 0, draw);
    uint32_t vocab = (uint32_t)o.vocab, n = (uint32_t)o.min + draw[0] % (uint32_t)(o.max - o.min + 1), id = draw[1] % vocab, step = 1 + draw[2] % 3;
    uint32_t prompt = n / 3 + 1, rejected = pairs() ? 2 + draw[3] % (n - prompt) : 0;
    bool good = index % 2 == 0 || !labelled();
    uint32_t *ids = mem_array(NULL, n + rejected, sizeof *ids);
    uint8_t *mask = mem_zalloc(n + rejected, 1);
    for (uint32_t i = 0; i < n; i++, id = (id + (good || i < prompt ? step : vocab - step)) % vocab) {
        ids[i] = id;
        mask[i] = i >= (o.all ? 1 : prompt);
    }
    for (uint32_t i = n; i < n + rejected; i++) {
        ids[i] = (ids[i == n ? prompt - 1 : i - 1] + vocab - step) % vocab;
        mask[i] = 1;
    }
    const struct token_sample s = {.ids = ids, .mask = mask, .n = n + rejected, .prompt = prompt, .chosen = n - prompt, .label = good};
    int code = token_writer_put(w, &s, e);
    free(ids);
    free(mask);
    return code;
}

int main(int argc, char **argv)
{
    cli_begin(&tool, argc, argv);
    struct err e = ERR_INIT;
    struct token_provenance p = {.vocab = o.vocab};
    if (o.all && (pairs() || labelled()))
        die_usage("--all is for samples");
    if (o.max < o.min)
        die_usage("--max is below --min");
    if (cli.model && model_folder_tokenizer_hash(cli.model, p.tokenizer, &e) < 0)
        die_err(&e);
    struct outfile *f = outfile_open(cli.output ? cli.output : "-", cli.force, true, &e);
    struct token_writer *w = f ? token_writer_begin(outfile_stream(f), cli.output, pairs() ? TOKEN_KIND_PAIRS : labelled() ? TOKEN_KIND_LABELLED : TOKEN_KIND_SAMPLES, &p, &e) : NULL;
    for (int64_t i = 0; w && i < o.samples && !e.set; i++)
        if (write_sample(w, i, &e) < 0)
            break;
    if (e.set || !w || token_writer_end(w, "0000000000000000000000000000000000000000000000000000000000000000", &e) < 0 || outfile_commit(f, &e) < 0)
        die_err(&e);
    return cli_end(0);
}
