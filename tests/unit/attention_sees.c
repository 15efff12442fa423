/* Who sees whom in attention: tiles that are said to be hidden or whole, against every pair of a row and a key, and pairs against positions. */
#include "kernels/attention_sees.h"

#include "tests/unit/tap.h"

#define LENGTH 13

/* The rule of kernels.h by positions: the second branch goes on from fork_at. */
static bool by_position(const struct attention_seq *s, int64_t window, int64_t row, int64_t key)
{
    bool second = s->fork_end && row >= s->fork_end, behind = s->fork_end && key >= s->fork_end;
    int64_t jump = s->fork_end - s->fork_at, of_row = second ? row - jump : row, of_key = behind ? key - jump : key;
    if (s->fork_end && key >= s->fork_at && second != behind)
        return false;
    return of_key <= of_row && (window == 0 || of_row - of_key < window);
}

static struct {
    int64_t pairs, false_hidden, false_whole, missed_hidden, missed_whole;
} found;

static bool pairs_agree(const struct attention_seq *s, int64_t window)
{
    bool good = true;
    for (int64_t row = 0; row < LENGTH; row++) {
        struct attention_span span = attention_span_of(s, window, row);
        for (int64_t key = 0; key < LENGTH; key++)
            good &= attention_sees(&span, key) == by_position(s, window, row, key);
    }
    return good;
}

/* exact: nothing may be missed. */
static void look_at(const struct attention_seq *s, int64_t window, int64_t row, int64_t rows, int64_t key, int64_t keys, bool exact)
{
    int64_t seen = 0;
    for (int64_t i = row; i < row + rows; i++)
        for (int64_t j = key; j < key + keys; j++)
            seen += by_position(s, window, i, j);
    bool hidden = attention_hidden(s, window, row, row + rows - 1, key, key + keys - 1), whole = attention_whole(s, window, row, row + rows - 1, key, key + keys - 1);
    found.pairs++;
    found.false_hidden += hidden && seen;
    found.false_whole += whole && seen < rows * keys;
    found.missed_hidden += exact && !hidden && !seen;
    found.missed_whole += exact && !whole && seen == rows * keys;
}

static void tiles(const struct attention_seq *s, int64_t window)
{
    for (int64_t row = 0; row < LENGTH; row++)
        for (int64_t rows = 1; rows <= LENGTH - row; rows++)
            for (int64_t key = 0; key < LENGTH; key++)
                for (int64_t keys = 1; keys <= LENGTH - key; keys++) {
                    bool one_branch = !s->fork_end || row >= s->fork_end || row + rows <= s->fork_end;
                    look_at(s, window, row, rows, key, keys, one_branch && (!s->fork_end || !window));
                }
}

int main(void)
{
    bool good = true;
    for (int64_t window = 0; window <= LENGTH; window += window < 3 ? 1 : 4)
        for (int64_t at = 0; at < LENGTH; at += 2)
            for (int64_t end = at ? at + 1 : 0; end < LENGTH; end += 3) {
                struct attention_seq s = {.q_len = LENGTH, .k_len = LENGTH, .fork_at = at, .fork_end = end};
                good &= pairs_agree(&s, window);
                tiles(&s, window);
            }
    ok(good, "each pair of a row and a key");
    ok(found.pairs > 100000 && !found.false_hidden, "a tile that is said to be hidden is");
    ok(!found.false_whole, "a tile of which all is said to be seen is");
    ok(!found.missed_hidden, "hidden tiles are known, but for forks with a window");
    ok(!found.missed_whole, "whole tiles are known, but for forks with a window");
    return tap_end();
}
