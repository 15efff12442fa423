/* Which keys a query row sees (struct attention of kernels.h), for the specification and for kernels of other devices:
 *
 *     struct attention_span span = attention_span_of(s, window, row);
 *     if (attention_sees(&span, key)) ...
 *
 * Rows are named by the key that is theirs: row i of a sample is k_len - q_len + i. For tiles of rows and keys there is what spares the question for each pair:
 * attention_hidden() when nobody sees anything, attention_whole() when all see all; either may say false where it is so. */
#ifndef ATTENTION_SEES_H
#define ATTENTION_SEES_H

#include "kernels/host_device.h"
#include "kernels/kernels.h"

/* The keys low .. high but for gap .. gap_end - 1. */
struct attention_span {
    int64_t low, high, gap, gap_end;
};

/* A row of a second branch sees two pieces, before the fork and behind the first branch; its window is counted over both. */
static HOST_DEVICE struct attention_span attention_span_of(const struct attention_seq *s, int64_t window, int64_t row)
{
    struct attention_span x = {0, row, 0, 0};
    if (window > 0 && row >= window)
        x.low = row - window + 1;
    if (s->fork_end && row >= s->fork_end) {
        x.gap = s->fork_at;
        x.gap_end = x.low > s->fork_end ? x.low : s->fork_end;
        x.low -= s->fork_end - s->fork_at;
        x.low = x.low > 0 ? x.low : 0;
    }
    return x;
}

static HOST_DEVICE bool attention_sees(const struct attention_span *x, int64_t key)
{
    return key >= x->low && key <= x->high && (key < x->gap || key >= x->gap_end);
}

/* Rows from_row .. last_row, keys from_key .. last_key. With more rows low and gap_end grow, but low falls back where the second branch begins. */
static HOST_DEVICE bool attention_hidden(const struct attention_seq *s, int64_t window, int64_t from_row, int64_t last_row, int64_t from_key, int64_t last_key)
{
    struct attention_span x = attention_span_of(s, window, from_row);
    if (s->fork_end && from_row < s->fork_end && last_row >= s->fork_end) {
        struct attention_span second = attention_span_of(s, window, s->fork_end);
        x.low = x.low < second.low ? x.low : second.low;
    }
    return from_key > last_row || last_key < x.low || (from_key >= x.gap && last_key < x.gap_end);
}

static HOST_DEVICE bool attention_whole(const struct attention_seq *s, int64_t window, int64_t from_row, int64_t last_row, int64_t from_key, int64_t last_key)
{
    struct attention_span x = attention_span_of(s, window, last_row);
    if (s->fork_end && from_row < s->fork_end && last_row >= s->fork_end) {
        struct attention_span first = attention_span_of(s, window, s->fork_end - 1);
        x.low = x.low > first.low ? x.low : first.low;
    }
    return last_key <= from_row && from_key >= x.low && (last_key < x.gap || from_key >= x.gap_end);
}

#endif
