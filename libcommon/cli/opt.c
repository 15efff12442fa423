#include "cli/opt.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/mem.h"
#include "base/threads.h"
#include "cli/help.h"
#include "cli/msg.h"
#include "cli/opt_table.h"
#include "cli/opt_value.h"
#include "cli/outfile.h"
#include "cli/paths.h"
#include "cli/progress.h"
#include "cli/stop.h"
#include "cli/suggest.h"
#include "cli/summary.h"

struct cli_common cli = {.device = "auto", .dtype = "auto"};

static const struct cli_tool *program;

/* Closes stdout, where errors of earlier writes may come to light. */
static bool stdout_is_whole(void)
{
    bool earlier = ferror(stdout);
    int failed = fflush(stdout) ? errno : earlier ? EIO : 0;
    if (fclose(stdout) && !failed)
        failed = errno;
    if (failed)
        msg_error("stdout: cannot write: %s", strerror(failed));
    return !failed;
}

static _Noreturn void answer(void (*print)(const struct cli_tool *, FILE *))
{
    print(program, stdout);
    exit(stdout_is_whole() ? EXIT_DONE : EXIT_FAILED);
}

static _Noreturn void unknown_option(const struct opt_table *t, const char *shown, const char *name)
{
    const char *names[OPT_TABLE_MOST + 1], *near;
    int n = 0;
    for (int i = 0; i < t->n; i++)
        if (t->items[i]->long_name)
            names[n++] = t->items[i]->long_name;
    names[n] = NULL;
    near = suggest_nearest(name, names);
    if (near)
        die_usage("unknown option '%s'; did you mean '--%s'?", shown, near);
    die_usage("unknown option '%s'; %s --help lists them", shown, program->name);
}

/* The option with this long name of `len` bytes, or the only one that begins so. */
static const struct opt *find_long(const struct opt_table *t, const char *name, size_t len)
{
    const struct opt *found = NULL;
    struct buf all = BUF_INIT;
    int matches = 0;
    for (int i = 0; i < t->n; i++) {
        const struct opt *o = t->items[i];
        if (!o->long_name || strncmp(o->long_name, name, len))
            continue;
        if (!o->long_name[len]) {
            buf_release(&all);
            return o;
        }
        buf_printf(&all, "%s--%s", matches++ ? ", " : "", o->long_name);
        found = o;
    }
    if (matches > 1)
        die_usage("option '--%.*s' is ambiguous: %s", (int)len, name, buf_str(&all));
    buf_release(&all);
    return found;
}

static const struct opt *find_short(const struct opt_table *t, char c)
{
    for (int i = 0; i < t->n; i++)
        if (t->items[i]->short_name == c)
            return t->items[i];
    return NULL;
}

static void apply(const struct opt *o, const char *value)
{
    struct err e = ERR_INIT;
    if (opt_store(o, value, &e) < 0)
        die_usage("--%s: %s", o->long_name, e.text);
    if (!strcmp(o->long_name, "help"))
        answer(help_print);
    if (!strcmp(o->long_name, "version"))
        answer(help_version);
    if (!strcmp(o->long_name, "quiet"))
        cli.verbose = 0;
    if (!strcmp(o->long_name, "verbose"))
        cli.verbose = 1, cli.quiet = false;
}

/* Each parses the argument at *at and leaves *at on the last one it used. */
static void parse_long(const struct opt_table *t, char **argv, int argc, int *at)
{
    const char *name = argv[*at] + 2;
    size_t len = strcspn(name, "=");
    const char *value = name[len] ? name + len + 1 : NULL;
    const struct opt *o = find_long(t, name, len);
    if (!o) {
        char *bare = mem_strndup(name, len), *shown = mem_printf("--%s", bare);
        unknown_option(t, shown, bare);
    }
    if (o->type == OPT_FLAG && value)
        die_usage("option '--%s' takes no value", o->long_name);
    if (o->type != OPT_FLAG && !value) {
        if (*at + 1 == argc)
            die_usage("option '--%s' needs a value: %s", o->long_name, o->arg);
        value = argv[++*at];
    }
    apply(o, value);
}

static void parse_short(const struct opt_table *t, char **argv, int argc, int *at)
{
    for (const char *p = argv[*at] + 1; *p; p++) {
        const struct opt *o = find_short(t, *p);
        if (!o) {
            char shown[3] = {'-', *p, 0};
            unknown_option(t, p == argv[*at] + 1 && p[1] ? argv[*at] : shown, argv[*at] + 1);
        }
        if (o->type == OPT_FLAG) {
            apply(o, NULL);
            continue;
        }
        const char *value = p + 1;
        if (!*value) {
            if (*at + 1 == argc)
                die_usage("option '-%c' needs a value: %s", *p, o->arg);
            value = argv[++*at];
        }
        apply(o, value);
        return;
    }
}

/* Returns the index of the first operand; operands keep their order behind the options. */
static int parse(const struct opt_table *t, int argc, char **argv)
{
    char **operands = mem_array(NULL, (size_t)argc + 1, sizeof *operands);
    int n = 0, kept = 1;
    for (int i = 1; i < argc; i++) {
        int first = i;
        if (!strcmp(argv[i], "--")) {
            while (++i < argc)
                operands[n++] = argv[i];
            argv[kept++] = argv[first];
            break;
        }
        if (!strcmp(argv[i], "--options"))
            answer(help_options);
        if (argv[i][0] != '-' || !argv[i][1]) {
            operands[n++] = argv[i];
            continue;
        }
        if (argv[i][1] == '-')
            parse_long(t, argv, argc, &i);
        else
            parse_short(t, argv, argc, &i);
        while (first <= i)
            argv[kept++] = argv[first++];
    }
    memcpy(argv + kept, operands, (size_t)n * sizeof *operands);
    free(operands);
    return kept;
}

static void check_device(void)
{
    const char *d = cli.device, *number = d + 5;
    bool good = !strcmp(d, "auto") || !strcmp(d, "cpu") || !strcmp(d, "cuda") ||
                (!strncmp(d, "cuda:", 5) && *number && strlen(number) <= 3 && strspn(number, "0123456789") == strlen(number));
    if (!good)
        die_usage("--device: '%s' is not one of auto, cpu, cuda, cuda:N", d);
}

/* A descriptor closed by the caller is not to be taken by the first file we open; reading or writing it fails. */
static void occupy_standard_descriptors(void)
{
    int fd;
    while ((fd = open("/dev/null", O_RDONLY)) >= 0 && fd <= STDERR_FILENO)
        ;
    if (fd > STDERR_FILENO)
        close(fd);
}

static void refuse_input(const char *output, const char *input)
{
    struct err e = ERR_INIT;
    if (output && input && paths_refuse_input(output, input, &e) < 0)
        die_err(&e);
}

/* An output against every option and operand. */
static void check_output(const struct opt_table *t, const struct opt *out, char *const *operands)
{
    const char *path = *(const char **)out->value;
    struct err e = ERR_INIT;
    for (int i = 0; i < t->n && path; i++) {
        const struct opt *o = t->items[i];
        const struct opt_list *list = o->type == OPT_LIST ? o->value : NULL;
        const char *const *one = o->type == OPT_STRING ? o->value : NULL;
        if (o->path == OPT_INPUT && one)
            refuse_input(path, *one);
        for (int k = 0; o->path == OPT_INPUT && list && k < list->n; k++)
            refuse_input(path, list->items[k]);
        if (o->path == OPT_OUTPUT && o != out && one && *one && paths_refuse_same(path, out->long_name, *one, o->long_name, &e) < 0)
            die_err(&e);
    }
    for (; operands && *operands; operands++)
        refuse_input(path, *operands);
}

/* Before there is any work that could be lost. */
static void check_paths(const struct opt_table *t, char *const *operands)
{
    struct err e = ERR_INIT;
    for (int i = 0; i < t->n; i++)
        if (t->items[i]->path == OPT_OUTPUT)
            check_output(t, t->items[i], program->common & CLI_FILES ? operands : NULL);
    if (cli.summary && outfile_probe(cli.summary, cli.output, &e) < 0)
        die_err(&e);
}

int cli_begin(const struct cli_tool *tool, int argc, char **argv)
{
    struct opt_table t = opt_table_build(tool);
    program = tool;
    occupy_standard_descriptors();
    json_set_alloc_funcs(mem_alloc, free); /* no memory ends the program; it never makes a JSON text shorter */
    json_object_seed(0);                   /* before there are threads */
    progress_start_clock();
    msg_init(tool->name, 0);
    stop_init();
    if (argc == 1 && isatty(STDIN_FILENO)) {
        help_brief(tool, stderr);
        exit(EXIT_USAGE);
    }
    int first = parse(&t, argc, argv);
    msg_init(tool->name, cli.quiet ? -1 : cli.verbose);
    check_device();
    if (!cli.threads) {
        int allowed = threads_available(), wished = getenv("OMP_NUM_THREADS") ? threads_count() : allowed;
        cli.threads = wished < allowed ? wished : allowed;
    }
    threads_set((int)cli.threads);
    check_paths(&t, argv + first);
    return first;
}

int cli_end(int status)
{
    struct err e = ERR_INIT;
    progress_end();
    if (cli.summary && summary_write(cli.summary, program->name, status, &e) < 0) {
        msg_error("%s", e.text);
        status = status ? status : EXIT_FAILED;
    }
    if (!stdout_is_whole() && status == EXIT_DONE)
        status = EXIT_FAILED;
    outfile_cleanup();
    if (status == EXIT_STOPPED && stop_requested() == SIGINT)
        stop_raise(SIGINT);
    return status;
}
