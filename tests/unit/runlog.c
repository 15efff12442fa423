/* The run log and the summary. */
#include <stdlib.h>
#include <unistd.h>

#include "base/file.h"
#include "cli/outfile.h"
#include "cli/runlog.h"
#include "cli/summary.h"
#include "tap.h"
#include "tests/unit/scratch.h"

static struct err e;

static const char *contents(const char *path)
{
    static struct buf b = BUF_INIT;
    struct err ignored = ERR_INIT;
    buf_clear(&b);
    return file_read(&b, path, 1 << 20, &ignored) < 0 ? NULL : buf_str(&b);
}

static struct runlog_kept kept;

static struct runlog *open_at(const char *path, int64_t step)
{
    return runlog_open(path, &(struct runlog_resumed){.step = step}, &kept, &e);
}

static void put(const char *path, const char *text)
{
    is_int(outfile_replace(path, text, strlen(text), &e), 0, "a log");
}

static void resumed_as(const struct runlog_resumed *r, const char *before, const char *after, const char *what)
{
    e = (struct err)ERR_INIT;
    is_int(outfile_replace("log", before, strlen(before), &e), 0, what);
    struct runlog *l = runlog_open("log", r, &kept, &e);
    ok(l && runlog_close(l, &e) == 0, "opens and closes");
    is_str(contents("log"), after, what);
}

static void resumed(const char *before, int64_t step, const char *after, const char *what)
{
    resumed_as(&(struct runlog_resumed){.step = step}, before, after, what);
}

static void test_eval_again(void)
{
    const char *log = "{\"type\":\"start\"}\n{\"type\":\"step\",\"step\":1,\"tokens\":5}\n{\"type\":\"eval\",\"step\":1}\n"
                      "{\"type\":\"step\",\"step\":2,\"tokens\":7}\n{\"type\":\"eval\",\"step\":2}\n";
    resumed_as(&(struct runlog_resumed){.step = 2, .eval_again = true}, log,
               "{\"type\":\"start\"}\n{\"type\":\"step\",\"step\":1,\"tokens\":5}\n{\"type\":\"eval\",\"step\":1}\n"
               "{\"type\":\"step\",\"step\":2,\"tokens\":7}\n", "an evaluation that is made again");
    ok(kept.start && kept.step == 2 && kept.tokens == 12, "what is kept is told: %lld, %lld", (long long)kept.step, (long long)kept.tokens);
    resumed(log, 2, log, "one that is not");
    json_t *start = runlog_read_start("log", &e);
    is_str(json_string_value(json_object_get(start, "type")), "start", "the start is found");
    json_decref(start);
    put("log", "{\"type\":\"step\"}\n");
    ok(!runlog_read_start("log", &e) && !e.set, "or is not there");
}

static void test_earlier(void)
{
    const struct runlog_resumed r = {.step = 1, .earlier = "log"}, anew = {.step = -1, .earlier = "log"};
    put("log", "{\"step\":1}\n{\"step\":2}\n");
    struct runlog *l = runlog_open("moved", &r, &kept, &e);
    ok(l && runlog_close(l, &e) == 0, "goes on elsewhere");
    is_str(contents("moved"), "{\"step\":1}\n", "with the lines so far");
    ok(!file_exists("log"), "and is no longer where it was");
    put("log", "{\"step\":3}\n");
    l = runlog_open("./log", &r, &kept, &e);
    ok(l && runlog_close(l, &e) == 0 && contents("log") && !*contents("log"), "under another name for the same file, it stays");
    l = runlog_open("other", &anew, &kept, &e);
    ok(l && runlog_close(l, &e) == 0 && !file_exists("log") && !*contents("other"), "begun anew elsewhere, it goes");
}

static void test_log(void)
{
    e = (struct err)ERR_INIT;
    struct runlog *l = open_at("new", -1);
    ok(l && runlog_add(l, json_pack("{s:i, s:f}", "step", 1, "loss", 0.5), &e) == 0, "an entry");
    is_str(contents("new"), "{\"step\":1,\"loss\":0.5}\n", "is visible at once");
    is_int(runlog_add(l, json_pack("{s:s}", "type", "end"), &e), 0, "another");
    is_int(runlog_sync(l, &e), 0, "sync");
    is_int(runlog_close(l, &e), 0, "close");
    is_int(runlog_close(NULL, &e), 0, "closing nothing");
    is_str(contents("new"), "{\"step\":1,\"loss\":0.5}\n{\"type\":\"end\"}\n", "both lines are kept");
    l = open_at("new", -1);
    ok(l && runlog_close(l, &e) == 0, "begin anew");
    is_str(contents("new"), "", "empties it");

    resumed("{\"type\":\"start\"}\n{\"step\":1}\n{\"step\":2}\n{\"step\":3}\n", 2,
            "{\"type\":\"start\"}\n{\"step\":1}\n{\"step\":2}\n", "steps past the resumed one are cut");
    resumed("{\"step\":1}\n{\"step\":2}\n{\"step\":3,\"lo", 9, "{\"step\":1}\n{\"step\":2}\n", "half a line is cut");
    resumed("{\"step\":1}\n{\"step\":2}\n{\"type\":\"end\"}\n", 2, "{\"step\":1}\n{\"step\":2}\n", "an end is cut");
    resumed("{\"type\":\"start\"}\n{\"step\":5}\n", 0, "{\"type\":\"start\"}\n", "resumed before the first step");
    resumed("{\"step\":1}\n{\"note\":1}\n{\"step\":2}\n", 2, "{\"step\":1}\n{\"note\":1}\n{\"step\":2}\n",
            "a line without step between steps is kept");
    resumed("{\"step\":1}\n{\"type\":\"end\"}\n{\"step\":2}\n", 2, "{\"step\":1}\n{\"step\":2}\n", "also between steps");
    resumed("{\"type\":\"start\"}\n{\"type\":\"end\"}\n", 4, "{\"type\":\"start\"}\n", "and when no step came before it");
    resumed("{\"step\":1}\nnonsense\n{\"step\":2}\n[]\n{\"step\":3}\nnonsense\n", 2, "{\"step\":1}\n{\"step\":2}\n", "damage is left out");
    ok(kept.damaged == 2 && kept.first_damaged == 2, "and counted: %lld, line %lld", (long long)kept.damaged, (long long)kept.first_damaged);
    resumed("{\"step\":1}\n{\"step\":2,\"ta", 2, "{\"step\":1}\n", "a line without an end");
    is_int(kept.damaged, 0, "is no damage");
    resumed("", 3, "", "an empty log");
    ok(kept.file && !kept.start && kept.step == 0 && kept.tokens == 0, "holds nothing");
    test_eval_again();
    test_earlier();

    e = (struct err)ERR_INIT;
    l = open_at("/dev/full", 3);
    ok(l && !kept.file, "a device is not cut");
    is_int(runlog_add(l, json_object(), &e), -1, "a full disk is noticed");
    is_str(e.text, "/dev/full: cannot write: No space left on device", "at once, with the reason");
    e = (struct err)ERR_INIT;
    is_int(runlog_add(l, NULL, &e), -1, "an entry that could not be made");
    struct err ignored = ERR_INIT;
    is_int(runlog_close(l, &ignored), 0, "close");
    ok(!open_at("no/log", -1), "a missing folder");
}

static void test_summary(void)
{
    e = (struct err)ERR_INIT;
    summary_count("samples", 2);
    summary_count("samples", 3);
    summary_string("template", "chatml");
    summary_string("odd", "a\xff");
    summary_real("loss", NAN);
    summary_real("rate", 0.5);
    summary_json("classes", json_pack("{s:i}", "dropped", 1));
    is_int(summary_write("sum", "tool", 3, &e), 0, "a summary");
    json_t *j = json_load_file("sum", 0, NULL);
    is_str(json_string_value(json_object_get(j, "tool")), "tool", "names its tool");
    is_int(json_integer_value(json_object_get(j, "status")), 3, "the status");
    is_int(json_integer_value(json_object_get(j, "samples")), 5, "counts add up");
    is_str(json_string_value(json_object_get(j, "template")), "chatml", "strings");
    is_str(json_string_value(json_object_get(j, "odd")), "a\xef\xbf\xbd", "bytes that are no UTF-8 are replaced");
    ok(json_is_null(json_object_get(j, "loss")), "NaN is null");
    is_near(json_real_value(json_object_get(j, "rate")), 0.5, 0, "numbers");
    is_int(json_integer_value(json_object_get(json_object_get(j, "classes"), "dropped")), 1, "objects");
    json_decref(j);
    is_int(summary_write("sum", "tool", 0, &e), 0, "a later one replaces it");
    is_int(summary_write("no/sum", "tool", 0, &e), -1, "a missing folder is an error");
}

int main(void)
{
    char *dir = scratch_folder();
    if (chdir(dir) < 0)
        return 1;
    test_log();
    test_summary();
    e = (struct err)ERR_INIT;
    is_int(outdir_remove(dir, &e), 0, "clean up");
    free(dir);
    return tap_end();
}
