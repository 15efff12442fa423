/* One chat sample rendered with a template: the text, which parts bear loss, which parts are user data.
 *
 *     struct chat_template *t = chat_template_open(NULL or "chatml" or "x.jinja", "model/", &err);
 *     chat_render(t, messages, &options, &rendered, &err);
 * fmt-chat and gen both render through this and nothing else. */
#ifndef TEXT_CHAT_H
#define TEXT_CHAT_H

#include <jansson.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/sha256.h"

struct chat_template;

enum chat_train { CHAT_TRAIN_ASSISTANT, CHAT_TRAIN_LAST, CHAT_TRAIN_ALL };

struct chat_span {
    size_t start, end;   /* bytes of text; spans are adjacent and cover it */
    bool train;          /* bears loss */
    bool data;           /* came from the conversation: never parsed for control tokens */
};

struct chat_rendered {
    struct buf text;
    struct chat_span *spans;
    size_t n_spans, cap_spans;
    size_t answer;       /* where the answer begins, when options->answer told its message: what is before it is the prompt */
    size_t stop;         /* bytes at the end that the template does not put out: the end of an answer that it leaves without one */
};

struct chat_options {
    enum chat_train train;
    bool generation_prompt;  /* end with the assistant's opening, nothing trained */
    size_t answer;           /* messages before the answer: only what is behind them bears loss; 0: a conversation like any other */
    const char *system;      /* put before conversations that have no system message; NULL: none */
    bool complete;           /* an error when the template leaves out tools, tool calls or a message (system messages and reasoning may go) */
    int64_t now;             /* for strftime_now; -1: the clock */
};

/* name: a built-in template, or a path ending in .jinja, or NULL: the template of the model folder `dir` (chat_template.jinja, or
 * chat_template of tokenizer_config.json; of a named list "default", "tool_use" when a sample has tools). Special tokens come from
 * `dir`'s tokenizer_config.json when given, else from the built-in's own table. */
struct chat_template *chat_template_open(const char *name, const char *dir, struct err *e) MUST_CHECK;
void chat_template_close(struct chat_template *t);
const char *chat_template_name(const struct chat_template *t);
const char *chat_template_hash(const struct chat_template *t);   /* SHA-256 hex of the source(s) and the special tokens */
/* Strings that end an assistant turn in this template ("<|im_end|>", "</s>"): extra stop tokens for generation. NULL-terminated. */
const char *const *chat_template_turn_ends(const struct chat_template *t);
const char *const *chat_template_names(void);                    /* built-in ones, NULL-terminated */

/* sample: {"messages": [...], "tools": [...] or absent}. Errors say what is wrong with the sample (nothing to train, template raised). */
int chat_render(const struct chat_template *t, const json_t *sample, const struct chat_options *o, struct chat_rendered *r, struct err *e) MUST_CHECK;
void chat_rendered_release(struct chat_rendered *r);

#endif
