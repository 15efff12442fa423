/* "did you mean": the candidate nearest to a misspelt word.
 * Pure functions, no errors; the result borrows from the candidates. */
#ifndef CLI_SUGGEST_H
#define CLI_SUGGEST_H

/* The number of letters to insert, remove, change or swap with their neighbour to make `a` into `b`. */
int suggest_distance(const char *a, const char *b);

/* Returns the nearest of the NULL-terminated candidates, or NULL when none is near (a third of the word, at least 1,
 * or the word begins it). */
const char *suggest_nearest(const char *word, const char *const *candidates);

#endif
