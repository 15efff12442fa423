#include "cli/suggest.h"

#include <stddef.h>
#include <string.h>

enum { LONGEST = 63 };

static int least(int a, int b)
{
    return a < b ? a : b;
}

/* Optimal string alignment distance: Damerau (1964) with adjacent swaps; three rows of the table are enough. */
int suggest_distance(const char *a, const char *b)
{
    int rows[3][LONGEST + 1];
    size_t na = strlen(a), nb = strlen(b);
    if (na > LONGEST || nb > LONGEST)
        return LONGEST;
    for (size_t j = 0; j <= nb; j++)
        rows[0][j] = (int)j;
    for (size_t i = 1; i <= na; i++) {
        int *row = rows[i % 3], *up = rows[(i + 2) % 3], *up2 = rows[(i + 1) % 3];
        row[0] = (int)i;
        for (size_t j = 1; j <= nb; j++) {
            row[j] = least(least(up[j], row[j - 1]) + 1, up[j - 1] + (a[i - 1] != b[j - 1]));
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
                row[j] = least(row[j], up2[j - 2] + 1);
        }
    }
    return rows[na % 3][nb];
}

const char *suggest_nearest(const char *word, const char *const *candidates)
{
    const char *best = NULL;
    size_t len = strlen(word);
    int limit = len < 6 ? 1 : (int)(len / 3), found = limit + 1;
    if (len < 2)
        return NULL;
    for (; *candidates; candidates++) {
        int d = suggest_distance(word, *candidates);
        if (d > limit && !strncmp(*candidates, word, len))
            d = limit;
        if (d < found) {
            found = d;
            best = *candidates;
        }
    }
    return best;
}
