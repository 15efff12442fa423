/* Messages and tools of the field's several dialects, brought to the form that chat templates read. Part of chat_data. */
#ifndef TEXT_CHAT_MESSAGES_H
#define TEXT_CHAT_MESSAGES_H

#include <jansson.h>

#include "base/err.h"

/* Appends the list `in` ([{role, content, ...}] or [{from, value}]) to `out`. */
int chat_messages_add(json_t *out, const json_t *in, const char *key, struct err *e) MUST_CHECK;

/* A list of tools, or a string that holds one as JSON: put into `sample` as "tools" unless empty. NULL and null are no tools. */
int chat_messages_tools(json_t *sample, const json_t *tools, struct err *e) MUST_CHECK;

json_t *chat_message_new(const char *role, const json_t *content); /* {"role", "content"} */

#endif
