/* Option tables: the one source of parsing, --help, completions and the OPTIONS section of the man page.
 *
 *     static struct { const char *template; int64_t rank; double lr; bool list; } o = {.rank = 16, .lr = 2e-4};
 *     static const struct opt options[] = {
 *         {OPT_STRING, 't', "template", &o.template, "NAME|FILE", "built-in template or a .jinja file"},
 *         {OPT_COUNT, 0, "rank", &o.rank, "N", "rank of the adapters (16)", .min = 1, .max = 4096},
 *         {OPT_FLAG, 0, "list-templates", &o.list, NULL, "list the built-in templates"},
 *         OPT_END};
 *     static const struct cli_tool tool = {"fmt-chat", "[-m DIR | -t TEMPLATE] [options] [FILE...]",
 *         "turn chat data into a chat stream", options, CLI_OUTPUT | CLI_THREADS, {"fmt-chat -m model/ a.json", ...}};
 *     int main(int argc, char **argv) { int first = cli_begin(&tool, argc, argv); ... return cli_end(0); }
 *
 * Long options may be abbreviated when unambiguous and take `--name value` or `--name=value`; an unknown one
 * gets a "did you mean". Numbers are parsed whole and range-checked; counts take k, M, G (1000s) and sizes
 * also Ki, Mi, Gi. The last one given wins; OPT_LIST appends instead. Everything wrong here is status 2.
 * An entry of the tool's own hides the shared option of that name. --options lists the table for scripts (cli/help.h). */
#ifndef CLI_OPT_H
#define CLI_OPT_H

#include <stdbool.h>
#include <stdint.h>

enum opt_type {
    OPT_LAST,   /* ends the table */
    OPT_GROUP,  /* a heading in --help: help = its text */
    OPT_FLAG,   /* bool * */
    OPT_STRING, /* const char ** */
    OPT_COUNT,  /* int64_t *, min..max; k M G */
    OPT_SIZE,   /* int64_t *, bytes; k M G, Ki Mi Gi, KB MB GB */
    OPT_REAL,   /* double *, min..max; NaN and infinity refused */
    OPT_CHOICE, /* const char **; arg is "a|b|c", the value must be one of them */
    OPT_LIST,   /* struct opt_list *, appended */
    OPT_RANGE,  /* struct opt_range *, 1-based, both ends included: "3-9", "3-", "-9", "3" */
};

struct opt_list {
    int n;
    const char **items;
};

struct opt_range { int64_t from, to; };

#define OPT_RANGE_ALL {0, INT64_MAX} /* not given */

/* What an OPT_STRING or OPT_LIST names: cli_begin keeps outputs away from inputs (cli/paths.h). */
enum opt_path { OPT_NO_PATH, OPT_INPUT, OPT_OUTPUT };

struct opt {
    enum opt_type type;
    char short_name; /* 0: none */
    const char *long_name;
    void *value;
    const char *arg;  /* name of the argument; NULL for flags */
    const char *help; /* one line, default in brackets at its end; goes into --help, the man page and completions */
    double min, max;  /* OPT_COUNT, OPT_SIZE, OPT_REAL; both 0: no bound but >= 0 */
    bool *given;      /* optional: set when the option was on the command line */
    const char *const *(*words)(void); /* optional: names that may stand there beside other text, NULL-terminated; for completions */
    enum opt_path path;
};

#define OPT_END {.type = OPT_LAST}

/* Which of the shared options (spec: "common to every tool") this tool has. -h -V -q -v are always there. */
enum {
    CLI_OUTPUT = 1,   /* -o, -f */
    CLI_THREADS = 2,  /* -j */
    CLI_SUMMARY = 4,  /* --summary */
    CLI_MODEL = 8,    /* -m */
    CLI_COMPUTE = 16, /* --device --dtype --seed */
    CLI_PLAN = 32,    /* -n */
    CLI_DEVICE = 128, /* --device alone */
    CLI_FILES = 64,   /* no option: the operands are files or folders that are read */
};

struct cli_common {
    bool quiet, force, plan;
    int verbose;           /* 0, 1 */
    int64_t threads;       /* resolved: >= 1 */
    const char *output;    /* NULL: not given */
    const char *summary;
    const char *model;
    const char *device;    /* auto, cpu, cuda, cuda:N */
    const char *dtype;     /* auto, bf16, f32 */
    int64_t seed;
};

struct cli_tool {
    const char *name;
    const char *synopsis; /* what follows the name, options and operands */
    const char *about;    /* one line */
    const struct opt *options;
    unsigned common;
    const char *examples[4]; /* at least two; shown when called without arguments at a terminal, and by --help */
};

extern struct cli_common cli; /* filled by cli_begin */

/* Parses, answers --help and --version (exit 0), no arguments at a terminal (exit 2), sets threads, installs the
 * signal handlers of cli/stop.h. An output that would destroy an input, and a --summary that cannot be written, end the program
 * here (exit 1). Returns the index in argv of the first operand (operands are moved to the end). */
int cli_begin(const struct cli_tool *tool, int argc, char **argv);

/* The last act of main: writes --summary (cli/summary.h), closes stdout and checks it, and gives back the exit status
 * (1 instead of 0 when one of these failed). With EXIT_STOPPED a SIGINT that asked for the stop is re-raised. */
int cli_end(int status);

#endif
