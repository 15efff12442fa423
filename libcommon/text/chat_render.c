/* One sample through a template: messages as transformers prepares them, the variables, the run. */
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "text/chat_internal.h"

/* ---- messages ---- */

/* Reasoning under every name that templates read: "thinking" in front, "reasoning_content" in its own place or at the end. */
static json_t *prepare_message(const json_t *m)
{
    static const char *const names[] = {"reasoning_content", "thinking", "reasoning"};
    json_t *out = json_object(), *reasoning = NULL, *v;
    const char *key;
    for (int i = 0; i < 3 && !reasoning; i++) {
        v = json_object_get(m, names[i]);
        reasoning = json_is_null(v) ? NULL : v;
    }
    if (reasoning) {
        v = json_object_get(m, "thinking");
        json_object_set(out, "thinking", v && !json_is_null(v) ? v : reasoning);
    }
    json_object_foreach((json_t *)m, key, v) {
        if (reasoning && !strcmp(key, "reasoning_content"))
            json_object_set(out, key, reasoning);
        else if (!json_is_null(v) && !(reasoning && !strcmp(key, "thinking")))
            json_object_set(out, key, v);
    }
    if (reasoning)
        json_object_set(out, "reasoning_content", reasoning);
    return out;
}

static bool has_role(const json_t *messages, const char *role)
{
    size_t i;
    json_t *m;
    json_array_foreach(messages, i, m) {
        const char *r = json_string_value(json_object_get(m, "role"));
        if (r && !strcmp(r, role))
            return true;
    }
    return false;
}

json_t *chat_prepare_messages(const json_t *messages, const char *system, struct err *e)
{
    json_t *out, *m;
    size_t i;
    if (!json_is_array(messages) || !json_array_size(messages)) {
        err_set(e, "the conversation has no messages");
        return NULL;
    }
    out = json_array();
    if (system && !has_role(messages, "system"))
        json_array_append_new(out, json_pack("{s:s, s:s}", "role", "system", "content", system));
    json_array_foreach(messages, i, m) {
        if (!json_is_object(m)) {
            err_set(e, "message %zu is not an object", i + 1);
            json_decref(out);
            return NULL;
        }
        json_array_append_new(out, prepare_message(m));
    }
    return out;
}

/* ---- running a template ---- */

const struct chat_source *chat_source_for(const struct chat_template *t, const json_t *sample)
{
    const json_t *tools = json_object_get(sample, "tools");
    const struct chat_source *best = &t->sources[0];
    for (size_t i = 0; i < t->n_sources; i++)
        if (!strcmp(t->sources[i].name, "default"))
            best = &t->sources[i];
    for (size_t i = 0; tools && !json_is_null(tools) && i < t->n_sources; i++)
        if (!strcmp(t->sources[i].name, "tool_use"))
            return &t->sources[i];
    return best;
}

static void set_or_null(json_t *variables, const char *key, const json_t *sample)
{
    json_t *v = json_object_get(sample, key);
    if (v)
        json_object_set(variables, key, v);
    else
        json_object_set_new(variables, key, json_null());
}

int chat_run(const struct chat_template *t, const struct chat_source *s, const json_t *sample, json_t *messages, bool prompt, int64_t now,
             struct jinja_output *out, struct err *e)
{
    json_t *variables = json_copy(t->tokens);
    json_t *more = json_object_get(sample, "chat_template_kwargs");
    json_object_set(variables, "messages", messages);
    set_or_null(variables, "tools", sample);
    set_or_null(variables, "documents", sample);
    json_object_set_new(variables, "add_generation_prompt", json_boolean(prompt));
    if (json_is_object(more))
        json_object_update(variables, more);
    int r = jinja_render(s->jinja, variables, now, out, e);
    json_decref(variables);
    return r;
}

/* ---- what a template does around an assistant's turn, seen on small conversations ---- */

static json_t *probe_messages(bool assistant)
{
    json_t *m = json_pack("[{s:s, s:s}]", "role", "user", "content", "user");
    if (assistant)
        json_array_append_new(m, json_pack("{s:s, s:s}", "role", "assistant", "content", "answer"));
    return m;
}

static bool probe_run(const struct chat_template *t, const struct chat_source *s, bool assistant, bool prompt, struct jinja_output *out)
{
    struct err ignored = ERR_INIT; /* a template may refuse these conversations */
    json_t *messages = probe_messages(assistant);
    int r = chat_run(t, s, NULL, messages, prompt, 0, out, &ignored);
    json_decref(messages);
    return r == 0;
}

static char *probe_prompt(const struct chat_template *t, const struct chat_source *s)
{
    struct jinja_output with = {0}, without = {0};
    char *prompt = NULL;
    if (probe_run(t, s, false, true, &with) && probe_run(t, s, false, false, &without) && with.text.len > without.text.len &&
        !memcmp(buf_str(&with.text), buf_str(&without.text), without.text.len))
        prompt = mem_strndup(with.text.data + without.text.len, with.text.len - without.text.len);
    jinja_output_release(&with);
    jinja_output_release(&without);
    return prompt ? prompt : mem_strdup("");
}

/* The text of the assistant's turn before its content. */
static char *probe_header(const struct jinja_output *out)
{
    size_t start = SIZE_MAX;
    for (size_t i = 0; i < out->n_spans; i++) {
        if (out->spans[i].turn == 2 && start == SIZE_MAX)
            start = out->spans[i].start;
        if (out->spans[i].origin == 2)
            return out->spans[i].turn == 2 ? mem_strndup(out->text.data + start, out->spans[i].start - start) : NULL;
    }
    return NULL;
}

static void add_turn_end(struct chat_template *t, const char *s, size_t len)
{
    char *token = mem_strndup(s, len);
    bool known = false;
    for (size_t i = 0; i < t->n_turn_ends; i++)
        known |= !strcmp(t->turn_ends[i], token);
    chat_special_add(t, token);
    for (size_t i = 0; !known && i < t->n_specials; i++)
        if (!strcmp(t->specials[i], token)) {
            t->turn_ends = mem_array(t->turn_ends, t->n_turn_ends + 2, sizeof *t->turn_ends);
            t->turn_ends[t->n_turn_ends++] = t->specials[i];
            t->turn_ends[t->n_turn_ends] = NULL;
        }
    free(token);
}

/* The control token that the answer's own turn ends with; else the first one behind it, which the next turn would put out. */
static void probe_turn_end(struct chat_template *t, const struct chat_source *s, const struct jinja_output *out)
{
    const char *text = buf_str(&out->text);
    size_t start, end, n, behind = SIZE_MAX;
    if (!chat_turn_range(t, s, out, 1, &start, &end))
        return;
    for (size_t i = start; i < end; i++)
        if (chat_special_at(t, text + i, out->text.len - i) == end - i) {
            add_turn_end(t, text + i, end - i);
            return;
        }
    for (size_t i = 0; i < out->n_spans; i++)
        if (out->spans[i].origin == 2)
            behind = out->spans[i].end;
    for (; behind < out->text.len; behind++)
        if ((n = chat_special_at(t, text + behind, out->text.len - behind))) {
            add_turn_end(t, text + behind, n);
            return;
        }
}

void chat_probe(struct chat_template *t, struct chat_source *s)
{
    struct jinja_output out = {0};
    s->prompt = probe_prompt(t, s);
    if (probe_run(t, s, true, false, &out)) {
        s->header = probe_header(&out);
        probe_turn_end(t, s, &out);
    }
    jinja_output_release(&out);
    const char *eos = json_string_value(json_object_get(t->tokens, "eos_token"));
    if (eos && *eos)
        add_turn_end(t, eos, strlen(eos));
    if (!t->turn_ends)
        t->turn_ends = mem_zalloc(1, sizeof *t->turn_ends);
}

/* ---- rendering ---- */

int chat_render(const struct chat_template *t, const json_t *sample, const struct chat_options *o, struct chat_rendered *r, struct err *e)
{
    struct jinja_output out = {0};
    const struct chat_source *s = chat_source_for(t, sample);
    json_t *messages = chat_prepare_messages(json_object_get(sample, "messages"), o->system, e);
    if (!messages)
        return -1;
    int result = chat_run(t, s, sample, messages, o->generation_prompt, o->now, &out, e);
    if (result == 0)
        result = chat_mask(t, s, messages, o, &out, r, e);
    if (result == 0 && o->complete)
        result = chat_check_left_out(t, s, sample, messages, o, &out, e);
    json_decref(messages);
    jinja_output_release(&out);
    return result;
}

void chat_rendered_release(struct chat_rendered *r)
{
    buf_release(&r->text);
    free(r->spans);
    *r = (struct chat_rendered){0};
}
