/* Schedules and AdamW against numbers from the reference libraries, the order and packing of samples, decay rules, run records. */
#include <stdlib.h>
#include <unistd.h>

#include "tests/unit/tap.h"
#include "base/mem.h"
#include "kernels/kernels.h"
#include "model/param.h"
#include "tests/unit/tiny_model.h"
#include "train/batches.h"
#include "train/optimizer.h"
#include "train/optimizer_state.h"
#include "train/run_folder.h"
#include "train/schedule.h"

/* ---- schedules: transformers' get_*_schedule_with_warmup, T = 10, W = 2 ---- */

static void check_schedule(const char *type, const double *want)
{
    struct err e = ERR_INIT;
    struct schedule s;
    double worst = 0;
    is_int(schedule_init(&s, type, 1, 2, 10, &e), 0, type);
    for (int i = 0; i < 11; i++)
        worst = fmax(worst, fabs(schedule_lr(&s, i + 1) - want[i]));
    ok(worst < 5e-6, "%s: all eleven factors (off by %.2g)", type, worst);
}

static void test_schedules(void)
{
    static const double linear[] = {0, .5, 1, .875, .75, .625, .5, .375, .25, .125, 0};
    static const double cosine[] = {0, .5, 1, .96194, .853553, .691342, .5, .308658, .146447, .03806, 0};
    static const double constant[] = {0, .5, 1, 1, 1, 1, 1, 1, 1, 1, 1};
    struct err e = ERR_INIT;
    struct schedule s;
    check_schedule("linear", linear);
    check_schedule("cosine", cosine);
    check_schedule("constant", constant);
    is_int(schedule_init(&s, "linear", 1, .07, 100, &e), 0, "a share of the steps");
    is_int(s.warmup, 8, "7 % of 100 is 8: the product is above 7 in double, and is rounded up");
    is_int(schedule_init(&s, "linear", 1, .1, 7, &e), 0, "a share of few steps");
    is_int(s.warmup, 1, "10 % of 7 is 1");
    is_int(schedule_init(&s, "linear", 2e-4, 0, 1, &e), 0, "one step");
    is_near(schedule_lr(&s, 1), 2e-4, 1e-12, "has the peak rate");
    is_int(schedule_init(&s, "sine", 1, 0, 1, &e), -1, "an unknown schedule is an error");
}

/* ---- AdamW and clipping: torch.optim.AdamW ---- */

static void test_adamw(void)
{
    static const float grads[] = {.5f, -.25f, 1}, want[] = {.899000049f, .871467352f, .804784715f};
    struct err e = ERR_INIT;
    const struct kernels *k = kernels_open("cpu", &e);
    struct param *p[] = {param_new(mem_strdup("layer.weight"), 2, 3, 7), param_new(mem_strdup("layer.bias"), 1, 5, 1)};
    struct optimizer o;
    struct arena a;
    struct optimizer_options oo = {.lr = .1, .beta1 = .9, .beta2 = .999, .eps = 1e-8, .weight_decay = .01};
    bool finite = false;
    optimizer_init(&o, p, 2);
    arena_init(&a);
    optimizer_layout(&o, &a);
    ok(!p[0]->value && a.used == 4 * (128 + 64) + 64, "four blocks of 21 and 5 floats, each tensor at 64 bytes, and the norms: %zu bytes", a.used);
    is_int(arena_commit(&a, k->alloc, k->free, &e), 0, "memory");
    optimizer_layout(&o, &a);
    for (int i = 0; i < 21; i++)
        p[0]->value[i] = 1;
    for (int i = 0; i < 5; i++)
        p[1]->value[i] = 1;
    for (int step = 1; step <= 3; step++) {
        for (int i = 0; i < 21; i++)
            p[0]->grad[i] = grads[step - 1];
        for (int i = 0; i < 5; i++)
            p[1]->grad[i] = grads[step - 1];
        optimizer_step(&o, k, &oo, step, &finite);
        ok(fabsf(p[0]->value[20] - want[step - 1]) < 2e-7f, "step %d: %.9g, torch has %.9g", step, (double)p[0]->value[20], (double)want[step - 1]);
    }
    ok(p[1]->value[0] > p[0]->value[0], "a bias does not decay");
    ok(fabsf(o.m[0] - .118f) < 1e-7f && fabsf(o.v[0] - 1.31193775e-3f) < 1e-9f, "moments %.9g %.9g", (double)o.m[0], (double)o.v[0]);
    ok(o.value[21] == 0 && o.m[21] == 0 && o.v[21] == 0, "the gap between tensors stays zero");

    optimizer_zero_grad(&o, k);
    p[0]->grad[3] = 3, p[1]->grad[1] = -4;
    float before = p[0]->value[3], m = o.m[3];
    oo.clip = 1;
    is_near(optimizer_step(&o, k, &oo, 4, &finite), 5, 1e-12, "the norm is over all tensors");
    is_near(o.m[3], m * .9 + .1 * 3 * (1 / (5 + 1e-6)), 1e-6, "clipped to norm 1");
    ok(p[0]->value[3] != before && finite, "and stepped");
    ok(!optimizer_find_bad_gradient(&o, k), "finite gradients");
    p[1]->grad[4] = NAN;
    is_str(optimizer_find_bad_gradient(&o, k), "layer.bias", "a NaN is found and named");
    optimizer_release(&o);
    arena_release(&a);
    param_free(p[0]);
    param_free(p[1]);
}

/* ---- AdamW with moments of 8 bits ---- */

struct eight {
    struct param *p[4];
    struct optimizer o;
    struct arena a;
};

static void eight_open(struct eight *x, const struct kernels *k, const char *name)
{
    static const int64_t rows[] = {5000, 4095, 4096, 600};
    struct err e = ERR_INIT;
    for (int i = 0; i < 4; i++)
        x->p[i] = param_new(mem_printf("%c.weight", 'a' + i), 2, rows[i], i == 3 ? 10 : 1);
    x->p[2]->embedding = true;
    optimizer_init(&x->o, x->p, 4);
    optimizer_choose(&x->o, name);
    arena_init(&x->a);
    optimizer_layout(&x->o, &x->a);
    if (arena_commit(&x->a, k->alloc, k->free, &e) < 0)
        exit(1);
    optimizer_layout(&x->o, &x->a);
    for (int i = 0; i < 4; i++)
        for (int64_t j = 0; j < x->p[i]->numel; j++)
            x->p[i]->grad[j] = (float)(j % 17 - 8) / 64;
}

static void eight_close(struct eight *x)
{
    optimizer_release(&x->o);
    arena_release(&x->a);
    for (int i = 0; i < 4; i++)
        param_free(x->p[i]);
}

/* A step whose gradient is no finite number changes nothing; one that leaves a value that is none says so. */
static void test_bad_steps(void)
{
    static const char *const names[] = {"adamw", "adamw8bit"};
    struct err e = ERR_INIT;
    const struct kernels *k = kernels_open("cpu", &e);
    for (int i = 0; i < 4; i++) {
        const struct optimizer_options oo = {.lr = .01, .beta1 = .9, .beta2 = .999, .eps = 1e-8, .weight_decay = .1, .clip = i / 2};
        struct eight x, y;
        bool finite = false;
        eight_open(&x, k, names[i % 2]), eight_open(&y, k, names[i % 2]);
        optimizer_step(&x.o, k, &oo, 1, &finite), optimizer_step(&y.o, k, &oo, 1, &finite);
        x.p[i]->grad[9] = y.p[i]->grad[9] = i % 3 ? INFINITY : NAN;
        ok(!isfinite(optimizer_step(&x.o, k, &oo, 2, &finite)) && finite, "%s, clip %g: a gradient that is no number", names[i % 2], oo.clip);
        memcpy(x.o.clip, y.o.clip, 2 * sizeof *x.o.clip);
        ok(!memcmp(x.a.base, y.a.base, x.a.used), "changes nothing");
        x.p[i]->grad[9] = 1, x.p[3]->value[5999] = INFINITY;
        ok(isfinite(optimizer_step(&x.o, k, &oo, 2, &finite)) && !finite, "a value that is none is seen");
        is_str(optimizer_find_bad_value(&x.o, k), "d.weight", "and named");
        eight_close(&x), eight_close(&y);
    }
}

static void test_eight_bits(void)
{
    struct err e = ERR_INIT;
    const struct kernels *k = kernels_open("cpu", &e);
    struct optimizer_options oo = {.lr = .01, .beta1 = .9, .beta2 = .999, .eps = 1e-8, .weight_decay = .1};
    struct clip half = {0, 0.5f};
    bool finite;
    struct eight x, y, z;
    char *dir = scratch_folder();
    eight_open(&x, k, "adamw8bit"), eight_open(&y, k, "adamw8bit"), eight_open(&z, k, "adamw");
    is_int(x.o.n_eight, 2, "tensors of 5000 and 6000 elements are in 8 bits, one of 4095 and the embedding are not");
    is_int(x.o.moment[4], 4096 + 4096, "these have moments of f32");
    is_int(optimizer_saved_bytes(&x.o), 4 * (5000 + 4095 + 4096 + 6000) + 8 * (4095 + 4096) + 2 * 11000 + 8 * (20 + 24), "bytes of a checkpoint");
    oo.clip = (sqrt(k->sum_squares(x.o.grad, x.o.offset[4])) + 1e-6) / 2;
    for (int step = 1; step <= 3; step++) {
        const struct adamw w = {.01, .9, .999, 1e-8, step, &half};
        const struct adamw_tensor plain[] = {{y.p[1]->value, y.o.m, y.o.v, y.p[1]->grad, 4096, .1},
                                             {y.p[2]->value, y.o.m + 4096, y.o.v + 4096, y.p[2]->grad, 4096, .1}};
        for (int i = 0; i < y.o.n_eight; i++)
            y.o.eight[i].weight_decay = .1;
        k->adamw_8bit(y.o.eight, 2, &w);
        k->adamw(plain, 2, &w);
        optimizer_step(&x.o, k, &oo, step, &finite);
    }
    memcpy(y.o.clip, x.o.clip, 2 * sizeof *y.o.clip);
    ok(!memcmp(x.a.base, y.a.base, x.a.used), "a step is that of its operations, clipped");
    is_int(optimizer_state_save(&x.o, k, dir, &e), 0, "saved");
    eight_close(&y);
    eight_open(&y, k, "adamw8bit");
    is_int(optimizer_state_load(&y.o, k, dir, &e), 0, "loaded");
    memcpy(y.o.clip, x.o.clip, 2 * sizeof *y.o.clip);
    ok(!memcmp(x.a.base, y.a.base, x.a.used), "the same bits");
    is_int(optimizer_state_load(&z.o, k, dir, &e), -1, "into AdamW of f32");
    ok(strstr(e.text, "holds the state of adamw8bit, expected that of adamw") != NULL, "is refused: %s", e.text);
    free(dir);
    eight_close(&x), eight_close(&y), eight_close(&z);
}

static void test_decay(void)
{
    static const struct { const char *name; bool decays; } cases[] = {
        {"model.embed_tokens.weight", true}, {"lm_head.weight", true}, {"model.layers.0.self_attn.q_proj.weight", true},
        {"base_model.model.model.layers.0.mlp.up_proj.lora_A.weight", true}, {"model.layers.0.self_attn.q_proj.bias", false},
        {"model.layers.0.input_layernorm.weight", false}, {"model.norm.weight", false}, {"model.layers.1.self_attn.k_norm.weight", false},
        {"norm.weight", false}, {"model.normal.weight", true}, {"model.LayerNorm.weight", false}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        ok(param_decays(cases[i].name) == cases[i].decays, "%s %s", cases[i].name, cases[i].decays ? "decays" : "does not decay");
}

/* ---- batches ---- */

struct tokens {
    char *bytes;
    size_t n;
    struct token_file *file;
};

/* Sample i has i % 5 + 2 tokens; all but the first are trained; the ids tell sample and position. */
static void tokens_make(struct tokens *t, int n)
{
    struct err e = ERR_INIT;
    struct token_provenance p = {.vocab = 100000};
    memset(p.tokenizer, '0', SHA256_HEX - 1);
    FILE *f = open_memstream(&t->bytes, &t->n);
    struct token_writer *w = token_writer_begin(f, "tokens", TOKEN_KIND_SAMPLES, &p, &e);
    for (int i = 0; w && i < n; i++) {
        uint32_t ids[7], len = (uint32_t)(i % 5 + 2);
        uint8_t mask[7];
        for (uint32_t k = 0; k < len; k++)
            ids[k] = (uint32_t)i * 10 + k, mask[k] = k > 0;
        if (token_writer_add(w, ids, mask, len, &e) < 0)
            tiny_die(&e);
    }
    if (!w || token_writer_end(w, "0000000000000000000000000000000000000000000000000000000000000000", &e) < 0)
        tiny_die(&e);
    fclose(f);
    if (!(t->file = token_file_parse(t->bytes, t->n, "tokens", &e)))
        tiny_die(&e);
}

static void test_order(const struct tokens *t, bool shuffle)
{
    struct err e = ERR_INIT;
    struct batches b;
    struct batches_step s;
    const struct batches_options o = {7, 4, 0, shuffle};
    int seen[2][23] = {{0}}, order[2][23], n = 0, sizes_good = 1;
    is_int(batches_init(&b, t->file, &o, &e), 0, shuffle ? "random order" : "order of the file");
    is_int(batches_count_steps(&b, 1), 6, "23 samples in steps of 4: 6");
    is_int(batches_count_steps(&b, 2.5), 15, "two and a half epochs: 15");
    for (int i = 0; i < 12; i++) {
        batches_next(&b, &s);
        sizes_good &= s.n == (i % 6 == 5 ? 3 : 4);
        for (int64_t k = 0; k < s.n; k++, n++) {
            seen[n / 23][s.items[k]]++;
            order[n / 23][n % 23] = (int)s.items[k];
        }
    }
    ok(sizes_good, "the last step of each epoch has the 3 that are left");
    is_near(s.epoch, 2, 0, "two epochs are done");
    int once = 1, ascending = 1;
    for (int i = 0; i < 23; i++) {
        once &= seen[0][i] == 1 && seen[1][i] == 1;
        ascending &= order[0][i] == i;
    }
    ok(once, "every sample once an epoch");
    ok(ascending == !shuffle, "in the order asked for");
    ok(!shuffle || memcmp(order[0], order[1], sizeof order[0]), "epochs are ordered differently");
    batches_seek(&b, 1, 8);
    batches_next(&b, &s);
    is_int(s.items[0], order[1][8], "seeking finds the same place");
    batches_release(&b);
}

static void test_token_batches(const struct tokens *t)
{
    struct err e = ERR_INIT;
    struct batches b;
    struct batches_step s;
    const struct batches_options o = {3, 0, 10, true};
    int64_t steps = 0, trained = 0, short_steps = 0;
    is_int(batches_init(&b, t->file, &o, &e), 0, "steps by trained tokens");
    int64_t total = batches_count_steps(&b, 3);
    while (b.epoch < 3 && !(b.epoch == 2 && b.next >= t->file->n_samples)) {
        batches_next(&b, &s);
        steps++;
        trained += s.trained;
        short_steps += s.trained < 10 && b.next < t->file->n_samples;
    }
    is_int(steps, total, "are counted beforehand");
    is_int(trained, 3 * t->file->n_trained, "and consume everything");
    is_int(short_steps, 0, "only the last of an epoch has fewer");
    batches_release(&b);
}

static void test_pack(const struct tokens *t)
{
    const uint32_t items[] = {4, 0, 9, 3}; /* 6, 2, 6, 5 tokens */
    struct pack p;
    pack_init(&p, 14, 14);
    is_int(pack_fill(&p, t->file, items, 0, 4, 100), 3, "three samples of 14 rows fit");
    is_int(p.batch.n, 14, "rows");
    is_int(p.batch.row0, 100, "first row of the step");
    is_int(p.batch.n_seq, 3, "samples");
    ok(p.start[1] == 6 && p.start[2] == 8 && p.start[3] == 14, "bounds");
    ok(p.ids[6] == 0 && p.targets[6] == 1 && p.targets[7] == -1, "a row predicts the next token; the last of a sample nothing");
    is_int(p.trained, 11, "trained targets");
    is_int(pack_fill(&p, t->file, items + 3, 0, 1, 0), 1, "the rest");
    is_int(pack_fill(&p, t->file, NULL, 0, 23, 0), 4, "without a list: from the first on");
    ok(p.ids[2] == 10 && p.batch.n == 14, "in order");
    pack_release(&p);
    pack_init(&p, 4, 6);
    ok(pack_fill(&p, t->file, items, 0, 4, 0) == 1 && p.batch.n == 6, "a sample that is longer than a pack is one by itself");
    ok(pack_fill(&p, t->file, items + 1, 0, 3, 0) == 1 && p.batch.n == 2, "and does not join a shorter one");
    pack_release(&p);
}

static void test_differences(void)
{
    char *d = run_differences("{\"options\":{\"lr\":0.1,\"rank\":8,\"train\":null}}", "{\"options\":{\"lr\":0.1,\"rank\":16,\"train\":\"bias\"}}");
    is_str(d, "rank: 8, now 16; train: none, now bias", "differences are listed");
    free(d);
    ok(!run_differences("{\"a\":{\"b\":1.5}}", "{\"a\":{\"b\":1.5}}"), "equal runs have none");
}

int main(void)
{
    struct tokens t;
    test_schedules();
    test_adamw();
    test_bad_steps();
    test_eight_bits();
    test_decay();
    tokens_make(&t, 23);
    test_order(&t, false);
    test_order(&t, true);
    test_token_batches(&t);
    test_pack(&t);
    token_file_close(t.file);
    free(t.bytes);
    test_differences();
    return tap_end();
}
