/* Which bytes bear loss.
 *
 * The template engine says of each byte which message it came from and in which turn it was put out. An assistant's turn is made of
 *     header   what the generation prompt would have put there: given to the model, not written by it
 *     body     everything between, the template's own syntax around tool calls and reasoning included
 *     end      the last control token of the turn (<|im_end|>, </s>): the model must write it to stop
 *              where turns have none (GLM-4), the token of the next message's role behind it, and at the end of the text one that is added
 *     rest     a line break and the like: not trained
 * Where a template has {% generation %} blocks, these decide instead. */
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "text/chat_internal.h"

/* ---- one turn ---- */

static bool is_space(char c)
{
    return c == ' ' || c == '\n' || c == '\t' || c == '\r';
}

static bool all_space(const char *s, size_t len)
{
    for (size_t i = 0; i < len; i++)
        if (!is_space(s[i]))
            return false;
    return true;
}

/* Bytes of s that begin `text`, cut back to a place where a token may end when not all of `text` is there. */
static size_t common_start(const char *s, size_t len, const char *text)
{
    size_t n = 0, whole = strlen(text);
    while (n < len && n < whole && s[n] == text[n])
        n++;
    while (n && n < whole && n < len && s[n - 1] != '\n' && s[n - 1] != '>' && s[n - 1] != ']')
        n--;
    return n;
}

/* Where the body begins in text[from, limit): after what the generation prompt, or else the header of a plain answer, has there. Where the
 * template begins this turn with neither (as DeepSeek-R1's does behind a tool's output), what it puts before a plain answer is header. */
static size_t body_start(const struct chat_source *s, const char *text, size_t from, size_t limit, bool answer)
{
    size_t n = strlen(s->prompt), shared;
    if (n) {
        const char *found = memmem(text + from, limit - from, s->prompt, n);
        if (found)
            return (size_t)(found - text) + n;
        if (from >= n && !memcmp(text + from - n, s->prompt, n))
            return from;
        shared = common_start(text + from, limit - from, s->prompt);
        if (shared && !all_space(text + from, shared))
            return from + shared;
    }
    if (!s->header)
        return all_space(text + from, limit - from) ? from : limit;
    if (all_space(s->header, strlen(s->header)))
        return from;
    shared = common_start(text + from, limit - from, s->header);
    return shared || !answer ? from + shared : limit;
}

bool chat_is_bos(const struct chat_template *t, const char *s, size_t n)
{
    const char *bos = json_string_value(json_object_get(t->tokens, "bos_token")), *eos = json_string_value(json_object_get(t->tokens, "eos_token"));
    return bos && strlen(bos) == n && !memcmp(bos, s, n) && !(eos && !strcmp(bos, eos));
}

/* End of the last control token in text[from, to), or SIZE_MAX. */
static size_t last_token(const struct chat_template *t, const char *text, size_t from, size_t to)
{
    size_t end = SIZE_MAX;
    for (size_t i = from; i < to;) {
        size_t n = chat_special_at(t, text + i, to - i);
        if (n && !chat_is_bos(t, text + i, n))
            end = i + n;
        i += n ? n : 1;
    }
    return end;
}

/* The turn's end may be put out after its iteration: a control token that stands right there, in text of the template. */
static size_t end_behind(const struct chat_template *t, const struct jinja_output *out, size_t span)
{
    size_t from = out->spans[span].start, to = from;
    while (span < out->n_spans && out->spans[span].origin == JINJA_ORIGIN_TEMPLATE)
        to = out->spans[span++].end;
    while (from < to && is_space(out->text.data[from]))
        from++;
    for (size_t k = 0; k < t->n_turn_ends; k++) { /* only one that is known to end turns, not the next header */
        size_t n = strlen(t->turn_ends[k]);
        if (n <= to - from && !memcmp(out->text.data + from, t->turn_ends[k], n))
            return from + n;
    }
    return SIZE_MAX;
}

/* Spans [*first, *last) of one stretch of a turn that holds something of message `index`; looked for from *last on. */
static bool next_stretch(const struct jinja_output *out, size_t index, size_t *first, size_t *last)
{
    uint32_t own = (uint32_t)index + 1;
    for (size_t i = *last; i < out->n_spans; i = *last) {
        uint32_t turn = out->spans[i].turn;
        for (*last = i; *last < out->n_spans && out->spans[*last].turn == turn; ++*last)
            if (!turn && *last > i && out->spans[*last].origin != JINJA_ORIGIN_TEMPLATE && out->spans[*last].origin != own)
                break; /* no loop over the messages: another message's text ends the stretch */
        bool has = turn == own;
        for (size_t k = i; !turn && k < *last; k++)
            has |= out->spans[k].origin == own;
        *first = i;
        if (has)
            return true;
    }
    return false;
}

static bool stretch_range(const struct chat_template *t, const struct chat_source *s, const struct jinja_output *out, size_t index, size_t first, size_t last,
                          bool answer, size_t *start, size_t *end)
{
    const char *text = buf_str(&out->text);
    uint32_t own = (uint32_t)index + 1;
    size_t from = out->spans[first].start, to = out->spans[last - 1].end, content = SIZE_MAX, content_end = 0;
    for (size_t i = first; i < last; i++)
        if (out->spans[i].origin == own) {
            content = content == SIZE_MAX ? out->spans[i].start : content;
            content_end = out->spans[i].end;
        }
    bool in_loop = out->spans[first].turn == own;
    if (!in_loop && content == SIZE_MAX)
        return false;
    *start = in_loop ? body_start(s, text, from, content == SIZE_MAX ? to : content, answer && content != SIZE_MAX) : content;
    if (content_end < *start)
        content_end = *start;
    *end = s->role_ends ? SIZE_MAX : last_token(t, text, content_end, to);
    if (*end == SIZE_MAX && last < out->n_spans)
        *end = end_behind(t, out, last);
    if (*end == SIZE_MAX)
        *end = in_loop ? to : content_end; /* nothing marks the end: what follows the content in its own turn does */
    return *end > *start;
}

/* ---- the sample ---- */

struct mask {
    struct chat_rendered *r;
    const struct jinja_output *out;
    struct jinja_span *trained; /* ascending ranges */
    size_t n, cap;
};

static void train_range(struct mask *m, size_t start, size_t end)
{
    if (m->n && start < m->trained[m->n - 1].end)
        start = m->trained[m->n - 1].end;
    if (start >= end)
        return;
    m->trained = mem_grow(m->trained, &m->cap, m->n + 1, sizeof *m->trained);
    m->trained[m->n++] = (struct jinja_span){start, end, 0, 0};
}

static void span_add(struct chat_rendered *r, struct chat_span s)
{
    struct chat_span *last = r->n_spans ? &r->spans[r->n_spans - 1] : NULL;
    if (last && last->train == s.train && last->data == s.data) {
        last->end = s.end;
        return;
    }
    r->spans = mem_grow(r->spans, &r->cap_spans, r->n_spans + 1, sizeof *r->spans);
    r->spans[r->n_spans++] = s;
}

/* Lays trained ranges over the spans of the output. */
static void make_spans(struct mask *m)
{
    size_t k = 0;
    for (size_t i = 0; i < m->out->n_spans; i++) {
        const struct jinja_span *s = &m->out->spans[i];
        for (size_t at = s->start, next; at < s->end; at = next) {
            while (k < m->n && m->trained[k].end <= at)
                k++;
            bool train = k < m->n && m->trained[k].start <= at;
            next = k == m->n ? s->end : train ? m->trained[k].end : m->trained[k].start;
            next = next < s->end ? next : s->end;
            span_add(m->r, (struct chat_span){at, next, train, s->origin != JINJA_ORIGIN_TEMPLATE});
        }
    }
}

/* Nothing but content: the template's own text before it is not the model's. */
static bool is_answer(const json_t *message)
{
    return !json_array_size(json_object_get(message, "tool_calls")) && !json_object_get(message, "reasoning_content");
}

/* An assistant's message, unless the conversation itself excludes it ("weight": 0 as in OpenAI's files, or "train": false). */
static bool wants_training(const json_t *message)
{
    const char *role = json_string_value(json_object_get(message, "role"));
    const json_t *weight = json_object_get(message, "weight");
    if (!role || (strcmp(role, "assistant") && strcmp(role, "model")))
        return false;
    return !(json_is_number(weight) && json_number_value(weight) == 0) && !json_is_false(json_object_get(message, "train"));
}

static void train_turns(struct mask *m, const struct chat_template *t, const struct chat_source *s, const json_t *messages, size_t from)
{
    for (size_t i = from; i < json_array_size(messages); i++) {
        size_t first = 0, last = 0, start, end;
        const json_t *message = json_array_get(messages, i);
        if (!wants_training(message))
            continue;
        while (next_stretch(m->out, i, &first, &last))
            if (stretch_range(t, s, m->out, i, first, last, is_answer(message), &start, &end))
                train_range(m, start, end);
    }
}

/* Blocks of the turns from message `from` on; a block outside of the loop over the messages counts as well. */
static void train_blocks(struct mask *m, const json_t *messages, size_t from)
{
    for (size_t g = 0, i = 0; g < m->out->n_generation; g++) {
        const struct jinja_span *block = &m->out->generation[g];
        while (i < m->out->n_spans && m->out->spans[i].end <= block->start)
            i++;
        for (size_t k = i; k < m->out->n_spans && m->out->spans[k].start < block->end; k++) {
            const struct jinja_span *s = &m->out->spans[k];
            size_t start = s->start > block->start ? s->start : block->start, end = s->end < block->end ? s->end : block->end;
            if (!s->turn || (s->turn > from && wants_training(json_array_get(messages, s->turn - 1))))
                train_range(m, start, end);
        }
    }
}

static size_t last_assistant(const json_t *messages)
{
    size_t i = json_array_size(messages);
    while (i-- > 0)
        if (wants_training(json_array_get(messages, i)))
            return i;
    return SIZE_MAX;
}

static void train_all(struct mask *m, const struct chat_template *t)
{
    const char *bos = json_string_value(json_object_get(t->tokens, "bos_token"));
    size_t n = bos ? strlen(bos) : 0;
    bool has = n && n <= m->out->text.len && !memcmp(m->out->text.data, bos, n);
    train_range(m, has ? n : 0, m->out->text.len);
}

/* Where the next role's token would end the answer and there is no next message: the end of the text, or else that token. Makers of
 * such models train both, and their models stop at both. */
static void add_stop(struct mask *m, const struct chat_template *t, const struct chat_source *s, const json_t *messages)
{
    struct chat_rendered *r = m->r;
    const char *stop = json_string_value(json_object_get(t->tokens, "eos_token"));
    if (!s->role_ends || !m->n || m->trained[m->n - 1].end < r->text.len || !wants_training(json_array_get(messages, json_array_size(messages) - 1)))
        return;
    for (size_t k = 0; k < t->n_turn_ends; k++) {
        size_t n = strlen(t->turn_ends[k]);
        if (n <= r->text.len && !memcmp(r->text.data + r->text.len - n, t->turn_ends[k], n) && !r->spans[r->n_spans - 1].data)
            return;
    }
    stop = stop && *stop ? stop : t->turn_ends[0];
    r->stop = strlen(stop);
    buf_add_str(&r->text, stop);
    span_add(r, (struct chat_span){r->text.len - r->stop, r->text.len, true, false});
}

static void train_from(struct mask *m, const struct chat_template *t, const struct chat_source *s, const json_t *messages, size_t from)
{
    if (jinja_has_generation(s->jinja))
        train_blocks(m, messages, from);
    else
        train_turns(m, t, s, messages, from);
}

/* Only the answer's messages; r->answer is where the first of them would begin to bear loss, whatever of them does. */
static void train_answer(struct mask *m, const struct chat_template *t, const struct chat_source *s, const json_t *messages, const struct chat_options *o,
                         size_t last)
{
    train_from(m, t, s, messages, o->answer);
    if (!m->n)
        return;
    m->r->answer = m->trained[0].start;
    if (o->train == CHAT_TRAIN_ALL) {
        m->n = 0;
        train_range(m, m->r->answer, m->out->text.len);
    } else if (o->train == CHAT_TRAIN_LAST && last > o->answer) {
        m->n = 0;
        train_from(m, t, s, messages, last);
    }
}

int chat_mask(const struct chat_template *t, const struct chat_source *s, const json_t *messages, const struct chat_options *o, const struct jinja_output *out,
              struct chat_rendered *r, struct err *e)
{
    struct mask m = {.r = r, .out = out};
    size_t last = last_assistant(messages), from = o->train == CHAT_TRAIN_LAST && last != SIZE_MAX ? last : 0;
    if (r->text.data)
        buf_clear(&r->text);
    buf_add(&r->text, buf_str(&out->text), out->text.len);
    r->n_spans = 0;
    r->stop = 0;
    r->answer = 0;
    if (!o->generation_prompt && o->answer)
        train_answer(&m, t, s, messages, o, last);
    else if (!o->generation_prompt && o->train == CHAT_TRAIN_ALL)
        train_all(&m, t);
    else if (!o->generation_prompt)
        train_from(&m, t, s, messages, from);
    make_spans(&m);
    if (!o->generation_prompt)
        add_stop(&m, t, s, messages);
    free(m.trained);
    if (m.n || o->generation_prompt)
        return 0;
    return err_set(e, last == SIZE_MAX ? "nothing to train: the conversation has no message of an assistant"
                                       : "nothing to train: the template puts out nothing of the assistant's messages");
}

bool chat_turn_range(const struct chat_template *t, const struct chat_source *s, const struct jinja_output *out, size_t index, size_t *start, size_t *end)
{
    size_t first = 0, last = 0;
    while (next_stretch(out, index, &first, &last))
        if (stretch_range(t, s, out, index, first, last, false, start, end))
            return true;
    return false;
}
