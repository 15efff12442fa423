#include "cli/summary.h"

#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/mem.h"
#include "cli/outfile.h"

static json_t *entries;

static void set(const char *key, json_t *value)
{
    if (!entries)
        entries = json_object();
    if (json_object_set_new(entries, key, value) < 0)
        mem_alloc(SIZE_MAX / 2); /* jansson fails here only without memory */
}

void summary_count(const char *key, int64_t add)
{
    json_t *old = entries ? json_object_get(entries, key) : NULL;
    set(key, json_integer(add + (old ? json_integer_value(old) : 0)));
}

void summary_real(const char *key, double value)
{
    json_t *number = json_real(value);
    set(key, number ? number : json_null()); /* JSON has no infinity and no NaN */
}

void summary_string(const char *key, const char *value)
{
    json_t *text = json_string(value);
    if (text) {
        set(key, text);
        return;
    }
    struct buf b = BUF_INIT;
    for (; *value; value++) {
        if ((unsigned char)*value < 0x80)
            buf_add_char(&b, *value);
        else
            buf_add_str(&b, "\xef\xbf\xbd");
    }
    set(key, json_string(buf_str(&b)));
    buf_release(&b);
}

void summary_json(const char *key, json_t *value)
{
    set(key, value);
}

int summary_write(const char *path, const char *tool, int status, struct err *e)
{
    json_t *all = json_pack("{s:s, s:s, s:i}", "tool", tool, "version", FINETOOLS_VERSION, "status", status);
    if (entries)
        json_object_update(all, entries);
    char *text = json_dumps(all, JSON_INDENT(2));
    json_decref(all);
    json_decref(entries);
    entries = NULL;
    if (!text)
        return err_set(e, "%s: cannot form the summary", path);
    char *line = mem_printf("%s\n", text);
    free(text);
    int r = outfile_replace(path, line, strlen(line), e);
    free(line);
    return r;
}
