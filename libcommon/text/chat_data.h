/* The shapes of chat data that people have, turned into one: {"messages": [...], "tools": [...]} as chat templates expect it,
 * or raw text that no template touches.
 *
 *     struct chat_data d;
 *     if (chat_data_convert(record, CHAT_DATA_AUTO, false, &d, &err) == 0) { ... d.sample or d.prompt, d.text ...; chat_data_release(&d); }
 *
 * alpaca             instruction, input, output, system, history [[user, assistant], ...]
 * sharegpt           conversations [{from, value}], system, tools
 * messages           messages [{role, content, tool_calls, ...}], tools
 * prompt-completion  prompt, completion: two strings, or two lists of messages
 * text               text
 * pairs              chosen, rejected: strings, messages or lists of messages, behind a prompt (conversations, messages, prompt, instruction
 *                    and input, question; system, history, tools), or lists that begin with the same messages; or strings, which are raw text
 *                    when the prompt is a string or what both begin with
 * kto                a sample of another format with label or kto_tag (true or false), or rating or score
 *
 * A user message of alpaca keeps its parts as "instruction" and "input" beside "content", for templates that place them apart. Lists of text
 * parts become strings, reasoning parts "reasoning_content", tool calls that stand in text become "tool_calls"; arguments given as JSON
 * in a string become objects, and bare functions get their {"type": "function", ...}, as the templates expect. The record is borrowed and never
 * changed; errors say what is wrong with it, without its place. Safe in many threads. */
#ifndef TEXT_CHAT_DATA_H
#define TEXT_CHAT_DATA_H

#include <jansson.h>
#include <stdbool.h>

#include "base/err.h"
#include "text/chat_stream.h"

enum chat_data_format { CHAT_DATA_AUTO, CHAT_DATA_ALPACA, CHAT_DATA_SHAREGPT, CHAT_DATA_MESSAGES, CHAT_DATA_PROMPT_COMPLETION, CHAT_DATA_TEXT, CHAT_DATA_PAIRS,
                        CHAT_DATA_KTO };

#define CHAT_DATA_FORMATS "auto|alpaca|sharegpt|messages|prompt-completion|pairs|kto|text"

struct chat_data {
    enum chat_stream_kind kind; /* samples, pairs or labelled */
    json_t *sample;        /* {"messages": ..., "tools": ...}: owned; NULL for raw text. Pairs: with the chosen answer */
    json_t *rejected;      /* pairs: the same with the rejected answer, or raw text, a string: owned */
    size_t answer;         /* pairs, labelled: messages before the answer */
    bool label;            /* labelled: desirable */
    bool rated;            /* labelled: there is a rating instead */
    double rating;
    bool train_last;       /* only the last message bears loss (prompt-completion made of messages) */
    json_t *prompt, *text; /* raw text: strings, owned; prompt is not trained and may be NULL; text may be NULL when only a prompt was asked for */
};

enum chat_data_format chat_data_format(const char *name); /* one of CHAT_DATA_FORMATS */
/* prompt: the answer (output, completion, chosen and rejected) may be missing; a pair's answers are left out. */
int chat_data_convert(const json_t *record, enum chat_data_format format, bool prompt, struct chat_data *d, struct err *e) MUST_CHECK;
void chat_data_release(struct chat_data *d);

#endif
