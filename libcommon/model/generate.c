#include "model/generate.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/mem.h"

#define WAIT_SHARE 4 /* one of so many slots must be free before prompts run */

/* One place in the cache and the sequence that runs there. */
struct slot {
    bool busy;
    size_t request;
    int32_t *ids;          /* prompt and new tokens; all but the last are in the cache */
    int64_t n, n_prompt;
};

struct generator {
    struct model *model;
    struct generate_options o;
    struct kv_cache *cache;
    struct sampler *sampler;
    struct slot *slots;
    float *logits;         /* (parallel, V) */
    struct generate_times times;
};

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

/* kv_forward, its time put down to the prompt or to decoding. */
static int forward(struct generator *g, const struct kv_input *in, int n, bool prompt, struct err *e)
{
    double start = now();
    int result = kv_forward(g->cache, in, n, g->logits, e);
    *(prompt ? &g->times.prompt_seconds : &g->times.decode_seconds) += now() - start;
    for (int i = 0; i < n; i++)
        *(prompt ? &g->times.prompt_tokens : &g->times.new_tokens) += in[i].n_ids;
    return result;
}

struct generator *generator_new(struct model *m, const struct generate_options *o, struct err *e)
{
    struct kv_cache *cache = kv_cache_new(m, o->parallel, o->max_positions, e);
    if (!cache)
        return NULL;
    struct generator *g = mem_zalloc(1, sizeof *g);
    g->model = m;
    g->o = *o;
    g->cache = cache;
    g->sampler = sampler_new(&o->sampler, m->config.vocab);
    g->slots = mem_zalloc((size_t)o->parallel, sizeof *g->slots);
    for (int i = 0; i < o->parallel; i++)
        g->slots[i].ids = mem_zalloc((size_t)o->max_positions + 1, sizeof *g->slots[i].ids);
    g->logits = mem_zalloc((size_t)o->parallel * (size_t)m->config.vocab, sizeof *g->logits);
    return g;
}

void generator_free(struct generator *g)
{
    if (!g)
        return;
    for (int i = 0; i < g->o.parallel; i++)
        free(g->slots[i].ids);
    free(g->slots);
    free(g->logits);
    sampler_free(g->sampler);
    kv_cache_free(g->cache);
    free(g);
}

static bool is_stop(const struct generator *g, int32_t id)
{
    for (int i = 0; i < g->o.n_stop; i++)
        if (g->o.stop[i] == id)
            return true;
    return false;
}

/* Weights are not read for it before: only now is it worth the time. Adapters are, when they are opened. */
static int not_finite(const struct generator *g, int64_t tokens, struct err *e)
{
    struct err why = ERR_INIT;
    if (model_check_finite(g->model, NULL, &why) == 0)
        err_set(&why, "the weights are, and too large");
    return err_set(e, "the logits after %lld tokens are not finite: %s", (long long)tokens, why.text);
}

/* Picks the next token of slot s from its logits and hands it out. The slot is free afterwards when the sequence has ended. */
static int advance(struct generator *g, int s, float *logits, const struct generate_request *r, const struct generate_sink *sink, struct err *e)
{
    struct slot *slot = &g->slots[s];
    int64_t made = slot->n - slot->n_prompt;
    int32_t id = sampler_pick(g->sampler, logits, slot->ids, slot->n, r->stream, (uint64_t)made);
    enum generate_end why = GENERATE_STOP;
    if (id < 0)
        return not_finite(g, slot->n, e);
    bool ended = is_stop(g, id);
    if (!ended) {
        slot->ids[slot->n++] = id;
        made++;
        int answer = sink->token(sink->arg, slot->request, id);
        if (answer < 0)
            return -1;
        if (answer > 0)
            ended = true, why = GENERATE_CUT;
        else if (made >= r->max_tokens || slot->n >= g->o.max_positions)
            ended = true, why = GENERATE_LENGTH;
    }
    if (!ended)
        return 0;
    slot->busy = false;
    return sink->end(sink->arg, slot->request, why, made) < 0 ? -1 : 0;
}

/* Puts a request into slot s, but for the part of its prompt that the cache already holds from the sequence before. The last token is
 * always run. */
static int place(struct generator *g, int s, size_t index, const struct generate_request *r, bool reuse, struct kv_input *in, struct err *e)
{
    struct slot *slot = &g->slots[s];
    int64_t same = 0, cached = kv_cache_length(g->cache, s);
    if (r->n_prompt < 1 || r->n_prompt >= g->o.max_positions)
        return err_set(e, "a prompt of %lld tokens leaves no room in a context of %lld", (long long)r->n_prompt, (long long)g->o.max_positions);
    while (reuse && same < cached && same < r->n_prompt - 1 && slot->ids[same] == r->prompt[same])
        same++;
    kv_cache_truncate(g->cache, s, same);
    memcpy(slot->ids, r->prompt, (size_t)r->n_prompt * sizeof *slot->ids);
    slot->n = slot->n_prompt = r->n_prompt;
    slot->request = index;
    slot->busy = true;
    *in = (struct kv_input){s, slot->ids + same, slot->n - same};
    return 0;
}

/* A pass over the n inputs, and the next token of each. */
static int pass(struct generator *g, const struct kv_input *in, int n, bool prompt, const struct generate_request *requests,
                const struct generate_sink *sink, struct err *e)
{
    if (n && forward(g, in, n, prompt, e) < 0)
        return -1;
    for (int i = 0; i < n; i++)
        if (advance(g, in[i].slot, g->logits + (int64_t)i * g->model->config.vocab, &requests[g->slots[in[i].slot].request], sink, e) < 0)
            return -1;
    return 0;
}

/* The next requests, one for each free slot. */
static int prefill(struct generator *g, const struct generate_request *requests, size_t n_requests, size_t *next, const struct generate_sink *sink,
                   struct err *e)
{
    struct kv_input in[MATMUL_FEW_ROWS];
    int n = 0;
    for (int s = 0; s < g->o.parallel && *next < n_requests; s++)
        if (!g->slots[s].busy) {
            if (place(g, s, *next, &requests[*next], n_requests == 1, &in[n], e) < 0)
                return -1;
            n++;
            ++*next;
        }
    return pass(g, in, n, true, requests, sink, e);
}

/* One new token for every busy slot. */
static int decode(struct generator *g, const struct generate_request *requests, const struct generate_sink *sink, struct err *e)
{
    struct kv_input in[MATMUL_FEW_ROWS];
    int n = 0;
    for (int s = 0; s < g->o.parallel; s++)
        if (g->slots[s].busy)
            in[n++] = (struct kv_input){s, g->slots[s].ids + g->slots[s].n - 1, 1};
    return pass(g, in, n, false, requests, sink, e);
}

static int busy_slots(const struct generator *g)
{
    int n = 0;
    for (int s = 0; s < g->o.parallel; s++)
        n += g->slots[s].busy;
    return n;
}

/* Prompts run at less cost together, and passes of fewer sequences at less each: some wait for others. */
int generator_run(struct generator *g, const struct generate_request *requests, size_t n, const struct generate_sink *sink, struct err *e)
{
    size_t next = 0;
    int busy;
    while ((busy = busy_slots(g)) || next < n) {
        bool room = (g->o.parallel - busy) * WAIT_SHARE >= g->o.parallel;
        if ((room && next < n ? prefill(g, requests, n, &next, sink, e) : decode(g, requests, sink, e)) < 0)
            goto stopped;
    }
    return 0;
stopped: /* leaves nothing running; without an error it was the sink's wish */
    for (int s = 0; s < g->o.parallel; s++) {
        g->slots[s].busy = false;
        kv_cache_reset(g->cache, s);
    }
    return e->set ? -1 : 0;
}

const struct generate_times *generator_times(const struct generator *g)
{
    return &g->times;
}
