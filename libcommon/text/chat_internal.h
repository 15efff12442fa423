/* Inside of chat rendering: chat_template.c opens, chat_render.c prepares a sample and runs the template, chat_mask.c decides
 * which bytes bear loss, chat_left_out.c what must not be missing, chat_builtin.c holds the templates that come with the programs. */
#ifndef TEXT_CHAT_INTERNAL_H
#define TEXT_CHAT_INTERNAL_H

#include "text/chat.h"
#include "text/jinja.h"

struct chat_source {
    char *name; /* "default", "tool_use", ... */
    struct jinja *jinja;
    char *prompt; /* what add_generation_prompt adds to a conversation that ends with a user; "" when it adds nothing */
    char *header; /* what stands before an assistant's content in its own turn; NULL: not known */
    bool role_ends; /* an assistant's turn has no end of its own: the token that begins the next message's turn ends it (GLM-4) */
};

struct chat_template {
    char *name;
    struct chat_source *sources;
    size_t n_sources;
    json_t *tokens;          /* bos_token, eos_token ...: strings */
    char **specials;         /* control tokens that may end a turn */
    size_t n_specials, cap_specials;
    const char **turn_ends;  /* NULL-terminated; point into specials */
    size_t n_turn_ends;
    char hash[SHA256_HEX];
};

struct chat_builtin {
    const char *name;
    const char *source;
    const char *bos, *eos;   /* NULL: none */
    const char *turn_end;
};
const struct chat_builtin *chat_builtin_find(const char *name); /* NULL: no such template */

void chat_special_add(struct chat_template *t, const char *token);
/* Length of the control token at s, 0 when there is none: one of the template's, or anything written <|...|>. */
size_t chat_special_at(const struct chat_template *t, const char *s, size_t len);

/* messages as transformers gives them to templates (nulls dropped, reasoning under all its names), the system text in front. New reference. */
json_t *chat_prepare_messages(const json_t *messages, const char *system, struct err *e) MUST_CHECK;
int chat_run(const struct chat_template *t, const struct chat_source *s, const json_t *sample, json_t *messages, bool prompt, int64_t now,
             struct jinja_output *out, struct err *e) MUST_CHECK;
void chat_probe(struct chat_template *t, struct chat_source *s); /* fills prompt, header, role_ends, and adds to turn_ends */
bool chat_is_bos(const struct chat_template *t, const char *s, size_t n); /* the bos_token, and not also the eos_token */
const struct chat_source *chat_source_for(const struct chat_template *t, const json_t *sample);

/* An error when nothing of the tools, of a message's tool calls or of a message reaches the output (system messages and reasoning aside). */
int chat_check_left_out(const struct chat_template *t, const struct chat_source *s, const json_t *sample, json_t *messages, const struct chat_options *o,
                        const struct jinja_output *out, struct err *e) MUST_CHECK;

/* The bytes of message `index` (an assistant's) that bear loss: its turn from after the header to the end-of-turn token. false: none. */
bool chat_turn_range(const struct chat_template *t, const struct chat_source *s, const struct jinja_output *out, size_t index, size_t *start, size_t *end);
int chat_mask(const struct chat_template *t, const struct chat_source *s, const json_t *messages, const struct chat_options *o, const struct jinja_output *out,
              struct chat_rendered *r, struct err *e) MUST_CHECK;

#endif
