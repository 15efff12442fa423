#include "model/lora.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/buf.h"
#include "base/mem.h"
#include "base/rng.h"
#include "format/model_folder.h"
#include "model/layer.h"
#include "model/lora_modules.h"
#include "kernels/view.h"
#include "model/param.h"

struct pair {
    struct linear *l;
    struct lora *x;
    const struct adapter_module *from; /* NULL: fresh */
};

struct bias {
    struct linear *l;
    struct param *p;
    float *base;                        /* the model's own, put back by lora_detach */
    const struct st_tensor *from;
};

struct lora_set {
    struct model *m;
    struct adapter_config own, *config; /* config: own, or from->config */
    struct adapter *from;
    struct pair *pairs;
    int n_pairs;
    struct bias *biases;
    int n_biases;
};

/* ---- targets ---- */

static bool is_regex(const char *s)
{
    return strpbrk(s, "\\^$*+?()[]{}|") != NULL;
}

static const char *last_part(const char *module)
{
    const char *dot = strrchr(module, '.');
    return dot ? dot + 1 : module;
}

static int compare_text(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

const char *const *lora_target_names(void)
{
    static const char *names[LAYER_LINEARS + 2] = {"all-linear"};
    for (int i = 0; i < LAYER_LINEARS; i++)
        names[i + 1] = layer_linear_name(i);
    return names;
}

static void add_target(struct adapter_config *c, const char *name, size_t len)
{
    for (int i = 0; i < c->n_targets; i++)
        if (strlen(c->targets[i]) == len && !memcmp(c->targets[i], name, len))
            return;
    c->targets = mem_array(c->targets, (size_t)c->n_targets + 1, sizeof *c->targets);
    c->targets[c->n_targets++] = mem_strndup(name, len);
}

static bool name_matches(const char *target, const char *module)
{
    size_t n = strlen(target), k = strlen(module);
    return n <= k && !strcmp(module + k - n, target) && (n == k || module[k - n - 1] == '.');
}

static int unknown_name(const char *name, struct err *e)
{
    struct buf all = BUF_INIT;
    for (int i = 0; i < LAYER_LINEARS; i++)
        buf_printf(&all, "%s%s", i ? ", " : "", layer_linear_name(i));
    err_set(e, "--targets: no linear module of the model is named '%s'; there are %s", name, buf_str(&all));
    buf_release(&all);
    return -1;
}

/* Every name that was asked for must be a linear module: a misspelt one would otherwise be left out in silence. */
static int check_names(const struct adapter_config *c, struct linear **linears, int n, struct err *e)
{
    for (int i = 0; i < c->n_targets; i++) {
        int j = 0;
        while (j < n && !name_matches(c->targets[i], linears[j]->module))
            j++;
        if (j == n)
            return unknown_name(c->targets[i], e);
    }
    return 0;
}

static int set_targets(struct adapter_config *c, const char *targets, struct linear **linears, int n, struct err *e)
{
    if (!strcasecmp(targets, "all-linear")) {
        for (int i = 0; i < n; i++)
            if (strcmp(linears[i]->module, "lm_head"))
                add_target(c, last_part(linears[i]->module), strlen(last_part(linears[i]->module)));
    } else if (is_regex(targets)) {
        c->target_regex = mem_strdup(targets);
    } else {
        for (const char *p = targets; *p; p += strcspn(p, ","), p += *p == ',')
            if (strcspn(p, ","))
                add_target(c, p, strcspn(p, ","));
        if (!c->n_targets)
            return err_set(e, "--targets: names no module");
    }
    if (c->n_targets)
        qsort(c->targets, (size_t)c->n_targets, sizeof *c->targets, compare_text); /* equal sets, equal files */
    return check_names(c, linears, n, e);
}

/* ---- structure ---- */

static struct lora *add_pair(struct lora_set *s, struct linear *l, int rank, double scale)
{
    struct lora *x = mem_zalloc(1, sizeof *x);
    x->rank = rank;
    x->scale = (float)scale;
    x->dropout = (float)s->config->dropout;
    x->stream = rng_stream(l->module, 0);
    x->pa = param_new(mem_printf("base_model.model.%s.lora_A.weight", l->module), 2, rank, l->in);
    x->pb = param_new(mem_printf("base_model.model.%s.lora_B.weight", l->module), 2, l->out, rank);
    s->pairs = mem_array(s->pairs, (size_t)s->n_pairs + 1, sizeof *s->pairs);
    s->pairs[s->n_pairs++] = (struct pair){l, x, NULL};
    return x;
}

static struct bias *add_bias(struct lora_set *s, struct linear *l, bool targeted)
{
    s->biases = mem_array(s->biases, (size_t)s->n_biases + 1, sizeof *s->biases);
    struct bias *b = &s->biases[s->n_biases++];
    *b = (struct bias){.l = l, .base = l->bias};
    b->p = param_new(mem_printf(targeted ? "base_model.model.%s.base_layer.bias" : "base_model.model.%s.bias", l->module), 1, l->out, 1);
    return b;
}

/* Pairs and biases of every module that the configuration targets. */
static int attach_targets(struct lora_set *s, struct linear **linears, int n, struct err *e)
{
    bool all = !strcmp(s->config->bias, "all"), some = all || !strcmp(s->config->bias, "lora_only");
    for (int i = 0; i < n; i++) {
        int rank;
        double scale;
        int hit = adapter_targets(s->config, linears[i]->module, &rank, &scale, e);
        if (hit < 0)
            return -1;
        if (hit)
            add_pair(s, linears[i], rank, scale);
        if (linears[i]->bias && (all || (hit && some)))
            add_bias(s, linears[i], hit);
    }
    if (!s->n_pairs)
        return err_set(e, "--targets: '%s' matches no linear module of the model; the pattern is held against whole names such as '%s'",
                       s->config->target_regex ? s->config->target_regex : "", linears[0]->module);
    return 0;
}

/* model->params: everything trained, by name. */
static void list_params(struct lora_set *s)
{
    struct model *m = s->m;
    m->params = mem_array(NULL, 2 * (size_t)s->n_pairs + (size_t)s->n_biases, sizeof *m->params);
    m->n_params = 0;
    for (int i = 0; i < s->n_pairs; i++) {
        m->params[m->n_params++] = s->pairs[i].x->pa;
        m->params[m->n_params++] = s->pairs[i].x->pb;
    }
    for (int i = 0; i < s->n_biases; i++)
        m->params[m->n_params++] = s->biases[i].p;
    params_sort(m->params, m->n_params);
    for (int i = 0; i < s->n_pairs; i++)
        lora_append(&s->pairs[i].l->lora, s->pairs[i].x);
    for (int i = 0; i < s->n_biases; i++)
        s->biases[i].l->pbias = s->biases[i].p;
}

/* From now on the quantized modules that got a pair compute on their grids. */
static int attach_grid(struct lora_set *s, struct err *e)
{
    int n = 0;
    for (int i = 0; i < s->n_pairs; i++)
        if (s->pairs[i].l->quantized) {
            s->pairs[i].l->to_grid = true;
            n++;
        }
    return n ? 0 : err_set(e, "--merge-aware: no module that gets a pair is quantized, so there is no grid to train for");
}

struct lora_set *lora_attach(struct model *m, const struct lora_options *o, struct err *e)
{
    struct lora_set *s = mem_zalloc(1, sizeof *s);
    struct adapter_config *c = &s->own;
    int n, r;
    struct linear **linears = lora_list_linears(m, &n);
    s->m = m;
    s->config = c;
    c->r = o->rank;
    c->alpha = o->alpha;
    c->dropout = o->dropout;
    c->rslora = o->rslora;
    snprintf(c->bias, sizeof c->bias, "%s", o->bias);
    c->base_name = o->base ? mem_strdup(o->base) : NULL;
    c->base_fingerprint = m->folder ? mem_strdup(m->folder->fingerprint) : NULL;
    r = set_targets(c, o->targets, linears, n, e);
    if (r == 0)
        r = attach_targets(s, linears, n, e);
    if (r == 0 && o->merge_aware)
        r = attach_grid(s, e);
    free(linears);
    if (r == 0)
        list_params(s);
    else
        lora_detach(s);
    return r == 0 ? s : NULL;
}

static int attach_stored(struct lora_set *s, struct err *e)
{
    const struct adapter *a = s->from;
    for (int i = 0; i < a->n_modules; i++) {
        struct linear *l = lora_find_linear(s->m, a->dir, &a->modules[i], e);
        if (!l)
            return -1;
        add_pair(s, l, a->modules[i].rank, a->modules[i].scale);
        s->pairs[s->n_pairs - 1].from = &a->modules[i];
    }
    for (int i = 0; i < a->n_extras; i++) {
        if (!lora_is_bias(&a->extras[i]))
            return err_set(e, "%s: '%s' is a whole weight, which this tool does not go on training", a->dir, a->extras[i].name);
        struct linear *l = lora_find_bias(s->m, a->dir, &a->extras[i], e);
        if (!l)
            return -1;
        bool targeted = false;
        for (int j = 0; j < s->n_pairs; j++)
            targeted |= s->pairs[j].l == l;
        add_bias(s, l, targeted)->from = a->extras[i].tensor;
    }
    return 0;
}

struct lora_set *lora_attach_adapter(struct model *m, const char *dir, double dropout, bool merge_aware, struct err *e)
{
    struct adapter *a = adapter_open(dir, e);
    if (!a)
        return NULL;
    struct lora_set *s = mem_zalloc(1, sizeof *s);
    s->m = m;
    s->from = a;
    s->config = &a->config;
    s->config->dropout = dropout;
    int r = lora_check_base(m, a, e);
    if (r == 0 && !s->config->base_fingerprint && m->folder)
        s->config->base_fingerprint = mem_strdup(m->folder->fingerprint);
    if (r == 0)
        r = attach_stored(s, e);
    if (r == 0 && a->merge_aware && !merge_aware)
        r = err_set(e, "%s: was trained with --merge-aware of lora-train and only goes on so", a->dir);
    if (r == 0 && merge_aware)
        r = attach_grid(s, e);
    if (r == 0)
        list_params(s);
    else
        lora_detach(s);
    return r == 0 ? s : NULL;
}

/* ---- values ---- */

static void init_a(const struct param *p, float *value, uint64_t seed)
{
    const struct rng r = {seed, rng_stream(p->name, 0)};
    const float bound = (float)(1 / sqrt((double)p->shape[1]));
    for (int64_t i = 0; i < p->numel; i += 4) {
        uint32_t w[4];
        rng_block(&r, (uint64_t)i / 4, w);
        for (int64_t j = 0; j < 4 && i + j < p->numel; j++)
            value[i + j] = ((float)(w[j] >> 8) * 0x1p-23f - 1) * bound;
    }
}

static int load(const struct lora_set *s, float *value, const struct st_tensor *t, struct err *e)
{
    dtype_to_f32(value, t->data, t->type, (size_t)t->numel);
    int64_t bad = floats_find_bad(value, t->numel);
    return bad < 0 ? 0 : err_set(e, "%s: tensor '%s': element %lld is not a finite number", s->from->dir, t->name, (long long)bad);
}

/* From a stored tensor, or else from `base`, a vector of the model, or else a fresh A. */
static int start(const struct lora_set *s, const struct param *p, const struct st_tensor *from, const float *base, uint64_t seed, struct err *e)
{
    const struct kernels *k = s->m->k;
    size_t bytes = (size_t)p->numel * sizeof(float);
    float *spare = k->host_memory ? NULL : mem_alloc(bytes), *value = kernels_stage(k, p->value, spare);
    int r = 0;
    if (from)
        r = load(s, value, from, e);
    else if (base)
        k->copy_out(value, base, bytes);
    else
        init_a(p, value, seed);
    kernels_staged(k, p->value, value, bytes);
    free(spare);
    return r;
}

int lora_start(struct lora_set *s, uint64_t seed, struct err *e)
{
    int r = 0;
    for (int i = 0; i < s->n_pairs && r == 0; i++) {
        const struct pair *p = &s->pairs[i];
        p->x->a = p->x->pa->value;
        p->x->b = p->x->pb->value;
        r = start(s, p->x->pa, p->from ? p->from->a : NULL, NULL, seed, e);
        if (r == 0 && p->from)
            r = start(s, p->x->pb, p->from->b, NULL, seed, e);
    }
    for (int i = 0; i < s->n_biases && r == 0; i++) {
        struct bias *b = &s->biases[i];
        r = start(s, b->p, b->from, b->base, seed, e);
        b->l->bias = b->p->value;
    }
    return r;
}

int lora_save(const struct lora_set *s, const char *dir, const char *provenance, struct err *e)
{
    int n = s->m->n_params;
    const struct kernels *k = s->m->k;
    void **copies = mem_zalloc((size_t)n, sizeof *copies);
    struct st_tensor *tensors = mem_zalloc((size_t)n, sizeof *tensors);
    for (int i = 0; i < n; i++) {
        struct param *p = s->m->params[i];
        size_t bytes = (size_t)p->numel * sizeof(float);
        copies[i] = k->host_memory ? NULL : mem_alloc(bytes);
        tensors[i] = (struct st_tensor){.name = p->name, .type = DTYPE_F32, .ndim = p->ndim, .numel = p->numel};
        tensors[i].data = kernels_view(k, p->value, copies[i], bytes);
        memcpy(tensors[i].shape, p->shape, sizeof p->shape);
    }
    int r = adapter_write(dir, s->config, tensors, n, provenance, e);
    for (int i = 0; i < n; i++)
        free(copies[i]);
    free(copies);
    free(tensors);
    return r;
}

int lora_modules(const struct lora_set *s)
{
    return s->n_pairs;
}

const struct adapter_config *lora_config(const struct lora_set *s)
{
    return s->config;
}

static void unlink_pair(struct linear *l, const struct lora *x)
{
    struct lora **at = &l->lora;
    while (*at && *at != x)
        at = &(*at)->next;
    if (*at)
        *at = x->next;
}

void lora_detach(struct lora_set *s)
{
    if (!s)
        return;
    for (int i = 0; i < s->n_pairs; i++) {
        struct lora *x = s->pairs[i].x;
        unlink_pair(s->pairs[i].l, x);
        s->pairs[i].l->to_grid = false;
        param_free(x->pa);
        param_free(x->pb);
        free(x);
    }
    for (int i = 0; i < s->n_biases; i++) {
        s->biases[i].l->bias = s->biases[i].base;
        s->biases[i].l->pbias = NULL;
        param_free(s->biases[i].p);
    }
    free(s->m->params);
    s->m->params = NULL;
    s->m->n_params = 0;
    free(s->pairs);
    free(s->biases);
    adapter_config_release(&s->own);
    adapter_close(s->from);
    free(s);
}
