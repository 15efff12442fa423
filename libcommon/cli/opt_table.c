#include "cli/opt_table.h"

#include <stdlib.h>
#include <string.h>

static bool help, version, verbose;

static const struct {
    unsigned needs; /* CLI_* flags; 0: every tool */
    struct opt opt;
} shared[] = {
    {0, {OPT_GROUP, .help = "Common options"}},
    {CLI_MODEL, {OPT_STRING, 'm', "model", &cli.model, "DIR", "model folder: config.json, safetensors, tokenizer files", .path = OPT_INPUT}},
    {CLI_OUTPUT, {OPT_STRING, 'o', "output", &cli.output, "PATH", "write to PATH, which appears only when complete", .path = OPT_OUTPUT}},
    {CLI_OUTPUT, {OPT_FLAG, 'f', "force", &cli.force, NULL, "replace an existing output"}},
    {CLI_COMPUTE, {OPT_STRING, 0, "device", &cli.device, "auto|cpu|cuda[:N]", "where to compute (auto: the GPU when there is one)"}},
    {CLI_DEVICE, {OPT_STRING, 0, "device", &cli.device, "auto|cpu|cuda[:N]", "where to compute (auto: the GPU when there is one)"}},
    {CLI_COMPUTE, {OPT_CHOICE, 0, "dtype", &cli.dtype, "auto|bf16|f32", "arithmetic (auto: bf16 where the hardware multiplies it)"}},
    {CLI_COMPUTE, {OPT_COUNT, 0, "seed", &cli.seed, "N", "seed of all random numbers (0)"}},
    {CLI_PLAN, {OPT_FLAG, 'n', "plan", &cli.plan, NULL, "print memory, disk, steps and time; write nothing"}},
    {CLI_THREADS, {OPT_COUNT, 'j', "threads", &cli.threads, "N", "threads (the CPUs this process may use); never changes the output", .min = 1, .max = 1024}},
    {CLI_SUMMARY, {OPT_STRING, 0, "summary", &cli.summary, "FILE", "write what was read, kept and dropped as one JSON object", .path = OPT_OUTPUT}},
    {0, {OPT_FLAG, 'q', "quiet", &cli.quiet, NULL, "print nothing on success"}},
    {0, {OPT_FLAG, 'v', "verbose", &verbose, NULL, "print more"}},
    {0, {OPT_FLAG, 'h', "help", &help, NULL, "print this help and exit"}},
    {0, {OPT_FLAG, 'V', "version", &version, NULL, "print versions and CPU features and exit"}},
};

static bool has(const struct opt_table *t, const char *long_name)
{
    for (int i = 0; long_name && i < t->n; i++)
        if (t->items[i]->long_name && !strcmp(t->items[i]->long_name, long_name))
            return true;
    return false;
}

static void add(struct opt_table *t, const struct opt *o)
{
    if (t->n == OPT_TABLE_MOST)
        abort(); /* a table in the program's source is too long */
    t->items[t->n++] = o;
}

struct opt_table opt_table_build(const struct cli_tool *tool)
{
    struct opt_table t = {0};
    for (const struct opt *o = tool->options; o->type != OPT_LAST; o++)
        add(&t, o);
    for (size_t i = 0; i < sizeof shared / sizeof *shared; i++)
        if ((tool->common & shared[i].needs) == shared[i].needs && !has(&t, shared[i].opt.long_name))
            add(&t, &shared[i].opt);
    return t;
}
