#include "quantize/report.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"

#define LOG_LIMIT ((size_t)256 << 20)

static void add_real(json_t *to, const char *key, double value)
{
    if (!isnan(value))
        json_object_set_new(to, key, json_real(value));
}

json_t *report_entry(const struct report_module *m)
{
    json_t *j = json_pack("{s:s,s:i,s:s,s:s,s:I,s:I}", "type", "module", "layer", m->layer, "module", m->module, "method", m->method, "weights",
                          (json_int_t)m->weights, "bytes", (json_int_t)m->bytes);
    add_real(j, "bits", 8.0 * (double)m->bytes / (double)m->weights);
    add_real(j, "weight_error", m->weight_error);
    add_real(j, "output_error", m->output_error);
    add_real(j, "damp", m->damp);
    return j;
}

static double real_of(const json_t *j, const char *key)
{
    const json_t *v = json_object_get(j, key);
    return json_is_number(v) ? json_number_value(v) : NAN;
}

static const char *text_of(const json_t *j, const char *key)
{
    const char *s = json_string_value(json_object_get(j, key));
    return s ? s : "";
}

static bool is_kept(const json_t *j)
{
    return !strcmp(text_of(j, "method"), "none");
}

struct report_totals report_sum(const json_t *list)
{
    struct report_totals t = {0};
    size_t i;
    json_t *j;
    json_array_foreach((json_t *)list, i, j) {
        double error = real_of(j, "weight_error");
        if (is_kept(j)) {
            t.kept++;
            continue;
        }
        t.modules++;
        t.weights += json_integer_value(json_object_get(j, "weights"));
        t.bytes += json_integer_value(json_object_get(j, "bytes"));
        t.weight_error += error;
        if (!t.worst || error > t.worst_error)
            t.worst_error = error, t.worst = text_of(j, "module");
    }
    if (t.modules)
        t.weight_error /= t.modules, t.bits = 8.0 * (double)t.bytes / (double)t.weights;
    return t;
}

static void add_cell(struct buf *to, const char *format, double value)
{
    if (isnan(value))
        buf_printf(to, " %12s", "-");
    else
        buf_printf(to, format, value);
}

void report_table(struct buf *to, const json_t *list)
{
    size_t i, width = strlen("module");
    bool damped = false;
    json_t *j;
    json_array_foreach((json_t *)list, i, j) {
        size_t n = strlen(text_of(j, "module"));
        width = n > width ? n : width;
        damped |= !isnan(real_of(j, "damp"));
    }
    buf_printf(to, "%-*s %-6s %8s %12s %12s %12s%s\n", (int)width, "module", "method", "bits", "bytes", "weight-error", "output-error",
               damped ? "         damp" : "");
    json_array_foreach((json_t *)list, i, j) {
        buf_printf(to, "%-*s %-6s %8.3f %12lld", (int)width, text_of(j, "module"), text_of(j, "method"), real_of(j, "bits"),
                   (long long)json_integer_value(json_object_get(j, "bytes")));
        add_cell(to, " %12.6f", real_of(j, "weight_error"));
        add_cell(to, " %12.6f", real_of(j, "output_error"));
        if (damped)
            add_cell(to, " %12.4g", real_of(j, "damp"));
        buf_add_char(to, '\n');
    }
}

int report_write(const char *path, const json_t *list, struct err *e)
{
    struct buf b = BUF_INIT;
    size_t i;
    json_t *j;
    json_array_foreach((json_t *)list, i, j) {
        char *line = json_dumps(j, JSON_COMPACT | JSON_REAL_PRECISION(9));
        buf_printf(&b, "%s\n", line);
        free(line);
    }
    int r = file_write(path, buf_str(&b), b.len, e);
    buf_release(&b);
    return r;
}

json_t *report_read(const char *path, struct err *e)
{
    struct buf b = BUF_INIT;
    json_t *list = json_array();
    int r = file_read(&b, path, LOG_LIMIT, e), number = 1;
    for (const char *p = buf_str(&b), *end; r == 0 && *p; p = end + (*end == '\n'), number++) {
        end = p + strcspn(p, "\n");
        json_t *j = json_loadb(p, (size_t)(end - p), 0, NULL);
        if (json_is_object(j))
            json_array_append(list, j);
        else
            r = err_set(e, "%s: line %d: is no entry of a log", path, number);
        json_decref(j);
    }
    buf_release(&b);
    if (r == 0)
        return list;
    json_decref(list);
    return NULL;
}
