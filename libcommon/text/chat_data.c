#include "text/chat_data.h"

#include <string.h>

#include "base/buf.h"
#include "text/chat_data_impl.h"
#include "text/chat_messages.h"

bool chat_data_has(const json_t *record, const char *key)
{
    const json_t *v = json_object_get(record, key);
    return v && !json_is_null(v);
}

int chat_data_text(const json_t *record, const char *key, const json_t **to, struct err *e)
{
    *to = json_object_get(record, key);
    if (!*to || json_is_null(*to))
        return *to = NULL, 0;
    if (!json_is_string(*to))
        return err_set(e, "\"%s\" is not a string", key);
    return json_string_length(*to) > 0;
}

int chat_data_system(json_t *messages, const json_t *record, struct err *e)
{
    const json_t *system;
    int k = chat_data_text(record, "system", &system, e);
    if (k == 1)
        json_array_append_new(messages, chat_message_new("system", system));
    return k < 0 ? -1 : 0;
}

int chat_data_history(json_t *messages, const json_t *history, struct err *e)
{
    size_t i;
    const json_t *pair;
    if (!history || json_is_null(history))
        return 0;
    if (!json_is_array(history))
        return err_set(e, "\"history\" is not a list of pairs of strings");
    json_array_foreach(history, i, pair) {
        const json_t *user = json_array_get(pair, 0), *assistant = json_array_get(pair, 1);
        if (json_array_size(pair) != 2 || !json_is_string(user) || !json_is_string(assistant))
            return err_set(e, "\"history\": turn %zu is not a pair of strings", i + 1);
        json_array_append_new(messages, chat_message_new("user", user));
        json_array_append_new(messages, chat_message_new("assistant", assistant));
    }
    return 0;
}

static json_t *alpaca_user(const json_t *instruction, const json_t *input)
{
    struct buf b = BUF_INIT;
    if (instruction)
        buf_add(&b, json_string_value(instruction), json_string_length(instruction));
    if (b.len && input)
        buf_add_char(&b, '\n');
    if (input)
        buf_add(&b, json_string_value(input), json_string_length(input));
    json_t *empty = json_string("");
    json_t *user = json_pack("{s:s, s:o, s:O, s:O}", "role", "user", "content", json_stringn(buf_str(&b), b.len), "instruction",
                             instruction ? instruction : empty, "input", input ? input : empty);
    json_decref(empty);
    buf_release(&b);
    return user;
}

int chat_data_alpaca_prompt(const json_t *record, json_t *messages, struct err *e)
{
    const json_t *instruction, *input;
    int a = chat_data_text(record, "instruction", &instruction, e), b = chat_data_text(record, "input", &input, e);
    if (a < 0 || b < 0)
        return -1;
    if (a + b == 0)
        return err_set(e, "\"instruction\" and \"input\" are both empty");
    if (chat_data_system(messages, record, e) < 0 || chat_data_history(messages, json_object_get(record, "history"), e) < 0)
        return -1;
    json_array_append_new(messages, alpaca_user(a ? instruction : NULL, b ? input : NULL));
    return 0;
}

static int from_alpaca(const json_t *record, bool prompt, json_t *messages, json_t *sample, struct err *e)
{
    const json_t *output;
    if (chat_data_alpaca_prompt(record, messages, e) < 0)
        return -1;
    int c = chat_data_text(record, "output", &output, e);
    if (c < 0)
        return -1;
    if (c == 0 && !prompt)
        return err_set(e, output ? "\"output\" is empty" : "has no \"output\"");
    if (c == 1)
        json_array_append_new(messages, chat_message_new("assistant", output));
    return chat_messages_tools(sample, json_object_get(record, "tools"), e);
}

int chat_data_one_system(json_t *messages, struct err *e)
{
    const json_t *first = json_array_get(messages, 0), *second = json_array_get(messages, 1);
    const char *a = json_string_value(json_object_get(first, "role")), *b = json_string_value(json_object_get(second, "role"));
    if (!a || !b || strcmp(a, "system") || strcmp(b, "system"))
        return 0;
    if (!json_equal(json_object_get(first, "content"), json_object_get(second, "content")))
        return err_set(e, "has two system messages that differ");
    json_array_remove(messages, 1);
    return 0;
}

static int from_sharegpt(const json_t *record, json_t *messages, json_t *sample, struct err *e)
{
    if (chat_data_system(messages, record, e) < 0 || chat_messages_add(messages, json_object_get(record, "conversations"), "conversations", e) < 0)
        return -1;
    if (chat_data_one_system(messages, e) < 0)
        return -1;
    return chat_messages_tools(sample, json_object_get(record, "tools"), e);
}

static int from_messages(const json_t *record, json_t *messages, json_t *sample, struct err *e)
{
    if (chat_messages_add(messages, json_object_get(record, "messages"), "messages", e) < 0)
        return -1;
    return chat_messages_tools(sample, json_object_get(record, "tools"), e);
}

/* Two strings are raw text; two lists are one conversation of which only the completion bears loss. */
static int from_completion(const json_t *record, bool want_prompt, struct chat_data *d, struct err *e)
{
    const json_t *prompt, *completion;
    completion = json_object_get(record, "completion");
    if (json_is_array(json_object_get(record, "prompt")) && (json_is_array(completion) || (want_prompt && !completion))) {
        json_t *messages = json_array();
        d->sample = json_pack("{s:o}", "messages", messages);
        d->train_last = true;
        if (completion && json_array_size(completion) != 1)
            return err_set(e, "\"completion\" has %zu messages, expected one", json_array_size(completion));
        if (chat_messages_add(messages, json_object_get(record, "prompt"), "prompt", e) < 0 ||
            (completion && chat_messages_add(messages, completion, "completion", e) < 0))
            return -1;
        return chat_messages_tools(d->sample, json_object_get(record, "tools"), e);
    }
    int a = chat_data_text(record, "prompt", &prompt, e), b = chat_data_text(record, "completion", &completion, e);
    if (a < 0 || b < 0)
        return -1;
    if (!prompt || (b == 0 && !want_prompt))
        return err_set(e, !prompt ? "has no \"prompt\"" : completion ? "\"completion\" is empty" : "has no \"completion\"");
    d->prompt = json_incref((json_t *)prompt);
    d->text = b ? json_incref((json_t *)completion) : NULL;
    return 0;
}

static int from_text(const json_t *record, struct chat_data *d, struct err *e)
{
    const json_t *text;
    int k = chat_data_text(record, "text", &text, e);
    if (k <= 0)
        return k < 0 ? -1 : err_set(e, text ? "\"text\" is empty" : "has no \"text\"");
    d->text = json_incref((json_t *)text);
    return 0;
}

static int recognise_sample(const json_t *record, bool prompt, enum chat_data_format *format, struct err *e)
{
    if (chat_data_has(record, "messages"))
        *format = CHAT_DATA_MESSAGES;
    else if (chat_data_has(record, "conversations"))
        *format = CHAT_DATA_SHAREGPT;
    else if (chat_data_has(record, "instruction"))
        *format = CHAT_DATA_ALPACA;
    else if (chat_data_has(record, "prompt") && (prompt || chat_data_has(record, "completion")))
        *format = CHAT_DATA_PROMPT_COMPLETION;
    else if (chat_data_has(record, "text"))
        *format = CHAT_DATA_TEXT;
    else
        return err_set(e, "has none of the keys instruction, conversations, messages, prompt with completion, chosen with rejected, text");
    return 0;
}

/* Ratings are not a reason to take a record for a labelled one: many sets have them beside their samples. */
static int recognise(const json_t *record, bool prompt, enum chat_data_format *format, struct err *e)
{
    if (chat_data_has(record, "chosen") || chat_data_has(record, "rejected"))
        *format = CHAT_DATA_PAIRS;
    else if (json_is_boolean(json_object_get(record, "label")) || json_is_boolean(json_object_get(record, "kto_tag")))
        *format = CHAT_DATA_KTO;
    else
        return recognise_sample(record, prompt, format, e);
    return 0;
}

enum chat_data_format chat_data_format(const char *name)
{
    static const char *const names[] = {"auto", "alpaca", "sharegpt", "messages", "prompt-completion", "text", "pairs", "kto"};
    for (int i = 0; i < 8; i++)
        if (!strcmp(name, names[i]))
            return (enum chat_data_format)i;
    return CHAT_DATA_AUTO;
}

static int from_sample(const json_t *record, enum chat_data_format format, bool prompt, struct chat_data *d, struct err *e)
{
    if (format == CHAT_DATA_PROMPT_COMPLETION)
        return from_completion(record, prompt, d, e);
    if (format == CHAT_DATA_TEXT)
        return from_text(record, d, e);
    json_t *messages = json_array();
    d->sample = json_pack("{s:o}", "messages", messages);
    return format == CHAT_DATA_ALPACA     ? from_alpaca(record, prompt, messages, d->sample, e)
           : format == CHAT_DATA_SHAREGPT ? from_sharegpt(record, messages, d->sample, e)
                                          : from_messages(record, messages, d->sample, e);
}

static int from_kto(const json_t *record, bool prompt, struct chat_data *d, struct err *e)
{
    enum chat_data_format format = CHAT_DATA_AUTO;
    if (chat_label_read(record, d, e) < 0 || recognise_sample(record, prompt, &format, e) < 0 || from_sample(record, format, prompt, d, e) < 0)
        return -1;
    return prompt ? 0 : chat_label_answer(d, e);
}

int chat_data_convert(const json_t *record, enum chat_data_format format, bool prompt, struct chat_data *d, struct err *e)
{
    *d = (struct chat_data){.kind = CHAT_SAMPLES};
    int r = format == CHAT_DATA_AUTO ? recognise(record, prompt, &format, e) : 0;
    if (r == 0)
        r = format == CHAT_DATA_PAIRS ? chat_pair_convert(record, prompt, d, e)
            : format == CHAT_DATA_KTO ? from_kto(record, prompt, d, e)
                                      : from_sample(record, format, prompt, d, e);
    if (r < 0)
        chat_data_release(d);
    return r;
}

void chat_data_release(struct chat_data *d)
{
    json_decref(d->sample);
    json_decref(d->rejected);
    json_decref(d->prompt);
    json_decref(d->text);
    *d = (struct chat_data){0};
}
