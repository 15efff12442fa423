#include "cli/help.h"

#include <jansson.h>
#include <string.h>
#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>
#include <utf8proc.h>
#include <xxhash.h>
#include <zstd.h>

#include "base/cpu.h"
#include "base/version.h"
#include "cli/opt_table.h"

enum { COLUMN = 30, WIDTH = 79 };

static void print_wrapped(const char *text, FILE *to)
{
    int at = COLUMN;
    while (*text) {
        int word = (int)strcspn(text, " ");
        if (at > COLUMN && at + 1 + word > WIDTH)
            fprintf(to, "\n%*s", at = COLUMN, "");
        else if (at > COLUMN)
            at += fprintf(to, " ");
        at += fprintf(to, "%.*s", word, text);
        text += word;
        text += *text == ' ';
    }
    fputc('\n', to);
}

static void print_option(const struct opt *o, FILE *to)
{
    int at = o->short_name ? fprintf(to, "  -%c, --%s", o->short_name, o->long_name) : fprintf(to, "      --%s", o->long_name);
    if (o->arg)
        at += fprintf(to, " %s", o->arg);
    if (at > COLUMN - 2)
        fprintf(to, "\n%*s", COLUMN, "");
    else
        fprintf(to, "%*s", COLUMN - at, "");
    print_wrapped(o->help, to);
}

static void print_examples(const struct cli_tool *tool, int most, FILE *to)
{
    fprintf(to, "\nExamples:\n");
    for (int i = 0; i < most && tool->examples[i]; i++)
        fprintf(to, "  %s\n", tool->examples[i]);
}

void help_print(const struct cli_tool *tool, FILE *to)
{
    struct opt_table t = opt_table_build(tool);
    fprintf(to, "Usage: %s %s\n%s\n", tool->name, tool->synopsis, tool->about);
    if (t.items[0]->type != OPT_GROUP)
        fprintf(to, "\nOptions:\n");
    for (int i = 0; i < t.n; i++) {
        if (t.items[i]->type == OPT_GROUP)
            fprintf(to, "\n%s:\n", t.items[i]->help);
        else
            print_option(t.items[i], to);
    }
    print_examples(tool, 4, to);
    fprintf(to, "\nExit status: 0 done, 1 failed, 2 wrong usage, 3 diverged, 75 stopped and resumable.\n"
                "The whole manual: man %s, man finetools.\n", tool->name);
}

void help_brief(const struct cli_tool *tool, FILE *to)
{
    fprintf(to, "Usage: %s %s\n%s\n", tool->name, tool->synopsis, tool->about);
    print_examples(tool, 2, to);
    fprintf(to, "\n%s --help lists the options; man %s tells the rest.\n", tool->name, tool->name);
}

void help_version(const struct cli_tool *tool, FILE *to)
{
    char found[200], used[200], pcre[32], hash[32];
    struct err e = ERR_INIT;
    unsigned use, version = XXH_versionNumber();
    cpu_format(found, sizeof found, cpu_detect());
    if (cpu_select(&use, &e) == 0)
        cpu_format(used, sizeof used, use);
    else
        snprintf(used, sizeof used, "none (%.180s)", e.text);
    snprintf(pcre, sizeof pcre, "?");
    pcre2_config(PCRE2_CONFIG_VERSION, pcre);
    pcre[strcspn(pcre, " ")] = 0;
    snprintf(hash, sizeof hash, "%u.%u.%u", version / 10000, version / 100 % 100, version % 100);
    fprintf(to, "%s (finetools) %s\n", tool->name, FINETOOLS_VERSION);
    fprintf(to, "cpu features found: %s\ncpu features used: %s\n", found, used);
    fprintf(to, "cuda: %s\n", FINETOOLS_CUDA);
    fprintf(to, "compiler: %s\n", __VERSION__);
    fprintf(to, "libraries: jansson %s, zstd %s, pcre2 %s, utf8proc %s, xxhash %s\n", jansson_version_str(), ZSTD_versionString(),
            pcre, utf8proc_version(), hash);
    fprintf(to, "formats: chat stream %d, token file %d, checkpoint %d, reference file %d\n", VERSION_CHAT_STREAM, VERSION_TOKEN_FILE, VERSION_CHECKPOINT,
            VERSION_REF_LOGPROBS);
}

void help_options(const struct cli_tool *tool, FILE *to)
{
    static const char *const types[] = {
        [OPT_LAST] = "", [OPT_GROUP] = "", [OPT_FLAG] = "flag", [OPT_STRING] = "string", [OPT_COUNT] = "count",
        [OPT_SIZE] = "size", [OPT_REAL] = "real", [OPT_CHOICE] = "choice", [OPT_LIST] = "list", [OPT_RANGE] = "range"};
    struct opt_table t = opt_table_build(tool);
    for (int i = 0; i < t.n; i++) {
        const struct opt *o = t.items[i];
        if (o->type == OPT_GROUP)
            continue;
        if (o->short_name)
            fprintf(to, "-%c", o->short_name);
        fprintf(to, "\t--%s\t%s\t%s\t%s\t", o->long_name, o->arg ? o->arg : "", types[o->type], o->help);
        for (const char *const *w = o->words ? o->words() : NULL; w && *w; w++)
            fprintf(to, "%s%s", w == o->words() ? "" : " ", *w);
        fputc('\n', to);
    }
}
