/* Preference pairs: one prompt, a chosen and a rejected answer. */
#include <string.h>

#include "text/chat_data_impl.h"
#include "text/chat_messages.h"

static const char *const names[] = {"chosen", "rejected"};

bool chat_is_assistant(const json_t *message)
{
    const char *role = json_string_value(json_object_get(message, "role"));
    return role && !strcmp(role, "assistant");
}

bool chat_is_blank(const json_t *string)
{
    const char *s = json_string_value(string);
    return !s || !s[strspn(s, " \t\r\n")];
}

bool chat_is_empty_answer(const json_t *message)
{
    return chat_is_blank(json_object_get(message, "content")) && chat_is_blank(json_object_get(message, "reasoning_content")) &&
           !json_array_size(json_object_get(message, "tool_calls"));
}

/* ---- raw text ---- */

/* How much of both answers is their prompt when none is given: up to the first character that differs, or that only one of them has; a
 * space before it stays with the answers. TRL cuts so. */
static size_t shared_start(const char *a, const char *b)
{
    size_t n = 0;
    while (a[n] && a[n] == b[n])
        n++;
    bool whole = !a[n] || !b[n]; /* one is the beginning of the other: it keeps its last character */
    n -= n && whole;
    while (n && ((unsigned char)a[n] & 0xC0) == 0x80)
        n--;
    return n && !whole && a[n - 1] == ' ' ? n - 1 : n;
}

static bool is_raw(const json_t *record)
{
    static const char *const conversation[] = {"conversations", "messages", "instruction", "input", "question", "system", "history", "tools"};
    const json_t *prompt = json_object_get(record, "prompt");
    for (size_t i = 0; i < sizeof conversation / sizeof *conversation; i++)
        if (chat_data_has(record, conversation[i]))
            return false;
    for (int i = 0; i < 2; i++)
        if (chat_data_has(record, names[i]) && !json_is_string(json_object_get(record, names[i])))
            return false;
    return !prompt || json_is_null(prompt) || json_is_string(prompt);
}

static int convert_raw(const json_t *record, bool want_prompt, struct chat_data *d, struct err *e)
{
    const json_t *prompt = json_object_get(record, "prompt"), *text[2];
    for (int i = 0; i < 2; i++) {
        text[i] = json_object_get(record, names[i]);
        if (chat_is_blank(text[i]) && !(want_prompt && json_is_string(prompt)))
            return err_set(e, json_is_string(text[i]) ? "\"%s\" is empty" : "has no \"%s\"", names[i]);
    }
    size_t n = json_is_string(prompt) ? 0 : shared_start(json_string_value(text[0]), json_string_value(text[1]));
    if (!json_is_string(prompt) && !n)
        return err_set(e, "has no \"prompt\", and \"chosen\" and \"rejected\" begin with nothing that both have");
    d->prompt = n ? json_stringn(json_string_value(text[0]), n) : json_incref((json_t *)prompt);
    if (want_prompt)
        return 0;
    if (json_equal(text[0], text[1]))
        return err_set(e, "\"chosen\" and \"rejected\" are the same");
    d->text = json_stringn(json_string_value(text[0]) + n, json_string_length(text[0]) - n);
    d->rejected = json_stringn(json_string_value(text[1]) + n, json_string_length(text[1]) - n);
    return 0;
}

/* ---- conversations ---- */

/* The prompt by the record's own keys. Without any `messages` stays empty, but for the key "system". */
static int add_prompt(const json_t *record, json_t *messages, struct err *e)
{
    static const char *const lists[] = {"conversations", "messages", "prompt"}, *const strings[] = {"prompt", "question"};
    if (chat_data_has(record, "instruction") || chat_data_has(record, "input"))
        return chat_data_alpaca_prompt(record, messages, e);
    if (chat_data_system(messages, record, e) < 0)
        return -1;
    for (int i = 0; i < 3; i++) {
        const json_t *list = json_object_get(record, lists[i]);
        if (json_is_array(list))
            return chat_messages_add(messages, list, lists[i], e) < 0 ? -1 : chat_data_one_system(messages, e);
    }
    if (chat_data_history(messages, json_object_get(record, "history"), e) < 0)
        return -1;
    for (int i = 0; i < 2; i++) {
        const json_t *text;
        int k = chat_data_text(record, strings[i], &text, e);
        if (k == 1)
            json_array_append_new(messages, chat_message_new("user", text));
        if (k)
            return k < 0 ? -1 : 0;
    }
    return 0;
}

/* One answer as a list of messages: a string, one message, or a list, which may begin with the prompt. */
static int read_answer(const json_t *record, const char *name, json_t *to, struct err *e)
{
    const json_t *v = json_object_get(record, name);
    if (json_is_string(v)) {
        json_array_append_new(to, chat_message_new("assistant", v));
        return 0;
    }
    if (!v || json_is_null(v))
        return err_set(e, "has no \"%s\"", name);
    json_t *list = json_is_object(v) ? json_pack("[O]", v) : json_incref((json_t *)v);
    int r = chat_messages_add(to, list, name, e);
    json_decref(list);
    return r < 0 && (json_is_object(v) || json_array_size(v)) ? err_prefix(e, "\"%s\"", name) : r;
}

/* Moves what both answers begin with to the prompt; each keeps one message at least. */
static int take_shared(json_t *messages, json_t *answers[2], struct err *e)
{
    size_t n[2] = {json_array_size(answers[0]), json_array_size(answers[1])}, least = n[0] < n[1] ? n[0] : n[1], k = 0;
    while (k + 1 < least && json_equal(json_array_get(answers[0], k), json_array_get(answers[1], k)))
        k++;
    for (int i = 0; i < 2; i++)
        if (!chat_is_assistant(json_array_get(answers[i], k)))
            return err_set(e, "the prompts of \"chosen\" and \"rejected\" differ in message %zu", k + 1);
    for (size_t i = 0; i < k; i++) {
        json_array_append(messages, json_array_get(answers[0], 0));
        json_array_remove(answers[0], 0);
        json_array_remove(answers[1], 0);
    }
    return chat_data_one_system(messages, e);
}

static int check_answers(json_t *answers[2], struct err *e)
{
    for (int i = 0; i < 2; i++) {
        size_t k;
        const json_t *m;
        if (!chat_is_assistant(json_array_get(answers[i], 0)))
            return err_set(e, "\"%s\" does not begin with a message of the assistant", names[i]);
        json_array_foreach(answers[i], k, m)
            if (chat_is_assistant(m) && chat_is_empty_answer(m))
                return err_set(e, "\"%s\" is empty", names[i]);
    }
    return json_equal(answers[0], answers[1]) ? err_set(e, "\"chosen\" and \"rejected\" are the same") : 0;
}

/* Lists that begin with something else than an answer hold the prompt, whatever other keys say: many sets have it twice. */
static bool hold_prompt(json_t *answers[2])
{
    return json_array_size(answers[0]) && json_array_size(answers[1]) && !chat_is_assistant(json_array_get(answers[0], 0)) &&
           !chat_is_assistant(json_array_get(answers[1], 0));
}

/* {"messages", "tools"}: the prompt with an answer behind it. */
static json_t *sample_of(const json_t *messages, const json_t *answer, const json_t *record, struct err *e)
{
    json_t *all = json_copy((json_t *)messages), *sample = json_pack("{s:o}", "messages", all);
    if (answer)
        json_array_extend(all, (json_t *)answer);
    if (chat_messages_tools(sample, json_object_get(record, "tools"), e) == 0)
        return sample;
    json_decref(sample);
    return NULL;
}

static int convert(const json_t *record, bool want_prompt, json_t *messages, json_t *answers[2], struct chat_data *d, struct err *e)
{
    bool have[2];
    for (int i = 0; i < 2; i++) {
        have[i] = chat_data_has(record, names[i]);
        if ((have[i] || !want_prompt) && read_answer(record, names[i], answers[i], e) < 0)
            return -1;
    }
    int r = hold_prompt(answers) ? chat_data_system(messages, record, e) : add_prompt(record, messages, e);
    size_t n = json_array_size(messages);
    bool only_system = n == 0 || (n == 1 && !strcmp(json_string_value(json_object_get(json_array_get(messages, 0), "role")), "system"));
    if (r == 0 && only_system && have[0] && have[1])
        r = take_shared(messages, answers, e);
    if (r < 0)
        return -1;
    if (!(d->answer = json_array_size(messages)) || (only_system && d->answer == n))
        return err_set(e, "has no prompt (conversations, messages, prompt, instruction, or messages that both answers begin with)");
    if (chat_is_assistant(json_array_get(messages, d->answer - 1)))
        return err_set(e, "the prompt ends with a message of the assistant");
    if (!want_prompt && check_answers(answers, e) < 0)
        return -1;
    d->sample = sample_of(messages, want_prompt ? NULL : answers[0], record, e);
    d->rejected = d->sample && !want_prompt ? sample_of(messages, answers[1], record, e) : NULL;
    return d->sample && (want_prompt || d->rejected) ? 0 : -1;
}

int chat_pair_convert(const json_t *record, bool prompt, struct chat_data *d, struct err *e)
{
    d->kind = CHAT_PAIRS;
    if (is_raw(record))
        return convert_raw(record, prompt, d, e);
    json_t *messages = json_array(), *answers[2] = {json_array(), json_array()};
    int r = convert(record, prompt, messages, answers, d, e);
    json_decref(messages);
    json_decref(answers[0]);
    json_decref(answers[1]);
    return r;
}
