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

/* ---- rendering ---- */

int chat_render(const struct chat_template *t, const json_t *sample, const struct chat_options *o, struct chat_rendered *r, struct err *e)
{
    struct jinja_output out = {0};
    const struct chat_source *s = chat_source_for(t, sample);
    json_t *messages = chat_prepare_messages(json_object_get(sample, "messages"), o->system, e);
    if (!messages)
        return -1;
    struct chat_options prepared = *o;
    if (o->answer) /* the system text may stand in front now */
        prepared.answer += json_array_size(messages) - json_array_size(json_object_get(sample, "messages"));
    int result = chat_run(t, s, sample, messages, o->generation_prompt, o->now, &out, e);
    if (result == 0)
        result = chat_mask(t, s, messages, &prepared, &out, r, e);
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
