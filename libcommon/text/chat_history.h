/* A conversation as it grows: what gen's chat at a terminal remembers.
 *
 *     struct chat_history *h = chat_history_new();
 *     json_t *sample = chat_history_ask(h, "Who are you?");     {"messages": [...]} up to this question, for chat_render()
 *     chat_history_answer(h, text, len);  or  chat_history_take_back(h);
 *     json_decref(sample);
 *     chat_history_free(h);
 *
 * Texts are copied and must be valid UTF-8. */
#ifndef TEXT_CHAT_HISTORY_H
#define TEXT_CHAT_HISTORY_H

#include <jansson.h>

struct chat_history;

struct chat_history *chat_history_new(void);
void chat_history_free(struct chat_history *h);

json_t *chat_history_ask(struct chat_history *h, const char *question); /* a new reference */
void chat_history_answer(struct chat_history *h, const char *text, size_t len);
void chat_history_take_back(struct chat_history *h);                    /* the question: it could not be answered */
void chat_history_reset(struct chat_history *h);                        /* all but the system message */
void chat_history_system(struct chat_history *h, const char *text);     /* begins anew with it; NULL: without one */

#endif
