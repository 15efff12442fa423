/* ckpt-info: what is in this file or folder, and is it whole? */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "cli/msg.h"
#include "cli/opt.h"
#include "cli/progress.h"
#include "train/inspect.h"

static struct { bool json, verify; } o;

static const struct opt options[] = {
    {OPT_FLAG, 0, "json", &o.json, NULL, "print one JSON object, with every tensor"},
    {OPT_FLAG, 0, "verify", &o.verify, NULL, "read every byte and check every hash; damage is status 1"},
    OPT_END};

static const struct cli_tool tool = {
    "ckpt-info", "[--json] [--verify] PATH", "say what a model, adapter, checkpoint or data file is, and whether it is whole", options,
    CLI_THREADS, {"ckpt-info model/", "ckpt-info --verify adapter/"}};

/* "model.layers.12.mlp" and "model.layers.3.mlp" are the same kind of tensor: "model.layers.*.mlp". */
static char *without_numbers(const char *name)
{
    char *to = mem_strdup(name), *w = to;
    for (const char *p = name; *p;) {
        size_t digits = (p == name || p[-1] == '.') ? strspn(p, "0123456789") : 0;
        if (digits && (p[digits] == '.' || !p[digits])) {
            *w++ = '*';
            p += digits;
        } else {
            *w++ = *p++;
        }
    }
    *w = 0;
    return to;
}

/* Shapes, equal tensors of all layers in one line. */
static void print_shapes(json_t *shapes, int indent)
{
    const char *name;
    json_t *shape, *groups = json_object();
    json_object_foreach(shapes, name, shape) {
        char *kind = without_numbers(name), *key = mem_printf("%s  %s", kind, json_string_value(shape));
        json_object_set_new(groups, key, json_integer(json_integer_value(json_object_get(groups, key)) + 1));
        free(kind);
        free(key);
    }
    printf("%*sshapes\n", indent, "");
    json_object_foreach(groups, name, shape) {
        printf("%*s%s", indent + 2, "", name);
        if (json_integer_value(shape) > 1)
            printf("  (%lld times)", (long long)json_integer_value(shape));
        putchar('\n');
    }
    json_decref(groups);
}

static void print_scalar(json_t *v)
{
    char size[32];
    if (json_is_string(v))
        fputs(json_string_value(v), stdout);
    else if (json_is_boolean(v))
        fputs(json_is_true(v) ? "yes" : "no", stdout);
    else if (json_is_integer(v))
        printf("%lld", (long long)json_integer_value(v));
    else if (json_is_real(v))
        printf("%.6g", json_real_value(v));
    else
        fputs("none", stdout);
    if (json_is_integer(v) && json_integer_value(v) >= 100000) {
        progress_format_count(size, sizeof size, (double)json_integer_value(v));
        printf(" (%s)", size);
    }
}

static void print_object(json_t *object, int indent);

static void print_member(const char *key, json_t *v, int indent)
{
    size_t i;
    json_t *item;
    if (!strcmp(key, "shapes") && json_is_object(v)) {
        print_shapes(v, indent);
    } else if (json_is_object(v)) {
        printf("%*s%s\n", indent, "", key);
        print_object(v, indent + 2);
    } else if (json_is_array(v) && json_is_object(json_array_get(v, 0))) {
        json_array_foreach(v, i, item) {
            printf("%*s%s %zu\n", indent, "", key, i + 1);
            print_object(item, indent + 2);
        }
    } else {
        printf("%*s%-*s ", indent, "", 24 - indent, key);
        if (!json_is_array(v))
            print_scalar(v);
        json_array_foreach(v, i, item) {
            fputs(i ? ", " : "", stdout);
            print_scalar(item);
        }
        putchar('\n');
    }
}

static void print_object(json_t *object, int indent)
{
    const char *key;
    json_t *v;
    json_object_foreach(object, key, v)
        print_member(key, v, indent);
}

int main(int argc, char **argv)
{
    struct err e = ERR_INIT;
    int first = cli_begin(&tool, argc, argv);
    if (argc - first != 1)
        die_usage("expected one PATH");
    json_t *about = inspect_path(argv[first], o.verify, &e);
    if (!about)
        die_err(&e);
    if (o.json) {
        json_dumpf(about, stdout, JSON_INDENT(2) | JSON_REAL_PRECISION(9));
        putchar('\n');
    } else {
        print_object(about, 0);
    }
    json_decref(about);
    return cli_end(EXIT_DONE);
}
