/* Samples with a label: is this answer a good one? */
#include "text/chat_data_impl.h"

int chat_label_read(const json_t *record, struct chat_data *d, struct err *e)
{
    static const char *const labels[] = {"label", "kto_tag"}, *const ratings[] = {"rating", "score"};
    const json_t *label = json_object_get(record, labels[0]), *tag = json_object_get(record, labels[1]);
    d->kind = CHAT_LABELLED;
    if (json_is_boolean(label) && json_is_boolean(tag) && json_is_true(label) != json_is_true(tag))
        return err_set(e, "\"label\" and \"kto_tag\" say the opposite");
    for (int i = 0; i < 2; i++) {
        const json_t *v = json_object_get(record, labels[i]);
        if (!v || json_is_null(v))
            continue;
        d->label = json_is_true(v);
        return json_is_boolean(v) ? 0 : err_set(e, "\"%s\" is neither true nor false", labels[i]);
    }
    for (int i = 0; i < 2; i++) {
        const json_t *v = json_object_get(record, ratings[i]);
        if (!v || json_is_null(v))
            continue;
        d->rated = true;
        d->rating = json_number_value(v);
        return json_is_number(v) ? 0 : err_set(e, "\"%s\" is not a number", ratings[i]);
    }
    return err_set(e, "has no \"label\" (true or false), nor a \"rating\"");
}

int chat_label_answer(struct chat_data *d, struct err *e)
{
    if (!d->sample) {
        if (!d->prompt)
            return err_set(e, "is text without a prompt, which no label can judge");
        return chat_is_blank(d->text) ? err_set(e, "the answer is empty") : 0;
    }
    const json_t *messages = json_object_get(d->sample, "messages");
    size_t n = json_array_size(messages);
    const json_t *last = json_array_get(messages, n - 1);
    if (!chat_is_assistant(last))
        return err_set(e, "the conversation does not end with a message of the assistant, which the label would judge");
    if (n < 2)
        return err_set(e, "has no prompt: the assistant's message is the only one");
    d->answer = n - 1;
    return chat_is_empty_answer(last) ? err_set(e, "the answer is empty") : 0;
}
