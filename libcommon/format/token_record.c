/* One record of a token file: what must hold of each kind. */
#include "format/token_layout.h"

const char *token_kind_name(enum token_kind kind)
{
    static const char *const names[] = {[TOKEN_KIND_SAMPLES] = "samples", [TOKEN_KIND_PAIRS] = "pairs", [TOKEN_KIND_LABELLED] = "labelled samples"};
    return names[kind];
}

uint32_t token_sample_length(const struct token_sample *s, enum token_kind kind)
{
    uint32_t rejected = s->n - s->prompt - s->chosen;
    if (kind != TOKEN_KIND_PAIRS)
        return s->n;
    return s->prompt + (s->chosen > rejected ? s->chosen : rejected);
}

static bool any(const uint8_t *mask, uint32_t from, uint32_t to)
{
    while (from < to && !mask[from])
        from++;
    return from < to;
}

const char *token_record_fault(enum token_kind kind, const struct token_sample *s)
{
    uint32_t answers = s->n - s->prompt;
    if (kind == TOKEN_KIND_SAMPLES)
        return s->mask[0] ? "the first token bears loss" : s->trained ? NULL : "nothing to train";
    if (!s->prompt || s->prompt >= s->n)
        return s->prompt ? "the prompt leaves no token to answer" : "the prompt has no token";
    if (kind == TOKEN_KIND_PAIRS && (!s->chosen || s->chosen >= answers))
        return s->chosen ? "the rejected answer has no token" : "the chosen answer has no token";
    if (any(s->mask, 0, s->prompt))
        return "a token of the prompt bears loss";
    if (kind == TOKEN_KIND_LABELLED)
        return s->trained ? NULL : "nothing to train";
    if (!any(s->mask, s->prompt, s->prompt + s->chosen))
        return "nothing to train in the chosen answer";
    return any(s->mask, s->prompt + s->chosen, s->n) ? NULL : "nothing to train in the rejected answer";
}
