#include "train/preference_pack.h"

/* Tokens of one answer. */
struct answer {
    const uint32_t *ids;
    const uint8_t *mask;
    int64_t n;
};

static struct answer answer_of(const struct token_sample *s, int which)
{
    int64_t from = (int64_t)s->prompt + (which ? s->chosen : 0), n = which ? (int64_t)s->n - from : s->chosen;
    return (struct answer){s->ids + from, s->mask + from, n};
}

/* The answers that `what` puts behind the prompt of sample i; returns how many. */
static int answers_of(const struct token_file *t, int64_t i, enum preference_what what, int64_t context, struct token_sample *s, struct answer to[2])
{
    *s = token_file_sample(t, i);
    if (what == PREFERENCE_MISMATCHED) {
        struct token_sample other = token_file_sample(t, i ? i - 1 : t->n_samples - 1);
        to[0] = answer_of(&other, 0);
        int64_t over = (int64_t)s->prompt + to[0].n - context;
        uint32_t cut = over <= 0 ? 0 : over < s->prompt ? (uint32_t)over : s->prompt - 1;
        s->ids += cut;
        s->prompt -= cut;
        return 1;
    }
    to[0] = answer_of(s, 0);
    if (t->kind != TOKEN_KIND_PAIRS)
        return 1;
    to[1] = answer_of(s, 1);
    return 2;
}

struct preference_rows preference_rows_of(const struct token_file *t, int64_t sample, enum preference_what what, int64_t context)
{
    struct token_sample s;
    struct answer a[2];
    int answers = answers_of(t, sample, what, context, &s, a);
    struct preference_rows r = {.answers = answers};
    r.rows = r.prompt = (int64_t)s.prompt - 1;
    for (int k = 0; k < r.answers; k++) {
        r.at[k] = r.rows;
        r.length[k] = a[k].n + 1;
        r.rows += r.length[k];
    }
    return r;
}

int64_t preference_longest(const struct token_file *t, bool mismatched, int64_t context)
{
    int64_t longest = 0;
    for (int64_t i = 0; i < t->n_samples; i++)
        for (int k = 0; k <= mismatched; k++) {
            struct preference_rows r = preference_rows_of(t, i, k ? PREFERENCE_MISMATCHED : PREFERENCE_ANSWERS, context);
            longest = r.rows > longest ? r.rows : longest;
        }
    return longest;
}

static void put(struct pack *p, int64_t row, uint32_t id, bool target, uint32_t next)
{
    p->ids[row] = (int32_t)id;
    p->targets[row] = target ? (int32_t)next : -1;
    p->trained += target;
}

static void put_sample(struct pack *p, int64_t row, const struct token_sample *s, const struct answer *a, int answers, bool prompt)
{
    for (uint32_t i = 0; i + 1 < s->prompt; i++)
        put(p, row++, s->ids[i], prompt, s->ids[i + 1]);
    for (int k = 0; k < answers; k++)
        for (int64_t i = -1; i < a[k].n; i++) {
            bool target = i + 1 < a[k].n && a[k].mask[i + 1];
            put(p, row++, i < 0 ? s->ids[s->prompt - 1] : a[k].ids[i], target, target ? a[k].ids[i + 1] : 0);
        }
}

int64_t preference_pack_fill(struct pack *p, const struct token_file *t, enum preference_what what, int64_t context, const uint32_t *items,
                             int64_t first, int64_t n, int64_t row0)
{
    int64_t rows = 0, used = 0;
    p->trained = 0;
    for (; used < n; used++) {
        int64_t sample = items ? items[used] : first + used;
        struct preference_rows r = preference_rows_of(t, sample, what, context);
        struct token_sample s;
        struct answer a[2];
        if (used && rows + r.rows > p->max_rows)
            break;
        p->start[used] = rows;
        p->forks[used] = r.answers == 2 ? (struct batch_fork){r.at[0], r.at[1]} : (struct batch_fork){0, 0};
        int answers = answers_of(t, sample, what, context, &s, a);
        put_sample(p, rows, &s, a, answers, what == PREFERENCE_ANSWERS_PROMPT);
        rows += r.rows;
    }
    p->start[used] = rows;
    p->batch = (struct batch){rows, p->ids, p->targets, (int)used, p->start, row0, p->forks};
    return used;
}
