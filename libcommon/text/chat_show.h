/* A sample of a chat stream for people to read: a line that says what it is, and its text with the trained parts between marks. */
#ifndef TEXT_CHAT_SHOW_H
#define TEXT_CHAT_SHOW_H

#include "text/chat_stream.h"

/* Appends to `b`. on, off: "[[" and "]]", or what turns a colour on and off. */
void chat_sample_show(struct buf *b, const struct chat_sample *s, enum chat_stream_kind kind, const char *on, const char *off);

#endif
