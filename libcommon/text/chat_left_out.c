/* What a template leaves out of a conversation without a word: tool calls, tools, whole messages. A template that never looks at
 * tool calls would have the model learn to answer with nothing.
 *
 * Most of the time the origins of the output tell at once that a thing is there. Where they do not, the template is run again with that
 * thing changed: when the output stays the same to the byte, nothing of it got there. */
#include <string.h>

#include "text/chat_internal.h"

struct look {
    const struct chat_template *t;
    const struct chat_source *s;
    const json_t *sample;
    json_t *messages;
    bool prompt;
    int64_t now;
    const struct jinja_output *out;
};

static bool same_output(const struct look *l, const json_t *sample, json_t *messages)
{
    struct jinja_output other = {0};
    struct err ignored = ERR_INIT; /* a template that refuses the change has looked at it */
    bool same = chat_run(l->t, l->s, sample, messages, l->prompt, l->now, &other, &ignored) == 0 && other.text.len == l->out->text.len &&
                !memcmp(buf_str(&other.text), buf_str(&l->out->text), other.text.len);
    jinja_output_release(&other);
    return same;
}

/* Does text that came from `origin` have `what` in it? */
static bool origin_shows(const struct jinja_output *out, uint32_t origin, const char *what)
{
    size_t n = strlen(what);
    for (size_t i = 0, last; i < out->n_spans; i = last + 1) {
        for (last = i; last + 1 < out->n_spans && out->spans[i].origin == origin && out->spans[last + 1].origin == origin;)
            last++;
        if (out->spans[i].origin == origin && memmem(out->text.data + out->spans[i].start, out->spans[last].end - out->spans[i].start, what, n))
            return true;
    }
    return false;
}

static void change_string(json_t *object, const char *key)
{
    const json_t *v = json_object_get(object, key);
    struct buf b = BUF_INIT;
    if (!json_is_string(v))
        return;
    buf_add(&b, json_string_value(v), json_string_length(v));
    buf_add_str(&b, "Q");
    json_object_set_new(object, key, json_stringn(buf_str(&b), b.len));
    buf_release(&b);
}

static void rename_functions(json_t *list)
{
    size_t i;
    json_t *item;
    json_array_foreach(list, i, item)
        change_string(json_object_get(item, "function"), "name");
}

static const char *first_name(const json_t *list)
{
    return json_string_value(json_object_get(json_object_get(json_array_get(list, 0), "function"), "name"));
}

static bool shows_calls(const struct look *l, size_t index)
{
    const json_t *m = json_array_get(l->messages, index), *calls = json_object_get(m, "tool_calls");
    const char *name = first_name(calls), *content = json_string_value(json_object_get(m, "content"));
    const char *reasoning = json_string_value(json_object_get(m, "reasoning_content"));
    if (!name || !*name)
        return true;
    if (!(content && strstr(content, name)) && !(reasoning && strstr(reasoning, name)) && origin_shows(l->out, (uint32_t)index + 1, name))
        return true;
    json_t *changed = json_deep_copy(l->messages);
    rename_functions(json_object_get(json_array_get(changed, index), "tool_calls"));
    bool same = same_output(l, l->sample, changed);
    json_decref(changed);
    return !same;
}

static bool shows_tools(const struct look *l)
{
    const char *name = first_name(json_object_get(l->sample, "tools"));
    bool labels = false; /* a message's own name has the origin of the tools */
    size_t i;
    json_t *m;
    json_array_foreach(l->messages, i, m)
        labels |= json_object_get(m, "name") != NULL;
    if (!name || !*name || (!labels && origin_shows(l->out, JINJA_ORIGIN_DATA, name)))
        return true;
    json_t *changed = json_deep_copy(l->sample);
    rename_functions(json_object_get(changed, "tools"));
    bool same = same_output(l, changed, l->messages);
    json_decref(changed);
    return !same;
}

/* More than blanks, and more than reasoning in tags, which many templates take out on purpose. */
static bool has_substance(const char *content)
{
    const char *at = content;
    for (const char *end; (end = strstr(at, "</think>"));)
        at = end + strlen("</think>");
    return at[strspn(at, " \t\r\n")] != 0;
}

static bool shows_content(const struct look *l, size_t index)
{
    const json_t *m = json_array_get(l->messages, index);
    const char *role = json_string_value(json_object_get(m, "role")), *content = json_string_value(json_object_get(m, "content"));
    if (!role || !content || !strcmp(role, "system") || !strcmp(role, "developer") || !has_substance(content))
        return true;
    for (size_t i = 0; i < l->out->n_spans; i++)
        if (l->out->spans[i].origin == (uint32_t)index + 1)
            return true;
    json_t *changed = json_deep_copy(l->messages);
    change_string(json_array_get(changed, index), "content");
    bool same = same_output(l, l->sample, changed);
    json_decref(changed);
    return !same;
}

int chat_check_left_out(const struct chat_template *t, const struct chat_source *s, const json_t *sample, json_t *messages, const struct chat_options *o,
                        const struct jinja_output *out, struct err *e)
{
    const struct look l = {t, s, sample, messages, o->generation_prompt, o->now, out};
    size_t n = json_array_size(messages), added = n - json_array_size(json_object_get(sample, "messages")); /* --system stands in front */
    if (json_array_size(json_object_get(sample, "tools")) && !shows_tools(&l))
        return err_set(e, "the template leaves out the tools");
    for (size_t i = added; i < n; i++) {
        const json_t *m = json_array_get(messages, i);
        const char *role = json_string_value(json_object_get(m, "role"));
        if (json_array_size(json_object_get(m, "tool_calls")) && !shows_calls(&l, i))
            return err_set(e, "the template leaves out the tool calls of message %zu", i - added + 1);
        if (!shows_content(&l, i))
            return err_set(e, "the template leaves out message %zu (%s)", i - added + 1, role ? role : "no role");
    }
    return 0;
}
