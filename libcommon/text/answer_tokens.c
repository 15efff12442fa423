#include "text/answer_tokens.h"

#include <string.h>

#include "base/mem.h"

/* ---- putting together ---- */

/* The prompt and answer parts [from, to) as a sample of their own, in `scratch`. */
static const struct chat_sample *join(const struct chat_sample *s, size_t from, size_t to, struct sample_scratch *scratch)
{
    struct chat_sample *j = &scratch->joined;
    size_t prompt = s->n_prompt ? s->parts[s->n_prompt - 1].end : 0;
    buf_clear(&j->text);
    j->n_parts = s->n_prompt + to - from;
    j->parts = mem_grow(j->parts, &j->cap_parts, j->n_parts + 1, sizeof *j->parts);
    if (s->n_prompt)
        memcpy(j->parts, s->parts, s->n_prompt * sizeof *j->parts);
    buf_add(&j->text, buf_str(&s->text), prompt);
    for (size_t i = from; i < to; i++) {
        const struct chat_part *p = &s->parts[i];
        struct chat_part *q = &j->parts[s->n_prompt + i - from];
        *q = *p;
        q->start = j->text.len;
        buf_add(&j->text, s->text.data + p->start, p->end - p->start);
        q->end = j->text.len;
    }
    return j;
}

static size_t common(const uint32_t *a, size_t n, const uint32_t *b, size_t m)
{
    size_t i = 0;
    while (i < n && i < m && a[i] == b[i])
        i++;
    return i;
}

/* Appends what `branch` has behind the prompt of k tokens; `begun`: its tokens that begin in the prompt's text. 0, or -1 when nothing of
 * it is trained. */
static int add_answer(struct sample_tokens *out, const struct sample_tokens *branch, size_t begun, size_t k)
{
    size_t n = branch->n - k, trained = 0;
    uint8_t *mask = out->mask + out->n;
    memcpy(out->ids + out->n, branch->ids + k, n * sizeof *out->ids);
    memcpy(mask, branch->mask + k, n);
    if (begun > k)
        memset(mask, 1, begun - k);
    for (size_t i = 0; i < n; i++)
        trained += mask[i];
    out->n += n;
    out->trained += trained;
    return trained ? 0 : -1;
}

static int put_together(struct sample_tokens *out, const struct sample_tokens *branch, const size_t *begun, int n_branches,
                        const struct token_list *prompt, struct err *e)
{
    size_t k = prompt->n, n = 0;
    for (int i = 0; i < n_branches; i++) {
        size_t c = common(prompt->ids, prompt->n, branch[i].ids, branch[i].n);
        k = c < k ? c : k;
        n += branch[i].n;
    }
    if (!k)
        return err_set(e, prompt->n ? "no token of the prompt is left: its first one runs on into an answer; a longer one, or a line break at its end, keeps them apart" : "the prompt has no token");
    sample_tokens_reserve(out, n);
    memcpy(out->ids, branch->ids, k * sizeof *out->ids);
    memset(out->mask, 0, k);
    out->n = out->prompt = k;
    out->trained = 0;
    for (int i = 0; i < n_branches; i++) {
        if (add_answer(out, &branch[i], begun[i], k) < 0)
            return err_set(e, "nothing to train in the %sanswer", n_branches == 1 ? "" : i ? "rejected " : "chosen ");
        out->chosen = i ? out->chosen : out->n - k;
    }
    return 0;
}

/* Tokens of the list that begin before byte `end`. */
static size_t count_begun(const struct token_list *l, size_t end)
{
    size_t n = 0;
    while (n < l->n && l->start[n] < end)
        n++;
    return n;
}

/* Both answers alike: nothing can be preferred. */
static bool same_answers(const struct sample_tokens *s)
{
    size_t rejected = s->n - s->prompt - s->chosen;
    return rejected == s->chosen && !memcmp(s->ids + s->prompt, s->ids + s->prompt + s->chosen, rejected * sizeof *s->ids);
}

int answer_tokens_encode(const struct tokenizer *t, const struct chat_sample *s, const struct sample_tokens_options *o,
                         struct sample_scratch *scratch, struct sample_tokens *out, struct err *e)
{
    size_t chosen = s->n_prompt + s->n_chosen;
    int n = chosen < s->n_parts ? 2 : 1;
    size_t begun[2] = {0};
    for (int i = 0; i < n; i++) {
        if (sample_tokens_encode(t, join(s, i ? chosen : s->n_prompt, i ? s->n_parts : chosen, scratch), o, scratch, &scratch->branch[i], e) < 0)
            return err_prefix(e, "the %sanswer", n == 1 ? "" : i ? "rejected " : "chosen ");
        begun[i] = count_begun(&scratch->list, s->n_prompt ? s->parts[s->n_prompt - 1].end : 0);
    }
    if (sample_tokens_list(t, join(s, 0, 0, scratch), o->raw, scratch, e) < 0 || put_together(out, scratch->branch, begun, n, &scratch->list, e) < 0)
        return -1;
    out->label = s->label;
    return n == 2 && same_answers(out) ? err_set(e, "the chosen and the rejected answer have the same tokens") : 0;
}

/* ---- cutting ---- */

size_t answer_tokens_length(const struct sample_tokens *s)
{
    size_t rejected = s->n - s->prompt - s->chosen;
    return s->prompt + (s->chosen > rejected ? s->chosen : rejected);
}

/* Appends at most `most` of the n tokens at `from`; whether one of them is trained. */
static bool add_cut(struct sample_tokens *to, const struct sample_tokens *s, size_t from, size_t n, size_t most)
{
    size_t trained = 0;
    n = n < most ? n : most;
    memcpy(to->ids + to->n, s->ids + from, n * sizeof *to->ids);
    memcpy(to->mask + to->n, s->mask + from, n);
    for (size_t i = 0; i < n; i++)
        trained += s->mask[from + i];
    to->n += n;
    to->trained += trained;
    return trained > 0;
}

bool answer_tokens_cut(const struct sample_tokens *s, size_t most, struct sample_tokens *to)
{
    size_t room = most > s->prompt ? most - s->prompt : 0, answers = s->n - s->prompt;
    bool pair = s->chosen < answers;
    if (!room)
        return false;
    sample_tokens_reserve(to, s->n);
    to->n = to->trained = 0;
    to->prompt = s->prompt;
    to->chosen = s->chosen < room ? s->chosen : room;
    to->label = s->label;
    add_cut(to, s, 0, s->prompt, s->prompt);
    return add_cut(to, s, s->prompt, s->chosen, room) && (!pair || (add_cut(to, s, s->prompt + s->chosen, answers - s->chosen, room) && !same_answers(to)));
}
