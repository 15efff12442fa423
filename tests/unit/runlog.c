/* The run log and the summary. */
#include <stdlib.h>
#include <unistd.h>

#include "base/file.h"
#include "cli/outfile.h"
#include "cli/runlog.h"
#include "cli/summary.h"
#include "tap.h"

static struct err e;

static const char *contents(const char *path)
{
    static struct buf b = BUF_INIT;
    struct err ignored = ERR_INIT;
    buf_clear(&b);
    return file_read(&b, path, 1 << 20, &ignored) < 0 ? NULL : buf_str(&b);
}

static void resumed(const char *before, int64_t step, const char *after, const char *what)
{
    e = (struct err)ERR_INIT;
    is_int(outfile_replace("log", before, strlen(before), &e), 0, what);
    struct runlog *l = runlog_open("log", step, &e);
    ok(l && runlog_close(l, &e) == 0, "opens and closes");
    is_str(contents("log"), after, what);
}

static void test_log(void)
{
    e = (struct err)ERR_INIT;
    struct runlog *l = runlog_open("new", -1, &e);
    ok(l && runlog_add(l, json_pack("{s:i, s:f}", "step", 1, "loss", 0.5), &e) == 0, "an entry");
    is_str(contents("new"), "{\"step\":1,\"loss\":0.5}\n", "is visible at once");
    is_int(runlog_add(l, json_pack("{s:s}", "type", "end"), &e), 0, "another");
    is_int(runlog_sync(l, &e), 0, "sync");
    is_int(runlog_close(l, &e), 0, "close");
    is_int(runlog_close(NULL, &e), 0, "closing nothing");
    is_str(contents("new"), "{\"step\":1,\"loss\":0.5}\n{\"type\":\"end\"}\n", "both lines are kept");
    l = runlog_open("new", -1, &e);
    ok(l && runlog_close(l, &e) == 0, "begin anew");
    is_str(contents("new"), "", "empties it");

    resumed("{\"type\":\"start\"}\n{\"step\":1}\n{\"step\":2}\n{\"step\":3}\n", 2,
            "{\"type\":\"start\"}\n{\"step\":1}\n{\"step\":2}\n", "steps past the resumed one are cut");
    resumed("{\"step\":1}\n{\"step\":2}\n{\"step\":3,\"lo", 9, "{\"step\":1}\n{\"step\":2}\n", "half a line is cut");
    resumed("{\"step\":1}\n{\"step\":2}\n{\"type\":\"end\"}\n", 2, "{\"step\":1}\n{\"step\":2}\n", "an end is cut");
    resumed("{\"type\":\"start\"}\n{\"step\":5}\n", 0, "{\"type\":\"start\"}\n", "resumed before the first step");
    resumed("{\"step\":1}\n{\"note\":1}\n{\"step\":2}\n", 2, "{\"step\":1}\n{\"note\":1}\n{\"step\":2}\n",
            "a line without step between steps is kept");
    resumed("{\"step\":1}\nnonsense\n{\"step\":2}\n", 2, "{\"step\":1}\n", "what is behind damage is cut");
    resumed("", 3, "", "an empty log");

    e = (struct err)ERR_INIT;
    l = runlog_open("/dev/full", 3, &e);
    ok(l != NULL, "a device is not cut");
    is_int(runlog_add(l, json_object(), &e), -1, "a full disk is noticed");
    is_str(e.text, "/dev/full: cannot write: No space left on device", "at once, with the reason");
    e = (struct err)ERR_INIT;
    is_int(runlog_add(l, NULL, &e), -1, "an entry that could not be made");
    struct err ignored = ERR_INIT;
    is_int(runlog_close(l, &ignored), 0, "close");
    ok(!runlog_open("no/log", -1, &ignored), "a missing folder");
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
    char dir[] = "/tmp/finetools-runlog-XXXXXX";
    if (!mkdtemp(dir) || chdir(dir) < 0)
        return 1;
    test_log();
    test_summary();
    e = (struct err)ERR_INIT;
    is_int(outdir_remove(dir, &e), 0, "clean up");
    return tap_end();
}
