/* Chat templates: the Jinja subset that published templates use, rendered byte for byte as jinja2 does in transformers'
 * environment (ImmutableSandboxedEnvironment, trim_blocks, lstrip_blocks, generation tag, loop controls).
 *
 * Every string carries its origin through the evaluation, byte by byte, so the output knows for each byte whether it
 * came from the template or from which message: that gives the loss mask for any template, and tells text that must not
 * become a control token.
 *
 *     struct jinja *t = jinja_parse(source, len, "chat_template", &err);
 *     struct jinja_output out = {0};
 *     jinja_render(t, variables, &out, &err);      variables: a JSON object (messages, tools, add_generation_prompt, bos_token ...)
 */
#ifndef TEXT_JINJA_H
#define TEXT_JINJA_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"

struct jinja;

/* Origin of a byte of output: 0 the template (and variables other than messages/tools), 1 + i: a string inside variables.messages[i].
 * JINJA_ORIGIN_DATA: another data variable (tools, documents), and a message's own "role" and "name", which label a turn rather than
 * fill it. A role that is a word (a-z and _) counts as the template's own: it may be part of a control token ('<|' + message.role + '|>').
 * Strings derived by filters and methods (trim, upper, replace, split, tojson of a value ...) keep the origin of the text they come
 * from, byte by byte where bytes survive. */
#define JINJA_ORIGIN_TEMPLATE 0
#define JINJA_ORIGIN_DATA UINT32_MAX

/* turn: 1 + i when the bytes, wherever they came from, were put out while a loop over the messages stood at messages[i] (the turn's header,
 * its content and its end), 0 when outside of such a loop. */
struct jinja_span { size_t start, end; uint32_t origin, turn; };

struct jinja_output {
    struct buf text;
    struct jinja_span *spans;   /* ascending, adjacent, covering the text; neighbours differ in origin or turn */
    size_t n_spans, cap_spans;
    struct jinja_span *generation; /* byte ranges put out by {% generation %} blocks; origin and turn unused */
    size_t n_generation, cap_generation;
};

struct jinja *jinja_parse(const char *source, size_t len, const char *name, struct err *e) MUST_CHECK; /* errors: "name: line N: ..." */
void jinja_free(struct jinja *t);
const char *jinja_source(const struct jinja *t, size_t *len); /* borrowed, with a NUL behind */
bool jinja_has_generation(const struct jinja *t); /* the template contains a {% generation %} block */

/* `variables` is borrowed, never changed. raise_exception(msg) is an error whose text is msg. `now`: seconds since the epoch for strftime_now
 * (rendered as naive local time); < 0: the clock. Numbers keep Python's meaning: JSON integers of any size that fit 64 bits, reals as double. */
int jinja_render(const struct jinja *t, const json_t *variables, int64_t now, struct jinja_output *out, struct err *e) MUST_CHECK;
void jinja_output_clear(struct jinja_output *o);
void jinja_output_release(struct jinja_output *o);

#endif
