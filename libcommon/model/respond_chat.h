/* A chat, line by line: what gen does at a terminal with each line that its user types.
 *
 *     struct respond_chat *c = respond_chat_new(responder, &sink);
 *     while (read a line) switch (respond_chat_line(c, line, len, &err)) ...
 *     respond_chat_free(c);
 *
 * A line is a command (/reset, /system TEXT, /quit or /exit) or a question, which is answered with all that was said before. What is
 * cut short by the sink stays in the conversation as far as it got. Answer number i is drawn from stream i. */
#ifndef MODEL_RESPOND_CHAT_H
#define MODEL_RESPOND_CHAT_H

#include "model/respond.h"

enum respond_chat_result {
    RESPOND_CHAT_DONE,
    RESPOND_CHAT_REFUSED, /* err says why; the conversation is as it was, and goes on */
    RESPOND_CHAT_QUIT,
    RESPOND_CHAT_FAILED,  /* err says why; there is no going on */
};

struct respond_chat_sink {
    struct respond_sink answer;                      /* its text may return -1: the answer ends there */
    void (*begin)(void *arg, int64_t prompt_tokens); /* around every answer; arg is answer.arg */
    void (*finish)(void *arg);
};

struct respond_chat;
struct respond_chat *respond_chat_new(struct responder *r, const struct respond_chat_sink *sink); /* r borrowed, sink copied */
enum respond_chat_result respond_chat_line(struct respond_chat *c, const char *line, size_t len, struct err *e) MUST_CHECK;
void respond_chat_free(struct respond_chat *c);

#endif
