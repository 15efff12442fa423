/* AdamW with moments of 8 bits: the specification against bitsandbytes (tests/golden/make_adamw8bit.py), every level against the
 * specification, bit for bit. */
#include <jansson.h>

#include "base/dynamic_map.h"
#include "base/sha256.h"
#include "tests/tools/formula.h"
#include "tests/unit/kernels_check.h"

/* A tensor and its state: codes, or f32 below 4096 elements. */
struct tensor {
    struct adamw_8bit t;
    float *grad, *m, *v;
};

static struct tensor tensor_new(const char *name, int64_t n)
{
    struct tensor x = {.grad = mem_zalloc((size_t)n, 4), .m = mem_zalloc((size_t)n, 4), .v = mem_zalloc((size_t)n, 4)};
    size_t blocks = (size_t)adamw_8bit_blocks(n);
    x.t = (struct adamw_8bit){mem_zalloc((size_t)n, 4), x.grad, mem_zalloc((size_t)n, 1), mem_zalloc((size_t)n, 1), mem_zalloc(blocks, 4), mem_zalloc(blocks, 4), n, 0};
    uint64_t hash = formula_hash(name);
    for (int64_t i = 0; i < n; i++)
        x.t.p[i] = formula_unit(hash, (uint64_t)i);
    return x;
}

static void tensor_free(struct tensor *x)
{
    free(x->t.p), free(x->grad), free(x->t.m), free(x->t.v), free(x->t.m_max), free(x->t.v_max), free(x->m), free(x->v);
}

static bool tensor_equal(const struct tensor *a, const struct tensor *b)
{
    size_t n = (size_t)a->t.count, blocks = (size_t)adamw_8bit_blocks(a->t.count);
    return !memcmp(a->t.p, b->t.p, n * 4) && !memcmp(a->t.m, b->t.m, n) && !memcmp(a->t.v, b->t.v, n) && !memcmp(a->t.m_max, b->t.m_max, blocks * 4) &&
           !memcmp(a->t.v_max, b->t.v_max, blocks * 4);
}

static void fill_gradient(struct tensor *x, const char *name, int step, int scale, bool zeros)
{
    char *full = mem_printf("%s.%d", name, step);
    uint64_t hash = formula_hash(full);
    for (int64_t i = 0; i < x->t.count; i++) {
        x->grad[i] = ldexpf(2 * formula_unit(hash, (uint64_t)i), scale - (int)(i % 13));
        if (zeros && (i / 256 % 3 == 1 || i % 5 == 0 || step == 4))
            x->grad[i] = 0;
    }
    free(full);
}

/* ---- bitsandbytes ---- */

static const char *text(json_t *j, const char *key)
{
    return json_string_value(json_object_get(j, key));
}

static double number(json_t *j, const char *key)
{
    return json_number_value(json_object_get(j, key));
}

static bool is_hash(json_t *want, const char *key, const void *data, int64_t bytes)
{
    char hex[SHA256_HEX];
    sha256_hex(data, (size_t)bytes, hex);
    return !strcmp(hex, text(want, key));
}

static bool same_bits(json_t *want, const struct tensor *x)
{
    int64_t n = x->t.count, blocks = adamw_8bit_blocks(n);
    return is_hash(want, "state1", x->t.m, n) && is_hash(want, "state2", x->t.v, n) && is_hash(want, "absmax1", x->t.m_max, blocks * 4) &&
           is_hash(want, "absmax2", x->t.v_max, blocks * 4) && is_hash(want, "p", x->t.p, n * 4);
}

/* The largest distance, in units of the largest number. */
static double worst(json_t *want, const float *got)
{
    double off = 0, largest = 0;
    for (size_t i = 0; i < json_array_size(want); i++) {
        double w = json_number_value(json_array_get(want, i));
        off = fmax(off, fabs((double)got[i * 273] - w));
        largest = fmax(largest, fabs(w));
    }
    return off / largest;
}

static void test_case(const struct kernels *k, const char *level, json_t *c)
{
    const char *name = text(c, "name");
    int64_t n = (int64_t)number(c, "n");
    bool eight = n >= 4096, good = true;
    struct tensor x = tensor_new(name, n);
    x.t.weight_decay = number(c, "weight_decay");
    struct adamw o = {number(c, "lr"), number(c, "beta1"), number(c, "beta2"), number(c, "eps"), 0, NULL};
    const struct adamw_tensor plain = {x.t.p, x.m, x.v, x.grad, n, x.t.weight_decay};
    json_t *steps = json_object_get(c, "steps"), *want;
    size_t s;
    json_array_foreach(steps, s, want) {
        fill_gradient(&x, name, (int)++o.step, (int)number(c, "scale"), json_is_true(json_object_get(c, "zeros")));
        if (eight)
            k->adamw_8bit(&x.t, 1, &o);
        else
            k->adamw(&plain, 1, &o);
        good = good && (eight ? same_bits(want, &x)
                              : worst(json_object_get(want, "p"), x.t.p) < 4e-7 && worst(json_object_get(want, "state1"), x.m) < 4e-7 &&
                                    worst(json_object_get(want, "state2"), x.v) < 4e-7);
        if (!good) {
            printf("# first at step %zu\n", s + 1);
            break;
        }
    }
    ok(good && json_array_size(steps) == 7, "%s, %s: %s of bitsandbytes after every step", level, name, eight ? "the bits" : "f32 state, near that");
    tensor_free(&x);
}

static void test_maps(json_t *maps)
{
    float map[DYNAMIC_MAP_SIZE];
    dynamic_map(map, true);
    ok(is_hash(maps, "signed", map, sizeof map), "the signed map of bitsandbytes");
    dynamic_map(map, false);
    ok(is_hash(maps, "unsigned", map, sizeof map), "and the unsigned one");
    is_int(dynamic_map_index(map, NAN), 0, "NaN is as -1");
    is_int(dynamic_map_index(map, 0), 7, "0 is in a bin above it");
}

/* ---- levels ---- */

/* Three tensors in one call, steps of gradients that vanish, that are far from each other, and that are no numbers. */
static void fill_awkward(struct tensor *x, int step)
{
    fill_gradient(x, "awkward", step, step % 3 ? 0 : 30, step == 2);
    if (x->t.count > 700)
        x->grad[700] = step == 5 ? INFINITY : step == 6 ? NAN : 1e-30f;
}

static bool level_agrees(const struct kernels *k, int threads)
{
    static const int64_t counts[] = {1, 15, 255, 256, 257, 511, 4099, 70001};
    enum { N = sizeof counts / sizeof *counts };
    struct tensor a[N], b[N];
    struct adamw_8bit list[N];
    bool good = true;
    for (int i = 0; i < N; i++) {
        a[i] = tensor_new("awkward", counts[i]), b[i] = tensor_new("awkward", counts[i]);
        a[i].t.weight_decay = b[i].t.weight_decay = i % 2 ? 0.3 : 0;
    }
    for (int step = 1; step <= 8; step++) { /* the last is not made */
        const struct clip clip = {0, step == 8 ? NAN : 0.37f};
        const struct adamw o = {1e-2, 0.9, 0.99, 1e-7, step, step % 2 ? NULL : &clip};
        for (int i = 0; i < N; i++) {
            fill_awkward(&a[i], step), fill_awkward(&b[i], step);
            list[i] = a[i].t;
            spec.adamw_8bit(&b[i].t, 1, &o);
        }
        omp_set_num_threads(threads);
        k->adamw_8bit(list, N, &o);
        omp_set_num_threads(1);
        for (int i = 0; i < N; i++) {
            bool same = step < 5 || step == 8 || counts[i] <= 700 ? tensor_equal(&a[i], &b[i])
                                                     : !memcmp(a[i].t.m, b[i].t.m, (size_t)counts[i]) && !memcmp(a[i].t.v, b[i].t.v, (size_t)counts[i]);
            if (!same)
                printf("# differs at step %d, %lld elements\n", step, (long long)counts[i]);
            good = good && same;
        }
    }
    for (int i = 0; i < N; i++)
        tensor_free(&a[i]), tensor_free(&b[i]);
    return good;
}

int main(void)
{
    json_error_t je;
    json_t *root = json_load_file("tests/golden/adamw8bit.json", 0, &je), *cases = json_object_get(root, "cases"), *c;
    size_t i;
    levels_open();
    test_maps(json_object_get(root, "maps"));
    is_int((long long)json_array_size(cases), 9, "cases");
    for (int l = -1; l < n_levels; l++)
        json_array_foreach(cases, i, c)
            test_case(l < 0 ? &spec : &levels[l].k, l < 0 ? "specification" : levels[l].name, c);
    for (int l = 0; l < n_levels; l++)
        for (int threads = 1; threads <= 3; threads += 2)
            ok(level_agrees(&levels[l].k, threads), "%s, threads: %d: several tensors, equal to the specification", levels[l].name, threads);
    json_decref(root);
    return tap_end();
}
