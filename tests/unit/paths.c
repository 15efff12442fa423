/* Outputs that would destroy an input. */
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/mem.h"
#include "cli/outfile.h"
#include "cli/paths.h"
#include "tap.h"
#include "tests/unit/scratch.h"

static struct err e;

static void put(const char *path)
{
    struct err why = ERR_INIT;
    if (file_write(path, "text", 4, &why) < 0)
        printf("# %s\n", why.text);
}

static void refused(const char *output, const char *input, const char *text)
{
    e = (struct err)ERR_INIT;
    is_int(paths_refuse_input(output, input, &e), -1, text);
    is_str(e.text, text, "and says so");
}

static void accepted(const char *output, const char *input, const char *what)
{
    e = (struct err)ERR_INIT;
    if (!ok(paths_refuse_input(output, input, &e) == 0, "%s", what))
        printf("# %s\n", e.text);
}

static void test_files(void)
{
    put("a");
    put("b");
    ok(symlink("a", "link") == 0 && link("a", "hard") == 0 && mkdir("outer", 0777) == 0, "links and a folder");
    put("outer/b");
    refused("a", "a", "a: is the input a, expected another name for the output");
    refused("./a", "a", "./a: is the input a, expected another name for the output");
    refused("link", "a", "link: is the input a, expected another name for the output");
    refused("hard", "a", "hard: is the input a, expected another name for the output");
    refused("outer", "outer/b", "outer: holds the input outer/b, expected another name for the output");
    refused(".", "outer/b", ".: holds the input outer/b, expected another name for the output");
    accepted("a", "b", "another file");
    accepted("new", "a", "a new name");
    accepted("-", "-", "streams");
    accepted("/dev/null", "/dev/null", "a device");
    accepted("a", "missing", "an input that is not there");
    accepted("outer/b", "b", "a file of the same name elsewhere");
}

static void test_folders(void)
{
    ok(mkdir("model", 0777) == 0 && mkdir("work", 0777) == 0 && mkdir("work/model", 0777) == 0, "folders");
    put("model/config.json");
    put("blob");
    ok(symlink("../blob", "model/weights") == 0 && symlink("model", "alias") == 0, "links");
    refused("model", "model/", "model: is the input model/, expected another name for the output");
    refused("model/config.json", "model", "model/config.json: is the file config.json of the input model, expected another name for the output");
    refused("alias/config.json", "model", "alias/config.json: is the file config.json of the input model, expected another name for the output");
    refused("model/config.json", "alias", "model/config.json: is the file config.json of the input alias, expected another name for the output");
    refused("model/weights", "model", "model/weights: is the file weights of the input model, expected another name for the output");
    refused("blob", "model", "blob: is the file weights of the input model, expected another name for the output");
    refused("work", "work/model", "work: holds the input work/model, expected another name for the output");
    accepted("model/new/", "model", "a new name in the model");
    accepted("work/new", "work/model", "a folder beside the model");
    accepted("model-2/new", "model", "a name that begins as the model's");
    accepted("work/model", "model", "another folder of that name");
    ok(chdir("model") == 0, "in the model");
    refused("config.json", ".", "config.json: is the file config.json of the input ., expected another name for the output");
    accepted("new", ".", "a new name there");
    accepted("../new", ".", "above it");
    ok(chdir("..") == 0, "out again");
}

static int same(const char *x, const char *y)
{
    e = (struct err)ERR_INIT;
    return paths_refuse_same(x, "summary", y, "log", &e);
}

static void test_outputs(void)
{
    is_int(same("a", "link"), -1, "two outputs that are one file");
    is_str(e.text, "a: is both --summary and --log, expected two names", "are named");
    is_int(same("fresh", "./fresh"), -1, "also when it is new");
    ok(same("fresh", "model/fresh") == 0 && same("a", "b") == 0 && same("-", "-") == 0 && same("/dev/null", "/dev/null") == 0, "others are not");
}

static void test_probe(void)
{
    struct stat st;
    is_int(outfile_probe("fresh", NULL, &e), 0, "a place that can be written");
    ok(stat("fresh", &st) < 0, "nothing is left there");
    is_int(outfile_probe("a", NULL, &e), 0, "a file that is replaced later");
    ok(outfile_probe("-", NULL, &e) == 0 && outfile_probe("/dev/null", NULL, &e) == 0, "a stream and a device");
    is_int(outfile_probe("coming/summary", "coming/", &e), 0, "a folder that the program makes");
    e = (struct err)ERR_INIT;
    is_int(outfile_probe("missing/summary", "coming", &e), -1, "a folder that nobody makes");
    is_str(e.text, "missing/summary: cannot create a file beside it: the folder missing does not exist", "is named");
    e = (struct err)ERR_INIT;
    is_int(outfile_probe("model", NULL, &e), -1, "a folder is no file");
}

int main(void)
{
    char *dir = scratch_folder();
    e = (struct err)ERR_INIT;
    if (chdir(dir) < 0)
        return 1;
    test_files();
    test_folders();
    test_outputs();
    test_probe();
    ok(chdir("/") == 0 && outdir_remove(dir, &e) == 0, "cleaned up");
    free(dir);
    return tap_end();
}
