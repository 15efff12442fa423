#include "text/chat_history.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

struct chat_history {
    json_t *messages;
    size_t n_system; /* 0 or 1: messages at the front that a reset keeps */
};

struct chat_history *chat_history_new(void)
{
    struct chat_history *h = mem_zalloc(1, sizeof *h);
    h->messages = json_array();
    return h;
}

void chat_history_free(struct chat_history *h)
{
    if (!h)
        return;
    json_decref(h->messages);
    free(h);
}

static void add(struct chat_history *h, const char *role, const char *text, size_t len)
{
    json_array_append_new(h->messages, json_pack("{s:s, s:s%}", "role", role, "content", text, len));
}

json_t *chat_history_ask(struct chat_history *h, const char *question)
{
    add(h, "user", question, strlen(question));
    return json_pack("{s:O}", "messages", h->messages);
}

void chat_history_answer(struct chat_history *h, const char *text, size_t len)
{
    add(h, "assistant", text, len);
}

void chat_history_take_back(struct chat_history *h)
{
    json_array_remove(h->messages, json_array_size(h->messages) - 1);
}

void chat_history_reset(struct chat_history *h)
{
    while (json_array_size(h->messages) > h->n_system)
        json_array_remove(h->messages, json_array_size(h->messages) - 1);
}

void chat_history_system(struct chat_history *h, const char *text)
{
    json_array_clear(h->messages);
    h->n_system = text != NULL;
    if (text)
        add(h, "system", text, strlen(text));
}
