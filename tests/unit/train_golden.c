/* Twenty steps of our training loop against transformers, PEFT and torch: tests/golden/make_training.py; ten over weights of NF4 against
 * bitsandbytes, too: tests/golden/make_qlora.py. */
#include <jansson.h>
#include <math.h>
#include <stdio.h>

#include "tests/unit/tap.h"
#include "tests/unit/tiny_model.h"
#include "tests/unit/train_run.h"

struct golden {
    const char *name;
    struct st_file *file;
    json_t *settings;
    char *dir;
};

static double setting(const struct golden *g, const char *key)
{
    return json_number_value(json_object_get(g->settings, key));
}

static const double *numbers(const struct golden *g, const char *name)
{
    return st_find(g->file, name)->data;
}

/* ---- the text ---- */

static void add_sample(struct token_writer *w, const unsigned char *text, size_t n, size_t first)
{
    struct err e = ERR_INIT;
    uint32_t ids[96];
    uint8_t mask[96];
    for (size_t i = 0; i < n; i++) {
        ids[i] = text[i];
        mask[i] = i >= first;
    }
    if (token_writer_add(w, ids, mask, (uint32_t)n, &e) < 0)
        tiny_die(&e);
}

static void add_own(struct token_writer *w, const struct golden *g)
{
    const struct st_tensor *start = st_find(g->file, "start");
    const int64_t *bounds = start->data;
    const int32_t *ids = st_find(g->file, "ids")->data;
    const uint8_t *mask = st_find(g->file, "mask")->data;
    for (int64_t s = 0; s + 1 < start->numel; s++) {
        unsigned char text[96];
        size_t n = (size_t)(bounds[s + 1] - bounds[s]), first = n;
        for (size_t i = n; i-- > 0;) {
            text[i] = (unsigned char)ids[bounds[s] + (int64_t)i];
            first = mask[bounds[s] + (int64_t)i] ? i : first;
        }
        add_sample(w, text, n, first);
    }
}

static bool add_alpaca(struct token_writer *w)
{
    const char *data = getenv("FINETOOLS_DATA");
    char *path = mem_printf("%s/alpaca_en_demo.json", data ? data : "../shared/data");
    json_t *list = json_load_file(path, 0, NULL), *record;
    size_t i, kept = 0;
    free(path);
    json_array_foreach(list, i, record) {
        char *text = mem_printf("%s\n%s", json_string_value(json_object_get(record, "instruction")), json_string_value(json_object_get(record, "output")));
        size_t n = strlen(text) < 96 ? strlen(text) : 96, first = strlen(json_string_value(json_object_get(record, "instruction"))) + 1;
        if (first + 4 <= n && kept < 40) {
            add_sample(w, (const unsigned char *)text, n, first);
            kept++;
        }
        free(text);
    }
    json_decref(list);
    return kept > 0;
}

/* ---- the model ---- */

static bool has_base(const struct golden *g)
{
    return st_find(g->file, "base.model.norm.weight") != NULL;
}

/* The folder that the golden holds. */
static char *write_base(const struct golden *g)
{
    struct err e = ERR_INIT;
    char *dir = scratch_folder(), *path = mem_printf("%s/model.safetensors", dir);
    struct st_tensor *list = mem_zalloc((size_t)g->file->n_tensors, sizeof *list);
    const struct st_meta meta = {"format", "pt"};
    int n = 0;
    for (int i = 0; i < g->file->n_tensors; i++)
        if (!strncmp(g->file->tensors[i].name, "base.", 5)) {
            list[n] = g->file->tensors[i];
            list[n++].name += 5;
        }
    if (st_write(path, list, n, &meta, 1, &e) < 0)
        tiny_die(&e);
    tiny_write_text(dir, "config.json", st_meta(g->file, "config"));
    free(list);
    free(path);
    return dir;
}

/* ---- the run ---- */

/* The reference's first A: the formula's. */
static int start_lora(void *arg, uint64_t seed, struct err *e)
{
    struct run *r = arg;
    if (lora_start(r->lora, seed, e) < 0)
        return -1;
    for (int i = 0; i < r->model->n_params; i++) {
        struct param *p = r->model->params[i];
        if (strstr(p->name, "lora_A"))
            formula_fill(p->value, p->name, (uint64_t)p->numel);
    }
    return 0;
}

static void compare_log(const struct golden *g, const struct run *r)
{
    double loss = 0, norm = 0, rate = 0;
    for (int i = 0; i < r->n_steps; i++) {
        loss = fmax(loss, fabs(r->steps[i].loss / numbers(g, "loss")[i] - 1));
        norm = fmax(norm, fabs(r->steps[i].grad_norm / numbers(g, "grad_norm")[i] - 1));
        rate = fmax(rate, fabs(r->steps[i].lr - numbers(g, "lr")[i]));
    }
    is_int(r->n_steps, (long long)setting(g, "steps"), "steps are logged");
    ok(loss < (has_base(g) ? 1e-5 : 1e-4), "%s: losses (off by %.2g)", g->name, loss);
    ok(norm < 1e-3, "%s: gradient norms (off by %.2g)", g->name, norm);
    ok(rate < 1e-9, "%s: learning rates (off by %.2g)", g->name, rate);
}

static void compare_final(const struct golden *g, const struct run *r)
{
    double worst = 0;
    int found = 0;
    for (int i = 0; i < r->model->n_params; i++) {
        const struct param *p = r->model->params[i];
        char *name = mem_printf("final.%s", p->name);
        const struct st_tensor *t = st_find(g->file, name);
        free(name);
        if (!t)
            continue;
        const float *want = t->data;
        double diff = 0, top = 1e-30;
        for (int64_t k = 0; k < p->numel; k++) {
            diff = fmax(diff, fabs((double)p->value[k] - want[k]));
            top = fmax(top, fabs((double)want[k]));
        }
        worst = fmax(worst, diff / top);
        found++;
    }
    is_int(found, r->model->n_params, "every trained tensor is in the golden");
    ok(worst < 1e-3, "%s: final tensors (off by %.2g)", g->name, worst);
}

static void check(const char *name)
{
    struct err e = ERR_INIT;
    struct golden g = {.name = name};
    char *path = mem_printf("tests/golden/training/%s.safetensors", name);
    bool real = strstr(name, "-alpaca") != NULL, lora = strstr(name, "lora") != NULL;
    g.file = st_open(path, &e);
    if (!g.file)
        tiny_die(&e);
    g.settings = json_loads(st_meta(g.file, "settings"), 0, NULL);
    g.dir = has_base(&g) ? write_base(&g) : tiny_model_write(st_meta(g.file, "config"), NULL);
    struct run r;
    struct token_writer *w = run_tokens_begin(&r, 256);
    bool there = real ? add_alpaca(w) : (add_own(w, &g), true);
    run_tokens_end(&r, w);
    if (!there) {
        skip("no Alpaca data");
    } else {
        r.o.lr = setting(&g, "lr"), r.o.warmup = setting(&g, "warmup"), r.o.steps = (int64_t)setting(&g, "steps");
        r.o.batch = (int64_t)setting(&g, "batch"), r.o.weight_decay = setting(&g, "weight_decay"), r.o.clip = setting(&g, "clip");
        r.o.order = "file";
        const struct lora_options lo = {(int)setting(&g, "rank"), setting(&g, "alpha"), 0, false, "all-linear",
                                        lora ? json_string_value(json_object_get(g.settings, "bias")) : "none", NULL};
        run_train(&r, g.dir, lora ? &lo : NULL, lora ? start_lora : NULL);
        compare_log(&g, &r);
        if (!real)
            compare_final(&g, &r);
        run_close(&r);
    }
    run_tokens_close(&r);
    json_decref(g.settings);
    st_close(g.file);
    free(g.dir);
    free(path);
}

int main(void)
{
    check("lora");
    check("lora-bias");
    check("full");
    check("lora-alpaca");
    check("full-alpaca");
    check("qlora");
    return tap_end();
}
