#include "text/chat_messages.h"

#include <stdbool.h>
#include <string.h>

#include "base/buf.h"

static bool is_one_of(const char *s, const char *const *list)
{
    for (; *list; list++)
        if (!strcmp(s, *list))
            return true;
    return false;
}

/* The role that templates know. `call`: the message is a tool call. NULL: unknown. */
static const char *role_of(const char *name, bool *call)
{
    static const char *const user[] = {"user", "human", NULL}, *const assistant[] = {"assistant", "gpt", "model", "bot", "chatgpt", NULL};
    static const char *const tool[] = {"tool", "observation", "function", "function_response", "tool_response", NULL};
    static const char *const calls[] = {"function_call", "tool_call", NULL};
    *call = is_one_of(name, calls);
    if (*call || is_one_of(name, assistant))
        return "assistant";
    return is_one_of(name, user) ? "user" : is_one_of(name, tool) ? "tool" : !strcmp(name, "system") || !strcmp(name, "developer") ? name : NULL;
}

json_t *chat_message_new(const char *role, const json_t *content)
{
    return json_pack("{s:s, s:O}", "role", role, "content", content);
}

/* A new reference to `v`, or to what the JSON in it says when it is a string that holds an object or a list. */
static json_t *unpack(const json_t *v)
{
    json_t *inner = json_is_string(v) ? json_loadb(json_string_value(v), json_string_length(v), JSON_REJECT_DUPLICATES, NULL) : NULL;
    return inner ? inner : json_incref((json_t *)v);
}

/* ---- tool calls ---- */

/* {"name", "arguments"} or {"id", "type", "function": {...}}: appended in the second form. */
static int add_call(json_t *calls, const json_t *in, struct err *e)
{
    const json_t *function = json_object_get(in, "function");
    if (!json_is_object(function))
        function = in;
    const json_t *name = json_object_get(function, "name"), *given = json_object_get(function, "arguments");
    if (!json_is_string(name))
        return err_set(e, "a tool call has no \"name\"");
    json_t *arguments = given ? unpack(given) : json_object();
    json_t *copy = json_copy((json_t *)function), *call = function == in ? json_object() : json_copy((json_t *)in);
    json_object_set_new(copy, "arguments", arguments);
    json_t *type = json_object_get(call, "type");
    if (!json_is_string(type))
        json_object_set_new(call, "type", json_string("function"));
    json_object_set_new(call, "function", copy);
    json_array_append_new(calls, call);
    return 0;
}

/* One call, a list of calls, or a string that holds either as JSON. */
static int add_calls(json_t *calls, const json_t *in, struct err *e)
{
    json_t *v = unpack(in);
    int r = 0;
    size_t i;
    const json_t *item;
    if (json_is_object(v)) {
        r = add_call(calls, v, e);
    } else if (json_is_array(v)) {
        json_array_foreach(v, i, item)
            if (r == 0)
                r = json_is_object(item) ? add_call(calls, item, e) : err_set(e, "a tool call is not an object");
    } else {
        r = err_set(e, "a tool call is not JSON with \"name\" and \"arguments\"");
    }
    json_decref(v);
    return r;
}

/* ---- contents ---- */

struct content {
    struct buf text, reasoning;
    bool has_text, has_reasoning;
    json_t *calls;
};

static int add_part(struct content *c, const json_t *part, struct err *e)
{
    const char *type = json_string_value(json_object_get(part, "type"));
    const json_t *value = json_object_get(part, type && json_object_get(part, type) ? type : "value");
    if (!type)
        return err_set(e, "a part of the content has no \"type\"");
    if (!strcmp(type, "tool_call"))
        return value ? add_calls(c->calls, value, e) : err_set(e, "a tool call has no value");
    bool reasoning = !strcmp(type, "reasoning") || !strcmp(type, "thinking");
    if (!reasoning && strcmp(type, "text") != 0)
        return err_set(e, "content of type \"%.40s\", only text can be trained on", type);
    if (!json_is_string(value))
        return err_set(e, "a part of the content has no text");
    buf_add(reasoning ? &c->reasoning : &c->text, json_string_value(value), json_string_length(value));
    *(reasoning ? &c->has_reasoning : &c->has_text) = true;
    return 0;
}

static int read_content(struct content *c, const json_t *in, struct err *e)
{
    size_t i;
    const json_t *part;
    if (!in || json_is_null(in))
        return 0;
    if (json_is_string(in)) {
        buf_add(&c->text, json_string_value(in), json_string_length(in));
        c->has_text = true;
        return 0;
    }
    if (!json_is_array(in))
        return err_set(e, "content is neither a string nor a list of parts");
    json_array_foreach(in, i, part)
        if (add_part(c, part, e) < 0)
            return -1;
    return 0;
}

/* The calls of the message's own keys: tool_calls, and function_call as it was once called. */
static int read_calls(struct content *c, const json_t *message, struct err *e)
{
    static const char *const keys[] = {"tool_calls", "function_call"};
    for (int i = 0; i < 2; i++) {
        const json_t *calls = json_object_get(message, keys[i]);
        if (calls && !json_is_null(calls) && add_calls(c->calls, calls, e) < 0)
            return -1;
    }
    return 0;
}

/* Everything that is in `in` and needs no change, then what was read. */
static json_t *build(const json_t *in, const char *role, const struct content *c)
{
    static const char *const done[] = {"role", "content", "from", "value", "tool_calls", "function_call", NULL};
    json_t *out = json_object();
    bool has_calls = json_array_size(c->calls) > 0;
    json_object_set_new(out, "role", json_string(role));
    json_object_set_new(out, "content", json_stringn(buf_str(&c->text), c->text.len));
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)in, key, value)
        if (!is_one_of(key, done))
            json_object_set(out, key, value);
    if (c->has_reasoning)
        json_object_set_new(out, "reasoning_content", json_stringn(buf_str(&c->reasoning), c->reasoning.len));
    if (has_calls)
        json_object_set(out, "tool_calls", c->calls);
    return out;
}

static int add_message(json_t *out, const json_t *in, struct err *e)
{
    const char *name = json_string_value(json_object_get(in, json_object_get(in, "role") ? "role" : "from"));
    const json_t *content = json_object_get(in, json_object_get(in, "content") ? "content" : "value");
    bool call = false;
    if (!name)
        return err_set(e, "has no \"role\" or \"from\"");
    const char *role = role_of(name, &call);
    if (!role)
        return err_set(e, "role \"%.40s\", expected system, user, assistant or tool", name);
    struct content c = {.calls = json_array()};
    int r = call ? content ? add_calls(c.calls, content, e) : err_set(e, "a tool call has no value") : read_content(&c, content, e);
    if (r == 0)
        r = read_calls(&c, in, e);
    if (r == 0 && !c.has_text && json_array_size(c.calls) == 0)
        r = err_set(e, "has no content");
    if (r == 0 && json_array_size(c.calls) && strcmp(role, "assistant") != 0)
        r = err_set(e, "a tool call in a message of role \"%s\"", role);
    if (r == 0)
        json_array_append_new(out, build(in, role, &c));
    json_decref(c.calls);
    buf_release(&c.text);
    buf_release(&c.reasoning);
    return r;
}

int chat_messages_add(json_t *out, const json_t *in, const char *key, struct err *e)
{
    size_t i;
    const json_t *message;
    if (!json_is_array(in) || json_array_size(in) == 0)
        return err_set(e, "\"%s\" is not a list of messages", key);
    json_array_foreach(in, i, message)
        if ((json_is_object(message) ? add_message(out, message, e) : err_set(e, "is not an object")) < 0)
            return err_prefix(e, "message %zu", i + 1);
    return 0;
}

int chat_messages_tools(json_t *sample, const json_t *tools, struct err *e)
{
    if (!tools || json_is_null(tools) || (json_is_string(tools) && !strcmp(json_string_value(tools), "")))
        return 0;
    json_t *in = unpack(tools), *out = json_array();
    size_t i;
    const json_t *tool;
    int r = json_is_array(in) ? 0 : err_set(e, "\"tools\" is not a list, nor a string that holds one as JSON");
    if (r == 0)
        json_array_foreach(in, i, tool) {
            if (!json_is_object(tool) || !(json_is_object(json_object_get(tool, "function")) || json_is_string(json_object_get(tool, "name")))) {
                r = err_set(e, "tool %zu is not a function with a \"name\"", i + 1);
                break;
            }
            bool bare = !json_is_object(json_object_get(tool, "function"));
            json_array_append_new(out, bare ? json_pack("{s:s, s:O}", "type", "function", "function", tool) : json_incref((json_t *)tool));
        }
    if (r == 0 && json_array_size(out))
        json_object_set(sample, "tools", out);
    json_decref(in);
    json_decref(out);
    return r;
}
