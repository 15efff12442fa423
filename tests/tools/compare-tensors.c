/* compare-tensors: a model folder against the tensors of one file (goldens of changed tensors) and, for all others, against a base folder. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "cli/msg.h"
#include "cli/opt.h"
#include "format/model_folder.h"

static struct {
    const char *base;
    double tolerance;
    int64_t ties;
} o;

static const struct opt options[] = {
    {OPT_STRING, 0, "base", &o.base, "DIR", "tensors that are not in FILE must be those of this folder, byte for byte"},
    {OPT_REAL, 0, "tolerance", &o.tolerance, "X", "largest difference, times max(1, |expected|) (0)"},
    {OPT_COUNT, 0, "ties", &o.ties, "N", "so many elements may differ, by one step of their type (0)"},
    OPT_END};

static const struct cli_tool tool = {"compare-tensors", "[options] FILE DIR", "compare a model folder with expected tensors", options, 0,
                                     {"compare-tensors golden.safetensors merged/", "compare-tensors --base base/ golden.safetensors merged/"}};

static int64_t differing;
static double worst;

static bool is_neighbour(const struct st_tensor *a, const struct st_tensor *b, int64_t i)
{
    uint16_t x, y;
    if (dtype_size(a->type) != 2)
        return false;
    memcpy(&x, (const char *)a->data + 2 * i, 2);
    memcpy(&y, (const char *)b->data + 2 * i, 2);
    return abs((int)x - (int)y) == 1;
}

static void compare(const struct st_tensor *want, const struct st_tensor *got)
{
    char a[ST_SHAPE_TEXT], b[ST_SHAPE_TEXT];
    if (!got)
        die("tensor '%s' is missing", want->name);
    if (strcmp(st_shape_text(want, a), st_shape_text(got, b)))
        die("tensor '%s' is %s, expected %s", want->name, b, a);
    float *x = mem_array(NULL, (size_t)want->numel, sizeof *x), *y = mem_array(NULL, (size_t)want->numel, sizeof *y);
    dtype_to_f32(x, want->data, want->type, (size_t)want->numel);
    dtype_to_f32(y, got->data, got->type, (size_t)want->numel);
    for (int64_t i = 0; i < want->numel; i++) {
        double d = fabs((double)x[i] - y[i]) / fmax(1, fabs(x[i]));
        if (d == 0)
            continue;
        worst = fmax(worst, d);
        if (o.ties && is_neighbour(want, got, i))
            differing++;
        else if (!(d <= o.tolerance))
            die("tensor '%s': element %lld is %.9g, expected %.9g", want->name, (long long)i, y[i], x[i]);
    }
    free(x);
    free(y);
}

int main(int argc, char **argv)
{
    struct err e = ERR_INIT;
    int first = cli_begin(&tool, argc, argv);
    if (argc - first != 2)
        die_usage("expected FILE and DIR");
    struct st_file *want = st_open(argv[first], &e);
    struct model_folder *got = want ? model_folder_open(argv[first + 1], &e) : NULL, *base = got && o.base ? model_folder_open(o.base, &e) : NULL;
    if (!got || (o.base && !base))
        die_err(&e);
    for (int i = 0; i < want->n_tensors; i++)
        compare(&want->tensors[i], model_folder_find(got, want->tensors[i].name));
    for (int i = 0; base && i < base->n_tensors; i++) {
        const struct st_tensor *t = base->tensors[i], *g = model_folder_find(got, t->name);
        if (!st_find(want, t->name) && (!g || g->type != t->type || g->size != t->size || memcmp(g->data, t->data, t->size)))
            die("tensor '%s' should be that of the base", t->name);
    }
    if (differing > o.ties)
        die("%lld elements differ by one step", (long long)differing);
    msg_info("%d tensors, largest difference %.3g, %lld ties", want->n_tensors, worst, (long long)differing);
    model_folder_close(base);
    model_folder_close(got);
    st_close(want);
    return cli_end(EXIT_DONE);
}
