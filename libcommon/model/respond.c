#include "model/respond.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "format/adapter.h"
#include "text/chat.h"
#include "text/detokenize.h"
#include "text/utf8.h"

enum { STOP_MAX = MODEL_EOS_MAX + 16 };

struct responder {
    struct model *model;
    struct tokenizer *tokenizer;
    struct chat_template *template;
    struct respond_options o;
    int32_t stop[STOP_MAX];
    int n_stop;
    struct generator *generator;
    int64_t positions;           /* that the generator's cache has room for, in each of */
    int slots;                   /* so many sequences */
    struct generate_times before; /* of generators that were too small */
};

/* One running request: tokens become text. */
struct answer {
    struct detokenizer *detokenizer;
    const struct token_list *prompt;
    int64_t n_tokens;
};

struct run {
    struct responder *r;
    struct answer *answers;
    const struct respond_sink *sink;
    struct err *e;
};

/* The ends of assistant turns, where the tokenizer has them as single special tokens. */
static void add_turn_ends(struct responder *r)
{
    const char *const *ends = chat_template_turn_ends(r->template);
    for (int i = 0; ends[i] && r->n_stop < STOP_MAX; i++) {
        int64_t id = tokenizer_id(r->tokenizer, ends[i], strlen(ends[i]));
        bool known = id < 0 || !tokenizer_is_special(r->tokenizer, (uint32_t)id);
        for (int k = 0; k < r->n_stop && !known; k++)
            known = r->stop[k] == id;
        if (!known)
            r->stop[r->n_stop++] = (int32_t)id;
    }
}

/* Another template than the training data's spoils the answers without a word; one that the user names is the user's choice. */
static int check_adapters(const struct responder *r, const char *dir, struct err *e)
{
    for (int i = 0; i < r->o.n_adapters && r->template && !r->o.template_name; i++) {
        struct adapter *a = adapter_open(r->o.adapters[i], e);
        const char *hash = chat_template_hash(r->template);
        if (a && a->template_hash && strcmp(a->template_hash, hash))
            err_set(e, "%s: was trained with another chat template (%.16s...) than that of %s (%.16s...); name it with --template", a->dir,
                    a->template_hash, dir, hash);
        adapter_close(a);
        if (e->set)
            return -1;
    }
    return 0;
}

struct responder *responder_new(struct model *m, const char *dir, const struct generation_config *g, const struct respond_options *o, struct err *e)
{
    struct responder *r = mem_zalloc(1, sizeof *r);
    r->model = m;
    r->o = *o;
    memcpy(r->stop, g->stop, (size_t)g->n_stop * sizeof *r->stop);
    r->n_stop = g->n_stop;
    r->tokenizer = tokenizer_open(dir, e);
    if (r->tokenizer && !o->raw) {
        r->template = chat_template_open(o->template_name, dir, e);
        if (r->template)
            add_turn_ends(r);
    }
    if (!r->tokenizer || (!o->raw && !r->template) || check_adapters(r, dir, e) < 0) {
        responder_free(r);
        return NULL;
    }
    return r;
}

void responder_free(struct responder *r)
{
    if (!r)
        return;
    generator_free(r->generator);
    chat_template_close(r->template);
    tokenizer_close(r->tokenizer);
    free(r);
}

struct generate_times responder_times(const struct responder *r)
{
    struct generate_times t = r->before;
    const struct generate_times *g = r->generator ? generator_times(r->generator) : &(struct generate_times){0};
    t.prompt_tokens += g->prompt_tokens;
    t.new_tokens += g->new_tokens;
    t.prompt_seconds += g->prompt_seconds;
    t.decode_seconds += g->decode_seconds;
    return t;
}

static int check_ids(const struct responder *r, const struct token_list *ids, struct err *e)
{
    for (size_t i = 0; i < ids->n; i++)
        if (ids->ids[i] >= r->model->config.vocab)
            return err_set(e, "token %u is outside the model's vocabulary of %lld: the tokenizer is another model's", ids->ids[i],
                           (long long)r->model->config.vocab);
    if ((int64_t)ids->n >= model_config_context(&r->model->config))
        return err_set(e, "the prompt's %zu tokens leave no room in the model's context of %lld", ids->n, (long long)model_config_context(&r->model->config));
    return ids->n ? 0 : err_set(e, "the prompt is empty");
}

int responder_raw(struct responder *r, const char *text, size_t len, struct token_list *ids, struct err *e)
{
    if (utf8_valid(text, len) < len)
        return err_set(e, "byte %zu of the prompt is not valid UTF-8", utf8_valid(text, len));
    if (tokenizer_encode(r->tokenizer, text, len, NULL, 0, true, ids, e) < 0)
        return -1;
    return check_ids(r, ids, e);
}

int responder_encode(struct responder *r, const char *text, size_t len, const struct text_range *plain, size_t n_plain, struct token_list *ids,
                     struct err *e)
{
    if (tokenizer_encode(r->tokenizer, text, len, plain, n_plain, false, ids, e) < 0)
        return -1;
    return check_ids(r, ids, e);
}

int responder_prompt(struct responder *r, const json_t *sample, struct token_list *ids, struct err *e)
{
    struct chat_options options = {.generation_prompt = true, .system = r->o.system, .now = -1};
    struct chat_rendered rendered = {0};
    struct text_range *plain = NULL;
    size_t n_plain = 0, cap = 0;
    int result = -1;
    if (chat_render(r->template, sample, &options, &rendered, e) < 0)
        goto out;
    for (size_t i = 0; i < rendered.n_spans; i++) {
        const struct chat_span *s = &rendered.spans[i];
        if (!s->data)
            continue;
        plain = mem_grow(plain, &cap, n_plain + 1, sizeof *plain);
        plain[n_plain++] = (struct text_range){s->start, s->end};
    }
    result = responder_encode(r, buf_str(&rendered.text), rendered.text.len, plain, n_plain, ids, e);
out:
    free(plain);
    chat_rendered_release(&rendered);
    return result;
}

static int got_token(void *arg, size_t request, int32_t id)
{
    struct run *run = arg;
    struct answer *a = &run->answers[request];
    struct buf text = BUF_INIT;
    if (!a->detokenizer) {
        a->detokenizer = detokenizer_new(run->r->tokenizer, run->r->o.stops, run->r->o.n_stops);
        if (detokenizer_start(a->detokenizer, a->prompt->ids, a->prompt->n, run->e) < 0)
            return -1;
    }
    int result = detokenizer_add(a->detokenizer, (uint32_t)id, &text, run->e);
    if (result >= 0 && text.len && run->sink->text(run->sink->arg, request, text.data, text.len) < 0)
        result = -1;
    buf_release(&text);
    return result;
}

static int got_end(void *arg, size_t request, enum generate_end why, int64_t n_tokens)
{
    struct run *run = arg;
    struct answer *a = &run->answers[request];
    struct buf text = BUF_INIT;
    int result = 0;
    if (a->detokenizer && why != GENERATE_CUT)
        result = detokenizer_end(a->detokenizer, &text, run->e) < 0 ? -1 : 0;
    if (result == 0 && text.len)
        result = run->sink->text(run->sink->arg, request, text.data, text.len);
    detokenizer_free(a->detokenizer);
    a->detokenizer = NULL;
    buf_release(&text);
    return result < 0 ? -1 : run->sink->end(run->sink->arg, request, why, n_tokens);
}

/* A cache for the longest of these prompts; one that has room already is kept, with what it holds. */
static int make_room(struct responder *r, const struct token_list *prompts, size_t n, struct err *e)
{
    int64_t need = 0, limit = model_config_context(&r->model->config);
    for (size_t i = 0; i < n; i++)
        if ((int64_t)prompts[i].n + r->o.max_tokens > need)
            need = (int64_t)prompts[i].n + r->o.max_tokens;
    need = need < limit ? need : limit;
    int slots = n < (size_t)r->o.parallel ? (int)n : r->o.parallel;
    if (r->generator && need <= r->positions && slots <= r->slots)
        return 0;
    r->before = responder_times(r);
    generator_free(r->generator);
    r->positions = n == 1 && need < limit / 2 ? 2 * need : need; /* a chat grows */
    r->slots = slots;
    struct generate_options o = {r->o.sampler, slots, r->positions, r->stop, r->n_stop};
    r->generator = generator_new(r->model, &o, e);
    return r->generator ? 0 : -1;
}

int responder_run(struct responder *r, const struct token_list *prompts, size_t n, uint64_t first_stream, const struct respond_sink *sink, struct err *e)
{
    if (make_room(r, prompts, n, e) < 0)
        return -1;
    struct generate_request *requests = mem_zalloc(n, sizeof *requests);
    struct answer *answers = mem_zalloc(n, sizeof *answers);
    struct run run = {r, answers, sink, e};
    for (size_t i = 0; i < n; i++) {
        requests[i] = (struct generate_request){(const int32_t *)prompts[i].ids, (int64_t)prompts[i].n, r->o.max_tokens, first_stream + i};
        answers[i].prompt = &prompts[i];
    }
    int result = generator_run(r->generator, requests, n, &(struct generate_sink){&run, got_token, got_end}, e);
    for (size_t i = 0; i < n; i++)
        detokenizer_free(answers[i].detokenizer);
    free(answers);
    free(requests);
    return result;
}
