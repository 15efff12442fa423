/* What a template does around an assistant's turn, seen on small conversations. */
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "text/chat_internal.h"

static const char question[] = "[{\"role\": \"user\", \"content\": \"user\"}]";
static const char answered[] = "[{\"role\": \"user\", \"content\": \"user\"}, {\"role\": \"assistant\", \"content\": \"answer\"}]";

/* An answer, and after it every kind of message that answers are followed by. */
static const char *const followed[] = {
    "[{\"role\": \"user\", \"content\": \"user\"}, {\"role\": \"assistant\", \"content\": \"answer\"}, {\"role\": \"user\", \"content\": \"more\"}]",
    "[{\"role\": \"user\", \"content\": \"user\"}, {\"role\": \"assistant\", \"content\": \"answer\", \"tool_calls\": [{\"id\": \"call00000\", \"type\": "
    "\"function\", \"function\": {\"name\": \"f\", \"arguments\": {\"x\": \"y\"}}}]}, {\"role\": \"tool\", \"tool_call_id\": \"call00000\", \"name\": \"f\", "
    "\"content\": \"result\"}]",
};

static bool probe_run(const struct chat_template *t, const struct chat_source *s, const char *conversation, bool prompt, struct jinja_output *out)
{
    struct err ignored = ERR_INIT; /* a template may refuse these conversations */
    json_t *messages = json_loads(conversation, 0, NULL);
    int r = chat_run(t, s, NULL, messages, prompt, 0, out, &ignored);
    json_decref(messages);
    return r == 0;
}

static char *probe_prompt(const struct chat_template *t, const struct chat_source *s)
{
    struct jinja_output with = {0}, without = {0};
    char *prompt = NULL;
    if (probe_run(t, s, question, true, &with) && probe_run(t, s, question, false, &without) && with.text.len > without.text.len &&
        !memcmp(buf_str(&with.text), buf_str(&without.text), without.text.len))
        prompt = mem_strndup(with.text.data + without.text.len, with.text.len - without.text.len);
    jinja_output_release(&with);
    jinja_output_release(&without);
    return prompt ? prompt : mem_strdup("");
}

/* The text of the assistant's turn before its content. */
static char *probe_header(const struct jinja_output *out)
{
    size_t start = SIZE_MAX;
    for (size_t i = 0; i < out->n_spans; i++) {
        if (out->spans[i].turn == 2 && start == SIZE_MAX)
            start = out->spans[i].start;
        if (out->spans[i].origin == 2)
            return out->spans[i].turn == 2 ? mem_strndup(out->text.data + start, out->spans[i].start - start) : NULL;
    }
    return NULL;
}

static void add_turn_end(struct chat_template *t, const char *s, size_t len)
{
    char *token = mem_strndup(s, len);
    bool known = false;
    for (size_t i = 0; i < t->n_turn_ends; i++)
        known |= !strcmp(t->turn_ends[i], token);
    chat_special_add(t, token);
    for (size_t i = 0; !known && i < t->n_specials; i++)
        if (!strcmp(t->specials[i], token)) {
            t->turn_ends = mem_array(t->turn_ends, t->n_turn_ends + 2, sizeof *t->turn_ends);
            t->turn_ends[t->n_turn_ends++] = t->specials[i];
            t->turn_ends[t->n_turn_ends] = NULL;
        }
    free(token);
}

/* The control token that the answer's own turn ends with; else the first one behind it, which the next turn would put out. */
static bool probe_turn_end(struct chat_template *t, const struct chat_source *s, const struct jinja_output *out)
{
    const char *text = buf_str(&out->text);
    size_t start, end, n, behind = SIZE_MAX;
    if (!chat_turn_range(t, s, out, 1, &start, &end))
        return true;
    for (size_t i = start; i < end; i++)
        if (chat_special_at(t, text + i, out->text.len - i) == end - i) {
            add_turn_end(t, text + i, end - i);
            return true;
        }
    for (size_t i = 0; i < out->n_spans; i++)
        if (out->spans[i].origin == 2)
            behind = out->spans[i].end;
    for (; behind < out->text.len; behind++)
        if ((n = chat_special_at(t, text + behind, out->text.len - behind))) {
            add_turn_end(t, text + behind, n);
            return true;
        }
    return false;
}

/* Of a template whose answers have no end of their own: the tokens that the next message's turn begins with, right behind the answer. */
static void probe_role_ends(struct chat_template *t, struct chat_source *s)
{
    for (size_t k = 0; k < sizeof followed / sizeof *followed; k++) {
        struct jinja_output out = {0};
        size_t start, end, n = 0;
        if (probe_run(t, s, followed[k], false, &out) && chat_turn_range(t, s, &out, 1, &start, &end)) {
            const char *text = buf_str(&out.text);
            end += strspn(text + end, " \t\r\n");
            n = chat_special_at(t, text + end, out.text.len - end);
            if (n && !chat_is_bos(t, text + end, n)) {
                add_turn_end(t, text + end, n);
                s->role_ends = true;
            }
        }
        jinja_output_release(&out);
    }
}

void chat_probe(struct chat_template *t, struct chat_source *s)
{
    struct jinja_output out = {0};
    bool ends = true;
    s->prompt = probe_prompt(t, s);
    if (probe_run(t, s, answered, false, &out)) {
        s->header = probe_header(&out);
        ends = probe_turn_end(t, s, &out);
    }
    jinja_output_release(&out);
    if (!ends && !jinja_has_generation(s->jinja))
        probe_role_ends(t, s);
    const char *eos = json_string_value(json_object_get(t->tokens, "eos_token"));
    if (eos && *eos)
        add_turn_end(t, eos, strlen(eos));
    if (!t->turn_ends)
        t->turn_ends = mem_zalloc(1, sizeof *t->turn_ends);
}
